"""The whole system: no look-ahead, acceptance on the packaged data, and its answer."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from engine.domain.arrays import Float64Array
from engine.domain.market import MarketState
from engine.domain.results import AvalancheResult, Estimate
from engine.domain.scenarios import Scenario
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.episodes import episode_vectors
from engine.stress.early_warning.panel import build_panel
from engine.stress.early_warning.result import EarlyWarningResult
from engine.stress.early_warning.score import first_difference, warning_history
from engine.stress.early_warning.system import (
    develop_early_warning_system,
    fund_weights,
    reference_early_warning,
)
from engine.stress.library.episodes import episodes as library
from tests.support.tiny_fund import FundBuilder, tiny_market

CONFIG = EarlyWarningConfig()
SMALL = EarlyWarningConfig(
    burn_in_days=500, turbulence_days=100, rank_days=60, resamples=50, use_synthetic=True
)
MAJORS = ("SPX", "EURUSD", "GBPUSD", "USDJPY")
G10 = (*MAJORS, "USDCHF", "AUDUSD", "NZDUSD", "USDCAD", "USDSEK", "USDNOK")


@lru_cache
def packaged(names: tuple[str, ...]) -> MarketState:
    levels = packaged_levels()
    last = levels.dates[-1].item()
    return build_market(packaged_factors(), levels, last, factor_ids=list(names)).value


@lru_cache
def measured(names: tuple[str, ...]) -> EarlyWarningResult:
    return reference_early_warning(packaged(names), CONFIG)


def cut(market: MarketState, days: int) -> MarketState:
    """The market as it was known after its first `days` days."""
    return replace(
        market,
        as_of=market.dates[days - 1].item(),
        dates=market.dates[:days].copy(),
        returns=market.returns[:days].copy(),
    )


def scores(market: MarketState) -> Float64Array:
    panel = build_panel(market, None, CONFIG)
    return warning_history(panel, episode_vectors(market, library()), CONFIG).score


def test_cutting_the_future_leaves_past_scores_identical() -> None:
    market = packaged(G10)
    cuts = [1300, 2443, 2600, 4040, 5325, 5981]
    assert first_difference(lambda n: scores(cut(market, n)), len(market.dates), cuts) is None


def test_the_same_harness_finds_one_day_of_look_ahead() -> None:
    market = packaged(MAJORS)

    def peeking(days: int) -> Float64Array:
        score = scores(cut(market, days))
        return np.append(score[1:], score[-1])  # tomorrow's score today

    assert first_difference(peeking, len(market.dates), [2600]) == 2599


def test_as_of_is_the_same_as_a_market_that_ends_there() -> None:
    market = packaged(MAJORS)
    day = market.dates[5325].item()
    config = CONFIG.model_copy(update={"as_of": day})
    early = reference_early_warning(market, config)
    ended = reference_early_warning(cut(market, 5326), CONFIG)
    assert early.as_of == ended.as_of == day
    assert early.score == ended.score
    assert early.evaluation.to_dict() == ended.evaluation.to_dict()


def test_acceptance_on_packaged_data() -> None:
    past = measured(MAJORS).evaluation
    # Goal: AUROC of at least .88; measured .911 (.835 to .959).
    assert past.auroc.value >= 0.88
    assert past.auroc.value == pytest.approx(0.911, abs=0.003)
    assert past.auroc.low > 0.80
    assert past.auroc.value > past.auroc_volatility.value
    # Goal: 7 of 8 events; measured 8 of 10. Not reached as a share: 80 % for 87.5 %.
    assert (past.at[-1].warned, len(past.events)) == (8, 10)
    assert past.at[-1].alert_days.value == pytest.approx(0.026, abs=0.002)
    assert past.at[-1].precision.value == pytest.approx(0.42, abs=0.03)
    assert past.at[-1].recall.value == pytest.approx(0.40, abs=0.03)
    # The seed's three trading days lie inside the interval.
    assert past.lead_days.low <= 3.0 <= past.lead_days.high
    # What moved markets was mostly not announced, only what margin would do about it.
    assert past.at[-1].before_move == 3


def test_ten_factors_and_the_franc() -> None:
    past = measured(G10).evaluation
    assert past.auroc.value == pytest.approx(0.915, abs=0.003)
    assert (past.at[-1].warned, len(past.events)) == (9, 11)
    franc = next(event for event in past.events if event.day.year == 2015)
    assert franc.move_factor == "USDCHF"
    assert franc.lead_days is None
    assert franc.move_sigmas > 20
    assert franc.score_before < CONFIG.critical
    assert franc.reason().startswith("one-day gap: USDCHF")


def test_the_answer_is_small_complete_and_adds_up() -> None:
    result = measured(MAJORS)
    found = result.to_dict()
    text = json.dumps(found, allow_nan=False)
    assert len(text) < 60_000
    assert json.loads(json.dumps(result.summary(), allow_nan=False))["level"] == result.level
    total = sum(indicator.contribution for indicator in result.indicators)
    assert total == pytest.approx(result.score, rel=1e-12)
    tables = result.tables()
    history = tables["warning_history"]
    assert history["margin_index"].iloc[0] == 100.0
    assert history["score"].iloc[-1] == result.score
    assert len(history) == 5982 - CONFIG.burn_in_days
    assert not history["score"].isna().any()
    assert history["rise_ahead"].isna().sum() == CONFIG.horizon_days
    assert set(history["level"]) == {"normal", "high", "critical"}
    assert tables["warning_events"].shape[0] == len(result.evaluation.events)
    # Days look like what they were: 18 March 2008 is no 11 September, March 2020 is a collapse.
    crash = history[history["date"] == np.datetime64("2020-03-12")].iloc[0]
    assert crash["episode_most_alike"] != ""
    assert crash["level"] == "critical"


def test_weights_add_agreements_without_netting_and_report_what_is_left_out() -> None:
    market = tiny_market()
    book = (
        FundBuilder()
        .agreement("A")
        .agreement("B")
        .instrument("F", "future", "IDX", multiplier=1.0)
        .instrument("O", "future", "OIL", multiplier=1.0)
        .position("F", "A", "M1", 3.0)
        .position("F", "B", "M2", -1.0)
        .position("O", "A", "M1", 2.0)
        .position("O", "A", "M2", -2.0)
        .build(market)
    )
    weights = dict(zip(market.factors.factor_id, fund_weights(book, market), strict=True))
    assert weights["IDX"] == pytest.approx(4.0 * 4000.0, rel=1e-9)
    assert weights["OIL"] == 0.0
    result = develop_early_warning_system(book, market, SMALL)
    assert result.members == ("IDX",)
    assert result.covered_share == 1.0
    assert result.volatility_source == "VIX, level"
    # No episode of the rulebook knows the factor before the history begins.
    assert all(f.item in {"similarity"} for f in result.failures)


def test_a_thin_index_is_a_failure_of_its_own() -> None:
    synthetic = np.array([False, True, False, False, True, True])
    market = tiny_market(synthetic=synthetic)
    book = (
        FundBuilder()
        .agreement("A")
        .instrument("F", "future", "IDX")
        .instrument("S", "equity", "STK")
        .position("F", "A", "M1", 1.0)
        .position("S", "A", "M1", 1e6)
        .build(market)
    )
    config = SMALL.model_copy(update={"use_synthetic": False})
    result = develop_early_warning_system(book, market, config)
    assert [failure.item for failure in result.left_out] == ["STK"]
    assert "margin index" in [failure.item for failure in result.failures]
    assert result.covered_share < 0.01


def test_scenarios_and_an_avalanche_enter_the_plan() -> None:
    market = packaged(MAJORS)
    recent = market.returns[-5:].sum(axis=0)
    moves = {str(n): 2 * float(m) for n, m in zip(market.factors.factor_id, recent, strict=True)}
    scenarios = [
        Scenario(scenario_id="away", name="The other way", moves={k: -v for k, v in moves.items()}),
        Scenario(scenario_id="towards", name="Twice as far", moves=moves),
        Scenario(scenario_id="elsewhere", name="No factor here", moves={"TTF": 10.0}),
    ]
    result = reference_early_warning(market, CONFIG, scenarios=scenarios)
    assert [(near.scenario_id, round(near.proximity, 12)) for near in result.scenarios] == [
        ("towards", 0.5),
        ("away", 0.0),
    ]
    assert "elsewhere" in [failure.item for failure in result.failures]
    assert any(row["measure"] == "scenario towards" for row in result.monitoring)


def test_the_branching_ratio_has_the_detectors_triggers() -> None:
    market = tiny_market()
    book = (
        FundBuilder().agreement("A").instrument("F", "future", "IDX")
        .position("F", "A", "M1", 1.0).build(market)
    )  # fmt: skip
    one = Estimate(1.0, 1.0, 1.0)
    empty = np.zeros(0)
    avalanche = AvalancheResult(
        scenario="volatility 5x", volatility_multiplier=5.0, paths=1, steps=1, seed=1,
        amplification=one, sales_amplification=one, branching_ratio=0.6, branching_loss=0.4,
        branching_margin=0.2, branching_raise_usd=1.0, p_avalanche=one, bands={},
        peak_call_mean=0.0, peak_call_q99=one, peak_call_es99=one, calls_total_mean=0.0,
        cash_error_cents=0, forced_sales_share=0.0, impact_cost_mean_usd=0.0,
        feedback_loss_mean_usd=0.0, crowding=5.0, participation=0.15, impact_coefficient=0.8,
        fan_quantiles=(), fan_usd=empty, mean_calls_by_window_usd=empty,
        mean_calls_by_window_exogenous_usd=empty, mean_calls_by_agreement_usd=empty,
        tail_calls_by_agreement_usd=empty, agreement_id=empty.astype(object), per_path={},
    )  # fmt: skip
    result = develop_early_warning_system(book, market, SMALL, avalanche=avalanche)
    row = result.monitoring[-1]
    assert (row["measure"], row["critical_from"], row["status"]) == (
        "branching ratio", 0.5, "critical",
    )  # fmt: skip
    assert result.to_dict()["avalanche"]["crowding"] == 5.0
