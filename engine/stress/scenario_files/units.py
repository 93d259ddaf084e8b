"""Moves as people write them: per cent, basis points, points, an amount of a currency."""

from __future__ import annotations

import math
import re
from typing import Any

from engine.domain.failures import InputError
from engine.domain.market import MarketState

_TEXT = re.compile(r"^\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(%|[A-Za-z]+)\s*$")
EXAMPLES = "a number in the return unit, or a text such as '-20 %', '+75 bp', '+20 pts', '-30 USD'"


def move_in_return_units(factor_id: str, value: Any, market: MarketState) -> float:
    """Return a move in the return unit of a factor: log return, or difference of levels.

    With L today's level and x the number written:

    | text | means | log factor | absolute factor |
    |---|---|---|---|
    | plain number | the return unit itself | x | x |
    | `x %` | relative change of the level | ln(1 + x/100) | L x/100 |
    | `x bp` | hundredths of a per cent; factors in per cent only | ln(1 + x/(100 L)) | x/100 |
    | `x pts` | difference of the level, in its unit | ln(1 + x/L) | x |
    | `x USD` | the same; the unit of the factor must begin with the word | ln(1 + x/L) | x |

    Parameters
    ----------
    factor_id : str
        A factor of the market.
    value : number or str
    market : MarketState

    Raises
    ------
    InputError
        With the value and a remedy: no number, an unknown unit, a unit the factor does not have, or
        a fall of a log factor to zero or below.

    Notes
    -----
    Worked numbers: "-20 %" of an index is ln 0.8 = -0.22314355; "+75 bp" of a yield in per cent is
    0.75; "+20 pts" of a volatility index at 22.1 is ln(42.1 / 22.1) = 0.64444.
    """
    k = market.index()[factor_id]
    number, unit = _parsed(factor_id, value)
    level = float(market.level[k])
    log = market.factors.return_type[k] == "log"
    if unit == "":
        return number
    change = _level_change(factor_id, number, unit, level, str(market.factors.unit[k]), value)
    if not log:
        return change
    if level + change <= 0.0:
        raise InputError(
            f"moves: {factor_id} = {value!r} takes its level {level:g} to {level + change:g}; a "
            "factor with log returns stays above zero: write a smaller fall"
        )
    return math.log1p(change / level)


def _parsed(factor_id: str, value: Any) -> tuple[float, str]:
    """The number and its unit, "" for a plain number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise InputError(f"moves: {factor_id} = {value}: not finite; give {EXAMPLES}")
        return float(value), ""
    match = _TEXT.match(value) if isinstance(value, str) else None
    if match is None:
        raise InputError(f"moves: {factor_id} = {value!r}: give {EXAMPLES}")
    return float(match[1]), match[2]


def _level_change(
    factor_id: str, number: float, unit: str, level: float, factor_unit: str, value: Any
) -> float:
    """Difference of the level that a text means."""
    if unit == "%":
        return level * number / 100.0
    if unit == "pts":
        return number
    if unit == "bp":
        if factor_unit == "per cent":
            return number / 100.0
        raise InputError(
            f"moves: {factor_id} = {value!r}: its level is in {factor_unit}, not in per cent; use "
            "% or pts"
        )
    if unit == factor_unit.split("/")[0] and "/" in factor_unit:
        return number
    raise InputError(
        f"moves: {factor_id} = {value!r}: its level is in {factor_unit}, of which {unit!r} is no "
        f"unit; give {EXAMPLES}"
    )
