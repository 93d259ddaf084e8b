"""Regimes, jumps, the scenario's own path, call windows and margin in steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.hours import zone_weights
from engine.avalanche.market_terms import stress_correlation
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.compiled import run_paths
from engine.kernels.avalanche.layout import METRICS
from tests.engine.avalanche.test_depth_harness import (
    QUIET,
    SEED,
    cut,
    inside,
    metric,
    text,
    with_pool,
)


def test_hours_in_the_stress_regime(make_network: Callable[..., Any]) -> None:
    """E = sum over hours of p (1 - (1 - p01 - p10)^h), p = p01 / (p01 + p10)."""
    enter, leave, paths = 0.02, 0.05, 20_000
    model = make_network(agreements=1, factors=1, plain=True).model(
        regime_enter_per_hour=enter, regime_leave_per_hour=leave, forced_sales=False
    )
    hours = metric(run_paths(model, paths, SEED), "stress_hours")
    h = np.arange(1, 241)
    expected = float(np.sum(enter / (enter + leave) * (1 - (1 - enter - leave) ** h)))
    assert abs(hours.mean() - expected) < 4 * hours.std() / np.sqrt(paths)


def test_a_scenario_starts_in_stress_and_may_leave(make_network: Callable[..., Any]) -> None:
    scenario = Scenario(
        scenario_id="tense", name="tense", breakdown_weight=0.5,
        breakdown_signs={"equity": -0.9}, starts_in_stress=True,
    )  # fmt: skip
    model = make_network(agreements=1, factors=1, plain=True).model(
        scenario, horizon_days=1, regime_leave_per_hour=0.0, forced_sales=False
    )
    assert np.all(metric(run_paths(model, 64, SEED), "stress_hours") == 24.0)


SIGNS = {"equity": -0.9, "volatility": 0.8, "credit": 0.7, "rates": -0.4, "commodity": 0.0}


@pytest.mark.parametrize("block", [1.0, -1.0], ids=["u", "minus_rates"])
def test_correlation_in_the_stress_regime(make_network: Callable[..., Any], block: float) -> None:
    """Ten days of moves have the stated correlation, and the same variances as in calm."""
    paths, signs = 20_000, SIGNS | {"rates": block * SIGNS["rates"]}
    network = make_network(agreements=1, factors=6, plain=True)
    settings = QUIET | {
        "breakdown_weight": 0.8, "breakdown_signs": signs, "regime_leave_per_hour": 0.0,
        "forced_sales": False,
    }  # fmt: skip
    model = with_pool(network.model(**settings), START_STRESS=1.0)
    moves = run_paths(model, paths, SEED, record=True).window_moves[-1]
    u = np.array([signs.get(c, 0.0) for c in network.market.factors.asset_class])
    expected = stress_correlation(network.inputs.correlation, u, 0.8)
    error = (1 - expected**2) / np.sqrt(paths)
    assert np.all(np.abs(np.corrcoef(moves) - expected) <= 4.5 * error + 1e-12)
    assert np.any(np.abs(expected - network.inputs.correlation) > 0.2)
    np.testing.assert_allclose(moves.std(axis=1), 0.01 * np.sqrt(10), rtol=4.5 / np.sqrt(2 * paths))


@pytest.mark.parametrize("seed", range(6))
def test_stress_correlation_stays_positive_definite(seed: int) -> None:
    """Least eigenvalue above zero for all w in [0, 1] with |u| < 1, blocks of u turned over too."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(12, 15))
    calm = root @ root.T
    scale = 1.0 / np.sqrt(np.diag(calm))
    calm = calm * np.outer(scale, scale)
    u = rng.uniform(-0.98, 0.98, 12)
    u[0], u[1] = 0.98, -0.98
    for turned in (u, -u, np.where(np.arange(12) < 6, -u, u)):
        for w in np.linspace(0.0, 1.0, 21):
            mixed = stress_correlation(calm, turned, float(w))
            assert np.linalg.eigvalsh(mixed)[0] > 0.0
            np.testing.assert_allclose(np.diag(mixed), 1.0, rtol=1e-12)
    with_edge = stress_correlation(calm, np.ones(12), 1.0)
    assert np.linalg.eigvalsh(with_edge)[0] < 1e-9  # negative control: |u| = 1 is singular at w = 1


def test_jumps_come_as_often_as_stated(make_network: Callable[..., Any]) -> None:
    """With nothing else moving, ten days hold jumps_per_day * 10 jumps of the stated size."""
    paths, per_day = 20_000, 0.3
    settings = QUIET | {
        "jumps_per_day": per_day, "jump_mean_sigmas": 1.0, "jump_sigmas": 0.0,
        "breakdown_signs": {"equity": -0.5}, "forced_sales": False,
    }  # fmt: skip
    model = make_network(agreements=1, factors=1, plain=True).model(**settings)
    model = model._replace(volatility=np.zeros_like(model.volatility))
    moves = run_paths(model, paths, SEED, record=True).window_moves[-1, 0]
    count = moves / (-0.5 * 0.01)
    np.testing.assert_allclose(count, np.rint(count), atol=1e-9)
    p = per_day / 24
    assert abs(count.mean() - 240 * p) < 4 * np.sqrt(240 * p * (1 - p) / paths)
    assert abs(count.var() / (240 * p * (1 - p)) - 1) < 0.06


