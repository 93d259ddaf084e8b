"""Sections of the simulated paths: severity, failures to pay, sales, precision, volatility."""

from __future__ import annotations

from workflows.report import avalanche_tables as tables
from workflows.report.avalanche_charts import share_bars, sold_bars
from workflows.report.conditions import (
    assumptions,
    bucket_name,
    conditions,
    sampling_words,
    under_scenario,
    with_interval,
)
from workflows.report.facts import Avalanche, Facts
from workflows.report.format import finite, percent, plural
from workflows.report.section import Section, Tables, frame_of

CURRENCIES_SHOWN = 10
RUNAWAY = (
    "A runaway path can have few extra calls, because the fund shrinks as it sells: selling more"
    " would not have helped."
)
DEFAULT = (
    "Default: a call is still unpaid when its period of grace ends, and the agreement is closed"
    " out."
)


def severity_section(avalanche: Avalanche | None) -> Section | None:
    """How bad the paths get; None without a simulation."""
    if avalanche is None or not avalanche.bands:
        return None
    chance, runaway = avalanche.p_avalanche, avalanche.estimate("p_runaway")
    lead = f"{with_interval(chance, percent)} of paths become an avalanche."
    if runaway.value is not None:
        lead += f" {with_interval(runaway, percent)} run away. {RUNAWAY}"
    note = "Each path counts once, in the gravest band it reaches. Brackets: 95 % interval."
    return Section(
        "severity",
        "How bad the paths get",
        lead,
        share_bars(avalanche.bands, "Share of paths, %"),
        72 + 44 * len(avalanche.bands),
        tables.band_table(avalanche.bands),
        notes=(note, *conditions(avalanche)),
        half=True,
    )


def failing_section(avalanche: Avalanche | None) -> Section | None:
    """Where payment first fails, defaults and refused credit lines; None if not estimated."""
    if avalanche is None or not avalanche.estimates:
        return None
    default = avalanche.estimate("p_default")
    shares = dict(sorted(avalanche.first_failure.items(), key=lambda pair: -pair[1]))
    first = next(iter(shares), None)
    lead = "No call stays unpaid in any path."
    if first is not None:
        lead = f"Payment first fails in {first} in {percent(shares[first])} of paths."
    if default.value is not None:
        lead += f" {with_interval(default, percent)} of paths end in a default."
    notes = (line_words(avalanche), DEFAULT, *conditions(avalanche))
    title = "Where payment fails"
    if first is None:
        return Section("failing", title, lead, notes=notes, half=True)
    shown = dict(list(shares.items())[:CURRENCIES_SHOWN])
    return Section(
        "failing",
        title,
        lead,
        share_bars(shown, "Paths that first fail in the currency, %"),
        72 + 26 * max(len(shown), 6),
        tables.first_failure_table(shares),
        notes=notes,
        half=True,
    )


def line_words(avalanche: Avalanche) -> str:
    """Return how often credit lines are needed, and how often they are then refused."""
    needed, refused = avalanche.estimate("p_line_needed"), avalanche.estimate("p_line_refused")
    if needed.value is None or refused.value is None:
        return "How often credit lines are needed is not known."
    if needed.value == 0:
        return "No path needs a credit line."
    return (
        f"A credit line is needed in {with_interval(needed, percent)} of paths. Its conditions"
        f" refuse money in {with_interval(refused, percent)}, which is"
        f" {percent(avalanche.refused_when_needed)} of the paths that need it."
    )


def sold_section(avalanche: Avalanche | None, frames: Tables) -> Section | None:
    """What is sold by force; None without a simulation."""
    frame = frame_of(frames, "avalanche_sales_by_bucket", "sold_share_tail")
    if avalanche is None or frame is None:
        return None
    ordered = frame.sort_values("sold_share_tail", ascending=False, kind="stable")
    mean = [finite(value) for value in ordered["sold_share_mean"]]
    tail = [finite(value) for value in ordered["sold_share_tail"]]
    lead = "Nothing is sold by force in the worst 1 % of paths."
    if tail[0]:
        most = bucket_name(ordered["bucket"].iloc[0])
        ties = sum(1 for share in tail if share is not None and tail[0] - share < 1e-9)
        which = f"{most}," if ties == 1 else f"{most} and {plural(ties - 1, 'more bucket')}, each"
        lead = (
            f"Sold most: {which} {percent(tail[0])} in the worst 1 % of paths and"
            f" {percent(mean[0])} over all paths."
        )
    note = "The worst 1 % are the paths with the largest peak daily call."
    return Section(
        "sold",
        "What is sold by force",
        lead,
        sold_bars([bucket_name(name) for name in ordered["bucket"]], mean, tail),
        96 + 26 * len(ordered),
        tables.sold_table(ordered),
        notes=(note, *conditions(avalanche)),
        half=True,
    )


def precision_section(avalanche: Avalanche | None) -> Section | None:
    """How the paths were drawn, and every estimate with its interval."""
    if avalanche is None or not avalanche.estimates:
        return None
    known = {name: each for name, each in avalanche.estimates.items() if each.value is not None}
    return Section(
        "precision",
        "How precise the figures are",
        sampling_words(avalanche),
        table=tables.estimate_table(known),
        open_table=True,
        notes=("95 % and 99 % are quantiles across paths.", *conditions(avalanche)),
        half=True,
    )


def ladder_section(facts: Facts) -> Section | None:
    """How the cascade grows with volatility; None if one scenario was simulated."""
    title = "How the cascade grows with volatility"
    ladder = [row for row in facts.summary.get("avalanche_ladder") or [] if row]
    if not ladder or facts.avalanche is None:
        return None
    critical = [row for row in ladder if (finite(row.get("branching_ratio")) or 0.0) >= 1.0]
    sentence = (
        "The branching ratio k stays below 1 at every level: sales release more than they cost."
    )
    if critical:
        sentence = (
            f"The branching ratio k reaches 1 at {critical[0].get('volatility_multiplier'):g}x"
            f" volatility: from there a sale of that size costs more in new calls than it releases."
        )
    notes = [assumptions(facts.avalanche)]
    if under_scenario(facts.avalanche):
        notes.append(
            f"Steps of volatility alone: scenario {facts.avalanche.scenario}, simulated above, is"
            " not one of them."
        )
    table = tables.ladder_table(ladder)
    return Section("ladder", title, sentence, table=table, open_table=True, notes=tuple(notes))
