"""Reading institutions from a CSV file: one row each; a bad row is left out and reported."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.avalanche.system.institutions import AMOUNTS, RATIOS, Institutions
from engine.avalanche.system.published_banks import BANK_COLUMNS, bank_rows
from engine.avalanche.system.rules import published_number
from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.fund.suggest import did_you_mean, plain_number

HOLDING, MARGIN = "holding_", "margin_"
REQUIRED = ("institution_id", "cash", "other_assets", "repayable_debt", "fixed_debt")
OPTIONAL = ("cash_buffer", *RATIOS)

Cells = dict[str, str]
Numbers = dict[str, float]


def read_institutions(path: Path, unit: str = "m") -> Partial[Institutions]:
    """Read a system of institutions.

    Parameters
    ----------
    path : Path
        CSV with a header. Columns `institution_id`, `cash`, `other_assets`, `repayable_debt`,
        `fixed_debt` and `holding_ASSET` for at least one asset; further `cash_buffer` (blank: 0),
        `leverage_minimum`, `leverage_buffer`, `leverage_target` (blank: those of the published
        test) and `margin_ASSET` (blank: 1, owned outright). A file of banks with the columns
        `bank_id,CET1E,leverage,debt_sec,govbonds` is read as in the published test; its unit is
        `EUR m`.
    unit : str
        Currency and scale of the amounts, for display.

    Returns
    -------
    Partial[Institutions]
        The rows that can be used; one Failure for each other row.

    Raises
    ------
    InputError
        If the file cannot be read, a column is unknown, twice or missing, or no row can be used.
    """
    header, rows = _table(path)
    if tuple(header) == BANK_COLUMNS:
        banks = bank_rows(path, rows)
        return _collected(path, banks, ("corporate_bonds", "government_bonds"), "EUR m")
    assets = _assets(path, header)
    parsed: list[Numbers | Failure] = []
    names = []
    for number, cells in rows:
        where = f"{path} row {number}"
        if len(cells) != len(header):
            text = f"has {len(cells)} cells, the header has {len(header)}; give one for each column"
            parsed.append(Failure(FailureReason.PARSING, cells[0] if cells else "", where, text))
            names.append("")
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        names.append(row["institution_id"])
        parsed.append(_numbers(row, assets, where))
    places = [f"{path} row {number}" for number, _ in rows]
    return _collected(path, list(zip(names, places, parsed, strict=True)), assets, unit)


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows that are not blank, each with its line number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; name a CSV file of institutions") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a CSV file in UTF-8") from error
    if not header or not rows:
        raise InputError(f"{path}: has no rows; give a header and one row for each institution")
    return header, rows


def _assets(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    """Check the columns and return the assets in their order."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} appears twice; keep one of them")
    assets = tuple(name.removeprefix(HOLDING) for name in header if name.startswith(HOLDING))
    known = [*REQUIRED, *OPTIONAL, *(HOLDING + a for a in assets), *(MARGIN + a for a in assets)]
    for name in header:
        if name not in known:
            near = did_you_mean(name, known)
            hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"{path}: unknown column {name!r}; {hint}")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InputError(f"{path}: column {missing[0]!r} is missing; add it")
    if not assets or "" in assets:
        raise InputError(f"{path}: no asset; add a column 'holding_ASSET' for each common asset")
    return assets


def _numbers(row: Cells, assets: Sequence[str], where: str) -> Numbers | Failure:
    """Turn the cells of a row into numbers, or say which of them is none."""
    defaults = {"cash_buffer": 0.0, **{name: published_number(name) for name in RATIOS}}
    defaults |= {MARGIN + asset: 1.0 for asset in assets}
    fields = [*REQUIRED[1:], *OPTIONAL, *(HOLDING + a for a in assets)]
    found: Numbers = {}
    for name in [*fields, *(MARGIN + asset for asset in assets)]:
        text = row.get(name, "")
        if not text and name in defaults:
            found[name] = defaults[name]
            continue
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = math.nan
        if not math.isfinite(found[name]):
            plain = plain_number(text)
            hint = f"did you mean {plain}?" if plain else "give a number"
            message = f"{name} is {text!r}; {hint}"
            return Failure(FailureReason.PARSING, row["institution_id"], where, message)
    return found


def _collected(
    path: Path,
    rows: Sequence[tuple[str, str, Numbers | Failure]],
    assets: Sequence[str],
    unit: str,
) -> Partial[Institutions]:
    """Keep the rows that make an institution, and say of each other row why it does not."""
    kept: list[tuple[str, Numbers]] = []
    failures = []
    for name, where, found in rows:
        problem = found if isinstance(found, Failure) else _problem(name, where, found, assets)
        if problem is None and name in (other for other, _ in kept):
            problem = Failure(
                FailureReason.INVALID, name, where, f"{name!r} appears twice; make every id unique"
            )
        if problem is None and not isinstance(found, Failure):
            kept.append((name, found))
        elif problem is not None:
            failures.append(problem)
    if not kept:
        first = failures[0]
        raise InputError(
            f"{path}: not a row can be used; the first: {first.where}: {first.message}"
        )
    return Partial(_institutions(kept, assets, unit), tuple(failures))


def _problem(name: str, where: str, found: Numbers, assets: Sequence[str]) -> Failure | None:
    if not name:
        return Failure(FailureReason.INVALID, "", where, "institution_id is blank; give an id")
    try:
        _institutions([(name, found)], assets, "")
    except InputError as error:
        return Failure(FailureReason.INVALID, name, where, str(error))
    return None


def _institutions(
    rows: Sequence[tuple[str, Numbers]], assets: Sequence[str], unit: str
) -> Institutions:
    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([found[name] for _, found in rows], dtype=np.float64)

    return Institutions(
        unit=unit,
        institution_id=np.array([name for name, _ in rows], dtype=object),
        asset_id=np.array(assets, dtype=object),
        holding=np.stack([column(HOLDING + asset) for asset in assets], axis=1),
        margin=np.stack([column(MARGIN + asset) for asset in assets], axis=1),
        **{name: column(name) for name in (*AMOUNTS, *RATIOS)},
    )
