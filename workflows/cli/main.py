"""Entry point of `mca`: the commands, and how every error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from engine.domain.failures import McaError
from workflows.cli import (
    attribute,
    calls,
    changes,
    exits,
    explain,
    export,
    measures,
    models,
    packs,
    replay_episode,
    reverse,
    runs,
    scenarios,
    system,
    system_wide,
    warning,
)
from workflows.cli.output import note

OUR_PACKAGES = ("engine", "tools", "agents", "workflows", "monitor")
ISSUE_HINT = "this is an error in the program, not in your input"

app = typer.Typer(
    name="mca",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: " + "; ".join(f"{code} {text}" for code, text in exits.MEANING.items()),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from engine.domain.provenance import product_version

        typer.echo(f"mca {product_version()}")
        raise typer.Exit()


@app.callback()
def mca(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """Margin and liquidity risk: what you owe, what you will owe, whether the calls cascade.

    Start with `mca demo`, then `mca init DIR` for a pack of your own.
    """


app.command("demo")(runs.demo)
app.command("run")(runs.run)
app.command("init")(packs.init)
app.command("validate")(packs.validate)
app.command("schema")(packs.schema)
app.command("margin")(measures.margin)
app.command("stress")(measures.stress)
app.command("avalanche")(measures.avalanche)
app.command("scenarios")(scenarios.scenarios)
app.command("reverse")(reverse.reverse)
app.command("warning")(warning.warning)
app.command("system")(system_wide.system)
app.command("calls")(calls.calls)
app.command("explain")(explain.explain)
app.command("whatif")(explain.whatif)
app.command("changes")(changes.changes)
app.command("replay")(replay_episode.replay)
app.command("attribute")(attribute.attribute)
app.command("simm")(models.simm)
app.command("backtest")(models.backtest)
app.command("doctor")(system.doctor)
app.command("reproduce")(runs.reproduce)
app.command("export")(export.export)


def _write_traceback() -> str:
    import tempfile
    import traceback

    handle, path = tempfile.mkstemp(prefix="mca-error-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(f"mca {' '.join(sys.argv[1:])}\n\n")
        traceback.print_exc(file=stream)
    return path


def _is_usage_error(error: Exception) -> bool:
    """Show a usage error as the parser words it; its class has moved between typer versions."""
    show = getattr(error, "show", None)
    if getattr(error, "exit_code", None) != exits.USAGE or not callable(show):
        return False
    show()
    return True


def _missing_package(error: ModuleNotFoundError) -> bool:
    return bool(error.name) and str(error.name).split(".")[0] not in OUR_PACKAGES


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; no exception and no traceback escapes."""
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(arguments), prog_name="mca", standalone_mode=False)
        code = code if isinstance(code, int) else exits.OK
    except McaError as error:
        note(f"mca: {error}")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = exits.INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe (`mca ... | head`); flushing at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.DONE_WITH_FAILURES
    except Exception as error:  # noqa: BLE001  (the last line of defence: it reports everything)
        if _is_usage_error(error):
            return exits.USAGE
        if isinstance(error, ModuleNotFoundError) and _missing_package(error):
            note(
                f"mca: the package {error.name!r} is not installed; `uv sync` installs all of them"
            )
            return exits.DEPENDENCY_MISSING
        note(f"mca: {type(error).__name__}: {error}")
        note(f"mca: {ISSUE_HINT}; details: {_write_traceback()}")
        return exits.INTERNAL
    if code == exits.INTERRUPTED:
        note("mca: interrupted")
    return code


def run() -> None:
    """Run the console command `mca`."""
    sys.exit(main(sys.argv[1:]))
