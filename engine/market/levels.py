"""Levels of factors by date, and the strict reader of a history file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain.arrays import BoolArray, DateArray, Float64Array, StrArray, freeze
from engine.domain.failures import InputError
from engine.market.csv_cells import read_cells

if TYPE_CHECKING:
    import pyarrow as pa

DATE_COLUMN = "date"
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_FIRST_DATA_ROW = 2  # row 1 is the header


@dataclass(frozen=True)
class Levels:
    """Observed levels of factors.

    Attributes
    ----------
    dates : datetime64[D] array of shape (n_dates,)
        Strictly increasing.
    factor_ids : object array of str, shape (n_factors,)
        Unique.
    values : float64 array of shape (n_dates, n_factors)
        Levels in the factor's unit; NaN where there was no observation, never infinite.
    """

    dates: DateArray
    factor_ids: StrArray
    values: Float64Array

    def __post_init__(self) -> None:
        assert self.values.shape == (len(self.dates), len(self.factor_ids))
        assert bool(np.all(np.diff(self.dates) > np.timedelta64(0, "D")))
        freeze(self.dates, self.factor_ids, self.values)

    def index(self) -> dict[str, int]:
        """Return the column of each factor id."""
        return {str(name): i for i, name in enumerate(self.factor_ids)}

    def column(self, factor_id: str) -> Float64Array:
        """Return levels of one factor, shape (n_dates,); an unknown id raises KeyError."""
        values: Float64Array = self.values[:, self.index()[factor_id]]
        return values


def read_levels(path: Path) -> Levels:
    """Read a wide history: first column `date`, then one column of levels per factor.

    Parameters
    ----------
    path : Path
        CSV (`.csv`, `.csv.gz`) or Parquet (`.parquet`). A blank cell, or a null in Parquet, is
        "no observation".

    Returns
    -------
    Levels
        With the dates and columns of the file, in its order.

    Raises
    ------
    InputError
        With file, row, column, the raw text and the remedy: a missing file, no `date` column,
        repeated columns, a date that is not YYYY-MM-DD, repeated or unsorted dates, text or an
        infinite number where a level belongs. Rows are counted as in a spreadsheet: the header
        is row 1. In Parquet, the first record is row 2 as well.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"history file {path} does not exist; check [files] history in fund.toml")
    if path.suffix == ".parquet":
        return _from_table(_read_parquet(path), path)
    return _from_table(read_cells(path, DATE_COLUMN), path)


def _from_table(table: pa.Table, path: Path) -> Levels:
    names = [str(name).strip() for name in table.column_names]
    _check_header(names, path)
    dates = _dates(table.column(0), path)
    values = np.empty((table.num_rows, len(names) - 1), dtype=np.float64)
    for j, name in enumerate(names[1:], start=1):
        values[:, j - 1] = _numbers(table.column(j), name, path)
    return Levels(dates, np.array(names[1:], dtype=object), values)


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})") from error


def _check_header(names: list[str], path: Path) -> None:
    if not names or names[0] != DATE_COLUMN:
        first = names[0] if names else ""
        raise InputError(
            f"{path}: row 1: the first column is '{first}'; it must be '{DATE_COLUMN}'"
        )
    if "" in names:
        number = names.index("") + 1
        raise InputError(f"{path}: row 1: column {number} has no name; give its factor id")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"{path}: row 1: column '{repeated[0]}' appears twice; keep one")
    if len(names) == 1:
        raise InputError(f"{path}: row 1: no factor column after '{DATE_COLUMN}'; add one")


def _dates(column: pa.ChunkedArray, path: Path) -> DateArray:
    texts = [_text(cell) for cell in column.to_pylist()]
    if not texts:
        raise InputError(f"{path}: no rows of levels after the header; add the history")
    dates = _iso_dates(texts)
    if dates is None:
        i = next(i for i, text in enumerate(texts) if _iso_dates([text]) is None)
        raise InputError(
            f"{path}: row {i + _FIRST_DATA_ROW}, column '{DATE_COLUMN}': '{texts[i]}' is not a "
            "date; write YYYY-MM-DD"
        )
    steps = np.diff(dates).astype(np.int64)
    wrong = np.flatnonzero(steps <= 0)
    if len(wrong):
        i = int(wrong[0]) + 1
        fault = "appears twice; keep one row" if steps[i - 1] == 0 else "is out of order; sort rows"
        raise InputError(
            f"{path}: row {i + _FIRST_DATA_ROW}, column '{DATE_COLUMN}': '{texts[i]}' {fault} "
            "by date"
        )
    return dates


def _iso_dates(texts: list[str]) -> DateArray | None:
    if not all(map(_ISO_DATE.fullmatch, texts)):
        return None
    try:
        return np.array(texts, dtype="datetime64[D]")
    except ValueError:
        return None


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    # A Parquet timestamp is accepted when it is a plain date at midnight.
    return str(cell).strip().removesuffix(" 00:00:00")


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> Float64Array:
    import pyarrow as pa
    from pyarrow import compute

    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if is_text:
        trimmed = compute.utf8_trim_whitespace(column)
        column = compute.if_else(compute.equal(trimmed, ""), None, trimmed)
    try:
        numbers = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _bad_number(column.to_pylist(), name, path) from None
    values, present = _float64(numbers)
    # A float column of Parquet may hold NaN for "no observation"; the text "nan" is a fault.
    unusable = (~np.isfinite(values) & present) if is_text else np.isinf(values)
    if unusable.any():
        i = int(np.flatnonzero(unusable)[0])
        raise _number_error(i, str(column[i].as_py()), name, path)
    return values


def _float64(column: pa.ChunkedArray) -> tuple[Float64Array, BoolArray]:
    """Return values (NaN where null) and the mask of those that are not null."""
    import pyarrow as pa

    # Not `to_numpy` or `fill_null`: they import pandas, which costs more than the whole reading.
    whole = pa.concat_arrays(column.chunks)
    rows = slice(whole.offset, whole.offset + len(whole))
    validity, data = whole.buffers()
    values = np.frombuffer(data, dtype=np.float64)[rows].copy()
    present = np.ones(len(whole), dtype=np.bool_)
    if validity is not None:
        bits = np.frombuffer(validity, dtype=np.uint8)
        present = np.unpackbits(bits, bitorder="little")[rows].astype(np.bool_)
    values[~present] = np.nan
    return values, present


def _bad_number(cells: list[Any], name: str, path: Path) -> InputError:
    for i, cell in enumerate(cells):
        try:
            float(cell if cell is not None else "nan")
        except (TypeError, ValueError):
            return _number_error(i, str(cell), name, path)
        if isinstance(cell, str) and "_" in cell:
            return _number_error(i, cell, name, path)
    return InputError(f"{path}: column '{name}' does not hold numbers; write plain decimals")


def _number_error(i: int, text: str, name: str, path: Path) -> InputError:
    return InputError(
        f"{path}: row {i + _FIRST_DATA_ROW}, column '{name}': '{text}' is not a finite number; "
        "write a plain decimal such as 1234.5, or leave the cell blank for no observation"
    )
