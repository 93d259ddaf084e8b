"""Accounts of the model `close_out`: positions and posted collateral, and how fast each closes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Instruments
from engine.domain.failures import Failure, FailureReason
from engine.margin.close_out.config import CloseOutTerms, PostedAsset
from engine.margin.close_out.paths import days_to_close
from engine.margin.exposure import Exposures, take
from engine.pricing.greeks import factor_greeks
from engine.pricing.terms import check_terms


@dataclass(frozen=True)
class CloseOutBook:
    """What is closed.

    Attributes
    ----------
    exposures : Exposures
        With the posted assets appended to `instruments` and `usd`.
    rows : int64 array of shape (n_accounts,)
        Agreements, increasing.
    held : int64 array of shape (n_held,)
        Instruments held by any of them.
    quantity : sparse float64 array of shape (n_accounts, n_held)
        USD per unit P&L, netted over managers, posted assets included; no stored zeros.
    posted : sparse float64 array of shape (n_accounts, n_held)
        The posted part of it.
    days : int64 array of shape (n_entries,)
        Days to close each stored entry of `quantity`.
    failures : tuple of Failure
    """

    exposures: Exposures
    rows: Int64Array
    held: Int64Array
    quantity: csr_array
    posted: csr_array
    days: Int64Array
    failures: tuple[Failure, ...]

    def used_factors(self, account: int) -> Int64Array:
        """Return the factors on which an account depends, increasing."""
        some = self.exposures.instruments
        held = self.held[self.entries(account)[0]]
        factors = np.concatenate([some.factor[held], some.vol_factor[held]])
        return np.unique(factors[factors >= 0]).astype(np.int64)

    def entries(self, account: int) -> tuple[Int64Array, Int64Array]:
        """Return the columns that an account holds, and the days that each takes."""
        at = slice(self.quantity.indptr[account], self.quantity.indptr[account + 1])
        return self.quantity.indices[at].astype(np.int64), self.days[at]

    def horizon(self) -> Int64Array:
        """Return the days until each account is closed, at least 1, (n_accounts,)."""
        return np.array(
            [int(self.entries(a)[1].max(initial=1)) for a in range(len(self.rows))], dtype=np.int64
        )


def close_out_book(
    exposures: Exposures, rows: Int64Array, posted: tuple[PostedAsset, ...], terms: CloseOutTerms
) -> CloseOutBook:
    """Return the accounts of the agreements `rows`, and how fast their positions close.

    The size of an account in a factor is the sum of |delta| over its instruments, so that hedges
    on one factor close together; days as `close_out_paths.days_to_close`. A posted asset that
    cannot be valued is left out and named.
    """
    wide, failures, entries = _with_posted(exposures, rows, posted)
    n = (len(rows), len(wide.instruments))
    place = np.full(len(exposures.book.agreements), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    owner = place[wide.pair_agreement]
    mine = np.flatnonzero(owner >= 0)
    sums = csr_array(
        (np.ones(len(mine)), (owner[mine], np.arange(len(mine)))), shape=(n[0], len(mine))
    )
    collateral = csr_array((entries[2], (entries[0], entries[1])), shape=n)
    quantity = csr_array(sums @ wide.quantity_usd[mine] + collateral)
    quantity.eliminate_zeros()
    held = np.unique(quantity.indices).astype(np.int64)
    quantity = csr_array(quantity[:, held])
    quantity.sort_indices()
    days, thin = _days(wide, quantity, held, terms)
    return CloseOutBook(
        exposures=wide,
        rows=rows,
        held=held,
        quantity=quantity,
        posted=csr_array(collateral[:, held]),
        days=days,
        failures=(*failures, *thin),
    )


def _days(
    wide: Exposures, quantity: csr_array, held: Int64Array, terms: CloseOutTerms
) -> tuple[Int64Array, list[Failure]]:
    market, some = wide.market, take(wide.instruments, held)
    delta = factor_greeks(some, market).delta
    factor = some.factor[quantity.indices]
    owner = np.repeat(np.arange(quantity.shape[0]), np.diff(quantity.indptr))
    size = np.zeros((quantity.shape[0], len(market.factors)))
    np.add.at(size, (owner, factor), np.abs(quantity.data * delta[quantity.indices]))
    adv = market.factors.adv
    days = days_to_close(size[owner, factor], adv[factor], terms.participation, terms.horizon_days)
    thin = np.unique(factor[~(adv[factor] > 0.0)])
    failures = [
        Failure(
            FailureReason.MISSING_DATA,
            str(market.factors.factor_id[k]),
            "adv of the factor table",
            f"average daily volume is {adv[k]:g}; positions in this factor take all "
            f"{terms.horizon_days} days to close: give a volume above 0",
        )
        for k in thin.tolist()
    ]
    return days, failures


def _with_posted(
    exposures: Exposures, rows: Int64Array, posted: tuple[PostedAsset, ...]
) -> tuple[Exposures, list[Failure], tuple[Int64Array, Int64Array, Float64Array]]:
    """Append posted instruments; entries are (account, instrument, quantity in USD)."""
    book, market = exposures.book, exposures.market
    agreement = {str(n): a for a, n in enumerate(book.agreements.agreement_id)}
    instrument = {str(n): i for i, n in enumerate(book.instruments.instrument_id)}
    account = {int(a): i for i, a in enumerate(rows)}
    failures: list[Failure] = []
    kept: list[tuple[int, int, float]] = []
    for asset in posted:
        where = f"posted collateral of agreement {asset.agreement_id}"
        row = instrument.get(asset.instrument_id, -1)
        a = agreement.get(asset.agreement_id, -1)
        why = _problem(exposures, row, a)
        if why:
            failures.append(Failure(FailureReason.INVALID, asset.instrument_id, where, why))
        elif a in account:
            kept.append((account[a], row, asset.quantity))
    extra = take(book.instruments, np.array([row for _, row, _ in kept], dtype=np.int64))
    rate = market.usd_per(extra.currency)
    first = len(exposures.instruments)
    wide = replace(
        exposures,
        instruments=_joined(exposures.instruments, extra),
        usd=np.concatenate([exposures.usd, rate]),
    )
    columns = np.arange(first, first + len(kept), dtype=np.int64)
    amount = np.array([quantity for _, _, quantity in kept], dtype=np.float64) * rate
    accounts = np.array([i for i, _, _ in kept], dtype=np.int64)
    return wide, failures, (accounts, columns, amount)


def _problem(exposures: Exposures, row: int, agreement: int) -> str:
    """Return why an asset cannot be closed out; "" if it can."""
    if agreement < 0:
        return "the fund has no such agreement; correct agreement_id"
    if row < 0:
        return "the fund has no such instrument; add it to the instruments"
    asset = take(exposures.book.instruments, np.array([row]))
    if asset.currency[0] not in exposures.market.fx_usd:
        return f"no USD rate for its currency {asset.currency[0]}; add the currency pair's factor"
    try:
        check_terms(asset, exposures.market)
    except ValueError as error:
        return f"{error}; mend the row in the instruments file"
    return ""


def _joined(first: Instruments, second: Instruments) -> Instruments:
    return replace(
        first,
        **{name: np.concatenate([column, getattr(second, name)])
           for name, column in vars(first).items()},
    )  # fmt: skip
