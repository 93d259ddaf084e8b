"""Did you mean: the nearest known name, or the same number in plain digits."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

NUMBER_PATTERN = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$"
_NUMBER = re.compile(NUMBER_PATTERN, re.ASCII)
_THOUSANDS = re.compile(r"^[+-]?\d{1,3}([,_' ]\d{3})+(\.\d+)?$", re.ASCII)
_PLAIN_GROUPS = re.compile(r"^[+-]?\d+(_\d+)+(\.\d+)?$", re.ASCII)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the known name nearest to `word`, or "" if none is near.

    A name that differs only in case or in spaces at the ends wins; otherwise the best match of
    `difflib` with a ratio of at least 0.6. `did_you_mean("CMEX", ["CME", "LCH"]) == "CME"`.

    Parameters
    ----------
    word : str
        What the user wrote.
    known : iterable of str
        Names that would have been accepted.

    Returns
    -------
    str
        One of `known`, or "".
    """
    names = list(known)
    folded = _fold(word)
    for name in names:
        if _fold(name) == folded:
            return name
    if not folded:
        return ""
    by_fold = {_fold(name): name for name in names}
    near = difflib.get_close_matches(folded, by_fold, n=1, cutoff=0.6)
    return by_fold[near[0]] if near else ""


def plain_number(text: str) -> str:
    """Return `text` as the plain number it most likely meant, or "".

    Handles spaces at the ends, digits of other scripts, thousands separators and accounting
    brackets. `plain_number("(1,000)") == "-1000"`; `plain_number("1.2.3") == ""`.
    """
    digits = "".join(_ascii_digit(character) for character in text).strip()
    if digits.startswith("(") and digits.endswith(")"):
        digits = "-" + digits[1:-1].strip()
    digits = digits.replace("\N{MINUS SIGN}", "-")
    if _THOUSANDS.match(digits) or _PLAIN_GROUPS.match(digits):
        digits = re.sub(r"[,_' ]", "", digits)
    return digits if digits != text and _NUMBER.match(digits) else ""


def _fold(word: str) -> str:
    return word.strip().casefold()


def _ascii_digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)
