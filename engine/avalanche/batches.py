"""Independent batches of paths: estimates with intervals, and running until they are precise.

A batch is one replicate of a low-discrepancy sample, or one block of plain Monte Carlo paths.
Paths inside a replicate depend on each other: intervals come from the differences of batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from engine.avalanche.statistics import LEVEL, tail_mean, wilson
from engine.domain.arrays import Float64Array, freeze
from engine.domain.failures import InputError
from engine.domain.results import Estimate

Kind = Literal["mean", "share", "quantile", "tail_mean", "ratio"]
StopReason = Literal["target reached", "most batches", "asked to stop"]

# Fewer batches give a standard error that is itself too uncertain to stop on.
LEAST_BATCHES = 20
# Every look is a chance to stop by luck: looks are spaced by a tenth of the batches so far.
LOOK_GROWTH = 1.1
NOTHING_AMPLIFIED = 1.0


@dataclass(frozen=True)
class Statistic:
    """What is estimated from per-path columns.

    `mean`, `quantile` and `tail_mean` (expected shortfall) are of `column`, at probability `q`;
    `share` is the mean of a column of zeros and ones; `ratio` is the sum of `column` over the sum
    of `below`, path by path from the same draws.
    """

    name: str
    kind: Kind
    column: str
    below: str = ""
    q: float = 0.99


@dataclass(frozen=True)
class BatchOutcome:
    """Per-path values of one batch: name to float64 array (paths,); NaN is refused."""

    columns: Mapping[str, Float64Array]


@dataclass(frozen=True)
class Sample:
    """All batches together: name to float64 array (batches, paths of a batch)."""

    columns: Mapping[str, Float64Array]
    batches: int
    paths: int


@dataclass(frozen=True)
class Sampled:
    """What `run_until` returns. `relative_half_width` is that of the watched statistic."""

    estimates: Mapping[str, Estimate]
    watched: str
    relative_half_width: float
    reached_target: bool
    stopped_because: StopReason
    sample: Sample

    def to_dict(self) -> dict[str, object]:
        """Return the estimates and how the run ended, JSON-ready."""
        return {
            "estimates": {name: e.to_dict() for name, e in self.estimates.items()},
            "watched": self.watched,
            "relative_half_width": self.relative_half_width,
            "reached_target": self.reached_target,
            "stopped_because": self.stopped_because,
            "batches": self.sample.batches,
            "paths": self.sample.paths,
        }


def pool(outcomes: Sequence[BatchOutcome]) -> Sample:
    """Put batches together in their order.

    Raises
    ------
    InputError
        If there are fewer than two, their columns or sizes differ, or a value is not finite.
    """
    if len(outcomes) < 2:
        raise InputError(f"{len(outcomes)} batches: an interval needs at least 2")
    names, sizes = set(outcomes[0].columns), set()
    for number, outcome in enumerate(outcomes):
        if set(outcome.columns) != names:
            raise InputError(
                f"batch {number} has columns {sorted(outcome.columns)}: give all the same"
            )
        for name, values in outcome.columns.items():
            sizes.add(values.shape)
            if not np.all(np.isfinite(values)):
                raise InputError(f"batch {number}, column {name}: a value is not a finite number")
    if len(sizes) != 1 or len(next(iter(sizes))) != 1 or min(sizes) < (1,):
        raise InputError(f"columns have shapes {sorted(sizes)}: all batches need the same paths")
    columns = {name: np.stack([o.columns[name] for o in outcomes]) for name in sorted(names)}
    freeze(*columns.values())
    return Sample(columns, len(outcomes), len(outcomes) * next(iter(sizes))[0])


def estimate(sample: Sample, statistic: Statistic) -> Estimate:
    """Return the statistic over all paths, with an interval from the spread of batches.

    The value is computed from all paths at once, never as a mean of batch values, which are biased
    in small batches. Its interval linearises the statistic around that value (the infinitesimal
    jackknife): with z_b the mean over batch b of x (mean), v + (x - v)+ / (1 - q) with v the pooled
    quantile (expected shortfall), or (top - R below) / mean(below) (ratio), the standard error is
    sd(z_b) / sqrt(B) and the interval Student t with B - 1 degrees of freedom. For a quantile, z_b
    is the share of paths at or below v, and the interval runs between the pooled quantiles at q
    minus and plus its half-width (Woodruff 1952). A share has Wilson's interval over all paths,
    which is honest at zero counts and at least as wide as stratified points need.

    Batches (1, 3) and (2, 6) have mean 3 and z = (2, 4): standard error 1, interval 3 +- 12.7062.
    """
    if statistic.kind == "share":
        return _share(sample, statistic)
    if statistic.kind == "quantile":
        return _quantile(sample, statistic)
    value, by_batch = _linearised(sample, statistic)
    half = _half_width(by_batch)
    return Estimate(value, value - half, value + half, LEVEL)


def compare(first: Sample, second: Sample, statistic: Statistic) -> Estimate:
    """Return the statistic of `first` minus that of `second`, paired batch by batch.

    Both must come from the same draws, batch by batch: what they share then cancels.

    Raises
    ------
    InputError
        If batches or paths differ in number.
    """
    if (first.batches, first.paths) != (second.batches, second.paths):
        raise InputError(
            f"{first.batches} batches of {first.paths} paths against {second.batches} of "
            f"{second.paths}: a paired comparison needs the same draws in both"
        )
    value, by_batch = _linearised(first, statistic)
    other, by_other = _linearised(second, statistic)
    half = _half_width(by_batch - by_other)
    difference = value - other
    return Estimate(difference, difference - half, difference + half, LEVEL)


def relative_half_width(interval: Estimate) -> float:
    """Return half the interval over the value's size: 0 for a certain zero, inf for another."""
    half = 0.5 * (interval.high - interval.low)
    if half == 0.0:
        return 0.0
    return half / abs(interval.value) if interval.value != 0.0 else math.inf


