"""Profit and loss of each agreement, and the calls its windows make."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.layout import (
    CALL_COUNT,
    CAUSED,
    DEFAULT_COUNT,
    ENTRY_BLOCK,
    HINGES,
    HOURS_PER_DAY,
    IM_SUM,
    MULTIPLE_MAX,
    PNL,
    POOL_SALES_IN_MARGIN,
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
    def profit(first, r, books, tape, holdings, accounts, work):
        for w in range(lanes):
            work.total[0, first + w] = 0.0
        for j in range(books.seg_ptr[r], books.seg_ptr[r + 1]):
            start, stop, b = books.ent_ptr[j], books.ent_ptr[j + 1], books.seg_bucket[j]
            add_segment(
                first,
                books.ent_row,
                books.ent_coef,
                start,
                stop,
                tape.basis,
                holdings.left,
                b,
                work.total,
            )
        for w in range(lanes):
            c = first + w
            gain = accounts.alive[r, c] * work.total[0, c]
            accounts.exposure[r, c] += gain
            work.scalars[PNL, c] += gain

    return profit


def build_requirement(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Margin required for a book of relative size at a volatility multiple.

    IM scales with the multiple except for its stress share, less the threshold. The concentration
    add-on follows the curve of the margin engine (hinges) and grows with size to the power 1.5.
    """
    whole = build_whole(inline)
    hinge0, hinge1, hinge2, hinge3, hinge4 = HINGES

    @inline
    def requirement(r, size, swing, multiple, terms):
        slope = terms.concentration_slope
        base = max(terms.im_start[r] * size * multiple - terms.im_threshold[r], 0.0)
        add_on = terms.concentration_start[r] + slope[r, 0] * max(swing - hinge0, 0.0)
        add_on += slope[r, 1] * max(swing - hinge1, 0.0)
        add_on += slope[r, 2] * max(swing - hinge2, 0.0)
        add_on += slope[r, 3] * max(swing - hinge3, 0.0)
        add_on += slope[r, 4] * max(swing - hinge4, 0.0)
        return whole(base + add_on * size * math.sqrt(size))

    return requirement


