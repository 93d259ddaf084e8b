"""The time loop of one tile, put together from the stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.calls import build_calls
from engine.kernels.avalanche.layout import (
    CALL_COUNT,
    CALLS,
    CASH,
    COST,
    DRAWN_MAX,
    EXHAUSTED,
    HOURS_PER_DAY,
    IM_MAX,
    INFLOW,
    LIQUIDITY,
    LIQUIDITY_MIN,
    MIXING,
    MULTIPLE_MAX,
    NAV,
    NEED_MAX,
    OUTFLOW,
    POOL_CASH,
    POOL_DEGREES,
    RAISED,
    STEP_CALLS,
    UNPAID_MAX,
    WINDOW_HOURS,
)
from engine.kernels.avalanche.market import build_draw, build_mix, build_move, build_volatility
from engine.kernels.avalanche.sales import (
    build_push,
    build_recover,
    build_resize,
    build_sell,
    build_wanted,
)
from engine.kernels.avalanche.settle import (
    build_borrow,
    build_due,
    build_outlook,
    build_pledge,
)
from engine.kernels.avalanche.start import build_start


def build_market_hour(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Draw and move all factors for one hour."""
    draw = build_draw(inline, lanes)
    mix = build_mix(inline, lanes)
    volatility = build_volatility(inline, lanes)
    move = build_move(inline, lanes)

    @splice
    def market_hour(first, hour, path, scenario, k0, k1, m, s):
        draw(first, hour, path, scenario, k0, k1, s.z.shape[0], s)
        if hour % HOURS_PER_DAY == 0:
            if m.pool[POOL_DEGREES] > 0.0:
                mix(first, hour // HOURS_PER_DAY, path, scenario, k0, k1, m, s)
            else:
                for w in range(lanes):
                    s.scalars[MIXING, first + w] = 1.0
        volatility(first, hour, m, s)
        move(first, hour, m, s)

    return market_hour


def build_settle_hour(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Pay what is due, then look ahead."""
    due = build_due(inline, lanes)
    pledge = build_pledge(inline, lanes)
    borrow = build_borrow(inline, lanes)
    outlook = build_outlook(inline, lanes)

    @splice
    def settle_hour(first, hour, m, s):
        due(first, hour, m, s)
        pledge(first, m, s)
        borrow(first, hour, m, s)
        outlook(first, hour, m, s)

    return settle_hour


def build_sales_hour(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Forced sales of one hour; returns whether the tile has ever sold."""
    wanted = build_wanted(inline, lanes)
    recover = build_recover(inline, lanes)
    sell = build_sell(inline, lanes)
    resize = build_resize(inline, lanes)
    push = build_push(inline, lanes)

    @splice
    def sales_hour(first, hour, active, m, s):
        now = wanted(first, m, s)
        if now or active:
            recover(first, m, s)
        if now:
            sell(first, hour, m, s)
            resize(first, m, s)
        if now or active:
            push(first, m, s)
        return now or active

    return sales_hour


def build_record(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Write the metrics of finished paths, in the order of METRICS."""

    @inline
    def record(first, column, m, s, out):
        opening = m.pool[POOL_CASH]
        for w in range(lanes):
            c, p = first + w, column + w
            out.metrics[0, p] = s.scalars[CALLS, c]
            out.metrics[1, p] = s.scalars[CALL_COUNT, c]
            out.metrics[2, p] = s.scalars[IM_MAX, c]
            out.metrics[3, p] = s.scalars[LIQUIDITY_MIN, c]
            out.metrics[4, p] = s.scalars[DRAWN_MAX, c]
            out.metrics[5, p] = s.scalars[UNPAID_MAX, c]
            out.metrics[6, p] = s.scalars[NEED_MAX, c]
            out.metrics[7, p] = s.scalars[EXHAUSTED, c]
            out.metrics[8, p] = s.scalars[RAISED, c]
            out.metrics[9, p] = s.scalars[COST, c]
            out.metrics[10, p] = s.scalars[MULTIPLE_MAX, c]
            out.metrics[11, p] = s.scalars[NAV, c]
            closing = opening + s.scalars[INFLOW, c] - s.scalars[OUTFLOW, c]
            out.metrics[12, p] = closing - s.scalars[CASH, c]
        for r in range(m.im_start.shape[0]):
            for w in range(lanes):
                out.calls[r, column + w] = s.agreement_calls[r, first + w]

    return record


def build_note_hour(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Write what is kept of every hour: calls by window and, if asked for, liquidity."""

    @inline
    def note_hour(first, column, hour, s, out):
        slot = hour // WINDOW_HOURS
        for w in range(lanes):
            out.windows[slot, column + w] += s.scalars[STEP_CALLS, first + w]
        if out.fan.shape[0] > 0:
            for w in range(lanes):
                out.fan[hour, column + w] = s.scalars[LIQUIDITY, first + w]

    return note_hour


def build_tile(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Return `tile(first, column, path, seed, scenario, m, s, out)`.

    `first` is the first lane of the tile in the state, `column` in the output, `path` the number
    of the first path in the random stream. `out.windows` must be zero on entry. `splice` compiles
    the functions that only call others: it may copy them into their caller, which compiles faster.
    """
    start = build_start(inline, lanes, splice)
    market_hour = build_market_hour(inline, lanes, splice)
    calls = build_calls(inline, lanes, splice)
    settle_hour = build_settle_hour(inline, lanes, splice)
    note_hour = build_note_hour(inline, lanes)
    sales_hour = build_sales_hour(inline, lanes, splice)
    record = build_record(inline, lanes)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)

    @splice
    def tile(first, column, path, seed, scenario, m, s, out):
        k0, k1 = np.uint64(seed) & low, np.uint64(seed) >> half
        run = np.uint64(scenario)
        start(first, m, s)
        active = False
        for hour in range(m.stress.shape[0]):
            market_hour(first, hour, path, run, k0, k1, m, s)
            calls(first, hour, m, s)
            settle_hour(first, hour, m, s)
            note_hour(first, column, hour, s, out)
            active = sales_hour(first, hour, active, m, s)
        record(first, column, m, s, out)

    return tile
