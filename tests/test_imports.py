"""What importing costs: the command line starts without the science, the engine without SDKs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numba", "numpy", "pandas", "pyarrow", "pydantic", "rich", "scipy", "jinja2")
SERVICES = ("boto3", "botocore", "strands", "bedrock_agentcore", "typer", "rich")
# Measured 0.16 s; the promise is 0.3 s of wall time on a quiet machine, CPU time is what we bound.


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules loaded in a fresh interpreter after `statement`."""
    program = (
        f"import sys, json; sys.path.insert(0, {str(ROOT)!r}); {statement}; "
        "sys.stderr.write(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = loaded_after(f"from workflows.cli.main import main; main({arguments!r})")
    assert not loaded & set(HEAVY)


def test_help_of_a_command_loads_no_science() -> None:
    # typer itself checks the types of a command's options with pydantic.
    loaded = loaded_after("from workflows.cli.main import main; main(['run', '--help'])")
    assert loaded & set(HEAVY) <= {"pydantic"}


def test_domain_errors_load_nothing_heavy() -> None:
    assert not loaded_after("import engine.domain.failures, workflows.run") & set(HEAVY)


def test_engine_loads_no_service() -> None:
    modules = sorted(
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in (ROOT / "engine").rglob("*.py")
        if path.name != "__init__.py"
    )
    loaded = loaded_after(f"import importlib; [importlib.import_module(m) for m in {modules!r}]")
    assert "numpy" in loaded
    assert not loaded & set(SERVICES)
