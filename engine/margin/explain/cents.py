"""Splitting an amount into whole cents that sum to it exactly."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.money import CENTS_PER_UNIT


def split_cents(total_cents: int, parts: Float64Array) -> Int64Array:
    """Round `parts`, in currency units, to cents that sum to `total_cents` (largest remainder).

    Parameters
    ----------
    total_cents : int
    parts : float64 array of shape (n,)
        Signed; they must sum to the total up to rounding. No NaN.

    Returns
    -------
    int64 array of shape (n,)
        Each differs from its part by less than a cent. Equal remainders: the first gets the cent.

    Raises
    ------
    ValueError
        If the parts are not finite or do not sum to the total.

    Examples
    --------
    >>> split_cents(1000, np.array([10 / 3, 10 / 3, 10 / 3])).tolist()
    [334, 333, 333]
    """
    raw = parts * CENTS_PER_UNIT
    if not np.isfinite(raw).all():
        raise ValueError("a part is NaN or infinite; parts of an amount must be finite")
    # Noise of float sums must not turn a whole number of cents into the one below.
    near = np.rint(raw)
    whole = np.where(np.abs(raw - near) <= 1e-6 + 1e-12 * np.abs(raw), near, np.floor(raw))
    cents = whole.astype(np.int64)
    missing = int(total_cents) - int(cents.sum())
    if not -len(parts) <= missing <= len(parts):
        raise ValueError(
            f"parts sum to {raw.sum():.2f} cents, not to {total_cents}; they are not its parts"
        )
    remainder = raw - whole
    order = np.argsort(-remainder if missing > 0 else remainder, kind="stable")
    cents[order[: abs(missing)]] += 1 if missing > 0 else -1
    return cents
