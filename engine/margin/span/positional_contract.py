"""Contracts in positional risk parameter files: two records make one array (types 81 to 84)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from engine.margin.span.records import (
    OPTION_TYPES,
    Commodity,
    Contract,
    FileSpread,
    RecordError,
    number,
)

# Width of an array value and column of the first, by record type; the second record has the rest.
_ARRAYS = {"81": (5, 55), "82": (5, 55), "83": (8, 55), "84": (8, 55)}
_FIRST_VALUES, _SECOND_VALUES = 9, 7


@dataclass(frozen=True, slots=True)
class Product:
    """Price conversion of a product: type P record."""

    price_decimals: int
    strike_decimals: int
    value_factor: float


@dataclass
class State:
    """What has been read so far; `pending` is a first array record and its line."""

    head: dict[str, str] = field(default_factory=dict)
    products: dict[tuple[str, str, str], Product] = field(default_factory=dict)
    owners: dict[tuple[str, str, str], tuple[str, int]] = field(default_factory=dict)
    commodities: dict[str, Commodity] = field(default_factory=dict)
    futures_style: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    inter: list[FileSpread] = field(default_factory=list)
    unread: dict[tuple[str, str], int] = field(default_factory=dict)
    pending: tuple[str, int] | None = None


def cut(text: str, start: int, width: int) -> str:
    """Return the field that begins in column `start`, counted from 1, without blanks."""
    return text[start - 1 : start - 1 + width].strip()


def name_of(text: str) -> str:
    """Return product, kind, period, right and strike of an array record, for messages."""
    parts = (cut(text, 6, 10), cut(text, 26, 3), cut(text, 39, 8) or cut(text, 30, 8),
             cut(text, 29, 1), cut(text, 48, 7))  # fmt: skip
    return " ".join(part for part in parts if part)


def read_contract(
    state: State, text: str, where: str, wanted: Collection[str] | None
) -> Contract | None:
    """Return the contract of the pending first record and this second one; None if not wanted."""
    if state.pending is None:
        raise RecordError(name_of(text), "a second array record without its first; it is left out")
    (first, _), state.pending = state.pending, None
    item = name_of(first)
    if first[2:54] != text[2:54] or int(text[:2]) != int(first[:2]) + 1:
        raise RecordError(item, "its two array records do not belong together; it is left out")
    key = (cut(text, 3, 3), cut(text, 6, 10), cut(text, 26, 3))
    owner, product = state.owners.get(key), state.products.get(key)
    if owner is None:
        raise RecordError(item, "its product is in no combined commodity; it is left out")
    code, decimals = owner
    if code in state.refused or (wanted is not None and code not in wanted):
        return None
    if product is None:
        raise RecordError(item, "its product has no price conversion (type P); it is left out")
    kind, option = key[2], key[2] in OPTION_TYPES
    right = cut(text, 29, 1)
    if option and right not in ("C", "P"):
        raise RecordError(item, f"right of the option is {right!r}; it must be C or P")
    values = _values(first, item, _FIRST_VALUES) + _values(text, item, _SECOND_VALUES)
    # Columns after the array: composite delta, volatility, price and their signs.
    width, start = _ARRAYS[text[:2]]
    after = start + _SECOND_VALUES * (width + 1)
    delta = _signed(text, item, "composite delta", after, 5) / 1e4
    price = _signed(text, item, "settlement price", after + 14, 7) / 10.0**product.price_decimals
    strike = float("nan")
    if option:
        digits = number(item, "strike", cut(text, 48, 7))
        sign = -1.0 if cut(text, after + 22, 1) == "-" else 1.0
        strike = sign * digits / 10.0**product.strike_decimals
    period = cut(text, 39, 6) + cut(text, 45, 2) if option else (
        cut(text, 30, 6) + cut(text, 36, 2)
    )  # fmt: skip
    return Contract(
        commodity=code, exchange=key[0], product=key[1], kind=kind, period=period,
        right=right if option else "", strike=strike, price=price,
        value_factor=product.value_factor,
        premium_style=option and code not in state.futures_style, delta=delta,
        losses=np.array(values, dtype=np.float64) / 10.0**decimals, where=where,
    )  # fmt: skip


def _values(text: str, item: str, count: int) -> list[float]:
    width, start = _ARRAYS[text[:2]]
    return [
        _signed(text, item, f"array value {i + 1}", start + i * (width + 1), width)
        for i in range(count)
    ]


def _signed(text: str, item: str, name: str, start: int, width: int) -> float:
    """Return the number in `width` columns from `start`, with the sign in the next column."""
    value = number(item, name, cut(text, start, width))
    sign = text[start - 1 + width : start + width]
    if sign.strip() not in ("", "+", "-"):
        raise RecordError(item, f"sign of {name} is {sign!r}; it must be + or -")
    return -value if sign == "-" else value
