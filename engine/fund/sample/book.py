"""The sample's tables as a `Book`, without a detour through files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from engine.domain.agreements import Agreements
from engine.domain.arrays import Int64Array, StrArray
from engine.domain.book import (
    Book,
    Cash,
    Collateral,
    Facilities,
    Managers,
    Positions,
    Settlements,
    Strategies,
)
from engine.domain.market import MarketState
from engine.domain.money import to_cents
from engine.fund.sample.sizing import to_instruments

FUND_NAME = "Quantum Multi-Strategy Fund"
NAV_USD = 15e9

T = TypeVar("T")


def to_book(tables: Mapping[str, pd.DataFrame], market: MarketState) -> Book:
    """Return the book of the sample's tables; references become row numbers.

    Equal to what `engine.fund.read.read_pack` gives for the written pack, to the digits written.
    """
    positions, facilities = tables["positions"], tables["facilities"]
    settlements, managers = tables["settlements"], tables["managers"]
    agreements = tables["agreements"]
    columns = {
        name: _at(positions[f"{name}_id"], table[f"{name}_id"])
        for name, table in (
            ("instrument", tables["instruments"]),
            ("agreement", agreements),
            ("manager", managers),
            ("strategy", tables["strategies"]),
        )
    }
    return Book(
        name=FUND_NAME,
        as_of=market.as_of,
        currency="USD",
        nav_usd=NAV_USD,
        positions=_make(Positions, positions, columns),
        instruments=to_instruments(tables["instruments"], market),
        agreements=_make(
            Agreements,
            agreements,
            {
                "intraday_hours_utc": _several(agreements["intraday_hours_utc"], int),
                "eligible_collateral": _several(agreements["eligible_collateral"], str),
                "apc_buffer": agreements["apc_buffer"].fillna(0.0).to_numpy(np.float64),
            },
        ),
        cash=_make(Cash, tables["cash"], {"amount_cents": to_cents(tables["cash"]["amount"])}),
        collateral=_make(Collateral, tables["collateral"], {}),
        facilities=_make(
            Facilities,
            facilities,
            {
                "limit_cents": to_cents(facilities["limit"]),
                "drawn_cents": to_cents(facilities["drawn"]),
            },
        ),
        settlements=_make(
            Settlements,
            settlements,
            {
                "value_date": pd.to_datetime(settlements["value_date"])
                .to_numpy()
                .astype("datetime64[D]"),
                "amount_cents": to_cents(settlements["amount"]),
            },
        ),
        managers=_make(
            Managers, managers, {"allocation_usd": managers["allocation"].to_numpy(np.float64)}
        ),
        strategies=_make(Strategies, tables["strategies"], {}),
    )


def _several(cells: pd.Series[str], kind: Callable[[str], Any]) -> StrArray:
    """Cells such as `9;13` as tuples."""
    column = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        column[i] = tuple(kind(part) for part in str(cell).split(";") if part)
    return column


def _at(ids: pd.Series[str], targets: pd.Series[str]) -> Int64Array:
    rows = {name: i for i, name in enumerate(targets)}
    return np.array([rows[name] for name in ids], dtype=np.int64)


def _make(kind: type[T], frame: pd.DataFrame, special: Mapping[str, Any]) -> T:
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in special:
            values[field.name] = special[field.name]
            continue
        column = frame[field.name]
        is_number = pd.api.types.is_numeric_dtype(column)
        values[field.name] = column.to_numpy() if is_number else column.to_numpy(object)
    return kind(**values)
