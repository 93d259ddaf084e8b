"""`reverse_stress_test` on a tiny fund whose answers are known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from engine.domain.book import Book
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.domain.scenarios import Scenario
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.stress.reverse.config import ReverseConfig
from engine.stress.reverse.full_check import scale_at
from engine.stress.reverse.search import reverse_stress_test
from engine.stress.reverse.search_space import (
    build_space,
    daily_covariance,
    known_moves,
    start_directions,
)
from tests.support.tiny_fund import FundBuilder, tiny_market

SEED = 20260716
INDEX, SHARE = 3_000.0, -40_000.0


def fund(index: float = INDEX) -> tuple[Book, MarketState, MarginResult]:
    """Futures on absolute factors and small log ones: nearly linear, under two agreements."""
    market = tiny_market()
    book = (
        FundBuilder()
        .agreement("CCP1")
        .agreement("CCP2", ewma_lambda=0.99)
        .instrument("IDXF", "future", "IDX")
        .instrument("OILF", "future", "OIL")
        .instrument("USTF", "rate_future", "UST", multiplier=2_500.0)
        .position("IDXF", "CCP1", "M1", index)
        .position("OILF", "CCP1", "M1", 100_000.0)
        .position("USTF", "CCP2", "M2", 300.0)
        .build(market)
    )
    return book, market, calculate_margin_requirements(book, market, MarginConfig())


def run(config: ReverseConfig, index: float = INDEX, **more: Any) -> Any:
    book, market, margin = fund(index)
    return reverse_stress_test(book, market, margin, config, **more)


def loss_config(usd: float = 1e6, **more: Any) -> ReverseConfig:
    return ReverseConfig(target_metric="loss_usd", target_usd=usd, remargin=False, **more)


def test_a_linear_book_gives_the_analytic_answer() -> None:
    book, market, margin = fund(index=0.0)
    result = reverse_stress_test(book, market, margin, loss_config(1e6))
    sigma = daily_covariance(market, 500)
    w = np.zeros(6)
    w[market.index()["OIL"]] = 100_000.0
    w[market.index()["UST"]] = -300.0 * 2_500.0
    best = result.answers[0]
    expected = -sigma @ w * 1e6 / (w @ sigma @ w)
    assert best.plausibility.distance == pytest.approx(1e6 / np.sqrt(w @ sigma @ w), rel=1e-6)
    assert best.optimum
    # Every factor of the market moves, those not held at their conditional mean.
    found = np.array([best.scenario.moves[str(name)] for name in market.factors.factor_id])
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert best.metric_usd == pytest.approx(1e6, rel=1e-6)
    assert best.metric_usd >= 1e6 * (1.0 - 1e-12)
    assert best.plausibility.dimension == 2


def test_drivers_leave_the_rest_at_the_conditional_mean_and_d_exact() -> None:
    book, market, _ = fund()
    sigma = daily_covariance(market, 500)
    result = run(loss_config(drivers=1))
    (name,) = result.searched_factors
    answer = result.answers[0]
    row = market.index()[name]
    x = np.array([answer.scenario.moves[str(f)] for f in market.factors.factor_id])
    assert x == pytest.approx(sigma[:, row] / sigma[row, row] * x[row], rel=1e-9)
    whole = np.sqrt(x @ np.linalg.solve(sigma, x))
    assert answer.plausibility.distance == pytest.approx(whole, rel=1e-9)
    assert run(loss_config()).answers[0].plausibility.distance < whole


def test_exhausted_liquidity_is_reached_and_checked_by_the_full_engine() -> None:
    result = run(ReverseConfig(include_open_calls=False, box_sigmas=40.0))
    assert result.feasible and not result.already_reached
    assert not result.failures
    assert 1 <= len(result.answers) <= 5
    best = result.answers[0]
    parts = best.parts
    need = parts["variation_calls"] + parts["im_rise"] - parts["receipts"]
    assert best.metric_usd == pytest.approx(need - parts["resources"], rel=1e-9)
    assert best.metric_usd >= 0.01
    assert parts["resources"] == pytest.approx(10e6)
    full = need - parts["im_rise"] + parts["im_rise_full"] - parts["resources"]
    assert best.metric_full_usd == pytest.approx(full, rel=1e-9)
    assert best.distance_full is not None
    called = sum(call.variation_usd + call.im_rise_usd for call in best.agreements)
    assert called == pytest.approx(need, rel=1e-9)
    assert [a.plausibility.distance for a in result.answers] == sorted(
        a.plausibility.distance for a in result.answers
    )


def test_answers_are_distinct() -> None:
    _, market, _ = fund()
    result = run(loss_config())
    sigma = daily_covariance(market, 500)
    lower = np.linalg.cholesky(sigma)
    names = market.factors.factor_id
    points = np.array([
        np.linalg.solve(lower, [a.scenario.moves[str(f)] for f in names]) for a in result.answers
    ])  # fmt: skip
    units = points / np.linalg.norm(points, axis=1)[:, None]
    assert len(units) == 5
    assert (units @ units.T - np.eye(5)).max() < 0.8


def test_out_of_reach_is_said_and_no_scenario_is_made_up() -> None:
    result = run(loss_config(1e9, box_sigmas=3.0))
    assert not result.feasible
    assert result.answers == ()
    assert result.scenarios() == ()
    assert result.largest is not None
    assert 0.0 < result.largest.metric_usd < 1e9
    summary = result.summary()
    assert summary["feasible"] is False
    assert summary["largest_metric_usd"] == result.largest.metric_usd
    assert max(abs(f.sigmas) for f in result.largest.factors if
               f.factor_id in result.searched_factors) <= 3.0 + 1e-9  # fmt: skip


def test_a_fund_already_exhausted_is_said() -> None:
    book, market, margin = fund(index=60_000.0)
    result = reverse_stress_test(book, market, margin, ReverseConfig(remargin=False))
    assert result.already_reached
    assert result.answers == ()
    assert result.metric_today_usd > 0.0


def test_signs_and_box_hold() -> None:
    free = run(loss_config()).answers[0]
    fall = free.scenario.moves["OIL"]
    assert fall < 0.0
    signed = run(loss_config(signs={"OIL": 1})).answers[0]
    assert signed.scenario.moves["OIL"] >= -1e-9
    assert signed.plausibility.distance > free.plausibility.distance
    tight = 0.9 * max(abs(f.sigmas) for f in free.factors)
    boxed = run(loss_config(box_sigmas=tight))
    names = boxed.searched_factors
    assert all(
        abs(f.sigmas) <= tight * (1 + 1e-9)
        for answer in boxed.answers for f in answer.factors if f.factor_id in names
    )  # fmt: skip
    assert boxed.answers[0].plausibility.distance > free.plausibility.distance
    loose = run(loss_config(box_sigmas=tight, plausibility_constraints=False))
    assert loose.answers[0].plausibility.distance == pytest.approx(
        free.plausibility.distance, rel=1e-6
    )


def test_same_seed_same_bits() -> None:
    one, again = run(loss_config(seed=3)), run(loss_config(seed=3))
    assert one.scenarios() == again.scenarios()
    assert json.dumps(one.to_dict()) == json.dumps(again.to_dict())


def test_episodes_are_starts_and_yardstick() -> None:
    crash = Scenario(scenario_id="crash", name="Crash", moves={"OIL": -20.0}, day_shares=(0.5, 0.5))
    alien = Scenario(scenario_id="alien", name="Alien", moves={"MARS": 1.0})
    _, market, _ = fund()
    result = run(loss_config(), episodes=(crash, alien))
    sigma = daily_covariance(market, 500)
    row = market.index()["OIL"]
    # The episode lasted two days: it is measured by the covariance of two days.
    distance = 20.0 / np.sqrt(2.0 * sigma[row, row])
    assert result.worst_episode == ("crash", pytest.approx(distance, rel=1e-9))
    best = result.answers[0].plausibility
    assert best.times_worst_episode == pytest.approx(best.distance / distance, rel=1e-9)
    assert [f.item for f in result.failures] == ["alien"]
    known = known_moves(market, sigma, (crash,))
    assert known.moves[0] == pytest.approx(sigma[:, row] / sigma[row, row] * -20.0, rel=1e-9)


def test_starts_hold_the_analytic_point_and_the_episodes() -> None:
    _, market, _ = fund()
    sigma = daily_covariance(market, 500)
    delta = np.array([[0.0, 0.0, -1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]])
    space = build_space(market, sigma, delta, ReverseConfig())
    episode = np.array([[0.0, 0.0, 0.1, -5.0, 0.0, 0.0]])
    starts = start_directions(space, delta, episode)
    units = starts / np.linalg.norm(starts, axis=1)[:, None]
    wanted = np.array([-sigma @ delta.sum(axis=0), episode[0]])
    points = space.whiten(wanted)
    points /= np.linalg.norm(points, axis=1)[:, None]
    assert (units @ points.T).max(axis=0) == pytest.approx([1.0, 1.0], abs=1e-9)


def test_verification_is_asked_about_the_answers_alone() -> None:
    asked: list[np.ndarray] = []

    def verify(moves: np.ndarray) -> np.ndarray:
        asked.append(moves)
        return np.full(len(moves), 42.0)

    result = run(loss_config(answers=2), verify=verify)
    assert len(asked) == len(result.answers) == 2
    assert all(m.shape == (1, 6) for m in asked)
    assert [a.verified_usd for a in result.answers] == [42.0, 42.0]


def test_results_are_told_in_market_units_and_as_tables() -> None:
    result = run(loss_config(2e6, answers=2, horizon_days=2))
    best = result.answers[0]
    moves = {f.factor_id: f for f in best.factors}
    index, oil = moves["IDX"], moves["OIL"]
    assert index.change_unit == "%"
    assert index.change == pytest.approx(100 * (index.level_after / index.level_before - 1))
    assert oil.level_after - oil.level_before == pytest.approx(oil.change)
    assert best.scenario.day_shares == (0.5, 0.5)
    tables = result.tables()
    assert len(tables["reverse_answers"]) == 2
    assert len(tables["reverse_moves"]) == 2 * 6
    assert set(tables["reverse_calls"]["agreement_id"]) <= {"CCP1", "CCP2"}
    assert (
        tables["reverse_generations"]["distance"].iloc[-1]
        <= (tables["reverse_generations"]["distance"].iloc[0])
    )
    assert json.loads(json.dumps(result.to_dict()))["config"]["horizon_days"] == 2


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean OIL"):
        run(loss_config(signs={"OILL": 1}))
    with pytest.raises(ValueError, match="needs target_usd"):
        ReverseConfig(target_metric="loss_usd")
    with pytest.raises(ValueError, match="extra"):
        ReverseConfig(algorithm="genetic")  # type: ignore[call-arg]
    market = tiny_market()
    empty = FundBuilder().agreement("CCP").build(market)
    margin = calculate_margin_requirements(empty, market, MarginConfig())
    with pytest.raises(InputError, match="no factor is held"):
        reverse_stress_test(empty, market, margin, ReverseConfig())


def test_scale_by_the_full_engine_is_interpolated() -> None:
    assert scale_at([(0.0, -2.0), (1.0, 2.0)], 0.0) == 0.5
    assert scale_at([(0.0, -2.0), (1.0, 2.0), (0.5, -1.0)], 0.0) == pytest.approx(2 / 3)
    assert scale_at([(0.0, -2.0), (1.0, -1.0)], 0.0) == pytest.approx(2.0)
    assert np.isnan(scale_at([(0.0, -2.0), (1.0, -3.0)], 0.0))
