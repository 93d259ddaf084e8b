"""Episodes that can be replayed: their days, and levels the packaged history does not have."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import engine.rulebooks
from engine.domain.failures import InputError
from engine.rulebooks.tables import MARKS

EPISODES_FILE = Path(engine.rulebooks.__file__).with_name("replay_episodes.toml")


@dataclass(frozen=True)
class KnownLevels:
    """Levels of one factor on some days of an episode, with their mark and source."""

    factor_id: str
    days: dict[date, float]
    mark: str
    source: str


@dataclass(frozen=True)
class ReplayEpisode:
    """An episode: from the close of `start` to the close of `end`.

    `fund` names the invented fund it is replayed with by default.
    """

    episode_id: str
    title: str
    start: date
    end: date
    fund: str
    levels: tuple[KnownLevels, ...] = ()


@lru_cache(maxsize=4)
def replay_episodes(path: Path = EPISODES_FILE) -> dict[str, ReplayEpisode]:
    """Return the episodes of the rulebook by id.

    Raises
    ------
    InputError
        With the file and the section, when an entry cannot be read.

    Notes
    -----
    Worked number: the official price of nickel on 7 March 2022 is 42,995 USD/t.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    table.pop("version", None)
    return {name: _episode(name, entry, path.name) for name, entry in table.items()}


def replay_episode_named(episode_id: str) -> ReplayEpisode:
    """Return one episode; an unknown id is an InputError that lists those known."""
    known = replay_episodes()
    if episode_id not in known:
        raise InputError(f"no episode {episode_id!r} to replay; known are {', '.join(known)}")
    return known[episode_id]


def _episode(name: str, entry: dict[str, Any], file: str) -> ReplayEpisode:
    where = f"{file} [{name}]"
    try:
        levels = tuple(
            _known(factor, found, f"{where} levels.{factor}")
            for factor, found in entry.get("levels", {}).items()
        )
        episode = ReplayEpisode(
            name, entry["title"], entry["start"], entry["end"], entry["fund"], levels
        )
    except KeyError as error:
        raise InputError(f"{where}: {error} is missing; give it") from error
    if episode.start >= episode.end:
        raise InputError(f"{where}: start {episode.start} is not before end {episode.end}")
    return episode


def _known(factor: str, entry: dict[str, Any], where: str) -> KnownLevels:
    days = {date.fromisoformat(day): float(level) for day, level in entry["days"].items()}
    if entry["mark"] not in MARKS or not entry["source"]:
        raise InputError(f"{where}: needs a source and a mark of {', '.join(MARKS)}")
    if list(days) != sorted(days) or len(days) < 2:
        raise InputError(f"{where}: give at least two days in order")
    return KnownLevels(factor, days, entry["mark"], entry["source"])
