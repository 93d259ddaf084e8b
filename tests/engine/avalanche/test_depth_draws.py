"""The draws a path is given: candidates in one run, any paths again, scores of a day."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from engine.kernels.avalanche import compiled, layout
from engine.kernels.avalanche.compiled import prepare_draws, run_paths
from engine.kernels.avalanche.groups import group, workspace
from engine.kernels.avalanche.layout import METRICS, Output
from engine.kernels.avalanche.twin import run_twin
from tests.engine.avalanche.test_depth_harness import (
    QUIET,
    SEED,
    cut,
    inside,
    many_currencies,
    metric,
)


def _fund(make_network: Callable[..., Any], **settings: Any) -> Any:
    return many_currencies(make_network(), cash_usd=2.0e6).model(
        **{"volatility_multiplier": 4.0} | settings
    )


def test_candidates_in_one_run_are_runs_of_their_own(make_network: Callable[..., Any]) -> None:
    """Two basis shocks; each path has its own weights, as if alone."""
    network = make_network(cash_usd=4.0e6)
    model = network.model(noise=False, horizon_days=3)
    rng = np.random.default_rng(4)
    shock = np.ascontiguousarray(rng.normal(0, 2e-3, (2, *model.shock.shape[1:])))
    model = model._replace(shock=shock)
    drive = rng.normal(0, 1, (2, 70))
    whole = run_paths(model, 70, SEED, drive=drive, record=True)
    for i in (0, 1, 69):
        merged = np.tensordot(drive[:, i], shock, 1)[None]
        one = run_paths(model, 1, SEED, drive=drive[:, [i]], record=True)
        for field, a, b in zip(Output._fields, one, whole, strict=True):
            if field == "metrics":
                regime = METRICS.index("stress_hours")
                a, b = np.delete(a, regime, axis=0), np.delete(b, regime, axis=0)
            np.testing.assert_array_equal(a[..., 0], b[..., i], err_msg=field)
        own = run_paths(model._replace(shock=merged), 1, SEED, record=True)
        np.testing.assert_allclose(own.window_moves[..., 0], whole.window_moves[..., i], rtol=1e-12)
        assert own.metrics[0, 0] == pytest.approx(whole.metrics[0, i], rel=1e-9)
    assert len(set(whole.metrics[0])) > 60


@pytest.mark.parametrize("settings", [{}, {"default_grace_hours": 0, "sale_policy": "greedy"}])
def test_any_paths_can_be_run_again(
    make_network: Callable[..., Any], settings: dict[str, Any]
) -> None:
    """Idle, selling and failing paths share tiles in one run and not in the other."""
    model = _fund(make_network, **settings)
    whole = run_paths(model, 300, SEED, record=True, fan=True)
    assert 0 < np.mean(metric(whole, "default_count") > 0) < 1
    ids = np.random.default_rng(8).permutation(300)[:90]
    some = run_paths(model, 90, SEED, path_ids=ids, record=True, fan=True, threads=1)
    single = run_paths(model, 1, SEED, path_ids=ids[:1], record=True, fan=True)
    for field, a, b, c in zip(Output._fields, some, whole, single, strict=True):
        np.testing.assert_array_equal(a, b[..., ids], err_msg=field)
        np.testing.assert_array_equal(c[..., 0], a[..., 0], err_msg=field)


def _scored(make_network: Callable[..., Any], **settings: Any) -> Any:
    network = make_network(agreements=3, factors=6, plain=True)
    model = network.model(scored=4, **QUIET | {"horizon_days": 2, "forced_sales": False} | settings)
    return network, model


def test_a_day_adds_up_to_its_scores(make_network: Callable[..., Any]) -> None:
    """Sum of bridge_h z_h over the day is the score, to rounding."""
    _, model = _scored(make_network)
    scores = np.random.default_rng(3).normal(size=(2 * 5, 64))
    scores[4::5] = 1.0
    total = np.zeros((4, 64))
    for hour in range(48):
        z = inside(cut(model, 24 * (hour // 24 + 1)), scores=scores[: 5 * (hour // 24 + 1)])
        if hour % 24 == 0:
            total[:] = 0.0
        part = _hour_normals(model, hour, scores)
        total += model.bridge[hour % 24] * part[:4]
        if hour % 24 == 23:
            day = hour // 24
            np.testing.assert_allclose(total, scores[5 * day : 5 * day + 4], rtol=0, atol=1e-12)
            np.testing.assert_array_equal(z.state.tape.z[:4], part[:4])


def _hour_normals(model: Any, hour: int, scores: np.ndarray, first_path: int = 0) -> np.ndarray:
    """Normals of one hour on one tile: the run stops after it.

    `cut` keeps scores of whole days: a run of h hours reads those of the days it begins.
    """
    short = cut(model, hour + 1)
    draws = prepare_draws(model, np.arange(first_path, first_path + 64), None, scores)
    out = layout.empty_output(short, 64, fan=False)
    state = workspace(short, 64, layout.score_rows(model, draws.scores))
    compiled._run_tiles(1, 0, SEED, 0, group(short), draws, state, out)
    return np.array(state.tape.z)


def test_bridged_hours_are_standard_normal(make_network: Callable[..., Any]) -> None:
    """Scores that are normal leave every hour N(0, 1) and hours independent (KS, 4,096 draws)."""
    _, model = _scored(make_network)
    rng = np.random.default_rng(17)
    hours: dict[int, list[np.ndarray]] = {3: [], 9: [], 23: [], 31: []}
    for tile in range(16):
        scores = rng.normal(size=(10, 64))
        scores[4::5] = 1.0
        for hour, found in hours.items():
            found.append(_hour_normals(model, hour, scores, 64 * tile)[:4].ravel())
    draws = {hour: np.concatenate(found) for hour, found in hours.items()}
    for hour, values in draws.items():
        assert kstest(values, "norm").pvalue > 1e-3, hour
    for a, b in ((3, 9), (9, 23), (23, 31)):
        assert abs(np.corrcoef(draws[a], draws[b])[0, 1]) < 4 / np.sqrt(4096)
    # Negative control: scores of twice the width show.
    wide = [
        _hour_normals(model, 9, np.where(np.arange(10)[:, None] % 5 == 4, 1.0, 3.0 * rng.normal(
            size=(10, 64))), 64 * tile)[:4].ravel()
        for tile in range(16)
    ]  # fmt: skip
    assert kstest(np.concatenate(wide), "norm").pvalue < 1e-3


def test_a_scored_run_of_the_twin_is_the_kernels(make_network: Callable[..., Any]) -> None:
    network = many_currencies(make_network(), cash_usd=2.0e6)
    model = network.model(scored=4, volatility_multiplier=4.0, horizon_days=3)
    rng = np.random.default_rng(6)
    scores = rng.normal(size=(15, 48))
    scores[4::5] = rng.uniform(0.5, 2.0, (3, 48))
    fast = run_paths(model, 48, SEED, scores=scores, record=True, fan=True)
    slow = run_twin(model, 48, SEED, scores=scores)
    for i, name in enumerate(METRICS):
        scale = max(float(np.max(np.abs(slow.metrics[i]))), 1.0)
        assert np.max(np.abs(fast.metrics[i] - slow.metrics[i])) <= 1e-9 * scale, name
    np.testing.assert_allclose(fast.window_moves, slow.window_moves, rtol=0, atol=1e-12)
    other = run_paths(model, 48, SEED, scores=scores[:, ::-1], record=True)
    assert not np.array_equal(other.window_moves, fast.window_moves)


@pytest.mark.parametrize(
    ("rows", "columns", "match"),
    [(9, 64, "scores has shape"), (10, 63, "scores has shape"), (8, 64, "multiple of 4")],
)
def test_scores_of_a_wrong_shape_are_refused(
    make_network: Callable[..., Any], rows: int, columns: int, match: str
) -> None:
    _, model = _scored(make_network)
    with pytest.raises(ValueError, match=match):
        prepare_draws(model, np.arange(64), None, np.zeros((rows, columns)))


def test_more_scores_than_normals_are_refused(make_network: Callable[..., Any]) -> None:
    _, model = _scored(make_network)
    with pytest.raises(ValueError, match="scores"):
        prepare_draws(model, np.arange(64), None, np.zeros((2 * 401, 64)))


def test_a_drive_of_a_wrong_shape_is_refused(make_network: Callable[..., Any]) -> None:
    _, model = _scored(make_network)
    with pytest.raises(ValueError, match=r"drive has shape \(2, 64\); it needs \(1, 64\)"):
        prepare_draws(model, np.arange(64), np.ones((2, 64)), None)
    with pytest.raises(ValueError, match="path_ids has shape"):
        run_paths(model, 3, SEED, path_ids=np.arange(4))


@pytest.mark.parametrize("cuts", [(0, 300), (0, 1, 64, 65, 300), (0, 150, 151, 299, 300)])
def test_threads_and_blocks_do_not_change_a_bit(
    make_network: Callable[..., Any], cuts: tuple[int, ...]
) -> None:
    """Currencies, defaults, regimes, jumps and scores included."""
    network = many_currencies(make_network(), cash_usd=2.0e6)
    model = network.model(
        scored=4, volatility_multiplier=4.0, regime_enter_per_hour=0.05, jumps_per_day=0.05
    )
    scores = np.random.default_rng(2).normal(size=(50, 300))
    scores[4::5] = 1.0
    whole = run_paths(model, 300, SEED, scores=scores, threads=1, record=True, fan=True)
    parts = [
        run_paths(
            model,
            stop - start,
            SEED,
            first_path=start,
            scores=scores[:, start:stop],
            threads=2,
            record=True,
            fan=True,
        )
        for start, stop in zip(cuts[:-1], cuts[1:], strict=True)
    ]
    for field, *arrays in zip(Output._fields, *parts, strict=True):
        joined = np.concatenate(arrays, axis=-1)
        assert joined.tobytes() == getattr(whole, field).tobytes(), field
