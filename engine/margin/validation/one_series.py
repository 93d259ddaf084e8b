"""Margin models and anti-procyclicality tools on series of losses, day by day.

A unit position in one factor is margined at every close with what was known then. Several series
go through together, as columns. These are the laws of the model families on one factor; a whole
account is margined by the families themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.domain.arrays import DateArray, Float64Array, Int64Array
from engine.domain.failures import InputError
from engine.margin.config import BacktestConfig
from engine.margin.historical import ewma_volatility, tail_count
from engine.margin.procyclicality_paths import PathConfig, apply_tool

VOLATILITY_MODELS = ("normal", "t", "t_es", "scan")
STRESS_TOOLS = ("stress_weight", "stress_floor")
NORMAL_ES_RATE = 0.01
# Rows of the sliding window sorted at once: 512 x 1250 doubles stay near the cache.
CHUNK = 512


@dataclass(frozen=True)
class LossSeries:
    """Daily losses of a unit position, and the first close at which margin is set.

    `loss` has shape (n_days, n_series), positive is a loss; `day` (n_days,) are their dates.
    Margins are set at the close of rows `begin`, ..., n_days - 1.
    """

    loss: Float64Array
    day: DateArray
    begin: int

    def __len__(self) -> int:
        return len(self.loss) - self.begin


def volatility_multiple(config: BacktestConfig) -> float:
    """Return the margin of a `VOLATILITY_MODELS` model in daily volatilities.

    `normal`: z_alpha. `t`: sqrt((v - 2) / v) t_alpha(v). `t_es`: sqrt((v - 2) / v) f(t_alpha)
    (v + t_alpha**2) / ((v - 1) (1 - alpha)), f the density of t(v) (McNeil, Frey and Embrechts
    2005, section 2.2.4). `scan`: `scan_multiple`.

    Examples
    --------
    99 %: normal 2.326348; t with 5 degrees of freedom 2.606464. ES 97.5 %, t(5): 2.727802.
    """
    from scipy.stats import norm, t

    if config.model == "scan":
        return config.scan_multiple
    alpha, v = config.level(), config.degrees_of_freedom
    if config.model == "normal":
        return float(norm.ppf(alpha))
    unit = math.sqrt((v - 2.0) / v)
    quantile = float(t.ppf(alpha, v))
    if config.model == "t":
        return unit * quantile
    density = float(t.pdf(quantile, v))
    return unit * density * (v + quantile**2) / ((v - 1.0) * (1.0 - alpha))


def expected_rate(config: BacktestConfig) -> float:
    """Return the breaches per day the coverage test expects (`target_breach_rate`).

    `t_es` at 97.5 % with 5 degrees of freedom: 0.8445 %.
    """
    if config.target_breach_rate is not None:
        return config.target_breach_rate
    if config.model == "fhs_es":
        return NORMAL_ES_RATE
    if config.model == "close_out":
        # The next of n + 1 exchangeable losses is the largest with this probability.
        return 1.0 / (config.close_out_days + 1.0)
    if config.model == "t_es":
        from scipy.stats import t

        v = config.degrees_of_freedom
        return float(t.sf(volatility_multiple(config) * math.sqrt(v / (v - 2.0)), v))
    return 1.0 - config.level()


def base_margin(series: LossSeries, config: BacktestConfig, days: int) -> Float64Array:
    """Return margin before tools over `days` days, shape (len(series), n_series).

    All models but `close_out` scale a one-day margin by the square root of the days. `close_out`
    takes the worst sum of 1, ..., `days` consecutive losses.

    Raises
    ------
    InputError
        If a series has too little history before `begin`, or does not move at its start.
    """
    loss, begin, w = series.loss, series.begin, config.lookback_days
    if begin < w:
        raise InputError(f"margin begins on day {begin}; a lookback of {w} days needs {w} before")
    root = math.sqrt(days)
    if config.model == "close_out":
        return _close_out(loss, config.close_out_days, days)[begin:]
    if config.model == "hs":
        return np.maximum(_window_measure(loss[begin - w + 1 :], w, config, days), 0.0)
    if config.model == "flat":
        if config.flat_rate is None:
            rate = np.maximum(_window_measure(loss[:w], w, config, days), 0.0)
        else:
            rate = np.full((1, loss.shape[1]), _of_period(config.flat_rate, config, days))
        return np.repeat(rate, len(series), axis=0)
    sigma = _volatility(series, config)
    if config.model in VOLATILITY_MODELS:
        return _scan_floored(volatility_multiple(config) * sigma[begin + 1 :] * root, config, days)
    # The first residual has only the seed behind it: it is not a scenario.
    residual = loss / sigma[:-1]
    tail = _rolling_tails(residual[begin - w + 1 :], w, config)
    return np.maximum(tail * sigma[begin + 1 :], 0.0) * root


def tool_margin(
    base: Float64Array, series: LossSeries, config: BacktestConfig, days: int
) -> Float64Array:
    """Return margin after the tool `config.apc`, shape as `base`; NaN where it lacks history.

    The stress and ten-year margins are the model's own measure on unfiltered losses: the tail for
    `fhs`, `fhs_es`, `hs` and `flat`, the multiple of root mean square for `VOLATILITY_MODELS`, the
    worst for `close_out`.
    """
    if config.apc == "none":
        return base
    stress = _stress_margin(series, config, days) if config.apc in STRESS_TOOLS else None
    long_run = _long_run(series, config, days) if config.apc == "long_run_floor" else None
    columns = [
        apply_tool(
            config.apc,
            base[:, j],
            series.day[series.begin :],
            PathConfig(
                buffer=config.buffer,
                mean_days=config.buffer_mean_days,
                stress_weight=config.stress_weight,
                stress_margin=None if stress is None else stress[:, j],
                long_run=None if long_run is None else long_run[:, j],
            ),
        ).margin
        for j in range(base.shape[1])
    ]
    return np.column_stack(columns)


def stress_rows(series: LossSeries, config: BacktestConfig) -> Int64Array:
    """Return first and last row of the stress period in force at each close.

    Shape (len(series), n_series, 2). Only with `stress_choice` "known" do they differ by close.
    """
    shape = (len(series), series.loss.shape[1])
    if config.stress_start is not None and config.stress_end is not None:
        first, last = _given_rows(series.day, config)
        return np.broadcast_to(np.array([first, last]), (*shape, 2))
    k = config.stress_days
    reach = series.begin + 1 if config.stress_choice == "known" else len(series.loss)
    if reach < k:
        raise InputError(
            f"{reach} returns are known when margin begins; a stress period of {k} days needs "
            f"{k}: lengthen the series or shorten stress_days"
        )
    squares = np.cumsum(np.square(series.loss), axis=0)
    squares = np.concatenate([np.zeros((1, shape[1])), squares])
    total = squares[k:] - squares[:-k]
    if config.stress_choice == "hindsight":
        start = np.broadcast_to(np.argmax(total, axis=0), shape)
    else:
        rank = np.arange(len(total))[:, None]
        is_worst = total >= np.maximum.accumulate(total, axis=0)
        worst = np.maximum.accumulate(np.where(is_worst, rank, 0), axis=0)
        start = worst[series.begin - k + 1 :]
    return np.stack([start, start + k - 1], axis=-1).astype(np.int64)


def rolling_tail(
    losses: Float64Array, window: int, confidence: float, shortfall: bool
) -> Float64Array:
    """VaR (or ES) of every run of `window` losses: (n,) gives (n - window + 1,)."""
    windows = np.lib.stride_tricks.sliding_window_view(losses, window)
    cut = window - tail_count(window, confidence)
    out = np.empty(len(windows))
    for start in range(0, len(windows), CHUNK):
        part = np.partition(windows[start : start + CHUNK], cut, axis=1)[:, cut:]
        out[start : start + CHUNK] = part.mean(axis=1) if shortfall else part[:, 0]
    return out


def _rolling_tails(losses: Float64Array, window: int, config: BacktestConfig) -> Float64Array:
    shortfall = config.model == "fhs_es"
    tails = [rolling_tail(column, window, config.level(), shortfall) for column in losses.T]
    return np.column_stack(tails)


def _window_measure(
    loss: Float64Array, window: int, config: BacktestConfig, days: int
) -> Float64Array:
    """Margin over `days` from each run of `window` unfiltered losses, (n - window + 1, m)."""
    root = math.sqrt(days)
    if config.model == "close_out":
        return _close_out(loss, window, days)[window - 1 :]
    if config.model in VOLATILITY_MODELS:
        squares = np.concatenate([np.zeros((1, loss.shape[1])), np.cumsum(loss**2, axis=0)])
        rms = np.sqrt((squares[window:] - squares[:-window]) / window)
        return _scan_floored(volatility_multiple(config) * rms * root, config, days)
    return _rolling_tails(loss, window, config) * root


def _close_out(loss: Float64Array, window: int, days: int) -> Float64Array:
    """Worst sum of 1 to `days` consecutive losses in the last `window` days, shape as `loss`."""
    worst = np.zeros_like(loss)
    for length in range(1, days + 1):
        total = pd.DataFrame(loss).rolling(length).sum()
        kept = total.rolling(max(1, window - length + 1), min_periods=1).max()
        worst = np.fmax(worst, kept.to_numpy())
    return worst


def _long_run(series: LossSeries, config: BacktestConfig, days: int) -> Float64Array:
    """Margin of the last `floor_days` unfiltered losses; NaN until these exist."""
    floor = np.full_like(series.loss, np.nan)
    if len(series.loss) >= config.floor_days:
        measure = _window_measure(series.loss, config.floor_days, config, days)
        floor[config.floor_days - 1 :] = measure
    return floor[series.begin :]


def _stress_margin(series: LossSeries, config: BacktestConfig, days: int) -> Float64Array:
    rows = stress_rows(series, config)
    out = np.empty(rows.shape[:2])
    for j in range(rows.shape[1]):
        periods, which = np.unique(rows[:, j], axis=0, return_inverse=True)
        margins = np.empty(len(periods))
        for i, (first, last) in enumerate(periods):
            loss = series.loss[first : last + 1, j : j + 1]
            margins[i] = _window_measure(loss, len(loss), config, days)[0, 0]
        out[:, j] = margins[which]
    return np.maximum(out, 0.0)


def _given_rows(day: DateArray, config: BacktestConfig) -> tuple[int, int]:
    inside = np.flatnonzero(
        (day >= np.datetime64(str(config.stress_start)))
        & (day <= np.datetime64(str(config.stress_end)))
    )
    if len(inside) < 2:
        raise InputError(
            f"stress period {config.stress_start} to {config.stress_end} holds {len(inside)} "
            f"returns of a series from {day[0]} to {day[-1]}; move it"
        )
    return int(inside[0]), int(inside[-1])


def _volatility(series: LossSeries, config: BacktestConfig) -> Float64Array:
    sigma = ewma_volatility(series.loss, config.ewma_lambda, config.seed_days)
    if not (sigma > 0.0).all():
        at = int(np.argwhere(~(sigma > 0.0))[0][0])
        raise InputError(
            f"volatility is 0 on {series.day[min(at, len(series.day) - 1)]}: the series did not "
            f"move for its first {at} days; start it later"
        )
    return sigma


def _scan_floored(margin: Float64Array, config: BacktestConfig, days: int) -> Float64Array:
    if config.model != "scan":
        return margin
    return np.maximum(margin, _of_period(config.scan_floor, config, days))


def _of_period(amount: float, config: BacktestConfig, days: int) -> float:
    """Amount over the margin period of risk brought to `days` days."""
    return amount * math.sqrt(days / config.mpor_days)
