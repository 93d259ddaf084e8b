"""Closed-form delta, gamma and vega of one unit of each instrument, in return units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Instruments
from engine.domain.market import MarketState
from engine.pricing.black import OptionGreeks, bachelier_greeks, black_greeks
from engine.pricing.terms import (
    OptionTerms,
    check_terms,
    curve_terms,
    is_log,
    linear_terms,
    option_terms,
)


@dataclass(frozen=True)
class Greeks:
    """Derivatives of the value of one unit, instrument currency, shape (n_instruments,).

    `delta` is per 1.0 of log return (log factors) or per one unit of level (absolute factors),
    `gamma` the second derivative in the same move, `vega` per 1.0 absolute change of the quoted
    implied volatility (zero for instruments that are not options).
    """

    delta: Float64Array
    gamma: Float64Array
    vega: Float64Array


def _model_greeks(black: OptionTerms, bachelier: OptionTerms) -> tuple[OptionGreeks, OptionGreeks]:
    return (
        black_greeks(black.level, black.strike, black.model_vol, black.years, black.sign),
        bachelier_greeks(
            bachelier.level,
            bachelier.strike,
            bachelier.model_vol,
            bachelier.years,
            bachelier.sign,
        ),
    )


def level_greeks(instruments: Instruments, market: MarketState) -> Greeks:
    """Return the greeks with delta and gamma per one unit of the factor's level, whatever its type.

    Arguments, units and errors as `factor_greeks`.
    """
    check_terms(instruments, market)
    delta, gamma, vega = (np.zeros(len(instruments)) for _ in range(3))
    linear = linear_terms(instruments)
    delta[linear.row] = linear.slope
    for curve in curve_terms(instruments):
        level = market.level[curve.factor]
        parts = curve.derivatives(level, curve.fixed_rate, curve.tenor_years)
        delta[curve.row] = curve.unit * parts.first
        gamma[curve.row] = curve.unit * parts.second
    black, bachelier = option_terms(instruments, market)
    black_part, bachelier_part = _model_greeks(black, bachelier)
    # A Bachelier option's volatility is vol * |level today|: the chain rule for the quoted vol.
    chains = (np.ones(len(black.row)), np.abs(bachelier.level))
    for terms, greeks, chain in zip(
        (black, bachelier), (black_part, bachelier_part), chains, strict=True
    ):
        delta[terms.row] = terms.multiplier * greeks.delta
        gamma[terms.row] = terms.multiplier * greeks.gamma
        vega[terms.row] = terms.multiplier * greeks.vega * chain
    return Greeks(delta, gamma, vega)


def factor_greeks(instruments: Instruments, market: MarketState) -> Greeks:
    """Return delta, gamma and vega of one unit of each instrument in moves of its factor.

    Parameters
    ----------
    instruments : Instruments
        n_instruments rows, each with a factor of the market.
    market : MarketState
        Levels and return types.

    Returns
    -------
    Greeks
        Instrument currency. For a log factor F*V' and F*F*V'' + F*V', for an absolute one V' and
        V''. A Black call, F = K = 100, vol 0.2, one year, multiplier 1: delta 53.9827837277029,
        vega 39.69525474770118.

    Raises
    ------
    ValueError
        Naming the instruments that cannot be priced (`engine.pricing.terms.check_terms`).
    """
    greeks = level_greeks(instruments, market)
    log, level = is_log(market)[instruments.factor], market.level[instruments.factor]
    slope = np.where(log, level, 1.0)
    drift = np.where(log, level * greeks.delta, 0.0)
    return Greeks(slope * greeks.delta, slope**2 * greeks.gamma + drift, greeks.vega)
