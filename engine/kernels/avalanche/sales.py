"""Forced sales: what is sold, what it releases, what it does to prices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.calls import build_whole
from engine.kernels.avalanche.layout import (
    COST,
    HEAT,
    HOURS_PER_DAY,
    HUB,
    IN_FLIGHT,
    LARGEST_DEPTH_LOSS,
    NAV,
    POOL_DAY_LIMIT,
    POOL_DECAY,
    POOL_HEAT_DEPTH,
    POOL_HEAT_MOVES,
    POOL_KEEP_SHARE,
    POOL_LINEAR,
    POOL_SELL,
    POOL_SEQUENTIAL,
    RAISED,
    RAISED_TODAY,
    RELIEF_HOURS,
    STRESS,
    WANT,
)

PAIR_BLOCK = 4


def build_wanted(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """True if any path of the tile wants to sell; decided once, so that idle tiles skip sales."""

    @inline
    def wanted(first, switches, work):
        total = 0.0
        for w in range(lanes):
            total += work.scalars[WANT, first + w]
        return total > 0.0 and switches[POOL_SELL] > 0.0

    return wanted


def build_new_day(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Limits of a day begin again."""

    @inline
    def new_day(first, sales, money, holdings, till, work):
        for b in range(sales.relief.shape[0]):
            for w in range(lanes):
                holdings.sold_today[b, first + w] = 0.0
        for q in range(money.hqla.shape[0]):
            for w in range(lanes):
                till.hqla_today[q, first + w] = 0.0
        for w in range(lanes):
            work.scalars[RAISED_TODAY, first + w] = 0.0

    return new_day


