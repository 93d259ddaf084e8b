"""What falls due in the hour: receipts, payments in each currency, and exchange between them.

Amounts stay whole cents throughout, so that every currency's account closes to the cent on every
path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.calls import build_whole
from engine.kernels.avalanche.layout import (
    CALLS,
    CLAIMS,
    EXHAUSTED,
    FIRST_CURRENCY,
    FX_COST,
    HUB,
    IM_MAX,
    IM_SUM,
    IN_FLIGHT,
    IN_SETTLEMENT,
    LARGEST_SPREAD,
    NAV,
    NET_PAID,
    OVERDUE_HOURS,
    PNL,
    RELIEF_HOURS,
    RING_HOURS,
    SETTLE_HOURS,
    STEP_CALLS,
    STRESS,
    UNPAID_MAX,
)


def build_close(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Add the hour's profit and calls to the path's accounts; release what sales promised."""

    @inline
    def close(first, hour, work):
        expired = hour % RELIEF_HOURS
        for w in range(lanes):
            c = first + w
            work.scalars[NAV, c] += work.scalars[PNL, c]
            work.scalars[CALLS, c] += work.scalars[STEP_CALLS, c]
            work.scalars[IM_MAX, c] = max(work.scalars[IM_MAX, c], work.scalars[IM_SUM, c])
            work.scalars[IN_FLIGHT, c] -= work.relief_ring[expired, c]
            work.relief_ring[expired, c] = 0.0

    return close


