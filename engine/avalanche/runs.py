"""The three runs of a simulation on the same random numbers, in batches, and their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.avalanche.batches import LEAST_BATCHES, BatchOutcome, Sampled, run_until
from engine.avalanche.columns import STATISTICS, WATCHED, path_columns
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.sampling import daily_scores
from engine.domain.arrays import Float64Array
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import Model, Output

# Normals of an hour whose daily sums come from the low-discrepancy points.
SCORED = 8
MOST_BATCHES = 40
LEAST_BATCH_PATHS = 32
NEVER_REACHED = 1e-12

Progress = Callable[[str, float], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Runs:
    """Outputs of all paths: with feedback, without it, and without forced sales.

    `sampled` holds estimates of batches, None where paths are independent.
    """

    on: Output
    off: Output
    held: Output
    columns: dict[str, Float64Array]
    sampled: Sampled | None


def without_impact(model: Model) -> Model:
    """Return the model with sales that move nothing: no price, no volatility, no depth."""
    return model._replace(
        impact=np.zeros_like(model.impact),
        cost=np.zeros_like(model.cost),
        heat=np.zeros_like(model.heat),
        seg_push=np.zeros_like(model.seg_push),
    )


def without_sales(model: Model) -> Model:
    """Return the model of a fund that is not forced to sell."""
    pool = model.pool.copy()
    pool[layout.POOL_SELL] = 0.0
    return model._replace(pool=pool)


def batch_size(config: AvalancheConfig) -> int:
    """Return paths of a batch so that whole batches make up the run; 0: independent paths.

    An interval needs 20 batches or more. Where no number of batches from 20 to 40 divides the
    paths, or batches would be tiny, or the path is deterministic, paths are independent.
    """
    if config.sampling == "independent" or not config.noise:
        return 0
    for batches in range(LEAST_BATCHES, MOST_BATCHES + 1):
        if config.paths % batches == 0 and config.paths // batches >= LEAST_BATCH_PATHS:
            return config.paths // batches
    return 0


def simulate_runs(
    model: Model,
    config: AvalancheConfig,
    threads: int | None,
    progress: Progress | None,
    should_stop: Stop,
    device: str,
) -> Runs:
    """Simulate the three runs; in batches of low-discrepancy points where the paths allow it."""
    size = batch_size(config)
    kept: list[tuple[Output, Output, Output]] = []
    if size == 0:
        trio = _three(model, config, np.arange(config.paths), None, threads, progress, device)
        return Runs(*trio, path_columns(*trio), None)
    batches = config.paths // size
    most = batches if config.precision is None else max(config.most_paths // size, batches)

    def batch(number: int) -> BatchOutcome:
        scores = daily_scores(
            config.horizon_days, SCORED, size, config.seed, number, config.tail_degrees
        )
        ids = np.arange(number * size, (number + 1) * size)
        trio = _three(model, config, ids, scores, threads, None, device)
        kept.append(trio)
        if progress is not None:
            progress("batches", (number + 1) / most)
        return BatchOutcome(path_columns(*trio))

    sampled = run_until(
        batch,
        NEVER_REACHED if config.precision is None else config.precision,
        most,
        should_stop,
        statistics=STATISTICS,
        watched=WATCHED,
        least_batches=min(batches, most),
    )
    columns = {name: values.ravel() for name, values in sampled.sample.columns.items()}
    on, off, held = (_join([trio[i] for trio in kept]) for i in range(3))
    return Runs(on, off, held, columns, sampled)


def _three(
    model: Model,
    config: AvalancheConfig,
    ids: np.ndarray[tuple[int], np.dtype[np.int64]],
    scores: Float64Array | None,
    threads: int | None,
    progress: Progress | None,
    device: str,
) -> tuple[Output, Output, Output]:
    run_paths = _runner(device)

    def run(name: str, variant: Model, fan: bool) -> Output:
        report = None if progress is None else lambda share: progress(name, share)
        return run_paths(
            variant,
            len(ids),
            config.seed,
            path_ids=ids,
            scores=scores,
            threads=threads,
            fan=fan,
            progress=report,
        )

    return (
        run("with feedback", model, True),
        run("without feedback", without_impact(model), False),
        run("without sales", without_sales(model), False),
    )


def _runner(device: str) -> Callable[..., Output]:
    """Load the compiler of one device only."""
    if device == "cuda":
        from engine.kernels.avalanche.cuda import run_paths_cuda

        return run_paths_cuda
    from engine.kernels.avalanche.compiled import run_paths

    return run_paths


def _join(outputs: Sequence[Output]) -> Output:
    return Output(*(np.concatenate(parts, axis=-1) for parts in zip(*outputs, strict=True)))
