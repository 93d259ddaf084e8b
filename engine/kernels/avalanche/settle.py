"""What falls due in the hour is paid: cash, then liquid securities, then credit lines.

Amounts stay whole cents throughout, so that the cash account closes to the cent on every path.
"""

from __future__ import annotations

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


def build_pledge(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Raise cash on liquid securities: pledged at a haircut that widens with stress, up to the
    hourly limit. What is pledged stays the fund's, so NAV does not move."""
    whole = build_whole(inline)

    @inline
    def pledge(first, m, s):
        haircut, limit = m.pool[POOL_HAIRCUT], m.pool[POOL_HQLA_CAP]
        for w in range(lanes):
            c = first + w
            cut = min(haircut * max(s.scalars[STRESS, c], 1.0), LARGEST_HAIRCUT)
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


def build_open_lines(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Sum of the lines open in the hour: notice served and the NAV covenant kept."""

    @inline
    def open_lines(c, hour, m, s):
        limit = 0.0
        asked = s.scalars[REQUESTED, c]
        kept = s.scalars[NAV, c] / m.pool[POOL_NAV]
        for f in range(m.facility_limit.shape[0]):
            ready = (asked >= 0.0) and (hour >= asked + m.facility_notice[f])
            ready = ready and (kept >= 1.0 - m.facility_covenant[f])
            limit += m.facility_limit[f] if ready else 0.0
        return limit

    return open_lines


def build_borrow(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Draw on open lines for what is still unpaid; record exhaustion and the need for a line."""
    open_lines = build_open_lines(inline, lanes)

    @inline
    def borrow(first, hour, m, s):
        haircut = m.pool[POOL_HAIRCUT]
        opening_cash, opening_hqla = m.pool[POOL_CASH], m.pool[POOL_HQLA]
        now = float(hour)
        for w in range(lanes):
            c = first + w
            short = s.scalars[UNPAID, c]
            room = max(open_lines(c, now, m, s) - s.scalars[DRAWN, c], 0.0)
            drawn = min(short, room)
            s.scalars[DRAWN, c] += drawn
            s.scalars[UNPAID, c] = short - drawn
            s.scalars[INFLOW, c] += drawn
            s.scalars[OUTFLOW, c] += drawn
            s.scalars[DRAWN_MAX, c] = max(s.scalars[DRAWN_MAX, c], s.scalars[DRAWN, c])
            s.scalars[UNPAID_MAX, c] = max(s.scalars[UNPAID_MAX, c], s.scalars[UNPAID, c])
            first_time = (s.scalars[UNPAID, c] > 0.0) and (s.scalars[EXHAUSTED, c] < 0.0)
            s.scalars[EXHAUSTED, c] = now if first_time else s.scalars[EXHAUSTED, c]
            cut = min(haircut * max(s.scalars[STRESS, c], 1.0), LARGEST_HAIRCUT)
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

    @inline
    def outlook(first, hour, m, s):
        haircut, target = m.pool[POOL_HAIRCUT], m.pool[POOL_TARGET]
        request = m.pool[POOL_REQUEST]
        now = float(hour)
        for w in range(lanes):
            c = first + w
            cut = min(haircut * max(s.scalars[STRESS, c], 1.0), LARGEST_HAIRCUT)
            own = s.scalars[CASH, c] + s.scalars[HQLA, c] * (1.0 - cut) - s.scalars[UNPAID, c]
            ahead = own - s.scalars[PENDING, c]
            ask = (ahead < request) and (s.scalars[REQUESTED, c] < 0.0)
            s.scalars[REQUESTED, c] = now if ask else s.scalars[REQUESTED, c]
            limit = 0.0
            kept = s.scalars[NAV, c] / m.pool[POOL_NAV]
            for f in range(m.facility_limit.shape[0]):
                usable = kept >= 1.0 - m.facility_covenant[f]
                limit += m.facility_limit[f] if usable else 0.0
            room = max(limit - s.scalars[DRAWN, c], 0.0)
            s.scalars[LIQUIDITY_MIN, c] = min(s.scalars[LIQUIDITY_MIN, c], own + room)
            s.scalars[LIQUIDITY, c] = own + room
            want = target - ahead - room - s.scalars[IN_FLIGHT, c]
            s.scalars[WANT, c] = max(want, 0.0)

    return outlook
