"""Business days and payment cut-offs of currencies (`currency_cutoffs.csv`).

No library of bank holidays stands behind these days: weekends alone are known, and whoever has
holidays passes them in by currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias
from zoneinfo import ZoneInfo

from engine.domain.failures import InputError
from engine.rulebooks.tables import mark_of, read_table, time_zone

CUT_OFFS_FILE = Path(__file__).with_name("currency_cutoffs.csv")
LONGEST_CLOSURE_DAYS = 30

Holidays: TypeAlias = Mapping[str, frozenset[date]]
"""Bank holidays by currency; a currency without an entry has weekends alone."""

NO_HOLIDAYS: Holidays = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PaymentSystem:
    """Where a currency is paid.

    `cut_off` is the last local time of a customer's payment of the day, `weekend` the weekdays
    without payments (0 is Monday), `minor_digits` the decimals of the smallest amount that can be
    paid (ISO 4217). `mark` tells how well the cut-off is known.
    """

    currency: str
    system: str
    time_zone: str
    cut_off: time
    minor_digits: int
    weekend: tuple[int, ...]
    mark: str
    source: str

    def zone(self) -> ZoneInfo:
        """Return the time zone of the system."""
        return ZoneInfo(self.time_zone)


def read_payment_systems(path: Path = CUT_OFFS_FILE) -> tuple[str, tuple[PaymentSystem, ...]]:
    """Read a table of payment systems: its version and rows in file order.

    Raises
    ------
    InputError
        With file and line, if a row is malformed or its currency is repeated.
    """
    version, rows = read_table(path)
    systems: list[PaymentSystem] = []
    for where, row in rows:
        system = _system(row, where)
        if any(other.currency == system.currency for other in systems):
            raise InputError(f"{where}: currency {system.currency} is repeated; remove one")
        systems.append(system)
    return version, tuple(systems)


@cache
def load_payment_systems() -> MappingProxyType[str, PaymentSystem]:
    """Return the packaged table by currency.

    `load_payment_systems()["GBP"].cut_off` is 17:40.
    """
    return MappingProxyType({s.currency: s for s in read_payment_systems()[1]})


def payment_system(currency: str) -> PaymentSystem:
    """Return the payment system of a currency; one that is not in the table is an InputError."""
    systems = load_payment_systems()
    if currency not in systems:
        raise InputError(
            f"no payment system is known for currency {currency}; add a row to {CUT_OFFS_FILE.name}"
        )
    return systems[currency]


def is_business_day(day: date, system: PaymentSystem, holidays: Holidays = NO_HOLIDAYS) -> bool:
    """Whether the currency can be paid on `day`: no weekend, and no holiday that was given."""
    closed = holidays.get(system.currency, frozenset())
    return day.weekday() not in system.weekend and day not in closed


def business_day_from(day: date, system: PaymentSystem, holidays: Holidays = NO_HOLIDAYS) -> date:
    """Return `day`, or the first business day after it.

    Raises
    ------
    InputError
        If the holidays leave no business day within 30 days.
    """
    for ahead in range(LONGEST_CLOSURE_DAYS + 1):
        found = day + timedelta(days=ahead)
        if is_business_day(found, system, holidays):
            return found
    raise InputError(
        f"{system.currency} has no business day in the {LONGEST_CLOSURE_DAYS} days from {day}; "
        "check the holidays given for it"
    )


def add_business_days(
    day: date, count: int, system: PaymentSystem, holidays: Holidays = NO_HOLIDAYS
) -> date:
    """Return the business day `count` (0 or more) after `day`, which is first rolled forward.

    One business day after Friday 16 December 2022 is Monday 19 December in USD; from Saturday
    the 17th, itself rolled to the 19th, it is Tuesday the 20th.
    """
    found = business_day_from(day, system, holidays)
    for _ in range(count):
        found = business_day_from(found + timedelta(days=1), system, holidays)
    return found


def cut_off_at(day: date, system: PaymentSystem) -> datetime:
    """Return the cut-off of `day` as a UTC time."""
    return datetime.combine(day, system.cut_off, tzinfo=system.zone()).astimezone(UTC)


def value_date(
    pay_at: datetime, system: PaymentSystem, holidays: Holidays = NO_HOLIDAYS
) -> tuple[date, datetime]:
    """Return the day a payment made at `pay_at` settles, and that day's cut-off in UTC.

    A payment at the cut-off still settles that day; after it, or on a day that is no business
    day of the currency, the next business day.

    Examples
    --------
    GBP paid on Friday 16 December 2022 at 17:40 UTC settles that day, one second later on Monday
    19 December.
    """
    if pay_at.tzinfo is None:
        raise InputError(f"time {pay_at} has no time zone; give one, for example UTC")
    day = pay_at.astimezone(system.zone()).date()
    settles = business_day_from(day, system, holidays)
    if pay_at > cut_off_at(settles, system):
        settles = business_day_from(settles + timedelta(days=1), system, holidays)
    return settles, cut_off_at(settles, system)


def _system(row: dict[str, str], where: str) -> PaymentSystem:
    try:
        system = PaymentSystem(
            currency=row["currency"],
            system=row["system"],
            time_zone=row["time_zone"],
            cut_off=time.fromisoformat(row["cut_off"]),
            minor_digits=int(row["minor_digits"]),
            weekend=tuple(int(day) for day in row["weekend"].split(";")),
            mark=mark_of(row, where),
            source=row["source"],
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: {error}; every column must be present and typed") from error
    time_zone(system.time_zone, where)
    if len(system.currency) != 3 or not system.currency.isupper():
        raise InputError(f"{where}: currency {system.currency!r} is no ISO code; correct it")
    if system.minor_digits not in (0, 2):
        raise InputError(
            f"{where}: minor_digits {system.minor_digits} is not 0 or 2; money is kept in cents"
        )
    if not all(0 <= day <= 6 for day in system.weekend) or len(set(system.weekend)) > 3:
        raise InputError(f"{where}: weekend {system.weekend} must be up to three days of 0 to 6")
    return system
