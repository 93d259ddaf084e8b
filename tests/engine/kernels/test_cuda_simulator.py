"""The CUDA kernel under numba's simulator against the CPU kernel.

The simulator is chosen by an environment variable that numba reads when it is imported, so it runs
in a process of its own: here the variable is never set.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.kernels.avalanche.compiled import run_paths
from engine.kernels.avalanche.layout import METRICS, Model, Output, empty_output

# The synthetic network of the avalanche's own tests.
from tests.engine.avalanche.conftest import make_network  # noqa: F401

ROOT = Path(__file__).resolve().parents[3]
SEED = 42
PATHS = 6
CALLS: list[dict[str, Any]] = [
    {"fan": True},
    {"fan": True, "chunk": 4},
    {"fan": False, "first_path": 3, "scenario": 2, "threads": 7},
    {"record": True, "path_ids": np.array([7, 3, 40, 1, 0, 2]), "drive": np.full((1, PATHS), 0.5)},
    {"fan": True, "mixed": True},
]
MIXED = 4
CHILD = """
import pickle, sys
from engine.kernels.avalanche.cuda import run_paths_cuda
from engine.kernels.cuda_backend import find_backend, has_device

with open(sys.argv[1], "rb") as file:
    models, calls, paths, seed = pickle.load(file)
assert find_backend().simulated
assert not has_device()
shares = []
done = [
    [tuple(run_paths_cuda(m, paths, seed, progress=shares.append, **call)) for call in calls]
    for m in models
]
with open(sys.argv[2], "wb") as file:
    pickle.dump((done, shares), file)
"""


@pytest.fixture(scope="module")
def models(make_network: Any) -> list[Model]:  # noqa: F811
    """Return a model that sells and one that pays without selling."""
    network = make_network(agreements=4, factors=4, cash_usd=2.0e6, facility_usd=1.0e6)
    return [
        network.model(horizon_days=2, volatility_multiplier=10.0, crowding=20.0),
        network.model(horizon_days=1, tail_degrees=0, forced_sales=False),
    ]


def run_child(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def simulated(
    models: list[Model], tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[list[Output]], list[float]]:
    """Return outputs by model and call, and the shares that were reported."""
    folder = tmp_path_factory.mktemp("simulator")
    question, answer = folder / "question", folder / "answer"
    question.write_bytes(pickle.dumps((models, CALLS, PATHS, SEED)))
    done = run_child(CHILD, str(question), str(answer), NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    outputs, shares = pickle.loads(answer.read_bytes())
    return [[Output(*arrays) for arrays in row] for row in outputs], shares


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference relative to the largest amount of the reference."""
    if a.size == 0:
        return 0.0
    scale = max(float(np.max(np.abs(b))), 1e-9)
    return float(np.max(np.abs(a.astype(float) - b))) / scale


def _cpu(model: Model, call: dict[str, Any]) -> Output:
    return run_paths(
        model, PATHS, SEED, **{k: v for k, v in call.items() if k not in ("chunk", "mixed")}
    )


def test_the_simulator_is_off_here() -> None:
    from numba import config

    assert not config.ENABLE_CUDASIM


@pytest.mark.parametrize("which", range(2), ids=["sales", "no-sales"])
@pytest.mark.parametrize(
    "call", range(MIXED), ids=["whole", "two-launches", "later-paths", "chosen-paths"]
)
def test_equals_the_cpu(models: list[Model], simulated: Any, which: int, call: int) -> None:
    outputs, _ = simulated
    slow, fast = outputs[which][call], _cpu(models[which], CALLS[call])
    for i, name in enumerate(METRICS):
        assert _difference(slow.metrics[i], fast.metrics[i]) <= 1e-9, name
    for name, a, b in zip(Output._fields, slow, fast, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype, name
        assert _difference(a, b) <= (1e-6 if a.dtype == np.float32 else 1e-9), name


def test_the_case_is_not_trivial(simulated: Any) -> None:
    """Most paths sell, and paths differ from each other."""
    metrics = simulated[0][0][0].metrics
    assert np.mean(metrics[METRICS.index("raised")] > 0) > 0.5
    assert len(set(metrics[METRICS.index("calls_total")])) == PATHS


def test_the_comparison_can_fail(models: list[Model], simulated: Any) -> None:
    """Negative control: another seed, or a margin wrong by a millionth, is seen."""
    model, slow = models[0], simulated[0][0][0]
    other = run_paths(model, PATHS, SEED + 1)
    assert _difference(slow.metrics[0], other.metrics[0]) > 1e-3
    wrong = model._replace(im_start=model.im_start * (1 + 1e-6))
    assert _difference(slow.metrics[0], run_paths(wrong, PATHS, SEED).metrics[0]) > 1e-9


@pytest.mark.parametrize("which", range(2), ids=["sales", "no-sales"])
def test_mixed_precision_is_close_and_cash_still_closes(
    models: list[Model], simulated: Any, which: int
) -> None:
    mixed, exact = simulated[0][which][MIXED], simulated[0][which][0]
    for i, name in enumerate(METRICS):
        assert _difference(mixed.metrics[i], exact.metrics[i]) <= 1e-5, name
    assert np.all(mixed.metrics[METRICS.index("cash_error")] == 0.0)
    assert _difference(mixed.metrics[0], exact.metrics[0]) > 0.0


def test_launches_do_not_change_a_bit(simulated: Any) -> None:
    whole, cut = simulated[0][0][:2]
    assert all(np.array_equal(a, b) for a, b in zip(whole, cut, strict=True))


def test_progress_ends_at_one(simulated: Any) -> None:
    _, shares = simulated
    assert shares[:3] == [1.0, 4 / PATHS, 1.0]


def test_memory_of_a_path_is_what_is_allocated(models: list[Model]) -> None:
    from engine.kernels.avalanche.cuda import path_bytes, state_on
    from engine.kernels.avalanche.groups import state_rows

    for model in models:
        outputs = sum(array.nbytes for array in empty_output(model, 1, True))
        state = state_on(np.empty, model, 7, 0, False)
        size = sum(array.nbytes for part in state for array in part)
        assert size == 7 * 8 * sum(state_rows(model).values())
        assert path_bytes(model, True) == size // 7 + outputs
        assert path_bytes(model, True, True) < path_bytes(model, True)


def test_rejects_nothing_to_do(models: list[Model]) -> None:
    from engine.kernels.avalanche.cuda import run_paths_cuda

    with pytest.raises(ValueError, match="paths is 0"):
        run_paths_cuda(models[0], 0, SEED)
    with pytest.raises(ValueError, match="chunk is 0"):
        run_paths_cuda(models[0], 1, SEED, chunk=0)
