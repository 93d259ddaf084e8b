"""Scenarios in TOML: written so that people can edit them, read with errors that help."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.domain.market import ASSET_CLASSES, MarketState
from engine.domain.scenarios import Scenario
from engine.fund.suggest import did_you_mean
from engine.stress.scenario_files.units import move_in_return_units

FIELDS = tuple(Scenario.model_fields)
TABLES = ("moves", "volatility_by_class", "breakdown_signs", "crowding")
_BARE = re.compile(r"^[A-Za-z0-9_-]+$")
HEADER = """\
# Stress scenarios. Units of a move: a plain number is the factor's return unit (log return, or
# difference of levels); texts are "-20 %", "+75 bp", "+20 pts" and "-30 USD".
# Fields not given are as today; `mca scenarios --file` reads this file.
"""


def read_scenarios(path: Path, market: MarketState) -> Partial[tuple[Scenario, ...]]:
    """Read the scenarios of a TOML file: tables `[[scenario]]`, keys as the fields of `Scenario`.

    Moves may be texts with a unit (`scenario_files_units`), turned into return units at the levels
    of `market`.

    Returns
    -------
    Partial of tuple of Scenario
        A scenario that is wrong is a failure INVALID that names file, scenario, key, value and
        remedy; the others are returned.

    Raises
    ------
    InputError
        If the file cannot be read, is no TOML, has another key at the top, or no scenario.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}; give a TOML file with tables [[scenario]]") from error
    other = [key for key in document if key != "scenario"]
    if other:
        raise InputError(f"{path}: key {other[0]!r} at the top; put it under [[scenario]]")
    rows = document.get("scenario")
    if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
        raise InputError(f"{path}: no [[scenario]] table; begin each scenario with that line")
    good: list[Scenario] = []
    failures = []
    for number, row in enumerate(rows, start=1):
        name = str(row.get("scenario_id", f"number {number}"))
        where = f"{path.name}, scenario {name}"
        try:
            scenario = _scenario(row, market)
            if scenario.scenario_id in {one.scenario_id for one in good}:
                raise InputError(f"scenario_id = {name!r} is used above; give each its own")
            good.append(scenario)
        except InputError as error:
            failures.append(Failure(FailureReason.INVALID, name, where, str(error)))
    return Partial(tuple(good), tuple(failures))


def write_scenarios(path: Path, scenarios: Iterable[Scenario]) -> None:
    """Write scenarios to a TOML file that `read_scenarios` reads back exactly."""
    path.write_text(scenarios_text(scenarios), encoding="utf-8")


def scenarios_text(scenarios: Iterable[Scenario]) -> str:
    """Return the TOML text of scenarios: fields that differ from their defaults, moves in return
    units with all their digits.

    An empty move table is left out; reading it back gives an equal scenario.
    """
    return "\n".join([HEADER, *(_text(scenario) for scenario in scenarios)])


def _text(scenario: Scenario) -> str:
    lines = ["[[scenario]]"]
    tables = []
    for name, field in Scenario.model_fields.items():
        value = getattr(scenario, name)
        if not field.is_required() and value == field.get_default():
            continue
        if isinstance(value, dict):
            tables += ["", f"[scenario.{name}]", *(f"{_key(k)} = {_value(v)}" for k, v in
                                                   value.items())]  # fmt: skip
        else:
            lines.append(f"{name} = {_value(value)}")
    return "\n".join([*lines, *tables, ""])


def _key(name: str) -> str:
    return name if _BARE.match(name) else _value(name)


def _value(value: Any) -> str:
    """One TOML value; floats keep all their digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # TOML's basic strings escape as JSON does, and DEL besides.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return repr(value)


def _scenario(row: Mapping[str, Any], market: MarketState) -> Scenario:
    for key in row:
        if key not in FIELDS:
            raise InputError(f"key {key!r} is not known; {_near(key, FIELDS)}")
    for key in TABLES:
        if not isinstance(row.get(key, {}), dict):
            raise InputError(f"{key} = {row[key]!r}: write it as a table of name = value")
    known = [str(name) for name in market.factors.factor_id]
    given = dict(row)
    given["moves"] = {
        _known("moves", name, known): move_in_return_units(name, value, market)
        for name, value in row.get("moves", {}).items()
    }
    for name in row.get("volatility_by_class", {}):
        _known("volatility_by_class", name, ASSET_CLASSES)
    for name in row.get("breakdown_signs", {}):
        _known("breakdown_signs", name, [*ASSET_CLASSES, *known])
    for name in row.get("crowding", {}):
        _known("crowding", name, sorted({str(b) for b in market.factors.bucket}))
    try:
        return Scenario(**given)
    except ValidationError as error:
        raise InputError("; ".join(_explained(detail) for detail in error.errors())) from error


def _explained(detail: Any) -> str:
    """One pydantic complaint in words: key, value, what is allowed."""
    key = ".".join(str(part) for part in detail["loc"])
    text = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"{key} is missing; give it"
    return f"{key} = {detail['input']!r}: {text}" if key else text


def _known(table: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    if name not in names:
        raise InputError(f"{table}: {name!r} is not known; {_near(name, names)}")
    return name


def _near(word: str, known: Iterable[str]) -> str:
    names = list(known)
    near = did_you_mean(word, names)
    if near:
        return f"did you mean {near!r}?"
    shown = ", ".join(names[:12])
    return f"use one of {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")
