"""What a command says: the result on stdout, messages and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workflows.cli import exits

if TYPE_CHECKING:
    import pandas as pd

    from engine.domain.failures import Failure

SHOWN_FAILURES = 20
Progress = Callable[[str, int, int], None]


def note(message: str) -> None:
    """Write one line to stderr."""
    typer.echo(message, err=True)


def emit(payload: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Write the result to stdout: the JSON object, or the `lines` for people."""
    if as_json:
        from workflows.run import json_text

        typer.echo(json_text(payload))
    else:
        for line in lines:
            typer.echo(line)


def save(
    out: Path | None,
    name: str,
    payload: dict[str, Any],
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """With --out, write `NAME.json` and the tables into the folder."""
    if out is None:
        return
    from workflows.run import json_text, write_tables

    with writing_into("--out", out):
        (out / f"{name}.json").write_text(json_text(payload) + "\n", encoding="utf-8")
        if tables:
            write_tables(out / "tables", tables)
    note(f"written to {out}")


@contextmanager
def writing_into(option: str, folder: Path) -> Iterator[None]:
    """Make the folder of an option; what cannot be written there is a usage error."""
    from engine.domain.failures import UsageError

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: is a file; name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        place, reason = error.filename or folder, error.strerror or error
        raise UsageError(
            f"{option} {folder}: {place} cannot be written ({reason}); name another folder"
        ) from error


def report_failures(failures: Sequence[Failure]) -> int:
    """List failures on stderr and return the exit code they cause."""
    if not failures:
        return exits.OK
    note(f"{len(failures)} item(s) failed:")
    for failure in failures[:SHOWN_FAILURES]:
        # The place often names the item; once is enough.
        item = "" if failure.item in failure.where else f"{failure.item}: "
        note(f"  {failure.where}: {item}{failure.message} ({failure.reason.value})")
    if len(failures) > SHOWN_FAILURES:
        note(f"  and {len(failures) - SHOWN_FAILURES} more; --json lists all of them")
    return exits.DONE_WITH_FAILURES


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Give a callable (step, done, total); a moving bar on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        last: list[str] = []

        def say(step: str, done: int, total: int) -> None:
            if step not in last:
                last.append(step)
                note(f"[{done + 1}/{total}] {step}")

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda step, done, total: bars.update(
            task, description=step, completed=done, total=total
        )


def usd(amount: float | None) -> str:
    """Return an amount in USD millions, below one in thousands.

    `usd(12_345_678.0) == "12.3m"`, `usd(-54_321.0) == "-54.3k"`, `usd(-4.0) == "0.0k"`.
    """
    if amount is None or amount != amount:
        return "n/a"
    if amount == 0.0:
        return "0.0m"
    # Of what rounds to a thousand thousands too: 999,960 is 1.0m.
    unit, letter = (1e6, "m") if abs(amount) >= 999_950.0 else (1e3, "k")
    # Adding zero takes the sign from what rounds to nothing.
    return f"{round(amount / unit, 1) + 0.0:,.1f}{letter}"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return aligned text lines: first column left, the others right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in cells
    ]
