"""A stress scenario: what happens to markets, and over how many days.

A scenario moves factors (a mean path), volatility, correlation, market depth and haircuts. The
simulation adds random moves around it; a deterministic evaluation uses the mean path alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ScenarioKind = Literal[
    "historical",
    "hypothetical",
    "volatility",
    "correlation",
    "concentration",
    "model_change",
    "combination",
    "user",
]
Severity = Literal["moderate", "severe", "extreme"]
Evidence = Literal["verified", "indicative", "user"]

Positive = Annotated[float, Field(gt=0.0)]
Sign = Annotated[float, Field(ge=-1.0, le=1.0)]
Multiple = Annotated[float, Field(ge=1.0, le=100.0)]

MOST_SCENARIO_DAYS = 30


class Scenario(BaseModel):
    """One scenario. Unknown keys are refused; everything not given is as today.

    Attributes
    ----------
    scenario_id : str
        Unique, lower case, words joined by underscores: it names rows and files.
    moves : dict of factor id to float
        Total move over the whole path in the factor's return unit: log return for `log` factors,
        level difference for `absolute` ones. Factors not named do not move on average.
    day_shares : tuple of float
        Share of the total move that falls on each business day, in order; they sum to 1. Its
        length is the length of the shock. Shares may be negative or above 1: prices may overshoot.
    volatility_multiplier : float
        Step of every factor's volatility on the first day, today = 1.
    volatility_by_class : dict of asset class to float
        Steps that replace `volatility_multiplier` for single asset classes.
    volatility_half_life_days : float
        The step fades towards 1 with this half-life.
    breakdown_weight : float
        w in [0, 1]: how far correlations break down in the stress regime. Zero keeps today's.
    breakdown_signs : dict of asset class, or of factor id, to float in [-1, 1]
        Direction u of the common move in the breakdown; a factor id overrides its class.
    starts_in_stress : bool
        The correlation regime is the stressed one from the first hour.
    depth_multiplier : float
        Average daily volume in the scenario over today's, above 0 and at most 1.
    haircut_multiplier, concentration_multiplier : float
        Steps of haircuts and of concentration charges, at least 1.
    crowding : dict of bucket to float
        Volume others sell for each unit the fund sells, for single buckets; the rest as in the run.
    extra_calls_per_day : int
        Additional intraday call windows of every cleared agreement.
    model_changes : tuple of str
        Ids of announced model changes assumed to be in force.
    severity : str or None
    mark : str
        `verified` where the facts were read in data, `indicative` where any is estimated.
    sources : tuple of str
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scenario_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=80)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    kind: ScenarioKind = "user"
    description: str = ""
    moves: dict[str, float] = {}
    day_shares: Annotated[tuple[float, ...], Field(min_length=1, max_length=MOST_SCENARIO_DAYS)] = (
        1.0,
    )
    volatility_multiplier: Annotated[float, Field(gt=0.0, le=20.0)] = 1.0
    volatility_by_class: dict[str, Annotated[float, Field(gt=0.0, le=20.0)]] = {}
    volatility_half_life_days: Positive = 10.0
    breakdown_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    breakdown_signs: dict[str, Sign] = {}
    starts_in_stress: bool = False
    depth_multiplier: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    haircut_multiplier: Multiple = 1.0
    concentration_multiplier: Multiple = 1.0
    crowding: dict[str, Annotated[float, Field(ge=0.0, le=100.0)]] = {}
    extra_calls_per_day: Annotated[int, Field(ge=0, le=7)] = 0
    model_changes: tuple[str, ...] = ()
    severity: Severity | None = None
    mark: Evidence = "user"
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        total = sum(self.day_shares)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"day_shares sum to {total:g}; they must sum to 1")
        if self.breakdown_weight > 0.0 and not self.breakdown_signs:
            raise ValueError(
                f"breakdown_weight {self.breakdown_weight:g} needs breakdown_signs: which asset "
                "classes move together, and which against them"
            )
        return self

    @property
    def days(self) -> int:
        """Business days of the shock."""
        return len(self.day_shares)
