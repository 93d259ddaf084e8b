"""Undiscounted Black-76 and Bachelier prices and greeks of European options, vectorised.

All arguments broadcast against each other. `sign` is +1 for a call and -1 for a put,
`years` the time to expiry. An option with no standard deviation left (expired, or volatility
zero) is worth its intrinsic value, has delta 0, 1/2 (exactly at the money) or 1, and no gamma,
vega or theta. NaN in gives NaN out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from engine.domain.arrays import Float64Array

_SQRT_2PI = float(np.sqrt(2.0 * np.pi))
# The density at 38 is 1e-314: nothing is left to square beyond it.
_MOST_DEVIATIONS = 38.0
# Smaller standard deviations count as zero, so that no quotient by one overflows.
_LEAST_DEVIATION = 1e-100


class OptionGreeks(NamedTuple):
    """Derivatives of a premium, each of the broadcast shape of the arguments.

    `delta`, `gamma` with respect to the forward, `vega` per 1.0 of volatility (in the model's own
    units), `theta` per year of passing time (negative: the premium decays).
    """

    delta: Float64Array
    gamma: Float64Array
    vega: Float64Array
    theta: Float64Array


def _density(d: Float64Array) -> Float64Array:
    capped = np.minimum(np.abs(d), _MOST_DEVIATIONS)
    density: Float64Array = np.exp(-0.5 * capped * capped) / _SQRT_2PI
    return density


def _deviation(vol: npt.ArrayLike, years: npt.ArrayLike) -> Float64Array:
    """Return vol * sqrt(years), 0 where nothing is left; a negative volatility raises."""
    sigma = np.asarray(vol, dtype=np.float64)
    if np.any(sigma < 0.0):
        raise ValueError(f"volatility {float(np.min(sigma)):g} is negative; give a decimal >= 0")
    deviation: Float64Array = sigma * np.sqrt(np.maximum(years, 0.0))
    return np.where(deviation < _LEAST_DEVIATION, 0.0, deviation)


def _standardised(distance: Float64Array, deviation: Float64Array) -> Float64Array:
    """Return distance/deviation, with its limit (-inf, 0 or inf) where the deviation is zero."""
    limit = np.where(distance > 0.0, np.inf, np.where(distance < 0.0, -np.inf, 0.0))
    limit = np.where(np.isnan(distance), np.nan, limit)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(deviation == 0.0, limit, distance / deviation)


def _d1_d2(
    forward: Float64Array, strike: Float64Array, deviation: Float64Array
) -> tuple[Float64Array, Float64Array]:
    if np.any(forward <= 0.0) or np.any(strike <= 0.0):
        least = min(float(np.min(forward)), float(np.min(strike)))
        raise ValueError(
            f"Black-76 needs positive forwards and strikes, got {least:g}; "
            "price options on levels that may be zero or negative with Bachelier"
        )
    middle = _standardised(np.log(forward / strike), deviation)
    return middle + 0.5 * deviation, middle - 0.5 * deviation


def black_price(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    vol: npt.ArrayLike,
    years: npt.ArrayLike,
    sign: npt.ArrayLike,
) -> Float64Array:
    """Return the undiscounted Black-76 premium.

    Parameters
    ----------
    forward, strike : array_like
        Positive, same unit.
    vol : array_like
        Lognormal volatility per square root of a year, decimal, >= 0.
    years : array_like
        Time to expiry; zero or less means expired.
    sign : array_like
        +1 call, -1 put.

    Returns
    -------
    float64 array
        Premium in the unit of the forward. `black_price(100, 100, 0.2, 1, 1)` is
        7.965567455405804.

    Raises
    ------
    ValueError
        If a forward or strike is not positive or a volatility is negative.

    Notes
    -----
    Black (1976): w*(F*Phi(w*d1) - K*Phi(w*d2)), d1,2 = ln(F/K)/s +- s/2, s = vol*sqrt(T).
    """
    f, k, w = (np.asarray(x, dtype=np.float64) for x in (forward, strike, sign))
    d1, d2 = _d1_d2(f, k, _deviation(vol, years))
    # The difference of two nearly equal terms can round to just below zero.
    price: Float64Array = np.maximum(w * (f * ndtr(w * d1) - k * ndtr(w * d2)), 0.0)
    return price


def black_greeks(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    vol: npt.ArrayLike,
    years: npt.ArrayLike,
    sign: npt.ArrayLike,
) -> OptionGreeks:
    """Return delta, gamma, vega and theta of the premium of `black_price` (same arguments).

    `black_greeks(100, 100, 0.2, 1, 1)`: delta 0.539827837277029, vega 39.69525474770118.
    """
    f, k, sigma, w = (np.asarray(x, dtype=np.float64) for x in (forward, strike, vol, sign))
    left = np.maximum(np.asarray(years, dtype=np.float64), 0.0)
    deviation = _deviation(sigma, left)
    d1, _ = _d1_d2(f, k, deviation)
    live = deviation > 0.0
    density = np.where(live, _density(d1), 0.0)
    safe = np.where(live, deviation, 1.0)
    root = np.sqrt(left)
    return OptionGreeks(
        delta=w * ndtr(w * d1),
        gamma=density / (f * safe),
        vega=f * density * root,
        theta=-0.5 * f * density * sigma / np.where(live, root, 1.0),
    )


def bachelier_price(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    normal_vol: npt.ArrayLike,
    years: npt.ArrayLike,
    sign: npt.ArrayLike,
) -> Float64Array:
    """Return the undiscounted Bachelier premium; forward and strike may have any sign.

    As `black_price`, with `normal_vol` in units of the forward per square root of a year.
    `bachelier_price(0, 0, 1, 1, 1)` is 0.3989422804014327.

    Notes
    -----
    Bachelier (1900): D*Phi(D/s) + s*phi(D/s), D = w*(F - K), s = normal_vol*sqrt(T).
    """
    f, k, w = (np.asarray(x, dtype=np.float64) for x in (forward, strike, sign))
    deviation = _deviation(normal_vol, years)
    gain = w * (f - k)
    d = _standardised(gain, deviation)
    price: Float64Array = np.maximum(gain * ndtr(d) + deviation * _density(d), 0.0)
    return price


def bachelier_greeks(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    normal_vol: npt.ArrayLike,
    years: npt.ArrayLike,
    sign: npt.ArrayLike,
) -> OptionGreeks:
    """Return delta, gamma, vega and theta of `bachelier_price`; vega per 1.0 of normal vol.

    `bachelier_greeks(0, 0, 1, 1, 1)`: delta 0.5, gamma and vega 0.3989422804014327, theta half
    of that and negative.
    """
    f, k, sigma, w = (np.asarray(x, dtype=np.float64) for x in (forward, strike, normal_vol, sign))
    left = np.maximum(np.asarray(years, dtype=np.float64), 0.0)
    deviation = _deviation(sigma, left)
    d = _standardised(w * (f - k), deviation)
    live = deviation > 0.0
    density = np.where(live, _density(d), 0.0)
    root = np.sqrt(left)
    return OptionGreeks(
        delta=w * ndtr(d),
        gamma=density / np.where(live, deviation, 1.0),
        vega=density * root,
        theta=-0.5 * density * sigma / np.where(live, root, 1.0),
    )
