"""Profit and loss of each agreement, and the calls its windows make."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.layout import (
    CALL_COUNT,
    ENTRY_BLOCK,
    HINGES,
    HOURS_PER_DAY,
    IM_SUM,
    MULTIPLE_MAX,
    PENDING,
    PNL,
    RING_HOURS,
    STEP_CALLS,
)

# Adding and taking away 1.5 * 2**52 rounds a float64 below 2**51 to the nearest integer, half to
# even, on every target; unlike a call to a library it stays inside vector registers.
ROUNDING = 1.5 * 2.0**52


def build_whole(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Round to whole cents."""
    shift = ROUNDING

    @inline
    def whole(x):
        return (x + shift) - shift

    return whole


def build_add_segment(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Add P&L of one (agreement, bucket) to total[0]: what is left times a combination of rows.

    Most segments are a single block, so the factor is applied to each block as it is summed: one
    pass over the lanes instead of three.
    """

    @inline
    def add_segment(first, rows, coefs, start, stop, x, left, b, total):
        for e in range(start, stop, ENTRY_BLOCK):
            r0, r1, r2, r3 = rows[e], rows[e + 1], rows[e + 2], rows[e + 3]
            a0, a1, a2, a3 = coefs[e], coefs[e + 1], coefs[e + 2], coefs[e + 3]
            for w in range(lanes):
                c = first + w
                part = a0 * x[r0, c] + a1 * x[r1, c] + a2 * x[r2, c] + a3 * x[r3, c]
                total[0, c] += left[b, c] * part

    return add_segment


def build_profit(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """P&L of one agreement in the hour, added to its exposure and to the fund's P&L."""
    add_segment = build_add_segment(inline, lanes)

    @inline
    def profit(first, r, m, s):
        for w in range(lanes):
            s.total[0, first + w] = 0.0
        for j in range(m.seg_ptr[r], m.seg_ptr[r + 1]):
            start, stop, b = m.ent_ptr[j], m.ent_ptr[j + 1], m.seg_bucket[j]
            add_segment(first, m.ent_row, m.ent_coef, start, stop, s.basis, s.left, b, s.total)
        for w in range(lanes):
            c = first + w
            s.exposure[r, c] += s.total[0, c]
            s.scalars[PNL, c] += s.total[0, c]

    return profit


def build_requirement(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Margin required for a book of relative size at a volatility multiple.

    IM scales with the multiple except for its stress share, less the threshold. The concentration
    add-on follows the curve of the margin engine (hinges) and grows with size to the power 1.5.
    """
    whole = build_whole(inline)
    hinge0, hinge1, hinge2, hinge3, hinge4 = HINGES

    @inline
    def requirement(r, size, swing, multiple, m):
        slope = m.concentration_slope
        base = max(m.im_start[r] * size * multiple - m.im_threshold[r], 0.0)
        add_on = m.concentration_start[r] + slope[r, 0] * max(swing - hinge0, 0.0)
        add_on += slope[r, 1] * max(swing - hinge1, 0.0)
        add_on += slope[r, 2] * max(swing - hinge2, 0.0)
        add_on += slope[r, 3] * max(swing - hinge3, 0.0)
        add_on += slope[r, 4] * max(swing - hinge4, 0.0)
        return whole(base + add_on * size * math.sqrt(size))

    return requirement


def build_window(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """One call window of one agreement: margin required now, the call, when it is paid.

    Volatility is the EWMA of daily P&L over its size at the start; within the day it can only
    raise the requirement. Payments fall due after `pay_lag`, receipts after `receive_lag`.
    """
    whole = build_whole(inline)
    requirement = build_requirement(inline)

    @inline
    def window(first, r, eod, pay_slot, receive_slot, m, s):
        decay, share, floor = m.ewma_lambda[r], m.stress_share[r], m.multiple_floor[0]
        threshold, mta, trigger = m.vm_threshold[r], m.mta[r], m.trigger[r]
        inverse = 1.0 / m.daily_norm[r] if m.daily_norm[r] > 0.0 else 0.0
        fade = 1.0 - decay
        for w in range(lanes):
            c = first + w
            exposure, size = s.exposure[r, c], s.size[r, c]
            u = (exposure - s.exposure_eod[r, c]) * inverse / max(size, 1e-9)
            updated = decay * s.ewma[r, c] + fade * u * u
            used = updated if eod else max(updated, s.ewma[r, c])
            s.ewma[r, c] = updated if eod else s.ewma[r, c]
            s.exposure_eod[r, c] = exposure if eod else s.exposure_eod[r, c]
            swing = max(math.sqrt(used), floor)
            multiple = share + (1.0 - share) * swing
            required = requirement(r, size, swing, multiple, m)
            posted = s.im[r, c]
            target = exposure - min(max(exposure, -threshold), threshold)
            change = whole(target - s.held[r, c])
            change = change if abs(change) >= mta else 0.0
            call = required - posted - change
            taken = eod or (call > trigger * posted)
            s.im[r, c] = required if taken else posted
            s.held[r, c] += change if taken else 0.0
            s.scalars[IM_SUM, c] += required - posted if taken else 0.0
            owed = max(call, 0.0) if taken else 0.0
            s.pay[pay_slot, c] += owed
            s.receive[receive_slot, c] -= min(call, 0.0) if taken else 0.0
            s.scalars[PENDING, c] += owed
            s.scalars[STEP_CALLS, c] += owed
            s.scalars[CALL_COUNT, c] += 1.0 if owed > 0.0 else 0.0
            s.agreement_calls[r, c] += owed
            s.scalars[MULTIPLE_MAX, c] = max(s.scalars[MULTIPLE_MAX, c], multiple)

    return window


def build_calls(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """All agreements in one hour; which of them call is the same for every path."""
    profit = build_profit(inline, lanes)
    window = build_window(inline, lanes)
    one, none = np.uint32(1), np.uint32(0)

    @splice
    def calls(first, hour, m, s):
        clock = hour % HOURS_PER_DAY
        bit = one << np.uint32(clock)
        for w in range(lanes):
            s.scalars[PNL, first + w] = 0.0
            s.scalars[STEP_CALLS, first + w] = 0.0
        for r in range(m.im_start.shape[0]):
            profit(first, r, m, s)
            if (m.window_mask[r] & bit) != none:
                pay_slot = (hour + np.int64(m.pay_lag[r])) % RING_HOURS
                receive_slot = (hour + np.int64(m.receive_lag[r])) % RING_HOURS
                window(first, r, m.eod_hour[r] == clock, pay_slot, receive_slot, m, s)

    return calls
