"""The box of allowed moves, and the smallest step along a ray that reaches a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from engine.domain.arrays import BoolArray, Float64Array, freeze

Evaluate = Callable[[Float64Array], Float64Array]
"""Losses (n,) of points (n, K) in whitened units; -inf where a loss cannot be computed."""

# A move this small against its bound counts as none when its sign is judged.
SIGN_TOLERANCE = 1e-9
LEAST_LENGTH = 1e-12


@dataclass(frozen=True)
class MoveBox:
    """Which whitened points y are allowed: bounds and signs of the moves x = loading @ y.

    Attributes
    ----------
    loading : float64 array of shape (K, K)
        Lower Cholesky factor of the covariance of the moves: |y| is their Mahalanobis distance.
    bound : float64 array of shape (K,)
        Largest |move| of each factor; inf where there is none.
    sign : float64 array of shape (K,)
        1: may not fall; -1: may not rise; 0: free.
    largest_radius : float
        Largest |y|, so that a ray without a bound ends.
    """

    loading: Float64Array
    bound: Float64Array
    sign: Float64Array
    largest_radius: float

    def __post_init__(self) -> None:
        n = len(self.loading)
        assert self.loading.shape == (n, n)
        assert self.bound.shape == (n,) and self.sign.shape == (n,)
        assert self.largest_radius > 0.0 and (self.bound > 0.0).all()
        freeze(self.loading, self.bound, self.sign)

    def longest(self, directions: Float64Array) -> Float64Array:
        """Largest multiple of each unit direction (n, K) that is allowed, shape (n,).

        Zero where a sign is wrong from the first step.
        """
        x = directions @ self.loading.T
        size = np.maximum(np.abs(x), np.finfo(np.float64).tiny)
        with np.errstate(over="ignore"):
            most = np.min(self.bound / size, axis=1)
        unit = np.where(np.isfinite(self.bound), self.bound, np.abs(x).max(axis=1, keepdims=True))
        wrong = (self.sign * x < -SIGN_TOLERANCE * unit).any(axis=1)
        return np.where(wrong, 0.0, np.minimum(most, self.largest_radius))

    def project(self, points: Float64Array) -> Float64Array:
        """Set moves of a wrong sign to zero and cut moves at their bounds, shape (n, K).

        Points inside the box are returned as they are.
        """
        x = points @ self.loading.T
        cut = np.clip(np.where(self.sign * x < 0.0, 0.0, x), -self.bound, self.bound)
        inside: Float64Array = points.copy()
        changed = (cut != x).any(axis=1)
        if changed.any():
            inside[changed] = solve_triangular(self.loading, cut[changed].T, lower=True).T
        return inside


@dataclass(frozen=True)
class Reach:
    """Where rays first reach the target; arrays of shape (n,).

    Where `reached`, `radius` is the smallest step found with loss >= target and `loss` its loss.
    Elsewhere they are those of the largest loss seen on the ray inside the box.
    """

    radius: Float64Array
    loss: Float64Array
    reached: BoolArray


def unit_directions(points: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return points over their lengths, and the lengths; a point at zero keeps direction zero."""
    length = np.linalg.norm(points, axis=1)
    return points / np.maximum(length, LEAST_LENGTH)[:, None], length


def first_reach(
    evaluate: Evaluate,
    target: float,
    at_zero: float,
    directions: Float64Array,
    most: Float64Array,
    *,
    scans: int = 3,
    steps: int = 18,
    tolerance: float = 1e-6,
) -> Reach:
    """Find the smallest step along each ray that reaches the target, all rays at once.

    `scans` equally spaced steps up to `most` bracket the first crossing, so that a loss which
    rises and falls again on the ray is found if it spans a space of the grid. Then up to `steps`
    refinements: three of false position, then one of bisection, in turn; the outer end of the
    bracket is returned, so the target is met and never nearly met.

    Parameters
    ----------
    evaluate : callable
    target, at_zero : float
        Loss to reach, and loss without any move.
    directions : float64 array of shape (n, K)
        Unit length.
    most : float64 array of shape (n,)
        Largest step of each ray.
    tolerance : float
        Width of the bracket over the step at which refinement ends.

    Returns
    -------
    Reach
        Loss 2|y| on the ray (1, 0), target 6: radius 3.
    """
    n = len(directions)
    grid = np.arange(1, scans + 1) / scans
    steps_out = grid[:, None] * most
    points = steps_out[:, :, None] * directions
    loss = evaluate(points.reshape(scans * n, -1)).reshape(scans, n)
    hit = loss >= target
    reached = hit.any(axis=0) & (most > 0.0)
    first = np.where(reached, hit.argmax(axis=0), loss.argmax(axis=0))
    row = np.arange(n)
    high, loss_high = steps_out[first, row], loss[first, row]
    low = np.where(reached & (first > 0), steps_out[np.maximum(first - 1, 0), row], 0.0)
    loss_low = np.where(reached & (first > 0), loss[np.maximum(first - 1, 0), row], at_zero)
    below, above = loss_low - target, loss_high - target
    side = np.zeros(n, dtype=np.int64)
    active = np.flatnonzero(reached)
    for step in range(steps):
        active = active[high[active] - low[active] > tolerance * high[active]]
        active = active[loss_high[active] > target]
        if not len(active):
            break
        bisect = step % 4 == 3
        trial = _trial(low[active], high[active], below[active], above[active], bisect)
        found = evaluate(trial[:, None] * directions[active])
        met = found >= target
        inner, outer = active[~met], active[met]
        # An end that stays twice counts half (the Illinois rule), so that both ends close in.
        above[inner[side[inner] == -1]] *= 0.5
        below[outer[side[outer] == 1]] *= 0.5
        side[inner], side[outer] = -1, 1
        high[outer], loss_high[outer] = trial[met], found[met]
        low[inner] = trial[~met]
        below[inner], above[outer] = found[~met] - target, found[met] - target
    return Reach(high, loss_high, reached)


def _trial(
    low: Float64Array, high: Float64Array, below: Float64Array, above: Float64Array, bisect: bool
) -> Float64Array:
    """Next step between `low` (short of the target by `below` < 0) and `high`.

    False position stays a little inside the bracket, on the outer side: on a straight line it
    then brackets the crossing from both sides in two steps.
    """
    middle = 0.5 * (low + high)
    if bisect:
        return middle
    gap = above - below
    known = np.isfinite(gap) & (gap > 0.0)
    share = np.divide(-below, gap, out=np.full_like(gap, 0.5), where=known)
    width = high - low
    share = np.clip(share + 1e-3 * (1.0 - share), 1e-6, 1.0 - 1e-6)
    return np.where(known, low + share * width, middle)
