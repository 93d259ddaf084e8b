"""A fund small enough to check by hand: build factors, a market and a book in a few lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

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
SEED = 20221228

# factor_id, asset class, return type, level, daily volatility, CRIF type, qualifier, bucket, label1
FACTORS = [
    ("IDX", "equity", "log", 4000.0, 0.012, "Risk_Equity", "IDX", "11", ""),
    ("STK", "equity", "log", 100.0, 0.020, "Risk_Equity", "STK", "8", ""),
    ("UST", "rates", "absolute", 4.0, 0.06, "Risk_IRCurve", "USD", "1", "10y"),
    ("OIL", "commodity", "absolute", 80.0, 1.8, "Risk_Commodity", "OIL", "2", ""),
    ("EURUSD", "fx", "log", 1.06, 0.006, "Risk_FX", "EURUSD", "", ""),
    ("VIX", "volatility", "log", 22.0, 0.06, "Risk_Equity", "VIX", "12", ""),
]

AGREEMENT = {
    "kind": "cleared",
    "venue": "CCP",
    "counterparty": "Broker",
    "broker": "Broker",
    "legal_entity": "Fund",
    "currency": "USD",
    "model": "fhs_var",
    "confidence": 0.99,
    "mpor_days": 2,
    "lookback_days": 1000,
    "ewma_lambda": 0.97,
    "apc": "none",
    "stress_weight": 0.0,
    "apc_buffer": 0.0,
    "broker_multiplier": 1.0,
    "vm_threshold": 0.0,
    "im_threshold": 0.0,
    "mta": 0.0,
    "rounding": 0.0,
    "independent_amount": 0.0,
    "vm_held": 0.0,
    "im_held": 0.0,
    "eod_hour_utc": 18,
    "intraday_hours_utc": (),
    "pay_lag_hours": 12,
    "im_group": "",
    "eligible_collateral": (),
    "reported_im": np.nan,
    "evidence": "indicative",
}
SIMM = {"kind": "bilateral", "venue": "", "broker": "", "model": "simm", "confidence": np.nan,
        "ewma_lambda": np.nan, "lookback_days": 0, "mpor_days": 10}  # fmt: skip
SCHEDULE = {**SIMM, "model": "schedule"}
_INTEGERS = ("mpor_days", "lookback_days", "eod_hour_utc", "pay_lag_hours")

INSTRUMENT = {
    "currency": "USD",
    "multiplier": 1.0,
    "expiry": "NaT",
    "strike": np.nan,
    "right": "",
    "fixed_rate": np.nan,
    "tenor_years": np.nan,
    "vol": np.nan,
    "vol_factor_id": "",
}


def text(values: list[Any]) -> np.ndarray:
    """Return an object array, also of tuples."""
    out = np.empty(len(values), dtype=np.object_)
    out[:] = values
    return out


def tiny_market(n_days: int = 1600, **changes: Any) -> MarketState:
    """A market of `FACTORS` with t-distributed returns from a fixed seed.

    `changes` maps a field of `FactorTable`, `returns` or `fx_usd` to its value.
    """
    n = len(FACTORS)
    columns = list(zip(*FACTORS, strict=True))
    rng = np.random.default_rng(SEED)
    shocks = rng.standard_t(5, (n_days, n)) * np.sqrt(3 / 5)
    shocks[:, 5] = -0.7 * shocks[:, 0] + 0.7 * shocks[:, 5]
    returns = shocks * np.array(columns[4])
    returns[200:450] *= 3.0  # the stress period
    table: dict[str, Any] = {
        "factor_id": text(list(columns[0])),
        "asset_class": text(list(columns[1])),
        "currency": text(["USD"] * n),
        "unit": text(["unit"] * n),
        "return_type": text(list(columns[2])),
        "bucket": text(["bucket"] * n),
        "adv": np.full(n, 1e12),
        "daily_vol_floor": np.full(n, 1e-5),
        "simm_risk_type": text(list(columns[5])),
        "simm_qualifier": text(list(columns[6])),
        "simm_bucket": text(list(columns[7])),
        "simm_label1": text(list(columns[8])),
        "simm_label2": text([""] * n),
        "synthetic": np.ones(n, dtype=np.bool_),
        "source": text(["test"] * n),
    }
    table.update({k: v for k, v in changes.items() if k in table})
    days = np.busday_offset(np.datetime64(AS_OF), np.arange(1 - n_days, 1), roll="backward")
    return MarketState(
        as_of=AS_OF,
        factors=FactorTable(**table),
        level=np.array(columns[3], dtype=np.float64),
        dates=days,
        returns=np.array(changes.get("returns", returns)),
        fx_usd=changes.get("fx_usd", {"USD": 1.0, "EUR": 1.06}),
    )


@dataclass
class FundBuilder:
    """Collects agreements, instruments and positions, and builds the book."""

    agreements: list[dict[str, Any]] = field(default_factory=list)
    instruments: list[dict[str, Any]] = field(default_factory=list)
    positions: list[tuple[str, str, str, float]] = field(default_factory=list)

    def agreement(self, name: str, **terms: Any) -> FundBuilder:
        """Add an agreement: the defaults of `AGREEMENT` with `terms` on top."""
        if terms.get("stress_weight", 0.0) > 0.0:
            terms.setdefault("apc", "stress_weight")
        self.agreements.append({"agreement_id": name, **AGREEMENT, **terms})
        return self

    def instrument(self, name: str, kind: str, factor: str, **terms: Any) -> FundBuilder:
        """Add an instrument."""
        row = {"instrument_id": name, "kind": kind, "factor_id": factor, **INSTRUMENT, **terms}
        self.instruments.append(row)
        return self

    def position(self, name: str, agreement: str, manager: str, quantity: float) -> FundBuilder:
        """Add a position in instrument `name`."""
        self.positions.append((name, agreement, manager, quantity))
        return self

    def build(self, market: MarketState, managers: tuple[str, ...] = ("M1", "M2")) -> Book:
        """Return the book, its rows linked to each other and to the market."""
        where = market.index()
        agreement_row = {a["agreement_id"]: i for i, a in enumerate(self.agreements)}
        instrument_row = {a["instrument_id"]: i for i, a in enumerate(self.instruments)}
        return Book(
            name="Tiny",
            as_of=AS_OF,
            currency="USD",
            nav_usd=1e9,
            positions=Positions(
                position_id=text([f"P{i}" for i in range(len(self.positions))]),
                instrument=np.array([instrument_row[p[0]] for p in self.positions], dtype=np.int64),
                agreement=np.array([agreement_row[p[1]] for p in self.positions], dtype=np.int64),
                manager=np.array([managers.index(p[2]) for p in self.positions], dtype=np.int64),
                strategy=np.zeros(len(self.positions), dtype=np.int64),
                quantity=np.array([p[3] for p in self.positions], dtype=np.float64),
            ),
            instruments=_instruments(self.instruments, where),
            agreements=_agreements(self.agreements),
            cash=Cash(text(["Fund"]), text(["USD"]), np.array([10_000_000_00])),
            collateral=Collateral(
                text([]), text([]), text([]), text([]), np.zeros(0), np.zeros(0),
                np.zeros(0, dtype=np.int64),
            ),
            facilities=Facilities(
                text([]), text([]), text([]), text([]), *(np.zeros(0, dtype=np.int64),) * 3,
                *(np.zeros(0),) * 3,
            ),
            settlements=Settlements(
                text([]), np.zeros(0, dtype="datetime64[D]"), text([]), text([]),
                np.zeros(0, dtype=np.int64),
            ),
            managers=Managers(text(list(managers)), text(list(managers)), np.ones(len(managers))),
            strategies=Strategies(text(["S"]), text(["S"]), text(["equity"])),
        )  # fmt: skip


def _instruments(rows: list[dict[str, Any]], where: dict[str, int]) -> Instruments:
    columns: dict[str, Any] = {}
    for name in ("instrument_id", "kind", "factor_id", "currency", "right", "vol_factor_id"):
        columns[name] = text([row[name] for row in rows])
    for name in ("multiplier", "strike", "fixed_rate", "tenor_years", "vol"):
        columns[name] = np.array([row[name] for row in rows], dtype=np.float64)
    columns["expiry"] = np.array([row["expiry"] for row in rows], dtype="datetime64[D]")
    for name, source in (("factor", "factor_id"), ("vol_factor", "vol_factor_id")):
        columns[name] = np.array([where.get(row[source], -1) for row in rows], dtype=np.int64)
    return Instruments(**columns)


def _agreements(rows: list[dict[str, Any]]) -> Agreements:
    columns: dict[str, Any] = {}
    for name in ["agreement_id", *AGREEMENT]:
        values = [row[name] for row in rows]
        if name in _INTEGERS:
            columns[name] = np.array(values, dtype=np.int64)
        elif isinstance(AGREEMENT.get(name), float):
            columns[name] = np.array(values, dtype=np.float64)
        else:
            columns[name] = text(values)
    return Agreements(**columns)
