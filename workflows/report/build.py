"""The one-page report: a single HTML file that opens from disk and fetches nothing.

The page carries its scripts, named by hash in its content security policy, its style and its
data. The same input gives the same bytes: no clock, no random ids.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows.report import tables as report_tables
from workflows.report.conditions import assumptions, named_scenario
from workflows.report.facts import Facts, read_facts
from workflows.report.format import clean, clean_all, count, describe, plural, usd
from workflows.report.section import Section, Tables, frame_of
from workflows.report.sections import all_sections, where_it_starts
from workflows.report.story import Line, cards, headline, lead, overall

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).resolve().parent
SCRIPTS = ("echarts.min.js", "report.js")


def write_report(summary: dict[str, Any], tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Write the report of one run to `path`, whole or not at all.

    Parameters
    ----------
    summary : dict
        The object of `mca run --json`. Absent parts are said in words on the page.
    tables : dict of DataFrame
        Full tables by name (`engine.domain.results`); long ones are thinned on the page.
    path : Path
        The HTML file; its folder must exist.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    """
    page = render_report(summary, tables).encode("utf-8")
    part = path.with_name(path.name + ".part")
    part.write_bytes(page)
    os.replace(part, path)


def render_report(summary: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    facts = read_facts(clean_all(summary))
    frames = {name: _clean_frame(frame) for name, frame in tables.items()}
    scripts = [_static(name) for name in SCRIPTS]
    sections = all_sections(facts, frames)
    charts = {section.id: section.chart for section in sections if section.chart is not None}
    shown = cards(facts)
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        policy=content_security_policy(scripts),
        style=_static("report.css"),
        scripts=scripts,
        charts_json=script_json(charts),
        facts=facts,
        headline=headline(facts),
        lead=lead(facts),
        under=_under(facts, frames),
        start=where_it_starts(frames),
        cards=shown,
        overall=overall(shown),
        sections=sections,
        quality=_quality(facts),
        method=_method(facts),
        assumptions=assumptions(facts.avalanche) if facts.avalanche else "",
        provenance=_provenance(facts),
        usd=usd,
        reproduce=str(facts.summary.get("reproduce") or ""),
    )


def content_security_policy(scripts: list[str]) -> str:
    """Return a policy that allows nothing but these scripts, the inline style and data images."""
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def script_json(value: Any) -> str:
    """Return JSON that no text within can end: `<`, `>` and `&` are written as escapes.

    Raises
    ------
    ValueError
        If a number is NaN or infinite: charts hold null instead.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _static(name: str) -> str:
    return (HERE / "static" / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _clean_frame(frame: pd.DataFrame) -> pd.DataFrame:
    texts = [name for name in frame.columns if frame[name].dtype.kind not in "fiub"]
    return frame.assign(**{name: frame[name].astype(object).map(clean) for name in texts})


def _quality(facts: Facts) -> dict[str, Any]:
    """Return what the data quality section and the notice on the first screen need."""
    failures = list(facts.summary.get("failures") or [])
    quality = facts.summary.get("data_quality") or {}
    synthetic = list(quality.get("synthetic_factors") or [])
    quarantined = sum(report_tables.quarantined(quality).values())
    replaced = report_tables.substituted(quality)
    notices = []
    if failures:
        notices.append(plural(len(failures), "failure"))
    if quarantined:
        notices.append(f"{plural(quarantined, 'row')} quarantined")
    if synthetic:
        notices.append(plural(len(synthetic), "synthetic factor"))
    if replaced:
        notices.append(plural(len(replaced), "substituted factor"))
    return {
        "notice": ", ".join(notices),
        "synthetic": [describe(item) for item in synthetic],
        "failures": report_tables.failure_table(failures) if failures else None,
        "repairs": report_tables.quality_table(quality),
        "quarantine": report_tables.quarantine_table(quality),
        "notes": [str(note) for note in facts.summary.get("notes") or []],
    }


def _method(facts: Facts) -> tuple[Line, ...]:
    """Return run, version and the settings of the simulation as labelled figures."""
    source = facts.summary.get("provenance") or {}
    run = (
        Line("Run", str(facts.summary.get("run_id") or "not recorded")),
        Line("Version", str(source.get("version") or "not recorded")),
    )
    avalanche = facts.avalanche
    if avalanche is None:
        return run
    times = avalanche.volatility_multiplier
    return (
        *run,
        Line("Scenario", avalanche.scenario),
        Line("Volatility", "not available" if times is None else f"{times:g}x"),
        Line("Paths", count(avalanche.paths)),
        Line("Hourly steps", count(avalanche.steps)),
        Line("Seed", "not available" if avalanche.seed is None else str(avalanche.seed)),
        Line("Cash conservation error", f"{count(avalanche.cash_error_cents)} cents"),
    )


def _under(facts: Facts, frames: Tables) -> str:
    """Return under which scenario the run was made; empty for a step of volatility alone."""
    frame = frame_of(frames, "scenarios", "scenario_id")
    if facts.avalanche is None or frame is None:
        return named_scenario(facts.avalanche, None)
    held = frame[frame["scenario_id"] == facts.avalanche.scenario]
    row = {str(name): value for name, value in held.iloc[0].items()} if len(held) else None
    return named_scenario(facts.avalanche, row)


def _provenance(facts: Facts) -> tuple[Line, ...]:
    """Return seed, versions, rulebooks and input hashes as labelled text."""
    source = facts.summary.get("provenance") or {}
    lines = [Line("Seed", str(source.get("seed", "not recorded")))]
    versions = source.get("environment") or {}
    lines += [Line(name, str(value)) for name, value in versions.items()]
    lines += [Line("Rulebook", str(name)) for name in source.get("rulebooks") or []]
    inputs = source.get("inputs") or {}
    lines += [Line(name, "sha256", str(value)) for name, value in inputs.items()]
    return tuple(lines)


__all__ = ["Section", "content_security_policy", "render_report", "script_json", "write_report"]
