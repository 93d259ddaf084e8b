"""Replays of an episode through the avalanche: the fund, its history, and the result."""

from __future__ import annotations

import csv
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.domain.failures import InputError
from workflows.markets import with_own_history

if TYPE_CHECKING:
    from engine.domain.failures import Failure
    from engine.market.levels import Levels
    from engine.stress.replay.config import EpisodeReplayConfig
    from engine.stress.replay.episode_file import ReplayEpisode
    from engine.stress.replay.result import EpisodeReplay
    from engine.stress.replay.surge import CallSurge
    from workflows.funds import Opened

FUNDS_FILE = "replay_funds.toml"
QMS_STORY = "qms_energy_2022"
QMS_DAYS = 3
QMS_SEED_USD = 1.2e9
ENTITY, MANAGER, STRATEGY = "Replay Master", "PM", "EPISODE"
TABLES = (
    "positions", "instruments", "agreements", "cash", "collateral", "facilities", "settlements",
    "managers", "strategies",
)  # fmt: skip


def replay_fund(fund_id: str) -> dict[str, Any]:
    """Return an invented fund of the rulebook; an unknown one is an InputError."""
    path = Path(str(files("engine.rulebooks") / FUNDS_FILE))
    funds = tomllib.loads(path.read_text(encoding="utf-8"))
    found = funds.get(fund_id)
    if not isinstance(found, dict):
        raise InputError(f"{FUNDS_FILE}: no fund {fund_id!r}; give a pack of your own")
    return found


