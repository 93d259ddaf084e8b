"""Cost of liquidation: half the bid-ask spread, and the impact of a large sale.

Pure functions over arrays, elementwise; arguments broadcast. NaN gives NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array


def stressed_spread(
    half_spread: npt.ArrayLike, scale: npt.ArrayLike, exponent: float
) -> Float64Array:
    """Half-spread when volatility is `scale` times today's: spread * scale ** eta.

    Half-spread 2 bp at four times the volatility, eta 0.5: 4 bp.
    """
    ratio = np.asarray(scale, dtype=np.float64)
    return np.asarray(np.asarray(half_spread, dtype=np.float64) * ratio**exponent)


def bid_ask_cost(
    size: npt.ArrayLike,
    half_spread: npt.ArrayLike,
    adv: npt.ArrayLike,
    size_factor: float,
    size_exponent: float,
) -> Float64Array:
    """Cost of crossing the spread, wider for size: hs * Q * (1 + k * (Q / ADV) ** b).

    Q 100 million, half-spread 2 bp, ADV 400 million, k 1, b 0.5: 20,000 * 1.5 = 30,000.
    """
    size = np.asarray(size, dtype=np.float64)
    days = size / np.asarray(adv, dtype=np.float64)
    wider = 1.0 + size_factor * days**size_exponent
    return np.asarray(np.asarray(half_spread, dtype=np.float64) * size * wider)


def square_root_impact(
    size: npt.ArrayLike, volatility: npt.ArrayLike, adv: npt.ArrayLike, coefficient: float
) -> Float64Array:
    """Cost of the price impact of a sale: Y * sigma * sqrt(Q / ADV) * Q.

    The square-root law (Grinold and Kahn; Toth et al. 2011), Y about 0.5 to 1. Q 100 million,
    ADV 400 million, sigma 1 %, Y 0.5: 0.5 * 1 % * 0.5 * 100 million = 250,000.
    """
    size = np.asarray(size, dtype=np.float64)
    days = size / np.asarray(adv, dtype=np.float64)
    sigma = np.asarray(volatility, dtype=np.float64)
    return np.asarray(coefficient * sigma * np.sqrt(days) * size)
