"""Making a book and a market fit each other: own history, missing factors, missing rates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engine.domain.failures import Failure, InputError

if TYPE_CHECKING:
    from engine.domain.book import Book
    from engine.domain.market import FactorTable, MarketState
    from engine.fund.read import PackReading
    from engine.market.levels import Levels

OWN_HISTORY = "the user's own history"


def with_own_history(factors: FactorTable, users: Levels) -> FactorTable:
    """Mark factors whose levels the user brings: the packaged labels do not describe those.

    A row of the pack's own factor table keeps the label and source its owner gave.
    """
    from engine.market.packaged import packaged_factors

    packaged = packaged_factors()
    labels = dict(
        zip(packaged.factor_id, zip(packaged.synthetic, packaged.source, strict=True), strict=True)
    )
    synthetic, source = factors.synthetic.copy(), factors.source.copy()
    own = {str(name) for name in users.factor_ids}
    for i, name in enumerate(factors.factor_id):
        if str(name) in own and labels.get(name) == (synthetic[i], source[i]):
            synthetic[i], source[i] = False, OWN_HISTORY
    return replace(factors, synthetic=synthetic, source=source)


def check_rates(book: Book, market: MarketState, failures: tuple[Failure, ...]) -> None:
    """Stop where money the fund has or owes has no USD rate on the day.

    Reading has checked that a factor links each currency to USD; its level may still be missing.
    """
    used = {
        str(currency): name
        for name in ("settlements", "facilities", "collateral", "cash", "agreements")
        for currency in getattr(book, name).currency
    }
    lost = {currency: name for currency, name in used.items() if currency not in market.fx_usd}
    if lost:
        lines = [
            f"{currency}, a currency of {name}, has no rate to USD on {book.as_of}"
            for currency, name in sorted(lost.items())
        ]
        lines += [failure.message for failure in failures if set(lost) & _pair(failure.item)]
        raise InputError("\n".join(lines))


def _pair(factor_id: str) -> set[str]:
    """Return the two currencies of a factor named as a pair, such as USDJPY."""
    return {factor_id[:3], factor_id[3:]} if len(factor_id) == 6 else set()


def held_factors(reading: PackReading) -> set[str]:
    """Return the ids of the factors on which a position depends, and the positions' currencies."""
    book, factors = reading.book, reading.factors
    held = book.positions.instrument
    columns = (book.instruments.factor[held], book.instruments.vol_factor[held])
    used = [column[column >= 0] for column in columns]
    names = [factors.factor_id[column] for column in used]
    names += [factors.currency[column] for column in used]
    return {str(name) for group in (*names, book.instruments.currency[held]) for name in group}


def split_failures(
    failures: tuple[Failure, ...], wanted: set[str], factors: FactorTable
) -> tuple[tuple[Failure, ...], tuple[str, ...]]:
    """Return the failures that touch the fund, and the other factors left out.

    A factor that nobody holds may well end before the fund's date; that is no failure of the run,
    but `data_quality` names it. A column of the history that is no factor at all stays a failure.
    """
    names = {str(name) for name in factors.factor_id}
    idle = (names | {str(code) for code in factors.currency}) - wanted
    unused = tuple(f.item for f in failures if f.item in idle & names)
    return tuple(failure for failure in failures if failure.item not in idle), unused


def on_market(book: Book, factors: FactorTable, market: MarketState) -> Book:
    """Return the book with factors as columns of `market`, -1 where the market lacks one.

    The reading numbers factors by rows of the factor table; the market leaves out those without
    usable levels, so that its columns are others.
    """
    import numpy as np

    index = market.index()
    column = np.array([index.get(str(name), -1) for name in factors.factor_id], dtype=np.int64)
    old = book.instruments
    new = {
        name: np.where(row >= 0, column[row], -1)
        for name, row in (("factor", old.factor), ("vol_factor", old.vol_factor))
    }
    return replace(book, instruments=replace(old, **new))
