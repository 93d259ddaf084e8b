"""The five signals, each known at the close of its day."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

import numpy as np

from engine.domain.arrays import Float64Array
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.episodes import Similarity
from engine.stress.early_warning.index import MarginIndex
from engine.stress.early_warning.panel import Panel

SIGNALS = {
    "volatility": "volatility index, or realised volatility",
    "volatility_change": "log change of volatility",
    "turbulence": "distance of the recent joint move from what is normal",
    "similarity": "largest resemblance to a past episode",
    "margin_pressure": "margin without lag over margin in force",
}


def signal_values(
    panel: Panel, index: MarginIndex, resembling: Similarity, config: EarlyWarningConfig
) -> dict[str, Float64Array]:
    """Return the signals by name, each of shape (n_days,), NaN before it is known."""
    level = np.maximum(panel.volatility, np.finfo(np.float64).tiny)
    change = np.full(len(level), np.nan)
    change[config.change_days :] = np.log(
        level[config.change_days :] / level[: -config.change_days]
    )
    return {
        "volatility": panel.volatility,
        "volatility_change": change,
        "turbulence": turbulence(panel.returns, config),
        "similarity": resembling.best(),
        "margin_pressure": index.fast / index.value,
    }


def moves_over(returns: Float64Array, days: int) -> Float64Array:
    """Return the sum of the last `days` returns of each row, NaN before; shape as `returns`."""
    out = np.full_like(returns, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(returns, days, axis=0)
    out[days - 1 :] = windows.sum(axis=-1)
    return out


def turbulence(returns: Float64Array, config: EarlyWarningConfig) -> Float64Array:
    """Return q' (h C)^-1 q / K, the squared Mahalanobis distance of the last h days' move q.

    C is the covariance of `turbulence_days` days that end h days earlier, so that the move is not
    part of its own yardstick, with correlations shrunk towards zero (Kritzman and Li, "Skulls,
    Financial Turbulence, and Risk Management", 2010). About 1 when moves are as they were.

    Parameters
    ----------
    returns : float64 array of shape (n_days, n_factors)
        No NaN.

    Returns
    -------
    float64 array of shape (n_days,)
        NaN for the first turbulence_days + h - 1 days.

    Notes
    -----
    Worked number: one factor, C = 0.01^2, h = 5, q = 0.05: 0.05^2 / (5 * 0.01^2) / 1 = 5.
    """
    days, h = config.turbulence_days, config.change_days
    n, factors = returns.shape
    out = np.full(n, np.nan)
    moves = moves_over(returns, h)
    keep = 1.0 - config.covariance_shrinkage
    total = np.zeros(factors)
    products = np.zeros((factors, factors))
    for t in range(h, n):
        # The window is updated by the day that enters and the day that leaves.
        new = returns[t - h]
        total += new
        products += new[:, np.newaxis] * new
        if t < days + h - 1:
            continue
        covariance = (products - total[:, np.newaxis] * total / days) / (days - 1)
        sigma = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        # A factor that did not move at all has no yardstick and no say.
        sigma = np.where(sigma > 0.0, sigma, np.inf)
        matrix = keep * covariance / (sigma[:, np.newaxis] * sigma)
        np.fill_diagonal(matrix, 1.0)
        score = moves[t] / sigma
        out[t] = np.sum(score * np.linalg.solve(matrix, score)) / (h * factors)
        old = returns[t - h - days + 1]
        total -= old
        products -= old[:, np.newaxis] * old
    return out


def expanding_rank(values: Float64Array, least: int) -> Float64Array:
    """Return the share of the values so far that are below each one; equal ones count half.

    The value itself is one of them. NaN values have no rank and are no part of later ones; nor
    have the first `least` - 1 values.

    Notes
    -----
    Worked number: 3, 1, 2, 2 with `least` 1: 0.5, 0.25, 0.5, 0.5.
    """
    ranks = np.full(len(values), np.nan)
    seen: list[float] = []
    for t, value in enumerate(values.tolist()):
        if value != value:
            continue
        insort(seen, value)
        if len(seen) >= least:
            ranks[t] = (bisect_left(seen, value) + bisect_right(seen, value)) / (2 * len(seen))
    return ranks
