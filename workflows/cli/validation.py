"""`mca backtest --all` and `mca replay`: how margin models behave through a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli import exits
from workflows.cli.options import History, Json, Out, Pack, Seed
from workflows.cli.output import emit, note, report_failures, save, table, usd, writing_into

if TYPE_CHECKING:
    from engine.domain.failures import Failure
    from engine.margin.validation.replay_result import ReplayResult

COVERAGE_PICTURE = "coverage_procyclicality.svg"
REPLAY_PICTURE = "replay_2020.svg"


def _day(name: str, words: str = "") -> Any:
    return typer.Option(name, formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help=words or None)


def validate_models(
    series: str,
    history: Path | None,
    shared: Mapping[str, Any],
    as_json: bool,
    out: Path | None,
    seed: int | None,
) -> None:
    """Run every model and tool on one series; `shared` are fields of `BacktestConfig`."""
    from engine.margin.config import BacktestConfig
    from engine.margin.validation import compare
    from engine.margin.validation.responsiveness import ResponseConfig
    from workflows.funds import checked, series_levels
    from workflows.pictures.coverage import coverage_picture

    common = checked(BacktestConfig, **shared, stress_choice="known")
    response = ResponseConfig() if seed is None else ResponseConfig(seed=seed)
    dates, levels = series_levels(history, series)
    result = compare.validate_models(
        levels, dates, compare.ValidationConfig(series=common, response=response)
    )
    payload = {"series": series, **result.to_dict()}
    period = f"{result.first_day} to {result.last_day}"
    window = f"{common.window_start or result.first_day} to {common.window_end or result.last_day}"
    lines = [f"{series}: coverage {period}, procyclicality {window}", *_rows(payload["rows"])]
    emit(payload, lines, as_json)
    save(out, "validation", payload, result.tables())
    if out is not None:
        picture = coverage_picture(result.table, series, period, window)
        with writing_into("--out", out):
            (out / COVERAGE_PICTURE).write_text(picture, encoding="utf-8")
    _finish(result.failures)


def replay(
    pack: Pack,
    first: Annotated[datetime | None, _day("--from")] = None,
    last: Annotated[datetime | None, _day("--to")] = None,
    reference: Annotated[
        datetime | None, _day("--reference", "Day with which margin is compared.")
    ] = None,
    calm_to: Annotated[datetime | None, _day("--calm-to", "Last day of the average of VM.")] = None,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Replay an episode: margin of unchanged positions on every day of a history.

    Example: mca replay examples/replay_2020 --out replay

    Without dates: 3 February to 30 April 2020, compared with 19 February. --out also gets the
    picture. The seed has no effect here: nothing is drawn.
    """
    from engine.margin.validation.replay_result import ReplayConfig
    from workflows.funds import checked
    from workflows.pictures.replay import replay_picture
    from workflows.replays import replay_pack

    given = {"start": first, "reference": reference, "calm_end": calm_to, "end": last}
    days = {name: day.date() for name, day in given.items() if day is not None}
    _check_order(days)
    config = checked(ReplayConfig, **days)
    name, result, synthetic, failures = replay_pack(pack, history, config)
    payload = {"fund": name, "synthetic_factors": list(synthetic), **result.to_dict()}
    payload["failures"] = [f.to_dict() for f in (*failures, *result.failures)]
    emit(payload, _story(name, payload, result), as_json)
    save(out, "replay", payload, result.tables())
    if out is not None:
        with writing_into("--out", out):
            (out / REPLAY_PICTURE).write_text(replay_picture(result, name), encoding="utf-8")
    if synthetic:
        note(f"the history of {', '.join(synthetic)} is simulated: this is no replay of them")
    _finish((*failures, *result.failures))


def _check_order(given: Mapping[str, date]) -> None:
    """Say in the words of the options which days do not follow each other."""
    from engine.domain.failures import UsageError
    from engine.margin.validation.replay_result import ReplayConfig

    options = {
        "start": "--from",
        "reference": "--reference",
        "calm_end": "--calm-to",
        "end": "--to",
    }
    default = ReplayConfig()
    days = {name: given.get(name, getattr(default, name)) for name in options}
    if list(days.values()) != sorted(days.values()):
        told = ", ".join(
            f"{option} {days[name]}" + ("" if name in given else " (default)")
            for name, option in options.items()
        )
        raise UsageError(f"{told}: these days must follow each other; give all four")


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    header = [
        "model", "parameters", "tool", "breaches", "Kupiec p", "Christ. p", "joint p", "light",
        "mean excess", "peak/trough", "1 day", "5 days", "30 days", "mean margin", "2x in 5 days",
    ]  # fmt: skip
    return table(
        header,
        [
            (
                row["model"],
                row["mark"],
                row["tool"],
                f"{row['breach_rate']:.2%}",
                f"{row['kupiec_p']:.3f}",
                f"{row['christoffersen_p']:.3f}",
                f"{row['conditional_p']:.3f}",
                row["light"],
                f"{row['mean_excess']:.4g}",
                f"{row['peak_to_trough']:.2f}",
                *(_percent(row[name]) for name in ("max_1d", "max_5d", "max_30d")),
                f"{row['mean_margin']:.4g}",
                _percent(row.get("step2x_share_5d")),
            )
            for row in rows
        ],
    )


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0%}"


def _times(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}x"


def _story(name: str, found: Mapping[str, Any], result: ReplayResult) -> list[str]:
    then = result.days.iloc[result.reference_row()]
    version = found["simm_version"]
    state = "in force then" if found["simm_version_in_force"] else "the oldest one shipped"
    return [
        f"{name}: positions unchanged, compared with {found['reference']}",
        f"cleared IM    {usd(then['cleared_im_usd'])} -> peak "
        f"{_times(found['cleared_peak_ratio'])} on {found['cleared_peak_date']}: volatility alone "
        f"{_times(found['cleared_at_peak_by_volatility'])}, levels alone "
        f"{_times(found['cleared_at_peak_by_levels'])}",
        f"uncleared IM  {usd(then['bilateral_im_usd'])} -> "
        f"{_times(found['uncleared_lowest_ratio'])} to {_times(found['uncleared_highest_ratio'])}; "
        f"with sensitivities fixed it moves by "
        f"{found['uncleared_change_sensitivities_fixed_usd']:.2f} USD"
        + (f" (SIMM {version}, {state})" if version else ""),
        f"daily VM      average {usd(found['vm_flow_average_usd'])}, peak "
        f"{usd(found['vm_flow_peak_usd'])} on {found['vm_flow_peak_date']}: "
        f"{_times(found['vm_flow_peak_over_average'])} (all CCPs in 2020: "
        f"{_times(found['anchor_vm_peak_over_average'])})",
    ]


def _finish(failures: Sequence[Failure]) -> None:
    """Say what was left out; what does not apply is a remark, all else an item that failed."""
    for failure in failures:
        if failure.reason.value == "NOT_APPLICABLE":
            note(f"{failure.item}: {failure.message}")
    code = report_failures([f for f in failures if f.reason.value != "NOT_APPLICABLE"])
    if code != exits.OK:
        raise typer.Exit(code)
