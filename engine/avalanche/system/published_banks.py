"""Balance sheets as the published fire-sale test builds them from four numbers of each bank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from engine.avalanche.system.rules import published_number
from engine.domain.failures import Failure, FailureReason

BANK_COLUMNS = ("bank_id", "CET1E", "leverage", "debt_sec", "govbonds")
RATIO_NAMES = ("leverage_minimum", "leverage_buffer", "leverage_target")


def bank_rows(
    path: Path, rows: Sequence[tuple[int, list[str]]]
) -> list[tuple[str, str, dict[str, float] | Failure]]:
    """Return id, place, and balance sheet (or failure) of each row.

    A row is `bank_id CET1E leverage debt_sec govbonds`, separated by spaces: capital, leverage in
    per cent, debt securities, government bonds (a number or a sum of numbers), EUR millions.
    """
    found: list[tuple[str, str, dict[str, float] | Failure]] = []
    for number, cells in rows:
        where = f"{path} row {number}"
        words = " ".join(cells).split()
        name = words[0] if words else ""
        found.append((name, where, _bank(name, words, where)))
    return found


def balance_sheet(
    capital: float, leverage: float, debt_securities: float, government: float
) -> dict[str, float]:
    """Return the balance sheet of a bank.

    Assets are capital / leverage, cash and repayable loans fixed shares of assets and of
    liabilities, corporate bonds the debt securities that are not government bonds. With capital 5,
    leverage 0.05, securities 20 and government bonds 12: assets 100, cash 5, corporate bonds 8,
    other assets 75, loans 47.5.
    """
    assets = capital / leverage
    cash = published_number("cash_share") * assets
    liabilities = assets - capital
    loans = published_number("repayable_share") * liabilities
    return {
        "cash": cash,
        "cash_buffer": 0.0,
        "other_assets": assets - debt_securities - cash,
        "repayable_debt": loans,
        "fixed_debt": liabilities - loans,
        "holding_corporate_bonds": debt_securities - government,
        "holding_government_bonds": government,
        "margin_corporate_bonds": 1.0,
        "margin_government_bonds": 1.0,
        **{name: published_number(name) for name in RATIO_NAMES},
    }


def _bank(name: str, words: Sequence[str], where: str) -> dict[str, float] | Failure:
    if len(words) != len(BANK_COLUMNS):
        message = f"has {len(words)} values; give {len(BANK_COLUMNS)}: {' '.join(BANK_COLUMNS)}"
        return Failure(FailureReason.PARSING, name, where, message)
    numbers = []
    for column, text in zip(BANK_COLUMNS[1:], words[1:], strict=True):
        value = _sum(text)
        if not math.isfinite(value):
            message = f"{column} is {text!r}; give a number, or numbers joined by +"
            return Failure(FailureReason.PARSING, name, where, message)
        numbers.append(value)
    capital, leverage, securities, government = numbers
    if not 0.0 < leverage < 100.0:
        message = f"leverage is {leverage:g}; give per cent above 0 and below 100"
        return Failure(FailureReason.INVALID, name, where, message)
    return balance_sheet(capital, leverage / 100.0, securities, government)


def _sum(text: str) -> float:
    try:
        return sum(float(part) for part in text.split("+"))
    except ValueError:
        return math.nan
