"""What an avalanche rests on, in words: intervals, assumptions, scenario, how paths were drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from workflows.report.facts import Avalanche, Estimated
from workflows.report.format import MISSING, NBSP, count, decimal, finite, percent, plain, plural

ODD_BUCKETS_NAMED = 4
# An interval of a ratio this wide shows in two decimals.
_WIDE = 0.02
_METHODS = {
    "low_discrepancy": "low-discrepancy points",
    "independent": "independent random draws",
}
_STOPPED = {
    "target reached": "The run stopped at the precision asked for.",
    "asked to stop": "The run stopped because its time was up.",
}
_VOLATILITY_ALONE = re.compile(r"volatility \S+x")


def interval(estimate: Estimated, show: Callable[[float | None], str]) -> str:
    """Return `low to high` in the format `show`, or that no interval is known."""
    if estimate.low is None or estimate.high is None:
        return "interval not available"
    return f"{show(estimate.low)} to {show(estimate.high)}"


def with_interval(estimate: Estimated, show: Callable[[float | None], str]) -> str:
    """Return a figure with its interval in brackets, if it is known."""
    if estimate.low is None or estimate.high is None:
        return show(estimate.value)
    return f"{show(estimate.value)} ({interval(estimate, show)})"


def ratio_format(estimate: Estimated) -> Callable[[float | None], str]:
    """Return the format of a ratio: two decimals, or as many as tell its interval apart.

    1.238 (1.201 to 1.279) is shown as 1.24 (1.20 to 1.28), 0.9969 (0.9954 to 0.9984) as 0.997
    (0.995 to 0.998).
    """
    low, high = estimate.low, estimate.high
    width = None if low is None or high is None else high - low
    digits = 2 if width is None or width == 0 or width >= _WIDE else 3
    return lambda value: decimal(value, digits)


def points(share: float | None) -> str:
    """Return a setting as per cent, with no more decimals than it was given."""
    return MISSING if share is None else f"{plain(100 * share)}{NBSP}%"


def bucket_name(bucket: object) -> str:
    """Return a bucket as people write it."""
    return str(bucket).replace("_", " ")


def settings(avalanche: Avalanche) -> str:
    """Return crowding, with the buckets that have their own, and what impact rests on."""
    return (
        f"crowding \N{GREEK SMALL LETTER THETA} = {plain(avalanche.crowding)}{_odd(avalanche)},"
        f" participation {points(avalanche.participation)} of volume, impact coefficient"
        f" {plain(avalanche.impact_coefficient)}"
    )


def conditions(avalanche: Avalanche | None) -> tuple[str, ...]:
    """Return the note that stands beside every result of the simulation."""
    return () if avalanche is None else (f"Assumes {settings(avalanche)}.",)


def assumptions(avalanche: Avalanche) -> str:
    """Return what amplification rests on, and what crowding means."""
    others = f"others sell {plain(avalanche.crowding)} for each unit the fund sells"
    return f"Assumes {settings(avalanche)}. Crowding: {others}."


def under_scenario(avalanche: Avalanche | None) -> bool:
    """Return whether a scenario was simulated, not a step of volatility alone."""
    return avalanche is not None and not _VOLATILITY_ALONE.fullmatch(avalanche.scenario)


def scenario_words(avalanche: Avalanche) -> str:
    """Return the scenario as part of a sentence: its id, or the step of volatility."""
    times = avalanche.volatility_multiplier
    size = "" if times is None else f"{times:g}x volatility"
    if not under_scenario(avalanche):
        return f"at {size}" if size else f"at {avalanche.scenario}"
    quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{avalanche.scenario}\N{RIGHT DOUBLE QUOTATION MARK}"
    return f"in scenario {quoted} at {size}" if size else f"in scenario {quoted}"


def named_scenario(avalanche: Avalanche | None, row: Mapping[str, Any] | None) -> str:
    """Return under which scenario the run was made; empty for a step of volatility alone.

    `row` is the scenario in the table of stress scenarios, if it is one of them.
    """
    if avalanche is None or not under_scenario(avalanche):
        return ""
    alone = "The volatility ladder does not contain it: it steps volatility alone."
    if row is None:
        return f"Simulated under your scenario {avalanche.scenario}. {alone}"
    known = (row.get("kind"), row.get("severity"), row.get("mark"))
    details = ", ".join(str(item) for item in (avalanche.scenario, *known) if _is_text(item))
    return f"Simulated under the scenario {row.get('name')} ({details}). {alone}"


def sampling_words(avalanche: Avalanche) -> str:
    """Return how the paths were drawn and how precise ES99 is."""
    method = str(avalanche.sampling.get("method") or "")
    drawn = f"{count(avalanche.paths)} paths"
    if method:
        batches = finite(avalanche.sampling.get("batches"))
        groups = f" in {plural(int(batches), 'batch', 'batches')}" if batches else ""
        drawn += f"{groups} of {_METHODS.get(method, bucket_name(method))}"
    stopped = _STOPPED.get(str(avalanche.sampling.get("stopped_because")), "")
    half = half_width(avalanche)
    known = (
        "How precise ES99 of the peak daily call is, is not known."
        if half is None
        else f"ES99 of the peak daily call is known to within {percent(half)} either way."
    )
    return " ".join(part for part in (f"{drawn}.", known, stopped) if part)


def half_width(avalanche: Avalanche) -> float | None:
    """Return half the interval of the ES99 of peak daily calls as a share of the figure."""
    held = finite(avalanche.sampling.get("relative_half_width"))
    if held is not None:
        return held
    peak = avalanche.peak_es99
    if not peak.value or peak.low is None or peak.high is None:
        return None
    return (peak.high - peak.low) / (2 * peak.value)


def _odd(avalanche: Avalanche) -> str:
    """Return the buckets whose crowding is not the general one, largest first."""
    odd = {k: v for k, v in avalanche.crowding_by_bucket.items() if v != avalanche.crowding}
    ordered = sorted(odd.items(), key=lambda pair: (-pair[1], pair[0]))
    named = [f"{plain(value)} in {bucket_name(name)}" for name, value in ordered]
    more = len(named) - ODD_BUCKETS_NAMED
    if not named:
        return ""
    rest = f" and {plural(more, 'more bucket')}" if more > 0 else ""
    return f" ({', '.join(named[:ODD_BUCKETS_NAMED])}{rest})"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
