"""The leading factor: an exact root of the correlation whose first columns matter most."""

from __future__ import annotations

import numpy as np
import pytest

from engine.avalanche.leading import leading_factor
from engine.domain.failures import InputError


def correlation(factors: int, seed: int, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(factors, rank or 2 * factors))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    return root @ root.T


@pytest.mark.parametrize("leading", [0, 1, 6, 24])
@pytest.mark.parametrize("agreements", [0, 1, 60])
def test_product_is_the_correlation(leading: int, agreements: int) -> None:
    matrix = correlation(24, 1)
    exposure = np.random.default_rng(2).normal(size=(agreements, 24)) if agreements else None
    factor = leading_factor(matrix, leading, exposure)
    assert np.abs(factor @ factor.T - matrix).max() < 1e-12
    rest = factor[:, leading:]
    assert np.all(rest == np.tril(rest))
    assert np.count_nonzero(factor) <= 24 * leading + (24 - leading) * (24 + leading + 1) // 2


def test_worked_number() -> None:
    factor = leading_factor(np.array([[1.0, 0.5], [0.5, 1.0]]), 1)
    assert factor == pytest.approx(np.array([[0.75**0.5, 0.5], [0.75**0.5, -0.5]]), abs=1e-12)


def test_without_exposures_the_columns_are_principal_components() -> None:
    matrix = correlation(12, 3)
    factor = leading_factor(matrix, 4)
    values, vectors = np.linalg.eigh(matrix)
    for j in range(4):
        component = vectors[:, -1 - j] * np.sqrt(values[-1 - j])
        assert abs(component @ factor[:, j]) == pytest.approx(values[-1 - j], rel=1e-9)
        assert factor[np.argmax(np.abs(factor[:, j])), j] > 0


def test_one_agreement_is_explained_by_one_direction() -> None:
    matrix = correlation(12, 4)
    exposure = np.random.default_rng(5).normal(size=(1, 12))
    pnl = (exposure @ leading_factor(matrix, 3, exposure))[0]
    assert pnl[0] == pytest.approx(np.sqrt(exposure[0] @ matrix @ exposure[0]), rel=1e-9)
    assert np.abs(pnl[1:]).max() < 1e-6 * pnl[0]
    plain = (exposure @ leading_factor(matrix, 3))[0]
    assert abs(plain[0]) < 0.9 * pnl[0]


def test_exposures_explain_more_than_plain_components_and_a_high_score_gains() -> None:
    matrix = correlation(24, 6)
    exposure = np.random.default_rng(7).normal(size=(40, 24)) * (np.arange(24) < 5)
    weighted = exposure @ leading_factor(matrix, 5, exposure)
    plain = exposure @ leading_factor(matrix, 5)
    assert np.sum(weighted[:, :5] ** 2) == pytest.approx(np.sum(weighted**2), rel=1e-6)
    assert np.sum(plain[:, :5] ** 2) < 0.9 * np.sum(plain**2)
    assert np.all(weighted[:, :5].sum(axis=0) > 0)


def test_a_singular_correlation_has_a_root_too() -> None:
    matrix = correlation(10, 8, rank=3)
    factor = leading_factor(matrix, 4, np.eye(10))
    assert np.abs(factor @ factor.T - matrix).max() < 1e-12


@pytest.mark.parametrize(
    ("matrix", "leading", "exposure", "words"),
    [
        (np.eye(3), 4, None, "leading directions 4 of 3"),
        (np.array([[1.0, 0.5], [0.2, 1.0]]), 1, None, "not a symmetric matrix"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), 1, None, "not a symmetric matrix"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), 1, None, "negative eigenvalue -1"),
        (np.eye(3), 1, np.ones((2, 2)), "one column for each of the 3"),
    ],
)
def test_what_cannot_be_used_is_refused(
    matrix: np.ndarray, leading: int, exposure: np.ndarray | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        leading_factor(matrix, leading, exposure)
