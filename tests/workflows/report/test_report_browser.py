"""The page in a real browser: every chart is drawn under the page's own policy, in silence."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workflows.report.build import write_report

Inputs = tuple[dict[str, Any], dict[str, pd.DataFrame]]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--dump-dom",
)
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed: the page cannot be opened")
    return found


def opened(browser: str, page: Path, profile: Path) -> tuple[str, str]:
    """Return the drawn document and what the console said."""
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)


def test_all_charts_are_drawn_and_the_console_is_silent(
    browser: str, run_inputs: Inputs, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    write_report(*run_inputs, page)
    document, console = opened(browser, page, tmp_path / "profile")
    assert console == ""
    assert document.count("<svg") == document.count('data-chart="') == 9
    assert 'data-theme="' in document


def test_hostile_names_do_not_run(browser: str, run_inputs: Inputs, tmp_path: Path) -> None:
    summary, tables = run_inputs
    summary["fund"]["name"] = HOSTILE
    for name in ("margin_by_agreement", "stress_margin_by_agreement"):
        tables[name] = tables[name].assign(agreement_id=tables[name]["agreement_id"] + HOSTILE)
    page = tmp_path / "report.html"
    write_report(summary, tables, page)
    document, console = opened(browser, page, tmp_path / "profile")
    assert console == ""
    assert "<title>owned" not in document
    drawn = re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)
    assert "<img" not in drawn
    assert document.count("<svg") == 9
