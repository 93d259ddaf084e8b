"""Historical margin models: volatility filter, scenarios, VaR and expected shortfall.

Returns are daily, dates in rows, factors in columns. Volatility of row t uses returns before t
only. Loss is positive. Tail convention, for S scenarios and confidence alpha: the tail holds the
k = floor(S * (1 - alpha)) largest losses, at least one; VaR is the k-th largest loss and ES the
mean of the k largest.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError

SEED_DAYS = 250
MIN_SCENARIOS = 250
"""Fewest scenarios a historical margin is computed from: one year of business days."""


def ewma_variance(
    returns: npt.ArrayLike,
    ewma_lambda: float,
    seed_days: int = SEED_DAYS,
    backcast: npt.ArrayLike | None = None,
) -> Float64Array:
    """One-day-ahead variance of an exponentially weighted moving average.

    sigma2[t] = lambda * sigma2[t-1] + (1 - lambda) * r[t-1]**2   (RiskMetrics 1996)

    Parameters
    ----------
    returns : array_like of shape (n_days,) or (n_days, n_factors)
        NaN allowed only before a column's first observation.
    ewma_lambda : float
        Daily decay, 0 < lambda <= 1; 1 holds the seed for ever.
    seed_days : int
        sigma2 at a column's first observation is the variance (about the mean, divisor n) of its
        first `seed_days` returns, or of all if fewer.
    backcast : array_like of shape () or (n_factors,), optional
        Variance to start from instead of the seed.

    Returns
    -------
    float64 array of shape (n_days + 1,) or (n_days + 1, n_factors)
        Row t is the forecast for day t from returns 0 .. t-1; the last row is for the day after
        the sample. Variance units. NaN before a column's first observation.

    Raises
    ------
    InputError
        If lambda is out of range or a NaN follows an observation.

    Examples
    --------
    Returns 0.01 then 0.02, lambda 0.97, backcast 0.0001:
    0.97 * 0.0001 + 0.03 * 0.0001 = 0.0001, then 0.97 * 0.0001 + 0.03 * 0.0004 = 0.000109.
    """
    if not 0.0 < ewma_lambda <= 1.0:
        raise InputError(f"ewma_lambda is {ewma_lambda}; it must be above 0 and at most 1")
    values = np.asarray(returns, dtype=np.float64)
    table = values.reshape(len(values), -1)
    first = first_observation(table)
    start = np.array(
        [
            np.var(table[f : f + seed_days, j]) if f < len(table) else np.nan
            for j, f in enumerate(first)
        ]
    )
    if backcast is not None:
        start = np.broadcast_to(np.asarray(backcast, dtype=np.float64), start.shape).copy()
    squares = np.square(table)
    variance = np.full((len(table) + 1, table.shape[1]), np.nan)
    # A column starts at its first observation; until then the row carries NaN.
    current = np.where(first == 0, start, np.nan)
    starts_at = {int(f): np.flatnonzero(first == f) for f in np.unique(first[first > 0])}
    variance[0] = current
    for day in range(len(table)):
        current = ewma_lambda * current + (1.0 - ewma_lambda) * squares[day]
        if day + 1 in starts_at:
            columns = starts_at[day + 1]
            current[columns] = start[columns]
        variance[day + 1] = current
    return variance[:, 0] if values.ndim == 1 else variance


def first_observation(returns: Float64Array) -> npt.NDArray[np.int64]:
    """Return the row of each column's first observation (n_days if it has none).

    Raises `InputError` if a NaN or an infinity follows an observation.
    """
    known = np.isfinite(returns)
    first = np.where(known.any(axis=0), known.argmax(axis=0), len(returns)).astype(np.int64)
    holes = ~known & (np.arange(len(returns))[:, None] >= first)
    if holes.any():
        row, column = np.argwhere(holes)[0]
        raise InputError(
            f"return of column {column} on row {row} is {returns[row, column]}; only days before "
            "a factor's first observation may be missing: fill or drop the day"
        )
    return first


def ewma_volatility(
    returns: npt.ArrayLike,
    ewma_lambda: float,
    seed_days: int = SEED_DAYS,
    floor: npt.ArrayLike = 0.0,
) -> Float64Array:
    """Daily volatility forecast, shape as `ewma_variance`, not below `floor` ((n_factors,)).

    The floor keeps a pegged factor from having no risk on the day before it moves. Worked number:
    the S&P 500 to 16 March 2020 gives 3.9300752259 % for 17 March with lambda 0.97.
    """
    volatility = np.sqrt(ewma_variance(returns, ewma_lambda, seed_days))
    return np.maximum(volatility, np.asarray(floor, dtype=np.float64))


def filtered_scenarios(
    returns: Float64Array,
    ewma_lambda: float,
    horizon_days: int,
    lookback_days: int,
    *,
    volatility_floor: npt.ArrayLike = 0.0,
    seed_days: int = SEED_DAYS,
    mid_volatility: bool = False,
    aggregation: str = "overlapping",
) -> Float64Array:
    """Moves over the margin period of risk, rescaled to the volatility of the next day.

    z[t] = r[t] / sigma[t];  move[t] = z[t] * sigma[T+1]   (Hull and White 1998; Barone-Adesi,
    Giannopoulos and Vosper 1999). Mid-volatility: move[t] = z[t] * (sigma[T+1] + sigma[t]) / 2.

    Parameters
    ----------
    returns : float64 array of shape (n_days, n_factors)
        Daily, oldest first; NaN only before a factor's first observation.
    ewma_lambda : float
        1.0 switches the filter off: moves are the returns themselves.
    horizon_days : int
        Margin period of risk h, in business days.
    lookback_days : int
        Scenarios wanted; overlapping sums also use the h - 1 days before them.
    volatility_floor : array_like of shape () or (n_factors,)
        Least daily volatility, units of the return. Not used when the filter is off.
    aggregation : {"overlapping", "sqrt"}
        Sums of h consecutive scaled moves, or one-day moves times sqrt(h).

    Returns
    -------
    float64 array of shape (n_scenarios, n_factors)
        Oldest first, n_scenarios = min(lookback_days, days available). Units of the return. NaN
        where a factor was not yet observed.

    Examples
    --------
    The S&P 500 to 16 March 2020, lambda 0.97, one day, 1250 scenarios: the 12th worst is
    -16.569017 %.
    """
    if aggregation not in ("overlapping", "sqrt"):
        raise InputError(f"aggregation is {aggregation!r}; use 'overlapping' or 'sqrt'")
    overlapping = aggregation == "overlapping" and horizon_days > 1
    needed = lookback_days + (horizon_days - 1 if overlapping else 0)
    daily = returns[-needed:]
    if ewma_lambda < 1.0:
        sigma = ewma_volatility(returns, ewma_lambda, seed_days, volatility_floor)
        own = sigma[:-1][-needed:]
        target = 0.5 * (sigma[-1] + own) if mid_volatility else sigma[-1]
        flat = own <= 0.0
        if flat.any():
            column = int(np.argwhere(flat)[0][1])
            raise InputError(
                f"column {column} has a volatility of 0 inside the lookback; "
                "give the factor a daily_vol_floor above 0"
            )
        daily = daily * (target / own)
    if overlapping:
        return overlapping_sums(daily, horizon_days)
    return np.asarray(daily * math.sqrt(horizon_days), dtype=np.float64)


def overlapping_sums(daily: Float64Array, horizon_days: int) -> Float64Array:
    """Sum every run of `horizon_days` rows: (n, ...) gives (n - horizon_days + 1, ...).

    NaN in a run gives NaN. Sums are formed directly: a running total would lose digits.
    `overlapping_sums([1, 2, 4], 2)` is [3, 6].
    """
    count = len(daily) - horizon_days + 1
    if count < 1:
        raise InputError(f"{len(daily)} daily moves cannot form one {horizon_days}-day sum")
    total = np.array(daily[:count], dtype=np.float64)
    for shift in range(1, horizon_days):
        total += daily[shift : shift + count]
    return total


def tail_count(n_scenarios: int, confidence: float) -> int:
    """Return k = floor(S * (1 - alpha)), at least 1; `tail_count(1250, 0.99)` is 12.

    The product is rounded at 1e-9 first, because 1000 * (1 - 0.9) is 99.99999999999997 in floats.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence is {confidence}; it must lie between 0 and 1")
    if n_scenarios < 1:
        raise InputError("a tail measure needs at least one scenario")
    return max(1, math.floor(n_scenarios * (1.0 - confidence) + 1e-9))


