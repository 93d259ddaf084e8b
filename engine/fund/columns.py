"""Vectorised casts and checks of text columns: one pass over the column, never row by row.

A cast gives a value for every row. Rows that a `Problem` marks hold a filler (NaN, 0, NaT, "")
that must not be used: the reader quarantines them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.domain.arrays import BoolArray, Float64Array
from engine.domain.failures import InputError
from engine.fund.schema import (
    DATE_PATTERN,
    HOURS_PATTERN,
    ID_PATTERN,
    INTEGER_PATTERN,
    MAX_MONEY,
    MAX_NUMBER,
    MAX_TEXT_CHARACTERS,
    TEXTS_PATTERN,
    Column,
)
from engine.fund.suggest import NUMBER_PATTERN, did_you_mean, plain_number

MAX_NUMBER_CHARACTERS = 64
FIRST_YEAR, LAST_YEAR = 1900, 2299
_CURRENCIES_FILE = Path(__file__).resolve().parent.parent / "rulebooks" / "currencies.json"
_UNSAFE = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]"
_FORMULA = r"^[=+\-@]"
_SPACES = r"^\s|\s$|^\p{Zs}|\p{Zs}$"


Hint = Callable[[str], str]


def always(text: str) -> Hint:
    """Return a hint that is the same for every raw text."""
    return lambda raw: text


@dataclass(frozen=True)
class Problem:
    """A rule and the rows, mask of shape (n_rows,), that break it. `hint` maps raw text to help."""

    rule: str
    rows: BoolArray
    hint: Hint = always("")


@dataclass(frozen=True)
class Cast:
    """A column after its cast; `values`, `blank` and all masks have shape (n_rows,)."""

    values: npt.NDArray[Any]
    blank: BoolArray
    problems: tuple[Problem, ...]
    raw: pa.Array


@dataclass(frozen=True)
class Known:
    """Ids a reference may name, in the order of the table, and ids that were quarantined."""

    ids: pa.Array
    rejected: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Context:
    """What casts need besides the column: reference targets, and currencies with a rate to USD."""

    known: dict[str, Known]
    with_rate: frozenset[str]


@cache
def iso_currencies() -> frozenset[str]:
    """Return the active ISO 4217 codes of `engine/rulebooks/currencies.json`."""
    return frozenset(json.loads(_CURRENCIES_FILE.read_text(encoding="utf-8"))["active"])


def cast_column(column: Column, cells: pa.Array, file: str, context: Context) -> Cast:
    """Cast one column and check each cell by itself.

    Parameters
    ----------
    column : Column
        What the column must hold.
    cells : pyarrow.Array of shape (n_rows,)
        Text; from Parquet also numbers, dates and booleans.
    file : str
        For messages.
    context : Context

    Returns
    -------
    Cast
        `values` are float64 (number, money; NaN where blank), int64 (integer; 0 where blank, and
        reference; -1 where blank), datetime64[D] (NaT where blank), bool, or object (str; tuple
        of int for hours).

    Raises
    ------
    InputError
        If a Parquet column has a type its content cannot be read from.
    """
    if column.type in ("number", "money", "integer") and _is_numeric(cells.type):
        return _finish_number(column, cells, _typed_numbers(cells), _is_null(cells), [])
    text = _as_text(column, cells, file)
    blank = _mask(pc.equal(text, ""))
    caster = _CASTERS[column.type]
    values, problems = caster(column, text, blank, context)
    if column.required:
        problems = [Problem("blank", blank), *problems]
    return Cast(values, blank, tuple(p for p in problems if p.rows.any()), text)


def _is_numeric(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _as_text(column: Column, cells: pa.Array, file: str) -> pa.Array:
    kind = cells.type
    if pa.types.is_string(kind):
        return cells
    if pa.types.is_null(kind):
        return pa.array([""] * len(cells), type=pa.string())
    is_day = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    if column.type == "date" and is_day:
        # A time of day stays in the text and is refused there.
        day = cells if pa.types.is_timestamp(kind) else cells.cast(pa.date32())
        text = day.cast(pa.string())
        midnight = pc.replace_substring_regex(text, r"[ T]00:00:00(\.0+)?(Z|\+00:00)?$", "")
        return pc.fill_null(midnight, "")
    if column.type == "boolean" and pa.types.is_boolean(kind):
        return pc.fill_null(cells.cast(pa.string()), "")
    if column.type == "hours" and pa.types.is_integer(kind):
        return pc.fill_null(cells.cast(pa.string()), "")
    raise InputError(
        f"{file}: column '{column.name}' is stored as {kind}, but it must be text"
        + ("; a number as id has already lost its leading zeros" if _is_numeric(kind) else "")
    )


def _mask(array: Any) -> BoolArray:
    mask: BoolArray = pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(np.bool_)
    return mask


def _is_null(array: pa.Array) -> BoolArray:
    return _mask(pc.is_null(array))


def _matches(text: pa.Array, pattern: str) -> BoolArray:
    return _mask(pc.match_substring_regex(text, pattern))


def _objects(text: pa.Array) -> npt.NDArray[np.object_]:
    values: npt.NDArray[np.object_] = text.to_numpy(zero_copy_only=False).astype(object)
    return values


_Result = tuple[npt.NDArray[Any], list[Problem]]


def _cast_id(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    problems = [Problem("not_an_id", ~_matches(text, ID_PATTERN) & ~blank, _id_hint)]
    if column.unique:
        codes = text.dictionary_encode().indices.to_numpy()
        repeated = np.bincount(codes)[codes] > 1 if len(codes) else np.zeros(0, dtype=np.bool_)
        help_text = "every row of a repeated id is quarantined; make the ids unique"
        problems.append(Problem("duplicate_id", repeated & ~blank, always(help_text)))
    return _objects(text), problems


def _id_hint(raw: str) -> str:
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_.:+-") else "_" for c in raw.strip())
    safe = safe.lstrip("_.:+-")[:64]
    return f"write for example '{safe}'" if safe else "ids are A-Z a-z 0-9 _ . : + -"


def _cast_reference(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    known = context.known.get(column.references)
    if known is None:  # The table referred to could not be read at all; that is reported there.
        return np.full(len(text), -1, dtype=np.int64), []
    index = pc.fill_null(pc.index_in(text, value_set=known.ids), -1)
    values = index.to_numpy().astype(np.int64)
    missing = (values < 0) & ~blank
    rejected = np.zeros(len(text), dtype=np.bool_)
    if known.rejected and missing.any():
        names = pa.array(sorted(known.rejected), type=pa.string())
        rejected = _mask(pc.is_in(text, value_set=names)) & missing
    names_known = known.ids.to_pylist() if missing.any() else []
    table = column.references.split(".")[0]

    def nearest(raw: str) -> str:
        name = did_you_mean(raw, names_known)
        return f"did you mean '{name}'?" if name else f"no such row in {table}"

    return values, [
        Problem(
            "reference_quarantined", rejected, lambda raw: f"its row in {table} is quarantined"
        ),
        Problem("unknown_reference", missing & ~rejected, nearest),
    ]


def _cast_text(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    length = pc.utf8_length(text).to_numpy(zero_copy_only=False)
    return _objects(text), [
        Problem("too_long", length > MAX_TEXT_CHARACTERS,
                lambda raw: f"{len(raw)} characters; at most {MAX_TEXT_CHARACTERS}"),
        Problem("control_characters", _matches(text, _UNSAFE),
                always("remove line breaks, control and direction characters")),
        Problem("formula", _matches(text, _FORMULA),
                always("text must not begin with = + - @: a spreadsheet would run it")),
        Problem("spaces", _matches(text, _SPACES), lambda raw: f"write '{raw.strip()}'"),
    ]  # fmt: skip


def _cast_choice(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    allowed = pa.array(column.choices, type=pa.string())
    wrong = ~_mask(pc.is_in(text, value_set=allowed)) & ~blank

    def nearest(raw: str) -> str:
        name = did_you_mean(raw, column.choices)
        return f"did you mean '{name}'?" if name else f"one of {', '.join(column.choices)}"

    return _objects(text), [Problem("not_in_list", wrong, nearest)]


def _cast_currency(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    codes = iso_currencies()
    is_iso = _mask(pc.is_in(text, value_set=pa.array(sorted(codes))))
    with_rate = pa.array(sorted(context.with_rate), type=pa.string())
    no_rate = is_iso & ~_mask(pc.is_in(text, value_set=with_rate))

    def nearest(raw: str) -> str:
        name = did_you_mean(raw, codes)
        return f"did you mean '{name}'?" if name else "write an ISO 4217 code such as USD"

    return _objects(text), [
        Problem("unknown_currency", ~is_iso & ~blank, nearest),
        Problem("no_exchange_rate", no_rate,
                lambda raw: f"no factor gives {raw} in USD; add {raw}USD to factors and history"),
    ]  # fmt: skip


def _number_hint(raw: str) -> str:
    plain = plain_number(raw)
    return f"write {plain}" if plain else "write plain digits with a point, for example 1234.5"


def _cast_number(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    pattern = INTEGER_PATTERN if column.type == "integer" else NUMBER_PATTERN
    rule = "not_an_integer" if column.type == "integer" else "not_a_number"
    good = _matches(text, pattern)
    good &= pc.binary_length(text).to_numpy(zero_copy_only=False) <= MAX_NUMBER_CHARACTERS
    usable = pc.if_else(pa.array(good), text, pa.scalar(None, type=pa.string()))
    numbers = pc.fill_null(usable.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    wrong = Problem(rule, ~good & ~blank, _number_hint)
    cast = _finish_number(column, text, numbers, blank, [wrong])
    return cast.values, [p for p in cast.problems if p.rule != "blank"]


def _typed_numbers(cells: pa.Array) -> Float64Array:
    numbers = pc.fill_null(cells.cast(pa.float64(), safe=False), np.nan)
    result: Float64Array = numbers.to_numpy(zero_copy_only=False)
    return result


def _finish_number(
    column: Column, cells: pa.Array, numbers: Float64Array, blank: BoolArray, found: list[Problem]
) -> Cast:
    """Check finiteness and bounds, and bring numbers to the type of the column."""
    earlier = np.zeros(len(numbers), dtype=np.bool_)
    for problem in found:
        earlier |= problem.rows
    finite = np.isfinite(numbers)
    problems = [*found, Problem("not_finite", ~finite & ~blank & ~earlier)]
    limit = MAX_MONEY if column.type == "money" else MAX_NUMBER
    too_large = finite & (np.abs(numbers) > limit)
    problems.append(Problem("too_large", too_large, always(f"at most {limit:.6g}")))
    outside = finite & ~too_large & _outside(column, numbers)
    problems.append(Problem("out_of_range", outside, always(column.rule())))
    if column.nonzero:
        problems.append(Problem("zero", finite & (numbers == 0), always("remove the row")))
    values: npt.NDArray[Any] = numbers
    if column.type == "integer":
        fraction = finite & (numbers != np.rint(numbers))
        problems.append(Problem("not_an_integer", fraction, always("write a whole number")))
        values = np.where(finite & ~too_large, numbers, 0).astype(np.int64)
    if column.required:
        problems.append(Problem("blank", blank))
    return Cast(values, blank, tuple(p for p in problems if p.rows.any()), cells)


def _outside(column: Column, numbers: Float64Array) -> BoolArray:
    outside: BoolArray = np.zeros(len(numbers), dtype=np.bool_)
    if column.low is not None:
        outside |= numbers <= column.low if column.low_open else numbers < column.low
    if column.high is not None:
        outside |= numbers >= column.high if column.high_open else numbers > column.high
    return outside


def _cast_date(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    shaped = _matches(text, DATE_PATTERN)
    safe = pc.if_else(pa.array(shaped), text, "1970-01-01")
    parts = [
        pc.utf8_slice_codeunits(safe, start, stop).cast(pa.int64()).to_numpy()
        for start, stop in ((0, 4), (5, 7), (8, 10))
    ]
    year, month, day = parts
    good = shaped & (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12)
    first = (np.where(good, year, 1970) - 1970).astype("datetime64[Y]").astype("datetime64[M]")
    first = first + (np.where(good, month, 1) - 1).astype("timedelta64[M]")
    length = ((first + np.timedelta64(1, "M")).astype("datetime64[D]") - first).astype(np.int64)
    good &= (day >= 1) & (day <= length)
    days = first.astype("datetime64[D]") + (np.where(good, day, 1) - 1).astype("timedelta64[D]")
    values = np.where(good, days, np.datetime64("NaT", "D"))
    hint = "write an existing day as YYYY-MM-DD, for example 2023-03-17"
    return values, [Problem("not_a_date", ~good & ~blank, always(hint))]


def _cast_hours(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    shaped = _matches(text, HOURS_PATTERN)
    values = np.empty(len(text), dtype=object)
    wrong = ~shaped & ~blank
    for i, cell in enumerate(text.to_pylist()):
        hours = tuple(int(hour) for hour in cell.split(";")) if shaped[i] else ()
        values[i] = hours
        wrong[i] |= max(hours, default=0) > 23 or len(set(hours)) != len(hours)
    hint = "write different hours 0 to 23 separated by ;, for example 9;13;16"
    return values, [Problem("not_hours", wrong, always(hint))]


def _cast_texts(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    shaped = _matches(text, TEXTS_PATTERN)
    values = np.empty(len(text), dtype=object)
    wrong = ~shaped & ~blank
    for i, cell in enumerate(text.to_pylist()):
        values[i] = tuple(cell.split(";")) if shaped[i] else ()
        wrong[i] |= len(set(values[i])) != len(values[i])
    hint = "write different names separated by ;, for example government bond;gold"
    return values, [Problem("not_names", wrong, always(hint))]


def _cast_boolean(column: Column, text: pa.Array, blank: BoolArray, context: Context) -> _Result:
    true, false = _mask(pc.equal(text, "true")), _mask(pc.equal(text, "false"))
    wrong = ~true & ~false & ~blank
    return true, [Problem("not_a_boolean", wrong, always("write true or false"))]


_CASTERS: dict[str, Callable[[Column, pa.Array, BoolArray, Context], _Result]] = {
    "id": _cast_id,
    "reference": _cast_reference,
    "text": _cast_text,
    "choice": _cast_choice,
    "currency": _cast_currency,
    "number": _cast_number,
    "money": _cast_number,
    "integer": _cast_number,
    "date": _cast_date,
    "hours": _cast_hours,
    "texts": _cast_texts,
    "boolean": _cast_boolean,
}
