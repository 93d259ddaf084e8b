"""What a user may choose in the margin add-ons."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LiquidityMethod = Literal[
    "by_service", "none", "excess", "horizon_block", "horizon_linear", "impact"
]


class AddOnConfig(BaseModel):
    """Choices of the add-ons; amounts and services are in `engine/rulebooks/add_ons.csv`.

    Size and fraction of the concentration add-on, and how depth falls under stress, are in
    `MarginConfig` (`concentration_coefficient`, `concentration_fraction`, `depth_exponent`,
    `depth_floor`): the avalanche shares them.

    Attributes
    ----------
    liquidity_method : str
        `by_service` takes each account's method from the rulebook; another name puts all cleared
        and prime accounts on that one method.
    participation : float
        p: share of average daily volume that can be liquidated in a day, where
        `liquidity_method` is a horizon. Assumption of the house.
    impact_coefficient : float
        Y of the square-root impact, where `liquidity_method` is `impact`. Studies find about 0.5
        to 1.
    bid_ask_multiplier : float
        Scales the bid-ask add-on; 0 switches it off.
    spread_exponent : float
        eta: under stress spreads grow as (volatility ratio) ** eta. In proportion (1) is what
        Wyart, Bouchaud, Kockelkoren, Potters and Vettorazzo (2008) find.
    jump_to_default, wrong_way, delivery : bool
        Whether these add-ons are charged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    liquidity_method: LiquidityMethod = "by_service"
    participation: float = Field(0.25, gt=0.0)
    impact_coefficient: float = Field(0.5, ge=0.0)
    bid_ask_multiplier: float = Field(1.0, ge=0.0)
    spread_exponent: float = Field(1.0, ge=0.0)
    jump_to_default: bool = True
    wrong_way: bool = True
    delivery: bool = True
