from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.add_ons.config import AddOnConfig
from engine.margin.anchor import anchor, anchor_ratio, known_anchors
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.explain.margin_inputs import MarginInputs
from engine.margin.explain.trades import Trade
from engine.margin.explain.what_if import what_if
from engine.margin.stress import project_stress_margin
from tests.support.tiny_fund import FundBuilder, text, tiny_market

MARKET = tiny_market(n_days=10, fx_usd={"USD": 1.0, "EUR": 1.25})


def book_of(*terms):
    builder = FundBuilder()
    for i, each in enumerate(terms):
        builder.agreement(f"A{i}", **each)
    builder.instrument("F", "future", "IDX")
    for i in range(len(terms)):
        builder.position("F", f"A{i}", "M1", 1.0)
    return builder.build(MARKET)


def test_worked_example():
    assert anchor_ratio(18e6, 15e6) == 1.2


@pytest.mark.parametrize(
    ("reported", "ok"), [(0.2, True), (5.0, True), (0.19, False), (5.1, False)]
)
def test_bounds(reported, ok):
    if ok:
        assert anchor_ratio(reported, 1.0) == reported
    else:
        with pytest.raises(InputError, match="outside 0.2 to 5: check date"):
            anchor_ratio(reported, 1.0)


@pytest.mark.parametrize(
    ("reported", "modelled", "message"),
    [
        (1.0, 0.0, "no ratio can mend"),
        (1.0, -1.0, "no ratio can mend"),
        (np.nan, 1.0, "must be finite"),
        (1.0, np.nan, "must be finite"),
        (-1.0, 1.0, "not negative"),
        (np.inf, 1.0, "must be finite"),
        (0.0, 1.0, "is 0 times"),
    ],
)
def test_refusals(reported, modelled, message):
    with pytest.raises(InputError, match=message):
        anchor_ratio(reported, modelled)


def test_each_agreement_in_its_currency():
    book = book_of({}, {"reported_im": 8e6, "currency": "EUR"}, {"reported_im": 99e6},
                   {"reported_im": 1e6, "currency": "CHF"})  # fmt: skip
    found = anchor(book, MARKET, np.array([5e6, 8e6, 5e6, 5e6]), np.zeros(4))
    assert found.ratio.tolist() == [1.0, 1.25, 1.0, 1.0]
    assert found.anchored.tolist() == [False, True, False, False]
    assert [f.item for f in found.failures] == ["A2", "A3"]
    assert "19.8 times" in found.failures[0].message
    assert "no USD rate for CHF" in found.failures[1].message
    marks = found.marks(text(["verified", "indicative", "indicative", "verified"]))
    assert marks.tolist() == ["verified", "user", "indicative", "verified"]
    with pytest.raises(ValueError, match="read-only"):
        found.ratio[0] = 2.0


def test_shape_is_checked():
    with pytest.raises(InputError, match=r"shape \(2,\), the book 1 agreements"):
        anchor(book_of({}), MARKET, np.ones(2), np.zeros(1))


def test_the_report_is_of_margin_above_the_threshold():
    book = book_of({"reported_im": 2e6}, {"reported_im": 0.0}, {"reported_im": 0.0})
    found = anchor(book, MARKET, np.array([5e6, 5e6, 5e6]), np.array([4e6, 4e6, 0.0]))
    # 2m above a threshold of 4m is a margin of 6m, where the model has 5m.
    assert found.ratio.tolist() == [1.2, 1.0, 1.0]
    assert "below its threshold" in found.failures[0].message
    assert "is 0 times" in found.failures[1].message


def test_known_ratios_are_taken_by_id():
    found = known_anchors(book_of({"reported_im": 1.0}, {}), {"A1": 1.5, "GONE": 3.0})
    assert found.ratio.tolist() == [1.0, 1.5]
    assert found.anchored.tolist() == [False, True]


def reported(**terms):
    market = tiny_market(adv=np.full(6, 2e6))
    builder = FundBuilder().agreement("A", reported_im=6e6, broker_multiplier=1.2, **terms)
    builder.agreement("B").instrument("F", "future", "IDX", multiplier=50.0)
    builder.position("F", "A", "M1", 400.0).position("F", "B", "M1", 400.0)
    return builder.build(market), market


@pytest.mark.parametrize("threshold", [0.0, 1e6])
def test_margin_and_the_venues_add_ons_are_the_report(threshold):
    book, market = reported(im_threshold=threshold)
    result = calculate_margin_requirements(book, market, MarginConfig())
    assert result.failures == ()
    venue = sum(values[0] for name, values in result.add_ons.items() if name != "broker")
    assert venue > 1e5
    assert result.im_usd[0] + venue == pytest.approx(6e6, rel=1e-12)
    assert result.add_ons["broker"][0] == pytest.approx(0.2 * result.im_usd[0], rel=1e-12)
    assert result.mark.tolist() == ["user", "indicative"]
    ratio = result.basis["anchor_ratio"]["A"]
    before = ratio * result.components["calculated"][0]
    if threshold:
        assert result.basis["im_before_threshold_usd"]["A"] == pytest.approx(before, rel=1e-12)
    shares = result.by_manager["M1"]
    assert shares["add_ons_usd"] == pytest.approx(result.add_ons_usd().sum(), rel=1e-12)


def test_stress_keeps_the_ratio():
    book, market = reported()
    config = MarginConfig(add_ons=AddOnConfig(bid_ask_multiplier=0.0), concentration_coefficient=0)
    base = calculate_margin_requirements(book, market, config)
    stressed = project_stress_margin(book, market, base, config).im_usd
    ratio = base.basis["anchor_ratio"]["A"]
    assert ratio != pytest.approx(1.0, rel=0.05)
    assert stressed[:, 0] == pytest.approx(1.2 * ratio * stressed[:, 1], rel=1e-12)


def test_what_if_keeps_the_ratio_of_the_book_before():
    book, market = reported()
    inputs = MarginInputs(book, market, MarginConfig())
    found = what_if(inputs, [Trade(action="scale", position_id="P0", factor=2.0)], marginal=False)
    row = found.tables()["what_if_by_agreement"].set_index("agreement_id").loc["A"]
    assert row["im_after_usd"] == pytest.approx(2.0 * row["im_before_usd"], rel=1e-9)


def test_an_agreement_that_failed_is_not_anchored():
    book = book_of({"reported_im": 1e6}, {})
    found = anchor(book, MARKET, np.array([np.nan, 1.0]), np.zeros(2))
    assert found.ratio.tolist() == [1.0, 1.0]
    assert [f.item for f in found.failures] == ["A0"]


@given(st.floats(1.0, 1e9), st.floats(0.2001, 4.999))
def test_ratio_gives_back_the_report(modelled, factor):
    ratio = anchor_ratio(factor * modelled, modelled)
    assert ratio * modelled == pytest.approx(factor * modelled, rel=1e-12)
