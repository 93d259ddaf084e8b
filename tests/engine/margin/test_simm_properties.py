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
    NORMAL_99,
    NORMAL_995,
    bucket_variance,
    concentrated_pairs,
    curvature_margin,
    scaling_factors,
)
from engine.margin.simm.encode import EncodedRows, Sensitivities, net
from engine.margin.simm.rulebook import load_parameters
from engine.margin.simm.scenarios import simm_scenarios
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


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_opposite_positions_leave_no_margin(seed: int) -> None:
    table = book(seed)
    rows = np.tile(np.arange(len(table)), 2)
    both = replace(take_rows(table, rows), amount_usd=np.r_[table.amount_usd, -table.amount_usd])
    alone = simm_margin(table, "2.8+2512", 10, "call").total
    # Zero, but for the rounding of sums of three amounts and more.
    assert simm_margin(both, "2.8+2512", 10, "call").total <= 1e-15 * alone


def test_one_position_and_its_opposite_leave_nothing() -> None:
    for row in random_rows(1, 60):
        both = crif([row, (*row[:-1], -row[-1])])
        assert simm_margin(both, "2.8+2512", 10, "call").total == 0.0


@pytest.mark.parametrize("version", simm_versions())
@pytest.mark.parametrize("horizon_days", [10, 1])
def test_posting_a_book_is_calling_the_opposite_book(version: str, horizon_days: int) -> None:
    table = book(2)
    post = simm_margin(table, version, horizon_days, "post").total
    assert post == simm_margin(scaled(table, -1.0), version, horizon_days, "call").total
    assert post != simm_margin(table, version, horizon_days, "call").total


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from([10, 1]), st.sampled_from(["call", "post"]), st.floats(0.01, 30.0))
def test_margin_is_proportional_below_thresholds(
    seed: int, horizon_days: int, side: str, factor: float
) -> None:
    small = scaled(book(seed), 1e-6)
    one = simm_margin(small, "2.8+2512", horizon_days, side).total
    more = simm_margin(scaled(small, factor), "2.8+2512", horizon_days, side).total
    assert more == pytest.approx(factor * one, rel=1e-11)


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


@pytest.mark.parametrize(
    ("row", "risk_class"),
    [
        (risk("RatesFX", "Risk_IRVol", "USD", 1e11, label1="5y"), "InterestRate"),
        (risk("RatesFX", "Risk_InflationVol", "EUR", 1e11, label1="5y"), "InterestRate"),
        (risk("RatesFX", "Risk_FXVol", "EURUSD", 1e11, label1="1y"), "FX"),
        (risk("Equity", "Risk_EquityVol", "ACME", 1e11, "5", "1y"), "Equity"),
        (risk("Commodity", "Risk_CommodityVol", "Gold", 1e11, "12", "1y"), "Commodity"),
        (risk("Credit", "Risk_CreditVol", "ACME", 1e11, "8", "5y"), "CreditQualifying"),
        (risk("Credit", "Risk_CreditVolNonQ", "P", 1e11, "1", "5y", "CMBX"), "CreditNonQualifying"),
    ],
)
def test_doubling_a_concentrated_vega(row: tuple[object, ...], risk_class: str) -> None:
    table = crif([row])
    parts = [
        simm_margin(scaled(table, factor), "2.8+2512", 10, "call").components[str(row[2])]
        for factor in (1.0, 2.0)
    ]
    one, two = (part[risk_class] for part in parts)
    assert two["vega"] / one["vega"] == pytest.approx(2.0**1.5, rel=1e-12)
    # Curvature has no concentration.
    assert two["curvature"] / one["curvature"] == pytest.approx(2.0, rel=1e-12)


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
    result = simm_margin(book(5), "2.8+2512", 10, "call", "EUR")
    said = (result.version, result.horizon_days, result.side, result.calculation_currency)
    assert said == ("2.8+2512", 10, "call", "EUR")
    assert result.currency == "USD"
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


def test_a_class_with_a_small_margin_is_listed() -> None:
    result = simm_margin(crif([risk("RatesFX", "Risk_FX", "EUR", 0.1)]), "2.8+2506", 10, "call")
    assert result.by_risk_class == {"FX": pytest.approx(0.71)}


