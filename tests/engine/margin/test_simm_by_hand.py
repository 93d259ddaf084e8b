"""Margins that need neither a peer nor a data folder: by hand, and stored answers of a peer.

`PEER` holds what open-source-risk-engine 1.8.17.0 gave for the random books.
"""

from __future__ import annotations

import math

import pytest

from engine.margin.simm import simm_margin
from engine.margin.simm.rulebook import load_parameters
from tests.engine.margin.simm_books import crif, random_rows, risk

# (seed of 150 rows, version, horizon in days, side): USD.
PEER = {
    (21, "2.6", 10, "call"): 342959881090.68097,
    (21, "2.6", 10, "post"): 343220699579.61383,
    (21, "2.6", 1, "call"): 32379699513.02384,
    (21, "2.6", 1, "post"): 32400293222.371696,
    (21, "2.8+2506", 10, "call"): 400838787924.48816,
    (21, "2.8+2506", 10, "post"): 401731588251.8013,
    (21, "2.8+2506", 1, "call"): 31921249188.30832,
    (21, "2.8+2506", 1, "post"): 31956091653.693634,
    (22, "2.6", 10, "call"): 178475157277.00134,
    (22, "2.6", 10, "post"): 174853624550.07657,
    (22, "2.6", 1, "call"): 31046328109.128807,
    (22, "2.6", 1, "post"): 30758320928.52794,
    (22, "2.8+2506", 10, "call"): 323520912438.05914,
    (22, "2.8+2506", 10, "post"): 320906446486.6008,
    (22, "2.8+2506", 1, "call"): 29422469188.305138,
    (22, "2.8+2506", 1, "post"): 29218888626.067513,
    (23, "2.6", 10, "call"): 212615895665.22913,
    (23, "2.6", 10, "post"): 212380122422.3385,
    (23, "2.6", 1, "call"): 46714407775.14634,
    (23, "2.6", 1, "post"): 46697360005.817345,
    (23, "2.8+2506", 10, "call"): 259297084488.53452,
    (23, "2.8+2506", 10, "post"): 259185410503.4914,
    (23, "2.8+2506", 1, "call"): 42722881415.686264,
    (23, "2.8+2506", 1, "post"): 42714289371.08178,
}


@pytest.mark.parametrize("case", PEER)
def test_stored_answers(case: tuple[int, str, int, str]) -> None:
    seed, version, horizon_days, side = case
    answer = simm_margin(crif(random_rows(seed, 150)), version, horizon_days, side).total
    assert answer == pytest.approx(PEER[case], rel=1e-10)


Z99, Z995 = 2.3263478740408408, 2.5758293035489004
LAMBDA = Z995**2 - 1.0
# Days of 1 month, 1 year and 5 years.
MONTH, YEAR = 365.0 / 12.0, 365.0


def parts(row: tuple[object, ...], horizon_days: int, side: str = "call") -> dict[str, float]:
    result = simm_margin(crif([row]), "2.8+2506", horizon_days, side)
    (by_class,) = result.components[str(row[2])].values()
    return by_class


def bend(days: float, horizon_days: int) -> float:
    """Return the curvature scaling of an expiry."""
    return 0.5 * min(1.0, 14.0 / days) / (1.0 if horizon_days == 10 else 10.0)


def daily(horizon_days: int) -> float:
    return math.sqrt(365.0 / (14.0 if horizon_days == 10 else 1.4)) / Z99


@pytest.mark.parametrize("horizon_days", [10, 1])
@pytest.mark.parametrize(("label", "days"), [("2w", 14.0), ("1m", MONTH), ("5y", 5.0 * YEAR)])
@pytest.mark.parametrize("name", ["equity", "commodity"])
def test_vega_and_curvature_per_point(
    name: str, label: str, days: float, horizon_days: int
) -> None:
    book = getattr(load_parameters("2.8+2506", horizon_days), name)
    product = name.capitalize()
    row = risk(product, f"Risk_{product}Vol", "X", 1e3, "5", label)
    sigma = book.delta_weight[4] * daily(horizon_days)
    vega = book.vega_weight[4] * book.volatility_ratio * sigma * 1e3
    curvature = bend(days, horizon_days) * sigma * 1e3 * (1.0 + LAMBDA)
    assert parts(row, horizon_days) == pytest.approx({"vega": vega, "curvature": curvature})
    # A lone long vega: post turns its sign, theta is -1, lambda is 1 and the floor is 0.
    assert parts(row, horizon_days, "post") == pytest.approx({"vega": vega})


