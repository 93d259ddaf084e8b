"""Versions, add-on rows, and rows that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.simm import (
    SimmResult,
    simm_by_portfolio,
    simm_margin,
    simm_versions,
    validate_crif,
)
from engine.margin.simm import vocabulary as words
from engine.margin.simm.rulebook import load_parameters
from tests.engine.margin.simm_books import crif, risk

GOOD = risk("RatesFX", "Risk_IRCurve", "USD", 4e6, label1="2w", label2="OIS")


def test_versions_are_listed_in_order_of_effect() -> None:
    assert simm_versions() == ("2.5", "2.5A", "2.6", "2.7", "2.7+2412", "2.8+2506", "2.8+2512")
    assert load_parameters("2.8+2512", 10).effective_date == "2026-07-11"


@pytest.mark.parametrize("version", simm_versions())
@pytest.mark.parametrize("horizon_days", [10, 1])
def test_rulebooks_are_sound(version: str, horizon_days: int) -> None:
    book = load_parameters(version, horizon_days)
    for matrix in (book.interest_rate.tenor_correlation, book.class_correlation):
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_array_equal(np.diag(matrix), 1.0)
    for name in ("credit_qualifying", "credit_non_qualifying", "equity", "commodity"):
        bucketed = getattr(book, name)
        np.testing.assert_array_equal(bucketed.between, bucketed.between.T)
        assert not np.diag(bucketed.between).any()
        n = len(bucketed.buckets)
        for column in ("delta_weight", "vega_weight", "delta_threshold", "vega_threshold"):
            values = getattr(bucketed, column)
            assert values.shape == (n,)
            assert np.all(values > 0.0)
    assert book.interest_rate.delta_weight.shape == (len(words.currencies()[0]), 12)
    assert len(book.source) > 20


def test_rulebooks_state_source_and_trademark() -> None:
    for path in words.RULEBOOK_FOLDER.glob("simm_*.json"):
        document = json.loads(path.read_text())
        assert "licence" in document["trademark"]
        assert document["source"]
        assert set(document["risk_weights"]) == {"10", "1"}


@pytest.mark.parametrize(
    ("version", "horizon_days", "side", "currency", "words_in_message"),
    [
        ("2.9", 10, "call", "USD", ("'2.9'", "2.8+2512")),
        ("2.5", 5, "call", "USD", ("5", "10 or 1")),
        ("2.5", 10, "secured", "USD", ("'secured'", "call or post")),
        ("2.5", 10, "call", "US", ("'US'", "ISO 4217")),
    ],
)
def test_unknown_settings(
    version: str, horizon_days: int, side: str, currency: str, words_in_message: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        simm_margin(crif([GOOD]), version, horizon_days, side, currency)
    for word in words_in_message:
        assert word in str(caught.value)


BAD_ROWS = [
    (risk("RatesFX", "Risk_IRCurv", "USD", 1.0), "RiskType: 'Risk_IRCurv'", "'Risk_IRCurve'"),
    (risk("Ratesfxx", "Risk_FX", "EUR", 1.0), "ProductClass: 'Ratesfxx'", "'RatesFX'"),
    (risk("", "Risk_FX", "EUR", 1.0), "ProductClass: is blank", "RatesFX"),
    (risk("RatesFX", "Risk_FX", "EUX", 1.0), "Qualifier: 'EUX'", "ISO 4217"),
    (risk("RatesFX", "Risk_FXVol", "EUREUR", 1.0, label1="1y"), "Qualifier: 'EUREUR'", "EURUSD"),
    (risk("Equity", "Risk_Equity", "", 1.0, "5"), "Qualifier: is blank", "name"),
    (risk("Equity", "Risk_Equity", "ACME", 1.0, "13"), "Bucket: '13'", "Residual"),
    (risk("Equity", "Risk_Equity", "ACME", 1.0, ""), "Bucket: is blank", "Residual"),
    (risk("Commodity", "Risk_Commodity", "Oil", 1.0, "Residual"), "Bucket: 'Residual'", "17"),
    (risk("RatesFX", "Risk_IRVol", "USD", 1.0, label1="7y"), "Label1: '7y'", "30y"),
    (risk("Credit", "Risk_CreditQ", "ACME", 1.0, "1", "30y"), "Label1: '30y'", "10y"),
    (risk("RatesFX", "Risk_IRCurve", "USD", 1.0, "1", "1y", "Libor2m"), "Label2: 'Libor2m'", "OIS"),
    (risk("Credit", "Risk_CreditQ", "ACME", 1.0, "1", "5y", "EURO"), "Label2: 'EURO'", "'EUR'"),
    (risk("Credit", "Risk_CreditNonQ", "POOL", 1.0, "1", "5y"), "Label2: is blank", "CMBX"),
    (risk("", "Param_ProductClassMultiplier", "Rate", 1.1), "Qualifier: 'Rate'", "'Rates'"),
    (risk("RatesFX", "Risk_FX", "EUR", float("nan")), "AmountUSD: nan", "finite"),
]


@pytest.mark.parametrize(("row", "what", "remedy"), BAD_ROWS)
def test_an_unknown_word_is_named_and_never_residual(
    row: tuple[object, ...], what: str, remedy: str
) -> None:
    table = crif([GOOD, row])
    with pytest.raises(InputError, match="row 2") as caught:
        simm_margin(table, "2.8+2512", 10, "call")
    field, _, problem = what.partition(": ")
    assert f"{field}: {problem}" in str(caught.value)
    assert remedy in str(caught.value)
    checked = validate_crif(table, "book.csv")
    assert len(checked.value) == 1
    assert [failure.where for failure in checked.failures] == ["book.csv:2"]
    assert what in checked.failures[0].message


def test_a_notional_of_nothing_is_fine() -> None:
    rows = [risk("", "Notional", "X", value) for value in (5.0, -5.0)]
    rows.append(risk("", "Param_AddOnNotionalFactor", "X", 10.0))
    result = simm_margin(crif(rows), "2.5", 10, "call")
    assert result.by_product_class == {"AddOn": 0.0}


def test_many_bad_rows_give_a_short_message() -> None:
    with pytest.raises(InputError, match="and 35 more"):
        simm_margin(crif([BAD_ROWS[0][0]] * 40), "2.5", 10, "call")


def test_several_portfolios_do_not_net_silently() -> None:
    table = crif([(*GOOD,), ("Q", *GOOD[1:])])
    with pytest.raises(InputError, match="2 portfolios .P, Q.*simm_by_portfolio"):
        simm_margin(table, "2.5", 10, "call")
    assert set(simm_by_portfolio(table, "2.5", 10, "call")) == {"P", "Q"}
    table = crif([(name, *GOOD[1:]) for name in "FEDCBA"])
    message = "6 portfolios .A, B, C, D, E. do not .*, or give the rows of one portfolio$"
    with pytest.raises(InputError, match=message):
        simm_margin(table, "2.5", 10, "call")


def test_no_rows_no_margin() -> None:
    empty = crif([])
    expected = SimmResult("2.5", 1, "post", "USD", 0.0, {}, {}, "EUR")
    assert simm_margin(empty, "2.5", 1, "post", "EUR") == expected
    assert simm_by_portfolio(empty, "2.5", 10, "call") == {}


@pytest.mark.parametrize(
    "variant",
    [
        risk("Rates", "risk_ircurve", "usd", 4e6, "1", "2W", "ois"),
        risk(" RatesFX ", "Risk_IRCurve ", " USD", 4e6, "9", "2w", "OIS"),
    ],
)
def test_spelling_that_means_the_same(variant: tuple[object, ...]) -> None:
    both = simm_margin(crif([GOOD, variant]), "2.5", 10, "call").total
    twice = replace(crif([GOOD]), amount_usd=np.array([8e6]))
    assert both == simm_margin(twice, "2.5", 10, "call").total


def test_offshore_and_turned_currencies_are_the_same_risk() -> None:
    cnh = crif([risk("RatesFX", "Risk_FX", "CNH", 1e6), risk("RatesFX", "Risk_FX", "CNY", -1e6)])
    assert simm_margin(cnh, "2.8+2512", 10, "call").total == 0.0
    pair = [
        risk("RatesFX", "Risk_FXVol", "USDEUR", 1e6, label1="1y"),
        risk("RatesFX", "Risk_FXVol", "EURUSD", -1e6, label1="1y"),
    ]
    assert simm_margin(crif(pair), "2.8+2512", 10, "call").total == 0.0


def test_add_ons_and_multipliers() -> None:
    rows = [
        GOOD,
        risk("", "Param_ProductClassMultiplier", "RatesFX", 1.5),
        risk("", "Param_AddOnNotionalFactor", "Product Bravo", 25.0),
        risk("", "Notional", "Product Bravo", 60e6),
        risk("", "Notional", "Product Bravo", 100e6),
        risk("", "Notional", "Product Charlie", 40e6),
        risk("", "Param_AddOnFixedAmount", "", 10e6),
        risk("", "Param_AddOnFixedAmount", "", 20e6),
    ]
    result = simm_margin(crif(rows), "2.5", 10, "call")
    assert result.by_product_class == {"RatesFX": 690e6, "AddOn": 70e6}
    assert result.total == 760e6
    assert result.by_risk_class == {"InterestRate": 460e6}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("Param_ProductClassMultiplier", "Credit", 0.9)], "row 2.*0.9 is below 1"),
        ([("Param_AddOnNotionalFactor", "X", -1.0)], "row 2.*-1 is below 0"),
        ([("Notional", "X", -5.0)], "row 2.*'X' nets to -5; a notional must not be negative$"),
        (
            [
                ("Param_ProductClassMultiplier", "FX", 1.2),
                ("Param_ProductClassMultiplier", "RatesFX", 1.3),
            ],
            "row 3.*1.3 contradicts 1.2 in row 2",
        ),
    ],
)
def test_add_on_rows_that_make_no_sense(rows: list[tuple[str, str, float]], message: str) -> None:
    table = crif([GOOD, *(risk("", kind, name, value) for kind, name, value in rows)])
    with pytest.raises(InputError, match=message):
        simm_margin(table, "2.5", 10, "call")
