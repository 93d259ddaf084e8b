"""Supervisory haircuts of collateral, as data (`engine/rulebooks/collateral_haircuts.csv`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import engine.rulebooks
from engine.domain.failures import InputError
from engine.rulebooks.tables import mark_of, read_table

HAIRCUTS_FILE = Path(engine.rulebooks.__file__).with_name("collateral_haircuts.csv")
CURRENCY_MISMATCH = "currency mismatch"


@dataclass(frozen=True, slots=True)
class Haircut:
    """Rate of one class of assets; residual maturity above `from_years` up to `to_years`."""

    asset_class: str
    from_years: float
    to_years: float
    rate: Fraction
    mark: str
    source: str


@cache
def load_haircuts() -> tuple[Haircut, ...]:
    """Return the packaged supervisory haircuts in file order."""
    return tuple(
        Haircut(
            asset_class=row["asset_class"],
            from_years=float(row["from_years"] or 0.0),
            to_years=float(row["to_years"] or math.inf),
            rate=Fraction(row["haircut"]),
            mark=mark_of(row, where),
            source=row["source"],
        )
        for where, row in read_table(HAIRCUTS_FILE)[1]
    )


def supervisory_haircut(asset_class: str, residual_years: float = math.inf) -> Haircut:
    """Return the haircut of an asset class at a residual maturity.

    Bounds belong to the shorter band: a sovereign bond of exactly five years has 2 per cent, one
    of six years 4. Classes without maturity ignore it.

    Raises
    ------
    InputError
        If the class is not in the table or the maturity is negative.
    """
    rows = [row for row in load_haircuts() if row.asset_class == asset_class]
    if not rows or not residual_years >= 0.0:
        known = ", ".join(dict.fromkeys(row.asset_class for row in load_haircuts()))
        raise InputError(
            f"no haircut for asset class {asset_class!r} with {residual_years:g} years; classes: "
            f"{known}; years must not be negative"
        )
    # The first band also holds a bond that matures today.
    return next(row for row in rows if residual_years <= row.to_years)


def currency_mismatch_haircut() -> Fraction:
    """Return the haircut added for another currency: 8 per cent."""
    return supervisory_haircut(CURRENCY_MISMATCH).rate


def value_after_haircut(
    market_value_cents: int, haircut: Fraction, fx: Fraction = Fraction(1)
) -> int:
    """Value in whole cents of the call's currency, rounded down; `fx` is its price of one unit.

    10,000.00 with 10 per cent is 9,000.00.
    """
    return math.floor(market_value_cents * (1 - haircut) * fx)
