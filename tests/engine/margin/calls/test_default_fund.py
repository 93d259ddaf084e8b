from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.calls.default_fund import (
    CappedPeriod,
    cdsclear_contribution,
    cme_assessment_cap,
    ecc_contribution,
    ecc_volatility_minimum,
    eurex_assessment_left,
    eurex_capped_periods,
    eurex_liability_cap,
    fund_term,
    load_default_funds,
    months_after,
    round_up,
)

FIRST = date(2022, 3, 1)


def margins(increases: list[float], start: float = 1e8) -> np.ndarray:
    return start + np.concatenate([[0.0], np.cumsum(increases)])


def test_terms_and_their_marks():
    marks = {fund: set() for fund, _ in load_default_funds()}
    for (fund, _), term in load_default_funds().items():
        marks[fund].add(term.mark)
    assert marks == {
        "EUREX": {"verified"}, "ECC": {"verified"}, "LCH_SA_CDSCLEAR": {"verified"},
        "CME": {"indicative"},
    }  # fmt: skip
    assert fund_term("ECC", "minimum_general_member").value == 3_000_000
    assert fund_term("LCH_SA_CDSCLEAR", "first_layer").value == 20_000_000
    with pytest.raises(InputError, match="'ECC' has no term 'colour'"):
        fund_term("ECC", "colour")


def test_assessments_are_capped_at_twice_the_contribution():
    assert eurex_liability_cap(10e6) == 30e6
    assert eurex_assessment_left(10e6, 0.0) == 20e6
    assert eurex_assessment_left(10e6, 15e6) == 5e6
    assert eurex_assessment_left(10e6, 20e6) == 0.0
    assert eurex_assessment_left(10e6, 25e6) == 0.0
    assert eurex_liability_cap(0.0) == 0.0  # a client contributes nothing


def test_capped_period_of_one_default():
    assert eurex_capped_periods([FIRST]) == (
        CappedPeriod(FIRST, date(2022, 3, 29), (FIRST,)),
    )  # fmt: skip


def test_a_default_inside_extends_the_period():
    second = date(2022, 3, 15)
    (period,) = eurex_capped_periods([second, FIRST])
    assert (period.first, period.last) == (FIRST, date(2022, 4, 12))
    assert period.defaults == (FIRST, second)
    (on_last_day,) = eurex_capped_periods([FIRST, date(2022, 3, 29)])
    assert on_last_day.last == date(2022, 4, 26)


def test_a_default_after_the_end_opens_a_new_period():
    one, two = eurex_capped_periods([FIRST, date(2022, 3, 30)])
    assert one.last == date(2022, 3, 29)
    assert (two.first, two.last) == (date(2022, 3, 30), date(2022, 4, 27))


def test_extensions_end_after_three_months():
    weekly = [FIRST + timedelta(weeks=n) for n in range(13)]
    (period,) = eurex_capped_periods(weekly)
    assert (period.first, period.last) == (FIRST, date(2022, 6, 1))
    assert len(period.defaults) == 13
    both = eurex_capped_periods([*weekly, date(2022, 6, 2)])
    assert both[1].first == date(2022, 6, 2)


def test_holidays_lengthen_the_period():
    closed = {"EUR": frozenset({date(2022, 3, 2)})}
    assert eurex_capped_periods([FIRST], closed)[0].last == date(2022, 3, 30)


@given(st.lists(st.dates(date(2022, 1, 1), date(2023, 12, 31)), min_size=1, max_size=30))
def test_periods_hold_every_default_and_do_not_overlap(defaults):
    periods = eurex_capped_periods(defaults)
    assert sorted(defaults) == [day for period in periods for day in period.defaults]
    for period in periods:
        assert all(period.first <= day <= period.last for day in period.defaults)
        assert period.last <= months_after(period.first, 3)
    for one, two in zip(periods, periods[1:], strict=False):
        assert one.last < two.first


def test_months_after_ends_with_the_month():
    assert months_after(date(2022, 11, 30), 3) == date(2023, 2, 28)
    assert months_after(date(2023, 11, 30), 3) == date(2024, 2, 29)
    assert months_after(date(2022, 1, 15), 3) == date(2022, 4, 15)


def test_volatility_minimum_is_the_largest_increase_rounded_up():
    increases = [1000.0] * 254 + [1_234_567.0]
    assert ecc_volatility_minimum(margins(increases)) == 1_300_000.0
    assert ecc_volatility_minimum(margins([1_200_000.0] + [0.0] * 254)) == 1_200_000.0
    # A larger one before the window does not count, a fall is no increase.
    assert ecc_volatility_minimum(margins([9e6, *increases])) == 1_300_000.0
    assert ecc_volatility_minimum(margins([-5e4] * 255)) == 0.0


def test_least_contributions():
    quiet, wild = margins([0.0] * 255), margins([0.0] * 254 + [4_040_000.0])
    assert ecc_contribution(quiet, general_member=True) == 3_000_000.0
    assert ecc_contribution(quiet, general_member=False) == 500_000.0
    assert ecc_contribution(wild, general_member=True) == 4_100_000.0
    assert cdsclear_contribution(4e6) == 10e6
    assert cdsclear_contribution(14e6) == 14e6


def test_indicative_multiples_come_with_their_mark():
    assert cme_assessment_cap(10e6, several_defaults=False) == (27.5e6, "indicative")
    assert cme_assessment_cap(10e6, several_defaults=True) == (55e6, "indicative")


def test_round_up():
    assert round_up(1.0, 100_000.0) == 100_000.0
    assert round_up(100_000.0, 100_000.0) == 100_000.0
    assert round_up(100_000.004, 100_000.0) == 100_000.0
    assert round_up(100_000.01, 100_000.0) == 200_000.0
    assert round_up(0.0, 100_000.0) == 0.0


def test_refusals():
    with pytest.raises(InputError, match="at least 256 finite"):
        ecc_volatility_minimum(np.zeros(255))
    with pytest.raises(InputError, match="at least 256 finite"):
        ecc_volatility_minimum(np.full(256, np.nan))
    with pytest.raises(InputError, match="contribution is -1"):
        eurex_liability_cap(-1.0)
    with pytest.raises(InputError, match="assessed is nan"):
        eurex_assessment_left(1.0, float("nan"))
