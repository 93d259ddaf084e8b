"""Tables of the simulation: bands, first failures, sales, estimates, the volatility ladder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workflows.report.conditions import bucket_name, interval, ratio_format
from workflows.report.facts import Estimated, estimated
from workflows.report.format import (
    bare_usd,
    decimal,
    finite,
    multiple,
    percent,
    plain,
    scale_for,
    usd,
)
from workflows.report.tables import Column, Table, figure, money, word

if TYPE_CHECKING:
    import pandas as pd

BANDS = {
    "contained": "feedback causes less than a fifth of the calls",
    "amplified": "feedback causes at least a fifth of the calls",
    "avalanche": "feedback causes at least half of the calls, in two windows and three agreements",
    "runaway": "at some time sales have caused more calls and losses than they have raised",
}
RATIOS = ("amplification", "sales_amplification")
# Every estimate of a run: what a reader calls it, and how it is shown.
ESTIMATES: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "amplification": ("Amplification of calls", decimal),
    "sales_amplification": ("Growth of forced sales", decimal),
    "p_avalanche": ("Probability of an avalanche", percent),
    "p_runaway": ("Probability of a runaway", percent),
    "p_exhaustion": ("Probability of exhaustion", percent),
    "p_exhaustion_without_sales": ("Exhaustion if nothing is sold", percent),
    "p_default": ("Probability of a default", percent),
    "p_forced_sales": ("Probability of forced sales", percent),
    "p_line_needed": ("A credit line is needed", percent),
    "p_line_refused": ("A credit line is refused", percent),
    "peak_call_mean": ("Peak daily call, mean", usd),
    "peak_call_q95": ("Peak daily call, 95 %", usd),
    "peak_call_q99": ("Peak daily call, 99 %", usd),
    "peak_call_es99": ("Peak daily call, ES99", usd),
    "calls_mean": ("All calls, mean", usd),
    "calls_q95": ("All calls, 95 %", usd),
    "calls_q99": ("All calls, 99 %", usd),
    "calls_es99": ("All calls, ES99", usd),
    "facility_need_q99": ("Facility needed, 99 %", usd),
    "impact_cost_mean": ("Cost of sales, mean", usd),
    "fx_cost_mean": ("Cost of currency exchange", usd),
}


def band_table(bands: Mapping[str, float]) -> Table:
    """Return the share of paths in each severity band, and what the band means."""
    columns = (Column("Band", False), Column("Share of paths"), Column("Meaning", False, wide=True))
    rows = tuple(
        (word(name), figure(percent(share), share), word(BANDS.get(name, "")))
        for name, share in bands.items()
    )
    return Table("Paths by severity", columns, rows)


def first_failure_table(shares: Mapping[str, float]) -> Table:
    """Return the share of paths that first fail to pay in each currency."""
    columns = (Column("Currency", numeric=False), Column("Share of all paths"))
    rows = tuple((word(name), figure(percent(share), share)) for name, share in shares.items())
    return Table("Where payment first fails", columns, rows)


def sold_table(frame: pd.DataFrame) -> Table:
    """Return crowding and the shares sold by bucket."""
    columns = (
        Column("Bucket", numeric=False),
        Column("Crowding \N{GREEK SMALL LETTER THETA}"),
        Column("Sold, all paths"),
        Column("Sold, worst 1 %"),
    )
    names = ("crowding", "sold_share_mean", "sold_share_tail")
    rows = []
    for bucket, *values in zip(frame["bucket"], *(frame[name] for name in names), strict=True):
        crowding, mean, tail = (finite(value) for value in values)
        cells = (figure(percent(share), share) for share in (mean, tail))
        rows.append((word(bucket_name(bucket)), figure(plain(crowding), crowding), *cells))
    return Table("Shares of buckets sold", columns, tuple(rows))


def estimate_table(estimates: Mapping[str, Estimated]) -> Table:
    """Return every estimate with its 95 % interval, those of ESTIMATES first and in their order."""
    columns = (Column("Figure", numeric=False), Column("Estimate"), Column("95 % interval"))
    ordered = [name for name in ESTIMATES if name in estimates]
    ordered += [name for name in estimates if name not in ESTIMATES]
    rows = []
    for name in ordered:
        each = estimates[name]
        label, show = ESTIMATES.get(name, (bucket_name(name), plain))
        show = ratio_format(each) if name in RATIOS else show
        ends = interval(each, bare_usd if show is usd else show)
        rows.append((word(label), figure(show(each.value), each.value), figure(ends, each.low)))
    return Table("Estimates and their intervals", columns, tuple(rows))


def ladder_table(ladder: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row for each volatility multiplier."""
    scale = scale_for(finite(row.get("es99_usd")) for row in ladder)
    columns = (
        Column("Scenario", numeric=False),
        Column("Volatility"),
        Column("Amplification"),
        Column("Growth of sales"),
        Column("Branching ratio k"),
        Column("Avalanche"),
        Column(f"Peak call ES99, {scale.unit}"),
        Column("Exhaustion"),
    )
    body = []
    for row in ladder:
        times = finite(row.get("volatility_multiplier"))
        grown, k = estimated(row.get("amplification")).value, finite(row.get("branching_ratio"))
        sold = estimated(row.get("sales_amplification")).value
        avalanche = estimated(row.get("p_avalanche")).value
        exhaustion = estimated(row.get("p_exhaustion")).value
        body.append(
            (
                word(row.get("scenario", "")),
                figure("n/a" if times is None else f"{times:g}x", times),
                figure(multiple(grown), grown),
                figure(multiple(sold), sold),
                figure(decimal(k), k),
                figure(percent(avalanche), avalanche),
                money(scale, estimated(row.get("es99_usd")).value),
                figure(percent(exhaustion), exhaustion),
            )
        )
    return Table("Volatility ladder", columns, tuple(body))
