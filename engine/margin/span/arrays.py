"""Risk arrays: losses of one long unit in a fixed grid of price and volatility moves.

A grid has 14 scenarios of thirds of the price scan range with volatility up or down, and two
extreme price moves of which a fraction is covered. Values are losses: positive means that one
long unit loses. Layout of the grid: NSE Clearing's and CME's published scenario order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, freeze
from engine.domain.failures import InputError
from engine.pricing.black import bachelier_greeks, bachelier_price, black_greeks, black_price

N_SCENARIOS = 16
EXTREME_MULTIPLE = 2.0
COVERED_FRACTION = 0.35
# A price cannot fall below zero, where Black-76 has no logarithm: least fraction of it that is left
LEAST_PRICE = 1e-9

_THIRDS = (0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3)


@dataclass(frozen=True)
class ScenarioGrid:
    """Scenarios in the published order; arrays of shape (n_scenarios,).

    Attributes
    ----------
    price : float64 array
        Price move as a multiple of the price scan range.
    volatility : float64 array
        Volatility move as a multiple of the volatility scan range.
    covered : float64 array
        Fraction of the loss that counts: 1 but for the extreme moves.
    paired : int64 array
        Row with the same price move and the opposite volatility move; an extreme one is its own.
    unchanged : int64 array
        Rows without a price move: their mean loss is the time risk.
    """

    price: Float64Array
    volatility: Float64Array
    covered: Float64Array
    paired: Int64Array
    unchanged: Int64Array

    def __len__(self) -> int:
        return len(self.price)


@dataclass(frozen=True)
class DeltaPoints:
    """Price moves (multiples of the scan range) and the probability of each, shape (n_points,)."""

    price: Float64Array
    weight: Float64Array


@dataclass(frozen=True)
class OptionUnits:
    """Options to reprice, one long unit each; every array has shape (n_options,).

    `black` marks the lognormal ones; the others are normal, with `vol` times |level| as their
    volatility in units of the level. `years` is the time to expiry today. `price_scan_range` is in
    units of the level, `volatility_scan_range` in units of the quoted `vol` (0.04 is four points).
    """

    black: BoolArray
    level: Float64Array
    strike: Float64Array
    vol: Float64Array
    years: Float64Array
    sign: Float64Array
    multiplier: Float64Array
    price_scan_range: Float64Array
    volatility_scan_range: Float64Array

    def __len__(self) -> int:
        return len(self.level)


def standard_grid(
    extreme_multiple: float = EXTREME_MULTIPLE, covered_fraction: float = COVERED_FRACTION
) -> ScenarioGrid:
    """Return the 16 scenarios.

    Parameters
    ----------
    extreme_multiple : float
        Extreme move as a multiple of the price scan range: 2 in the published example, 3 elsewhere.
    covered_fraction : float
        Share of the extreme loss that counts, in (0, 1]: 0.35 with 2, 0.33 with 3.

    Raises
    ------
    InputError
        If the multiple is not above 1 or the fraction is outside (0, 1].

    Examples
    --------
    A long future with a price scan range worth 10,000 loses 2 * 0.35 * 10,000 = 7,000 in the
    last scenario.
    """
    if not (np.isfinite(extreme_multiple) and extreme_multiple > 1.0):
        raise InputError(f"extreme_multiple is {extreme_multiple}; it must be above 1, such as 2")
    if not 0.0 < covered_fraction <= 1.0:
        raise InputError(
            f"extreme_covered_fraction is {covered_fraction}; it must be above 0 and at most 1"
        )
    thirds = np.array(_THIRDS, dtype=np.float64) / 3.0
    price = np.concatenate([thirds, [extreme_multiple, -extreme_multiple]])
    volatility = np.concatenate([np.tile([1.0, -1.0], len(_THIRDS) // 2), [0.0, 0.0]])
    covered = np.concatenate([np.ones(len(_THIRDS)), [covered_fraction, covered_fraction]])
    rows = np.arange(N_SCENARIOS, dtype=np.int64)
    paired = np.where(volatility == 0.0, rows, rows ^ 1)
    unchanged = np.flatnonzero(price == 0.0).astype(np.int64)
    freeze(price, volatility, covered, paired, unchanged)
    return ScenarioGrid(price, volatility, covered, paired, unchanged)


def scanned_levels(
    level: Float64Array, price_scan_range: Float64Array, moves: Float64Array, positive: BoolArray
) -> Float64Array:
    """Return level + move * range, shape (n, n_moves); not below zero where `positive`."""
    moved = level[:, np.newaxis] + price_scan_range[:, np.newaxis] * moves
    least = np.where(positive, LEAST_PRICE * level, -np.inf)[:, np.newaxis]
    return np.asarray(np.maximum(moved, least))


def linear_arrays(unit: Float64Array, grid: ScenarioGrid) -> Float64Array:
    """Return the risk arrays of futures, shape (n, n_scenarios).

    `unit` is the gain of one long unit on one price scan range up: multiplier times range. With
    10,000 the losses are 0, 0, -3,333, -3,333, 3,333, ... -7,000, 7,000.
    """
    return -unit[:, np.newaxis] * (grid.price * grid.covered)


def option_arrays(
    options: OptionUnits, grid: ScenarioGrid, look_ahead_years: float
) -> Float64Array:
    """Return the risk arrays of options by repricing, shape (n_options, n_scenarios).

    loss = covered * multiplier * (V(S, vol, T) - V(S + a * PSR, vol + b * VSR, T - look-ahead)),
    a and b of the grid. Volatility and time are not below zero, a lognormal price neither. Currency
    of the instrument; NaN in gives NaN.

    Examples
    --------
    Call, F = K = 100, vol 0.2, one year, price scan range 10, volatility scan range 0.05, no
    look-ahead: V is 7.965567 today and 16.190426 after +10 and +0.05, a loss of -8.224859.
    """
    levels = scanned_levels(options.level, options.price_scan_range, grid.price, options.black)
    vol_move = options.volatility_scan_range[:, np.newaxis] * grid.volatility
    vol = options.vol[:, np.newaxis] + vol_move
    left = np.maximum(options.years - look_ahead_years, 0.0)[:, np.newaxis]
    now = _premium(
        options, options.level[:, np.newaxis], options.vol[:, np.newaxis],
        options.years[:, np.newaxis],
    )  # fmt: skip
    then = _premium(options, levels, np.maximum(vol, 0.0), left)
    return np.asarray(options.multiplier[:, np.newaxis] * (now - then) * grid.covered)


def option_deltas(
    options: OptionUnits, points: DeltaPoints, look_ahead_years: float
) -> Float64Array:
    """Return the composite delta of one unit, per unit of the level, shape (n_options,).

    It is the probability-weighted delta after the look-ahead at the price moves of `points`, with
    volatility unchanged. A call far in the money has `multiplier`.
    """
    levels = scanned_levels(options.level, options.price_scan_range, points.price, options.black)
    left = np.maximum(options.years - look_ahead_years, 0.0)[:, np.newaxis]
    delta = np.empty(levels.shape)
    for rows, normal in ((options.black, False), (~options.black, True)):
        vol, today = options.vol[rows, np.newaxis], options.level[rows, np.newaxis]
        strike, sign = options.strike[rows, np.newaxis], options.sign[rows, np.newaxis]
        if normal:
            own = vol * np.abs(today)
            greeks = bachelier_greeks(levels[rows], strike, own, left[rows], sign)
        else:
            greeks = black_greeks(levels[rows], strike, vol, left[rows], sign)
        delta[rows] = greeks.delta
    return np.asarray(options.multiplier * (delta @ points.weight))


def _premium(
    options: OptionUnits, level: Float64Array, vol: Float64Array, years: Float64Array
) -> Float64Array:
    """Premium without multiplier; arguments of shape (n_options, 1) or (n_options, n)."""
    shape = np.broadcast_shapes(level.shape, vol.shape, years.shape)
    level, vol, years = (np.broadcast_to(x, shape) for x in (level, vol, years))
    out = np.empty(shape)
    for rows, normal in ((options.black, False), (~options.black, True)):
        strike, sign = options.strike[rows, np.newaxis], options.sign[rows, np.newaxis]
        if normal:
            # The normal volatility is that of today's level, wherever the price goes.
            own = vol[rows] * np.abs(options.level[rows, np.newaxis])
            out[rows] = bachelier_price(level[rows], strike, own, years[rows], sign)
        else:
            out[rows] = black_price(level[rows], strike, vol[rows], years[rows], sign)
    return out
