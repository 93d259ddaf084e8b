"""What is kept of every path, in USD and hours, and the statistics that are estimated from it."""

from __future__ import annotations

import numpy as np

from engine.avalanche.batches import Statistic
from engine.avalanche.detect import detect
from engine.domain.arrays import Float64Array
from engine.domain.money import CENTS_PER_UNIT
from engine.kernels.avalanche.layout import HOURS_PER_DAY, METRICS, WINDOW_HOURS, Output

TAIL = 0.99
WATCHED = "peak_call_es99"

STATISTICS = (
    Statistic("peak_call_mean", "mean", "peak_daily_call_usd"),
    Statistic("peak_call_q95", "quantile", "peak_daily_call_usd", q=0.95),
    Statistic("peak_call_q99", "quantile", "peak_daily_call_usd", q=TAIL),
    Statistic("peak_call_es99", "tail_mean", "peak_daily_call_usd", q=TAIL),
    Statistic("calls_mean", "mean", "calls_usd"),
    Statistic("calls_q95", "quantile", "calls_usd", q=0.95),
    Statistic("calls_q99", "quantile", "calls_usd", q=TAIL),
    Statistic("calls_es99", "tail_mean", "calls_usd", q=TAIL),
    Statistic("facility_need_q99", "quantile", "facility_need_usd", q=TAIL),
    Statistic("amplification", "ratio", "calls_usd", "calls_without_feedback_usd"),
    Statistic("sales_amplification", "ratio", "raised_usd", "raised_without_feedback_usd"),
    Statistic("p_avalanche", "share", "avalanche"),
    Statistic("p_runaway", "share", "runaway"),
    Statistic("p_exhaustion", "share", "exhausted"),
    Statistic("p_exhaustion_without_sales", "share", "exhausted_without_sales"),
    Statistic("p_default", "share", "defaulted"),
    Statistic("p_forced_sales", "share", "sold"),
    Statistic("p_line_needed", "share", "line_needed"),
    Statistic("p_line_refused", "share", "line_refused"),
    Statistic("impact_cost_mean", "mean", "impact_cost_usd"),
    Statistic("fx_cost_mean", "mean", "fx_cost_usd"),
)


def metric(output: Output, name: str) -> Float64Array:
    """Return one per-path metric of a run in the kernel's units (cents, hours, counts)."""
    values: Float64Array = output.metrics[METRICS.index(name)]
    return values


def usd(cents: Float64Array) -> Float64Array:
    """Cents as USD."""
    return cents / CENTS_PER_UNIT


def peak_daily_calls(output: Output) -> Float64Array:
    """Return the largest sum of calls issued in one day, USD, shape (n_paths,)."""
    per_day = HOURS_PER_DAY // WINDOW_HOURS
    windows = output.windows
    days = windows.reshape(len(windows) // per_day, per_day, windows.shape[1]).sum(axis=1)
    return usd(days.max(axis=0))


def path_columns(on: Output, off: Output, held: Output) -> dict[str, Float64Array]:
    """Return the figures of every path, arrays of shape (n_paths,).

    Hours are -1 where an event did not happen. `currency_of_failure` is the number of the pool.
    Flags are 0 or 1.
    """
    verdict = detect(on, off)
    refused, drawn = metric(on, "lines_refused_max"), metric(on, "drawn_max")
    flags = {
        "avalanche": verdict.avalanche,
        "runaway": verdict.runaway,
        "exhausted": metric(on, "exhausted_hour") >= 0,
        "exhausted_without_sales": metric(held, "exhausted_hour") >= 0,
        "defaulted": metric(on, "default_count") > 0,
        "sold": metric(on, "raised") > 0,
        "line_needed": (drawn > 0) | (refused > 0),
        "line_refused": refused > 0,
    }
    return {
        "calls_usd": usd(metric(on, "calls_total")),
        "calls_without_feedback_usd": usd(metric(off, "calls_total")),
        "peak_daily_call_usd": peak_daily_calls(on),
        "branching": verdict.branching,
        "branching_max": metric(on, "branching_max"),
        "exhausted_hour": metric(on, "exhausted_hour"),
        "currency_of_failure": metric(on, "first_currency"),
        "default_hour": metric(on, "default_hour"),
        "defaults": metric(on, "default_count"),
        "liquidity_min_usd": usd(metric(on, "liquidity_min")),
        "drawn_max_usd": usd(drawn),
        "line_refused_max_usd": usd(refused),
        "unpaid_max_usd": usd(metric(on, "unpaid_max")),
        "raised_usd": usd(metric(on, "raised")),
        "raised_without_feedback_usd": usd(metric(off, "raised")),
        "impact_cost_usd": usd(metric(on, "impact_cost")),
        "fx_cost_usd": usd(metric(on, "fx_cost")),
        "im_max_usd": usd(metric(on, "im_max")),
        "margin_multiple_max": metric(on, "margin_multiple_max"),
        "nav_end_usd": usd(metric(on, "nav_end")),
        "nav_end_without_feedback_usd": usd(metric(off, "nav_end")),
        "facility_need_usd": usd(metric(held, "need_max")),
        "exhausted_hour_without_sales": metric(held, "exhausted_hour"),
        "stress_hours": metric(on, "stress_hours"),
        **{name: np.asarray(flag, dtype=np.float64) for name, flag in flags.items()},
    }
