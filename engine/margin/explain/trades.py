"""Edits of a book: add, remove, move or scale positions, validated row by row."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.domain.book import Book
from engine.domain.failures import InputError

ACTIONS = ("add", "remove", "move", "scale")
_NEEDED = {
    "add": ("instrument_id", "agreement_id", "manager_id", "strategy_id", "quantity"),
    "remove": ("position_id",),
    "move": ("position_id", "to_agreement"),
    "scale": ("position_id", "factor"),
}
_ALLOWED = {
    "add": ("position_id", *_NEEDED["add"]),
    "remove": ("position_id", "quantity"),
    "move": ("position_id", "to_agreement", "quantity"),
    "scale": ("position_id", "factor"),
}
_NUMBERS = ("quantity", "factor")


@dataclass(frozen=True)
class Trade:
    """One edit of the book.

    | action | fields |
    |---|---|
    | add | instrument_id, agreement_id, manager_id, strategy_id, quantity; maybe position_id |
    | remove | position_id; quantity for a part, signed like the position |
    | move | position_id, to_agreement; quantity for a part, signed like the position |
    | scale | position_id, factor |
    """

    action: str
    position_id: str = ""
    instrument_id: str = ""
    agreement_id: str = ""
    manager_id: str = ""
    strategy_id: str = ""
    quantity: float = math.nan
    to_agreement: str = ""
    factor: float = math.nan

    def words(self) -> str:
        """Return the trade as a line for people: `move P1 to CCP-2`."""
        size = "" if math.isnan(self.quantity) else f" {self.quantity:g}"
        if self.action == "add":
            return f"add{size} {self.instrument_id} to {self.agreement_id}"
        tail = {"move": f" to {self.to_agreement}", "scale": f" by {self.factor:g}"}
        return f"{self.action}{size} {self.position_id}{tail.get(self.action, '')}"


COLUMNS = tuple(field.name for field in fields(Trade))


def read_trades(path: Path) -> tuple[Trade, ...]:
    """Read trades from a CSV with a header; columns as the fields of `Trade`, blank if not used.

    Raises
    ------
    InputError
        With file, line and column.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; give a CSV with a column `action`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    reader = csv.DictReader(lines)
    header = list(reader.fieldnames or ())
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or "action" not in header:
        wrong = f"unknown column {unknown[0]!r}" if unknown else "no column 'action'"
        raise InputError(f"{path} line 1: {wrong}; the columns are {', '.join(COLUMNS)}")
    trades, problems = [], []
    for row in reader:
        where = f"{path} line {reader.line_num}"
        if None in row or None in row.values():
            problems.append(f"{where}: not as many cells as the header")
            continue
        try:
            trades.append(_trade(row, where))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return tuple(trades)


def _trade(row: dict[str, str], where: str) -> Trade:
    values: dict[str, Any] = {name: cell.strip() for name, cell in row.items()}
    for name in _NUMBERS:
        text = values.get(name, "")
        try:
            values[name] = float(text) if text else math.nan
        except ValueError:
            raise InputError(f"{where}: {name} {text!r} is no number; write 1250.5") from None
        if text and not math.isfinite(values[name]):
            raise InputError(f"{where}: {name} {text!r} is not finite; write 1250.5")
    return Trade(**values)


def apply_trades(book: Book, trades: Sequence[Trade]) -> Book:
    """Return the book after the trades, one after the other.

    A moved or scaled position keeps its id and place. Moving a part makes a new position
    `ID>AGREEMENT`; a position that is removed in full is gone. Added positions come last.

    Raises
    ------
    InputError
        One line for every bad trade: its number, the field, the value and what to do. Trades after
        a bad one are checked as if it had not been given.
    """
    desk = _Desk(book)
    problems = []
    for number, trade in enumerate(trades, 1):
        try:
            desk.do(trade)
        except InputError as error:
            problems.append(f"trade {number} ({trade.words()}): {error}")
    if problems:
        raise InputError("\n".join(problems))
    return desk.book()


