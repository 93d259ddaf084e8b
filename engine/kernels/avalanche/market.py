"""One hour of the market: normals, regime, stochastic volatility, moves, convexity."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.kernels.avalanche.layout import (
    COMMON_ROW,
    ENTRY_BLOCK,
    HOURS_PER_DAY,
    JUMP_ROW,
    JUMP_SIZE_ROW,
    LOG_VOLATILITY_LIMIT,
    MIXING,
    POOL_DEGREES,
    REGIME,
    REGIME_ROW,
    STRESS,
    STRESS_HOURS,
)
from engine.kernels.philox import (
    STREAM_HOURLY,
    STREAM_MIXING,
    build_exp,
    build_normal,
    build_philox,
)


def build_draw(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Fill z with the normals of the hour, four rows from each Philox block.

    The first `scored` rows are moved so that, over the day, they add up to the day's scores.
    """
    philox = build_philox(inline)
    normal = build_normal(inline)
    hourly = np.uint64(STREAM_HOURLY)

    @inline
    def draw(first, hour, column, d, scenario, k0, k1, scored, market, tape):
        blocks = tape.z.shape[0] // 4
        for j in range(blocks):
            for w in range(lanes):
                c = first + w
                a, b, e, f = philox(
                    np.uint64(hour * blocks + j), d.path[column + w], scenario, hourly, k0, k1
                )
                tape.z[4 * j, c] = normal(a)
                tape.z[4 * j + 1, c] = normal(b)
                tape.z[4 * j + 2, c] = normal(e)
                tape.z[4 * j + 3, c] = normal(f)
        weight = market.bridge[hour % HOURS_PER_DAY]
        for i in range(scored):
            for w in range(lanes):
                tape.z[i, first + w] += weight * tape.bridge[i, first + w]

    return draw


