"""Variation margin of a whole market: what moves between all holders on a day."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import DateArray, Float64Array
from engine.domain.failures import InputError


def market_flow(returns: Float64Array, scale: Float64Array) -> Float64Array:
    """Return the sum over factors of |return| / scale each day, shape (n_days,).

    Someone is on each side of every position, so what all of them pay is the size of the move, not
    its direction. With 1 / scale every factor carries the same margin.

    Worked number: moves of -2 % and 1 % at scales of 1 % and 0.5 % flow 2 + 2 = 4.
    """
    flow: Float64Array = np.sum(np.abs(returns) / scale, axis=1)
    return flow


def peak_over_calm(
    dates: DateArray, flow: Float64Array, calm: tuple[str, str], peak: tuple[str, str]
) -> tuple[float, str]:
    """Return the largest flow of the days `peak` over the mean of the days `calm`, and its date.

    Both spans include their first and last day. A span without days, or a calm without any flow,
    is an InputError.
    """
    rows = [(dates >= np.datetime64(a)) & (dates <= np.datetime64(b)) for a, b in (calm, peak)]
    if not all(row.any() for row in rows) or not flow[rows[0]].mean() > 0.0:
        raise InputError(f"no flow from {calm[0]} to {calm[1]} or {peak[0]} to {peak[1]}")
    at = int(np.argmax(np.where(rows[1], flow, -np.inf)))
    return float(flow[at] / flow[rows[0]].mean()), str(dates[at])
