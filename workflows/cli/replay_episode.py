"""`mca replay`: an episode day by day, or the margin of a pack through a history."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli import exits
from workflows.cli.options import History, Json, Out, Seed
from workflows.cli.output import emit, note, report_failures, save, table, usd, writing_into

if TYPE_CHECKING:
    from engine.stress.replay.result import EpisodeReplay
    from engine.stress.replay.surge import CallSurge

SEVERITIES = (0.5, 1.0, 1.5, 2.0)
DEFAULT_SEED = 20_200_316
DEFAULT_PATHS = 512
Episode = Annotated[
    str, typer.Argument(metavar="EPISODE", help="Such as covid_2020; a wrong one lists them all.")
]
PackToReplay = Annotated[
    Path | None,
    typer.Argument(metavar="PACK", help="Folder with fund.toml; an invented fund without it."),
]


def _day(name: str, words: str = "") -> Any:
    return typer.Option(name, formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help=words or None)


Runs = Annotated[
    int, typer.Option("--paths", min=64, help="Paths of the run started at every close.")
]


def replay(
    what: Annotated[
        str,
        typer.Argument(
            metavar="EPISODE|PACK",
            help="An episode such as covid_2020, or a folder with fund.toml: its margin in 2020.",
        ),
    ],
    pack: PackToReplay = None,
    paths: Annotated[
        int | None, typer.Option("--paths", min=64, help="Of the run at every close (512).")
    ] = None,
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
    """Replay an episode: what would have been said each day; or margin through a history.

    Example: mca replay nickel_2022 --out nickel

    With an episode: what was said at each close, and what then happened; without PACK an invented
    fund is used. With a PACK alone: margin of its unchanged positions from --from to --to, 3
    February to 30 April 2020 by default. --out also gets the picture.
    """
    from engine.domain.failures import UsageError
    from engine.stress.replay.episode_file import replay_episodes
    from workflows.avalanche_replays import QMS_STORY
    from workflows.cli.validation import replay as replay_margin

    days = {"--from": first, "--to": last, "--reference": reference, "--calm-to": calm_to}
    if what == QMS_STORY or what in replay_episodes():
        given = [option for option, day in days.items() if day is not None]
        if given:
            raise UsageError(
                f"{given[0]}: an episode has its own days; leave it out, or name a PACK alone"
            )
        chosen = DEFAULT_PATHS if paths is None else paths
        replay_episode(what, pack, chosen, history, as_json, out, seed)
        return
    known = ", ".join([*replay_episodes(), QMS_STORY])
    if not Path(what).is_dir():
        raise UsageError(f"{what}: neither an episode ({known}) nor a folder with a pack")
    if pack is not None or paths is not None:
        extra = f"PACK {pack}" if pack is not None else f"--paths {paths}"
        raise UsageError(f"{extra}: only with an episode ({known}), and {what} is a folder")
    replay_margin(Path(what), first, last, reference, calm_to, history, as_json, out, seed)


def replay_episode(
    episode: Episode,
    pack: PackToReplay = None,
    paths: Runs = DEFAULT_PATHS,
    history: History = None,
    as_json: Json = False,
    out: Out = None,
    seed: Seed = None,
) -> None:
    """Replay an episode day by day: what was said at each close, and what then happened.

    Example: mca replay nickel_2022 --out nickel

    Without PACK an invented fund is used; --out also gets it as a pack, and a picture. The episode
    qms_energy_2022 measures a three-day surge of calls on the sample fund instead.
    """
    from engine.stress.replay.config import EpisodeReplayConfig
    from workflows.avalanche_replays import QMS_STORY, replay_episode_pack
    from workflows.funds import checked

    chosen = DEFAULT_SEED if seed is None else seed
    if episode == QMS_STORY:
        _tell_qms(pack, history, (paths, chosen), as_json, out)
        return
    config = checked(EpisodeReplayConfig, paths=paths, seed=chosen)
    name, result = replay_episode_pack(episode, pack, history, config)
    payload = {"fund": name, **result.to_dict()}
    emit(payload, _lines(name, payload), as_json)
    save(out, "episode", payload, result.tables())
    if out is not None:
        _draw(result, name, pack, out)
    _say_basis(payload)
    code = report_failures(result.failures)
    if code != exits.OK:
        raise typer.Exit(code)


def _draw(result: EpisodeReplay, name: str, pack: Path | None, out: Path) -> None:
    from workflows.avalanche_replays import write_replay_fund
    from workflows.pictures.episode import episode_picture

    with writing_into("--out", out):
        picture = out / f"{result.episode.episode_id}.svg"
        picture.write_text(episode_picture(result, name), encoding="utf-8")
        if pack is None:
            write_replay_fund(result.episode.fund, result.episode.start, out / "fund")
    note(f"picture: {picture}")


def _say_basis(found: Mapping[str, Any]) -> None:
    """Name the factors whose levels are not observed day by day."""
    for row in found["basis"]:
        if row["basis"] == "known days":
            note(f"{row['factor_id']}: {row['mark']}, known on some days; {row['source']}")
    simulated = [row["factor_id"] for row in found["basis"] if row["basis"] == "simulated"]
    if simulated:
        note(f"the history of {', '.join(simulated)} is simulated: this is no replay of them")


def _lines(name: str, found: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            row["date"],
            f"{row['factor']} {row['moved']:+.1f}",
            "n/a" if row["score"] is None else f"{row['score']:.2f}",
            usd(row["im_said_usd"]),
            usd(row["call_expected_usd"]),
            usd(row["call_q99_usd"]),
            f"{row['p_exhaustion']:.1%}",
            usd(row["call_usd"]),
            usd(row["liquidity_usd"]),
            f"{row['exhausted_share']:.0%}",
        )
        for row in found["by_day"]
    ]
    header = ["day", "largest move", "score", "IM", "call exp.", "call q99", "P(exhaust)",
              "call", "liquidity", "unpaid"]  # fmt: skip
    end = found["exhausted_on"]
    lead = found["score_lead_days"]
    told = "never unpaid on most paths" if end is None else f"a call unpaid from {end}"
    return [
        f"{name}: {found['title']}; score to P(exhaust) as said the evening before, the rest seen",
        *table(header, rows),
        "",
        f"largest call {usd(found['largest_call_usd'])} on {found['largest_call_on']}, expected "
        f"{usd(found['largest_call_expected_usd'])}, 1 in 100 {usd(found['largest_call_q99_usd'])}",
        f"{told}; calls beyond the 1 in 100 on {found['days_beyond_q99']} of {found['days']} days",
        f"early warning ({found['score_of']}): "
        + ("no score of 0.9 before it" if lead is None else f"0.9 reached {lead} days before it"),
    ]


def _tell_qms(
    pack: Path | None, history: Path | None, runs: tuple[int, int], as_json: bool, out: Path | None
) -> None:
    from workflows.avalanche_replays import QMS_SEED_USD, QMS_STORY, qms_surges

    paths, seed = runs
    with tempfile.TemporaryDirectory() as folder:
        where = _sample(Path(folder), seed) if pack is None else pack
        name, surges, failures = qms_surges(where, history, SEVERITIES, paths, seed)
    payload = {
        "fund": name,
        "episode": QMS_STORY,
        "seed_claim_usd": QMS_SEED_USD,
        "surges": [surge.to_dict() for surge in surges],
        "failures": [failure.to_dict() for failure in failures],
    }
    emit(payload, _qms_lines(name, surges, QMS_SEED_USD), as_json)
    tables = {
        f"surge_{kind}": getattr(surge, kind)
        for surge in surges[1:2]
        for kind in ("agreements", "factors")
    }
    save(out, "qms_story", payload, tables)
    code = report_failures(failures)
    if code != exits.OK:
        raise typer.Exit(code)


def _sample(folder: Path, seed: int) -> Path:
    from workflows.funds import write_sample
    from workflows.run import RunFolder

    return write_sample(RunFolder(folder), seed)


def _qms_lines(name: str, surges: list[CallSurge], claim: float) -> list[str]:
    rows = [
        (
            surge.scenario_id,
            f"{surge.severity:g}",
            usd(surge.mean_path_usd),
            f"{surge.mean_path_usd / claim:.0%}",
            usd(surge.im_rise_usd),
            usd(surge.mean_usd),
            usd(surge.q95_usd),
        )
        for surge in surges
    ]
    header = ["scenario", "severity", "mean path", "of claim", "IM rise", "mean", "q95"]
    base = next(surge for surge in surges if surge.severity == 1.0)
    drivers = ", ".join(
        f"{row['factor_id']} {usd(row['loss_usd'])}"
        for row in base.factors.head(3).to_dict("records")
    )
    return [
        f"{name}: calls of three days beyond ordinary ones; the story claims {usd(claim)}",
        *table(header, rows),
        f"losses by factor at severity 1: {drivers}",
    ]
