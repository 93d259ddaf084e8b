"""The kernel compiled for the CPU: tiles of LANES paths, spread over threads.

Results do not depend on the number of threads or on how paths are cut into blocks: every path has
its own random numbers and its own column of the output.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.kernels.avalanche.groups import group, workspace
from engine.kernels.avalanche.layout import (
    HOURS_PER_DAY,
    Draws,
    Model,
    Output,
    empty_output,
    score_rows,
)
from engine.kernels.avalanche.tile import build_tile
from engine.kernels.jit import inlined, kernel, spliced

LANES = 64
TILES_PER_TASK = 4

_tile = build_tile(inlined, LANES, spliced)


@kernel
def _run_tiles(tiles, column, seed, scenario, m, d, s, out):
    for i in range(tiles):
        _tile(0, column + i * LANES, seed, scenario, m, d, s, out)


def prepare_draws(
    model: Model, path_ids: Int64Array, drive: Float64Array | None, scores: Float64Array | None
) -> Draws:
    """Check and pad what differs between paths, so that tiles are whole."""
    paths, padded = len(path_ids), -(-len(path_ids) // LANES) * LANES
    shocks, days = model.shock.shape[0], len(model.stress) // HOURS_PER_DAY
    weights = np.ones((shocks, paths)) if drive is None else np.asarray(drive, dtype=np.float64)
    points = np.zeros((0, paths)) if scores is None else np.asarray(scores, dtype=np.float64)
    if weights.shape != (shocks, paths):
        raise ValueError(f"drive has shape {weights.shape}; it needs {(shocks, paths)}")
    if len(points) and (points.shape[1] != paths or len(points) % days):
        raise ValueError(
            f"scores has shape {points.shape}; it needs {paths} columns and, for each of "
            f"{days} days, the same number of rows"
        )
    if len(points) and (len(points) // days - 1) % 4:
        raise ValueError(
            f"scores drive {len(points) // days - 1} normals; use a multiple of 4, which is what "
            "one draw of the generator gives"
        )

    scored, factors = len(points) // days - 1 if len(points) else 0, len(model.group)
    if scored > factors:
        raise ValueError(f"scores drive {scored} normals; the model has {factors} factors")

    def pad(array: Any) -> Any:
        missing = padded - paths
        return np.ascontiguousarray(
            np.concatenate([array, np.repeat(array[..., -1:], missing, axis=-1)], axis=-1)
        )

    return Draws(pad(path_ids.astype(np.uint64)), pad(weights), pad(points))


def run_paths(
    model: Model,
    paths: int,
    seed: int,
    *,
    first_path: int = 0,
    path_ids: Int64Array | None = None,
    scenario: int = 0,
    threads: int | None = None,
    fan: bool = False,
    record: bool = False,
    drive: Float64Array | None = None,
    scores: Float64Array | None = None,
    progress: Callable[[float], None] | None = None,
) -> Output:
    """Simulate `paths` paths numbered from `first_path`, or those of `path_ids`.

    Parameters
    ----------
    model : Model
        From `engine.avalanche.model.build_model`.
    paths : int
        Number of paths, at least 1.
    seed : int
        64-bit seed. The same seed, scenario and path number give the same path.
    path_ids : int64 array of shape (paths,), optional
        Numbers of the paths in the random stream: any paths can be run again by themselves.
    threads : int, optional
        Worker threads; all cores if None. Does not change the result.
    fan : bool
        Keep liquidity of every hour (float32).
    record : bool
        Keep calls, margin, holdings and moves of every window; for selected paths, since it takes
        about 8 * windows * (2 R + B + K) bytes for each.
    drive : float64 array of shape (n_shocks, paths), optional
        Weight of each basis shock of the model on each path; ones if None.
    scores : float64 array of shape (days * (q + 1), paths), optional
        For each day the scores of the first q normals (q a multiple of 4), then the day's mixing
        factor. None: all from the generator.
    progress : callable, optional
        Called with the share of work done.

    Returns
    -------
    Output
        Arrays whose last axis has length `paths`.
    """
    if paths < 1:
        raise ValueError(f"paths is {paths}; simulate at least 1 path")
    ids = np.arange(first_path, first_path + paths) if path_ids is None else np.asarray(path_ids)
    if ids.shape != (paths,):
        raise ValueError(f"path_ids has shape {ids.shape}; it needs {(paths,)}")
    draws = prepare_draws(model, ids, drive, scores)
    tiles = len(draws.path) // LANES
    scored, inputs = score_rows(model, draws.scores), group(model)
    out = empty_output(model, tiles * LANES, fan, record)
    tasks = [(i, min(TILES_PER_TASK, tiles - i)) for i in range(0, tiles, TILES_PER_TASK)]
    workers = threads or os.cpu_count() or 1

    def work(task: tuple[int, int]) -> int:
        start, count = task
        state = workspace(model, LANES, scored)
        _run_tiles(count, start * LANES, seed, scenario, inputs, draws, state, out)
        return count

    done = 0
    with ThreadPoolExecutor(workers) as pool:
        for count in pool.map(work, tasks):
            done += count
            if progress is not None:
                progress(done / tiles)
    return Output(*(array[..., :paths] for array in out))


def run_plain(
    model: Model,
    paths: int,
    seed: int,
    *,
    scenario: int = 0,
    drive: Float64Array | None = None,
    scores: Float64Array | None = None,
) -> Output:
    """Run the same body as plain Python, one path at a time: slow, for tests of the compiler."""

    def plain(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    tile = build_tile(plain, 1, plain)
    out = empty_output(model, paths, fan=True, record=True)
    draws = prepare_draws(model, np.arange(paths), drive, scores)
    state = workspace(model, 1, score_rows(model, draws.scores))
    with np.errstate(over="ignore"):
        for path in range(paths):
            tile(0, path, seed, scenario, group(model), draws, state, out)
    return out
