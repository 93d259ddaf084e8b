"""Margin calls: what is called under each agreement, in which currency, when, and by when.

The margin result says how much is required; this file says what moves. Money is int64 cents of
the currency of the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.margin.calls.call_schedule import (
    SEARCH_DAYS,
    CallSchedule,
    RunTime,
    run_times,
    schedule_of,
)
from engine.margin.calls.currency_netting import rate_of
from engine.margin.calls.margin_call import MarginCall, call_id, payable_cents
from engine.margin.calls.uncleared_rules import rules_of
from engine.margin.variation import csa_call
from engine.rulebooks.calendars import (
    NO_HOLIDAYS,
    Holidays,
    PaymentSystem,
    add_business_days,
    cut_off_at,
    payment_system,
    value_date,
)
from engine.rulebooks.tables import worst_mark

LONG_SEARCH_DAYS = 31


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What `margin_calls` was given; `required_usd` is IM and add-ons, shape (n_results,)."""

    book: Book
    market: MarketState
    result: MarginResult
    required_usd: Float64Array
    now: datetime
    holidays: Holidays


@dataclass(frozen=True, slots=True)
class _Due:
    """A signed amount in currency units (positive: the fund pays) before it is timed."""

    kind: str
    amount: float
    held: float
    why: str


def margin_calls(
    book: Book,
    market: MarketState,
    result: MarginResult,
    now: datetime,
    holidays: Holidays = NO_HOLIDAYS,
) -> Partial[tuple[MarginCall, ...]]:
    """Return the VM and IM calls that follow from a margin result, each at its next run.

    Parameters
    ----------
    book, market
        As given to `calculate_margin_requirements`; `market.fx_usd` converts.
    result : MarginResult
        Its answer, in USD.
    now : datetime
        With a time zone, on or after the date of the result. Calls are made at the first run from
        then on; a run at `now` counts.
    holidays : mapping of currency to dates
        Bank holidays. Without them weekends alone are closed.

    Returns
    -------
    Partial of tuple of MarginCall
        In the order of the book, VM before IM. Nothing below the MTA is called. An agreement whose
        calls could not be made is a `Failure`, never left out silently.

    Raises
    ------
    InputError
        If `now` has no time zone or lies before the result, or the result is of another date.

    Notes
    -----
    VM: `result.vm_usd`, to which the terms of a CSA have been applied. IM: `csa_call` with the
    agreement's MTA and rounding on required margin (IM and add-ons) against `im_held`, apart from
    VM. Amounts owed are called in the next run of their kind that they exceed the tolerance of;
    amounts to be received wait for the end of day.

    Examples
    --------
    Required 12,345,678, held 10,000,000, MTA 500,000, rounding 10,000: 2,350,000 is called.
    """
    _check(book, result, now)
    inputs = _Inputs(book, market, result, result.im_usd + result.add_ons_usd(), now, holidays)
    row_of = {str(name): i for i, name in enumerate(result.agreement_id)}
    calls: list[MarginCall] = []
    failures: list[Failure] = []
    for row, name in enumerate(book.agreements.agreement_id):
        at = row_of.pop(str(name), None)
        try:
            if at is None:
                raise _NoCall(
                    FailureReason.MISSING_DATA,
                    "it has no margin in the result, so nothing can be called; see its failure",
                )
            calls += _agreement_calls(inputs, row, at, failures)
        except _NoCall as problem:
            failures.append(_failure(str(name), problem.reason, str(problem)))
    for name in row_of:
        message = "it is in the result but not in the book; give the book of the result"
        failures.append(_failure(name, FailureReason.INVALID, message))
    return Partial(tuple(calls), tuple(failures))


class _NoCall(Exception):
    """Why the calls of one agreement cannot be made; becomes its Failure."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _check(book: Book, result: MarginResult, now: datetime) -> None:
    if now.tzinfo is None:
        raise InputError(f"now {now} has no time zone; give one, for example UTC")
    if result.as_of != book.as_of:
        raise InputError(f"the result is of {result.as_of}, the book of {book.as_of}; give a pair")
    if now.astimezone(UTC).date() < result.as_of:
        raise InputError(
            f"now {now} lies before the date of the result, {result.as_of}; nothing was known then"
        )


def _failure(name: str, reason: FailureReason, message: str) -> Failure:
    return Failure(reason, name, f"calls of agreement {name}", message)


def _agreement_calls(
    inputs: _Inputs, row: int, at: int, failures: list[Failure]
) -> list[MarginCall]:
    book, market, result = inputs.book, inputs.market, inputs.result
    agreements = book.agreements
    currency = str(agreements.currency[row])
    if currency not in market.fx_usd:
        message = f"no USD rate for its currency {currency}; add the currency pair's factor"
        raise _NoCall(FailureReason.CURRENCY_CONVERSION, message)
    usd = market.fx_usd[currency]
    required = float(inputs.required_usd[at]) / usd
    vm = float(result.vm_usd[at]) / usd
    if not (np.isfinite(required) and np.isfinite(vm)):
        message = f"its margin is not finite (IM {required:g}, VM {vm:g}); see the margin result"
        raise _NoCall(FailureReason.CALCULATION_FAILED, message)
    asked = result.basis.get("side") == "call" and agreements.model[row] in ("simm", "schedule")
    held = float(agreements.im_held[row])
    wrong = min(held, 0.0) if not asked else max(held, 0.0)
    if wrong != 0.0:
        message = (
            f"im_held {held:,.2f} {currency} is collateral of the other side; this result has "
            f"{'what the fund may ask for' if asked else 'what the fund owes'} alone, and the two "
            "sides of initial margin are not netted: calculate the other side for it"
        )
        failures.append(
            _failure(str(agreements.agreement_id[row]), FailureReason.NOT_APPLICABLE, message)
        )
    held -= wrong
    im_required = -required if asked else required
    terms = "terms of the CSA" if agreements.kind[row] == "bilateral" else "loss of the day"
    vm_due = _Due("vm", vm, float(agreements.vm_held[row]), f"variation margin by the {terms}")
    calls = []
    for kind in ("vm", "im"):
        try:
            due = vm_due if kind == "vm" else _im_due(book, row, im_required, held)
            call = _timed(inputs, row, due, usd)
        except _NoCall as problem:
            name = str(agreements.agreement_id[row])
            failures.append(_failure(name, problem.reason, f"{kind} call: {problem}"))
        else:
            calls += [call] if call is not None else []
    return calls


def _im_due(book: Book, row: int, required: float, held: float) -> _Due:
    """IM movement by the agreement's own MTA and rounding."""
    agreements = book.agreements
    mta, rounding = float(agreements.mta[row]), float(agreements.rounding[row])
    try:
        due = float(csa_call(required, 0.0, mta, rounding, 0.0, held))
    except InputError as error:
        raise _NoCall(FailureReason.INVALID, f"{error}; mend the agreements file") from error
    why = (
        f"initial margin and add-ons {abs(required):,.2f}, posted {abs(held):,.2f}, "
        f"MTA {mta:,.2f}, rounding {rounding:,.2f}"
    )
    return _Due("im", due, held, why)


