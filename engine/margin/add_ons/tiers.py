"""Tier table: margin times a multiplier that steps up with the size of a position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array


def tier_multiplier(
    ratio: npt.ArrayLike, thresholds: Sequence[float], multipliers: Sequence[float]
) -> Float64Array:
    """Return the multiplier of each size, given as a multiple of the threshold size.

    Below the first threshold it is 1; from threshold i on it is multiplier i. It jumps: a position
    at a threshold has the higher one. NaN gives NaN.

    Parameters
    ----------
    ratio : array_like of any shape
        Size over the size at which charging begins, not negative.
    thresholds, multipliers : sequences of equal length
        Thresholds rising; multipliers from 1 up, not falling (`engine.rulebooks.add_on_terms`
        checks them).

    Examples
    --------
    Thresholds 1, 2, 4 and multipliers 1.1, 1.2, 1.4: sizes 0.5, 1, 3, 9 give 1, 1.1, 1.2, 1.4.
    """
    size = np.asarray(ratio, dtype=np.float64)
    steps = np.concatenate([[1.0], np.asarray(multipliers, dtype=np.float64)])
    at = np.searchsorted(np.asarray(thresholds, dtype=np.float64), size, side="right")
    return np.where(np.isnan(size), np.nan, steps[at])
