"""The assumptions of a system-wide run. Every default is shown beside the results."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.avalanche.system.rules import published_number

Behaviour = Literal["threshold", "target"]
ImpactLaw = Literal["exponential", "square_root"]
Share = Annotated[float, Field(gt=0.0, le=1.0)]


def _published(name: str) -> Any:
    return Field(default_factory=lambda: published_number(name))


class SystemConfig(BaseModel):
    """Assumptions of one run; unknown keys are refused. Defaults: `fire_sale.json`.

    Attributes
    ----------
    steps : int
        Steps of the run, 1 to 1,000.
    behaviour : str
        `threshold`: institutions sell when below their leverage buffer, down to their target.
        `target`: they return to their target in every step in which they are below it.
    impact_law : str
        `exponential`: log price falls in proportion to the volume sold; `square_root`: with its
        square root. Either way by the cumulative volume, so that slicing a sale changes nothing.
    price_impact : float
        Fall of the price when `reference_share` of the market is sold: 0.01 is 1 %.
    event_floor : float
        A share of defaults below it is no systemic event and counts as 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default_factory=lambda: int(published_number("steps"))
    )
    behaviour: Behaviour = "threshold"
    impact_law: ImpactLaw = "exponential"
    price_impact: Annotated[float, Field(ge=0.0, lt=1.0)] = _published("price_impact")
    reference_share: Share = _published("reference_share")
    event_floor: Annotated[float, Field(ge=0.0, le=1.0)] = _published("event_floor")


class SystemShock(BaseModel):
    """What happens to a system; everything not given is as today.

    Attributes
    ----------
    shock_id : str
    falls : dict of asset to float
        Fall of its price as a fraction, below 1; negative for a rise. 0.2 is a fall of 20 %.
    margin_multiple : float
        Margin rates over today's, at least 1; a rate stays at most 1.
    calls : dict of institution to tuple of float
        Cash called from it in step 1, 2, ..., in the unit of the system; it stays an asset, as
        posted collateral does.
    price_impact : float, optional
        Replaces that of the run.
    behaviour : str, optional
        Replaces that of the run.
    idle : tuple of str
        Institutions that hold and do not trade.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    shock_id: Annotated[str, Field(min_length=1, max_length=80)]
    falls: dict[str, Annotated[float, Field(gt=-100.0, lt=1.0)]] = {}
    margin_multiple: Annotated[float, Field(ge=1.0, le=100.0)] = 1.0
    calls: dict[str, tuple[Annotated[float, Field(ge=0.0)], ...]] = {}
    price_impact: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    behaviour: Behaviour | None = None
    idle: tuple[str, ...] = ()
