from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from engine.domain.failures import FailureReason
from engine.margin.add_ons.apply import add_ons, prepare
from engine.margin.add_ons.config import AddOnConfig
from engine.margin.add_ons.liquidity import linear_unwind
from engine.margin.concentration import (
    concentration_add_on,
    concentration_curve,
    concentration_inputs,
)
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.historical import ewma_volatility
from engine.pricing.value import value_per_unit
from tests.support.tiny_fund import SCHEDULE, SIMM, FundBuilder, text, tiny_market

Z = norm.ppf(0.99)
SINGLE = text(["bucket", "equity_us_single", *["bucket"] * 4])


def _config(**own) -> MarginConfig:
    """A margin config that holds `own` as its add-on choices."""
    return MarginConfig().model_copy(update={"add_ons": AddOnConfig(**own)})


def _market(**changes):
    return tiny_market(adv=np.full(6, 80e6), **changes)


def _builder() -> FundBuilder:
    builder = FundBuilder()
    builder.instrument("EQ", "equity", "STK").instrument("FUT", "future", "IDX", multiplier=50.0)
    return builder


def _prepared(builder, market, **own):
    return prepare(net_positions(builder.build(market), market), _config(**own))


def _one(venue: str = "CCP", quantity: float = 1e6, **terms) -> FundBuilder:
    """One account with `quantity` shares at 100 USD, ADV 80 million."""
    return _builder().agreement("A", venue=venue, **terms).position("EQ", "A", "M1", quantity)


def _sigma(market, decay: float = 0.97) -> float:
    return float(ewma_volatility(market.returns, decay)[-1, 1])


def test_each_method_of_the_rulebook_by_hand():
    """e 100 million, ADV 80 million, confidence 99 %, two days: the same book at many services."""
    market = _market()
    sigma = _sigma(market)
    margin = Z * sigma * 100e6 * np.sqrt(2.0)
    expected = {
        "CCP": sigma * 100e6 * 2.0,  # excess: sqrt(5 - 1)
        "NODAL": margin * (np.sqrt(2.5) - 1.0),  # 5 days in one block
        "EURONEXT_CLEARING": margin * max(0.0, float(linear_unwind(5)) / np.sqrt(2.0) - 1.0),
        "OCC": 0.5 * sigma * np.sqrt(1.25) * 100e6,  # square-root impact
        "ECC": margin * (np.sqrt(1.5) - 1.0),  # 5.3 days, capped at 3
        "LCH_SWAPCLEAR": margin * 0.4,  # 5 times the threshold: multiplier 1.4
        "CBOE_US": 0.0,
    }
    for venue, amount in expected.items():
        prepared = _prepared(_one(venue), market)
        got = prepared.amounts(np.array([1e7])).get("concentration", np.zeros(1))
        assert got[0] == pytest.approx(amount, rel=1e-9), venue
    assert "concentration" not in _prepared(_one("CBOE_US"), market).amounts(np.array([1e7]))


def test_a_linear_unwind_costs_once_it_outlasts_the_period_of_risk():
    market = _market()
    prepared = _prepared(_one("EURONEXT_CLEARING", quantity=4e6), market)
    margin = Z * _sigma(market) * 400e6 * np.sqrt(2.0)
    factor = np.sqrt(21 * 41 / 120) / np.sqrt(2.0) - 1.0  # 20 days
    got = prepared.amounts(np.array([1e7]))["concentration"][0]
    assert got == pytest.approx(margin * factor, rel=1e-9)
    assert factor > 0.0


def test_the_period_of_an_account_is_weighted_by_margin():
    market = _market()
    builder = _one("ECC", quantity=2e5).position("FUT", "A", "M1", 20.0)
    prepared = _prepared(builder, market)
    sigma = ewma_volatility(market.returns, 0.97)[-1]
    size = np.array([20 * 50 * 4000.0, 2e5 * 100.0])
    margin = Z * sigma[:2] * size * np.sqrt(2.0)
    days = (margin * size / 20e6).sum() / margin.sum() + 0.3
    assert prepared.amounts(np.zeros(1))["concentration"][0] == 0.0
    assert days < 2.0
    stressed = min(3.0, (days - 0.3) * 5.0 + 0.3)  # depth a fifth
    expected = 5.0 * margin.sum() * (np.sqrt(stressed / 2.0) - 1.0)
    got = prepared.amounts(np.zeros(1), 5.0)["concentration"][0]
    assert got == pytest.approx(expected, rel=1e-9)


