"""`mca reverse`: the most plausible market move that exhausts the fund's liquidity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.options import History, Json, Out, Pack, Seed
from workflows.cli.output import emit, save, table, usd, writing_into
from workflows.cli.runs import tell_failures

if TYPE_CHECKING:
    from engine.domain.market import MarketState
    from engine.domain.scenarios import Scenario
    from engine.stress.reverse.results import ReverseAnswer, ReverseResult

LIQUIDITY = "liquidity"
SHOWN_MOVES = 6
SHOWN_CALLS = 5
METRIC_OF = {"loss": "loss_usd", "calls": "calls_usd"}


def reverse(
    pack: Pack,
    target: Annotated[
        str, typer.Option(metavar="liquidity|USD", help="liquidity, or an amount such as 500e6.")
    ] = LIQUIDITY,
    metric: Annotated[str, typer.Option(help="What the amount is of: loss or calls.")] = "loss",
    generations: Annotated[
        int | None, typer.Option(min=1, help="Generations at most (default 1000).")
    ] = None,
    box: Annotated[
        float | None,
        typer.Option(metavar="SIGMAS", help="Largest move of a factor (default 10); 0: no box."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Business days the move takes.")] = 1,
    drivers: Annotated[
        int | None, typer.Option(min=1, help="Search only the largest factors (default: all held).")
    ] = None,
    answers: Annotated[int, typer.Option(min=1, help="Distinct answers at most.")] = 5,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Find the most plausible market moves that exhaust liquidity, or cost a given amount.

    Example: mca reverse my-fund --target 500e6 --metric calls --box 8

    Exits with 0 also where no move inside the box reaches the target: that is an answer. With
    --out, scenarios.json holds the moves as scenarios.
    """
    chosen = _target(target, metric)
    from engine.avalanche.config import AvalancheConfig
    from engine.avalanche.prepared import prepare_fund
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.config import MarginConfig
    from engine.stress.reverse.config import ReverseConfig
    from engine.stress.reverse.search import reverse_stress_test
    from engine.stress.reverse.simulated_metric import simulated_metric
    from workflows.funds import checked, open_fund

    options: dict[str, Any] = {"horizon_days": days, "drivers": drivers, "answers": answers}
    options |= chosen
    if box is not None:
        options |= {"box_sigmas": box} if box else {"plausibility_constraints": False}
    if generations is not None:
        options["max_iterations"] = generations
    if seed is not None:
        options["seed"] = seed
    config = checked(ReverseConfig, **options)
    opened = open_fund(pack, history)
    book, market, crif = opened.book, opened.market, opened.reading.crif
    margin = calculate_margin_requirements(book, market, MarginConfig(), crif)
    episodes, unused = _episodes(market)
    fund = prepare_fund(book, market, margin, AvalancheConfig())
    verify = simulated_metric(fund, config.target_metric, config.horizon_days)
    result = reverse_stress_test(
        book, market, margin, config, episodes=episodes, crif=crif, verify=verify
    )
    payload = result.to_dict()
    payload["as_of"] = book.as_of.isoformat()
    every = (*opened.failures, *margin.failures, *result.failures)
    payload["failures"] = [failure.to_dict() for failure in every]
    payload["unused_episodes"] = unused
    emit(payload, _lines(result), as_json)
    save(out, "reverse", payload, result.tables())
    if out is not None:
        _save_scenarios(out, result)
    code = tell_failures(payload)
    if code:
        raise typer.Exit(code)


def _target(target: str, metric: str) -> dict[str, Any]:
    """Options of the config that the target means."""
    from engine.domain.failures import UsageError

    if target == LIQUIDITY:
        return {}
    if metric not in METRIC_OF:
        raise UsageError(f"--metric {metric!r}: choose one of {', '.join(METRIC_OF)}")
    try:
        amount = float(target)
    except ValueError:
        raise UsageError(
            f"--target {target!r}: give {LIQUIDITY}, or an amount in USD such as 500e6"
        ) from None
    return {"target_metric": METRIC_OF[metric], "target_usd": amount}


def _episodes(market: MarketState) -> tuple[list[Scenario], list[dict[str, str]]]:
    """The library's episodes with the moves they name, and those that name none of the market."""
    from engine.stress.library.fit import as_scenarios

    fitted = as_scenarios(market)
    named = [one.scenario.model_copy(update={"moves": dict(one.named)}) for one in fitted.value]
    return named, [failure.to_dict() for failure in fitted.failures]


def _lines(result: ReverseResult) -> list[str]:
    """Say the verdict, and each answer in market units."""
    config = result.config
    goal = f"{config['target_metric']} {usd(result.target_usd)} USD"
    if config["target_metric"] == "exceed_liquidity_resources":
        goal = "calls above liquidity resources"
    head = [f"target: {goal}; {len(result.searched_factors)} factors, {config['horizon_days']} day"]
    if result.already_reached:
        return [*head, "reached today, without any market move"]
    if not result.feasible:
        box = f"{config['box_sigmas']:g} standard deviations"
        head.append(f"NOT FEASIBLE: no move found within {box} reaches the target")
        if result.largest is not None:
            head.append("the worst move found, which does not reach it:")
            head += _answer_lines(result.largest)
        return head
    lines = head
    for answer in result.answers:
        lines += ["", *_answer_lines(answer)]
    return lines


def _answer_lines(answer: ReverseAnswer) -> list[str]:
    p, parts = answer.plausibility, answer.parts
    worst = "no episode to compare with"
    if p.times_worst_episode is not None:
        worst = (
            f"{p.times_worst_episode:.2f}x the worst episode ({p.worst_episode}); "
            f"{p.episodes_farther} of {p.episodes} episodes were farther"
        )
    kind = "local minimum" if answer.optimum else "nearest distinct point found"
    full, far = parts.get("im_rise_full"), answer.distance_full
    engine = ""
    if full is not None:
        where = "not reached" if far is None else f"reached at D {far:.2f}"
        engine = f" (full margin engine: {usd(full)}, target {where})"
    lines = [
        f"{answer.scenario.scenario_id}: D {p.distance:.2f} in {p.dimension} factors, {worst}",
        f"  p-value {p.tail_p:.2g} (any direction), {p.half_space_p:.2g} (this one); {kind}",
        "  " + ", ".join(move.text() for move in answer.factors[:SHOWN_MOVES]),
        f"  variation calls {usd(parts['variation_calls'])}, margin rise "
        f"{usd(parts['im_rise'])}{engine}, resources {usd(parts['resources'])}, "
        f"P&L {usd(parts['pnl'])}",
    ]
    if answer.verified_usd is not None:
        figure = usd(answer.verified_usd)
        lines.append(f"  hour by hour with receipts and forced sales: {figure}, same measure")
    rows = [
        (f"  {call.agreement_id}", usd(call.variation_usd), usd(call.total_usd))
        for call in answer.agreements[:SHOWN_CALLS]
    ]
    return lines + table(["  largest calls", "variation", "with margin rise"], rows)


def _save_scenarios(out: Path, result: ReverseResult) -> None:
    """Write the answers as scenario models; no file where there are none."""
    from workflows.run import json_text

    if not result.answers:
        return
    models = [scenario.model_dump(mode="json") for scenario in result.scenarios()]
    with writing_into("--out", out):
        (out / "scenarios.json").write_text(json_text(models) + "\n", encoding="utf-8")
