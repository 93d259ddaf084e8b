"""The first screen in words: every sentence is made here, from figures, by fixed rules."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workflows.report.conditions import (
    assumptions,
    interval,
    points,
    ratio_format,
    scenario_words,
    settings,
    with_interval,
)
from workflows.report.facts import Avalanche, Facts, Liquidity, StressLevel
from workflows.report.format import (
    count,
    decimal,
    multiple,
    percent,
    plain,
    plural,
    usd,
)

# Conventions of this page, always printed beside the status they decide.
STRESS_WATCH, STRESS_ACT = 0.5, 1.0
# Half the calls caused by feedback is an avalanche (amplification 2); a fifth is 1.25.
AMPLIFICATION_WATCH, AMPLIFICATION_ACT = 1.25, 2.0
# The facility is sized at 99 %, so 1 % is the share of paths it is meant to leave open.
PROBABILITY_WATCH, PROBABILITY_ACT = 0.01, 0.05
CRITICAL_BRANCHING = 1.0
_AMPLIFICATION = (AMPLIFICATION_WATCH, AMPLIFICATION_ACT)
_PROBABILITY = (PROBABILITY_WATCH, PROBABILITY_ACT)
_DAY_HOURS = 24
# Shown as 1.00 or less.
_NO_GROWTH = 1.005


@dataclass(frozen=True)
class Status:
    """A verdict, never told by colour alone: a level, a word, and the rule that decided it."""

    level: str
    word: str
    threshold: str


@dataclass(frozen=True)
class Line:
    """A labelled figure with what qualifies it, such as its interval."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Card:
    """One question, its figure, the figures beside it, and its status."""

    question: str
    figure: str
    caption: str
    lines: tuple[Line, ...]
    status: Status
    note: str = ""


HOLDS, WATCH, ACT, UNKNOWN = "holds", "watch", "act", "unknown"
_WORDS = {HOLDS: "Holds", WATCH: "Watch", ACT: "Act", UNKNOWN: "No verdict"}
_ORDER = (UNKNOWN, HOLDS, WATCH, ACT)


def headline(facts: Facts) -> str:
    """Return the answer in one or two sentences."""
    parts: list[str] = []
    if facts.required_usd is None:
        parts.append("Margin was not calculated in this run.")
    elif facts.agreements == 0:
        parts.append("The fund has no margin agreements, so nothing is owed.")
    else:
        parts.append(f"Margin required today is {usd(facts.required_usd)}.")
    liquidity, avalanche = facts.liquidity, facts.avalanche
    if liquidity is None or liquidity.p_exhaustion.value is None:
        return " ".join(parts)
    horizon = _horizon(avalanche)
    if liquidity.p_exhaustion.value == 0:
        parts.append(f"Liquidity lasts {horizon.removeprefix('within ')} in every simulated path.")
    else:
        share = with_interval(liquidity.p_exhaustion, percent)
        parts.append(f"Liquidity runs out {horizon} in {share} of simulated paths.")
    return " ".join(parts)


def lead(facts: Facts) -> str:
    """Return the sentence under the headline: the scenario, stress and cascade in words."""
    parts: list[str] = []
    worst = facts.worst_stress
    if worst is not None:
        parts.append(
            f"{_shock(worst)} takes required margin to {usd(worst.im_usd)},"
            f" {multiple(worst.ratio)} of today."
        )
    avalanche = facts.avalanche
    if avalanche is None:
        return " ".join([*parts, "No avalanche was simulated."])
    if not avalanche.calls_total_mean_usd:
        return " ".join([*parts, "No margin calls arose in the simulation, so nothing cascades."])
    under = scenario_words(avalanche)
    grown = avalanche.amplification.value
    if grown is not None:
        effect = (
            "multiply calls by" if grown >= _NO_GROWTH else "do not add to calls: amplification"
        )
        parts.append(
            f"{under[0].upper()}{under[1:]}, forced sales and the margin they trigger {effect}"
            f" {with_interval(avalanche.amplification, ratio_format(avalanche.amplification))};"
            f" {with_interval(avalanche.p_avalanche, percent)} of paths become an avalanche"
            f"{_runaway_words(avalanche)}."
        )
        parts += _sales_words(avalanche)
        parts.append(f"This assumes {settings(avalanche)}.")
    return " ".join(parts)


def _runaway_words(avalanche: Avalanche) -> str:
    """Say how many paths run away, which need not show in their calls."""
    runaway = avalanche.estimate("p_runaway")
    return "" if runaway.value is None else f" and {with_interval(runaway, percent)} run away"


def _sales_words(avalanche: Avalanche) -> list[str]:
    """Say it when feedback enlarges sales: calls can fall at the same time, as the book shrinks."""
    sold = avalanche.sales_amplification
    if sold.value is None or sold.value < _NO_GROWTH:
        return []
    return [
        "Price impact multiplies what must be sold by"
        f" {with_interval(sold, ratio_format(sold))};"
        " the smaller book then draws fewer calls."
    ]


