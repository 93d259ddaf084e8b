"""Variation margin calls under a credit support annex (CSA)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError

# Half a cent: below it two amounts are the same money, and float noise must not cause a call.
SAME_MONEY = 0.005


def csa_requirement(
    exposure: npt.ArrayLike, threshold: npt.ArrayLike, independent_amount: npt.ArrayLike
) -> Float64Array:
    """Collateral the fund must have posted (positive) or may hold (negative), before MTA.

    required = max(0, E + IA - T) - max(0, -E - IA - T): the Credit Support Amount of the ISDA CSA
    (New York law, 1994, paragraph 3). The independent amount IA of the fund is added to what it
    owes before the threshold T, which protects both sides. Arrays broadcast.

    Exposure 900,000, independent amount 250,000 and threshold 1,000,000 require 150,000.
    """
    e = np.asarray(exposure, dtype=np.float64) + np.asarray(independent_amount, dtype=np.float64)
    t = np.asarray(threshold, dtype=np.float64)
    return np.asarray(np.maximum(0.0, e - t) - np.maximum(0.0, -e - t))


def csa_call(
    exposure: npt.ArrayLike,
    threshold: npt.ArrayLike,
    mta: npt.ArrayLike,
    rounding: npt.ArrayLike,
    independent_amount: npt.ArrayLike,
    held: npt.ArrayLike,
) -> Float64Array:
    """Collateral that moves today: positive is paid by the fund, negative is received.

    Each party's credit support is settled on its own, as in paragraphs 3 and 4 of the ISDA CSA
    (New York law, 1994): what a party must have posted is compared with what it has posted. A
    shortfall of at least the MTA is delivered, rounded up; an excess of at least the MTA is
    returned, rounded down, or in full where it is now the other party that must post (one signed
    balance cannot hold collateral of both). So after payment no call is left.

    Parameters
    ----------
    exposure : array_like
        What the fund owes if the trades were closed out now (minus their value to the fund).
    threshold, mta, rounding, independent_amount : array_like
        Terms of the CSA, not negative; rounding 0 is none.
    held : array_like
        Posted by the fund (positive) or by the counterparty (negative) before the call.
        All arguments in one currency; they broadcast.

    Returns
    -------
    float64 array
        The broadcast shape; multiples of `rounding` where it is above 0.

    Raises
    ------
    InputError
        If a value is not finite or a term is negative.

    Examples
    --------
    Exposure 1,234,567, threshold 1,000,000, MTA 100,000, rounding 10,000, nothing held:
    234,567 is required, at least the MTA, and 240,000 is paid.
    """
    names = ("exposure", "threshold", "mta", "rounding", "independent_amount", "held")
    given = (exposure, threshold, mta, rounding, independent_amount, held)
    arrays = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in given))
    for name, array in zip(names, arrays, strict=True):
        _check(name, array, signed=name in ("exposure", "held"))
    e, t, least, step, ia, balance = arrays
    required = csa_requirement(e, t, ia)
    fund = _move(required, np.maximum(balance, 0.0), least, step)
    other = _move(-required, np.maximum(-balance, 0.0), least, step)
    return np.asarray(fund - other)


def _move(
    required: Float64Array, posted: Float64Array, mta: Float64Array, rounding: Float64Array
) -> Float64Array:
    """Amount one party delivers (positive) or gets back (negative); `required` < 0: the other."""
    gap = np.maximum(required, 0.0) - posted
    due = (np.abs(gap) >= mta - SAME_MONEY) & (np.abs(gap) > SAME_MONEY)
    step = np.where(rounding > 0.0, rounding, 1.0)
    # The tolerance keeps an exact multiple from being rounded up once more by float noise.
    up = np.ceil(gap / step - SAME_MONEY / step) * step
    down = -np.floor(-gap / step + SAME_MONEY / step) * step
    rounded = np.where(gap > 0.0, up, down)
    exact = (rounding <= 0.0) | (required < -SAME_MONEY)
    return np.asarray(np.where(due, np.where(exact, gap, rounded), 0.0))


def _check(name: str, array: Float64Array, *, signed: bool) -> None:
    bad = ~np.isfinite(array) | (False if signed else array < 0.0)
    if bad.any():
        position = int(np.flatnonzero(bad.ravel())[0])
        value = float(array.ravel()[position])
        rule = "finite" if signed else "finite and not negative"
        raise InputError(f"{name} is {value:g} at position {position}; it must be {rule}")
