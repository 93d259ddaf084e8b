"""Money that decides anything is int64 cents; the science around it is float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CENTS_PER_UNIT = 100
# float64 holds every integer up to 2**53 exactly: beyond this a cent could be lost.
MAX_EXACT_CENTS = 2**53


def to_cents(amount: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Round amounts in currency units to whole cents, half to even.

    Parameters
    ----------
    amount : array_like
        Currency units, any shape. NaN and infinities raise.

    Returns
    -------
    ndarray of int64, same shape
        Cents. `to_cents(12.345) == 1234`.

    Raises
    ------
    ValueError
        If a value is not finite or too large to be exact to the cent.
    """
    cents = np.rint(np.asarray(amount, dtype=np.float64) * CENTS_PER_UNIT)
    if not np.all(np.isfinite(cents)):
        raise ValueError("an amount is NaN or infinite; amounts of money must be finite")
    if np.any(np.abs(cents) > MAX_EXACT_CENTS):
        worst = float(np.max(np.abs(cents))) / CENTS_PER_UNIT
        raise ValueError(f"amount {worst:.6g} is too large to be exact to the cent")
    return cents.astype(np.int64)
