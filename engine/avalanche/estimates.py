"""Estimates with intervals from paths that were drawn independently."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtri

from engine.avalanche.batches import Statistic
from engine.avalanche.columns import STATISTICS
from engine.avalanche.statistics import LEVEL, expected_shortfall, quantile, ratio_of_sums, wilson
from engine.domain.arrays import Float64Array
from engine.domain.results import Estimate


def independent_estimates(columns: Mapping[str, Float64Array], seed: int) -> dict[str, Estimate]:
    """Return every statistic of STATISTICS by name, for paths drawn independently.

    Paths of a batch depend on each other: their intervals come from `batches.run_until`.
    """
    return {each.name: _independent(columns, each, seed) for each in STATISTICS}


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
