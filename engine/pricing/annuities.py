"""Swap, credit default swap and bond values as closed forms of one flat yield or spread.

Yields, spreads, coupons and fixed rates of instruments are in per cent (4.25 means 4.25 %), the
arguments of the annuities are decimals; tenors are in years. All arguments broadcast against each
other; NaN in gives NaN out. Each product has a value function and a `_curve` function that adds
the first and second derivative.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array

# Loss given default of senior unsecured debt is quoted as 60 % in the ISDA CDS Standard Model
# (standard North American and European corporate contracts, conventions of April 2009).
CDS_RECOVERY = 0.40

PER_CENT = 100.0

# Within this distance of zero the closed forms of the derivatives divide cancelling differences
# by the square of a small number; the power series is exact there, and 20 terms reach 1e-19.
_SERIES_RADIUS = 0.1
_SERIES_TERMS = 20


class Curve(NamedTuple):
    """A value, and its first and second derivative with respect to the level."""

    value: Float64Array
    first: Float64Array
    second: Float64Array


def _floats(*values: npt.ArrayLike) -> tuple[Float64Array, ...]:
    return tuple(np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in values)))


def _log_growth(y: Float64Array) -> Float64Array:
    """Return log(1 + y); a yield of -100 % or less raises ValueError."""
    if np.any(y <= -1.0):
        raise ValueError(
            f"a yield of {PER_CENT * float(np.min(y)):g} % has no discount factor; "
            "yields must stay above -100 %"
        )
    growth: Float64Array = np.log1p(y)
    return growth


def _power_series(x: Float64Array, coefficients: list[Float64Array]) -> Curve:
    """Sum coefficients[k] * x**k and its first two derivatives, by Horner's rule."""
    value, first, second = (np.zeros_like(x) for _ in range(3))
    for coefficient in reversed(coefficients):
        second = second * x + 2.0 * first
        first = first * x + value
        value = value * x + coefficient
    return Curve(value, first, second)


def annuity(decimal_yield: npt.ArrayLike, tenor_years: npt.ArrayLike) -> Float64Array:
    """Return the value of 1 a year for `tenor_years` at a flat annually compounded yield.

    Parameters
    ----------
    decimal_yield : array_like
        Decimal (0.04), above -1; zero and negative yields are allowed.
    tenor_years : array_like
        Positive. A broken tenor interpolates the same formula.

    Returns
    -------
    float64 array, broadcast shape
        `annuity(0.04, 10)` is 8.110895779355; at yield 0 the value is the tenor.

    Raises
    ------
    ValueError
        If a yield is -100 % or less.

    Notes
    -----
    (1 - (1+y)**-T)/y, textbook (for example Hull, Options, Futures, and Other Derivatives).
    """
    y, tenor = _floats(decimal_yield, tenor_years)
    zero = y == 0.0
    value: Float64Array = -np.expm1(-tenor * _log_growth(y)) / np.where(zero, 1.0, y)
    return np.where(zero, tenor, value)


def annuity_curve(decimal_yield: npt.ArrayLike, tenor_years: npt.ArrayLike) -> Curve:
    """Return `annuity` with its derivatives with respect to the decimal yield.

    `annuity_curve(0, 10)` is (10, -55, 440): T, -T(T+1)/2, T(T+1)(T+2)/3.
    """
    y, tenor = _floats(decimal_yield, tenor_years)
    near = np.abs(y) * (tenor + 1.0) < _SERIES_RADIUS
    far = np.where(near, 1.0, y)
    discount = np.exp(-tenor * _log_growth(far))
    value = annuity(y, tenor)
    first = (tenor * discount / (1.0 + far) - value) / far
    second = -(tenor * (tenor + 1.0) * discount / (1.0 + far) ** 2 + 2.0 * first) / far
    # (-1)^k T(T+1)...(T+k)/(k+1)!: the binomial series of (1+y)**-T.
    coefficients = [tenor]
    for k in range(_SERIES_TERMS):
        coefficients.append(-coefficients[-1] * (tenor + k + 1.0) / (k + 2.0))
    series = _power_series(np.where(near, y, 0.0), coefficients)
    return Curve(value, np.where(near, series.first, first), np.where(near, series.second, second))


def _mean_discount(x: Float64Array) -> Float64Array:
    """Return (1 - exp(-x))/x, 1 at x = 0."""
    zero = x == 0.0
    return np.where(zero, 1.0, -np.expm1(-x) / np.where(zero, 1.0, x))


def risky_annuity(decimal_spread: npt.ArrayLike, tenor_years: npt.ArrayLike) -> Float64Array:
    """Return the value of 1 a year, paid continuously until default or `tenor_years`.

    Parameters
    ----------
    decimal_spread : array_like
        Credit spread, decimal (0.01 is 100 bp). A negative one gives an annuity above the tenor.
    tenor_years : array_like
        Positive.

    Returns
    -------
    float64 array, broadcast shape
        `risky_annuity(0.01, 5)` is 4.797335122241.

    Notes
    -----
    Flat hazard h = spread/(1 - CDS_RECOVERY) (the credit triangle) and zero interest rates:
    integral of exp(-h*t) from 0 to T = (1 - exp(-h*T))/h.
    """
    spread, tenor = _floats(decimal_spread, tenor_years)
    return tenor * _mean_discount(spread * tenor / (1.0 - CDS_RECOVERY))


