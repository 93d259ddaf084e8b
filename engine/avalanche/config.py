"""The assumptions of an avalanche run. Every default is shown beside the results."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.domain.market import ASSET_CLASSES

Share = Annotated[float, Field(ge=0.0, le=1.0)]

MOST_HORIZON_DAYS = 30


class AvalancheConfig(BaseModel):
    """Assumptions of one run; unknown keys are refused.

    `volatility_multiplier` steps every factor's volatility up at the start; it decays towards 1
    with `volatility_half_life_days`. `crowding` is the volume other holders sell for each unit the
    fund sells. `impact_coefficient` is Y of the square-root law
    move = Y * daily volatility * sqrt(volume / ADV); 0.5 to 1 in the literature (survey:
    arXiv 2411.13965). `participation` is the largest share of ADV the fund may sell.
    Credit lines are asked for when cash and liquid securities, net of calls issued, fall below
    `facility_request_share` of the opening amount; forced sales begin when all resources, lines
    included, fall below `liquidity_target_share` of theirs. `tail_degrees` are the degrees of
    freedom of the daily Student mixing; 0 means Gaussian.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    paths: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    horizon_days: Annotated[int, Field(ge=1, le=MOST_HORIZON_DAYS)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20_200_316
    volatility_multiplier: Annotated[float, Field(gt=0.0, le=20.0)] = 5.0
    volatility_half_life_days: Annotated[float, Field(gt=0.0, le=10_000.0)] = 10.0
    tail_degrees: Annotated[int, Field(ge=0, le=100)] = 5
    volatility_of_volatility: Annotated[float, Field(ge=0.0, le=0.5)] = 0.06
    mean_reversion_per_hour: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03
    leverage: dict[str, Annotated[float, Field(ge=-1.0, le=1.0)]] = {
        "equity": -0.7,
        "volatility": -0.7,
        "credit": -0.6,
        "fx": -0.4,
        "rates": -0.3,
        "commodity": -0.3,
    }
    active_hours_share: Share = 0.8
    crowding: Annotated[float, Field(ge=0.0, le=100.0)] = 5.0
    participation: Annotated[float, Field(gt=0.0, le=1.0)] = 0.15
    impact_coefficient: Annotated[float, Field(ge=0.0, le=10.0)] = 0.8
    impact_half_life_days: Annotated[float, Field(gt=0.0, le=10_000.0)] = 2.0
    liquidity_target_share: Share = 0.10
    facility_request_share: Share = 0.75
    least_position_share: Share = 0.05
    intraday_trigger_share: Share = 0.10
    receipt_delay_hours: Annotated[int, Field(ge=0, le=32)] = 8
    margin_floor: Share = 0.75
    convexity_range_sigmas: Annotated[float, Field(gt=0.0, le=1_000.0)] = 10.0
    correlation_lookback_days: Annotated[int, Field(ge=60, le=5_000)] = 500
    hqla_share_per_hour: Share = 0.10
    feedback: bool = True
    forced_sales: bool = True

    @field_validator("tail_degrees")
    @classmethod
    def _finite_variance(cls, value: int) -> int:
        if 0 < value < 3:
            raise ValueError(f"tail_degrees {value} has no variance; use 0 (Gaussian) or 3 or more")
        return value

    @field_validator("leverage")
    @classmethod
    def _known_classes(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(ASSET_CLASSES))
        missing = sorted(set(ASSET_CLASSES) - set(value))
        if unknown or missing:
            raise ValueError(
                f"leverage needs exactly the asset classes {list(ASSET_CLASSES)}; "
                f"unknown {unknown}, missing {missing}"
            )
        return value

    def scenario(self) -> str:
        """Return the label of the run's scenario."""
        return f"volatility {self.volatility_multiplier:g}x"
