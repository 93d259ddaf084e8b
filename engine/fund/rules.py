"""Checks between the cells of a row, and between the tables of a pack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.domain.agreements import TOOL_MODELS
from engine.domain.arrays import BoolArray, StrArray
from engine.domain.market import FactorTable
from engine.fund.columns import Cast, Problem, always, iso_currencies
from engine.fund.schema import Column, Table


@dataclass(frozen=True)
class Facts:
    """What checks between cells need to know about the pack."""

    as_of: date
    factors: FactorTable


def currencies_with_rate(factor_ids: StrArray) -> frozenset[str]:
    """Return the currencies that FX factors link to USD, directly or through others.

    A factor `EURUSD` or `USDJPY` links its two currencies; `EURCHF` links CHF through EUR.
    """
    codes = iso_currencies()
    pairs = [
        (name[:3], name[3:])
        for name in map(str, factor_ids)
        if len(name) == 6 and name[:3] in codes and name[3:] in codes
    ]
    reached = {"USD"}
    grown = True
    while grown:
        more = {code for pair in pairs if reached.intersection(pair) for code in pair} - reached
        reached |= more
        grown = bool(more)
    return frozenset(reached)


def apply_conditions(table: Table, casts: dict[str, Cast], file: str) -> list[str]:
    """Require cells where the kind of the row needs them and ignore them where it does not.

    Changes `casts` in place: problems of ignored cells are dropped, missing ones added, and the
    value of an ignored cell becomes the one of a blank cell. Returns a note for each column with
    ignored cells.
    """
    notes = []
    for column in table.columns:
        condition = column.required_for or column.used_for
        if condition is None or column.name not in casts:
            continue
        by, values = condition
        used = _is_one_of(casts[by].raw, values)
        cast = casts[column.name]
        ignored = ~used & ~cast.blank
        # 0 says "none" as clearly as a blank cell does.
        worth_a_note = ignored & ~_is_zero(cast)
        if worth_a_note.any():
            notes.append(
                f"{file}: {int(worth_a_note.sum())} cells of '{column.name}' ignored: it is read "
                f"only where {by} is {', '.join(values)}"
            )
        problems = [replace(problem, rows=problem.rows & used) for problem in cast.problems]
        if column.required_for:
            help_text = f"needed where {by} is {', '.join(values)}"
            missing = Problem("blank", used & cast.blank, always(help_text))
            problems.append(missing)
        casts[column.name] = replace(
            cast,
            values=_blanked(column, cast, ignored),
            blank=cast.blank | ignored,
            problems=tuple(problem for problem in problems if problem.rows.any()),
        )
    return notes


def _is_one_of(raw: pa.Array, values: tuple[str, ...]) -> BoolArray:
    mask = pc.is_in(raw, value_set=pa.array(values, type=pa.string()))
    result: BoolArray = mask.to_numpy(zero_copy_only=False).astype(np.bool_)
    return result


def _is_zero(cast: Cast) -> BoolArray:
    if cast.values.dtype.kind in "if":
        return np.asarray(cast.values == 0)
    return np.zeros(len(cast.values), dtype=np.bool_)


_BLANK_VALUES = {"date": np.datetime64("NaT"), "number": np.nan, "integer": 0, "reference": -1}


def _blanked(column: Column, cast: Cast, rows: BoolArray) -> np.ndarray:
    values = cast.values.copy()
    values[rows] = _BLANK_VALUES.get(column.type, "")
    return values


def cross_problems(table: str, casts: Mapping[str, Cast], facts: Facts) -> dict[str, list[Problem]]:
    """Return problems that show only when several cells are seen together, by column."""
    if table == "instruments":
        return _instrument_problems(casts, facts)
    if table == "agreements":
        return _agreement_problems(casts)
    if table == "facilities":
        drawn, limit = casts["drawn"].values, casts["limit"].values
        rows = np.isfinite(drawn) & np.isfinite(limit) & (drawn > limit)
        return {"drawn": [Problem("over_limit", rows, always("drawn must be at most limit"))]}
    if table == "settlements":
        past = casts["value_date"].values < np.datetime64(facts.as_of, "D")
        help_text = f"before the fund's date {facts.as_of}: book it to cash and remove the row"
        return {"value_date": [Problem("past", past, always(help_text))]}
    return {}


def _agreement_problems(casts: Mapping[str, Cast]) -> dict[str, list[Problem]]:
    weight, tool = casts["stress_weight"].values, casts["apc"].values
    alone = (weight > 0.0) & ~casts["apc"].blank & (tool != "stress_weight")
    unused = "stress_weight is above 0 but another tool is named: set it to 0 or blank this cell"
    none = (weight == 0.0) & (tool == "stress_weight")
    needed = "the tool stress_weight needs a stress_weight above 0, for example 0.25"
    named = (weight > 0.0) | (~casts["apc"].blank & (tool != "none"))
    without = named & ~np.isin(casts["model"].values, TOOL_MODELS)
    only = f"tools are for the models {', '.join(TOOL_MODELS)}: blank this cell, weight 0"
    problems = [
        Problem("two_tools", alone, always(unused)),
        Problem("no_weight", none, always(needed)),
        Problem("tool_without_model", without, always(only)),
    ]
    return {"apc": problems}


def _instrument_problems(casts: Mapping[str, Cast], facts: Facts) -> dict[str, list[Problem]]:
    expired = casts["expiry"].values <= np.datetime64(facts.as_of, "D")
    expired_help = f"not after the fund's date {facts.as_of}: book the result to cash"
    factor = casts["factor_id"].values
    is_log = np.append(facts.factors.return_type == "log", False).astype(np.bool_)[factor]
    not_positive = is_log & (casts["strike"].values <= 0)
    strike_help = "must be positive: the factor's returns are logarithmic"
    return {
        "expiry": [Problem("expired", expired, always(expired_help))],
        "strike": [Problem("not_positive", not_positive, always(strike_help))],
    }
