"""`mca system`: a fire sale of several institutions that hold common assets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.options import Json, Out, Seed
from workflows.cli.output import emit, report_failures, save, table

if TYPE_CHECKING:
    from engine.avalanche.system.config import SystemShock

MOST_NAMES = 8


def system(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with one row for each institution.")
    ],
    shock: Annotated[
        list[str] | None,
        typer.Option(metavar="ASSET=FALL", help="Fall of a price, 0.2 for 20 %; may be repeated."),
    ] = None,
    call: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=AMOUNT", help="Cash called in the first step; may be repeated."),
    ] = None,
    impact: Annotated[
        list[float] | None,
        typer.Option(help="Fall when the reference share is sold; each one is a run of its own."),
    ] = None,
    impact_law: Annotated[str, typer.Option(help="exponential or square_root.")] = "exponential",
    reference_share: Annotated[
        float | None, typer.Option(help="Share of the market to which --impact belongs.")
    ] = None,
    behaviour: Annotated[
        str, typer.Option(help="threshold (sell below the buffer) or target (always return).")
    ] = "threshold",
    margin_multiple: Annotated[float, typer.Option(help="Margin rates over today's.")] = 1.0,
    steps: Annotated[int | None, typer.Option(help="Steps of the run.")] = None,
    fund: Annotated[
        str | None, typer.Option(metavar="ID", help="Report the crowding of this institution.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the amounts, for display.")] = "m",
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Sell together: defaults, fire sales and price falls in a system of institutions.

    Example: mca system examples/system/institutions.csv --shock gov_bonds=0.1 --impact 0.02

    Columns of FILE: docs/methodology/system.md. Rows that cannot be used are listed and left out.
    The seed has no effect here: nothing is drawn.
    """
    falls, calls = _pairs("--shock", shock), _pairs("--call", call)
    from engine.avalanche.system.config import SystemConfig
    from engine.avalanche.system.fire_sale import run_fire_sale
    from engine.avalanche.system.read import read_institutions
    from workflows.funds import checked

    own: dict[str, Any] = {"steps": steps, "reference_share": reference_share}
    chosen = {name: value for name, value in own.items() if value is not None}
    if impact and len(impact) == 1:
        chosen["price_impact"] = impact[0]
    config = checked(SystemConfig, behaviour=behaviour, impact_law=impact_law, **chosen)
    impacts = impact or [config.price_impact]
    shocks = _shocks(falls, calls, impacts, margin_multiple)
    reading = read_institutions(file, unit)
    result = run_fire_sale(reading.value, shocks, config)
    payload = {**result.to_dict(), "failures": [f.to_dict() for f in reading.failures]}
    tables = result.tables()
    lines = _lines(payload)
    if fund is not None:
        found, more = _crowding(reading.value, fund, shocks, config)
        payload["crowding"] = found
        lines += ["", *_crowding_lines(fund, found)]
        tables |= more
    emit(payload, lines, as_json)
    save(out, "system", payload, tables)
    code = report_failures(reading.failures)
    if code:
        raise typer.Exit(code)


def _pairs(option: str, given: list[str] | None) -> dict[str, float]:
    """Parse NAME=NUMBER values; a name given twice or a text that is no number is refused."""
    found: dict[str, float] = {}
    for text in given or ():
        name, mark, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or not mark or not math.isfinite(value):
            raise typer.BadParameter(f"{option} {text!r}: expected NAME=NUMBER, such as A=0.2")
        if name in found:
            raise typer.BadParameter(f"{option} {name} is given twice; give it once")
        found[name] = value
    return found


def _shocks(
    falls: dict[str, float], calls: dict[str, float], impacts: list[float], multiple: float
) -> list[SystemShock]:
    from engine.avalanche.system.config import SystemShock
    from engine.domain.failures import UsageError
    from workflows.funds import checked

    names = [f"impact {impact:g}" for impact in impacts]
    if len(set(names)) < len(names):
        raise UsageError(f"--impact: {', '.join(names)}; give each impact once")
    return [
        checked(
            SystemShock,
            shock_id=name,
            falls=falls,
            calls={who: (amount,) for who, amount in calls.items()},
            price_impact=impact,
            margin_multiple=multiple,
        )
        for name, impact in zip(names, impacts, strict=True)
    ]


def _crowding(
    institutions: Any, fund: str, shocks: list[SystemShock], config: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    from engine.avalanche.system.crowding import study_crowding
    from engine.avalanche.system.institutions import split
    from engine.domain.failures import UsageError

    if len(institutions) < 2:
        raise UsageError(f"--fund {fund}: it has no peers; give a file with at least 2")
    own, peers = split(institutions, fund)
    result = study_crowding(own, peers, shocks, config)
    return result.to_dict(), result.tables()


def _crowding_lines(fund: str, found: dict[str, Any]) -> list[str]:
    rows = [
        (
            name,
            f"{found['crowding'][name]:.3f}" if name in found["crowding"] else "n/a",
            f"{volumes['fund']:,.1f}",
            f"{volumes['peers']:,.1f}",
            f"{volumes['peers_alone']:,.1f}",
        )
        for name, volumes in found["volumes"].items()
    ]
    header = [f"sales beside {fund}", "crowding", "its own", "peers", "peers without it"]
    return [
        *table(header, rows),
        f"of the peers' sales {_percent(found['peers_caused_by_fund'])} caused by {fund}, "
        f"of its own {_percent(found['fund_caused_by_peers'])} by the peers",
    ]


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{share:.1%}"


def _lines(payload: dict[str, Any]) -> list[str]:
    assumed = payload["assumptions"]
    rows = [
        (
            row["shock"],
            f"{row['systemic_event']:.4f}",
            row["defaults"],
            f"{row['sold_share']:.6f}",
            f"{row['unpaid']:,.1f}",
            *(f"{fall:.2%}" for fall in row["second_round_fall"].values()),
        )
        for row in payload["shocks"]
    ]
    header = ["run", "systemic event", "defaults", "share sold", "unpaid"]
    lines = [
        f"{payload['institutions']} institutions, {assumed['steps']} steps, "
        f"behaviour {assumed['behaviour']}, impact {assumed['impact_law']} at "
        f"{assumed['reference_share']:.0%} sold, amounts in {payload['unit']}",
        *table([*header, *(f"{name} falls" for name in payload["assets"])], rows),
    ]
    for row in payload["shocks"]:
        names = row["defaulted"]
        if names:
            rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            lines.append(f"default, {row['shock']}: {', '.join(names[:MOST_NAMES])}{rest}")
    lines.append("falls are those caused by sales, after the shock itself")
    used = [name for name in assumed if payload["marks"].get(name) == "indicative"]
    if used:
        lines.append(f"indicative unless you gave them: {', '.join(used)}")
    return lines
