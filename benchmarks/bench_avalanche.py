"""The avalanche kernel against its NumPy twin, and how its time grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.timing import Report, medians

TOPIC = "avalanche kernel"
PATHS = 10_000
TWIN_PATHS = 256
AGREEMENTS = 220
FACTORS = 60
SEED = 20200316
STRESS = {"volatility_multiplier": 5.0, "crowding": 5.0, "horizon_days": 10}


# Cash at which about one path in seven runs dry, sells and defaults, and one at which all do.
BUSY_USD, BROKE_USD = 2.0e10, 4.0e7


def _model(
    make_network: Callable[..., Any],
    agreements: int = AGREEMENTS,
    cash_usd: float = BUSY_USD,
    **settings: float,
) -> Any:
    network = make_network(
        agreements=agreements, factors=FACTORS, cash_usd=cash_usd, facility_usd=cash_usd / 2
    )
    return network.model(**{**STRESS, **settings})


def _path_steps(model: Any, paths: int) -> float:
    return float(paths * len(model.stress))


def _size(model: Any) -> str:
    return (
        f"{len(model.stress)} hours x {len(model.im_start)} agreements x "
        f"{len(model.group)} factors, {len(model.ent_coef):,} exposures"
    )


@pytest.mark.timeout(1200)
def test_against_numpy_twin(make_network: Callable[..., Any], report: Report) -> None:
    from engine.kernels.avalanche.compiled import run_paths
    from engine.kernels.avalanche.twin import run_twin

    model = _model(make_network)
    seconds = medians(
        {
            "kernel": lambda: run_paths(model, PATHS, SEED, threads=1),
            "twin": lambda: run_twin(model, TWIN_PATHS, SEED),
        },
        repeats=3,
    )
    kernel_us = seconds["kernel"] / _path_steps(model, PATHS) * 1e6
    twin_us = seconds["twin"] / _path_steps(model, TWIN_PATHS) * 1e6
    report.add(TOPIC, f"{PATHS:,} paths x {_size(model)}", f"{seconds['kernel']:.2f} CPU-s")
    report.add(TOPIC, "per path and hour", f"{kernel_us:.2f} us")
    report.add(TOPIC, "NumPy twin, per path and hour", f"{twin_us:.1f} us")
    report.add(TOPIC, "NumPy twin / kernel, one core", f"{twin_us / kernel_us:.1f} x")


@pytest.mark.timeout(1200)
def test_what_trouble_costs(make_network: Callable[..., Any], report: Report) -> None:
    """Sales, closes-out and cascades are extra work: quiet, busy and broke funds in one run."""
    from engine.kernels.avalanche.compiled import run_paths

    models = {
        "quiet": _model(make_network, cash_usd=20 * BUSY_USD, volatility_multiplier=2.0),
        "busy": _model(make_network),
        "broke": _model(make_network, cash_usd=BROKE_USD),
    }
    seconds = medians(
        {name: lambda m=m: run_paths(m, 1_280, SEED, threads=1) for name, m in models.items()},
        repeats=3,
    )
    text = " : ".join(f"{seconds[name] / seconds['quiet']:.2f}" for name in models)
    report.add(TOPIC, "time of a quiet : busy : broke fund", text)


@pytest.mark.timeout(1200)
def test_growth_with_paths(make_network: Callable[..., Any], report: Report) -> None:
    from engine.kernels.avalanche.compiled import run_paths

    model = _model(make_network)
    counts = (1_280, 2_560, 5_120)
    seconds = medians(
        {str(n): lambda n=n: run_paths(model, n, SEED, threads=1) for n in counts}, repeats=3
    )
    per_path = [seconds[str(n)] / n for n in counts]
    text = " : ".join(f"{value / per_path[0]:.2f}" for value in per_path)
    report.add(TOPIC, "time per path at 1,280 : 2,560 : 5,120 paths", text)


@pytest.mark.timeout(1200)
def test_growth_with_agreements(make_network: Callable[..., Any], report: Report) -> None:
    from engine.kernels.avalanche.compiled import run_paths

    counts = (110, 220, 440)
    models = {n: _model(make_network, n) for n in counts}
    seconds = medians(
        {str(n): lambda n=n: run_paths(models[n], 640, SEED, threads=1) for n in counts}
    )
    per_agreement = [seconds[str(n)] / n for n in counts]
    text = " : ".join(f"{value / per_agreement[0]:.2f}" for value in per_agreement)
    report.add(TOPIC, "time per agreement at 110 : 220 : 440 agreements", text)


@pytest.mark.timeout(1200)
def test_threads_cost_no_cpu(make_network: Callable[..., Any], report: Report) -> None:
    from engine.kernels.avalanche.compiled import run_paths

    model = _model(make_network)
    seconds = medians(
        {str(n): lambda n=n: run_paths(model, 2_560, SEED, threads=n) for n in (1, 2)}
    )
    report.add(TOPIC, "CPU time of 2 threads / 1 thread", f"{seconds['2'] / seconds['1']:.2f} x")
