"""Instrument terms checked and grouped for pricing: linear, curve and option instruments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np

from engine.domain.arrays import BoolArray, DateArray, Float64Array, Int64Array, StrArray
from engine.domain.book import INSTRUMENT_KINDS, Instruments
from engine.domain.market import MarketState
from engine.pricing.annuities import (
    PER_CENT,
    Curve,
    bond_curve,
    bond_price,
    cds_curve,
    cds_value,
    swap_curve,
    swap_value,
)

DAYS_PER_YEAR = 365.0
MOST_IDS_SHOWN = 10

# Value of one unit over the multiplier: intercept + slope * level; a NaN intercept is -strike.
_LINEAR = {
    "equity": (0.0, 1.0),
    "future": (0.0, 1.0),
    "rate_future": (100.0, -1.0),
    "fx_forward": (np.nan, 1.0),
    "trs": (np.nan, 1.0),
}

# Value function, its derivatives, and the divisor that brings the value to one unit.
_CurveKind = tuple[Callable[..., Float64Array], Callable[..., Curve], float]
_CURVES: dict[str, _CurveKind] = {
    "swap": (swap_value, swap_curve, 1.0),
    "cds": (cds_value, cds_curve, 1.0),
    "bond": (bond_price, bond_curve, PER_CENT),
}
_DISCOUNTED = ("swap", "bond")
_NEEDS_STRIKE = ("option", "fx_forward", "trs")


@dataclass(frozen=True)
class LinearTerms:
    """Instruments worth `intercept + slope * level`; arrays of shape (n_linear,)."""

    row: Int64Array
    factor: Int64Array
    intercept: Float64Array
    slope: Float64Array


@dataclass(frozen=True)
class CurveTerms:
    """Instruments of one curve kind, worth `unit * price(level, fixed_rate, tenor_years)`."""

    row: Int64Array
    factor: Int64Array
    unit: Float64Array
    fixed_rate: Float64Array
    tenor_years: Float64Array
    price: Callable[..., Float64Array]
    derivatives: Callable[..., Curve]


@dataclass(frozen=True)
class OptionTerms:
    """European options of one model; arrays of shape (n_options,).

    `vol` is the quoted decimal, `model_vol` what the model takes: the same for Black, and
    vol * |level on the market's date| for Bachelier, in units of the level. `years` is ACT/365
    from the market's date, zero where expired.
    """

    row: Int64Array
    factor: Int64Array
    vol_factor: Int64Array
    level: Float64Array
    strike: Float64Array
    vol: Float64Array
    model_vol: Float64Array
    years: Float64Array
    sign: Float64Array
    multiplier: Float64Array


def _refuse(instruments: Instruments, bad: BoolArray, why: str) -> None:
    """Raise ValueError naming the instruments where `bad` is true, if there is one."""
    if not np.any(bad):
        return
    ids = [str(name) for name in instruments.instrument_id[bad]]
    shown = ", ".join(ids[:MOST_IDS_SHOWN])
    more = f" and {len(ids) - MOST_IDS_SHOWN} more" if len(ids) > MOST_IDS_SHOWN else ""
    raise ValueError(f"{why}: {shown}{more}")


def is_log(market: MarketState) -> BoolArray:
    """Return which factors move by log returns, shape (n_factors,)."""
    log: BoolArray = np.asarray(market.factors.return_type == "log", dtype=np.bool_)
    return log


def moved_levels(level: Float64Array, log: BoolArray, moves: Float64Array) -> Float64Array:
    """Return levels after moves in return units.

    level * exp(move) for log factors, level + move for the others: a level of 100 and a log move of
    ln 1.1 give 110.
    """
    return np.where(log, level * np.exp(np.where(log, moves, 0.0)), level + moves)


def uses_black(instruments: Instruments, market: MarketState) -> BoolArray:
    """Return which instruments are options on a log factor with a positive level."""
    black: BoolArray = (
        np.asarray(instruments.kind == "option", dtype=np.bool_)
        & is_log(market)[instruments.factor]
        & (market.level[instruments.factor] > 0.0)
    )
    return black


def check_terms(instruments: Instruments, market: MarketState) -> None:
    """Raise ValueError naming the instruments that cannot be priced, and why.

    Refused: a factor outside the market (-1 included), an unknown kind, a missing number that the
    kind needs, a tenor not above zero, a negative volatility, a strike not above zero where the
    model is Black, a volatility factor without a positive level. Callers filter these out first.
    """
    kind, n_factors = instruments.kind, len(market.factors)
    option = np.asarray(kind == "option", dtype=np.bool_)
    curve = np.isin(kind, list(_CURVES))
    unknown = ~np.isin(kind, INSTRUMENT_KINDS)
    _refuse(instruments, unknown, f"kind is not one of {', '.join(INSTRUMENT_KINDS)}")
    outside = (instruments.factor < 0) | (instruments.factor >= n_factors)
    _refuse(instruments, outside, "the market has no factor for")
    _refuse(instruments, ~np.isfinite(instruments.multiplier), "multiplier is not finite")
    needs_strike = np.isin(kind, _NEEDS_STRIKE)
    _refuse(instruments, needs_strike & ~np.isfinite(instruments.strike), "strike is missing")
    _refuse(instruments, curve & ~np.isfinite(instruments.fixed_rate), "fixed_rate is missing")
    _refuse(instruments, curve & ~(instruments.tenor_years > 0.0), "tenor_years is not above 0")
    discounted = np.isin(kind, _DISCOUNTED) & (market.level[instruments.factor] <= -PER_CENT)
    _refuse(
        instruments, discounted, "the yield is -100 % or less, which has no discount factor, for"
    )
    _refuse(instruments, option & ~(instruments.vol >= 0.0), "vol is missing or negative")
    _refuse(instruments, option & np.isnat(instruments.expiry), "expiry is missing")
    _refuse(instruments, option & ~np.isin(instruments.right, ("C", "P")), "right is not C or P")
    _refuse(
        instruments,
        uses_black(instruments, market) & ~(instruments.strike > 0.0),
        "strike must be above 0 for an option on a log factor",
    )
    vol_factor = instruments.vol_factor
    _refuse(instruments, option & (vol_factor >= n_factors), "the market has no vol_factor for")
    with_vol = option & (vol_factor >= 0)
    flat = with_vol & ~(market.level[np.where(with_vol, vol_factor, 0)] > 0.0)
    _refuse(instruments, flat, "the level of vol_factor is not above 0 for")


def linear_terms(instruments: Instruments) -> LinearTerms:
    """Return the linear instruments, multiplier included."""
    row = np.flatnonzero(np.isin(instruments.kind, list(_LINEAR)))
    pairs = np.array([_LINEAR[k] for k in instruments.kind[row]], dtype=np.float64).reshape(-1, 2)
    strike, multiplier = instruments.strike[row], instruments.multiplier[row]
    intercept = np.where(np.isnan(pairs[:, 0]), -strike, pairs[:, 0])
    return LinearTerms(
        row, instruments.factor[row], multiplier * intercept, multiplier * pairs[:, 1]
    )


def curve_terms(instruments: Instruments) -> list[CurveTerms]:
    """Return the curve instruments, one entry for each kind that occurs."""
    groups = []
    for kind, (price, derivatives, divisor) in _CURVES.items():
        row = np.flatnonzero(instruments.kind == kind)
        if len(row):
            groups.append(
                CurveTerms(
                    row,
                    instruments.factor[row],
                    instruments.multiplier[row] / divisor,
                    instruments.fixed_rate[row],
                    instruments.tenor_years[row],
                    price,
                    derivatives,
                )
            )
    return groups


def years_to_expiry(expiry: DateArray, as_of: date) -> Float64Array:
    """Return ACT/365 years from `as_of` to each expiry, negative where past, NaN for NaT."""
    days = (expiry.astype("datetime64[D]") - np.datetime64(as_of, "D")).astype(np.float64)
    return np.where(np.isnat(expiry), np.nan, days / DAYS_PER_YEAR)


def option_terms(
    instruments: Instruments, market: MarketState, horizon_days: int = 0
) -> tuple[OptionTerms, OptionTerms]:
    """Return the Black and the Bachelier options, aged by `horizon_days` calendar days."""
    black = uses_black(instruments, market)
    option = np.asarray(instruments.kind == "option", dtype=np.bool_)
    return (
        _options(instruments, market, np.flatnonzero(black), True, horizon_days),
        _options(instruments, market, np.flatnonzero(option & ~black), False, horizon_days),
    )


def _options(
    instruments: Instruments, market: MarketState, row: Int64Array, black: bool, horizon_days: int
) -> OptionTerms:
    factor = instruments.factor[row]
    level, vol = market.level[factor], instruments.vol[row]
    years = years_to_expiry(instruments.expiry[row], market.as_of) - horizon_days / DAYS_PER_YEAR
    right: StrArray = instruments.right[row]
    return OptionTerms(
        row=row,
        factor=factor,
        vol_factor=instruments.vol_factor[row],
        level=level,
        strike=instruments.strike[row],
        vol=vol,
        model_vol=vol if black else vol * np.abs(level),
        years=np.maximum(years, 0.0),
        sign=np.where(right == "C", 1.0, -1.0),
        multiplier=instruments.multiplier[row],
    )
