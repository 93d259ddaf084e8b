"""`mca init`, `mca validate` and `mca schema`: what a fund pack is, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workflows.cli import exits
from workflows.cli.options import History, Json, Out, Pack, Seed
from workflows.cli.output import emit, note, report_failures, save


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder.")],
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Write a small commented fund pack to start from.

    Example: mca init my-fund

    The seed has no effect here: the pack is always the same.
    """
    from engine.fund.template import write_template

    write_template(folder)
    names = sorted(path.name for path in folder.iterdir())
    payload = {"pack": str(folder), "files": names}
    lines = [f"written to {folder}: {', '.join(names)}", f"next: mca validate {folder}"]
    emit(payload, lines, as_json)
    save(out, "init", payload)


def validate(
    pack: Pack,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Read a pack as a run would, and print every finding.

    Example: mca validate my-fund --json

    Exits with 3 if any row is bad or the pack cannot be used. The seed has no effect here.
    """
    from workflows.funds import inspect_pack

    findings, failures = inspect_pack(pack, history)
    emit(findings, _findings(findings), as_json)
    save(out, "validate", findings)
    report_failures(failures)
    if findings["error"]:
        note(f"mca: {findings['error']}")
    if not findings["ok"]:
        raise typer.Exit(exits.BAD_INPUT)


def _findings(findings: dict[str, Any]) -> list[str]:
    lines = [
        f"{name:<12} {count['rows_in']:>9} rows, {count['quarantined']} quarantined"
        for name, count in findings["rows"].items()
    ]
    lines += [
        f"{row['file']}:{row['row']}: {row['field']} {row['raw']!r}: {row['rule']}"
        + (f"; {row['suggestion']}" if row["suggestion"] else "")
        for row in findings["quarantined"]
    ]
    if findings["options"]:
        lines.append("avalanche options (origin):")
        lines += [
            f"  {name} = {option['value']} ({option['origin']})"
            for name, option in findings["options"].items()
        ]
    return [*lines, "the pack can be used" if findings["ok"] else "the pack has findings to mend"]


def schema(
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="One table only.")] = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Print the JSON Schema of every table of a fund pack.

    Example: mca schema positions

    The schema is JSON with and without --json. The seed has no effect here.
    """
    from engine.domain.failures import UsageError
    from engine.fund.schema import table_schemas
    from engine.fund.suggest import did_you_mean

    schemas = table_schemas()
    if table is not None:
        if table not in schemas:
            near = did_you_mean(table, schemas)
            hint = f"did you mean {near!r}? " if near else ""
            raise UsageError(f"table {table!r}: unknown; {hint}the tables are {', '.join(schemas)}")
        schemas = {table: schemas[table]}
    emit(schemas, (), as_json=True)
    save(out, "schema", schemas)
