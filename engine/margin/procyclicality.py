"""Anti-procyclicality tools and measures, as pure functions of a margin series.

Tools: EMIR RTS 153/2013 Article 28(1): (a) a buffer of at least 25 %, used up when calculated
margin rises; (b) a weight of at least 25 % on stressed observations; (c) never below the margin
of a ten-year lookback. Measures: Murphy, Vasios and Vause (2014), Bank of England.
No tool removes the spike; what a tool gains in calm it costs in mean margin: show both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import DateArray, Float64Array
from engine.domain.failures import InputError


def stress_weighted(
    base: Float64Array, stress: Float64Array | float, weight: float
) -> Float64Array:
    """Return (1 - weight) * base + weight * stress, elementwise; tool (b).

    `stress_weighted([100.0], 300.0, 0.25)` is [150.0].
    """
    if not 0.0 <= weight <= 1.0:
        raise InputError(f"stress weight is {weight}; it must lie between 0 and 1")
    return np.asarray((1.0 - weight) * np.asarray(base) + weight * np.asarray(stress))


def long_run_floor(base: Float64Array, floor: Float64Array) -> Float64Array:
    """Return max(base, floor); tool (c). NaN in `floor` (history still too short) is no floor."""
    return np.fmax(np.asarray(base, dtype=np.float64), floor)


@dataclass(frozen=True)
class BufferedMargin:
    """Margin with a buffer; arrays of shape (n_days,).

    `buffer_left` is the share of the full buffer still held: 1 untouched, 0 exhausted. Both are
    NaN until the long-run mean is known.
    """

    margin: Float64Array
    buffer_left: Float64Array

    def exhausted(self, dates: DateArray) -> list[tuple[np.datetime64, np.datetime64 | None]]:
        """Return (first day exhausted, first day some buffer is back or None) for each spell."""
        empty = self.buffer_left <= 0.0
        edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]]).astype(np.int8)))
        return [
            (dates[begin], dates[end] if end < len(empty) else None)
            for begin, end in zip(edges[::2], edges[1::2], strict=True)
        ]


def buffered_margin(base: Float64Array, buffer: float, mean_days: int) -> BufferedMargin:
    """Tool (a): collect a buffer in calm, let calculated margin eat it when it rises.

    margin = max(base, min((1 + b) * base, (1 + b) * mean)), mean over the last `mean_days` days
    of base, today included. So the buffer is whole while base is at or below its mean, shrinks
    as base rises and is gone when base reaches (1 + b) times its mean.

    Parameters
    ----------
    base : float64 array of shape (n_days,)
        Calculated margin, not negative; no NaN.
    buffer : float
        b, for example 0.25.

    Returns
    -------
    BufferedMargin
        NaN for the first `mean_days - 1` days.

    Examples
    --------
    base 100, 100, 130 with a mean over 2 days and b 0.25: means 100 and 115; margins NaN,
    125, 143.75; the buffer left on the third day is 13.75 / 32.5 = 0.423077.
    """
    base = np.asarray(base, dtype=np.float64)
    mean = np.full(len(base), np.nan)
    if len(base) >= mean_days:
        windows = np.lib.stride_tricks.sliding_window_view(base, mean_days)
        mean[mean_days - 1 :] = windows.mean(axis=1)
    margin = np.maximum(base, np.minimum((1.0 + buffer) * base, (1.0 + buffer) * mean))
    full = buffer * base
    left = np.divide(margin - base, full, out=np.zeros_like(base), where=full > 0.0)
    left[np.isnan(margin)] = np.nan
    return BufferedMargin(margin, left)


def peak_to_trough(margin: Float64Array) -> float:
    """Return the largest margin over the smallest of the window: procyclicality over the cycle."""
    margin = _positive(margin)
    return float(np.max(margin) / np.min(margin))


def largest_rise(margin: Float64Array, days: int) -> float:
    """Return max over t of M[t] / M[t - days] - 1 as a fraction; NaN if the window is too short.

    `largest_rise([1.0, 1.5, 3.0], 1)` is 1.0.
    """
    margin = _positive(margin)
    if len(margin) <= days:
        return float("nan")
    return float(np.max(margin[days:] / margin[:-days]) - 1.0)


def _positive(margin: Float64Array) -> Float64Array:
    margin = np.asarray(margin, dtype=np.float64)
    if len(margin) == 0:
        raise InputError("the window of the procyclicality measures holds no margin; widen it")
    if not (margin > 0.0).all():
        worst = float(np.min(margin))
        raise InputError(f"margin of {worst:g} in the window; ratios need margins above 0")
    return margin
