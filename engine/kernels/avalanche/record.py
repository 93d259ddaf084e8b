"""What is kept of a path: every hour, every window if asked for, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.kernels.avalanche.layout import (
    BRANCHING_MAX,
    CALL_COUNT,
    CALLS,
    COST,
    DEFAULT_COUNT,
    DEFAULT_HOUR,
    DRAWN_MAX,
    EXHAUSTED,
    FIRST_CURRENCY,
    FX_COST,
    IM_MAX,
    LIQUIDITY,
    LIQUIDITY_MIN,
    MULTIPLE_MAX,
    NAV,
    NEED_MAX,
    RAISED,
    REFUSED_MAX,
    STEP_CALLS,
    STRESS_HOURS,
    UNPAID_MAX,
    WINDOW_HOURS,
)


def build_note_hour(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Write what is kept of every hour: calls by window and, if asked for, liquidity."""

    @inline
    def note_hour(first, column, hour, work, out):
        slot = hour // WINDOW_HOURS
        for w in range(lanes):
            out.windows[slot, column + w] += work.scalars[STEP_CALLS, first + w]
        if out.fan.shape[0] > 0:
            for w in range(lanes):
                out.fan[hour, column + w] = work.scalars[LIQUIDITY, first + w]

    return note_hour


def build_note_window(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Write the state at the end of the hour into its window: the last hour of a window stays.

    Calls are kept as running totals here; `record` turns them into the calls of each window.
    """

    @inline
    def note_window(first, column, hour, market, terms, sales, tape, holdings, accounts, out):
        slot = hour // WINDOW_HOURS
        for r in range(terms.im_start.shape[0]):
            for w in range(lanes):
                c, p = first + w, column + w
                out.window_calls[slot, r, p] = accounts.agreement_calls[r, c]
                out.window_im[slot, r, p] = accounts.im[r, c]
        for b in range(sales.relief.shape[0]):
            for w in range(lanes):
                out.window_left[slot, b, column + w] = holdings.left[b, first + w]
        for k in range(market.group.shape[0]):
            for w in range(lanes):
                out.window_moves[slot, k, column + w] = tape.cumulative[k, first + w]

    return note_window


def build_record(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Write the metrics of finished paths, in the order of METRICS."""

    @inline
    def record(first, column, terms, sales, money, holdings, accounts, till, work, out):
        for w in range(lanes):
            c, p = first + w, column + w
            out.metrics[0, p] = work.scalars[CALLS, c]
            out.metrics[1, p] = work.scalars[CALL_COUNT, c]
            out.metrics[2, p] = work.scalars[IM_MAX, c]
            out.metrics[3, p] = work.scalars[LIQUIDITY_MIN, c]
            out.metrics[4, p] = work.scalars[DRAWN_MAX, c]
            out.metrics[5, p] = work.scalars[UNPAID_MAX, c]
            out.metrics[6, p] = work.scalars[NEED_MAX, c]
            out.metrics[7, p] = work.scalars[EXHAUSTED, c]
            out.metrics[8, p] = work.scalars[RAISED, c]
            out.metrics[9, p] = work.scalars[COST, c]
            out.metrics[10, p] = work.scalars[MULTIPLE_MAX, c]
            out.metrics[11, p] = work.scalars[NAV, c]
            out.metrics[13, p] = work.scalars[FX_COST, c]
            out.metrics[14, p] = work.scalars[FIRST_CURRENCY, c]
            out.metrics[15, p] = work.scalars[REFUSED_MAX, c]
            out.metrics[16, p] = work.scalars[DEFAULT_HOUR, c]
            out.metrics[17, p] = work.scalars[DEFAULT_COUNT, c]
            out.metrics[18, p] = work.scalars[STRESS_HOURS, c]
            out.metrics[19, p] = work.scalars[BRANCHING_MAX, c]
        for n in range(money.cash.shape[0]):
            for w in range(lanes):
                c, p = first + w, column + w
                closing = money.cash[n] + till.inflow[n, c] - till.outflow[n, c]
                out.metrics[12, p] = max(out.metrics[12, p], abs(closing - till.cash[n, c]))
        for r in range(terms.im_start.shape[0]):
            for w in range(lanes):
                out.calls[r, column + w] = accounts.agreement_calls[r, first + w]
        for b in range(sales.relief.shape[0]):
            for w in range(lanes):
                out.left[b, column + w] = holdings.left[b, first + w]
        for j in range(out.window_calls.shape[0] - 1, 0, -1):
            for r in range(terms.im_start.shape[0]):
                for w in range(lanes):
                    p = column + w
                    out.window_calls[j, r, p] -= out.window_calls[j - 1, r, p]

    return record
