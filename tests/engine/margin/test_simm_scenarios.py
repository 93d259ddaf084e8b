"""Many sets of amounts of one table: each must have the margin the plain function gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.arrays import Float64Array
from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.margin.simm import simm_by_portfolio, simm_versions
from engine.margin.simm.plan import simm_plan
from engine.margin.simm.scenarios import plan_margins, simm_scenarios
from engine.margin.simm.validate import take_rows
from tests.engine.margin.simm_books import crif, random_rows, risk

VERSION = "2.8+2512"


def book(seed: int) -> CrifTable:
    """Return three portfolios, one of them with add-ons, rows in mixed order."""
    rows = [r for i, name in enumerate("ACB") for r in random_rows(seed + i, 40 + 40 * i, name)]
    rows += [
        ("B", "X", "", "Param_ProductClassMultiplier", "RatesFX", "", "", "", 1.3),
        ("B", "X", "", "Param_ProductClassMultiplier", "Equity", "", "", "", 1.1),
        ("C", "X", "", "Param_AddOnFixedAmount", "", "", "", "", 5e6),
        ("C", "X", "", "Notional", "Swaps", "", "", "", 3e8),
        ("C", "X", "", "Param_AddOnNotionalFactor", "Swaps", "", "", "", 2.0),
    ]
    table = crif(rows)
    return take_rows(table, np.random.default_rng(seed).permutation(len(table)))


def shaken(table: CrifTable, seed: int, n: int) -> Float64Array:
    """Return random amounts near and far from the table's; add-on rows keep theirs."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n, len(table))) * 10.0 ** rng.uniform(-6.0, 1.0, (n, 1))
    fixed = np.array([not str(kind).startswith("Risk_") for kind in table.risk_type])
    return np.where(fixed, table.amount_usd, table.amount_usd * factor)


def one_by_one(
    table: CrifTable, amounts: Float64Array, horizon_days: int, side: str, *more: str
) -> Float64Array:
    return np.array(
        [
            [
                result.total
                for result in simm_by_portfolio(
                    replace(table, amount_usd=row), VERSION, horizon_days, side, *more
                ).values()
            ]
            for row in amounts
        ]
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([10, 1]), st.sampled_from(["call", "post"]))
def test_every_scenario_equals_the_plain_margin(seed: int, horizon_days: int, side: str) -> None:
    table = book(seed)
    amounts = shaken(table, seed, 4)
    answer = simm_scenarios(table, amounts, VERSION, horizon_days, side)
    assert answer.shape == (4, 3)
    np.testing.assert_allclose(
        answer, one_by_one(table, amounts, horizon_days, side), rtol=1e-12, atol=1e-6
    )


@pytest.mark.parametrize("version", simm_versions())
@pytest.mark.parametrize("horizon_days", [10, 1])
def test_every_version(version: str, horizon_days: int) -> None:
    table = book(7)
    answer = simm_scenarios(table, table.amount_usd[None, :], version, horizon_days, "post")
    plain = simm_by_portfolio(table, version, horizon_days, "post")
    np.testing.assert_allclose(answer[0], [r.total for r in plain.values()], rtol=1e-12)
    assert list(simm_plan(table, version, horizon_days, "post").portfolio_ids) == list(plain)


def test_the_calculation_currency_is_left_out() -> None:
    # ARS is of the other volatility group, which changes the weights of the rest.
    rows = [risk("RatesFX", "Risk_FX", name, 1e6) for name in ("EUR", "USD", "GBP", "ARS")]
    table = crif(rows)
    amounts = shaken(table, 3, 2)
    seen = set()
    for currency in ("USD", "EUR", "ARS"):
        answer = simm_scenarios(table, amounts, VERSION, 10, "call", currency)
        expected = one_by_one(table, amounts, 10, "call", currency)
        np.testing.assert_allclose(answer, expected, rtol=1e-12)
        seen.add(answer.tobytes())
    assert len(seen) == 3


def test_threads_do_not_change_a_bit() -> None:
    table = book(1)
    amounts = shaken(table, 1, 7)
    one = simm_scenarios(table, amounts, VERSION, 10, "call")
    for threads in (2, 3, 16):
        np.testing.assert_array_equal(
            simm_scenarios(table, amounts, VERSION, 10, "call", threads=threads), one
        )


def test_worked_example() -> None:
    table = crif([risk("RatesFX", "Risk_IRCurve", "USD", 1.0, "1", "10y", "OIS")])
    answer = simm_scenarios(table, np.array([[1e5], [2e5], [0.0]]), "2.8+2506", 10, "call")
    assert answer == pytest.approx(np.array([[6e6], [12e6], [0.0]]))
    integers = np.array([[100_000], [200_000], [0]])
    np.testing.assert_array_equal(simm_scenarios(table, integers, "2.8+2506", 10, "call"), answer)


def test_amounts_of_any_layout_and_none() -> None:
    table = book(2)
    amounts = shaken(table, 2, 3)
    answer = simm_scenarios(table, amounts, VERSION, 10, "call")
    plan = simm_plan(table, VERSION, 10, "call")
    np.testing.assert_array_equal(plan_margins(plan, np.asfortranarray(amounts)), answer)
    frozen = amounts.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(plan_margins(plan, frozen), answer)
    np.testing.assert_array_equal(plan_margins(plan, amounts[::-1], 2), answer[::-1])
    assert plan_margins(plan, amounts[:0], 2).shape == (0, 3)
    empty = crif([])
    assert simm_scenarios(empty, np.empty((2, 0)), VERSION, 10, "call").shape == (2, 0)


def test_add_ons_alone() -> None:
    table = crif([risk("", "Param_AddOnFixedAmount", "", 4e6)])
    assert simm_scenarios(table, np.full((2, 1), 4e6), VERSION, 10, "call").tolist() == [
        [4e6],
        [4e6],
    ]


def test_bad_amounts_are_named() -> None:
    table = book(2)
    good = table.amount_usd[None, :]
    with pytest.raises(InputError, match=r"shape \(2, 3\); .* each of the 245 CRIF rows"):
        simm_scenarios(table, np.zeros((2, 3)), VERSION, 10, "call")
    with pytest.raises(InputError, match=r"shape \(245,\)"):
        simm_scenarios(table, table.amount_usd, VERSION, 10, "call")
    bad = np.tile(good, (3, 1))
    bad[1, 4] = np.inf
    with pytest.raises(InputError, match="scenario 2, CRIF row 5: inf is not a finite number"):
        simm_scenarios(table, bad, VERSION, 10, "call")
    for kind in ("Notional", "Param_ProductClassMultiplier", "Param_AddOnFixedAmount"):
        row = int(np.flatnonzero(table.risk_type == kind)[0])
        bad = np.tile(good, (3, 1))
        bad[2, row] = 1.0
        there = f"{table.amount_usd[row]:g}".replace("+", r"\+")
        with pytest.raises(
            InputError,
            match=rf"scenario 3, CRIF row {row + 1}: an add-on row has 1 .* table has {there}; "
            "add-ons do not vary by scenario$",
        ):
            simm_scenarios(table, bad, VERSION, 10, "call")
    with pytest.raises(InputError, match="threads must be at least 1, not 0"):
        simm_scenarios(table, good, VERSION, 10, "call", threads=0)
    with pytest.raises(InputError, match="row 1, RiskType: 'Risk'"):
        simm_scenarios(crif([risk("RatesFX", "Risk", "EUR", 1.0)]), good, VERSION, 10, "call")
    with pytest.raises(InputError, match="'secured' is not known"):
        simm_scenarios(table, good, VERSION, 10, "secured")