def _timed(inputs: _Inputs, row: int, due: _Due, usd: float) -> MarginCall | None:
    book, agreements = inputs.book, inputs.book.agreements
    currency = str(agreements.currency[row])
    try:
        system = payment_system(currency)
        cents = payable_cents(due.amount, system)
        if cents == 0:
            return None
        schedule = schedule_of(agreements, row)
        run = _next_run(inputs, schedule, due, abs(cents) / CENTS_PER_UNIT * usd)
        regulatory = due.kind == "im" and agreements.kind[row] == "bilateral"
        settles, cut_off, lag_mark = _settlement(run, system, regulatory, inputs.holidays)
    except InputError as error:
        raise _NoCall(FailureReason.MISSING_DATA, str(error)) from error
    except ValueError as error:
        raise _NoCall(FailureReason.INVALID, str(error)) from error
    name = str(agreements.agreement_id[row])
    local = f"{run.run.local_time:%H:%M} {run.run.time_zone}"
    return MarginCall(
        call_id=call_id(name, due.kind, book.as_of, currency, cents),
        agreement_id=name,
        legal_entity=str(agreements.legal_entity[row]),
        counterparty=str(agreements.counterparty[row]),
        as_of=book.as_of,
        kind=due.kind,
        direction="pay" if cents > 0 else "receive",
        movement=_movement(cents / CENTS_PER_UNIT, due.held),
        currency=currency,
        amount_cents=abs(cents),
        amount_usd=abs(cents) / CENTS_PER_UNIT * usd,
        issued_at=run.issued_at,
        deadline=run.deadline,
        settles_on=settles,
        cut_off=cut_off,
        regulatory=regulatory,
        mark=worst_mark(run.run.timing_mark, system.mark, lag_mark),
        why=f"{due.why}; {run.run.run.replace('_', ' ')} run at {local}",
    )


def _movement(amount: float, held: float) -> str:
    """Name the movement of a signed amount (positive: the fund pays) against what is held."""
    other_side = max(0.0, -held) if amount > 0.0 else max(0.0, held)
    if other_side == 0.0:
        return "delivery"
    return "return" if abs(amount) <= other_side else "both"


def _next_run(inputs: _Inputs, schedule: CallSchedule, due: _Due, size_usd: float) -> RunTime:
    """First run that calls this kind, direction and size."""
    for days in (SEARCH_DAYS, LONG_SEARCH_DAYS):
        for time in run_times(schedule, inputs.now, inputs.holidays, days):
            run = time.run
            if run.kind not in (due.kind, "both") or (due.amount < 0.0 and run.run == "intraday"):
                continue
            tolerance = 0.0
            if run.tolerance > 0.0:
                tolerance = run.tolerance * rate_of(run.currency, inputs.market.fx_usd)
            if size_usd > tolerance:
                return time
    raise InputError(
        f"no run of {schedule.owner} calls {due.kind} in the {LONG_SEARCH_DAYS} days from "
        f"{inputs.now}; check its schedule and the holidays given"
    )


def _settlement(
    run: RunTime, system: PaymentSystem, regulatory: bool, holidays: Holidays
) -> tuple[date, datetime, str]:
    """Day of value, its cut-off, and the mark of the settlement lag."""
    settles, cut_off = value_date(run.deadline, system, holidays)
    if not regulatory:
        return settles, cut_off, "verified"
    lag = rules_of("im_settle_days")[0]
    called_on = run.issued_at.astimezone(system.zone()).date()
    earliest = add_business_days(called_on, int(lag.value), system, holidays)
    if earliest > settles:
        settles, cut_off = earliest, cut_off_at(earliest, system)
    return settles, cut_off, lag.mark
