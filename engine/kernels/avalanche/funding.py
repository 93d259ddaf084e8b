"""Cash for what is short: securities, then credit lines; and how far the fund can look ahead."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from engine.kernels.avalanche.calls import build_whole
from engine.kernels.avalanche.layout import (
    CLAIMS,
    DRAWN,
    DRAWN_MAX,
    HEAT,
    HUB,
    IN_FLIGHT,
    IN_SETTLEMENT,
    LARGEST_HAIRCUT,
    LIQUIDITY,
    LIQUIDITY_MIN,
    NAV,
    NEED_MAX,
    NET_PAID,
    NO_BASE,
    POOL_HEAT_HAIRCUT,
    POOL_HEAT_MOVES,
    POOL_NAV,
    POOL_REQUEST,
    POOL_TARGET,
    REFUSED_MAX,
    REQUESTED,
    SETTLE_HOURS,
    STRESS,
    WANT,
)
from engine.kernels.avalanche.settle import build_is_open, build_rate


def build_haircut(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Haircut of one kind of securities on one path: it widens with stress, up to a limit."""

    @inline
    def haircut(q, c, money, switches, work):
        heat = work.scalars[HEAT, c] if switches[POOL_HEAT_HAIRCUT] > 0.0 else 1.0
        stress = max(work.scalars[STRESS, c] * heat, 1.0)
        return min(money.hqla_haircut[q] * stress, max(LARGEST_HAIRCUT, money.hqla_haircut[q]))

    return haircut


