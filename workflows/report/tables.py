"""Tables of the page: what each chart shows in figures, the largest agreements, data quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workflows.report.charts import thin, waterfall_steps
from workflows.report.format import (
    Scale,
    describe,
    finite,
    multiple,
    percent,
    scale_for,
)

if TYPE_CHECKING:
    import pandas as pd

ROWS_SHOWN = 60
AGREEMENTS_SHOWN = 50
FAILURES_SHOWN = 100
MARKS = {
    "verified": "parameters checked against the venue's publication",
    "indicative": "parameters are estimates of the family, not the venue's own",
    "user": "parameters given by the user",
}


@dataclass(frozen=True)
class Column:
    """A heading; figures are right-aligned and sort by value."""

    label: str
    numeric: bool = True
    wide: bool = False


@dataclass(frozen=True)
class Cell:
    """What is shown, the value it sorts by, and an evidence mark to show under it."""

    text: str
    sort: float | str
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table ready to draw; `note` says what was left out."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def word(text: object, mark: str = "") -> Cell:
    """Return a text cell."""
    return Cell(str(text), str(text), mark)


def figure(text: str, value: float | None) -> Cell:
    """Return a figure that sorts by its value; unknown values sort last."""
    number = finite(value)
    return Cell(text, float("-inf") if number is None else number)


def money(scale: Scale, value: Any) -> Cell:
    """Return an amount in the unit of its column."""
    return figure(scale.text(value), finite(value))


def numeric_table(caption: str, frame: pd.DataFrame, first: str, money_columns: Any) -> Table:
    """Return a frame as a table: column `first` counts, the others are USD in one unit.

    `money_columns` maps a column's name to its label. Long frames are thinned evenly.
    """
    values = {name: [finite(v) for v in frame[name]] for name in money_columns}
    scale = scale_for(v for column in values.values() for v in column)
    keep = thin(len(frame), ROWS_SHOWN)
    index = [float(v) for v in frame[first]]
    rows = tuple(
        (
            figure(f"{index[i]:g}", index[i]),
            *(money(scale, values[name][i]) for name in money_columns),
        )
        for i in keep
    )
    labels = [Column(f"{label}, {scale.unit}") for label in money_columns.values()]
    return Table(
        caption, (Column(first.capitalize()), *labels), rows, _thinned(len(keep), len(frame))
    )


def survival_table(frame: pd.DataFrame) -> Table:
    """Return the share of paths still liquid by hour."""
    keep = thin(len(frame), ROWS_SHOWN)
    hours, shares = list(frame["hour"]), list(frame["survival"])
    rows = tuple(
        (figure(f"{hours[i]:g}", hours[i]), figure(percent(shares[i]), shares[i])) for i in keep
    )
    columns = (Column("Hour"), Column("Paths still liquid"))
    return Table("Survival", columns, rows, _thinned(len(keep), len(frame)))


def stress_table(
    names: Sequence[str], labels: Sequence[str], im_usd: Sequence[Sequence[float | None]]
) -> Table:
    """Return agreements by stress level; `im_usd` (n_agreements, 1 + n_multipliers), USD."""
    scale = scale_for(amount for amounts in im_usd for amount in amounts)
    columns = (
        Column("Agreement", numeric=False),
        *(Column(f"{label}, {scale.unit}") for label in labels),
        Column("Largest rise"),
    )
    body = []
    for name, amounts in zip(names, im_usd, strict=True):
        today = amounts[0] if amounts else None
        peak = max((v for v in amounts if v is not None), default=None)
        ratio = peak / today if today and peak is not None else None
        cells = (money(scale, amount) for amount in amounts)
        body.append((word(name), *cells, figure(multiple(ratio), ratio)))
    return Table("Margin under stress", columns, tuple(body))


def waterfall_table(resources: Mapping[str, float], peak_call_usd: float | None) -> Table:
    """Return opening sources, their total, the peak call and what is left."""
    steps = [(name, end - start) for name, start, end in waterfall_steps(resources, peak_call_usd)]
    scale = scale_for(amount for _, amount in steps)
    columns = (Column("Step", numeric=False), Column(f"Amount, {scale.unit}"))
    rows = tuple((word(name), money(scale, amount)) for name, amount in steps)
    return Table("From cash to peak call", columns, rows)


def manager_table(rows: Sequence[tuple[str, float | None, float | None]]) -> Table:
    """Return IM and VM by manager; rows are (manager, im_usd, vm_usd)."""
    scale = scale_for(value for row in rows for value in row[1:])
    total = sum(row[1] or 0.0 for row in rows)
    columns = (
        Column("Manager", numeric=False),
        Column(f"Initial margin, {scale.unit}"),
        Column("Share"),
        Column(f"Variation margin, {scale.unit}"),
    )
    body = []
    for manager, im, vm in rows:
        share = im / total if im is not None and total > 0 else None
        body.append(
            (word(manager), money(scale, im), figure(percent(share), share), money(scale, vm))
        )
    return Table("Margin by manager", columns, tuple(body))


def agreement_table(rows: Sequence[Mapping[str, Any]], total_im_usd: float | None) -> Table:
    """Return the largest agreements; each row carries its evidence mark under its name."""
    kept = rows[:AGREEMENTS_SHOWN]
    scale = scale_for(
        finite(row[key]) for row in kept for key in ("im_usd", "vm_usd", "add_ons_usd")
    )
    columns = (
        Column("Agreement", numeric=False),
        Column(f"Initial margin, {scale.unit}"),
        Column("Share"),
        Column(f"Add-ons, {scale.unit}"),
        Column(f"Variation margin, {scale.unit}"),
        Column("Kind", numeric=False),
        Column("Venue or counterparty", numeric=False),
        Column("Broker", numeric=False),
        Column("Model", numeric=False),
    )
    body = []
    for row in kept:
        im = finite(row["im_usd"])
        share = im / total_im_usd if im is not None and total_im_usd else None
        place = row.get("venue") or row.get("counterparty") or ""
        body.append(
            (
                word(row["agreement_id"], str(row.get("mark") or "unmarked")),
                money(scale, im),
                figure(percent(share), share),
                money(scale, row["add_ons_usd"]),
                money(scale, row["vm_usd"]),
                word(row.get("kind", "")),
                word(place),
                word(row.get("broker", "")),
                word(row.get("model", "")),
            )
        )
    note = _more(len(rows), AGREEMENTS_SHOWN, "agreements")
    return Table("Largest agreements", columns, tuple(body), note)


def failure_table(failures: Sequence[Mapping[str, Any]]) -> Table:
    """Return what could not be processed, and where to mend it."""
    labels = ("Reason", "Item", "Where", "What was wrong, what to do")
    keys = ("reason", "item", "where", "message")
    rows = tuple(tuple(word(row.get(key, "")) for key in keys) for row in failures[:FAILURES_SHOWN])
    columns = tuple(Column(label, False, wide=label == labels[-1]) for label in labels)
    note = _more(len(failures), FAILURES_SHOWN, "failures")
    return Table("Failures", columns, rows, note)


def quality_table(quality: Mapping[str, Any]) -> Table | None:
    """Return every repair of the data, labelled by its kind; None if there was none."""
    filled = {k: int(v) for k, v in (quality.get("filled_days") or {}).items() if finite(v)}
    left_out = {k: v for k, v in quarantined(quality).items() if v}
    groups = (
        ("synthetic", "made up, not observed", quality.get("synthetic_factors") or []),
        ("substituted", "not in your history, taken from the packaged one", substituted(quality)),
        (
            "filled",
            "days without a level, carried forward",
            [f"{k} {v}" for k, v in filled.items()],
        ),
        ("quarantined", "rows left out", [f"{k} {v}" for k, v in left_out.items()]),
    )
    rows = tuple(
        (word(label), figure(f"{len(items):,}", len(items)), word(meaning), word(listed(items)))
        for label, meaning, items in groups
        if items
    )
    if not rows:
        return None
    columns = (
        Column("Label", numeric=False),
        Column("Items"),
        Column("Meaning", numeric=False),
        Column("Which", numeric=False, wide=True),
    )
    return Table("Data quality", columns, rows)


def listed(items: Sequence[Any]) -> str:
    """Return the items as one line; beyond `FAILURES_SHOWN` they are counted."""
    shown = ", ".join(describe(item) for item in items[:FAILURES_SHOWN])
    more = len(items) - FAILURES_SHOWN
    return shown if more <= 0 else f"{shown} and {more:,} more"


def substituted(quality: Mapping[str, Any]) -> list[Any]:
    """Return what was substituted."""
    return list(quality.get("substituted") or quality.get("substituted_factors") or [])


def quarantined(quality: Mapping[str, Any]) -> dict[str, int]:
    """Return rows left out by table: from counts of rows, or given as such."""
    rows = quality.get("rows")
    held = quality.get("quarantined")
    if isinstance(rows, Mapping):
        return {str(k): int(finite(v.get("quarantined")) or 0) for k, v in rows.items()}
    if isinstance(held, Mapping):
        return {str(k): int(finite(v) or 0) for k, v in held.items()}
    return {"rows": len(held)} if held else {}


def quarantine_table(quality: Mapping[str, Any]) -> Table | None:
    """Return the quarantined rows that came with their reasons; None if there are none."""
    held = quality.get("quarantined")
    if isinstance(held, Mapping) or not held:
        return None
    names = list(dict.fromkeys(key for row in held for key in row))
    rows = tuple(
        tuple(word(describe(row.get(name))) for name in names) for row in held[:FAILURES_SHOWN]
    )
    columns = tuple(Column(name.replace("_", " "), numeric=False) for name in names)
    total = max(len(held), sum(quarantined(quality).values()))
    return Table("Quarantined rows", columns, rows, _more(total, len(rows), "rows"))


def _thinned(shown: int, total: int) -> str:
    return "" if shown == total else _more(total, shown, "rows, evenly spaced")


def _more(total: int, shown: int, what: str) -> str:
    if total <= shown:
        return ""
    return f"Shown: {shown:,} of {total:,} {what}. The run folder holds them all."
