"""The market after a move, and the full margin engine's answer on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.pricing.terms import is_log, moved_levels


def moved_market(market: MarketState, move: Float64Array, days: int) -> MarketState:
    """Return the market as it would stand after `move`, spread evenly over `days` business days.

    Levels move, and the returns of the days are the newest of the history; the oldest ones leave
    it. The date stays, so that options lose no time and nothing expires: the earlier history
    stands `days` rows back. Exchange rates keep converting at today's value.

    Parameters
    ----------
    move : float64 array of shape (n_factors,)
        Return units. A log move of ln 1.1 takes a level of 100 to 110.
    days : int
        At least 1 and fewer than the days of the history.

    Raises
    ------
    ValueError
        If `days` is outside this range or a move is not finite.
    """
    if not 1 <= days < len(market.dates):
        raise ValueError(f"days is {days}; it must be from 1 to {len(market.dates) - 1}")
    if not np.isfinite(move).all():
        raise ValueError("a move is NaN or infinite; give a finite move for every factor")
    level = moved_levels(market.level, is_log(market), move)
    newest = np.tile(move / days, (days, 1))
    return replace(market, level=level, returns=np.concatenate([market.returns[days:], newest]))


@dataclass(frozen=True)
class FullMargin:
    """Rise of required margin by the full engine.

    Attributes
    ----------
    im_rise_usd : float64 array of shape (n_agreements,)
        IM plus add-ons after the move less before, not below zero; rows as in the margin of today.
        NaN where the agreement failed on the moved market.
    failures : tuple of Failure
        What failed on the moved market and did not today.
    """

    im_rise_usd: Float64Array
    failures: tuple[Failure, ...]


def full_margin_rise(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    move: Float64Array,
    days: int,
    crif: CrifTable | None = None,
) -> FullMargin:
    """Margin every agreement on the moved market and compare with `margin`, that of today.

    Choices and ratios to reported margins are those of `margin`. A CRIF of the user stays as it is.
    """
    after = calculate_margin_requirements(
        book,
        moved_market(market, move, days),
        MarginConfig(**margin.basis["config"]),
        crif,
        margin.basis.get("anchor_ratio", {}),
    )
    required = dict(zip(after.agreement_id, after.im_usd + after.add_ons_usd(), strict=True))
    then = np.array([required.get(name, np.nan) for name in margin.agreement_id])
    rise = np.maximum(then - margin.im_usd - margin.add_ons_usd(), 0.0)
    known = set(margin.failures)
    return FullMargin(rise, tuple(f for f in after.failures if f not in known))
