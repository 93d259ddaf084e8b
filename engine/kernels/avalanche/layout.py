"""What the kernel reads and writes: the model's arrays, the state of a tile, the outputs.

Units: money in cents of USD held in float64 (exact to 2**53), factor moves in return units, time in
hours from the start. Index arrays are uint32. Money is kept in one pool for each currency; pool
HUB is the currency that credit lines and securities pay and that others are exchanged from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.domain.arrays import Float64Array

HOURS_PER_DAY = 24
WINDOW_HOURS = 8
RING_HOURS = 64
# Relief arrives after the next end-of-day window and the time receipts take.
RELIEF_HOURS = 96
# Securities that settle later than this do not help within any horizon.
SETTLE_HOURS = 256
ENTRY_BLOCK = 4
HUB = 0
# A borrowing base from here on is no condition.
NO_BASE = 1e9
# Log volatility stays within this distance of its mean: a multiple between 0.02 and 55.
LOG_VOLATILITY_LIMIT = 4.0
# Haircuts widen with volatility, to half of the value at most.
LARGEST_HAIRCUT = 0.5
# Half spreads widen with volatility, to half of the amount at most.
LARGEST_SPREAD = 0.5
# Depth falls as volatility rises, but not without end: at ten times the volatility it is a tenth.
LARGEST_DEPTH_LOSS = 10.0
# Volatility multiples at which the concentration add-on is known; linear between and beyond.
HINGES = (1.0, 2.0, 4.0, 7.0, 10.0)
# Normals of an hour beyond those of the factors and of the volatility groups.
EXTRA_NORMALS = 4
REGIME_ROW, COMMON_ROW, JUMP_ROW, JUMP_SIZE_ROW = range(4)

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
    "fx_cost",
    "first_currency",
    "lines_refused_max",
    "default_hour",
    "default_count",
    "stress_hours",
    "branching_max",
)

# Rows of State.scalars.
(
    DRAWN,
    NAV,
    IN_FLIGHT,
    IN_SETTLEMENT,
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
    RAISED_TODAY,
    COST,
    MULTIPLE_MAX,
    REQUESTED,
    STRESS,
    HEAT,
    MIXING,
    REGIME,
    STRESS_HOURS,
    PNL,
    STEP_CALLS,
    WANT,
    LIQUIDITY,
    FX_COST,
    FIRST_CURRENCY,
    REFUSED_MAX,
    OVERDUE_HOURS,
    DEFAULT_HOUR,
    DEFAULT_COUNT,
    CAUSED,
    CLAIMS,
    BRANCHING_MAX,
) = range(37)
SCALARS = 37


class Model(NamedTuple):
    """Everything that does not change along a path. Shapes: K factors, G volatility groups,
    C clocks (group x zone), S basis shocks, R agreements, J segments (agreement x bucket),
    B buckets, N currency pools, Q kinds of securities, F facilities, T hours."""

    # Factors: x_k = volatility * mixing * sum(coef * z[row]) + shock + jump + impact.
    chol_ptr: Any  # (K+1,) into chol_row, chol_coef, padded to blocks of ENTRY_BLOCK
    chol_row: Any
    chol_coef: Any  # daily standard deviation included
    lead_row: Any  # sparse row of the standardised move that drives leverage
    lead_coef: Any
    group: Any  # (K,) volatility group
    clock: Any  # (K,) column of `volatility`
    bucket: Any  # (K,) liquidity bucket
    gamma_range: Any  # (K,) cumulative move beyond which convexity is linear
    impact: Any  # (K,) signed return per unit of impact level of the bucket
    shock: Any  # (S, T, K) deterministic moves; each path has its own weights
    volatility: Any  # (T, C) sqrt(share of daily variance) * multiplier, variance neutral
    stress: Any  # (T,) multiplier of the scenario alone
    keep: Any  # (G,) 1 - mean reversion of log volatility per hour
    lead_load: Any  # (G,)
    own_load: Any  # (G,)
    bridge: Any  # (24,) weights of the hours in a day's score, squares sum to 1
    # Correlation breakdown: in the stress regime x = (1 - drop) * calm move + turn * common normal.
    regime: Any  # (2,) a normal below [0] enters the stress regime, below [1] leaves it
    drop: Any  # (K,)
    turn: Any  # (K,) daily standard deviation included
    jump: Any  # (K,) move of a jump of size 1
    jump_scale: Any  # (T, C) multiplier of jumps: the volatility step of the class
    jump_terms: Any  # (3,) a normal below [0] is a jump; mean and deviation of its size
    # Agreements: P&L = sum over segments of q[bucket] * sum(coef * basis[row]).
    seg_ptr: Any  # (R+1,)
    seg_bucket: Any  # (J,)
    seg_push: Any  # (J,) cents per unit of impact level, all of the bucket held
    seg_volume: Any  # (J,) share of the fund's bucket that a close-out of the agreement trades
    ent_ptr: Any  # (J+1,) padded to blocks of ENTRY_BLOCK
    ent_row: Any  # rows 0..K-1: move; K..2K-1: change of the convexity term
    ent_coef: Any  # cents
    pair_ptr: Any  # (R+1,) squared size of the book = sum coef * q[a] * q[b]; 1 at the start
    pair_a: Any
    pair_b: Any
    pair_coef: Any
    daily_norm: Any  # (R,) daily standard deviation of P&L at the start, cents
    im_today: Any  # (R,) margin called before the first hour, add-ons included
    im_start: Any  # (R,) before the threshold
    im_threshold: Any  # (R,)
    concentration_start: Any  # (R,)
    concentration_slope: Any  # (R, len(HINGES)) change of slope at each hinge, cents
    ewma_lambda: Any  # (R,) daily
    stress_share: Any  # (R,) share of IM that does not react to volatility
    step: Any  # (R,) least relative rise that moves the margin parameter, next day; 0: at once
    multiple_floor: Any  # (1,)
    vm_threshold: Any  # (R,)
    mta: Any  # (R,)
    exposure_start: Any  # (R,)
    held_start: Any  # (R,)
    open_call: Any  # (R,) margin called today and not yet paid, or to come back where negative
    currency: Any  # (R,) pool the agreement is paid from
    window_mask: Any  # (R,) bit h set: a call window at hour h
    eod_hour: Any  # (R,)
    pay_lag: Any  # (R, 24) hours to the deadline of a call issued at that hour of the day
    receive_lag: Any  # (R,)
    trigger: Any  # (R,) intraday calls only above this share of IM
    fail_order: Any  # (R,) agreements in the order in which they are left unpaid
    cross: Any  # (R,) 1 where a default elsewhere terminates the agreement
    # Forced sales.
    relief: Any  # (B,) IM released by selling the whole bucket, cents
    relief_wait: Any  # (24, B) hours until what is sold at that hour of the day is released
    sale_share: Any  # (B,) sums to 1
    sale_order: Any  # (B,) order of a sequential policy
    sale_cap: Any  # (T, B) largest share of the bucket sold in the hour at unit stress
    sale_day_cap: Any  # (B,) largest share of the bucket sold in a day
    crowd: Any  # (B,) volume sold by others for each unit the fund sells
    cost: Any  # (B,) cents lost per sold share per unit of impact level
    heat: Any  # (B,) rise of variance per squared impact level
    heat_weight: Any  # (B,) weight of the bucket in the fund's stress, sums to 1
    # Liquidity.
    cash: Any  # (N,)
    fx_open: Any  # (N,) bit h set: the currency can be exchanged and paid at hour h
    fx_spread: Any  # (N,) half spread, fraction
    flow: Any  # (T, N) settlements already agreed; received where positive
    hqla: Any  # (Q,) in the order in which they are used
    hqla_haircut: Any  # (Q,)
    hqla_lag: Any  # (Q,) hours until proceeds arrive
    hqla_hour_cap: Any  # (Q,)
    hqla_day_cap: Any  # (Q,)
    facility_limit: Any  # (F,)
    facility_notice: Any  # (F,) hours
    facility_covenant: Any  # (F,) largest fall of NAV
    facility_stress: Any  # (F,) volatility multiple above which the lender stops (adverse change)
    facility_base: Any  # (F,) largest drawing as a share of current NAV
    pool: Any  # see POOL_*


# Entries of Model.pool.
(
    POOL_NAV,
    POOL_TARGET,
    POOL_REQUEST,
    POOL_DECAY,
    POOL_SELL,
    POOL_DAY_LIMIT,
    POOL_SEQUENTIAL,
    POOL_LINEAR,
    POOL_DEGREES,
    POOL_KEEP_SHARE,
    POOL_START_STRESS,
    POOL_HEAT_MOVES,
    POOL_HEAT_DEPTH,
    POOL_HEAT_HAIRCUT,
    POOL_SALES_IN_MARGIN,
    POOL_GRACE,
    POOL_BRANCH_LEAST,
) = range(17)
POOL_SIZE = 17


class Draws(NamedTuple):
    """What differs between paths before the first hour; the last axis is the path."""

    path: Any  # (P,) uint64 number of the path in the random stream
    drive: Any  # (S, P) weights of the basis shocks
    scores: Any  # (days * (q + 1), P) scores of the first q normals, then the mixing; (0, P): none


class Output(NamedTuple):
    """Results per path; the last axis is the path. Empty first axes switch an output off."""

    metrics: Any  # (len(METRICS), P)
    windows: Any  # (T / WINDOW_HOURS, P) gross calls issued, cents
    fan: Any  # (T, P) float32 liquidity, cents
    calls: Any  # (R, P) gross calls by agreement, cents
    left: Any  # (B, P) share of each bucket left at the end
    window_calls: Any  # (W, R, P) gross calls by agreement and window, cents
    window_im: Any  # (W, R, P) IM required at the end of the window, cents
    window_left: Any  # (W, B, P) share of each bucket left
    window_moves: Any  # (W, K, P) cumulative moves of the factors


def due_hours(model: Model) -> int:
    """Return the length of the ring that remembers the calls each agreement issued."""
    longest = int(model.pay_lag.max()) if len(model.pay_lag) else 0
    grace = model.pool[POOL_GRACE]
    if not np.isfinite(grace):
        return longest + 1
    # Creditors decide once a day: a call can be that much older than the period of grace.
    return longest + int(grace) + HOURS_PER_DAY


def score_rows(model: Model, scores: Float64Array) -> int:
    """Return q, the number of normals that scores drive, from the shape of `scores`."""
    days = len(model.stress) // HOURS_PER_DAY
    return len(scores) // days - 1 if len(scores) else 0


def normal_rows(factors: int, groups: int) -> int:
    """Return the number of normals drawn per path and hour: whole Philox blocks of four."""
    return -(-(factors + groups + EXTRA_NORMALS) // 4) * 4


def empty_output(model: Model, paths: int, fan: bool, record: bool = False) -> Output:
    """Allocate outputs for `paths` paths; `record` keeps the state of every window."""
    hours = len(model.stress)
    windows = -(-hours // WINDOW_HOURS)
    kept = windows if record else 0

    def zeros(*rows: int) -> Float64Array:
        return np.zeros((*rows, paths))

    return Output(
        metrics=zeros(len(METRICS)),
        windows=zeros(windows),
        fan=np.zeros((hours if fan else 0, paths), dtype=np.float32),
        calls=zeros(len(model.im_start)),
        left=zeros(len(model.relief)),
        window_calls=zeros(kept, len(model.im_start)),
        window_im=zeros(kept, len(model.im_start)),
        window_left=zeros(kept, len(model.relief)),
        window_moves=zeros(kept, len(model.group)),
    )
