"""Parts of the margin of every book of one class of agreements, at one volatility scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.margin.exposure import Exposures, take
from engine.margin.span.arrays import DeltaPoints, ScenarioGrid
from engine.margin.span.commodity import price_risk, scan_risk
from engine.margin.span.holdings import Holdings, by_period, charged_exposure, short_options
from engine.margin.span.rulebook import VenueRule
from engine.margin.span.scan_ranges import (
    DailyVolatility,
    FactorRates,
    annual_volatility,
    capped_scale,
    price_scan_ranges,
    volatility_scan_ranges,
)
from engine.margin.span.spreads import Leg, Spread, inter_month_charge
from engine.margin.span.units import UnitRisk, option_risk, option_units, other_risk
from engine.pricing.terms import DAYS_PER_YEAR
from engine.pricing.value import value_per_unit

FUTURES = ("future", "rate_future")


@dataclass(frozen=True)
class BookRisk:
    """Books in USD, arrays of shape (n_books,), and their cells, (n_cells,).

    `scanned_delta` is net delta times price scan range. `cell_losses` (n_cells, n_scenarios).
    """

    agreement: Int64Array
    factor: Int64Array
    scan: Float64Array
    active: Int64Array
    price_risk: Float64Array
    scanned_delta: Float64Array
    inter_month: Float64Array
    delivery: Float64Array
    short_minimum: Float64Array
    option_value: Float64Array
    exposure: Float64Array
    cell_pair: Int64Array
    cell_book: Int64Array
    cell_losses: Float64Array
    cell_option_value: Float64Array
    cell_exposure: Float64Array


def join(parts: Sequence[BookRisk]) -> BookRisk:
    """Put the books of all classes in one, cells pointing to their book's new row."""
    columns: dict[str, np.ndarray] = {}
    starts = np.cumsum([0, *(len(part.agreement) for part in parts)])
    for field in fields(BookRisk):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "cell_book":
            values = [value + start for value, start in zip(values, starts, strict=False)]
        columns[field.name] = np.concatenate(values)
    return BookRisk(**columns)