def build_span(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Distance of the day's scores from what the hours would add up to by themselves.

    Adding bridge[h] times the distance to hour h gives the day exactly its score, and leaves the
    hours independent standard normals when the score is one.
    """
    philox = build_philox(inline)
    normal = build_normal(inline)
    hourly = np.uint64(STREAM_HOURLY)

    @inline
    def span(first, hour, column, d, scenario, k0, k1, scored, market, tape, work):
        blocks = tape.z.shape[0] // 4
        start = hour // HOURS_PER_DAY * (scored + 1)
        for i in range(scored):
            for w in range(lanes):
                tape.bridge[i, first + w] = d.scores[start + i, column + w]
        for h in range(HOURS_PER_DAY):
            weight = market.bridge[h]
            for j in range(scored // 4):
                for w in range(lanes):
                    c = first + w
                    a, b, e, f = philox(
                        np.uint64((hour + h) * blocks + j),
                        d.path[column + w],
                        scenario,
                        hourly,
                        k0,
                        k1,
                    )
                    tape.bridge[4 * j, c] -= weight * normal(a)
                    tape.bridge[4 * j + 1, c] -= weight * normal(b)
                    tape.bridge[4 * j + 2, c] -= weight * normal(e)
                    tape.bridge[4 * j + 3, c] -= weight * normal(f)
        for w in range(lanes):
            work.scalars[MIXING, first + w] = d.scores[start + scored, column + w]

    return span


def build_mix(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Common factor of the day that turns normals into Student t: sqrt((nu-2) / chi2_nu).

    It is drawn once a day: an hourly one would be averaged away within the day.
    """
    philox = build_philox(inline)
    normal = build_normal(inline)
    mixing = np.uint64(STREAM_MIXING)

    @inline
    def mix(first, day, column, d, scenario, k0, k1, switches, work):
        degrees = int(switches[POOL_DEGREES])
        blocks = (degrees + 3) // 4
        for w in range(lanes):
            c = first + w
            chi2 = 0.0
            for j in range(blocks):
                a, b, e, f = philox(
                    np.uint64(day * blocks + j), d.path[column + w], scenario, mixing, k0, k1
                )
                left = degrees - 4 * j
                za, zb, ze, zf = normal(a), normal(b), normal(e), normal(f)
                chi2 += za * za
                chi2 += zb * zb if left > 1 else 0.0
                chi2 += ze * ze if left > 2 else 0.0
                chi2 += zf * zf if left > 3 else 0.0
            work.scalars[MIXING, c] = math.sqrt((degrees - 2.0) / chi2) if degrees > 0 else 1.0

    return mix


def build_regime(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Calm or stressed correlation, a Markov chain by the hour."""

    @inline
    def regime(first, hour, market, tape, work):
        row = market.group.shape[0] + market.keep.shape[0] + REGIME_ROW
        enter, leave = market.regime[0], market.regime[1]
        for w in range(lanes):
            c = first + w
            draw, now = tape.z[row, c], work.scalars[REGIME, c]
            calm = 1.0 if draw < enter else 0.0
            tense = 0.0 if draw < leave else 1.0
            # The first hour is as the scenario says; the chain moves from the second on.
            after = tense if now > 0.0 else calm
            now = after if hour > 0 else now
            work.scalars[REGIME, c] = now
            work.scalars[STRESS_HOURS, c] += now

    return regime


def build_volatility(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Volatility of the hour, and the log volatility that follows from it for the next.

    Log volatility reverts to zero and is driven by the lead factor and by itself. An hour's moves
    use the volatility known before it: with its own shock inside, moves would have a drift.
    """
    exp = build_exp(inline)
    dot = build_dot(inline, lanes)
    top = LOG_VOLATILITY_LIMIT

    @inline
    def volatility(first, hour, market, tape, work):
        groups = market.keep.shape[0]
        own_row = market.group.shape[0]
        part = market.stress[hour] / groups
        dot(
            first,
            market.lead_row,
            market.lead_coef,
            0,
            market.lead_row.shape[0],
            tape.z,
            work.segment,
        )
        for w in range(lanes):
            work.scalars[STRESS, first + w] = 0.0
        for g in range(groups):
            keep, load, own = market.keep[g], market.lead_load[g], market.own_load[g]
            for w in range(lanes):
                c = first + w
                h = tape.log_volatility[g, c]
                multiple = exp(h)
                tape.multiple[g, c] = multiple
                work.scalars[STRESS, c] += multiple * part
                h = keep * h + load * work.segment[0, c] + own * tape.z[own_row + g, c]
                tape.log_volatility[g, c] = min(max(h, -top), top)

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


def build_given(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Moves that do not come from the normals: the path's own shocks and its impact, into basis."""

    @inline
    def given(first, hour, column, d, market, tape):
        for k in range(market.group.shape[0]):
            for w in range(lanes):
                tape.basis[k, first + w] = tape.impact[k, first + w]
                tape.impact[k, first + w] = 0.0
        for i in range(market.shock.shape[0]):
            for k in range(market.group.shape[0]):
                shock = market.shock[i, hour, k]
                if shock != 0.0:
                    for w in range(lanes):
                        tape.basis[k, first + w] += shock * d.drive[i, column + w]

    return given


def build_jump(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Size of the hour's jump, common to all factors, into total[0]; zero where there is none."""

    @inline
    def jump(first, market, tape, work):
        row = market.group.shape[0] + market.keep.shape[0]
        level, mean, deviation = market.jump_terms[0], market.jump_terms[1], market.jump_terms[2]
        for w in range(lanes):
            c = first + w
            size = mean + deviation * tape.z[row + JUMP_SIZE_ROW, c]
            work.total[0, c] = size if tape.z[row + JUMP_ROW, c] < level else 0.0

    return jump


def build_move(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Moves of all factors and the change of their convexity terms.

    Convexity of the cumulative move X is X^2/2 within `gamma_range` and linear beyond it, because
    an option's delta stops changing once it is far in or out of the money.
    """
    dot = build_dot(inline, lanes)
    given = build_given(inline, lanes)
    jump = build_jump(inline, lanes)

    @inline
    def move(first, hour, column, d, market, tape, holdings, work):
        factors = market.group.shape[0]
        common = factors + market.keep.shape[0] + COMMON_ROW
        given(first, hour, column, d, market, tape)
        jump(first, market, tape, work)
        for k in range(factors):
            dot(
                first,
                market.chol_row,
                market.chol_coef,
                market.chol_ptr[k],
                market.chol_ptr[k + 1],
                tape.z,
                work.segment,
            )
            g, b = market.group[k], market.bucket[k]
            scale, reach = market.volatility[hour, market.clock[k]], market.gamma_range[k]
            drop, turn = market.drop[k], market.turn[k]
            leap = market.jump[k] * market.jump_scale[hour, market.clock[k]]
            for w in range(lanes):
                c = first + w
                spread = scale * tape.multiple[g, c] * holdings.heat[b, c] * work.scalars[MIXING, c]
                calm, tense = work.segment[0, c], work.scalars[REGIME, c]
                random = calm + tense * (turn * tape.z[common, c] - drop * calm)
                x = spread * random + leap * work.total[0, c] + tape.basis[k, c]
                total = tape.cumulative[k, c] + x
                size = abs(total)
                inner = 0.5 * total * total
                convexity = inner if size <= reach else reach * (size - 0.5 * reach)
                tape.basis[k, c] = x
                tape.basis[factors + k, c] = convexity - tape.convexity[k, c]
                tape.convexity[k, c] = convexity
                tape.cumulative[k, c] = total

    return move
