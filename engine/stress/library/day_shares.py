"""How the move of an episode was spread over its days."""

from __future__ import annotations

from datetime import date

import numpy as np

from engine.domain.arrays import Float64Array
from engine.market.packaged import packaged_levels

INDEX = "SPX"
# Beyond this ratio of distance walked to distance covered, shares of the total say little.
MOST_DETOUR = 4.0
# Below this size of the total, in standard deviations, the crisis was not one of equity.
LEAST_SIZE = 2.0


def episode_day_shares(first: date, last: date, days: int) -> tuple[float, ...]:
    """Share of the whole move on each of `days` business days; they sum to 1.

    The path is that of the S&P 500, whose packaged history is observed day by day; every factor
    takes it. Trading days of a longer window are grouped in order into `days` groups of nearly
    equal length. Even shares are returned where the history does not cover the window, where the
    index moved by less than `LEAST_SIZE` of its standard deviations over the window (the crisis
    was elsewhere), or went back and forth more than `MOST_DETOUR` times its total move.

    Worked number: daily returns -2 %, 1 %, -3 % give 0.5, -0.25 and 0.75 in three days.
    """
    levels = packaged_levels()
    column = levels.column(INDEX)
    observed = ~np.isnan(column)
    dates, values = levels.dates[observed], column[observed]
    start, end = np.datetime64(first), np.datetime64(last)
    even = (1.0 / days,) * days
    if not len(dates) or dates[0] > start or dates[-1] < end:
        return even
    every = np.diff(np.log(values))
    returns = every[(dates[1:] > start) & (dates[1:] <= end)]
    normal = float(np.sqrt(np.mean(every**2) * max(1, len(returns))))
    if abs(float(returns.sum())) < LEAST_SIZE * normal:
        return even
    return shares_of_returns(returns, days) or even


def shares_of_returns(returns: Float64Array, days: int) -> tuple[float, ...]:
    """Shares of the sum of `returns` in `days` groups; empty where they would say little."""
    total = float(returns.sum())
    walked = float(np.abs(returns).sum())
    if len(returns) < days or walked == 0.0 or walked > MOST_DETOUR * abs(total):
        return ()
    groups = [float(part.sum()) / total for part in np.array_split(returns, days)]
    groups[-1] = 1.0 - sum(groups[:-1])
    return tuple(groups)
