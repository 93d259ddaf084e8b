"""The whole job, end to end: `mca demo` in a process of its own, with and without a JIT cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.processes import MCA, usage
from benchmarks.timing import Report

TOPIC = "mca demo"


@pytest.mark.timeout(1800)
def test_demo(tmp_path: Path, report: Report) -> None:
    cache = str(tmp_path / "cache")
    runs = {
        name: usage([*MCA, "demo", "--out", str(tmp_path / name), "--json"], MCA_CACHE_DIR=cache)
        for name in ("first", "second")
    }
    assert (tmp_path / "second" / "summary.json").is_file()
    report.add(TOPIC, "first run, kernels compiled", f"{runs['first'].cpu_seconds:.1f} CPU-s")
    report.add(TOPIC, "second run", f"{runs['second'].cpu_seconds:.1f} CPU-s")
    ratio = runs["first"].cpu_seconds / runs["second"].cpu_seconds
    report.add(TOPIC, "first / second", f"{ratio:.2f} x")
    report.add(TOPIC, "highest memory, second run", f"{runs['second'].peak_rss_mb:.0f} MB")
