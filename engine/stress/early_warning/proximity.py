"""How near today is: to the thresholds, to past episodes, to the scenarios a user cares about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array
from engine.domain.failures import Failure, FailureReason
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.episodes import resemblance
from engine.stress.early_warning.panel import WHERE


@dataclass(frozen=True)
class ScenarioProximity:
    """How far the last days have gone towards a scenario.

    `proximity` is cos+ times the size ratio, in [0, 1], over the scenario's factors whose recent
    moves are observed; those carry `covered_share` of its squared size in daily volatilities.
    """

    scenario_id: str
    name: str
    proximity: float
    factors: int
    covered_share: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "scenario_id": self.scenario_id,
            "name": self.name,
            "proximity": self.proximity,
            "factors": self.factors,
            "covered_share": self.covered_share,
        }


def scenario_proximity(
    market: MarketState, scenarios: Sequence[Scenario], config: EarlyWarningConfig
) -> tuple[tuple[ScenarioProximity, ...], tuple[Failure, ...]]:
    """Compare the last `change_days` with each scenario's total moves, nearest first.

    Moves are in root mean square daily returns of the history up to the day. A factor with a
    simulated history does not count, since it did not move at all; a scenario without any factor
    that counts is a failure of that scenario.
    """
    rows = np.ones(len(market.dates), dtype=np.bool_)
    if config.as_of is not None:
        rows = market.dates <= np.datetime64(config.as_of, "D")
    history = market.returns[rows]
    recent = np.sum(history[-config.change_days :], axis=0)
    known = ~np.isnan(recent)
    usable = known & (~market.factors.synthetic | config.use_synthetic)
    scale = _root_mean_square(history, market.factors.daily_vol_floor)
    found, failures = [], []
    for scenario in scenarios:
        near = _near(market, scenario, recent, scale, usable)
        if near is None:
            failures.append(_unknown(scenario))
        else:
            found.append(near)
    return tuple(sorted(found, key=lambda near: -near.proximity)), tuple(failures)


def _near(
    market: MarketState,
    scenario: Scenario,
    recent: Float64Array,
    scale: Float64Array,
    usable: BoolArray,
) -> ScenarioProximity | None:
    column = market.index()
    moves = [(column[name], move) for name, move in scenario.moves.items() if name in column]
    if not moves:
        return None
    at = np.array([k for k, _ in moves], dtype=np.int64)
    target = np.array([move for _, move in moves]) / scale[at]
    here = usable[at]
    size = float(np.sum(target**2))
    if not np.any(target[here]):
        return None
    value = resemblance((recent[at] / scale[at])[np.newaxis, here], target[here])
    return ScenarioProximity(
        scenario_id=scenario.scenario_id,
        name=scenario.name,
        proximity=float(value[0]),
        factors=int(np.sum(here)),
        covered_share=float(np.sum(target[here] ** 2)) / size,
    )


def _root_mean_square(history: Float64Array, floor: Float64Array) -> Float64Array:
    known = ~np.isnan(history)
    squares = np.where(known, history, 0.0) ** 2
    mean = np.sum(squares, axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.asarray(np.maximum(np.sqrt(mean), floor), dtype=np.float64)


def _unknown(scenario: Scenario) -> Failure:
    message = (
        "none of the factors it moves has an observed history in the market; name factors that "
        "have, or give their history"
    )
    return Failure(FailureReason.MISSING_DATA, scenario.scenario_id, WHERE, message)
