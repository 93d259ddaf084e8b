"""The kernel's arguments in groups: a stage names the groups it reads and writes, and no more.

A compiled function takes every array of a group as arguments of its own, so small groups also keep
the time to compile short. `Model` (layout.py) says what each array of the model is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.domain.arrays import Float64Array
from engine.kernels.avalanche.layout import (
    RELIEF_HOURS,
    RING_HOURS,
    SCALARS,
    SETTLE_HOURS,
    Model,
    due_hours,
    normal_rows,
)

CACHE_LINE_BYTES = 64


class Market(NamedTuple):
    """Factors and their moves."""

    chol_ptr: Any
    chol_row: Any
    chol_coef: Any
    lead_row: Any
    lead_coef: Any
    group: Any
    clock: Any
    bucket: Any
    gamma_range: Any
    impact: Any
    shock: Any
    volatility: Any
    stress: Any
    keep: Any
    lead_load: Any
    own_load: Any
    bridge: Any
    regime: Any
    drop: Any
    turn: Any
    jump: Any
    jump_scale: Any
    jump_terms: Any


class Books(NamedTuple):
    """What each agreement holds."""

    seg_ptr: Any
    seg_bucket: Any
    seg_push: Any
    seg_volume: Any
    ent_ptr: Any
    ent_row: Any
    ent_coef: Any
    pair_ptr: Any
    pair_a: Any
    pair_b: Any
    pair_coef: Any
    daily_norm: Any


class Terms(NamedTuple):
    """What each agreement demands, and when."""

    im_today: Any
    im_start: Any
    im_threshold: Any
    concentration_start: Any
    concentration_slope: Any
    ewma_lambda: Any
    stress_share: Any
    step: Any
    multiple_floor: Any
    vm_threshold: Any
    mta: Any
    exposure_start: Any
    held_start: Any
    open_call: Any
    currency: Any
    window_mask: Any
    eod_hour: Any
    pay_lag: Any
    receive_lag: Any
    trigger: Any
    fail_order: Any
    cross: Any


class Sales(NamedTuple):
    """Forced sales of each bucket."""

    relief: Any
    relief_wait: Any
    sale_share: Any
    sale_order: Any
    sale_cap: Any
    sale_day_cap: Any
    crowd: Any
    cost: Any
    heat: Any
    heat_weight: Any


class Money(NamedTuple):
    """Cash, securities and credit lines."""

    cash: Any
    fx_open: Any
    fx_spread: Any
    flow: Any
    hqla: Any
    hqla_haircut: Any
    hqla_lag: Any
    hqla_hour_cap: Any
    hqla_day_cap: Any
    facility_limit: Any
    facility_notice: Any
    facility_covenant: Any
    facility_stress: Any
    facility_base: Any


class Tape(NamedTuple):
    """Draws and moves of the factors."""

    z: Any
    bridge: Any
    basis: Any
    cumulative: Any
    convexity: Any
    impact: Any
    log_volatility: Any
    multiple: Any


class Holdings(NamedTuple):
    """What is left of each bucket, and what sales have done to its price."""

    left: Any
    level: Any
    volume: Any
    heat: Any
    sold: Any
    sold_today: Any
    pressure: Any


class Accounts(NamedTuple):
    """Each agreement: exposure, margin, calls."""

    size: Any
    ewma: Any
    posted: Any
    exposure: Any
    exposure_eod: Any
    pressed: Any
    held: Any
    im: Any
    alive: Any
    agreement_calls: Any
    issued: Any


class Till(NamedTuple):
    """Money of each currency, and securities of each kind."""

    cash: Any
    unpaid: Any
    pending: Any
    inflow: Any
    outflow: Any
    recent: Any
    pay: Any
    receive: Any
    hqla: Any
    hqla_today: Any
    settling: Any


class Work(NamedTuple):
    """Scalars of the path, and rows to compute in."""

    relief_ring: Any
    scalars: Any
    total: Any
    segment: Any
    scale: Any


class Inputs(NamedTuple):
    """The model, by group."""

    market: Market
    books: Books
    terms: Terms
    sales: Sales
    money: Money
    switches: Any


class State(NamedTuple):
    """State of a tile of paths, by group; every array is (rows, lanes)."""

    tape: Tape
    holdings: Holdings
    accounts: Accounts
    till: Till
    work: Work


PARTS: tuple[type[Any], ...] = (Tape, Holdings, Accounts, Till, Work)


def group(model: Model) -> Inputs:
    """Return the model's arrays by group."""

    def take(part: type[Any]) -> Any:
        return part(*(getattr(model, name) for name in part._fields))

    return Inputs(take(Market), take(Books), take(Terms), take(Sales), take(Money), model.pool)


def state_rows(model: Model, scored: int = 0) -> dict[str, int]:
    """Return the number of rows of every array of the state; `scored` normals have scores."""
    factors, groups, buckets = len(model.group), len(model.keep), len(model.relief)
    agreements, currencies, securities = len(model.im_start), len(model.cash), len(model.hqla)
    return {
        "z": normal_rows(factors, groups),
        "bridge": scored,
        "basis": 2 * factors,
        "cumulative": factors,
        "convexity": factors,
        "impact": factors,
        "log_volatility": groups,
        "multiple": groups,
        "left": buckets,
        "level": buckets,
        "volume": buckets,
        "heat": buckets,
        "sold": buckets,
        "sold_today": buckets,
        "pressure": buckets,
        "size": agreements,
        "ewma": agreements,
        "posted": agreements,
        "exposure": agreements,
        "exposure_eod": agreements,
        "pressed": agreements,
        "held": agreements,
        "im": agreements,
        "alive": agreements,
        "agreement_calls": agreements,
        "issued": agreements * due_hours(model),
        "cash": currencies,
        "unpaid": currencies,
        "pending": currencies,
        "inflow": currencies,
        "outflow": currencies,
        "recent": currencies,
        "pay": currencies * RING_HOURS,
        "receive": currencies * RING_HOURS,
        "hqla": securities,
        "hqla_today": securities,
        "settling": securities * SETTLE_HOURS,
        "relief_ring": RELIEF_HOURS,
        "scalars": SCALARS,
        "total": 1,
        "segment": 1,
        "scale": 1,
    }


def workspace(model: Model, lanes: int, scored: int = 0) -> State:
    """Allocate the state of one tile in one block aligned to cache lines."""
    rows = state_rows(model, scored)
    per_line = CACHE_LINE_BYTES // 8
    block: Float64Array = np.empty(sum(rows.values()) * lanes + per_line)
    offset = -(block.ctypes.data // 8) % per_line

    def take(part: type[Any]) -> Any:
        nonlocal offset
        arrays = []
        for name in part._fields:
            stop = offset + rows[name] * lanes
            arrays.append(block[offset:stop].reshape(rows[name], lanes))
            offset = stop
        return part(*arrays)

    return State(*(take(part) for part in PARTS))
