"""Branching between funds: the closed form of one fund, the matrix of several."""

from __future__ import annotations

import numpy as np
import pytest

from engine.avalanche.branching import linear_ratio, total_calls
from engine.avalanche.system.contagion import (
    amplified_calls,
    branching_matrix,
    liquidity_overlap,
    spectral_radius,
)


def one(value: float) -> np.ndarray:
    return np.array([[value]])


@pytest.mark.parametrize(
    ("ratio", "total"), [(0.2, 1.25), (0.5, 2.0), (0.8, 5.0), (0.9, 10.0), (0.95, 20.0)]
)
def test_one_fund_is_the_scalar_form(ratio: float, total: float) -> None:
    found = amplified_calls(one(ratio), np.ones(1))[0]
    assert found == pytest.approx(total, rel=1e-9)
    assert found == pytest.approx(total_calls(1.0, ratio), rel=1e-12)
    assert spectral_radius(one(ratio)) == pytest.approx(ratio, rel=1e-12)


def test_rounds() -> None:
    assert amplified_calls(one(0.9), np.ones(1), 10)[0] == pytest.approx(6.86189, abs=5e-6)
    assert amplified_calls(one(0.9), np.ones(1), 10)[0] == pytest.approx(
        total_calls(1.0, 0.9, 10), rel=1e-12
    )
    assert amplified_calls(one(1.0), np.ones(1), 100)[0] == 101.0


def test_critical_at_one() -> None:
    with pytest.raises(ValueError, match="spectral radius 1 >= 1"):
        amplified_calls(one(1.0), np.ones(1))
    with pytest.raises(ValueError, match="no finite total"):
        amplified_calls(np.array([[0.0, 1.3], [1.0, 0.0]]), np.ones(2))


def test_matrix_of_one_fund_is_the_scalar_ratio() -> None:
    rng = np.random.Generator(np.random.Philox(28))
    exposure, sale, impact = rng.random(4), rng.random(4), rng.random(4) * 1e-2
    matrix = branching_matrix(exposure[None], impact, sale[None])
    assert matrix[0, 0] == pytest.approx(linear_ratio(sale, impact, exposure), rel=1e-12)
    # The outer form over assets has the same spectral radius: a (x' Lambda) has rank one.
    assert spectral_radius(np.outer(sale, exposure * impact)) == pytest.approx(
        matrix[0, 0], rel=1e-9
    )


def test_splitting_a_fund_in_two_changes_nothing() -> None:
    exposure, sale = np.array([[30.0], [20.0]]), np.array([[10.0], [10.0]])
    matrix = branching_matrix(exposure, np.array([0.001]), sale)
    np.testing.assert_allclose(matrix, [[0.3, 0.3], [0.2, 0.2]], rtol=1e-12)
    assert spectral_radius(matrix) == pytest.approx(0.5, rel=1e-9)
    first = np.array([0.6, 0.4])
    assert amplified_calls(matrix, first).sum() == pytest.approx(2.0, rel=1e-9)


def test_funds_without_common_assets_do_not_meet() -> None:
    matrix = branching_matrix(np.diag([5.0, 8.0]), np.array([0.1, 0.1]), np.eye(2))
    np.testing.assert_allclose(matrix, np.diag([0.5, 0.8]), rtol=1e-12)
    np.testing.assert_allclose(amplified_calls(matrix, np.ones(2)), [2.0, 5.0], rtol=1e-9)


def test_rounds_converge_to_the_total() -> None:
    rng = np.random.Generator(np.random.Philox(29))
    matrix = rng.random((5, 5))
    matrix *= 0.7 / spectral_radius(matrix)
    first = rng.random(5)
    np.testing.assert_allclose(
        amplified_calls(matrix, first, 200), amplified_calls(matrix, first), rtol=1e-9
    )


def test_overlap() -> None:
    holding = np.array([[10.0, 0.0], [5.0, 4.0]])
    found = liquidity_overlap(holding, np.array([100.0, 50.0]))
    np.testing.assert_allclose(found, [[1.0, 0.5], [0.5, 0.57]], rtol=1e-12)
    assert np.all(np.linalg.eigvalsh(found) >= 0.0)
    with pytest.raises(ValueError, match="depth 0 is not above 0"):
        liquidity_overlap(holding, np.array([100.0, 0.0]))


def test_shapes_and_numbers_are_checked() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        branching_matrix(np.ones((2, 3)), np.ones(2), np.ones((2, 3)))
    with pytest.raises(ValueError, match="not finite"):
        branching_matrix(np.full((1, 1), np.nan), np.ones(1), np.ones((1, 1)))
    with pytest.raises(ValueError, match="does not fit 3"):
        amplified_calls(np.eye(2), np.ones(3))
