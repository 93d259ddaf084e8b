"""Value of one unit of each instrument today."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Instruments
from engine.domain.market import MarketState
from engine.pricing.black import bachelier_price, black_price
from engine.pricing.terms import (
    OptionTerms,
    check_terms,
    curve_terms,
    linear_terms,
    option_terms,
)


def premiums(black: OptionTerms, bachelier: OptionTerms) -> tuple[Float64Array, Float64Array]:
    """Return the premium of each Black and each Bachelier option, without multiplier."""
    return (
        black_price(black.level, black.strike, black.model_vol, black.years, black.sign),
        bachelier_price(
            bachelier.level,
            bachelier.strike,
            bachelier.model_vol,
            bachelier.years,
            bachelier.sign,
        ),
    )


def value_per_unit(instruments: Instruments, market: MarketState) -> Float64Array:
    """Return the value of one unit of each instrument at `market.level`.

    Parameters
    ----------
    instruments : Instruments
        n_instruments rows, each with a factor of the market.
    market : MarketState
        Levels in the units of `FactorTable.unit`; rates, yields and spreads in per cent.

    Returns
    -------
    float64 array of shape (n_instruments,)
        Currency of each instrument, by the table of `engine.domain.book.Instruments`. No NaN.
        A swap paying 3 % for 10 years at 4 % on a multiplier of 1e6 is worth 81,108.96.

    Raises
    ------
    ValueError
        Naming the instruments that cannot be priced (`engine.pricing.terms.check_terms`).
    """
    check_terms(instruments, market)
    value = np.empty(len(instruments))
    linear = linear_terms(instruments)
    value[linear.row] = linear.intercept + linear.slope * market.level[linear.factor]
    for curve in curve_terms(instruments):
        level = market.level[curve.factor]
        value[curve.row] = curve.unit * curve.price(level, curve.fixed_rate, curve.tenor_years)
    options = option_terms(instruments, market)
    for terms, premium in zip(options, premiums(*options), strict=True):
        value[terms.row] = terms.multiplier * premium
    return value
