"""A run as one Excel workbook: the key figures, a list of tables, and a sheet for every table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.domain.failures import InputError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    import xlsxwriter

SHEET_NAME_CHARACTERS = 31
MOST_ROWS = 1_048_576
WIDTH_ROWS = 200
"""Rows looked at to find how wide a column must be."""
LEAST_WIDTH, MOST_WIDTH = 8, 48
CREATED = datetime(2000, 1, 1)
"""Fixed, so that the same run gives the same bytes."""
FORMATS = {"usd": "#,##0.00", "number": "0.000000", "integer": "0", "date": "yyyy-mm-dd"}
TEXT_OPTIONS = {
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
    "nan_inf_to_errors": False,
}
Cell = tuple[str, object]


def write_workbook(
    path: Path, summary: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> None:
    """Write `summary` and `tables` as one .xlsx file; the same input gives the same bytes.

    Parameters
    ----------
    path : Path
        Ends with `.xlsx`; an existing file is replaced.
    summary : mapping
        The run's JSON object: its single values go to the first sheet, by their path.
    tables : mapping of table name to DataFrame
        One sheet each, in the order given. Text stays text, whatever it begins with; NaN and
        infinities are blank, because a workbook has no such numbers.

    Raises
    ------
    UsageError
        If the path has another ending or cannot be written.
    InputError
        If a table has more rows than a sheet can hold.
    """
    if path.suffix.lower() != ".xlsx":
        raise UsageError(f"{path}: a workbook's name ends with .xlsx")
    for name, frame in tables.items():
        if len(frame) >= MOST_ROWS:
            raise InputError(
                f"table {name} has {len(frame):,} rows; a sheet holds {MOST_ROWS - 1:,}: use the "
                "Parquet file in the run's tables folder"
            )
    import xlsxwriter
    from xlsxwriter.exceptions import FileCreateError

    book = xlsxwriter.Workbook(str(path), TEXT_OPTIONS)
    book.set_properties({"created": CREATED, "title": "Margin Avalanche run"})
    formats = {name: book.add_format({"num_format": text}) for name, text in FORMATS.items()}
    formats["head"] = book.add_format({"bold": True, "bottom": 1})
    names = _sheet_names(tables)
    _write_summary(book, formats, summary)
    _write_contents(book, formats, tables, names)
    for table, sheet in names.items():
        _write_table(book, formats, sheet, tables[table])
    try:
        book.close()
    except FileCreateError as error:
        raise UsageError(f"{path}: cannot be written: {error}") from error


def _sheet_names(tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Sheet of each table: its name, cut and numbered where Excel's 31 characters are too few."""
    used: set[str] = {"summary", "contents"}
    names: dict[str, str] = {}
    for table in tables:
        name, count = table[:SHEET_NAME_CHARACTERS], 1
        while name.lower() in used:
            count += 1
            tail = f"_{count}"
            name = table[: SHEET_NAME_CHARACTERS - len(tail)] + tail
        used.add(name.lower())
        names[table] = name
    return names


def _write_summary(book: xlsxwriter.Workbook, formats: Mapping[str, Any], summary: Any) -> None:
    sheet = book.add_worksheet("Summary")
    sheet.write_row(0, 0, ["figure", "value"], formats["head"])
    sheet.set_column(0, 0, MOST_WIDTH)
    sheet.set_column(1, 1, 24)
    sheet.freeze_panes(1, 0)
    for row, (name, value) in enumerate(_single_values(summary), start=1):
        sheet.write_string(row, 0, name)
        _write_cell(sheet, row, 1, value, formats, name)


def _single_values(value: Any, path: str = "") -> Iterator[tuple[str, object]]:
    """Every number, text and flag of the nested object with its path; lists are left to tables."""
    for key, item in value.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(item, Mapping):
            yield from _single_values(item, where)
        elif not isinstance(item, list | tuple):
            yield where, item


def _write_contents(
    book: xlsxwriter.Workbook,
    formats: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    names: Mapping[str, str],
) -> None:
    sheet = book.add_worksheet("Contents")
    sheet.write_row(0, 0, ["table", "rows", "columns"], formats["head"])
    sheet.set_column(0, 0, MOST_WIDTH)
    sheet.freeze_panes(1, 0)
    for row, (table, frame) in enumerate(tables.items(), start=1):
        sheet.write_url(row, 0, f"internal:'{names[table]}'!A1", string=table)
        sheet.write_number(row, 1, len(frame))
        sheet.write_number(row, 2, len(frame.columns))


def _write_table(
    book: xlsxwriter.Workbook, formats: Mapping[str, Any], name: str, frame: pd.DataFrame
) -> None:
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 0)
    for column, title in enumerate(frame.columns):
        sheet.write_string(0, column, str(title), formats["head"])
        values = frame[title].tolist()
        shown = [len(str(value)) for value in values[:WIDTH_ROWS]]
        width = max(len(str(title)), *shown) + 1 if shown else len(str(title)) + 1
        sheet.set_column(column, column, min(MOST_WIDTH, max(LEAST_WIDTH, width)))
        for row, value in enumerate(values, start=1):
            _write_cell(sheet, row, column, value, formats, str(title))
    if len(frame.columns):
        sheet.autofilter(0, 0, len(frame), len(frame.columns) - 1)


def _write_cell(
    sheet: Any, row: int, column: int, value: Any, formats: Mapping[str, Any], name: str
) -> None:
    """Write one value by its type; the name tells money from other numbers."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)) or value != value:
        return
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int):
        # Excel keeps 15 digits: a longer whole number would be changed.
        if abs(value) < 10**15:
            sheet.write_number(row, column, value, formats["integer"])
        else:
            sheet.write_string(row, column, str(value))
    elif isinstance(value, float):
        style = "usd" if name.endswith("_usd") or ".im_usd" in name else "number"
        sheet.write_number(row, column, value, formats[style])
    elif hasattr(value, "isoformat"):
        sheet.write_datetime(
            row, column, datetime.fromisoformat(value.isoformat()), formats["date"]
        )
    else:
        sheet.write_string(row, column, str(value))
