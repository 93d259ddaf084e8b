"""The state of a tile before the first hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.kernels.avalanche.layout import (
    CASH,
    EXHAUSTED,
    HOURS_PER_DAY,
    HQLA,
    IM_MAX,
    IM_SUM,
    LIQUIDITY_MIN,
    MULTIPLE_MAX,
    NAV,
    PENDING,
    POOL_CASH,
    POOL_HAIRCUT,
    POOL_HQLA,
    POOL_NAV,
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
    def start_agreements(first, m, s):
        for r in range(m.im_start.shape[0]):
            im = max(m.im_start[r] - m.im_threshold[r], 0.0) + m.concentration_start[r]
            exposure = m.exposure_start[r]
            held = m.held_start[r]
            for w in range(lanes):
                c = first + w
                s.ewma[r, c] = 1.0
                s.exposure[r, c] = exposure
                s.exposure_eod[r, c] = exposure
                s.held[r, c] = held
                s.im[r, c] = im
                s.agreement_calls[r, c] = 0.0
                s.scalars[IM_SUM, c] += im

    return start_agreements


def build_start_calls(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Calls of today that are still open fall due, or come in, after the usual lags."""

    @inline
    def start_calls(first, m, s):
        for r in range(m.im_start.shape[0]):
            payable = max(m.open_call[r], 0.0)
            due = m.pay_lag[r]
            coming = m.receive_lag[r]
            for w in range(lanes):
                c = first + w
                s.pay[due, c] += payable
                s.receive[coming, c] += max(-m.open_call[r], 0.0)
                s.scalars[PENDING, c] += payable

    return start_calls


def build_start(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Fill the whole state of a tile."""
    fill = build_fill(inline, lanes)
    start_agreements = build_start_agreements(inline, lanes)
    start_calls = build_start_calls(inline, lanes)
    resize = build_resize(inline, lanes)

    @splice
    def start(first, m, s):
        factors = m.group.shape[0]
        fill(first, s.cumulative, factors, 0.0)
        fill(first, s.convexity, factors, 0.0)
        fill(first, s.impact, factors, 0.0)
        fill(first, s.log_volatility, m.keep.shape[0], 0.0)
        fill(first, s.left, m.relief.shape[0], 1.0)
        fill(first, s.root_sold, m.relief.shape[0], 0.0)
        fill(first, s.pay, RING_HOURS, 0.0)
        fill(first, s.receive, RING_HOURS, 0.0)
        fill(first, s.relief_ring, HOURS_PER_DAY, 0.0)
        fill(first, s.scalars, SCALARS, 0.0)
        start_agreements(first, m, s)
        start_calls(first, m, s)
        # Computed as after a sale: a path must not see whether its tile has sold before.
        resize(first, m, s)
        facilities = 0.0
        for f in range(m.facility_limit.shape[0]):
            facilities += m.facility_limit[f]
        hqla = m.pool[POOL_HQLA]
        opening = m.pool[POOL_CASH] + hqla * (1.0 - m.pool[POOL_HAIRCUT]) + facilities
        for w in range(lanes):
            c = first + w
            s.scalars[CASH, c] = m.pool[POOL_CASH]
            s.scalars[HQLA, c] = hqla
            s.scalars[NAV, c] = m.pool[POOL_NAV]
            s.scalars[IM_MAX, c] = s.scalars[IM_SUM, c]
            s.scalars[LIQUIDITY_MIN, c] = opening
            s.scalars[MULTIPLE_MAX, c] = 1.0
            s.scalars[EXHAUSTED, c] = -1.0
            s.scalars[REQUESTED, c] = -1.0

    return start
