"""A set of stress scenarios with their plausibility and what they cost the fund."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.failures import Failure
from engine.domain.scenarios import Scenario
from engine.stress.generator.losses import ScenarioLosses
from engine.stress.library.episodes import EpisodeRow


@dataclass(frozen=True)
class ScenarioEntry:
    """One scenario of a set.

    Attributes
    ----------
    scenario : Scenario
    named : tuple of str
        Factors whose moves were given, not completed.
    basis : dict of str to str
        Where each move comes from: `named`, `cross rate` or `conditional mean`.
    dimension : int
        Moves chosen freely: factors an episode or user names, 1 for a direction of the rulebook.
    distance : float
        Mahalanobis D of the named moves over the days of the scenario; NaN without a move.
    tail_probability : float
        Chance that as many normals are so far out. Markets are not normal: a ranking, no forecast.
    share_of_worst : float
        Turbulence over the largest one of the library.
    library_rank : float
        Share of the library's episodes with a smaller turbulence.
    pnl_usd, calls_usd : float
        Mean P&L of the fund, and losses to pay when gains elsewhere do not help; NaN without a
        fund.
    facts : tuple of EpisodeRow
        Facts on margin and calls of the episode, shown beside it.
    """

    scenario: Scenario
    named: tuple[str, ...]
    basis: dict[str, str]
    dimension: int
    distance: float
    tail_probability: float
    share_of_worst: float
    library_rank: float
    pnl_usd: float
    calls_usd: float
    facts: tuple[EpisodeRow, ...] = ()

    @property
    def turbulence(self) -> float:
        """D over the root of the dimension: standard deviations per free move."""
        return self.distance / math.sqrt(self.dimension) if self.dimension else math.nan

    @property
    def completed(self) -> tuple[str, ...]:
        """Factors that moved by conditional mean; these moves are indicative."""
        return tuple(name for name, where in self.basis.items() if where == "conditional mean")

    def to_dict(self) -> dict[str, Any]:
        """Return what a list shows; a scenario without moves has no distance."""
        scenario = self.scenario
        return {
            "scenario_id": scenario.scenario_id,
            "name": scenario.name,
            "kind": scenario.kind,
            "severity": scenario.severity,
            "mark": scenario.mark,
            "days": scenario.days,
            "volatility_multiplier": scenario.volatility_multiplier,
            "factors_named": len(self.named),
            "factors_completed": len(self.completed),
            "dimension": self.dimension,
            "distance": _known(self.distance),
            "turbulence": _known(self.turbulence),
            "tail_probability": _known(self.tail_probability),
            "share_of_worst": _known(self.share_of_worst),
            "library_rank": _known(self.library_rank),
            "pnl_usd": _known(self.pnl_usd),
            "calls_usd": _known(self.calls_usd),
        }


@dataclass(frozen=True)
class ScenarioSet:
    """Scenarios of a fund on one date, in the order they were made.

    `severity_distances` are the sizes of the levels in standard deviations, and
    `severity_volatility` their steps of volatility, both read off the library.
    """

    as_of: str
    entries: tuple[ScenarioEntry, ...]
    severity_distances: dict[str, float]
    severity_volatility: dict[str, float]
    losses: ScenarioLosses | None
    failures: tuple[Failure, ...] = ()

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios alone, as the simulation takes them."""
        return tuple(entry.scenario for entry in self.entries)

    def entry(self, scenario_id: str) -> ScenarioEntry:
        """Return one entry; an unknown id raises KeyError."""
        for entry in self.entries:
            if entry.scenario.scenario_id == scenario_id:
                return entry
        raise KeyError(scenario_id)

    def worst(self, most: int = 10) -> list[ScenarioEntry]:
        """Return the scenarios with the largest losses to pay, worst first; none without a fund."""
        known = [entry for entry in self.entries if not math.isnan(entry.calls_usd)]
        return sorted(known, key=lambda entry: -entry.calls_usd)[:most]

    def summary(self, most: int = 10) -> dict[str, Any]:
        """Return counts by kind, the sizes of the severities, and the worst scenarios."""
        kinds = [entry.scenario.kind for entry in self.entries]
        return {
            "as_of": self.as_of,
            "scenarios": len(self.entries),
            "by_kind": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
            "severity_distances": self.severity_distances,
            "severity_volatility": self.severity_volatility,
            "worst": [entry.to_dict() for entry in self.worst(most)],
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the full JSON object of `mca scenarios --json`."""
        return {
            "as_of": self.as_of,
            "severity_distances": self.severity_distances,
            "severity_volatility": self.severity_volatility,
            "scenarios": [entry.to_dict() for entry in self.entries],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `scenarios`, `scenario_moves`, `scenario_facts`, and P&L by manager of a fund."""
        tables = {
            "scenarios": pd.DataFrame([entry.to_dict() for entry in self.entries]),
            "scenario_moves": pd.DataFrame(
                [
                    (entry.scenario.scenario_id, name, move, entry.basis.get(name, "named"))
                    for entry in self.entries
                    for name, move in entry.scenario.moves.items()
                ],
                columns=["scenario_id", "factor_id", "move", "basis"],
            ),
            "scenario_facts": pd.DataFrame(
                [
                    {"scenario_id": entry.scenario.scenario_id, **row.to_dict()}
                    for entry in self.entries
                    for row in entry.facts
                ]
            ),
        }
        if self.losses is not None:
            managers = self.losses.exposures.book.managers.manager_id.astype(str)
            ids = [entry.scenario.scenario_id for entry in self.entries]
            tables["scenario_pnl_by_manager"] = pd.DataFrame(
                {
                    "scenario_id": np.repeat(ids, len(managers)),
                    "manager_id": np.tile(managers, len(ids)),
                    "pnl_usd": self.losses.manager_usd.T.ravel(),
                }
            )
        return tables


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
