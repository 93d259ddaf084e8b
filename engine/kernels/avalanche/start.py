"""The state of a tile before the first hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.layout import (
    DEFAULT_HOUR,
    EXHAUSTED,
    FIRST_CURRENCY,
    HEAT,
    IM_MAX,
    IM_SUM,
    LIQUIDITY_MIN,
    MULTIPLE_MAX,
    NAV,
    POOL_NAV,
    POOL_START_STRESS,
    REGIME,
    RELIEF_HOURS,
    REQUESTED,
    RING_HOURS,
    SCALARS,
)
from engine.kernels.avalanche.sales import build_resize


def build_fill(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Set every row of an array of the tile to one value."""

    @inline
    def fill(first, array, rows, value):
        for row in range(rows):
            for w in range(lanes):
                array[row, first + w] = value

    return fill


def build_start_agreements(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Margin as it stands today: IM called, exposures and collateral held, no P&L yet."""

    @inline
    def start_agreements(first, terms, accounts, work):
        for r in range(terms.im_start.shape[0]):
            im = terms.im_today[r]
            exposure = terms.exposure_start[r]
            held = terms.held_start[r]
            for w in range(lanes):
                c = first + w
                accounts.ewma[r, c] = 1.0
                accounts.posted[r, c] = 1.0
                accounts.pressed[r, c] = 0.0
                accounts.alive[r, c] = 1.0
                accounts.exposure[r, c] = exposure
                accounts.exposure_eod[r, c] = exposure
                accounts.held[r, c] = held
                accounts.im[r, c] = im
                accounts.agreement_calls[r, c] = 0.0
                work.scalars[IM_SUM, c] += im

    return start_agreements


def build_start_calls(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Calls of today that are still open fall due, or come in, after the usual lags."""

    @inline
    def start_calls(first, terms, accounts, till):
        agreements = terms.im_start.shape[0]
        ring = accounts.issued.shape[0] // max(agreements, 1)
        for r in range(agreements):
            pool = np.int64(terms.currency[r])
            payable = max(terms.open_call[r], 0.0)
            due = np.int64(terms.pay_lag[r, 0])
            pay_row = pool * RING_HOURS + due
            receive_row = pool * RING_HOURS + np.int64(terms.receive_lag[r])
            for w in range(lanes):
                c = first + w
                till.pay[pay_row, c] += payable
                accounts.issued[r * ring, c] += payable
                till.receive[receive_row, c] += max(-terms.open_call[r], 0.0)
                till.pending[pool, c] += payable

    return start_calls


def build_start_money(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Cash, securities and credit lines of today, and the accounts of the path."""

    @inline
    def start_money(first, money, switches, till, work):
        opening = 0.0
        for f in range(money.facility_limit.shape[0]):
            opening += money.facility_limit[f]
        for n in range(money.cash.shape[0]):
            opening += money.cash[n]
            for w in range(lanes):
                till.cash[n, first + w] = money.cash[n]
        for q in range(money.hqla.shape[0]):
            opening += money.hqla[q] * (1.0 - money.hqla_haircut[q])
            for w in range(lanes):
                till.hqla[q, first + w] = money.hqla[q]
        for w in range(lanes):
            c = first + w
            work.scalars[NAV, c] = switches[POOL_NAV]
            work.scalars[IM_MAX, c] = work.scalars[IM_SUM, c]
            work.scalars[LIQUIDITY_MIN, c] = opening
            work.scalars[MULTIPLE_MAX, c] = 1.0
            work.scalars[EXHAUSTED, c] = -1.0
            work.scalars[REQUESTED, c] = -1.0
            work.scalars[FIRST_CURRENCY, c] = -1.0
            work.scalars[DEFAULT_HOUR, c] = -1.0
            work.scalars[HEAT, c] = 1.0
            work.scalars[REGIME, c] = switches[POOL_START_STRESS]

    return start_money


def build_start(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Fill the whole state of a tile."""
    fill = build_fill(inline, lanes)
    start_agreements = build_start_agreements(inline, lanes)
    start_calls = build_start_calls(inline, lanes)
    start_money = build_start_money(inline, lanes)
    resize = build_resize(inline, lanes)

    @splice
    def start(
        first, market, books, terms, sales, money, switches, tape, holdings, accounts, till, work
    ):
        factors, buckets, currencies = (
            market.group.shape[0],
            sales.relief.shape[0],
            money.cash.shape[0],
        )
        fill(first, tape.cumulative, factors, 0.0)
        fill(first, tape.convexity, factors, 0.0)
        fill(first, tape.impact, factors, 0.0)
        fill(first, tape.log_volatility, market.keep.shape[0], 0.0)
        fill(first, holdings.left, buckets, 1.0)
        fill(first, holdings.level, buckets, 0.0)
        fill(first, holdings.volume, buckets, 0.0)
        fill(first, holdings.heat, buckets, 1.0)
        fill(first, holdings.sold, buckets, 0.0)
        fill(first, holdings.sold_today, buckets, 0.0)
        fill(first, holdings.pressure, buckets, 0.0)
        fill(first, accounts.issued, accounts.issued.shape[0], 0.0)
        fill(first, till.unpaid, currencies, 0.0)
        fill(first, till.pending, currencies, 0.0)
        fill(first, till.inflow, currencies, 0.0)
        fill(first, till.outflow, currencies, 0.0)
        fill(first, till.pay, currencies * RING_HOURS, 0.0)
        fill(first, till.receive, currencies * RING_HOURS, 0.0)
        fill(first, till.hqla_today, money.hqla.shape[0], 0.0)
        fill(first, till.settling, till.settling.shape[0], 0.0)
        fill(first, work.relief_ring, RELIEF_HOURS, 0.0)
        fill(first, work.scalars, SCALARS, 0.0)
        start_agreements(first, terms, accounts, work)
        start_calls(first, terms, accounts, till)
        start_money(first, money, switches, till, work)
        # Computed as after a sale: a path must not see whether its tile has sold before.
        resize(first, books, terms, holdings, accounts, work)

    return start
