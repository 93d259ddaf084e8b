"""Numbers of the scan-based family, read from `engine/rulebooks/span.json`, with their marks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import engine.rulebooks
from engine.domain.failures import InputError
from engine.domain.market import ASSET_CLASSES, FactorTable

RULEBOOK_FILE = Path(engine.rulebooks.__file__).parent / "span.json"
EQUITY_CLASSES = ("equity_index", "equity_single")
PRODUCT_CLASSES = (*EQUITY_CLASSES, *(name for name in ASSET_CLASSES if name != "equity"))
# Buckets of the standard model that hold indices, funds and volatility indices.
INDEX_SIMM_BUCKETS = ("11", "12")

Mark = Literal["verified", "indicative"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClassRule(_Frozen):
    """Rates of one product class; units in the file.

    `calendar_rate` and its base: a fraction of the price scan range, or of the price.
    `short_option_minimum` and `delivery_rate` are fractions of the price scan range.
    """

    price_scan_floor: Fraction
    volatility_scan: Fraction
    volatility_scan_floor: Fraction
    calendar_rate: Fraction
    calendar_base: Literal["scan", "price"]
    delivery_rate: Fraction
    short_option_minimum: Fraction
    exposure_rate: Fraction


class LongDated(_Frozen):
    """A higher floor on the price scan range of options that expire after `days`."""

    class_: Literal[PRODUCT_CLASSES] = Field(alias="class")  # type: ignore[valid-type]
    days: int = Field(ge=1)
    floor: Fraction


class VenueRule(_Frozen):
    """How a venue sets its scan ranges.

    `price_scan_multiple` and `price_scan_days` None: the normal quantile of the agreement's
    confidence, and its margin period of risk. `volatility_scan_base`: fraction of implied
    volatility, or of the annualised volatility of the underlying.
    """

    price_scan_multiple: float | None = Field(gt=0.0)
    price_scan_days: int | None = Field(ge=1)
    volatility_scan_base: Literal["implied", "ewma"]
    option_style: Literal["premium", "futures"]
    long_dated: LongDated | None
    mark: Mark
    classes: dict[Literal[PRODUCT_CLASSES], ClassRule]  # type: ignore[valid-type]


class Marked(_Frozen):
    """A number with its mark."""

    value: int = Field(ge=0)
    mark: Mark


class ExtremeMove(_Frozen):
    """Extreme scenarios."""

    multiple: float = Field(gt=1.0)
    covered_fraction: float = Field(gt=0.0, le=1.0)
    mark: Mark


class CompositeDelta(_Frozen):
    """Price moves in thirds of the scan range and their probabilities."""

    price_thirds: tuple[int, ...]
    weights: tuple[Fraction, ...]
    mark: Mark

    @model_validator(mode="after")
    def _sums_to_one(self) -> CompositeDelta:
        if len(self.price_thirds) != len(self.weights) or abs(sum(self.weights) - 1.0) > 1e-9:
            raise ValueError(f"weights {self.weights} must be one per move and sum to 1")
        return self


class PeriodBounds(_Frozen):
    """Days to expiry at which one period of the calendar ends and the next begins."""

    value: tuple[int, ...]
    mark: Mark


class CreditPair(_Frozen):
    """Credit between two liquidity buckets for opposite deltas."""

    a: str
    b: str
    credit: Fraction


class Credits(_Frozen):
    """Credits by pair, in order of priority."""

    mark: Mark
    pairs: tuple[CreditPair, ...]


class SpanRulebook(_Frozen):
    """The whole file."""

    rulebook: Literal["span"]
    version: str
    source: str
    units: str
    extreme_move: ExtremeMove
    look_ahead_days: Marked
    composite_delta: CompositeDelta
    period_bounds_days: PeriodBounds
    delivery_days: Marked
    default: VenueRule
    venues: dict[str, VenueRule]
    inter_commodity_credits: Credits

    @model_validator(mode="after")
    def _default_is_complete(self) -> SpanRulebook:
        missing = [name for name in PRODUCT_CLASSES if name not in self.default.classes]
        if missing:
            raise ValueError(f"default.classes lacks {', '.join(missing)}")
        return self

    @property
    def rulebook_id(self) -> str:
        """Id for provenance."""
        return f"{self.rulebook}:{self.version}"


@dataclass(frozen=True)
class RuleInForce:
    """Rule of a product class at a venue, and whether it is the venue's own."""

    rule: ClassRule
    mark: str


@lru_cache(maxsize=4)
def load_rulebook(path: Path = RULEBOOK_FILE) -> SpanRulebook:
    """Return the rulebook; `load_rulebook().extreme_move.multiple` is 2.0.

    Raises
    ------
    InputError
        If the file cannot be read or a number is missing, of the wrong type or out of range.
    """
    try:
        return SpanRulebook.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{path.name}: {error}; correct or restore the file") from error


def venue_rule(book: SpanRulebook, venue: str) -> VenueRule:
    """Return the rule of a venue by its service id, or the default one."""
    return book.venues.get(venue, book.default)


def class_rule(book: SpanRulebook, venue: str, product_class: str) -> RuleInForce:
    """Return the venue's rule of a class, else the default one, which is indicative."""
    own = venue_rule(book, venue)
    if product_class in own.classes:
        return RuleInForce(own.classes[product_class], own.mark)
    return RuleInForce(book.default.classes[product_class], book.default.mark)


def product_classes(factors: FactorTable) -> np.ndarray:
    """Return the product class of each factor, shape (n_factors,).

    The asset class; equity is split in index and single stocks by the factor's standard-model
    bucket (11 and 12 are indices). An equity factor without a bucket counts as a single stock,
    whose floors are higher.
    """
    index = np.isin(factors.simm_bucket, INDEX_SIMM_BUCKETS)
    equity = np.asarray(factors.asset_class == "equity")
    split = np.where(index, "equity_index", "equity_single").astype(np.object_)
    return np.where(equity, split, factors.asset_class)
