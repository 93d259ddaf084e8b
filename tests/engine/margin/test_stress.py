from __future__ import annotations

import numpy as np
import pytest

from engine.margin.add_ons.config import AddOnConfig
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.stress import project_stress_margin, volatility_scale
from tests.support.tiny_fund import SCHEDULE, SIMM, tiny_market

NO_BID_ASK = AddOnConfig(bid_ask_multiplier=0.0)


def _project(builder, market, **choices):
    book, config = builder.build(market), MarginConfig(**{"add_ons": NO_BID_ASK, **choices})
    base = calculate_margin_requirements(book, market, config)
    return base, project_stress_margin(book, market, base, config)


def test_scale_of_a_volatility_step():
    printed = {
        0.97: (1.337, 2.702, 5.196),
        0.94: (1.54, 3.47, 6.83),
        0.99: (1.13, 1.82, 3.24),
    }
    for decay, values in printed.items():
        for multiplier, value in zip((2.0, 5.0, 10.0), values, strict=True):
            decimals = 3 if decay == 0.97 else 2
            assert round(volatility_scale(decay, multiplier, 10), decimals) == value
    assert volatility_scale(1.0, 10.0, 10) == 1.0


def test_linear_position_follows_the_closed_form(builder):
    # A rate future is linear in an absolute factor, so the tail scales exactly.
    builder.agreement("CCP-1").instrument("RF", "rate_future", "UST", multiplier=2500.0)
    base, stressed = _project(builder.position("RF", "CCP-1", "M1", 400.0), tiny_market())
    ratio = stressed.im_usd[:, 0] / base.im_usd[0]
    expected = [np.sqrt(0.97**10 + (1 - 0.97**10) * m * m) for m in (2, 5, 10)]
    assert ratio == pytest.approx(expected, rel=1e-12)
    assert [round(r, 3) for r in ratio] == [1.337, 2.702, 5.196]
    assert stressed.to_dict()["5x"]["ratio"] == pytest.approx(ratio[1])


def test_only_the_current_part_of_a_blend_reacts(builder, market):
    builder.instrument("RF", "rate_future", "UST", multiplier=2500.0)
    builder.agreement("PLAIN").agreement("BLEND", stress_weight=0.25)
    builder.position("RF", "PLAIN", "M1", 400.0).position("RF", "BLEND", "M1", 400.0)
    base, stressed = _project(builder, market)
    stress_part = (base.im_usd[1] - 0.75 * base.im_usd[0]) / 0.25
    assert stress_part > base.im_usd[0]
    expected = 0.75 * stressed.im_usd[:, 0] + 0.25 * stress_part
    assert stressed.im_usd[:, 1] == pytest.approx(expected, rel=1e-12)


def test_standard_and_unfiltered_models_do_not_react(builder, market):
    builder.agreement("CSA-S", **SIMM).agreement("CSA-G", **SCHEDULE)
    builder.agreement("HS", ewma_lambda=1.0)
    for name in ("CSA-S", "CSA-G", "HS"):
        builder.position("SWAP", name, "M1", 1e6)
    base, stressed = _project(builder, market)
    assert (base.im_usd > 0.0).all()
    assert stressed.im_usd == pytest.approx(np.tile(base.im_usd, (3, 1)), rel=1e-12)


def test_options_are_revalued_not_scaled(builder, market):
    builder.agreement("CCP-1").position("PUT", "CCP-1", "M1", -100.0)
    base, stressed = _project(builder, market)
    scale = volatility_scale(0.97, 5.0, 10)
    assert stressed.im_usd[1, 0] / base.im_usd[0] > 1.1 * scale


def test_a_volatility_index_stays_within_its_history(builder, market):
    builder.agreement("CCP-1").instrument("VX", "future", "VIX", multiplier=1000.0)
    builder.position("VX", "CCP-1", "M1", -10.0)
    _, capped = _project(builder, market)
    _, free = _project(builder, market, cap_volatility_factors=False)
    assert capped.im_usd[0, 0] == free.im_usd[0, 0]
    assert capped.im_usd[2, 0] < 0.7 * free.im_usd[2, 0]
    assert (np.diff(capped.im_usd[:, 0]) >= 0.0).all()


def test_concentration_grows_faster_than_volatility(builder):
    market = tiny_market(adv=np.full(6, 1e7))
    builder.agreement("CCP-1").position("FUT", "CCP-1", "M1", 50.0)
    base, stressed = _project(builder, market)
    add_on = base.add_ons["concentration"][0]
    assert add_on > 0.0
    scale = volatility_scale(0.97, 5.0, 10)
    _, without = _project(builder, market, concentration_coefficient=0.0)
    stressed_add_on = stressed.im_usd[1, 0] - without.im_usd[1, 0]
    # e / (f ADV) is 4 today; depth falls to 1 / scale.
    expected = add_on * scale * np.sqrt((4.0 * scale - 1.0) / 3.0)
    assert stressed_add_on == pytest.approx(expected, rel=1e-9)


def test_broker_multiplier_and_threshold(builder, market):
    builder.instrument("RF", "rate_future", "UST", multiplier=2500.0)
    builder.agreement("A").agreement("B", broker_multiplier=1.5).agreement("C", im_threshold=1e5)
    for name in "ABC":
        builder.position("RF", name, "M1", 400.0)
    base, stressed = _project(builder, market)
    assert base.im_usd[0] > 1e5
    assert stressed.im_usd[:, 1] == pytest.approx(1.5 * stressed.im_usd[:, 0], rel=1e-12)
    assert stressed.im_usd[:, 2] == pytest.approx(stressed.im_usd[:, 0] - 1e5, rel=1e-12)
    assert stressed.baseline_im_usd == pytest.approx(base.im_usd + base.add_ons_usd())


def test_margin_mode_is_plain_multiplication(builder, market):
    builder.agreement("CCP-1").agreement("CSA-S", **SIMM)
    builder.position("FUT", "CCP-1", "M1", 50.0).position("SWAP", "CSA-S", "M1", 1e6)
    base, stressed = _project(builder, market, stress_mode="margin")
    assert stressed.mode == "margin"
    expected = np.outer([2.0, 5.0, 10.0], base.im_usd + base.add_ons_usd())
    assert np.array_equal(stressed.im_usd, expected)


def test_failed_agreements_stay_out(builder, market):
    builder.agreement("GOOD").agreement("BAD", currency="XXX")
    builder.position("FUT", "GOOD", "M1", 1.0).position("FUT", "BAD", "M1", 1.0)
    base, stressed = _project(builder, market)
    assert list(base.agreement_id) == list(stressed.agreement_id) == ["GOOD"]


def test_a_move_out_of_range_is_a_failure_not_a_crash(builder, market):
    builder.agreement("GOOD").agreement("BOND")
    builder.instrument("B", "bond", "UST", fixed_rate=4.0, tenor_years=5.0)
    builder.position("FUT", "GOOD", "M1", 1.0).position("B", "BOND", "M1", 100.0)
    _, stressed = _project(builder, market, volatility_multipliers=(2.0, 5000.0))
    assert list(stressed.agreement_id) == ["GOOD"]
    assert [f.item for f in stressed.failures] == ["BOND"]


def test_multipliers_are_checked():
    with pytest.raises(ValueError, match="above 0"):
        MarginConfig(volatility_multipliers=(2.0, -1.0))
