"""How fast margin follows volatility: after a simulated step, and on a real series.

The step is what a margin model cannot be tuned to: volatility is 1, then M, with shocks drawn from
a seed. The ratio on a real series follows the idea of the responsiveness metric proposed by BCBS,
CPMI and IOSCO (January 2025): change of margin beside change of volatility over the same days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError
from engine.margin.config import BacktestConfig
from engine.margin.validation.one_series import LossSeries, base_margin, tool_margin

SHARE_DAYS = (1, 5, 10, 20)
RATIO_DAYS = (1, 5, 30)
_ORIGIN = np.datetime64("2000-01-01")


class ResponseConfig(BaseModel):
    """Choices of `step_responses`.

    Attributes
    ----------
    multiples : tuple of float
        M: volatility after the step over volatility before.
    horizon_days : int
        Days followed after the step.
    n_paths : int
        Paths averaged. On every day their shocks are the same normal quantiles in another order,
        so that the mean square over paths is exactly the variance.
    daily_volatility : float
        Volatility in calm, in the units of the margin; only a floor or rate in these units makes
        it matter.
    stress_multiple : float
        Volatility, over calm, of one earlier stress period: inside the ten-year lookback, outside
        the shorter ones. It is what tools that look at stress see.
    seed : int
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    multiples: tuple[float, ...] = (2.0, 5.0)
    horizon_days: int = Field(120, ge=20)
    n_paths: int = Field(32, ge=2)
    daily_volatility: float = Field(1.0, gt=0.0)
    stress_multiple: float = Field(3.0, ge=1.0)
    seed: int = Field(20200219, ge=0)


@dataclass(frozen=True)
class StepResponse:
    """Mean margin after a step of volatility to `multiple` times, over margin before it.

    `path` has shape (horizon_days + 1,): row n is the margin set at the close of the n-th day of
    the new volatility, over that of row 0, the last calm day.
    """

    multiple: float
    path: Float64Array

    def share(self, days: int) -> float:
        """Share of a proportional response reached after `days` days.

        (path[days] - 1) / (multiple - 1): 0 has not moved, 1 has followed in full. Above 1 margin
        has overshot.
        """
        return float((self.path[days] - 1.0) / (self.multiple - 1.0))

    def half_life_days(self) -> int | None:
        """First day on which half of a proportional response is reached; None if it never is."""
        reached = np.flatnonzero(self.path >= 1.0 + 0.5 * (self.multiple - 1.0))
        return int(reached[0]) if len(reached) else None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object: shares after `SHARE_DAYS` and the half-life."""
        return {
            "multiple": self.multiple,
            **{f"share_{days}d": self.share(days) for days in SHARE_DAYS},
            "half_life_days": self.half_life_days(),
        }


def step_responses(
    config: BacktestConfig, tools: tuple[str, ...], response: ResponseConfig
) -> dict[str, dict[float, StepResponse]]:
    """Follow one model under several tools through steps of volatility.

    Each path: ten calm years with one stress period in them, then the step. The stress period of
    a tool is the worst one known on the day.

    Parameters
    ----------
    config : BacktestConfig
        Model and parameters; `returns`, `side` and dates have no effect.
    tools : tuple of str
    response : ResponseConfig

    Returns
    -------
    dict of tool to dict of multiple to StepResponse

    Notes
    -----
    EWMA variance follows `engine.margin.stress.volatility_scale`: with lambda 0.97 and M = 2 its
    mean after 10 days is 0.7374 + 0.2626 * 4 times calm variance, and margin about 1.337 times.
    """
    known = BacktestConfig(
        **{
            **config.model_dump(),
            "stress_start": None,
            "stress_end": None,
            "stress_choice": "known",
        }
    )
    out: dict[str, dict[float, StepResponse]] = {tool: {} for tool in tools}
    for multiple in response.multiples:
        series = _step_series(known, response, multiple)
        base = base_margin(series, known, 1)
        for tool in tools:
            choice = BacktestConfig(**{**known.model_dump(), "apc": tool})
            margin = tool_margin(base, series, choice, 1)[-response.horizon_days - 1 :]
            mean = margin.mean(axis=1)
            if not mean[0] > 0.0:
                raise InputError("margin before the step is 0; its response has no meaning")
            out[tool][multiple] = StepResponse(multiple, mean / mean[0])
    return out


def responsiveness_ratio(margin: Float64Array, volatility: Float64Array, days: int) -> float:
    """Rise of margin over rise of volatility, over the `days` in which volatility rose most.

    (M[t] / M[t-n] - 1) / (s[t] / s[t-n] - 1) at the t with the largest s[t] / s[t-n].

    Parameters
    ----------
    margin, volatility : float64 arrays of shape (n_days,)
        Above 0. Volatility is a yardstick from outside the model, such as an implied volatility
        index or the realised volatility of `realised_volatility`.

    Returns
    -------
    float
        1: margin rose as volatility did. NaN if the window is not longer than `days` or
        volatility never rose.

    Examples
    --------
    Margin 10, 10, 15, volatility 1, 1, 2, one day: 0.5 / 1 = 0.5.
    """
    if margin.shape != volatility.shape:
        raise InputError(f"{margin.shape} margins but {volatility.shape} volatilities")
    if not ((margin > 0.0).all() and (volatility > 0.0).all()):
        raise InputError("margin and volatility must be above 0 to be compared by ratios")
    if len(margin) <= days:
        return float("nan")
    rise = volatility[days:] / volatility[:-days] - 1.0
    at = int(np.argmax(rise))
    if rise[at] <= 0.0:
        return float("nan")
    return float((margin[at + days] / margin[at] - 1.0) / rise[at])


def realised_volatility(returns: Float64Array, days: int) -> Float64Array:
    """Root mean square of the last `days` returns, shape (n,); NaN for the first `days` - 1.

    `realised_volatility([0.03, 0.04], 2)` is [nan, 0.0353553].
    """
    out = np.full(len(returns), np.nan)
    if len(returns) >= days:
        windows = np.lib.stride_tricks.sliding_window_view(returns, days)
        out[days - 1 :] = np.sqrt(np.mean(np.square(windows), axis=1))
    return out


def _step_series(config: BacktestConfig, response: ResponseConfig, multiple: float) -> LossSeries:
    """Losses (n_days, n_paths); margins begin `buffer_mean_days` before the last calm day."""
    followed = config.buffer_mean_days + response.horizon_days
    short = config.lookback_days + config.seed_days + config.stress_days + followed
    begin = max(config.floor_days, config.close_out_days, short)
    n_days = begin + followed
    rng = np.random.Generator(np.random.Philox(response.seed))
    loss = _balanced_shocks(rng, n_days, response.n_paths) * response.daily_volatility
    # As late as the first window of ten years reaches on the last day followed.
    loss[followed : followed + config.stress_days] *= response.stress_multiple
    loss[-response.horizon_days :] *= multiple
    return LossSeries(loss, _ORIGIN + np.arange(n_days), begin)


def _balanced_shocks(rng: np.random.Generator, n_days: int, n_paths: int) -> Float64Array:
    """Normal shocks whose mean is 0 and mean square 1 over the paths of every day."""
    from scipy.stats import norm

    quantile = norm.ppf((np.arange(n_paths) + 0.5) / n_paths)
    quantile /= np.sqrt(np.mean(quantile**2))
    return rng.permuted(np.tile(quantile, (n_days, 1)), axis=1)
