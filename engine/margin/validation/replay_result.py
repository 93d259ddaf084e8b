"""What a replay is asked and what it answers: the days of an episode, compared with one of them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.domain.failures import Failure
from engine.margin.config import MarginConfig

ANCHORS_FILE = "replay_2020.json"


@cache
def replay_anchors() -> dict[str, Any]:
    """Return the published shape of margin in February and March 2020, with source and mark."""
    path = Path(str(files("engine.rulebooks") / ANCHORS_FILE))
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


class ReplayConfig(BaseModel):
    """Choices of `replay_margin`; the dates are those of the packaged episode.

    Attributes
    ----------
    start, end : date
        First and last day, both included.
    reference : date
        Day with which margin is compared: the peak of the S&P 500.
    calm_end : date
        Last day of the calm, over which variation margin is averaged.
    max_stale_days : int
        Calendar days a level may be old.
    margin : MarginConfig
        `simm_version` None takes the version in force on each day, or the oldest one shipped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: date = date(2020, 2, 3)
    end: date = date(2020, 4, 30)
    reference: date = date(2020, 2, 19)
    calm_end: date = date(2020, 2, 28)
    max_stale_days: int = Field(10, ge=0)
    margin: MarginConfig = Field(default_factory=MarginConfig)

    @model_validator(mode="after")
    def _ordered(self) -> ReplayConfig:
        if not self.start <= self.reference <= self.calm_end <= self.end:
            raise ValueError(
                f"start {self.start}, reference {self.reference}, calm_end {self.calm_end} and "
                f"end {self.end} must follow each other"
            )
        return self


@dataclass(frozen=True)
class ReplayResult:
    """Outcome of `replay_margin`, in USD.

    Attributes
    ----------
    days : pd.DataFrame
        One row a day: `date`; `cleared_im_usd`, `bilateral_im_usd`, `prime_im_usd`;
        `cleared_by_volatility_usd` (levels of the reference day) and `cleared_by_levels_usd`
        (volatility of the reference day); `bilateral_fixed_usd` (sensitivities of the reference
        day); `profit_usd`; `vm_call_usd`, what the agreements in loss pay; `vm_flow_usd`, what
        moves either way.
    agreements : pd.DataFrame
        `date`, `agreement_id`, `kind`, `im_usd`, `profit_usd`.
    simm_version : str or None
        Version of uncleared margin on the reference day, None without such an agreement.
    in_force : bool
        Whether it was in force then; if not it is the oldest one shipped.
    """

    days: pd.DataFrame
    agreements: pd.DataFrame
    config: ReplayConfig
    simm_version: str | None
    in_force: bool
    failures: tuple[Failure, ...]

    def ratio(self, column: str) -> tuple[float, str]:
        """Return the largest value of a column over that of the reference day, and its date."""
        values = self.days[column].to_numpy()
        base = values[self.reference_row()]
        if not base > 0.0:
            return math.nan, str(self.days["date"].iloc[self.reference_row()])
        at = int(np.argmax(values))
        return float(values[at] / base), str(self.days["date"].iloc[at])

    def range(self, column: str) -> tuple[float, float]:
        """Return the least and the largest value of a column over that of the reference day."""
        values = self.days[column].to_numpy()
        base = values[self.reference_row()]
        if not base > 0.0:
            return math.nan, math.nan
        return float(values.min() / base), float(values.max() / base)

    def reference_row(self) -> int:
        """Row of `days` of the reference day, or of the last day before it."""
        day = self.days["date"].to_numpy().astype("datetime64[D]")
        return int(np.searchsorted(day, np.datetime64(self.config.reference), side="right")) - 1

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object: what rose, by how much, why, beside the published shape."""
        peak, peak_date = self.ratio("cleared_im_usd")
        at = int(np.flatnonzero(self.days["date"].astype(str) == peak_date)[0])
        now, then = self.days.iloc[at], self.days.iloc[self.reference_row()]
        low, high = self.range("bilateral_im_usd")
        fixed = self.days["bilateral_fixed_usd"].to_numpy()
        anchors = replay_anchors()
        return {
            "reference": str(then["date"]),
            "cleared_peak_ratio": _number(peak),
            "cleared_peak_date": peak_date,
            "cleared_at_peak_by_volatility": _over(
                now["cleared_by_volatility_usd"], then["cleared_im_usd"]
            ),
            "cleared_at_peak_by_levels": _over(
                now["cleared_by_levels_usd"], then["cleared_im_usd"]
            ),
            "uncleared_lowest_ratio": _number(low),
            "uncleared_highest_ratio": _number(high),
            "uncleared_change_sensitivities_fixed_usd": float(np.ptp(fixed)),
            "simm_version": self.simm_version,
            "simm_version_in_force": self.in_force,
            **self._variation(),
            "anchor_vm_peak_over_average": anchors["variation_margin_peak_usd_bn"]
            / anchors["variation_margin_average_usd_bn"],
            "anchor_source": anchors["source"],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def _variation(self) -> dict[str, Any]:
        calm = self.days["date"].to_numpy().astype("datetime64[D]") <= np.datetime64(
            self.config.calm_end
        )
        out: dict[str, Any] = {}
        for name in ("vm_flow", "vm_call"):
            values = self.days[f"{name}_usd"].to_numpy()
            average = float(values[calm].mean())
            out[f"{name}_average_usd"] = average
            out[f"{name}_peak_usd"] = float(values.max())
            out[f"{name}_peak_date"] = str(self.days["date"].iloc[int(np.argmax(values))])
            out[f"{name}_peak_over_average"] = _over(float(values.max()), average)
        return out

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `replay_days` and `replay_agreements`."""
        return {"replay_days": self.days, "replay_agreements": self.agreements}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _over(value: float, base: float) -> float | None:
    return float(value / base) if base > 0.0 else None
