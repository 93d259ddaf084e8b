"""The market of every day of an episode, with what was known at its close."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.failures import Failure, InputError
from engine.domain.market import FactorTable, MarketState
from engine.market.levels import Levels
from engine.market.state import build_market

MOST_DAYS = 30


@dataclass(frozen=True)
class Days:
    """Markets of `start` (row 0) to the last day; `moves` (D, n_factors) are of rows 1 to D."""

    markets: tuple[MarketState, ...]
    moves: Float64Array
    failures: tuple[Failure, ...]

    @property
    def dates(self) -> tuple[date, ...]:
        """Close of each market."""
        return tuple(market.as_of for market in self.markets)


def episode_days(
    book: Book,
    factors: FactorTable,
    levels: Levels,
    span: tuple[date, date],
    max_stale_days: int,
    user_levels: Levels | None = None,
) -> Days:
    """Build the market of every business day from the first to the last close of `span`.

    Raises
    ------
    InputError
        If the history does not cover the span, a factor begins or ends within it, or it has more
        than `MOST_DAYS` days.
    """
    needed = _needed(book)
    whole = build_market(factors, levels, span[1], user_levels, max_stale_days, factor_ids=needed)
    dates = whole.value.dates
    rows = np.flatnonzero((dates >= np.datetime64(span[0])) & (dates <= np.datetime64(span[1])))
    if len(rows) < 2 or dates[rows[0]] != np.datetime64(span[0]):
        raise InputError(
            f"the history has {len(rows)} business days from {span[0]} to {span[1]} and must have "
            "the first; give one that covers the episode"
        )
    if len(rows) - 1 > MOST_DAYS:
        raise InputError(f"{len(rows) - 1} days from {span[0]} to {span[1]}: {MOST_DAYS} at most")
    markets = tuple(
        build_market(
            factors, levels, day.item(), user_levels, max_stale_days, factor_ids=needed
        ).value
        for day in dates[rows]
    )
    for market in markets[1:]:
        changed = set(market.factors.factor_id) ^ set(markets[0].factors.factor_id)
        if changed:
            raise InputError(
                f"factors {', '.join(sorted(changed))} begin or end before {market.as_of}; "
                "lengthen their history or drop them"
            )
    return Days(markets, whole.value.returns[rows[1:]], whole.failures)


def book_on(book: Book, market: MarketState) -> Book:
    """Return the book of the market's date, its instruments pointing into the market."""
    index, old = market.index(), book.instruments

    def columns(names: object) -> Int64Array:
        return np.array([index.get(str(name), -1) for name in np.asarray(names)], dtype=np.int64)

    linked = replace(old, factor=columns(old.factor_id), vol_factor=columns(old.vol_factor_id))
    return replace(book, instruments=linked, as_of=market.as_of)


def _needed(book: Book) -> list[str]:
    held = book.instruments
    names = [*held.factor_id, *held.vol_factor_id]
    return list(dict.fromkeys(str(name) for name in names if name))
