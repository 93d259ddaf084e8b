"""Who holds what: exposures of every manager under every agreement.

Exposures are linear in positions, so these rows sum to those of `engine.avalanche.exposures`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array, StrArray, freeze
from engine.domain.book import Book
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.margin.exposure import net_positions
from engine.pricing.greeks import factor_greeks
from engine.pricing.value import value_per_unit


@dataclass(frozen=True)
class Holders:
    """One row for each pair of a manager and an agreement.

    Attributes
    ----------
    row : int64 array of shape (n_pairs,)
        Row of the agreement in the simulation's model.
    manager : int64 array of shape (n_pairs,)
        Row of `manager_id`.
    manager_id : object array of str, shape (n_managers,)
    delta, gamma : float64 arrays of shape (n_pairs, K)
        Cents per unit move, and its second derivative; factors as in the model.
    value, variation, margin : float64 arrays of shape (n_pairs,)
        Worth of the positions, variation margin called today, and initial margin with add-ons, in
        cents. Margin may be negative: a hedge.
    """

    row: Int64Array
    manager: Int64Array
    manager_id: StrArray
    delta: Float64Array
    gamma: Float64Array
    value: Float64Array
    variation: Float64Array
    margin: Float64Array

    def __post_init__(self) -> None:
        assert self.delta.shape == self.gamma.shape
        assert len(self.row) == len(self.delta) == len(self.margin)
        freeze(self.row, self.manager, self.delta, self.gamma, self.value)
        freeze(self.variation, self.margin)


def fund_holders(
    book: Book, market: MarketState, margin: MarginResult, columns: Int64Array
) -> Holders:
    """Return the holders of a fund; `columns` are the market's columns of the model's factors.

    Positions that cannot be priced are left out, as in the simulation.
    """
    netted = net_positions(book, market)
    instruments, pair = netted.instruments, netted.position_pair
    i = netted.position_instrument
    greeks = factor_greeks(instruments, market)
    quantity = book.positions.quantity[netted.position] * netted.usd[i] * CENTS_PER_UNIT
    shape = (len(netted.pair_agreement), len(market.factors))
    delta, gamma, value = np.zeros(shape), np.zeros(shape), np.zeros(shape[0])
    np.add.at(delta, (pair, instruments.factor[i]), quantity * greeks.delta[i])
    np.add.at(gamma, (pair, instruments.factor[i]), quantity * greeks.gamma[i])
    np.add.at(value, pair, quantity * value_per_unit(instruments, market)[i])
    moved = instruments.vol_factor[i] >= 0
    vega = quantity * greeks.vega[i] * np.nan_to_num(instruments.vol[i])
    np.add.at(delta, (pair[moved], instruments.vol_factor[i][moved]), vega[moved])
    place = {str(name): r for r, name in enumerate(margin.agreement_id)}
    names = book.agreements.agreement_id[netted.pair_agreement]
    row = np.array([place.get(str(name), -1) for name in names], dtype=np.int64)
    kept = row >= 0
    manager_id = book.managers.manager_id
    owner = netted.pair_manager[kept]
    return Holders(
        row[kept],
        owner,
        manager_id,
        delta[kept][:, columns],
        gamma[kept][:, columns],
        value[kept],
        *_today(margin, names[kept], manager_id[owner]),
    )


def _today(
    margin: MarginResult, agreement: StrArray, manager: StrArray
) -> tuple[Float64Array, Float64Array]:
    """Variation margin and initial margin with add-ons of each pair, cents; (n_pairs,) each."""
    shares = margin.shares
    if "agreement_id" not in shares:
        raise InputError(
            "the margin has no shares by manager; compute it with calculate_margin_requirements"
        )
    named = [str(a) for a in shares["agreement_id"]], [str(m) for m in shares["manager_id"]]
    place = {pair: n for n, pair in enumerate(zip(*named, strict=True))}
    found = [place.get((str(a), str(m)), -1) for a, m in zip(agreement, manager, strict=True)]
    at = np.array(found, dtype=np.int64)
    total = np.asarray(shares["im_usd"], dtype=np.float64).copy()
    for name, amounts in shares.items():
        if name.startswith("add_on_"):
            total += np.asarray(amounts, dtype=np.float64)
    variation = np.asarray(shares["vm_usd"], dtype=np.float64)
    columns = [np.where(at >= 0, np.append(c, 0.0)[at], 0.0) for c in (variation, total)]
    return columns[0] * CENTS_PER_UNIT, columns[1] * CENTS_PER_UNIT
