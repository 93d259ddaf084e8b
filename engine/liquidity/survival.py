"""Survival of the fund's liquidity and the size of the facility it needs."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import AvalancheResult, LiquidityResult


def kaplan_meier(exhausted_hour: Float64Array, steps: int) -> Float64Array:
    """Return the survival curve, shape (steps,): share not exhausted by the end of each hour.

    `exhausted_hour` is the hour of exhaustion of each path, or -1 for paths that are censored
    at the horizon. As all are censored at the same end, the product-limit estimate (Kaplan and
    Meier 1958) is computed hour by hour from those still at risk.
    """
    at_risk = float(len(exhausted_hour))
    survival = np.ones(steps)
    alive = 1.0
    for hour in range(steps):
        events = float(np.sum(exhausted_hour == hour))
        if at_risk > 0:
            alive *= 1.0 - events / at_risk
        at_risk -= events
        survival[hour] = alive
    return survival


def median_hours(survival: Float64Array) -> float | None:
    """Return the first hour by whose end at most half of the paths survive, None if none is."""
    below = np.nonzero(survival <= 0.5)[0]
    return float(below[0] + 1) if len(below) else None


def opening_liquidity(book: Book, market: MarketState) -> dict[str, float]:
    """Return USD of cash, liquid securities after haircut, and undrawn credit lines today."""
    cash = np.sum(book.cash.amount_cents * market.usd_per(book.cash.currency))
    c = book.collateral
    securities = np.sum(c.market_value * (1.0 - c.haircut) * market.usd_per(c.currency))
    f = book.facilities
    undrawn = np.sum((f.limit_cents - f.drawn_cents) * market.usd_per(f.currency))
    return {
        "cash": float(cash) / CENTS_PER_UNIT,
        "hqla_after_haircut": float(securities),
        "undrawn_facilities": float(undrawn) / CENTS_PER_UNIT,
    }


def assess_liquidity(
    book: Book, market: MarketState, avalanche: AvalancheResult
) -> LiquidityResult:
    """Read survival, time to exhaustion and facility need from a simulated avalanche.

    The facility need is the smallest line that covers the largest shortfall of 99 % of the
    paths when nothing is sold by force: an order statistic of the paths' maxima, with the interval
    of its ranks. Exhaustion means a call that cannot be met at its deadline from cash, liquid
    securities and open credit lines, forced sales included.
    """
    hours = avalanche.per_path["exhausted_hour"]
    survival = kaplan_meier(hours, avalanche.steps)
    opening = opening_liquidity(book, market)
    return LiquidityResult(
        p_exhaustion=avalanche.estimates["p_exhaustion"],
        median_hours=median_hours(survival),
        survival=survival,
        facility_need_99=avalanche.estimates["facility_need_q99"],
        facility_limit_usd=opening["undrawn_facilities"],
        opening_usd=opening,
    )
