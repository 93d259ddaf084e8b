"""What a fund can pay calls with on a day: cash, securities, and credit lines that stay open."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.liquidity.survival import opening_liquidity

HOURS_PER_DAY = 24
LINES = "undrawn_facilities"


def opening_resources(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    horizon_days: int,
    include_open_calls: bool = True,
) -> dict[str, float]:
    """Resources of today by kind, USD; what must be paid first is negative.

    `cash`, `hqla_after_haircut` and `undrawn_facilities` as in `opening_liquidity`; `open_calls`:
    today's variation margin and IM required beyond what is posted, agreement by agreement;
    `agreed_payments`: the net of settlements within the horizon, if it is to be paid.
    """
    calls = _open_calls(book, market, margin) if include_open_calls else 0.0
    return {
        **opening_liquidity(book, market),
        "open_calls": -calls,
        "agreed_payments": min(0.0, _agreed_flow(book, market, horizon_days)),
    }


def usable_resources(
    book: Book,
    market: MarketState,
    opening: dict[str, float],
    pnl: Float64Array,
    horizon_days: int,
) -> Float64Array:
    """Resources after the fund's profits `pnl` (n,), USD, shape (n,); NaN where `pnl` is.

    A line counts if its notice runs out within the horizon, and while the loss is a smaller share
    of NAV than its covenant (NaN: none). A line of 100 with a covenant of 20 % on a NAV of 1,000 is
    there at a loss of 199, and gone at 200.
    """
    fixed = sum(amount for name, amount in opening.items() if name != LINES)
    f = book.facilities
    undrawn = (f.limit_cents - f.drawn_cents) * market.usd_per(f.currency) / CENTS_PER_UNIT
    in_time = f.notice_hours <= HOURS_PER_DAY * horizon_days
    lost_share = -pnl / max(book.nav_usd, 1.0 / CENTS_PER_UNIT)
    covenant = np.where(np.isnan(f.nav_covenant), np.inf, f.nav_covenant)
    is_open = in_time[:, None] & (lost_share[None, :] < covenant[:, None])
    lines = (undrawn[:, None] * is_open).sum(axis=0)
    return np.asarray(np.where(np.isfinite(pnl), fixed + lines, np.nan))


def _open_calls(book: Book, market: MarketState, margin: MarginResult) -> float:
    position = {str(name): a for a, name in enumerate(book.agreements.agreement_id)}
    rows = np.array([position[str(name)] for name in margin.agreement_id], dtype=np.int64)
    posted = book.agreements.im_held[rows] * market.usd_per(book.agreements.currency[rows])
    required = margin.im_usd + margin.add_ons_usd()
    return float(np.maximum(margin.vm_usd + required - posted, 0.0).sum())


def _agreed_flow(book: Book, market: MarketState, horizon_days: int) -> float:
    s = book.settlements
    if not len(s.settlement_id):
        return 0.0
    start = np.datetime64(book.as_of, "D")
    day = np.busday_count(start, s.value_date.astype("datetime64[D]"))
    due = (day >= 1) & (day <= horizon_days)
    usd = s.amount_cents * market.usd_per(s.currency) / CENTS_PER_UNIT
    return float(usd[due].sum())
