"""Imports go down only: the contracts hold on the tree and break on planted violations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "tools", "agents", "workflows", "monitor")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages in `folder`, under the project's contracts."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return tmp_path


def test_floors_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("engine/margin/planted.py", "import workflows.run", "Floors: imports go down only"),
        ("monitor/planted.py", "import tools", "The monitor stands on the engine alone"),
        ("engine/kernels/planted.py", "import engine.domain.book", "Inside the engine"),
        ("engine/domain/planted.py", "import engine.kernels", "The domain knows no kernel"),
        ("engine/fund/planted.py", "import boto3", "The engine meets no service"),
        ("tools/planted.py", "import typer", "Tools meet no cloud service"),
    ],
)
def test_planted_violation_is_found(copied_tree: Path, file: str, line: str, contract: str) -> None:
    (copied_tree / file).write_text(f'"""Planted."""\n\n{line}\n')
    done = lint_imports(copied_tree)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [row for row in done.stdout.splitlines() if row.startswith(contract)]
    assert broken, done.stdout
    assert "BROKEN" in broken[0]
