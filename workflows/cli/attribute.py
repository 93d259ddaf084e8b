"""`mca attribute`: where the calls of the worst days come from, and who forced whose call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.options import Crowding, History, Json, Out, Pack, Paths, Seed, Volatility
from workflows.cli.output import emit, note, save, table, usd, writing_into
from workflows.cli.runs import tell_failures

if TYPE_CHECKING:
    from engine.avalanche.attribution.cascade_result import CascadeNetwork
    from engine.domain.failures import Failure
    from engine.domain.market import MarketState
    from engine.domain.scenarios import Scenario

PICTURE = "cascade.svg"
SHOWN = 5
SPLITS = ("venue", "margin", "factor", "manager")


def attribute(
    pack: Pack,
    tail: Annotated[
        float, typer.Option(min=0.0, help="Look at the worst paths beyond this quantile.")
    ] = 0.99,
    scenario: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML with one scenario, as of `mca scenarios --out`."),
    ] = None,
    managers: Annotated[
        int | None,
        typer.Option(
            "--managers", min=2, metavar="N",
            help="Also share amplification between the N largest managers (slow: about 2^N runs).",
        ),
    ] = None,
    avalanches: Annotated[
        bool,
        typer.Option("--avalanches", help="Take the network from avalanche paths, not the tail."),
    ] = False,
    paths: Paths = None,
    volatility: Volatility = None,
    crowding: Crowding = None,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:  # fmt: skip
    """Split the calls of the worst days by venue, factor and manager, and trace the cascade.

    Example: mca attribute my-fund --tail 0.99 --volatility 5 --paths 2000

    Every split sums to the mean peak daily call of the worst paths. --managers adds who amplifies:
    Shapley values of the effect of price feedback. --out also gets a picture of the network.
    """
    from engine.avalanche.attribution.cascade import fund_cascade
    from engine.avalanche.attribution.holders import fund_holders
    from engine.avalanche.attribution.tail import attribute_fund
    from engine.avalanche.prepared import prepare_fund
    from engine.avalanche.simulate import simulate_fund
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.config import MarginConfig
    from workflows.funds import avalanche_config, open_fund

    opened = open_fund(pack, history)
    overrides = {"paths": paths, "volatility_multiplier": volatility, "crowding": crowding}
    config = avalanche_config(opened.reading.config.avalanche, overrides, seed)
    case, wrong = _scenario(scenario, opened.market)
    book, market = opened.book, opened.market
    margin = calculate_margin_requirements(book, market, MarginConfig(), opened.reading.crif)
    fund = prepare_fund(book, market, margin, config)
    holders = fund_holders(book, market, margin, fund.inputs.columns)
    result = simulate_fund(fund, config, case)
    found = attribute_fund(fund, holders, config, case, tail=tail, result=result)
    chosen: Any = "avalanche" if avalanches else "tail"
    network = fund_cascade(fund, config, case, selection=chosen, tail=tail, result=result)
    payload: dict[str, Any] = {
        "fund": book.name,
        "as_of": book.as_of.isoformat(),
        "tail": found.to_dict(),
        "cascade": network.to_dict(),
    }
    tables = {**found.tables(), **network.tables()}
    if managers is not None:
        from engine.avalanche.attribution.shapley import PATHS, fund_amplification

        shares = fund_amplification(
            fund, holders, config, case, managers=managers, paths=min(PATHS, config.paths)
        )
        payload["amplification"] = shares.to_dict()
        tables.update(shares.tables())
    every = (*opened.failures, *wrong, *margin.failures)
    for part in ("tail", "cascade", "amplification"):
        payload.get(part, {}).pop("failures", None)
    payload["failures"] = [failure.to_dict() for failure in every]
    emit(payload, _lines(payload), as_json)
    save(out, "attribute", payload, tables)
    if out is not None:
        _draw(network, book.name, out)
    code = tell_failures(payload)
    if code:
        raise typer.Exit(code)


def _scenario(
    path: Path | None, market: MarketState
) -> tuple[Scenario | None, tuple[Failure, ...]]:
    """The one scenario of a file."""
    from engine.domain.failures import InputError

    if path is None:
        return None, ()
    from engine.stress.scenario_files.toml import read_scenarios

    read = read_scenarios(path, market)
    if len(read.value) != 1:
        ids = ", ".join(each.scenario_id for each in read.value) or "none that can be used"
        raise InputError(f"{path}: has {len(read.value)} scenarios ({ids}); keep one")
    return read.value[0], read.failures


def _lines(payload: dict[str, Any]) -> list[str]:
    found, cascade = payload["tail"], payload["cascade"]
    lines = [
        f"{payload['fund']}, {payload['as_of']}, {found['scenario']}: calls of the peak day, mean "
        f"of the worst {found['tail_paths']} of {found['paths']} paths: {usd(found['tail_usd'])} "
        f"USD (standard error {usd(found['tail_standard_error_usd'])})"
    ]
    for split in SPLITS:
        rows = [
            (r["name"], usd(r["usd"]), f"{r['share']:.1%}", usd(r["standard_error_usd"]))
            for r in found["by"][split][:SHOWN]
        ]
        lines += ["", *table([f"by {split}", "calls", "share", "standard error"], rows)]
    lines += [
        "",
        f"cascade, {cascade['paths']} {cascade['selection']} paths: "
        f"{usd(cascade['endogenous_usd'])} of {usd(cascade['calls_usd'])} calls come from the "
        f"price impact of forced sales; {usd(-cascade['avoided_usd'])} are avoided",
        cascade["chain_words"],
    ]
    links = [(e["source"], e["target"], usd(e["usd"])) for e in cascade["edges"][:SHOWN]]
    if links:
        lines += ["", *table(["calls of", "forced calls of", "USD"], links)]
    if "amplification" in payload:
        lines += ["", *_amplification(payload["amplification"])]
    return lines


def _amplification(shares: dict[str, Any]) -> list[str]:
    calls = shares["whole"]["calls"]
    head = (
        f"amplification by manager ({shares['method']}, {shares['paths']} paths): feedback adds "
        f"{usd(calls['feedback_usd'])} to {usd(calls['without_feedback_usd'])} of calls"
    )
    rows = [
        (
            r["manager"],
            usd(r["calls_usd"]),
            usd(r["calls_path_error_usd"]),
            usd(r["loss_usd"]),
            usd(r["calls_leave_one_out_usd"]),
        )
        for r in shares["managers"]
    ]
    header = ["manager", "calls", "standard error", "loss", "calls, leave one out (no sum)"]
    return [head, *table(header, rows)]


def _draw(network: CascadeNetwork, name: str, out: Path) -> None:
    from workflows.pictures.cascade import cascade_picture

    with writing_into("--out", out):
        (out / PICTURE).write_text(cascade_picture(network, name), encoding="utf-8")
    note(f"picture: {out / PICTURE}")
