"""The fund as it stands at the close of a day, in the form a new run starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.domain.book import Book, Cash, Facilities
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import Model


@dataclass(frozen=True)
class FundState:
    """What a day left: resources in USD, the share of each bucket held, calls on their way.

    `on_the_way_usd` are the calls, by agreement, that are issued and not yet due.
    """

    liquidity_usd: float
    left: dict[str, float]
    on_the_way_usd: dict[str, float]

    @property
    def due_usd(self) -> float:
        """Calls on their way, all agreements."""
        return sum(self.on_the_way_usd.values())


@dataclass(frozen=True)
class Resources:
    """What calls are paid from, in the order in which it is used, USD.

    `quick` are securities that pay on the day of the sale, `slow` those that settle later; both
    after haircut. Lines come before slow securities: once their notice is served they pay at once.
    """

    cash: float
    quick: float
    lines: float
    slow: float

    @property
    def own(self) -> float:
        """All but the lines."""
        return self.cash + self.quick + self.slow

    @property
    def total(self) -> float:
        """Own resources and lines."""
        return self.own + self.lines

    def reduced_to(self, left: float) -> Resources:
        """Return what is left of each kind when `left` is left of all; more than all is cash.

        Worked number: of cash 45, lines 25 and slow securities 30, 34 are left: the missing 66
        are all of the cash and 21 of the lines, which leaves lines 4 and securities 30.
        """
        missing = self.total - max(left, 0.0)
        if missing <= 0.0:
            return Resources(self.cash - missing, self.quick, self.lines, self.slow)
        kept = []
        for amount in (self.cash, self.quick, self.lines, self.slow):
            used = min(amount, missing)
            missing -= used
            kept.append(amount - used)
        return Resources(*kept)

    def to_dict(self) -> dict[str, float]:
        """Return cash, securities and lines."""
        return {"cash": self.cash, "securities": self.quick + self.slow, "lines": self.lines}


def resources_of(book: Book, market: MarketState) -> Resources:
    """Measure the resources of a book at the rates of a market."""
    cash = np.sum(book.cash.amount_cents * market.usd_per(book.cash.currency))
    c, f = book.collateral, book.facilities
    value = c.market_value * (1.0 - c.haircut) * market.usd_per(c.currency)
    lines = np.sum((f.limit_cents - f.drawn_cents) * market.usd_per(f.currency), initial=0.0)
    return Resources(
        cash=float(cash) / CENTS_PER_UNIT,
        quick=float(np.sum(value[c.settle_days == 0], initial=0.0)),
        lines=float(lines) / CENTS_PER_UNIT,
        slow=float(np.sum(value[c.settle_days > 0], initial=0.0)),
    )


def book_at(book: Book, market: MarketState, state: FundState) -> Book:
    """Return the book with what is left of positions and resources.

    Each kind of resource is scaled as a whole, so that a currency or an asset keeps its share.
    """
    column = book.instruments.factor[book.positions.instrument]
    bucket = market.factors.bucket[np.maximum(column, 0)]
    held = np.array([state.left.get(str(name), 1.0) for name in bucket])
    held = np.where(column >= 0, held, 1.0)
    full = resources_of(book, market)
    left = full.reduced_to(state.liquidity_usd)
    quick, slow = _share(left.quick, full.quick), _share(left.slow, full.slow)
    c = book.collateral
    return replace(
        book,
        positions=replace(book.positions, quantity=book.positions.quantity * held),
        cash=_scaled_cash(book.cash, _share(left.cash, full.cash)),
        collateral=replace(
            c, market_value=c.market_value * np.where(c.settle_days == 0, quick, slow)
        ),
        facilities=_drawn(book, _share(left.lines, full.lines)),
    )


def restarted(
    model: Model,
    margin: MarginResult,
    state: FundState,
    opening: Resources,
    config: AvalancheConfig,
) -> Model:
    """Return the model of a fund in the middle of an episode.

    Margin is as posted and the day's calls are on their way. The levels at which the fund sells
    and asks for its lines are shares of the resources of the first day, `opening`; lines asked for
    by then have served their notice.
    """
    usd = np.array([state.on_the_way_usd.get(str(name), 0.0) for name in margin.agreement_id])
    pool = model.pool.copy()
    request = config.facility_request_share * opening.own
    pool[layout.POOL_TARGET] = np.rint(
        config.liquidity_target_share * opening.total * CENTS_PER_UNIT
    )
    pool[layout.POOL_REQUEST] = np.rint(request * CENTS_PER_UNIT)
    own = state.liquidity_usd - opening.lines - state.due_usd
    notice = model.facility_notice if own >= request else np.zeros_like(model.facility_notice)
    return model._replace(
        open_call=np.rint(usd * CENTS_PER_UNIT), pool=pool, facility_notice=notice
    )


def _share(left: float, opening: float) -> float:
    return left / opening if opening > 0.0 else 1.0


def _scaled_cash(cash: Cash, share: float) -> Cash:
    return replace(cash, amount_cents=np.rint(cash.amount_cents * share).astype(np.int64))


def _drawn(book: Book, share: float) -> Facilities:
    f = book.facilities
    free = np.rint((f.limit_cents - f.drawn_cents) * min(share, 1.0)).astype(np.int64)
    return replace(f, drawn_cents=f.limit_cents - free)
