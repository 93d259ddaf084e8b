"""Liquidation horizon: how long an unwind takes, and what the extra time adds to margin.

Pure functions over arrays, elementwise; arguments broadcast. NaN gives NaN. Sizes are in delta
units, as average daily volume is: USD per 1.0 log return, or USD per unit of an absolute factor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array

# A ratio this close above a whole number of days is that number: decimals are not exact in binary.
_ROUNDING = 1e-12


def market_depth(scale: npt.ArrayLike, exponent: float, floor: float) -> Float64Array:
    """Depth under stress as a multiple of today's: max(floor, scale ** -exponent).

    `scale` (above 0) is volatility over today's. Volume dries up as volatility rises; the floor
    keeps some market. `market_depth([1, 2, 20], 1.0, 0.1)` is [1, 0.5, 0.1].
    """
    ratio = np.asarray(scale, dtype=np.float64)
    return np.asarray(np.maximum(floor, ratio**-exponent))


def horizon_days(
    size: npt.ArrayLike, adv: npt.ArrayLike, participation: float, least_days: npt.ArrayLike
) -> Float64Array:
    """Days to liquidate `size` at a share of volume: n = max(h0, ceil(Q / (p * ADV))).

    h0 is the margin period of risk. Q 100 million, ADV 80 million, p 0.25, h0 2 give 5 days.
    """
    capacity = participation * np.asarray(adv, dtype=np.float64)
    days = np.asarray(size, dtype=np.float64) / capacity
    return np.asarray(np.maximum(least_days, np.ceil(days * (1.0 - _ROUNDING))))


def block_unwind(days: npt.ArrayLike, base_days: npt.ArrayLike) -> Float64Array:
    """Volatility of a position sold at once after n days, over that of h0: sqrt(n / h0).

    8 days over 2 give 2.
    """
    ratio = np.asarray(days, dtype=np.float64) / np.asarray(base_days, dtype=np.float64)
    return np.asarray(np.sqrt(ratio))


def linear_unwind(days: npt.ArrayLike) -> Float64Array:
    """Volatility of a position sold evenly over n days, in daily volatilities.

    sqrt(sum over i of (i / n)^2) = sqrt((n + 1)(2n + 1) / (6n)), i = 1..n. One day gives 1, ten
    days sqrt(3.85) = 1.962142.
    """
    n = np.asarray(days, dtype=np.float64)
    return np.asarray(np.sqrt((n + 1.0) * (2.0 * n + 1.0) / (6.0 * n)))


def excess_over_depth(
    size: npt.ArrayLike, volatility: npt.ArrayLike, capacity: npt.ArrayLike
) -> Float64Array:
    """Cost of a position beyond what the market takes: s * e * sqrt(max(0, e / capacity - 1)).

    The root of the excess in days of capacity, in daily volatilities: nothing below capacity,
    about e ** 1.5 far above. e 100 million, s 1 %, capacity 20 million give 2,000,000.
    """
    size = np.asarray(size, dtype=np.float64)
    days = size / np.asarray(capacity, dtype=np.float64)
    sigma = np.asarray(volatility, dtype=np.float64)
    return np.asarray(sigma * size * np.sqrt(np.maximum(0.0, days - 1.0)))


def liquidation_period(days: npt.ArrayLike, added_days: float, cap_days: float) -> Float64Array:
    """Effective liquidation period of an account: min(cap, position / capacity + added days).

    ECC, concentration risk margin: 0.3 days for finding the default, cap 3 days. 1.5 days of
    capacity give 1.8 days, 4 give 3.
    """
    return np.asarray(np.minimum(cap_days, np.asarray(days, dtype=np.float64) + added_days))


def period_factor(period_days: npt.ArrayLike, basis_days: float) -> Float64Array:
    """Add-on as a fraction of margin: max(0, sqrt(l / basis) - 1).

    For a margin that covers `basis` days. l 3 and basis 2 give 0.2247449.
    """
    ratio = np.asarray(period_days, dtype=np.float64) / basis_days
    return np.asarray(np.maximum(0.0, np.sqrt(ratio) - 1.0))