def test_each_account_has_a_period_of_its_own():
    market = _market()
    builder = _one("ECC", quantity=4e5).agreement("B", venue="ECC").position("EQ", "B", "M1", 5e5)
    builder.agreement("C", venue="ECC").position("EQ", "C", "M1", 1e-8)
    got = _prepared(builder, market).amounts(np.zeros(3))["concentration"]
    # 40 and 50 million at 20 a day: 2.3 and 2.8 days of 2.
    unit = Z * _sigma(market) * np.sqrt(2.0)
    expected = [40e6 * (np.sqrt(1.15) - 1.0), 50e6 * (np.sqrt(1.4) - 1.0), 0.0]
    assert got == pytest.approx(unit * np.array(expected), rel=1e-9)


def test_one_method_for_all_by_choice():
    market = _market()
    sigma = _sigma(market)
    zero = np.zeros(1)
    for method, expected in (
        ("excess", sigma * 100e6 * 2.0),
        ("impact", 0.8 * sigma * np.sqrt(1.25) * 100e6),
        ("horizon_block", Z * sigma * 100e6 * np.sqrt(2.0) * (np.sqrt(5.0) - 1.0)),
        ("none", 0.0),
    ):
        own = {"impact_coefficient": 0.8, "participation": 0.125, "liquidity_method": method}
        got = _prepared(_one("ECC"), market, **own).amounts(zero)["concentration"]
        assert got[0] == pytest.approx(expected, rel=1e-9), method
    basis = _prepared(_one("ECC"), market, liquidity_method="excess").basis()
    assert basis["liquidity"]["A"] == {"method": "excess", "scope": "user", "mark": "user"}


def test_basis_names_method_and_mark():
    basis = _prepared(_one("ECC"), _market()).basis()
    expected = {"method": "liquidation_period", "scope": "service:ECC", "mark": "indicative"}
    assert basis["liquidity"] == {"A": expected}
    assert basis["rulebook"].startswith("add_ons:")
    assert basis["choices"]["liquidity_method"] == "by_service"


def test_bid_ask_worked_number():
    market = _market()
    prepared = _prepared(_one(), market)
    spread = 0.02 * np.std(market.returns[-250:, 1])
    expected = spread * 100e6 * (1.0 + np.sqrt(1.25))
    got = prepared.amounts(np.zeros(1))["bid_ask"][0]
    assert got == pytest.approx(expected, rel=1e-9)
    wider = spread * 4.0 * 100e6 * (1.0 + np.sqrt(1.25 * 4.0))
    assert prepared.amounts(np.zeros(1), 4.0)["bid_ask"][0] == pytest.approx(wider, rel=1e-9)
    half = _prepared(_one(), market, spread_exponent=0.5, bid_ask_multiplier=3.0)
    wider = 3.0 * spread * 2.0 * 100e6 * (1.0 + np.sqrt(1.25 * 4.0))
    assert half.amounts(np.zeros(1), 4.0)["bid_ask"][0] == pytest.approx(wider, rel=1e-9)


def test_a_close_out_model_has_its_own_liquidation():
    amounts = _prepared(_one(model="close_out"), _market()).amounts(np.zeros(1))
    assert list(amounts) == ["bid_ask"]


def test_a_cds_account_has_its_own_bid_offer():
    amounts = _prepared(_one(model="cds"), _market()).amounts(np.zeros(1))
    assert list(amounts) == ["concentration"]


@pytest.mark.parametrize("venue", ["CCP", "NODAL", "EURONEXT_CLEARING", "OCC", "LCH_SWAPCLEAR"])
def test_liquidity_add_ons_grow_faster_than_volatility(venue):
    prepared = _prepared(_one(venue), tiny_market(adv=np.full(6, 60e6)))
    today = prepared.amounts(np.zeros(1), 1.0)
    stressed = prepared.amounts(np.zeros(1), 5.0)
    for name in ("concentration", "bid_ask"):
        assert stressed[name][0] > 5.0 * today[name][0]
    if venue != "EURONEXT_CLEARING":  # 7 days sold evenly cost no more than 2 in one block
        assert today["concentration"][0] > 0.0


def test_bilateral_accounts_and_their_positions_carry_none():
    market = _market()
    builder = _builder().agreement("S", **SIMM).agreement("G", **SCHEDULE)
    builder.position("EQ", "S", "M1", 1e6).position("EQ", "G", "M2", 1e6)
    assert _prepared(builder, market).amounts(np.zeros(2)) == {}


