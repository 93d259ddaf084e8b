"""Branching between several funds: the matrix form of the closed form for one.

K_ij is the cash called from fund i when fund j raises 1 by forced sales. All calls that first calls
c0 lead to are (I - K)^-1 c0, finite while the spectral radius of K is below 1. For one fund this is
`engine.avalanche.branching.total_calls`. Compare Cont and Schaanning, "Fire sales, indirect
contagion and systemic stress testing" (2017).
"""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array


def branching_matrix(
    exposure: Float64Array, impact: Float64Array, sale: Float64Array
) -> Float64Array:
    """Return K, K_ij = sum over k of X_ik lambda_k a_jk, shape (N, N).

    Parameters
    ----------
    exposure : float64 array (N, K), finite
        What fund i loses per unit of relative fall of asset k, IM sensitivity included if wanted.
    impact : float64 array (K,), finite
        Relative fall of asset k per unit of volume sold.
    sale : float64 array (N, K), finite
        Volume of asset k that fund j sells to raise 1.

    Raises
    ------
    ValueError
        If shapes do not fit or a number is not finite.

    Notes
    -----
    Two funds with margin of 10 %, exposures 30 and 20 of one asset, impact 0.001: selling 10 raises
    1 and lowers the price by 1 %, so K = [[0.3, 0.3], [0.2, 0.2]] and its spectral radius is 0.5:
    the same as one fund of 50.
    """
    if exposure.shape != sale.shape or impact.shape != exposure.shape[1:]:
        raise ValueError(
            f"exposure {exposure.shape}, impact {impact.shape} and sale {sale.shape} do not fit; "
            "give (N, K), (K,) and (N, K)"
        )
    if not all(np.all(np.isfinite(array)) for array in (exposure, impact, sale)):
        raise ValueError("exposure, impact or sale has a value that is not finite; give numbers")
    return np.asarray((exposure * impact) @ sale.T, dtype=np.float64)


def spectral_radius(matrix: Float64Array) -> float:
    """Return the largest absolute eigenvalue; 1 and above is critical.

    `spectral_radius([[0.3, 0.3], [0.2, 0.2]])` is 0.5.
    """
    return float(np.max(np.abs(np.linalg.eigvals(matrix))))


def amplified_calls(
    matrix: Float64Array, first: Float64Array, rounds: int | None = None
) -> Float64Array:
    """Return all calls of each fund caused by the calls `first`, shape (N,).

    (I - K)^-1 c0 without end, sum of K^n c0 over n = 0..`rounds` otherwise. With K = [[0.9]] and
    `first` 1: 10, and 6.86189 after 10 rounds.

    Raises
    ------
    ValueError
        If shapes do not fit, or without end the spectral radius is 1 or more: the sum diverges.
    """
    if matrix.shape != (len(first), len(first)):
        raise ValueError(f"matrix {matrix.shape} does not fit {len(first)} first calls")
    if rounds is None:
        radius = spectral_radius(matrix)
        if radius >= 1.0:
            raise ValueError(f"spectral radius {radius:g} >= 1: calls have no finite total")
        return np.asarray(np.linalg.solve(np.eye(len(first)) - matrix, first))
    total, term = np.array(first, dtype=np.float64), np.array(first, dtype=np.float64)
    for _ in range(rounds):
        term = matrix @ term
        total += term
    return total


def liquidity_overlap(holding: Float64Array, depth: Float64Array) -> Float64Array:
    """Return Omega_ij = sum over k of X_ik X_jk / D_k, shape (N, N).

    What fund i loses when fund j sells everything, where selling D_k of asset k would take all of
    its price (Cont and Schaanning 2017). Holdings (10, 0) and (5, 4) with depths (100, 50) overlap
    by 0.5; the second with itself by 0.57.

    Parameters
    ----------
    holding : float64 array (N, K)
    depth : float64 array (K,), above 0

    Raises
    ------
    ValueError
        If a depth is not above 0.
    """
    if not np.all(depth > 0.0):
        raise ValueError(
            f"depth {float(np.min(depth)):g} is not above 0; give the depth of markets"
        )
    return np.asarray((holding / depth) @ holding.T, dtype=np.float64)
