"""Estimates with intervals from the paths of a run, whichever way the paths were drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtri

from engine.avalanche.batches import Sample, Statistic, estimate
from engine.avalanche.columns import STATISTICS
from engine.avalanche.statistics import LEVEL, expected_shortfall, quantile, ratio_of_sums, wilson
from engine.domain.arrays import Float64Array
from engine.domain.results import Estimate


def estimate_all(
    columns: Mapping[str, Float64Array], batch_paths: int, seed: int
) -> dict[str, Estimate]:
    """Return every statistic of STATISTICS by name.

    Paths of a batch depend on each other, so the interval then comes from the spread of batches
    (`batches.estimate`); independent paths (`batch_paths` 0) have intervals of their own
    (`statistics`).
    """
    if batch_paths:
        sample = as_sample(columns, batch_paths)
        return {each.name: estimate(sample, each) for each in STATISTICS}
    return {each.name: _independent(columns, each, seed) for each in STATISTICS}


def as_sample(columns: Mapping[str, Float64Array], batch_paths: int) -> Sample:
    """Put per-path columns, batch after batch, back into batches."""
    paths = len(next(iter(columns.values())))
    shaped = {name: values.reshape(-1, batch_paths) for name, values in columns.items()}
    return Sample(shaped, paths // batch_paths, paths)


def _independent(columns: Mapping[str, Float64Array], statistic: Statistic, seed: int) -> Estimate:
    values = columns[statistic.column]
    if statistic.kind == "share":
        return wilson(int(values.sum()), len(values))
    if statistic.kind == "quantile":
        return quantile(values, statistic.q)
    if statistic.kind == "tail_mean":
        return expected_shortfall(values, statistic.q, seed)
    if statistic.kind == "ratio":
        return ratio_of_sums(values, columns[statistic.below], seed)
    return mean(values)


def mean(values: Float64Array) -> Estimate:
    """Return the mean of independent values with the interval of the central limit theorem.

    A single value has no interval: both ends are the value.
    """
    value = float(values.mean())
    if len(values) < 2:
        return Estimate(value, value, value, LEVEL)
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    half = float(ndtri(0.5 + LEVEL / 2)) * error
    return Estimate(value, value - half, value + half, LEVEL)
