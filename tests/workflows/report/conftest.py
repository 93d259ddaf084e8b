"""A fund of realistic size whose figures are drawn from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.domain.failures import Failure, FailureReason
from engine.domain.results import (
    AvalancheResult,
    Estimate,
    LiquidityResult,
    MarginResult,
    StressMarginResult,
)

Inputs = tuple[dict[str, Any], dict[str, pd.DataFrame]]
SEED = 20221228
BUCKETS = ("equity_us_index", "gas_power_eu", "oil", "rates_gbp", "rates_usd", "volatility")
AGREEMENTS, MANAGERS, HOURS, WINDOWS, PATHS = 223, 30, 240, 30, 2000


def texts(values: Any) -> np.ndarray:
    """Return an object array of text."""
    return np.array(list(values), dtype=object)


def margin_result(rng: np.random.Generator) -> MarginResult:
    """Return margin of cleared, bilateral and prime agreements."""
    kind = texts(rng.choice(["cleared", "bilateral", "prime"], AGREEMENTS, p=[0.6, 0.34, 0.06]))
    venues = ["Equity index CCP", "Rates CCP", "Energy CCP", "Metals CCP", "Credit CCP", "FX CCP"]
    models = {"cleared": "fhs_es", "bilateral": "simm", "prime": "schedule"}
    im = np.sort(rng.lognormal(15.6, 1.35, AGREEMENTS))[::-1]
    marks = rng.choice(["verified", "indicative", "user"], AGREEMENTS, p=[0.25, 0.65, 0.10])
    add_on = np.where(kind == "cleared", im * rng.uniform(0, 0.15, AGREEMENTS), 0.0)
    shares = rng.dirichlet(np.full(MANAGERS, 1.2))
    managers = {
        f"PM-{i + 1:02d}": {
            "im_usd": float(im.sum() * share),
            "vm_usd": float(rng.normal(0, 4e6)),
        }
        for i, share in enumerate(shares)
    }
    return MarginResult(
        as_of=date(2022, 12, 28),
        currency="USD",
        agreement_id=texts(f"{k[:3].upper()}-{i:03d}" for i, k in enumerate(kind)),
        kind=kind,
        venue=texts(rng.choice(venues) if k == "cleared" else "" for k in kind),
        counterparty=texts(f"Dealer {rng.integers(1, 40):02d}" for _ in kind),
        broker=texts("" if k == "bilateral" else f"Broker {rng.integers(1, 9)}" for k in kind),
        model=texts(models[str(k)] for k in kind),
        mark=texts(marks),
        im_usd=im,
        vm_usd=rng.normal(2e5, 2e6, AGREEMENTS),
        add_ons={"concentration": add_on, "liquidity": add_on * 0.3},
        by_manager=managers,
    )


def stress_result(margin: MarginResult, rng: np.random.Generator) -> StressMarginResult:
    """Return margin under 2x, 5x and 10x volatility."""
    factors = np.array([[1.34], [2.70], [5.20]]) * rng.uniform(0.5, 1.35, (1, AGREEMENTS))
    return StressMarginResult(
        mode="volatility",
        horizon_days=10,
        multipliers=(2.0, 5.0, 10.0),
        agreement_id=margin.agreement_id,
        kind=margin.kind,
        baseline_im_usd=margin.im_usd,
        im_usd=margin.im_usd * np.maximum(factors, 1.0),
    )


def avalanche_result(margin: MarginResult, rng: np.random.Generator) -> AvalancheResult:
    """Return a simulation whose liquidity drains over ten days."""
    hours = np.arange(1, HOURS + 1)
    drift = 3.9e9 - 1.2e9 * (1 - np.exp(-hours / 90))
    fan = np.array([drift + z * 1.25e8 * np.sqrt(hours) for z in (-2.33, -1.64, 0, 1.64, 2.33)])
    without = np.abs(rng.normal(9e7, 3e7, WINDOWS)) * np.exp(-np.arange(WINDOWS) / 25)
    calls = without * (1 + 0.35 * np.linspace(0.1, 1, WINDOWS))
    weights = rng.dirichlet(np.full(AGREEMENTS, 0.3))
    return AvalancheResult(
        scenario="covid_2020",
        volatility_multiplier=5.0,
        paths=PATHS,
        steps=HOURS,
        seed=SEED,
        amplification=Estimate(1.238, 1.201, 1.279),
        feedback_loss_mean_usd=2.1e8,
        sales_amplification=Estimate(1.41, 1.36, 1.47),
        branching_ratio=0.19,
        branching_loss=0.12,
        branching_margin=0.07,
        branching_raise_usd=2.4e8,
        p_avalanche=Estimate(0.0315, 0.0247, 0.0401),
        bands={"contained": 0.711, "amplified": 0.2455, "avalanche": 0.0215, "runaway": 0.022},
        peak_call_mean=4.2e8,
        peak_call_q99=Estimate(1.31e9, 1.22e9, 1.43e9),
        peak_call_es99=Estimate(1.72e9, 1.58e9, 1.90e9),
        calls_total_mean=float(calls.sum()),
        cash_error_cents=0,
        forced_sales_share=0.084,
        impact_cost_mean_usd=2.31e7,
        crowding=5.0,
        participation=0.10,
        impact_coefficient=0.8,
        fan_quantiles=(0.01, 0.05, 0.5, 0.95, 0.99),
        fan_usd=fan,
        mean_calls_by_window_usd=calls,
        mean_calls_by_window_exogenous_usd=without,
        mean_calls_by_agreement_usd=weights * calls.sum(),
        tail_calls_by_agreement_usd=weights * calls.sum() * 3.1,
        agreement_id=margin.agreement_id,
        per_path={"peak_daily_call_usd": rng.lognormal(19.6, 0.6, PATHS)},
        estimates=example_estimates(),
        sampling={
            "method": "low_discrepancy",
            "batches": 32,
            "stopped_because": "target reached",
            "watched": "peak_call_es99",
            "relative_half_width": 0.093,
            "reached_target": True,
        },
        first_failure={"USD": 0.0302, "EUR": 0.008, "JPY": 0.003},
        crowding_by_bucket={**dict.fromkeys(BUCKETS, 5.0), "rates_gbp": 20.0, "gas_power_eu": 8.0},
        sold_by_bucket={name: (0.02 * n, 0.09 * n) for n, name in enumerate(BUCKETS)},
    )


def example_estimates() -> dict[str, Estimate]:
    """Return figures with their intervals, as a simulation gives them."""
    return {
        "peak_call_mean": Estimate(4.2e8, 4.1e8, 4.3e8),
        "peak_call_es99": Estimate(1.72e9, 1.58e9, 1.90e9),
        "calls_mean": Estimate(2.5e9, 2.4e9, 2.6e9),
        "amplification": Estimate(1.238, 1.201, 1.279),
        "sales_amplification": Estimate(1.41, 1.36, 1.47),
        "p_avalanche": Estimate(0.0315, 0.0247, 0.0401),
        "p_runaway": Estimate(0.022, 0.016, 0.029),
        "p_exhaustion": Estimate(0.0412, 0.0334, 0.0508),
        "p_default": Estimate(0.0125, 0.0085, 0.0183),
        "p_forced_sales": Estimate(0.084, 0.073, 0.097),
        "p_line_needed": Estimate(0.2, 0.18, 0.22),
        "p_line_refused": Estimate(0.05, 0.04, 0.06),
        "impact_cost_mean": Estimate(2.31e7, 2.1e7, 2.5e7),
        "new_figure": Estimate(0.5, 0.4, 0.6),
    }


def example_scenarios() -> list[dict[str, Any]]:
    """Return stress scenarios of a fund, the costliest first."""
    known = (
        ("covid_2020", "COVID crash 2020", "historical", "severe", "indicative", 19.0, -1.57e9),
        ("own_case", "Gilts and gas together", "user", None, "user", None, -9.1e8),
        ("black_monday_1987", "Black Monday", "historical", "severe", "verified", 17.6, -4e8),
    )
    return [
        {
            "scenario_id": scenario_id,
            "name": name,
            "kind": kind,
            "severity": severity,
            "mark": mark,
            "days": 10,
            "volatility_multiplier": 4.283,
            "distance": distance,
            "pnl_usd": pnl,
            "calls_usd": -2.0 * pnl,
        }
        for scenario_id, name, kind, severity, mark, distance, pnl in known
    ]


def liquidity_result() -> LiquidityResult:
    """Return a fund that may exhaust late."""
    survival = 1 - 0.042 / (1 + np.exp(-(np.arange(1, HOURS + 1) - 150) / 22))
    return LiquidityResult(
        p_exhaustion=Estimate(0.0412, 0.0334, 0.0508),
        median_hours=None,
        survival=survival,
        facility_need_99=Estimate(2.05e9, 1.88e9, 2.27e9),
        facility_limit_usd=1.5e9,
        opening_usd={"cash": 1.1e9, "hqla_after_haircut": 1.3e9, "undrawn_facilities": 1.5e9},
    )


def example_failures() -> list[dict[str, str]]:
    """Return what could not be processed."""
    failures = [
        Failure(
            FailureReason.MISSING_DATA,
            "P-0042",
            "positions.csv row 118",
            "factor 'EUR_SWAP_30Y' has no level on 2022-12-28; add it to history.csv",
        ),
        Failure(
            FailureReason.UNSUPPORTED,
            "BIL-017",
            "agreements.csv row 18",
            "model 'grid' is not known; use one of fhs_var, fhs_es, simm, schedule",
        ),
    ]
    return [failure.to_dict() for failure in failures]


def example_ladder() -> list[dict[str, Any]]:
    """Return the simulation at four volatility multipliers."""
    return [
        {
            "scenario": "covid_2020",
            "volatility_multiplier": times,
            "p_avalanche": p,
            "amplification": a,
            "branching_ratio": k,
            "es99_usd": es,
            "p_exhaustion": out,
        }
        for times, p, a, k, es, out in (
            (1.0, 0.0, 1.02, 0.02, 2.4e8, 0.0),
            (2.0, 0.001, 1.06, 0.06, 6.1e8, 0.0005),
            (5.0, 0.0315, 1.238, 0.19, 1.72e9, 0.0412),
            (10.0, 0.284, 2.41, 1.08, 4.85e9, 0.377),
        )
    ]


def make_inputs() -> Inputs:
    """Return the summary and the tables of a full run."""
    rng = np.random.default_rng(SEED)
    margin = margin_result(rng)
    stress, avalanche = stress_result(margin, rng), avalanche_result(margin, rng)
    liquidity = liquidity_result()
    full = margin.to_dict()
    summary = {
        "run_id": "2022-12-28-7f3a9c",
        "out": "runs/2022-12-28-7f3a9c",
        "report": "runs/2022-12-28-7f3a9c/report.html",
        "as_of": "2022-12-28",
        "fund": {"name": "Meridian Multi-Strategy Fund", "nav_usd": 15e9, "currency": "USD"},
        "margin": {
            "totals": margin.totals(),
            "agreements": full["agreements"],
            "largest": margin.summary()["largest"],
            "by_manager": full["by_manager"],
        },
        "stress": stress.to_dict(),
        "scenarios": example_scenarios()[:2],
        "avalanche": avalanche.to_dict(),
        "avalanche_ladder": example_ladder(),
        "liquidity": liquidity.to_dict(),
        "failures": example_failures(),
        "data_quality": {
            "substituted": ["PALLADIUM: PLATINUM"],
            "synthetic_factors": ["CDX_HY_5Y", "EU_POWER"],
            "filled_days": {"USDJPY": 3},
            "quarantined": {"positions": 1, "cash": 0},
        },
        "provenance": {
            "inputs": {"fund.toml": "a3" * 32, "positions.csv": "7f" * 32},
            "rulebooks": ["simm_2_6", "schedule_2015"],
            "seed": SEED,
            "version": "0.1.0",
        },
        "reproduce": "mca run examples/fund --scenario covid_2020 --volatility 5 --seed 20221228",
    }
    tables = {
        **margin.tables(),
        **stress.tables(),
        **avalanche.tables(),
        **liquidity.tables(),
        "scenarios": pd.DataFrame(example_scenarios()),
    }
    return summary, tables


@pytest.fixture
def run_inputs() -> Inputs:
    """Return a fresh copy of a full run's summary and tables."""
    return make_inputs()


@pytest.fixture
def make_run() -> Callable[[], Inputs]:
    """Return the maker, for tests that need two copies."""
    return make_inputs
