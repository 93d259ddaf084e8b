"""What a risk parameter file holds, whatever its format: contracts, commodities, spreads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from engine.domain.arrays import Float64Array
from engine.domain.failures import Failure, FailureReason

OPTION_TYPES = ("OOP", "OOF", "OOC", "OOE", "OOS")
FLAT = "F"
"""Charge method of a spread: an amount for each spread formed. The only one that is read."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract with its risk array.

    Attributes
    ----------
    commodity : str
        Combined commodity.
    exchange, product, kind : str
        Of the product family: `FUT`, `PHY`, `OOP`, `OOF`, ...
    period : str
        Contract month or day as in the file: `202606` or `20260630`; of an option its own.
    right : str
        "C", "P" or "".
    strike : float
        NaN but for options.
    price, value_factor : float
        Price and contract value factor: their product is the value of one contract.
    premium_style : bool
        Whether the value of the option counts in the requirement.
    delta : float
        Composite delta times the delta scaling factor.
    losses : float64 array of shape (16,)
        Losses of one long contract, currency of the commodity.
    where : str
        File and line.
    """

    commodity: str
    exchange: str
    product: str
    kind: str
    period: str
    right: str
    strike: float
    price: float
    value_factor: float
    premium_style: bool
    delta: float
    losses: Float64Array
    where: str

    @property
    def key(self) -> tuple[str, str, str, str, str, float]:
        """Identity of the contract: exchange, product, kind, period, right, strike (0 if none)."""
        strike = 0.0 if math.isnan(self.strike) else self.strike
        return self.exchange, self.product, self.kind, self.period, self.right, strike


@dataclass(frozen=True, slots=True)
class Tier:
    """Contract periods from `start` to `end`, both included; "" is open."""

    number: int
    start: str
    end: str

    def holds(self, period: str) -> bool:
        """Whether the tier holds a period; months compare with days by their first six digits."""
        return (not self.start or _cut(period, self.start) >= self.start) and (
            not self.end or _cut(period, self.end) <= self.end
        )


@dataclass(frozen=True, slots=True)
class SpreadLeg:
    """Leg of a spread: one period, or a tier (0 is the whole commodity)."""

    commodity: str
    period: str
    tier: int
    side: int
    ratio: float


@dataclass(frozen=True, slots=True)
class FileSpread:
    """A spread; `rate` is an amount (inter-month) or a credit fraction (inter-commodity)."""

    priority: int
    rate: float
    legs: tuple[SpreadLeg, ...]


@dataclass(frozen=True, slots=True)
class SpotRate:
    """Charge for a period in delivery, per delta in spreads and per delta outright."""

    period: str
    spread_rate: float
    outright_rate: float


@dataclass(frozen=True, slots=True)
class Commodity:
    """Definition of a combined commodity.

    `som_method` is `GROSS` (short calls and puts are added) or `MAX` (the greater of the two).
    """

    code: str
    currency: str
    som_rate: float
    som_method: str = "GROSS"
    tiers: tuple[Tier, ...] = ()
    spreads: tuple[FileSpread, ...] = ()
    spot_rates: tuple[SpotRate, ...] = ()


@dataclass(frozen=True)
class SpanParameters:
    """A parameter file, or the commodities asked for.

    `inter_spreads` are the credits between commodities, legs by commodity.
    """

    format: str
    clearing_org: str
    business_date: str
    commodities: dict[str, Commodity]
    contracts: tuple[Contract, ...]
    inter_spreads: tuple[FileSpread, ...] = ()


class RecordError(Exception):
    """A record that cannot be used; the message says which value and what to do."""

    def __init__(self, item: str, message: str, unsupported: bool = False) -> None:
        super().__init__(message)
        self.item = item
        self.reason = FailureReason.UNSUPPORTED if unsupported else FailureReason.PARSING

    def failure(self, where: str) -> Failure:
        """Return the failure shown to the user."""
        return Failure(self.reason, self.item, where, str(self))


@dataclass
class Failures:
    """Failures of one file, capped so that a hostile file cannot fill the memory."""

    most: int = 10_000
    items: list[Failure] = field(default_factory=list)
    left_out: int = 0

    def add(self, failure: Failure) -> None:
        """Keep a failure, or count it once `most` are kept."""
        if len(self.items) < self.most:
            self.items.append(failure)
        else:
            self.left_out += 1

    def all(self, file: str) -> tuple[Failure, ...]:
        """Return the failures, the last of them saying how many more there were."""
        if not self.left_out:
            return tuple(self.items)
        message = f"{self.left_out} further failures are not listed; obtain the file again"
        return (*self.items, Failure(FailureReason.PARSING, file, file, message))


def number(item: str, name: str, text: str) -> float:
    """Return a finite number; anything else raises `RecordError`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise RecordError(item, f"{name} is {text[:40]!r}; give a finite number")
    return value


def whole(item: str, name: str, text: str) -> int:
    """Return a whole number; anything else raises `RecordError`."""
    value = number(item, name, text)
    if value != int(value):
        raise RecordError(item, f"{name} is {text[:40]!r}; give a whole number")
    return int(value)


def side_of(item: str, text: str) -> int:
    """Return +1 for market side A and -1 for B."""
    if text not in ("A", "B"):
        raise RecordError(item, f"side of a leg is {text[:40]!r}; it must be A or B")
    return 1 if text == "A" else -1


def _cut(period: str, bound: str) -> str:
    return period[: len(bound)]
