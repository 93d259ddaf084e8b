"""Validation pack: every margin model and every tool on one series, in one table.

Coverage and procyclicality stand side by side: a model that never breaches may be one that charges
too much, and a model that never moves may be one that breaches.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from engine.domain.arrays import DateArray, Float64Array
from engine.domain.failures import Failure, FailureReason, InputError
from engine.margin.config import BacktestConfig
from engine.margin.historical import ewma_volatility
from engine.margin.validation.backtest import BacktestResult, backtest_margin, backtest_tools
from engine.margin.validation.coverage import Coverage
from engine.margin.validation.responsiveness import (
    RATIO_DAYS,
    ResponseConfig,
    StepResponse,
    realised_volatility,
    responsiveness_ratio,
    step_responses,
)
from engine.margin.validation.simulated_returns import Law, simulated_returns

MODELS_FILE = "validation_models.json"
TOOLS = ("none", "buffer", "stress_weight", "long_run_floor", "stress_floor", "step")
YARDSTICK_DAYS = 20
"""Days of the realised volatility with which the rise of margin is compared."""


@dataclass(frozen=True)
class GridModel:
    """One model of the comparison: `choices` are fields of `BacktestConfig`.

    `needs` are fields that the run must have for the model's numbers to mean anything.
    """

    model_id: str
    name: str
    choices: dict[str, Any]
    needs: dict[str, Any]
    mark: str
    source: str


class ValidationConfig(BaseModel):
    """Choices of `validate_models`.

    Attributes
    ----------
    models : tuple of str or None
        Ids of the packaged grid; None is all of them.
    tools : tuple of str
        Anti-procyclicality tools, each applied to each model.
    series : BacktestConfig
        What all models share: margin period, lookback, returns, side, window, stress period. By
        default the stress period of a day is the worst one known on that day.
    response : ResponseConfig
        Simulated step of volatility; `daily_volatility` is replaced by the median of the series.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] | None = None
    tools: tuple[str, ...] = Field(TOOLS, min_length=1)
    series: BacktestConfig = Field(
        default_factory=lambda: BacktestConfig(stress_choice="known"),
        description="choices all models share",
    )
    response: ResponseConfig = Field(default_factory=ResponseConfig)


@dataclass(frozen=True)
class ValidationResult:
    """Outcome of `validate_models`.

    `table` has one row for each model and tool, in the order of the grid; `failures` name the
    models that could not be run on the series. `first_day` and `last_day` are those of the tests.
    """

    table: pd.DataFrame
    failures: tuple[Failure, ...]
    rulebook: str
    first_day: str
    last_day: str
    config: ValidationConfig

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object; a figure that does not exist is None."""
        table = self.table.astype(object).where(self.table.notna(), None)
        return {
            "first_day": self.first_day,
            "last_day": self.last_day,
            "rulebook": self.rulebook,
            "config": self.config.model_dump(mode="json"),
            "rows": table.to_dict("records"),
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `validation`, the table."""
        return {"validation": self.table}


@cache
def grid_models() -> tuple[str, dict[str, GridModel]]:
    """Return the version of the packaged grid and its models by id, in file order."""
    from importlib.resources import files

    path = Path(str(files("engine.rulebooks") / MODELS_FILE))
    found = json.loads(path.read_text(encoding="utf-8"))
    models = {row["model_id"]: GridModel(**{"needs": {}, **row}) for row in found["models"]}
    return f"validation_models:{found['version']}", models


def validate_models(
    levels: npt.ArrayLike, dates: npt.ArrayLike, config: ValidationConfig
) -> ValidationResult:
    """Test coverage and measure procyclicality of every model under every tool on one series.

    Parameters
    ----------
    levels, dates : array_like of shape (n_days,)
        As for `backtest_margin`.
    config : ValidationConfig

    Returns
    -------
    ValidationResult
        Columns of the table: ids and mark; coverage and its tests
        (`engine.margin.validation.coverage`); coverage over the whole margin period, whose days
        overlap; peak to trough and largest rises in the window; mean margin in the window (the
        cost); shares of a proportional response 1, 5, 10 and 20 days after volatility doubles,
        its half-life, and the share 5 days after it
        rises five times; rise of margin over rise of realised volatility over 1, 5 and 30 days.

    Raises
    ------
    InputError
        If the series cannot be used, or the config names a model or tool that is not there.

    Notes
    -----
    S&P 500 1990-2022, window 2019-2020: `fhs_97` without tool has 76 breaches in 7061 days and
    peak to trough 9.25; `flat` never moves and has 296.
    """
    rulebook, grid = grid_models()
    chosen = _chosen(grid, config)
    yardstick = _yardstick(levels, dates, config.series)
    sigma = ewma_volatility(yardstick[1], config.series.ewma_lambda, config.series.seed_days)
    response = config.response.model_copy(update={"daily_volatility": float(np.median(sigma))})
    rows: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for model in chosen:
        missing = {k: v for k, v in model.needs.items() if getattr(config.series, k) != v}
        if missing:
            failures.append(_not_applicable(model, missing))
            continue
        choice = BacktestConfig(**{**config.series.model_dump(), **model.choices, "apc": "none"})
        try:
            results = backtest_tools(levels, dates, choice, config.tools)
            steps = step_responses(choice, config.tools, response)
        except InputError as error:
            failures.append(
                Failure(FailureReason.CALCULATION_FAILED, model.model_id, "validation", str(error))
            )
            continue
        rows += [_row(model, tool, results[tool], steps[tool], yardstick) for tool in config.tools]
    if not rows:
        raise InputError("; ".join(failure.message for failure in failures))
    days = [row.pop("_days") for row in rows]
    return ValidationResult(
        table=pd.DataFrame(rows),
        failures=tuple(failures),
        rulebook=rulebook,
        first_day=str(min(first for first, _ in days)),
        last_day=str(max(last for _, last in days)),
        config=config,
    )


