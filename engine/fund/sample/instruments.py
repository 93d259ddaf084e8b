"""The instrument catalogue: listed months and strikes, OTC forwards, options, swaps and TRS.

Everything is built from the market's levels, so that strikes are near the money and swaps near
par on any date. Random numbers are not used here: the catalogue is fixed by the market alone.
"""

from __future__ import annotations

import calendar
import math
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.fund.sample.tables import Product

COLUMNS = (
    "instrument_id", "kind", "factor_id", "currency", "multiplier", "expiry", "strike", "right",
    "fixed_rate", "tenor_years", "vol", "vol_factor_id",
)  # fmt: skip
FORWARD_DAYS = (9, 30, 61, 92, 182, 273, 365, 548, 730)
FORWARD_OFFSETS = (-0.02, 0.0, 0.015)
# Distance of strikes in standard deviations to expiry; puts below zero, calls above, both at zero.
STRIKE_DEVIATIONS = (-2.0, -1.25, -0.6, 0.0, 0.6, 1.25, 2.0)
# A cap, or two years at the volatility of gas would put strikes at ten times the level.
MAX_DEVIATION = 0.45
# Slope and curvature of implied volatility per standard deviation, by sector.
SMILES = {"index": (-0.06, 0.015), "stock": (-0.03, 0.015), "volatility": (0.08, 0.02)}
DEFAULT_SMILE = (0.0, 0.015)
SWAP_OFFSETS = (-0.45, -0.2, 0.0, 0.15, 0.35)
CDS_TENORS = (3.0, 5.0, 7.0, 10.0)
CDS_COUPONS = {"IG": 1.0, "ITRX": 1.0, "HY": 5.0, "ITRXX": 5.0}
BOND_COUPONS = (-1.0, 0.0)
TRS_OFFSETS = (-0.05, -0.02, 0.0, 0.03)


@dataclass(frozen=True)
class Catalogue:
    """Instrument rows (columns of the pack) and the row numbers of each product."""

    frame: pd.DataFrame
    rows_of: dict[str, list[int]]


def build_catalogue(products: tuple[Product, ...], market: MarketState) -> Catalogue:
    """Return every instrument of `products` at the market's levels.

    Raises
    ------
    InputError
        If the market lacks a factor a product needs, or two products have one name.
    """
    level = dict(zip(market.factors.factor_id, market.level, strict=True))
    rows: list[dict[str, object]] = []
    rows_of: dict[str, list[int]] = {}
    for product in products:
        if product.product in rows_of:
            raise InputError(
                f"sample fund: two products are named {product.product!r}, so that positions of "
                "one would be drawn from the other; rename one in products.csv or otc_menu.csv"
            )
        for factor in filter(None, (product.factor_id, product.vol_factor_id)):
            if factor not in level:
                raise InputError(
                    f"sample fund, product {product.product!r}: the market has no factor "
                    f"{factor!r}; generate the sample with the packaged factors"
                )
        start = len(rows)
        for form in product.forms:
            rows.extend(_instruments(product, form, float(level[product.factor_id]), market.as_of))
        rows_of[product.product] = list(range(start, len(rows)))
    return Catalogue(pd.DataFrame(rows, columns=list(COLUMNS)), rows_of)


def listed_expiries(as_of: date, count: int) -> list[date]:
    """Return the third Fridays after `as_of`: three monthly, then quarterly ones.

    From 2022-12-28 the first is 2023-01-20 and the fourth 2023-06-16.
    """
    expiries: list[date] = []
    year, month = as_of.year, as_of.month
    while len(expiries) < count:
        third = _third_friday(year, month)
        if third > as_of + timedelta(days=2) and (len(expiries) < 3 or month % 3 == 0):
            expiries.append(third)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return expiries


def option_expiries(as_of: date) -> list[date]:
    """Return a weekly expiry, seven listed ones and a two-year one."""
    weekly = as_of + timedelta(days=5 + (4 - (as_of + timedelta(days=5)).weekday()) % 7)
    return [weekly, *listed_expiries(as_of, 6), as_of + timedelta(days=721)]


