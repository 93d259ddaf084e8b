"""How the families, tools, thresholds, reports and add-ons of an agreement are joined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.simulate import fund_model
from engine.domain.agreements import APC_TOOLS, MARGIN_MODELS, REACTIVE_MODELS, TAIL_MODELS
from engine.margin.add_ons.config import AddOnConfig
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.flat_rate import FlatRateConfig
from engine.margin.historical import (
    ewma_volatility,
    expected_shortfall,
    filtered_scenarios,
    overlapping_sums,
    value_at_risk,
    worst_volatility_period,
)
from engine.margin.required import MarginEngine
from engine.margin.scenario_margin import tail_contributions
from engine.margin.span.config import SpanConfig
from engine.margin.stress import project_stress_margin, volatility_scale
from engine.pricing.scenarios import scenario_pnl
from engine.pricing.value import value_per_unit
from tests.support.tiny_fund import SCHEDULE, SIMM, FundBuilder, tiny_market

NO_ADD_ONS = AddOnConfig(bid_ask_multiplier=0.0, jump_to_default=False, delivery=False)
CONFIG = MarginConfig(add_ons=NO_ADD_ONS)
FLAT = {"model": "flat", "confidence": np.nan, "ewma_lambda": np.nan, "lookback_days": 0}
TERMS = {
    **{name: {"model": name} for name in TAIL_MODELS},
    "flat": FLAT,
    "simm": SIMM,
    "schedule": SCHEDULE,
}
TOOLS = {
    "none": {},
    "buffer": {"apc_buffer": 0.25},
    "stress_weight": {"stress_weight": 0.25},
    "long_run_floor": {},
    "stress_floor": {},
}
# The tool compares with the margin of a stress period, which a close-out model already has.
WITH_TOOLS = tuple(name for name in TAIL_MODELS if name != "close_out")
QUANTITY = 400.0
HOLDINGS = {"FUT": 20.0, "EQ": 2e3, "CL": -10.0, "PUT": -30.0, "RF": 300.0}
# The schedule needs a maturity, which a rate future of the tests has not.
DATELESS = ("RF",)


@pytest.fixture(scope="module")
def long_market():
    """3,000 days whose worst year is older than ten years, and a lesser crisis within them."""
    plain = tiny_market(n_days=3000)
    returns = np.array(plain.returns)
    returns[800:1050] *= 2.5
    return replace(plain, returns=returns)


def _rates(builder):
    """One instrument that is linear in a factor with absolute moves: losses scale exactly."""
    return builder.instrument("RF", "rate_future", "UST", multiplier=2500.0)


def _engine(builder, market, config=CONFIG, **choices):
    return MarginEngine(net_positions(builder.build(market), market), config, **choices)


def _holdings(model):
    return {k: q for k, q in HOLDINGS.items() if model != "schedule" or k not in DATELESS}


def _every_agreement(builder):
    _rates(builder)
    for model in MARGIN_MODELS:
        for tool, terms in (TOOLS if model in WITH_TOOLS else {"none": {}}).items():
            name = f"{model} {tool}"
            own = {**TERMS[model], "apc": tool, "broker_multiplier": 1.1, **terms}
            builder.agreement(name, **own)
            for instrument, quantity in _holdings(model).items():
                builder.position(instrument, name, "M1", quantity)
                builder.position(instrument, name, "M2", -0.3 * quantity)
    return builder


@pytest.fixture(scope="module")
def everything(market):
    """Engine of a book with every model under every tool, all add-ons on."""
    builder = (
        FundBuilder()
        .instrument("FUT", "future", "IDX", multiplier=50.0)
        .instrument("EQ", "equity", "STK")
        .instrument("CL", "future", "OIL", multiplier=1000.0)
        .instrument("PUT", "option", "IDX", multiplier=50.0, strike=3900.0, right="P",
                    vol=0.22, vol_factor_id="VIX", expiry="2023-03-17")
    )  # fmt: skip
    return _engine(_every_agreement(builder), market, MarginConfig())


@pytest.mark.parametrize("scale", [None, 0.5, 3.0])
def test_parts_and_shares_sum_for_every_model_and_tool(everything, scale):
    n = len(everything.failed)
    required = everything.at(None if scale is None else np.full(n, scale))
    assert not everything.failed.any()
    # The market has 1,600 days: the ten-year floors say so, and nothing else is wrong.
    assert {f.message.split(";")[0] for f in everything.failures} == {
        "its ten-year floor has 1599 days of history, not 2500"
    }
    assert (required.im > 0.0).all()
    steps = np.sum(list(required.components.values()), axis=0)
    assert steps == pytest.approx(required.im, rel=1e-12)
    named = np.sum(list(required.model_parts.values()), axis=0)
    several = named != 0.0
    models = everything.exposures.book.agreements.model
    assert set(models[several]) == {"span", "cds"}
    calculated = required.components["calculated"]
    assert named[several] == pytest.approx(calculated[several], rel=1e-12)
    owner = everything.exposures.pair_agreement
    shares = np.bincount(owner, weights=required.pair_im, minlength=n)
    assert shares == pytest.approx(required.im, rel=1e-9)
    size = 1.0 if scale is None else scale
    own = everything.prepared_add_ons.pair_shares(required.im, required.pair_im, size)
    assert list(own) == list(required.add_ons)
    for name, amount in required.add_ons.items():
        share = np.bincount(owner, weights=own[name], minlength=n)
        assert share == pytest.approx(amount, rel=1e-9, abs=1e-6)


def test_margin_rises_with_volatility_under_every_model_and_tool(everything):
    n = len(everything.failed)
    sizes = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
    im = np.stack([everything.at(np.full(n, size)).im for size in sizes])
    assert (np.diff(im, axis=0) >= -1e-9 * im[0]).all()
    agreements = everything.exposures.book.agreements
    reacts = np.isin(agreements.model, REACTIVE_MODELS)
    assert im[:, ~reacts] == pytest.approx(np.tile(im[0, ~reacts], (len(sizes), 1)), rel=1e-12)
    plain = reacts & (agreements.apc == "none")
    assert (np.diff(im[:, plain], axis=0) > 0.0).all()
    assert im[1] == pytest.approx(everything.at().im, rel=1e-12)


def _losses(moves):
    return QUANTITY * 2500.0 * moves[:, 2]  # a rate future falls when its rate rises


@pytest.mark.parametrize("model", WITH_TOOLS)
def test_tools_by_hand(builder, long_market, model):
    market = long_market
    _rates(builder)
    for tool, terms in TOOLS.items():
        builder.agreement(tool, model=model, apc=tool, **terms)
        builder.position("RF", tool, "M1", 1.5 * QUANTITY)
        builder.position("RF", tool, "M2", -0.5 * QUANTITY)
    result = calculate_margin_requirements(builder.build(market), market, CONFIG)
    assert result.failures == ()
    im = dict(zip(result.agreement_id, result.im_usd, strict=True))
    calculated = im["none"]
    assert result.components["calculated"] == pytest.approx(np.full(5, calculated), rel=1e-12)
    # The tool compares with the agreement's own margin times a ratio of historical tails.
    measure = expected_shortfall if model == "fhs_es" else value_at_risk
    moves = filtered_scenarios(
        market.returns, 0.97, 2, 1000, volatility_floor=market.factors.daily_vol_floor
    )
    today = float(measure(_losses(moves), 0.99))
    first, last = worst_volatility_period(market.returns[:, [2]], 250)
    assert first < 500  # older than ten years
    stress = float(measure(_losses(overlapping_sums(market.returns[first : last + 1], 2)),
                           0.99)) / today  # fmt: skip
    ten_years = overlapping_sums(market.returns[-2501:], 2)
    assert len(ten_years) == 2500
    long_run = float(measure(_losses(ten_years), 0.99)) / today
    sigma = ewma_volatility(_losses(market.returns[-750:]), 0.97, 250)
    mean = sigma[-250:].mean() / sigma[-1]
    assert stress > long_run > 1.0
    assert im["stress_weight"] == pytest.approx(calculated * (0.75 + 0.25 * stress), rel=1e-9)
    assert im["stress_floor"] == pytest.approx(calculated * stress, rel=1e-9)
    assert im["long_run_floor"] == pytest.approx(calculated * long_run, rel=1e-9)
    buffered = max(1.0, min(1.25, 1.25 * mean))
    assert im["buffer"] == pytest.approx(calculated * buffered, rel=1e-9)
    assert result.basis["stress_period"] == {
        name: [str(market.dates[first]), str(market.dates[last])]
        for name in ("stress_weight", "stress_floor")
    }
    # Two managers with three times and minus once the net position share the margin so.
    shares = [result.by_manager[m]["im_usd"] for m in ("M1", "M2")]
    assert shares == pytest.approx(np.array([1.5, -0.5]) * result.im_usd.sum(), rel=1e-9)


def test_managers_share_the_stress_margin_that_is_charged(builder, market):
    _rates(builder)
    holdings = {"FUT": ("M1", 3.0), "RF": ("M2", 60.0)}
    for tool in ("stress_floor", "stress_weight", "none"):
        builder.agreement(tool, apc=tool, **TOOLS[tool])
        for name, (manager, quantity) in holdings.items():
            builder.position(name, tool, manager, quantity)
    book = builder.build(market)
    result = calculate_margin_requirements(book, market, CONFIG)
    first, last = worst_volatility_period(market.returns[:, [0, 2]], 250)
    pnl = scenario_pnl(
        book.instruments, market, overlapping_sums(market.returns[first : last + 1], 2)
    )
    row = {str(name): i for i, name in enumerate(book.instruments.instrument_id)}
    loss = np.array([-quantity * pnl[row[name]] for name, (_, quantity) in holdings.items()])
    stress, shares = tail_contributions(loss, 0.99, shortfall=False)
    found = {
        str(name): result.shares["im_usd"][result.shares["agreement_id"] == name]
        for name in result.agreement_id
    }
    assert result.im_usd[0] == pytest.approx(stress, rel=1e-9)
    assert found["stress_floor"] == pytest.approx(shares, rel=1e-9)
    assert found["stress_weight"] == pytest.approx(0.75 * found["none"] + 0.25 * shares, rel=1e-9)
    assert not np.allclose(shares / stress, found["none"] / result.im_usd[2], rtol=0.02)


@pytest.mark.parametrize("model", ["fhs_var", "parametric", "mc_es"])
def test_a_rise_uses_up_the_buffer_and_passes_the_floors(builder, long_market, model):
    _rates(builder)
    for tool, terms in TOOLS.items():
        builder.agreement(tool, model=model, apc=tool, **terms)
        builder.position("RF", tool, "M1", QUANTITY)
    engine = _engine(builder, long_market)
    names = list(TOOLS)
    now = dict(zip(names, engine.at().im, strict=True))
    base = now["none"]
    stress = now["stress_floor"]
    for size in (2.0, 20.0):
        then = dict(zip(names, engine.at(np.full(5, size)).im, strict=True))
        assert then["none"] == pytest.approx(size * base, rel=1e-12)
        blend = 0.75 * size * base + 0.25 * stress
        assert then["stress_weight"] == pytest.approx(blend, rel=1e-9)
        assert then["stress_floor"] == pytest.approx(max(size * base, stress), rel=1e-12)
        floor = now["long_run_floor"]
        assert then["long_run_floor"] == pytest.approx(max(size * base, floor), rel=1e-12)
        assert then["buffer"] == pytest.approx(size * base, rel=1e-12)  # nothing left


def test_threshold_is_in_the_agreements_currency_and_after_the_tool(builder, market):
    _rates(builder)
    builder.agreement("A", stress_weight=0.5)
    builder.agreement("B", stress_weight=0.5, currency="EUR", im_threshold=1e5)
    builder.agreement("C", stress_weight=0.5, im_threshold=1e12)
    for name in "ABC":
        builder.position("RF", name, "M1", QUANTITY)
    im = _engine(builder, market).at().im
    assert im[0] > 106_000.0
    assert im[1:] == pytest.approx([im[0] - 106_000.0, 0.0], rel=1e-12)


@pytest.mark.parametrize("model", MARGIN_MODELS)
def test_a_report_sets_im_today_and_its_ratio_is_kept_under_stress(builder, market, model):
    _rates(builder)
    own = {**TERMS[model], "broker_multiplier": 1.2}
    builder.agreement("MODEL", **own).agreement("EUR", **own, currency="EUR", reported_im=1.0)
    for name in ("MODEL", "EUR"):
        builder.position("CL", name, "M1", 30.0).position("CL", name, "M2", 10.0)
    modelled = _engine(builder, market).at().im[0]
    builder.agreements[1]["reported_im"] = 1.5 * modelled / 1.06
    book = builder.build(market)
    result = calculate_margin_requirements(book, market, CONFIG)
    assert result.failures == ()
    assert result.im_usd == pytest.approx([modelled, 1.5 * modelled], rel=1e-12)
    assert result.basis["anchor_ratio"] == {"EUR": pytest.approx(1.5)}
    assert list(result.mark) == ["indicative", "user"]
    assert result.add_ons["broker"] == pytest.approx(0.2 * result.im_usd, rel=1e-12)
    shares = [result.by_manager[m]["im_usd"] for m in ("M1", "M2")]
    assert shares == pytest.approx(2.5 * modelled * np.array([0.75, 0.25]), rel=1e-9)
    stressed = project_stress_margin(book, market, result, CONFIG)
    assert stressed.failures == ()
    assert stressed.im_usd[:, 1] == pytest.approx(1.5 * stressed.im_usd[:, 0], rel=1e-12)


def test_a_refused_report_leaves_the_model(builder, market):
    _rates(builder)
    builder.agreement("A").agreement("B", reported_im=1.0)
    for name in "AB":
        builder.position("RF", name, "M1", QUANTITY)
    result = calculate_margin_requirements(builder.build(market), market, CONFIG)
    assert result.im_usd[1] == result.im_usd[0]
    assert [(f.item, f.where) for f in result.failures] == [("B", "agreement B, reported_im")]
    assert list(result.mark) == ["indicative", "indicative"]
    assert result.basis["anchor_ratio"] == {}


@pytest.mark.parametrize(
    ("style", "model", "separate"),
    [("premium", "span", True), ("futures", "span", False), ("premium", "fhs_var", False)],
)
def test_option_value_is_in_margin_or_in_vm_never_in_both(builder, market, style, model, separate):
    builder.agreement("A", model=model)
    holdings = {"FUT": 3.0, "PUT": -40.0}
    for name, quantity in holdings.items():
        builder.position(name, "A", "M1", quantity)
    config = MarginConfig(add_ons=NO_ADD_ONS, span=SpanConfig(option_style=style))
    book = builder.build(market)
    result = calculate_margin_requirements(book, market, config)
    last = market.returns[-1]
    future = -3.0 * 50.0 * 4000.0 * (1.0 - np.exp(-last[0]))
    put = book.instruments.instrument_id == "PUT"
    value = -40.0 * float(value_per_unit(book.instruments, market)[put][0])
    parts = {name: float(amount[0]) for name, amount in result.model_parts.items()}
    if separate:
        assert result.vm_usd[0] == pytest.approx(future, rel=1e-12)
        assert parts["net_option_value"] == pytest.approx(-value, rel=1e-12)
    else:
        assert abs(result.vm_usd[0] - future) > 1.0
        assert parts.get("net_option_value", 0.0) == 0.0


def test_a_bought_option_is_its_own_margin(builder, market):
    builder.agreement("A", model="span").position("PUT", "A", "M1", 40.0)
    result = calculate_margin_requirements(builder.build(market), market, CONFIG)
    assert (result.im_usd[0], result.vm_usd[0]) == (0.0, 0.0)
    scan = float(result.model_parts["scan"][0])
    assert scan > 0.0
    assert result.model_parts["net_option_value"][0] == -scan  # no more of it than is needed


@pytest.mark.parametrize("model", [*TAIL_MODELS, "flat"])
def test_one_that_fails_is_named_and_the_rest_goes_on(builder, model):
    returns = np.array(tiny_market().returns)
    returns[:-100, 1] = np.nan  # the stock has 100 days
    market = tiny_market(returns=returns)
    flat = FlatRateConfig(margin_groups={"STK": "no such group"})
    config = MarginConfig(add_ons=NO_ADD_ONS, flat_rate=flat)
    builder.agreement("GOOD", **TERMS[model]).position("FUT", "GOOD", "M1", 5.0)
    alone = calculate_margin_requirements(builder.build(market), market, config)
    builder.agreement("BAD", **TERMS[model]).position("EQ", "BAD", "M2", 5.0)
    book = builder.build(market)
    result = calculate_margin_requirements(book, market, config)
    assert list(result.agreement_id) == ["GOOD"]
    assert [f.item for f in result.failures] == ["BAD"]
    assert result.im_usd == pytest.approx(alone.im_usd, rel=1e-12)
    assert result.by_manager["M2"] == {"im_usd": 0.0, "vm_usd": 0.0, "add_ons_usd": 0.0}
    assert list(result.shares["agreement_id"]) == ["GOOD"]
    stressed = project_stress_margin(book, market, result, config)
    assert list(stressed.agreement_id) == ["GOOD"]


@pytest.mark.parametrize("model", MARGIN_MODELS)
def test_what_else_the_fund_holds_changes_nothing(builder, market, model):
    _rates(builder)
    builder.agreement("A", **TERMS[model])
    for name, quantity in _holdings(model).items():
        builder.position(name, "A", "M1", quantity)
    alone = calculate_margin_requirements(builder.build(market), market, CONFIG)
    for other in MARGIN_MODELS:
        builder.agreement(f"other {other}", **TERMS[other])
        builder.position("FWD", f"other {other}", "M2", 3e6)
        builder.position("CL", f"other {other}", "M2", 7.0)
    both = calculate_margin_requirements(builder.build(market), market, CONFIG)
    assert both.failures == ()
    assert both.im_usd[0] == pytest.approx(alone.im_usd[0], rel=1e-12)
    assert both.vm_usd[0] == pytest.approx(alone.vm_usd[0], rel=1e-12)


def test_a_tool_without_a_stress_period_fails_its_agreement(builder, market):
    _rates(builder)
    returns = np.array(market.returns)
    returns[:-300, 2] = np.nan
    young = tiny_market(returns=returns)
    config = CONFIG.model_copy(update={"stress_days": 400})
    for name, tool in (("NONE", "none"), ("FLOOR", "stress_floor")):
        builder.agreement(name, apc=tool, lookback_days=260).position("RF", name, "M1", 1.0)
    result = calculate_margin_requirements(builder.build(young), young, config)
    assert list(result.agreement_id) == ["NONE"]
    assert [f.item for f in result.failures] == ["FLOOR"]
    assert result.failures[0].message.startswith("stress period: ")


def test_the_avalanche_starts_from_the_margin_that_is_required(builder):
    buckets = np.array(["bucket", "equity_us_single", *["bucket"] * 4], dtype=object)
    market = tiny_market(adv=np.full(6, 1e6), bucket=buckets)
    _rates(builder)
    builder.agreement("prime", kind="prime", venue="").position("EQ", "prime", "M1", 1e5)
    for model in MARGIN_MODELS:
        terms = {**TERMS[model], "broker_multiplier": 1.3}
        builder.agreement(model, **terms)
        builder.agreement(f"{model} above", **terms, im_threshold=1e4)
        for name in (model, f"{model} above"):
            builder.position("FUT", name, "M1", 10.0).position("CL", name, "M2", 5.0)
    book = builder.build(market)
    result = calculate_margin_requirements(book, market, MarginConfig())
    assert result.failures == ()
    assert (result.add_ons["concentration"] > 0.0).any()
    assert result.add_ons["jump_to_default"][0] > 0.0  # follows neither margin nor volatility
    model = fund_model(book, market, result, AvalancheConfig(paths=64))
    opening = np.maximum(model.im_start - model.im_threshold, 0.0) + model.concentration_start
    required = 100.0 * (result.im_usd + result.add_ons_usd())
    assert opening == pytest.approx(required, abs=2.0)  # cents


def test_stress_of_the_fund_is_the_engine_at_each_agreements_scale(builder, market):
    _rates(builder)
    builder.agreement("FAST", ewma_lambda=0.94).agreement("SLOW", ewma_lambda=0.99)
    builder.agreement("SPAN", model="span").agreement("CLOSE", model="close_out")
    for name in ("FAST", "SLOW", "SPAN", "CLOSE"):
        builder.position("RF", name, "M1", QUANTITY)
    book = builder.build(market)
    base = calculate_margin_requirements(book, market, CONFIG)
    stressed = project_stress_margin(book, market, base, CONFIG)
    for i, multiplier in enumerate((2.0, 5.0, 10.0)):
        scale = [volatility_scale(decay, multiplier, 10) for decay in (0.94, 0.99, 0.97, 1.0)]
        assert stressed.im_usd[i] == pytest.approx(base.im_usd * scale, rel=1e-12)


@pytest.mark.parametrize("tool", [t for t in APC_TOOLS if t != "none"])
@pytest.mark.parametrize("model", ["close_out", "flat", "simm", "schedule"])
def test_a_tool_on_a_model_without_one_is_refused_and_named(model, tool):
    terms = SIMM | {"model": model} if model in ("simm", "schedule") else {"model": model}
    builder = FundBuilder().agreement("A", **terms, apc=tool).agreement("B")
    builder.instrument("F", "future", "IDX", multiplier=50.0)
    builder.position("F", "A", "M1", 400.0).position("F", "B", "M1", 400.0)
    market = tiny_market()
    result = calculate_margin_requirements(builder.build(market), market, MarginConfig())
    assert list(result.agreement_id) == ["B"]
    failure = next(f for f in result.failures if f.item == "A")
    assert failure.message.startswith(f"its model {model} has no anti-procyclicality tool")


@pytest.mark.parametrize("tool", ["stress_weight", "stress_floor", "long_run_floor"])
def test_a_tool_that_cannot_be_computed_fails_its_agreement_alone(tool):
    market = tiny_market()
    returns = market.returns.copy()
    returns[300, 2] = -200.0  # a yield far below -100 %, in the stress period, not in the lookback
    market = replace(market, returns=returns)
    weight = 0.25 if tool == "stress_weight" else 0.0
    builder = FundBuilder().agreement("A", apc=tool, stress_weight=weight, lookback_days=600)
    builder.agreement("B", lookback_days=600)
    builder.instrument("BOND", "bond", "UST", fixed_rate=4.0, tenor_years=10.0)
    builder.position("BOND", "A", "M1", 1e5).position("BOND", "B", "M1", 1e5)
    result = calculate_margin_requirements(builder.build(market), market, MarginConfig())
    assert list(result.agreement_id) == ["B"]
    assert any(f.item == "A" and "anti-procyclicality tool" in f.message for f in result.failures)
