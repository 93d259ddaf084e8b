"""Historical VaR and expected shortfall against a bare np.partition of the same losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.timing import Report, medians

TOPIC = "VaR and ES"
AGREEMENTS, SCENARIOS, CONFIDENCE = 220, 2_500, 0.99
BATCH = 20


def test_against_partition(report: Report) -> None:
    from engine.margin.historical import expected_shortfall, tail_count, value_at_risk

    losses = np.random.default_rng(9).normal(size=(AGREEMENTS, SCENARIOS))
    cut = SCENARIOS - tail_count(SCENARIOS, CONFIDENCE)

    def batch(function: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(BATCH):
                function()

        return run

    seconds = medians(
        {
            "partition": batch(lambda: np.partition(losses, cut, axis=-1)),
            "var": batch(lambda: value_at_risk(losses, CONFIDENCE)),
            "es": batch(lambda: expected_shortfall(losses, CONFIDENCE)),
        }
    )
    size = f"{AGREEMENTS} agreements x {SCENARIOS:,} scenarios"
    for name, label in (("var", "VaR"), ("es", "ES")):
        report.add(TOPIC, f"{label} of {size}", f"{seconds[name] / BATCH * 1e3:.2f} CPU-ms")
        report.add(
            TOPIC, f"{label} / np.partition", f"{seconds[name] / seconds['partition']:.2f} x"
        )
