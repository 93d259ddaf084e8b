"""`mca calls`: what is called, by when, and how far each group is from its threshold."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.options import History, Json, Out, Pack, Seed
from workflows.cli.output import emit, note, save, table, usd, writing_into
from workflows.cli.runs import tell_failures

if TYPE_CHECKING:
    from datetime import date

    from engine.domain.failures import Failure
    from engine.margin.calls.margin_call import MarginCall
    from engine.margin.calls.threshold import GroupThreshold

DEFAULT_HOUR_UTC = 16
LATEST_DAYS = 366
SHOWN_CALLS = 15
SHOWN_GROUPS = 5


def calls(
    pack: Pack,
    now: Annotated[
        str | None,
        typer.Option(
            "--now",
            metavar="TIME",
            help="ISO 8601 time from which calls are made; default 16:00 UTC on the fund's date, "
            "before the end-of-day runs of Europe and America.",
        ),
    ] = None,
    xml: Annotated[
        Path | None,
        typer.Option(
            "--xml", metavar="DIR", help="Write each call as an ISO 20022 colr.003 message."
        ),
    ] = None,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """List the margin calls of every agreement with their deadlines.

    Example: mca calls my-fund --now 2022-12-28T18:00+00:00 --xml messages

    The seed has no effect here: nothing is drawn.
    """
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.calls.calls import margin_calls
    from engine.margin.calls.margin_call import total_by_currency
    from engine.margin.calls.threshold import group_thresholds
    from engine.margin.config import MarginConfig
    from workflows.funds import open_fund

    opened = open_fund(pack, history)
    book, market = opened.book, opened.market
    at = _time(now, book.as_of)
    result = calculate_margin_requirements(book, market, MarginConfig(), opened.reading.crif)
    made = margin_calls(book, market, result, at)
    groups = group_thresholds(book, market, result)
    failures = [*opened.failures, *result.failures, *made.failures, *groups.failures]
    messages: dict[str, bytes] = {}
    if xml is not None:
        messages, unsent = _messages(made.value)
        failures += unsent
    payload: dict[str, Any] = {
        "as_of": book.as_of.isoformat(),
        "now": at.isoformat(),
        "by_currency_cents": total_by_currency(made.value),
        "calls": [call.to_dict() for call in made.value],
        "group_thresholds": [group.to_dict() for group in groups.value],
        "failures": [failure.to_dict() for failure in failures],
    }
    emit(payload, _lines(made.value, groups.value), as_json)
    save(out, "calls", payload, _tables(payload))
    if xml is not None:
        with writing_into("--xml", xml):
            for name, message in messages.items():
                (xml / name).write_bytes(message)
        note(f"{len(messages)} messages written to {xml}")
    if not len(book.positions):
        from workflows.service import NOTHING_TO_MARGIN

        note(f"mca: {NOTHING_TO_MARGIN}")
    code = tell_failures(payload)
    if code:
        raise typer.Exit(code)


def _time(text: str | None, as_of: date) -> datetime:
    from engine.domain.failures import UsageError

    if text is None:
        return datetime.combine(as_of, time(DEFAULT_HOUR_UTC), tzinfo=UTC)
    try:
        given = datetime.fromisoformat(text)
        at = given.astimezone(UTC) if given.tzinfo is not None else None
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise UsageError(
            f"--now {text!r}: give an ISO 8601 time with its zone, such as "
            f"{as_of}T{DEFAULT_HOUR_UTC}:00+00:00"
        )
    days = (at.date() - as_of).days
    if not 0 <= days <= LATEST_DAYS:
        where = "before" if days < 0 else f"{days} days after"
        raise UsageError(
            f"--now {text!r}: lies {where} the fund's date {as_of}; its positions make calls from "
            f"that day on, for up to {LATEST_DAYS} days: give such a time, or the pack of that day"
        )
    return at


def _lines(made: tuple[MarginCall, ...], groups: tuple[GroupThreshold, ...]) -> list[str]:
    pay = [call for call in made if call.direction == "pay"]
    paid, received = (
        sum(call.amount_usd for call in made if call.direction == way) for way in ("pay", "receive")
    )
    lines = [f"{len(made)} calls: to pay {usd(paid)}, to receive {usd(received)} USD"]
    largest = sorted(pay, key=lambda call: (-call.amount_usd, call.call_id))[:SHOWN_CALLS]
    if largest:
        lines += table(
            ["largest to pay", "kind", "amount", "deadline (UTC)", "timing"],
            [
                (
                    call.agreement_id,
                    call.kind.upper(),
                    f"{call.amount_cents / 100:,.2f} {call.currency}",
                    f"{call.deadline:%Y-%m-%d %H:%M}",
                    call.mark,
                )
                for call in largest
            ],
        )
    if groups:
        lines += table(
            ["nearest to its IM threshold", "margin", "threshold", "called"],
            [
                (group.group, usd(group.im_usd), usd(group.threshold_usd), usd(group.called_usd))
                for group in groups[:SHOWN_GROUPS]
            ],
        )
    return lines


def _tables(payload: dict[str, Any]) -> dict[str, Any]:
    import pandas as pd

    groups = pd.DataFrame(payload["group_thresholds"])
    if len(groups):
        groups["agreements"] = [";".join(names) for names in groups["agreements"]]
    return {"margin_calls": pd.DataFrame(payload["calls"]), "group_thresholds": groups}


def _messages(made: tuple[MarginCall, ...]) -> tuple[dict[str, bytes], list[Failure]]:
    """Messages by file name; a call that cannot be written as one is a failure."""
    from engine.domain.failures import Failure, FailureReason, InputError
    from workflows.exports.colr003 import margin_call_requests

    messages: dict[str, bytes] = {}
    failures = []
    for call in made:
        try:
            messages |= margin_call_requests((call,))
        except InputError as error:
            where = f"message of the {call.kind.upper()} call of agreement {call.agreement_id}"
            failures.append(
                Failure(FailureReason.INVALID, call.agreement_id, where, f"not written: {error}")
            )
    return messages, failures
