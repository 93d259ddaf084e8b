"""`mca warning`: how near the next rise of margin is, and how often that was right."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli import exits
from workflows.cli.options import History, Json, Out, Pack, Seed
from workflows.cli.output import emit, note, report_failures, save, table, writing_into

if TYPE_CHECKING:
    from engine.stress.early_warning.result import EarlyWarningResult

PICTURE = "early_warning.svg"
SHOWN_EPISODES = 3
Day = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Day of the score."),
]
Start = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        formats=["%Y-%m-%d"],
        metavar="YYYY-MM-DD",
        help="History before it is not used.",
    ),
]


def warning(
    pack: Pack,
    history: History = None,
    as_of: Day = None,
    first: Start = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Score how near a rise of margin is, and show how good past warnings were.

    Example: mca warning my-fund --out warning

    Positions are those of the pack; --as-of scores them on an earlier day. Factors with a
    simulated history take no part. The seed is that of the intervals. --out also gets a picture.
    """
    from engine.stress.early_warning.config import EarlyWarningConfig
    from engine.stress.early_warning.system import develop_early_warning_system
    from workflows.funds import checked, open_fund

    given: dict[str, Any] = {
        "as_of": None if as_of is None else as_of.date(),
        "first_day": None if first is None else first.date(),
        "seed": seed,
    }
    config = checked(
        EarlyWarningConfig, **{name: value for name, value in given.items() if value is not None}
    )
    opened = open_fund(pack, history)
    result = develop_early_warning_system(opened.book, opened.market, config)
    failures = (*opened.failures, *result.failures)
    payload = {"fund": opened.book.name, **result.to_dict()}
    payload["failures"] = [failure.to_dict() for failure in failures]
    emit(payload, _lines(opened.book.name, payload), as_json)
    save(out, "warning", payload, result.tables())
    if out is not None:
        _draw(result, opened.book.name, out)
    code = report_failures(failures)
    if code != exits.OK:
        raise typer.Exit(code)


def _draw(result: EarlyWarningResult, name: str, out: Any) -> None:
    from workflows.pictures.warning import warning_picture

    with writing_into("--out", out):
        (out / PICTURE).write_text(warning_picture(result, name), encoding="utf-8")
    note(f"picture: {out / PICTURE}")


def _lines(name: str, found: Mapping[str, Any]) -> list[str]:
    past = found["evaluation"]
    rate = found["proximity"]["event_rate"]
    lines = [
        f"{name}, {found['as_of']}: score {found['score']:.2f} ({found['level']}), higher than "
        f"{found['proximity']['higher_than']:.0%} of past days",
        f"margin rose by {found['config']['rise_share']:.0%} within "
        f"{found['config']['horizon_days']} days after {_interval(rate, '.1%')} of past days of "
        f"level {found['level']}",
        f"index: {len(found['members'])} factors, {found['covered_share']:.0%} of the margin of "
        f"single factors; volatility: {found['volatility_source']}",
        "",
    ]
    lines += table(
        ["signal", "value", "rank", "part of score"],
        [
            (i["name"], _number(i["value"], ".4g"), _number(i["rank"], ".2f"),
             f"{i['contribution']:.3f}")
            for i in found["indicators"]
        ],
    )  # fmt: skip
    alike = [row for row in found["resembles"] if row["similarity"]][:SHOWN_EPISODES]
    told = [f"{row['episode']} {row['similarity']:.2f}" for row in alike]
    lines += ["", f"most alike: {'; '.join(told) or 'no episode'}"]
    lines += ["", *_past(past)]
    return lines


def _past(past: Mapping[str, Any]) -> list[str]:
    """What the score was worth from the first to the last day that can be judged."""
    rows = [
        (
            f"{at['threshold']:g}",
            *(_interval(at[name], ".1%") for name in ("alert_days", "precision", "recall")),
            f"{at['events_warned']} of {len(past['events'])}",
            f"{at['events_warned_before_the_move']}",
        )
        for at in past["thresholds"]
    ]
    header = ["score from", "alert days", "precision", "recall", "events warned", "before the move"]
    lines = [
        f"{past['first']} to {past['last']}: AUROC {_interval(past['auroc'], '.3f')}, volatility "
        f"alone {_interval(past['auroc_volatility_alone'], '.3f')}",
        f"lead, trading days, median: {_interval(past['lead_days'], 'g')}",
        *table(header, rows),
        "events:",
    ]
    for event in past["events"]:
        lead = event["lead_days"]
        words = event["reason_without_warning"] if lead is None else f"lead {lead}"
        lines.append(f"  {event['day']}  +{event['rise']:.0%}  {words}")
    return lines


def _number(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _interval(estimate: Mapping[str, float | None], form: str) -> str:
    low, high = (_number(estimate[name], form) for name in ("low", "high"))
    return f"{_number(estimate['value'], form)} ({low} to {high})"
