"""`mca scenarios`: the stress scenarios, how plausible they are, and which of them hurt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli import exits
from workflows.cli.options import History, Json, Out, Seed
from workflows.cli.output import emit, note, report_failures, save, table, usd, writing_into

if TYPE_CHECKING:
    from engine.domain.book import Book
    from engine.domain.failures import Failure
    from engine.domain.market import MarketState
    from engine.domain.scenarios import Scenario
    from engine.stress.combinations.result import CombinationResult
    from engine.stress.generator.result import ScenarioEntry, ScenarioSet

SCENARIO_FOLDER = "scenarios"
SHOWN_MOVES = 25


def scenarios(
    pack: Annotated[
        Path | None,
        typer.Argument(
            metavar="PACK", help="Folder with fund.toml; without it the packaged market, no P&L."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Kind of scenario, such as historical; repeatable.")
    ] = None,
    severity: Annotated[
        list[str] | None, typer.Option(help="moderate, severe or extreme; repeatable.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="TOML with scenarios of your own."),
    ] = None,
    show: Annotated[
        str | None, typer.Option("--show", metavar="ID", help="One scenario with moves and facts.")
    ] = None,
    combinations: Annotated[
        int | None,
        typer.Option(
            "--combinations", metavar="N", min=1, max=4,
            help="Search which N managers or fewer strain liquidity most together.",
        ),
    ] = None,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:  # fmt: skip
    """List stress scenarios with their plausibility and what they cost the fund.

    Example: mca scenarios my-fund --kind historical --combinations 3 --out stress

    --out gets every scenario listed as a TOML file to edit and give back with --file. A scenario of
    your file takes the place of a packaged one with its id. The seed has no effect here: nothing is
    drawn.
    """
    from engine.domain.failures import UsageError

    if combinations is not None and pack is None:
        raise UsageError("--combinations needs a PACK: it searches the managers of a fund")
    _check_words("--kind", kind, _kinds())
    book, market, failures = _inputs(pack, history)
    found, wrong = _generated(book, market, severity, file)
    if show is not None:
        _show(found, show, market, as_json, out)
        _finish((*failures, *wrong))
        return
    entries = [e for e in found.entries if not kind or e.scenario.kind in kind]
    payload = {**found.to_dict(), "scenarios": [entry.to_dict() for entry in entries]}
    lines = _listed(found, entries)
    ids = [entry.scenario.scenario_id for entry in entries]
    tables = {
        name: frame[frame["scenario_id"].isin(ids)] if len(frame) else frame
        for name, frame in found.tables().items()
    }
    every = (*failures, *wrong, *found.failures)
    if combinations is not None and book is not None:
        ranked = _combined(book, market, [e.scenario for e in entries], combinations)
        payload["managers"] = ranked.to_dict()
        lines += _told_combinations(ranked)
        tables.update(ranked.tables())
        every = (*every, *(f for f in ranked.failures if f not in every))
    payload["failures"] = [failure.to_dict() for failure in every]
    emit(payload, lines, as_json)
    save(out, "scenarios", payload, tables)
    if out is not None:
        _write_each(out, [entry.scenario for entry in entries])
    _finish(every)


def _kinds() -> tuple[str, ...]:
    from typing import get_args

    from engine.domain.scenarios import ScenarioKind

    return get_args(ScenarioKind)


def _check_words(option: str, words: Sequence[str] | None, known: Sequence[str]) -> None:
    from engine.domain.failures import UsageError
    from engine.fund.suggest import did_you_mean

    for word in words or ():
        if word not in known:
            near = did_you_mean(word, known)
            hint = f"did you mean {near!r}?" if near else f"use one of {', '.join(known)}"
            raise UsageError(f"{option} {word!r} is not known; {hint}")


def _inputs(
    pack: Path | None, history: Path | None
) -> tuple[Book | None, MarketState, tuple[Failure, ...]]:
    """Fund and market; without a pack the packaged market of its last day."""
    if pack is not None:
        from workflows.funds import open_fund

        opened = open_fund(pack, history)
        return opened.book, opened.market, opened.failures
    from engine.domain.failures import UsageError
    from engine.market.packaged import packaged_factors, packaged_levels
    from engine.market.state import build_market

    if history is not None:
        raise UsageError("--history needs a PACK: its factors say what the columns are")
    levels = packaged_levels()
    built = build_market(packaged_factors(), levels, levels.dates[-1].item())
    return None, built.value, built.failures


def _generated(
    book: Book | None, market: MarketState, severity: Sequence[str] | None, file: Path | None
) -> tuple[ScenarioSet, tuple[Failure, ...]]:
    from engine.stress.generator.generate import (
        SEVERITIES,
        ScenarioConfig,
        generate_stress_scenarios,
    )
    from engine.stress.scenario_files.toml import read_scenarios
    from workflows.funds import checked

    _check_words("--severity", severity, SEVERITIES)
    chosen: dict[str, Any] = {"severity_levels": tuple(severity)} if severity else {}
    config = checked(ScenarioConfig, **chosen)
    own: tuple[Scenario, ...] = ()
    wrong: tuple[Failure, ...] = ()
    if file is not None:
        reading = read_scenarios(file, market)
        own, wrong = reading.value, reading.failures
    return generate_stress_scenarios(book, market, config, own), wrong


def _combined(
    book: Book, market: MarketState, chosen: Sequence[Scenario], size: int
) -> CombinationResult:
    from engine.stress.combinations.rank import CombinationConfig, rank_combinations

    return rank_combinations(book, market, chosen, CombinationConfig(largest_subset=size))


def _listed(found: ScenarioSet, entries: Sequence[ScenarioEntry]) -> list[str]:
    sizes = ", ".join(f"{name} {size:.1f}" for name, size in found.severity_distances.items())
    header = [
        "scenario", "kind", "severity", "mark", "days", "vol", "D", "per move", "rank", "P&L",
        "calls",
    ]  # fmt: skip
    rows = [
        (
            e.scenario.scenario_id,
            e.scenario.kind,
            e.scenario.severity or "",
            e.scenario.mark,
            e.scenario.days,
            f"{e.scenario.volatility_multiplier:.1f}x",
            _number(e.distance, ".1f"),
            _number(e.turbulence, ".1f"),
            _number(e.library_rank, ".0%"),
            usd(e.pnl_usd),
            usd(e.calls_usd),
        )
        for e in entries
    ]
    return [
        f"{found.as_of}: {len(entries)} scenarios; standard deviations by severity: {sizes}",
        *table(header, rows),
    ]


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _told_combinations(ranked: CombinationResult) -> list[str]:
    header = ["managers", "scenario", "strain", "losses", "margin", "interaction", "together",
              "repriced"]  # fmt: skip
    rows = [
        (
            " + ".join(one.managers),
            one.scenario_id,
            usd(one.strain_usd),
            usd(one.loss_usd),
            usd(one.margin_rise_usd),
            usd(one.interaction_usd),
            _number(one.coincidence, ".0%"),
            "" if one.repriced is None else usd(one.repriced.strain_usd),
        )
        for one in ranked.ranked
    ]
    return ["", f"{ranked.searched:,} combinations searched", *table(header, rows)]


def _show(
    found: ScenarioSet, scenario_id: str, market: MarketState, as_json: bool, out: Path | None
) -> None:
    """One scenario: what is known, how it moves the market, and the facts beside it."""
    ids = [entry.scenario.scenario_id for entry in found.entries]
    _check_words("--show", [scenario_id], ids)
    entry = found.entry(scenario_id)
    facts = [row.to_dict() for row in entry.facts]
    payload = {
        **entry.to_dict(),
        "scenario": entry.scenario.model_dump(mode="json"),
        "basis": entry.basis,
        "facts": facts,
    }
    lines = [f"{name:22}{'' if value is None else value}" for name, value in
             entry.to_dict().items()]  # fmt: skip
    lines += [f"{'description':22}{entry.scenario.description}"]
    lines += [f"{'source':22}{source}" for source in entry.scenario.sources]
    lines += _told_moves(entry, market)
    lines += [
        f"fact: {f['subject']}, {f['from']} to {f['to']}: "
        f"{'' if f['move'] is None else f['move']} {f['unit']} ({f['mark']}; {f['source']})"
        for f in facts
    ]
    emit(payload, lines, as_json)
    save(out, scenario_id, payload)
    if out is not None:
        _write_each(out, [entry.scenario])


def _told_moves(entry: ScenarioEntry, market: MarketState) -> list[str]:
    """The named moves, then the first completed ones, in units of the market."""
    order = sorted(entry.scenario.moves, key=lambda name: entry.basis.get(name) != "named")
    column = market.index()
    rows = []
    for name in order[:SHOWN_MOVES]:
        k, move = column[name], entry.scenario.moves[name]
        log = market.factors.return_type[k] == "log"
        text = f"{math.expm1(move):+.2%}" if log else f"{move:+.3f} {market.factors.unit[k]}"
        rows.append((name, text, entry.basis.get(name, "named")))
    more = len(order) - len(rows)
    tail = [f"and {more} more; --json lists all"] if more else []
    return [*(table(["factor", "move", "basis"], rows) if rows else []), *tail]


def _write_each(out: Path, chosen: Sequence[Scenario]) -> None:
    from engine.stress.scenario_files.toml import write_scenarios

    folder = out / SCENARIO_FOLDER
    with writing_into("--out", folder):
        for scenario in chosen:
            write_scenarios(folder / f"{scenario.scenario_id}.toml", [scenario])
    note(f"{len(chosen)} scenario file(s) in {folder}")


def _finish(failures: Sequence[Failure]) -> None:
    """Say what was left out; what does not apply is a remark, all else an item that failed."""
    for failure in failures:
        if failure.reason.value == "NOT_APPLICABLE":
            note(f"{failure.item}: {failure.message}")
    code = report_failures([f for f in failures if f.reason.value != "NOT_APPLICABLE"])
    if code != exits.OK:
        raise typer.Exit(code)
