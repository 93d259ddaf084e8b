"""The figures of one run, read once from the summary: absent parts become None, never zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows.report.format import finite

# Fragments of the keys of `opening_usd`, and what a reader calls the source.
_SOURCES = (
    ("facilit", "Facility"),
    ("hqla", "HQLA"),
    ("collateral", "HQLA"),
    ("securit", "HQLA"),
    ("cash", "Cash"),
)


@dataclass(frozen=True)
class Estimated:
    """A simulated figure and its 95 % confidence interval; the ends may be unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class StressLevel:
    """Initial margin and add-ons of the fund under one multiplier."""

    label: str
    mode: str
    horizon_days: int | None
    im_usd: float | None
    increase_usd: float | None
    ratio: float | None


@dataclass(frozen=True)
class Avalanche:
    """The simulation of one scenario, with and without feedback."""

    scenario: str
    volatility_multiplier: float | None
    paths: int
    steps: int
    seed: int | None
    amplification: Estimated
    sales_amplification: Estimated
    p_avalanche: Estimated
    branching_ratio: float | None
    branching_loss: float | None
    branching_margin: float | None
    branching_raise_usd: float | None
    bands: dict[str, float]
    peak_mean_usd: float | None
    peak_q99: Estimated
    peak_es99: Estimated
    calls_total_mean_usd: float | None
    forced_sales_share: float | None
    impact_cost_mean_usd: float | None
    feedback_loss_mean_usd: float | None
    cash_error_cents: float | None
    crowding: float | None
    participation: float | None
    impact_coefficient: float | None
    crowding_by_bucket: dict[str, float] = field(default_factory=dict)
    estimates: dict[str, Estimated] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    first_failure: dict[str, float] = field(default_factory=dict)

    def estimate(self, name: str) -> Estimated:
        """Return a figure with its interval; all unknown if the run did not estimate it."""
        return self.estimates.get(name, Estimated(None))

    @property
    def refused_when_needed(self) -> float | None:
        """Share of the paths that need a credit line in which one is refused."""
        refused, needed = (self.estimate(f"p_line_{what}").value for what in ("refused", "needed"))
        return None if refused is None or not needed else refused / needed


@dataclass(frozen=True)
class Liquidity:
    """When the fund runs out, and what it starts with."""

    p_exhaustion: Estimated
    median_hours: float | None
    facility_need_99: Estimated
    facility_limit_usd: float | None
    opening_usd: dict[str, float]

    @property
    def resources(self) -> dict[str, float]:
        """What can pay calls at the start, by source; the facility is always one of them."""
        named: dict[str, float] = {}
        for key, value in self.opening_usd.items():
            if "total" not in key.lower():
                name = _source(key)
                named[name] = named.get(name, 0.0) + value
        if "Facility" not in named and self.facility_limit_usd is not None:
            named["Facility"] = self.facility_limit_usd
        return named

    @property
    def resources_usd(self) -> float:
        """Opening cash, securities and facility together."""
        return sum(self.resources.values())


@dataclass(frozen=True)
class Facts:
    """Everything the page says about one run."""

    summary: Mapping[str, Any]
    fund_name: str
    nav_usd: float | None
    as_of: str
    agreements: int
    im_usd: float | None
    vm_usd: float | None
    add_ons_usd: float | None
    stress: tuple[StressLevel, ...]
    avalanche: Avalanche | None
    liquidity: Liquidity | None

    @property
    def required_usd(self) -> float | None:
        """Initial margin and add-ons together; None if no margin was calculated."""
        if self.im_usd is None:
            return None
        return self.im_usd + (self.add_ons_usd or 0.0)

    @property
    def worst_stress(self) -> StressLevel | None:
        """The stress level with the largest margin, or None if no stress was run."""
        known = [level for level in self.stress if level.im_usd is not None]
        return max(known, key=lambda level: level.im_usd or 0.0, default=None)


def read_facts(summary: Mapping[str, Any]) -> Facts:
    """Return the figures of the object that `mca run --json` prints."""
    fund = _mapping(summary.get("fund"))
    margin = _mapping(summary.get("margin"))
    totals = _mapping(margin.get("totals"))
    return Facts(
        summary=summary,
        fund_name=str(fund.get("name") or "Unnamed fund"),
        nav_usd=finite(fund.get("nav_usd")),
        as_of=str(summary.get("as_of") or "date unknown"),
        agreements=len(margin.get("agreements") or ()),
        im_usd=finite(totals.get("im_usd")),
        vm_usd=finite(totals.get("vm_usd")),
        add_ons_usd=finite(totals.get("add_ons_usd")),
        stress=tuple(_stress(label, row) for label, row in _mapping(summary.get("stress")).items()),
        avalanche=_avalanche(_mapping(summary.get("avalanche"))),
        liquidity=_liquidity(_mapping(summary.get("liquidity"))),
    )


