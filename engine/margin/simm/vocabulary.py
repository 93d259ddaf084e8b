"""The words a sensitivity file may use: risk types, buckets, tenors, curves and currencies.

These are the structure of the model, common to every version; numbers that change from version to
version are in the rulebooks. Order matters: a word's position is its integer code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import engine.rulebooks

RULEBOOK_FOLDER = Path(engine.rulebooks.__file__).parent / "simm"

PRODUCT_CLASSES = ("RatesFX", "Credit", "Equity", "Commodity")
# Rates and FX were one product class from the start of the model; older files still split them.
PRODUCT_CLASS_ALIASES = {"Rates": "RatesFX", "FX": "RatesFX"}

RISK_CLASSES = (
    "InterestRate",
    "CreditQualifying",
    "CreditNonQualifying",
    "Equity",
    "Commodity",
    "FX",
)

# Regulations a row may name; the words are those of the common record.
REGULATIONS = (
    *("AMFQ", "APRA", "BACEN", "BANX", "CFTC", "ESA", "FINMA", "HKMA", "JFSA", "KFSC", "MAS"),
    *("NONREG", "OJK", "OSFI", "RBI", "SANT", "SEC", "SEC-unseg", "SFC", "UK", "USPR"),
    "Included",
)
# A row marked so is in no regulation's margin.
EXCLUDED = "Excluded"
# The name of the margin over all rows where no row of a portfolio names a regulation.
UNSPECIFIED = "Unspecified"

TENORS = ("2w", "1m", "3m", "6m", "1y", "2y", "3y", "5y", "10y", "15y", "20y", "30y")
TENOR_DAYS = (14.0, *(365.0 * m / 12.0 for m in (1, 3, 6, 12, 24, 36, 60, 120, 180, 240, 360)))
CREDIT_TENORS = ("1y", "2y", "3y", "5y", "10y")
SUB_CURVES = ("OIS", "Libor1m", "Libor3m", "Libor6m", "Libor12m", "Prime", "Municipal")

RESIDUAL = "Residual"
CREDIT_QUALIFYING_BUCKETS = (*map(str, range(1, 13)), RESIDUAL)
CREDIT_NON_QUALIFYING_BUCKETS = ("1", "2", RESIDUAL)
EQUITY_BUCKETS = (*map(str, range(1, 13)), RESIDUAL)
COMMODITY_BUCKETS = tuple(map(str, range(1, 18)))
# One list for all classes, so that a bucket has one code whatever the risk type.
ALL_BUCKETS = (*COMMODITY_BUCKETS, RESIDUAL)


@dataclass(frozen=True)
class RiskType:
    """What a CRIF risk type means and which of the other columns it needs.

    `qualifier` is one of `currency`, `pair`, `name`, `product_class` or `none`; `tenors` and
    `buckets` list the allowed words (empty: the column is ignored); `label2` is one of
    `sub_curve`, `payment_currency`, `group` or `none`.
    """

    name: str
    risk_class: str
    qualifier: str
    buckets: tuple[str, ...] = ()
    tenors: tuple[str, ...] = ()
    label2: str = "none"


RISK_TYPES = (
    RiskType("Risk_IRCurve", "InterestRate", "currency", tenors=TENORS, label2="sub_curve"),
    RiskType("Risk_Inflation", "InterestRate", "currency"),
    RiskType("Risk_XCcyBasis", "InterestRate", "currency"),
    RiskType("Risk_IRVol", "InterestRate", "currency", tenors=TENORS),
    RiskType("Risk_InflationVol", "InterestRate", "currency", tenors=TENORS),
    RiskType(
        "Risk_CreditQ",
        "CreditQualifying",
        "name",
        CREDIT_QUALIFYING_BUCKETS,
        CREDIT_TENORS,
        "payment_currency",
    ),
    RiskType(
        "Risk_CreditVol",
        "CreditQualifying",
        "name",
        CREDIT_QUALIFYING_BUCKETS,
        CREDIT_TENORS,
        "payment_currency",
    ),
    RiskType("Risk_BaseCorr", "CreditQualifying", "name"),
    RiskType(
        "Risk_CreditNonQ",
        "CreditNonQualifying",
        "name",
        CREDIT_NON_QUALIFYING_BUCKETS,
        CREDIT_TENORS,
        "group",
    ),
    RiskType(
        "Risk_CreditVolNonQ",
        "CreditNonQualifying",
        "name",
        CREDIT_NON_QUALIFYING_BUCKETS,
        CREDIT_TENORS,
        "group",
    ),
    RiskType("Risk_Equity", "Equity", "name", EQUITY_BUCKETS),
    RiskType("Risk_EquityVol", "Equity", "name", EQUITY_BUCKETS, TENORS),
    RiskType("Risk_Commodity", "Commodity", "name", COMMODITY_BUCKETS),
    RiskType("Risk_CommodityVol", "Commodity", "name", COMMODITY_BUCKETS, TENORS),
    RiskType("Risk_FX", "FX", "currency"),
    RiskType("Risk_FXVol", "FX", "pair", tenors=TENORS),
    RiskType("Param_ProductClassMultiplier", "", "product_class"),
    RiskType("Param_AddOnNotionalFactor", "", "name"),
    RiskType("Param_AddOnFixedAmount", "", "none"),
    RiskType("Notional", "", "name"),
)
RISK_TYPE_CODE = {kind.name: code for code, kind in enumerate(RISK_TYPES)}
FIRST_PARAMETER = RISK_TYPE_CODE["Param_ProductClassMultiplier"]


@lru_cache(maxsize=1)
def currencies() -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the known currency codes in order, and aliases such as CNH to CNY."""
    text = (RULEBOOK_FOLDER / "currencies.json").read_text(encoding="utf-8")
    document = json.loads(text)
    return tuple(document["codes"]), dict(document["aliases"])


@lru_cache(maxsize=1)
def currency_codes() -> dict[str, int]:
    """Return the integer code of each accepted currency text; an alias has its target's code."""
    codes, aliases = currencies()
    table = {name: code for code, name in enumerate(codes)}
    return table | {alias: table[target] for alias, target in aliases.items()}
