"""A square root of the correlation whose first columns are the directions that matter most.

Low-discrepancy points are good in their first few coordinates only, so the first normals must
carry as much of what is measured as they can. The other columns stay triangular: the kernel's
sparse product then costs about half of a full matrix.
"""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError

# Eigenvalues below this share of the largest are rounding: negative ones are set to zero.
ROUNDING_SHARE = 1e-10
# Directions the exposures do not see are ordered by plain variance, far behind those they see.
UNSEEN_WEIGHT = 1e-9


def leading_factor(
    correlation: Float64Array, leading: int, exposure: Float64Array | None = None
) -> Float64Array:
    """Return A with A A' = correlation, its first columns the leading directions.

    With F F' = C and W = X'X (X the exposures, the identity if None), the directions u_1 .. u_q are
    the leading eigenvectors of F' W F: they explain most of sum over agreements of the variance
    of P&L. A = [F u_1 .. F u_q, L] with L L' = F (I - U U') F' lower-trapezoidal, from an LQ
    decomposition. Without exposures the first columns are V_q sqrt(Lambda_q), the principal
    components of C (Acworth, Broadie and Glasserman, "A comparison of some Monte Carlo and quasi
    Monte Carlo techniques for option pricing", 1998).

    Parameters
    ----------
    correlation : float64 array (K, K)
        Symmetric, positive semidefinite; NaN is refused. A covariance works as well.
    leading : int
        q, the number of leading columns, 0 to K.
    exposure : float64 array (R, K), optional
        P&L of each agreement for one standard deviation of each factor, in any unit.

    Returns
    -------
    float64 array (K, K)
        Column j of the last K - q has zeros in its first j rows. The sign of a leading
        column makes a positive score a gain of the agreements together or, without exposures,
        its largest entry positive; the rest have a nonnegative diagonal.

    Raises
    ------
    InputError
        If the matrix is not symmetric and positive semidefinite, or `leading` is out of range.

    Notes
    -----
    For correlation 0.5 between two factors, the first column is (sqrt(0.75), sqrt(0.75)) =
    (0.8660, 0.8660) and the second (0.5, -0.5).
    """
    values, vectors = _eigen(correlation)
    factors = len(values)
    if not 0 <= leading <= factors:
        raise InputError(
            f"leading directions {leading} of {factors} factors: give a number from 0 to {factors}"
        )
    root = vectors * np.sqrt(values)
    directions = _directions(root, exposure)
    first = root @ directions[:, :leading]
    rest = _trapezoid(root @ directions[:, leading:])
    return np.hstack([_signed(first, exposure), rest])


def _eigen(matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Eigenvalues, largest first, and eigenvectors of a symmetric positive semidefinite matrix."""
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not square or not np.all(np.isfinite(matrix)) or not np.allclose(matrix, matrix.T):
        raise InputError(
            f"correlation of shape {matrix.shape} is not a symmetric matrix of finite numbers: "
            "check the factor history"
        )
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    values, vectors = values[::-1], vectors[:, ::-1]
    if len(values) and values[-1] < -ROUNDING_SHARE * values[0]:
        raise InputError(
            f"correlation has the negative eigenvalue {values[-1]:.3g}: it is not a correlation; "
            "estimate it from days common to all factors or repair it"
        )
    return np.maximum(values, 0.0), vectors


def _directions(root: Float64Array, exposure: Float64Array | None) -> Float64Array:
    """Orthonormal directions in the space of the normals, most important first, (K, K)."""
    factors = len(root)
    if exposure is None or not np.any(exposure):
        return np.eye(factors)
    if exposure.ndim != 2 or exposure.shape[1] != factors or not np.all(np.isfinite(exposure)):
        raise InputError(
            f"exposure of shape {exposure.shape}: need finite numbers, one column for each of the "
            f"{factors} factors"
        )
    seen = exposure @ root
    weight = seen.T @ seen
    weight += UNSEEN_WEIGHT * np.trace(weight) * (root.T @ root) / np.sum(root**2)
    _, vectors = np.linalg.eigh(0.5 * (weight + weight.T))
    return np.asarray(vectors[:, ::-1])


def _trapezoid(columns: Float64Array) -> Float64Array:
    """Lower-trapezoidal L with L L' = columns columns', diagonal nonnegative."""
    if columns.shape[1] == 0:
        return columns
    upper: Float64Array = np.asarray(np.linalg.qr(columns.T, mode="r"))
    lower = np.tril(upper.T)
    sign = np.where(np.diagonal(lower) < 0.0, -1.0, 1.0)
    return np.asarray(lower * sign)


def _signed(columns: Float64Array, exposure: Float64Array | None) -> Float64Array:
    """Columns with a sign of their own, since eigenvectors have none."""
    if columns.shape[1] == 0:
        return columns
    largest = np.argmax(np.abs(columns), axis=0)
    sense = columns[largest, np.arange(columns.shape[1])]
    if exposure is not None and np.any(exposure):
        sense = (exposure @ columns).sum(axis=0)
    return np.asarray(columns * np.where(sense < 0.0, -1.0, 1.0))