def cards(facts: Facts) -> tuple[Card, Card, Card]:
    """Return the three questions of the first screen."""
    return owed_card(facts), cascade_card(facts.avalanche), runout_card(facts)


def overall(shown: tuple[Card, ...]) -> Status:
    """Return the gravest status of the cards, and which questions decided it."""
    level = max((card.status.level for card in shown), key=_ORDER.index)
    deciding = [card.question.rstrip("?") for card in shown if card.status.level == level]
    return Status(level, _WORDS[level], "; ".join(deciding))


def owed_card(facts: Facts) -> Card:
    """What do I owe, and what under stress?"""
    question = "What do I owe?"
    if facts.required_usd is None:
        return Card(question, "n/a", "margin was not calculated", (), _unknown())
    vm = facts.vm_usd
    vm_label = "Variation margin to receive" if vm and vm < 0 else "Variation margin to pay"
    stressed = [
        Line(
            f"Required at {level.label} {_unit(level)}",
            usd(level.im_usd),
            f"{multiple(level.ratio)} of today",
        )
        for level in facts.stress
    ]
    lines = [
        Line("Initial margin", usd(facts.im_usd)),
        Line("Add-ons", usd(facts.add_ons_usd)),
        *stressed,
        Line(vm_label, usd(None if vm is None else abs(vm))),
    ]
    caption = f"margin required today, {plural(facts.agreements, 'agreement')}"
    if facts.nav_usd:
        caption += f", {percent(facts.required_usd / facts.nav_usd)} of NAV"
    return Card(question, usd(facts.required_usd), caption, tuple(lines), _stress_status(facts))


def cascade_card(avalanche: Avalanche | None) -> Card:
    """Can the calls cascade?"""
    question = "Can it cascade?"
    if avalanche is None:
        return Card(question, "n/a", "no avalanche was simulated", (), _unknown())
    figure = multiple(avalanche.amplification.value)
    caption = "amplification: calls with feedback over calls without"
    if not avalanche.calls_total_mean_usd:
        figure, caption = "No calls", "no margin call arose in any path"
    k_parts = (
        f"loss {decimal(avalanche.branching_loss)} + margin {decimal(avalanche.branching_margin)}"
    )
    if avalanche.branching_raise_usd is not None:
        k_parts += f", sales of {usd(avalanche.branching_raise_usd)}"
    grown, chance = avalanche.amplification, avalanche.p_avalanche
    sold, runaway = avalanche.sales_amplification, avalanche.estimate("p_runaway")
    ratio, growth = ratio_format(grown), ratio_format(sold)
    forced, cost = avalanche.estimate("p_forced_sales"), avalanche.estimate("impact_cost_mean")
    lines = (
        Line("Amplification", ratio(grown.value), interval(grown, ratio)),
        Line("Growth of forced sales", growth(sold.value), interval(sold, growth)),
        Line("Probability of an avalanche", percent(chance.value), interval(chance, percent)),
        Line("Probability of a runaway", percent(runaway.value), interval(runaway, percent)),
        Line("Branching ratio k", decimal(avalanche.branching_ratio), k_parts),
        Line(
            "Probability of forced sales",
            percent(avalanche.forced_sales_share),
            interval(forced, percent),
        ),
        Line("Loss by price impact", usd(avalanche.feedback_loss_mean_usd), "mean, whole book"),
        Line(
            "Cost of executing sales",
            usd(avalanche.impact_cost_mean_usd),
            f"mean, {interval(cost, usd)}",
        ),
    )
    return Card(
        question, figure, caption, lines, _cascade_status(avalanche), assumptions(avalanche)
    )


def runout_card(facts: Facts) -> Card:
    """When do I run out?"""
    question = "When do I run out?"
    liquidity = facts.liquidity
    if liquidity is None:
        return Card(question, "n/a", "liquidity was not assessed", (), _unknown())
    chance, need = liquidity.p_exhaustion, liquidity.facility_need_99
    median = "not reached" if liquidity.median_hours is None else None
    lines = [
        Line("Probability of exhaustion", percent(chance.value), interval(chance, percent)),
        Line(
            "Half of the paths exhausted",
            median or f"after {count(liquidity.median_hours)} h",
            "fewer than half exhaust" if median else "",
        ),
        Line("Opening resources", usd(liquidity.resources_usd)),
    ]
    if facts.avalanche is not None:
        peak = facts.avalanche.peak_es99
        lines.append(Line("Peak daily call, ES99", usd(peak.value), interval(peak, usd)))
        lines += _failure_lines(facts.avalanche)
    lines.append(Line("Facility needed at 99 %", usd(need.value), interval(need, usd)))
    lines.append(Line("Facility in place", usd(liquidity.facility_limit_usd)))
    caption = f"probability of exhaustion {_horizon(facts.avalanche)}"
    return Card(
        question,
        percent(liquidity.p_exhaustion.value),
        caption,
        tuple(lines),
        _runout_status(liquidity),
    )


