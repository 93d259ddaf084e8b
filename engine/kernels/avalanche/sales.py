"""Forced sales: what is sold, what it releases, what it does to prices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.calls import build_whole
from engine.kernels.avalanche.layout import (
    CASH,
    COST,
    HOURS_PER_DAY,
    IN_FLIGHT,
    LARGEST_DEPTH_LOSS,
    NAV,
    OUTFLOW,
    POOL_CROWD,
    POOL_DECAY,
    POOL_KEEP_SHARE,
    POOL_SELL,
    RAISED,
    STRESS,
    WANT,
)

PAIR_BLOCK = 4


def build_wanted(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """True if any path of the tile wants to sell; decided once, so that idle tiles skip sales."""

    @inline
    def wanted(first, m, s):
        total = 0.0
        for w in range(lanes):
            total += s.scalars[WANT, first + w]
        return total > 0.0 and m.pool[POOL_SELL] > 0.0

    return wanted


def build_sell(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Sell a share of each bucket within its participation cap, and pay the impact of doing so.

    The square root of the decayed cumulative share sold carries the impact, so that slicing a
    sale does not change the price it ends at. The slice is executed half way between the price
    before and after it.
    """
    whole = build_whole(inline)
    deepest = LARGEST_DEPTH_LOSS

    @inline
    def sell(first, hour, m, s):
        slot = hour % HOURS_PER_DAY
        crowd, least = 1.0 + m.pool[POOL_CROWD], m.pool[POOL_KEEP_SHARE]
        for b in range(m.relief.shape[0]):
            relief, share, cap, cost = m.relief[b], m.sale_share[b], m.sale_cap[hour, b], m.cost[b]
            inverse = 1.0 / relief if relief > 0.0 else 0.0
            for w in range(lanes):
                c = first + w
                stress = max(s.scalars[STRESS, c], 1.0)
                depth = min(stress, deepest)
                left = s.left[b, c]
                sold = min(s.scalars[WANT, c] * share * inverse, cap / depth)
                sold = min(sold, max(left - least, 0.0))
                s.left[b, c] = left - sold
                before = s.root_sold[b, c]
                after = math.sqrt(before * before + crowd * sold)
                s.root_sold[b, c] = after
                s.sold[b, c] += after - before
                lost = whole(0.5 * cost * sold * (after - before) * stress * math.sqrt(depth))
                raised = relief * sold
                s.scalars[CASH, c] -= lost
                s.scalars[OUTFLOW, c] += lost
                s.scalars[NAV, c] -= lost
                s.scalars[COST, c] += lost
                s.scalars[RAISED, c] += raised
                s.scalars[IN_FLIGHT, c] += raised
                s.relief_ring[slot, c] += raised

    return sell


def build_push(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Carry the impact of the hour's sales, and the recovery since, into the next hour's moves."""
    deepest = LARGEST_DEPTH_LOSS

    @inline
    def push(first, m, s):
        # The scale is the same for every factor; its root is taken once.
        for w in range(lanes):
            c = first + w
            stress = max(s.scalars[STRESS, c], 1.0)
            s.total[0, c] = stress * math.sqrt(min(stress, deepest))
        for k in range(m.group.shape[0]):
            b, impact = m.bucket[k], m.impact[k]
            for w in range(lanes):
                c = first + w
                s.impact[k, c] = impact * s.sold[b, c] * s.total[0, c]

    return push


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
    def resize(first, m, s):
        for r in range(m.im_start.shape[0]):
            for w in range(lanes):
                s.total[0, first + w] = 0.0
            start, stop = np.int64(m.pair_ptr[r]), np.int64(m.pair_ptr[r + 1])
            add_pairs(first, m.pair_a, m.pair_b, m.pair_coef, start, stop, s.left, s.total)
            for w in range(lanes):
                c = first + w
                s.size[r, c] = math.sqrt(max(s.total[0, c], 0.0))

    return resize


def build_recover(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Past sales are forgotten at the decay rate; `sold` becomes the change of root volume."""

    @inline
    def recover(first, m, s):
        fade = math.sqrt(m.pool[POOL_DECAY])
        for b in range(m.relief.shape[0]):
            for w in range(lanes):
                c = first + w
                before = s.root_sold[b, c]
                s.root_sold[b, c] = before * fade
                s.sold[b, c] = before * fade - before

    return recover
