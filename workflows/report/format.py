"""Numbers and names as people read them: USD m and bn, per cent, multiples, harmless text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MISSING = "not available"
MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"
_UNITS = ((1e12, "tn"), (1e9, "bn"), (1e6, "m"), (1e3, "k"))
_LONGEST_TEXT = 1000
_AXIS_TEXT = 15
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True)
class Scale:
    """A unit shared by a whole column or axis: values are divided by `divisor`."""

    divisor: float
    unit: str

    def value(self, amount_usd: float | None) -> float | None:
        """Return the amount in this unit, rounded for a chart; None if it is not finite."""
        amount = finite(amount_usd)
        return None if amount is None else round(amount / self.divisor, 4) + 0.0

    def text(self, amount_usd: float | None) -> str:
        """Return the amount in this unit with fixed decimals, so that columns align."""
        amount = finite(amount_usd)
        if amount is None:
            return MISSING
        return _signed(f"{amount / self.divisor:,.{2 if self.unit.endswith('bn') else 1}f}")


def finite(value: Any) -> float | None:
    """Return a finite float, or None for None, NaN, infinity and anything not a number."""
    if value is None or isinstance(value, (str, bytes, Mapping)):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def usd(amount_usd: float | None) -> str:
    """Return an amount with three significant digits.

    Worked examples: 3_541_200_000 gives `USD 3.54 bn`, -999_960_000 gives a minus sign and
    `USD 1.00 bn`, 0 gives `USD 0`. Spaces do not break.
    """
    amount = finite(amount_usd)
    if amount is None:
        return MISSING
    size = float(f"{abs(amount):.3g}")
    sign = MINUS if amount < 0 and size >= 0.5 else ""
    for divisor, unit in _UNITS:
        if size >= divisor:
            scaled = size / divisor
            decimals = 2 if scaled < 10 else 1 if scaled < 100 else 0
            return f"{sign}USD{NBSP}{scaled:,.{decimals}f}{NBSP}{unit}"
    return f"{sign}USD{NBSP}{size:,.0f}"


def scale_for(amounts_usd: Iterable[float | None]) -> Scale:
    """Return the unit in which the largest of the amounts reads best."""
    sizes = [abs(number) for number in map(finite, amounts_usd) if number is not None]
    largest = max(sizes, default=0.0)
    if largest >= 2e9:
        return Scale(1e9, "USD bn")
    if largest >= 2e6:
        return Scale(1e6, "USD m")
    if largest >= 2e3:
        return Scale(1e3, "USD k")
    return Scale(1.0, "USD")


def bare_usd(amount_usd: float | None) -> str:
    """Return an amount as `usd` does, without the currency: for labels under a heading in USD."""
    return usd(amount_usd).replace(f"USD{NBSP}", "")


def percent(share: float | None) -> str:
    """Return a share as per cent: 0.0542 gives `5.4 %`, 0.0004 gives `0.04 %`.

    A share that is not exactly 0 or 1 is never printed as 0 or 100.
    """
    number = finite(share)
    if number is None:
        return MISSING
    points = 100.0 * number
    if points == 0.0 or points == 100.0:
        return f"{points:.0f}{NBSP}%"
    if 0.0 < points < 0.01:
        return f"below 0.01{NBSP}%"
    if 99.99 < points < 100.0:
        return f"above 99.99{NBSP}%"
    decimals = 2 if abs(points) < 1.0 or 99.0 < points < 100.0 else 1
    return _signed(f"{points:.{decimals}f}{NBSP}%")


def multiple(ratio: float | None) -> str:
    """Return a ratio as a multiple: 1.236 gives `1.24x`."""
    number = finite(ratio)
    if number is None:
        return MISSING
    return _signed(f"{number:,.2f}x" if abs(number) < 100 else f"{number:,.0f}x")


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a plain number with fixed decimals."""
    number = finite(value)
    return MISSING if number is None else _signed(f"{number:,.{digits}f}")


def plain(value: float | None) -> str:
    """Return a setting as it was given: 5.0 gives `5`, 0.8 gives `0.8`."""
    number = finite(value)
    return MISSING if number is None else _signed(f"{number:g}")


def count(value: float | None) -> str:
    """Return a whole number with thousands separators."""
    number = finite(value)
    return MISSING if number is None else _signed(f"{number:,.0f}")


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return `1 failure` or `3 failures`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def clean(text: object) -> str:
    """Return text that cannot reorder, hide or break a line: such characters become U+FFFD.

    Control, format (bidirectional overrides, zero-width) and surrogate characters are replaced,
    and very long text is cut.
    """
    kept = str(text)[: _LONGEST_TEXT + 1].replace("\n", " ").replace("\t", " ")
    shown = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in _HARMFUL else char
        for char in kept
    )
    if len(shown) <= _LONGEST_TEXT:
        return shown
    return shown[:_LONGEST_TEXT] + "\N{HORIZONTAL ELLIPSIS}"


def short(name: str) -> str:
    """Return a name for an axis: beginning and end are kept, as the end tells names apart."""
    if len(name) <= _AXIS_TEXT:
        return name
    return f"{name[: _AXIS_TEXT - 7]}\N{HORIZONTAL ELLIPSIS}{name[-6:]}"


def clean_all(value: Any) -> Any:
    """Return the JSON value with `clean` applied to every string and key."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(key): clean_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_all(item) for item in value]
    return value


def describe(item: Any) -> str:
    """Return one list item of the data quality report as a line of text."""
    if isinstance(item, Mapping):
        return "; ".join(f"{key}: {describe(value)}" for key, value in item.items())
    if isinstance(item, (list, tuple)):
        return ", ".join(describe(value) for value in item)
    return MISSING if item is None else str(item)


def _signed(text: str) -> str:
    digits = text.strip(f"-0., %x{NBSP}")
    return text.replace("-", MINUS) if digits else text.replace("-", "")
