"""Collateral under a CSA: eligible assets, haircuts, and the cheapest set that meets a call.

All amounts are exact: money is int64 cents and ratios are fractions, so no cent is lost or made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from engine.domain.book import Book
from engine.domain.failures import InputError
from engine.domain.money import to_cents
from engine.margin.calls.currency_netting import rate_of
from engine.margin.calls.haircuts import currency_mismatch_haircut, value_after_haircut
from engine.margin.calls.margin_call import MarginCall

CASH = "cash"


@dataclass(frozen=True, slots=True)
class CollateralTerms:
    """What a CSA accepts.

    `eligible` are asset classes; () is cash only. A class accepts its parts: `government bond`
    accepts `government bond to 1y`. Cash is always accepted. `fx_haircut` is added to the haircut
    of an asset in another currency than `currency`, cash too.
    """

    currency: str
    eligible: tuple[str, ...]
    fx_haircut: Fraction


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset the fund may post, seen from one legal entity.

    Attributes
    ----------
    market_value_cents : int
        In cents of `currency`.
    haircut : Fraction
        Before any currency mismatch, at least 0 and below 1.
    cost_bp : float
        What a year of posting it costs, in basis points of its market value: funding of cash,
        lending fee forgone of a bond. Decides the order.
    lot_cents : int
        Smallest amount that can be delivered, in market value.
    """

    asset_id: str
    legal_entity: str
    asset_class: str
    currency: str
    market_value_cents: int
    haircut: Fraction
    cost_bp: float
    lot_cents: int


@dataclass(frozen=True, slots=True)
class Pledge:
    """Part of an asset: market value in its currency, and value after haircut in the call's."""

    asset_id: str
    currency: str
    market_value_cents: int
    value_cents: int
    haircut: Fraction
    cost_usd_a_year: float


@dataclass(frozen=True, slots=True)
class Selection:
    """What is posted for a call; `shortfall_cents` is what no eligible asset could cover.

    `value_cents + shortfall_cents - excess_cents` is the amount of the call. The excess comes of
    whole lots and of cents of another currency.
    """

    call_id: str
    currency: str
    pledges: tuple[Pledge, ...]
    value_cents: int
    excess_cents: int
    shortfall_cents: int
    not_eligible: tuple[str, ...]


def total_haircut(asset: Asset, terms: CollateralTerms) -> Fraction:
    """Haircut with the currency mismatch added, at most 1.

    A bond with 2 per cent in another currency than the CSA's has 10 per cent, not 9.84: the two
    are added.
    """
    mismatch = terms.fx_haircut if asset.currency != terms.currency else Fraction(0)
    return min(Fraction(1), asset.haircut + mismatch)


def is_eligible(asset: Asset, terms: CollateralTerms) -> bool:
    """Whether the CSA accepts the asset's class; `_` and spaces, capitals and small are alike."""
    name = _plain(asset.asset_class)
    if name == CASH:
        return True
    accepted = [_plain(each) for each in terms.eligible]
    return any(name == each or name.startswith(f"{each} ") for each in accepted)


def select_collateral(
    call: MarginCall,
    inventory: Iterable[Asset],
    terms: CollateralTerms,
    fx_usd: Mapping[str, float],
) -> Selection:
    """Return the cheapest eligible assets of the paying entity that meet a call.

    Assets are used in the order of their yearly cost per unit of value after haircut, then of
    haircut, then of id. Each is used as far as needed: the last one in the fewest lots that
    cover the rest.

    Parameters
    ----------
    call : MarginCall
        Paid by the fund.
    inventory : iterable of Asset
        Each id once. Assets of another legal entity are not touched.
    fx_usd : mapping of currency to USD per unit

    Raises
    ------
    InputError
        If the call is received, an id is repeated, an amount or haircut is out of range, or a
        currency has no rate.

    Notes
    -----
    Cheapest first is optimal for one call, up to the last lot. It is not for several calls with
    different terms, which compete for the same assets.

    Examples
    --------
    A call of 100.00 USD; bills worth 60.00 at 0.5 per cent cost 1 bp, cash costs 10 bp: all
    bills (59.70) and 40.30 cash.
    """
    assets = tuple(inventory)
    _check(call, assets)
    own = [asset for asset in assets if asset.legal_entity == call.legal_entity]
    refused = tuple(asset.asset_id for asset in own if not is_eligible(asset, terms))
    usable = [
        asset for asset in own if is_eligible(asset, terms) and total_haircut(asset, terms) < 1
    ]
    usable.sort(key=lambda asset: _order(asset, terms))
    left, pledges = call.amount_cents, []
    for asset in usable:
        if left <= 0:
            break
        pledge = _pledge(asset, left, call, terms, fx_usd)
        if pledge is not None:
            pledges.append(pledge)
            left -= pledge.value_cents
    return Selection(
        call_id=call.call_id,
        currency=call.currency,
        pledges=tuple(pledges),
        value_cents=call.amount_cents - left,
        excess_cents=max(0, -left),
        shortfall_cents=max(0, left),
        not_eligible=refused,
    )