def estimated(value: Any, low: Any = None, high: Any = None) -> Estimated:
    """Return an estimate given as {"value", "low", "high"} or as plain numbers."""
    if isinstance(value, Mapping):
        return Estimated(
            finite(value.get("value")), finite(value.get("low")), finite(value.get("high"))
        )
    return Estimated(finite(value), finite(low), finite(high))


def _source(key: str) -> str:
    for fragment, name in _SOURCES:
        if fragment in key.lower():
            return name
    return key.replace("_", " ")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(value: Any) -> dict[str, float]:
    pairs = ((str(key), finite(item)) for key, item in _mapping(value).items())
    return {key: number for key, number in pairs if number is not None}


def _stress(label: str, row: Any) -> StressLevel:
    fields = _mapping(row)
    horizon = finite(fields.get("horizon_days"))
    return StressLevel(
        label=str(label),
        mode=str(fields.get("mode") or "volatility"),
        horizon_days=None if horizon is None else int(horizon),
        im_usd=finite(fields.get("im_usd")),
        increase_usd=finite(fields.get("increase_usd")),
        ratio=finite(fields.get("ratio")),
    )


def _avalanche(row: Mapping[str, Any]) -> Avalanche | None:
    if not finite(row.get("paths")):
        return None
    peak = _mapping(row.get("peak_call_usd"))
    assumptions = _mapping(row.get("assumptions"))
    seed = finite(row.get("seed"))
    return Avalanche(
        scenario=str(row.get("scenario") or "baseline"),
        volatility_multiplier=finite(row.get("volatility_multiplier")),
        paths=int(finite(row.get("paths")) or 0),
        steps=int(finite(row.get("steps")) or 0),
        seed=None if seed is None else int(seed),
        amplification=estimated(
            row.get("amplification"), row.get("amplification_low"), row.get("amplification_high")
        ),
        sales_amplification=estimated(row.get("sales_amplification")),
        p_avalanche=estimated(row.get("p_avalanche")),
        branching_ratio=finite(row.get("branching_ratio")),
        branching_loss=finite(row.get("branching_loss")),
        branching_margin=finite(row.get("branching_margin")),
        branching_raise_usd=finite(row.get("branching_raise_usd")),
        bands=_numbers(row.get("bands")),
        peak_mean_usd=finite(peak.get("mean")),
        peak_q99=estimated(peak.get("q99"), peak.get("q99_low"), peak.get("q99_high")),
        peak_es99=estimated(peak.get("es99"), peak.get("es99_low"), peak.get("es99_high")),
        calls_total_mean_usd=finite(row.get("calls_total_mean_usd")),
        forced_sales_share=finite(row.get("forced_sales_share")),
        impact_cost_mean_usd=finite(row.get("impact_cost_mean_usd")),
        feedback_loss_mean_usd=finite(row.get("feedback_loss_mean_usd")),
        cash_error_cents=finite(row.get("cash_error_cents")),
        crowding=finite(assumptions.get("crowding")),
        participation=finite(assumptions.get("participation")),
        impact_coefficient=finite(assumptions.get("impact_coefficient")),
        crowding_by_bucket=_numbers(assumptions.get("crowding_by_bucket")),
        estimates={k: estimated(v) for k, v in _mapping(row.get("estimates")).items()},
        sampling=_mapping(row.get("sampling")),
        first_failure=_numbers(row.get("first_failure_by_currency")),
    )


def _liquidity(row: Mapping[str, Any]) -> Liquidity | None:
    if row.get("p_exhaustion") is None and not row.get("opening_usd"):
        return None
    return Liquidity(
        p_exhaustion=estimated(
            row.get("p_exhaustion"), row.get("p_exhaustion_low"), row.get("p_exhaustion_high")
        ),
        median_hours=finite(row.get("median_hours_to_exhaustion")),
        facility_need_99=estimated(row.get("facility_need_99_usd")),
        facility_limit_usd=finite(row.get("facility_limit_usd")),
        opening_usd=_numbers(row.get("opening_usd")),
    )
