"""What the fund can pay with: cash by currency, securities by kind, credit lines, settlements."""

from __future__ import annotations

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.hours import open_hours
from engine.avalanche.sparse import index_array
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import HOURS_PER_DAY

# Agreed settlements fall due in this hour (UTC), or in the last open one before it.
SETTLEMENT_HOUR = 16
BASIS_POINT = 1e-4


def pool_of(currencies: StrArray, names: list[str]) -> Int64Array:
    """Return the pool of each currency; one that is not kept apart is in the hub."""
    place = {name: n for n, name in enumerate(names)}
    return np.array([place.get(str(c), layout.HUB) for c in currencies], dtype=np.int64)


def cash_part(
    book: Book, market: MarketState, names: list[str], config: AvalancheConfig
) -> dict[str, object]:
    """Cash and agreed settlements of each currency, in cents of USD at today's rates."""
    cash = np.zeros(len(names))
    usd = np.rint(book.cash.amount_cents * market.usd_per(book.cash.currency))
    np.add.at(cash, pool_of(book.cash.currency, names), usd)
    spread = np.full(len(names), config.fx_spread_bp * BASIS_POINT)
    spread[layout.HUB] = 0.0
    return {
        "cash": cash,
        "fx_open": index_array([open_hours(name, book.as_of) for name in names]),
        "fx_spread": spread,
        "flow": _flow(book, market, names, config),
    }


def _flow(
    book: Book, market: MarketState, names: list[str], config: AvalancheConfig
) -> Float64Array:
    """Agreed settlements by hour and currency: on their business day, in the settlement hour."""
    flow = np.zeros((config.horizon_days * HOURS_PER_DAY, len(names)))
    settlements = book.settlements
    if len(settlements.settlement_id):
        start = np.datetime64(book.as_of, "D")
        day = np.busday_count(start, settlements.value_date.astype("datetime64[D]"))
        due = [settlement_hour(str(c), book) for c in settlements.currency]
        hour = (day - 1) * HOURS_PER_DAY + np.array(due, dtype=np.int64)
        usd = np.rint(settlements.amount_cents * market.usd_per(settlements.currency))
        inside = (day >= 1) & (hour < len(flow))
        pool = pool_of(settlements.currency, names)
        np.add.at(flow, (hour[inside], pool[inside]), usd[inside])
    return flow


def settlement_hour(currency: str, book: Book) -> int:
    """Return the hour of the day in which agreed settlements of a currency fall due."""
    bits = open_hours(currency, book.as_of)
    before = [hour for hour in range(SETTLEMENT_HOUR + 1) if bits >> hour & 1]
    return before[-1] if before else SETTLEMENT_HOUR


def securities_part(
    book: Book, market: MarketState, config: AvalancheConfig, scenario: Scenario | None
) -> dict[str, object]:
    """Liquid securities by settlement and haircut, those that pay at once and cost least first.

    Those of one settlement time and haircut are one kind. `settle_days` beyond the longest horizon
    never pay within a run: they are left out.
    """
    c = book.collateral
    value = np.rint(c.market_value * market.usd_per(c.currency) * CENTS_PER_UNIT)
    lag = c.settle_days * HOURS_PER_DAY
    usable = lag < layout.SETTLE_HOURS
    kinds, kind = np.unique(
        np.stack([lag[usable].astype(np.float64), c.haircut[usable]], axis=1),
        axis=0,
        return_inverse=True,
    )
    amount = np.zeros(len(kinds))
    np.add.at(amount, kind.ravel(), value[usable])
    wider = 1.0 if scenario is None else scenario.haircut_multiplier
    return {
        "hqla": amount,
        "hqla_haircut": np.minimum(kinds[:, 1] * wider, 1.0),
        "hqla_lag": index_array(kinds[:, 0]),
        "hqla_hour_cap": np.rint(amount * config.hqla_share_per_hour),
        "hqla_day_cap": np.rint(amount * config.hqla_share_per_day),
    }


def facility_part(book: Book, market: MarketState, config: AvalancheConfig) -> dict[str, object]:
    """Undrawn credit lines and the conditions under which they can be drawn."""
    f = book.facilities
    lines = len(f.facility_id)
    stop, base = config.adverse_change_multiple, config.borrowing_base_share
    return {
        "facility_limit": np.rint((f.limit_cents - f.drawn_cents) * market.usd_per(f.currency)),
        "facility_notice": f.notice_hours.astype(np.float64),
        "facility_covenant": f.nav_covenant.astype(np.float64),
        "facility_stress": np.full(lines, np.inf if stop is None else stop),
        "facility_base": np.full(lines, layout.NO_BASE if base is None else base),
    }


def opening_resources(parts: dict[str, object]) -> tuple[float, float]:
    """Return own resources (cash, securities after haircut) and all (lines included), in cents."""
    hqla, cut = np.asarray(parts["hqla"]), np.asarray(parts["hqla_haircut"])
    own = float(np.sum(np.asarray(parts["cash"])) + np.sum(hqla * (1.0 - cut)))
    return own, own + float(np.sum(np.asarray(parts["facility_limit"])))


def pool_part(
    book: Book, config: AvalancheConfig, scenario: Scenario | None, parts: dict[str, object]
) -> dict[str, object]:
    """Levels that trigger steps, and switches."""
    own, resources = opening_resources(parts)
    start_im = float(np.sum(np.asarray(parts["im_today"])))
    limit = config.largest_daily_raise_usd
    stressed = scenario is not None and scenario.starts_in_stress
    pool = np.zeros(layout.POOL_SIZE)
    pool[layout.POOL_NAV] = max(np.rint(book.nav_usd * CENTS_PER_UNIT), 1.0)
    pool[layout.POOL_TARGET] = np.rint(config.liquidity_target_share * resources)
    pool[layout.POOL_REQUEST] = np.rint(config.facility_request_share * own)
    pool[layout.POOL_DECAY] = 0.5 ** (1.0 / (config.impact_half_life_days * HOURS_PER_DAY))
    pool[layout.POOL_SELL] = float(config.forced_sales)
    pool[layout.POOL_DAY_LIMIT] = np.inf if limit is None else limit * CENTS_PER_UNIT
    pool[layout.POOL_SEQUENTIAL] = float(config.sale_policy == "user")
    pool[layout.POOL_LINEAR] = float(config.impact_law == "linear")
    pool[layout.POOL_DEGREES] = config.tail_degrees
    pool[layout.POOL_KEEP_SHARE] = config.least_position_share
    pool[layout.POOL_START_STRESS] = float(stressed)
    pool[layout.POOL_HEAT_MOVES] = float(config.feedback_volatility)
    pool[layout.POOL_HEAT_DEPTH] = float(config.feedback_depth)
    pool[layout.POOL_HEAT_HAIRCUT] = float(config.feedback_haircuts)
    pool[layout.POOL_SALES_IN_MARGIN] = float(config.feedback_margin)
    pool[layout.POOL_GRACE] = float(config.default_grace_hours) if config.defaults else np.inf
    pool[layout.POOL_BRANCH_LEAST] = BRANCH_LEAST_SHARE * start_im
    return {"pool": pool}


# A branching ratio of a raise below this share of initial margin is noise: impact is a root.
BRANCH_LEAST_SHARE = 0.01
