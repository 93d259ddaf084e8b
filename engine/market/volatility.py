"""Daily volatility of factors: EWMA with floors, long-run level, standardised returns."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.market import MarketState

DECAY = 0.97
SEED_DAYS = 60


def ewma_paths(
    returns: Float64Array, decay: float, floor: Float64Array, seed_days: int = SEED_DAYS
) -> Float64Array:
    """Return the volatility known before each day, and after the last.

    sigma2_t = decay sigma2_{t-1} + (1 - decay) r_{t-1}^2 (RiskMetrics, 1996), seeded with the mean
    square of a factor's first `seed_days` returns; the floor is applied to the result and not to
    the recursion.

    Parameters
    ----------
    returns : float64 array of shape (n_days, n_factors)
        NaN only before a factor begins.
    decay : float
        In (0, 1].
    floor : float64 array of shape (n_factors,)
        Least volatility, in the units of the return. A pegged factor has none of its own, and a
        margin without a floor would then be zero until the peg breaks.
    seed_days : int
        Returns that seed the recursion; the seed looks ahead within this first window only.

    Returns
    -------
    float64 array of shape (n_days + 1, n_factors)
        Row t uses returns before row t alone; the last row is the volatility of tomorrow. A factor
        has its seed until it begins, and its floor when it has no returns at all.

    Raises
    ------
    ValueError
        When `decay` is outside (0, 1].

    Notes
    -----
    Worked number: returns 0.02, 0.01 with seed_days 1 and decay 0.5 give tomorrow
    sqrt(0.5 * 0.02^2 + 0.5 * 0.01^2) = 0.0158114.
    """
    if not 0.0 < decay <= 1.0:
        raise ValueError(f"decay {decay} is not in (0, 1]; use for example 0.97")
    squares = returns**2
    known = ~np.isnan(squares)
    first = np.cumsum(known, axis=0)
    head = np.where(known & (first <= seed_days), squares, 0.0)
    counted = np.minimum(first[-1], seed_days)
    seed = np.divide(head.sum(axis=0), counted, out=np.zeros(returns.shape[1]), where=counted > 0)
    variance = np.empty((len(returns) + 1, returns.shape[1]))
    variance[0] = seed
    for t in range(len(returns)):
        step = decay * variance[t] + (1.0 - decay) * squares[t]
        variance[t + 1] = np.where(known[t], step, variance[t])
    paths: Float64Array = np.maximum(np.sqrt(variance), floor)
    return paths


def daily_volatility(market: MarketState, decay: float = DECAY) -> Float64Array:
    """Return tomorrow's EWMA volatility of each factor, floored: shape (n_factors,), no NaN."""
    today: Float64Array = ewma_paths(market.returns, decay, market.factors.daily_vol_floor)[-1]
    return today


def long_run_volatility(market: MarketState, lookback: int | None = None) -> Float64Array:
    """Return the root mean square return over the last `lookback` days (all when None), floored.

    Shape (n_factors,), units of the return. Days before a factor begins do not count; a factor
    without returns in the window has its floor. Worked number: 0.03 and 0.04 give
    sqrt((0.0009 + 0.0016) / 2) = 0.0353553.
    """
    window = market.returns if lookback is None else market.returns[-lookback:]
    known = ~np.isnan(window)
    days = known.sum(axis=0)
    total = np.where(known, window, 0.0) ** 2
    mean = np.divide(total.sum(axis=0), days, out=np.zeros(window.shape[1]), where=days > 0)
    floored: Float64Array = np.maximum(np.sqrt(mean), market.factors.daily_vol_floor)
    return floored


def standardised_returns(market: MarketState, decay: float = DECAY) -> Float64Array:
    """Return returns over the volatility known the day before.

    z_t = r_t / sigma_t with sigma_t from returns before t (no look-ahead after the seed window).

    Returns
    -------
    float64 array of shape (n_days, n_factors)
        NaN where the return is NaN.
    """
    z: Float64Array = (
        market.returns / ewma_paths(market.returns, decay, market.factors.daily_vol_floor)[:-1]
    )
    return z
