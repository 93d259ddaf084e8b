"""Events, leads and the figures that judge the score."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.evaluate import evaluate
from engine.stress.early_warning.events import find_events, future_rise, past_rise
from engine.stress.early_warning.intervals import (
    auroc,
    bootstrap,
    median_interval,
    wilson_interval,
    year_blocks,
)
from engine.stress.early_warning.panel import Panel, build_panel
from engine.stress.early_warning.score import History, level_of, warning_history
from tests.support.tiny_fund import tiny_market

CONFIG = EarlyWarningConfig(
    burn_in_days=500, turbulence_days=100, rank_days=60, resamples=60, use_synthetic=True
)
SHOCK = 1000


def shocked(config: EarlyWarningConfig = CONFIG) -> tuple[Panel, History]:
    """A quiet market in which all factors move by ten volatilities on one day."""
    rng = np.random.default_rng(5)
    sigma = np.array([0.012, 0.020, 0.06, 1.8, 0.006, 0.06])
    returns = rng.uniform(-1.7, 1.7, (1600, 6)) * sigma
    returns[SHOCK] = -10 * sigma
    panel = build_panel(tiny_market(returns=returns), None, config)
    return panel, warning_history(panel, (), config)


def test_rises_ahead_and_behind() -> None:
    index = np.array([100.0, 105.0, 112.0, 111.0])
    np.testing.assert_allclose(future_rise(index, 2)[:2], [0.12, 7 / 105], rtol=1e-12)
    assert np.isnan(future_rise(index, 2)[2:]).all()
    np.testing.assert_allclose(past_rise(index, 2)[2:], [0.12, 111 / 105 - 1], rtol=1e-12)
    assert np.isnan(past_rise(index, 2)[:2]).all()
    assert np.isnan(future_rise(index, 9)).all()


def test_auroc_worked_number_and_ends() -> None:
    score = np.array([1.0, 2.0, 3.0, 3.0])
    assert auroc(score, np.array([False, True, True, False])) == 0.625
    assert auroc(score, np.array([False, False, True, True])) == 1.0
    assert auroc(-score, np.array([False, False, True, True])) == 0.0
    assert math.isnan(auroc(score, np.zeros(4, dtype=bool)))


def test_wilson_and_median_worked_numbers() -> None:
    share = wilson_interval(7, 8)
    assert (share.value, round(share.low, 3), round(share.high, 3)) == (0.875, 0.589, 0.972)
    assert math.isnan(wilson_interval(0, 0).value)
    median = median_interval([1, 2, 3, 4, 5, 6, 7, 8])
    assert (median.value, median.low, median.high) == (4.5, 2.0, 7.0)
    few = median_interval([3, 1, 2])
    assert (few.value, few.low, few.high) == (2.0, 1.0, 3.0)
    assert math.isnan(median_interval([]).value)


def test_interval_of_the_median_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(1000):
        found = median_interval(rng.normal(size=11).tolist())
        hits += found.low <= 0.0 <= found.high
    assert 0.90 <= hits / 1000 <= 0.97  # exact: 0.935


def test_bootstrap_draws_whole_years() -> None:
    dates = np.arange(np.datetime64("2001-01-01"), np.datetime64("2005-01-01"))
    draws = year_blocks(dates, 20, 7)
    years = dates.astype("datetime64[Y]")
    for rows in draws:
        drawn = years[rows]
        for year in np.unique(drawn):
            assert np.sum(drawn == year) % np.sum(years == year) == 0
    again = year_blocks(dates, 20, 7)
    assert all(np.array_equal(a, b) for a, b in zip(draws, again, strict=True))
    flat = bootstrap(lambda rows: 3.0, len(dates), draws)
    assert (flat.value, flat.low, flat.high) == (3.0, 3.0, 3.0)
    assert math.isnan(bootstrap(lambda rows: math.nan, len(dates), draws).low)


def test_levels() -> None:
    assert [level_of(s, CONFIG) for s in (0.69, 0.7, 0.89, 0.9)] == [
        "normal", "high", "high", "critical",
    ]  # fmt: skip


def test_a_gap_gets_no_warning_and_says_so() -> None:
    panel, history = shocked()
    (event,) = find_events(panel, history, CONFIG)
    # In force the day after the shock. Before it, the market was quiet.
    assert panel.dates[SHOCK + 1].item() == event.day
    assert event.move_day == panel.dates[SHOCK].item()
    assert event.move_sigmas > 5
    assert event.move_share > 0.9
    assert event.score_before == history.score[SHOCK - 1]
    assert not event.before_move(CONFIG.high)
    # The only critical score is that of the shock's own evening.
    assert event.lead_days in (None, 1)
    muted = replace(history, score=np.where(np.isnan(history.score), np.nan, 0.5))
    (silent,) = find_events(panel, muted, CONFIG)
    assert silent.lead_days is None
    assert silent.reason().startswith("one-day gap: ")


def test_a_lead_counts_from_the_first_critical_day_of_the_window() -> None:
    panel, history = shocked()
    at = SHOCK + 1
    score = np.where(np.isnan(history.score), np.nan, 0.5)
    score[at - 6] = score[at - 2] = 0.95
    score[at - 40] = 0.99  # outside the window
    score[at - 9] = 0.75
    (event,) = find_events(panel, replace(history, score=score), CONFIG)
    assert (event.lead_days, event.high_lead_days) == (6, 9)
    assert event.reason() == ""
    after = np.where(np.isnan(history.score), np.nan, 0.5)
    after[at] = 1.0  # the event's own day is too late
    (late,) = find_events(panel, replace(history, score=after), CONFIG)
    assert late.lead_days is None


def test_evaluation_of_a_perfect_and_of_a_blind_score() -> None:
    panel, history = shocked()
    rise = future_rise(history.index.value, CONFIG.horizon_days)
    before = np.nan_to_num(rise) >= CONFIG.rise_share
    perfect = replace(history, score=np.where(history.scored, np.where(before, 0.99, 0.1), np.nan))
    found = evaluate(panel, perfect, CONFIG)
    assert found.auroc.value == 1.0
    critical = found.at[-1]
    assert (critical.precision.value, critical.recall.value) == (1.0, 1.0)
    assert critical.alert_days.value == pytest.approx(found.base_rate, rel=1e-12)
    assert (critical.alarms, critical.followed.value, critical.warned) == (1, 1.0, 1)
    assert critical.before_move == 1
    assert found.lead_days.value == 10.0
    assert found.event_rate["critical"].value == 1.0
    blind = evaluate(panel, replace(history, score=np.where(history.scored, 0.95, np.nan)), CONFIG)
    assert blind.auroc.value == 0.5
    assert blind.at[-1].alert_days.value == 1.0
    assert blind.at[-1].precision.value == pytest.approx(found.base_rate, rel=1e-12)


def test_no_event_gives_no_figures_and_no_error() -> None:
    config = CONFIG.model_copy(update={"rise_share": 0.9})
    rng = np.random.default_rng(5)
    returns = rng.uniform(-1.0, 1.0, (1600, 6)) * 0.01
    panel = build_panel(tiny_market(returns=returns), None, config)
    found = evaluate(panel, warning_history(panel, (), config), config).to_dict()
    assert found["events"] == []
    assert found["auroc"] == {"value": None, "low": None, "high": None}
    assert found["lead_days"]["value"] is None
    assert found["base_rate"] == 0.0
