"""Volatility of tomorrow and residuals of every factor, computed once per decay and lookback."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.market import MarketState
from engine.margin.historical import ewma_volatility
from engine.market.volatility import long_run_volatility


class FactorVolatility:
    """EWMA volatility of a market's factors; a decay of 1.0 switches the filter off.

    With the filter on, volatility is `ewma_volatility` over the whole history, as in the
    historical models. Off, it is the root mean square return of the lookback. Neither is below
    the factor's `daily_vol_floor`.
    """

    def __init__(self, market: MarketState, seed_days: int) -> None:
        self.market = market
        self.seed_days = seed_days
        self._paths: dict[float, Float64Array] = {}

    def tomorrow(self, ewma_lambda: float, lookback_days: int) -> Float64Array:
        """Return daily volatility of each factor, (n_factors,), units of its return.

        NaN for a factor without any return under a filter.
        """
        if ewma_lambda < 1.0:
            return np.asarray(self._path(ewma_lambda)[-1])
        return long_run_volatility(self.market, lookback_days)

    def residuals(self, ewma_lambda: float, lookback_days: int) -> Float64Array:
        """Return the last `lookback_days` returns over the volatility known the day before.

        Shape (n_days, n_factors); NaN where the return is. Off the filter: over the volatility
        of the lookback. A factor without volatility has residuals of zero.
        """
        returns = self.market.returns[-lookback_days:]
        if ewma_lambda < 1.0:
            sigma = self._path(ewma_lambda)[:-1][-lookback_days:]
        else:
            sigma = np.broadcast_to(self.tomorrow(1.0, lookback_days), returns.shape)
        still = np.where(np.isfinite(returns), 0.0, np.nan)
        return np.asarray(np.divide(returns, sigma, out=still, where=sigma > 0.0))

    def scale(self, ewma_lambda: float, scale: float, capped: bool) -> Float64Array:
        """Scale of each factor's moves under a volatility step, (n_factors,).

        It is `scale`; with `capped`, a factor that is a volatility itself is not taken beyond the
        highest volatility of its own history, as in the historical models.
        """
        out = np.full(len(self.market.factors), scale)
        if scale > 1.0 and capped:
            at = np.flatnonzero(self.market.factors.asset_class == "volatility")
            out[at] = np.minimum(scale, self._highest(ewma_lambda)[at])
        return out

    def _highest(self, ewma_lambda: float) -> Float64Array:
        """Highest volatility of each factor's history over tomorrow's; 1.0 without a filter."""
        if not ewma_lambda < 1.0:
            return np.ones(len(self.market.factors))
        path = self._path(ewma_lambda)
        last = path[-1]
        highest = np.fmax.reduce(path, axis=0)
        return np.asarray(np.divide(highest, last, out=np.ones_like(last), where=last > 0.0))

    def _path(self, ewma_lambda: float) -> Float64Array:
        if ewma_lambda not in self._paths:
            market = self.market
            self._paths[ewma_lambda] = ewma_volatility(
                market.returns, ewma_lambda, self.seed_days, market.factors.daily_vol_floor
            )
        return self._paths[ewma_lambda]
