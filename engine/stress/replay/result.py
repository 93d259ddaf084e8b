"""What a replay answers: a row for each day, what was said beside what then happened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.failures import Failure
from engine.stress.replay.config import EpisodeReplayConfig
from engine.stress.replay.episode_file import ReplayEpisode
from engine.stress.replay.scores import lead_days

HIGH, CRITICAL = 0.7, 0.9
ALMOST_SURE = 0.5


@dataclass(frozen=True)
class EpisodeReplay:
    """Outcome of `replay_episode`, USD.

    Attributes
    ----------
    days : pd.DataFrame
        One row a day. Said at the close before (`said_on`): `im_said_usd` (margin engine),
        `call_expected_usd`, `call_q99_usd`, `p_exhaustion`, `p_exhaustion_low`,
        `p_exhaustion_high`, `score`. Then, means over bridges: `call_usd`, `call_low_usd` and
        `call_high_usd` (5 % and 95 %), `im_usd` (as the simulation carries it), `liquidity_usd`,
        `liquidity_lowest_usd`, `held_share` (margin-weighted share of positions left),
        `exhausted_share`, `defaulted_share`; `moved`, the largest move in daily standard
        deviations; `factor`, whose it was.
    agreements : pd.DataFrame
        `date`, `agreement_id`, `call_usd`, `im_usd`.
    basis : pd.DataFrame
        How each factor's levels are known: `factor_id`, `basis`, `mark`, `source`.
    score_of : str
        Whose factors the score is of.
    opening_usd : dict of str to float
        Cash, securities after haircut, lines, on the first day.
    """

    episode: ReplayEpisode
    days: pd.DataFrame
    agreements: pd.DataFrame
    basis: pd.DataFrame
    score_of: str
    opening_usd: dict[str, float]
    config: EpisodeReplayConfig
    failures: tuple[Failure, ...] = ()

    @property
    def exhausted_on(self) -> str | None:
        """First day at whose end a call was unpaid on half of the bridges, or None."""
        rows = np.flatnonzero(self.days["exhausted_share"].to_numpy() >= ALMOST_SURE)
        return str(self.days["date"].iloc[rows[0]]) if len(rows) else None

    def exhausted_after_days(self) -> int | None:
        """Business days from the first close to `exhausted_on`."""
        rows = np.flatnonzero(self.days["exhausted_share"].to_numpy() >= ALMOST_SURE)
        return int(rows[0]) + 1 if len(rows) else None

    def peak_over_mean(self) -> float:
        """Largest day's calls over the mean of the other days; NaN where those are zero."""
        calls = self.days["call_usd"].to_numpy()
        rest = np.delete(calls, int(np.argmax(calls)))
        return float(calls.max() / rest.mean()) if rest.size and rest.mean() > 0.0 else math.nan

    def score_lead_days(self, threshold: float = CRITICAL) -> int | None:
        """Trading days from the first score at `threshold` to the day of the largest call."""
        event = int(np.argmax(self.days["call_usd"].to_numpy()))
        # The score of row t was said at the close before: it is one day ahead of the row.
        lead = lead_days(self.days["score"].to_numpy(), event + 1, threshold)
        return lead

    def summary(self) -> dict[str, Any]:
        """Return the few figures a reader needs."""
        days = self.days
        worst = int(np.argmax(days["call_usd"].to_numpy()))
        beyond = days["call_usd"] > days["call_q99_usd"]
        return {
            "episode": self.episode.episode_id,
            "title": self.episode.title,
            "first": str(days["said_on"].iloc[0]),
            "last": str(days["date"].iloc[-1]),
            "calls_total_usd": float(days["call_usd"].sum()),
            "largest_call_usd": float(days["call_usd"].iloc[worst]),
            "largest_call_on": str(days["date"].iloc[worst]),
            "largest_call_expected_usd": float(days["call_expected_usd"].iloc[worst]),
            "largest_call_q99_usd": float(days["call_q99_usd"].iloc[worst]),
            "peak_over_mean_of_other_days": _known(self.peak_over_mean()),
            "days_beyond_q99": int(beyond.sum()),
            "days": len(days),
            "exhausted_on": self.exhausted_on,
            "exhausted_after_days": self.exhausted_after_days(),
            "p_exhaustion_first": float(days["p_exhaustion"].iloc[0]),
            "p_exhaustion_highest": float(days["p_exhaustion"].max()),
            "score_first": _known(float(days["score"].iloc[0])),
            "score_highest": _known(float(days["score"].max())),
            "score_of": self.score_of,
            "score_lead_days": self.score_lead_days(),
            "marks": sorted(set(self.basis["mark"])),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object: summary, days, how levels are known, choices, failures."""
        return {
            **self.summary(),
            "opening_usd": self.opening_usd,
            "basis": self.basis.to_dict("records"),
            "by_day": _rows(self.days),
            "config": self.config.model_dump(mode="json", exclude={"margin"}),
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `episode_days`, `episode_agreements` and `episode_basis`."""
        return {
            "episode_days": self.days,
            "episode_agreements": self.agreements,
            "episode_basis": self.basis,
        }


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            str(key): _known(value) if isinstance(value, float) else value
            for key, value in row.items()
        }
        for row in frame.to_dict("records")
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
