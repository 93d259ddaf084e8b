"""Simulation against answers known in closed form (docs/methodology/avalanche.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.avalanche.branching import branching_ratio, linear_ratio, total_calls
from engine.kernels.avalanche.compiled import run_paths
from engine.kernels.avalanche.layout import METRICS
from engine.kernels.avalanche.twin import Twin

SEED = 2024
PATHS = 40_000
SIGMA_V = 0.01 * 2.0e8 * 100  # daily standard deviation of the test position, cents
PLAIN = {
    "volatility_multiplier": 1.0,
    "volatility_of_volatility": 0.0,
    "forced_sales": False,
    "intraday_trigger_share": 0.0,
    "jumps_per_day": 0.0,
    "breakdown_weight": 0.0,
    "defaults": False,
    "volatility_reaction": 0.0,
}


def _one_factor(make_network: Callable[..., Any], **settings: Any) -> np.ndarray:
    """Daily calls (10, PATHS) of one linear position whose IM does not react."""
    network = make_network(agreements=1, factors=1, plain=True)
    model = network.model(**PLAIN, **settings)
    model = model._replace(ewma_lambda=np.array([1.0]))
    return run_paths(model, PATHS, SEED).windows.reshape(10, 3, PATHS).sum(axis=1)


def _within_four_errors(draws: np.ndarray, statistic: Callable[..., float], truth: float) -> None:
    rng = np.random.default_rng(1)
    resampled = [statistic(rng.choice(draws, len(draws))) for _ in range(100)]
    error = float(np.std(resampled))
    assert abs(statistic(draws) - truth) <= 4 * error, (statistic(draws), truth, error)


def _es99(values: np.ndarray) -> float:
    count = len(values) // 100
    return float(np.sort(values)[-count:].mean())


def test_gaussian_daily_variation_margin(make_network: Callable[..., Any]) -> None:
    """ES99 of a day's call 2.66521 sigma V; sum of calls over 10 days 3.98942 sigma V; q99 of the
    largest of 10 days 3.08889 sigma V."""
    days = _one_factor(make_network, tail_degrees=0) / SIGMA_V
    _within_four_errors(days[0], _es99, 2.66521)
    _within_four_errors(days.sum(axis=0), lambda x: float(np.mean(x)), 3.98942)
    _within_four_errors(days.max(axis=0), lambda x: float(np.quantile(x, 0.99)), 3.08889)


def test_student_daily_variation_margin(make_network: Callable[..., Any]) -> None:
    """ES99 of a day's call with t5 tails of unit variance: 3.44884 sigma V."""
    days = _one_factor(make_network, tail_degrees=5) / SIGMA_V
    _within_four_errors(days[0], _es99, 3.44884)


@pytest.mark.parametrize(("k", "total"), [(0.2, 1.25), (0.5, 2), (0.8, 5), (0.9, 10), (0.95, 20)])
def test_linear_loop(k: float, total: float) -> None:
    assert total_calls(1.0, k) == pytest.approx(total, rel=1e-9)
    call, loop = 1.0, 0.0
    for _ in range(2000):
        loop += call
        call *= k
    assert loop == pytest.approx(total, rel=1e-9)


def test_rounds_and_criticality() -> None:
    assert total_calls(1.0, 0.9, rounds=10) == pytest.approx(6.86189, abs=5e-6)
    assert total_calls(1.0, 1.0, rounds=100) == 101.0
    with pytest.raises(ValueError, match="no finite total"):
        total_calls(1.0, 1.0)


def test_futures_with_ten_per_cent_margin_amplify_twofold() -> None:
    k = linear_ratio(np.array([1 / 0.10]), np.array([0.05 / 3.0e9]), np.array([3.0e9]))
    assert total_calls(1.0, k) == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize(("s", "ratio"), [(3.0, 1.114), (5.0, 1.311), (10.0, 1.992)])
def test_one_shock_multiplies_margin_by_its_ewma(
    make_network: Callable[..., Any], s: float, ratio: float
) -> None:
    """One shock of s sigma: IM times sqrt(lambda + (1 - lambda) s^2), lambda = 0.97."""
    network = make_network(agreements=1, factors=1, plain=True)
    model = network.model(**PLAIN, horizon_days=1)
    quiet = model._replace(
        volatility=np.zeros_like(model.volatility), shock=np.zeros_like(model.shock)
    )
    quiet.shock[0, 5, 0] = -0.01 * s
    twin = Twin(quiet, 1, SEED)
    twin.run()
    exact = np.sqrt(0.97 + 0.03 * s**2)
    assert exact == pytest.approx(ratio, abs=5e-4)
    assert twin.im[0, 0] / quiet.im_start[0] == pytest.approx(exact, rel=1e-9)
    fast = run_paths(quiet, 1, SEED).metrics[METRICS.index("im_max"), 0]
    assert fast / quiet.im_start[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("multiple", "ratio"), [(2.0, 1.337), (5.0, 2.702), (10.0, 5.196)])
