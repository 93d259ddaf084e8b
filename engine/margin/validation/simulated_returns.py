"""Daily returns of known laws from a seed: what a margin model is tested on when truth is known."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError

Law = Literal["iid_t5", "garch", "garch_break"]
LAWS: tuple[str, ...] = get_args(Law)
DEGREES_OF_FREEDOM = 5
# Variance of day t: OMEGA + ALPHA * r[t-1]**2 + BETA * variance of t - 1; its mean is 1.
OMEGA, ALPHA, BETA = 0.02, 0.08, 0.90
BREAK_EVERY_DAYS = 1250
BREAK_MULTIPLE = 4.0


def simulated_returns(law: Law, n_days: int, seed: int) -> Float64Array:
    """Draw returns of mean 0 and variance 1, shape (n_days,).

    `iid_t5`: independent Student t with 5 degrees of freedom. `garch`: GARCH(1,1) with persistence
    0.98 and the same shocks (Bollerslev 1986). `garch_break`: the same, times 4 in every second
    stretch of 1,250 days; its variance is 1 in the other stretches.

    Parameters
    ----------
    seed : int
        Of `numpy.random.Philox`; the same seed gives the same shocks to every law.
    """
    if law not in LAWS:
        raise InputError(f"law is {law!r}; use one of {', '.join(LAWS)}")
    rng = np.random.Generator(np.random.Philox(seed))
    v = DEGREES_OF_FREEDOM
    shock = rng.standard_t(v, n_days) * math.sqrt((v - 2) / v)
    if law == "iid_t5":
        return shock
    out = np.empty(n_days)
    variance = 1.0
    for t in range(n_days):
        out[t] = math.sqrt(variance) * shock[t]
        variance = OMEGA + ALPHA * out[t] ** 2 + BETA * variance
    if law == "garch_break":
        wild = (np.arange(n_days) // BREAK_EVERY_DAYS) % 2 == 1
        out[wild] *= BREAK_MULTIPLE
    return out
