"""What the kernel reads and writes: the model's arrays, the state of a tile, the outputs.

Units: money in cents held in float64 (exact to 2**53), factor moves in return units, time in
hours from the start. Index arrays are uint32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array

HOURS_PER_DAY = 24
WINDOW_HOURS = 8
RING_HOURS = 64
ENTRY_BLOCK = 4
# Log volatility stays within this distance of its mean: a multiple between 0.02 and 55.
LOG_VOLATILITY_LIMIT = 4.0
# Haircuts widen with volatility, to half of the value at most.
LARGEST_HAIRCUT = 0.5
# Depth falls as volatility rises, but not without end: at ten times the volatility it is a tenth.
LARGEST_DEPTH_LOSS = 10.0
# Volatility multiples at which the concentration add-on is known; linear between and beyond.
HINGES = (1.0, 2.0, 4.0, 7.0, 10.0)

METRICS = (
    "calls_total",
    "call_count",
    "im_max",
    "liquidity_min",
    "drawn_max",
    "unpaid_max",
    "need_max",
    "exhausted_hour",
    "raised",
    "impact_cost",
    "margin_multiple_max",
    "nav_end",
    "cash_error",
)

# Rows of State.scalars.
(
    CASH,
    HQLA,
    DRAWN,
    UNPAID,
    NAV,
    PENDING,
    IN_FLIGHT,
    CALLS,
    CALL_COUNT,
    IM_SUM,
    IM_MAX,
    LIQUIDITY_MIN,
    DRAWN_MAX,
    UNPAID_MAX,
    NEED_MAX,
    NET_PAID,
    EXHAUSTED,
    RAISED,
    COST,
    MULTIPLE_MAX,
    REQUESTED,
    INFLOW,
    OUTFLOW,
    STRESS,
    MIXING,
    PNL,
    STEP_CALLS,
    WANT,
    LIQUIDITY,
) = range(29)
SCALARS = 29


class Model(NamedTuple):
    """Everything that does not change along a path. Shapes: K factors, G volatility groups,
    R agreements, S segments (agreement x bucket), B buckets, F facilities, T hours."""

    # Factors: x_k = volatility * mixing * sum(coef * z[row]) + shock + impact.
    chol_ptr: Any  # (K+1,) into chol_row, chol_coef, padded to blocks of ENTRY_BLOCK
    chol_row: Any
    chol_coef: Any  # daily standard deviation included
    group: Any  # (K,) volatility group
    bucket: Any  # (K,) liquidity bucket
    gamma_range: Any  # (K,) cumulative move beyond which convexity is linear
    impact: Any  # (K,) signed return per square root of the sold share of the bucket
    shock: Any  # (T, K) deterministic moves
    volatility: Any  # (T, G) sqrt(share of daily variance) * multiplier, variance neutral
    stress: Any  # (T,) multiplier of the scenario alone
    keep: Any  # (G,) 1 - mean reversion of log volatility per hour
    lead_row: Any  # (1,) row of z that drives leverage
    lead_load: Any  # (G,)
    own_load: Any  # (G,)
    # Agreements: P&L = sum over segments of q[bucket] * sum(coef * basis[row]).
    seg_ptr: Any  # (R+1,)
    seg_bucket: Any  # (S,)
    ent_ptr: Any  # (S+1,) padded to blocks of ENTRY_BLOCK
    ent_row: Any  # rows 0..K-1: move; K..2K-1: change of the convexity term
    ent_coef: Any  # cents
    pair_ptr: Any  # (R+1,) squared size of the book = sum coef * q[a] * q[b]; 1 at the start
    pair_a: Any
    pair_b: Any
    pair_coef: Any
    daily_norm: Any  # (R,) daily standard deviation of P&L at the start, cents
    im_start: Any  # (R,) before the threshold
    im_threshold: Any  # (R,)
    concentration_start: Any  # (R,)
    concentration_slope: Any  # (R, len(HINGES)) change of slope at each hinge, cents
    ewma_lambda: Any  # (R,) daily
    stress_share: Any  # (R,) share of IM that does not react to volatility
    multiple_floor: Any  # (1,)
    vm_threshold: Any  # (R,)
    mta: Any  # (R,)
    exposure_start: Any  # (R,)
    held_start: Any  # (R,)
    open_call: Any  # (R,) margin called today and not yet paid, or to come back where negative
    window_mask: Any  # (R,) bit h set: a call window at hour h
    eod_hour: Any  # (R,)
    pay_lag: Any  # (R,)
    receive_lag: Any  # (R,)
    trigger: Any  # (R,) intraday calls only above this share of IM
    # Forced sales.
    relief: Any  # (B,) IM released by selling the whole bucket, cents
    sale_share: Any  # (B,) sums to 1
    sale_cap: Any  # (T, B) largest share of the bucket sold in the hour at unit stress
    cost: Any  # (B,) cents lost per sold share per unit of square-root impact
    # Liquidity.
    facility_limit: Any  # (F,)
    facility_notice: Any  # (F,)
    facility_covenant: Any  # (F,)
    flow: Any  # (T,) settlements already agreed, cents; received where positive
    pool: Any  # see POOL_*


# Entries of Model.pool.
(
    POOL_CASH,
    POOL_HQLA,
    POOL_HAIRCUT,
    POOL_HQLA_CAP,
    POOL_NAV,
    POOL_TARGET,
    POOL_DECAY,
    POOL_CROWD,
    POOL_SELL,
    POOL_DEGREES,
    POOL_KEEP_SHARE,
    POOL_REQUEST,
) = range(12)
POOL_SIZE = 12


class State(NamedTuple):
    """State of a tile of paths; every array is (rows, lanes)."""

    z: Any
    basis: Any
    cumulative: Any
    convexity: Any
    impact: Any
    log_volatility: Any
    multiple: Any
    left: Any
    root_sold: Any
    size: Any
    ewma: Any
    exposure: Any
    exposure_eod: Any
    held: Any
    im: Any
    pay: Any
    receive: Any
    relief_ring: Any
    agreement_calls: Any
    scalars: Any
    total: Any
    segment: Any
    sold: Any


class Output(NamedTuple):
    """Results per path; the last axis is the path. Empty first axes switch an output off."""

    metrics: Any  # (len(METRICS), P)
    windows: Any  # (T / WINDOW_HOURS, P) gross calls issued, cents
    fan: Any  # (T, P) float32 liquidity, cents
    calls: Any  # (R, P) gross calls by agreement, cents


def state_rows(model: Model) -> Int64Array:
    """Return the number of rows of each array of `State`."""
    factors = len(model.group)
    groups = len(model.keep)
    buckets = len(model.relief)
    agreements = len(model.im_start)
    normals = normal_rows(factors, groups)
    return np.array(
        [
            normals,
            2 * factors,
            factors,
            factors,
            factors,
            groups,
            groups,
            buckets,
            buckets,
            agreements,
            agreements,
            agreements,
            agreements,
            agreements,
            agreements,
            RING_HOURS,
            RING_HOURS,
            HOURS_PER_DAY,
            agreements,
            SCALARS,
            1,
            1,
            buckets,
        ],
        dtype=np.int64,
    )


def normal_rows(factors: int, groups: int) -> int:
    """Return the number of normals drawn per path and hour: whole Philox blocks of four."""
    return -(-(factors + groups) // 4) * 4


def empty_output(model: Model, paths: int, fan: bool) -> Output:
    """Allocate outputs for `paths` paths."""
    hours = len(model.stress)

    def zeros(rows: int) -> Float64Array:
        return np.zeros((rows, paths))

    return Output(
        metrics=zeros(len(METRICS)),
        windows=zeros(-(-hours // WINDOW_HOURS)),
        fan=np.zeros((hours if fan else 0, paths), dtype=np.float32),
        calls=zeros(len(model.im_start)),
    )
