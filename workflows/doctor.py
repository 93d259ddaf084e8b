"""`mca doctor`: is this machine able to run everything, and what would it run with?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from engine.domain.provenance import product_version

REQUIRED = (
    "jinja2",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "typer",
    "tzdata",
    "xlsxwriter",
)
OPTIONAL = {
    "confluent-kafka": "the monitor's topics (extra: monitor)",
    "pyspark": "the monitor's Spark job (extra: monitor)",
    "numba-cuda": "simulation on an NVIDIA GPU (extra: cuda)",
}
LEAST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Check:
    """One finding. `status` is `ok`, `absent` (optional and not there) or `failed`."""

    name: str
    status: str
    detail: str


def _python() -> Check:
    ok = sys.version_info >= LEAST_PYTHON
    detail = f"{platform.python_version()} at {sys.executable}"
    return Check("python", "ok" if ok else "failed", detail)


def _package(name: str, purpose: str | None = None) -> Check:
    try:
        return Check(name, "ok", package_version(name))
    except PackageNotFoundError:
        if purpose is not None:
            return Check(name, "absent", f"not installed; needed for {purpose}")
        return Check(name, "failed", "not installed; `uv sync` installs it")


def _kernel_cache() -> Check:
    try:
        from engine.kernels.jit import cache_folder

        return Check("kernel cache", "ok", str(cache_folder()))
    except (ImportError, OSError) as error:
        return Check("kernel cache", "failed", str(error))


def _compiler() -> Check:
    """Compile one line strictly and see that NaN still counts as NaN."""
    try:
        import llvmlite.binding as llvm
        import numba
        import numpy as np
    except ImportError as error:
        return Check("compiler", "failed", str(error))
    count = numba.njit(lambda values: np.isnan(values).sum())
    found = int(count(np.array([1.0, np.nan, np.nan])))
    if found != 2:
        return Check("compiler", "failed", f"{found} of 2 NaN found: the compiler is not strict")
    return Check("compiler", "ok", f"CPU {llvm.get_host_cpu_name()}, {os.cpu_count()} core(s)")


def _temporary_space() -> Check:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    status = "ok" if free >= LEAST_FREE_BYTES else "failed"
    return Check("temporary space", status, f"{folder}: {free / 1e9:.1f} GB free")


def _packaged_data() -> Check:
    from workflows.funds import packaged_data_hash

    try:
        return Check("packaged data", "ok", f"sha256 {packaged_data_hash()[:16]}")
    except OSError as error:
        return Check("packaged data", "failed", str(error))


def _java() -> Check:
    path = shutil.which("java")
    if path is None:
        return Check("java", "absent", "not found; needed for the monitor's Spark job only")
    return Check("java", "ok", path)


def examine() -> dict[str, Any]:
    """Return `ok`, the `version` and every check; `ok` is false if a required one failed."""
    checks: list[Callable[[], Check]] = [
        _python,
        _kernel_cache,
        _compiler,
        _packaged_data,
        _temporary_space,
        _java,
    ]
    found = [check() for check in checks]
    found += [_package(name) for name in REQUIRED]
    found += [_package(name, purpose) for name, purpose in OPTIONAL.items()]
    return {
        "ok": all(check.status != "failed" for check in found),
        "version": product_version(),
        "platform": platform.platform(),
        "checks": [asdict(check) for check in found],
    }
