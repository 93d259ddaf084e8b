"""Scan ranges by hand, and the parts of the scan-based family that only some books reach."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.historical import ewma_volatility
from engine.margin.span.config import SpanConfig
from engine.margin.span.family import prepare
from engine.margin.span.rulebook import load_rulebook
from engine.margin.span.scan_ranges import (
    DailyVolatility,
    ScanKey,
    annual_volatility,
    capped_scale,
    daily_volatility,
    factor_rates,
    price_scan_multiple,
    price_scan_ranges,
    volatility_scan_ranges,
)
from tests.support.tiny_fund import FundBuilder, text, tiny_market

RULES = load_rulebook()
ALL = np.ones(6, dtype=np.bool_)


def key(**changes):
    terms = {"venue": "", "confidence": 0.99, "mpor_days": 2, "ewma_lambda": 0.97}
    return ScanKey(**{**terms, "lookback_days": 0, **changes})


def rates(**changes):
    names = ("price_scan_floor", "volatility_scan", "volatility_scan_floor")
    return SimpleNamespace(**{name: np.zeros(6) for name in names} | changes)


def test_daily_volatility_with_and_without_a_filter(market):
    used = ALL.copy()
    used[2] = False
    filtered = daily_volatility(market, used, 0.97, 0, 250)
    path = ewma_volatility(market.returns[:, used], 0.97, 250)
    assert filtered.today[used] == pytest.approx(path[-1], rel=1e-12)
    assert filtered.highest_over_today[used] == pytest.approx(path.max(axis=0) / path[-1])
    assert np.isnan(filtered.today[2])
    assert np.isinf(filtered.highest_over_today[2])
    returns = np.tile([[0.01, np.nan, 0.0], [-0.01, 0.02, 0.0]], (1, 2))
    short = tiny_market(n_days=2, returns=returns, daily_vol_floor=np.full(6, 0.003))
    plain = daily_volatility(short, ALL, 1.0, 2, 250)
    assert plain.today.tolist() == [0.01, 0.02, 0.003] * 2
    assert np.isinf(plain.highest_over_today).all()
    assert daily_volatility(short, ALL, 1.0, 1, 250).today[0] == 0.01


def test_capped_scale():
    volatility = DailyVolatility(np.ones(3), np.array([2.0, 2.0, 5.0]))
    classes = text(["equity", "volatility", "volatility"])
    assert capped_scale(3.0, volatility, classes, True).tolist() == [3.0, 2.0, 3.0]
    assert capped_scale(3.0, volatility, classes, False).tolist() == [3.0, 3.0, 3.0]
    # A fall is not capped, nor is today.
    low = DailyVolatility(np.ones(3), np.full(3, 0.5))
    assert capped_scale(1.0, low, classes, True).tolist() == [1.0, 1.0, 1.0]
    assert capped_scale(1.5, low, classes, True).tolist() == [1.5, 0.5, 0.5]


def test_price_scan_multiple_by_hand():
    quantile = norm.ppf(0.99)
    assert price_scan_multiple(RULES, key(), None) == pytest.approx(3.2899, abs=1e-4)
    assert price_scan_multiple(RULES, key(mpor_days=5), None) == pytest.approx(5**0.5 * quantile)
    assert price_scan_multiple(RULES, key(mpor_days=9), 4.0) == pytest.approx(12.0)
    venue = key(venue="NSE_CLEARING", mpor_days=9, confidence=0.5)
    assert price_scan_multiple(RULES, venue, None) == pytest.approx(6.0 * 2**0.5)
    assert price_scan_multiple(RULES, venue, 4.0) == pytest.approx(4.0 * 2**0.5)


def test_price_scan_ranges_by_hand(market):
    # Levels 4000, 100, 4, 80, 1.06 and 22; UST and OIL are absolute.
    volatility = np.array([0.01, 0.02, 0.05, 2.0, np.nan, 0.05])
    got = price_scan_ranges(market, volatility, 3.0, rates())
    assert got == pytest.approx([120.0, 6.0, 0.15, 6.0, np.nan, 3.3], nan_ok=True)
    floors = rates(price_scan_floor=np.full(6, 0.05))
    got = price_scan_ranges(market, volatility, 3.0, floors)
    assert got == pytest.approx([200.0, 6.0, 0.2, 6.0, np.nan, 3.3], nan_ok=True)


def test_annual_volatility_is_relative(market):
    volatility = np.array([0.01, 0.02, 0.05, 2.0, np.nan, 0.05])
    got = annual_volatility(market, volatility)
    relative = np.array([0.01, 0.02, 0.05 / 4.0, 2.0 / 80.0, np.nan, 0.05])
    assert got == pytest.approx(relative * np.sqrt(252.0), rel=1e-12, nan_ok=True)
    level = np.array([4000.0, 100.0, 0.0, -80.0, 1.06, 22.0])
    got = annual_volatility(replace(market, level=level), np.full(6, 0.8))
    assert np.isnan(got[2])
    assert got[3] == pytest.approx(0.01 * np.sqrt(252.0), rel=1e-12)
    assert got[0] == pytest.approx(0.8 * np.sqrt(252.0), rel=1e-12)


def test_volatility_scan_ranges_by_hand():
    rule = rates(volatility_scan=np.array([0.25, 0.5]), volatility_scan_floor=np.full(2, 0.04))
    factor, annual = np.array([0, 0, 1]), np.array([0.2, 0.3])
    vol, scale = np.array([0.24, 0.10, 0.24]), np.array([1.0, 1.0, 2.0])
    implied = volatility_scan_ranges("implied", vol, factor, annual, scale, rule)
    assert implied == pytest.approx([0.06, 0.04, 0.24], rel=1e-12)
    measured = volatility_scan_ranges("ewma", vol, factor, annual, scale, rule)
    assert measured == pytest.approx([0.05, 0.05, 0.15], rel=1e-12)


def test_rates_of_a_venue_by_product_class():
    own = factor_rates(RULES, "NSE_CLEARING", text(["equity_index", "equity_single"]))
    assert own.price_scan_floor.tolist() == [0.093, 0.142]
    assert own.volatility_scan_floor.tolist() == [0.04, 0.10]
    assert own.calendar_of_price.tolist() == [0.0175, 0.022]
    assert own.calendar_of_scan.tolist() == [0.0, 0.0]
    assert own.exposure_rate.tolist() == [0.02, 0.035]
    rule = RULES.default.classes["commodity"]
    other = factor_rates(RULES, "", text(["commodity"]))
    for name in ("price_scan_floor", "volatility_scan", "volatility_scan_floor", "delivery_rate",
                 "short_option_minimum", "exposure_rate"):  # fmt: skip
        assert getattr(other, name).tolist() == [getattr(rule, name)]
    assert other.calendar_of_scan.tolist() == [rule.calendar_rate]
    assert other.calendar_of_price.tolist() == [0.0]


def run(builder, market, scale=1.0, own=None):
    book = builder.build(market)
    rows = np.arange(len(book.agreements))
    prepared = prepare(
        net_positions(book, market), rows, MarginConfig(), own if own else SpanConfig()
    )
    return prepared, prepared.margin(np.broadcast_to(np.asarray(scale, dtype=float), len(rows)))


def spread(multiplier=50.0, **terms):
    """Two managers hold the two sides of a calendar spread under A; the same under B."""
    builder = FundBuilder()
    for name, expiry in (("F1", "2023-03-17"), ("F2", "2023-06-16")):
        builder.instrument(name, "future", "IDX", multiplier=multiplier, expiry=expiry)
    for name in ("A", "B"):
        builder.agreement(name, model="span", **terms)
        builder.position("F1", name, "M1", 10.0).position("F2", name, "M2", -4.0)
    return builder


def test_shares_follow_each_agreements_own_scale(market):
    prepared, today = run(spread(), market)
    mixed = prepared.margin(np.array([1.0, 3.0]))
    assert mixed.pair_im[:2] == pytest.approx(today.pair_im[:2], rel=1e-12)
    assert mixed.pair_im[2:] == pytest.approx(3.0 * today.pair_im[2:], rel=1e-9)
    turned = prepared.margin(np.array([3.0, 1.0]))
    assert turned.pair_im[2:] == pytest.approx(today.pair_im[2:], rel=1e-12)
    for name, values in mixed.components.items():
        assert values == pytest.approx(today.components[name] * [1.0, 3.0], rel=1e-9), name


def test_shares_do_not_depend_on_the_unit(market):
    whole, small = run(spread(), market)[1], run(spread(multiplier=5e-8), market)[1]
    assert small.pair_im == pytest.approx(1e-9 * whole.pair_im, rel=1e-9)
    # Scan is shared by loss (10 long, 4 short), the charge of 4 spreads by stand-alone risk.
    scan, charge = whole.components["scan"][0], whole.components["inter_month"][0]
    assert whole.pair_im[0] == pytest.approx(scan * 10.0 / 6.0 + charge * 10.0 / 14.0, rel=1e-9)
    assert whole.pair_im[1] == pytest.approx(-scan * 4.0 / 6.0 + charge * 4.0 / 14.0, rel=1e-9)


def test_exposure_margin_is_shared_by_exposure(market):
    _, out = run(spread(venue="NSE_CLEARING"), market)
    assert out.pair_im.reshape(2, 2).sum(axis=1) == pytest.approx(out.im, rel=1e-12)
    rate = 0.02 * 4000.0 * 50.0
    assert out.components["exposure"] == pytest.approx([14.0 * rate] * 2, rel=1e-12)
    scan, charge = out.components["scan"][0], out.components["inter_month"][0]
    expected = scan * 10.0 / 6.0 + charge * 10.0 / 14.0 + 10.0 * rate
    assert out.pair_im[0] == pytest.approx(expected, rel=1e-9)


def test_which_agreements_are_net_of_option_value(market):
    builder = spread().agreement("C", model="span", venue="NSE_CLEARING")
    builder.position("F1", "C", "M1", 1.0)
    premium = [RULES.default.option_style, RULES.default.option_style,
               RULES.venues["NSE_CLEARING"].option_style]  # fmt: skip
    _, out = run(builder, market)
    assert out.values_options.tolist() == [style == "premium" for style in premium]
    for style, every in (("premium", True), ("futures", False)):
        _, out = run(builder, market, own=SpanConfig(option_style=style))
        assert out.values_options.tolist() == [every] * 3


def test_volatility_may_be_the_first_factor(market):
    margins = []
    for vol_factor in ("IDX", ""):
        builder = FundBuilder().agreement("A", model="span").position("C1", "A", "M1", -1.0)
        builder.instrument("C1", "option", "STK", strike=110.0, right="C", vol=0.3,
                           expiry="2023-06-16", vol_factor_id=vol_factor)  # fmt: skip
        prepared, today = run(builder, market)
        margins.append((today.im[0], prepared.margin(np.array([2.0])).im[0]))
    assert margins[0][0] == margins[1][0]
    assert margins[0][1] > margins[1][1]


def test_failures_name_five_factors_and_count_the_rest(market):
    returns = market.returns.copy()
    returns[:1400] = np.nan
    builder = FundBuilder().agreement("A", model="span")
    for i, name in enumerate(("IDX", "STK", "UST", "OIL", "EURUSD", "VIX")):
        builder.instrument(f"F{i}", "future", name).position(f"F{i}", "A", "M1", 1.0)
    (short,) = run(builder, tiny_market(returns=returns))[0].failures
    assert short.message == (
        "factors IDX, STK, UST, OIL, EURUSD and 1 more have 200 daily returns in its lookback, "
        "fewer than 250; lengthen the history or the lookback, or remove the positions"
    )
    still = tiny_market(returns=np.zeros((1600, 6)), daily_vol_floor=np.zeros(6))
    builder.positions = builder.positions[:5]
    (failure,) = run(builder, still)[0].failures
    assert (failure.item, failure.where) == ("A", "agreement A")
    assert failure.message == (
        "factors IDX, STK, UST, OIL, EURUSD do not move and have a daily_vol_floor of 0; give "
        "them one above 0"
    )


@pytest.mark.parametrize(("days", "enough"), [(249, False), (250, True)])
def test_a_year_of_returns_is_enough(market, days, enough):
    returns = market.returns.copy()
    returns[: 1600 - days, 0] = np.nan
    builder = FundBuilder().agreement("A", model="span").position("F", "A", "M1", 1.0)
    builder.instrument("F", "future", "IDX")
    prepared, out = run(builder, tiny_market(returns=returns))
    assert (prepared.failures == ()) == enough
    assert np.isfinite(out.im[0]) == enough
