"""Full revaluation of options: the kernel against NumPy with SciPy's normal distribution."""

from __future__ import annotations

import numpy as np

from benchmarks.timing import Report, medians

TOPIC = "option revaluation"
OPTIONS, SCENARIOS, LEVELS = 1_000, 2_500, 20


def test_against_numpy_and_scipy(report: Report) -> None:
    from engine.kernels.black import black_revalue, black_revalue_numpy

    rng = np.random.default_rng(5)
    moves = rng.normal(0.0, 0.03, (LEVELS, SCENARIOS))
    levels = 100.0 * np.exp(moves)
    strike = rng.uniform(80.0, 120.0, OPTIONS)
    row = rng.integers(0, LEVELS, OPTIONS)
    inputs = (
        levels,
        moves,
        np.exp(rng.normal(0.0, 0.1, (LEVELS, SCENARIOS))),
        row,
        row,
        np.log(100.0 / strike),
        strike,
        rng.uniform(0.05, 0.4, OPTIONS),
        rng.choice([-1.0, 1.0], OPTIONS),
        np.ones(OPTIONS),
        np.zeros(OPTIONS),
        np.arange(OPTIONS),
    )
    ours, twin = np.empty((OPTIONS, SCENARIOS)), np.empty((OPTIONS, SCENARIOS))
    seconds = medians(
        {
            "kernel": lambda: black_revalue(*inputs, ours),
            "twin": lambda: black_revalue_numpy(*inputs, twin),
        }
    )
    assert np.max(np.abs(ours - twin)) <= 1e-10 * 100.0
    per_price = seconds["kernel"] / (OPTIONS * SCENARIOS) * 1e9
    report.add(
        TOPIC, f"{OPTIONS:,} options x {SCENARIOS:,} scenarios", f"{per_price:.1f} ns a price"
    )
    report.add(TOPIC, "NumPy and SciPy / kernel", f"{seconds['twin'] / seconds['kernel']:.1f} x")