@dataclass(frozen=True)
class Scanner:
    """Everything one class of agreements needs to be scanned at any volatility scale."""

    exposures: Exposures
    holdings: Holdings
    rates: FactorRates
    product_class: StrArray
    volatility: DailyVolatility
    multiple: float
    rule: VenueRule
    grid: ScenarioGrid
    points: DeltaPoints
    look_ahead_days: int
    period_bounds_days: tuple[int, ...]
    delivery_days: int
    premium_style: bool
    cap: bool

    def risk(self, scale: Float64Array) -> BookRisk:
        """Return the books' risk; `scale` (n_agreements,) may differ between agreements."""
        own = scale[self.holdings.agreements]
        values = np.unique(own)
        out = self.at(float(values[0]))
        for value in values[1:].tolist():
            other = self.at(value)
            books = scale[self.holdings.book_agreement] == value
            cells = books[self.holdings.cell_book]
            for field in fields(BookRisk):
                rows = cells if field.name.startswith("cell_") else books
                getattr(out, field.name)[rows] = getattr(other, field.name)[rows]
        return out

    def at(self, scale: float) -> BookRisk:
        """Return the books' risk with every agreement at the same scale."""
        held, rates = self.holdings, self.rates
        market = self.exposures.market
        factor = held.book_factor
        scales = capped_scale(scale, self.volatility, market.factors.asset_class, self.cap)
        ranges = price_scan_ranges(market, self.volatility.today * scales, self.multiple, rates)
        option_ranges = self._option_ranges(ranges)
        unit = self._units(ranges, option_ranges, scales)
        losses = np.asarray(held.books @ unit.losses)
        scan, active = scan_risk(losses)
        periods = by_period(held.books, unit.delta, self._period, len(self.period_bounds_days) + 2)
        charge, _ = inter_month_charge(periods, self._calendar(ranges))
        deliver = held.books @ np.where(self._in_delivery, unit.delta, 0.0)
        minimum = np.zeros(len(held.instruments))
        minimum[self._option] = option_ranges * np.abs(self._multiplier[self._option])
        minimum *= rates.short_option_minimum[self._factor]
        return BookRisk(
            agreement=held.book_agreement.copy(),
            factor=factor.copy(),
            scan=scan,
            active=active,
            price_risk=price_risk(losses, active, self.grid),
            scanned_delta=periods.sum(axis=1) * ranges[factor],
            inter_month=charge,
            delivery=np.abs(deliver) * (rates.delivery_rate * ranges)[factor],
            short_minimum=np.asarray(short_options(held.books, self._option) @ minimum),
            option_value=np.asarray(held.books @ self._value),
            exposure=np.asarray(charged_exposure(held.books, self._option) @ self._contract),
            cell_pair=held.cell_pair.copy(),
            cell_book=held.cell_book.copy(),
            cell_losses=np.asarray(held.cells @ unit.losses),
            cell_option_value=np.asarray(held.cells @ self._value),
            cell_exposure=np.asarray(charged_exposure(held.cells, self._option) @ self._contract),
        )

    def _units(
        self, ranges: Float64Array, option_ranges: Float64Array, scales: Float64Array
    ) -> UnitRisk:
        exposures, held, n = self.exposures, self.holdings, len(self.holdings.instruments)
        losses, delta = np.full((n, len(self.grid)), np.nan), np.full(n, np.nan)
        other = np.flatnonzero(~self._option)
        if len(other):
            part = other_risk(
                exposures, held.instruments[other], ranges, self.grid, self.points
            )  # fmt: skip
            losses[other], delta[other] = part.losses, part.delta
        at = np.flatnonzero(self._option)
        if len(at):
            options = take(exposures.instruments, held.instruments[at])
            follows = options.vol_factor >= 0
            own = np.where(follows, scales[np.where(follows, options.vol_factor, 0)], 1.0)
            vol_ranges = volatility_scan_ranges(
                self.rule.volatility_scan_base,
                options.vol,
                options.factor,
                annual_volatility(exposures.market, self.volatility.today * scales),
                own,
                self.rates,
            )
            inputs = option_units(options, exposures.market, option_ranges, vol_ranges)
            look_ahead = self.look_ahead_days / DAYS_PER_YEAR
            part = option_risk(inputs, self.grid, self.points, look_ahead)
            losses[at], delta[at] = part.losses, part.delta
        return UnitRisk(losses, delta)

    def _option_ranges(self, ranges: Float64Array) -> Float64Array:
        """Price scan range of each option held: the factor's, or the floor of long-dated ones."""
        factor = self._factor[self._option]
        out = ranges[factor]
        long = self.rule.long_dated
        if long is not None:
            late = self._days[self._option] > long.days
            late &= self.product_class[factor] == long.class_
            floor = long.floor * np.abs(self.exposures.market.level[factor])
            out = np.where(late, np.maximum(out, floor), out)
        return np.asarray(out)

    def _calendar(self, ranges: Float64Array) -> list[Spread]:
        """Spreads between periods, nearest neighbours first, at the commodity's rate."""
        rates = self.rates
        rate = rates.calendar_of_scan * ranges
        rate = rate + rates.calendar_of_price * np.abs(self.exposures.market.level)
        by_book = rate[self.holdings.book_factor]
        n = len(self.period_bounds_days) + 2
        pairs = sorted((far - near, near, far) for far in range(n) for near in range(far))
        return [
            Spread(order, (Leg((near,), 1), Leg((far,), -1)), by_book)
            for order, (_, near, far) in enumerate(pairs)
        ]

    @cached_property
    def _factor(self) -> Int64Array:
        return self.exposures.instruments.factor[self.holdings.instruments]

    @cached_property
    def _multiplier(self) -> Float64Array:
        return self.exposures.instruments.multiplier[self.holdings.instruments]

    @cached_property
    def _option(self) -> BoolArray:
        kind = self.exposures.instruments.kind[self.holdings.instruments]
        return np.asarray(kind == "option", dtype=np.bool_)

    @cached_property
    def _days(self) -> Float64Array:
        """Days to expiry, NaN without one."""
        expiry = self.exposures.instruments.expiry[self.holdings.instruments]
        days = expiry.astype("datetime64[D]") - np.datetime64(self.exposures.market.as_of, "D")
        return np.where(np.isnat(expiry), np.nan, days.astype(np.float64))

    @cached_property
    def _period(self) -> Int64Array:
        """Contract period: 0 without an expiry, then 1 up to the first bound, and so on."""
        bounds = np.array(self.period_bounds_days, dtype=np.float64)
        dated = np.searchsorted(bounds, np.nan_to_num(self._days), side="left") + 1
        return np.where(np.isnan(self._days), 0, dated).astype(np.int64)

    @cached_property
    def _in_delivery(self) -> BoolArray:
        kind = self.exposures.instruments.kind[self.holdings.instruments]
        return np.asarray(np.isin(kind, FUTURES) & (self._days <= self.delivery_days))

    @cached_property
    def _value(self) -> Float64Array:
        """Value of one option; 0 for anything else, and for options settled daily."""
        value = np.zeros(len(self.holdings.instruments))
        if self.premium_style:
            rows = np.flatnonzero(self._option)
            some = take(self.exposures.instruments, self.holdings.instruments[rows])
            value[rows] = value_per_unit(some, self.exposures.market)
        return value

    @cached_property
    def _contract(self) -> Float64Array:
        """Exposure margin of one unit: rate times the price of what is delivered."""
        level = np.abs(self.exposures.market.level[self._factor])
        return self.rates.exposure_rate[self._factor] * level * np.abs(self._multiplier)
