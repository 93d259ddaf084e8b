"""The avalanche kernel on a GPU against the CPU of the same machine; skipped without a device.

Time is wall time on both sides: the processor waits while a GPU works, so CPU time says nothing.
Run it on a machine that does nothing else.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from benchmarks.timing import Report

TOPIC = "avalanche on a GPU"
AGREEMENTS = 220
FACTORS = 60
SEED = 20200316
STRESS = {"volatility_multiplier": 5.0, "crowding": 5.0, "horizon_days": 10}
COUNTS = (10_000, 100_000, 1_000_000)
# The CPU's time grows in proportion to paths (bench_avalanche.py), so a part of them is enough.
CPU_PATHS = 10_000
CHECKED_PATHS = 2_000
REPEATS = 3
# A decision of a path can tip on the last digit of a fused operation.
MOST_TIPPED = 0.001


@pytest.fixture(scope="module")
def device() -> str:
    from engine.kernels.cuda_backend import CudaUnavailable, describe_device, require_device

    try:
        backend = require_device()
    except CudaUnavailable as error:
        pytest.skip(str(error))
    if backend.simulated:
        pytest.skip("the CUDA simulator is on: it is no measure of a GPU")
    return describe_device(backend)


def _wall(run: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        gc.collect()
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@pytest.mark.timeout(3600)
def test_against_the_cpu(make_network: Callable[..., Any], report: Report, device: str) -> None:
    from engine.kernels.avalanche.compiled import run_paths
    from engine.kernels.avalanche.cuda import path_bytes, run_paths_cuda
    from engine.kernels.avalanche.layout import METRICS

    model = make_network(agreements=AGREEMENTS, factors=FACTORS).model(**STRESS)
    start = time.perf_counter()
    fast = run_paths_cuda(model, CHECKED_PATHS, SEED)
    first = time.perf_counter() - start
    slow = run_paths(model, CHECKED_PATHS, SEED)
    for i, name in enumerate(METRICS):
        scale = max(float(np.max(np.abs(slow.metrics[i]))), 1e-9)
        off = np.abs(fast.metrics[i] - slow.metrics[i]) / scale > 1e-9
        assert np.mean(off) <= MOST_TIPPED, name
    report.add(TOPIC, "date and device", f"{date.today().isoformat()}: {device}")
    report.add(TOPIC, "first call: compile and start", f"{first:.1f} s")
    report.add(TOPIC, "device memory per path", f"{path_bytes(model, False):,} bytes")
    per_path = _wall(lambda: run_paths(model, CPU_PATHS, SEED)) / CPU_PATHS
    report.add(TOPIC, f"CPU, {os.cpu_count()} cores, per path", f"{per_path * 1e6:.1f} us wall")
    for count in COUNTS:
        seconds = _wall(lambda n=count: run_paths_cuda(model, n, SEED))
        ratio = per_path * count / seconds
        report.add(TOPIC, f"{count:,} paths", f"{seconds:.2f} s wall, CPU / GPU {ratio:.1f} x")
