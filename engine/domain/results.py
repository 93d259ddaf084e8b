"""What the engine answers: frozen results with small summaries and full tables.

`to_dict` gives the JSON other programs read; its keys are fixed. `tables` gives the full detail
for CSV and Parquet. Amounts are USD float64 unless the name says cents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array, StrArray
from engine.domain.failures import Failure


@dataclass(frozen=True)
class MarginResult:
    """Margin of every agreement on one date; arrays have shape (n_agreements,).

    `im_usd` is the margin required before add-ons, `add_ons` maps the name of an add-on to its
    amount per agreement, `vm_usd` is the variation margin the fund must pay today (negative: it
    receives). `components` tells how `im_usd` came about and sums to it: `calculated` by the
    model, then what `anti_procyclicality`, `threshold` and `anchor` (a reported margin) add or take
    away; `model_parts` splits `calculated` where a model has named parts. `by_manager` maps
    manager id to {"im_usd", "vm_usd", "add_ons_usd"}; each is attributed so that managers sum to
    the total. `shares` holds the same by agreement and manager, columns of shape (n_pairs,):
    `agreement_id`, `manager_id`, `im_usd`, `vm_usd`, and each add-on. `mark` is the evidence of the
    model's parameters. `basis` holds the choices the figures rest on: SIMM version, horizon and
    side, the stress period by agreement (first and last date), IM before thresholds
    (`im_before_threshold_usd`, agreements with a threshold), what each agreement's model used
    (`agreements`), and the whole `config`.
    """

    as_of: date
    currency: str
    agreement_id: StrArray
    kind: StrArray
    venue: StrArray
    counterparty: StrArray
    broker: StrArray
    model: StrArray
    mark: StrArray
    im_usd: Float64Array
    vm_usd: Float64Array
    add_ons: dict[str, Float64Array] = field(default_factory=dict)
    components: dict[str, Float64Array] = field(default_factory=dict)
    model_parts: dict[str, Float64Array] = field(default_factory=dict)
    by_manager: dict[str, dict[str, float]] = field(default_factory=dict)
    shares: dict[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    basis: dict[str, Any] = field(default_factory=dict)

    def add_ons_usd(self) -> Float64Array:
        """Return the sum of all add-ons per agreement."""
        total: Float64Array = np.sum([np.zeros_like(self.im_usd), *self.add_ons.values()], axis=0)
        return total

    def totals(self) -> dict[str, float]:
        """Return fund totals: IM, VM and add-ons."""
        return {
            "im_usd": float(np.sum(self.im_usd)),
            "vm_usd": float(np.sum(self.vm_usd)),
            "add_ons_usd": float(np.sum(self.add_ons_usd())),
        }

    def summary(self, largest: int = 10) -> dict[str, Any]:
        """Return totals and the `largest` agreements by IM."""
        order = np.argsort(-self.im_usd, kind="stable")[:largest]
        return {
            "as_of": self.as_of.isoformat(),
            "currency": self.currency,
            "totals": self.totals(),
            "agreements": len(self.agreement_id),
            "largest": [self._row(int(i)) for i in order],
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the full JSON object of `mca margin --json`."""
        return {
            "as_of": self.as_of.isoformat(),
            "currency": self.currency,
            "totals": self.totals(),
            "agreements": [self._row(i) for i in range(len(self.agreement_id))],
            "by_manager": self.by_manager,
            "failures": [failure.to_dict() for failure in self.failures],
            "basis": self.basis,
        }

    def _row(self, i: int) -> dict[str, Any]:
        return {
            "agreement_id": str(self.agreement_id[i]),
            "kind": str(self.kind[i]),
            "venue": str(self.venue[i]),
            "counterparty": str(self.counterparty[i]),
            "broker": str(self.broker[i]),
            "model": str(self.model[i]),
            "mark": str(self.mark[i]),
            "im_usd": float(self.im_usd[i]),
            "vm_usd": float(self.vm_usd[i]),
            "add_ons": {name: float(values[i]) for name, values in self.add_ons.items()},
            "components": {name: float(values[i]) for name, values in self.components.items()},
            "model_parts": {
                name: float(values[i]) for name, values in self.model_parts.items() if values[i]
            },
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `margin_by_agreement`, `margin_by_manager`, components and shares."""
        rows = pd.DataFrame(
            {
                "agreement_id": self.agreement_id,
                "kind": self.kind,
                "venue": self.venue,
                "counterparty": self.counterparty,
                "broker": self.broker,
                "model": self.model,
                "mark": self.mark,
                "im_usd": self.im_usd,
                "vm_usd": self.vm_usd,
                **{f"add_on_{name}_usd": values for name, values in self.add_ons.items()},
            }
        )
        managers = pd.DataFrame(
            [{"manager_id": key, **value} for key, value in self.by_manager.items()],
            columns=["manager_id", "im_usd", "vm_usd", "add_ons_usd"],
        )
        parts = pd.DataFrame(
            {
                "agreement_id": self.agreement_id,
                **{f"{name}_usd": values for name, values in self.components.items()},
                "im_usd": self.im_usd,
                **{f"model_{name}_usd": values for name, values in self.model_parts.items()},
            }
        )
        return {
            "margin_by_agreement": rows,
            "margin_by_manager": managers,
            "margin_components": parts,
            "margin_shares": pd.DataFrame(self.shares),
        }


@dataclass(frozen=True)
class StressMarginResult:
    """IM of every agreement under volatility multipliers (or margin multipliers, named so).

    Stressed and baseline amounts are IM plus add-ons, because add-ons react to stress too.
    `mode` is `volatility` (each factor's volatility steps up by the multiplier for `horizon_days`
    and cleared models react) or `margin` (required margin itself is multiplied). `im_usd` has
    shape (n_multipliers, n_agreements).
    """

    mode: str
    horizon_days: int
    multipliers: tuple[float, ...]
    agreement_id: StrArray
    kind: StrArray
    baseline_im_usd: Float64Array
    im_usd: Float64Array
    failures: tuple[Failure, ...] = ()

    def labels(self) -> list[str]:
        """Return `2x`, `5x`, ... in the order of `multipliers`."""
        return [f"{multiplier:g}x" for multiplier in self.multipliers]

    def to_dict(self) -> dict[str, Any]:
        """Return {"2x": {...}, "5x": {...}, ...} with totals by kind of agreement."""
        base = float(np.sum(self.baseline_im_usd))
        stressed: dict[str, Any] = {}
        for label, im in zip(self.labels(), self.im_usd, strict=True):
            total = float(np.sum(im))
            stressed[label] = {
                "mode": self.mode,
                "horizon_days": self.horizon_days,
                "im_usd": total,
                "increase_usd": total - base,
                "ratio": total / base if base > 0 else None,
                "by_kind": {
                    str(kind): float(np.sum(im[self.kind == kind]))
                    for kind in sorted(set(self.kind))
                },
            }
        return stressed

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `stress_margin_by_agreement`: baseline and one column per multiplier."""
        columns = {
            f"im_{label}_usd": im for label, im in zip(self.labels(), self.im_usd, strict=True)
        }
        frame = pd.DataFrame(
            {
                "agreement_id": self.agreement_id,
                "kind": self.kind,
                "im_usd": self.baseline_im_usd,
                **columns,
            }
        )
        return {"stress_margin_by_agreement": frame}


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo estimate with its confidence interval at `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def to_dict(self) -> dict[str, float]:
        """Return value, low and high."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class AvalancheResult:
    """One avalanche simulation: with feedback, and without it on the same random numbers.

    Per-path arrays have shape (n_paths,); fan quantiles (n_quantiles, n_steps); survival
    (n_steps,), the share of paths whose liquidity has lasted to the end of each hour. The
    branching ratio is that of raising `branching_raise_usd` by forced sales. `amplification`
    compares calls with feedback to calls without, `sales_amplification` the amounts raised by
    forced sales: selling shrinks the book, so calls can fall while sales grow.
    `impact_cost_mean_usd` is the cost of executing the sales, `feedback_loss_mean_usd` all that
    their price impact takes from NAV by the end, what is left of the book included. `estimates`
    holds every figure with its interval, `sampling` how the paths were drawn and how precise they
    are, `first_failure` the share of paths that first fail to pay in each currency,
    `sold_by_bucket` the mean share of each bucket sold over all paths and over the tail.
    """

    scenario: str
    volatility_multiplier: float
    paths: int
    steps: int
    seed: int
    amplification: Estimate
    sales_amplification: Estimate
    branching_ratio: float
    branching_loss: float
    branching_margin: float
    branching_raise_usd: float
    p_avalanche: Estimate
    bands: dict[str, float]
    peak_call_mean: float
    peak_call_q99: Estimate
    peak_call_es99: Estimate
    calls_total_mean: float
    cash_error_cents: int
    forced_sales_share: float
    impact_cost_mean_usd: float
    feedback_loss_mean_usd: float
    crowding: float
    participation: float
    impact_coefficient: float
    fan_quantiles: tuple[float, ...]
    fan_usd: Float64Array
    mean_calls_by_window_usd: Float64Array
    mean_calls_by_window_exogenous_usd: Float64Array
    mean_calls_by_agreement_usd: Float64Array
    tail_calls_by_agreement_usd: Float64Array
    agreement_id: StrArray
    per_path: dict[str, Float64Array]
    failures: tuple[Failure, ...] = ()
    estimates: dict[str, Estimate] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    first_failure: dict[str, float] = field(default_factory=dict)
    crowding_by_bucket: dict[str, float] = field(default_factory=dict)
    sold_by_bucket: dict[str, tuple[float, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the `avalanche` object of `mca run --json`."""
        return {
            "scenario": self.scenario,
            "volatility_multiplier": self.volatility_multiplier,
            "paths": self.paths,
            "steps": self.steps,
            "seed": self.seed,
            "amplification": self.amplification.value,
            "amplification_low": self.amplification.low,
            "amplification_high": self.amplification.high,
            "sales_amplification": self.sales_amplification.to_dict(),
            "branching_ratio": self.branching_ratio,
            "branching_loss": self.branching_loss,
            "branching_margin": self.branching_margin,
            "branching_raise_usd": self.branching_raise_usd,
            "p_avalanche": self.p_avalanche.to_dict(),
            "bands": self.bands,
            "peak_call_usd": {
                "mean": self.peak_call_mean,
                "q99": self.peak_call_q99.value,
                "q99_low": self.peak_call_q99.low,
                "q99_high": self.peak_call_q99.high,
                "es99": self.peak_call_es99.value,
                "es99_low": self.peak_call_es99.low,
                "es99_high": self.peak_call_es99.high,
            },
            "calls_total_mean_usd": self.calls_total_mean,
            "forced_sales_share": self.forced_sales_share,
            "impact_cost_mean_usd": self.impact_cost_mean_usd,
            "feedback_loss_mean_usd": self.feedback_loss_mean_usd,
            "cash_error_cents": self.cash_error_cents,
            "assumptions": {
                "crowding": self.crowding,
                "crowding_by_bucket": self.crowding_by_bucket,
                "participation": self.participation,
                "impact_coefficient": self.impact_coefficient,
            },
            "estimates": {name: each.to_dict() for name, each in self.estimates.items()},
            "sampling": self.sampling,
            "first_failure_by_currency": self.first_failure,
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return fan, calls by window, calls by agreement and per-path metrics."""
        steps = np.arange(1, self.steps + 1)
        windows = np.arange(1, len(self.mean_calls_by_window_usd) + 1)
        fan = {
            f"q{100 * q:g}": row for q, row in zip(self.fan_quantiles, self.fan_usd, strict=True)
        }
        return {
            "avalanche_liquidity_fan": pd.DataFrame({"hour": steps, **fan}),
            "avalanche_calls_by_window": pd.DataFrame(
                {
                    "window": windows,
                    "calls_usd": self.mean_calls_by_window_usd,
                    "calls_without_feedback_usd": self.mean_calls_by_window_exogenous_usd,
                }
            ),
            "avalanche_calls_by_agreement": pd.DataFrame(
                {
                    "agreement_id": self.agreement_id,
                    "mean_calls_usd": self.mean_calls_by_agreement_usd,
                    "tail_calls_usd": self.tail_calls_by_agreement_usd,
                }
            ),
            "avalanche_estimates": pd.DataFrame(
                [{"estimate": k, **each.to_dict()} for k, each in self.estimates.items()],
                columns=["estimate", "value", "low", "high"],
            ),
            "avalanche_sales_by_bucket": pd.DataFrame(
                [
                    {
                        "bucket": name,
                        "crowding": self.crowding_by_bucket[name],
                        "sold_share_mean": mean,
                        "sold_share_tail": tail,
                    }
                    for name, (mean, tail) in self.sold_by_bucket.items()
                ],
                columns=["bucket", "crowding", "sold_share_mean", "sold_share_tail"],
            ),
            "avalanche_paths": pd.DataFrame({"path": np.arange(self.paths), **self.per_path}),
        }


@dataclass(frozen=True)
class LiquidityResult:
    """When cash runs out and how large a facility must be.

    `survival` (n_steps,) is the Kaplan-Meier share of paths not yet exhausted at each hour; paths
    that never exhaust are censored at the horizon. `median_hours` is None if fewer than half
    of the paths exhaust.
    """

    p_exhaustion: Estimate
    median_hours: float | None
    survival: Float64Array
    facility_need_99: Estimate
    facility_limit_usd: float
    opening_usd: dict[str, float]
    failures: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the `liquidity` object of `mca run --json`."""
        return {
            "p_exhaustion": self.p_exhaustion.value,
            "p_exhaustion_low": self.p_exhaustion.low,
            "p_exhaustion_high": self.p_exhaustion.high,
            "median_hours_to_exhaustion": self.median_hours,
            "facility_need_99_usd": self.facility_need_99.to_dict(),
            "facility_limit_usd": self.facility_limit_usd,
            "opening_usd": self.opening_usd,
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `liquidity_survival` by hour."""
        hours = np.arange(1, len(self.survival) + 1)
        return {"liquidity_survival": pd.DataFrame({"hour": hours, "survival": self.survival})}
