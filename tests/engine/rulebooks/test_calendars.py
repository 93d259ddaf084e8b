from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.rulebooks.calendars import (
    CUT_OFFS_FILE,
    add_business_days,
    business_day_from,
    is_business_day,
    load_payment_systems,
    payment_system,
    read_payment_systems,
    value_date,
)
from engine.rulebooks.services import load_services
from engine.rulebooks.tables import worst_mark

FRIDAY = date(2022, 12, 16)
MONDAY = date(2022, 12, 19)


def test_every_currency_of_the_registry_can_be_paid():
    needed = {service.currency for service in load_services().values()}
    assert needed <= set(load_payment_systems())


def test_cut_offs_that_were_read():
    verified = {c: s.cut_off for c, s in load_payment_systems().items() if s.mark == "verified"}
    assert verified == {
        "USD": time(18, 45), "EUR": time(17), "GBP": time(17, 40), "AUD": time(16, 30),
    }  # fmt: skip


def test_currencies_without_minor_unit():
    whole = {c for c, s in load_payment_systems().items() if s.minor_digits == 0}
    assert whole == {"JPY", "KRW", "CLP"}


@pytest.mark.parametrize(
    ("pay_at", "settles"),
    [
        (datetime(2022, 12, 16, 17, 40, tzinfo=UTC), FRIDAY),
        (datetime(2022, 12, 16, 17, 40, 1, tzinfo=UTC), MONDAY),
        (datetime(2022, 12, 17, 9, 0, tzinfo=UTC), MONDAY),
        (datetime(2022, 12, 18, 23, 59, tzinfo=UTC), MONDAY),
        (datetime(2022, 12, 19, 17, 41, tzinfo=UTC), date(2022, 12, 20)),
    ],
)
def test_value_date_in_sterling(pay_at, settles):
    day, cut_off = value_date(pay_at, payment_system("GBP"))
    assert day == settles
    assert cut_off == datetime(settles.year, settles.month, settles.day, 17, 40, tzinfo=UTC)


def test_cut_off_follows_the_clock_of_the_currency():
    winter = value_date(datetime(2022, 1, 12, 12, tzinfo=UTC), payment_system("USD"))[1]
    summer = value_date(datetime(2022, 7, 13, 12, tzinfo=UTC), payment_system("USD"))[1]
    assert winter.time() == time(23, 45)
    assert summer.time() == time(22, 45)
    south = value_date(datetime(2022, 1, 12, 1, tzinfo=UTC), payment_system("AUD"))[1]
    north = value_date(datetime(2022, 7, 13, 1, tzinfo=UTC), payment_system("AUD"))[1]
    assert south.time() == time(5, 30)
    assert north.time() == time(6, 30)


def test_the_day_is_that_of_the_currency_not_of_utc():
    # 22:00 UTC on Sunday is Monday morning in Tokyo.
    day, _ = value_date(datetime(2022, 12, 18, 22, tzinfo=UTC), payment_system("JPY"))
    assert day == MONDAY


def test_a_cut_off_after_midnight_utc_belongs_to_the_local_day():
    west = replace(payment_system("USD"), time_zone="America/Los_Angeles")
    # 01:00 UTC on Saturday is Friday 17:00 there, before its cut-off at 18:45.
    day, cut_off = value_date(datetime(2022, 12, 17, 1, tzinfo=UTC), west)
    assert day == FRIDAY
    assert cut_off == datetime(2022, 12, 17, 2, 45, tzinfo=UTC)


def test_weekend_and_holidays():
    usd, sar = payment_system("USD"), payment_system("SAR")
    assert is_business_day(FRIDAY, usd)
    assert not is_business_day(FRIDAY, sar)
    assert is_business_day(date(2022, 12, 18), sar)
    closed = {"USD": frozenset({MONDAY})}
    assert not is_business_day(MONDAY, usd, closed)
    assert is_business_day(MONDAY, payment_system("EUR"), closed)
    assert business_day_from(date(2022, 12, 17), usd, closed) == date(2022, 12, 20)


def test_add_business_days_examples():
    usd = payment_system("USD")
    assert add_business_days(FRIDAY, 1, usd) == MONDAY
    assert add_business_days(FRIDAY, 0, usd) == FRIDAY
    assert add_business_days(date(2022, 12, 17), 1, usd) == date(2022, 12, 20)


@given(
    st.dates(date(2015, 1, 1), date(2035, 1, 1)),
    st.integers(0, 60),
    st.frozensets(st.integers(0, 90), max_size=12),
)
def test_business_days_equal_numpy(day, count, closed_after):
    closed = frozenset(day + timedelta(days=n) for n in closed_after)
    expected = np.busday_offset(
        np.datetime64(day), count, roll="forward", holidays=sorted(closed)
    ).item()
    assert add_business_days(day, count, payment_system("EUR"), {"EUR": closed}) == expected


@given(
    st.sampled_from(sorted(load_payment_systems())),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
)
def test_value_date_is_the_first_day_whose_cut_off_is_not_past(currency, moment):
    system, pay_at = payment_system(currency), moment.replace(tzinfo=UTC)
    day, cut_off = value_date(pay_at, system)
    assert pay_at <= cut_off
    assert is_business_day(day, system)
    assert cut_off - pay_at < timedelta(days=5)


def test_refusals():
    with pytest.raises(InputError, match="no payment system is known for currency XXX"):
        payment_system("XXX")
    with pytest.raises(InputError, match="no time zone"):
        value_date(datetime(2022, 12, 16), payment_system("USD"))
    always = frozenset(FRIDAY + timedelta(days=n) for n in range(40))
    with pytest.raises(InputError, match="no business day"):
        business_day_from(FRIDAY, payment_system("USD"), {"USD": always})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("EUR,T2", "USD,T2", "line 4: currency USD is repeated"),
        ("18:45,2", "18:45,3", "line 3: minor_digits 3"),
        ("18:45", "late", "line 3"),
        ("America/New_York", "America/Gotham", "line 3: time zone"),
        ("5;6", "5;7", "weekend"),
        ("USD,", "Usd,", "no ISO code"),
        (",verified,Federal Reserve", ",sure,Federal Reserve", "mark 'sure'"),
        ("USD,Fedwire Funds,", "USD,", "wrong number of cells"),
    ],
)
def test_a_broken_row_is_refused_with_its_line(tmp_path, old, new, message):
    text = CUT_OFFS_FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "currency_cutoffs.csv"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_payment_systems(path)


def test_worst_mark():
    assert worst_mark("verified", "user") == "user"
    assert worst_mark("verified", "indicative", "user") == "indicative"
    assert worst_mark("verified") == "verified"