def build_pressed(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """P&L that the fund's own sales have cost one agreement so far (first order), in segment[0]."""

    @inline
    def pressed(first, r, books, holdings, work):
        for w in range(lanes):
            work.segment[0, first + w] = 0.0
        for j in range(books.seg_ptr[r], books.seg_ptr[r + 1]):
            b, push = books.seg_bucket[j], books.seg_push[j]
            for w in range(lanes):
                work.segment[0, first + w] += push * holdings.pressure[b, first + w]

    return pressed


def build_swing(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Volatility multiple of the margin of one agreement at one of its windows, into total[0].

    It is the root of the EWMA of daily P&L over its size at the start; within the day it can only
    rise. Where the venue moves its parameter in steps, a rise of at least `step` takes effect the
    next day, and no fall within the horizon: a parameter is lowered after weeks of quiet.
    """
    pressed = build_pressed(inline, lanes)

    @inline
    def swing(first, r, eod, books, terms, switches, holdings, accounts, work):
        decay, floor, step = terms.ewma_lambda[r], terms.multiple_floor[0], terms.step[r]
        inverse = 1.0 / books.daily_norm[r] if books.daily_norm[r] > 0.0 else 0.0
        fade, unseen = 1.0 - decay, 1.0 - switches[POOL_SALES_IN_MARGIN]
        pressed(first, r, books, holdings, work)
        for w in range(lanes):
            c = first + w
            own = work.segment[0, c] - accounts.pressed[r, c]
            work.segment[0, c] = own
            change = accounts.exposure[r, c] - accounts.exposure_eod[r, c] - unseen * own
            u = change * inverse / max(accounts.size[r, c], 1e-9)
            before = accounts.ewma[r, c]
            work.scale[0, c] = before
            updated = decay * before + fade * u * u
            used = updated if eod else max(updated, before)
            asked = max(math.sqrt(used), floor)
            posted = accounts.posted[r, c]
            work.total[0, c] = posted if step > 0.0 else asked
            raised = asked if asked >= posted * (1.0 + step) else posted
            accounts.posted[r, c] = raised if eod else posted
            accounts.ewma[r, c] = updated if eod else before
            accounts.exposure_eod[r, c] = (
                accounts.exposure[r, c] if eod else accounts.exposure_eod[r, c]
            )
            accounts.pressed[r, c] += own if eod else 0.0

    return swing


def build_caused(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Calls that the day's own sales have caused: losses, and margin that rises with their squares.

    segment[0] holds their P&L of the day, scale[0] the variance before it. After a default nothing
    is added: a close-out moves prices but releases nothing, and only sales are judged.
    """

    @inline
    def caused(first, r, books, terms, accounts, work):
        inverse = 1.0 / books.daily_norm[r] if books.daily_norm[r] > 0.0 else 0.0
        fade, share = 1.0 - terms.ewma_lambda[r], 1.0 - terms.stress_share[r]
        for w in range(lanes):
            c = first + w
            own = work.segment[0, c] * accounts.alive[r, c]
            size, variance = accounts.size[r, c], work.scale[0, c]
            u = own * inverse / max(size, 1e-9)
            rise = math.sqrt(variance + fade * u * u) - math.sqrt(variance)
            calls = max(-own, 0.0) + share * terms.im_start[r] * size * rise
            intact = 1.0 if work.scalars[DEFAULT_COUNT, c] == 0.0 else 0.0
            work.scalars[CAUSED, c] += intact * calls

    return caused


def build_window(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """One call window of one agreement: margin required now, the call, when it is paid.

    Payments fall due after `pay_lag`, receipts after `receive_lag`; `issued_row` remembers what the
    agreement called at this hour.
    """
    whole = build_whole(inline)
    requirement = build_requirement(inline)
    swing = build_swing(inline, lanes)
    caused = build_caused(inline, lanes)

    @inline
    def window(
        first,
        r,
        hour,
        eod,
        pay_row,
        receive_row,
        issued_row,
        books,
        terms,
        switches,
        holdings,
        accounts,
        till,
        work,
    ):
        # Today's open call was noted in the row of hour 0.
        kept = 1.0 if hour == 0 else 0.0
        share, pool = terms.stress_share[r], terms.currency[r]
        threshold, mta, trigger = terms.vm_threshold[r], terms.mta[r], terms.trigger[r]
        swing(first, r, eod, books, terms, switches, holdings, accounts, work)
        if eod:
            caused(first, r, books, terms, accounts, work)
        for w in range(lanes):
            c = first + w
            exposure, alive, now = accounts.exposure[r, c], accounts.alive[r, c], work.total[0, c]
            multiple = share + (1.0 - share) * now
            required = alive * requirement(r, accounts.size[r, c], now, multiple, terms)
            posted = accounts.im[r, c]
            target = exposure - min(max(exposure, -threshold), threshold)
            change = whole(target - accounts.held[r, c])
            change = change if abs(change) >= mta else 0.0
            call = alive * (required - posted - change)
            taken = eod or (call > trigger * posted)
            accounts.im[r, c] = required if taken else posted
            accounts.held[r, c] += alive * change if taken else 0.0
            work.scalars[IM_SUM, c] += required - posted if taken else 0.0
            owed = max(call, 0.0) if taken else 0.0
            till.pay[pay_row, c] += owed
            accounts.issued[issued_row, c] = kept * accounts.issued[issued_row, c] + owed
            till.receive[receive_row, c] -= min(call, 0.0) if taken else 0.0
            till.pending[pool, c] += owed
            work.scalars[STEP_CALLS, c] += owed
            work.scalars[CALL_COUNT, c] += 1.0 if owed > 0.0 else 0.0
            accounts.agreement_calls[r, c] += owed
            work.scalars[MULTIPLE_MAX, c] = max(work.scalars[MULTIPLE_MAX, c], multiple)

    return window


def build_calls(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """All agreements in one hour; which of them call is the same for every path."""
    profit = build_profit(inline, lanes)
    window = build_window(inline, lanes)
    one, none = np.uint32(1), np.uint32(0)

    @splice
    def calls(first, hour, books, terms, switches, tape, holdings, accounts, till, work):
        clock = hour % HOURS_PER_DAY
        bit = one << np.uint32(clock)
        agreements = terms.im_start.shape[0]
        ring = accounts.issued.shape[0] // max(agreements, 1)
        for w in range(lanes):
            work.scalars[PNL, first + w] = 0.0
            work.scalars[STEP_CALLS, first + w] = 0.0
        for r in range(agreements):
            profit(first, r, books, tape, holdings, accounts, work)
            if (terms.window_mask[r] & bit) != none:
                due = hour + np.int64(terms.pay_lag[r, clock])
                pool = np.int64(terms.currency[r]) * RING_HOURS
                receive_row = pool + (hour + np.int64(terms.receive_lag[r])) % RING_HOURS
                pay_row, issued_row = pool + due % RING_HOURS, r * ring + hour % ring
                eod = terms.eod_hour[r] == clock
                window(
                    first,
                    r,
                    hour,
                    eod,
                    pay_row,
                    receive_row,
                    issued_row,
                    books,
                    terms,
                    switches,
                    holdings,
                    accounts,
                    till,
                    work,
                )

    return calls
