"""Positions reduced to what the simulation needs: delta and gamma by agreement and factor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array, freeze
from engine.domain.book import Book, Instruments
from engine.domain.market import MarketState


@dataclass(frozen=True)
class Exposures:
    """USD sensitivities, shape (n_agreements, n_factors), factors as in the market.

    `value` (n_agreements,) is what the positions are worth to the fund, USD. `delta` is the P&L of
    a unit move (1.0 of log return, or one unit of an absolute factor); `gamma` the second
    derivative in the same move. The move of implied volatility is the log return of the volatility
    factor, so vega appears as delta on that factor.
    """

    delta: Float64Array
    gamma: Float64Array
    value: Float64Array

    def __post_init__(self) -> None:
        assert self.delta.shape == self.gamma.shape
        assert self.value.shape == self.delta.shape[:1]
        freeze(self.delta, self.gamma, self.value)


def subset(instruments: Instruments, keep: Int64Array) -> Instruments:
    """Return the rows `keep` of an instrument table."""
    columns = {name: getattr(instruments, name)[keep] for name in instruments.__dataclass_fields__}
    return replace(instruments, **columns)


def aggregate(book: Book, market: MarketState) -> Exposures:
    """Sum position sensitivities by agreement and factor.

    Positions on instruments whose factor the market lacks are left out; the margin engine reports
    each of them as a failure.
    """
    from engine.pricing.greeks import factor_greeks
    from engine.pricing.value import value_per_unit

    shape = (len(book.agreements), len(market.factors))
    delta, gamma, value = np.zeros(shape), np.zeros(shape), np.zeros(shape[0])
    known = np.nonzero(book.instruments.factor >= 0)[0]
    if not len(known) or not len(book.positions):
        return Exposures(delta, gamma, value)
    instruments = subset(book.instruments, known)
    greeks = factor_greeks(instruments, market)
    usd = market.usd_per(instruments.currency)
    row = np.full(len(book.instruments), -1)
    row[known] = np.arange(len(known))
    of_position = row[book.positions.instrument]
    held = of_position >= 0
    i = of_position[held]
    agreement = book.positions.agreement[held]
    quantity = book.positions.quantity[held] * usd[i]
    np.add.at(delta, (agreement, instruments.factor[i]), quantity * greeks.delta[i])
    np.add.at(gamma, (agreement, instruments.factor[i]), quantity * greeks.gamma[i])
    np.add.at(value, agreement, quantity * value_per_unit(instruments, market)[i])
    moved = instruments.vol_factor[i] >= 0
    vega = greeks.vega[i] * np.nan_to_num(instruments.vol[i])
    np.add.at(
        delta,
        (agreement[moved], instruments.vol_factor[i][moved]),
        (quantity * vega)[moved],
    )
    return Exposures(delta, gamma, value)
