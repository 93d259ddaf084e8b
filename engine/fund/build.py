"""From checked columns to the frozen domain objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine.domain.agreements import Agreements
from engine.domain.arrays import freeze
from engine.domain.book import (
    Book,
    Cash,
    Collateral,
    Facilities,
    Instruments,
    Managers,
    Positions,
    Settlements,
    Strategies,
)
from engine.domain.market import FactorTable
from engine.domain.money import to_cents
from engine.fund.config import FundSection

Columns = Mapping[str, npt.NDArray[Any]]
T = TypeVar("T")

_RENAMED = {
    "instrument": "instrument_id",
    "agreement": "agreement_id",
    "manager": "manager_id",
    "strategy": "strategy_id",
}


def build_book(
    fund: FundSection, tables: Mapping[str, Columns], factors: FactorTable, usd_per_unit: float
) -> Book:
    """Return the book made of accepted rows only; every array is read-only.

    Parameters
    ----------
    fund : FundSection
    tables : mapping of table name to columns
        Each column of shape (n_accepted,), with the types of `engine.fund.columns.cast_column`.
    factors : FactorTable
        The table into which the references to factors point.
    usd_per_unit : float
        USD per unit of the reporting currency, for NAV and allocations.
    """
    managers = tables["managers"]
    return Book(
        name=fund.name,
        as_of=fund.as_of,
        currency=fund.currency,
        nav_usd=fund.nav * usd_per_unit,
        positions=_make(Positions, _renamed(tables["positions"])),
        instruments=_instruments(tables["instruments"], factors),
        agreements=_make(Agreements, _agreements(tables["agreements"])),
        cash=_make(Cash, _in_cents(tables["cash"], ("amount",))),
        collateral=_make(Collateral, tables["collateral"]),
        facilities=_make(Facilities, _in_cents(tables["facilities"], ("limit", "drawn"))),
        settlements=_make(Settlements, _in_cents(tables["settlements"], ("amount",))),
        managers=_make(
            Managers, {**managers, "allocation_usd": managers["allocation"] * usd_per_unit}
        ),
        strategies=_make(Strategies, tables["strategies"]),
    )


def _make(kind: type[T], columns: Columns) -> T:
    values = {field.name: columns[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    freeze(*values.values())
    return kind(**values)


def _renamed(columns: Columns) -> Columns:
    return {**columns, **{new: columns[old] for new, old in _RENAMED.items()}}


def _in_cents(columns: Columns, names: tuple[str, ...]) -> Columns:
    return {**columns, **{f"{name}_cents": to_cents(columns[name]) for name in names}}


def _agreements(columns: Columns) -> Columns:
    """Name the tool where the cell is blank; blank numbers of tools not used are none."""
    implied = np.where(columns["stress_weight"] > 0.0, "stress_weight", "none")
    return {
        **columns,
        "apc": np.where(columns["apc"] == "", implied, columns["apc"]).astype(object),
        "apc_buffer": np.nan_to_num(columns["apc_buffer"], nan=0.0),
    }


def _instruments(columns: Columns, factors: FactorTable) -> Instruments:
    factor, vol_factor = columns["factor_id"], columns["vol_factor_id"]
    # Index -1 (no factor) reads the "" appended at the end.
    names = np.append(factors.factor_id.astype(object), "")
    return _make(
        Instruments,
        {
            **columns,
            "factor": factor,
            "factor_id": names[factor],
            "vol_factor": vol_factor,
            "vol_factor_id": names[vol_factor],
        },
    )


def merge_factors(packaged: FactorTable, own: Columns) -> FactorTable:
    """Return `packaged` with rows of `own` put in place of those with the same id, or appended."""
    index = {name: i for i, name in enumerate(packaged.factor_id)}
    new = [i for i, name in enumerate(own["factor_id"]) if name not in index]
    old = [i for i, name in enumerate(own["factor_id"]) if name in index]
    places = [index[own["factor_id"][i]] for i in old]
    merged: dict[str, npt.NDArray[Any]] = {}
    for item in fields(FactorTable):
        base: npt.NDArray[Any] = getattr(packaged, item.name).copy()
        if base.dtype.kind == "U":  # A fixed width would cut longer text of the pack.
            base = base.astype(object)
        base[places] = own[item.name][old]
        merged[item.name] = np.concatenate([base, own[item.name][new].astype(base.dtype)])
    return _make(FactorTable, merged)
