"""The wheel holds every file of the packages: rulebooks, market data, report templates."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "tools", "agents", "workflows", "monitor")


@pytest.fixture(scope="module")
def wheel_files() -> set[str]:
    if "MCA_WHEEL" not in os.environ:
        pytest.skip("MCA_WHEEL names no wheel; `make test` builds one and sets it")
    with zipfile.ZipFile(ROOT / os.environ["MCA_WHEEL"]) as wheel:
        return set(wheel.namelist())


def test_wheel_and_tree_hold_the_same_files(wheel_files: set[str]) -> None:
    tree = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    inside = {name for name in wheel_files if ".dist-info/" not in name}
    assert tree == inside


def test_wheel_holds_licence_and_command(wheel_files: set[str]) -> None:
    metadata = {name.split(".dist-info/")[1] for name in wheel_files if ".dist-info/" in name}
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"} <= metadata
