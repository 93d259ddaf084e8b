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

from engine.domain.arrays import Float64Array
from engine.kernels.avalanche.layout import Model, Output, State, empty_output, state_rows
from engine.kernels.avalanche.tile import build_tile
from engine.kernels.jit import inlined, kernel, spliced

LANES = 64
TILES_PER_TASK = 4
CACHE_LINE_BYTES = 64

_tile = build_tile(inlined, LANES, spliced)


@kernel
def _run_tiles(tiles, column, path, seed, scenario, m, s, out):
    for i in range(tiles):
        _tile(0, column + i * LANES, path + i * LANES, seed, scenario, m, s, out)


def _workspace(model: Model, lanes: int) -> State:
    """Allocate the state of one tile in one block aligned to cache lines."""
    rows = state_rows(model)
    per_line = CACHE_LINE_BYTES // 8
    block: Float64Array = np.empty(int(rows.sum()) * lanes + per_line)
    offset = -(block.ctypes.data // 8) % per_line
    parts = []
    for count in rows:
        stop = offset + int(count) * lanes
        parts.append(block[offset:stop].reshape(int(count), lanes))
        offset = stop
    return State(*parts)


def run_paths(
    model: Model,
    paths: int,
    seed: int,
    *,
    first_path: int = 0,
    scenario: int = 0,
    threads: int | None = None,
    fan: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Output:
    """Simulate `paths` paths numbered from `first_path`.

    Parameters
    ----------
    model : Model
        From `engine.avalanche.model.build_model`.
    paths : int
        Number of paths, at least 1.
    seed : int
        64-bit seed. The same seed, scenario and path number give the same path.
    threads : int, optional
        Worker threads; all cores if None. Does not change the result.
    fan : bool
        Keep liquidity of every hour (float32).
    progress : callable, optional
        Called with the share of work done.

    Returns
    -------
    Output
        Arrays whose last axis has length `paths`.
    """
    if paths < 1:
        raise ValueError(f"paths is {paths}; simulate at least 1 path")
    tiles = -(-paths // LANES)
    out = empty_output(model, tiles * LANES, fan)
    tasks = [(i, min(TILES_PER_TASK, tiles - i)) for i in range(0, tiles, TILES_PER_TASK)]
    workers = threads or os.cpu_count() or 1

    def work(task: tuple[int, int]) -> int:
        start, count = task
        column = start * LANES
        state = _workspace(model, LANES)
        _run_tiles(count, column, first_path + column, seed, scenario, model, state, out)
        return count

    done = 0
    with ThreadPoolExecutor(workers) as pool:
        for count in pool.map(work, tasks):
            done += count
            if progress is not None:
                progress(done / tiles)
    return Output(*(array[:, :paths] for array in out))


def run_plain(model: Model, paths: int, seed: int, *, scenario: int = 0) -> Output:
    """Run the same body as plain Python, one path at a time: slow, for tests of the compiler."""

    def plain(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    tile = build_tile(plain, 1, plain)
    out = empty_output(model, paths, fan=True)
    state = _workspace(model, 1)
    with np.errstate(over="ignore"):
        for path in range(paths):
            tile(0, path, path, seed, scenario, model, state, out)
    return out
