"""One hour of the market: normals, stochastic volatility, correlated moves, convexity."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.layout import (
    ENTRY_BLOCK,
    LOG_VOLATILITY_LIMIT,
    MIXING,
    POOL_DEGREES,
    STRESS,
)
from engine.kernels.philox import (
    STREAM_HOURLY,
    STREAM_MIXING,
    build_exp,
    build_normal,
    build_philox,
)


def build_draw(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Fill z with the normals of the hour, four rows from each Philox block."""
    philox = build_philox(inline)
    normal = build_normal(inline)
    hourly = np.uint64(STREAM_HOURLY)

    @inline
    def draw(first, hour, path, scenario, k0, k1, rows, s):
        blocks = rows // 4
        for j in range(blocks):
            for w in range(lanes):
                c = first + w
                a, b, d, e = philox(
                    np.uint64(hour * blocks + j), np.uint64(path + w), scenario, hourly, k0, k1
                )
                s.z[4 * j, c] = normal(a)
                s.z[4 * j + 1, c] = normal(b)
                s.z[4 * j + 2, c] = normal(d)
                s.z[4 * j + 3, c] = normal(e)

    return draw


def build_mix(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Common factor of the day that turns normals into Student t: sqrt((nu-2) / chi2_nu).

    It is drawn once a day: an hourly one would be averaged away within the day.
    """
    philox = build_philox(inline)
    normal = build_normal(inline)
    mixing = np.uint64(STREAM_MIXING)

    @inline
    def mix(first, day, path, scenario, k0, k1, m, s):
        degrees = int(m.pool[POOL_DEGREES])
        blocks = (degrees + 3) // 4
        for w in range(lanes):
            c = first + w
            chi2 = 0.0
            for j in range(blocks):
                a, b, d, e = philox(
                    np.uint64(day * blocks + j), np.uint64(path + w), scenario, mixing, k0, k1
                )
                left = degrees - 4 * j
                za, zb, zd, ze = normal(a), normal(b), normal(d), normal(e)
                chi2 += za * za
                chi2 += zb * zb if left > 1 else 0.0
                chi2 += zd * zd if left > 2 else 0.0
                chi2 += ze * ze if left > 3 else 0.0
            s.scalars[MIXING, c] = math.sqrt((degrees - 2.0) / chi2) if degrees > 0 else 1.0

    return mix


def build_volatility(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Volatility of the hour, and the log volatility that follows from it for the next.

    Log volatility reverts to zero and is driven by the lead factor and by itself. An hour's moves
    use the volatility known before it: with its own shock inside, moves would have a drift.
    """
    exp = build_exp(inline)
    top = LOG_VOLATILITY_LIMIT

    @inline
    def volatility(first, hour, m, s):
        groups = m.keep.shape[0]
        own_row = m.group.shape[0]
        lead = m.lead_row[0]
        part = m.stress[hour] / groups
        for w in range(lanes):
            s.scalars[STRESS, first + w] = 0.0
        for g in range(groups):
            keep, load, own = m.keep[g], m.lead_load[g], m.own_load[g]
            for w in range(lanes):
                c = first + w
                h = s.log_volatility[g, c]
                multiple = exp(h)
                s.multiple[g, c] = multiple
                s.scalars[STRESS, c] += multiple * part
                h = keep * h + load * s.z[lead, c] + own * s.z[own_row + g, c]
                s.log_volatility[g, c] = min(max(h, -top), top)

    return volatility


def build_dot(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Sparse combination of rows into total[0]; entries come in blocks of ENTRY_BLOCK."""

    @inline
    def dot(first, rows, coefs, start, stop, x, total):
        for w in range(lanes):
            total[0, first + w] = 0.0
        for e in range(start, stop, ENTRY_BLOCK):
            r0, r1, r2, r3 = rows[e], rows[e + 1], rows[e + 2], rows[e + 3]
            a0, a1, a2, a3 = coefs[e], coefs[e + 1], coefs[e + 2], coefs[e + 3]
            for w in range(lanes):
                c = first + w
                total[0, c] = (
                    total[0, c] + a0 * x[r0, c] + a1 * x[r1, c] + a2 * x[r2, c] + a3 * x[r3, c]
                )

    return dot


def build_move(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Moves of all factors and the change of their convexity terms.

    Convexity of the cumulative move X is X^2/2 within `gamma_range` and linear beyond it, because
    an option's delta stops changing once it is far in or out of the money.
    """
    dot = build_dot(inline, lanes)

    @inline
    def move(first, hour, m, s):
        factors = m.group.shape[0]
        for k in range(factors):
            dot(first, m.chol_row, m.chol_coef, m.chol_ptr[k], m.chol_ptr[k + 1], s.z, s.segment)
            g = m.group[k]
            scale, shock, reach = m.volatility[hour, g], m.shock[hour, k], m.gamma_range[k]
            for w in range(lanes):
                c = first + w
                spread = scale * s.multiple[g, c] * s.scalars[MIXING, c]
                x = spread * s.segment[0, c] + shock + s.impact[k, c]
                total = s.cumulative[k, c] + x
                size = abs(total)
                inner = 0.5 * total * total
                convexity = inner if size <= reach else reach * (size - 0.5 * reach)
                s.basis[k, c] = x
                s.basis[factors + k, c] = convexity - s.convexity[k, c]
                s.convexity[k, c] = convexity
                s.cumulative[k, c] = total
                s.impact[k, c] = 0.0

    return move
