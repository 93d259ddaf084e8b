"""`mca simm` and `mca backtest`: one margin model on its own input, no fund needed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from workflows.cli.options import History, Json, Out, Seed
from workflows.cli.output import emit, report_failures, save, table


def _horizon_days(text: str) -> int:
    number = text.removesuffix("d")
    if number not in ("1", "10"):
        raise typer.BadParameter(f"{text!r}: SIMM is defined for 1d and 10d")
    return int(number)


def simm(
    crif: Annotated[
        Path, typer.Argument(metavar="CRIF", help="CRIF file, comma or tab separated.")
    ],
    version: Annotated[
        str, typer.Option(help="SIMM version, such as 2.6 or 2.8+2512.")
    ] = "2.8+2512",
    horizon: Annotated[str, typer.Option(help="10d, or 1d for the variant.")] = "10d",
    side: Annotated[str, typer.Option(help="call (we collect) or post (we deliver).")] = "call",
    by_portfolio: Annotated[
        bool, typer.Option("--by-portfolio", help="Add one result for each PortfolioID.")
    ] = False,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Compute SIMM initial margin of a CRIF file.

    Example: mca simm book.csv --version 2.6 --side post --json

    Portfolios do not net with each other: of several, the result is their sum.

    The seed has no effect here: SIMM is a formula.
    """
    horizon_days = _horizon_days(horizon)
    if side not in ("call", "post"):
        raise typer.BadParameter(f"--side {side!r}: expected call or post")
    from engine.domain.failures import InputError
    from engine.fund.crif import read_crif
    from engine.margin.simm import simm_margin, simm_worst_of

    _check_version(version)
    rows = read_crif(crif)
    if rows.failures and not len(rows.value):
        report_failures(rows.failures)
        raise InputError(f"{crif}: not a row can be used, so there is no margin to show")
    each = simm_worst_of(rows.value, version, horizon_days, side)
    # Zero for a file with a header alone; several portfolios are added up.
    result = (
        _sum(each) if each else _simm_object(simm_margin(rows.value, version, horizon_days, side))
    )
    payload: dict[str, Any] = {
        **result,
        "portfolios": len(each),
        "rows": len(rows.value),
        "failures": [failure.to_dict() for failure in rows.failures],
    }
    if by_portfolio:
        payload["by_portfolio"] = {name: _simm_object(one) for name, one in each.items()}
    emit(payload, _simm_lines(payload, each, by_portfolio), as_json)
    save(out, "simm", payload)
    _leave(report_failures(rows.failures))


def _check_version(version: str) -> None:
    from engine.domain.failures import UsageError
    from engine.fund.suggest import did_you_mean
    from engine.margin.simm import simm_versions

    known = simm_versions()
    if version not in known:
        # Backwards, so that of two equally near versions the newer one is suggested.
        near = did_you_mean(version, list(known)[::-1])
        hint = f"did you mean {near}? " if near else ""
        raise UsageError(
            f"--version {version!r}: not known; {hint}the versions are {', '.join(known)}"
        )


