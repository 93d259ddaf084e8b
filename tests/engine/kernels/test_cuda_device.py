"""The CUDA kernel on a real device; skipped with a reason where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.kernels.avalanche.compiled import run_paths
from engine.kernels.avalanche.layout import METRICS
from engine.kernels.cuda_backend import CudaUnavailable, describe_device, require_device
from tests.engine.avalanche.conftest import make_network  # noqa: F401

SEED = 42
PATHS = 1_000
# Fused operations can tip a decision of a path (a call just above the transfer amount).
MOST_TIPPED = 0.001


@pytest.fixture(scope="module", autouse=True)
def device() -> str:
    try:
        backend = require_device()
    except CudaUnavailable as error:
        pytest.skip(str(error))
    if backend.simulated:
        pytest.skip("the CUDA simulator is on: no real device is tested")
    return describe_device(backend)


@pytest.mark.slow
def test_equals_the_cpu_on_a_device(make_network: Any) -> None:  # noqa: F811
    from engine.kernels.avalanche.cuda import run_paths_cuda

    model = make_network().model(volatility_multiplier=5.0, crowding=10.0)
    fast = run_paths_cuda(model, PATHS, SEED, fan=True)
    slow = run_paths(model, PATHS, SEED, fan=True)
    for i, name in enumerate(METRICS):
        scale = max(float(np.max(np.abs(slow.metrics[i]))), 1e-9)
        off = np.abs(fast.metrics[i] - slow.metrics[i]) / scale > 1e-9
        assert np.mean(off) <= MOST_TIPPED, name
    assert np.all(fast.metrics[METRICS.index("cash_error")] == 0.0)


@pytest.mark.slow
def test_launches_do_not_change_a_bit_on_a_device(make_network: Any) -> None:  # noqa: F811
    from engine.kernels.avalanche.cuda import run_paths_cuda

    model = make_network().model(volatility_multiplier=5.0, crowding=10.0)
    whole = run_paths_cuda(model, PATHS, SEED, fan=True)
    cut = run_paths_cuda(model, PATHS, SEED, fan=True, chunk=300)
    assert all(np.array_equal(a, b) for a, b in zip(whole, cut, strict=True))
