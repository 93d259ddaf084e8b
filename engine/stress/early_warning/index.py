"""The margin index: stepwise margins of unchanged positions, day by day.

Margin follows volatility late and in steps. That lag is why a rise can be seen coming at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array, freeze
from engine.market.volatility import ewma_paths
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.panel import Panel


@dataclass(frozen=True)
class MarginIndex:
    """Margin in force on each day and what it would be without lag; weights of the panel.

    `value` (n_days,) is the sum over members of weight times posted margin, `posted` (n_days,
    n_factors) the margin in force on a day, known the evening before; `fast` (n_days,) the sum
    with a quick volatility and no steps, known at the close.
    """

    value: Float64Array
    posted: Float64Array
    fast: Float64Array

    def __post_init__(self) -> None:
        freeze(self.value, self.posted, self.fast)


def margin_index(panel: Panel, config: EarlyWarningConfig) -> MarginIndex:
    """Return the index of a panel; margin is in volatilities: a multiple of them cancels."""
    posted = stepwise(requirement(panel, config), config.step_share, config.quiet_days)
    fast = ewma_paths(panel.returns, config.fast_decay, panel.floor)[1:]
    # Row sums, not a matrix product: their bits do not depend on how many days follow.
    value = np.sum(posted * panel.weight, axis=1)
    return MarginIndex(value, posted, np.sum(fast * panel.weight, axis=1))


def requirement(panel: Panel, config: EarlyWarningConfig) -> Float64Array:
    """Return max(EWMA volatility, its mean of the last `floor_days`, the floor), at each close.

    Returns
    -------
    float64 array of shape (n_days, n_factors)
        Row t uses returns up to t. The first 60 rows seed the recursion (burn-in).
    """
    volatility = ewma_paths(panel.returns, config.margin_decay, panel.floor)[1:]
    days = np.arange(1, len(volatility) + 1)
    total = np.vstack([np.zeros(volatility.shape[1]), np.cumsum(volatility, axis=0)])
    begin = np.maximum(days - config.floor_days, 0)
    mean = (total[days] - total[begin]) / (days - begin)[:, np.newaxis]
    return np.asarray(np.maximum(volatility, mean), dtype=np.float64)


def stepwise(required: Float64Array, step_share: float, quiet_days: int) -> Float64Array:
    """Return the margin in force each day under the step rule.

    The requirement at close t decides what is in force on day t + 1: it is taken over when it is
    more than `step_share` above the margin in force, or has been more than `step_share` below for
    `quiet_days` closes in a row. CME moved its S&P 500 margin on 2, 4, 10 and 13 March 2020
    (Clarus): steps, quick and upwards.

    Parameters
    ----------
    required : float64 array of shape (n_days, n_factors)
        Above 0, no NaN.

    Returns
    -------
    float64 array of shape (n_days, n_factors)
        Row 0 is the requirement of row 0.

    Notes
    -----
    Worked number: requirements 1.00, 1.05, 1.12, 1.30 with steps of 10 % give 1.00, 1.00, 1.00,
    1.12 in force, and 1.30 on the day after.
    """
    posted = np.empty_like(required)
    now = required[0].copy()
    below = np.zeros(required.shape[1], dtype=np.int64)
    posted[0] = now
    for t in range(1, len(required)):
        posted[t] = now
        ratio = required[t] / now - 1.0
        below = np.where(ratio < -step_share, below + 1, 0)
        take = (ratio > step_share) | (below >= quiet_days)
        now = np.where(take, required[t], now)
        below = np.where(take, 0, below)
    return posted
