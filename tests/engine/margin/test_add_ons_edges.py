"""Add-ons at their edges: missing volumes, short history, accounts without positions."""

from __future__ import annotations

import numpy as np
import pytest

from engine.margin.add_ons.apply import add_ons, prepare
from engine.margin.add_ons.config import AddOnConfig
from engine.margin.add_ons.inputs import recent_volatility
from engine.margin.concentration import (
    concentration_add_on,
    concentration_inputs,
)
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from tests.engine.margin.test_add_ons_apply import _builder, _market, _one, _prepared, _sigma
from tests.support.tiny_fund import text, tiny_market


def test_volatility_is_todays_unless_said():
    market = _market()
    builder = _one(broker_multiplier=1.5).position("EQ", "A", "M2", 5e5)
    exposures = net_positions(builder.build(market), market)
    config, im = MarginConfig(), np.array([8.0])
    prepared, pair_im = prepare(exposures, config), np.array([6.0, 2.0])
    for silent, said, other in (
        (prepared.amounts(im), prepared.amounts(im, 1.0), prepared.amounts(im, 2.0)),
        (
            prepared.pair_shares(im, pair_im),
            prepared.pair_shares(im, pair_im, 1.0),
            prepared.pair_shares(im, pair_im, 2.0),
        ),
        (
            add_ons(exposures, im, config)[0],
            add_ons(exposures, im, config, 1.0)[0],
            add_ons(exposures, im, config, 2.0)[0],
        ),
    ):
        assert list(silent) == list(said) == ["broker", "concentration", "bid_ask"]
        for name in silent:
            assert silent[name].tolist() == said[name].tolist()
        assert (other["bid_ask"] > 2.0 * silent["bid_ask"]).all()
    assert add_ons(exposures, im, config)[0]["broker"].tolist() == [4.0]
    assert prepared.pair_shares(im, pair_im)["broker"].tolist() == [3.0, 1.0]
    # e 150 million of 80 million a day: sqrt(7.5 - 1) today, sqrt(15 - 1) on half the depth.
    sigma = _sigma(market)
    inputs = concentration_inputs(exposures, config)
    today, twice = (concentration_add_on(inputs, config, s)[0] for s in (1.0, 2.0))
    assert today == pytest.approx(sigma * 150e6 * np.sqrt(6.5), rel=1e-9)
    assert twice == pytest.approx(2.0 * sigma * 150e6 * np.sqrt(14.0), rel=1e-9)


def test_an_account_without_positions_is_no_division_by_zero():
    market = _market()
    builder = _one("ECC").agreement("EMPTY", venue="ECC").agreement("NONE", venue="CCP")
    prepared = _prepared(builder, market)
    amounts = prepared.amounts(np.zeros(3))
    assert amounts["concentration"][0] > 0.0
    assert amounts["concentration"][1:].tolist() == [0.0, 0.0]
    assert list(prepared.basis()["liquidity"]) == ["A"]


def test_volumes_at_the_edge():
    # Half a dollar in a factor of unknown volume is named all the same.
    adv = np.full(6, 80e6)
    adv[1] = 0.0
    prepared = _prepared(_one(quantity=0.005), tiny_market(adv=adv))
    said = "average daily volume is 0; positions in this factor carry no concentration or bid-ask"
    (failure,) = prepared.failures
    assert (failure.item, failure.where) == ("STK", "adv of the factor table")
    assert failure.message.startswith(said)
    assert failure.message.endswith("give a volume above 0")
    assert {k: v.tolist() for k, v in prepared.amounts(np.zeros(1)).items()} == {}
    # What else the account holds is charged as if it were alone.
    market = tiny_market(adv=adv)
    both = _prepared(_one().position("FUT", "A", "M1", 1000.0), market)
    alone = _prepared(_builder().agreement("A").position("FUT", "A", "M1", 1000.0), market)
    expected = alone.amounts(np.zeros(1))
    assert expected["concentration"][0] > 0.0
    for name, values in both.amounts(np.zeros(1)).items():
        assert values.tolist() == expected[name].tolist()
    # Half a dollar a day is a volume: e 100 million is 8e8 times a quarter of it.
    adv[1] = 0.5
    market = tiny_market(adv=adv)
    prepared = _prepared(_one(), market)
    assert prepared.failures == ()
    expected = _sigma(market) * 100e6 * np.sqrt(8e8 - 1.0)
    assert prepared.amounts(np.zeros(1))["concentration"] == pytest.approx([expected], rel=1e-9)


def test_recent_volatility_by_hand():
    nan = np.nan
    returns = np.array([[0.5, nan, nan, 0.0], [0.01, nan, nan, 0.0], [0.03, 0.02, nan, 0.0]])
    floor = np.array([0.001, 0.001, 0.004, 0.002])
    got = recent_volatility(np.vstack([returns[:1], *[returns[1:]] * 125]), floor)
    assert got == pytest.approx([0.01, 0.001, 0.004, 0.002], rel=1e-12)
    got = recent_volatility(returns[1:], floor)
    assert got == pytest.approx([0.01, 0.001, 0.004, 0.002], rel=1e-12)


def test_a_factor_without_history_has_its_floor():
    returns = tiny_market().returns.copy()
    returns[:, 1] = np.nan
    market = _market(returns=returns, daily_vol_floor=np.full(6, 0.002))
    for decay in (0.97, 1.0, np.nan):
        prepared = _prepared(_one(ewma_lambda=decay), market)
        assert prepared.inputs.volatility[0].tolist() == [0.0, 0.002, 0.0, 0.0, 0.0, 0.0]
        assert prepared.inputs.half_spread[1] == pytest.approx(0.02 * 0.002)


def test_terms_of_a_method_by_choice_say_whose_they_are():
    prepared = _prepared(_one("ECC"), _market(), liquidity_method="impact", impact_coefficient=0.8)
    (terms,) = prepared.inputs.concentration
    assert (terms.scope, terms.add_on, terms.method) == ("user", "concentration", "impact")
    assert terms.numbers == {"participation": 0.25, "coefficient": 0.8}
    assert terms.marks == {"participation": "user", "coefficient": "user"}
    assert terms.sources == {"participation": "margin config", "coefficient": "margin config"}
    assert (terms.lists, terms.texts) == ({}, {})


def test_the_first_factor_may_be_a_name():
    market = _market(bucket=text(["equity_us_single", *["bucket"] * 5]))
    builder = _builder().agreement("A", kind="prime", venue="").position("FUT", "A", "M1", 10.0)
    prepared = _prepared(builder, market)
    assert prepared.losses.names.tolist() == [0]
    loss = 10.0 * 50.0 * 4000.0 * (1.0 - 1e-6)
    assert prepared.losses.pair == pytest.approx(np.array([[loss]]))
    assert prepared.losses.worst_names.tolist() == [1]
    assert prepared.amounts(np.zeros(1))["jump_to_default"] == pytest.approx([0.15 * loss])


def test_a_participation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="participation"):
        AddOnConfig(participation=0.0)
