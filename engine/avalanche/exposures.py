"""Positions reduced to what the simulation needs: delta and gamma by agreement and factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array, freeze
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.margin.exposure import net_positions
from engine.pricing.greeks import factor_greeks
from engine.pricing.value import value_per_unit


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


def aggregate(book: Book, market: MarketState) -> Exposures:
    """Sum position sensitivities by agreement and factor.

    Positions that cannot be priced are left out; the margin engine, which uses the same selection,
    reports each of them as a failure.
    """
    netted = net_positions(book, market)
    instruments = netted.instruments
    shape = (len(book.agreements), len(market.factors))
    delta, gamma, value = np.zeros(shape), np.zeros(shape), np.zeros(shape[0])
    greeks = factor_greeks(instruments, market)
    i = netted.position_instrument
    agreement = netted.pair_agreement[netted.position_pair]
    quantity = book.positions.quantity[netted.position] * netted.usd[i]
    factor = (agreement, instruments.factor[i])
    np.add.at(delta, factor, quantity * greeks.delta[i])
    np.add.at(gamma, factor, quantity * greeks.gamma[i])
    np.add.at(value, agreement, quantity * value_per_unit(instruments, market)[i])
    moved = instruments.vol_factor[i] >= 0
    vega = greeks.vega[i] * np.nan_to_num(instruments.vol[i])
    volatility = (agreement[moved], instruments.vol_factor[i][moved])
    np.add.at(delta, volatility, (quantity * vega)[moved])
    return Exposures(delta, gamma, value)