def nice(value: float, share: float = 0.005) -> float:
    """Round to a step of 1, 2.5 or 5 times a power of ten near `share` of the value.

    `nice(3783.2) == 3775.0`: half a per cent is 18.9, so the step is 25.
    """
    target = abs(value) * share
    power = 10.0 ** math.floor(math.log10(target))
    step = min((1.0, 2.5, 5.0, 10.0), key=lambda s: abs(math.log(s * power / target))) * power
    return float(f"{round(value / step) * step:.10g}")


def tenor_of(factor_id: str) -> float:
    """Return the maturity in a rate factor's id: `tenor_of("UST10") == 10.0`."""
    return float("".join(c for c in factor_id if c.isdigit()))


def _third_friday(year: int, month: int) -> date:
    first = date(year, month, 1)
    return date(year, month, 15 + (calendar.FRIDAY - first.weekday()) % 7)


def _row(product: Product, kind: str, suffix: str, **terms: object) -> dict[str, object]:
    return {
        "instrument_id": f"{product.product}-{suffix}" if suffix else product.product,
        "kind": kind,
        "factor_id": product.factor_id,
        "currency": product.currency,
        "multiplier": product.multiplier,
        **terms,
    }


def _instruments(product: Product, form: str, level: float, as_of: date) -> list[dict[str, object]]:
    if form in ("future", "rate_future"):
        months = listed_expiries(as_of, 4 if form == "rate_future" else 6)
        return [_row(product, form, f"{day:%y%m}") for day in months]
    if form in ("basket", "stock"):
        return [_row(product, "equity", "")]
    if form == "option":
        return _options(product, level, as_of)
    if form == "fx_forward":
        return _forwards(product, level, as_of)
    if form == "trs":
        strikes = [nice(level * (1.0 + x), 0.01) for x in TRS_OFFSETS]
        return [_row(product, "trs", f"{k:g}", strike=k) for k in dict.fromkeys(strikes)]
    return _curve(product, form, level)


def _options(product: Product, level: float, as_of: date) -> list[dict[str, object]]:
    slope, curvature = SMILES.get(product.sector, DEFAULT_SMILE)
    rows = []
    for day in option_expiries(as_of):
        years = (day - as_of).days / 365.0
        deviation = min(MAX_DEVIATION, product.vol * math.sqrt(years))
        strikes: set[tuple[float, str]] = set()
        for k in STRIKE_DEVIATIONS:
            strike = nice(level * math.exp(k * deviation))
            vol = round(product.vol * (1.0 + slope * k + curvature * k * k), 4)
            for right in "PC" if k == 0 else ("P" if k < 0 else "C"):
                if (strike, right) in strikes:
                    continue
                strikes.add((strike, right))
                rows.append(
                    _row(
                        product,
                        "option",
                        f"{day:%y%m%d}{right}{strike:g}",
                        expiry=day,
                        strike=strike,
                        right=right,
                        vol=vol,
                        vol_factor_id=product.vol_factor_id,
                    )  # fmt: skip
                )
    return rows


def _forwards(product: Product, level: float, as_of: date) -> list[dict[str, object]]:
    rows = []
    for days in FORWARD_DAYS:
        day = as_of + timedelta(days=days)
        for letter, offset in zip("ABC", FORWARD_OFFSETS, strict=True):
            strike = nice(level * (1.0 + offset), 0.001)
            rows.append(
                _row(product, "fx_forward", f"{day:%y%m%d}{letter}", expiry=day, strike=strike)
            )
    return rows


def _curve(product: Product, form: str, level: float) -> list[dict[str, object]]:
    if form == "cds":
        coupon = CDS_COUPONS[product.factor_id]
        return [
            _row(product, "cds", f"{tenor:g}Y", fixed_rate=coupon, tenor_years=tenor)
            for tenor in CDS_TENORS
        ]
    tenor = tenor_of(product.factor_id)
    offsets = SWAP_OFFSETS if form == "swap" else BOND_COUPONS
    step = 0.05 if form == "swap" else 0.125
    rates = dict.fromkeys(max(0.0, round(round((level + x) / step) * step, 3)) for x in offsets)
    return [_row(product, form, f"R{rate:g}", fixed_rate=rate, tenor_years=tenor) for rate in rates]
