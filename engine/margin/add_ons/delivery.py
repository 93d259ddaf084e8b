"""Charge on positions that run into physical delivery."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array


def delivery_charge(
    notional_usd: npt.ArrayLike,
    days_left: npt.ArrayLike,
    rate: npt.ArrayLike,
    window_days: npt.ArrayLike,
) -> Float64Array:
    """Return rate * |notional| * ramp, ramp = (d + 1 - days left) / d within 0 to 1, elementwise.

    Nothing more than d business days before expiry, then in equal steps up to the full rate on the
    last day before it and after. NaN days left (no expiry given) are an error of the caller and
    give NaN.

    Examples
    --------
    10 million, 2 of 5 days left, rate 5 %: 0.05 * 10 million * 0.8 = 400,000; 6 days left: 0.
    """
    window = np.asarray(window_days, dtype=np.float64)
    ramp = np.clip((window + 1.0 - np.asarray(days_left)) / window, 0.0, 1.0)
    return np.asarray(np.asarray(rate) * np.abs(notional_usd) * ramp)
