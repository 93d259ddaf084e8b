"""The kernel compiled for a GPU: one path per thread, from the same body as the CPU's.

State and outputs are (rows, paths), so that neighbouring threads read neighbouring addresses. The
time loop runs inside the kernel: a launch simulates its paths from the first hour to the last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.kernels.avalanche.compiled import prepare_draws
from engine.kernels.avalanche.groups import group, workspace
from engine.kernels.avalanche.layout import Draws, Model, Output, empty_output, score_rows
from engine.kernels.avalanche.tile import build_tile
from engine.kernels.cuda_backend import Backend, paths_that_fit, require_device

# A global of this module, because the simulator puts itself in the place of such globals. With
# numba-cuda installed, `numba.cuda` is numba-cuda.
cuda: Any = import_module("numba.cuda")

# The kernel uses more than 200 of the 255 registers a thread may have: larger blocks than 256
# threads do not fit, and small ones balance paths that sell against paths that do not.
BLOCK_THREADS = 128

# Kept in float32 by a mixed run: moves, exposures to them and their product, three quarters of the
# arithmetic. Money stays in float64, where cents are exact.
MIXED_MODEL = ("chol_coef", "ent_coef")
MIXED_STATE = ("z", "basis")


def build_entry(backend: Backend) -> Callable[..., None]:
    """Return the kernel's body for `backend`, not yet compiled: thread i simulates path i."""
    device = backend.device_function()
    tile = build_tile(device, 1, device)

    def entry(count, seed, scenario, m, d, s, out):
        i = cuda.grid(1)
        if i < count:
            tile(i, i, seed, scenario, m, d, s, out)

    return entry


@cache
def _compiled(backend: Backend) -> Any:
    return cuda.jit(build_entry(backend))


def map_arrays(tree: Any, change: Callable[[str, Any], Any], name: str = "") -> Any:
    """Return `tree`, NamedTuples of arrays nested at will, with `change(field, array)` in place of
    every array."""
    if not isinstance(tree, tuple):
        return change(name, tree)
    parts = zip(tree._fields, tree, strict=True)  # type: ignore[attr-defined]
    return type(tree)(*(map_arrays(part, change, field) for field, part in parts))


def state_on(make: Callable[..., Any], model: Model, paths: int, scored: int, mixed: bool) -> Any:
    """Return the state of `paths` paths; `make(shape, dtype)` allocates every array."""

    def wide(name: str, array: Any) -> Any:
        kind = np.float32 if mixed and name in MIXED_STATE else array.dtype
        return make((array.shape[0], paths), kind)

    return map_arrays(workspace(model, 1, scored), wide)


def path_bytes(
    model: Model, fan: bool, mixed: bool = False, record: bool = False, scored: int = 0
) -> int:
    """Return device memory of one path in bytes: its state and its outputs."""
    sizes = [array.nbytes for array in empty_output(model, 1, fan, record)]
    state_on(lambda *what: sizes.append(np.empty(*what).nbytes), model, 1, scored, mixed)
    return sum(sizes)


def _to_device(tree: Any) -> Any:
    """Copy arrays to the device, in the order of rows the kernel expects."""
    return map_arrays(tree, lambda _, array: cuda.to_device(np.ascontiguousarray(array)))


def _narrow(name: str, array: Any) -> Any:
    return array.astype(np.float32) if name in MIXED_MODEL else array


def _launch_size(paths: int, bytes_each: int, chunk: int | None) -> int:
    if chunk is not None:
        return min(chunk, paths)
    return paths_that_fit(cuda.current_context().get_memory_info().free, bytes_each, paths)


def run_paths_cuda(
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
    chunk: int | None = None,
    mixed: bool = False,
) -> Output:
    """Simulate `paths` paths numbered from `first_path` on the current CUDA device.

    Same paths as `compiled.run_paths`: the random numbers are the same bits. Results agree to about
    1e-9 relative, not to the bit, because a GPU fuses multiplications and additions.

    Parameters
    ----------
    model, paths, seed, first_path, path_ids, scenario, fan, record, drive, scores, progress
        As in `compiled.run_paths`.
    threads : int, optional
        Ignored: a launch has one thread for each path. Accepted so that callers can switch.
    chunk : int, optional
        Paths of one launch; as many as the free memory holds if None. Does not change the result.

    mixed : bool
        Compute moves and P&L in float32, money in float64. Paths differ by up to 4e-6 of the
        largest amount from float64 (docs/methodology/gpu.md); cash still closes to the cent.

    Returns
    -------
    Output
        Arrays in host memory, whose last axis has length `paths`.

    Raises
    ------
    CudaUnavailable
        If no CUDA compiler is installed or no device answers.
    ValueError
        If `paths` or `chunk` is below 1.
    """
    if paths < 1:
        raise ValueError(f"paths is {paths}; simulate at least 1 path")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; launch at least 1 path")
    kernel = _compiled(require_device())
    ids = np.arange(first_path, first_path + paths) if path_ids is None else np.asarray(path_ids)
    if ids.shape != (paths,):
        raise ValueError(f"path_ids has shape {ids.shape}; it needs {(paths,)}")
    draws = prepare_draws(model, ids, drive, scores)
    scored = score_rows(model, draws.scores)
    size = _launch_size(paths, path_bytes(model, fan, mixed, record, scored), chunk)
    inputs = group(model)
    shared = _to_device(map_arrays(inputs, _narrow) if mixed else inputs)
    state = state_on(cuda.device_array, model, size, scored, mixed)
    result = empty_output(model, paths, fan, record)
    for start in range(0, paths, size):
        count = min(size, paths - start)
        own = _to_device(Draws(*(array[..., start : start + count] for array in draws)))
        # Outputs are added to during a run, so every launch starts from zeros.
        part = _to_device(empty_output(model, count, fan, record))
        blocks = -(-count // BLOCK_THREADS)
        kernel[blocks, min(BLOCK_THREADS, count)](count, seed, scenario, shared, own, state, part)
        for target, source in zip(result, part, strict=True):
            target[..., start : start + count] = source.copy_to_host()
        if progress is not None:
            progress((start + count) / paths)
    return result
