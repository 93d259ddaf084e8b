"""Which CUDA compiler is at hand, which device, and whether a run is large enough to use it.

The CUDA compiler is optional: `pip install "margin-avalanche[cuda]"` adds numba-cuda. Without a
GPU, `NUMBA_ENABLE_CUDASIM=1` (set before Python starts) runs kernels as plain Python threads.
That is slow and is meant for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

DEVICES = ("auto", "cpu", "cuda")
# Below this many paths a run is over before a GPU is warm: compiling for it alone takes several
# seconds. An estimate from CPU figures (docs/methodology/gpu.md); no GPU has been timed.
LEAST_PATHS = 1_000_000
# Path counts are cut so that a launch uses at most this share of the free device memory.
MEMORY_SHARE = 0.8


class CudaUnavailable(RuntimeError):
    """A GPU was asked for and there is none, or no compiler for it."""


@dataclass(frozen=True)
class Backend:
    """A CUDA compiler: `cuda` is its module, with the interface of `numba.cuda`."""

    name: str
    version: str
    cuda: Any
    simulated: bool = False

    def device_function(self) -> Callable[..., Any]:
        """Return the decorator that compiles a function called from kernels."""
        decorator: Callable[..., Any] = self.cuda.jit(device=True)
        return decorator


def find_backend() -> Backend:
    """Return the CUDA compiler that is installed.

    The simulator comes first, because it replaces the compiler when numba starts. Numba's own CUDA
    target is not used otherwise: it is deprecated, and numba-cuda takes its place in `numba.cuda`.

    Raises
    ------
    CudaUnavailable
        If there is no compiler; the message names the extra to install.
    """
    settings: Any = import_module("numba.core.config")
    if settings.ENABLE_CUDASIM:
        return Backend("simulator", version("numba"), import_module("numba.cuda"), simulated=True)
    if find_spec("numba_cuda") is None:
        raise CudaUnavailable(
            "no CUDA compiler is installed; install the extra 'cuda' "
            "(pip install 'margin-avalanche[cuda]') or run with --device cpu"
        )
    return Backend("numba-cuda", version("numba-cuda"), import_module("numba.cuda"))


def require_device() -> Backend:
    """Return the compiler, if a device answers.

    Raises
    ------
    CudaUnavailable
        If there is no compiler or no device.
    """
    backend = find_backend()
    if not backend.cuda.is_available():
        raise CudaUnavailable(
            f"{backend.name} {backend.version} finds no CUDA device; check that `nvidia-smi` lists "
            "one and that its driver supports CUDA 13, or run with --device cpu"
        )
    return backend


def has_device() -> bool:
    """Return True if a compiler is installed and a real device answers; never raises.

    The simulator does not count: nothing is gained by running on it.
    """
    try:
        return not require_device().simulated
    except CudaUnavailable:
        return False


def choose_device(requested: str, paths: int, *, present: Callable[[], bool] = has_device) -> str:
    """Return "cpu" or "cuda".

    Parameters
    ----------
    requested : str
        "cpu" and "cuda" are taken as they are. "auto" is "cuda" from LEAST_PATHS paths on, where
        a device is present: 10,000 paths stay on the CPU, whatever is in the machine.
    paths : int
        Paths of one run.
    present : callable
        Asked only where the answer matters, because it loads the compiler.

    Raises
    ------
    ValueError
        If `requested` is none of DEVICES.
    """
    if requested not in DEVICES:
        raise ValueError(f"device is {requested!r}; use one of {', '.join(DEVICES)}")
    if requested != "auto":
        return requested
    return "cuda" if paths >= LEAST_PATHS and present() else "cpu"


def describe_device(backend: Backend) -> str:
    """Return one line for a results page: device, compute capability, compiler."""
    compiler = f"{backend.name} {backend.version}"
    if backend.simulated:
        return f"CUDA simulator of numba {backend.version}: no device"
    device = backend.cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    major, minor = device.compute_capability
    memory = backend.cuda.current_context().get_memory_info().total / 2**30
    return f"{name}, compute capability {major}.{minor}, {memory:.0f} GiB; {compiler}"


def paths_that_fit(free_bytes: float, path_bytes: int, paths: int) -> int:
    """Return how many of `paths` one launch can hold, at least 1.

    `free_bytes` is what the device has free; the simulator says infinity. 1 GiB free and 20,000
    bytes a path hold 42,949 paths: 0.8 * 2**30 / 20,000.
    """
    if free_bytes == float("inf"):
        return paths
    return max(1, min(paths, int(MEMORY_SHARE * free_bytes) // path_bytes))
