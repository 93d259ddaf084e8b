"""A call that stays unpaid: the relation defaults, its book is closed out, others may follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.calls import build_whole
from engine.kernels.avalanche.layout import (
    CLAIMS,
    COST,
    DEFAULT_COUNT,
    DEFAULT_HOUR,
    HOURS_PER_DAY,
    IM_SUM,
    NAV,
    OVERDUE_HOURS,
    POOL_GRACE,
    RING_HOURS,
)
from engine.kernels.avalanche.sales import build_level, build_stress


def build_overdue(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """True if any path of the tile has owed money for longer than the period of grace.

    Creditors decide once a day, in its last hour.
    """

    @inline
    def overdue(first, hour, switches, work):
        if hour % HOURS_PER_DAY != HOURS_PER_DAY - 1:
            return False
        longest = 0.0
        for w in range(lanes):
            longest = max(longest, work.scalars[OVERDUE_HOURS, first + w])
        return longest > switches[POOL_GRACE]

    return overdue


def build_deadline(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Deadline of the call an agreement issued at `hour`; -1 if it issued none.

    Hour 0 also holds today's open call.
    """
    one, none = np.uint32(1), np.uint32(0)

    @inline
    def deadline(r, hour, terms):
        if hour < 0:
            return -1
        clock = hour % HOURS_PER_DAY
        open_now = (terms.window_mask[r] & (one << np.uint32(clock))) != none
        if hour > 0 and not open_now:
            return -1
        return hour + np.int64(terms.pay_lag[r, clock])

    return deadline


