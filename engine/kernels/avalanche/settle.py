"""What falls due in the hour is paid: cash, then liquid securities, then credit lines.

Amounts stay whole cents throughout, so that the cash account closes to the cent on every path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from engine.kernels.avalanche.calls import build_whole
from engine.kernels.avalanche.layout import (
    CALLS,
    CASH,
    DRAWN,
    DRAWN_MAX,
    EXHAUSTED,
    HOURS_PER_DAY,
    HQLA,
    IM_MAX,
    IM_SUM,
    IN_FLIGHT,
    INFLOW,
    LARGEST_HAIRCUT,
    LIQUIDITY,
    LIQUIDITY_MIN,
    NAV,
    NEED_MAX,
    NET_PAID,
    OUTFLOW,
    PENDING,
    PNL,
    POOL_CASH,
    POOL_HAIRCUT,
    POOL_HQLA,
    POOL_HQLA_CAP,
    POOL_NAV,
    POOL_REQUEST,
    POOL_TARGET,
    REQUESTED,
    RING_HOURS,
    STEP_CALLS,
    STRESS,
    UNPAID,
    UNPAID_MAX,
    WANT,
)


def build_due(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Receipts and agreed settlements come in or fall due; what cash cannot cover is UNPAID."""

    @inline
    def due(first, hour, m, s):
        slot = hour % RING_HOURS
        incoming, outgoing = max(m.flow[hour], 0.0), max(-m.flow[hour], 0.0)
        expired = hour % HOURS_PER_DAY
        for w in range(lanes):
            c = first + w
            s.scalars[NAV, c] += s.scalars[PNL, c]
            s.scalars[CALLS, c] += s.scalars[STEP_CALLS, c]
            s.scalars[IM_MAX, c] = max(s.scalars[IM_MAX, c], s.scalars[IM_SUM, c])
            s.scalars[IN_FLIGHT, c] -= s.relief_ring[expired, c]
            s.relief_ring[expired, c] = 0.0
            received = s.receive[slot, c] + incoming
            s.receive[slot, c] = 0.0
            called = s.pay[slot, c]
            s.pay[slot, c] = 0.0
            s.scalars[PENDING, c] -= called
            payable = called + outgoing
            s.scalars[NET_PAID, c] += payable - received
            cash = s.scalars[CASH, c] + received
            owed = s.scalars[UNPAID, c] + payable
            paid = min(cash, owed)
            s.scalars[CASH, c] = cash - paid
            s.scalars[UNPAID, c] = owed - paid
            s.scalars[INFLOW, c] += received
            s.scalars[OUTFLOW, c] += paid

    return due


def build_haircut(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Haircut of the pooled securities on one path: it widens with stress, up to a limit."""

    @inline
    def haircut(c, m, s):
        return min(m.pool[POOL_HAIRCUT] * max(s.scalars[STRESS, c], 1.0), LARGEST_HAIRCUT)

    return haircut


def build_pledge(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Raise cash on liquid securities: pledged at a haircut that widens with stress, up to the
    hourly limit. What is pledged stays the fund's, so NAV does not move."""
    whole = build_whole(inline)
    haircut = build_haircut(inline)

    @inline
    def pledge(first, m, s):
        limit = m.pool[POOL_HQLA_CAP]
        for w in range(lanes):
            c = first + w
            cut = haircut(c, m, s)
            short = s.scalars[UNPAID, c]
            # One cent more than needed covers the rounding of the proceeds.
            given = min(min(whole(short / (1.0 - cut)) + 1.0, s.scalars[HQLA, c]), limit)
            given = given if short > 0.0 else 0.0
            proceeds = whole(given * (1.0 - cut))
            paid = min(proceeds, short)
            s.scalars[HQLA, c] -= given
            s.scalars[UNPAID, c] = short - paid
            s.scalars[CASH, c] += proceeds - paid
            s.scalars[INFLOW, c] += proceeds
            s.scalars[OUTFLOW, c] += paid

    return pledge


def build_lines(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Sum of the credit lines whose NAV covenant is kept and whose notice is served.

    `noticed` are the hours since the lines were asked for, negative if they were not.
    """

    @inline
    def lines(c, noticed, m, s):
        limit = 0.0
        kept = s.scalars[NAV, c] / m.pool[POOL_NAV]
        for f in range(m.facility_limit.shape[0]):
            ready = (noticed >= m.facility_notice[f]) and (kept >= 1.0 - m.facility_covenant[f])
            limit += m.facility_limit[f] if ready else 0.0
        return limit

    return lines


def build_borrow(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Draw on open lines for what is still unpaid; record exhaustion and the need for a line."""
    lines = build_lines(inline)
    haircut = build_haircut(inline)

    @inline
    def borrow(first, hour, m, s):
        opening_cash, opening_hqla = m.pool[POOL_CASH], m.pool[POOL_HQLA]
        now = float(hour)
        for w in range(lanes):
            c = first + w
            short = s.scalars[UNPAID, c]
            asked = s.scalars[REQUESTED, c]
            noticed = now - asked if asked >= 0.0 else -1.0
            room = max(lines(c, noticed, m, s) - s.scalars[DRAWN, c], 0.0)
            drawn = min(short, room)
            s.scalars[DRAWN, c] += drawn
            s.scalars[UNPAID, c] = short - drawn
            s.scalars[INFLOW, c] += drawn
            s.scalars[OUTFLOW, c] += drawn
            s.scalars[DRAWN_MAX, c] = max(s.scalars[DRAWN_MAX, c], s.scalars[DRAWN, c])
            s.scalars[UNPAID_MAX, c] = max(s.scalars[UNPAID_MAX, c], s.scalars[UNPAID, c])
            first_time = (s.scalars[UNPAID, c] > 0.0) and (s.scalars[EXHAUSTED, c] < 0.0)
            s.scalars[EXHAUSTED, c] = now if first_time else s.scalars[EXHAUSTED, c]
            cut = haircut(c, m, s)
            need = s.scalars[NET_PAID, c] - opening_cash - opening_hqla * (1.0 - cut)
            s.scalars[NEED_MAX, c] = max(s.scalars[NEED_MAX, c], need)

    return borrow


def build_outlook(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Liquidity left, whether to ask for the lines, and how much sales must raise.

    Lines are asked for, once, when own resources net of calls issued fall below the request level.
    Sales are wanted when resources, lines included, net of calls already issued fall below the
    target; relief from sales of the last day that has not arrived yet counts as on its way. A
    line whose covenant is broken is not a resource.
    """
    lines = build_lines(inline)
    haircut = build_haircut(inline)

    @inline
    def outlook(first, hour, m, s):
        target, request = m.pool[POOL_TARGET], m.pool[POOL_REQUEST]
        now = float(hour)
        for w in range(lanes):
            c = first + w
            cut = haircut(c, m, s)
            own = s.scalars[CASH, c] + s.scalars[HQLA, c] * (1.0 - cut) - s.scalars[UNPAID, c]
            ahead = own - s.scalars[PENDING, c]
            ask = (ahead < request) and (s.scalars[REQUESTED, c] < 0.0)
            s.scalars[REQUESTED, c] = now if ask else s.scalars[REQUESTED, c]
            # Every line counts here, as if its notice were served.
            room = max(lines(c, math.inf, m, s) - s.scalars[DRAWN, c], 0.0)
            s.scalars[LIQUIDITY_MIN, c] = min(s.scalars[LIQUIDITY_MIN, c], own + room)
            s.scalars[LIQUIDITY, c] = own + room
            want = target - ahead - room - s.scalars[IN_FLIGHT, c]
            s.scalars[WANT, c] = max(want, 0.0)

    return outlook
