"""How plausible a move is: distance, tails, completion by the conditional mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from engine.stress.reverse.plausibility import conditional_mean, mahalanobis, plausibility

SEED = 20260716


def covariance(k: int, seed: int = SEED) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(k, k))
    return a @ a.T / k + 0.1 * np.eye(k)


def test_worked_numbers_of_the_docstrings() -> None:
    half = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert mahalanobis(np.array([[1.0, 1.0]]), half)[0] == pytest.approx(1.1547005384, rel=1e-9)
    shaped = np.array([[1.0, 1.0], [1.0, 4.0]])
    completed = conditional_mean(np.array([[1.0]]), np.array([0]), shaped)
    assert completed[0].tolist() == pytest.approx([1.0, 1.0], rel=1e-12)
    p = plausibility(3.0, 2)
    assert p.tail_p == pytest.approx(math.exp(-4.5), rel=1e-12)
    assert p.half_space_p == pytest.approx(0.0013498980, rel=1e-7)
    assert (p.times_worst_episode, p.worst_episode) == (None, "")


@given(distance=st.floats(0.0, 30.0), dimension=st.integers(1, 100))
def test_tails_agree_with_scipy_stats(distance: float, dimension: int) -> None:
    p = plausibility(distance, dimension)
    assert p.tail_p == pytest.approx(chi2.sf(distance**2, dimension), rel=1e-9, abs=1e-300)
    assert p.half_space_p == pytest.approx(norm.sf(distance), rel=1e-9, abs=1e-300)


@given(seed=st.integers(0, 10_000), named=st.integers(1, 7))
def test_completion_keeps_the_distance(seed: int, named: int) -> None:
    rng = np.random.default_rng(seed)
    sigma = covariance(8, seed)
    rows = rng.choice(8, named, replace=False)
    known = rng.normal(size=(3, named))
    full = conditional_mean(known, rows, sigma)
    assert full[:, rows] == pytest.approx(known, rel=1e-7, abs=1e-9)
    own = mahalanobis(known, sigma[np.ix_(rows, rows)])
    assert mahalanobis(full, sigma) == pytest.approx(own, rel=1e-7)
    # Any other completion is farther.
    other = np.setdiff1d(np.arange(8), rows)
    moved = full.copy()
    moved[:, other] += 0.1
    assert (mahalanobis(moved, sigma) > own).all()


def test_distance_grows_with_dimension_so_the_tail_must_be_read_too() -> None:
    assert plausibility(9.0, 1).tail_p < 1e-18
    assert plausibility(9.0, 81).tail_p == pytest.approx(0.479, abs=0.01)


def test_episodes_are_the_yardstick() -> None:
    p = plausibility(3.0, 5, {"quiet": 2.0, "crash": 6.0, "nothing": 0.0})
    assert (p.times_worst_episode, p.worst_episode) == (0.5, "crash")
    assert (p.episodes, p.episodes_farther) == (2, 1)
    assert set(p.to_dict()) >= {"distance", "tail_p", "times_worst_episode"}


@pytest.mark.parametrize(("distance", "dimension"), [(-1.0, 2), (math.nan, 2), (1.0, 0)])
def test_wrong_input_is_refused(distance: float, dimension: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        plausibility(distance, dimension)
