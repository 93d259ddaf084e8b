"""The signals: worked numbers, plain restatements, and what they may not know."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.episodes import (
    EpisodeVector,
    episode_vectors,
    resemblance,
    similarity,
)
from engine.stress.early_warning.panel import build_panel
from engine.stress.early_warning.signals import expanding_rank, moves_over, turbulence
from engine.stress.library.episodes import episodes as library
from tests.support.tiny_fund import FACTORS, tiny_market

SEED = 11
CONFIG = EarlyWarningConfig(
    burn_in_days=500, turbulence_days=100, rank_days=60, resamples=50, use_synthetic=True
)


def test_ranks_count_equal_values_half() -> None:
    assert expanding_rank(np.array([3.0, 1.0, 2.0, 2.0]), 1).tolist() == [0.5, 0.25, 0.5, 0.5]


def test_ranks_are_those_of_the_past_alone() -> None:
    values = np.random.default_rng(SEED).normal(size=200)
    values[:7] = np.nan
    ranks = expanding_rank(values, 20)
    assert np.isnan(ranks[:26]).all()
    for t in (26, 90, 199):
        seen = values[7 : t + 1]
        expected = (np.sum(seen < values[t]) + 0.5) / len(seen)
        assert ranks[t] == pytest.approx(expected, rel=1e-12)


def test_turbulence_of_one_factor() -> None:
    config = EarlyWarningConfig(turbulence_days=60, change_days=5)
    returns = np.tile([0.01, -0.01], 40)[:, np.newaxis].astype(float)
    returns[-5:] = 0.01
    value = turbulence(returns, config)[-1]
    # 60 returns of 1 % either way: C = 0.01^2 * 60 / 59.
    assert value == pytest.approx(5.0 * 59 / 60, rel=1e-9)


def test_turbulence_is_the_plain_formula() -> None:
    rng = np.random.default_rng(SEED)
    returns = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4))
    got = turbulence(returns, CONFIG)
    assert np.isnan(got[:104]).all()
    assert not np.isnan(got[104:]).any()
    for t in (104, 250, 399):
        window = returns[t - 5 - 100 + 1 : t - 5 + 1]
        sigma = window.std(axis=0, ddof=1)
        matrix = 0.99 * np.corrcoef(window.T) + 0.01 * np.eye(4)
        score = returns[t - 4 : t + 1].sum(axis=0) / sigma
        assert got[t] == pytest.approx(score @ np.linalg.inv(matrix) @ score / 20, rel=1e-9)


def test_turbulence_bears_redundant_and_motionless_factors() -> None:
    returns = np.random.default_rng(SEED).normal(size=(300, 3))
    returns[:, 2] = returns[:, 0] - returns[:, 1]
    flat = np.column_stack([returns, np.zeros(300)])
    assert np.isfinite(turbulence(returns, CONFIG)[104:]).all()
    assert np.isfinite(turbulence(flat, CONFIG)[104:]).all()


def test_resemblance_worked_number() -> None:
    target = np.array([-4.0, 3.0])
    rows = np.array([[-3.0, 0.0], [4.0, -3.0], [-8.0, 6.0], [0.0, 0.0], [np.nan, 1.0]])
    value = resemblance(rows, target)
    np.testing.assert_allclose(value[:4], [0.48, 0.0, 1.0, 0.0], rtol=1e-12)
    assert np.isnan(value[4])


def test_an_episode_counts_only_after_the_embargo() -> None:
    market = tiny_market()
    panel = build_panel(market, None, CONFIG)
    end = panel.dates[800].item()
    moves = {str(n): float(s) for n, s in zip(panel.factor_id, 5 * panel.scale, strict=True)}
    episode = EpisodeVector("e", "E", panel.dates[790].item(), end, moves)
    found = similarity(moves_over(panel.returns, 5), panel, [episode], 30)
    first = int(np.argmax(~np.isnan(found.value[:, 0])))
    assert panel.dates[first] > np.datetime64(end) + 30
    assert panel.dates[first - 1] <= np.datetime64(end) + 30
    assert found.known.tolist() == [len(panel.factor_id)]


def test_an_episode_known_for_few_members_does_not_count() -> None:
    panel = build_panel(tiny_market(), None, CONFIG)
    episode = EpisodeVector("e", "E", date(2000, 1, 3), date(2000, 1, 7), {"IDX": -0.2})
    found = similarity(moves_over(panel.returns, 5), panel, [episode], 30)
    assert np.isnan(found.value).all()
    assert np.isnan(found.best()).all()


def test_vectors_come_from_the_history_and_else_from_the_library() -> None:
    market = tiny_market(synthetic=np.zeros(len(FACTORS), dtype=np.bool_))
    by_id = {vector.episode_id: vector for vector in episode_vectors(market, library())}
    inside = next(v for v in by_id.values() if v.first > market.dates[0].item())
    rows = (market.dates > np.datetime64(inside.first)) & (
        market.dates <= np.datetime64(inside.last)
    )
    expected = float(np.sum(market.returns[rows, 0]))
    assert inside.moves["IDX"] == pytest.approx(expected, rel=1e-12)
    before = by_id["black_monday_1987"]
    assert "IDX" not in before.moves  # the library does not know it