def _sum(each: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object of one portfolio, or the sum over several: they do not net."""
    objects = [_simm_object(one) for one in each.values()]
    result = objects[0]
    for other in objects[1:]:
        result["total"] += other["total"]
        for key in ("by_product_class", "by_risk_class"):
            for name, amount in other[key].items():
                result[key][name] = result[key].get(name, 0.0) + amount
    return result


def _simm_lines(payload: dict[str, Any], each: Mapping[str, Any], by_portfolio: bool) -> list[str]:
    currency = payload["currency"]
    lines = [
        f"SIMM {payload['version']}, {payload['horizon_days']}d, {payload['side']}: "
        f"{payload['total']:,.2f} {currency}"
    ]
    if len(each) > 1:
        lines.append(f"sum of {len(each)} portfolios, which do not net with each other")
    if not each:
        lines.append("the file has a header and no rows")
    for heading, amounts in (
        ("product class", payload["by_product_class"]),
        ("risk class", payload["by_risk_class"]),
        ("portfolio", {name: one.total for name, one in each.items()} if by_portfolio else {}),
    ):
        if amounts:
            lines += table(
                [heading, currency], [(name, f"{amount:,.2f}") for name, amount in amounts.items()]
            )
    return lines


def _simm_object(result: Any) -> dict[str, Any]:
    names = (
        "version",
        "horizon_days",
        "side",
        "currency",
        "total",
        "by_product_class",
        "by_risk_class",
    )
    found = {name: getattr(result, name) for name in names}
    # Copies, so that adding up portfolios leaves each result as it is.
    return {name: dict(one) if isinstance(one, dict) else one for name, one in found.items()}


def _leave(code: int) -> None:
    if code:
        raise typer.Exit(code)


Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")]


def backtest(
    context: typer.Context,
    series: Annotated[
        str, typer.Option("--series", "--factor", help="Column of the history.")
    ] = "SPX",
    history: History = None,
    model: Annotated[
        str,
        typer.Option(
            help="fhs (filtered VaR), fhs_es, hs, normal, t, t_es, scan, close_out or flat."
        ),
    ] = "fhs",
    ewma_lambda: Annotated[float, typer.Option("--lambda", help="Daily decay.")] = 0.97,
    confidence: Annotated[float | None, typer.Option(help="Default: 0.99; 0.975 for ES.")] = None,
    lookback: Annotated[int, typer.Option(help="Scenarios, in days.")] = 1250,
    mpor: Annotated[int, typer.Option(help="Margin period of risk, in days.")] = 2,
    returns: Annotated[str, typer.Option(help="log, or absolute (rates, energy).")] = "log",
    side: Annotated[str, typer.Option(help="long or short.")] = "long",
    apc: Annotated[
        str,
        typer.Option(
            help="none, buffer, buffer_path, stress_weight, long_run_floor, stress_floor or step."
        ),
    ] = "none",
    every: Annotated[
        bool, typer.Option("--all", help="Every model under every tool, in one table.")
    ] = False,
    window_from: Day = None,
    window_to: Day = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Test a margin model on one series of history.

    Example: mca backtest --history levels.csv --series SPX --window-from 2019-01-01 --json

    With --all: every model and anti-procyclicality tool, coverage beside procyclicality; --out
    also gets the picture. Without --history the packaged one is used. The seed draws the simulated
    step of volatility of --all.
    """
    if every:
        from workflows.cli.validation import validate_models

        shared = {
            "lookback_days": lookback,
            "mpor_days": mpor,
            "returns": returns,
            "side": side,
            "window_start": window_from.date() if window_from else None,
            "window_end": window_to.date() if window_to else None,
        }
        _alone(context, "model", "ewma_lambda", "confidence", "apc")
        validate_models(series, history, shared, as_json, out, seed)
        return
    from engine.margin.config import BacktestConfig
    from engine.margin.validation.backtest import backtest_margin
    from workflows.funds import checked, series_levels

    config = checked(
        BacktestConfig,
        model=model,
        ewma_lambda=ewma_lambda,
        confidence=confidence,
        lookback_days=lookback,
        mpor_days=mpor,
        returns=returns,
        side=side,
        apc=apc,
        window_start=window_from.date() if window_from else None,
        window_end=window_to.date() if window_to else None,
    )
    dates, levels = series_levels(history, series)
    result = backtest_margin(levels, dates, config)
    payload = {"series": series, **result.to_dict()}
    shown = {name: value for name, value in payload.items() if name != "period"}
    shown |= {f"period_{name}": value for name, value in payload["period"].items()}
    lines = [
        f"{name:<22} {value:.6g}" if isinstance(value, float) else f"{name:<22} {value}"
        for name, value in shown.items()
        if value is not None
    ]
    emit(payload, lines, as_json)
    save(out, "backtest", payload, result.tables())


def _alone(context: typer.Context, *names: str) -> None:
    """Refuse options that choose one model where all are asked for."""
    for name in names:
        source = context.get_parameter_source(name)
        if getattr(source, "name", "") == "COMMANDLINE":
            option = {"ewma_lambda": "lambda"}.get(name, name)
            raise typer.BadParameter(f"--{option} chooses one model; --all runs them all")
