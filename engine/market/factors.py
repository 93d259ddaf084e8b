"""Reading and joining tables of risk factors."""

from __future__ import annotations

import csv
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from engine.domain.failures import InputError
from engine.domain.market import ASSET_CLASSES, RETURN_TYPES, FactorTable

COLUMNS = tuple(field.name for field in fields(FactorTable))
_REQUIRED_TEXT = ("factor_id", "asset_class", "currency", "unit", "return_type", "bucket")
_NUMBERS = ("adv", "daily_vol_floor")
_CHOICES = {
    "asset_class": ASSET_CLASSES,
    "return_type": RETURN_TYPES,
    "synthetic": ("true", "false"),
}


def read_factors(path: Path) -> FactorTable:
    """Read a factor table from CSV: one row per factor, columns as the fields of `FactorTable`.

    Raises
    ------
    InputError
        With file, row, column, the raw text and the remedy: a missing file or column, a blank
        required cell, a repeated `factor_id`, a word outside the allowed ones, or an `adv` or
        `daily_vol_floor` that is not a positive number.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"factor table {path} does not exist; check [files] factors in fund.toml")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: row 1: no column '{missing[0]}'; add it")
        rows = []
        seen: dict[str, int] = {}
        for row in reader:
            number = reader.line_num
            rows.append(_checked(row, number, path))
            name = rows[-1]["factor_id"]
            if name in seen:
                raise InputError(
                    f"{path}: row {number}, column 'factor_id': '{name}' is already on row "
                    f"{seen[name]}; keep one"
                )
            seen[name] = number
    if not rows:
        raise InputError(f"{path}: no factors after the header; add at least one row")
    return table_from_rows(rows)


def merge_factors(packaged: FactorTable, user: FactorTable) -> FactorTable:
    """Return the packaged table with the user's rows put over it; new factors come last."""
    rows = {row["factor_id"]: row for row in table_rows(packaged)}
    rows.update({row["factor_id"]: row for row in table_rows(user)})
    return table_from_rows(list(rows.values()))


def select_factors(factors: FactorTable, columns: list[int]) -> FactorTable:
    """Return the rows at positions `columns`, in that order."""
    positions = np.array(columns, dtype=np.int64)
    return FactorTable(**{name: getattr(factors, name)[positions] for name in COLUMNS})


def table_rows(factors: FactorTable) -> list[dict[str, Any]]:
    """Return the table as one dict per factor."""
    return [{name: getattr(factors, name)[i] for name in COLUMNS} for i in range(len(factors))]


def table_from_rows(rows: list[dict[str, Any]]) -> FactorTable:
    """Return the table of checked rows (floats and bool already converted)."""
    dtypes: dict[str, Any] = dict.fromkeys(_NUMBERS, np.float64) | {"synthetic": np.bool_}
    return FactorTable(
        **{
            name: np.array([row[name] for row in rows], dtype=dtypes.get(name, object))
            for name in COLUMNS
        }
    )


def _checked(row: dict[str, Any], number: int, path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {name: (row[name] or "").strip() for name in COLUMNS}
    where = f"{path}: row {number}, column"
    for name in _REQUIRED_TEXT:
        if not values[name]:
            raise InputError(f"{where} '{name}': blank; it is required")
    for name, allowed in _CHOICES.items():
        if values[name].lower() not in allowed:
            raise InputError(
                f"{where} '{name}': '{values[name]}' is not one of {', '.join(allowed)}"
            )
        values[name] = values[name].lower()
    for name in _NUMBERS:
        values[name] = _positive(values[name], f"{where} '{name}'")
    values["synthetic"] = values["synthetic"] == "true"
    return values


def _positive(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0.0):
        raise InputError(f"{where}: '{text}' is not a positive number; write one above zero")
    return value
