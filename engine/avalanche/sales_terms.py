"""What forced sales release, how much may be sold, in which order, and what it does to prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.hours import hour_weights
from engine.avalanche.market_inputs import MarketInputs
from engine.avalanche.sparse import index_array
from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import HOURS_PER_DAY


@dataclass(frozen=True)
class Depth:
    """Size of the fund against the market; K factors, B buckets.

    Attributes
    ----------
    net : float64 array of shape (K,)
        Fund's exposure in cents.
    share_of_adv : float64 array of shape (K,)
        Fund's exposure over average daily volume.
    unit_level, level : float64 arrays of shape (K,)
        Impact in daily standard deviations of selling the whole exposure, at Y = 1 and at the
        run's Y.
    sigma : float64 array of shape (K,)
        Daily volatility.
    """

    net: Float64Array
    share_of_adv: Float64Array
    unit_level: Float64Array
    level: Float64Array
    sigma: Float64Array


def market_depth(
    market: MarketState,
    inputs: MarketInputs,
    delta: Float64Array,
    config: AvalancheConfig,
    scenario: Scenario | None,
) -> Depth:
    """Measure the fund's exposures (cents) against average daily volume in the scenario."""
    thinner = 1.0 if scenario is None else scenario.depth_multiplier
    net = delta.sum(axis=0)
    share = np.abs(net) / (market.factors.adv[inputs.columns] * CENTS_PER_UNIT * thinner)
    size = share if config.impact_law == "linear" else np.sqrt(share)
    return Depth(net, share, size, config.impact_coefficient * size, inputs.daily_volatility)


def push(depth: Depth, config: AvalancheConfig) -> Float64Array:
    """Return the move of each factor per unit of impact level, shape (K,), sign included."""
    if not (config.feedback and config.feedback_prices):
        return np.zeros_like(depth.net)
    return np.asarray(-np.sign(depth.net) * depth.level * depth.sigma)


def sales_part(
    depth: Depth,
    bucket_of: Int64Array,
    bucket_names: list[str],
    im: Float64Array,
    gradient: Float64Array,
    calls: Mapping[str, object],
    config: AvalancheConfig,
    scenario: Scenario | None,
) -> dict[str, object]:
    """Relief, limits, order, cost and heat of each bucket.

    `calls` holds the agreements' `eod_hour` and `receive_lag`: relief comes after them.

    Selling raises margin where a bucket hedges the rest: such a bucket releases nothing and is
    not sold. The cap keeps every factor of the bucket within its participation.
    """
    buckets = len(bucket_names)
    relief = np.maximum((im[:, None] * gradient).sum(axis=0), 0.0)
    capacity = _capacity(depth.share_of_adv, bucket_of, buckets, config.participation)
    size = np.abs(depth.net) * depth.sigma
    cost = _by_bucket(size * depth.level, bucket_of, buckets)
    unit_cost = _by_bucket(size * depth.unit_level, bucket_of, buckets)
    weight = sale_weights(relief, unit_cost, capacity, config)
    total = weight.sum()
    released = np.maximum(im[:, None] * gradient, 0.0)
    hours = np.tile(hour_weights(config), config.horizon_days)
    heat, heat_weight = _heat(depth, bucket_of, buckets, config)
    return {
        "impact": push(depth, config),
        "relief": relief,
        "relief_wait": index_array(relief_wait(released, calls)),
        "sale_share": weight / total if total > 0 else np.zeros(buckets),
        "sale_order": index_array(sale_order(relief, unit_cost, bucket_names, config)),
        "sale_cap": hours[:, None] * capacity[None, :],
        "sale_day_cap": np.full(buckets, config.largest_daily_sale_share),
        "crowd": crowding(bucket_names, config, scenario),
        "cost": cost if config.feedback else np.zeros(buckets),
        "heat": heat,
        "heat_weight": heat_weight,
    }


def _by_bucket(values: Float64Array, bucket_of: Int64Array, buckets: int) -> Float64Array:
    total = np.zeros(buckets)
    np.add.at(total, bucket_of, values)
    return total


def _capacity(
    share_of_adv: Float64Array, bucket_of: Int64Array, buckets: int, participation: float
) -> Float64Array:
    """Share of each bucket that may be sold in a day at today's depth."""
    largest = np.zeros(buckets)
    np.maximum.at(largest, bucket_of, share_of_adv)
    part = np.divide(participation, largest, out=np.ones(buckets), where=largest > 0.0)
    return np.minimum(part, 1.0)