def test_one_name_in_two_buckets_is_two_names() -> None:
    equity = load_parameters("2.8+2512", 10).equity
    amounts = (3e8, 5e8)
    rows = [
        risk("Equity", "Risk_Equity", "ACME", amount, bucket)
        for amount, bucket in zip(amounts, ("5", "8"), strict=True)
    ]
    first, second = (
        equity.delta_weight[i] * amount * max(1.0, (amount / equity.delta_threshold[i]) ** 0.5)
        for amount, i in zip(amounts, (4, 7), strict=True)
    )
    gamma = equity.between[4, 7]
    assert first > equity.delta_weight[4] * amounts[0]
    expected = (first**2 + second**2 + 2.0 * gamma * first * second) ** 0.5
    table = crif(rows)
    assert simm_margin(table, "2.8+2512", 10, "call").total == pytest.approx(expected, rel=1e-12)
    answer = simm_scenarios(table, table.amount_usd[None, :], "2.8+2512", 10, "call")
    assert answer[0, 0] == pytest.approx(expected, rel=1e-12)
    # The same for vega, whose expiries are added per name and bucket.
    rows = [
        risk("Equity", "Risk_EquityVol", "ACME", 1e3, bucket, tenor)
        for bucket in ("5", "8")
        for tenor in ("1y", "5y")
    ]
    part = simm_margin(crif(rows), "2.8+2512", 10, "call").components["Equity"]["Equity"]
    scale = equity.volatility_ratio * equity.vega_weight[4] * np.sqrt(365.0 / 14.0) / NORMAL_99
    first, second = (2e3 * scale * equity.delta_weight[i] for i in (4, 7))
    expected = (first**2 + second**2 + 2.0 * gamma * first * second) ** 0.5
    assert part["vega"] == pytest.approx(expected, rel=1e-12)


def test_curvature_of_nothing_is_nothing() -> None:
    total, absolute = np.array([0.0, -5.0, 0.0]), np.array([0.0, 5.0, 4.0])
    spread = np.array([0.0, 5.0, 3.0])
    multiplier = NORMAL_995**2 - 1.0
    answer = curvature_margin(total, absolute, spread)
    assert answer == pytest.approx([0.0, 0.0, 3.0 * multiplier])
    share = -2.0 / 10.0
    expected = -2.0 + (multiplier * (1.0 + share) - share) * 7.0
    one = curvature_margin(np.array([-2.0]), np.array([10.0]), np.array([7.0]))
    assert one == pytest.approx([expected])


def test_rows_net_by_every_key_however_large_the_codes() -> None:
    rng = np.random.default_rng(3)
    n = 60
    small = rng.integers(0, 2, (7, n))
    amount = np.round(rng.normal(size=n), 3)
    names = np.array(["A", "B"], dtype=object)

    def netted(factor: int) -> Sensitivities:
        codes = small * factor
        rows = EncodedRows(
            np.arange(1, n + 1), codes[0], codes[1], codes[2], codes[3], codes[4], codes[5],
            codes[6], amount, names, names,
        )  # fmt: skip
        return net(rows, np.ones(n, dtype=np.bool_))

    # Product of the seven radices: beyond 2**62 the keys are numbered again on the way.
    plain, large = netted(1), netted(2**16)
    expected: dict[tuple[int, ...], float] = {}
    for column, value in zip(small.T, amount, strict=True):
        key = tuple(int(code) for code in column)
        expected[key] = expected.get(key, 0.0) + float(value)
    for answer, factor in ((plain, 1), (large, 2**16)):
        assert len(answer) == len(expected)
        keys = zip(
            answer.silo, answer.risk_type, answer.bucket, answer.qualifier, answer.label2,
            answer.tenor, strict=True,
        )  # fmt: skip
        found = dict(zip(keys, answer.amount_usd, strict=True))
        for codes, value in expected.items():
            portfolio, product, kind, qualifier, bucket, tenor, label2 = codes
            silo = 4 * portfolio + product
            key = tuple(factor * c for c in (silo, kind, bucket, qualifier, label2, tenor))
            assert found[key] == pytest.approx(value, abs=1e-12)
    np.testing.assert_array_equal(plain.amount_usd, large.amount_usd)