def risky_annuity_curve(decimal_spread: npt.ArrayLike, tenor_years: npt.ArrayLike) -> Curve:
    """Return `risky_annuity` with its derivatives with respect to the decimal spread.

    `risky_annuity_curve(0, 6)` is (6, -30, 200): T, -T**2/(2*0.6), T**3/(3*0.36).
    """
    spread, tenor = _floats(decimal_spread, tenor_years)
    unit = tenor / (1.0 - CDS_RECOVERY)
    x = spread * unit
    near = np.abs(x) < _SERIES_RADIUS
    far = np.where(near, 1.0, x)
    mean, discount = _mean_discount(far), np.exp(-far)
    first = (discount - mean) / far
    second = -(discount + 2.0 * first) / far
    coefficients = [np.float64(1.0)]
    for k in range(_SERIES_TERMS):
        coefficients.append(-coefficients[-1] / (k + 2.0))
    series = _power_series(np.where(near, x, 0.0), [np.asarray(c) for c in coefficients])
    return Curve(
        risky_annuity(spread, tenor),
        tenor * unit * np.where(near, series.first, first),
        tenor * unit**2 * np.where(near, series.second, second),
    )


def swap_value(
    rate: npt.ArrayLike, fixed_rate: npt.ArrayLike, tenor_years: npt.ArrayLike
) -> Float64Array:
    """Return the value of paying `fixed_rate` on a notional of 1, rates in per cent.

    (F - fixed)/100 * annuity(F/100, T): one flat annual curve projects and discounts.
    `swap_value(4, 3, 10)` is 0.08110895779355. Raises as `annuity`.
    """
    level, fixed, tenor = _floats(rate, fixed_rate, tenor_years)
    return (level - fixed) / PER_CENT * annuity(level / PER_CENT, tenor)


def swap_curve(rate: npt.ArrayLike, fixed_rate: npt.ArrayLike, tenor_years: npt.ArrayLike) -> Curve:
    """Return `swap_value` with its derivatives per percentage point of the rate.

    `swap_curve(4, 4, 10).first` is 0.08110895779355: at par, annuity / 100.
    """
    level, fixed, tenor = _floats(rate, fixed_rate, tenor_years)
    return _gap_times_annuity(level - fixed, annuity_curve(level / PER_CENT, tenor))


def cds_value(
    spread: npt.ArrayLike, fixed_rate: npt.ArrayLike, tenor_years: npt.ArrayLike
) -> Float64Array:
    """Return the value of bought protection on a notional of 1, spreads in per cent.

    (F - fixed)/100 * risky_annuity(F/100, T). `cds_value(1.5, 1, 5)` is 0.02350061948308.
    """
    level, fixed, tenor = _floats(spread, fixed_rate, tenor_years)
    return (level - fixed) / PER_CENT * risky_annuity(level / PER_CENT, tenor)


def cds_curve(
    spread: npt.ArrayLike, fixed_rate: npt.ArrayLike, tenor_years: npt.ArrayLike
) -> Curve:
    """Return `cds_value` with its derivatives per percentage point of the spread.

    `cds_curve(1, 1, 5).first` is 0.04797335122241: at par, risky annuity / 100.
    """
    level, fixed, tenor = _floats(spread, fixed_rate, tenor_years)
    return _gap_times_annuity(level - fixed, risky_annuity_curve(level / PER_CENT, tenor))


def _gap_times_annuity(gap: Float64Array, a: Curve) -> Curve:
    """Return gap/100 * a by the product rule, per percentage point of the common level."""
    first, second = a.first / PER_CENT, a.second / PER_CENT**2
    return Curve(
        gap / PER_CENT * a.value,
        (a.value + gap * first) / PER_CENT,
        (2.0 * first + gap * second) / PER_CENT,
    )


def bond_price(
    bond_yield: npt.ArrayLike, coupon: npt.ArrayLike, tenor_years: npt.ArrayLike
) -> Float64Array:
    """Return the price per 100 of face of an annual bond by its yield, both in per cent.

    coupon * annuity(y, T) + 100 * (1+y)**-T. `bond_price(4, 5, 10)` is 108.110895779355.
    Raises as `annuity`.
    """
    y, rate, tenor = _floats(bond_yield, coupon, tenor_years)
    # The face is 100 * (1 - y*annuity): one exponential less, equal to the formula above.
    decimal = y / PER_CENT
    return PER_CENT + (rate - y) * annuity(decimal, tenor)


def bond_curve(
    bond_yield: npt.ArrayLike, coupon: npt.ArrayLike, tenor_years: npt.ArrayLike
) -> Curve:
    """Return `bond_price` with its derivatives per percentage point of the yield.

    `bond_curve(0, 0, 10)` is (100, -10, 1.1): 100, -T, T(T+1)/100.
    """
    y, rate, tenor = _floats(bond_yield, coupon, tenor_years)
    swap = _gap_times_annuity(y - rate, annuity_curve(y / PER_CENT, tenor))
    return Curve(PER_CENT - PER_CENT * swap.value, -PER_CENT * swap.first, -PER_CENT * swap.second)