def _heat(
    depth: Depth, bucket_of: Int64Array, buckets: int, config: AvalancheConfig
) -> tuple[Float64Array, Float64Array]:
    """Rise of variance per squared impact level, and each bucket's weight in the fund's stress."""
    size = np.abs(depth.net) * depth.sigma
    by_bucket = _by_bucket(size, bucket_of, buckets)
    level = np.divide(
        _by_bucket(size * depth.level, bucket_of, buckets),
        by_bucket,
        out=np.zeros(buckets),
        where=by_bucket > 0.0,
    )
    whole = by_bucket.sum()
    weight = by_bucket / whole if whole > 0.0 else np.zeros(buckets)
    reaction = config.volatility_reaction if config.feedback else 0.0
    return reaction * level**2, weight


def sale_weights(
    relief: Float64Array, unit_cost: Float64Array, capacity: Float64Array, config: AvalancheConfig
) -> Float64Array:
    """Return the weight of each bucket in a sale, in relief; a user's order does not use it.

    Pro rata: what the bucket can release in a day. Greedy: the split that costs least. Raising S_b
    from a bucket costs c_b (S_b / relief_b)^p, p = 1.5 under the square-root law and 2 under the
    linear one; marginal costs are equal where S_b^(p-1) is proportional to relief_b^p / c_b. A
    bucket without cost, or without impact anywhere, is sold by what it can release.
    """
    power = _impact_power(config)
    priced = (relief > 0.0) & (unit_cost > 0.0)
    if config.sale_policy != "greedy" or not np.any(priced):
        return relief * capacity
    cheap = np.divide(relief**power, unit_cost, out=np.zeros_like(relief), where=priced)
    return np.where(priced, (cheap / cheap.max()) ** (1.0 / (power - 1.0)), 0.0)


def _impact_power(config: AvalancheConfig) -> float:
    """Power of the share sold in the cost of selling it."""
    return 2.0 if config.impact_law == "linear" else 1.5


def relief_wait(released: Float64Array, calls: Mapping[str, object]) -> Int64Array:
    """Hours from a sale at each hour of the day to its relief, by bucket, shape (24, B).

    Margin is released at the agreement's next end-of-day window and comes back after its lag. A
    bucket's hours are the mean over agreements, weighted by what they release, rounded up.
    """
    eod = np.asarray(calls["eod_hour"], dtype=np.int64)
    lag = np.asarray(calls["receive_lag"], dtype=np.int64)
    clock = np.arange(HOURS_PER_DAY)[:, None]
    # The window of the hour itself comes before its sales.
    hours = (eod - clock - 1) % HOURS_PER_DAY + 1 + lag
    total = released.sum(axis=0)
    mean = np.divide(
        hours @ released, total, out=np.ones((HOURS_PER_DAY, len(total))), where=total > 0.0
    )
    return np.asarray(np.ceil(mean - 1e-9), dtype=np.int64)


def sale_order(
    relief: Float64Array, unit_cost: Float64Array, names: list[str], config: AvalancheConfig
) -> list[int]:
    """Return buckets in the order of a user's policy; the others have none and stay as they are.

    The user's buckets come first, the rest by what the first unit of relief costs at an impact of
    Y = 1: raising S from a bucket costs c (S / relief)^p, so the order is that of c / relief^p.

    Raises
    ------
    InputError
        If `sale_order` names a bucket that the fund does not hold, or one twice.
    """
    if config.sale_policy != "user":
        return list(range(len(relief)))
    scale = relief ** _impact_power(config)
    price = np.divide(unit_cost, scale, out=np.full(len(relief), np.inf), where=relief > 0.0)
    greedy = [int(b) for b in np.argsort(price, kind="stable")]
    wanted = config.sale_order
    unknown = [name for name in wanted if name not in names]
    if unknown or len(set(wanted)) != len(wanted):
        raise InputError(
            f"sale_order {list(wanted)} must name buckets once each; unknown {unknown}; the "
            f"fund's buckets are {', '.join(names)}"
        )
    first = [names.index(name) for name in wanted]
    return first + [b for b in greedy if b not in first]


def crowding(names: list[str], config: AvalancheConfig, scenario: Scenario | None) -> Float64Array:
    """Return the crowding of each bucket: the scenario's, else the run's own, else the general one.

    Raises
    ------
    InputError
        If a bucket is named that no factor of the market belongs to.
    """
    named = {**config.crowding_by_bucket, **({} if scenario is None else scenario.crowding)}
    return np.array([named.get(name, config.crowding) for name in names], dtype=np.float64)