@pytest.mark.parametrize("horizon_days", [10, 1])
def test_volatility_indices_have_no_curvature(horizon_days: int) -> None:
    book = load_parameters("2.8+2506", horizon_days).equity
    row = risk("Equity", "Risk_EquityVol", "VIX", 1e3, "12", "1m")
    sigma = book.delta_weight[11] * daily(horizon_days)
    vega = book.vega_weight[11] * book.volatility_ratio * sigma * 1e3
    assert parts(row, horizon_days) == pytest.approx({"vega": vega})


@pytest.mark.parametrize("horizon_days", [10, 1])
@pytest.mark.parametrize(("pair", "levels"), [("EURUSD", (1, 1)), ("USDARS", (1, 0))])
def test_vega_and_curvature_of_fx(pair: str, levels: tuple[int, int], horizon_days: int) -> None:
    book = load_parameters("2.8+2512", horizon_days).fx
    row = risk("RatesFX", "Risk_FXVol", pair, 1e3, label1="1m")
    sigma = book.delta_weight[levels] * daily(horizon_days)
    result = simm_margin(crif([row]), "2.8+2512", horizon_days, "call")
    assert result.components["RatesFX"]["FX"] == pytest.approx(
        {
            "vega": book.vega_weight * book.volatility_ratio * sigma * 1e3,
            "curvature": bend(MONTH, horizon_days) * sigma * 1e3 * (1.0 + LAMBDA),
        }
    )


@pytest.mark.parametrize("horizon_days", [10, 1])
def test_vega_and_curvature_in_value(horizon_days: int) -> None:
    book = load_parameters("2.8+2506", horizon_days)
    rates, credit = book.interest_rate, book.credit_qualifying
    row = risk("RatesFX", "Risk_IRVol", "USD", 1e3, label1="1m")
    curvature = bend(MONTH, horizon_days) * 1e3 * (1.0 + LAMBDA)
    assert parts(row, horizon_days) == pytest.approx(
        {"vega": rates.vega_weight * 1e3, "curvature": curvature / rates.volatility_ratio**2}
    )
    curvature = bend(YEAR, horizon_days) * 1e3 * (1.0 + LAMBDA)
    row = risk("Credit", "Risk_CreditVol", "X", 1e3, "3", "1y")
    assert parts(row, horizon_days) == pytest.approx(
        {"vega": credit.vega_weight[2] * 1e3, "curvature": curvature}
    )
    # The residual bucket is apart, and so is its curvature.
    row = risk("Credit", "Risk_CreditVol", "X", 1e3, "Residual", "1y")
    assert parts(row, horizon_days) == pytest.approx(
        {"vega": credit.vega_weight[12] * 1e3, "curvature": curvature}
    )


@pytest.mark.parametrize("horizon_days", [10, 1])
def test_single_deltas(horizon_days: int) -> None:
    book = load_parameters("2.8+2506", horizon_days)
    rates = book.interest_rate
    cases = [
        (risk("RatesFX", "Risk_Inflation", "GBP", -1e3), rates.inflation_weight),
        (risk("RatesFX", "Risk_XCcyBasis", "GBP", 1e3), rates.basis_weight),
        (risk("RatesFX", "Risk_FX", "GBP", -1e3), book.fx.delta_weight[1, 1]),
        (risk("Credit", "Risk_BaseCorr", "CDX IG", 1e3), book.base_correlation_weight),
        (
            risk("Credit", "Risk_CreditQ", "X", 1e3, "4", "2y"),
            book.credit_qualifying.delta_weight[3],
        ),
        (
            risk("Credit", "Risk_CreditNonQ", "X", 1e3, "Residual", "2y", "ABX"),
            book.credit_non_qualifying.delta_weight[2],
        ),
        (risk("Equity", "Risk_Equity", "X", -1e3, "12"), book.equity.delta_weight[11]),
        (risk("Commodity", "Risk_Commodity", "X", 1e3, "17"), book.commodity.delta_weight[16]),
    ]
    for row, weight in cases:
        (answer,) = parts(row, horizon_days).values()
        assert answer == pytest.approx(1e3 * weight, rel=1e-12), row


def test_concentration_begins_above_the_threshold() -> None:
    limit = load_parameters("2.8+2506", 10).equity.delta_threshold[4]
    weight = load_parameters("2.8+2506", 10).equity.delta_weight[4]

    def margin(amount: float) -> float:
        row = risk("Equity", "Risk_Equity", "X", amount, "5")
        return simm_margin(crif([row]), "2.8+2506", 10, "call").total

    assert margin(limit) == pytest.approx(weight * limit, rel=1e-15)
    assert margin(-4.0 * limit) == pytest.approx(8.0 * weight * limit, rel=1e-14)
