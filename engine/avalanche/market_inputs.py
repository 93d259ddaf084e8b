"""The factors of a run and their joint daily moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.exposures import Exposures
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.market import MarketState
from engine.market.covariance import cholesky_factor, correlation
from engine.market.volatility import daily_volatility


@dataclass(frozen=True)
class MarketInputs:
    """The factors a run simulates, the lead factor first, and their joint daily moves.

    Attributes
    ----------
    columns : int64 array of shape (K,)
        Column of each simulated factor in the market.
    daily_volatility : float64 array of shape (K,)
        Standard deviation of a day's move, floors applied.
    correlation : float64 array of shape (K, K)
        Positive definite.
    """

    columns: Int64Array
    daily_volatility: Float64Array
    correlation: Float64Array


def simulated_factors(market: MarketState, exposures: Exposures) -> StrArray:
    """Return ids of the factors to simulate: those exposed, and the lead factor first.

    The lead factor drives leverage of volatility: the first equity factor of the market, or the
    first factor if there is none.
    """
    used = np.any(exposures.delta != 0, axis=0) | np.any(exposures.gamma != 0, axis=0)
    equity = np.nonzero(market.factors.asset_class == "equity")[0]
    lead = int(equity[0]) if len(equity) else 0
    order = [lead, *[int(k) for k in np.nonzero(used)[0] if k != lead]]
    return np.array([market.factors.factor_id[k] for k in order], dtype=object)


def estimate_inputs(
    market: MarketState, factor_ids: StrArray, config: AvalancheConfig
) -> MarketInputs:
    """Select factors and estimate their daily volatility and correlation."""
    column = market.index()
    columns = np.array([column[name] for name in factor_ids], dtype=np.int64)
    matrix = correlation(market, config.correlation_lookback_days)[np.ix_(columns, columns)]
    lower = cholesky_factor(matrix)
    return MarketInputs(columns, daily_volatility(market)[columns], lower @ lower.T)
