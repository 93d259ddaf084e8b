"""`mca margin`, `mca stress` and `mca avalanche`: one part of the answer, without a run folder."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workflows.cli.options import (
    Crowding,
    Device,
    FailOn,
    History,
    Json,
    Minutes,
    Out,
    Pack,
    Paths,
    Precision,
    ScenarioChoice,
    Seed,
    Volatility,
)
from workflows.cli.output import emit, note, save, table, usd
from workflows.cli.runs import tell_failures, tell_verdicts
from workflows.cli.thresholds import Threshold, parse_thresholds


def margin(
    pack: Pack,
    history: History = None,
    fail_on: FailOn = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Compute the margin of every agreement today.

    Example: mca margin my-fund --json

    The seed has no effect here: nothing is drawn.
    """
    thresholds = parse_thresholds(fail_on, ("margin",))
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.config import MarginConfig
    from workflows.funds import open_fund

    opened = open_fund(pack, history)
    book, market, crif = opened.book, opened.market, opened.reading.crif
    result = calculate_margin_requirements(book, market, MarginConfig(), crif)
    payload = result.to_dict()
    payload["failures"] = [f.to_dict() for f in (*opened.failures, *result.failures)]
    totals = payload["totals"]
    lines = [
        f"{opened.book.name}, {payload['as_of']}: initial margin {usd(totals['im_usd'])}, "
        f"add-ons {usd(totals['add_ons_usd'])}, variation margin {usd(totals['vm_usd'])} USD"
    ]
    largest = result.summary()["largest"]
    marks = {row["agreement_id"]: row["mark"] for row in payload["agreements"]}
    lines += table(
        ["largest agreements", "model", "parameters", "initial margin", "variation"],
        [
            (
                r["agreement_id"],
                r["model"],
                marks[r["agreement_id"]],
                usd(r["im_usd"]),
                usd(r["vm_usd"]),
            )
            for r in largest
        ],
    )
    emit(payload, lines, as_json)
    save(out, "margin", payload, result.tables())
    _leave(thresholds, payload, {"margin": payload}, len(opened.book.positions))


