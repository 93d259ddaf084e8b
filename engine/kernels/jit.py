"""How every kernel is compiled: one place that sets numba's cache folder and options.

The cache folder's name holds a hash of all kernel sources and of the compiler's version, because
numba's own key does not see an edit in a function that a cached kernel calls. The folder must be
writable or numba fails at import, so a read-only one falls back to the temporary directory.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def _source_hash() -> str:
    digest = hashlib.sha256()
    for package in ("numba", "llvmlite", "numpy"):
        digest.update(f"{package}={version(package)};".encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def cache_folder() -> Path:
    """Return the folder of compiled kernels for exactly these sources, creating it."""
    name = _source_hash()
    bases = [Path(os.environ["MCA_CACHE_DIR"])] if "MCA_CACHE_DIR" in os.environ else []
    bases += [
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "margin-avalanche",
        Path(tempfile.gettempdir()) / f"margin-avalanche-{getpass.getuser()}",
    ]
    for base in bases:
        if _writable(base / name):
            return base / name
    raise OSError(
        f"no writable folder for compiled kernels among {[str(b) for b in bases]}; "
        "set MCA_CACHE_DIR to one"
    )


os.environ["NUMBA_CACHE_DIR"] = str(cache_folder())
# Slower code and not part of numba's cache key, so it must not vary (performance reference).
os.environ["NUMBA_SLP_VECTORIZE"] = "0"

import numba  # noqa: E402  (must follow the settings above)

# Helpers are called from kernels alone: leaving out their entry points for Python halves the time
# to compile.
_INTERNAL: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# error_model="numpy": without it every division adds a branch and loops stay scalar.
_STRICT: dict[str, Any] = {"fastmath": False, "error_model": "numpy"}


def kernel(function: F) -> F:
    """Compile an entry kernel: strict IEEE, releases the GIL, cached on disk.

    Entry kernels are module-level functions; a cached closure would never hit.
    """
    compiled: F = numba.njit(nogil=True, cache=True, **_STRICT)(function)
    return compiled


def inlined(function: F) -> F:
    """Compile a helper that is inlined by LLVM into the kernel that calls it."""
    compiled: F = numba.njit(forceinline=True, **_INTERNAL, **_STRICT)(function)
    return compiled


def spliced(function: F) -> F:
    """Compile a helper that is copied into its caller before type inference."""
    compiled: F = numba.njit(inline="always", **_STRICT)(function)
    return compiled
