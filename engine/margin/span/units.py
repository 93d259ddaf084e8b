"""Risk arrays and composite deltas of the instruments of the book, one long unit each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.book import Instruments
from engine.domain.market import MarketState
from engine.margin.exposure import Exposures, take, unit_pnl
from engine.margin.span.arrays import (
    LEAST_PRICE,
    DeltaPoints,
    OptionUnits,
    ScenarioGrid,
    option_arrays,
    option_deltas,
    scanned_levels,
)
from engine.pricing.terms import (
    curve_terms,
    is_log,
    linear_terms,
    uses_black,
    years_to_expiry,
)


@dataclass(frozen=True)
class UnitRisk:
    """Risk of one long unit of some instruments, in their currency.

    `losses` (n_instruments, n_scenarios), `delta` per unit of the level (n_instruments,). NaN where
    a move cannot be revalued.
    """

    losses: Float64Array
    delta: Float64Array


def option_units(
    instruments: Instruments,
    market: MarketState,
    price_scan_range: Float64Array,
    volatility_scan_range: Float64Array,
) -> OptionUnits:
    """Return the repricing inputs of options; ranges of shape (n_options,)."""
    years = years_to_expiry(instruments.expiry, market.as_of)
    return OptionUnits(
        black=uses_black(instruments, market),
        level=market.level[instruments.factor],
        strike=instruments.strike,
        vol=instruments.vol,
        years=np.maximum(years, 0.0),
        sign=np.where(instruments.right == "C", 1.0, -1.0),
        multiplier=instruments.multiplier,
        price_scan_range=price_scan_range,
        volatility_scan_range=volatility_scan_range,
    )


def option_risk(
    options: OptionUnits, grid: ScenarioGrid, points: DeltaPoints, look_ahead_years: float
) -> UnitRisk:
    """Return risk arrays by repricing and composite deltas of options."""
    return UnitRisk(
        option_arrays(options, grid, look_ahead_years),
        option_deltas(options, points, look_ahead_years),
    )


def other_risk(
    exposures: Exposures,
    rows: Int64Array,
    price_scan_range: Float64Array,
    grid: ScenarioGrid,
    points: DeltaPoints,
) -> UnitRisk:
    """Return the risk of instruments that are not options, by full revaluation.

    Parameters
    ----------
    rows : int64 array of shape (n,)
        Rows of `exposures.instruments`.
    price_scan_range : float64 array of shape (n_factors,)
        In units of the level; NaN for factors that `rows` do not use.

    Notes
    -----
    A price of a log factor cannot fall below zero. Swaps, bonds and credit default swaps are
    revalued at the moved yield or spread; their delta is weighted over the same moves as that of
    options. Carry over the look-ahead is not included.
    """
    market = exposures.market
    moves = factor_moves(market, price_scan_range, grid.price)
    losses = -unit_pnl(exposures, rows, moves) * grid.covered
    some = take(exposures.instruments, rows)
    delta = np.full(len(rows), np.nan)
    linear = linear_terms(some)
    delta[linear.row] = linear.slope
    fine: BoolArray = np.all(np.isfinite(losses), axis=1)
    for curve in curve_terms(some):
        at = np.flatnonzero(fine[curve.row])
        row, factor = curve.row[at], curve.factor[at]
        log = is_log(market)[factor]
        levels = scanned_levels(market.level[factor], price_scan_range[factor], points.price, log)
        fixed, tenor = curve.fixed_rate[at, np.newaxis], curve.tenor_years[at, np.newaxis]
        slopes = curve.derivatives(levels, fixed, tenor).first
        delta[row] = curve.unit[at] * (slopes @ points.weight)
    delta[~fine] = np.nan
    return UnitRisk(losses, delta)


def factor_moves(
    market: MarketState, price_scan_range: Float64Array, fractions: Float64Array
) -> Float64Array:
    """Return the moves in units of the return, (n_moves, n_factors); 0 where the range is NaN.

    A log factor at 100 with a range of 10 moves by ln(1.1) at fraction 1.
    """
    used = np.isfinite(price_scan_range)
    shift = fractions[:, np.newaxis] * np.where(used, price_scan_range, 0.0)
    log = is_log(market) & (market.level > 0.0)
    level = np.where(log, market.level, 1.0)
    relative = np.maximum(1.0 + np.where(log, shift, 0.0) / level, LEAST_PRICE)
    return np.asarray(np.where(log, np.log(relative), shift))
