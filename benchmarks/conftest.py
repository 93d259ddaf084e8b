"""Collects `bench_*.py`, gathers figures and prints them; never asserts a time."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from benchmarks.timing import Report

# The synthetic network of the kernel's own tests.
from tests.engine.avalanche.conftest import make_network  # noqa: F401

RESULTS = "MCA_BENCH_RESULTS"
_report = Report()


def pytest_configure(config: pytest.Config) -> None:
    """Let `pytest benchmarks` find the files without an option."""
    config.addinivalue_line("python_files", "bench_*.py")


@pytest.fixture(scope="session")
def report() -> Report:
    """Return the table every benchmark adds to."""
    return _report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table; write it to the file named by MCA_BENCH_RESULTS, if that is set."""
    if not _report.rows:
        return
    terminalreporter.write_line("")
    terminalreporter.write_line(_report.text())
    target = os.environ.get(RESULTS)
    if target:
        Path(target).write_text(_report.page(date.today()), encoding="utf-8")
        terminalreporter.write_line(f"written to {target}")
