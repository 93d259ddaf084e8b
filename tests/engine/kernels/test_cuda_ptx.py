"""The CUDA kernel compiled for a GPU that need not be there: PTX, registers, spills.

Needs the extra 'cuda' and no device. It runs in a process of its own, because compiling without a
driver means telling the compiler which device to assume.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.engine.avalanche.conftest import make_network  # noqa: F401

ROOT = Path(__file__).resolve().parents[3]
# What a kernel may be given: 32,764 bytes since CUDA 12.1, of which some are the compiler's own.
MOST_PARAMETER_BYTES = 30_000
CHILD = """
import json, pickle, re, sys
from types import SimpleNamespace
import numpy as np
from cuda.bindings import nvjitlink
from numba import cuda, types
from numba.cuda import compile_ptx
from engine.kernels.avalanche.compiled import prepare_draws
from engine.kernels.avalanche.cuda import MIXED_MODEL, build_entry, state_on
from engine.kernels.avalanche.groups import group
from engine.kernels.avalanche.layout import empty_output
from engine.kernels.cuda_backend import find_backend

for name, module in list(sys.modules.items()):
    if name.startswith("numba") and "get_current_device" in getattr(module, "__dict__", {}):
        module.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))

def kind(tree):
    if isinstance(tree, tuple):
        return types.NamedTuple([kind(part) for part in tree], type(tree))
    return types.Array(getattr(types, str(tree.dtype)), tree.ndim, "C")

with open(sys.argv[1], "rb") as file:
    model = pickle.load(file)
mixed = sys.argv[2] == "mixed"
if mixed:
    model = model._replace(**{n: getattr(model, n).astype(np.float32) for n in MIXED_MODEL})
arguments = (
    group(model),
    prepare_draws(model, np.arange(2), None, None),
    state_on(np.empty, model, 2, 0, mixed),
    empty_output(model, 2, True, True),
)
signature = types.void(*[types.int64] * 3, *(kind(tree) for tree in arguments))
ptx = compile_ptx(build_entry(find_backend()), signature, cc=(9, 0))[0]
options = ["-arch=sm_90", "-verbose"]
linker = nvjitlink.create(len(options), options)
nvjitlink.add_data(linker, nvjitlink.InputType.PTX, ptx.encode(), len(ptx), "kernel")
nvjitlink.complete(linker)
log = bytearray(nvjitlink.get_info_log_size(linker))
nvjitlink.get_info_log(linker, log)
text = log.decode(errors="replace")
print(json.dumps({
    "entries": len(re.findall(r"^\\.visible \\.entry", ptx, re.M)),
    "parameter_bytes": 8 * len(re.findall(r"\\.param \\.u64", ptx)),
    "registers": max(int(n) for n in re.findall(r"[Uu]sed (\\d+) registers", text)),
    "spill_bytes": sum(int(n) for n in re.findall(r"(\\d+) bytes spill", text)),
    "cubin_bytes": nvjitlink.get_linked_cubin_size(linker),
    "float32_fused": len(re.findall(r"fma\\.rn\\.f32", ptx)),
    "calls": len(re.findall(r"^\\s+call", ptx, re.M)),
}))
"""


@pytest.fixture(scope="module", params=["float64", "mixed"])
def compiled(
    request: Any,
    make_network: Any,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, int]:
    if find_spec("numba_cuda") is None:
        pytest.skip("the extra 'cuda' is not installed (numba-cuda)")
    path = tmp_path_factory.mktemp("ptx") / "model"
    path.write_bytes(pickle.dumps(make_network(agreements=4, factors=4).model(horizon_days=1)))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), request.param],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    assert (figures["float32_fused"] > 0) == (request.param == "mixed")
    return figures


@pytest.mark.slow
def test_compiles_for_a_gpu(compiled: dict[str, int]) -> None:
    assert compiled["entries"] == 1
    assert compiled["cubin_bytes"] > 10_000
    assert 0 < compiled["parameter_bytes"] <= MOST_PARAMETER_BYTES


@pytest.mark.slow
def test_a_thread_keeps_its_state_in_registers(compiled: dict[str, int]) -> None:
    """Spilled registers would be read from memory in every hour."""
    print(compiled)
    assert compiled["registers"] <= 255
    assert compiled["spill_bytes"] == 0
