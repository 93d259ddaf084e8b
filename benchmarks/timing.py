"""CPU time of rival functions, taken in turns in one process, and the table of what was seen.

Wall time says little on a shared machine. CPU time taken in turns lets the rivals share whatever
else the machine does, so their ratio is steadier than any of the times.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version

REPEATS = 5
PACKAGES = ("numpy", "numba", "scipy", "pandas", "pyarrow")


def medians(rivals: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Return the median CPU seconds of each rival; every rival runs once first, untimed."""
    for run in rivals.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, run in rivals.items():
            gc.collect()
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


@dataclass
class Report:
    """Rows of (topic, what was measured, figure), in the order they were added."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, topic: str, what: str, figure: str) -> None:
        """Add one row."""
        self.rows.append((topic, what, figure))

    def text(self) -> str:
        """Return a Markdown table, padded so that a terminal shows it well."""
        header = ("topic", "measured", "figure")
        widths = [max(len(row[i]) for row in [header, *self.rows]) for i in range(3)]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in [header, *self.rows]
        ]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([f"{lines[0]} |", rule, *(f"{line} |" for line in lines[1:])])

    def page(self, today: date) -> str:
        """Return a results page: the machine, its load, the versions, the table."""
        return f"# Benchmarks, {today.isoformat()}\n\n{machine()}\n\n{self.text()}\n"


def machine() -> str:
    """Describe the machine in one paragraph."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"{os.cpu_count()} cores, {_processor()}, {platform.system()}; "
        f"load over the last minute {load:.1f}; Python {sys.version.split()[0]}, {versions}."
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
