"""The scan-based family on small books: hand-worked margins, shares, stress, failures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from engine.domain.failures import FailureReason
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.historical import ewma_volatility
from engine.margin.span.config import SpanConfig
from engine.margin.span.family import prepare
from engine.margin.span.rulebook import load_rulebook
from engine.pricing.value import value_per_unit
from tests.support.tiny_fund import FundBuilder, text, tiny_market

SPAN = {"model": "span"}
RULES = load_rulebook()


def run(builder, market, scale=1.0, rows=None, own=None, **margin):
    book = builder.build(market)
    exposures = net_positions(book, market)
    if rows is None:
        rows = np.arange(len(book.agreements))
    prepared = prepare(exposures, rows, MarginConfig(**margin), own or SpanConfig())
    return prepared, prepared.margin(np.full(len(book.agreements), scale))


def sigma(market, column, decay=0.97):
    return float(ewma_volatility(market.returns[:, [column]], decay)[-1, 0])


def psr(market, column, days=2, confidence=0.99, decay=0.97):
    size = market.level[column] if market.factors.return_type[column] == "log" else 1.0
    return norm.ppf(confidence) * np.sqrt(days) * sigma(market, column, decay) * size


def test_single_future(market, builder):
    builder.agreement("A", **SPAN).position("FUT", "A", "M1", 3.0)
    prepared, out = run(builder, market)
    assert prepared.failures == ()
    expected = 3.0 * 50.0 * psr(market, 0)
    assert out.im[0] == pytest.approx(expected, rel=1e-9)
    assert out.components["scan"][0] == pytest.approx(expected, rel=1e-9)
    assert out.basis["A"]["active_scenarios"] == {"IDX": 13}
    assert out.basis["A"]["mark"] == "indicative"
    assert out.basis["A"]["rulebook"] == RULES.rulebook_id
    assert out.basis["A"]["price_scan_multiple"] == pytest.approx(3.2899, abs=1e-4)
    short = FundBuilder(instruments=builder.instruments)
    short.agreement("A", **SPAN).position("FUT", "A", "M1", -3.0)
    assert run(short, market)[1].im[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "column", "unit"), [("EQ", 1, 1.0), ("CL", 3, 1000.0), ("FWD", 4, 1.0)]
)
def test_linear_kinds(market, builder, name, column, unit):
    builder.agreement("A", mpor_days=5, confidence=0.995, **SPAN).position(name, "A", "M1", -2.0)
    _, out = run(builder, market)
    expected = 2.0 * unit * psr(market, column, 5, 0.995)
    assert out.components["scan"][0] == pytest.approx(expected, rel=1e-9)
    assert out.im[0] == pytest.approx(expected, rel=1e-9)


def test_swap_is_revalued_in_full(market, builder):
    builder.agreement("A", **SPAN).position("SWAP", "A", "M1", -1e6)
    _, out = run(builder, market)
    book = builder.build(market)
    exposures = net_positions(book, market)
    up = replace(market, level=market.level + np.eye(6)[2] * psr(market, 2))
    loss = 1e6 * (value_per_unit(exposures.instruments, up)
                  - value_per_unit(exposures.instruments, market))[0]  # fmt: skip
    assert out.im[0] == pytest.approx(loss, rel=1e-9)
    assert out.basis["A"]["active_scenarios"] == {"UST": 11}


def test_no_filter_uses_the_lookback(market, builder):
    builder.agreement("A", ewma_lambda=1.0, lookback_days=500, **SPAN)
    builder.position("FUT", "A", "M1", 1.0)
    _, out = run(builder, market)
    rms = np.sqrt(np.mean(market.returns[-500:, 0] ** 2))
    expected = 50.0 * 4000.0 * rms * norm.ppf(0.99) * np.sqrt(2)
    assert out.im[0] == pytest.approx(expected, rel=1e-9)


def test_user_multiple_and_extreme_move(market, builder):
    builder.agreement("A", **SPAN).position("FUT", "A", "M1", 1.0)
    _, out = run(builder, market, own=SpanConfig(price_scan_multiple=6.0))
    assert out.im[0] == pytest.approx(50.0 * 4000.0 * 6.0 * np.sqrt(2) * sigma(market, 0))
    own = SpanConfig(extreme_multiple=3.0, extreme_covered_fraction=0.5)
    _, out = run(builder, market, own=own)
    assert out.im[0] == pytest.approx(1.5 * 50.0 * psr(market, 0), rel=1e-9)
    assert out.basis["A"]["active_scenarios"] == {"IDX": 16}


def nse(builder, market, **terms):
    builder.agreement("A", venue="NSE_CLEARING", **SPAN, **terms)
    return builder


def test_venue_floor_and_exposure(market, builder):
    calm = tiny_market(returns=market.returns * 0.1)
    nse(builder, calm).position("FUT", "A", "M1", 1.0).position("EQ", "A", "M1", -10.0)
    _, out = run(builder, calm)
    scan = 0.093 * 4000.0 * 50.0 + 0.142 * 100.0 * 10.0
    assert out.components["scan"][0] == pytest.approx(scan, rel=1e-12)
    exposure = 0.02 * 4000.0 * 50.0 + 0.035 * 100.0 * 10.0
    assert out.components["exposure"][0] == pytest.approx(exposure, rel=1e-12)
    assert out.im[0] == pytest.approx(scan + exposure, rel=1e-12)
    assert out.basis["A"]["scan_ranges_mark"] == "verified"


def test_venue_multiple_and_its_days(market, builder):
    # Six deviations over two days, whatever the agreement's own confidence and period.
    nse(builder, market, mpor_days=5, confidence=0.995).position("FUT", "A", "M1", 1.0)
    _, out = run(builder, market)
    scan = 50.0 * 4000.0 * 6.0 * np.sqrt(2) * sigma(market, 0)
    assert out.components["scan"][0] == pytest.approx(scan, rel=1e-9)


def option(builder, name, **terms):
    return builder.instrument(
        name, "option", "IDX", **{"multiplier": 50.0, "strike": 4000.0, "right": "C", "vol": 0.2,
                                  "expiry": "2023-03-17", **terms},
    )  # fmt: skip


def test_long_option_needs_no_more_than_its_value(market, builder):
    option(builder, "C1").agreement("A", **SPAN).position("C1", "A", "M1", 2.0)
    _, out = run(builder, market)
    assert out.im[0] == 0.0
    assert out.components["scan"][0] > 0.0
    assert sum(v[0] for v in out.components.values()) == pytest.approx(0.0, abs=1e-9)
    _, daily = run(builder, market, own=SpanConfig(option_style="futures"))
    assert daily.im[0] == pytest.approx(out.components["scan"][0], rel=1e-12)


def test_short_option_pays_value_and_minimum(market, builder):
    option(builder, "C1").agreement("A", **SPAN).position("C1", "A", "M1", -2.0)
    _, out = run(builder, market)
    exposures = net_positions(builder.build(market), market)
    value = 2.0 * value_per_unit(exposures.instruments, market)[0]
    assert out.components["net_option_value"][0] == pytest.approx(value, rel=1e-12)
    assert out.im[0] == pytest.approx(out.components["scan"][0] + value, rel=1e-12)
    far = option(FundBuilder(), "C1", strike=40000.0).agreement("A", **SPAN)
    _, out = run(far.position("C1", "A", "M1", -2.0), market)
    assert out.im[0] == pytest.approx(0.05 * psr(market, 0) * 2.0 * 50.0, rel=1e-9)


def test_long_dated_options_have_their_own_floor(market):
    calm = tiny_market(returns=market.returns * 0.1)
    wide = SpanConfig(option_style="futures")
    margins = []
    for expiry in ("2023-09-28", "2023-09-29"):  # 274 and 275 days
        builder = option(FundBuilder(), "C1", strike=1.0, expiry=expiry)
        nse(builder, calm).position("C1", "A", "M1", 1.0)
        margins.append(run(builder, calm, own=wide)[1].components["scan"][0])
    assert margins[0] == pytest.approx(50.0 * 0.093 * 4000.0, rel=1e-6)
    assert margins[1] == pytest.approx(50.0 * 0.177 * 4000.0, rel=1e-6)


def test_straddle_without_delta_has_scan_risk(market):
    builder = option(option(FundBuilder(), "C1"), "P1", right="P").agreement("A", **SPAN)
    builder.position("C1", "A", "M1", -1.0).position("P1", "A", "M1", -1.0)
    _, out = run(builder, market)
    assert out.components["scan"][0] > 1000.0


def future(builder, name, expiry, factor="IDX", multiplier=50.0):
    return builder.instrument(name, "future", factor, multiplier=multiplier, expiry=expiry)


def test_calendar_spread(market):
    builder = future(future(FundBuilder(), "F1", "2023-03-17"), "F2", "2023-06-16")
    builder.agreement("A", **SPAN).position("F1", "A", "M1", 10.0).position("F2", "A", "M1", -4.0)
    _, out = run(builder, market)
    assert out.components["scan"][0] == pytest.approx(6 * 50.0 * psr(market, 0), rel=1e-9)
    expected = 4 * 50.0 * 0.10 * psr(market, 0)
    assert out.components["inter_month"][0] == pytest.approx(expected, rel=1e-9)
    same = future(future(FundBuilder(), "F1", "2023-03-17"), "F2", "2023-03-10")
    same.agreement("A", **SPAN).position("F1", "A", "M1", 10.0).position("F2", "A", "M1", -4.0)
    assert run(same, market)[1].components["inter_month"][0] == 0.0
    venue = future(future(FundBuilder(), "F1", "2023-03-17"), "F2", "2023-06-16")
    nse(venue, market).position("F1", "A", "M1", 10.0).position("F2", "A", "M1", -4.0)
    charge = run(venue, market)[1].components["inter_month"][0]
    assert charge == pytest.approx(4 * 50.0 * 0.0175 * 4000.0, rel=1e-12)


def test_delivery_month(market):
    margins = []
    for expiry in ("2023-01-28", "2023-01-29"):  # 31 and 32 days
        builder = future(FundBuilder(), "F1", expiry, "OIL", 1000.0).agreement("A", **SPAN)
        _, out = run(builder.position("F1", "A", "M1", -1.0), market)
        margins.append(out.components["delivery"][0])
    assert margins == [pytest.approx(0.1 * 1000.0 * psr(market, 3), rel=1e-9), 0.0]


def two_indices(market):
    bucket = np.array(["equity_us_index", "equity_us_index", *["bucket"] * 4], dtype=object)
    return tiny_market(bucket=bucket, returns=market.returns)


def test_inter_commodity_credit(market, builder):
    market = two_indices(market)
    builder.agreement("A", **SPAN).position("FUT", "A", "M1", 1.0)
    own = 50.0 * psr(market, 0)
    other = 2.0 * own
    builder.position("EQ", "A", "M1", -other / psr(market, 1))
    _, out = run(builder, market)
    # 1 spread of `own` scan ranges: 70 % of all of the first leg and of half of the second.
    assert out.components["inter_commodity"][0] == pytest.approx(-0.7 * 2.0 * own, rel=1e-9)
    assert out.im[0] == pytest.approx(own + other - 1.4 * own, rel=1e-9)
    _, alone = run(builder, market, own=SpanConfig(inter_commodity_credits=False))
    assert alone.im[0] == pytest.approx(own + other, rel=1e-9)
    builder.positions[-1] = ("EQ", "A", "M1", 1.0)
    assert run(builder, market)[1].components["inter_commodity"][0] == 0.0


def mixed(builder):
    option(builder, "C1")
    for name in ("A", "B", "C"):
        builder.agreement(name, **SPAN, mpor_days=2 if name == "A" else 5)
    rng = np.random.default_rng(3)
    for name in ("A", "B", "C"):
        for held in ("FUT", "EQ", "SWAP", "CL", "FWD", "PUT", "C1"):
            for manager in ("M1", "M2"):
                builder.position(held, name, manager, float(rng.normal(0.0, 20.0)))
    return builder


def test_shares_and_components_sum(market, builder):
    builder = mixed(builder)
    prepared, out = run(builder, two_indices(market))
    pairs = prepared.exposures.pair_agreement[out.pairs]
    assert np.bincount(pairs, weights=out.pair_im) == pytest.approx(out.im, rel=1e-12)
    assert sum(out.components.values()) == pytest.approx(out.im, rel=1e-12)
    assert (out.im > 0.0).all()
    assert list(out.rows) == [0, 1, 2]
    assert list(out.pairs) == list(range(6))


def test_share_of_scan_is_the_loss_in_the_active_scenario(market, builder):
    builder.agreement("A", **SPAN)
    builder.position("FUT", "A", "M1", 5.0).position("FUT", "A", "M2", -2.0)
    _, out = run(builder, market)
    unit = 50.0 * psr(market, 0)
    assert out.pair_im == pytest.approx([5.0 * unit, -2.0 * unit], rel=1e-9)


def test_agreements_do_not_depend_on_each_other(market, builder):
    builder = mixed(builder)
    _, together = run(builder, market)
    for row in range(3):
        _, alone = run(builder, market, rows=np.array([row]))
        assert alone.im[0] == pytest.approx(together.im[row], rel=1e-12)
        assert list(alone.rows) == [row]


def test_scale_by_agreement(market, builder):
    builder = mixed(builder)
    prepared, today = run(builder, market)
    steps = prepared.margin(np.array([1.0, 2.0, 3.0]))
    assert steps.im[0] == today.im[0]
    assert steps.im[1] == pytest.approx(prepared.margin(np.full(3, 2.0)).im[1], rel=1e-12)
    assert steps.im[2] == pytest.approx(prepared.margin(np.full(3, 3.0)).im[2], rel=1e-12)
    assert prepared.margin(np.ones(3)).im == pytest.approx(today.im, rel=0)


def test_stress_is_monotone_and_linear_for_futures(market, builder):
    builder.agreement("A", **SPAN).position("FUT", "A", "M1", 1.0)
    builder.agreement("B", **SPAN).position("PUT", "B", "M1", -1.0)
    prepared, today = run(builder, market)
    margins = np.array([prepared.margin(np.full(2, s)).im for s in (1.0, 1.337, 2.702, 5.196)])
    assert (np.diff(margins, axis=0) > 0.0).all()
    assert margins[2, 0] == pytest.approx(2.702 * today.im[0], rel=1e-9)


def test_log_price_cannot_fall_below_zero(market, builder):
    builder.agreement("A", **SPAN).position("FUT", "A", "M1", 1.0)
    prepared, _ = run(builder, market)
    huge = prepared.margin(np.array([1000.0]))
    assert huge.im[0] == pytest.approx(50.0 * 4000.0, rel=1e-6)


def test_volatility_factor_is_capped(market, builder):
    builder.instrument("VX", "future", "VIX", multiplier=1000.0)
    builder.agreement("A", **SPAN).position("VX", "A", "M1", -1.0)
    prepared, today = run(builder, market)
    path = ewma_volatility(market.returns[:, [5]], 0.97)[:, 0]
    limit = path.max() / path[-1]
    assert limit < 50.0
    assert prepared.margin(np.array([50.0])).im[0] == pytest.approx(limit * today.im[0], rel=1e-9)
    free, _ = run(builder, market, cap_volatility_factors=False)
    assert free.margin(np.array([50.0])).im[0] == pytest.approx(50.0 * today.im[0], rel=1e-9)


def test_option_follows_its_volatility_factor(market):
    follow = option(FundBuilder(), "C1", strike=4400.0, vol_factor_id="VIX")
    held = option(FundBuilder(), "C1", strike=4400.0)
    margins = []
    for builder in (follow, held):
        builder.agreement("A", **SPAN).position("C1", "A", "M1", -1.0)
        prepared, today = run(builder, market)
        margins.append((today.im[0], prepared.margin(np.array([2.0])).im[0]))
    assert margins[0][0] == margins[1][0]
    assert margins[0][1] > margins[1][1]


def test_volatility_scan_of_the_venue_has_a_floor(market):
    calm = tiny_market(returns=market.returns * 0.01)
    builder = option(FundBuilder(), "C1", vol=0.01, expiry="2023-12-20")
    nse(builder, calm).position("C1", "A", "M1", -1.0)
    prepared, out = run(builder, calm, own=SpanConfig(look_ahead_days=0, option_style="futures"))
    losses = prepared.margin(np.ones(1))
    assert losses.im[0] == out.im[0]
    risk = prepared._classes[0].scanner.at(1.0)
    years = (np.datetime64("2023-12-20") - np.datetime64(calm.as_of)).astype(int) / 365.0
    at_money = 4000.0 * 50.0 * (2.0 * norm.cdf(0.5 * 0.05 * np.sqrt(years)) - 1.0)
    now = 4000.0 * 50.0 * (2.0 * norm.cdf(0.5 * 0.01 * np.sqrt(years)) - 1.0)
    assert -risk.cell_losses[0, 0] == pytest.approx(-(at_money - now), rel=1e-9)


def test_failures(market, builder):
    returns = market.returns.copy()
    returns[:1400, 1] = np.nan
    returns[:, 3] = 0.0
    floor = np.full(6, 1e-5)
    floor[3] = 0.0
    poor = tiny_market(returns=returns, daily_vol_floor=floor)
    for name, held in (("A", "FUT"), ("B", "EQ"), ("C", "CL"), ("D", "FUT")):
        decay = 1.0 if name == "D" else 0.97
        lookback = 200 if name == "D" else 1000
        builder.agreement(name, **SPAN, ewma_lambda=decay, lookback_days=lookback)
        builder.position(held, name, "M1", 1.0)
    prepared, out = run(builder, poor)
    assert [(f.item, f.reason) for f in prepared.failures] == [
        ("B", FailureReason.MISSING_DATA),
        ("C", FailureReason.INVALID),
        ("D", FailureReason.MISSING_DATA),
    ]
    assert "STK have 200 daily returns" in prepared.failures[0].message
    assert "OIL do not move" in prepared.failures[1].message
    assert np.isfinite(out.im[0])
    assert np.isnan(out.im[1:]).all()
    assert np.isnan(out.pair_im[1:]).all()
    assert np.isnan(out.components["scan"][1:]).all()
    assert set(out.basis) == {"A"}


def test_nothing_left(market, builder):
    returns = market.returns.copy()
    returns[:1400] = np.nan
    builder.agreement("A", **SPAN).position("FUT", "A", "M1", 1.0)
    prepared, out = run(builder, tiny_market(returns=returns))
    assert len(prepared.failures) == 1
    assert np.isnan(out.im).all()
    assert out.basis == {}


def test_move_that_cannot_be_revalued_gives_no_margin(market, builder):
    builder.agreement("A", **SPAN).position("SWAP", "A", "M1", 1.0)
    builder.agreement("B", **SPAN).position("FUT", "B", "M1", 1.0)
    prepared, _ = run(builder, market)
    out = prepared.margin(np.array([500.0, 1.0]))  # a yield below -100 %
    assert np.isnan(out.im[0])
    assert np.isnan(out.pair_im[0])
    assert out.im[1] > 0.0


def test_netted_position_has_no_margin(market, builder):
    builder.agreement("A", **SPAN)
    builder.position("FUT", "A", "M1", 5.0).position("FUT", "A", "M2", -5.0)
    _, out = run(builder, market)
    assert out.im[0] == 0.0
    assert list(out.pair_im) == [0.0, 0.0]


def test_equity_without_a_bucket_counts_as_a_single_stock(market, builder):
    calm = tiny_market(returns=market.returns * 0.1, simm_bucket=text([""] * 6))
    nse(builder, calm).position("FUT", "A", "M1", 1.0)
    assert run(builder, calm)[1].components["scan"][0] == pytest.approx(0.142 * 4000.0 * 50.0)
