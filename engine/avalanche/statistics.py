"""Estimates from simulated paths, each with a confidence interval."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.results import Estimate

LEVEL = 0.95
RESAMPLES = 400
_Z = float(ndtri(0.5 + LEVEL / 2))


def wilson(count: int, n: int) -> Estimate:
    """Share `count / n` with Wilson's interval (Wilson 1927), which is honest near 0 and 1.

    `wilson(0, 100)` is 0 with interval 0 to 0.03699.
    """
    if not 0 <= count <= n or n == 0:
        raise ValueError(f"count {count} of {n}: need 0 <= count <= n and n > 0")
    p, z2 = count / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At the ends the interval's end is exact; the formula would leave a rounding error.
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return Estimate(p, low, high, LEVEL)


def quantile(values: Float64Array, q: float) -> Estimate:
    """Return the q-quantile as an order statistic, with the interval of the binomial ranks.

    The estimate is the ceil(n q)-th smallest value. For n = 10,000 and q = 0.99 the interval
    runs from rank 9,880 to rank 9,920.
    """
    n = len(values)
    ordered = np.sort(values)
    half = _Z * math.sqrt(n * q * (1 - q))
    low = max(math.ceil(n * q - half), 1)
    high = min(math.ceil(n * q + half), n)
    middle = min(max(math.ceil(n * q), 1), n)
    return Estimate(
        float(ordered[middle - 1]), float(ordered[low - 1]), float(ordered[high - 1]), LEVEL
    )


def tail_mean(values: Float64Array, q: float) -> float:
    """Return expected shortfall: the mean of the worst n (1 - q) values, at least one."""
    count = max(round(len(values) * (1 - q)), 1)
    return float(np.partition(values, len(values) - count)[-count:].mean())


def _resamples(seed: int, n: int) -> list[Int64Array]:
    rng = np.random.Generator(np.random.Philox(seed))
    return [rng.integers(0, n, n) for _ in range(RESAMPLES)]


def expected_shortfall(values: Float64Array, q: float, seed: int) -> Estimate:
    """Return expected shortfall at q with a percentile bootstrap interval."""
    draws = [tail_mean(values[pick], q) for pick in _resamples(seed, len(values))]
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(tail_mean(values, q), float(low), float(high), LEVEL)


def ratio_of_sums(top: Float64Array, bottom: Float64Array, seed: int) -> Estimate:
    """Return sum(top) / sum(bottom) over paired paths, with a paired bootstrap interval.

    A mean of path ratios would explode where a path has almost no calls without feedback. Where
    `bottom` is zero throughout, nothing can be amplified: the ratio is 1 by definition.
    """
    if not np.any(bottom):
        if np.any(top):
            raise ValueError("calls with feedback but none without it: the runs do not pair")
        return Estimate(1.0, 1.0, 1.0, LEVEL)
    draws = []
    for pick in _resamples(seed, len(top)):
        below = bottom[pick].sum()
        draws.append(top[pick].sum() / below if below > 0 else 1.0)
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(float(top.sum() / bottom.sum()), float(low), float(high), LEVEL)
