"""Charges for single events: default of a name, wrong-way names, delivery. By manager and column.

A column is a single name (default, wrong-way) or a factor (delivery).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.failures import Failure, FailureReason
from engine.margin.add_ons.default import default_log_move, default_move
from engine.margin.add_ons.delivery import delivery_charge
from engine.margin.add_ons.inputs import account_terms, factor_terms, grouped, without_models
from engine.margin.exposure import Exposures, unit_pnl
from engine.pricing.value import value_per_unit
from engine.rulebooks.add_on_terms import AddOnTerms

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig

# The model of a CDS account has jump-to-default and wrong-way parts of its own, a scan has a
# charge for the delivery month: charged here as well they would count twice.
MODELS_WITH_DEFAULT = ("cds",)
MODELS_WITH_DELIVERY = ("span",)


@dataclass(frozen=True)
class NameLosses:
    """Loss of each pair if a single name defaults, and who is charged for it.

    `pair` has shape (n_pairs, n_names), positive is a loss, USD; `names` (n_names,) are factor
    columns and `weight` (n_names,) the share of a name's loss that jump-to-default charges.
    `worst_names` (n_agreements,) is how many names default together in the charge, 0 where it does
    not apply; `wrong_way` (n_agreements, n_names) the share of the loss charged as wrong-way risk.
    """

    names: Int64Array
    pair: Float64Array
    weight: Float64Array
    worst_names: Int64Array
    wrong_way: Float64Array
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Deliveries:
    """Charge for positions near delivery: (n_agreements, n_factors), and weights by pair."""

    charge: Float64Array
    pair_weight: Float64Array


def name_losses(exposures: Exposures, config: MarginConfig) -> NameLosses:
    """Revalue every instrument on a single name at the name's default.

    Equity: the price falls by the loss given default and options are revalued in full. Credit: a
    CDS pays the loss given default of its notional, less what it is worth; a bond loses that share
    of its value; other instruments on a credit name are named in the failures.
    """
    market = exposures.market
    own = config.add_ons
    held = np.unique(exposures.instruments.factor)
    known = {
        int(k): terms.numbers
        for k in held
        if k >= 0 and (terms := factor_terms(market, int(k), "jump_to_default")) is not None
    }
    names = np.array(sorted(known), dtype=np.int64)
    lgd = np.array([known[int(k)]["loss_given_default"] for k in names])
    weight = np.array([known[int(k)]["default_weight"] for k in names])
    unit, failures = _default_pnl(exposures, names, lgd)
    rows = np.flatnonzero(np.isin(exposures.instruments.factor, names))
    column = np.searchsorted(names, exposures.instruments.factor[rows])
    to_name = np.zeros((len(rows), len(names)))
    to_name[np.arange(len(rows)), column] = -unit
    pair = np.asarray(exposures.quantity_usd[:, rows] @ to_name)
    agreements = exposures.book.agreements
    worst = np.zeros(len(agreements), dtype=np.int64)
    if own.jump_to_default:
        for terms, members in _charged(exposures, "jump_to_default", MODELS_WITH_DEFAULT).items():
            worst[members] = int(terms.numbers["names"])
    share = np.zeros((len(worst), len(names)))
    if own.wrong_way:
        share = _wrong_way_shares(exposures, names)
    charged = own.jump_to_default or own.wrong_way
    return NameLosses(names, pair, weight, worst, share, failures if charged else ())


def deliveries(exposures: Exposures, config: MarginConfig) -> Deliveries:
    """Charge futures on physically delivered factors that are near their expiry.

    Positions of one agreement, factor and expiry are netted; different expiries are not.
    """
    book, market, instruments = exposures.book, exposures.market, exposures.instruments
    own = config.add_ons
    n_factors = len(market.factors)
    charge = np.zeros((len(book.agreements), n_factors))
    weight = np.zeros((len(exposures.pair_agreement), n_factors))
    rows = np.flatnonzero((instruments.kind == "future") & ~np.isnat(instruments.expiry))
    physical = np.array(
        [factor_terms(market, int(k), "delivery") is not None for k in instruments.factor[rows]],
        dtype=np.bool_,
    )
    rows = rows[physical]
    if not own.delivery or len(rows) == 0:
        return Deliveries(charge, weight)
    days = np.busday_count(np.datetime64(book.as_of, "D"), instruments.expiry[rows])
    value = value_per_unit(instruments, market)[rows]
    for terms, members in _charged(exposures, "delivery", MODELS_WITH_DELIVERY).items():
        chosen = np.isin(exposures.pair_agreement, members)
        rate, window = terms.numbers["rate"], terms.numbers["days"]
        for factor, expiry in _contracts(exposures, rows, days <= window):
            at = (instruments.factor[rows] == factor) & (instruments.expiry[rows] == expiry)
            pair = np.asarray(exposures.quantity_usd[:, rows[at]] @ value[at]) * chosen
            net = np.bincount(exposures.pair_agreement, weights=pair, minlength=len(charge))
            left = float(days[np.argmax(at)])
            charge[:, factor] += delivery_charge(net, left, rate, window)
            weight[:, factor] += delivery_charge(pair, left, rate, window)
    return Deliveries(charge, weight)


def _charged(
    exposures: Exposures, add_on: str, models: tuple[str, ...]
) -> dict[AddOnTerms, Int64Array]:
    """Rows of each different terms of an add-on, without accounts whose model has such a part."""
    return grouped(without_models(account_terms(exposures, add_on), exposures, models))


def _contracts(
    exposures: Exposures, rows: Int64Array, near: BoolArray
) -> list[tuple[int, np.datetime64]]:
    terms = exposures.instruments
    both = zip(terms.factor[rows][near].tolist(), terms.expiry[rows][near], strict=True)
    return sorted(set(both))


def _default_pnl(
    exposures: Exposures, names: Int64Array, lgd: Float64Array
) -> tuple[Float64Array, tuple[Failure, ...]]:
    """P&L of one unit of each instrument on a name when it defaults, instrument currency."""
    market, instruments = exposures.market, exposures.instruments
    rows = np.flatnonzero(np.isin(instruments.factor, names)).astype(np.int64)
    column = np.searchsorted(names, instruments.factor[rows])
    credit = market.factors.asset_class[names][column] == "credit"
    out = np.zeros(len(rows))
    failures: list[Failure] = []
    equity = np.flatnonzero(~credit)
    if len(equity):
        moves = np.zeros((len(names), len(market.factors)))
        log = market.factors.return_type[names] == "log"
        fall = np.where(log, default_log_move(lgd), default_move(lgd, market.level[names]))
        moves[np.arange(len(names)), names] = np.where(
            market.factors.asset_class[names] == "credit", 0.0, fall
        )
        pnl = unit_pnl(exposures, rows[equity], moves)
        out[equity] = pnl[np.arange(len(equity)), column[equity]]
    if credit.any():
        value = value_per_unit(instruments, market)
        for i in np.flatnonzero(credit).tolist():
            row, loss = int(rows[i]), float(lgd[column[i]])
            kind = str(instruments.kind[row])
            if kind == "cds":
                out[i] = loss * instruments.multiplier[row] - value[row]
            elif kind == "bond":
                out[i] = -loss * value[row]
            else:
                failures.append(_no_default(exposures, row, kind))
    bad = ~np.isfinite(out)
    failures += [_no_default(exposures, int(rows[i]), "this") for i in np.flatnonzero(bad)]
    return np.where(bad, 0.0, out), tuple(failures)


def _no_default(exposures: Exposures, row: int, kind: str) -> Failure:
    name = str(exposures.instruments.instrument_id[row])
    return Failure(
        FailureReason.UNSUPPORTED,
        name,
        f"instrument on factor {exposures.instruments.factor_id[row]}",
        f"no value in default is known for {kind} on this name; it adds nothing to the "
        "jump-to-default and wrong-way add-ons: book it on an equity factor, or as cds or bond",
    )


def _wrong_way_shares(exposures: Exposures, names: Int64Array) -> Float64Array:
    """Share of each name's loss charged to each account: self-referencing or correlated names."""
    agreements, market = exposures.book.agreements, exposures.market
    share = np.zeros((len(agreements), len(names)))
    issuers = {
        column: tuple(text.casefold() for text in terms.texts["issuer_names"])
        for column, k in enumerate(names)
        if (terms := factor_terms(market, int(k), "wrong_way")) is not None
    }
    for terms, members in _charged(exposures, "wrong_way", MODELS_WITH_DEFAULT).items():
        for a in members.tolist():
            parties = f"{agreements.counterparty[a]} {agreements.broker[a]}".casefold()
            for column, texts in issuers.items():
                itself = any(text in parties for text in texts)
                key = "self_share" if itself else "correlated_share"
                share[a, column] = terms.numbers[key]
    return share
