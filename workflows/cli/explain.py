"""`mca explain` and `mca whatif`: why margin is what it is, and what trades would make of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.options import History, Json, Out, Pack, Seed
from workflows.cli.output import emit, note, save, table, usd
from workflows.cli.runs import tell_failures

if TYPE_CHECKING:
    from engine.domain.failures import Failure
    from engine.margin.explain.explain_results import MarginChange
    from engine.margin.explain.margin_inputs import MarginInputs
    from engine.margin.explain.trades import Trade

DEFAULT_SEED = 20221228
SHOWN = 10


def explain(
    pack: Annotated[
        Path, typer.Argument(metavar="PACK", help="Fund pack or run folder; BEFORE of two.")
    ],
    after: Annotated[
        Path | None,
        typer.Argument(metavar="[AFTER]", help="Second pack or run folder: explain the change."),
    ] = None,
    by: Annotated[str, typer.Option(help="manager, strategy or position.")] = "manager",
    method: Annotated[
        str | None,
        typer.Option(
            help="One pack: engine, incremental, shapley, aumann_shapley or stand_alone. "
            "Two: sequential or symmetric."
        ),
    ] = None,
    agreement: Annotated[
        list[str] | None, typer.Option(help="Only this agreement; may be repeated.")
    ] = None,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Explain margin by component and by who causes it, or its change between two dates.

    Example: mca explain runs/yesterday runs/today

    Parts sum to the margin, or to its change, to the cent. The seed matters for `shapley` with
    more than eight players alone.
    """
    if after is None:
        _explain_one(pack, by, method or "engine", agreement, history, as_json, out, seed)
    else:
        _refuse_options_of_one(by, agreement)
        _explain_two(pack, after, method or "sequential", history, as_json, out)


def _refuse_options_of_one(by: str, agreement: list[str] | None) -> None:
    if by != "manager" or agreement:
        raise typer.BadParameter("--by and --agreement explain one pack, not a change")


def _explain_one(
    pack: Path,
    by: str,
    method: str,
    agreement: list[str] | None,
    history: Path | None,
    as_json: bool,
    out: Path | None,
    seed: int | None,
) -> None:
    from engine.margin.explain.attribution import LEVELS, METHODS, attribute_margin
    from engine.margin.explain.explain import explain_margin

    _one_of("--by", by, LEVELS)
    _one_of("--method", method, METHODS)
    inputs, failures = opened_inputs(pack, history)
    result = inputs.margin()
    parts = explain_margin(result)
    chosen = _agreements(agreement, [str(name) for name in result.agreement_id])
    shares = attribute_margin(
        inputs, result, by, method, chosen, DEFAULT_SEED if seed is None else seed
    )
    payload = {
        **parts,
        "attribution": shares.to_dict(),
        "failures": [f.to_dict() for f in (*failures, *result.failures, *shares.failures)],
    }
    rows = [(name, usd(value)) for name, value in parts["totals"].items()]
    lines = table([f"{inputs.book.name}, {parts['as_of']}", "USD"], rows)
    by_label = list(shares.by_label().items())
    names = list(by_label[0][1]) if by_label else []
    lines += table(
        [f"by {by} ({method})", *names],
        [(label, *(usd(value) for value in row.values())) for label, row in by_label[:SHOWN]],
    )
    emit(payload, lines, as_json)
    save(out, "explain", payload, shares.tables())
    leave(payload)


def _explain_two(
    before: Path, after: Path, method: str, history: Path | None, as_json: bool, out: Path | None
) -> None:
    from engine.margin.explain.explain import METHODS, explain_change

    _one_of("--method", method, METHODS)
    first, failures = opened_inputs(before, history)
    second, more = opened_inputs(after, history)
    change = explain_change(first, second, method)
    payload = change.to_dict()
    told = (*failures, *(f for f in more if f not in failures), *change.failures)
    payload["failures"] = [failure.to_dict() for failure in told]
    emit(payload, _change_lines(change), as_json)
    save(out, "explain", payload, change.tables())
    leave(payload)


def _change_lines(change: MarginChange) -> list[str]:
    summary = change.summary(SHOWN)
    rows = [(f"margin {summary['before']}", usd(summary["before_usd"]))]
    rows += [
        (f"  {name.replace('_', ' ')}", usd(value))
        for name, value in summary["contributions_usd"].items()
        if value or name in ("positions", "market", "rules", "add_ons")
    ]
    rows.append((f"margin {summary['after']}", usd(summary["after_usd"])))
    lines = table([f"{change.method}, IM and add-ons", "USD"], rows)
    steps = ("positions", "market", "rules", "add_ons")
    lines += table(
        ["largest changes", "change", *(name.replace("_", " ") for name in steps)],
        [
            (row["agreement_id"], usd(row["change_usd"]), *(usd(row[f"{s}_usd"]) for s in steps))
            for row in summary["largest"]
        ],
    )
    return lines


