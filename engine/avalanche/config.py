"""The assumptions of an avalanche run. Every default is shown beside the results."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.domain.market import ASSET_CLASSES

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Sign = Annotated[float, Field(ge=-1.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Crowding = Annotated[float, Field(ge=0.0, le=100.0)]

MOST_HORIZON_DAYS = 30


class AvalancheConfig(BaseModel):
    """Assumptions of one run; unknown keys are refused.

    Attributes
    ----------
    volatility_multiplier, volatility_half_life_days
        Step of every factor's volatility at the start, and how fast it fades towards 1.
    tail_degrees
        Degrees of freedom of the daily Student mixing; 0 means Gaussian.
    breakdown_weight, breakdown_signs, regime_enter_per_hour, regime_leave_per_hour
        In the stress regime a share of every factor's variance becomes one common move in the
        direction of the signs, by asset class or factor. The regime is a Markov chain by the hour.
    jumps_per_day, jump_mean_sigmas, jump_sigmas
        Jumps in the direction of the signs, in daily standard deviations. Their variance is taken
        from the rest, so that the scenario's variance stays as stated.
    crowding, crowding_by_bucket
        Volume other holders sell for each unit the fund sells, and the same for single buckets.
    impact_coefficient, impact_law, impact_half_life_days
        Y of move = Y * daily volatility * sqrt(volume / ADV); 0.5 to 1 in the literature (survey:
        arXiv 2411.13965). With the law `linear` the root is left out.
    participation, largest_daily_sale_share, largest_daily_raise_usd
        Largest share of ADV the fund may sell, largest share of a bucket in a day, largest margin
        released by sales in a day.
    sale_policy, sale_order
        `pro_rata`: every bucket by what it can release; `greedy`: the split that costs least;
        `user`: buckets in `sale_order`, the rest after them by cost.
    liquidity_target_share, facility_request_share
        Forced sales begin when all resources, net of calls issued, fall below the first share of
        the opening amount; credit lines are asked for when own resources fall below the second.
    adverse_change_multiple, borrowing_base_share
        Lenders stop above this volatility multiple; drawings stay within this share of NAV. None:
        the facility has no such condition.
    default_grace_hours, cross_default
        A relation left unpaid for longer than this defaults and is closed out; bilateral and prime
        agreements then terminate too. `defaults` off: unpaid calls only stay unpaid.
    margin_step_share
        Scan-range families move their parameter only for a rise of at least this share, next day.
    volatility_reaction
        Rise of variance per squared impact of sales in daily standard deviations (the alpha of a
        GARCH model; 0.0996 on S&P 500 returns 1999-2018, Student fit).
    feedback, feedback_prices, feedback_margin, feedback_volatility, feedback_depth,
    feedback_haircuts
        Whether sales act on anything; on prices; on the volatility that margin models see; on true
        volatility; on market depth; on haircuts. `feedback` off switches off all.
    noise
        Off: only the scenario's mean path, one deterministic path.
    sampling, precision, most_paths
        `low_discrepancy`: batches of scrambled Sobol points, more precise at the same cost;
        `independent`: plain Monte Carlo. With a precision, batches are added until the half-width
        of the ES99 interval is that share of it, or `most_paths` are simulated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    paths: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    horizon_days: Annotated[int, Field(ge=1, le=MOST_HORIZON_DAYS)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20_200_316
    noise: bool = True
    sampling: Literal["low_discrepancy", "independent"] = "low_discrepancy"
    precision: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    most_paths: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    volatility_multiplier: Annotated[float, Field(gt=0.0, le=20.0)] = 5.0
    volatility_half_life_days: Positive = 10.0
    tail_degrees: Annotated[int, Field(ge=0, le=100)] = 5
    volatility_of_volatility: Annotated[float, Field(ge=0.0, le=0.5)] = 0.06
    mean_reversion_per_hour: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03
    leverage: dict[str, Sign] = {
        "equity": -0.7,
        "volatility": -0.7,
        "credit": -0.6,
        "fx": -0.4,
        "rates": -0.3,
        "commodity": -0.3,
    }
    breakdown_weight: Share = 0.5
    breakdown_signs: dict[str, Sign] = {
        "equity": -0.95,
        "volatility": 0.95,
        "credit": 0.95,
        "rates": -0.5,
        "commodity": -0.5,
    }
    regime_enter_per_hour: Share = 0.004
    regime_leave_per_hour: Share = 0.02
    jumps_per_day: Annotated[float, Field(ge=0.0, le=5.0)] = 0.02
    jump_mean_sigmas: Annotated[float, Field(ge=-20.0, le=20.0)] = 0.0
    jump_sigmas: Annotated[float, Field(ge=0.0, le=20.0)] = 3.0
    active_hours_share: Share = 0.8
    crowding: Crowding = 5.0
    crowding_by_bucket: dict[str, Crowding] = {}
    participation: Annotated[float, Field(gt=0.0, le=1.0)] = 0.15
    impact_law: Literal["square_root", "linear"] = "square_root"
    impact_coefficient: Annotated[float, Field(ge=0.0, le=10.0)] = 0.8
    impact_half_life_days: Positive = 2.0
    sale_policy: Literal["pro_rata", "greedy", "user"] = "pro_rata"
    sale_order: tuple[str, ...] = ()
    largest_daily_sale_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    largest_daily_raise_usd: Positive | None = None
    liquidity_target_share: Share = 0.10
    facility_request_share: Share = 0.75
    adverse_change_multiple: Positive | None = None
    borrowing_base_share: Positive | None = None
    least_position_share: Share = 0.05
    intraday_trigger_share: Share = 0.10
    receipt_delay_hours: Annotated[int, Field(ge=0, le=32)] = 8
    margin_floor: Share = 0.75
    margin_step_share: Share = 0.10
    fx_spread_bp: Annotated[float, Field(ge=0.0, le=1_000.0)] = 2.0
    convexity_range_sigmas: Annotated[float, Field(gt=0.0, le=1_000.0)] = 10.0
    correlation_lookback_days: Annotated[int, Field(ge=60, le=5_000)] = 500
    hqla_share_per_hour: Share = 0.10
    hqla_share_per_day: Share = 1.0
    defaults: bool = True
    default_grace_hours: Annotated[int, Field(ge=0, le=120)] = 24
    cross_default: bool = True
    volatility_reaction: Annotated[float, Field(ge=0.0, le=5.0)] = 0.1
    feedback: bool = True
    feedback_prices: bool = True
    feedback_margin: bool = True
    feedback_volatility: bool = True
    feedback_depth: bool = True
    feedback_haircuts: bool = True
    forced_sales: bool = True

    @model_validator(mode="after")
    def _order_and_policy(self) -> AvalancheConfig:
        if (self.sale_policy == "user") != bool(self.sale_order):
            raise ValueError(
                f"sale_policy {self.sale_policy!r} with sale_order {list(self.sale_order)}: give "
                "an order with the policy 'user', and only with it"
            )
        return self

    @model_validator(mode="after")
    def _room_for_jumps(self) -> AvalancheConfig:
        if self.jump_variance() >= 1.0:
            raise ValueError(
                f"jumps_per_day {self.jumps_per_day:g} of {self.jump_sigmas:g} sigmas carry "
                f"{self.jump_variance():.2f} of a day's variance; keep it below 1"
            )
        return self

    def jump_variance(self) -> float:
        """Share of a day's variance carried by jumps of full size."""
        return self.jumps_per_day * (self.jump_mean_sigmas**2 + self.jump_sigmas**2)

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
