"""Random sensitivity files, and the peer library that computes the same margin."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from engine.domain.crif import CrifTable
from engine.margin.simm import vocabulary as words

CURRENCIES = [
    "USD",
    "EUR",
    "GBP",
    "JPY",
    "AUD",
    "CAD",
    "CHF",
    "CNY",
    "BRL",
    "ZAR",
    "MXN",
    "INR",
    "KRW",
    "SEK",
    "NOK",
    "NZD",
    "SGD",
    "HKD",
    "TRY",
    "PLN",
    "RUB",
    "ARS",
    "EGP",
    "NGN",
    "ZMW",
    "GHS",
    "QAR",
]
SCALES = {
    "InterestRate": 3e7,
    "CreditQualifying": 3e5,
    "CreditNonQualifying": 2e6,
    "Equity": 8e6,
    "Commodity": 8e8,
    "FX": 9e8,
}
VEGA_SCALES = SCALES | {
    "InterestRate": 2e8,
    "CreditQualifying": 1e8,
    "CreditNonQualifying": 2e7,
    "Equity": 3e6,
    "Commodity": 2e7,
    "FX": 2e7,
}
PRODUCTS = {
    "InterestRate": "RatesFX",
    "FX": "RatesFX",
    "Equity": "Equity",
    "Commodity": "Commodity",
}
FIELDS = [
    "portfolio_id",
    "trade_id",
    "product_class",
    "risk_type",
    "qualifier",
    "bucket",
    "label1",
    "label2",
    "amount_usd",
]


def crif(rows: list[tuple[Any, ...]]) -> CrifTable:
    """Return a table from rows in the order of `FIELDS`."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(FIELDS)
    text = [np.array(column, dtype=object) for column in columns[:-1]]
    return CrifTable(*text, amount_usd=np.array(columns[-1], dtype=np.float64))


def risk(
    product: str,
    risk_type: str,
    qualifier: str,
    amount: float,
    bucket: str = "",
    label1: str = "",
    label2: str = "",
    portfolio: str = "P",
) -> tuple[Any, ...]:
    """Return one row."""
    return (portfolio, "T", product, risk_type, qualifier, bucket, label1, label2, amount)


def random_rows(seed: int, n_rows: int, portfolio: str = "P") -> list[tuple[Any, ...]]:
    """Return rows over every risk type, with few names so that they net and concentrate."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_rows):
        kind = words.RISK_TYPES[int(rng.integers(0, words.FIRST_PARAMETER))]
        vega = kind.name.endswith(("Vol", "VolNonQ"))
        scale = (VEGA_SCALES if vega else SCALES)[kind.risk_class]
        if kind.name == "Risk_BaseCorr":
            scale = 1e6
        bucket = str(rng.choice(kind.buckets)) if kind.buckets else ""
        if kind.qualifier == "currency":
            qualifier = str(rng.choice(CURRENCIES))
        elif kind.qualifier == "pair":
            qualifier = "".join(rng.choice(CURRENCIES, 2, replace=False))
        else:
            # The peer maps a name to one bucket per risk type, so the name carries its bucket.
            qualifier = f"{kind.risk_class}{bucket}:{rng.integers(0, 4)}"
        label2 = ""
        if kind.label2 == "sub_curve":
            label2 = str(rng.choice(words.SUB_CURVES[:5]))
        elif kind.label2 == "payment_currency":
            label2 = str(rng.choice(["USD", "EUR", "JPY"]))
        elif kind.label2 == "group":
            label2 = str(rng.choice(["CMBX", "ABX"]))
        product = PRODUCTS.get(kind.risk_class, "Credit")
        if rng.random() < 0.15:
            product = str(rng.choice(words.PRODUCT_CLASSES))
        label1 = str(rng.choice(kind.tenors)) if kind.tenors else ""
        amount = float(np.round(rng.normal() * scale * 10 ** rng.uniform(-1.5, 0.7), 2))
        rows.append(
            (portfolio, f"T{i}", product, kind.name, qualifier, bucket, label1, label2, amount)
        )
    return rows


def peer_margins(rows: list[tuple[Any, ...]], settings: list[tuple[str, int, str]]) -> list[float]:
    """Return the peer's margin of one portfolio under each (version, horizon, side)."""
    ore = importlib.import_module("ORE")
    return [peer_margin(ore, rows, *setting) for setting in settings]


def peer_margin(
    ore: Any, rows: list[tuple[Any, ...]], version: str, horizon_days: int, side: str
) -> float:
    """Return the margin of one portfolio computed by open-source-risk-engine."""
    mapper = ore.SimmBucketMapperBase()
    lines = [
        "TradeID\tPortfolioID\tProductClass\tRiskType\tQualifier\tBucket\tLabel1\tLabel2"
        "\tAmountCurrency\tAmount\tAmountUSD"
    ]
    for portfolio, trade, product, kind, qualifier, bucket, label1, label2, amount in rows:
        if bucket:
            code = getattr(ore.CrifRecord, "RiskType_" + kind.removeprefix("Risk_"))
            mapper.addMapping(code, qualifier, bucket)
        lines.append(
            "\t".join(
                (
                    trade,
                    portfolio,
                    product,
                    kind,
                    qualifier,
                    bucket,
                    label1,
                    label2,
                    "USD",
                    repr(amount),
                    repr(amount),
                )
            )
        )
    name = "SimmConfiguration_ISDA_V" + version.replace("+", "_").replace(".", "_")
    config = getattr(ore, name)(mapper, horizon_days)
    table = ore.Crif()
    table.setCsvLoaderConfig(config)
    table.fromCSVString("\n".join(lines) + "\n")
    calculator = ore.SimmCalculator(table, config)
    code = getattr(ore.SimmConfiguration, "SimmSide_" + side.capitalize())
    result = calculator.finalSimmResults(code, ore.NettingSetDetails(rows[0][0])).second
    return float(
        result.get(
            ore.CrifRecord.ProductClass_All,
            ore.SimmConfiguration.RiskClass_All,
            ore.SimmConfiguration.MarginType_All,
            "All",
        )
    )
