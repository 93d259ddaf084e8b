"""Anti-procyclicality tools and measures, as pure functions of a margin series.

Tools: EMIR RTS 153/2013 Article 28(1): (a) a buffer of at least 25 %, used up when calculated
margin rises; (b) a weight of at least 25 % on stressed observations; (c) never below the margin
of a ten-year lookback. Some services floor margin at that of a stress period instead. Measures:
Murphy, Vasios and Vause (2014), Bank of England. Tools that remember yesterday are in
`engine.margin.procyclicality_paths`.
No tool removes the spike; what a tool gains in calm it costs in mean margin: show both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.agreements import APC_TOOLS
from engine.domain.arrays import BoolArray, DateArray, Float64Array, StrArray
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


def stress_floor(base: Float64Array, stress: Float64Array | float) -> Float64Array:
    """Return max(base, stress): never below the margin of the stress period.

    The stress margin is computed by the same measure on the dates of a stress period; services
    recalibrate it yearly. NaN gives NaN. `stress_floor([80.0, 120.0], 100.0)` is [100.0, 120.0].
    """
    return np.maximum(np.asarray(base, dtype=np.float64), stress)


def with_buffer(
    base: Float64Array, mean: Float64Array | float, buffer: Float64Array | float
) -> Float64Array:
    """Return max(base, min((1 + b) * base, (1 + b) * mean)); tool (a) given the mean margin.

    The buffer is whole while base is at or below the mean, shrinks one for one as base rises and
    is gone when base reaches (1 + b) times the mean. NaN gives NaN.
    `with_buffer([100.0, 120.0, 130.0], 100.0, 0.25)` is [125.0, 125.0, 130.0].
    """
    base = np.asarray(base, dtype=np.float64)
    factor = 1.0 + np.asarray(buffer, dtype=np.float64)
    return np.asarray(np.maximum(base, np.minimum(factor * base, factor * np.asarray(mean))))


def tool_today(
    tool: StrArray,
    im_now: Float64Array,
    im_stress: Float64Array,
    im_long_run: Float64Array,
    im_mean: Float64Array,
    stress_weight: Float64Array,
    buffer: Float64Array,
) -> Float64Array:
    """Return margin after each agreement's tool on one day.

    Under a volatility step only `im_now` rises: the buffer is used up, and floors stop binding, by
    themselves.

    Parameters
    ----------
    tool : object array of str, shape (n,)
        Of `engine.domain.agreements.APC_TOOLS`.
    im_now : float64 array of shape (n,)
        Calculated margin.
    im_stress : float64 array of shape (n,)
        Margin on the stress period; read by `stress_weight` and `stress_floor` only.
    im_long_run : float64 array of shape (n,)
        Margin of a ten-year lookback; read by `long_run_floor` only.
    im_mean : float64 array of shape (n,)
        Mean calculated margin of the past 250 days; read by `buffer` only.
    stress_weight, buffer : float64 arrays of shape (n,)
        Fractions; each read by its own tool only.

    Returns
    -------
    float64 array of shape (n,)
        In the unit of the margins. NaN where a number that the tool reads is NaN: a floor that is
        not known must not pass for none.

    Raises
    ------
    InputError
        For an unknown tool, a weight outside 0 to 1 or a negative buffer, with its row.

    Examples
    --------
    im_now 100, stress 300, long run 130, mean 90, weight and buffer 0.25: none 100, buffer
    112.5, stress_weight 150, long_run_floor 130, stress_floor 300.
    """
    names = np.asarray(tool, dtype=np.object_)
    uses = {name: np.asarray(names == name, dtype=np.bool_) for name in APC_TOOLS}
    _refuse(~np.isin(names.astype(str), APC_TOOLS), names, f"tool is not one of {APC_TOOLS}")
    wrong = uses["stress_weight"] & ~((stress_weight >= 0.0) & (stress_weight <= 1.0))
    _refuse(wrong, stress_weight, "stress weight must lie between 0 and 1")
    _refuse(uses["buffer"] & ~(buffer >= 0.0), buffer, "buffer must not be negative")
    blend = (1.0 - stress_weight) * im_now + stress_weight * im_stress
    after = {
        "buffer": with_buffer(im_now, im_mean, buffer),
        "stress_weight": blend,
        "long_run_floor": np.maximum(im_now, im_long_run),
        "stress_floor": stress_floor(im_now, im_stress),
    }
    return np.select(
        [uses[name] for name in after], list(after.values()), np.asarray(im_now, dtype=np.float64)
    )


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
    margin = with_buffer(base, mean, buffer)
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


def _refuse(wrong: BoolArray, values: Float64Array | StrArray, message: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"agreement row {row}: {values[row]!r}: {message}")


def _positive(margin: Float64Array) -> Float64Array:
    margin = np.asarray(margin, dtype=np.float64)
    if len(margin) == 0:
        raise InputError("the window of the procyclicality measures holds no margin; widen it")
    if not (margin > 0.0).all():
        worst = float(np.min(margin))
        raise InputError(f"margin of {worst:g} in the window; ratios need margins above 0")
    return margin
