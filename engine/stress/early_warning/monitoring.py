"""The monitoring plan: what to read each day, from which value on, and what to do then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.avalanche.detect import AMPLIFIED_BRANCHING, AVALANCHE_BRANCHING
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.proximity import ScenarioProximity
from engine.stress.early_warning.result import Indicator

ACTIONS = {
    "score": (
        "high: review liquid resources against the stressed calls of the day; critical: hold the "
        "next step of margin in cash, make sure that credit lines can be drawn"
    ),
    "volatility": "look for the market that moves, and for the agreements that hold it",
    "volatility_change": "run the volatility ladder from today's book",
    "turbulence": "look at hedges: the moves together are unusual, not only their size",
    "similarity": "run the episode most alike on today's book",
    "margin_pressure": "expect the next step: requirements are above what is posted",
    "scenario": "run the scenario on today's book",
    "avalanche": "reduce what would be sold first, or widen cash and credit lines",
}


def monitoring_plan(
    score: float,
    indicators: Sequence[Indicator],
    scenarios: Sequence[ScenarioProximity],
    avalanche: dict[str, Any] | None,
    config: EarlyWarningConfig,
) -> tuple[dict[str, Any], ...]:
    """Return one row for each measure: value today, the two triggers, the status and the action.

    Ranks, the score and the nearest scenario share the score's thresholds; the branching ratio
    has those of the avalanche detector (amplified and avalanche).
    """
    rows = [_row("score", score, config.high, config.critical, ACTIONS["score"])]
    rows += [
        _row(f"{signal.name} (rank)", signal.rank, config.high, config.critical,
             ACTIONS[signal.name])
        for signal in indicators
    ]  # fmt: skip
    rows += [
        _row(f"scenario {near.scenario_id}", near.proximity, config.high, config.critical,
             ACTIONS["scenario"])
        for near in scenarios[:1]
    ]  # fmt: skip
    if avalanche is not None:
        rows.append(
            _row("branching ratio", float(avalanche["branching_ratio"]), AMPLIFIED_BRANCHING,
                 AVALANCHE_BRANCHING, ACTIONS["avalanche"])
        )  # fmt: skip
    return tuple(rows)


def _row(measure: str, value: float, high: float, critical: float, action: str) -> dict[str, Any]:
    known = not np.isnan(value)
    status = "unknown"
    if known:
        status = "critical" if value >= critical else "high" if value >= high else "normal"
    return {
        "measure": measure,
        "frequency": "daily, at the close",
        "today": value if known else None,
        "high_from": high,
        "critical_from": critical,
        "status": status,
        "action": action,
    }