class _Desk:
    """Positions as rows that can be edited."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._index = {
            "instrument_id": _rows(book.instruments.instrument_id),
            "agreement_id": _rows(book.agreements.agreement_id),
            "manager_id": _rows(book.managers.manager_id),
            "strategy_id": _rows(book.strategies.strategy_id),
        }
        columns = vars(book.positions)
        self._rows: dict[str, dict[str, Any]] = {
            str(name): {column: values[i] for column, values in columns.items()}
            for i, name in enumerate(book.positions.position_id)
        }

    def do(self, trade: Trade) -> None:
        """Apply one trade, or raise an InputError and change nothing."""
        if trade.action not in ACTIONS:
            raise InputError(f"action {trade.action!r} is not one of {', '.join(ACTIONS)}")
        for name in COLUMNS[1:]:
            value = getattr(trade, name)
            given = not math.isnan(value) if name in _NUMBERS else bool(value)
            if name in _NEEDED[trade.action] and not given:
                raise InputError(f"{name} is blank; `{trade.action}` needs it")
            if given and name not in _ALLOWED[trade.action]:
                raise InputError(f"{name} is not used by `{trade.action}`; leave it blank")
        getattr(self, f"_{trade.action}")(trade)

    def book(self) -> Book:
        """Return the edited book."""
        old = vars(self._book.positions)
        rows = list(self._rows.values())
        columns = {
            name: np.array([row[name] for row in rows], dtype=values.dtype)
            for name, values in old.items()
        }
        return replace(self._book, positions=replace(self._book.positions, **columns))

    def _add(self, trade: Trade) -> None:
        name = trade.position_id or self._free("WHATIF")
        if name in self._rows:
            raise InputError(f"position_id {name!r} exists already; use another, or scale it")
        if trade.quantity == 0.0:
            raise InputError("quantity is 0; give units to hold, negative for short")
        self._rows[name] = {
            "position_id": name,
            "instrument": self._known("instrument_id", trade.instrument_id),
            "agreement": self._known("agreement_id", trade.agreement_id),
            "manager": self._known("manager_id", trade.manager_id),
            "strategy": self._known("strategy_id", trade.strategy_id),
            "quantity": trade.quantity,
        }

    def _remove(self, trade: Trade) -> None:
        row = self._held(trade)
        left = self._left(row, trade.quantity)
        if left == 0.0:
            del self._rows[trade.position_id]
        else:
            row["quantity"] = left

    def _move(self, trade: Trade) -> None:
        row = self._held(trade)
        target = self._known("agreement_id", trade.to_agreement, "to_agreement")
        if target == row["agreement"]:
            raise InputError(f"to_agreement {trade.to_agreement!r} is where it is now")
        left = self._left(row, trade.quantity)
        if left == 0.0:
            row["agreement"] = target
            return
        name = self._free(f"{trade.position_id}>{trade.to_agreement}", bare=True)
        moved = float(row["quantity"]) - left
        self._rows[name] = {**row, "position_id": name, "agreement": target, "quantity": moved}
        row["quantity"] = left

    def _scale(self, trade: Trade) -> None:
        row = self._held(trade)
        if trade.factor == 0.0:
            raise InputError("factor is 0; use `remove`")
        row["quantity"] = float(row["quantity"]) * trade.factor

    def _held(self, trade: Trade) -> dict[str, Any]:
        if trade.position_id not in self._rows:
            near = _near(trade.position_id, list(self._rows))
            raise InputError(f"position_id {trade.position_id!r} is not in the book{near}")
        return self._rows[trade.position_id]

    def _left(self, row: dict[str, Any], part: float) -> float:
        held = float(row["quantity"])
        if math.isnan(part):
            return 0.0
        if part * held <= 0.0 or abs(part) > abs(held):
            raise InputError(
                f"quantity {part:g} is no part of the {held:g} held; give at most that, with its "
                "sign, or leave it blank for all"
            )
        return held - part

    def _known(self, table: str, name: str, field: str = "") -> int:
        if name not in self._index[table]:
            near = _near(name, list(self._index[table]))
            raise InputError(f"{field or table} {name!r} is not in the book{near}")
        return self._index[table][name]

    def _free(self, stem: str, bare: bool = False) -> str:
        if bare and stem not in self._rows:
            return stem
        number = 1
        while f"{stem}-{number}" in self._rows:
            number += 1
        return f"{stem}-{number}"


def _rows(names: np.ndarray) -> dict[str, int]:
    return {str(name): i for i, name in enumerate(names)}


def _near(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    shown = ", ".join(known[:5])
    return f"; did you mean {close[0]!r}?" if close else f"; it has {shown}"
