"""`mca demo`, `mca run` and `mca reproduce`: the whole job, into a run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from workflows.cli import exits
from workflows.cli.options import (
    Crowding,
    FailOn,
    History,
    Json,
    Out,
    Pack,
    Paths,
    Seed,
    Volatility,
)
from workflows.cli.output import emit, note, progress_bar, save, table, usd
from workflows.cli.thresholds import Threshold, judge, parse_thresholds

DEMO_OUT = Path("runs/demo")


def demo(
    paths: Paths = None,
    volatility: Volatility = None,
    crowding: Crowding = None,
    history: History = None,
    fail_on: FailOn = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Make the sample fund and run the whole job on it.

    Example: mca demo --out runs/demo

    The fund is written to OUT/pack, so it is also a pack to learn from. OUT is runs/demo unless
    --out says otherwise.
    """
    thresholds = parse_thresholds(fail_on)
    from engine.avalanche.config import AvalancheConfig
    from workflows.funds import checked, write_sample
    from workflows.run import RunFolder

    folder = out if out is not None else DEMO_OUT
    config = checked(AvalancheConfig) if seed is None else checked(AvalancheConfig, seed=seed)
    overrides = {"paths": paths, "volatility_multiplier": volatility, "crowding": crowding}
    checked(
        AvalancheConfig, **{key: value for key, value in overrides.items() if value is not None}
    )
    RunFolder(folder).prepare()
    pack = write_sample(RunFolder(folder), config.seed)
    _run(pack, folder, config.seed, history, overrides, thresholds, as_json)


def run(
    pack: Pack,
    paths: Paths = None,
    volatility: Volatility = None,
    crowding: Crowding = None,
    history: History = None,
    fail_on: FailOn = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Run the whole job on a fund pack.

    Example: mca run my-fund --out runs/today --fail-on "p_exhaustion>0.01"

    Writes a run folder with tables and a report: runs/RUN_ID unless --out says otherwise.
    """
    thresholds = parse_thresholds(fail_on)
    overrides = {"paths": paths, "volatility_multiplier": volatility, "crowding": crowding}
    _run(pack, out, seed, history, overrides, thresholds, as_json)


def _run(
    pack: Path,
    out: Path | None,
    seed: int | None,
    history: Path | None,
    overrides: dict[str, Any],
    thresholds: list[Threshold],
    as_json: bool,
) -> None:
    from workflows.service import run_fund

    with progress_bar() as progress:
        summary = run_fund(pack, out, seed, history, overrides, progress)
    emit(summary, _lines(summary), as_json)
    code = tell_failures(summary)
    code = tell_verdicts(thresholds, summary) or code
    if code:
        raise typer.Exit(code)


def tell_failures(summary: dict[str, Any]) -> int:
    """List notes and failures of a result on stderr; return the exit code they cause."""
    from engine.domain.failures import Failure, FailureReason
    from workflows.cli.output import report_failures

    for text in summary.get("notes", ()):
        note(f"mca: {text}")
    return report_failures(
        [
            Failure(FailureReason(row["reason"]), row["item"], row["where"], row["message"])
            for row in summary["failures"]
        ]
    )


def tell_verdicts(thresholds: list[Threshold], summary: dict[str, Any]) -> int:
    """Say which thresholds are breached; return 4 if any is, else 0."""
    breached = False
    for verdict in judge(thresholds, summary):
        if verdict.value is None:
            note(f"mca: --fail-on {verdict.threshold}: the run has no such figure; not judged")
        elif verdict.breached:
            breached = True
            note(f"mca: --fail-on {verdict.threshold}: breached, the figure is {verdict.value:g}")
    return exits.THRESHOLD_BREACHED if breached else exits.OK


def _lines(summary: dict[str, Any]) -> list[str]:
    totals, avalanche = summary["margin"]["totals"], summary["avalanche"]
    required = totals["im_usd"] + totals["add_ons_usd"]
    rows = [
        ("margin today", usd(required), "initial margin and add-ons, USD"),
        ("  initial margin", usd(totals["im_usd"]), ""),
        ("  add-ons", usd(totals["add_ons_usd"]), ""),
        ("variation margin", usd(totals["vm_usd"]), "to pay; negative: to receive"),
    ]
    rows += [
        (f"margin at {label}", usd(level["im_usd"]), f"{_plain(level['ratio'])} of today's")
        for label, level in summary["stress"].items()
    ]
    if summary["scenarios"]:
        worst = summary["scenarios"][0]
        rows.append(("costliest scenario", usd(worst["calls_usd"]), f"to pay in {worst['name']}"))
    if avalanche["paths"]:
        rows += _simulated(avalanche, summary["liquidity"])
    head = f"{summary['fund']['name']}, {summary['as_of']}, run {summary['run_id']}"
    return [head, *_aligned(rows), f"report: {summary['report']}"]


def _simulated(avalanche: dict[str, Any], liquidity: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the figures of the simulation, each with its interval where it has one."""
    found, assumed = avalanche["estimates"], avalanche["assumptions"]
    k, need = avalanche["branching_ratio"], liquidity["facility_need_99_usd"]
    rows = [
        _estimate("amplification", found["amplification"], _plain, "calls with / without feedback"),
        _estimate("  of forced sales", found["sales_amplification"], _plain),
        ("branching ratio", _plain(k), "new calls per unit raised"),
        _estimate("p(avalanche)", found["p_avalanche"], _plain),
        _estimate("p(runaway)", found["p_runaway"], _plain, "sales cause more than they raise"),
        _estimate("peak call, ES 99 %", found["peak_call_es99"], usd),
        _estimate("p(exhaustion)", found["p_exhaustion"], _plain),
        _estimate("p(default)", found["p_default"], _plain),
        _estimate("facility need, 99 %", need, usd),
    ]
    settings = (
        f"crowding {assumed['crowding']:g}, participation {assumed['participation']:g}, impact "
        f"{assumed['impact_coefficient']:g}, {avalanche['paths']:,} paths, {avalanche['scenario']}"
    )
    return [*rows, ("assumed", "", settings)]


def _estimate(
    name: str, found: dict[str, Any], show: Callable[[float | None], str], meaning: str = ""
) -> tuple[str, str, str]:
    interval = f"{show(found['low'])} to {show(found['high'])}"
    remark = f"{interval}; {meaning}" if meaning else interval
    return name, show(found["value"]), remark


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    return [f"{name:<20} {value:>12}  {remark}".rstrip() for name, value, remark in rows]


def _plain(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"


def reproduce(
    run_dir: Annotated[Path, typer.Argument(metavar="RUNDIR", help="A finished run folder.")],
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Run again and compare every table byte for byte.

    Example: mca reproduce runs/demo

    Starts from the recorded inputs and seed; --seed has no effect here. Exits with 1 if a table
    differs.
    """
    from workflows.run import reproduce as repeat
    from workflows.service import run_fund

    with progress_bar() as progress:
        result = repeat(run_dir, run_fund, progress)
    changed = result["environment"]
    if changed:
        note(
            "mca: the environment differs: "
            + ", ".join(f"{k} {a} -> {b}" for k, (a, b) in changed.items())
        )
    if result["identical"]:
        lines = [f"identical: {result['files']} files of run {result['run_id']}"]
    else:
        lines = table(["different file"], [(name,) for name in result["different"]])
    emit(result, lines, as_json)
    save(out, "reproduce", result)
    if not result["identical"]:
        raise typer.Exit(exits.DONE_WITH_FAILURES)