def stress(
    pack: Pack,
    multiplier: Annotated[
        list[float] | None, typer.Option(help="Multiplier; may be repeated. Default: 2, 5, 10.")
    ] = None,
    mode: Annotated[str, typer.Option(help="volatility, or margin itself.")] = "volatility",
    horizon_days: Annotated[int, typer.Option(min=1, help="Days the stress lasts.")] = 10,
    history: History = None,
    fail_on: FailOn = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Project margin when volatility is 2x, 5x and 10x.

    Example: mca stress my-fund --multiplier 3 --horizon-days 5

    The seed has no effect here: the projection is a formula.
    """
    thresholds = parse_thresholds(fail_on, ("stress",))
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.config import MarginConfig
    from engine.margin.stress import project_stress_margin
    from workflows.funds import checked, open_fund

    options: dict[str, Any] = {"stress_mode": mode, "stress_horizon_days": horizon_days}
    if multiplier:
        options["volatility_multipliers"] = tuple(multiplier)
    config = checked(MarginConfig, **options)
    opened = open_fund(pack, history)
    book, market, crif = opened.book, opened.market, opened.reading.crif
    today = calculate_margin_requirements(book, market, config, crif)
    result = project_stress_margin(book, market, today, config, crif)
    failures = (*opened.failures, *today.failures, *result.failures)
    payload = {
        "as_of": today.as_of.isoformat(),
        "currency": today.currency,
        "baseline": today.totals(),
        "stress": result.to_dict(),
        "failures": [failure.to_dict() for failure in failures],
    }
    rows = [("today", usd(float(result.baseline_im_usd.sum())), "")]
    rows += [
        (label, usd(level["im_usd"]), usd(level["increase_usd"]))
        for label, level in result.to_dict().items()
    ]
    emit(payload, table([f"{mode} multiplier", "margin with add-ons", "increase"], rows), as_json)
    save(out, "stress", payload, result.tables())
    _leave(thresholds, payload, payload, len(opened.book.positions))


def avalanche(
    pack: Pack,
    scenario: ScenarioChoice = None,
    paths: Paths = None,
    volatility: Volatility = None,
    crowding: Crowding = None,
    precision: Precision = None,
    minutes: Minutes = None,
    device: Device = "cpu",
    history: History = None,
    fail_on: FailOn = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Simulate the cascade of calls and forced sales.

    Example: mca avalanche my-fund --scenario covid_2020 --paths 2000

    A scenario brings its own volatility step. With --minutes the number of paths, and so the last
    digits, depend on the machine; it needs --precision.
    """
    thresholds = parse_thresholds(fail_on, ("avalanche", "liquidity"))
    from engine.margin.config import MarginConfig
    from workflows.cli.output import progress_bar
    from workflows.funds import avalanche_config, data_quality, open_fund
    from workflows.scenarios import chosen_scenario, time_budget
    from workflows.service import compute, part_objects

    stop = time_budget(minutes, precision)
    opened = open_fund(pack, history)
    case = chosen_scenario(scenario, volatility, opened.market)
    overrides = {
        "paths": paths,
        "volatility_multiplier": volatility,
        "crowding": crowding,
        "precision": precision,
    }
    config = avalanche_config(opened.reading.config.avalanche, overrides, seed)
    with progress_bar() as progress:
        answers = compute(opened, MarginConfig(), config, progress, case, device, stop)
    simulated, lasting = part_objects(answers)
    payload = {
        "as_of": opened.book.as_of.isoformat(),
        "currency": answers.margin.currency,
        "avalanche": simulated,
        "liquidity": lasting,
        "failures": [failure.to_dict() for failure in answers.failures],
        "data_quality": data_quality(opened),
    }
    emit(payload, _avalanche_lines(simulated, lasting), as_json)
    parts = [part for part in (answers.avalanche, answers.liquidity) if part is not None]
    tables = {name: frame for part in parts for name, frame in part.tables().items()}
    save(out, "avalanche", payload, tables)
    _leave(thresholds, payload, payload, len(opened.book.positions))


def _avalanche_lines(simulated: dict[str, Any], lasting: dict[str, Any]) -> list[str]:
    found = simulated.get("estimates", {})
    lines = [f"scenario            {simulated.get('scenario', '')}"]
    lines += [f"paths               {simulated['paths']}"]
    if not found:
        return lines
    lines += [_estimated(label, found[name], in_usd) for label, name, in_usd in AVALANCHE_LINES]
    lines.append(f"branching ratio     {simulated['branching_ratio']:.3g}")
    bands = ", ".join(f"{name} {share:.1%}" for name, share in simulated["bands"].items())
    lines.append(f"paths by severity   {bands}")
    first = ", ".join(
        f"{name} {share:.1%}" for name, share in simulated["first_failure_by_currency"].items()
    )
    lines.append(f"first unpaid in     {first or 'none'}")
    crowded = simulated["assumptions"]["crowding_by_bucket"]
    odd = {
        b: theta for b, theta in crowded.items() if theta != simulated["assumptions"]["crowding"]
    }
    more = "".join(f", {name} {theta:g}" for name, theta in odd.items())
    lines.append(f"crowding assumed    {simulated['assumptions']['crowding']:g}{more}")
    lines.append("intervals are 95 %")
    return lines


AVALANCHE_LINES = (
    ("amplification", "amplification", False),
    ("  of forced sales", "sales_amplification", False),
    ("p(avalanche)", "p_avalanche", False),
    ("p(runaway)", "p_runaway", False),
    ("p(exhaustion)", "p_exhaustion", False),
    ("p(default)", "p_default", False),
    ("peak call, mean", "peak_call_mean", True),
    ("peak call, 99 %", "peak_call_q99", True),
    ("peak call, ES 99 %", "peak_call_es99", True),
    ("10-day calls, mean", "calls_mean", True),
    ("facility need, 99 %", "facility_need_q99", True),
)


def _estimated(label: str, figure: dict[str, float], in_usd: bool) -> str:
    show = usd if in_usd else _share
    low, high = show(figure["low"]), show(figure["high"])
    return f"{label:<20}{show(figure['value'])}  ({low} to {high})"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _leave(
    thresholds: list[Threshold],
    payload: dict[str, Any],
    judged: dict[str, Any],
    positions: int,
) -> None:
    if not positions:
        from workflows.service import NOTHING_TO_MARGIN

        note(f"mca: {NOTHING_TO_MARGIN}")
    code = tell_failures(payload)
    code = tell_verdicts(thresholds, judged) or code
    if code:
        raise typer.Exit(code)
