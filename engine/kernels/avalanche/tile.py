"""The time loop of one tile, put together from the stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.calls import build_calls
from engine.kernels.avalanche.default import build_default, build_overdue
from engine.kernels.avalanche.funding import (
    build_borrow,
    build_need,
    build_outlook,
    build_pledge,
    build_sell_slow,
    build_shortage,
)
from engine.kernels.avalanche.layout import (
    HOURS_PER_DAY,
    MIXING,
    POOL_DEGREES,
)
from engine.kernels.avalanche.loops import build_press, build_trace
from engine.kernels.avalanche.market import (
    build_draw,
    build_mix,
    build_move,
    build_regime,
    build_span,
    build_volatility,
)
from engine.kernels.avalanche.record import build_note_hour, build_note_window, build_record
from engine.kernels.avalanche.sales import (
    build_heat,
    build_new_day,
    build_push,
    build_recover,
    build_resize,
    build_sell,
    build_wanted,
)
from engine.kernels.avalanche.settle import (
    build_close,
    build_due,
    build_from_hub,
    build_note_unpaid,
    build_pay_hub,
    build_proceeds,
    build_to_hub,
)
from engine.kernels.avalanche.start import build_start


def build_market_hour(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Draw and move all factors for one hour."""
    draw = build_draw(inline, lanes)
    span = build_span(inline, lanes)
    mix = build_mix(inline, lanes)
    regime = build_regime(inline, lanes)
    volatility = build_volatility(inline, lanes)
    move = build_move(inline, lanes)

    @splice
    def market_hour(
        first, hour, column, d, scenario, k0, k1, market, switches, tape, holdings, work
    ):
        scored = tape.bridge.shape[0]
        if hour % HOURS_PER_DAY == 0:
            if d.scores.shape[0] > 0:
                span(first, hour, column, d, scenario, k0, k1, scored, market, tape, work)
            elif switches[POOL_DEGREES] > 0.0:
                mix(first, hour // HOURS_PER_DAY, column, d, scenario, k0, k1, switches, work)
            else:
                for w in range(lanes):
                    work.scalars[MIXING, first + w] = 1.0
        draw(first, hour, column, d, scenario, k0, k1, scored, market, tape)
        regime(first, hour, market, tape, work)
        volatility(first, hour, market, tape, work)
        move(first, hour, column, d, market, tape, holdings, work)

    return market_hour


def build_fund_short(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Securities, then lines, for paths that are short now; nothing where no path is."""
    shortage = build_shortage(inline, lanes)
    pledge = build_pledge(inline, lanes)
    borrow = build_borrow(inline, lanes)
    from_hub = build_from_hub(inline, lanes)
    pay_hub = build_pay_hub(inline, lanes)

    @splice
    def fund_short(first, hour, clock, money, switches, till, work):
        if shortage(first, clock, money, till, work):
            pledge(first, money, switches, till, work)
            borrow(first, hour, money, switches, till, work)
            pay_hub(first, till)
            from_hub(first, clock, money, till, work)

    return fund_short


def build_settle_hour(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Pay what is due, then look ahead."""
    close = build_close(inline, lanes)
    proceeds = build_proceeds(inline, lanes)
    due = build_due(inline, lanes)
    to_hub = build_to_hub(inline, lanes)
    pay_hub = build_pay_hub(inline, lanes)
    from_hub = build_from_hub(inline, lanes)
    fund_short = build_fund_short(inline, lanes, splice)
    sell_slow = build_sell_slow(inline, lanes)
    note_unpaid = build_note_unpaid(inline, lanes)
    need = build_need(inline, lanes)
    outlook = build_outlook(inline, lanes)

    @splice
    def settle_hour(first, hour, money, switches, till, work):
        clock = hour % HOURS_PER_DAY
        close(first, hour, work)
        proceeds(first, hour, money, till, work)
        due(first, hour, money, till, work)
        to_hub(first, clock, money, till, work)
        pay_hub(first, till)
        from_hub(first, clock, money, till, work)
        fund_short(first, hour, clock, money, switches, till, work)
        sell_slow(first, hour, money, switches, till, work)
        note_unpaid(first, hour, money, till, work)
        need(first, money, switches, work)
        outlook(first, hour, money, switches, till, work)

    return settle_hour


def build_sales_hour(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Defaults and forced sales of one hour; returns whether the tile has ever traded."""
    overdue = build_overdue(inline, lanes)
    default = build_default(inline, lanes, splice)
    wanted = build_wanted(inline, lanes)
    recover = build_recover(inline, lanes)
    sell = build_sell(inline, lanes)
    resize = build_resize(inline, lanes)
    push = build_push(inline, lanes)
    press = build_press(inline, lanes)
    trace = build_trace(inline, lanes)
    heat = build_heat(inline, lanes)

    @splice
    def sales_hour(
        first,
        hour,
        active,
        market,
        books,
        terms,
        sales,
        switches,
        tape,
        holdings,
        accounts,
        till,
        work,
    ):
        late = overdue(first, hour, switches, work)
        now = wanted(first, switches, work)
        trading = now or late or active
        if trading:
            recover(first, sales, switches, holdings)
        if late:
            default(first, hour, books, terms, sales, switches, holdings, accounts, till, work)
        if now:
            sell(first, hour, sales, switches, holdings, till, work)
            resize(first, books, terms, holdings, accounts, work)
        if trading:
            push(first, market, switches, tape, holdings, work)
            press(first, sales, holdings, work)
            trace(first, switches, work)
            heat(first, sales, switches, holdings, work)
        return trading

    return sales_hour


def build_tile(
    inline: Callable[..., Any], lanes: int, splice: Callable[..., Any]
) -> Callable[..., Any]:
    """Return `tile(first, column, seed, scenario, m, d, s, out)`.

    `first` is the first lane of the tile in the state, `column` in the draws and the output.
    `out` must be zero on entry. `splice` compiles functions that only call others.
    """
    start = build_start(inline, lanes, splice)
    new_day = build_new_day(inline, lanes)
    market_hour = build_market_hour(inline, lanes, splice)
    calls = build_calls(inline, lanes, splice)
    settle_hour = build_settle_hour(inline, lanes, splice)
    note_hour = build_note_hour(inline, lanes)
    note_window = build_note_window(inline, lanes)
    sales_hour = build_sales_hour(inline, lanes, splice)
    record = build_record(inline, lanes)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)

    @splice
    def tile(first, column, seed, scenario, m, d, s, out):
        market, books, terms, sales, money, switches = m
        tape, holdings, accounts, till, work = s
        k0, k1, run = np.uint64(seed) & low, np.uint64(seed) >> half, np.uint64(scenario)
        start(
            first,
            market,
            books,
            terms,
            sales,
            money,
            switches,
            tape,
            holdings,
            accounts,
            till,
            work,
        )
        active = False
        for hour in range(market.stress.shape[0]):
            if hour % HOURS_PER_DAY == 0:
                new_day(first, sales, money, holdings, till, work)
            market_hour(first, hour, column, d, run, k0, k1, market, switches, tape, holdings, work)
            calls(first, hour, books, terms, switches, tape, holdings, accounts, till, work)
            settle_hour(first, hour, money, switches, till, work)
            note_hour(first, column, hour, work, out)
            active = sales_hour(
                first,
                hour,
                active,
                market,
                books,
                terms,
                sales,
                switches,
                tape,
                holdings,
                accounts,
                till,
                work,
            )
            if out.window_calls.shape[0] > 0:
                note_window(
                    first, column, hour, market, terms, sales, tape, holdings, accounts, out
                )
        record(first, column, terms, sales, money, holdings, accounts, till, work, out)

    return tile