def build_due(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Receipts and agreed settlements come in or fall due; what cash cannot cover is unpaid."""

    @inline
    def due(first, hour, money, till, work):
        for n in range(money.cash.shape[0]):
            slot = n * RING_HOURS + hour % RING_HOURS
            incoming, outgoing = max(money.flow[hour, n], 0.0), max(-money.flow[hour, n], 0.0)
            for w in range(lanes):
                c = first + w
                received = till.receive[slot, c] + incoming
                till.receive[slot, c] = 0.0
                called = till.pay[slot, c]
                till.pay[slot, c] = 0.0
                till.pending[n, c] -= called
                payable = called + outgoing
                work.scalars[NET_PAID, c] += payable - received
                cash = till.cash[n, c] + received
                owed = till.unpaid[n, c] + payable
                paid = min(cash, owed)
                till.cash[n, c] = cash - paid
                till.unpaid[n, c] = owed - paid
                till.inflow[n, c] += received
                till.outflow[n, c] += paid

    return due


def build_proceeds(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Securities sold earlier settle: their proceeds, booked to come in the hub's ring, arrive.

    They are no receipt from a counterparty, so they do not lower the need for a credit line.
    """

    @inline
    def proceeds(first, hour, money, till, work):
        for q in range(money.hqla.shape[0]):
            slot = q * SETTLE_HOURS + hour % SETTLE_HOURS
            if money.hqla_lag[q] > 0:
                for w in range(lanes):
                    c = first + w
                    arrived = till.settling[slot, c]
                    till.settling[slot, c] = 0.0
                    work.scalars[IN_SETTLEMENT, c] -= arrived
                    till.cash[HUB, c] += arrived
                    till.inflow[HUB, c] += arrived

    return proceeds


def build_is_open(inline: Callable[..., Any]) -> Callable[..., Any]:
    """True if a currency can be exchanged and paid in this hour."""
    one, none = np.uint32(1), np.uint32(0)

    @inline
    def is_open(n, clock, money):
        return (money.fx_open[n] & (one << np.uint32(clock))) != none

    return is_open


def build_rate(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Cost of exchanging a currency on one path, a fraction that widens with stress, to a limit."""

    @inline
    def rate_of(n, c, money, work):
        return min(money.fx_spread[n] * max(work.scalars[STRESS, c], 1.0), LARGEST_SPREAD)

    return rate_of


def build_to_hub(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Sell surplus of other currencies for the hub's, as far as the hub lacks cash.

    The hub lacks what it and the open currencies owe, now or soon, beyond the cash they hold.
    """
    whole = build_whole(inline)
    is_open = build_is_open(inline)
    rate_of = build_rate(inline)

    @inline
    def to_hub(first, clock, money, till, work):
        for w in range(lanes):
            c = first + w
            work.total[0, c] = till.unpaid[HUB, c] + till.pending[HUB, c] - till.cash[HUB, c]
        for n in range(1, money.cash.shape[0]):
            if is_open(n, clock, money):
                for w in range(lanes):
                    c = first + w
                    lacking = till.unpaid[n, c] + till.pending[n, c] - till.cash[n, c]
                    work.total[0, c] += max(lacking, 0.0)
        for n in range(1, money.cash.shape[0]):
            if is_open(n, clock, money):
                for w in range(lanes):
                    c = first + w
                    spare = till.cash[n, c] - till.unpaid[n, c] - till.pending[n, c]
                    give = min(max(spare, 0.0), whole(max(work.total[0, c], 0.0)))
                    rate = rate_of(n, c, money, work)
                    fee = whole(give * rate)
                    till.cash[n, c] -= give
                    till.outflow[n, c] += give
                    till.cash[HUB, c] += give - fee
                    till.inflow[HUB, c] += give - fee
                    work.scalars[FX_COST, c] += fee
                    work.scalars[NAV, c] -= fee
                    work.total[0, c] -= give - fee

    return to_hub


def build_from_hub(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Buy currencies for calls issued in them, before their cut-off, with the hub's spare cash.

    `ahead` is 1 to fund calls that are issued but not yet due, 0 for what is unpaid only.
    """
    whole = build_whole(inline)
    is_open = build_is_open(inline)
    rate_of = build_rate(inline)

    @inline
    def from_hub(first, clock, money, till, work):
        for n in range(1, money.cash.shape[0]):
            if is_open(n, clock, money):
                for w in range(lanes):
                    c = first + w
                    rate = rate_of(n, c, money, work)
                    lacking = max(till.unpaid[n, c] + till.pending[n, c] - till.cash[n, c], 0.0)
                    spare = max(till.cash[HUB, c] - till.unpaid[HUB, c], 0.0)
                    # One cent less than the cash allows, so that the fee's rounding always fits.
                    most = max(whole(spare / (1.0 + rate)) - 1.0, 0.0)
                    bought = min(lacking, most)
                    fee = whole(bought * rate)
                    paid = min(till.unpaid[n, c], till.cash[n, c] + bought)
                    till.cash[HUB, c] -= bought + fee
                    till.outflow[HUB, c] += bought + fee
                    till.cash[n, c] += bought - paid
                    till.inflow[n, c] += bought
                    till.outflow[n, c] += paid
                    till.unpaid[n, c] -= paid
                    work.scalars[FX_COST, c] += fee
                    work.scalars[NAV, c] -= fee

    return from_hub


def build_pay_hub(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Pay what the hub owes from its cash."""

    @inline
    def pay_hub(first, till):
        for w in range(lanes):
            c = first + w
            paid = min(till.cash[HUB, c], till.unpaid[HUB, c])
            till.cash[HUB, c] -= paid
            till.outflow[HUB, c] += paid
            till.unpaid[HUB, c] -= paid

    return pay_hub


def build_note_unpaid(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Record what nothing could pay: its size, first hour, first currency, hours in a row."""

    @inline
    def note_unpaid(first, hour, money, till, work):
        now = float(hour)
        for w in range(lanes):
            work.total[0, first + w] = 0.0
            work.segment[0, first + w] = -1.0
        for n in range(money.cash.shape[0]):
            for w in range(lanes):
                c = first + w
                short = till.unpaid[n, c]
                work.total[0, c] += short
                fresh = (short > 0.0) and (work.segment[0, c] < 0.0)
                work.segment[0, c] = float(n) if fresh else work.segment[0, c]
        for w in range(lanes):
            c = first + w
            short = work.total[0, c]
            owed = short + work.scalars[CLAIMS, c]
            work.scalars[UNPAID_MAX, c] = max(work.scalars[UNPAID_MAX, c], owed)
            work.scalars[OVERDUE_HOURS, c] = (
                work.scalars[OVERDUE_HOURS, c] + 1.0 if short > 0.0 else 0.0
            )
            begins = (short > 0.0) and (work.scalars[EXHAUSTED, c] < 0.0)
            work.scalars[EXHAUSTED, c] = now if begins else work.scalars[EXHAUSTED, c]
            currency = work.scalars[FIRST_CURRENCY, c]
            work.scalars[FIRST_CURRENCY, c] = work.segment[0, c] if begins else currency

    return note_unpaid