def test_step_in_volatility_after_ten_days(
    make_network: Callable[..., Any], multiple: float, ratio: float
) -> None:
    """Daily moves of exactly M sigma for 10 days: sqrt(l^10 + (1 - l^10) M^2)."""
    network = make_network(agreements=1, factors=1, plain=True)
    model = network.model(**PLAIN)
    steps = model._replace(
        volatility=np.zeros_like(model.volatility), shock=np.zeros_like(model.shock)
    )
    steps.shock[0, 5::24, 0] = 0.01 * multiple
    out = run_paths(steps, 1, SEED)
    measured = out.metrics[METRICS.index("margin_multiple_max"), 0]
    assert np.sqrt(0.97**10 + (1 - 0.97**10) * multiple**2) == pytest.approx(ratio, abs=5e-4)
    assert measured == pytest.approx(ratio, abs=5e-4)


@pytest.mark.parametrize("slices", [1, 24, 96])
def test_impact_does_not_depend_on_slicing(make_network: Callable[..., Any], slices: int) -> None:
    """The same volume in 1, 24 or 96 slices ends at the same price when impact does not decay."""
    network = make_network(agreements=3, factors=3, plain=True)
    model = network.model(**PLAIN | {"forced_sales": True}, horizon_days=5, tail_degrees=0)
    pool = model.pool.copy()
    from engine.kernels.avalanche import layout

    pool[layout.POOL_DECAY] = 1.0
    pool[layout.POOL_TARGET] = 0.0
    free = model._replace(
        pool=pool,
        volatility=np.zeros_like(model.volatility),
        sale_cap=np.ones_like(model.sale_cap),
    )
    volume = 0.2 * float(free.relief.sum())

    class Seller(Twin):
        def _outlook(self, hour: int, out: Any) -> np.ndarray:
            super()._outlook(hour, out)
            return np.full(len(self.paths), volume / slices if hour < slices else 0.0)

    twin = Seller(free, 1, SEED)
    twin.run()
    sold = free.sale_share * 0.2 * float(free.relief.sum()) / free.relief
    crowd = 1.0 + free.crowd[0]
    expected = free.impact * np.sqrt(crowd * sold)[free.bucket]
    np.testing.assert_allclose(twin.cumulative[:, 0], expected, rtol=1e-9)


def test_branching_ratio_equals_the_kernels_next_calls(make_network: Callable[..., Any]) -> None:
    """The closed form is what a sale does to calls in the simulation, within 1 %."""
    network = make_network(agreements=3, factors=3, plain=True, adv_usd=2.0e9)
    model = network.model(**PLAIN | {"forced_sales": True}, horizon_days=2, crowding=5.0)
    quiet = model._replace(volatility=np.zeros_like(model.volatility))
    raise_cents = 0.05 * float(model.relief.sum())

    class OneSale(Twin):
        def _outlook(self, hour: int, out: Any) -> np.ndarray:
            super()._outlook(hour, out)
            return np.full(len(self.paths), raise_cents if hour == 0 else 0.0)

    free = quiet._replace(sale_cap=np.ones_like(quiet.sale_cap))
    pool = free.pool.copy()
    from engine.kernels.avalanche import layout

    pool[layout.POOL_DECAY] = 1.0
    free = free._replace(pool=pool)
    twin = OneSale(free, 1, SEED)
    twin.run()
    losses = float(np.maximum(-twin.exposure[:, 0], 0.0).sum())
    norm = free.daily_norm
    u = twin.exposure[:, 0] / (norm * twin.size[:, 0])
    branch = branching_ratio(free, raise_cents, 1.0)
    assert branch.loss * raise_cents == pytest.approx(losses, rel=0.01)
    assert np.all(twin.size < 0.97)
    margin = float(np.sum(free.im_start * twin.size[:, 0] * (np.sqrt(1 + 0.03 * u**2) - 1)))
    assert branch.margin * raise_cents == pytest.approx(margin, rel=0.01)
    assert branch.ratio == branch.loss + branch.margin
