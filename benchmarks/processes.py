"""Run a command in a process of its own and take its CPU time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MCA = [sys.executable, "-c", "from workflows.cli.main import run; run()"]
BYTES_PER_RSS = 1 if sys.platform == "darwin" else 1024


class Usage(NamedTuple):
    """CPU seconds of user and system, wall seconds are not taken; memory at its highest."""

    cpu_seconds: float
    peak_rss_mb: float


def usage(command: Sequence[str], **environment: str) -> Usage:
    """Run `command` to its end; a code other than 0 raises with what it wrote."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise RuntimeError(f"{list(command)} ended with {process.returncode}: {text[-2000:]}")
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss * BYTES_PER_RSS / 1e6)
