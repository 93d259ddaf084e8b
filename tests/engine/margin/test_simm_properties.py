"""What must hold for any book."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.crif import CrifTable
from engine.margin.simm import simm_by_portfolio, simm_margin, simm_versions
from engine.margin.simm.aggregate import (
    bucket_variance,
    concentrated_pairs,
    curvature_margin,
    scaling_factors,
)
from engine.margin.simm.validate import take_rows
from tests.engine.margin.simm_books import crif, random_rows, risk

SEEDS = st.integers(0, 10_000)


def book(seed: int, n_rows: int = 120) -> CrifTable:
    return crif(random_rows(seed, n_rows))


def scaled(table: CrifTable, factor: float) -> CrifTable:
    return replace(table, amount_usd=table.amount_usd * factor)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_the_order_of_rows_does_not_change_a_bit(seed: int) -> None:
    table = book(seed)
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = take_rows(table, order)
    assert simm_margin(shuffled, "2.8+2512", 10, "call") == simm_margin(
        table, "2.8+2512", 10, "call"
    )


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_splitting_rows_changes_nothing(seed: int) -> None:
    table = book(seed)
    part = np.random.default_rng(seed).uniform(-1.0, 2.0, len(table))
    rows = np.tile(np.arange(len(table)), 2)
    split = replace(
        take_rows(table, rows),
        amount_usd=np.r_[table.amount_usd * part, table.amount_usd * (1.0 - part)],
    )
    whole = simm_margin(table, "2.8+2506", 10, "post").total
    assert simm_margin(split, "2.8+2506", 10, "post").total == pytest.approx(whole, rel=1e-9)


def test_opposite_positions_leave_no_margin() -> None:
    table = book(1)
    rows = np.tile(np.arange(len(table)), 2)
    both = replace(take_rows(table, rows), amount_usd=np.r_[table.amount_usd, -table.amount_usd])
    assert simm_margin(both, "2.8+2512", 10, "call").total == 0.0


@pytest.mark.parametrize("version", simm_versions())
@pytest.mark.parametrize("horizon_days", [10, 1])
def test_posting_a_book_is_calling_the_opposite_book(version: str, horizon_days: int) -> None:
    table = book(2)
    post = simm_margin(table, version, horizon_days, "post").total
    assert post == simm_margin(scaled(table, -1.0), version, horizon_days, "call").total
    assert post != simm_margin(table, version, horizon_days, "call").total


@pytest.mark.parametrize("horizon_days", [10, 1])
def test_margin_is_proportional_below_thresholds(horizon_days: int) -> None:
    small = scaled(book(3), 1e-6)
    one = simm_margin(small, "2.8+2512", horizon_days, "call").total
    three = simm_margin(scaled(small, 3.0), "2.8+2512", horizon_days, "call").total
    assert three == pytest.approx(3.0 * one, rel=1e-12)


# Each amount is above the concentration threshold of its risk.
@pytest.mark.parametrize(
    "row",
    [
        risk("RatesFX", "Risk_IRCurve", "USD", 1e9, label1="10y", label2="OIS"),
        risk("RatesFX", "Risk_FX", "EUR", 1e11),
        risk("Equity", "Risk_Equity", "ACME", 1e9, bucket="5"),
        risk("Commodity", "Risk_Commodity", "Gold", 1e10, bucket="12"),
        risk("Credit", "Risk_CreditQ", "ACME", 1e8, "8", "5y"),
        risk("Credit", "Risk_CreditNonQ", "POOL", 1e8, "1", "5y", "CMBX"),
        risk("RatesFX", "Risk_Inflation", "USD", 1e9),
    ],
)
def test_doubling_a_concentrated_position_multiplies_by_2_to_the_3_halves(
    row: tuple[object, ...],
) -> None:
    table = crif([row])
    one = simm_margin(table, "2.8+2512", 10, "call").total
    two = simm_margin(scaled(table, 2.0), "2.8+2512", 10, "call").total
    assert two / one == pytest.approx(2.0**1.5, rel=1e-12)
    # No concentration at one day.
    one = simm_margin(table, "2.8+2512", 1, "call").total
    two = simm_margin(scaled(table, 2.0), "2.8+2512", 1, "call").total
    assert two / one == pytest.approx(2.0, rel=1e-12)


def test_portfolios_do_not_influence_each_other() -> None:
    tables = {name: random_rows(seed, 80, name) for seed, name in enumerate("ABC")}
    # A giant beside a dwarf: sums that cross portfolios would lose the dwarf's digits.
    tables["A"] = [(*row[:-1], row[-1] * 1e9) for row in tables["A"]]
    together = simm_by_portfolio(
        crif([row for rows in tables.values() for row in rows]), "2.8+2512", 10, "call"
    )
    assert list(together) == ["A", "B", "C"]
    for name, rows in tables.items():
        assert together[name] == simm_margin(crif(rows), "2.8+2512", 10, "call")


def test_result_parts_add_up() -> None:
    result = simm_margin(book(5), "2.8+2512", 10, "call")
    assert sum(result.by_product_class.values()) == pytest.approx(result.total, rel=1e-15)
    for risk_class, value in result.by_risk_class.items():
        parts = (tree.get(risk_class, {}).values() for tree in result.components.values())
        assert sum(map(sum, parts)) == pytest.approx(value, rel=1e-12)
    assert sum(result.by_risk_class.values()) >= result.total
    assert set(result.to_dict()) == {
        "version",
        "horizon_days",
        "side",
        "currency",
        "total",
        "by_product_class",
        "by_risk_class",
    }


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_prefix_sums_equal_the_double_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    x = rng.normal(size=n) * 10.0 ** rng.integers(-6, 6, n)
    group = rng.integers(0, 4, n)
    ratio = np.maximum(1.0, rng.uniform(0.2, 3.0, n))
    factor = np.minimum.outer(ratio, ratio) / np.maximum.outer(ratio, ratio)
    pairs = factor * np.outer(x, x) * (group[:, None] == group) * ~np.eye(n, dtype=bool)
    expected = np.array([pairs[group == g].sum() for g in range(4)])
    scale = np.array([np.abs(pairs[group == g]).sum() for g in range(4)])
    error = np.abs(concentrated_pairs(x, ratio, group, 4) - expected)
    assert np.all(error <= 1e-13 * scale)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_bucket_variance_equals_the_double_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    bucket = rng.integers(0, 3, n)
    name = rng.integers(0, 5, n)
    family = rng.integers(0, 2, n)
    by_name = np.maximum(1.0, rng.uniform(0.2, 3.0, (3, 5)))
    ratio = by_name[bucket, name]
    same = np.array([0.9, 0.5, 0.8])[bucket]
    different = np.array([0.4, 0.5, 0.1])[bucket]
    ws = rng.normal(size=n)
    rho = np.where(family[:, None] == family, same, different)
    factor = np.minimum.outer(ratio, ratio) / np.maximum.outer(ratio, ratio)
    full = np.where(np.eye(n, dtype=bool), 1.0, rho * factor) * np.outer(ws, ws)
    full = full * (bucket[:, None] == bucket)
    expected = [max(full[bucket == b].sum(), 0.0) for b in range(3)]
    answer = bucket_variance(ws, name, family, bucket, ratio, same, different, 3)
    np.testing.assert_allclose(answer, expected, rtol=1e-10, atol=1e-12)


def test_numbers_of_the_docstrings() -> None:
    one = np.zeros(3, dtype=np.int64)
    x, ratio = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    assert concentrated_pairs(x, ratio, one, 1) == pytest.approx([9.5])
    rho = np.full(2, 0.5)
    ids = np.arange(2)
    variance = bucket_variance(
        np.array([3.0, 4.0]), ids, ids, one[:2], np.array([1.0, 2.0]), rho, rho, 1
    )
    assert variance == pytest.approx([31.0])
    cvr = np.array([100.0])
    assert curvature_margin(cvr, cvr, cvr) == pytest.approx([663.4896601], abs=1e-6)
    assert scaling_factors(10)[:2] == pytest.approx([0.5, 0.5 * 14 / (365 / 12)])


def test_worked_margins_by_hand() -> None:
    def margin(row: tuple[object, ...], version: str) -> float:
        return simm_margin(crif([row]), version, 10, "call").total

    swap = risk("RatesFX", "Risk_IRCurve", "USD", 4e6, label1="2w", label2="OIS")
    assert margin(swap, "2.5") == pytest.approx(115.0 * 4e6)
    ten_years = risk("RatesFX", "Risk_IRCurve", "USD", 1e5, label1="10y", label2="OIS")
    assert margin(ten_years, "2.8+2506") == pytest.approx(6_000_000.0)
    assert margin(risk("Equity", "Risk_Equity", "ACME", 1e3, "5"), "2.8+2506") == 23_000.0
    # Two currencies, both regular against USD: sqrt(a^2 + b^2 + 2 * 0.5 * a * b).
    pair = crif([risk("RatesFX", "Risk_FX", "EUR", 1e6), risk("RatesFX", "Risk_FX", "GBP", 1e6)])
    expected = 7.1e6 * np.sqrt(3.0)
    assert simm_margin(pair, "2.8+2506", 10, "call").total == pytest.approx(expected)
    # The calculation currency has no FX risk against itself.
    assert simm_margin(pair, "2.8+2506", 10, "call", "EUR").total == pytest.approx(7.1e6)