def test_keys_follow_what_applies():
    market = _market()
    builder = _one().agreement("S", broker_multiplier=1.5, **SIMM)
    prepared = _prepared(builder, market)
    amounts = prepared.amounts(np.array([0.0, 80.0]))
    assert list(amounts) == ["broker", "concentration", "bid_ask"]
    assert amounts["broker"].tolist() == [0.0, 40.0]
    shares = prepared.pair_shares(np.array([0.0, 80.0]), np.array([3.0]))
    assert shares["broker"].tolist() == [0.0]
    assert list(_prepared(_one(), market).amounts(np.zeros(1))) == ["concentration", "bid_ask"]


def test_an_unknown_volume_is_a_failure_and_charges_nothing():
    adv = np.full(6, 80e6)
    adv[1] = np.nan
    market = tiny_market(adv=adv)
    prepared = _prepared(_one().position("FUT", "A", "M1", 1000.0), market)
    assert [(f.reason, f.item) for f in prepared.failures] == [(FailureReason.MISSING_DATA, "STK")]
    alone = _prepared(_builder().agreement("A").position("FUT", "A", "M1", 1000.0), market)
    for name, values in prepared.amounts(np.zeros(1)).items():
        assert values == pytest.approx(alone.amounts(np.zeros(1))[name])
    csa = _builder().agreement("S", **SIMM).position("EQ", "S", "M1", 1e6)
    assert _prepared(csa, market).failures == ()
    adv[1] = 0.0
    assert len(_prepared(_one(), tiny_market(adv=adv)).failures) == 1


def test_curve_is_concentration_plus_bid_ask():
    market = _market()
    builder = _one().agreement("B", venue="ECC", ewma_lambda=1.0).agreement("S", **SIMM)
    builder.position("FUT", "B", "M2", 2000.0).position("EQ", "S", "M2", 1e5)
    book = builder.build(market)
    config = MarginConfig()
    scales = (1.0, 2.0, 8.0)
    curve = concentration_curve(book, market, config, scales)
    prepared = prepare(net_positions(book, market), config)
    for column, scale in zip(curve.T, scales, strict=True):
        amounts = prepared.amounts(np.zeros(3), np.full(3, scale))
        assert column == pytest.approx(amounts["concentration"] + amounts["bid_ask"], rel=1e-12)
    inputs = concentration_inputs(net_positions(book, market), config)
    assert concentration_add_on(inputs, config) == pytest.approx(
        prepared.amounts(np.zeros(3))["concentration"], rel=1e-12
    )
    assert (curve[2] == 0.0).all()
    doubled = config.model_copy(update={"concentration_coefficient": 2.0})
    assert concentration_add_on(inputs, doubled) == pytest.approx(
        2.0 * concentration_add_on(inputs, config)
    )


def test_jump_to_default_tops_up_the_margin_of_a_prime_account():
    market = _market(bucket=SINGLE)
    prepared = _prepared(_one(kind="prime", venue=""), market)
    # 15 % of a loss of 100 million (a millionth of the price is left).
    loss = 0.15 * 100e6 * (1.0 - 1e-6)
    assert prepared.amounts(np.array([4e6]))["jump_to_default"][0] == pytest.approx(loss - 4e6)
    assert prepared.amounts(np.array([20e6]))["jump_to_default"][0] == 0.0
    for changed in (
        _prepared(_one(kind="prime", venue=""), market, jump_to_default=False),
        _prepared(_one(kind="prime", venue=""), _market()),
        _prepared(_one(), market),
        _prepared(_one(kind="prime", venue="", model="cds"), market),
        _prepared(_one(kind="prime", venue="", quantity=-1e6), market),
    ):
        assert "jump_to_default" not in changed.amounts(np.zeros(1))


