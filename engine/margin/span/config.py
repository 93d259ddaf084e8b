"""What a user may choose in the scan-based family."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SpanConfig(BaseModel):
    """Choices of the scan-based family; None takes the rulebook's number.

    Attributes
    ----------
    extreme_multiple, extreme_covered_fraction : float or None
        Extreme price move in scan ranges and the share of its loss that counts: 2 and 0.35 in the
        rulebook; 3 and 0.33 are used by others.
    look_ahead_days : int or None
        Calendar days by which options age in every scenario; the rulebook has 1.
    price_scan_multiple : float or None
        Price scan range in daily volatilities, instead of the venue's or of the normal quantile
        of the agreement's confidence.
    option_style : {"rulebook", "premium", "futures"}
        `premium`: the value of options is subtracted from the requirement; `futures`: options are
        settled daily and their value does not count.
    inter_commodity_credits : bool
        Whether related commodities of one agreement offset each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    extreme_multiple: float | None = Field(None, gt=1.0)
    extreme_covered_fraction: float | None = Field(None, gt=0.0, le=1.0)
    look_ahead_days: int | None = Field(None, ge=0)
    price_scan_multiple: float | None = Field(None, gt=0.0)
    option_style: Literal["rulebook", "premium", "futures"] = "rulebook"
    inter_commodity_credits: bool = True
