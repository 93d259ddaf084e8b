from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.domain.results import MarginResult
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.calls.threshold import (
    call_change,
    called_above,
    group_thresholds,
    largest_threshold_usd,
    threshold_leverage,
)
from engine.margin.calls.uncleared_rules import rules_of
from engine.margin.config import MarginConfig
from tests.support.tiny_fund import SIMM, FundBuilder, tiny_market

MARKET = tiny_market(n_days=10)


def book_of(*terms):
    builder = FundBuilder()
    for i, each in enumerate(terms):
        builder.agreement(f"A{i}", **{**SIMM, **each})
    builder.instrument("F", "trs", "STK", strike=100.0)
    for i in range(len(terms)):
        builder.position("F", f"A{i}", "M1", 1.0)
    return builder.build(MARKET)


def result_of(book, before):
    agreements = book.agreements
    usd = MARKET.usd_per(agreements.currency)
    before = np.array(before, dtype=float)
    limit = agreements.im_threshold * usd
    return MarginResult(
        as_of=book.as_of, currency="USD", agreement_id=agreements.agreement_id,
        kind=agreements.kind, venue=agreements.venue, counterparty=agreements.counterparty,
        broker=agreements.broker, model=agreements.model, mark=agreements.evidence,
        im_usd=np.maximum(0.0, before - limit), vm_usd=np.zeros(len(before)),
        basis={"im_before_threshold_usd": {
            str(name): float(im)
            for name, im, t in zip(agreements.agreement_id, before, limit, strict=True) if t > 0
        }},
    )  # fmt: skip


def test_rules_are_verified_where_read():
    assert [(r.value, r.unit, r.mark) for r in rules_of("im_threshold")] == [
        (50e6, "EUR", "verified"), (50e6, "USD", "verified"),
    ]  # fmt: skip
    assert {r.mark for r in rules_of("minimum_transfer")} == {"indicative"}
    with pytest.raises(InputError, match="no term 'haircut'"):
        rules_of("haircut")


def test_call_jumps_when_margin_crosses_the_threshold():
    assert call_change(48e6, 50e6, 0.25) == pytest.approx(10e6, rel=1e-12)
    assert call_change(40e6, 50e6, 0.25) == 0.0
    assert call_change(60e6, 50e6, 0.25) == pytest.approx(15e6, rel=1e-12)
    assert call_change(60e6, 50e6, -0.5) == pytest.approx(-10e6, rel=1e-12)
    assert (called_above(50e6, 50e6), called_above(50e6 + 1, 50e6)) == (0.0, 1.0)


def test_leverage_near_the_threshold():
    assert threshold_leverage(55e6, 50e6) == pytest.approx(11.0, rel=1e-12)
    assert threshold_leverage(100e6, 50e6) == 2.0
    assert threshold_leverage(7.0, 0.0) == 1.0
    assert threshold_leverage(49e6, 50e6) == 0.0
    assert threshold_leverage(50e6, 50e6) == math.inf
    assert threshold_leverage(0.0, 0.0) == 0.0


@given(st.floats(1.0, 1e9), st.floats(0.0, 0.999))
def test_leverage_is_the_elasticity_of_the_call(im, share):
    threshold = share * im
    bump = 1e-6
    elasticity = call_change(im, threshold, bump) / called_above(im, threshold) / bump
    assert threshold_leverage(im, threshold) == pytest.approx(elasticity, rel=1e-4)


def test_a_group_shares_its_threshold():
    book = book_of(
        {"im_group": "G", "im_threshold": 30e6},
        {"im_group": "G", "im_threshold": 10e6, "currency": "EUR"},
        {"im_group": "H", "im_threshold": 20e6},
    )
    found = group_thresholds(book, MARKET, result_of(book, [25e6, 20.6e6, 5e6]))
    assert found.failures == ()
    first, second = found.value
    assert (first.group, first.agreements) == ("G", ("A0", "A1"))
    assert first.im_usd == pytest.approx(45.6e6)
    assert first.threshold_usd == pytest.approx(40.6e6)  # 30m and EUR 10m at 1.06
    assert first.distance_usd == pytest.approx(-5e6)
    assert first.called_usd == pytest.approx(10e6)  # the second agreement alone is beyond
    assert first.pooled_usd == pytest.approx(5e6)
    assert first.rise_to_cross == pytest.approx(40.6 / 45.6 - 1)
    assert first.leverage == pytest.approx(45.6 / 5)
    assert (second.group, second.rise_to_cross, second.leverage) == ("H", 3.0, 0.0)
    assert not first.above_limit


def test_allocations_above_the_regulatory_maximum_are_flagged():
    limit, mark = largest_threshold_usd(MARKET)
    assert (limit, mark) == (pytest.approx(53e6), "verified")
    at_it = book_of({"im_threshold": 50e6, "currency": "EUR"})
    above = book_of({"im_threshold": 50e6, "currency": "EUR"}, {"im_threshold": 0.02})
    flags = [
        group_thresholds(b, MARKET, result_of(b, [1e6] * len(b.agreements))).value[0].above_limit
        for b in (at_it, above)
    ]
    assert flags == [False, True]


def test_blank_group_is_the_counterparty_and_groups_without_threshold_are_left_out():
    book = book_of({"im_threshold": 1e6, "counterparty": "D1"}, {"counterparty": "D2"})
    found = group_thresholds(book, MARKET, result_of(book, [0.0, 5e6]))
    assert [g.group for g in found.value] == ["D1"]
    assert found.value[0].rise_to_cross == math.inf
    assert found.value[0].to_dict()["rise_to_cross"] is None


def test_the_nearest_group_comes_first_from_either_side():
    terms = [{"im_group": name, "im_threshold": 10e6} for name in ("FAR", "NEAR", "MIDDLE")]
    book = book_of(*terms)
    found = group_thresholds(book, MARKET, result_of(book, [40e6, 10.5e6, 8e6]))
    assert [g.group for g in found.value] == ["NEAR", "MIDDLE", "FAR"]


def test_an_agreement_without_margin_is_named():
    book = book_of({"im_threshold": 1e6}, {"im_threshold": 1e6})
    result = result_of(book, [2e6, 2e6])
    cut = replace(
        result,
        **{
            name: getattr(result, name)[:1]
            for name in ("agreement_id", "kind", "venue", "counterparty", "broker", "model",
                         "mark", "im_usd", "vm_usd")
        },
    )  # fmt: skip
    found = group_thresholds(book, MARKET, cut)
    assert [f.item for f in found.failures] == ["A1"]
    assert found.value[0].threshold_usd == 1e6


def test_a_rate_of_the_rules_is_needed():
    with pytest.raises(InputError, match="in EUR, which has no USD rate"):
        largest_threshold_usd(tiny_market(n_days=10, fx_usd={"USD": 1.0}))


def test_groups_of_a_real_result():
    market = tiny_market()
    builder = FundBuilder().agreement("CSA", **SIMM, im_group="G", im_threshold=1e6)
    builder.instrument("S", "trs", "STK", strike=100.0).position("S", "CSA", "M1", 1e6)
    book = builder.build(market)
    result = calculate_margin_requirements(book, market, MarginConfig())
    (group,) = group_thresholds(book, market, result).value
    assert group.im_usd == pytest.approx(result.basis["im_before_threshold_usd"]["CSA"])
    assert group.called_usd == pytest.approx(float(result.im_usd[0]), rel=1e-12)
    assert group.called_usd > 0.0
