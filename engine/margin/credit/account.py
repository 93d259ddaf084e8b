"""One account of the model `cds`: what it holds, and the charges that stress does not change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Instruments
from engine.margin.credit.config import CdsConfig
from engine.margin.credit.costs import (
    bid_offer_charge,
    rate_losses,
    spread_value_of_bp,
    worst_direction,
)
from engine.margin.credit.default import DefaultCharge, DefaultTable, default_charge
from engine.margin.credit.rates import RateShock, RateShocks
from engine.margin.credit.rules import CreditRules
from engine.margin.exposure import Exposures, take
from engine.margin.family import pairs_of

Charge = tuple[float, Float64Array]
Terms = tuple[float, int, int]


@dataclass(frozen=True)
class Account:
    """One agreement, in rows of `Exposures`.

    Attributes
    ----------
    row : int
        Agreement.
    pairs, held : int64 arrays
        Its pairs and its instruments, increasing.
    quantity : sparse float64 array of shape (n_pairs, n_held)
        Times P&L of one unit gives USD.
    rates : dict of currency to RateShock
    jump, wrong_way, bid_offer : charge in USD and the pairs' shares, which sum to it
    basis : dict
        What the charges rest on.
    """

    row: int
    pairs: Int64Array
    held: Int64Array
    quantity: csr_array
    rates: dict[str, RateShock]
    jump: Charge
    wrong_way: Charge
    bid_offer: Charge
    basis: dict[str, Any]


def agreement_terms(exposures: Exposures, a: int) -> Terms:
    """Return (ewma_lambda, mpor_days, lookback_days) of an agreement."""
    agreements = exposures.book.agreements
    return (
        float(agreements.ewma_lambda[a]),
        int(agreements.mpor_days[a]),
        int(agreements.lookback_days[a]),
    )


def held_by(exposures: Exposures, pairs: Int64Array) -> Int64Array:
    """Return the instruments that the pairs hold, increasing."""
    return np.unique(exposures.quantity_usd[pairs].indices).astype(np.int64)


def account_of(
    exposures: Exposures,
    a: int,
    table: DefaultTable,
    rates: RateShocks,
    rules: CreditRules,
    own: CdsConfig,
) -> Account:
    """Return the account of agreement `a`; rows of `table` are those of `exposures.instruments`."""
    pairs = pairs_of(exposures, np.array([a]))
    held = held_by(exposures, pairs)
    quantity = exposures.quantity_usd[pairs][:, held]
    some = take(exposures.instruments, held)
    charge = default_charge(
        (quantity @ table.least[held]).toarray(),
        (quantity @ table.most[held]).toarray(),
        _correlated(exposures, a, table, rules, own),
        rules.defaults,
    )
    swaps = np.flatnonzero(some.kind == "cds")
    terms = agreement_terms(exposures, a)
    confidence = float(exposures.book.agreements.confidence[a])
    shocks = {
        str(currency): rates.shock(str(currency), terms, confidence)
        for currency in sorted(set(some.currency[swaps]))
    }
    basis = {
        "scenario_kind": own.scenarios,
        "measure": own.measure,
        "spread_moves": own.spread_moves,
        "horizon_days": terms[1],
        "defaults": _named(table, charge),
        "wrong_way": [str(table.name[j]) for j in charge.correlated],
        "rate_shock_bp": {c: {"from": s.source, "bp": 100.0 * s.shock} for c, s in shocks.items()},
        "index_offset": rules.index_offset,
        "rulebook": f"credit:{rules.version}",
        "marks": dict(rules.marks),
    }
    return Account(
        row=a,
        pairs=pairs,
        held=held,
        quantity=quantity,
        rates=shocks,
        jump=(charge.jump, charge.jump_shares),
        wrong_way=(charge.wrong_way, charge.wrong_way_shares),
        bid_offer=_bid_offer(exposures, take(some, swaps), quantity[:, swaps], rules),
        basis=basis,
    )


def rate_charge(exposures: Exposures, account: Account, scale: float) -> Charge:
    """Return the sum over currencies of the worse direction of the discount rate, and shares.

    Shocks are times `scale`. Directions of different currencies are chosen apart.
    """
    total, shares = 0.0, np.zeros(len(account.pairs))
    some = take(exposures.instruments, account.held)
    for currency, shock in account.rates.items():
        keep = np.flatnonzero((some.kind == "cds") & (some.currency == currency))
        rate, move = np.full(len(keep), shock.rate), np.full(len(keep), scale * shock.shock)
        loss = rate_losses(take(some, keep), exposures.market, rate, move)
        charge, part = worst_direction(np.asarray(account.quantity[:, keep] @ loss))
        total, shares = total + charge, shares + part
    return total, shares


def _correlated(
    exposures: Exposures, a: int, table: DefaultTable, rules: CreditRules, own: CdsConfig
) -> Float64Array:
    """Share of each name's loss that is charged as wrong way for an agreement, (n_names,)."""
    agreements = exposures.book.agreements
    entities = {str(agreements.counterparty[a]), str(agreements.broker[a])} - {""}
    shares = dict.fromkeys(entities, rules.self_reference_share)
    for wrong in own.wrong_way:
        if wrong.entity in entities:
            shares[wrong.factor_id] = max(wrong.share, shares.get(wrong.factor_id, 0.0))
    return np.array([shares.get(str(name), 0.0) for name in table.name])


def _bid_offer(
    exposures: Exposures, swaps: Instruments, quantity: csr_array, rules: CreditRules
) -> Charge:
    """Return the sum over reference names and indices of half the bid-offer, and shares."""
    market = exposures.market
    value = spread_value_of_bp(swaps, market)
    total, shares = 0.0, np.zeros(quantity.shape[0])
    for name in sorted(set(swaps.factor_id)):
        keep = np.flatnonzero(swaps.factor_id == name)
        level = float(market.level[swaps.factor[keep[0]]])
        by_pair = np.asarray(quantity[:, keep] @ value[keep])
        cost, part = bid_offer_charge(by_pair, level, rules.name_class(str(name)).bands)
        total, shares = total + cost, shares + part
    return total, shares


def _named(table: DefaultTable, charge: DefaultCharge) -> list[dict[str, Any]]:
    return [
        {"name": str(table.name[j]), "recovery": float(table.recovery[j, int(most)])}
        for j, most in zip(charge.names, charge.at_most, strict=True)
    ]
