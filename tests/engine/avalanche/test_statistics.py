"""Confidence intervals: known numbers and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engine.avalanche import statistics


def test_wilson_known_number() -> None:
    zero = statistics.wilson(0, 100)
    assert (zero.value, zero.low) == (0.0, 0.0)
    assert zero.high == pytest.approx(0.03699, abs=5e-6)
    reference = stats.binomtest(37, 250).proportion_ci(method="wilson")
    mine = statistics.wilson(37, 250)
    assert (mine.low, mine.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


def test_wilson_refuses_impossible_counts() -> None:
    with pytest.raises(ValueError, match="count 3 of 2"):
        statistics.wilson(3, 2)


def test_quantile_ranks() -> None:
    values = np.arange(1, 10_001, dtype=float)
    estimate = statistics.quantile(values, 0.99)
    assert (estimate.value, estimate.low, estimate.high) == (9_900.0, 9_881.0, 9_920.0)


def test_quantile_interval_covers() -> None:
    rng = np.random.default_rng(8)
    truth = stats.norm.ppf(0.99)
    hits = 0
    for _ in range(400):
        e = statistics.quantile(rng.standard_normal(2_000), 0.99)
        hits += e.low <= truth <= e.high
    assert 0.91 <= hits / 400 <= 0.99


def test_expected_shortfall_interval_covers() -> None:
    rng = np.random.default_rng(9)
    truth = stats.norm.pdf(stats.norm.ppf(0.99)) / 0.01
    hits = 0
    for i in range(40):
        e = statistics.expected_shortfall(rng.standard_normal(4_000), 0.99, i)
        hits += e.low <= truth <= e.high
    assert hits >= 32


def test_ratio_of_sums() -> None:
    rng = np.random.default_rng(10)
    bottom = rng.exponential(1.0, 5_000)
    top = bottom * 1.5 + rng.normal(0, 0.1, 5_000)
    e = statistics.ratio_of_sums(top, bottom, 3)
    assert e.low < 1.5 < e.high and e.high - e.low < 0.02
    none = statistics.ratio_of_sums(np.zeros(4), np.zeros(4), 3)
    assert (none.value, none.low, none.high) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="do not pair"):
        statistics.ratio_of_sums(np.ones(4), np.zeros(4), 3)