def simulated_coverage(config: BacktestConfig, law: Law, n_days: int, seed: int) -> Coverage:
    """Coverage of a model on returns of a known law, tested on `n_days` days.

    Examples
    --------
    The default model on `garch`, 20,000 days, seed 2020: a breach rate between 0.8 and 1.2 %.
    """
    returns = simulated_returns(law, n_days + config.lookback_days + 1, seed)
    level = np.concatenate([[0.0], np.cumsum(returns)])
    dates = np.datetime64("1900-01-01") + np.arange(len(level))
    choice = BacktestConfig(**{**config.model_dump(), "returns": "absolute"})
    return backtest_margin(level, dates, choice).coverage


def _chosen(grid: dict[str, GridModel], config: ValidationConfig) -> list[GridModel]:
    wanted = tuple(grid) if config.models is None else config.models
    unknown = [name for name in wanted if name not in grid]
    if unknown or not wanted:
        raise InputError(f"no model {', '.join(unknown)!r}; the grid has {', '.join(grid)}")
    return [grid[name] for name in wanted]


def _not_applicable(model: GridModel, missing: dict[str, Any]) -> Failure:
    needed = ", ".join(f"{name} = {value}" for name, value in missing.items())
    message = f"its published numbers are for {needed}; run it with these or leave it out"
    return Failure(FailureReason.NOT_APPLICABLE, model.model_id, "validation grid", message)


def _yardstick(
    levels: npt.ArrayLike, dates: npt.ArrayLike, config: BacktestConfig
) -> tuple[DateArray, Float64Array, Float64Array]:
    """Return days, returns and realised volatility of the series."""
    level = np.asarray(levels, dtype=np.float64)
    known = np.isfinite(level)
    day = np.asarray(dates, dtype="datetime64[D]")[known]
    level = level[known]
    if len(level) < 2 or (config.returns == "log" and not (level > 0.0).all()):
        # The backtest says in full what is wrong with such a series.
        backtest_margin(levels, dates, config)
    returns = np.diff(np.log(level) if config.returns == "log" else level)
    return day[1:], returns, realised_volatility(returns, YARDSTICK_DAYS)


def _row(
    model: GridModel,
    tool: str,
    result: BacktestResult,
    steps: dict[float, StepResponse],
    yardstick: tuple[DateArray, Float64Array, Float64Array],
) -> dict[str, Any]:
    found = result.to_dict()
    period = found.pop("period")
    stress = found.pop("stress_period")
    responses = {}
    for multiple, step in steps.items():
        for name, value in step.to_dict().items():
            if name != "multiple":
                responses[f"step{multiple:g}x_{name}"] = value
    return {
        "model_id": model.model_id,
        "model": model.name,
        "tool": tool,
        "mark": model.mark,
        **found,
        "period_days": period["days"],
        "period_breach_rate": period["breach_rate"],
        "period_overlapping": period["overlapping"],
        "period_apart_kupiec_p": period["apart_kupiec_p"],
        **responses,
        **_ratios(result, yardstick),
        "stress_period": None if stress is None else "/".join(stress),
        "_days": (result.dates[0], result.dates[-1]),
    }


def _ratios(
    result: BacktestResult, yardstick: tuple[DateArray, Float64Array, Float64Array]
) -> dict[str, float]:
    day, _, volatility = yardstick
    now = volatility[np.searchsorted(day, result.window_dates)]
    return {
        f"responsiveness_{days}d": responsiveness_ratio(result.window_margin, now, days)
        for days in RATIO_DAYS
    }