def run_until(
    simulate_batch: Callable[[int], BatchOutcome],
    target_relative_half_width: float,
    most_batches: int,
    should_stop: Callable[[], bool],
    *,
    statistics: Sequence[Statistic],
    watched: str,
    least_batches: int = LEAST_BATCHES,
) -> Sampled:
    """Run batches 0, 1, 2, .. until the watched interval is narrow enough.

    Parameters
    ----------
    simulate_batch : callable
        Runs batch b. Its draws follow from b alone, so that the result does not depend on when or
        where a batch is run. Columns to be compared come from the same draws.
    target_relative_half_width : float
        Of the watched statistic's interval, for example 0.05. It is looked at after
        `least_batches` and then whenever their number has grown by a tenth.
    most_batches : int
        At least 2.
    should_stop : callable
        Asked after every batch from the second on: a time budget, or a cancelled request. The
        interval is then as wide as the batches so far make it.
    statistics : sequence of Statistic
        What is estimated at the end; names are unique.
    watched : str
        The statistic the target is for.

    Raises
    ------
    InputError
        If the target is not positive, `most_batches` or `least_batches` is below 2, or a name is
        unknown or given twice.
    """
    named = {s.name: s for s in statistics}
    _check_run(named, len(statistics), watched, target_relative_half_width)
    if min(most_batches, least_batches) < 2:
        raise InputError(
            f"most_batches {most_batches}, least_batches {least_batches}: need at least 2 batches"
        )
    outcomes = [simulate_batch(0)]
    look = min(least_batches, most_batches)
    reason: StopReason | None = None
    while reason is None:
        outcomes.append(simulate_batch(len(outcomes)))
        done = len(outcomes)
        if done >= look:
            width = relative_half_width(estimate(pool(outcomes), named[watched]))
            look = min(max(done + 1, math.ceil(LOOK_GROWTH * done)), most_batches)
            if width <= target_relative_half_width:
                reason = "target reached"
        if reason is None and done >= most_batches:
            reason = "most batches"
        if reason is None and should_stop():
            reason = "asked to stop"
    sample = pool(outcomes)
    estimates = {name: estimate(sample, s) for name, s in named.items()}
    width = relative_half_width(estimates[watched])
    reached = reason == "target reached"
    return Sampled(estimates, watched, width, reached, reason, sample)


def _check_run(named: Mapping[str, Statistic], count: int, watched: str, target: float) -> None:
    if len(named) != count or watched not in named:
        raise InputError(
            f"watched {watched!r} of statistics {sorted(named)}: names must be unique and hold it"
        )
    if not target > 0.0:
        raise InputError(f"target_relative_half_width {target}: give a positive number like 0.05")


def _half_width(by_batch: Float64Array) -> float:
    batches = len(by_batch)
    error = float(np.std(by_batch, ddof=1)) / math.sqrt(batches)
    return float(stdtrit(batches - 1, 0.5 + LEVEL / 2)) * error


def _column(sample: Sample, name: str) -> Float64Array:
    if name not in sample.columns:
        raise InputError(
            f"column {name!r} is not in the batches; they have {sorted(sample.columns)}"
        )
    return sample.columns[name]


def _at_rank(ordered: Float64Array, q: float) -> float:
    rank = min(max(math.ceil(len(ordered) * q - 1e-9), 1), len(ordered))
    return float(ordered[rank - 1])


def _linearised(sample: Sample, statistic: Statistic) -> tuple[float, Float64Array]:
    """The pooled value, and its linearised value by batch, (batches,)."""
    x = _column(sample, statistic.column)
    q = statistic.q
    if statistic.kind in ("mean", "share"):
        return float(x.mean()), x.mean(axis=1)
    if statistic.kind == "ratio":
        return _ratio(x, _column(sample, statistic.below))
    ordered = np.sort(x, axis=None)
    v = _at_rank(ordered, q)
    if statistic.kind == "tail_mean":
        return tail_mean(ordered, q), v + np.maximum(x - v, 0.0).mean(axis=1) / (1.0 - q)
    # A quantile moves by the change of the share at or below it, over the density there.
    step = math.sqrt(q * (1.0 - q) / len(ordered))
    spread = (_at_rank(ordered, q + step) - _at_rank(ordered, q - step)) / (2.0 * step)
    return v, v - ((x <= v).mean(axis=1) - q) * spread


def _ratio(top: Float64Array, below: Float64Array) -> tuple[float, Float64Array]:
    total = float(below.sum())
    if total == 0.0:
        if np.any(top):
            raise ValueError("calls with feedback but none without it: the runs do not pair")
        return NOTHING_AMPLIFIED, np.full(len(top), NOTHING_AMPLIFIED)
    value = float(top.sum()) / total
    return value, (top - value * below).mean(axis=1) / float(below.mean())


def _share(sample: Sample, statistic: Statistic) -> Estimate:
    x = _column(sample, statistic.column)
    if not np.all((x == 0.0) | (x == 1.0)):
        raise InputError(f"column {statistic.column!r} of a share holds values other than 0 and 1")
    return wilson(int(x.sum()), x.size)


def _quantile(sample: Sample, statistic: Statistic) -> Estimate:
    x, q = _column(sample, statistic.column), statistic.q
    ordered = np.sort(x, axis=None)
    v = _at_rank(ordered, q)
    half = _half_width((x <= v).mean(axis=1))
    return Estimate(v, _at_rank(ordered, q - half), _at_rank(ordered, q + half), LEVEL)
