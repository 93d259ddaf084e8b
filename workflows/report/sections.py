"""The sections of the page in order: what each says, its chart and the table behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workflows.report import charts, tables
from workflows.report.avalanche_sections import (
    failing_section,
    ladder_section,
    precision_section,
    severity_section,
    sold_section,
)
from workflows.report.conditions import assumptions, conditions, interval
from workflows.report.facts import Estimated, Facts
from workflows.report.format import finite, percent, plural, short, usd
from workflows.report.scenario_section import scenario_section
from workflows.report.section import Section, Tables, frame_of

STRESS_ROWS = 25
MANAGER_BARS = 12
PAIR_HEIGHT = 372


def all_sections(facts: Facts, frames: Tables) -> tuple[Section, ...]:
    """Return the sections between the first screen and the method."""
    avalanche = facts.avalanche
    sections = (
        fan_section(facts, frames),
        calls_section(facts, frames),
        survival_section(facts, frames),
        severity_section(avalanche),
        failing_section(avalanche),
        sold_section(avalanche, frames),
        precision_section(avalanche),
        ladder_section(facts),
        scenario_section(facts, frames),
        stress_section(facts, frames),
        waterfall_section(facts),
        manager_section(facts, frames),
        agreement_section(facts, frames),
    )
    return tuple(section for section in sections if section is not None)


def fan_section(facts: Facts, frames: Tables) -> Section:
    """How much liquidity is left, hour by hour."""
    title = "How much liquidity is left"
    frame = frame_of(frames, "avalanche_liquidity_fan", "hour")
    if frame is None:
        return Section("liquidity", title, "No liquidity paths: the avalanche was not simulated.")
    names = {q: c for c in frame.columns if (q := _quantile(str(c))) is not None}
    quantiles = {q: [finite(v) for v in frame[column]] for q, column in names.items()}
    facility = facts.liquidity.resources.get("Facility") if facts.liquidity else None
    low = min(quantiles, default=None)
    sentence = "Liquid resources, facility included, after calls are paid."
    if low is not None and (points := [v for v in quantiles[low] if v is not None]):
        lowest = min(points)
        hour = frame["hour"].iloc[quantiles[low].index(lowest)]
        sentence = (
            f"At the {100 * low:g} % quantile the fund's liquidity, facility included, is lowest"
            f" at hour {hour:g}: {usd(lowest)}."
        )
    labels = {column: _quantile_label(q) for q, column in sorted(names.items())}
    return Section(
        "liquidity",
        title,
        sentence,
        charts.liquidity_fan(list(map(float, frame["hour"])), quantiles, facility),
        400,
        tables.numeric_table("Liquidity left by hour", frame, "hour", labels),
        notes=(
            "Lines are quantiles across paths: the share of paths with less liquidity than the"
            " line. Under the upper limit only the facility is left; under 0 calls wait for forced"
            " sales or go unpaid.",
            *conditions(facts.avalanche),
        ),
    )


def calls_section(facts: Facts, frames: Tables) -> Section:
    """When the calls come, with and without feedback."""
    title = "When the calls come"
    frame = frame_of(frames, "avalanche_calls_by_window", "window")
    if frame is None:
        return Section("calls", title, "No calls by window: the avalanche was not simulated.")
    calls = [finite(v) for v in frame["calls_usd"]]
    without = [finite(v) for v in frame["calls_without_feedback_usd"]]
    total, plain = sum(v or 0.0 for v in calls), sum(v or 0.0 for v in without)
    if total <= 0:
        return Section("calls", title, "No margin call arose in any path.", half=True)
    peak = max(range(len(calls)), key=lambda i: calls[i] or 0.0)
    mean = facts.avalanche.estimate("calls_mean") if facts.avalanche else Estimated(None)
    added = usd(total) if mean.low is None else f"{usd(total)} ({interval(mean, usd)})"
    sentence = (
        f"Mean calls add up to {added}; without feedback they would be {usd(plain)}."
        f" The largest window is {frame['window'].iloc[peak]:g} with {usd(calls[peak])}."
    )
    labels = {"calls_usd": "With feedback", "calls_without_feedback_usd": "Without feedback"}
    notes = (assumptions(facts.avalanche),) if facts.avalanche else ()
    hours = facts.avalanche.steps / len(frame) if facts.avalanche else None
    return Section(
        "calls",
        title,
        sentence,
        charts.calls_by_window(list(map(float, frame["window"])), calls, without, hours),
        table=tables.numeric_table("Mean calls by window", frame, "window", labels),
        notes=notes,
        half=True,
    )


def survival_section(facts: Facts, frames: Tables) -> Section:
    """How long the fund lasts."""
    title = "How long the fund lasts"
    frame = frame_of(frames, "liquidity_survival", "hour")
    if frame is None:
        return Section("survival", title, "No survival curve: liquidity was not assessed.")
    last = finite(frame["survival"].iloc[-1])
    sentence = f"{percent(last)} of paths are still liquid at hour {frame['hour'].iloc[-1]:g}."
    if facts.liquidity is not None and facts.liquidity.median_hours is not None:
        sentence += f" Half are exhausted after {facts.liquidity.median_hours:,.0f} hours."
    return Section(
        "survival",
        title,
        sentence,
        charts.survival_curve(list(map(float, frame["hour"])), list(frame["survival"])),
        table=tables.survival_table(frame),
        notes=(
            "Kaplan-Meier estimate; paths that never exhaust are censored at the horizon.",
            *conditions(facts.avalanche),
        ),
        half=True,
    )


def stress_section(facts: Facts, frames: Tables) -> Section:
    """Which agreements call most under stress."""
    title = "Which agreements call more under stress"
    frame = frame_of(frames, "stress_margin_by_agreement", "agreement_id")
    columns = [c for c in frame.columns if str(c).startswith("im_")] if frame is not None else []
    if frame is None or len(columns) < 2:
        return Section("stress", title, "No stress margin was calculated in this run.")
    amounts = frame[columns].astype(float)
    order = amounts.max(axis=1).fillna(0.0).sort_values(ascending=False, kind="stable").index
    top = order[:STRESS_ROWS]
    names = [str(frame.loc[i, "agreement_id"]) for i in top]
    rows = [[finite(v) for v in amounts.loc[i]] for i in top]
    labels = ["today", *(str(c)[len("im_") : -len("_usd")] for c in columns[1:])]
    worst = facts.worst_stress
    sentence = f"The {plural(len(rows), 'agreement')} with the largest margin under stress."
    if worst is not None and worst.increase_usd is not None:
        sentence += f" The fund's margin at {worst.label} rises by {usd(worst.increase_usd)}."
    return Section(
        "stress",
        title,
        sentence,
        charts.stress_heat_map([short(name) for name in names], labels, rows),
        50 + 28 * len(rows),
        tables.stress_table(names, labels, rows),
        notes=(
            "Cells: initial margin with add-ons, USD. Shades: its ratio to today in fixed steps.",
        ),
        legend=charts.heat_legend(),
    )


def waterfall_section(facts: Facts) -> Section:
    """What pays the largest day of calls."""
    title = "What pays the peak call"
    liquidity, avalanche = facts.liquidity, facts.avalanche
    if liquidity is None or not liquidity.resources:
        return Section("funding", title, "Opening resources are not known in this run.", half=True)
    call = avalanche.peak_es99.value if avalanche is not None else None
    if call is None:
        sentence = f"Opening resources are {usd(liquidity.resources_usd)}; no peak call is known."
    else:
        left = liquidity.resources_usd - call
        verb = "leaves" if left >= 0 else "exceeds resources by"
        sentence = (
            f"The mean of the worst 1 % of peak daily calls is {usd(call)}"
            f" and {verb} {usd(abs(left))}."
        )
    notes: tuple[str, ...] = ()
    if avalanche is not None and call is not None:
        known = f"95 % interval of the peak call: {interval(avalanche.peak_es99, usd)}."
        notes = (known, *conditions(avalanche))
    return Section(
        "funding",
        title,
        sentence,
        charts.liquidity_waterfall(liquidity.resources, call),
        PAIR_HEIGHT,
        table=tables.waterfall_table(liquidity.resources, call),
        notes=notes,
        half=True,
    )


def manager_section(facts: Facts, frames: Tables) -> Section:
    """Whose positions need the margin."""
    title = "Whose positions need the margin"
    rows = _managers(facts, frames)
    if not rows:
        return Section("managers", title, "No margin is attributed to managers.", half=True)
    bars = rows[:MANAGER_BARS]
    names, amounts = [row[0] for row in bars], [row[1] for row in bars]
    rest = rows[MANAGER_BARS:]
    others = f"{plural(len(rest), 'more manager')}: {usd(sum(row[1] or 0.0 for row in rest))}."
    total = sum(row[1] or 0.0 for row in rows)
    first = rows[0]
    sentence = f"{plural(len(rows), 'manager')}; attributed margin sums to the fund's total."
    if first[1] and total > 0:
        sentence = f"{first[0]} uses {percent(first[1] / total)} of the margin. {sentence}"
    return Section(
        "managers",
        title,
        sentence,
        charts.margin_bars([short(name) for name in names], amounts),
        PAIR_HEIGHT if len(names) > 8 else 60 + 30 * len(names),
        tables.manager_table(rows),
        notes=(others,) if rest else (),
        half=True,
    )


def agreement_section(facts: Facts, frames: Tables) -> Section:
    """The largest agreements and how well their models are known."""
    title = "The largest agreements"
    rows = _agreements(facts, frames)
    if not rows:
        return Section("agreements", title, "There is no agreement to show.")
    total = sum(finite(row["im_usd"]) or 0.0 for row in rows)
    weak = [row for row in rows if str(row.get("mark")) == "indicative"]
    share = sum(finite(row["im_usd"]) or 0.0 for row in weak) / total if total > 0 else None
    sentence = "Select a heading to sort."
    if weak:
        sentence = (
            f"{plural(len(weak), 'agreement')}, {percent(share)} of initial margin shown, rest on"
            f" indicative model parameters. {sentence}"
        )
    seen = {str(row.get("mark")) for row in rows}
    meanings = [f"{mark}: {text}" for mark, text in tables.MARKS.items() if mark in seen]
    notes = (f"{'; '.join(meanings)}.",) if meanings else ()
    table = tables.agreement_table(rows, facts.im_usd)
    return Section("agreements", title, sentence, table=table, open_table=True, notes=notes)


def where_it_starts(frames: Tables) -> str:
    """Return which agreement calls most in the tail; empty if nothing is called."""
    frame = frame_of(frames, "avalanche_calls_by_agreement", "agreement_id")
    if frame is None:
        return ""
    tail = frame["tail_calls_usd"].astype(float).fillna(0.0)
    total = float(tail.sum())
    if total <= 0:
        return ""
    place = int(tail.to_numpy().argmax())
    amount = float(tail.iloc[place])
    mean = finite(frame["mean_calls_usd"].iloc[place])
    return (
        f"Where it starts: {frame['agreement_id'].iloc[place]} calls most in the worst"
        f" {percent(0.01)} of paths: {usd(amount)}, {percent(amount / total)} of calls there"
        f" (its mean over all paths is {usd(mean)})."
    )


def _managers(facts: Facts, frames: Tables) -> list[tuple[str, float | None, float | None]]:
    frame = frame_of(frames, "margin_by_manager", "manager_id")
    if frame is not None:
        columns = (frame["manager_id"], frame["im_usd"], frame["vm_usd"])
        rows = [(str(m), finite(i), finite(v)) for m, i, v in zip(*columns, strict=True)]
    else:
        held = (facts.summary.get("margin") or {}).get("by_manager") or {}
        rows = [
            (str(key), finite(value.get("im_usd")), finite(value.get("vm_usd")))
            for key, value in held.items()
        ]
    return sorted(rows, key=lambda row: -(row[1] or 0.0))


def _agreements(facts: Facts, frames: Tables) -> Sequence[dict[str, Any]]:
    frame = frame_of(frames, "margin_by_agreement", "agreement_id")
    if frame is None:
        held = (facts.summary.get("margin") or {}).get("largest") or []
        rows = [
            {**row, "add_ons_usd": sum(finite(v) or 0.0 for v in row.get("add_ons", {}).values())}
            for row in held
        ]
    else:
        names = [c for c in frame.columns if str(c).startswith("add_on_")]
        full = frame.assign(add_ons_usd=frame[names].sum(axis=1) if names else 0.0)
        rows = [{str(k): v for k, v in row.items()} for row in full.to_dict("records")]
    return sorted(rows, key=lambda row: -(finite(row["im_usd"]) or 0.0))


def _quantile(column: str) -> float | None:
    try:
        return float(column[1:]) / 100 if column.startswith("q") else None
    except ValueError:
        return None


def _quantile_label(q: float) -> str:
    return "Median" if q == 0.5 else f"{100 * q:g} % quantile"
