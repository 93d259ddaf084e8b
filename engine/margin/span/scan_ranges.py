"""Scan ranges from the market's history: volatility, price scan range and its floors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.market import MarketState
from engine.margin.historical import ewma_volatility
from engine.margin.span.rulebook import SpanRulebook, class_rule, venue_rule
from engine.pricing.terms import is_log

TRADING_DAYS = 252.0
"""Days that annualise a daily volatility."""


@dataclass(frozen=True)
class ScanKey:
    """What agreements must share to have the same scan ranges.

    `venue` is "" where the rulebook has no rule of the venue's own; `lookback_days` is 0 where a
    filter makes it irrelevant.
    """

    venue: str
    confidence: float
    mpor_days: int
    ewma_lambda: float
    lookback_days: int


@dataclass(frozen=True)
class FactorRates:
    """Rates of one venue by factor, each of shape (n_factors,).

    Floors as fractions of the level, `calendar_of_scan` and `calendar_of_price` the two parts of
    the calendar rate, the rest as in `engine.margin.span.rulebook.ClassRule`.
    """

    price_scan_floor: Float64Array
    volatility_scan: Float64Array
    volatility_scan_floor: Float64Array
    calendar_of_scan: Float64Array
    calendar_of_price: Float64Array
    delivery_rate: Float64Array
    short_option_minimum: Float64Array
    exposure_rate: Float64Array


@dataclass(frozen=True)
class DailyVolatility:
    """Volatility by factor in units of the return, and how far above today's it has been."""

    today: Float64Array
    highest_over_today: Float64Array


def daily_volatility(
    market: MarketState,
    used: BoolArray,
    ewma_lambda: float,
    lookback_days: int,
    seed_days: int,
) -> DailyVolatility:
    """Volatility for the day after the sample, shape (n_factors,), NaN outside `used`.

    The EWMA of `engine.margin.historical`; with lambda 1 (no filter) the root mean square of the
    last `lookback_days` known returns. Never below the factor's `daily_vol_floor`.
    `highest_over_today` is infinite without a filter: nothing scales there.

    Returns 0.01 and -0.01 without a filter give 0.01.
    """
    columns = np.flatnonzero(used)
    floor = market.factors.daily_vol_floor[columns]
    today = np.full(len(market.factors), np.nan)
    highest = np.full(len(market.factors), np.inf)
    returns = market.returns[:, columns]
    if ewma_lambda < 1.0:
        sigma = ewma_volatility(returns, ewma_lambda, seed_days, floor)
        today[columns] = sigma[-1]
        positive = np.where(sigma[-1] > 0.0, sigma[-1], np.nan)
        highest[columns] = np.nanmax(sigma, axis=0) / positive
    else:
        last = returns[-lookback_days:]
        known = np.isfinite(last)
        squares = np.where(known, last, 0.0) ** 2
        count = np.maximum(1, known.sum(axis=0))
        today[columns] = np.maximum(np.sqrt(squares.sum(axis=0) / count), floor)
    return DailyVolatility(today, highest)


def capped_scale(
    scale: float, volatility: DailyVolatility, asset_class: StrArray, cap: bool
) -> Float64Array:
    """Scale of each factor's volatility, (n_factors,).

    With `cap`, a factor that is itself a volatility is not taken beyond the highest volatility of
    its own history, as in the historical models.
    """
    out = np.full(len(asset_class), scale)
    if cap and scale > 1.0:
        capped = np.asarray(asset_class == "volatility")
        out[capped] = np.minimum(scale, volatility.highest_over_today[capped])
    return out


def price_scan_multiple(book: SpanRulebook, key: ScanKey, override: float | None) -> float:
    """Price scan range over one-day volatility.

    The user's override, or the venue's multiple, or the normal quantile of the confidence; times
    the root of the venue's days or of the margin period of risk. 99 % and two days give 3.2899.
    """
    rule = venue_rule(book, key.venue)
    days = rule.price_scan_days if rule.price_scan_days is not None else key.mpor_days
    multiple = override if override is not None else rule.price_scan_multiple
    if multiple is None:
        multiple = float(ndtri(key.confidence))
    return multiple * math.sqrt(days)


def price_scan_ranges(
    market: MarketState, volatility: Float64Array, multiple: float, rates: FactorRates
) -> Float64Array:
    """Price scan range in units of the level, (n_factors,).

    multiple * volatility * |level| for log factors, multiple * volatility for absolute ones, and
    not below the floor times |level|. NaN where the volatility is.
    """
    size = np.abs(market.level)
    moved = multiple * volatility * np.where(is_log(market), size, 1.0)
    return np.asarray(np.maximum(moved, rates.price_scan_floor * size))


def factor_rates(book: SpanRulebook, venue: str, product_class: StrArray) -> FactorRates:
    """Return the venue's rates, given the product class of each factor."""
    rules = [class_rule(book, venue, str(name)).rule for name in product_class]

    def column(name: str) -> Float64Array:
        return np.array([getattr(rule, name) for rule in rules], dtype=np.float64)

    on_scan = np.array([rule.calendar_base == "scan" for rule in rules], dtype=np.bool_)
    calendar = column("calendar_rate")
    return FactorRates(
        price_scan_floor=column("price_scan_floor"),
        volatility_scan=column("volatility_scan"),
        volatility_scan_floor=column("volatility_scan_floor"),
        calendar_of_scan=np.where(on_scan, calendar, 0.0),
        calendar_of_price=np.where(on_scan, 0.0, calendar),
        delivery_rate=column("delivery_rate"),
        short_option_minimum=column("short_option_minimum"),
        exposure_rate=column("exposure_rate"),
    )


def volatility_scan_ranges(
    base: str,
    vol: Float64Array,
    factor: Int64Array,
    annual: Float64Array,
    vol_scale: Float64Array,
    rates: FactorRates,
) -> Float64Array:
    """Volatility scan range of options, in units of the quoted volatility, (n_options,).

    `base` implied: fraction * vol * vol_scale. `base` ewma: fraction of the annual volatility of
    the underlying, `annual` (n_factors,). Not below the floor.

    With 0.25 and a floor of 0.04: 0.06 on a volatility of 0.24, and 0.04 on 0.10.
    """
    measured = vol * vol_scale if base == "implied" else annual[factor]
    scanned = rates.volatility_scan[factor] * measured
    return np.asarray(np.maximum(scanned, rates.volatility_scan_floor[factor]))


def annual_volatility(market: MarketState, volatility: Float64Array) -> Float64Array:
    """Annualised relative volatility, (n_factors,): daily times the root of 252.

    Of absolute factors relative to |level|; NaN at a level of zero.
    """
    size = np.where(is_log(market), 1.0, np.abs(market.level))
    size = np.where(size > 0.0, size, np.nan)
    return np.asarray(volatility * math.sqrt(TRADING_DAYS) / size)
