"""What the fund can pay with and sell: cash, securities, credit lines, buckets of positions."""

from __future__ import annotations

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.hours import hour_weights
from engine.avalanche.market_inputs import MarketInputs
from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import HOURS_PER_DAY

SETTLEMENT_HOUR = 16


def sales_part(
    market: MarketState,
    inputs: MarketInputs,
    delta: Float64Array,
    bucket_of: Int64Array,
    im: Float64Array,
    gradient: Float64Array,
    config: AvalancheConfig,
) -> dict[str, object]:
    """Relief, caps and impact of each bucket.

    Selling raises margin where a bucket hedges the rest: such a bucket releases nothing and is
    not sold. The cap keeps every factor of the bucket within its participation.
    """
    net = delta.sum(axis=0)
    adv = market.factors.adv[inputs.columns] * CENTS_PER_UNIT
    buckets = gradient.shape[1]
    relief = np.maximum((im[:, None] * gradient).sum(axis=0), 0.0)
    share_of_adv = np.abs(net) / adv
    capacity = np.ones(buckets)
    root = np.sqrt(share_of_adv)
    signed = -np.sign(net) * config.impact_coefficient * inputs.daily_volatility * root
    if not config.feedback:
        signed = np.zeros_like(signed)
    cost = np.zeros(buckets)
    np.add.at(cost, bucket_of, np.abs(net) * np.abs(signed))
    for b in range(buckets):
        largest = share_of_adv[bucket_of == b].max()
        capacity[b] = min(1.0, config.participation / largest) if largest > 0 else 1.0
    weight = relief * capacity
    total = weight.sum()
    hours = np.tile(hour_weights(config), config.horizon_days)
    return {
        "impact": signed,
        "relief": relief,
        "sale_share": weight / total if total > 0 else np.zeros(buckets),
        "sale_cap": hours[:, None] * capacity[None, :],
        "cost": cost,
    }


def liquidity_part(book: Book, market: MarketState, config: AvalancheConfig) -> dict[str, object]:
    """Cash, liquid securities and undrawn lines in cents of USD, and the levels that trigger steps.

    Securities are pooled: one haircut, weighted by value.
    """
    cash = float(np.sum(np.rint(book.cash.amount_cents * market.usd_per(book.cash.currency))))
    c = book.collateral
    value = c.market_value * market.usd_per(c.currency) * CENTS_PER_UNIT
    hqla = float(np.sum(np.rint(value)))
    haircut = float(np.sum(value * c.haircut) / np.sum(value)) if hqla > 0 else 0.0
    f = book.facilities
    undrawn = np.rint((f.limit_cents - f.drawn_cents) * market.usd_per(f.currency))
    resources = cash + hqla * (1.0 - haircut) + float(undrawn.sum())
    pool = np.zeros(layout.POOL_SIZE)
    pool[layout.POOL_CASH] = cash
    pool[layout.POOL_HQLA] = hqla
    pool[layout.POOL_HAIRCUT] = haircut
    pool[layout.POOL_HQLA_CAP] = np.rint(hqla * config.hqla_share_per_hour)
    nav_usd = book.nav_usd
    pool[layout.POOL_NAV] = max(np.rint(nav_usd * CENTS_PER_UNIT), 1.0)
    pool[layout.POOL_TARGET] = np.rint(config.liquidity_target_share * resources)
    pool[layout.POOL_REQUEST] = np.rint(
        config.facility_request_share * (cash + hqla * (1 - haircut))
    )
    pool[layout.POOL_DECAY] = 0.5 ** (1.0 / (config.impact_half_life_days * HOURS_PER_DAY))
    pool[layout.POOL_CROWD] = config.crowding
    pool[layout.POOL_SELL] = float(config.forced_sales)
    pool[layout.POOL_DEGREES] = config.tail_degrees
    pool[layout.POOL_KEEP_SHARE] = config.least_position_share
    return {
        "facility_limit": undrawn,
        "facility_notice": f.notice_hours.astype(np.float64),
        "facility_covenant": f.nav_covenant.astype(np.float64),
        "pool": pool,
    }


def flow_part(book: Book, market: MarketState, config: AvalancheConfig) -> dict[str, object]:
    """Agreed settlements by hour: each on its business day, in the settlement hour."""
    flow = np.zeros(config.horizon_days * HOURS_PER_DAY)
    settlements = book.settlements
    if len(settlements.settlement_id):
        start = np.datetime64(book.as_of, "D")
        day = np.busday_count(start, settlements.value_date.astype("datetime64[D]"))
        hour = (day - 1) * HOURS_PER_DAY + SETTLEMENT_HOUR
        usd = np.rint(settlements.amount_cents * market.usd_per(settlements.currency))
        inside = (day >= 1) & (hour < len(flow))
        np.add.at(flow, hour[inside], usd[inside])
    return {"flow": flow}