def value_at_risk(losses: npt.ArrayLike, confidence: float) -> Float64Array:
    """Return the k-th largest loss along the last axis; shape (..., S) gives (...).

    Losses are positive; NaN raises `InputError`. `value_at_risk(range(1, 1251), 0.99)` is 1239,
    the 12th largest.
    """
    values = _finite(losses)
    cut = values.shape[-1] - tail_count(values.shape[-1], confidence)
    return np.asarray(np.partition(values, cut, axis=-1)[..., cut], dtype=np.float64)


def expected_shortfall(losses: npt.ArrayLike, confidence: float) -> Float64Array:
    """Return the mean of the k largest losses along the last axis; shape (..., S) gives (...).

    `expected_shortfall(range(1, 1251), 0.99)` is 1244.5, the mean of 1239 .. 1250.
    """
    values = _finite(losses)
    cut = values.shape[-1] - tail_count(values.shape[-1], confidence)
    tail = np.partition(values, cut, axis=-1)[..., cut:]
    return np.asarray(tail.mean(axis=-1), dtype=np.float64)


def tail_scenarios(losses: Float64Array, confidence: float) -> npt.NDArray[np.int64]:
    """Return the indices of the k largest of the losses (S,), worst first; ties: oldest first."""
    order = np.argsort(-_finite(losses), kind="stable")
    return order[: tail_count(len(losses), confidence)]


def worst_volatility_period(returns: Float64Array, days: int) -> tuple[int, int]:
    """Return first and last row of the `days` consecutive rows with the highest volatility.

    Each factor's squared returns are divided by its mean square over the rows where every factor
    is known, and averaged over factors, so that no factor rules by its unit.

    Parameters
    ----------
    returns : float64 array of shape (n_days, n_factors)
        NaN only before a factor's first observation; only days with all factors are candidates.

    Raises
    ------
    InputError
        If fewer than `days` rows have all factors.
    """
    begin = int(first_observation(returns).max())
    common = returns[begin:]
    if len(common) < days:
        raise InputError(
            f"only {len(common)} days have all {returns.shape[1]} factors; a stress period needs "
            f"{days}: lengthen the history or drop the youngest factor"
        )
    squares = np.square(common)
    mean = squares.mean(axis=0)
    activity = (squares / np.where(mean > 0.0, mean, 1.0)).mean(axis=1)
    total = np.concatenate([[0.0], np.cumsum(activity)])
    start = int(np.argmax(total[days:] - total[:-days]))
    return begin + start, begin + start + days - 1


def _finite(losses: npt.ArrayLike) -> Float64Array:
    values = np.asarray(losses, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("a scenario loss is NaN or infinite; check the factor's history")
    return values
