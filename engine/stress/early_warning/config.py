"""The choices of the early-warning system. None is fitted; every default is shown with results."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Days = Annotated[int, Field(ge=1, le=10_000)]


class EarlyWarningConfig(BaseModel):
    """Choices of index, signals, thresholds and evaluation; unknown keys are refused.

    Attributes
    ----------
    as_of : date or None
        Day of the score; None: the last day of the market. Nothing after it is used.
    first_day : date or None
        History before it is not used; None: all of it. A later day lets factors in that begin late.
    margin_decay, floor_days : float, int
        Requirement of a factor: EWMA volatility, at least its own mean of the last `floor_days`
        days (tool (c) of EMIR RTS 153/2013 Article 28) and at least the factor's floor.
    step_share, quiet_days : float, int
        Posted margin moves only when the requirement is `step_share` away: up on the next day,
        down after `quiet_days` such days in a row.
    fast_decay : float
        EWMA decay of the requirement in margin pressure.
    realised_days, change_days : int
        Windows of realised volatility, and of its change, of turbulence and of similarity.
    turbulence_days : int
        Days of the covariance; it ends `change_days` before the day scored.
    covariance_shrinkage : float
        Weight of the identity in the correlation of turbulence, so that redundant factors (a cross
        and its two pairs) do not make it singular.
    burn_in_days, rank_days : int
        No score before `burn_in_days`; a signal has a rank after `rank_days` values.
    high, critical : float
        Thresholds of the score.
    episode_embargo_days : int
        An episode counts from this many calendar days after its end.
    rise_share, horizon_days : float, int
        An event: the index rises by `rise_share` within `horizon_days`.
    event_gap_days, lead_days : int
        Rises closer than the first are one event; a lead is looked for within the second.
    use_synthetic : bool
        Whether factors with a simulated history may take part. What they give is no evidence.
    keep_factors, leave_out : tuple of str
        Factors kept although the rulebook excludes them, and factors excluded in addition.
    resamples, seed : int
        Bootstrap by calendar years.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    as_of: date | None = None
    first_day: date | None = None
    margin_decay: Share = 0.97
    floor_days: Days = 2500
    step_share: Share = 0.10
    quiet_days: Days = 20
    fast_decay: Share = 0.90
    realised_days: Annotated[int, Field(ge=2, le=250)] = 10
    change_days: Annotated[int, Field(ge=1, le=60)] = 5
    turbulence_days: Annotated[int, Field(ge=60, le=2500)] = 500
    covariance_shrinkage: Share = 0.01
    burn_in_days: Annotated[int, Field(ge=250, le=10_000)] = 1250
    rank_days: Annotated[int, Field(ge=20, le=10_000)] = 250
    high: Share = 0.7
    critical: Share = 0.9
    episode_embargo_days: Annotated[int, Field(ge=1, le=365)] = 30
    rise_share: Share = 0.10
    horizon_days: Annotated[int, Field(ge=1, le=60)] = 10
    event_gap_days: Days = 20
    lead_days: Days = 20
    use_synthetic: bool = False
    keep_factors: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    resamples: Annotated[int, Field(ge=50, le=10_000)] = 500
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20_200_316

    @model_validator(mode="after")
    def _consistent(self) -> EarlyWarningConfig:
        if self.high >= self.critical:
            raise ValueError(f"high {self.high:g} must be below critical {self.critical:g}")
        least = self.turbulence_days + 2 * self.change_days + self.rank_days
        if self.burn_in_days < least:
            raise ValueError(
                f"burn_in_days {self.burn_in_days} must be at least turbulence_days + "
                f"2 change_days + rank_days = {least}: before that a signal has no rank"
            )
        return self
