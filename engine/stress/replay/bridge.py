"""Hours of real days: each path goes its own way through the day and ends at the real close."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array


def bridge_shocks(
    moves: Float64Array,
    volatility: Float64Array,
    correlation: Float64Array,
    weights: Float64Array,
    paths: int,
    seed: int,
) -> Float64Array:
    """Return the real moves by hour and one bridge for each path.

    Hour h of a day with move r and volatility sigma: r w_h + sigma (sqrt(w_h) z_h - w_h sum_j
    sqrt(w_j) z_j). The second part is a Brownian bridge on the clock of intraday variance: it adds
    up to zero over the day. One path alone gets no bridge.

    Parameters
    ----------
    moves : float64 array of shape (D, K)
        Real move of each day, in return units. No NaN.
    volatility : float64 array of shape (D, K)
        Daily standard deviation known before the day.
    correlation : float64 array of shape (K, K)
        Positive definite.
    weights : float64 array of shape (K, 24)
        Each hour's share of the day's variance; rows sum to 1.
    paths, seed : int

    Returns
    -------
    float64 array of shape (1 + paths, 24 D, K), or (1, 24 D, K) for one path
        Row 0 is common to all paths.

    Notes
    -----
    Worked number: a move of -4 % on even weights is -4 % / 24 = -0.1667 % in each hour, whatever
    the bridge adds, the day ends at -4 %.
    """
    days, factors = moves.shape
    hours = weights.shape[1]
    mean: Float64Array = np.einsum("dk,kh->dhk", moves, weights).reshape(1, days * hours, factors)
    if paths == 1:
        return mean
    lower = np.linalg.cholesky(correlation)
    rng = np.random.Generator(np.random.Philox(seed))
    z = rng.standard_normal((paths, days, hours, factors)) @ lower.T
    root = np.sqrt(weights).T
    walk = root * z
    pinned = walk - weights.T * walk.sum(axis=2, keepdims=True)
    around = (pinned * volatility[:, np.newaxis, :]).reshape(paths, days * hours, factors)
    return np.asarray(np.concatenate([mean, around]), dtype=np.float64)


def path_weights(paths: int) -> Float64Array:
    """Weights of the basis shocks on each path: the real moves, and the path's own bridge."""
    if paths == 1:
        return np.ones((1, 1))
    return np.vstack([np.ones((1, paths)), np.eye(paths)])