def build_called(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Calls of one agreement that fell due after `oldest` and up to `newest`, into segment[0]."""
    deadline = build_deadline(inline)

    @inline
    def called(first, r, hour, oldest, newest, ring, terms, accounts, work):
        for w in range(lanes):
            work.segment[0, first + w] = 0.0
        for j in range(ring):
            due = deadline(r, hour - j, terms)
            if oldest < due and due <= newest:
                row = r * ring + (hour - j) % ring
                for w in range(lanes):
                    work.segment[0, first + w] += accounts.issued[row, first + w]

    return called


def build_weigh(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """What has been unpaid for longer than the period of grace, by currency, into till.recent.

    Older debts are paid first, so what is unpaid beyond the calls of the period of grace is older.
    """
    called = build_called(inline, lanes)

    @inline
    def weigh(first, hour, grace, ring, terms, accounts, till, work):
        for n in range(till.recent.shape[0]):
            for w in range(lanes):
                till.recent[n, first + w] = till.unpaid[n, first + w]
        for r in range(terms.im_start.shape[0]):
            pool = terms.currency[r]
            called(first, r, hour, hour - grace, hour, ring, terms, accounts, work)
            for w in range(lanes):
                c = first + w
                till.recent[pool, c] -= accounts.alive[r, c] * work.segment[0, c]

    return weigh


def build_cancel(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Calls of a terminated agreement (total[0] > 0) that are not due yet lapse."""
    deadline = build_deadline(inline)

    @inline
    def cancel(first, r, hour, ring, terms, accounts, till, work):
        pool = np.int64(terms.currency[r])
        for j in range(ring):
            due = deadline(r, hour - j, terms)
            if due > hour:
                row = r * ring + (hour - j) % ring
                slot = pool * RING_HOURS + due % RING_HOURS
                for w in range(lanes):
                    c = first + w
                    lapsed = accounts.issued[row, c] if work.total[0, c] > 0.0 else 0.0
                    accounts.issued[row, c] -= lapsed
                    till.pay[slot, c] -= lapsed
                    till.pending[pool, c] -= lapsed

    return cancel


def build_close_out(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Close out one agreement on the paths where total[0] > 0; segment[0] is what it was not paid.

    Its book is traded at once and moves prices like any sale. The counterparty keeps margin for
    the unpaid calls and the cost of trading; what margin does not cover is a claim on the fund,
    settled after the horizon like what is left of the margin.
    """
    whole = build_whole(inline)
    stress_of = build_stress(inline)
    level = build_level(inline)

    @inline
    def close_out(first, r, hour, books, sales, switches, holdings, accounts, work):
        for w in range(lanes):
            c = first + w
            volatility, depth = stress_of(c, switches, work)
            hit = 0.5 if work.total[0, c] > 0.0 else 0.0
            work.scale[0, c] = hit * volatility * math.sqrt(depth)
        for j in range(books.seg_ptr[r], books.seg_ptr[r + 1]):
            b = books.seg_bucket[j]
            share, push = books.seg_volume[j], abs(books.seg_push[j])
            crowd = 1.0 + sales.crowd[b]
            for w in range(lanes):
                c = first + w
                traded = share * holdings.left[b, c] if work.total[0, c] > 0.0 else 0.0
                before = holdings.level[b, c]
                volume = holdings.volume[b, c] + crowd * traded
                after = level(volume, switches)
                holdings.volume[b, c] = volume
                holdings.level[b, c] = after
                holdings.sold[b, c] += after - before
                lost = whole(push * holdings.left[b, c] * (after - before) * work.scale[0, c])
                work.scalars[NAV, c] -= lost
                work.scalars[COST, c] += lost
                work.segment[0, c] += lost
        for w in range(lanes):
            c = first + w
            hit = 1.0 if work.total[0, c] > 0.0 else 0.0
            margin = hit * accounts.im[r, c]
            work.scalars[CLAIMS, c] += hit * max(work.segment[0, c] - margin, 0.0)
            work.scalars[IM_SUM, c] -= margin
            accounts.im[r, c] -= margin
            accounts.alive[r, c] *= 1.0 - hit
            work.scalars[DEFAULT_COUNT, c] += hit
            begins = (hit > 0.0) and (work.scalars[DEFAULT_HOUR, c] < 0.0)
            work.scalars[DEFAULT_HOUR, c] = float(hour) if begins else work.scalars[DEFAULT_HOUR, c]

    return close_out


def build_bear(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """What one agreement is left unpaid, into segment[0]; total[0] > 0 where that ends it.

    It ends if a call older than the period of grace is unpaid; its younger calls are then unpaid
    too. True if it ends on any path.
    """
    called = build_called(inline, lanes)

    @inline
    def bear(first, r, hour, grace, ring, terms, accounts, till, work):
        pool = terms.currency[r]
        oldest = hour - grace - HOURS_PER_DAY
        called(first, r, hour, oldest, hour - grace, ring, terms, accounts, work)
        largest = 0.0
        for w in range(lanes):
            c = first + w
            late = work.scalars[OVERDUE_HOURS, c] > float(grace)
            bears = min(work.segment[0, c], max(till.recent[pool, c], 0.0)) if late else 0.0
            bears *= accounts.alive[r, c]
            till.recent[pool, c] -= bears
            work.total[0, c] = bears
            largest = max(largest, bears)
        if largest > 0.0:
            called(first, r, hour, hour - grace, hour, ring, terms, accounts, work)
            for w in range(lanes):
                c = first + w
                younger = work.segment[0, c] if work.total[0, c] > 0.0 else 0.0
                claim = min(work.total[0, c] + younger, till.unpaid[pool, c])
                till.unpaid[pool, c] -= claim
                work.segment[0, c] = claim
        return largest > 0.0

    return bear


def build_follow(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Whether a default elsewhere terminates one agreement, into total[0]; True on any path."""

    @inline
    def follow(first, r, terms, accounts, work):
        largest = 0.0
        for w in range(lanes):
            c = first + w
            failed = work.scalars[DEFAULT_COUNT, c] > 0.0
            work.total[0, c] = terms.cross[r] * accounts.alive[r, c] if failed else 0.0
            work.segment[0, c] = 0.0
            largest = max(largest, work.total[0, c])
        return largest > 0.0

    return follow


def build_default(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Terminate the relations left unpaid, then those that a default elsewhere terminates.

    Who is left unpaid follows `fail_order`: the first in it bear what is missing. Creditors decide
    once a day; a debt that no relation bears, such as an agreed settlement, ends none.
    """
    weigh = build_weigh(inline, lanes)
    bear = build_bear(inline, lanes)
    follow = build_follow(inline, lanes)
    cancel = build_cancel(inline, lanes)
    close_out = build_close_out(inline, lanes)

    @splice
    def default(first, hour, books, terms, sales, switches, holdings, accounts, till, work):
        agreements = terms.im_start.shape[0]
        ring = accounts.issued.shape[0] // max(agreements, 1)
        grace = int(switches[POOL_GRACE])
        weigh(first, hour, grace, ring, terms, accounts, till, work)
        # Two rounds over the agreements in one loop: the unpaid, then those that follow.
        for i in range(2 * agreements):
            r = np.int64(terms.fail_order[i % agreements])
            if i < agreements:
                ends = bear(first, r, hour, grace, ring, terms, accounts, till, work)
            else:
                ends = follow(first, r, terms, accounts, work)
            if ends:
                cancel(first, r, hour, ring, terms, accounts, till, work)
                close_out(first, r, hour, books, sales, switches, holdings, accounts, work)

    return default
