"""Choices of a reverse stress test. Every default is shown beside the results."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.domain.scenarios import MOST_SCENARIO_DAYS

TargetMetric = Literal["exceed_liquidity_resources", "loss_usd", "calls_usd"]

# Without a box a ray must end somewhere: no market moves by this many of its deviations.
LARGEST_DISTANCE = 60.0


class ReverseConfig(BaseModel):
    """Choices of one reverse stress test; unknown keys are refused.

    Attributes
    ----------
    target_metric : str
        `exceed_liquidity_resources`: calls above what the fund can pay with. `loss_usd`: the
        fund's loss. `calls_usd`: calls alone (`engine.stress.reverse.fund_loss`).
    target_usd : float or None
        Loss or calls to reach. With `exceed_liquidity_resources`: shortfall beyond the resources;
        None is one cent.
    search_algorithm : {"genetic"}
    max_iterations : int
        Generations at most; the search ends earlier when it has converged.
    population : int
    plausibility_constraints : bool
        Keep every factor searched within `box_sigmas` standard deviations over the horizon, and
        `signs`. False leaves only the distance limit of 60.
    box_sigmas : float
        10 is an assumption of the house.
    signs : dict of factor id to -1 or 1
        1: the factor may not fall, -1: it may not rise.
    drivers : int or None
        Search only the factors with the largest exposures; the others follow at their conditional
        mean. None searches all factors the fund holds.
    horizon_days : int
        Business days the move takes. It is spread evenly over them.
    gains_usable_share : float
        Share of what gaining agreements pay that arrives in time to pay the calls of others.
    include_open_calls : bool
        Today's unpaid calls are to be paid first.
    answers, similarity
        At most so many answers; any two have a cosine below `similarity` in whitened units.
    correlation_lookback_days : int
    remargin : bool
        Re-price every answer with the full margin engine on the moved market.
    seed : int
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    target_metric: TargetMetric = "exceed_liquidity_resources"
    target_usd: Annotated[float, Field(gt=0.0)] | None = None
    search_algorithm: Literal["genetic"] = "genetic"
    max_iterations: Annotated[int, Field(ge=1, le=1_000)] = 1_000
    population: Annotated[int, Field(ge=20, le=2_000)] = 200
    plausibility_constraints: bool = True
    box_sigmas: Annotated[float, Field(gt=0.0, le=LARGEST_DISTANCE)] = 10.0
    signs: dict[str, Literal[-1, 1]] = {}
    drivers: Annotated[int, Field(ge=1)] | None = None
    horizon_days: Annotated[int, Field(ge=1, le=MOST_SCENARIO_DAYS)] = 1
    gains_usable_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    include_open_calls: bool = True
    answers: Annotated[int, Field(ge=1, le=20)] = 5
    similarity: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    correlation_lookback_days: Annotated[int, Field(ge=60, le=5_000)] = 500
    remargin: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20_200_316

    @model_validator(mode="after")
    def _target_given(self) -> ReverseConfig:
        if self.target_metric != "exceed_liquidity_resources" and self.target_usd is None:
            raise ValueError(
                f"target_metric {self.target_metric} needs target_usd: the amount to reach"
            )
        return self
