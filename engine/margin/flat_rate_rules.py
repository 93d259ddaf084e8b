"""The rulebook of flat rates: reading it, and finding the rate of an asset class at a venue."""

from __future__ import annotations

import csv
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

import engine.rulebooks
from engine.domain.failures import InputError

RATES_FILE = Path(engine.rulebooks.__file__).with_name("flat_rates.csv")
ALWAYS = date(1900, 1, 1)


class FlatRate(BaseModel):
    """One rate: a share of notional for an asset class at a venue.

    Attributes
    ----------
    venue : str
        `agreements.venue`; "" is every venue without a row of its own for the asset class.
    asset_class : str
        Of the instrument's factor.
    margin_group : str
        Group of factors within the asset class; "" where a factor is in none.
    netting : {"gross", "net"}
        `net`: longs and shorts on one factor are set off. `gross`: only those in one instrument.
    rate : float
        Fraction of notional.
    effective : date
        First date of the rate; `ALWAYS` where it is not known.
    mark : {"verified", "indicative", "user"}
    source, note : str
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: str = ""
    asset_class: Literal["equity", "rates", "credit", "fx", "commodity", "volatility"]
    margin_group: str = ""
    netting: Literal["gross", "net"] = "gross"
    rate: float = Field(ge=0.0, le=10.0, allow_inf_nan=False)
    effective: date = ALWAYS
    mark: Literal["verified", "indicative", "user"] = "user"
    source: str = "user"
    note: str = ""


def read_flat_rates(path: Path = RATES_FILE) -> tuple[str, tuple[FlatRate, ...]]:
    """Read a rulebook of flat rates: its version and its rows in the order of the file.

    Raises
    ------
    InputError
        With file and line: a missing version line, or a row that is malformed or repeated.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].startswith("# version: "):
        raise InputError(f"{path.name}: first line must be '# version: ...'; restore the file")
    version = lines[0].removeprefix("# version: ").split("|")[0].strip()
    rates: list[FlatRate] = []
    seen: set[tuple[str, str, str, date]] = set()
    for number, row in enumerate(csv.DictReader(lines[1:]), start=3):
        try:
            rate = FlatRate.model_validate({k: v for k, v in row.items() if k != "effective" or v})
        except ValueError as error:
            raise InputError(f"{path.name} line {number}: {error}; correct the row") from error
        key = (rate.venue, rate.asset_class, rate.margin_group, rate.effective)
        if key in seen:
            raise InputError(f"{path.name} line {number}: {key} is repeated; remove one")
        seen.add(key)
        rates.append(rate)
    return version, tuple(rates)


@cache
def packaged_rates() -> tuple[str, tuple[FlatRate, ...]]:
    """Return version and rows of the packaged rulebook, read once."""
    return read_flat_rates()


def find_rate(
    rates: tuple[FlatRate, ...], venue: str, asset_class: str, margin_group: str, as_of: date
) -> tuple[FlatRate | None, bool]:
    """Return the rate for a date, and whether it was in force then.

    The venue's own rows come before those of every venue. Of the rows of one venue the latest in
    force by `as_of` is taken; before the first one, that first one with False. None if no row
    matches. Equal dates: the first row. HKSCC equity without a group on 2026-11-20: 0.12.
    """
    for name in dict.fromkeys((venue, "")):
        rows = [
            r
            for r in rates
            if (r.venue, r.asset_class, r.margin_group) == (name, asset_class, margin_group)
        ]
        known = [r for r in rows if r.effective <= as_of]
        if known:
            return max(known, key=lambda r: r.effective), True
        if rows:
            return min(rows, key=lambda r: r.effective), False
    return None, False
