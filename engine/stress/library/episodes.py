"""The episodes of the rulebook: what happened, over which days, and how well it is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np

import engine.rulebooks
from engine.domain.failures import InputError
from engine.domain.market import RETURN_TYPES
from engine.rulebooks.tables import mark_of, read_table, worst_mark

EPISODES_FILE = Path(engine.rulebooks.__file__).with_name("stress_episodes.csv")
ROLES = ("move", "fact")
LOG_UNIT = "log return"
VOLATILITY_FACTOR = "VIX"


@dataclass(frozen=True)
class EpisodeRow:
    """One line of the rulebook.

    Attributes
    ----------
    role : str
        `move` of a factor of the product, or `fact` shown beside the scenario.
    first, last : date
        The levels are those at the close of these days.
    subject : str
        Factor id of a move; what a fact is about.
    value_from, value_to : float
        Levels; NaN where not known.
    move : float
        Of a move: log return where `unit` is `log return`, otherwise the difference of levels. Of
        a fact: a number in the words of `unit`, NaN where there is none.
    unit, mark, source : str
    """

    role: str
    first: date
    last: date
    subject: str
    value_from: float
    value_to: float
    move: float
    unit: str
    mark: str
    source: str

    @property
    def is_log(self) -> bool:
        """Whether the move is a log return."""
        return self.unit == LOG_UNIT

    def to_dict(self) -> dict[str, str | float | None]:
        """Return the row as JSON; what is not known is None."""
        return {
            "subject": self.subject,
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "value_from": _known(self.value_from),
            "value_to": _known(self.value_to),
            "move": _known(self.move),
            "unit": self.unit,
            "mark": self.mark,
            "source": self.source,
        }


@dataclass(frozen=True)
class Episode:
    """One window of a crisis.

    `event` groups windows of the same crisis; it equals `episode_id` for the main one. `first` and
    `last` are the days of most of its moves.
    """

    episode_id: str
    event: str
    title: str
    moves: tuple[EpisodeRow, ...]
    facts: tuple[EpisodeRow, ...]

    @property
    def window(self) -> tuple[date, date]:
        """First and last day, those that most rows have."""
        rows = self.moves or self.facts
        windows = [(row.first, row.last) for row in rows]
        return max(dict.fromkeys(windows), key=windows.count)

    @property
    def business_days(self) -> int:
        """Weekdays from the first close to the last, at least 1."""
        first, last = self.window
        return max(1, int(np.busday_count(first, last)))

    @property
    def mark(self) -> str:
        """The weakest mark of its moves."""
        return worst_mark(*(row.mark for row in self.moves or self.facts))

    @property
    def volatility_ratio(self) -> float:
        """Level of the volatility index at the end over that at the start; NaN if not known."""
        for row in self.moves:
            if row.subject == VOLATILITY_FACTOR:
                return row.value_to / row.value_from
        return math.nan

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of its moves, each once."""
        return tuple(dict.fromkeys(row.source for row in self.moves))


@lru_cache(maxsize=4)
def episodes(path: Path = EPISODES_FILE) -> tuple[Episode, ...]:
    """Return every episode of the rulebook in its order.

    Raises
    ------
    InputError
        With file, line and remedy, when a row cannot be read.

    Notes
    -----
    Worked number: `black_monday_1987` moves SPX from 314.52 to 224.84, a log return of
    ln(224.84 / 314.52) = -0.33565863.
    """
    _, table = read_table(path)
    rows: dict[str, list[EpisodeRow]] = {}
    heads: dict[str, tuple[str, str]] = {}
    for where, cells in table:
        row = _row(cells, where)
        head = heads.setdefault(cells["episode_id"], (cells["event"], cells["title"]))
        if head != (cells["event"], cells["title"]):
            raise InputError(f"{where}: event or title differ from the rows above; make them equal")
        rows.setdefault(cells["episode_id"], []).append(row)
    return tuple(_episode(name, *heads[name], found) for name, found in rows.items())


def _episode(name: str, event: str, title: str, rows: list[EpisodeRow]) -> Episode:
    moves = tuple(row for row in rows if row.role == "move")
    facts = tuple(row for row in rows if row.role == "fact")
    subjects = [row.subject for row in moves]
    twice = next((s for s in subjects if subjects.count(s) > 1), "")
    if twice:
        raise InputError(f"{EPISODES_FILE.name}: {name} moves {twice} twice; keep one row")
    return Episode(name, event, title, moves, facts)


def _row(cells: dict[str, str], where: str) -> EpisodeRow:
    try:
        row = EpisodeRow(
            role=cells["role"],
            first=date.fromisoformat(cells["date_from"]),
            last=date.fromisoformat(cells["date_to"]),
            subject=cells["factor"],
            value_from=_number(cells["value_from"]),
            value_to=_number(cells["value_to"]),
            move=_number(cells["move"]),
            unit=cells["unit"],
            mark=mark_of(cells, where),
            source=cells["source"],
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: {error}; every column must be present and typed") from error
    problem = _problem(row)
    if problem:
        raise InputError(f"{where}: {problem}; correct the row")
    return row


def _problem(row: EpisodeRow) -> str:
    if row.role not in ROLES:
        return f"role {row.role!r} is not one of {', '.join(ROLES)}"
    if row.last < row.first:
        return f"date_to {row.last} is before date_from {row.first}"
    if row.role == "fact":
        return ""
    if math.isnan(row.move):
        return "a move has no number"
    given = RETURN_TYPES[0] if row.is_log else RETURN_TYPES[1]
    expected = _move_between(row)
    if not math.isnan(expected) and abs(expected - row.move) > 1e-6 * max(1.0, abs(expected)):
        return f"move {row.move:g} is not the {given} move of its levels, {expected:g}"
    return "" if row.source else "a move needs a source"


def _move_between(row: EpisodeRow) -> float:
    if math.isnan(row.value_from) or math.isnan(row.value_to):
        return math.nan
    if row.is_log:
        return math.log(row.value_to / row.value_from)
    return row.value_to - row.value_from


def _number(cell: str) -> float:
    return float(cell) if cell.strip() else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
