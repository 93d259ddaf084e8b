"""Backtest of a margin model on one series: coverage and procyclicality together.

On each day t the margin of day t + 1 is computed from returns up to t; a breach is a one-day loss
above the one-day margin. Coverage is tested over the whole history, procyclicality over a window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.domain.arrays import BoolArray, DateArray, Float64Array
from engine.domain.failures import InputError
from engine.margin.config import BacktestConfig
from engine.margin.procyclicality import largest_rise, peak_to_trough
from engine.margin.validation.coverage import (
    Coverage,
    PeriodCoverage,
    check_coverage,
    christoffersen_lr,
    kupiec_lr,
    period_coverage,
)
from engine.margin.validation.one_series import (
    STRESS_TOOLS,
    LossSeries,
    base_margin,
    expected_rate,
    rolling_tail,
    stress_rows,
    tool_margin,
)

__all__ = [
    "BacktestResult",
    "backtest_margin",
    "backtest_tools",
    "christoffersen_lr",
    "kupiec_lr",
    "rolling_tail",
]


@dataclass(frozen=True)
class BacktestResult:
    """Outcome of `backtest_margin`.

    `dates`, `margin` and `breach` have shape (n,): the day whose close the margin uses, the
    margin over the period of risk (fraction of notional, or level units for absolute returns),
    and whether the next day's loss exceeded the one-day margin. `window_dates` and
    `window_margin` are those of the window of the procyclicality measures. `coverage` tests the
    one-day margin, `period` compares margin with losses over the whole period. The other fields
    are keys of `to_dict`; `stress_period` is the one in force on the last day.
    """

    dates: DateArray
    margin: Float64Array
    breach: BoolArray
    window_dates: DateArray
    window_margin: Float64Array
    coverage: Coverage
    period: PeriodCoverage
    peak_to_trough: float
    max_1d: float
    max_5d: float
    max_30d: float
    mean_margin: float
    dropped_days: int
    stress_period: tuple[str, str] | None = None

    @property
    def n(self) -> int:
        """Days tested."""
        return self.coverage.n

    @property
    def breaches(self) -> int:
        """Days with a loss above the margin."""
        return self.coverage.breaches

    @property
    def kupiec_lr(self) -> float:
        """Likelihood ratio of unconditional coverage."""
        return self.coverage.kupiec_lr

    @property
    def christoffersen_lr(self) -> float:
        """Likelihood ratio of independence."""
        return self.coverage.christoffersen_lr

    @property
    def kupiec_p(self) -> float:
        """Probability of a coverage ratio this large if the model is right."""
        return self.coverage.kupiec_p

    @property
    def christoffersen_p(self) -> float:
        """Probability of an independence ratio this large if breaches are independent."""
        return self.coverage.christoffersen_p

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the backtest.

        Rises are fractions (0.4 is 40 %), None where the window is not longer than the days.
        """
        rises = {"max_1d": self.max_1d, "max_5d": self.max_5d, "max_30d": self.max_30d}
        period = self.period.to_dict()
        period = {name: None if value != value else value for name, value in period.items()}
        return {
            "peak_to_trough": self.peak_to_trough,
            **{name: None if math.isnan(rise) else rise for name, rise in rises.items()},
            "mean_margin": self.mean_margin,
            **self.coverage.to_dict(),
            "period": period,
            "stress_period": self.stress_period,
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
    `lookback_days` residuals, times the volatility of t + 1, times sqrt(mpor_days); the other
    models are in `engine.margin.validation.one_series`.

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
    return backtest_tools(levels, dates, config, (config.apc,))[config.apc]


def backtest_tools(
    levels: npt.ArrayLike, dates: npt.ArrayLike, config: BacktestConfig, tools: Iterable[str]
) -> dict[str, BacktestResult]:
    """Backtest one model under several tools; the margin before tools is computed once.

    Parameters and errors are those of `backtest_margin`, with `tools` in place of `config.apc`.
    """
    level, day, dropped = _clean(levels, dates, config)
    change = np.diff(np.log(level) if config.returns == "log" else level)
    loss = -change if config.side == "long" else change
    series = LossSeries(loss[:, None], day[1:], config.lookback_days)
    # Only a close-out path has a period margin that is no multiple of its one-day margin.
    days = config.mpor_days if config.model == "close_out" else 1
    one_day, period = (base_margin(series, config, d) for d in (1, days))
    results = {}
    for tool in tools:
        choice = BacktestConfig(**{**config.model_dump(), "apc": tool})
        margin = tool_margin(one_day, series, choice, 1)[:, 0]
        if days == 1:
            over_period = margin * math.sqrt(config.mpor_days)
        else:
            over_period = tool_margin(period, series, choice, days)[:, 0]
        results[tool] = _result(series, choice, margin, over_period, dropped)
    return results


def _result(
    series: LossSeries,
    config: BacktestConfig,
    one_day: Float64Array,
    margin: Float64Array,
    dropped: int,
) -> BacktestResult:
    loss, day, begin = series.loss[:, 0], series.day, series.begin
    # Row i of `one_day` is the margin set at the close of day begin + i.
    known = np.isfinite(one_day[:-1])
    if not known.any():
        raise InputError("the anti-procyclicality tool leaves no day to test; lengthen the series")
    next_loss, rate = loss[begin + 1 :], expected_rate(config)
    in_window = _window(day[begin:], config) & np.isfinite(margin)
    inside = margin[in_window]
    stress = None
    if config.apc in STRESS_TOOLS:
        first, last = stress_rows(series, config)[-1, 0]
        stress = (str(day[first]), str(day[last]))
    return BacktestResult(
        dates=day[begin:-1][known],
        margin=margin[:-1][known],
        breach=(next_loss > one_day[:-1])[known],
        window_dates=day[begin:][in_window],
        window_margin=inside,
        coverage=check_coverage(next_loss[known], one_day[:-1][known], rate),
        period=period_coverage(next_loss, margin[:-1], config.mpor_days, rate),
        peak_to_trough=peak_to_trough(inside),
        max_1d=largest_rise(inside, 1),
        max_5d=largest_rise(inside, 5),
        max_30d=largest_rise(inside, 30),
        mean_margin=float(np.mean(inside)),
        dropped_days=dropped,
        stress_period=stress,
    )


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
