"""Backtest of a historical margin model on one series: coverage and procyclicality together.

On each day t the margin of day t + 1 is computed from returns up to t; a breach is a one-day loss
above the one-day margin. Coverage is tested over the whole history, procyclicality over a window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.domain.arrays import BoolArray, DateArray, Float64Array
from engine.domain.failures import InputError
from engine.margin.config import BacktestConfig
from engine.margin.historical import ewma_volatility, tail_count, value_at_risk
from engine.margin.procyclicality import (
    buffered_margin,
    largest_rise,
    long_run_floor,
    peak_to_trough,
    stress_weighted,
)

# Rows of the sliding window sorted at once: 512 x 1250 doubles stay near the cache.
CHUNK = 512


@dataclass(frozen=True)
class BacktestResult:
    """Outcome of `backtest_margin`.

    `dates`, `margin` and `breach` have shape (n,): the day whose close the margin uses, the
    margin over the period of risk (fraction of notional, or level units for absolute returns),
    and whether the next day's loss exceeded the one-day margin. The other fields are the keys of
    `to_dict`; `kupiec_p` and `christoffersen_p` are p-values (chi-squared, 1 degree of freedom).
    """

    dates: DateArray
    margin: Float64Array
    breach: BoolArray
    peak_to_trough: float
    max_1d: float
    max_5d: float
    max_30d: float
    mean_margin: float
    n: int
    breaches: int
    kupiec_lr: float
    christoffersen_lr: float
    dropped_days: int
    stress_period: tuple[str, str] | None = None

    @property
    def kupiec_p(self) -> float:
        """Probability of a coverage ratio this large if the model is right."""
        return _chi2_tail(self.kupiec_lr)

    @property
    def christoffersen_p(self) -> float:
        """Probability of an independence ratio this large if breaches are independent."""
        return _chi2_tail(self.christoffersen_lr)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the backtest.

        Rises are fractions (0.4 is 40 %), None where the window is not longer than the days.
        """
        rises = {"max_1d": self.max_1d, "max_5d": self.max_5d, "max_30d": self.max_30d}
        return {
            "peak_to_trough": self.peak_to_trough,
            **{name: None if math.isnan(rise) else rise for name, rise in rises.items()},
            "mean_margin": self.mean_margin,
            "n": self.n,
            "breaches": self.breaches,
            "kupiec_lr": self.kupiec_lr,
            "christoffersen_lr": self.christoffersen_lr,
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `backtest`: date, margin and breach of each day."""
        frame = pd.DataFrame({"date": self.dates, "margin": self.margin, "breach": self.breach})
        return {"backtest": frame}


def backtest_margin(
    levels: npt.ArrayLike, dates: npt.ArrayLike, config: BacktestConfig
) -> BacktestResult:
    """Backtest one margin model on one series of levels.

    Volatility is seeded with the first `seed_days` returns; the first residual, which has only
    the seed behind it, is not a scenario. Margin of day t: tail measure of the last
    `lookback_days` residuals, times the volatility of t + 1, times sqrt(mpor_days).

    Parameters
    ----------
    levels : array_like of shape (n_days,)
        Index or price; NaN is a missing day, which is dropped (the next return spans the gap).
    dates : array_like of shape (n_days,)
        datetime64, strictly increasing.
    config : BacktestConfig

    Returns
    -------
    BacktestResult

    Raises
    ------
    InputError
        If the series is too short, flat, unordered, infinite, or not above zero with log returns.

    Notes
    -----
    S&P 500 1990-2022, lambda 0.97, window 2019-2020: 76 breaches in 7061 days, peak to trough
    9.25, largest one-day rise 40 %.
    """
    level, day, dropped = _clean(levels, dates, config)
    change = np.diff(np.log(level) if config.returns == "log" else level)
    loss = -change if config.side == "long" else change
    day = day[1:]
    one_day, period = _margin_series(loss, day, config)
    # Row i of `one_day` is the margin set at the close of day begin + i.
    begin = config.lookback_days
    known = np.isfinite(one_day[:-1])
    breach = (loss[begin + 1 :] > one_day[:-1])[known]
    n = len(breach)
    if n < 1:
        raise InputError("the anti-procyclicality tool leaves no day to test; lengthen the series")
    margin = one_day * math.sqrt(config.mpor_days)
    window = _window(day[begin:], config) & np.isfinite(margin)
    inside = margin[window]
    return BacktestResult(
        dates=day[begin:-1][known],
        margin=margin[:-1][known],
        breach=breach,
        peak_to_trough=peak_to_trough(inside),
        max_1d=largest_rise(inside, 1),
        max_5d=largest_rise(inside, 5),
        max_30d=largest_rise(inside, 30),
        mean_margin=float(np.mean(inside)),
        n=n,
        breaches=int(breach.sum()),
        kupiec_lr=kupiec_lr(breach, config.expected_rate()),
        christoffersen_lr=christoffersen_lr(breach),
        dropped_days=dropped,
        stress_period=period,
    )


def kupiec_lr(breach: BoolArray, rate: float) -> float:
    """Likelihood ratio of unconditional coverage, chi-squared with 1 degree of freedom.

    LR = -2 ln[ (1-p)^(n-x) p^x / ((1-x/n)^(n-x) (x/n)^x) ]   (Kupiec 1995)

    76 breaches in 7061 days against 1 % give 0.41.
    """
    n, x = len(breach), int(np.sum(breach))
    return 2.0 * (_bernoulli(x, n, x / n) - _bernoulli(x, n, rate))


def christoffersen_lr(breach: BoolArray) -> float:
    """Likelihood ratio of independence of consecutive breaches, chi-squared(1).

    From the counts of the four transitions (Christoffersen 1998). A state that never occurs
    adds nothing, so a series without breaches gives 0.
    """
    before, after = breach[:-1], breach[1:]
    n0, n1 = int(np.sum(~before)), int(np.sum(before))
    x0, x1 = int(np.sum(~before & after)), int(np.sum(before & after))
    if n0 + n1 == 0:
        return 0.0
    pooled = _bernoulli(x0 + x1, n0 + n1, (x0 + x1) / (n0 + n1))
    split = sum(_bernoulli(x, n, x / n) for x, n in ((x0, n0), (x1, n1)) if n > 0)
    return 2.0 * (split - pooled)


def _bernoulli(x: int, n: int, p: float) -> float:
    """Log-likelihood of x successes in n; 0 * log 0 is 0."""
    hit = x * math.log(p) if x else 0.0
    miss = (n - x) * math.log1p(-p) if n - x else 0.0
    return hit + miss


def _chi2_tail(statistic: float) -> float:
    """P(chi-squared(1) > statistic) = erfc(sqrt(statistic / 2))."""
    return math.erfc(math.sqrt(max(statistic, 0.0) / 2.0))


def _margin_series(
    loss: Float64Array, day: DateArray, config: BacktestConfig
) -> tuple[Float64Array, tuple[str, str] | None]:
    """One-day margin set at the close of days lookback .. n-1, and the stress period used."""
    w = config.lookback_days
    if config.model == "hs":
        sigma = np.ones(len(loss) + 1)
    else:
        sigma = ewma_volatility(loss, config.ewma_lambda, config.seed_days)
        if not (sigma > 0.0).all():
            at = int(np.argmin(sigma))
            raise InputError(
                f"volatility is 0 on {day[min(at, len(day) - 1)]}: the series did not move for "
                f"its first {at} days; start it later"
            )
    residual = loss / sigma[:-1]
    base = rolling_tail(residual[1:], w, config.level(), config.model == "fhs_es") * sigma[w + 1 :]
    base = np.maximum(base, 0.0)
    if config.apc == "stress_weight":
        first, last = _stress_rows(loss, day, config)
        stress = float(value_at_risk(loss[first : last + 1], config.level()))
        return stress_weighted(base, stress, config.stress_weight), (
            str(day[first]),
            str(day[last]),
        )
    if config.apc == "floor":
        floor = np.full(len(loss), np.nan)
        if len(loss) >= config.floor_days:
            tail = rolling_tail(loss, config.floor_days, config.level(), False)
            floor[config.floor_days - 1 :] = tail
        return long_run_floor(base, floor[w:]), None
    if config.apc == "buffer":
        return buffered_margin(base, config.buffer, config.buffer_mean_days).margin, None
    return base, None


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


def _stress_rows(loss: Float64Array, day: DateArray, config: BacktestConfig) -> tuple[int, int]:
    if config.stress_start is not None and config.stress_end is not None:
        inside = np.flatnonzero(
            (day >= np.datetime64(config.stress_start)) & (day <= np.datetime64(config.stress_end))
        )
        if len(inside) < 2:
            raise InputError(
                f"stress period {config.stress_start} to {config.stress_end} holds {len(inside)} "
                f"returns of a series from {day[0]} to {day[-1]}; move it"
            )
        return int(inside[0]), int(inside[-1])
    squares = np.concatenate([[0.0], np.cumsum(np.square(loss))])
    start = int(np.argmax(squares[config.stress_days :] - squares[: -config.stress_days]))
    return start, start + config.stress_days - 1


def _window(day: DateArray, config: BacktestConfig) -> BoolArray:
    inside = np.ones(len(day), dtype=np.bool_)
    if config.window_start is not None:
        inside &= day >= np.datetime64(config.window_start)
    if config.window_end is not None:
        inside &= day <= np.datetime64(config.window_end)
    if not inside.any():
        raise InputError(
            f"window {config.window_start} to {config.window_end} holds no margin: margins run "
            f"from {day[0]} to {day[-1]}"
        )
    return inside


def _clean(
    levels: npt.ArrayLike, dates: npt.ArrayLike, config: BacktestConfig
) -> tuple[Float64Array, DateArray, int]:
    """Drop missing days and refuse what no margin can be computed from."""
    level = np.asarray(levels, dtype=np.float64)
    day = np.asarray(dates, dtype="datetime64[D]")
    if level.shape != day.shape or level.ndim != 1:
        raise InputError(f"{level.shape} levels but {day.shape} dates; give one level per date")
    if np.isnat(day).any():
        raise InputError(f"date {int(np.argmax(np.isnat(day)))} of the series is missing")
    if np.isinf(level).any():
        raise InputError(f"level on {day[np.argmax(np.isinf(level))]} is infinite")
    known = ~np.isnan(level)
    dropped = int((~known).sum())
    level, day = level[known], day[known]
    disorder = np.flatnonzero(np.diff(day) <= np.timedelta64(0, "D"))
    if len(disorder):
        at = int(disorder[0])
        raise InputError(f"date {day[at + 1]} follows {day[at]}; dates must increase")
    needed = config.lookback_days + 3
    if len(level) < needed:
        raise InputError(
            f"{len(level)} levels ({dropped} missing days dropped); a lookback of "
            f"{config.lookback_days} days needs {needed}: lengthen the series or shorten lookback"
        )
    if np.ptp(level) == 0.0:
        raise InputError(
            f"level is {level[0]:g} on all {len(level)} days; a flat series has no risk"
        )
    if config.returns == "log" and not (level > 0.0).all():
        at = int(np.argmin(level > 0.0))
        raise InputError(
            f"level {level[at]:g} on {day[at]} is not above zero, so it has no log return; "
            "use absolute returns (--returns absolute)"
        )
    return level, day, dropped
