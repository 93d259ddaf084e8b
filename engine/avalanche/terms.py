"""Terms of the agreements as the kernel reads them: margin, thresholds, windows, open calls."""

from __future__ import annotations

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.hours import waiting_hours
from engine.avalanche.sparse import index_array
from engine.domain.agreements import REACTIVE_MODELS
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import HOURS_PER_DAY

# Where the concentration curve is read: the kernel's hinges, and one beyond for the last slope.
CURVE_MULTIPLES = (*layout.HINGES, 20.0)


def gross_margin(
    book: Book, market: MarketState, margin: MarginResult, rows: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """IM before the threshold and the threshold, in cents; the broker's multiplier on both."""
    before = margin.basis.get("im_before_threshold_usd", {})
    gross = np.array(
        [
            before.get(str(name), im)
            for name, im in zip(margin.agreement_id, margin.im_usd, strict=True)
        ]
    )
    agreements = book.agreements
    limit = _cents(book, market, agreements.im_threshold, rows)
    has_limit = np.array([str(name) in before for name in margin.agreement_id], dtype=bool)
    multiplier = agreements.broker_multiplier[rows]
    net_of = np.where(has_limit, limit, 0.0)
    return np.rint(gross * CENTS_PER_UNIT * multiplier), np.rint(net_of * multiplier)


def _cents(book: Book, market: MarketState, amount: Float64Array, rows: Int64Array) -> Float64Array:
    """Amounts in the agreements' currencies as cents of USD."""
    usd = market.usd_per(book.agreements.currency[rows])
    return np.asarray(amount[rows] * usd * CENTS_PER_UNIT)


def curve_part(curve: Float64Array) -> dict[str, object]:
    """Slopes of the add-on between hinges, as changes at each hinge (beyond the last: on)."""
    cents = curve * CENTS_PER_UNIT
    slopes = np.diff(cents, axis=1) / np.diff(CURVE_MULTIPLES)
    changes = np.diff(slopes, axis=1, prepend=0.0)
    return {
        "concentration_start": np.rint(cents[:, 0]),
        "concentration_slope": np.ascontiguousarray(changes),
    }


def agreement_part(
    book: Book,
    market: MarketState,
    rows: Int64Array,
    margin: MarginResult,
    value_usd: Float64Array,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
) -> dict[str, object]:
    """Terms of each agreement, and where its variation margin stands.

    Cleared and prime positions are settled daily, so their exposure starts at zero. A bilateral
    exposure is what the trades are worth. Today's call is on its way: the collateral counts as
    held already, the cash moves after the usual lag (`open_call`: variation margin called today,
    and initial margin required beyond what is posted).
    """
    a = book.agreements
    usd_cents = market.usd_per(a.currency[rows]) * CENTS_PER_UNIT
    reactive = np.isin(a.model[rows], REACTIVE_MODELS)
    bilateral = a.kind[rows] == "bilateral"
    held = np.rint(-a.vm_held[rows] * usd_cents) - np.rint(margin.vm_usd * CENTS_PER_UNIT)
    lag = a.pay_lag_hours[rows]
    receive_lag = np.minimum(lag + config.receipt_delay_hours, layout.RING_HOURS - 1)
    more = 0 if scenario is None else scenario.extra_calls_per_day
    windows = [
        window_bits(a.eod_hour_utc[r], a.intraday_hours_utc[r], more if kind == "cleared" else 0)
        for r, kind in zip(rows, a.kind[rows], strict=True)
    ]
    return {
        "ewma_lambda": np.where(reactive, np.nan_to_num(a.ewma_lambda[rows], nan=1.0), 1.0),
        "stress_share": np.where(reactive, _fixed_share(margin, a.stress_weight[rows]), 0.0),
        "step": np.where(a.model[rows] == "span", config.margin_step_share, 0.0),
        "multiple_floor": np.array([config.margin_floor]),
        "vm_threshold": np.rint(a.vm_threshold[rows] * usd_cents),
        "mta": np.rint(a.mta[rows] * usd_cents),
        "exposure_start": np.where(bilateral, value_usd * CENTS_PER_UNIT, 0.0),
        "held_start": np.where(bilateral, held, 0.0),
        "window_mask": index_array(windows),
        "eod_hour": index_array(a.eod_hour_utc[rows]),
        "pay_lag": index_array(deadlines(a.currency[rows], lag, book)),
        "receive_lag": index_array(receive_lag),
        "trigger": np.where(bilateral, 0.0, config.intraday_trigger_share),
        "fail_order": index_array(fail_order(a.kind[rows], a.agreement_id[rows])),
        "cross": np.where(a.kind[rows] == "cleared", 0.0, float(config.cross_default)),
    }


def _fixed_share(margin: MarginResult, stress_weight: Float64Array) -> Float64Array:
    """Share of margin that does not follow volatility: what the tool adds to the model's own part.

    A buffer or a floor is kept on top as volatility rises, though it would be used up: margin is
    overstated then, never understated.
    """
    parts = margin.components
    before = parts["calculated"] + parts["anti_procyclicality"]
    own = (1.0 - stress_weight) * parts["calculated"]
    share = 1.0 - np.divide(own, before, out=np.ones_like(own), where=before > 0.0)
    return np.clip(share, 0.0, 1.0)


def deadlines(currency: StrArray, lag_hours: Int64Array, book: Book) -> Int64Array:
    """Hours from a call issued at each hour of the day to its deadline, shape (n, 24).

    A deadline at which the currency cannot be paid any more moves to its next opening hour.
    """
    clock = np.arange(HOURS_PER_DAY)
    wait = {str(name): waiting_hours(str(name), book.as_of) for name in set(currency)}
    rows = [
        lag + wait[str(name)][(clock + lag) % HOURS_PER_DAY]
        for name, lag in zip(currency, lag_hours, strict=True)
    ]
    return np.array(rows, dtype=np.int64).reshape(len(rows), HOURS_PER_DAY)


# Who is left unpaid first: a clearing house is paid before a prime broker, and both before a
# bilateral counterparty, whose agreement allows a period of grace.
UNPAID_FIRST = ("bilateral", "prime", "cleared")


def fail_order(kind: StrArray, agreement_id: StrArray) -> list[int]:
    """Return agreements in the order in which a fund short of cash leaves them unpaid."""
    rank = [UNPAID_FIRST.index(str(each)) for each in kind]
    return sorted(range(len(rank)), key=lambda r: (rank[r], str(agreement_id[r])))


def window_bits(eod_hour: int, intraday_hours: tuple[int, ...], more: int) -> int:
    """Return a bit for each hour with a call window; `more` are added between those there are.

    Each new window goes to the middle of the longest time without one.
    """
    hours = sorted({int(eod_hour), *(int(hour) for hour in intraday_hours)})
    for _ in range(more):
        gaps = [
            ((after - hour - 1) % HOURS_PER_DAY + 1, hour)
            for hour, after in zip(hours, [*hours[1:], hours[0]], strict=True)
        ]
        longest, start = max(gaps, key=lambda gap: (gap[0], -gap[1]))
        hours = sorted({*hours, (start + longest // 2) % HOURS_PER_DAY})
    return sum(1 << hour for hour in hours)


def open_calls(
    book: Book, market: MarketState, rows: Int64Array, margin: MarginResult, required: Float64Array
) -> Float64Array:
    """Today's calls in cents: variation margin, and IM `required` (cents) beyond what is posted."""
    posted = np.rint(_cents(book, market, book.agreements.im_held, rows))
    return np.asarray(np.rint(margin.vm_usd * CENTS_PER_UNIT) + required - posted)
