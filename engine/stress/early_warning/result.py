"""What the early-warning system answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from engine.domain.failures import Failure
from engine.stress.early_warning.evaluate import Evaluation, interval, known
from engine.stress.early_warning.proximity import ScenarioProximity

SHOWN = 5


@dataclass(frozen=True)
class Indicator:
    """One signal today: its value, its rank among all values so far, its part of the score."""

    name: str
    words: str
    value: float
    rank: float
    contribution: float

    def to_dict(self) -> dict[str, Any]:
        """Return the indicator as JSON."""
        return {
            "name": self.name,
            "words": self.words,
            "value": known(self.value),
            "rank": known(self.rank),
            "contribution": self.contribution,
        }


@dataclass(frozen=True)
class EarlyWarningResult:
    """Today's score, what it is made of, what today looks like, and how good scores were.

    Attributes
    ----------
    as_of : date
    score : float
        In [0, 1], the mean of the ranks; `level` is `normal`, `high` or `critical`.
    proximity : dict
        `of_high` and `of_critical` (score over threshold), `higher_than` (share of scored days
        below today's score), `event_rate` (share of the days of today's level that lay before an
        event, with its interval).
    indicators : tuple of Indicator
        Contributions sum to the score.
    resembles : DataFrame
        Similarity of the last days to each episode, most alike first: `episode_id`, `episode`,
        `first`, `last`, `similarity` (NaN: not counted), `members_known`.
    scenarios : tuple of ScenarioProximity
    avalanche : dict or None
        What the margin avalanche given by the caller said.
    evaluation : Evaluation
        The past of the score, on the same index.
    monitoring : tuple of dict
        What to look at each day, from which value on, and what to do then.
    members : tuple of str
        Factors of the margin index; `covered_share` is their part of the fund's margin.
    volatility_source : str
    history : DataFrame
        Every scored day: index (100 on the first), score, level, values and ranks of the signals,
        the episode most alike, and `rise_ahead`, which was not known on the day.
    left_out : tuple of Failure
        Factors the fund holds that are no members by rule, each with its reason.
    config : dict
    failures : tuple of Failure
    """

    as_of: date
    score: float
    level: str
    proximity: dict[str, Any]
    indicators: tuple[Indicator, ...]
    resembles: pd.DataFrame
    scenarios: tuple[ScenarioProximity, ...]
    avalanche: dict[str, Any] | None
    evaluation: Evaluation
    monitoring: tuple[dict[str, Any], ...]
    members: tuple[str, ...]
    covered_share: float
    volatility_source: str
    history: pd.DataFrame
    left_out: tuple[Failure, ...]
    config: dict[str, Any]
    failures: tuple[Failure, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return the score, its parts, the nearest episodes and the key figures of the past."""
        past = self.evaluation
        return {
            "as_of": self.as_of.isoformat(),
            "score": self.score,
            "level": self.level,
            "proximity": self.proximity,
            "indicators": [indicator.to_dict() for indicator in self.indicators],
            "resembles": self._alike(SHOWN),
            "scenarios": [near.to_dict() for near in self.scenarios[:SHOWN]],
            "auroc": interval(past.auroc),
            "auroc_volatility_alone": interval(past.auroc_volatility),
            "lead_days": interval(past.lead_days),
            "events": len(past.events),
            "events_warned": past.at[-1].warned,
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of `mca warning --json`; the history is in the tables."""
        return {
            "as_of": self.as_of.isoformat(),
            "score": self.score,
            "level": self.level,
            "proximity": self.proximity,
            "indicators": [indicator.to_dict() for indicator in self.indicators],
            "resembles": self._alike(len(self.resembles)),
            "scenarios": [near.to_dict() for near in self.scenarios],
            "avalanche": self.avalanche,
            "evaluation": self.evaluation.to_dict(),
            "monitoring": list(self.monitoring),
            "members": list(self.members),
            "left_out": [factor.to_dict() for factor in self.left_out],
            "covered_share": self.covered_share,
            "volatility_source": self.volatility_source,
            "config": self.config,
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return history, indicators, episodes, scenarios, events, thresholds and monitoring."""
        thresholds = [
            {
                "threshold": at.threshold,
                **_spread("alert_days", at.alert_days.to_dict()),
                **_spread("precision", at.precision.to_dict()),
                **_spread("recall", at.recall.to_dict()),
                "alarms": at.alarms,
                **_spread("alarms_followed", at.followed.to_dict()),
                "events_warned": at.warned,
                "events_warned_before_the_move": at.before_move,
            }
            for at in self.evaluation.at
        ]
        return {
            "warning_history": self.history,
            "warning_indicators": pd.DataFrame([i.to_dict() for i in self.indicators]),
            "warning_episodes": self.resembles,
            "warning_scenarios": pd.DataFrame(
                [near.to_dict() for near in self.scenarios],
                columns=["scenario_id", "name", "proximity", "factors", "covered_share"],
            ),
            "warning_events": self.evaluation.table(),
            "warning_thresholds": pd.DataFrame(thresholds),
            "warning_left_out": pd.DataFrame([f.to_dict() for f in self.left_out]),
            "warning_monitoring": pd.DataFrame(list(self.monitoring)),
        }

    def _alike(self, count: int) -> list[dict[str, Any]]:
        rows = self.resembles.head(count).to_dict("records")
        named = [{str(name): value for name, value in row.items()} for row in rows]
        return [{**row, "similarity": known(row["similarity"])} for row in named]


def _spread(name: str, values: dict[str, float]) -> dict[str, float]:
    return {
        name: values["value"],
        f"{name}_low": values["low"],
        f"{name}_high": values["high"],
    }
