"""Reading of rulebook tables: a version line, a header and rows of text."""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.domain.failures import InputError

MARKS = ("verified", "indicative")
_WORST_FIRST = ("indicative", "user", "verified")


def read_table(path: Path) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    """Return the version of a rulebook table and its rows with the place of each.

    The first line is `# version: ... |`. A place is `file line n`.

    Raises
    ------
    InputError
        If the version line is missing or a row has a wrong number of cells.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].startswith("# version: "):
        raise InputError(f"{path.name}: first line must be '# version: ...'; restore the file")
    version = lines[0].removeprefix("# version: ").split("|")[0].strip()
    rows = []
    for number, row in enumerate(csv.DictReader(lines[1:]), start=3):
        where = f"{path.name} line {number}"
        if None in row or None in row.values():
            raise InputError(f"{where}: wrong number of cells; give one for each column")
        rows.append((where, row))
    return version, rows


@lru_cache(maxsize=16)
def read_marked(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a JSON rulebook in which each of `names` has a value, a source and a mark.

    Raises
    ------
    InputError
        If one of them is missing or lacks one of the three.
    """
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name in names:
        entry = table.get(name, {})
        if entry.get("mark") not in MARKS or not entry.get("source") or "value" not in entry:
            raise InputError(
                f"{path.name}: {name} needs a value, a source and a mark of {', '.join(MARKS)}; "
                "restore the file"
            )
    return table


def mark_of(row: dict[str, str], where: str) -> str:
    """Return the mark of a row; one that is not in `MARKS` is an InputError."""
    mark = row["mark"]
    if mark not in MARKS:
        raise InputError(f"{where}: mark {mark!r} is not one of {', '.join(MARKS)}; correct it")
    return mark


def worst_mark(*marks: str) -> str:
    """Return the weakest of some marks: indicative, then user, then verified."""
    return min(marks, key=_WORST_FIRST.index)


def time_zone(name: str, where: str) -> ZoneInfo:
    """Return an IANA time zone; an unknown name is an InputError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        message = f"{where}: time zone {name!r} is not known; use an IANA name like Europe/Paris"
        raise InputError(message) from error
