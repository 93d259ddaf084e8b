"""Moves over the margin period of risk for the model `cds`: filtered history or a Monte Carlo t."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.market import MarketState
from engine.margin.config import MarginConfig
from engine.margin.historical import ewma_volatility, filtered_scenarios


@dataclass(frozen=True)
class SpreadHistory:
    """Daily returns of the factors, credit spreads as log changes where that was asked for.

    Attributes
    ----------
    returns : float64 array of shape (n_days, n_factors)
    floor : float64 array of shape (n_factors,)
        Least daily volatility in the units of `returns`.
    logged : bool array of shape (n_factors,)
        Factors that the market moves by differences and this table by log changes.
    not_positive : int64 array
        Credit factors that keep differences, because their level is not always above zero.
    """

    returns: Float64Array
    floor: Float64Array
    logged: BoolArray
    not_positive: Int64Array


@dataclass(frozen=True)
class Moves:
    """Moves of a class of agreements at today's volatility.

    `table` has shape (n_scenarios, n_factors), oldest first; NaN where a factor is not used or not
    yet known. `limit` (n_factors,) is the highest scale of a factor under a volatility step.
    """

    table: Float64Array
    limit: Float64Array


def spread_history(market: MarketState, spread_moves: str) -> SpreadHistory:
    """Return daily returns, credit spreads as log changes if `spread_moves` is "log".

    Levels of the past are today's level minus the differences since. A spread of 1 % after a rise
    of 0.2 % was 0.8 %: log change log(1/0.8) = 0.22314355131421.
    """
    returns, level = market.returns, market.level
    floor = market.factors.daily_vol_floor
    logged = np.zeros(len(level), dtype=np.bool_)
    if spread_moves != "log":
        return SpreadHistory(returns, floor, logged, np.zeros(0, dtype=np.int64))
    differs = np.asarray(market.factors.return_type == "absolute", dtype=np.bool_)
    credit = np.flatnonzero((market.factors.asset_class == "credit") & differs)
    daily = returns[:, credit]
    known = np.isfinite(daily)
    steps = np.where(known, daily, 0.0)
    after = np.cumsum(steps[::-1], axis=0)[::-1] - steps
    then = level[credit] - after
    before = then - steps
    positive = ((then > 0.0) & (before > 0.0)).all(axis=0)
    chosen = credit[positive]
    out, floors = returns.copy(), floor.copy()
    log_change = np.log(then[:, positive]) - np.log(before[:, positive])
    out[:, chosen] = np.where(known[:, positive], log_change, np.nan)
    floors[chosen] = floor[chosen] / level[chosen]
    logged[chosen] = True
    return SpreadHistory(out, floors, logged, credit[~positive].astype(np.int64))


def historical_moves(
    history: SpreadHistory,
    market: MarketState,
    used: Int64Array,
    terms: tuple[float, int, int],
    margin: MarginConfig,
) -> Moves:
    """Return filtered historical moves of the factors `used` (`historical.filtered_scenarios`).

    `terms` are (ewma_lambda, mpor_days, lookback_days).
    """
    ewma_lambda, mpor_days, lookback_days = terms
    part = filtered_scenarios(
        history.returns[:, used],
        ewma_lambda,
        mpor_days,
        lookback_days,
        volatility_floor=history.floor[used],
        seed_days=margin.seed_days,
        mid_volatility=margin.mid_volatility,
        aggregation=margin.aggregation,
    )
    table = np.full((len(part), len(market.factors)), np.nan)
    table[:, used] = part
    return Moves(table, scale_limit(history, market, used, ewma_lambda, margin))


def student_moves(
    history: SpreadHistory,
    market: MarketState,
    used: Int64Array,
    terms: tuple[float, int, int],
    margin: MarginConfig,
    draws: int,
    degrees_of_freedom: float,
    seed: int,
) -> Moves:
    """Return draws of a multivariate t with the covariance of the filtered daily moves.

    move = sqrt(h) * sqrt((nu - 2) / W) * R z, z standard normal, W chi-squared with nu degrees of
    freedom, R the symmetric root of the covariance of the filtered daily moves over the days of
    the lookback on which every factor is known: moves have that covariance times h. One W for all
    factors of a draw, so that extremes come together. The draws depend on the seed and on the
    number of factors alone.
    """
    ewma_lambda, mpor_days, lookback_days = terms
    daily = filtered_scenarios(
        history.returns[:, used],
        ewma_lambda,
        1,
        lookback_days,
        volatility_floor=history.floor[used],
        seed_days=margin.seed_days,
        mid_volatility=margin.mid_volatility,
    )
    complete = daily[np.isfinite(daily).all(axis=1)]
    covariance = np.atleast_2d(np.cov(complete, rowvar=False, bias=True))
    # The symmetric root is the same whatever signs the eigenvectors come with.
    value, vector = np.linalg.eigh(covariance)
    root = (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T
    rng = np.random.Generator(np.random.Philox(key=seed))
    normal = rng.standard_normal((draws, len(used)))
    mixing = np.sqrt((degrees_of_freedom - 2.0) / rng.chisquare(degrees_of_freedom, draws))
    table = np.full((draws, len(market.factors)), np.nan)
    table[:, used] = math.sqrt(mpor_days) * mixing[:, np.newaxis] * (normal @ root)
    return Moves(table, scale_limit(history, market, used, ewma_lambda, margin))


def scale_limit(
    history: SpreadHistory,
    market: MarketState,
    used: Int64Array,
    ewma_lambda: float,
    margin: MarginConfig,
) -> Float64Array:
    """Return the highest volatility scale of each factor, (n_factors,), at least 1, or infinite.

    Factors that are volatilities themselves stay within the highest volatility of their own
    history over today's (`HistoricalModel.factor_scale`).
    """
    limit = np.full(len(market.factors), np.inf)
    if margin.cap_volatility_factors:
        capped = used[market.factors.asset_class[used] == "volatility"]
        if len(capped):
            sigma = ewma_volatility(
                history.returns[:, capped], ewma_lambda, margin.seed_days, history.floor[capped]
            )
            limit[capped] = np.nanmax(sigma, axis=0) / sigma[-1]
    return limit


def market_moves(
    moves: Moves, history: SpreadHistory, market: MarketState, scale: float
) -> Float64Array:
    """Return moves times `scale` in the units of the market, (n_scenarios, n_factors).

    A logged spread at level s moves by s * (exp(m) - 1).
    """
    table = np.array(moves.table * np.minimum(scale, moves.limit))
    logged = history.logged
    with np.errstate(over="ignore"):
        table[:, logged] = market.level[logged] * np.expm1(table[:, logged])
    return table
