"""The model `cds`: short history, what cannot be margined, and the Monte Carlo."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from engine.domain.failures import FailureReason
from engine.margin.credit.config import CdsConfig
from engine.margin.historical import (
    filtered_scenarios,
    value_at_risk,
)
from engine.pricing.annuities import cds_value
from tests.engine.margin.credit_books import TERMS as CDS
from tests.engine.margin.credit_books import answer, credit_builder, credit_market, one, prepared

VAR = CdsConfig(measure="var")
SIMPLE = CdsConfig(measure="var", spread_moves="factor")


@pytest.fixture(scope="module")
def market():
    return credit_market()


def _losses(market, name, moves, quantity=1.0, coupon=1.0, tenor=5.0):
    level = market.level[market.index()[name]]
    value = cds_value(level + moves, coupon, tenor) - cds_value(level, coupon, tenor)
    return -quantity * 1e6 * value


def test_an_instrument_without_a_loss_at_default_is_named(market):
    _, model = prepared(one({"ACME-F": 1.0, "ACME-5Y": 1.0}), market)
    assert [(f.reason, f.item) for f in model.failures] == [
        (FailureReason.UNSUPPORTED, "ACME-F")
    ]  # fmt: skip
    assert prepared(one({"ACME-5Y": 1.0, "ACME-B": 1.0}), market)[1].failures == ()


def test_a_spread_that_was_not_positive_is_named_and_moves_by_differences(market):
    moves = np.array(market.returns[:, market.index()["ACME"]])
    moves[200] = 3.0
    odd = credit_market(ACME=moves)
    _, model = prepared(one({"ACME-5Y": 1.0}), odd)
    assert [f.item for f in model.failures] == ["ACME"]
    assert prepared(one({"BOLT-5Y": 1.0}), odd)[1].failures == ()
    assert prepared(one({"ACME-5Y": 1.0}), odd, SIMPLE)[1].failures == ()
    assert answer(one({"ACME-5Y": 1.0}), odd, VAR).im[0] == pytest.approx(
        answer(one({"ACME-5Y": 1.0}), odd, SIMPLE).im[0], rel=1e-12
    )


def test_shares_follow_the_managers(market):
    builder = credit_builder().agreement("A", **CDS)
    for manager, quantity in (("M1", -3.0), ("M2", 1.0)):
        builder.position("ACME-5Y", "A", manager, quantity)
    got = answer(builder, market)
    assert got.pair_im == pytest.approx([1.5 * got.im[0], -0.5 * got.im[0]], rel=1e-9)


@pytest.mark.parametrize(("known", "fails"), [(254, False), (253, True)])
def test_too_little_history_fails_the_agreement_as_a_whole(market, known, fails):
    moves = np.array(market.returns[:, market.index()["ACME"]])
    moves[: 1300 - known] = np.nan
    young = credit_market(ACME=moves)
    book = one({"ACME-5Y": 1.0})
    book.agreement("B", **CDS).position("BOLT-5Y", "B", "M1", 1.0)
    exposures, model = prepared(book, young)
    got = model.margin(np.ones(2))
    assert np.isfinite(got.im[1])
    assert np.isnan(got.im[0]) == fails
    assert np.isnan(got.pair_im[0]) == fails
    failure = model.failures[0]
    assert failure.reason is FailureReason.MISSING_DATA
    if fails:
        assert failure.item == "A"
        assert "gives 249 scenarios of ACME, fewer than 250" in failure.message
        assert "A" not in got.basis
    else:
        assert failure.item == "ACME"
        assert "the margin uses these 250" in failure.message
        assert got.basis["A"]["scenarios"] == 250
    assert np.isfinite(exposures.market.returns[-known:]).all()


def test_a_short_history_uses_its_own_scenarios_alone(market):
    moves = np.array(market.returns[:, market.index()["ACME"]])
    moves[:900] = np.nan
    young = credit_market(ACME=moves)
    book = one({"ACME-5Y": -1.0}, confidence=0.9)
    book.agreement("B", **CDS).position("BOLT-5Y", "B", "M1", 1.0)
    got = answer(book, young, SIMPLE)
    tail = filtered_scenarios(moves[900:, None], 0.97, 5, 1000, volatility_floor=1e-5)[:, 0]
    expected = float(value_at_risk(_losses(young, "ACME", tail, -1.0), 0.9))
    assert got.components["spread_response"][0] == pytest.approx(expected, rel=1e-9)
    assert (got.basis["A"]["scenarios"], got.basis["B"]["scenarios"]) == (396, 1000)


def test_a_lookback_that_just_fits_is_not_reported(market):
    moves = np.array(market.returns[:, market.index()["ACME"]])
    moves[: 1300 - 304] = np.nan
    young = credit_market(ACME=moves)
    assert prepared(one({"ACME-5Y": 1.0}, lookback_days=300), young)[1].failures == ()
    assert len(prepared(one({"ACME-5Y": 1.0}, lookback_days=301), young)[1].failures) == 1


def test_a_still_factor_without_a_floor_fails_the_agreement(market):
    moves = np.array(market.returns[:, market.index()["ACME"]])
    moves[:250] = 0.0
    still = credit_market(ACME=moves)
    floor = np.where(still.factors.factor_id == "ACME", 0.0, still.factors.daily_vol_floor)
    bare = replace(still, factors=replace(still.factors, daily_vol_floor=floor))
    _, model = prepared(one({"ACME-5Y": 1.0}), bare)
    assert model.failures[0].reason is FailureReason.INVALID
    assert np.isnan(model.margin(np.ones(1)).im[0])
    assert np.isfinite(answer(one({"ACME-5Y": 1.0}), still).im[0])
    assert np.isfinite(answer(one({"ACME-5Y": 1.0}, ewma_lambda=1.0), bare).im[0])


def test_a_stress_that_leaves_every_scale_fails_its_holder_alone(market):
    book = one({"ACME-5Y": -1.0}).agreement("B", **{**CDS, "ewma_lambda": 1.0})
    book.position("BOLT-5Y", "B", "M1", 1.0)
    _, model = prepared(book, market)
    got = model.margin(np.array([1e5, 1.0]))
    assert np.isnan(got.im[0])
    assert np.isfinite(got.im[1])


def test_monte_carlo_equals_the_closed_form_of_the_t(market):
    own = CdsConfig(
        measure="var", scenarios="monte_carlo", spread_moves="factor", degrees_of_freedom=4.0,
        draws=200_000,
    )  # fmt: skip
    got = answer(_rate_future(), market, own)
    k = market.index()["UST5"]
    daily = filtered_scenarios(
        market.returns[:, [k]], 0.97, 1, 1000, volatility_floor=market.factors.daily_vol_floor[k]
    )[:, 0]
    sigma = np.sqrt(5.0) * np.std(daily)
    expected = 1000.0 * sigma * stats.t(4).ppf(0.995) * np.sqrt(0.5)
    assert got.components["spread_response"][0] == pytest.approx(expected, rel=0.02)
    assert got.basis["A"]["scenarios"] == 200_000
    es = answer(_rate_future(), market, own.model_copy(update={"measure": "es"}))
    t = stats.t(4)
    q = t.ppf(0.995)
    tail = t.pdf(q) / 0.005 * (4 + q * q) / 3.0
    assert es.components["spread_response"][0] == pytest.approx(
        1000.0 * sigma * tail * np.sqrt(0.5), rel=0.03
    )


def _rate_future():
    builder = credit_builder().instrument("RATE", "future", "UST5", multiplier=1000.0)
    return builder.agreement("A", **CDS).position("RATE", "A", "M1", 1.0)


def test_monte_carlo_keeps_correlation_and_its_seed(market):
    own = CdsConfig(scenarios="monte_carlo", seed=3)
    book = one({"ACME-5Y": -1.0, "BOLT-5Y": -1.0})
    first = answer(book, market, own)
    assert first.basis["A"]["scenarios"] == 20_000
    assert answer(book, market, own).im[0] == first.im[0]
    other = answer(book, market, own.model_copy(update={"seed": 4}))
    assert other.im[0] != first.im[0]
    assert other.im[0] == pytest.approx(first.im[0], rel=0.1)
    historical = answer(book, market)
    ratio = first.components["spread_response"][0] / historical.components["spread_response"][0]
    assert 0.6 < ratio < 1.6
    hedge = answer(one({"ACME-5Y": -1.0, "BOLT-5Y": 1.0}), market, own)
    assert hedge.components["spread_response"][0] < 0.7 * first.components["spread_response"][0]


def test_the_basis_is_json(market):
    got = answer(one({"ACME-5Y": -1.0, "IG-5Y": 1.0}), market)
    basis = json.loads(json.dumps(got.basis["A"]))
    assert basis["rulebook"] == "credit:2026.11.20"
    assert basis["horizon_days"] == 5
    assert basis["scenario_kind"] == "historical"
    assert basis["spread_moves"] == "log"
    assert basis["marks"]["defaults"] == "indicative"


def test_no_agreements_give_an_empty_answer(market):
    got = answer(one({"ACME-5Y": -1.0}, model="fhs_es"), market)
    assert (len(got.im), len(got.pair_im), got.basis) == (0, 0, {})
