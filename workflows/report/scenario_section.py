"""The stress scenarios that cost the fund most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workflows.report.facts import Facts
from workflows.report.format import count, decimal, finite, scale_for, usd
from workflows.report.section import Section, Tables, frame_of
from workflows.report.tables import Column, Table, figure, money, word

NOTES = (
    "Ordered by what is to pay. Today's book is revalued at the end of each scenario's mean path;"
    " to pay: losses agreement by"
    " agreement; gains elsewhere do not help. Changes of margin, random moves and feedback are not"
    " in it. Scenarios without a mean move (steps of volatility, thinner markets, model changes)"
    " therefore cost nothing here.",
    "D is the Mahalanobis distance of the moves that were named, in standard deviations. It grows"
    " with the number of named moves.",
    "verified: every move was read in data; indicative: some moves are estimated, most often as"
    " the conditional mean of the named ones.",
)


def scenario_section(facts: Facts, frames: Tables) -> Section:
    """Return the costliest stress scenarios."""
    title = "Which stress scenarios cost most"
    rows = [row for row in facts.summary.get("scenarios") or [] if isinstance(row, Mapping)]
    frame = frame_of(frames, "scenarios", "scenario_id")
    if not rows:
        lead = "No stress scenario was evaluated in this run."
        if frame is not None:
            lead = f"None of {count(len(frame))} stress scenarios costs the fund anything."
        return Section("scenarios", title, lead)
    worst = rows[0]
    result = finite(worst.get("pnl_usd"))
    verb = "gains" if result is not None and result > 0 else "loses"
    lead = (
        f"{worst.get('name')}: the fund {verb} {usd(None if result is None else abs(result))}"
        f" and has {usd(finite(worst.get('calls_usd')))} to pay."
    )
    table = scenario_table(rows, len(rows) if frame is None else len(frame))
    return Section("scenarios", title, lead, table=table, open_table=True, notes=NOTES)


def scenario_table(rows: Sequence[Mapping[str, Any]], total: int) -> Table:
    """Return scenarios with their size and cost; each carries its evidence mark."""
    scale = scale_for(finite(row.get(key)) for row in rows for key in ("pnl_usd", "calls_usd"))
    columns = (
        Column("Scenario", numeric=False),
        Column("Kind", numeric=False),
        Column("Severity", numeric=False),
        Column("Days"),
        Column("Volatility"),
        Column("D"),
        Column(f"P&L, {scale.unit}"),
        Column(f"To pay, {scale.unit}"),
    )
    body = []
    for row in rows:
        days, times = finite(row.get("days")), finite(row.get("volatility_multiplier"))
        distance = finite(row.get("distance"))
        body.append(
            (
                word(row.get("name", ""), str(row.get("mark") or "unmarked")),
                word(str(row.get("kind") or "").replace("_", " ")),
                word(row.get("severity") or "n/a"),
                figure(count(days), days),
                figure("n/a" if times is None else f"{times:.1f}x", times),
                figure(decimal(distance, 1), distance),
                money(scale, row.get("pnl_usd")),
                money(scale, row.get("calls_usd")),
            )
        )
    note = ""
    if total > len(rows):
        note = f"Shown: {len(rows):,} of {total:,} scenarios. The run folder holds them all."
    return Table("Costliest stress scenarios", columns, tuple(body), note)
