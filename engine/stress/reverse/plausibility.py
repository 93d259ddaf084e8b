"""How plausible a market move is, said in four ways, because each misleads alone.

The Mahalanobis distance D = sqrt(x' Sigma^-1 x) grows with the number of factors: the typical move
of K factors has D near sqrt(K). So D is shown with its tail probability in K dimensions, with the
probability of the half-space behind the move, and against the worst that has happened. Compare
Breuer, Jandacka, Rheinberger and Summer, "How to find plausible, severe, and useful stress
scenarios", International Journal of Central Banking 5(3), 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaincc, ndtr

from engine.domain.arrays import Float64Array


@dataclass(frozen=True)
class Plausibility:
    """Plausibility of one move.

    Attributes
    ----------
    distance : float
        D.
    dimension : int
        K: factors on which D is computed.
    tail_p : float
        P(chi-squared with K degrees of freedom > D^2): a normal move is this far out or farther,
        in any direction.
    half_space_p : float
        P(N(0, 1) > D): a normal move goes at least this far in the direction of the move. For a
        loss linear in the factors it is the probability of the target.
    times_worst_episode : float or None
        D over that of the worst episode given; None without one.
    worst_episode : str
        Its id; "" without one.
    episodes, episodes_farther : int
        Episodes given, and those of them that are farther than this move. One squeeze of a
        quiet factor can be farther than all the rest: read it with the multiple.
    """

    distance: float
    dimension: int
    tail_p: float
    half_space_p: float
    times_worst_episode: float | None = None
    worst_episode: str = ""
    episodes: int = 0
    episodes_farther: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready object."""
        return dict(vars(self))


def mahalanobis(moves: Float64Array, covariance: Float64Array) -> Float64Array:
    """D of each move.

    Parameters
    ----------
    moves : float64 array of shape (n, K)
        No NaN.
    covariance : float64 array of shape (K, K)
        Positive definite.

    Returns
    -------
    float64 array of shape (n,)
        Move (1, 1) under unit variances and correlation 0.5: sqrt(4 / 3) = 1.1547005.
    """
    lower = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(lower, moves.T)
    distance: Float64Array = np.linalg.norm(whitened, axis=0)
    return distance


def conditional_mean(
    known: Float64Array, rows: np.ndarray[Any, Any], covariance: Float64Array
) -> Float64Array:
    """Complete moves of some factors by the conditional mean of the others.

    x = Sigma[:, o] Sigma[o, o]^-1 x_o, for normal factors. D of the completed move over all
    factors equals D of `known` over its own: factors that are not named make no move less likely.

    Parameters
    ----------
    known : float64 array of shape (n, len(rows))
    rows : int array
        Factors they belong to.
    covariance : float64 array of shape (K, K)

    Returns
    -------
    float64 array of shape (n, K)
        With correlation 0.5 and variances 1 and 4, a move of 1 in the first factor: (1, 1).
    """
    own = covariance[np.ix_(rows, rows)]
    full: Float64Array = (covariance[:, rows] @ np.linalg.solve(own, known.T)).T
    return full


def plausibility(
    distance: float, dimension: int, episodes: Mapping[str, float] | None = None
) -> Plausibility:
    """Return the plausibility of a move at `distance` in `dimension` factors.

    `episodes` maps the ids of a library to their distances. Distance 3 in 2 dimensions has the
    probabilities exp(-4.5) = 0.0111090 and 0.0013499.

    Raises
    ------
    ValueError
        If the distance is negative or not finite, or the dimension below 1.
    """
    if not (np.isfinite(distance) and distance >= 0.0):
        raise ValueError(f"distance is {distance}; it must be finite and not negative")
    if dimension < 1:
        raise ValueError(f"dimension is {dimension}; it must be 1 or more")
    known = {name: far for name, far in (episodes or {}).items() if far > 0.0}
    worst = max(known, key=lambda name: known[name], default="")
    return Plausibility(
        distance=float(distance),
        dimension=dimension,
        tail_p=float(gammaincc(0.5 * dimension, 0.5 * distance * distance)),
        half_space_p=float(ndtr(-distance)),
        times_worst_episode=float(distance / known[worst]) if known else None,
        worst_episode=worst,
        episodes=len(known),
        episodes_farther=sum(far > distance for far in known.values()),
    )
