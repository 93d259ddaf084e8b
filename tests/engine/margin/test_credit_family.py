"""The model `cds` on whole books: oracles from the historical functions, and properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.margin.config import MarginConfig
from engine.margin.credit.config import CdsConfig, RecoveryTerms, WrongWayName
from engine.margin.historical import (
    expected_shortfall,
    filtered_scenarios,
    overlapping_sums,
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


def _log_moves(market, name, scale=1.0):
    """Spread changes in per cent by the definition: filtered log changes, summed over 5 days."""
    k = market.index()[name]
    level = market.level[k]
    past = level - np.append(np.cumsum(market.returns[::-1, k])[::-1], 0.0)
    logs = np.diff(np.log(past))
    floor = market.factors.daily_vol_floor[k] / level
    moves = filtered_scenarios(logs[:, None], 0.97, 5, 1000, volatility_floor=floor)[:, 0]
    return level * np.expm1(scale * moves)


def _losses(market, name, moves, quantity=1.0, coupon=1.0, tenor=5.0):
    level = market.level[market.index()[name]]
    value = cds_value(level + moves, coupon, tenor) - cds_value(level, coupon, tenor)
    return -quantity * 1e6 * value


@pytest.mark.parametrize("quantity", [1.0, -1.0])
def test_spread_response_of_one_name_equals_the_historical_functions(market, quantity):
    loss = _losses(market, "ACME", _log_moves(market, "ACME"), quantity)
    got = answer(one({"ACME-5Y": quantity}), market)
    expected = float(expected_shortfall(loss, 0.995))
    assert got.components["spread_response"][0] == pytest.approx(expected, rel=1e-9)
    assert got.basis["A"]["scenarios"] == 1000
    var = answer(one({"ACME-5Y": quantity}), market, VAR)
    expected = float(value_at_risk(loss, 0.995))
    assert var.components["spread_response"][0] == pytest.approx(expected, rel=1e-9)


def test_spread_response_with_the_factors_own_moves(market):
    k = market.index()["ACME"]
    moves = filtered_scenarios(
        market.returns[:, [k]], 0.97, 5, 1000, volatility_floor=market.factors.daily_vol_floor[k]
    )[:, 0]
    got = answer(one({"ACME-5Y": -1.0}), market, SIMPLE)
    expected = float(value_at_risk(_losses(market, "ACME", moves, -1.0), 0.995))
    assert got.components["spread_response"][0] == pytest.approx(expected, rel=1e-9)


def test_unfiltered_moves(market):
    k = market.index()["ACME"]
    moves = overlapping_sums(market.returns[-1004:, k], 5)
    got = answer(one({"ACME-5Y": -1.0}, ewma_lambda=1.0), market, SIMPLE)
    expected = float(value_at_risk(_losses(market, "ACME", moves, -1.0), 0.995))
    assert got.components["spread_response"][0] == pytest.approx(expected, rel=1e-9)


def test_stress_scales_spreads_and_rates_and_nothing_else(market):
    book = one({"BOLT-5Y": -1.0})
    base, stressed = answer(book, market), answer(book, market, scale=3.0)
    loss = _losses(market, "BOLT", _log_moves(market, "BOLT", 3.0), -1.0)
    expected = float(expected_shortfall(loss, 0.995))
    assert stressed.components["spread_response"][0] == pytest.approx(expected, rel=1e-9)
    for name in ("jump_to_default", "wrong_way", "bid_offer"):
        assert stressed.components[name][0] == base.components[name][0]
    ratio = stressed.components["interest_rate"][0] / base.components["interest_rate"][0]
    assert 2.8 < ratio < 3.2
    assert stressed.basis["A"]["rate_shock_bp"] == base.basis["A"]["rate_shock_bp"]


def test_the_volatility_floor_is_in_units_of_the_log_change(market):
    k = market.index()["BOLT"]
    floors = market.factors.daily_vol_floor.copy()
    floors[k] = 0.08  # per cent a day at a level of 2: it binds on quiet days
    high = replace(market, factors=replace(market.factors, daily_vol_floor=floors))
    loss = _losses(high, "BOLT", _log_moves(high, "BOLT"), -1.0)
    got = answer(one({"BOLT-5Y": -1.0}), high)
    expected = float(expected_shortfall(loss, 0.995))
    assert got.components["spread_response"][0] == pytest.approx(expected, rel=1e-9)
    low = answer(one({"BOLT-5Y": -1.0}), market).components["spread_response"][0]
    assert expected != pytest.approx(low, rel=0.01)


def test_a_volatility_factor_is_not_scaled_beyond_its_history(market):
    builder = one({"ACME-5Y": -1.0})
    builder.instrument(
        "PUT", "option", "IDX", multiplier=500.0, strike=3900.0, right="P", vol=0.22,
        vol_factor_id="VIX", expiry="2023-03-17",
    ).position("PUT", "A", "M1", -10.0)  # fmt: skip
    capped = answer(builder, market, scale=10.0)
    free = answer(builder, market, scale=10.0, margin=MarginConfig(cap_volatility_factors=False))
    assert capped.im[0] < free.im[0]
    assert answer(builder, market, scale=1.0).im[0] == pytest.approx(
        answer(builder, market, margin=MarginConfig(cap_volatility_factors=False)).im[0], rel=1e-12
    )


def test_jump_to_default_of_one_name_by_hand(market):
    # 10 million of protection sold on BOLT at 2 %, coupon 1 %: the seller pays 80 %, and has
    # already paid the value.
    value = 1e7 * float(cds_value(2.0, 1.0, 5.0))
    got = answer(one({"BOLT-5Y": -10.0}), market)
    assert got.components["jump_to_default"][0] == pytest.approx(8e6 - value, rel=1e-12)
    assert got.components["jump_to_default"][0] == pytest.approx(7_539_445, abs=1.0)
    assert got.basis["A"]["defaults"] == [{"name": "BOLT", "recovery": 0.2}]


def test_the_two_worst_of_three_names_and_bought_protection_gives_nothing(market):
    sold = {"ACME-5Y": -4.0, "BOLT-5Y": -6.0, "CORK-5Y": -5.0}
    level = {"ACME": 1.0, "BOLT": 2.0, "CORK": 3.5}
    loss = {n: 1e6 * -sold[f"{n}-5Y"] * (0.8 - float(cds_value(level[n], 1.0, 5.0))) for n in level}
    got = answer(one(sold), market)
    expected = loss["BOLT"] + loss["CORK"]
    assert got.components["jump_to_default"][0] == pytest.approx(expected, rel=1e-12)
    assert [d["name"] for d in got.basis["A"]["defaults"]] == ["BOLT", "CORK"]
    single = answer(one(sold), market, CdsConfig(defaults=1))
    assert single.components["jump_to_default"][0] == pytest.approx(loss["BOLT"], rel=1e-12)
    bought = answer(one({name: -q for name, q in sold.items()}), market)
    assert bought.components["jump_to_default"][0] == 0.0
    assert bought.basis["A"]["defaults"] == []


def test_a_buyer_loses_when_recovery_is_higher_than_the_price_says():
    market = credit_market(level={"CORK": 60.0})
    value = 1e6 * float(cds_value(60.0, 1.0, 5.0))
    assert value > 4e5
    got = answer(one({"CORK-5Y": 1.0}), market)
    assert got.components["jump_to_default"][0] == pytest.approx(value - 4e5, rel=1e-12)
    assert got.basis["A"]["defaults"] == [{"name": "CORK", "recovery": 0.6}]


def test_an_index_default_is_one_of_its_names(market):
    value = float(cds_value(0.8, 1.0, 5.0))
    got = answer(one({"IG-5Y": -125.0}), market)
    expected = 2 * 1e6 * (0.8 - value)
    assert got.components["jump_to_default"][0] == pytest.approx(expected, rel=1e-12)
    assert [d["name"] for d in got.basis["A"]["defaults"]] == [
        "IG constituent 1",
        "IG constituent 2",
    ]


def test_an_index_hedges_the_name_it_holds_when_it_is_looked_through(market):
    own = CdsConfig(constituents={"IG": {"ACME": 0.008}})
    book = one({"ACME-5Y": -1.0, "IG-5Y": 125.0})
    plain, through = answer(book, market), answer(book, market, own)
    acme = 1e6 * (0.8 - float(cds_value(1.0, 1.0, 5.0)))
    assert plain.components["jump_to_default"][0] == pytest.approx(acme, rel=1e-12)
    left = acme + 1e6 * (float(cds_value(0.8, 1.0, 5.0)) - 0.8)
    assert through.components["jump_to_default"][0] == pytest.approx(max(0.0, left), abs=1e-6)


def test_long_and_short_net_to_nothing(market):
    builder = credit_builder().agreement("A", **CDS)
    builder.position("ACME-5Y", "A", "M1", 3.0).position("ACME-5Y", "A", "M2", -3.0)
    got = answer(builder, market)
    assert got.im.tolist() == [0.0]
    assert got.pair_im == pytest.approx([0.0, 0.0], abs=1e-6)


def test_recovery_lowers_the_jump_of_a_seller(market):
    book = one({"ACME-5Y": -2.0, "BOLT-5Y": -1.0})
    jumps = [
        answer(
            book, market, CdsConfig(recoveries={"senior": RecoveryTerms(least=r, most=0.9)})
        ).components["jump_to_default"][0]
        for r in (0.0, 0.1, 0.4, 0.8)
    ]
    assert jumps == sorted(jumps, reverse=True)
    assert jumps[0] - jumps[1] == pytest.approx(3e6 * 0.1, rel=1e-9)


def test_margin_is_homogeneous_within_a_band_of_bid_offer(market):
    positions = {"ACME-5Y": -2.0, "BOLT-5Y": 1.0, "IG-5Y": 3.0, "SWAP": 1.0}
    small = answer(one(positions), market)
    large = answer(one({name: 7.0 * q for name, q in positions.items()}), market)
    for name, values in small.components.items():
        assert large.components[name][0] == pytest.approx(7.0 * values[0], rel=1e-9)
    huge = answer(one({name: 100.0 * q for name, q in positions.items()}), market)
    assert huge.components["bid_offer"][0] > 100.0 * small.components["bid_offer"][0]


def test_order_and_splits_do_not_matter(market):
    a = credit_builder().agreement("A", **CDS)
    a.position("ACME-5Y", "A", "M1", -2.0).position("IG-5Y", "A", "M1", 1.0)
    b = credit_builder().agreement("A", **CDS)
    b.position("IG-5Y", "A", "M1", 1.0)
    b.position("ACME-5Y", "A", "M1", -0.5).position("ACME-5Y", "A", "M1", -1.5)
    assert answer(a, market).im[0] == pytest.approx(answer(b, market).im[0], rel=1e-12)


@pytest.mark.parametrize("kind", ["historical", "monte_carlo"])
def test_an_agreement_does_not_see_what_others_hold(market, kind):
    own = CdsConfig(scenarios=kind, draws=2000)
    alone = one({"ACME-5Y": -2.0, "IG-5Y": 4.0})
    both = one({"ACME-5Y": -2.0, "IG-5Y": 4.0})
    both.agreement("B", **CDS).position("CORK-5Y", "B", "M2", 9.0).position("FUT", "B", "M2", 1.0)
    assert answer(both, market, own).im[0] == pytest.approx(
        answer(alone, market, own).im[0], rel=1e-12
    )


def test_basis_recognises_a_fraction_of_the_offset(market):
    book = one({"IG-5Y": 10.0, "ACME-5Y": -8.0})
    whole = answer(book, market, CdsConfig(index_offset=0.0))
    none = answer(book, market, CdsConfig(index_offset=1.0))
    some = answer(book, market, CdsConfig(index_offset=0.25))
    index = answer(one({"IG-5Y": 10.0}), market).components["spread_response"][0]
    name = answer(one({"ACME-5Y": -8.0}), market).components["spread_response"][0]
    together = whole.components["spread_response"][0]
    assert none.components["basis"][0] == 0.0
    assert whole.components["basis"][0] == pytest.approx(index + name - together, rel=1e-9)
    assert some.components["basis"][0] == pytest.approx(
        0.75 * whole.components["basis"][0], rel=1e-12
    )
    assert some.basis["A"]["index_offset"] == 0.25
    assert some.basis["A"]["marks"]["index_offset"] == "user"


def test_wrong_way_names_by_counterparty_and_own_name(market):
    book = one({"ACME-5Y": -2.0, "BOLT-5Y": -1.0}, counterparty="ACME", broker="House")
    plain = answer(book, market)
    loss = 2e6 * (0.8 - float(cds_value(1.0, 1.0, 5.0)))
    assert plain.components["wrong_way"][0] == pytest.approx(loss, rel=1e-12)
    assert plain.basis["A"]["wrong_way"] == ["ACME"]
    bolt = 1e6 * (0.8 - float(cds_value(2.0, 1.0, 5.0)))
    assert plain.components["jump_to_default"][0] == pytest.approx(bolt, rel=1e-12)
    table = CdsConfig(
        wrong_way=(
            WrongWayName(entity="House", factor_id="BOLT", share=0.5),
            WrongWayName(entity="House", factor_id="ACME", share=0.1),
            WrongWayName(entity="Other", factor_id="BOLT", share=1.0),
        )
    )
    listed = answer(book, market, table)
    assert listed.components["wrong_way"][0] == pytest.approx(loss + 0.5 * bolt, rel=1e-12)
    assert listed.components["jump_to_default"][0] == pytest.approx(0.5 * bolt, rel=1e-12)


def test_interest_rate_is_the_worse_revaluation_at_the_rates_quantile(market):
    k = market.index()["UST5"]
    moves = filtered_scenarios(
        market.returns[:, [k]], 0.97, 5, 1000, volatility_floor=market.factors.daily_vol_floor[k]
    )[:, 0]
    shock = float(value_at_risk(np.abs(moves), 0.995))
    hazard, gap = 0.02 / 0.6, 0.01

    def value(rate):
        yearly = hazard + rate / 100.0
        return 1e6 * gap * (1.0 - np.exp(-yearly * 5.0)) / yearly

    got = answer(one({"BOLT-5Y": 1.0}), market)
    expected = value(3.0) - value(3.0 + shock)
    assert got.components["interest_rate"][0] == pytest.approx(expected, rel=1e-9)
    assert got.basis["A"]["rate_shock_bp"]["USD"]["from"] == "UST5"
    assert got.basis["A"]["rate_shock_bp"]["USD"]["bp"] == pytest.approx(100.0 * shock, rel=1e-12)
    short = answer(one({"BOLT-5Y": -1.0}), market)
    assert short.components["interest_rate"][0] == pytest.approx(
        value(3.0 - shock) - value(3.0), rel=1e-9
    )


def test_a_currency_without_a_rate_takes_the_rulebooks_shock_and_says_so(market):
    book = one({"BOLT-5Y": 1.0})
    own = CdsConfig(rate_factors={"USD": "NONE"})
    _, model = prepared(book, market, own)
    assert [f.item for f in model.failures] == ["USD"]
    assert "no factor NONE" in model.failures[0].message
    got = answer(book, market, own)
    hazard = 0.02 / 0.6

    def value(rate):
        return 1e6 * 0.01 * (1.0 - np.exp(-(hazard + rate) * 5.0)) / (hazard + rate)

    assert got.components["interest_rate"][0] == pytest.approx(value(0.0) - value(0.005), rel=1e-9)
    assert got.basis["A"]["rate_shock_bp"]["USD"] == {"from": "rulebook", "bp": 50.0}
    day = answer(one({"BOLT-5Y": 1.0}, mpor_days=1), market, own)
    assert day.basis["A"]["rate_shock_bp"]["USD"]["bp"] == pytest.approx(50.0 / np.sqrt(5.0))


def test_a_young_or_still_rate_takes_the_rulebooks_shock(market):
    young = np.array(market.returns[:, market.index()["UST5"]])
    young[: 1300 - 253] = np.nan  # 253 days give 249 moves of five
    still = np.zeros(1300)
    for moves, floor, source in ((young, 1e-5, "rulebook"), (still, 0.0, "rulebook")):
        changed = credit_market(UST5=moves)
        floors = changed.factors.daily_vol_floor.copy()
        floors[changed.index()["UST5"]] = floor
        changed = replace(changed, factors=replace(changed.factors, daily_vol_floor=floors))
        got = answer(one({"BOLT-5Y": 1.0}), changed)
        assert got.basis["A"]["rate_shock_bp"]["USD"]["from"] == source
    young[1300 - 254] = 0.01
    got = answer(one({"BOLT-5Y": 1.0}), credit_market(UST5=young))
    assert got.basis["A"]["rate_shock_bp"]["USD"]["from"] == "UST5"


def test_the_rate_shock_is_of_the_absolute_move(market):
    falling = -np.abs(market.returns[:, market.index()["UST5"]])
    got = answer(one({"BOLT-5Y": 1.0}), credit_market(UST5=falling))
    moves = filtered_scenarios(falling[:, None], 0.97, 5, 1000, volatility_floor=1e-5)[:, 0]
    shock = float(value_at_risk(-moves, 0.995))
    assert got.basis["A"]["rate_shock_bp"]["USD"]["bp"] == pytest.approx(100 * shock, rel=1e-12)


def test_a_log_rate_moves_its_level(market):
    logs = 0.01 * market.returns[:, market.index()["UST5"]]
    log = credit_market(UST5=logs)
    kinds = log.factors.return_type.copy()
    kinds[log.index()["UST5"]] = "log"
    log = replace(log, factors=replace(log.factors, return_type=kinds))
    moves = filtered_scenarios(logs[:, None], 0.97, 5, 1000, volatility_floor=1e-5)[:, 0]
    shock = float(value_at_risk(np.abs(3.0 * np.expm1(moves)), 0.995))
    got = answer(one({"BOLT-5Y": 1.0}), log)
    assert got.basis["A"]["rate_shock_bp"]["USD"]["bp"] == pytest.approx(100 * shock, rel=1e-12)


def test_a_missing_rate_is_said_once(market):
    book = one({"BOLT-5Y": 1.0}).agreement("B", **CDS).position("BOLT-5Y", "B", "M1", 1.0)
    _, model = prepared(book, market, CdsConfig(rate_factors={"USD": "NONE"}))
    assert [f.item for f in model.failures] == ["USD"]


def test_an_index_of_another_asset_class_is_counted_once(market):
    book = one({"FUT": 1.0, "ACME-5Y": -1.0})
    named = answer(book, market, CdsConfig(indices={"IDX": 500}))
    assert named.im.tolist() == answer(book, market).im.tolist()


def test_a_currency_without_a_named_rate(market):
    builder = credit_builder().instrument(
        "EURO", "cds", "BOLT", multiplier=1e6, fixed_rate=1.0, tenor_years=5.0, currency="CHF"
    ).agreement("A", **CDS).position("EURO", "A", "M1", 1.0)  # fmt: skip
    swiss = replace(market, fx_usd={"USD": 1.0, "CHF": 1.1})
    _, model = prepared(builder, swiss)
    assert "no rate factor is named" in model.failures[0].message
    usd = answer(one({"BOLT-5Y": 1.0}), market)
    got = answer(builder, swiss)
    for name in ("spread_response", "jump_to_default"):
        assert got.components[name][0] == pytest.approx(1.1 * usd.components[name][0], rel=1e-9)


def test_bid_offer_adds_over_names(market):
    acme = answer(one({"ACME-5Y": -30.0}), market).components["bid_offer"][0]
    ig = answer(one({"IG-5Y": 30.0}), market).components["bid_offer"][0]
    both = answer(one({"ACME-5Y": -30.0, "IG-5Y": 30.0}), market).components["bid_offer"][0]
    assert both == pytest.approx(acme + ig, rel=1e-12)
    # 30 million at par: 25 at 2 bp and 5 at 4 bp.
    assert acme == pytest.approx(479.7335122241 * (25 * 2.0 + 5 * 4.0), rel=1e-9)


def test_other_instruments_are_revalued_and_do_not_default(market):
    swap = answer(one({"SWAP": 1.0}), market)
    assert swap.components["spread_response"][0] > 0.0
    for name in ("jump_to_default", "wrong_way", "interest_rate", "basis", "bid_offer"):
        assert swap.components[name][0] == 0.0


def test_a_bond_on_a_credit_factor_defaults(market):
    # Yield 1 %, coupon 4 %: price 100 + 3 * annuity; at default 20 % of face is left.
    price = 1.0 + 0.03 * (1.0 - 1.01**-5) / 0.01
    got = answer(one({"ACME-B": 1.0}), market)
    expected = 1e6 * (price - 0.2)
    assert got.components["jump_to_default"][0] == pytest.approx(expected, rel=1e-9)
    hedged = answer(one({"ACME-B": 1.0, "ACME-5Y": 1.0}), market)
    protection = 1e6 * (float(cds_value(1.0, 1.0, 5.0)) - 0.8)
    least = expected + protection
    most = 1e6 * (price - 0.6) + 1e6 * (float(cds_value(1.0, 1.0, 5.0)) - 0.4)
    assert hedged.components["jump_to_default"][0] == pytest.approx(max(least, most), rel=1e-9)
    assert hedged.components["bid_offer"][0] > got.components["bid_offer"][0] == 0.0