def build_stress(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Volatility multiple of prices, and the multiple by which depth has fallen, on one path."""
    deepest = LARGEST_DEPTH_LOSS

    @inline
    def stress(c, switches, work):
        volatility = max(work.scalars[STRESS, c], 1.0)
        heat = work.scalars[HEAT, c] if switches[POOL_HEAT_DEPTH] > 0.0 else 1.0
        return volatility, min(max(volatility * heat, 1.0), deepest)

    return stress


def build_level(inline: Callable[..., Any]) -> Callable[..., Any]:
    """Impact level of a cumulative volume: its square root, or itself where impact is linear."""

    @inline
    def level(volume, switches):
        return volume if switches[POOL_LINEAR] > 0.0 else math.sqrt(volume)

    return level


def build_sell(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Sell a share of each bucket within its limits, and pay the impact of doing so.

    The decayed cumulative share sold carries the impact, so that slicing a sale does not change
    the price it ends at. The slice is executed half way between the price before and after it.
    Pro rata, every bucket bears its share of what is wanted; in sequence, each bucket in the
    policy's order gives what it can before the next.
    """
    whole = build_whole(inline)
    stress_of = build_stress(inline)
    level = build_level(inline)

    @inline
    def sell(first, hour, sales, switches, holdings, till, work):
        clock = hour % HOURS_PER_DAY
        least, limit = switches[POOL_KEEP_SHARE], switches[POOL_DAY_LIMIT]
        sequential = switches[POOL_SEQUENTIAL] > 0.0
        for w in range(lanes):
            c = first + w
            work.total[0, c] = min(
                work.scalars[WANT, c], max(limit - work.scalars[RAISED_TODAY, c], 0.0)
            )
            work.segment[0, c] = work.total[0, c]
        for i in range(sales.relief.shape[0]):
            b = sales.sale_order[i]
            relief, share, cap, cost = (
                sales.relief[b],
                sales.sale_share[b],
                sales.sale_cap[hour, b],
                sales.cost[b],
            )
            inverse, crowd = 1.0 / relief if relief > 0.0 else 0.0, 1.0 + sales.crowd[b]
            most = sales.sale_day_cap[b]
            slot = (hour + np.int64(sales.relief_wait[clock, b])) % RELIEF_HOURS
            for w in range(lanes):
                c = first + w
                volatility, depth = stress_of(c, switches, work)
                left = holdings.left[b, c]
                rest = max(work.segment[0, c], 0.0)
                part = rest if sequential else work.total[0, c] * share
                sold = min(part * inverse, cap / depth)
                sold = min(sold, max(min(left - least, most - holdings.sold_today[b, c]), 0.0))
                holdings.left[b, c] = left - sold
                holdings.sold_today[b, c] += sold
                before = holdings.level[b, c]
                volume = holdings.volume[b, c] + crowd * sold
                after = level(volume, switches)
                holdings.volume[b, c] = volume
                holdings.level[b, c] = after
                holdings.sold[b, c] += after - before
                scale = volatility * math.sqrt(depth)
                lost = whole(0.5 * cost * sold * (after - before) * scale)
                raised = relief * sold
                work.segment[0, c] -= raised
                till.cash[HUB, c] -= lost
                till.outflow[HUB, c] += lost
                work.scalars[NAV, c] -= lost
                work.scalars[COST, c] += lost
                work.scalars[RAISED, c] += raised
                work.scalars[RAISED_TODAY, c] += raised
                work.scalars[IN_FLIGHT, c] += raised
                work.relief_ring[slot, c] += raised

    return sell


def build_push(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Carry the impact of the hour's sales, and the recovery since, into the next hour's moves.

    total[0] keeps the scale of the impact for what follows (`build_heat`, `build_branching`).
    """
    stress_of = build_stress(inline)

    @inline
    def push(first, market, switches, tape, holdings, work):
        # The scale is the same for every factor; its root is taken once.
        for w in range(lanes):
            c = first + w
            volatility, depth = stress_of(c, switches, work)
            work.total[0, c] = volatility * math.sqrt(depth)
        for k in range(market.group.shape[0]):
            b, impact = market.bucket[k], market.impact[k]
            for w in range(lanes):
                c = first + w
                tape.impact[k, c] = impact * holdings.sold[b, c] * work.total[0, c]

    return push


def build_heat(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Volatility that sales create: variance rises with the square of the impact they have left.

    A move of i daily standard deviations raises variance by alpha i^2, as in a GARCH model; it
    fades as the impact fades.
    """

    @inline
    def heat(first, sales, switches, holdings, work):
        moves = switches[POOL_HEAT_MOVES] > 0.0
        for w in range(lanes):
            work.scalars[HEAT, first + w] = 1.0
        for b in range(sales.relief.shape[0]):
            rise, weight = sales.heat[b], sales.heat_weight[b]
            for w in range(lanes):
                c = first + w
                extra = rise * holdings.level[b, c] * holdings.level[b, c]
                holdings.heat[b, c] = math.sqrt(1.0 + extra) if moves else 1.0
                work.scalars[HEAT, c] += weight * extra
        for w in range(lanes):
            work.scalars[HEAT, first + w] = math.sqrt(work.scalars[HEAT, first + w])

    return heat


def build_add_pairs(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Add coef * left[a] * left[b] over pairs of buckets to total[0], four pairs in a pass."""

    @inline
    def add_pairs(first, a, b, coef, start, stop, left, total):
        whole = start + (stop - start) // PAIR_BLOCK * PAIR_BLOCK
        for j in range(start, whole, PAIR_BLOCK):
            a0, a1, a2, a3 = a[j], a[j + 1], a[j + 2], a[j + 3]
            b0, b1, b2, b3 = b[j], b[j + 1], b[j + 2], b[j + 3]
            k0, k1, k2, k3 = coef[j], coef[j + 1], coef[j + 2], coef[j + 3]
            for w in range(lanes):
                c = first + w
                low = k0 * left[a0, c] * left[b0, c] + k1 * left[a1, c] * left[b1, c]
                high = k2 * left[a2, c] * left[b2, c] + k3 * left[a3, c] * left[b3, c]
                total[0, c] += low + high
        for j in range(whole, stop):
            a0, b0, k0 = a[j], b[j], coef[j]
            for w in range(lanes):
                c = first + w
                total[0, c] += k0 * left[a0, c] * left[b0, c]

    return add_pairs


def build_resize(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Size of each agreement's book after sales, relative to the start."""
    add_pairs = build_add_pairs(inline, lanes)

    @inline
    def resize(first, books, terms, holdings, accounts, work):
        for r in range(terms.im_start.shape[0]):
            for w in range(lanes):
                work.total[0, first + w] = 0.0
            start, stop = np.int64(books.pair_ptr[r]), np.int64(books.pair_ptr[r + 1])
            add_pairs(
                first,
                books.pair_a,
                books.pair_b,
                books.pair_coef,
                start,
                stop,
                holdings.left,
                work.total,
            )
            for w in range(lanes):
                c = first + w
                accounts.size[r, c] = math.sqrt(max(work.total[0, c], 0.0))

    return resize


def build_recover(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Past sales are forgotten at the decay rate; `sold` becomes the change of the level."""
    level = build_level(inline)

    @inline
    def recover(first, sales, switches, holdings):
        fade = switches[POOL_DECAY]
        for b in range(sales.relief.shape[0]):
            for w in range(lanes):
                c = first + w
                before = holdings.level[b, c]
                volume = holdings.volume[b, c] * fade
                after = level(volume, switches)
                holdings.volume[b, c] = volume
                holdings.level[b, c] = after
                holdings.sold[b, c] = after - before

    return recover
