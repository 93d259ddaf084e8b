"""From histories to the market of one date: merge, truncation, carrying, returns, failures, FX."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.market import FactorTable
from engine.market.factors import table_from_rows
from engine.market.levels import Levels
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market

NAN = float("nan")
MONDAY = np.datetime64("2022-03-07")


def row(name: str, kind: str = "equity", currency: str = "USD", ret: str = "log") -> dict[str, Any]:
    return {
        "factor_id": name,
        "asset_class": kind,
        "currency": currency,
        "unit": "index",
        "return_type": ret,
        "bucket": "one",
        "adv": 1e6,
        "daily_vol_floor": 0.001,
        "simm_risk_type": "",
        "simm_qualifier": "",
        "simm_bucket": "",
        "simm_label1": "",
        "simm_label2": "",
        "synthetic": False,
        "source": "test",
    }


def table(*rows: dict[str, Any]) -> FactorTable:
    return table_from_rows(list(rows))


def levels(columns: dict[str, list[float]], start: np.datetime64 = MONDAY) -> Levels:
    n_days = len(next(iter(columns.values())))
    dates = np.busday_offset(start, np.arange(n_days)).astype("datetime64[D]")
    values = np.column_stack([np.array(values, dtype=np.float64) for values in columns.values()])
    return Levels(dates, np.array(list(columns), dtype=object), values)


def by_item(failures: tuple[Failure, ...]) -> dict[str, Failure]:
    return {failure.item: failure for failure in failures}


def test_returns_are_log_or_differences_and_gaps_are_carried() -> None:
    factors = table(row("A"), row("R", "rates", ret="absolute"), row("B"))
    history = levels(
        {"A": [100.0, NAN, 102.0], "R": [4.0, 4.1, 3.9], "B": [50.0, 50.0, 51.0]},
    )
    built = build_market(factors, history, date(2022, 3, 9))
    market = built.value
    assert built.failures == ()
    assert market.as_of == date(2022, 3, 9)
    assert market.dates.astype(str).tolist() == ["2022-03-08", "2022-03-09"]
    np.testing.assert_allclose(market.returns[:, 0], [0.0, 0.0198026], atol=5e-8)
    np.testing.assert_allclose(market.returns[:, 1], [0.1, -0.2])
    assert market.filled_days == {"A": 1}
    assert market.level.tolist() == [102.0, 3.9, 51.0]
    assert market.substituted == ()


def test_user_factor_is_taken_whole_and_others_are_named() -> None:
    factors = table(row("A"), row("B"))
    base = levels({"A": [1.0, 2.0, 3.0], "B": [5.0, 6.0, 7.0]})
    user = levels({"A": [NAN, 20.0, 30.0]})
    market = build_market(factors, base, date(2022, 3, 9), user_levels=user).value
    # The packaged 1.0 of the first day is not used to fill the user's blank.
    assert np.isnan(market.returns[0, 0])
    assert market.returns[1, 0] == pytest.approx(np.log(1.5))
    assert market.substituted == ("B",)


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=2, max_value=7), st.floats(min_value=0.1, max_value=1e6))
def test_nothing_after_as_of_is_used(cut: int, future: float) -> None:
    values = [100.0, 101.0, 99.0, 103.0, 104.0, 102.0, 108.0, 110.0]
    changed = values[:cut] + [future] * (len(values) - cut)
    factors = table(row("A"))
    as_of = levels({"A": values}).dates[cut - 1].item()
    one = build_market(factors, levels({"A": values}), as_of).value
    two = build_market(factors, levels({"A": changed}), as_of).value
    np.testing.assert_array_equal(one.returns, two.returns)
    np.testing.assert_array_equal(one.level, two.level)
    assert one.dates[-1] == np.datetime64(as_of)


def test_negative_level_of_a_log_factor_is_a_failure_with_date_and_remedy() -> None:
    factors = table(row("WTI", "commodity"), row("A"))
    history = levels({"WTI": [18.31, -36.98, 8.9], "A": [1.0, 2.0, 3.0]})
    built = build_market(factors, history, date(2022, 3, 9))
    assert list(built.value.factors.factor_id) == ["A"]
    failure = by_item(built.failures)["WTI"]
    assert failure.reason is FailureReason.INVALID
    for part in ("-36.98", "2022-03-08", "absolute"):
        assert part in failure.message
    before = build_market(factors, history, date(2022, 3, 8))
    assert "WTI" in by_item(before.failures)


def test_stale_factor_is_left_out_with_its_last_date() -> None:
    factors = table(row("OLD"), row("A"))
    history = levels({"OLD": [1.0] * 5 + [NAN] * 15, "A": [float(i) for i in range(1, 21)]})
    last = history.dates[-1].item()
    built = build_market(factors, history, last, max_stale_days=10)
    assert list(built.value.factors.factor_id) == ["A"]
    failure = by_item(built.failures)["OLD"]
    assert failure.reason is FailureReason.MISSING_DATA
    assert "2022-03-11" in failure.message
    kept = build_market(factors, history, last, max_stale_days=30).value
    assert kept.filled_days["OLD"] == 15
    assert kept.level[0] == 1.0


def test_unknown_and_empty_factors_are_failures() -> None:
    factors = table(row("A"), row("EMPTY"), row("LATE"))
    history = levels(
        {"A": [1.0, 2.0, 3.0], "EMPTY": [NAN, NAN, NAN], "LATE": [NAN, NAN, 5.0]},
    )
    user = levels({"TYPO": [1.0, 1.0, 1.0]})
    built = build_market(
        factors,
        history,
        date(2022, 3, 9),
        user_levels=user,
        factor_ids=["A", "EMPTY", "LATE", "NOROW"],
    )
    failures = by_item(built.failures)
    assert set(failures) == {"EMPTY", "LATE", "NOROW", "TYPO"}
    assert failures["TYPO"].reason is FailureReason.INVALID
    assert "factors.csv" in failures["NOROW"].message
    assert list(built.value.factors.factor_id) == ["A"]


def test_as_of_outside_the_history_is_refused_with_the_last_date() -> None:
    factors = table(row("A"))
    history = levels({"A": [1.0, 2.0, 3.0]})
    with pytest.raises(InputError, match="2022-03-09"):
        build_market(factors, history, date(2022, 3, 10))
    with pytest.raises(InputError, match="fewer than two dates"):
        build_market(factors, history, date(2022, 3, 7))
    with pytest.raises(InputError, match="no market can be built.*absolute"):
        build_market(factors, levels({"A": [1.0, -2.0, 3.0]}), date(2022, 3, 9))


def test_weekend_as_of_gives_the_friday_and_thin_days_are_no_rows() -> None:
    factors = table(row("A"), row("B"), row("C"))
    history = levels(
        {
            "A": [1.0, 2.0, 3.0, 4.0, 5.0],
            "B": [1.0, NAN, 1.0, 1.0, 1.0],
            "C": [1.0, NAN, 1.0, 1.0, 1.0],
        }
    )
    market = build_market(factors, _with_sunday(history), date(2022, 3, 13)).value
    assert market.as_of == date(2022, 3, 11)
    assert market.dates.astype(str).tolist() == ["2022-03-09", "2022-03-10", "2022-03-11"]
    # The move of the thin Tuesday is in Wednesday's return.
    assert market.returns[0, 0] == pytest.approx(np.log(3.0))


def _with_sunday(history: Levels) -> Levels:
    dates = np.append(history.dates, np.datetime64("2022-03-13"))
    return Levels(dates, history.factor_ids.copy(), np.vstack([history.values, np.ones(3)]))


def test_fx_is_found_even_when_not_asked_for_and_missing_rates_are_named() -> None:
    factors = table(
        row("DAX", currency="EUR"),
        row("N225", currency="JPY"),
        row("EURUSD", "fx", "USD"),
        row("USDJPY", "fx", "JPY"),
    )
    history = levels(
        {"DAX": [1.0, 2.0], "N225": [1.0, 2.0], "EURUSD": [1.1, 1.25], "USDJPY": [NAN, NAN]}
    )
    built = build_market(factors, history, date(2022, 3, 8), factor_ids=["DAX", "N225"])
    assert list(built.value.factors.factor_id) == ["DAX", "N225"]
    assert built.value.fx_usd == {"USD": 1.0, "EUR": 1.25}
    failures = by_item(built.failures)
    assert failures["JPY"].reason is FailureReason.CURRENCY_CONVERSION
    assert "USDJPY" in failures["JPY"].message
    assert "USDJPY" in failures


def test_packaged_market_is_complete() -> None:
    factors = packaged_factors()
    built = build_market(factors, packaged_levels(), date(2022, 12, 28))
    market = built.value
    assert built.failures == ()
    assert market.as_of == date(2022, 12, 28)
    assert list(market.factors.factor_id) == list(factors.factor_id)
    assert market.returns.shape == (5982, len(factors))
    assert str(market.dates[0]) == "1999-01-05"
    assert set(factors.currency) <= set(market.fx_usd)
    assert market.fx_usd["EUR"] == 1.064
    begun = np.maximum.accumulate(~np.isnan(market.returns), axis=0)
    assert not np.isnan(market.returns[begun]).any()
    assert not market.filled_days
    assert not market.returns.flags.writeable
