"""What a command costs before it does anything: `--help` and imports, in fresh processes."""

from __future__ import annotations

import statistics
import sys

from benchmarks.processes import MCA, usage
from benchmarks.timing import REPEATS, Report

TOPIC = "start"
COMMANDS = {
    "python alone": [sys.executable, "-c", "pass"],
    "import numpy, pydantic": [sys.executable, "-c", "import numpy, pydantic"],
    "import numba": [sys.executable, "-c", "import numba"],
    "mca --help": [*MCA, "--help"],
    "mca --version": [*MCA, "--version"],
    "import workflows.service": [sys.executable, "-c", "import workflows.service"],
}


def test_start(report: Report) -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, command in COMMANDS.items():
            times[name].append(usage(command).cpu_seconds)
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in median.items():
        report.add(TOPIC, name, f"{seconds:.2f} CPU-s")
    ratio = median["mca --help"] / median["import numpy, pydantic"]
    report.add(TOPIC, "mca --help / import numpy, pydantic", f"{ratio:.2f} x")