def after_pledging(inventory: Iterable[Asset], selection: Selection) -> tuple[Asset, ...]:
    """Return the inventory less what was pledged, so that the next call cannot use it again."""
    used = {pledge.asset_id: pledge.market_value_cents for pledge in selection.pledges}
    left = []
    for asset in inventory:
        rest = asset.market_value_cents - used.get(asset.asset_id, 0)
        assert rest >= 0
        left.append(
            Asset(
                asset.asset_id, asset.legal_entity, asset.asset_class, asset.currency, rest,
                asset.haircut, asset.cost_bp, asset.lot_cents,
            )
        )  # fmt: skip
    return tuple(left)


def securities_of(
    book: Book, cost_bp: Mapping[str, float], lot_cents: int = 1
) -> tuple[Asset, ...]:
    """Return the book's unencumbered securities as assets; haircuts are those of the book.

    `cost_bp` maps asset class to yearly cost; a class without one is an InputError.
    """
    held = book.collateral
    missing = sorted(set(map(str, held.asset_class)) - set(cost_bp))
    if missing:
        raise InputError(f"no cost_bp for asset class {missing[0]!r}; give one for each class")
    return tuple(
        Asset(
            asset_id=str(held.asset_id[i]),
            legal_entity=str(held.legal_entity[i]),
            asset_class=str(held.asset_class[i]),
            currency=str(held.currency[i]),
            market_value_cents=int(to_cents(held.market_value[i])),
            haircut=Fraction(str(held.haircut[i])),
            cost_bp=cost_bp[str(held.asset_class[i])],
            lot_cents=lot_cents,
        )
        for i in range(len(held.asset_id))
    )


def terms_of(book: Book, row: int) -> CollateralTerms:
    """Return the collateral terms of an agreement, with the supervisory currency haircut."""
    agreements = book.agreements
    return CollateralTerms(
        currency=str(agreements.currency[row]),
        eligible=tuple(str(name) for name in agreements.eligible_collateral[row]),
        fx_haircut=currency_mismatch_haircut(),
    )


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())


def _order(asset: Asset, terms: CollateralTerms) -> tuple[float, Fraction, str]:
    haircut = total_haircut(asset, terms)
    return (asset.cost_bp / float(1 - haircut), haircut, asset.asset_id)


def _pledge(
    asset: Asset, left: int, call: MarginCall, terms: CollateralTerms, fx_usd: Mapping[str, float]
) -> Pledge | None:
    """Fewest lots of the asset that are worth `left` cents, or all its lots; None if worthless."""
    asset_usd = rate_of(asset.currency, fx_usd)
    fx = Fraction(1)
    if asset.currency != call.currency:
        fx = Fraction(asset_usd) / Fraction(rate_of(call.currency, fx_usd))
    haircut = total_haircut(asset, terms)
    lots_needed = math.ceil(left / ((1 - haircut) * fx * asset.lot_cents))
    lots = min(lots_needed, asset.market_value_cents // asset.lot_cents)
    market_value = lots * asset.lot_cents
    value = value_after_haircut(market_value, haircut, fx)
    if value <= 0:
        return None
    return Pledge(
        asset_id=asset.asset_id,
        currency=asset.currency,
        market_value_cents=market_value,
        value_cents=value,
        haircut=haircut,
        cost_usd_a_year=market_value / 100 * asset_usd * asset.cost_bp / 1e4,
    )


def _check(call: MarginCall, assets: tuple[Asset, ...]) -> None:
    if call.direction != "pay":
        raise InputError(f"call {call.call_id} is received, not paid; select nothing for it")
    seen: set[str] = set()
    for asset in assets:
        if asset.asset_id in seen:
            raise InputError(f"asset {asset.asset_id!r} is listed twice; it could be used twice")
        seen.add(asset.asset_id)
        if asset.market_value_cents < 0 or not 0 <= asset.haircut < 1 or asset.lot_cents < 1:
            raise InputError(
                f"asset {asset.asset_id!r}: value {asset.market_value_cents}, haircut "
                f"{float(asset.haircut):g}, lot {asset.lot_cents}; value must not be negative, "
                "haircut 0 to below 1, lot at least 1"
            )
        if not math.isfinite(asset.cost_bp):
            raise InputError(f"asset {asset.asset_id!r}: cost_bp is {asset.cost_bp}; give a number")
