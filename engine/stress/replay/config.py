"""The choices of an episode replay. Every default is shown with the result."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from engine.avalanche.config import AvalancheConfig
from engine.margin.config import MarginConfig


class EpisodeReplayConfig(BaseModel):
    """How an episode is replayed; unknown keys are refused.

    Attributes
    ----------
    paths, horizon_days : int
        Of the run that is started at the close of every day.
    bridges : int
        Ways in which prices may have gone through the hours of the real days; each ends every day
        at the real close.
    seed : int
        Of the bridges and of the runs.
    avalanche : AvalancheConfig
        Assumptions of the runs. Volatility is that of the day: a multiplier of 1.
    margin : MarginConfig
    max_stale_days : int
        Calendar days a level may be old.
    warning : bool
        Whether to score every day with the early-warning system.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    paths: Annotated[int, Field(ge=64, le=100_000)] = 512
    horizon_days: Annotated[int, Field(ge=1, le=30)] = 10
    bridges: Annotated[int, Field(ge=1, le=1024)] = 64
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20_200_316
    avalanche: AvalancheConfig = AvalancheConfig(volatility_multiplier=1.0)
    margin: MarginConfig = Field(default_factory=MarginConfig)
    max_stale_days: Annotated[int, Field(ge=0)] = 10
    warning: bool = True

    def forecast(self) -> AvalancheConfig:
        """Return the assumptions of the run started at a day's close."""
        changed = {"paths": self.paths, "horizon_days": self.horizon_days, "seed": self.seed}
        return self.avalanche.model_copy(update=changed)

    def realised(self, days: int) -> AvalancheConfig:
        """Return those of the run along real prices: no noise, no impact.

        Real closes already hold what everybody's sales did to them.
        """
        changed = {
            "horizon_days": days,
            "noise": False,
            "feedback": False,
            "volatility_multiplier": 1.0,
        }
        return self.avalanche.model_copy(update=changed)
