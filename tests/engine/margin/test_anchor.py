from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.anchor import anchor, anchor_ratio, anchor_result, anchored
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
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
    assert anchored(np.array([30e6]), np.array([1.2])) == pytest.approx([36e6])


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
    found = anchor(book, MARKET, np.array([5e6, 8e6, 5e6, 5e6]))
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
        anchor(book_of({}), MARKET, np.ones(2))


def test_stress_keeps_the_ratio():
    im = np.array([[10.0, 20.0], [30.0, 40.0]])
    assert anchored(im, np.array([1.5, 1.0])).tolist() == [[15.0, 20.0], [45.0, 40.0]]


def test_a_baseline_anchored_to_its_own_report_gives_the_report():
    market = tiny_market()
    builder = FundBuilder().agreement("A", reported_im=6e6, broker_multiplier=1.2).agreement("B")
    builder.instrument("F", "future", "IDX", multiplier=50.0)
    builder.position("F", "A", "M1", 400.0).position("F", "B", "M1", 400.0)
    book = builder.build(market)
    result = calculate_margin_requirements(book, market, MarginConfig())
    found = anchor_result(book, market, result)
    assert found.failures == ()
    total = result.im_usd + result.add_ons_usd()
    assert anchored(total, found.ratio)[0] == pytest.approx(6e6, rel=1e-12)
    assert anchored(total, found.ratio)[1] == total[1]


def test_an_agreement_that_failed_is_not_anchored():
    book = book_of({"reported_im": 1e6}, {})
    found = anchor(book, MARKET, np.array([np.nan, 1.0]))
    assert found.ratio.tolist() == [1.0, 1.0]
    assert [f.item for f in found.failures] == ["A0"]


@given(st.floats(1.0, 1e9), st.floats(0.2001, 4.999))
def test_ratio_gives_back_the_report(modelled, factor):
    ratio = anchor_ratio(factor * modelled, modelled)
    assert ratio * modelled == pytest.approx(factor * modelled, rel=1e-12)
