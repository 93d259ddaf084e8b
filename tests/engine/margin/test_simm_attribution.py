"""The gradient of the margin, and its split over groups of rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.arrays import Float64Array
from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.margin.simm import attribution as module
from engine.margin.simm import simm_by_portfolio
from engine.margin.simm.attribution import simm_attribution, simm_gradient
from engine.margin.simm.plan import simm_plan
from engine.margin.simm.validate import take_rows
from tests.engine.margin.simm_books import crif, random_rows, risk
from tests.engine.margin.test_simm_scenarios import book

VERSION = "2.8+2512"
SEEDS = st.integers(0, 10_000)
SIDES = st.sampled_from(["call", "post"])
# Divides amounts so that no group reaches its threshold.
SMALL = 1e-6


def total(table: CrifTable, horizon_days: int, side: str) -> float:
    results = simm_by_portfolio(table, VERSION, horizon_days, side).values()
    return sum(result.total for result in results)


def scaled(table: CrifTable, factor: float) -> CrifTable:
    return replace(table, amount_usd=table.amount_usd * factor)


def labels(table: CrifTable, n: int = 5) -> Float64Array:
    return np.array([f"M{i % n}" for i in range(len(table))], dtype=object)


def slope_by_differences(table: CrifTable, row: int, side: str) -> tuple[float, float]:
    """Return a fourth-order difference quotient and a bound on its rounding error."""
    step = 1e-3 * abs(table.amount_usd[row])

    def at(n: int) -> float:
        amount = table.amount_usd.copy()
        amount[row] += n * step
        return total(replace(table, amount_usd=amount), 10, side)

    quotient = (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * step)
    return quotient, 1e-14 * at(0) / step


@pytest.mark.parametrize("factor", [1.0, SMALL])
@pytest.mark.parametrize("side", ["call", "post"])
@pytest.mark.parametrize("seed", range(3))
def test_gradient_equals_differences(seed: int, side: str, factor: float) -> None:
    table = scaled(crif(random_rows(seed, 60)), factor)
    slope = simm_gradient(table, VERSION, 10, side)
    for row in range(len(table)):
        expected, rounding = slope_by_differences(table, row, side)
        assert abs(slope[row] - expected) <= 1e-6 * abs(expected) + rounding, table.risk_type[row]


@settings(max_examples=15, deadline=None)
@given(SEEDS, SIDES)
def test_euler_below_thresholds(seed: int, side: str) -> None:
    table = scaled(crif(random_rows(seed, 80)), SMALL)
    margin = total(table, 10, side)
    slope = simm_gradient(table, VERSION, 10, side)
    assert float(slope @ table.amount_usd) == pytest.approx(margin, rel=1e-9)
    # At one day nothing is concentrated, so the same holds for a book of any size.
    table = scaled(table, 1.0 / SMALL)
    slope = simm_gradient(table, VERSION, 1, side)
    assert float(slope @ table.amount_usd) == pytest.approx(total(table, 1, side), rel=1e-9)


def test_gradient_of_hand_cases() -> None:
    swap = risk("RatesFX", "Risk_IRCurve", "USD", 1e5, "1", "10y", "OIS")
    assert simm_gradient(crif([swap]), "2.8+2506", 10, "call") == pytest.approx([60.0])
    assert simm_gradient(crif([swap, swap]), "2.8+2506", 10, "post") == pytest.approx([60.0, 60.0])
    short = risk("RatesFX", "Risk_IRCurve", "USD", -1e5, "1", "10y", "OIS")
    assert simm_gradient(crif([short]), "2.8+2506", 10, "call") == pytest.approx([-60.0])
    # Far above its threshold a margin c x^1.5 has the slope 1.5 c x^0.5.
    big = crif([risk("Equity", "Risk_Equity", "ACME", 1e9, "5")])
    assert simm_gradient(big, VERSION, 10, "call")[0] * 1e9 == pytest.approx(
        1.5 * total(big, 10, "call"), rel=1e-12
    )
    # A lone long vega: curvature rises with it on the call side and is floored at 0 for post.
    vega = crif([risk("Equity", "Risk_EquityVol", "ACME", 1e3, "5", "1y")])
    call, post = (simm_gradient(vega, VERSION, 10, side)[0] for side in ("call", "post"))
    assert call * 1e3 == pytest.approx(total(vega, 10, "call"), rel=1e-12)
    assert post * 1e3 == pytest.approx(total(vega, 10, "post"), rel=1e-12)
    assert call > post > 0.0
    # Where the margin is 0 it has no slope.
    none = crif([risk("RatesFX", "Risk_FX", "USD", 1e6), swap, short])
    assert simm_gradient(none, VERSION, 10, "call").tolist() == [0.0, 0.0, 0.0]


def test_add_on_rows() -> None:
    table = crif(
        [
            risk("RatesFX", "Risk_IRCurve", "USD", 1e5, "1", "10y", "OIS"),
            risk("", "Param_ProductClassMultiplier", "RatesFX", 1.5),
            risk("", "Param_AddOnNotionalFactor", "Swaps", 2.0),
            risk("", "Notional", "Swaps", 1e8),
            risk("", "Notional", "Others", 1e8),
            risk("", "Param_AddOnFixedAmount", "", 3e6),
        ]
    )
    slope = simm_gradient(table, "2.8+2506", 10, "call")
    assert slope == pytest.approx([90.0, 0.0, 0.0, 0.02, 0.0, 1.0])
    split = simm_attribution(table, np.array(list("aabbcc"), dtype=object), "2.8+2506", 10, "call")
    assert split.by_group == pytest.approx({"a": 9e6, "b": 2e6, "c": 3e6})
    assert split.total == 14e6


@settings(max_examples=10, deadline=None)
@given(SEEDS, SIDES, st.floats(-3.0, 2.0))
def test_parts_sum_to_the_margin(seed: int, side: str, size: float) -> None:
    table = crif(random_rows(seed, 60))
    table = scaled(table, 10.0**size)
    split = simm_attribution(table, labels(table), VERSION, 10, side)
    margin = total(table, 10, side)
    assert split.total == pytest.approx(margin, rel=1e-12)
    assert sum(split.by_group.values()) == pytest.approx(margin, rel=1e-9)
    assert split.by_row.sum() == pytest.approx(margin, rel=1e-9)
    assert abs(split.error_usd) <= 1e-9 * margin
    assert list(split.by_group) == sorted(split.by_group)


def test_the_calculation_currency_is_left_out() -> None:
    rows = [risk("RatesFX", "Risk_FX", name, 1e6) for name in ("EUR", "GBP")]
    assert simm_gradient(crif(rows), "2.8+2506", 10, "call", "EUR") == pytest.approx([0.0, 7.1])
    big = scaled(crif(rows), 1e5)
    expected = simm_by_portfolio(big, VERSION, 10, "call", "EUR")["P"].total
    split = simm_attribution(big, np.array(["a", "b"], dtype=object), VERSION, 10, "call", "EUR")
    assert split.by_group == pytest.approx({"a": 0.0, "b": expected}, rel=1e-9)
    assert split.total == pytest.approx(expected)


def test_each_portfolio_is_split_over_its_own_rows() -> None:
    table = book(5)
    split = simm_attribution(table, table.portfolio_id, VERSION, 10, "call")
    results = simm_by_portfolio(table, VERSION, 10, "call")
    assert split.by_group == pytest.approx(
        {name: result.total for name, result in results.items()}, rel=1e-9
    )


def test_below_thresholds_the_split_is_eulers() -> None:
    table = scaled(crif(random_rows(8, 60)), SMALL)
    split = simm_attribution(table, labels(table), VERSION, 10, "call")
    slope = simm_gradient(table, VERSION, 10, "call")
    np.testing.assert_array_equal(split.by_row, table.amount_usd * slope)


def test_the_ray_integral_of_hand_cases() -> None:
    # Two managers hold one concentrated name: shares are in proportion to what they hold.
    rows = [risk("Equity", "Risk_Equity", "ACME", amount, "5") for amount in (6e8, 3e8, -1e8)]
    table = crif(rows)
    split = simm_attribution(table, np.array(["a", "b", "c"], dtype=object), VERSION, 10, "call")
    margin = total(table, 10, "call")
    assert split.by_group == pytest.approx(
        {"a": margin * 6 / 8, "b": margin * 3 / 8, "c": -margin / 8}, rel=1e-9
    )
    # Two issues: EUR and GBP of one size have equal shares of sqrt(3).
    rows = [risk("RatesFX", "Risk_FX", name, 1e6) for name in ("EUR", "GBP")]
    split = simm_attribution(crif(rows), np.array(["x", "y"], dtype=object), "2.8+2506", 10, "call")
    assert split.by_group == pytest.approx({"x": 7.1e6 * 3**0.5 / 2, "y": 7.1e6 * 3**0.5 / 2})


def test_the_split_is_the_mean_of_the_gradient_along_the_ray() -> None:
    table = crif(random_rows(11, 40))
    split = simm_attribution(table, labels(table), VERSION, 10, "call")
    n = 4000
    t = (np.arange(n) + 0.5) / n
    plan = simm_plan(table, VERSION, 10, "call")
    mean = module._at(plan, t[:, None] * table.amount_usd)[1].mean(axis=0)
    scale = np.abs(split.by_row).max()
    np.testing.assert_allclose(split.by_row, table.amount_usd * mean, atol=1e-4 * scale)
    assert (np.abs(split.by_row - table.amount_usd * mean) > 0.0).any()


def test_the_order_of_rows_and_their_split_do_not_matter() -> None:
    table = crif(random_rows(12, 60))
    names = labels(table)
    split = simm_attribution(table, names, VERSION, 10, "call")
    order = np.random.default_rng(12).permutation(len(table))
    shuffled = simm_attribution(take_rows(table, order), names[order], VERSION, 10, "call")
    assert shuffled.by_group == pytest.approx(split.by_group, rel=1e-8, abs=1e-6 * split.total)
    twice = np.tile(np.arange(len(table)), 2)
    halves = replace(take_rows(table, twice), amount_usd=table.amount_usd[twice] / 2.0)
    both = simm_attribution(halves, names[twice], VERSION, 10, "call")
    assert both.by_group == pytest.approx(split.by_group, rel=1e-8, abs=1e-6 * split.total)


def test_post_is_the_opposite_book_of_call() -> None:
    table = crif(random_rows(13, 60))
    post = simm_attribution(table, labels(table), VERSION, 10, "post")
    call = simm_attribution(scaled(table, -1.0), labels(table), VERSION, 10, "call")
    assert post.by_group == pytest.approx(call.by_group, rel=1e-12)


def test_labels_must_match_the_rows_and_may_be_anything() -> None:
    table = crif(random_rows(1, 4))
    with pytest.raises(
        InputError, match=r"shape \(3,\); give one label for each of the 4 CRIF rows"
    ):
        simm_attribution(table, np.array(["a", "b", "c"], dtype=object), VERSION, 10, "call")
    split = simm_attribution(table, np.array([1, "1", None, ""], dtype=object), VERSION, 10, "call")
    assert list(split.by_group) == ["", "1"]
    assert split.by_group["1"] == pytest.approx(split.by_row[:2].sum())
    mixed = ["a", float("nan"), "b", "a"]
    assert list(simm_attribution(table, mixed, VERSION, 10, "call").by_group) == ["", "a", "b"]
    empty = simm_attribution(crif([]), np.empty(0, dtype=object), VERSION, 10, "call")
    assert (empty.total, empty.by_group) == (0.0, {})


def test_an_integral_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_HALVINGS", 0)
    monkeypatch.setattr(module, "_NODES", 1)
    table = crif(random_rows(11, 40))
    with pytest.raises(ArithmeticError, match="the integral along the ray did not converge$"):
        simm_attribution(table, labels(table), VERSION, 10, "call")
