"""Correlation, its repair, the Cholesky factor and the low-rank loadings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.market import MarketState
from engine.market.covariance import (
    LEAST_COMMON_DAYS,
    cholesky_factor,
    correlation,
    factor_loadings,
    nearest_correlation,
)
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.market.volatility import standardised_returns


@pytest.fixture(scope="module")
def market() -> MarketState:
    levels = packaged_levels()
    return build_market(packaged_factors(), levels, levels.dates[-1].item()).value


def test_repair_worked_number() -> None:
    repaired = nearest_correlation(np.array([[1.0, 1, 0], [1, 1, 1], [0, 1, 1]]))
    assert repaired[0, 2] == pytest.approx(0.0938363, abs=5e-8)
    np.testing.assert_array_equal(np.diag(repaired), 1.0)


def test_a_correlation_is_left_alone() -> None:
    good = np.array([[1.0, 0.3], [0.3, 1.0]])
    np.testing.assert_array_equal(nearest_correlation(good), good)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_repair_gives_a_correlation(n: int, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-1.0, 1.0, (n, n))
    matrix = np.triu(noise, 1) + np.triu(noise, 1).T + np.eye(n)
    repaired = nearest_correlation(matrix)
    assert np.linalg.eigvalsh(repaired)[0] >= -1e-12
    assert np.abs(repaired).max() <= 1.0 + 1e-12
    np.testing.assert_array_equal(repaired, repaired.T)


def test_correlation_of_complete_columns_is_the_plain_one(market: MarketState) -> None:
    matrix = correlation(market, 500)
    z = standardised_returns(market)[-500:]
    i, j = market.index()["SPX"], market.index()["NDX"]
    expected = z[:, i] @ z[:, j] / np.sqrt((z[:, i] @ z[:, i]) * (z[:, j] @ z[:, j]))
    # Repair moves nothing here beyond rounding: the window is longer than the factors are many.
    assert matrix[i, j] == pytest.approx(expected, abs=1e-9)
    assert matrix[market.index()["SPX"], market.index()["VIX"]] < -0.5


@pytest.mark.parametrize("lookback", [60, 500, 5982])
def test_correlation_is_one_whatever_the_window(market: MarketState, lookback: int) -> None:
    matrix = correlation(market, lookback)
    assert not np.isnan(matrix).any()
    assert np.linalg.eigvalsh(matrix)[0] >= -1e-12
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    lower = cholesky_factor(matrix)
    np.testing.assert_array_equal(lower, np.tril(lower))
    np.testing.assert_allclose(
        lower @ lower.T, 0.95 * matrix + 0.05 * np.eye(len(matrix)), atol=1e-12
    )


def test_too_short_a_window_is_refused(market: MarketState) -> None:
    with pytest.raises(ValueError, match="lookback"):
        correlation(market, LEAST_COMMON_DAYS - 1)


def test_cholesky_worked_number_and_range() -> None:
    lower = cholesky_factor(np.ones((2, 2)), 0.1)
    assert lower[1].tolist() == pytest.approx([0.9, 0.4358899], abs=5e-8)
    with pytest.raises(ValueError, match="shrinkage"):
        cholesky_factor(np.ones((2, 2)), 0.0)


def test_loadings_worked_number() -> None:
    split = factor_loadings(np.array([[1.0, 0.5], [0.5, 1.0]]), 1)
    np.testing.assert_allclose(split.common[:, 0], 0.8660254, atol=5e-8)
    np.testing.assert_allclose(split.specific, 0.5, atol=5e-8)


def test_loadings_imply_a_positive_definite_correlation(market: MarketState) -> None:
    matrix = correlation(market, 500)
    errors = []
    for n_common in (5, 15, 40):
        split = factor_loadings(matrix, n_common)
        implied = split.correlation()
        np.testing.assert_allclose(np.diag(implied), 1.0, atol=1e-12)
        assert np.linalg.eigvalsh(implied)[0] > 0.0
        errors.append(float(np.sqrt(np.mean((implied - matrix) ** 2))))
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] < 0.1
    with pytest.raises(ValueError, match="n_common"):
        factor_loadings(matrix, 0)
