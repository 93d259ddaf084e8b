"""`mca export`: a finished run as one Excel workbook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflows.cli.options import Json, Out, Seed
from workflows.cli.output import emit, writing_into


def export(
    run_dir: Annotated[Path, typer.Argument(metavar="RUNDIR", help="Folder of a finished run.")],
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Write a finished run as an Excel workbook, run.xlsx: key figures and every table.

    Example: mca export runs/demo --out shared-drive

    Without --out it is written into the run folder. The seed has no effect here.
    """
    from workflows.exports.workbook import write_workbook
    from workflows.run import WORKBOOK, read_run

    summary, tables = read_run(run_dir)
    folder = run_dir if out is None else out
    with writing_into("--out", folder):
        write_workbook(folder / WORKBOOK, summary, tables)
    sheets = {name: len(frame) for name, frame in tables.items()}
    emit(
        {"file": str(folder / WORKBOOK), "tables": sheets},
        [f"{folder / WORKBOOK}: key figures and {len(sheets)} tables"],
        as_json,
    )
