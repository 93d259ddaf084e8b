"""The lists the sample fund is generated from: products, brokers, dealers, desks.

Names of managers, brokers, dealers and lenders are invented. Contract sizes follow the listed
contracts, rounded; `note` says where a factor only stands in for the product's own market.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

BROKERS = {
    "ALD": "Aldgate Clearing",
    "BRW": "Brightwater Futures",
    "COR": "Corvane Securities",
    "DUN": "Dunmore Clearing",
    "EAS": "Eastmark Futures",
    "FEN": "Fenwick Clearing",
}
PRIME_BROKERS = {
    "PB1": "Aldgate Prime",
    "PB2": "Corvane Prime",
    "PB3": "Harrowgate Prime",
    "PB4": "Inverlea Prime",
}
MASTER, EUROPE, ASIA = "QMS Master Fund", "QMS Europe", "QMS Asia"
STOCKS = (
    "AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO",
    "LLY", "MRK", "MSFT", "PEP", "PFE", "PG", "RRC", "UNH", "WMT", "XOM",
)  # fmt: skip
STOCK_VOL = 0.32


@dataclass(frozen=True, slots=True)
class Product:
    """A family of instruments on one factor. `services` is empty for OTC and prime products."""

    product: str
    forms: tuple[str, ...]
    factor_id: str
    sector: str
    currency: str
    multiplier: float
    vol: float
    vol_factor_id: str
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manager:
    """One desk of the fund and the sectors it trades."""

    manager_id: str
    name: str
    strategy_id: str
    allocation_usd: float
    sectors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dealer:
    """A dealer group, with three CSAs, and the IM aimed at before thresholds."""

    group: str
    name: str
    tier: str
    im_usd: float


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """A clearing service the fund uses, through which brokers, and the IM aimed at."""

    service_id: str
    brokers: tuple[str, ...]
    im_usd: float


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("engine.fund.sample") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _products(name: str) -> list[Product]:
    return [
        Product(
            row["product"],
            tuple(row["form"].split(";")),
            row["factor_id"],
            row["sector"],
            row["currency"],
            float(row["multiplier"]),
            float(row["vol"]) if row["vol"] else 0.0,
            row["vol_factor_id"],
            tuple(row["services"].split(";")) if "services" in row else (),
        )
        for row in _rows(name)
    ]


@cache
def cleared_products() -> tuple[Product, ...]:
    """Return the products held at clearing services."""
    return tuple(_products("products.csv"))


@cache
def bilateral_products() -> tuple[Product, ...]:
    """Return the products held under CSAs."""
    return tuple(_products("otc_menu.csv"))


@cache
def prime_products() -> tuple[Product, ...]:
    """Return cash equities, and options on them, held at the prime brokers."""
    stocks = [Product(name, ("stock",), name, "stock", "USD", 1.0, 0.0, "", ()) for name in STOCKS]
    options = [
        Product(f"{name}O", ("option",), name, "stock", "USD", 100.0, STOCK_VOL, "VIX", ())
        for name in STOCKS
    ]
    return (*stocks, *options)


@cache
def managers() -> tuple[Manager, ...]:
    """Return the desks in order of id."""
    sectors = {row["strategy_id"]: tuple(row["sectors"].split(";")) for row in strategies()}
    return tuple(
        Manager(
            row["manager_id"],
            row["name"],
            row["strategy_id"],
            1e6 * float(row["allocation_usd_m"]),
            sectors[row["strategy_id"]],
        )
        for row in _rows("managers.csv")
    )


def strategies() -> list[dict[str, str]]:
    """Return strategy id, name, asset class and sectors (joined by `;`)."""
    return _rows("strategies.csv")


@cache
def dealers() -> tuple[Dealer, ...]:
    """Return the 25 dealer groups."""
    return tuple(
        Dealer(row["group"], row["name"], row["tier"], 1e6 * float(row["im_usd_m"]))
        for row in _rows("dealers.csv")
    )


@cache
def service_uses() -> tuple[ServiceUse, ...]:
    """Return the clearing services the fund uses."""
    return tuple(
        ServiceUse(
            row["service_id"], tuple(row["brokers"].split(";")), 1e6 * float(row["im_usd_m"])
        )
        for row in _rows("clearing.csv")
    )
