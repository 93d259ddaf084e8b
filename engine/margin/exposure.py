"""Positions of the book ready for margining: priceable, netted by agreement and manager, in USD."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.book import Book, Instruments
from engine.domain.failures import Failure, FailureReason
from engine.domain.market import MarketState
from engine.pricing.scenarios import scenario_pnl
from engine.pricing.terms import check_terms

MOST_SHOWN = 5


@dataclass(frozen=True)
class Exposures:
    """What is margined, and what could not be.

    A pair is one manager under one agreement; pairs are sorted by agreement. Positions of one
    pair in one instrument are netted in `quantity_usd`.

    Attributes
    ----------
    book, market
        Inputs.
    instruments : Instruments
        Priceable instruments that are held, n_instruments rows.
    position : int64 array of shape (n_kept,)
        Rows of `book.positions` that are margined.
    position_pair, position_instrument : int64 arrays of shape (n_kept,)
        Pair and row of `instruments` of each.
    usd : float64 array of shape (n_instruments,)
        USD per unit of the instrument's currency.
    pair_agreement, pair_manager : int64 arrays of shape (n_pairs,)
    failed : bool array of shape (n_agreements,)
        Agreements that cannot be margined at all.
    failures : tuple of Failure
    """

    book: Book
    market: MarketState
    instruments: Instruments
    position: Int64Array
    position_pair: Int64Array
    position_instrument: Int64Array
    usd: Float64Array
    pair_agreement: Int64Array
    pair_manager: Int64Array
    failed: BoolArray
    failures: tuple[Failure, ...]

    @cached_property
    def quantity_usd(self) -> csr_array:
        """Quantity times USD rate, sparse (n_pairs, n_instruments): times P&L gives USD."""
        quantity = self.book.positions.quantity[self.position]
        data = quantity * self.usd[self.position_instrument]
        shape = (len(self.pair_agreement), len(self.instruments))
        return csr_array((data, (self.position_pair, self.position_instrument)), shape=shape)

    @cached_property
    def agreement_factor(self) -> BoolArray:
        """Whether an agreement depends on a factor, (n_agreements, n_factors)."""
        uses = np.zeros((len(self.book.agreements), len(self.market.factors)), dtype=np.bool_)
        agreement = self.pair_agreement[self.position_pair]
        for factor in (self.instruments.factor, self.instruments.vol_factor):
            column = factor[self.position_instrument]
            uses[agreement[column >= 0], column[column >= 0]] = True
        return uses


def net_positions(book: Book, market: MarketState) -> Exposures:
    """Group positions by agreement and manager, setting aside what cannot be priced.

    An instrument that cannot be priced, or has no USD rate, gives a `Failure` and its positions
    are left out of the margin of their agreements, which the failure names. An agreement whose
    positions are all left out, or whose currency has no USD rate, is failed as a whole.
    """
    positions, agreements = book.positions, book.agreements
    held, at = np.unique(positions.instrument, return_inverse=True)
    instruments = take(book.instruments, held)
    reasons = _unpriceable(instruments, market)
    failures = [
        _instrument_failure(book, instruments, row, reason, at == row)
        for row, reason in sorted(reasons.items())
    ]
    failures += _held_volatility(instruments)
    good = np.ones(len(held), dtype=np.bool_)
    good[list(reasons)] = False
    kept = np.flatnonzero(good[at])
    new_row = np.cumsum(good) - 1
    key = positions.agreement[kept] * len(book.managers.manager_id) + positions.manager[kept]
    pairs, pair = np.unique(key, return_inverse=True)
    failed = np.zeros(len(agreements), dtype=np.bool_)
    counts = np.bincount(positions.agreement, minlength=len(agreements))
    left = np.bincount(positions.agreement[kept], minlength=len(agreements))
    for a in np.flatnonzero((counts > 0) & (left == 0)).tolist():
        failed[a] = True
        failures.append(
            agreement_failure(book, int(a), FailureReason.MISSING_DATA,
                              f"none of its {counts[a]} positions can be priced; mend the "
                              "instruments listed as failures")
        )  # fmt: skip
    for a, currency in enumerate(agreements.currency):
        if currency not in market.fx_usd:
            failed[a] = True
            message = f"no USD rate for its currency {currency}; add the currency pair's factor"
            failures.append(agreement_failure(book, a, FailureReason.CURRENCY_CONVERSION, message))
    instruments = take(instruments, np.flatnonzero(good))
    return Exposures(
        book=book,
        market=market,
        instruments=instruments,
        position=kept,
        position_pair=pair.astype(np.int64),
        position_instrument=new_row[at[kept]].astype(np.int64),
        usd=market.usd_per(instruments.currency),
        pair_agreement=(pairs // max(1, len(book.managers.manager_id))).astype(np.int64),
        pair_manager=(pairs % max(1, len(book.managers.manager_id))).astype(np.int64),
        failed=failed,
        failures=tuple(failures),
    )


def take(instruments: Instruments, rows: Int64Array) -> Instruments:
    """Return the given rows of the instruments."""
    return replace(instruments, **{name: col[rows] for name, col in vars(instruments).items()})


def agreement_failure(book: Book, row: int, reason: FailureReason, message: str) -> Failure:
    """Return the failure of one agreement as a whole."""
    name = str(book.agreements.agreement_id[row])
    return Failure(reason, name, f"agreement {name}", message)


def unit_pnl(exposures: Exposures, rows: Int64Array, moves: Float64Array) -> Float64Array:
    """P&L of one unit of `instruments[rows]`, shape (len(rows), n_scenarios).

    A move that cannot be revalued (a yield below -100 %) gives NaN in the rows concerned.
    """
    some = take(exposures.instruments, rows)
    try:
        return scenario_pnl(some, exposures.market, moves)
    except ValueError:
        out = np.full((len(rows), len(moves)), np.nan)
        for i in range(len(rows)):
            try:
                out[i] = scenario_pnl(take(some, np.array([i])), exposures.market, moves)[0]
            except ValueError:
                continue  # the row stays NaN and the caller reports it
        return out


def _unpriceable(instruments: Instruments, market: MarketState) -> dict[int, str]:
    """Return row -> why, for instruments that cannot be priced or converted."""
    bad = {
        row: f"no USD rate for its currency {currency}; add the currency pair's factor"
        for row, currency in enumerate(instruments.currency)
        if currency not in market.fx_usd
    }
    try:
        check_terms(instruments, market)
    except ValueError:
        for row in range(len(instruments)):
            try:
                check_terms(take(instruments, np.array([row])), market)
            except ValueError as error:
                bad.setdefault(row, f"{error}; mend the row in the instruments file")
    return bad


def _instrument_failure(
    book: Book, instruments: Instruments, row: int, reason: str, rows: BoolArray
) -> Failure:
    touched = np.unique(book.positions.agreement[rows])
    names = [str(name) for name in book.agreements.agreement_id[touched]]
    shown = ", ".join(names[:MOST_SHOWN])
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    code = FailureReason.MISSING_DATA
    if reason.startswith("no USD rate"):
        code = FailureReason.CURRENCY_CONVERSION
    factor = str(instruments.factor_id[row])
    return Failure(
        code,
        str(instruments.instrument_id[row]),
        f"instrument on factor {factor}; agreements {shown}{more}",
        f"{reason}. {int(rows.sum())} positions are left out of these agreements' margin",
    )


def _held_volatility(instruments: Instruments) -> list[Failure]:
    """Name the volatility factors the market lacks: those options keep their volatility."""
    missing = (instruments.vol_factor_id != "") & (instruments.vol_factor < 0)
    return [
        Failure(
            FailureReason.MISSING_DATA,
            str(name),
            "vol_factor_id of instruments",
            f"the market has no factor {name}: {int(np.sum(instruments.vol_factor_id == name))} "
            "options are margined with constant volatility; add the factor's history",
        )
        for name in sorted(set(instruments.vol_factor_id[missing]))
    ]
