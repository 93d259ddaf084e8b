"""What the search over managers found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from engine.domain.arrays import Float64Array
from engine.domain.failures import Failure
from engine.stress.combinations.reprice import Repriced


@dataclass(frozen=True)
class Combination:
    """Some managers in one scenario; USD.

    `strain_usd` is losses to pay plus the rise of margin by the fast measure, `singles_usd` the sum
    of what the managers would need each alone in the same scenario, `interaction_usd` their
    difference (negative: they net inside agreements), `coincidence` the strain over the sum of
    each manager's own worst scenario: near 1 they strain at the same time, so that they diversify
    nothing.
    """

    managers: tuple[str, ...]
    scenario_id: str
    strain_usd: float
    loss_usd: float
    margin_rise_usd: float
    singles_usd: float
    coincidence: float
    repriced: Repriced | None = None

    @property
    def interaction_usd(self) -> float:
        """Strain of the subset minus the sum of the managers alone."""
        return self.strain_usd - self.singles_usd

    def to_dict(self) -> dict[str, Any]:
        """Return the combination as JSON."""
        return {
            "managers": list(self.managers),
            "size": len(self.managers),
            "scenario_id": self.scenario_id,
            "strain_usd": self.strain_usd,
            "loss_usd": self.loss_usd,
            "margin_rise_usd": self.margin_rise_usd,
            "singles_usd": self.singles_usd,
            "interaction_usd": self.interaction_usd,
            "coincidence": None if math.isnan(self.coincidence) else self.coincidence,
            "repriced": None if self.repriced is None else self.repriced.to_dict(),
        }


@dataclass(frozen=True)
class CombinationResult:
    """The ranked combinations, by size and then by strain.

    `ranked` has each subset once, in its worst scenario; `by_scenario` has the worst subset of the
    largest size in every scenario, worst first. `searched` counts subsets times scenarios.
    `loss_correlation` (n_managers, n_managers) correlates the managers' P&L over the scenarios;
    NaN for a manager whose P&L does not vary.
    """

    ranked: tuple[Combination, ...]
    by_scenario: tuple[Combination, ...]
    searched: int
    managers: tuple[str, ...]
    loss_correlation: Float64Array
    failures: tuple[Failure, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return the worst combination of each size."""
        worst: dict[int, Combination] = {}
        for one in self.ranked:
            worst.setdefault(len(one.managers), one)
        return {
            "searched": self.searched,
            "worst": [one.to_dict() for one in worst.values()],
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all ranked combinations as JSON."""
        return {
            "searched": self.searched,
            "combinations": [one.to_dict() for one in self.ranked],
            "by_scenario": [one.to_dict() for one in self.by_scenario],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the combinations, those by scenario, and `manager_loss_correlation`."""
        correlation = pd.DataFrame(self.loss_correlation, columns=list(self.managers))
        correlation.insert(0, "manager_id", list(self.managers))
        return {
            "stress_combinations": _frame(self.ranked),
            "stress_combinations_by_scenario": _frame(self.by_scenario),
            "manager_loss_correlation": correlation,
        }


def _frame(combinations_: Sequence[Combination]) -> pd.DataFrame:
    rows = []
    for one in combinations_:
        row = one.to_dict()
        again = row.pop("repriced") or {}
        row["managers"] = " + ".join(one.managers)
        rows.append({**row, **{f"repriced_{key}": value for key, value in again.items()}})
    return pd.DataFrame(rows)
