"""Small markets, instruments and books for pricing tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import date
from typing import Any

import numpy as np
import pytest

from engine.domain.agreements import Agreements
from engine.domain.book import (
    Book,
    Cash,
    Collateral,
    Facilities,
    Instruments,
    Managers,
    Positions,
    Settlements,
    Strategies,
)
from engine.domain.market import FactorTable, MarketState

AS_OF = date(2022, 12, 28)

# factor_id, class, currency, return type, level, risk type, qualifier, bucket, label1, label2
FACTORS = [
    ("SPX", "equity", "USD", "log", 3800.0, "Risk_Equity", "SPX", "11", "", ""),
    ("SX5E", "equity", "EUR", "log", 3800.0, "Risk_Equity", "SX5E", "11", "", ""),
    ("UST10", "rates", "USD", "absolute", 4.0, "Risk_IRCurve", "USD", "1", "10y", "OIS"),
    ("SOFR3M", "rates", "USD", "absolute", 4.5, "Risk_IRCurve", "USD", "1", "3m", ""),
    ("CDXIG", "credit", "USD", "log", 0.8, "Risk_CreditQ", "CDXIG", "7", "5y", ""),
    ("EURUSD", "fx", "USD", "log", 1.06, "Risk_FX", "EUR", "", "", ""),
    ("USDJPY", "fx", "JPY", "log", 134.0, "Risk_FX", "USDJPY", "", "", ""),
    ("WTI", "commodity", "USD", "absolute", 79.0, "Risk_Commodity", "WTI", "2", "", ""),
    ("VIX", "volatility", "USD", "log", 22.0, "Risk_Equity", "VIX", "12", "", ""),
    ("OVX", "volatility", "USD", "absolute", 40.0, "Risk_Equity", "OVX", "12", "", ""),
    ("CPW", "commodity", "USD", "absolute", -37.63, "Risk_Commodity", "CPW", "2", "", ""),
]
FACTOR_INDEX = {row[0]: i for i, row in enumerate(FACTORS)}
FX_USD = {"USD": 1.0, "EUR": 1.06, "JPY": 1 / 134.0}


def _text(values: list[Any]) -> np.ndarray:
    return np.array(values, dtype=np.object_)


@pytest.fixture
def make_market() -> Callable[..., MarketState]:
    def make(**levels: float) -> MarketState:
        n = len(FACTORS)
        columns = list(zip(*FACTORS, strict=True))
        factors = FactorTable(
            factor_id=_text(list(columns[0])),
            asset_class=_text(list(columns[1])),
            currency=_text(list(columns[2])),
            unit=_text(["unit"] * n),
            return_type=_text(list(columns[3])),
            bucket=_text(["bucket"] * n),
            adv=np.full(n, 1e9),
            daily_vol_floor=np.full(n, 0.001),
            simm_risk_type=_text(list(columns[5])),
            simm_qualifier=_text(list(columns[6])),
            simm_bucket=_text(list(columns[7])),
            simm_label1=_text(list(columns[8])),
            simm_label2=_text(list(columns[9])),
            synthetic=np.zeros(n, dtype=np.bool_),
            source=_text([""] * n),
        )
        level = np.array([levels.get(row[0], row[4]) for row in FACTORS])
        dates = np.array([AS_OF], dtype="datetime64[D]")
        return MarketState(AS_OF, factors, level, dates, np.zeros((1, n)), dict(FX_USD))

    return make


@pytest.fixture
def market(make_market: Callable[..., MarketState]) -> MarketState:
    return make_market()


@pytest.fixture
def make_instruments() -> Callable[..., Instruments]:
    """Build instruments from dicts; the id defaults to the kind and the row."""

    def make(*rows: dict[str, Any]) -> Instruments:
        def column(name: str, default: Any) -> list[Any]:
            return [row.get(name, default) for row in rows]

        factor_id = column("factor_id", "SPX")
        vol_factor_id = column("vol_factor_id", "")
        return Instruments(
            instrument_id=_text(
                [row.get("instrument_id", f"{row['kind']}-{i}") for i, row in enumerate(rows)]
            ),
            kind=_text(column("kind", "")),
            factor_id=_text(factor_id),
            factor=np.array([FACTOR_INDEX.get(f, -1) for f in factor_id], dtype=np.int64),
            currency=_text(column("currency", "USD")),
            multiplier=np.array(column("multiplier", 1.0), dtype=np.float64),
            expiry=np.array(column("expiry", "NaT"), dtype="datetime64[D]"),
            strike=np.array(column("strike", np.nan), dtype=np.float64),
            right=_text(column("right", "")),
            fixed_rate=np.array(column("fixed_rate", np.nan), dtype=np.float64),
            tenor_years=np.array(column("tenor_years", np.nan), dtype=np.float64),
            vol=np.array(column("vol", np.nan), dtype=np.float64),
            vol_factor_id=_text(vol_factor_id),
            vol_factor=np.array([FACTOR_INDEX.get(f, -1) for f in vol_factor_id], dtype=np.int64),
        )  # fmt: skip

    return make


@pytest.fixture
def every_kind(make_instruments: Callable[..., Instruments]) -> Instruments:
    """One instrument of each kind, options of both models and both rights."""
    option = {"kind": "option", "expiry": "2023-12-28", "vol": 0.22}
    return make_instruments(
        {"kind": "equity", "multiplier": 1.0},
        {"kind": "future", "multiplier": 50.0},
        {"kind": "rate_future", "factor_id": "SOFR3M", "multiplier": 2500.0},
        {**option, "strike": 3900.0, "right": "C", "multiplier": 100.0, "vol_factor_id": "VIX"},
        {**option, "strike": 3500.0, "right": "P", "multiplier": 100.0},
        {**option, "factor_id": "WTI", "strike": 85.0, "right": "C", "vol_factor_id": "OVX"},
        {**option, "factor_id": "UST10", "strike": 3.5, "right": "P", "multiplier": 1e6},
        {**option, "factor_id": "EURUSD", "strike": 1.1, "right": "C", "multiplier": 1e6},
        {"kind": "swap", "factor_id": "UST10", "fixed_rate": 3.0, "tenor_years": 10.0,
         "multiplier": 1e6},
        {"kind": "cds", "factor_id": "CDXIG", "fixed_rate": 1.0, "tenor_years": 5.0,
         "multiplier": 1e6},
        {"kind": "fx_forward", "factor_id": "USDJPY", "currency": "JPY", "strike": 130.0,
         "expiry": "2023-06-28", "multiplier": 1e6},
        {"kind": "trs", "factor_id": "SX5E", "currency": "EUR", "strike": 3700.0,
         "multiplier": 10.0},
        {"kind": "bond", "factor_id": "UST10", "fixed_rate": 5.0, "tenor_years": 10.0,
         "multiplier": 1e6},
    )  # fmt: skip


def _empty(kind: type) -> Any:
    text = np.array([], dtype=np.object_)
    return kind(**{f.name: text for f in fields(kind)})


@pytest.fixture
def make_book() -> Callable[..., Book]:
    """Build a book: each position a (instrument row, quantity, agreement model) triple."""

    def make(instruments: Instruments, *positions: tuple[int, float, str]) -> Book:
        n = len(positions)
        text, number = _text([""] * n), np.zeros(n)
        whole = np.zeros(n, dtype=np.int64)
        known = {
            "agreement_id": _text([f"CSA-{i}" for i in range(n)]),
            "model": _text([p[2] for p in positions]),
        }
        by_type = {"StrArray": text, "Float64Array": number, "Int64Array": whole}
        agreements = Agreements(
            **{f.name: known.get(f.name, by_type[str(f.type)]) for f in fields(Agreements)}
        )
        return Book(
            name="test",
            as_of=AS_OF,
            currency="USD",
            nav_usd=1e9,
            positions=Positions(
                position_id=_text([f"P{i}" for i in range(n)]),
                instrument=np.array([p[0] for p in positions], dtype=np.int64),
                agreement=np.arange(n),
                manager=whole,
                strategy=whole,
                quantity=np.array([p[1] for p in positions], dtype=np.float64),
            ),
            instruments=instruments,
            agreements=agreements,
            cash=_empty(Cash),
            collateral=_empty(Collateral),
            facilities=_empty(Facilities),
            settlements=_empty(Settlements),
            managers=_empty(Managers),
            strategies=_empty(Strategies),
        )

    return make
