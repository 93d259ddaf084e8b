"""Full revaluation of every instrument on a grid of factor moves."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Instruments
from engine.domain.market import MarketState
from engine.kernels.black import bachelier_revalue, black_revalue
from engine.pricing.terms import (
    CurveTerms,
    OptionTerms,
    check_terms,
    curve_terms,
    is_log,
    linear_terms,
    moved_levels,
    option_terms,
)
from engine.pricing.value import premiums

# Instruments revalued at once by NumPy: keeps temporaries near the cache instead of in gigabytes.
_BLOCK = 32


def scenario_pnl(
    instruments: Instruments,
    market: MarketState,
    moves: Float64Array,
    horizon_days: int = 0,
) -> Float64Array:
    """Return the profit and loss of one unit of each instrument in each scenario.

    Parameters
    ----------
    instruments : Instruments
        n_instruments rows, each with a factor of the market.
    market : MarketState
        Levels today and return types.
    moves : float64 array of shape (n_scenarios, n_factors)
        Log returns (log factors) or level differences (absolute factors) over the horizon.
    horizon_days : int
        Calendar days that pass in a scenario: options lose that much time. Carry and roll-down of
        other instruments are not included.

    Returns
    -------
    float64 array of shape (n_instruments, n_scenarios)
        Value in the scenario minus value today, instrument currency. No NaN.
        Equity at 100, move 0.1: 100*(exp(0.1) - 1) = 10.517091807564762.

    Raises
    ------
    ValueError
        If an instrument cannot be priced, a used move is NaN or infinite, or a move takes a
        level to infinity, a yield to -100 % or below, or `horizon_days` is negative.

    Notes
    -----
    level' = level*exp(move) or level + move. The implied volatility of an option with a
    `vol_factor` is multiplied by that factor's level' / level (not below zero); otherwise it is
    held. Black options keep their strike, Bachelier ones the normal volatility of today's level.
    """
    check_terms(instruments, market)
    if horizon_days < 0:
        raise ValueError(f"horizon_days is {horizon_days}; it must be 0 or more")
    if moves.ndim != 2 or moves.shape[1] != len(market.factors):
        raise ValueError(
            f"moves has shape {moves.shape}, not (n_scenarios, {len(market.factors)} factors)"
        )
    used, column = np.unique(instruments.factor, return_inverse=True)
    shifts = np.ascontiguousarray(moves[:, used].T)
    levels = _scenario_levels(market, used, shifts)
    pnl = np.empty((len(instruments), moves.shape[0]))
    linear = linear_terms(instruments)
    for row, factor, slope in zip(linear.row, linear.factor, linear.slope, strict=True):
        np.subtract(levels[column[row]], market.level[factor], out=pnl[row])
        pnl[row] *= slope
    for curve in curve_terms(instruments):
        _curve_pnl(instruments, curve, market, levels, column, pnl)
    _option_pnl(instruments, market, moves, shifts, levels, column, horizon_days, pnl)
    return pnl


def _scenario_levels(market: MarketState, used: Int64Array, shifts: Float64Array) -> Float64Array:
    """Return levels after the moves, shape (n_used, n_scenarios); check that all are finite."""
    level = market.level[used, np.newaxis]
    with np.errstate(over="ignore", invalid="ignore"):
        log = is_log(market)[used, np.newaxis]
        levels = moved_levels(level, log, shifts)
    bad = ~np.all(np.isfinite(levels) & np.isfinite(shifts), axis=1)
    if np.any(bad):
        names = ", ".join(str(name) for name in market.factors.factor_id[used[bad]])
        raise ValueError(
            f"a scenario has a move that is NaN, infinite or too large for: {names}; "
            "fill or cut these moves before revaluing"
        )
    return levels


def _curve_pnl(
    instruments: Instruments,
    curve: CurveTerms,
    market: MarketState,
    levels: Float64Array,
    column: Int64Array,
    pnl: Float64Array,
) -> None:
    for start in range(0, len(curve.row), _BLOCK):
        block = slice(start, start + _BLOCK)
        row = curve.row[block]
        fixed = curve.fixed_rate[block, np.newaxis]
        tenor = curve.tenor_years[block, np.newaxis]
        now = curve.price(market.level[curve.factor[block], np.newaxis], fixed, tenor)
        then_levels = levels[column[row]]
        try:
            then = curve.price(then_levels, fixed, tenor)
        except ValueError as error:
            lowest = row[int(np.argmin(np.min(then_levels, axis=1)))]
            raise ValueError(
                f"instrument {instruments.instrument_id[lowest]} in a scenario: {error}"
            ) from error
        pnl[row] = curve.unit[block, np.newaxis] * (then - now)


def _vol_ratios(
    market: MarketState, moves: Float64Array, options: OptionTerms
) -> tuple[Float64Array, Int64Array]:
    """Return volatility over today's, one row per volatility factor used, and each option's row.

    Row 0 is all ones, for the options whose volatility is held.
    """
    used = np.unique(options.vol_factor[options.vol_factor >= 0])
    shifts = np.ascontiguousarray(moves[:, used].T)
    ratios = np.ones((len(used) + 1, moves.shape[0]))
    if len(used):
        levels = _scenario_levels(market, used, shifts)
        ratios[1:] = np.maximum(levels / market.level[used, np.newaxis], 0.0)
    row = np.where(options.vol_factor < 0, 0, np.searchsorted(used, options.vol_factor) + 1)
    return ratios, row.astype(np.int64)


def _option_pnl(
    instruments: Instruments,
    market: MarketState,
    moves: Float64Array,
    shifts: Float64Array,
    levels: Float64Array,
    column: Int64Array,
    horizon_days: int,
    pnl: Float64Array,
) -> None:
    today = option_terms(instruments, market)
    black, bachelier = option_terms(instruments, market, horizon_days)
    black_now, bachelier_now = premiums(*today)
    if len(black.row):
        ratios, vol_row = _vol_ratios(market, moves, black)
        black_revalue(
            levels,
            shifts,
            ratios,
            column[black.row],
            vol_row,
            np.log(black.level / black.strike),
            black.strike,
            black.model_vol * np.sqrt(black.years),
            black.sign,
            black.multiplier,
            black_now,
            black.row,
            pnl,
        )
    if len(bachelier.row):
        ratios, vol_row = _vol_ratios(market, moves, bachelier)
        bachelier_revalue(
            levels,
            ratios,
            column[bachelier.row],
            vol_row,
            bachelier.strike,
            bachelier.model_vol * np.sqrt(bachelier.years),
            bachelier.sign,
            bachelier.multiplier,
            bachelier_now,
            bachelier.row,
            pnl,
        )
