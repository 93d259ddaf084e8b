"""One margin call as it is shown, sent and settled: its amount, times and identity."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.money import to_cents
from engine.rulebooks.calendars import PaymentSystem

ID_DIGITS = 24


@dataclass(frozen=True, slots=True)
class MarginCall:
    """One call of variation or initial margin.

    Attributes
    ----------
    call_id : str
        Hash of agreement, kind, date and signed amount: the same inputs give the same id.
    kind : str
        `vm` or `im`.
    direction : str
        `pay` or `receive`, seen from the fund.
    movement : str
        `delivery` (the payer posts), `return` (it gives back what it held) or `both`.
    amount_cents : int
        Above zero, in cents of `currency`; whole units where the currency has no minor unit.
    amount_usd : float
        The same at the rate of the market.
    issued_at, deadline, cut_off : datetime
        UTC. `cut_off` is the last time of the currency's payment system on `settles_on`.
    settles_on : date
        Day of value when paid at the deadline.
    regulatory : bool
        IM under the rules for uncleared derivatives: segregated, settled a day later.
    mark : str
        How well hour, deadline and cut-off are known: the weakest of theirs. Always shown.
    """

    call_id: str
    agreement_id: str
    legal_entity: str
    counterparty: str
    as_of: date
    kind: str
    direction: str
    movement: str
    currency: str
    amount_cents: int
    amount_usd: float
    issued_at: datetime
    deadline: datetime
    settles_on: date
    cut_off: datetime
    regulatory: bool
    mark: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready object, dates and times in ISO 8601."""
        row = asdict(self)
        for name in ("as_of", "issued_at", "deadline", "settles_on", "cut_off"):
            row[name] = row[name].isoformat()
        return row


def payable_cents(amount: float, system: PaymentSystem) -> int:
    """Return an amount in cents that the currency's payment system can pay, half to even.

    12.345 USD is 1234 cents; 12.345 JPY, which has no minor unit, is 12 yen or 1200 cents.
    """
    if system.minor_digits == 0:
        return int(to_cents(np.rint(amount)))
    return int(to_cents(amount))


def call_id(agreement_id: str, kind: str, as_of: date, currency: str, cents: int) -> str:
    """Return the id of a call: `MC` and a hash of what it is; the sign tells who pays."""
    text = "\x1f".join((agreement_id, kind, as_of.isoformat(), currency, str(cents)))
    return "MC" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:ID_DIGITS].upper()


def total_by_currency(calls: tuple[MarginCall, ...]) -> dict[str, dict[str, int]]:
    """Return cents to pay and to receive by currency; they are not netted between agreements."""
    totals: dict[str, dict[str, int]] = {}
    for call in calls:
        of_currency = totals.setdefault(call.currency, {"pay": 0, "receive": 0})
        of_currency[call.direction] += call.amount_cents
    return dict(sorted(totals.items()))


def called_usd(calls: tuple[MarginCall, ...]) -> Float64Array:
    """Return signed USD of each call, shape (n_calls,); positive is paid by the fund."""
    return np.array(
        [c.amount_usd if c.direction == "pay" else -c.amount_usd for c in calls], dtype=np.float64
    )