def test_default_of_a_name_revalues_its_options():
    market = _market(bucket=SINGLE)
    builder = _one(kind="prime", venue="")
    builder.instrument("PUT", "option", "STK", strike=100.0, right="P", vol=0.3,
                       expiry="2023-06-30", multiplier=100.0)  # fmt: skip
    builder.position("PUT", "A", "M2", 5000.0)
    prepared = _prepared(builder, market)
    loss, hedge = prepared.losses.pair[:, 0]
    assert loss == pytest.approx(100e6 * (1.0 - 1e-6))
    # A put at 100 is worth about 100 per share when the share is worth nothing.
    assert -0.95 * 50e6 < hedge + 50e6 * 0.05 < -0.8 * 50e6
    shares = prepared.pair_shares(np.zeros(1), np.zeros(2))["jump_to_default"]
    total = prepared.amounts(np.zeros(1))["jump_to_default"][0]
    assert total == pytest.approx(0.15 * (loss + hedge))
    assert shares == pytest.approx([total, 0.0])


def test_default_of_a_credit_name():
    bucket = text(["bucket", "bucket", "credit_single", *["bucket"] * 3])
    market = _market(
        bucket=bucket, asset_class=text(["equity", "equity", "credit", "commodity", "fx", "equity"])
    )
    builder = FundBuilder().agreement("PB", kind="prime", venue="")
    builder.instrument("CDS", "cds", "UST", fixed_rate=4.0, tenor_years=5.0, multiplier=1e6)
    builder.instrument("BOND", "bond", "UST", fixed_rate=4.0, tenor_years=5.0, multiplier=1.0)
    builder.instrument("FWD", "future", "UST", multiplier=10.0)
    for name, manager, quantity in (("CDS", "M1", -10.0), ("BOND", "M2", 1e4), ("FWD", "M2", 1.0)):
        builder.position(name, "PB", manager, quantity)
    prepared = _prepared(builder, market)
    seller, holder = prepared.losses.pair[:, 0]
    assert seller == pytest.approx(0.6 * 10e6)  # par spread: worth nothing today
    assert holder == pytest.approx(0.6 * 1e4, rel=0.02)  # par bond, worth 1 a unit
    assert [(f.reason, f.item) for f in prepared.failures] == [(FailureReason.UNSUPPORTED, "FWD")]
    assert prepared.failures[0].where == "instrument on factor UST"
    assert prepared.failures[0].message.startswith("no value in default is known for future on")
    assert prepared.failures[0].message.endswith("book it on an equity factor, or as cds or bond")
    builder.instrument("OLD", "cds", "UST", fixed_rate=1.0, tenor_years=5.0, multiplier=1e6)
    builder.agreement("PB2", kind="prime", venue="").position("OLD", "PB2", "M1", -10.0)
    again = _prepared(builder, market)
    worth = value_per_unit(again.exposures.instruments, market)
    at = list(again.exposures.instruments.instrument_id).index("OLD")
    # What the protection is worth today has been paid as variation margin.
    assert worth[at] > 1e5
    assert again.losses.pair[2, 0] == pytest.approx(10.0 * (0.6e6 - worth[at]))
    # A bond loses its share of what it is worth, not of its notional.
    builder.instrument("RICH", "bond", "UST", fixed_rate=9.0, tenor_years=5.0, multiplier=1.0)
    builder.agreement("PB3", kind="prime", venue="").position("RICH", "PB3", "M1", 1e4)
    again = _prepared(builder, market)
    worth = value_per_unit(again.exposures.instruments, market)
    at = list(again.exposures.instruments.instrument_id).index("RICH")
    assert worth[at] > 1.1
    assert again.losses.pair[3, 0] == pytest.approx(0.6 * 1e4 * worth[at])
    off = _prepared(builder, market, jump_to_default=False, wrong_way=False)
    assert off.failures == ()


def test_wrong_way_names_are_charged_in_full_and_once():
    names = text(["IDX", "JPM", "UST", "OIL", "EURUSD", "VIX"])
    market = _market(bucket=SINGLE, factor_id=names)
    builder = FundBuilder().instrument("EQ", "equity", "JPM")
    builder.agreement("SELF", kind="prime", venue="", counterparty="JPMorgan Chase Bank")
    builder.agreement("OTHER", kind="prime", venue="")
    builder.agreement("SA", venue="LCH_SA_EQUITIES", broker="Some Broker")
    builder.agreement("CDS", model="cds", broker="JPMorgan")
    builder.agreement("CSA", **{**SIMM, "counterparty": "JPMorgan"})
    for name in ("SELF", "OTHER", "SA", "CDS", "CSA"):
        builder.position("EQ", name, "M1", 1e6)
    prepared = _prepared(builder, market)
    amounts = prepared.amounts(np.zeros(5))
    loss = 100e6 * (1.0 - 1e-6)
    assert amounts["wrong_way"] == pytest.approx([loss, 0.0, 0.1 * loss, 0.0, 0.0])
    assert amounts["jump_to_default"] == pytest.approx([0.0, 0.15 * loss, 0.0, 0.0, 0.0])
    shares = prepared.pair_shares(np.zeros(5), np.zeros(5))["wrong_way"]
    assert shares == pytest.approx(amounts["wrong_way"])
    assert "wrong_way" not in _prepared(builder, market, wrong_way=False).amounts(np.zeros(5))


