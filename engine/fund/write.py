"""Write a book as a fund pack: CSV files and `fund.toml` that `read_pack` reads back unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.book import Book
from engine.domain.failures import InputError
from engine.fund.config import CONFIG_NAME
from engine.fund.schema import TABLES


def write_pack(
    book: Book,
    folder: Path,
    *,
    max_stale_days: int = 10,
    avalanche: Mapping[str, int | float | str | bool] | None = None,
    extra_files: Mapping[str, str] | None = None,
) -> None:
    """Write `book` as a fund pack.

    Parameters
    ----------
    book : Book
        Its NAV and allocations are in USD, so the pack's reporting currency is USD.
    folder : Path
        Made if it is not there. Files of the same names are replaced.
    max_stale_days : int
        `[options] max_stale_days` of the pack.
    avalanche : mapping, optional
        The `[avalanche]` section.
    extra_files : mapping of str to str, optional
        Further lines of `[files]` (`history`, `crif`, `factors`); the files are the caller's.

    Raises
    ------
    InputError
        If the book reports in another currency than USD: its NAV cannot be written back exactly.
    """
    if book.currency != "USD":
        raise InputError(
            f"fund '{book.name}' reports in {book.currency}; a pack is written from USD figures, "
            "so write it with currency USD"
        )
    folder.mkdir(parents=True, exist_ok=True)
    frames = book_frames(book)
    for name, frame in frames.items():
        write_table(frame, folder / f"{name}.csv")
    files = {name: f"{name}.csv" for name in frames} | dict(extra_files or {})
    lines = [
        "[fund]",
        f"name = {_toml(book.name)}",
        f"as_of = {book.as_of.isoformat()}",
        f"currency = {_toml(book.currency)}",
        f"nav = {_toml(float(book.nav_usd))}",
        "",
        "[files]",
        *[f"{name} = {_toml(file)}" for name, file in files.items()],
        "",
        "[options]",
        f"max_stale_days = {max_stale_days}",
    ]
    if avalanche:
        lines += ["", "[avalanche]", *[f"{key} = {_toml(v)}" for key, v in avalanche.items()]]
    (folder / CONFIG_NAME).write_bytes("\n".join([*lines, ""]).encode())


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write one table as CSV: UTF-8, LF, blank for missing, floats with all their digits."""
    frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def book_frames(book: Book) -> dict[str, pd.DataFrame]:
    """Return the tables of a pack, with the columns and the order of the schema.

    Cells are ready to be written: references are ids again, money is text with two decimals,
    numbers that a row does not use are blank.
    """
    positions, instruments = book.positions, book.instruments
    special: dict[str, dict[str, Any]] = {
        "positions": {
            "instrument_id": instruments.instrument_id[positions.instrument],
            "agreement_id": book.agreements.agreement_id[positions.agreement],
            "manager_id": book.managers.manager_id[positions.manager],
            "strategy_id": book.strategies.strategy_id[positions.strategy],
        },
        "agreements": {
            "intraday_hours_utc": _joined(book.agreements.intraday_hours_utc),
            "eligible_collateral": _joined(book.agreements.eligible_collateral),
            "lookback_days": _blank_zero(book.agreements.lookback_days),
            "apc_buffer": _blank_zero(book.agreements.apc_buffer),
        },
        "cash": {"amount": _money(book.cash.amount_cents)},
        "facilities": {
            "limit": _money(book.facilities.limit_cents),
            "drawn": _money(book.facilities.drawn_cents),
        },
        "settlements": {"amount": _money(book.settlements.amount_cents)},
        "managers": {"allocation": book.managers.allocation_usd},
    }
    return {
        name: _frame(name, getattr(book, name), special.get(name, {}))
        for name, table in TABLES.items()
        if table.required
    }


def _frame(name: str, source: object, special: Mapping[str, Any]) -> pd.DataFrame:
    columns = {}
    for column in TABLES[name].columns:
        values = special[column.name] if column.name in special else getattr(source, column.name)
        columns[column.name] = _cells(np.asarray(values))
    return pd.DataFrame(columns)


def _cells(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype.kind == "M":
        text: npt.NDArray[Any] = np.datetime_as_string(values, unit="D").astype(object)
        text[np.isnat(values)] = ""
        return text
    return values


def _money(cents: Int64Array) -> StrArray:
    """Return cents as text with two decimals. `-5` becomes `-0.05`."""
    text = [f"{'-' if c < 0 else ''}{abs(c) // 100}.{abs(c) % 100:02d}" for c in cents.tolist()]
    return _object_array(text)


def _joined(hours: StrArray) -> StrArray:
    return _object_array([";".join(str(hour) for hour in several) for several in hours])


def _blank_zero(values: Int64Array | Float64Array) -> StrArray:
    return _object_array(["" if value == 0 else str(value) for value in values.tolist()])


def _object_array(values: list[str]) -> StrArray:
    array: StrArray = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _toml(value: int | float | str | bool) -> str:
    """Return a TOML value; the escapes of a JSON string are valid in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    return repr(value)
