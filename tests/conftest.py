"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Folder of conformance data (`oracles/`, `history/`), which is not part of the project.

    Set MCA_CONFORMANCE_DATA, or put a folder `shared` beside the checkout.
    """
    folder = Path(os.environ.get("MCA_CONFORMANCE_DATA", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"conformance data not found at {folder}; set MCA_CONFORMANCE_DATA")
    return folder