def build_shortage(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Hub cash that could be used now and is not there, into total[0]; any lane short: True.

    Used at once is what the hub has not paid, and what open currencies lack for calls issued in
    them: they are funded before their cut-off. A closed currency cannot be helped.
    """
    is_open = build_is_open(inline)
    rate_of = build_rate(inline)

    @inline
    def shortage(first, clock, money, till, work):
        for w in range(lanes):
            c = first + w
            work.total[0, c] = till.unpaid[HUB, c] - till.cash[HUB, c]
        for n in range(1, money.cash.shape[0]):
            if is_open(n, clock, money):
                for w in range(lanes):
                    c = first + w
                    rate = rate_of(n, c, money, work)
                    lacking = till.unpaid[n, c] + till.pending[n, c] - till.cash[n, c]
                    # Two cents cover the rounding of the fee.
                    work.total[0, c] += (
                        math.ceil(lacking * (1.0 + rate)) + 2.0 if lacking > 0.0 else 0.0
                    )
        largest = 0.0
        for w in range(lanes):
            largest = max(largest, work.total[0, first + w])
        return largest > 0.0

    return shortage


def build_give(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Use securities of one kind for what is short in total[0], within limits; return the proceeds.

    What is given stays the fund's, so NAV does not move; the haircut is not available.
    """
    whole = build_whole(inline)
    haircut = build_haircut(inline)

    @inline
    def give(q, c, money, switches, till, work):
        cut = haircut(q, c, money, switches, work)
        short = max(work.total[0, c], 0.0)
        room = min(money.hqla_hour_cap[q], money.hqla_day_cap[q] - till.hqla_today[q, c])
        # One cent more than needed covers the rounding of the proceeds.
        given = min(min(whole(short / (1.0 - cut)) + 1.0, till.hqla[q, c]), room)
        given = given if short > 0.0 else 0.0
        proceeds = whole(given * (1.0 - cut))
        till.hqla[q, c] -= given
        till.hqla_today[q, c] += given
        work.total[0, c] -= proceeds
        return proceeds

    return give


def build_pledge(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Raise the shortage in total[0] on securities that pay at once, kind by kind."""
    give = build_give(inline)

    @inline
    def pledge(first, money, switches, till, work):
        for q in range(money.hqla.shape[0]):
            if money.hqla_lag[q] == 0:
                for w in range(lanes):
                    c = first + w
                    proceeds = give(q, c, money, switches, till, work)
                    till.cash[HUB, c] += proceeds
                    till.inflow[HUB, c] += proceeds

    return pledge


def build_sell_slow(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Sell securities that settle later, as soon as calls issued exceed what is there at once."""
    haircut = build_haircut(inline)
    give = build_give(inline)

    @inline
    def sell_slow(first, hour, money, switches, till, work):
        for w in range(lanes):
            work.total[0, first + w] = -work.scalars[IN_SETTLEMENT, first + w]
        for n in range(money.cash.shape[0]):
            for w in range(lanes):
                c = first + w
                work.total[0, c] += till.unpaid[n, c] + till.pending[n, c] - till.cash[n, c]
        for q in range(money.hqla.shape[0]):
            if money.hqla_lag[q] == 0:
                for w in range(lanes):
                    c = first + w
                    work.total[0, c] -= till.hqla[q, c] * (
                        1.0 - haircut(q, c, money, switches, work)
                    )
        for q in range(money.hqla.shape[0]):
            if money.hqla_lag[q] > 0:
                slot = q * SETTLE_HOURS + (hour + money.hqla_lag[q]) % SETTLE_HOURS
                for w in range(lanes):
                    c = first + w
                    proceeds = give(q, c, money, switches, till, work)
                    till.settling[slot, c] += proceeds
                    work.scalars[IN_SETTLEMENT, c] += proceeds

    return sell_slow


def build_lines(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Sum of the credit lines that can be drawn: notice served, NAV covenant kept, no adverse
    change, within the borrowing base.

    `noticed` are the hours since the lines were asked for, negative if they were not. With `free`
    the conditions other than notice are left out: what the lines were meant to give.
    """

    @inline
    def lines(c, noticed, free, money, switches, work):
        limit = 0.0
        nav = work.scalars[NAV, c]
        heat = work.scalars[HEAT, c] if switches[POOL_HEAT_MOVES] > 0.0 else 1.0
        kept = nav / switches[POOL_NAV]
        for f in range(money.facility_limit.shape[0]):
            served = noticed >= money.facility_notice[f]
            calm = work.scalars[STRESS, c] * heat <= money.facility_stress[f]
            open_line = served and (free or (calm and kept >= 1.0 - money.facility_covenant[f]))
            bound = money.facility_base[f] < NO_BASE and not free
            base = max(money.facility_base[f] * nav, 0.0) if bound else money.facility_limit[f]
            limit += math.floor(min(money.facility_limit[f], base)) if open_line else 0.0
        return limit

    return lines


def build_borrow(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Draw on open lines for the shortage in total[0]; note what their conditions refused."""
    lines = build_lines(inline)

    @inline
    def borrow(first, hour, money, switches, till, work):
        now = float(hour)
        for w in range(lanes):
            c = first + w
            short = max(work.total[0, c], 0.0)
            asked = work.scalars[REQUESTED, c]
            noticed = now - asked if asked >= 0.0 else -1.0
            room = max(
                lines(c, noticed, False, money, switches, work) - work.scalars[DRAWN, c], 0.0
            )
            meant = max(
                lines(c, noticed, True, money, switches, work) - work.scalars[DRAWN, c], 0.0
            )
            drawn = min(short, room)
            refused = min(short, meant) - drawn
            work.scalars[REFUSED_MAX, c] = max(work.scalars[REFUSED_MAX, c], refused)
            work.scalars[DRAWN, c] += drawn
            till.cash[HUB, c] += drawn
            till.inflow[HUB, c] += drawn
            work.scalars[DRAWN_MAX, c] = max(work.scalars[DRAWN_MAX, c], work.scalars[DRAWN, c])

    return borrow


def build_need(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Largest net payment so far beyond opening cash and securities: the need for a credit line."""
    haircut = build_haircut(inline)

    @inline
    def need(first, money, switches, work):
        opening = 0.0
        for n in range(money.cash.shape[0]):
            opening += money.cash[n]
        for w in range(lanes):
            c = first + w
            own = opening
            for q in range(money.hqla.shape[0]):
                own += money.hqla[q] * (1.0 - haircut(q, c, money, switches, work))
            work.scalars[NEED_MAX, c] = max(
                work.scalars[NEED_MAX, c], work.scalars[NET_PAID, c] - own
            )

    return need


def build_outlook(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Liquidity left, whether to ask for the lines, and how much sales must raise.

    Lines are asked for, once, when own resources net of calls issued fall below the request level.
    Sales are wanted when resources, lines included, net of calls already issued fall below the
    target; relief from sales of the last day that has not arrived yet counts as on its way. A
    line whose conditions are broken is not a resource.
    """
    lines = build_lines(inline)
    haircut = build_haircut(inline)

    @inline
    def outlook(first, hour, money, switches, till, work):
        target, request = switches[POOL_TARGET], switches[POOL_REQUEST]
        now = float(hour)
        for w in range(lanes):
            c = first + w
            work.total[0, c] = work.scalars[IN_SETTLEMENT, c] - work.scalars[CLAIMS, c]
            work.segment[0, first + w] = 0.0
        for n in range(money.cash.shape[0]):
            for w in range(lanes):
                c = first + w
                work.total[0, c] += till.cash[n, c] - till.unpaid[n, c]
                work.segment[0, c] += till.pending[n, c]
        for q in range(money.hqla.shape[0]):
            for w in range(lanes):
                c = first + w
                work.total[0, c] += till.hqla[q, c] * (1.0 - haircut(q, c, money, switches, work))
        for w in range(lanes):
            c = first + w
            own = work.total[0, c]
            ahead = own - work.segment[0, c]
            ask = (ahead < request) and (work.scalars[REQUESTED, c] < 0.0)
            work.scalars[REQUESTED, c] = now if ask else work.scalars[REQUESTED, c]
            # Every line counts here, as if its notice were served.
            room = max(
                lines(c, math.inf, False, money, switches, work) - work.scalars[DRAWN, c], 0.0
            )
            work.scalars[LIQUIDITY_MIN, c] = min(work.scalars[LIQUIDITY_MIN, c], own + room)
            work.scalars[LIQUIDITY, c] = own + room
            want = target - ahead - room - work.scalars[IN_FLIGHT, c]
            work.scalars[WANT, c] = max(want, 0.0)

    return outlook
