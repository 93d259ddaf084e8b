"""Every block in README and docs marked `runnable` is run; a block that shows output must match.

A block is marked in its info string: ```` ```bash runnable ````, ```` ```python runnable ````.
Bash blocks run in an empty folder with `mca` on the path; blocks of one page share that folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^```(bash|python)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MCA = f'exec "{sys.executable}" -c "from workflows.cli.main import run; run()" "$@"\n'


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[tuple[str, str]]:
    """Return (language, code) of every runnable block."""
    return [(lang, code) for lang, info, code in BLOCK.findall(text) if "runnable" in info.split()]


def runnable_pages() -> list[Path]:
    return [page for page in pages() if blocks(page.read_text(encoding="utf-8"))]


@pytest.fixture
def workplace(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mca").write_text("#!/bin/sh\n" + MCA)
    (programs / "mca").chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return folder, {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", runnable_pages(), ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_runnable_blocks_run(page: Path, workplace: tuple[Path, dict[str, str]]) -> None:
    folder, environment = workplace
    for language, code in blocks(page.read_text(encoding="utf-8")):
        command = ["bash", "-euo", "pipefail", "-c", code]
        if language == "python":
            command = [sys.executable, "-c", code]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, f"{page.name}:\n{code}\n{done.stdout}\n{done.stderr}"


def test_readme_opens_with_the_two_commands_and_has_runnable_blocks() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = BLOCK.search(text)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[3].strip().splitlines()] == [
        "make demo",
        "make test",
    ]
    assert blocks(text)


def test_blocks_are_found_by_their_mark() -> None:
    text = "```bash runnable\nfalse\n```\n\n```bash\nmake demo\n```\n"
    assert blocks(text) == [("bash", "false\n")]
