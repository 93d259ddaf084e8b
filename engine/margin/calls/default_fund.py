"""Default funds: what a clearing member may be asked for beyond its margin.

Clients of a clearing broker normally owe nothing here: contributions and assessments bind members.
A fund needs these functions only where it is a member itself, or to judge its broker's burden.
Terms are data (`engine/rulebooks/default_funds.csv`), each with its mark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

import engine.rulebooks
from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError
from engine.rulebooks.calendars import NO_HOLIDAYS, Holidays, add_business_days, payment_system
from engine.rulebooks.tables import mark_of, read_table

FUNDS_FILE = Path(engine.rulebooks.__file__).with_name("default_funds.csv")
CALENDAR_CURRENCY = "EUR"
SAME_MONEY = 0.005


@dataclass(frozen=True, slots=True)
class FundTerm:
    """One term of a default fund: `value` in `unit`, its mark and source."""

    fund: str
    term: str
    value: float
    unit: str
    mark: str
    source: str


@dataclass(frozen=True, slots=True)
class CappedPeriod:
    """Days, both included, in which assessments are capped together; and its defaults."""

    first: date
    last: date
    defaults: tuple[date, ...]


@cache
def load_default_funds() -> MappingProxyType[tuple[str, str], FundTerm]:
    """Return the packaged terms by (fund, term)."""
    terms = {}
    for where, row in read_table(FUNDS_FILE)[1]:
        term = FundTerm(
            row["fund"],
            row["term"],
            float(row["value"]),
            row["unit"],
            mark_of(row, where),
            row["source"],
        )
        terms[term.fund, term.term] = term
    return MappingProxyType(terms)


def fund_term(fund: str, term: str) -> FundTerm:
    """Return one term; an unknown one is an InputError.

    `fund_term("ECC", "minimum_general_member").value` is 3,000,000 EUR.
    """
    terms = load_default_funds()
    if (fund, term) not in terms:
        known = ", ".join(f"{a} {b}" for a, b in terms)
        raise InputError(f"default fund {fund!r} has no term {term!r}; known: {known}")
    return terms[fund, term]


def eurex_liability_cap(contribution: float) -> float:
    """Most a member can lose in one capped period: the contribution and its assessments.

    A contribution of 10m has a cap of 30m, 20m of it assessments.
    """
    return fund_term("EUREX", "total_multiple").value * _amount(contribution, "contribution")


def eurex_assessment_left(contribution: float, assessed: float) -> float:
    """Assessments that can still be called in this capped period.

    `assessed` is what was called in it before. 10m with 15m assessed leaves 5m.
    """
    cap = fund_term("EUREX", "assessment_multiple").value * _amount(contribution, "contribution")
    return max(0.0, cap - _amount(assessed, "assessed"))


def eurex_capped_periods(
    defaults: Iterable[date], holidays: Holidays = NO_HOLIDAYS
) -> tuple[CappedPeriod, ...]:
    """Return the capped periods that a series of defaults makes.

    A period runs for 20 business days after a default. Each further default inside it starts the
    20 days anew, up to three months after the first; a default after its end opens a new one.

    Parameters
    ----------
    defaults : iterable of date
        In any order.
    holidays : mapping
        Bank holidays; those of EUR count.

    Returns
    -------
    tuple of CappedPeriod
        In time order.

    Examples
    --------
    A default on 1 March 2022 opens 1 to 29 March; a second on 15 March extends it to 12 April.
    """
    days = int(fund_term("EUREX", "capped_period_days").value)
    months = int(fund_term("EUREX", "longest_period_months").value)
    system = payment_system(CALENDAR_CURRENCY)
    periods: list[CappedPeriod] = []
    for day in sorted(defaults):
        end = add_business_days(day, days, system, holidays)
        if periods and day <= periods[-1].last:
            open_one = periods[-1]
            last = min(end, months_after(open_one.first, months))
            periods[-1] = CappedPeriod(open_one.first, last, (*open_one.defaults, day))
        else:
            last = min(end, months_after(day, months))
            periods.append(CappedPeriod(day, last, (day,)))
    return tuple(periods)


def ecc_volatility_minimum(margin: Float64Array) -> float:
    """Volatility part of ECC's least contribution, EUR.

    Parameters
    ----------
    margin : float64 array of shape (n_days,)
        Margin of the member at the end of each day, EUR, oldest first; finite.

    Returns
    -------
    float
        99.9 % quantile of the overnight increases max(0, margin_t - margin_{t-1}) of the last
        255 days, rounded up to 100,000. The quantile is the order statistic at or above the
        probability: with 255 increases it is the largest. That convention is this engine's.

    Raises
    ------
    InputError
        With fewer than 256 days, or a value that is not finite.

    Examples
    --------
    255 increases of which the largest is 1,234,567 give 1,300,000.
    """
    days = int(fund_term("ECC", "volatility_days").value)
    margin = np.asarray(margin, dtype=np.float64)
    if margin.ndim != 1 or len(margin) < days + 1 or not np.isfinite(margin).all():
        raise InputError(
            f"margin has shape {margin.shape}; give at least {days + 1} finite daily values"
        )
    increases = np.maximum(0.0, np.diff(margin[-(days + 1) :]))
    quantile = fund_term("ECC", "volatility_quantile").value
    worst = float(np.quantile(increases, quantile, method="inverted_cdf"))
    return round_up(worst, fund_term("ECC", "rounding").value)


def ecc_contribution(margin: Float64Array, *, general_member: bool) -> float:
    """Least contribution to ECC's default fund, EUR: the larger of the fixed and volatility part.

    A general clearing member never pays below 3m, a direct one never below 0.5m.
    """
    term = "minimum_general_member" if general_member else "minimum_direct_member"
    return max(fund_term("ECC", term).value, ecc_volatility_minimum(margin))


def cdsclear_contribution(share: float) -> float:
    """Contribution to the LCH SA CDSClear fund, EUR: the member's share, at least 10m."""
    return max(fund_term("LCH_SA_CDSCLEAR", "minimum_member").value, _amount(share, "share"))


def cme_assessment_cap(contribution: float, *, several_defaults: bool) -> tuple[float, str]:
    """Most that CME can assess, and the mark of the multiple (indicative: 275 or 550 per cent).

    10m is assessed up to 27.5m after one default, 55m after several.
    """
    name = "assessment_multiple_several" if several_defaults else "assessment_multiple_one"
    term = fund_term("CME", name)
    return term.value * _amount(contribution, "contribution"), term.mark


def round_up(amount: float, step: float) -> float:
    """Round up to a multiple of `step`; an exact multiple, to half a cent, stays."""
    return math.ceil((amount - SAME_MONEY) / step) * step


def months_after(day: date, months: int) -> date:
    """Return the same day some months later, or the last day of that month if it lacks it."""
    later = (np.datetime64(day, "M") + months).astype("datetime64[D]")
    last = (later.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
    found: date = min(later + (day.day - 1), last).item()
    return found


def _amount(value: float, name: str) -> float:
    if not (math.isfinite(value) and value >= 0.0):
        raise InputError(f"{name} is {value:g}; it must be finite and not negative")
    return value