@pytest.mark.parametrize("degrees", [0, 12])
@pytest.mark.parametrize("own_step", [None, pytest.param(6.0)])
def test_jumps_keep_the_scenarios_variance(
    make_network: Callable[..., Any], degrees: int, own_step: float | None
) -> None:
    """Ten days at 2x (or 6x for the class) have 10 * M^2 daily variances, jumps included."""
    paths = 40_000
    step = own_step or 2.0
    scenario = Scenario(
        scenario_id="step", name="step", volatility_multiplier=2.0,
        volatility_by_class={} if own_step is None else {"equity": own_step},
        volatility_half_life_days=1e9,
    )  # fmt: skip
    settings = QUIET | {
        "jumps_per_day": 1.0, "jump_sigmas": 0.8, "breakdown_signs": {"equity": -0.9},
        "tail_degrees": degrees, "forced_sales": False, "volatility_of_volatility": 0.05,
    }  # fmt: skip
    model = make_network(agreements=1, factors=1, plain=True).model(scenario, **settings)
    moves = run_paths(model, paths, SEED, record=True).window_moves[-1, 0] / 0.01
    ratio = moves**2 / (10 * step**2)
    assert abs(ratio.mean() - 1.0) < 4 * ratio.std() / np.sqrt(paths)


def _zones(make_network: Callable[..., Any]) -> Any:
    """Factors of the three zones."""
    network = make_network(agreements=2, factors=3, plain=True)
    factors = replace(network.market.factors, currency=text(["USD", "JPY", "EUR"]))
    return replace(network, market=replace(network.market, factors=factors))


MOVES = {"F00": -0.08, "F01": 0.03, "F02": -0.001}
SHARES = (0.5, -0.2, 0.7)


def test_the_mean_path_is_exact_without_noise(make_network: Callable[..., Any]) -> None:
    """Each hour moves by move * day's share * the zone's share of that hour."""
    scenario = Scenario(scenario_id="path", name="path", moves=MOVES, day_shares=SHARES)
    model = _zones(make_network).model(
        scenario, noise=False, horizon_days=4, feedback=False, defaults=False
    )
    total = np.array(list(MOVES.values()))
    weights = np.stack([zone_weights(z, AvalancheConfig()) for z in ("US", "APAC", "EU")], axis=1)
    for hour in (0, 7, 8, 13, 23, 24, 40, 71, 95):
        end = inside(cut(model, hour + 1), 4)
        day, clock = divmod(hour, 24)
        shares = np.concatenate([SHARES, [0.0]])
        done = shares[:day].sum() + shares[day] * weights[: clock + 1].sum(axis=0)
        cumulative = end.state.tape.cumulative
        np.testing.assert_allclose(cumulative, np.repeat((total * done)[:, None], 4, 1), rtol=1e-12)
    out = run_paths(model, 4, SEED, record=True)
    np.testing.assert_allclose(out.window_moves[-1][:, 0], total, rtol=1e-12)


def test_without_noise_all_paths_are_one(make_network: Callable[..., Any]) -> None:
    scenario = Scenario(scenario_id="path", name="path", moves=MOVES, day_shares=SHARES)
    model = _zones(make_network).model(scenario, noise=False, volatility_multiplier=3.0)
    out = run_paths(model, 200, SEED)
    for name in METRICS:
        if name != "stress_hours":
            assert len(set(metric(out, name))) == 1, name


def test_without_noise_the_regime_is_one_too(make_network: Callable[..., Any]) -> None:
    model = _zones(make_network).model(noise=False)
    assert len(set(metric(run_paths(model, 200, SEED), "stress_hours"))) == 1


def _windows(network: Any, extra: int) -> np.ndarray:
    model = network.model(Scenario(scenario_id="x", name="x", extra_calls_per_day=extra))
    return np.array([bin(int(mask)).count("1") for mask in model.window_mask])


def test_extra_windows_are_of_cleared_agreements(make_network: Callable[..., Any]) -> None:
    network = make_network()
    cleared = network.book.agreements.kind == "cleared"
    none, seven = _windows(network, 0), _windows(network, 7)
    np.testing.assert_array_equal(none[~cleared], seven[~cleared])
    assert np.all(seven[cleared] > none[cleared])


def test_extra_windows_are_as_many_as_stated(make_network: Callable[..., Any]) -> None:
    network = make_network()
    cleared = network.book.agreements.kind == "cleared"
    for extra in (1, 3, 7):
        more = _windows(network, extra) - _windows(network, 0)
        assert np.all(more[cleared] == extra)


def test_the_step_rule_waits_a_day_and_for_ten_per_cent(make_network: Callable[..., Any]) -> None:
    """Margin asked is sqrt(0.97 + 0.03 s^2) times: 1.048 at s = 2, 1.114 at s = 3.

    A parameter moved in steps follows the second only, the day after, and stays up.
    """
    network = make_network(agreements=1, factors=1, plain=True)
    agreements = replace(network.book.agreements, model=text(["span"]))
    network = replace(network, book=replace(network.book, agreements=agreements))
    for sigmas, day_two in ((2.0, 1.0), (3.0, float(np.sqrt(0.97 + 0.03 * 9.0)))):
        model = network.model(**QUIET | {"noise": False, "forced_sales": False}, horizon_days=4)
        assert model.step[0] == 0.10 and model.ewma_lambda[0] == 0.97
        model.shock[0, 5, 0] = -0.01 * sigmas
        im = run_paths(model, 1, SEED, record=True).window_im[2::3, 0, 0] / model.im_start[0]
        np.testing.assert_allclose(im, [1.0, day_two, day_two, day_two], rtol=1e-8)
    at_once = model._replace(step=np.zeros(1))
    im = run_paths(at_once, 1, SEED, record=True).window_im[2::3, 0, 0] / model.im_start[0]
    assert im[0] == pytest.approx(np.sqrt(1.24), rel=1e-8) and np.all(np.diff(im) < 0)