def write_replay_fund(fund_id: str, as_of: date, folder: Path) -> Path:
    """Write an invented fund as a pack, so that it can be read, changed and replayed again."""
    fund = replay_fund(fund_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in _tables(fund).items():
        _write(folder / f"{name}.csv", *rows)
    lines = [f"# {words}" for words in fund["assumptions"]]
    lines += [
        "# Invented, indicative: no figure is of a real fund.",
        "",
        "[fund]",
        f'name = "{fund["name"]}"',
        f"as_of = {as_of.isoformat()}",
        f'currency = "{fund["currency"]}"',
        f"nav = {fund['nav']}",
        "",
        "[files]",
        *(f'{name} = "{name}.csv"' for name in TABLES),
        "",
    ]
    (folder / "fund.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _tables(fund: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], list[list[Any]]]]:
    """Header and rows of every table of the pack."""
    terms = (
        "model", "confidence", "mpor_days", "lookback_days", "ewma_lambda", "apc",
        "stress_weight", "apc_buffer", "eod_hour_utc", "intraday_hours_utc", "pay_lag_hours",
        "evidence",
    )  # fmt: skip
    options = ("expiry", "strike", "right", "fixed_rate", "tenor_years", "vol", "vol_factor_id")
    agreements = [
        [a["id"], "cleared", a["venue"], "Broker", "Broker", ENTITY, a["currency"], 1, 0, 0, 0, 0,
         0, 0, 0, *(a[term] for term in terms)]
        for a in fund["agreements"]
    ]  # fmt: skip
    instruments = [
        [i["id"], i["kind"], i["factor"], i["currency"], i["multiplier"],
         *(i.get(name, "") for name in options)]
        for i in fund["instruments"]
    ]  # fmt: skip
    positions = [
        [f"P{n}", p["instrument"], p["agreement"], MANAGER, STRATEGY, p["quantity"]]
        for n, p in enumerate(fund["positions"], 1)
    ]
    securities = [
        [s["id"], ENTITY, "government bond", s["currency"], s["value"], s["haircut"],
         s["settle_days"]]
        for s in fund["securities"]
    ]  # fmt: skip
    lines = [
        [x["id"], ENTITY, "Lender", x["currency"], x["limit"], 0, x["notice_hours"],
         x["nav_covenant"], 175, 40]
        for x in fund["lines"]
    ]  # fmt: skip
    cash = [[ENTITY, currency, amount] for currency, amount in fund["cash"].items()]
    rates = dict.fromkeys(("vm_threshold", "im_threshold", "mta", "rounding"), 0)
    return {
        "positions": (
            ("position_id", "instrument_id", "agreement_id", "manager_id", "strategy_id",
             "quantity"), positions),
        "instruments": (
            ("instrument_id", "kind", "factor_id", "currency", "multiplier", *options),
            instruments),
        "agreements": (
            ("agreement_id", "kind", "venue", "counterparty", "broker", "legal_entity",
             "currency", "broker_multiplier", *rates, "independent_amount", "vm_held", "im_held",
             *terms), agreements),
        "cash": (("legal_entity", "currency", "amount"), cash),
        "collateral": (
            ("asset_id", "legal_entity", "asset_class", "currency", "market_value", "haircut",
             "settle_days"), securities),
        "facilities": (
            ("facility_id", "legal_entity", "lender", "currency", "limit", "drawn",
             "notice_hours", "nav_covenant", "margin_bp", "commitment_fee_bp"), lines),
        "settlements": (
            ("settlement_id", "value_date", "legal_entity", "currency", "amount"), []),
        "managers": (
            ("manager_id", "name", "allocation"), [[MANAGER, "Episode", fund["nav"]]]),
        "strategies": (("strategy_id", "name", "asset_class"), [[STRATEGY, "Episode", "equity"]]),
    }  # fmt: skip


def replay_episode_pack(
    episode_id: str,
    pack: Path | None,
    history: Path | None,
    config: EpisodeReplayConfig,
) -> tuple[str, EpisodeReplay]:
    """Replay an episode with a pack, or with the invented fund of the episode.

    Returns
    -------
    name of the fund, result

    Raises
    ------
    InputError
        If the episode is not known, or the pack or the history cannot be used as a whole.
    """
    from engine.market.levels import read_levels
    from engine.market.packaged import packaged_levels
    from engine.stress.replay.episode_file import replay_episode_named
    from engine.stress.replay.replay import replay_episode

    episode = replay_episode_named(episode_id)
    opened = _opened(episode, pack, history)
    reading = opened.reading
    path = history if history is not None else reading.history_path
    users: Levels | None = None if path is None else read_levels(path)
    factors = reading.factors if users is None else with_own_history(reading.factors, users)
    result = replay_episode(reading.book, factors, packaged_levels(), episode, config, users)
    failures = (*opened.failures, *result.failures)
    return reading.book.name, replace(result, failures=failures)


def _opened(episode: ReplayEpisode, pack: Path | None, history: Path | None) -> Opened:
    from workflows.funds import open_fund

    if pack is not None:
        return open_fund(pack, history)
    with tempfile.TemporaryDirectory() as folder:
        written = write_replay_fund(episode.fund, episode.start, Path(folder))
        return open_fund(written, history)


def qms_surges(
    pack: Path, history: Path | None, severities: Sequence[float], paths: int, seed: int
) -> tuple[str, list[CallSurge], tuple[Failure, ...]]:
    """Measure the call surge of the QMS energy story on a pack, at several severities.

    The scenario is the European energy episode of the library brought to three days, twice: with
    its distance from normal kept (moves times sqrt(3 / n)), and with the whole summer in three
    days. Nothing in it depends on the figure it is compared with.

    Returns
    -------
    name of the fund, surges (all severities of `scaled`, then of `full`), failures
    """
    from engine.avalanche.config import AvalancheConfig
    from engine.avalanche.prepared import prepare_fund
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.config import MarginConfig
    from engine.stress.replay.surge import call_surge, qms_scenario
    from workflows.funds import open_fund

    opened = open_fund(pack, history)
    margin = calculate_margin_requirements(opened.book, opened.market, MarginConfig())
    config = AvalancheConfig(paths=paths, seed=seed, volatility_multiplier=1.0)
    fund = prepare_fund(opened.book, opened.market, margin, config)
    surges = [
        call_surge(fund, qms_scenario(opened.market, whole=whole), config, QMS_DAYS, severity)
        for whole in (False, True)
        for severity in severities
    ]
    return opened.book.name, surges, (*opened.failures, *margin.failures)