def _failure_lines(avalanche: Avalanche) -> tuple[Line, Line]:
    """Return the chance of a default, and of a credit line refused when it is needed."""
    default = avalanche.estimate("p_default")
    refused, needed = avalanche.estimate("p_line_refused"), avalanche.estimate("p_line_needed")
    shares = f"refused in {percent(refused.value)}, needed in {percent(needed.value)}"
    known = needed.value is not None and refused.value is not None
    return (
        Line("Probability of a default", percent(default.value), interval(default, percent)),
        Line(
            "Line refused when needed",
            "never needed" if needed.value == 0 else percent(avalanche.refused_when_needed),
            shares if known else "not estimated",
        ),
    )


def _stress_status(facts: Facts) -> Status:
    worst, liquidity = facts.worst_stress, facts.liquidity
    resources = liquidity.resources_usd if liquidity is not None else 0.0
    if worst is None or worst.increase_usd is None or resources <= 0:
        return _unknown("needs a stress run and opening resources")
    share = worst.increase_usd / resources
    return _status(
        ACT if share >= STRESS_ACT else WATCH if share >= STRESS_WATCH else HOLDS,
        f"{worst.label} adds {usd(worst.increase_usd)}, {percent(share)} of opening resources"
        f" (watch from {points(STRESS_WATCH)}, act from {points(STRESS_ACT)}).",
    )


def _cascade_status(avalanche: Avalanche) -> Status:
    rule = (
        f"(watch from {multiple(AMPLIFICATION_WATCH)}, {points(PROBABILITY_WATCH)} avalanches or"
        f" {points(PROBABILITY_WATCH)} runaways,"
        f" act from {multiple(AMPLIFICATION_ACT)}, {points(PROBABILITY_ACT)}"
        f" or k = {plain(CRITICAL_BRANCHING)})."
    )
    if not avalanche.calls_total_mean_usd:
        return _status(HOLDS, f"No calls, nothing to amplify {rule}")
    if avalanche.amplification.value is None and avalanche.p_avalanche.value is None:
        return _unknown(f"no estimate {rule.rstrip('.')}")
    runaway = avalanche.estimate("p_runaway").value
    measures = (
        ("Branching ratio k", avalanche.branching_ratio, decimal, math.inf, CRITICAL_BRANCHING),
        ("Amplification", avalanche.amplification.value, multiple, *_AMPLIFICATION),
        ("Probability of an avalanche", avalanche.p_avalanche.value, percent, *_PROBABILITY),
        ("Probability of a runaway", runaway, percent, *_PROBABILITY),
    )
    levels = [
        HOLDS if v is None or v < min(watch, act) else ACT if v >= act else WATCH
        for _, v, _, watch, act in measures
    ]
    level = max(levels, key=_ORDER.index)
    name, value, show, _, _ = measures[1 if level == HOLDS else levels.index(level)]
    return _status(level, f"{name} is {show(value)} {rule}")


def _runout_status(liquidity: Liquidity) -> Status:
    chance = liquidity.p_exhaustion.value
    if chance is None:
        return _unknown("no estimate")
    level = ACT if chance >= PROBABILITY_ACT else WATCH if chance >= PROBABILITY_WATCH else HOLDS
    return _status(
        level,
        f"Exhausted in {percent(chance)} of paths (watch from {points(PROBABILITY_WATCH)},"
        f" act from {points(PROBABILITY_ACT)}).",
    )


def _status(level: str, threshold: str) -> Status:
    return Status(level, _WORDS[level], threshold)


def _unknown(why: str = "nothing to judge") -> Status:
    return Status(UNKNOWN, _WORDS[UNKNOWN], f"No verdict: {why}.")


def _unit(level: StressLevel) -> str:
    return "volatility" if level.mode == "volatility" else "margin"


def _shock(level: StressLevel) -> str:
    if level.mode != "volatility":
        return f"A {level.label} rise of required margin"
    days = f" held for {plural(level.horizon_days, 'day')}" if level.horizon_days else ""
    return f"A {level.label} volatility shock{days}"


def _horizon(avalanche: Avalanche | None) -> str:
    if avalanche is None or avalanche.steps <= 0:
        return "within the horizon"
    if avalanche.steps % _DAY_HOURS == 0:
        return f"within {plural(avalanche.steps // _DAY_HOURS, 'day')}"
    return f"within {plural(avalanche.steps, 'hour')}"
