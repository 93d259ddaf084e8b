"""Cash, securities, credit lines and agreed cash flows of the sample fund."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from engine.fund.sample.tables import ASIA, EUROPE, MASTER

SETTLEMENT_DAYS = 30
# Amounts in millions of the currency; free cash is near 1.0bn USD in all.
CASH = (
    (MASTER, "USD", 430.0), (MASTER, "EUR", 40.0), (MASTER, "JPY", 1500.0), (MASTER, "CAD", 15.0),
    (MASTER, "BRL", 45.0), (MASTER, "MXN", 120.0),
    (EUROPE, "EUR", 165.0), (EUROPE, "GBP", 62.0), (EUROPE, "USD", 85.0), (EUROPE, "CHF", 12.0),
    (EUROPE, "SEK", 60.0), (EUROPE, "PLN", 20.0), (EUROPE, "ZAR", 60.0), (EUROPE, "TRY", 25.0),
    (ASIA, "USD", 55.0), (ASIA, "JPY", 5200.0), (ASIA, "HKD", 190.0), (ASIA, "SGD", 14.0),
    (ASIA, "AUD", 28.0), (ASIA, "KRW", 9000.0), (ASIA, "INR", 700.0), (ASIA, "CNY", 40.0),
)  # fmt: skip
# Haircuts: Basel supervisory table for a ten-day holding period, see the haircut rulebook's source
# in docs/sample-fund.md: sovereign 0.5, 2 and 4 per cent by maturity, main-index equity 15.
COLLATERAL = (
    ("UST-BILL-3M", MASTER, "government bond to 1y", "USD", 210.0, 0.005, 0),
    ("UST-BILL-6M", MASTER, "government bond to 1y", "USD", 130.0, 0.005, 0),
    ("UST-2Y", MASTER, "government bond 1y to 5y", "USD", 140.0, 0.02, 1),
    ("UST-5Y", MASTER, "government bond 1y to 5y", "USD", 90.0, 0.02, 1),
    ("UST-10Y", MASTER, "government bond over 5y", "USD", 70.0, 0.04, 1),
    ("BUBILL-6M", EUROPE, "government bond to 1y", "EUR", 85.0, 0.005, 1),
    ("BUND-5Y", EUROPE, "government bond 1y to 5y", "EUR", 65.0, 0.02, 2),
    ("BUND-10Y", EUROPE, "government bond over 5y", "EUR", 45.0, 0.04, 2),
    ("OAT-10Y", EUROPE, "government bond over 5y", "EUR", 30.0, 0.04, 2),
    ("GILT-2Y", EUROPE, "government bond 1y to 5y", "GBP", 40.0, 0.02, 1),
    ("GILT-10Y", EUROPE, "government bond over 5y", "GBP", 25.0, 0.04, 1),
    ("JGB-5Y", ASIA, "government bond 1y to 5y", "JPY", 6500.0, 0.02, 1),
    ("JGB-10Y", ASIA, "government bond over 5y", "JPY", 4000.0, 0.04, 1),
    ("US-LARGE-CAP", MASTER, "main-index equity", "USD", 180.0, 0.15, 1),
    ("EU-LARGE-CAP", EUROPE, "main-index equity", "EUR", 60.0, 0.15, 2),
    ("JP-LARGE-CAP", ASIA, "main-index equity", "JPY", 5500.0, 0.15, 2),
)
FACILITIES = (
    ("RCF-1", MASTER, "Ardent Bank", "USD", 700.0, 0.0, 4, 0.20, 175.0, 45.0),
    ("RCF-2", EUROPE, "Calder Bank", "USD", 300.0, 50.0, 24, 0.15, 150.0, 35.0),
)
# Currencies of agreed cash flows, the entity that has them, and their size in millions.
FLOWS = (
    ("USD", MASTER, 22.0), ("EUR", EUROPE, 14.0), ("GBP", EUROPE, 8.0), ("JPY", ASIA, 900.0),
    ("USD", EUROPE, 7.0), ("USD", ASIA, 6.0), ("HKD", ASIA, 25.0), ("AUD", ASIA, 5.0),
)  # fmt: skip
# Known payments: days after the date, entity, millions of USD.
KNOWN_FLOWS = ((5, MASTER, -28.0), (9, MASTER, -60.0), (20, MASTER, -45.0), (28, EUROPE, -12.0))
FLOWS_PER_LINE = 11


def cash_table() -> pd.DataFrame:
    """Return unencumbered cash by legal entity and currency."""
    rows = [(entity, currency, 1e6 * amount) for entity, currency, amount in CASH]
    return pd.DataFrame(rows, columns=["legal_entity", "currency", "amount"])


def collateral_table() -> pd.DataFrame:
    """Return unencumbered securities with their haircuts and settlement days."""
    names = ["asset_id", "legal_entity", "asset_class", "currency", "market_value", "haircut",
             "settle_days"]  # fmt: skip
    frame = pd.DataFrame(COLLATERAL, columns=names)
    return frame.assign(market_value=1e6 * frame["market_value"])


def facility_table() -> pd.DataFrame:
    """Return the two committed credit lines."""
    names = ["facility_id", "legal_entity", "lender", "currency", "limit", "drawn",
             "notice_hours", "nav_covenant", "margin_bp", "commitment_fee_bp"]  # fmt: skip
    frame = pd.DataFrame(FACILITIES, columns=names)
    return frame.assign(limit=1e6 * frame["limit"], drawn=1e6 * frame["drawn"])


def settlement_table(as_of: date, rng: np.random.Generator) -> pd.DataFrame:
    """Return cash flows agreed for the next 30 days, in order of date, on weekdays.

    Random trade settlements around zero, and the known payments: fees, a redemption and interest.
    """
    flows: list[tuple[date, str, str, float]] = []
    for currency, entity, size in FLOWS:
        days = rng.integers(1, SETTLEMENT_DAYS + 1, FLOWS_PER_LINE)
        amounts = np.rint(1e3 * size * rng.standard_normal(FLOWS_PER_LINE)) * 1e3
        for day, amount in zip(days, amounts, strict=True):
            if amount != 0.0:
                flows.append((_weekday(as_of, int(day)), entity, currency, float(amount)))
    for day, entity, millions in KNOWN_FLOWS:
        flows.append((_weekday(as_of, day), entity, "USD", 1e6 * millions))
    flows.sort()
    names = ["value_date", "legal_entity", "currency", "amount"]
    frame = pd.DataFrame(flows, columns=names)
    frame.insert(0, "settlement_id", [f"S{i + 1:03d}" for i in range(len(frame))])
    return frame


def _weekday(as_of: date, days: int) -> date:
    day = as_of + timedelta(days=days)
    return day - timedelta(days=max(0, day.weekday() - 4)) if days > 2 else as_of + timedelta(1)
