"""What a result was computed from: enough to trace and repeat it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

UNKNOWN_VERSION = "0.0.0+unknown"


def product_version() -> str:
    """Return the installed version, or a marked unknown one when run from loose files."""
    try:
        return version("margin-avalanche")
    except PackageNotFoundError:
        return UNKNOWN_VERSION


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Provenance:
    """Hashes of the inputs, rulebooks used, seed and version: carried by every result."""

    inputs: dict[str, str]
    rulebooks: tuple[str, ...]
    seed: int
    version: str = field(default_factory=product_version)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready object."""
        return asdict(self)
