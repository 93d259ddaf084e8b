"""Batches: known intervals, coverage, the rule that stops a run, and what common draws save."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import ndtri

from engine.avalanche.batches import (
    BatchOutcome,
    Sample,
    Statistic,
    compare,
    estimate,
    pool,
    relative_half_width,
    run_until,
)
from engine.avalanche.sampling import daily_scores
from engine.avalanche.statistics import tail_mean
from engine.domain.failures import InputError

MEAN = Statistic("mean", "mean", "x")
ES99 = Statistic("es99", "tail_mean", "x")
Q99 = Statistic("q99", "quantile", "x")
RATIO = Statistic("ratio", "ratio", "x", below="y")
GAUSSIAN_ES99 = 2.66521


def sample_of(**columns: Any) -> Sample:
    """Pool arrays of shape (batches, paths)."""
    batches = len(next(iter(columns.values())))
    return pool(
        [
            BatchOutcome({name: np.asarray(x, dtype=float)[b] for name, x in columns.items()})
            for b in range(batches)
        ]
    )


def normal_sample(seed: int, batches: int = 20, paths: int = 500) -> Sample:
    return sample_of(x=np.random.default_rng(seed).standard_normal((batches, paths)))


def test_worked_number() -> None:
    interval = estimate(sample_of(x=[[1, 3], [2, 6]]), MEAN)
    assert interval.value == 3.0
    assert interval.high - 3.0 == pytest.approx(12.7062, abs=5e-5)
    assert interval.low == pytest.approx(6.0 - interval.high, rel=1e-12)
    assert relative_half_width(interval) == pytest.approx(4.2354, abs=5e-5)


def test_values_are_those_of_all_paths_at_once() -> None:
    sample = normal_sample(1)
    x = sample.columns["x"].ravel()
    assert estimate(sample, ES99).value == tail_mean(x, 0.99)
    assert estimate(sample, Q99).value == np.sort(x)[9_900 - 1]
    assert estimate(sample, MEAN).value == pytest.approx(x.mean(), rel=1e-12)
    batch_means = np.mean([tail_mean(row, 0.99) for row in sample.columns["x"]])
    # The worst paths of each batch are not the worst of all: means of batches are too low.
    assert batch_means < estimate(sample, ES99).value


@pytest.mark.parametrize("statistic", [MEAN, ES99, RATIO])
def test_standard_error_is_that_of_the_jackknife(statistic: Statistic) -> None:
    rng = np.random.default_rng(2)
    y = rng.exponential(size=(40, 500))
    sample = sample_of(x=1.5 * y + rng.normal(0, 0.2, y.shape), y=y)
    without = []
    for b in range(40):
        kept = {name: np.delete(x, b, axis=0) for name, x in sample.columns.items()}
        without.append(estimate(sample_of(**kept), statistic).value)
    jackknife = np.sqrt(39 / 40 * np.sum((without - np.mean(without)) ** 2))
    interval = estimate(sample, statistic)
    error = (interval.high - interval.value) / stats.t.ppf(0.975, 39)
    assert error == pytest.approx(jackknife, rel=0.03)


def test_ratio_of_sums_and_its_limits() -> None:
    assert estimate(sample_of(x=[[1, 5], [2, 4]], y=[[0, 4], [2, 2]]), RATIO).value == 1.5
    nothing = estimate(sample_of(x=np.zeros((2, 3)), y=np.zeros((2, 3))), RATIO)
    assert (nothing.value, nothing.low, nothing.high) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="do not pair"):
        estimate(sample_of(x=np.ones((2, 3)), y=np.zeros((2, 3))), RATIO)


def test_share_of_no_path_has_an_interval() -> None:
    share = Statistic("p", "share", "x")
    interval = estimate(sample_of(x=np.zeros((10, 10))), share)
    assert interval.low == 0.0 and interval.high == pytest.approx(0.03699, abs=5e-6)
    with pytest.raises(InputError, match="other than 0 and 1"):
        estimate(normal_sample(3), share)


def coverage(truth: float, statistic: Statistic, draw: Callable[[int], Sample]) -> float:
    intervals = [estimate(draw(seed), statistic) for seed in range(200)]
    return float(np.mean([e.low <= truth <= e.high for e in intervals]))


@pytest.mark.parametrize(
    ("truth", "statistic"), [(GAUSSIAN_ES99, ES99), (float(ndtri(0.99)), Q99), (0.0, MEAN)]
)
def test_intervals_cover_in_the_gaussian_case(truth: float, statistic: Statistic) -> None:
    assert 0.90 <= coverage(truth, statistic, normal_sample) <= 0.98


def test_an_interval_that_takes_dependent_paths_for_independent_does_not_cover() -> None:
    """Control: batches cut across replicates look alike, and the interval is too narrow."""

    def shifted(seed: int, cut: bool) -> Sample:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((20, 50)) + rng.standard_normal((20, 1))
        return sample_of(x=rng.permutation(x.ravel()).reshape(20, 50) if cut else x)

    assert 0.90 <= coverage(0.0, MEAN, lambda seed: shifted(seed, False)) <= 0.98
    assert coverage(0.0, MEAN, lambda seed: shifted(seed, True)) < 0.6


def worst_of_ten(seed: int, batches: int = 20, paths: int = 256) -> Sample:
    """Largest loss of ten Gaussian days, from Sobol replicates."""
    rows = [daily_scores(10, 1, paths, seed, b, 0)[::2].min(axis=0) for b in range(batches)]
    return sample_of(x=-np.array(rows))


@pytest.mark.slow
def test_intervals_cover_with_sobol_replicates() -> None:
    tail, _ = integrate.quad(lambda u: ndtri(u**0.1), 0.99, 1.0)
    truth = {"es99": tail / 0.01, "q99": float(ndtri(0.99**0.1))}
    samples = [worst_of_ten(seed) for seed in range(200)]
    for statistic in (ES99, Q99):
        hits = coverage(truth[statistic.name], statistic, lambda seed: samples[seed])
        assert 0.90 <= hits <= 0.99, statistic.name


def normal_batch(seed: int, paths: int = 400) -> Callable[[int], BatchOutcome]:
    def simulate(batch: int) -> BatchOutcome:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, batch])))
        return BatchOutcome({"x": rng.standard_normal(paths)})

    return simulate


@pytest.mark.slow
def test_run_until_the_target_is_reached_and_covers() -> None:
    hits, ends = 0, set()
    for seed in range(200):
        run = run_until(
            normal_batch(seed), 0.02, 400, lambda: False, statistics=[ES99, MEAN], watched="es99"
        )
        assert run.reached_target and run.stopped_because == "target reached"
        assert run.relative_half_width <= 0.02
        assert run.sample.paths == 400 * run.sample.batches
        ends.add(run.sample.batches)
        hits += run.estimates["es99"].low <= GAUSSIAN_ES99 <= run.estimates["es99"].high
    assert len(ends) > 3 and min(ends) >= 20
    assert 0.90 <= hits / 200 <= 0.98


def test_run_until_the_most_batches_or_a_stop() -> None:
    run = run_until(normal_batch(1), 1e-6, 23, lambda: False, statistics=[ES99], watched="es99")
    assert (run.sample.batches, run.stopped_because) == (23, "most batches")
    assert not run.reached_target
    asked = iter([False, False, True])
    run = run_until(
        normal_batch(1), 1e-6, 23, lambda: next(asked), statistics=[ES99], watched="es99"
    )
    assert (run.sample.batches, run.stopped_because) == (4, "asked to stop")
    wide = run.estimates["es99"]
    assert wide.low < wide.value < wide.high
    shown = run.to_dict()
    assert shown["paths"] == 1_600 and shown["reached_target"] is False


def test_the_same_batches_give_the_same_result() -> None:
    simulate = normal_batch(5)
    run = run_until(simulate, 0.05, 20, lambda: False, statistics=[ES99], watched="es99")
    later = pool([simulate(b) for b in range(20)])
    assert estimate(later, ES99) == run.estimates["es99"]


@pytest.mark.parametrize("statistic", [MEAN, ES99, Q99])
def test_a_comparison_on_common_draws_is_narrow_and_covers(statistic: Statistic) -> None:
    hits, narrower = 0, 0
    for seed in range(200):
        first = normal_sample(seed)
        second = sample_of(x=first.columns["x"] * 0.9)
        other = sample_of(x=normal_sample(seed + 1_000).columns["x"] * 0.9)
        paired, apart = compare(first, second, statistic), compare(first, other, statistic)
        truth = {"mean": 0.0, "es99": 0.1 * GAUSSIAN_ES99, "q99": 0.1 * float(ndtri(0.99))}
        hits += paired.low <= truth[statistic.name] <= paired.high
        narrower += paired.high - paired.low < 0.5 * (apart.high - apart.low)
    assert 0.90 <= hits / 200 <= 0.985
    assert narrower == 200


def test_what_cannot_be_estimated_is_refused() -> None:
    one = BatchOutcome({"x": np.ones(3)})
    with pytest.raises(InputError, match="at least 2"):
        pool([one])
    with pytest.raises(InputError, match="batch 1 has columns"):
        pool([one, BatchOutcome({"y": np.ones(3)})])
    with pytest.raises(InputError, match="the same paths"):
        pool([one, BatchOutcome({"x": np.ones(4)})])
    with pytest.raises(InputError, match="batch 1, column x"):
        pool([one, BatchOutcome({"x": np.array([1.0, np.nan, 0.0])})])
    with pytest.raises(InputError, match="column 'z'"):
        estimate(pool([one, one]), Statistic("m", "mean", "z"))
    with pytest.raises(InputError, match="same draws"):
        compare(normal_sample(1), normal_sample(1, batches=21), MEAN)
    for target, watched, most in ((0.0, "es99", 9), (0.1, "other", 9), (0.1, "es99", 1)):
        with pytest.raises(InputError):
            run_until(
                normal_batch(1), target, most, lambda: False, statistics=[ES99], watched=watched
            )


@pytest.mark.slow
def test_common_draws_halve_the_variance_of_the_feedback_effect(
    make_network: Callable[..., Any],
) -> None:
    """The kernel on the synthetic network with and without any feedback, 40 seeds, no defaults.

    A default ends a path's calls in one of the two runs alone; with defaults the gain is 1.4.
    """
    from engine.avalanche.runs import without_impact
    from engine.kernels.avalanche.compiled import run_paths

    model = make_network().model(volatility_multiplier=5.0, crowding=10.0, defaults=False)
    without = without_impact(model)
    on, off = [], []
    for seed in range(40):
        on.append(run_paths(model, 256, seed).metrics[0].mean())
        off.append(run_paths(without, 256, seed).metrics[0].mean())
    effect = np.array(on) - np.array(off)
    apart = np.array(on) - np.roll(off, 1)
    assert effect.mean() != 0.0
    assert np.var(apart, ddof=1) >= 2.0 * np.var(effect, ddof=1)