def whatif(
    pack: Pack,
    trades: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV: action,position_id,...; see the methodology page."),
    ] = None,
    move: Annotated[
        list[str] | None,
        typer.Option(metavar="POSITION=AGREEMENT", help="Move a position; may be repeated."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="POSITION", help="Remove a position; may be repeated."),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(metavar="POSITION=FACTOR", help="Scale a position; may be repeated."),
    ] = None,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Compute margin before and after some trades.

    Example: mca whatif my-fund --move P-1=CCP-2 --json

    The seed has no effect here: nothing is drawn.
    """
    from engine.domain.failures import UsageError
    from engine.margin.explain.trades import read_trades
    from engine.margin.explain.what_if import what_if

    given = list(read_trades(trades)) if trades is not None else []
    given += _flags(move, remove, scale)
    if not given:
        raise UsageError("no trades; give --trades FILE, --move, --remove or --scale")
    inputs, failures = opened_inputs(pack, history)
    result = what_if(inputs, given)
    payload = result.to_dict()
    payload["failures"] = [f.to_dict() for f in (*failures, *result.failures)]
    rows = [
        (name.removesuffix("_usd"), *(usd(total[key]) for key in ("before", "after", "change")))
        for name, total in result.totals().items()
    ]
    lines = table([f"{inputs.book.name}, {result.as_of}", "before", "after", "change"], rows)
    lines += table(
        ["agreement", "before", "after", "change"],
        [
            (row["agreement_id"], *(usd(row[f"required_{s}_usd"]) for s in
                                    ("before", "after", "change")))
            for row in result.summary(SHOWN)["largest"]
        ],
    )  # fmt: skip
    lines += table(
        ["trade", "alone", "last"],
        [(t["words"], usd(t["alone_usd"]), usd(t["last_usd"])) for t in payload["trades"]],
    )
    emit(payload, lines, as_json)
    save(out, "whatif", payload, result.tables())
    leave(payload)


def _flags(
    move: list[str] | None, remove: list[str] | None, scale: list[str] | None
) -> list[Trade]:
    """Trades of the simple options, moves first."""
    from engine.margin.explain.trades import Trade

    out = []
    for text in move or ():
        position, target = _pair("--move", text, "POSITION=AGREEMENT")
        out.append(Trade("move", position, to_agreement=target))
    out += [Trade("remove", text) for text in remove or ()]
    for text in scale or ():
        position, factor = _pair("--scale", text, "POSITION=FACTOR")
        try:
            number = float(factor)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise typer.BadParameter(f"--scale {text!r}: {factor!r} is no number; write 0.5")
        out.append(Trade("scale", position, factor=number))
    return out


def _pair(option: str, text: str, form: str) -> tuple[str, str]:
    left, _, right = text.rpartition("=")
    if not left or not right:
        raise typer.BadParameter(f"{option} {text!r}: expected {form}")
    return left, right


def opened_inputs(place: Path, history: Path | None) -> tuple[MarginInputs, tuple[Failure, ...]]:
    """Open a fund pack, or the pack and history a finished run was made from."""
    from engine.margin.config import MarginConfig
    from engine.margin.explain.margin_inputs import MarginInputs
    from workflows.funds import open_fund
    from workflows.run import HISTORY, MANIFEST, PACK, read_manifest
    from workflows.service import NOTHING_TO_MARGIN

    if (place / MANIFEST).is_file():
        recorded = read_manifest(place)["inputs"]
        _check_inputs(place, recorded)
        names = [name for name in recorded if name.startswith(f"{HISTORY}/")]
        if history is None and names:
            history = place / names[0]
        place = place / PACK
    opened = open_fund(place, history)
    if not len(opened.book.positions):
        note(f"mca: {NOTHING_TO_MARGIN}")
    crif = opened.reading.crif
    return MarginInputs(opened.book, opened.market, MarginConfig(), crif), opened.failures


def _check_inputs(run_dir: Path, recorded: dict[str, str]) -> None:
    """Refuse a run whose inputs are no longer those it was made from."""
    from engine.domain.failures import InputError
    from engine.domain.provenance import file_sha256

    for name, digest in recorded.items():
        path = run_dir / name
        if not path.is_file() or file_sha256(path) != digest:
            raise InputError(f"{path}: gone or changed since the run; give the pack itself instead")


def _agreements(wanted: list[str] | None, known: list[str]) -> list[str] | None:
    from engine.domain.failures import UsageError
    from engine.fund.suggest import did_you_mean

    for name in wanted or ():
        if name not in known:
            near = did_you_mean(name, known)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known[:SHOWN])}"
            raise UsageError(f"--agreement {name!r}: has no margin here; {hint}")
    return list(dict.fromkeys(wanted)) if wanted else None


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise typer.BadParameter(f"{option} {value!r}: expected {', '.join(known)}")


def leave(payload: dict[str, Any]) -> None:
    """Tell notes and failures on stderr, and exit with the code they cause."""
    for text in payload.get("notes", ()):
        note(f"mca: {text}")
    code = tell_failures(payload)
    if code:
        raise typer.Exit(code)
