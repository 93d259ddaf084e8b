"""Correlation of factors: estimate, repair, Cholesky factor, low-rank loadings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.market import MarketState
from engine.market.volatility import DECAY, standardised_returns

LEAST_COMMON_DAYS = 20
SHRINKAGE = 0.05
LEAST_SPECIFIC_VARIANCE = 0.01


@dataclass(frozen=True)
class FactorLoadings:
    """z = common @ f + specific * e, with f (n_common,) and e (n_factors,) independent normals.

    Attributes
    ----------
    common : float64 array of shape (n_factors, n_common)
    specific : float64 array of shape (n_factors,)
        Above zero; common common' + diag(specific^2) has unit diagonal.
    """

    common: Float64Array
    specific: Float64Array

    def correlation(self) -> Float64Array:
        """Return the correlation the loadings imply, shape (n_factors, n_factors)."""
        implied: Float64Array = self.common @ self.common.T + np.diag(self.specific**2)
        return implied


def correlation(market: MarketState, lookback: int, decay: float = DECAY) -> Float64Array:
    """Correlation of standardised returns over the last `lookback` days.

    Standardised returns (see `standardised_returns`) keep one turbulent month from deciding the
    whole matrix. Each pair uses the days on which both factors had begun; a pair with fewer than
    `LEAST_COMMON_DAYS` of them, or a factor that did not move, gets zero. Means are taken as zero.
    The result is repaired to be positive semi-definite (`nearest_correlation`).

    Returns
    -------
    float64 array of shape (n_factors, n_factors)
        Symmetric, unit diagonal, no NaN, least eigenvalue >= -1e-12.

    Raises
    ------
    ValueError
        When `lookback` is less than `LEAST_COMMON_DAYS`.
    """
    if lookback < LEAST_COMMON_DAYS:
        raise ValueError(f"lookback {lookback} is too short; use {LEAST_COMMON_DAYS} or more")
    window = standardised_returns(market, decay)[-lookback:]
    known = ~np.isnan(window)
    z = np.where(known, window, 0.0)
    days = known.astype(np.float64)
    squares = (z**2).T @ days
    scale = np.sqrt(squares * squares.T)
    enough = (days.T @ days >= LEAST_COMMON_DAYS) & (scale > 0.0)
    raw = np.divide(z.T @ z, scale, out=np.zeros_like(scale), where=enough)
    np.fill_diagonal(raw, 1.0)
    return nearest_correlation(raw)


def nearest_correlation(matrix: Float64Array) -> Float64Array:
    """Repair a symmetric matrix: negative eigenvalues to zero, then unit diagonal again.

    The spectral method of Rebonato and Jaeckel (1999). A matrix that is a correlation already is
    returned unchanged. Worked number: [[1, 1, 0], [1, 1, 1], [0, 1, 1]] has the eigenvalue
    1 - sqrt 2 < 0; repaired, the zero becomes (sqrt 2 - 1) / (sqrt 2 + 3) = 0.0938363.

    Parameters
    ----------
    matrix : float64 array of shape (n, n)
        Symmetric, unit diagonal, no NaN.
    """
    symmetric = 0.5 * (matrix + matrix.T)
    eigenvalues, vectors = np.linalg.eigh(symmetric)
    if eigenvalues[0] >= 0.0:
        return symmetric
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    repaired: Float64Array = root @ root.T
    np.fill_diagonal(repaired, 1.0)
    return repaired


def cholesky_factor(matrix: Float64Array, shrinkage: float = SHRINKAGE) -> Float64Array:
    """Lower triangular L with L L' = (1 - shrinkage) matrix + shrinkage * identity.

    Shrinking toward the identity makes every eigenvalue at least `shrinkage`, so that the factor
    exists even where factors outnumber days. Worked number: correlation 1 between two factors and
    shrinkage 0.1 give L[1, 0] = 0.9 and L[1, 1] = sqrt(1 - 0.81) = 0.4358899.

    Parameters
    ----------
    matrix : float64 array of shape (n, n)
        A correlation, positive semi-definite.
    shrinkage : float
        In (0, 1].

    Raises
    ------
    ValueError
        When `shrinkage` is outside (0, 1].
    """
    if not 0.0 < shrinkage <= 1.0:
        raise ValueError(f"shrinkage {shrinkage} is not in (0, 1]; use for example {SHRINKAGE}")
    shrunk = (1.0 - shrinkage) * matrix + shrinkage * np.eye(len(matrix))
    return np.asarray(np.linalg.cholesky(shrunk), dtype=np.float64)


def factor_loadings(matrix: Float64Array, n_common: int = 5) -> FactorLoadings:
    """Split a correlation into `n_common` principal components and specific parts.

    A draw then costs n * (n_common + 1) products instead of n^2 / 2. Rows whose common variance
    would leave less than `LEAST_SPECIFIC_VARIANCE` are scaled down, so that the implied matrix is
    a positive definite correlation. Signs are fixed: the largest loading of a component is
    positive.

    Parameters
    ----------
    matrix : float64 array of shape (n, n)
        A correlation.
    n_common : int
        1 to n.

    Raises
    ------
    ValueError
        When `n_common` is outside 1 to n.

    Notes
    -----
    Worked number: correlation 0.5 between two factors and one component give loadings
    sqrt(0.75) = 0.8660254 and specific parts 0.5.
    """
    if not 1 <= n_common <= len(matrix):
        raise ValueError(f"n_common {n_common} is not between 1 and {len(matrix)}")
    eigenvalues, vectors = np.linalg.eigh(matrix)
    largest = np.argsort(-eigenvalues, kind="stable")[:n_common]
    common = vectors[:, largest] * np.sqrt(np.maximum(eigenvalues[largest], 0.0))
    peak = common[np.argmax(np.abs(common), axis=0), np.arange(n_common)]
    common = common * np.where(peak < 0.0, -1.0, 1.0)
    variance = np.sum(common**2, axis=1)
    most = 1.0 - LEAST_SPECIFIC_VARIANCE
    shrink = np.sqrt(np.where(variance > most, most / np.maximum(variance, most), 1.0))
    common = common * shrink[:, None]
    return FactorLoadings(common, np.sqrt(1.0 - np.sum(common**2, axis=1)))
