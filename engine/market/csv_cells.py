"""CSV files as tables of cells: fast for numbers, exact about a cell that is none."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from engine.domain.failures import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def read_cells(path: Path, text_column: str) -> pa.Table:
    """Read a CSV, plain or `.gz`, with a header row.

    Returns
    -------
    pyarrow.Table
        One row per line after the header (blank lines at the end are dropped, others are rows
        of nulls), blank cells null. Columns are float64 and all finite, except `text_column`; or
        text, all of them, when some cell is not a finite number.

    Raises
    ------
    InputError
        With file, row and remedy, when the text is not UTF-8 or a row has a wrong number of cells.
    """
    header, rows = _shape(path)
    typed = _read(path, header, rows, text_column, as_text=False)
    if typed is not None:
        return typed
    text = _read(path, header, rows, text_column, as_text=True)
    assert text is not None
    return text


def _shape(path: Path) -> tuple[list[str], int | None]:
    """Return the header, and the count of rows when the file ends in blank lines."""
    try:
        with _open(path) as stream:
            header = next(csv.reader(stream), [])
            tail = stream.read()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save the file as UTF-8") from error
    body = tail.rstrip("\r\n")
    trailing = tail[len(body) :].replace("\r\n", "\n").count("\n")
    return header, body.count("\n") + 1 if body and trailing > 1 else None


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read(
    path: Path, header: list[str], rows: int | None, text_column: str, as_text: bool
) -> pa.Table | None:
    """Read all cells as text, or as numbers: None then when some cell is none."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    types = {name: pa.string() if as_text else pa.float64() for name in header}
    types[text_column] = pa.string()
    try:
        table = arrow_csv.read_csv(
            path,
            arrow_csv.ReadOptions(use_threads=False),
            arrow_csv.ParseOptions(ignore_empty_lines=False),
            arrow_csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        if not as_text:
            return None
        raise _unreadable(path, header, str(error)) from error
    table = table if rows is None else table.slice(0, rows)
    return table if as_text or all(map(_finite, table.itercolumns())) else None


def _finite(column: pa.ChunkedArray) -> bool:
    import pyarrow as pa
    from pyarrow import compute

    if not pa.types.is_floating(column.type):
        return True
    # None: the column is all null, which is no fault.
    return compute.all(compute.is_finite(column)).as_py() is not False


def _unreadable(path: Path, header: list[str], reason: str) -> InputError:
    with _open(path) as stream:
        reader = csv.reader(stream)
        for cells in reader:
            if len(cells) != len(header):
                return InputError(
                    f"{path}: row {reader.line_num} has {len(cells)} cells, the header has "
                    f"{len(header)}: '{','.join(cells)[:60]}'; give every row as many cells as the "
                    "header"
                )
    return InputError(f"{path}: not a readable CSV: {reason}")