def _gold(expiry: str, **terms) -> tuple[FundBuilder, object]:
    names = text(["IDX", "GOLD", "UST", "OIL", "EURUSD", "VIX"])
    builder = FundBuilder().instrument("GC", "future", "GOLD", multiplier=10.0, expiry=expiry)
    builder.agreement("A", **terms)
    builder.position("GC", "A", "M1", 3000.0).position("GC", "A", "M2", -1000.0)
    return builder, _market(factor_id=names)


def test_delivery_charge_of_a_book():
    # From Wednesday 28 December 2022: 2 business days to Friday. 2000 * 10 * 100 USD net.
    prepared = _prepared(*_gold("2022-12-30"))
    expected = 0.05 * 2e6 * 0.8
    assert prepared.amounts(np.zeros(1))["delivery"] == pytest.approx([expected])
    shares = prepared.pair_shares(np.zeros(1), np.zeros(2))["delivery"]
    assert shares == pytest.approx([0.75 * expected, 0.25 * expected])
    # Wednesday 4 January is 5 business days away, Thursday 6.
    fifth = _prepared(*_gold("2023-01-04")).amounts(np.zeros(1))["delivery"]
    assert fifth == pytest.approx([0.05 * 2e6 * 0.2])
    for builder, market in (
        _gold("2023-01-05"),
        _gold("NaT"),
        _gold("2022-12-30", model="span"),
        _gold("2022-12-30", kind="prime", venue=""),
    ):
        assert "delivery" not in _prepared(builder, market).amounts(np.zeros(1))
    assert "delivery" not in _prepared(*_gold("2022-12-30"), delivery=False).amounts(np.zeros(1))


def test_expiries_do_not_net_in_delivery():
    builder, market = _gold("2022-12-30")
    builder.instrument("GD", "future", "GOLD", multiplier=10.0, expiry="2022-12-29")
    builder.position("GD", "A", "M2", -2000.0)
    got = _prepared(builder, market).amounts(np.zeros(1))["delivery"]
    assert got == pytest.approx([0.05 * 2e6 * (0.8 + 1.0)])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.5, 8.0))
def test_shares_sum_to_the_add_ons(seed, scale):
    rng = np.random.default_rng(seed)
    market = tiny_market(n_days=700, adv=np.full(6, 60e6), bucket=SINGLE)
    builder = _builder()
    venues = ("CCP", "NODAL", "ECC", "LCH_SWAPCLEAR", "OCC", "")
    for i, venue in enumerate(venues):
        kind = "cleared" if venue else "prime"
        builder.agreement(f"A{i}", venue=venue, kind=kind, broker_multiplier=1.0 + 0.1 * i)
        for manager in ("M1", "M2"):
            builder.position("EQ", f"A{i}", manager, rng.normal(0.0, 1e6))
            builder.position("FUT", f"A{i}", manager, rng.normal(0.0, 500.0))
    prepared = _prepared(builder, market)
    owner = prepared.exposures.pair_agreement
    pair_im = rng.uniform(1e5, 1e7, len(owner))
    im = np.bincount(owner, weights=pair_im)
    amounts = prepared.amounts(im, scale)
    shares = prepared.pair_shares(im, pair_im, scale)
    assert list(shares) == list(amounts)
    for name, share in shares.items():
        assert (share >= 0.0).all()
        assert np.bincount(owner, weights=share) == pytest.approx(amounts[name], rel=1e-9, abs=1e-6)


def test_add_ons_is_prepare_and_amounts():
    market = _market()
    exposures = net_positions(_one().build(market), market)
    amounts, failures = add_ons(exposures, np.array([5.0]), MarginConfig(), 2.0)
    expected = prepare(exposures, MarginConfig()).amounts(np.array([5.0]), 2.0)
    assert {k: v.tolist() for k, v in amounts.items()} == {
        k: v.tolist() for k, v in expected.items()
    }
    assert failures == ()
