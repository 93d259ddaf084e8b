"""Which stress scenarios to make."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.domain.scenarios import Severity
from engine.stress.library.fit import LibraryConfig

SEVERITIES: tuple[Severity, ...] = ("moderate", "severe", "extreme")
Step = Annotated[float, Field(gt=1.0, le=20.0)]
Quantile = Annotated[float, Field(gt=0.0, le=1.0)]


class ScenarioConfig(BaseModel):
    """Which scenarios to make; unknown keys are refused.

    Attributes
    ----------
    severity_levels : tuple of str
        Levels wanted. Scenarios of other levels are left out; those without a level stay.
    include_historical_events, include_hypothetical_scenarios : bool
    correlation_breakdown_effects, include_concentration, include_model_changes : bool
    volatility_shock_magnitudes : tuple of float
        Steps of all volatilities, one scenario each; none for an empty tuple.
    severity_quantiles : dict of severity to float
        The size of a level is this quantile of the turbulence (D over the root of the factors
        named) of the library's broad episodes, those that name ten factors or more; its step of
        volatility is the same quantile of their volatility ratios.
    library : LibraryConfig
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    severity_levels: Annotated[tuple[Severity, ...], Field(min_length=1)] = SEVERITIES
    include_historical_events: bool = True
    include_hypothetical_scenarios: bool = True
    correlation_breakdown_effects: bool = True
    include_concentration: bool = True
    include_model_changes: bool = True
    volatility_shock_magnitudes: tuple[Step, ...] = (2.0, 5.0, 10.0)
    severity_quantiles: dict[Severity, Quantile] = {
        "moderate": 0.5,
        "severe": 0.8,
        "extreme": 0.95,
    }
    library: LibraryConfig = LibraryConfig()

    @field_validator("severity_quantiles")
    @classmethod
    def _in_order(cls, value: dict[Severity, float]) -> dict[Severity, float]:
        if set(value) != set(SEVERITIES):
            raise ValueError(f"severity_quantiles needs exactly {', '.join(SEVERITIES)}")
        sizes = [value[name] for name in SEVERITIES]
        if sizes != sorted(sizes):
            raise ValueError(f"severity_quantiles {sizes} must not fall from moderate to extreme")
        return value
