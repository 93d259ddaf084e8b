"""From the paths of a simulation to its result."""

from __future__ import annotations

import numpy as np

from engine.avalanche.branching import branching_ratio
from engine.avalanche.columns import TAIL, WATCHED, metric, usd
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.detect import severity_bands
from engine.avalanche.estimates import independent_estimates
from engine.avalanche.prepared import PreparedFund
from engine.avalanche.runs import Runs
from engine.domain.arrays import Float64Array
from engine.domain.failures import Failure, FailureReason
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import AvalancheResult, Estimate
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model, Output

FAN_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
# The raise of the closed form: one share for all scenarios, so that they can be compared.
REFERENCE_RAISE_SHARE = 0.1


def summarise(
    fund: PreparedFund,
    model: Model,
    config: AvalancheConfig,
    scenario: Scenario | None,
    runs: Runs,
) -> AvalancheResult:
    """Put together estimates, bands, tables and the conditions under which they were found."""
    on, columns = runs.on, runs.columns
    found = estimates_of(runs, config.seed)
    multiplier = config.volatility_multiplier
    if scenario is not None:
        multiplier = scenario.volatility_multiplier
    raised = REFERENCE_RAISE_SHARE * float(np.sum(model.im_start))
    branch = branching_ratio(model, raised, multiplier)
    error = max(float(np.max(metric(run, "cash_error"))) for run in (on, runs.off, runs.held))
    peak = columns["peak_daily_call_usd"]
    tail = peak >= np.quantile(peak, TAIL)
    nav_lost = columns["nav_end_without_feedback_usd"] - columns["nav_end_usd"]
    return AvalancheResult(
        scenario=config.scenario() if scenario is None else scenario.scenario_id,
        volatility_multiplier=multiplier,
        paths=len(peak),
        steps=len(model.stress),
        seed=config.seed,
        amplification=found["amplification"],
        sales_amplification=found["sales_amplification"],
        branching_ratio=branch.ratio,
        branching_loss=branch.loss,
        branching_margin=branch.margin,
        branching_raise_usd=raised / CENTS_PER_UNIT,
        p_avalanche=found["p_avalanche"],
        bands=severity_bands(
            columns["branching"], columns["avalanche"] > 0, columns["runaway"] > 0
        ),
        peak_call_mean=found["peak_call_mean"].value,
        peak_call_q99=found["peak_call_q99"],
        peak_call_es99=found["peak_call_es99"],
        calls_total_mean=found["calls_mean"].value,
        cash_error_cents=round(error),
        forced_sales_share=found["p_forced_sales"].value,
        impact_cost_mean_usd=found["impact_cost_mean"].value,
        feedback_loss_mean_usd=float(nav_lost.mean()),
        crowding=config.crowding,
        participation=config.participation,
        impact_coefficient=config.impact_coefficient,
        fan_quantiles=FAN_QUANTILES,
        fan_usd=usd(np.quantile(on.fan.astype(np.float64), FAN_QUANTILES, axis=1)),
        mean_calls_by_window_usd=usd(on.windows.mean(axis=1)),
        mean_calls_by_window_exogenous_usd=usd(runs.off.windows.mean(axis=1)),
        mean_calls_by_agreement_usd=usd(on.calls.mean(axis=1)),
        tail_calls_by_agreement_usd=usd(on.calls[:, tail].mean(axis=1)),
        agreement_id=fund.margin.agreement_id,
        estimates=found,
        sampling=_sampling(runs),
        first_failure=_first_failure(columns, fund.currencies),
        crowding_by_bucket=dict(zip(fund.buckets, map(float, model.crowd), strict=True)),
        sold_by_bucket=_sold(fund.buckets, on, tail),
        failures=_cash_failures(error),
        per_path=columns,
    )


def estimates_of(runs: Runs, seed: int) -> dict[str, Estimate]:
    """Every statistic by name: from the batches, or from independent paths."""
    if runs.sampled is None:
        return independent_estimates(runs.columns, seed)
    return dict(runs.sampled.estimates)


def _sampling(runs: Runs) -> dict[str, object]:
    """How the paths were drawn, and how precise the watched figure is."""
    if runs.sampled is None:
        return {"method": "independent", "batches": 0, "stopped_because": "all paths simulated"}
    done = runs.sampled
    return {
        "method": "low_discrepancy",
        "batches": done.sample.batches,
        "stopped_because": done.stopped_because,
        "watched": WATCHED,
        "relative_half_width": done.relative_half_width,
        "reached_target": done.reached_target,
    }


def _first_failure(
    columns: dict[str, Float64Array], currencies: tuple[str, ...]
) -> dict[str, float]:
    """Share of all paths that first fail to pay in each currency, largest first."""
    pool = columns["currency_of_failure"]
    shares = {name: float(np.mean(pool == n)) for n, name in enumerate(currencies)}
    return dict(sorted(((k, v) for k, v in shares.items() if v > 0.0), key=lambda kv: -kv[1]))


def _sold(
    buckets: tuple[str, ...], on: Output, tail: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> dict[str, tuple[float, float]]:
    """Mean share of each bucket sold by the end: over all paths, and over the tail."""
    sold = 1.0 - on.left
    return {
        name: (float(sold[b].mean()), float(sold[b, tail].mean())) for b, name in enumerate(buckets)
    }


def _cash_failures(error_cents: float) -> tuple[Failure, ...]:
    if error_cents == 0.0:
        return ()
    message = (
        f"cash does not close: {error_cents:.0f} cents are lost, because an amount is too large to "
        "be exact (beyond about 20 trillion USD): check quantities and multipliers"
    )
    return (Failure(FailureReason.CALCULATION_FAILED, "cash", "avalanche", message),)
