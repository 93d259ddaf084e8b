"""`mca changes`: announced changes of margin models, today, under stress, and on the calendar."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from workflows.cli.explain import leave, opened_inputs
from workflows.cli.options import History, Json, Out, Pack, Seed
from workflows.cli.output import emit, save, table, usd

FIRST_YEAR, LAST_YEAR = 1990, 2199


def changes(
    pack: Pack,
    file: Annotated[
        Path | None,
        typer.Option("--changes", metavar="FILE", help="TOML with changes of your own."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="First day of the calendar; default: the fund's date."),
    ] = None,
    multiplier: Annotated[
        list[float] | None, typer.Option(help="Multiplier; may be repeated. Default: 2, 5, 10.")
    ] = None,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Analyse announced changes of margin models: impact today, under stress, and when.

    Example: mca changes my-fund --changes mine.toml --as-of 2023-01-02

    A change of your file takes the place of a packaged one with its id. The seed has no effect
    here: nothing is drawn.
    """
    from engine.margin.config import MarginConfig
    from engine.margin.model_changes.analyze import analyze_model_changes
    from engine.margin.model_changes.registry import load_changes, merged, read_changes
    from workflows.funds import checked

    start = None if as_of is None else _date("--as-of", as_of)
    multipliers = tuple(multiplier) if multiplier else None
    if multipliers is not None:
        checked(MarginConfig, volatility_multipliers=multipliers)
    own = () if file is None else read_changes(file)
    inputs, failures = opened_inputs(pack, history)
    result = analyze_model_changes(
        inputs.book, inputs.market, inputs.config, merged(load_changes(), own), inputs.crif,
        start, multipliers,
    )  # fmt: skip
    payload = result.to_dict()
    payload["failures"] = [f.to_dict() for f in (*failures, *result.failures)]
    labels = list(result.labels)
    lines = table(
        ["change", "mark", "from", "today", *labels],
        [
            (
                c["change_id"], c["mark"], c["effective_cob"] or "open", usd(c["step_usd"]),
                *(usd(c["stress_step_usd"][label]) for label in labels),
            )
            for c in payload["changes"]
        ],
    )  # fmt: skip
    without_figure = {item["change_id"] for item in payload["not_computed"]}
    lines += table(
        ["next 12 months", "event", "change", "margin", "call"],
        [
            (e["day"], e["event"], e["change_id"], *_steps(e, without_figure))
            for e in payload["calendar"]
        ],
    )
    lines += _not_computed(payload["not_computed"], {change.change_id for change in own})
    emit(payload, lines, as_json)
    save(out, "changes", payload, result.tables())
    leave(payload)


def _steps(event: dict[str, Any], without_figure: set[str]) -> tuple[str, str]:
    """Steps of margin and call of one event; of a change that is not computed there is none."""
    if event["change_id"] in without_figure:
        return "n/a", "n/a"
    return usd(event["im_step_usd"]), usd(event["call_usd"])


def _not_computed(items: list[dict[str, Any]], own: set[str]) -> list[str]:
    """The user's own changes by name, the packaged ones counted by reason."""
    lines = [
        f"not computed: {i['change_id']} ({i['reason']})" for i in items if i["change_id"] in own
    ]
    reasons = Counter(item["reason"] for item in items if item["change_id"] not in own)
    return lines + [f"not computed: {count} ({reason})" for reason, count in reasons.items()]


def _date(option: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise typer.BadParameter(
            f"{option} {text!r}: expected YYYY-MM-DD, a day from {FIRST_YEAR} to {LAST_YEAR}"
        )
    return day
