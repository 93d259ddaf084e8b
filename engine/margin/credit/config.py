"""What a user may choose for the model `cds`; None takes the number of the rulebook."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class WrongWayName(BaseModel):
    """A reference name that fails together with a counterparty or clearing member.

    Attributes
    ----------
    entity : str
        Counterparty or broker of the agreement, as its file names it.
    factor_id : str
        Reference name.
    share : float
        Part of the loss at default that is charged; 1.0 is the full charge.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entity: str
    factor_id: str
    share: float = Field(1.0, ge=0.0, le=1.0)


class RecoveryTerms(BaseModel):
    """Least and most recovery of a class of names, fractions of notional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least: float = Field(ge=0.0, le=1.0)
    most: float = Field(ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _ordered(self) -> RecoveryTerms:
        if self.least > self.most:
            raise ValueError(f"least recovery {self.least} is above the most, {self.most}")
        return self


class CdsConfig(BaseModel):
    """Choices of the model `cds` (`engine.margin.credit`).

    Attributes
    ----------
    measure : {"es", "var"}
        Tail measure of the spread response, at the agreement's confidence.
    scenarios : {"historical", "monte_carlo"}
        Filtered historical moves, or draws of a multivariate t.
    spread_moves : {"log", "factor"}
        Whether credit spreads move by their log changes, or by the factor's own return type.
    seed : int
        Of the Monte Carlo draws.
    draws, degrees_of_freedom : int, float or None
        Monte Carlo draws, and the tail of the multivariate t (above 2, so that it has a variance).
    defaults : int or None
        Names whose joint default is charged.
    index_offset : float or None
        Fraction of the offset between indices and single names that is recognised.
    rate_factors : dict of currency to factor id
        Rate whose moves discount contracts of a currency; on top of the rulebook's.
    indices : dict of factor id to number of names
        Indices beside the rulebook's; their class comes from `name_class`.
    constituents : dict of index factor id to dict of name factor id to weight
        Look-through: an index also defaults through these names. Weights are fractions of its
        notional.
    name_class : dict of factor id to class
        Class of the rulebook of each name ("senior" unless said).
    recoveries : dict of class to RecoveryTerms
        Replace the rulebook's recoveries of a class.
    wrong_way : tuple of WrongWayName
        Names charged in full for agreements with an entity. A name whose factor id is the
        counterparty or broker itself is charged without being listed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Literal["es", "var"] = "es"
    scenarios: Literal["historical", "monte_carlo"] = "historical"
    spread_moves: Literal["log", "factor"] = "log"
    seed: int = Field(20261120, ge=0)
    draws: int | None = Field(None, ge=1000)
    degrees_of_freedom: float | None = Field(None, gt=2.0)
    defaults: int | None = Field(None, ge=0)
    index_offset: float | None = Field(None, ge=0.0, le=1.0)
    rate_factors: dict[str, str] = Field(default_factory=dict)
    indices: dict[str, int] = Field(default_factory=dict)
    constituents: dict[str, dict[str, float]] = Field(default_factory=dict)
    name_class: dict[str, str] = Field(default_factory=dict)
    recoveries: dict[str, RecoveryTerms] = Field(default_factory=dict)
    wrong_way: tuple[WrongWayName, ...] = ()
