"""The fund pack described once: every table and column, with type, rule, unit and meaning.

Reading, the JSON schema, the reference page and the headers of written files come from `TABLES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from engine.domain.agreements import (
    AGREEMENT_KINDS,
    APC_TOOLS,
    EVIDENCE,
    MARGIN_MODELS,
    TAIL_MODELS,
)
from engine.domain.book import INSTRUMENT_KINDS
from engine.domain.market import ASSET_CLASSES, RETURN_TYPES
from engine.fund.suggest import NUMBER_PATTERN

ColumnType = Literal[
    "id", "reference", "text", "choice", "currency", "number", "money", "integer", "date",
    "hours", "texts", "boolean",
]  # fmt: skip

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,63}$"
INTEGER_PATTERN = r"^[+-]?\d{1,9}$"
DATE_PATTERN = r"^\d{4}-\d{2}-\d{2}$"
HOURS_PATTERN = r"^\d{1,2}(;\d{1,2})*$"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9 _-]{0,62}[A-Za-z0-9])?"
TEXTS_PATTERN = rf"^{_NAME}(;{_NAME})*$"
MAX_TEXT_CHARACTERS = 128
MAX_NUMBER = 1e18
MAX_MONEY = 2**53 / 100


@dataclass(frozen=True)
class Column:
    """One column: what it holds and what is refused.

    `required` means that no cell may be blank. `required_for` names the column that decides and
    the values for which this one must be filled; for other values it must not matter. `low` and
    `high` bound numbers, and the bound itself is refused where `low_open` or `high_open`.
    `references` is `table.column` for references. `used_for` works like `required_for` for cells
    that are optional even where they are used.
    """

    name: str
    type: ColumnType
    description: str
    unit: str = ""
    required: bool = True
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    nonzero: bool = False
    unique: bool = False
    choices: tuple[str, ...] = ()
    references: str = ""
    required_for: tuple[str, tuple[str, ...]] | None = None
    used_for: tuple[str, tuple[str, ...]] | None = None

    def rule(self) -> str:
        """Return the checks of one cell in words, for people."""
        parts = [_TYPE_WORDS[self.type]]
        if self.choices:
            parts = ["one of " + ", ".join(f"`{choice}`" for choice in self.choices)]
        if self.references:
            parts = [f"an accepted `{self.references}`"]
        if self.nonzero:
            parts.append("not zero")
        if self.low is not None:
            parts.append(f"{'>' if self.low_open else '>='} {self.low:g}")
        if self.high is not None:
            parts.append(f"{'<' if self.high_open else '<='} {self.high:g}")
        if self.unique:
            parts.append("unique (of a repeated id every row is quarantined)")
        if self.required_for:
            by, values = self.required_for
            parts.append(f"required where {by} is {', '.join(values)}")
        if self.used_for:
            by, values = self.used_for
            parts.append(f"read only where {by} is {', '.join(values)}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Table:
    """One table of the pack. A required table must have a file, which may hold no rows."""

    name: str
    description: str
    columns: tuple[Column, ...]
    required: bool = True

    def column(self, name: str) -> Column:
        """Return the column called `name`; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


_TYPE_WORDS: dict[ColumnType, str] = {
    "id": "1 to 64 of A-Z a-z 0-9 _ . : + -, beginning with a letter or digit",
    "reference": "an id",
    "text": f"1 to {MAX_TEXT_CHARACTERS} printable characters; no spaces at the ends, no control "
    "or direction characters, not beginning with = + - @",
    "choice": "one of a list",
    "currency": "ISO 4217 code with an exchange rate to USD among the factors",
    "number": "finite decimal number, plain ASCII digits, no thousands separators",
    "money": "finite decimal number, kept to the cent",
    "integer": "whole number",
    "date": "YYYY-MM-DD",
    "hours": "hours of the day separated by ;",
    "texts": "different names of letters, digits, space, _ and - separated by ;",
    "boolean": "`true` or `false`",
}


def _id(name: str, description: str) -> Column:
    return Column(name, "id", description, unique=True)


def _reference(name: str, target: str, description: str) -> Column:
    return Column(name, "reference", description, references=target)


_ENTITY = Column("legal_entity", "text", "Entity of the fund that owns or pays it")
_CURRENCY = Column("currency", "currency", "Currency of the amounts in the row")
_STRIKED = ("option", "fx_forward", "trs")
_DATED = ("option", "fx_forward")
_CURVED = ("swap", "cds", "bond")
_OPTION = ("option",)

POSITIONS = Table(
    "positions",
    "Holdings: one row for each instrument held under one agreement by one manager.",
    (
        _id("position_id", "Your id of the position"),
        _reference("instrument_id", "instruments.instrument_id", "What is held"),
        _reference("agreement_id", "agreements.agreement_id", "Agreement that margins it"),
        _reference("manager_id", "managers.manager_id", "Who runs it"),
        _reference("strategy_id", "strategies.strategy_id", "To which strategy it belongs"),
        Column("quantity", "number", "Signed quantity; long is positive", "units", nonzero=True),
    ),
)

INSTRUMENTS = Table(
    "instruments",
    "Static terms. Which columns matter depends on `kind`; leave the others blank.",
    (
        _id("instrument_id", "Your id of the instrument"),
        Column("kind", "choice", "Decides the pricing formula", choices=INSTRUMENT_KINDS),
        _reference("factor_id", "factors.factor_id", "Risk factor that drives the value"),
        Column("currency", "currency", "Currency in which the value is paid"),
        Column("multiplier", "number", "Contract size: value of one point of the factor",
               "currency per point", low=0, low_open=True),
        Column("expiry", "date", "Last day; must be after the fund's date",
               required=False, required_for=("kind", _DATED)),
        Column("strike", "number", "Strike, forward rate or initial level; positive where the "
               "factor's returns are logarithmic", "factor's unit",
               required=False, required_for=("kind", _STRIKED)),
        Column("right", "choice", "Call or put", choices=("C", "P"),
               required=False, required_for=("kind", _OPTION)),
        Column("fixed_rate", "number", "Fixed rate, CDS spread or coupon: 4.25 means 4.25 per cent",
               "per cent", required=False, required_for=("kind", _CURVED)),
        Column("tenor_years", "number", "Years to maturity", "years", low=0, low_open=True,
               high=100, required=False, required_for=("kind", _CURVED)),
        Column("vol", "number", "Implied volatility: 0.22 means 22 per cent a year", "decimal",
               low=0, low_open=True, high=10, required=False, required_for=("kind", _OPTION)),
        Column("vol_factor_id", "reference", "Factor whose relative moves shift the implied "
               "volatility; blank holds the volatility constant", required=False,
               references="factors.factor_id", used_for=("kind", _OPTION)),
    ),
)  # fmt: skip

AGREEMENTS = Table(
    "agreements",
    "What binds the fund to a clearing service, dealer or prime broker, and on which terms.",
    (
        _id("agreement_id", "Your id of the agreement"),
        Column("kind", "choice", "Cleared through a broker, bilateral under a CSA, or prime",
               choices=AGREEMENT_KINDS),
        Column("venue", "text", "Clearing service",
               required=False, required_for=("kind", ("cleared",))),
        Column("counterparty", "text", "Who calls"),
        Column("broker", "text", "Clearing or prime broker",
               required=False, required_for=("kind", ("cleared", "prime"))),
        Column("legal_entity", "text", "Entity of the fund that pays"),
        Column("currency", "currency", "Currency of calls and of the terms in this row"),
        Column("model", "choice", "Initial margin model", choices=MARGIN_MODELS),
        Column("confidence", "number", "Confidence of VaR or ES, for example 0.99", "fraction",
               low=0.5, low_open=True, high=1, high_open=True,
               required=False, required_for=("model", TAIL_MODELS)),
        Column("mpor_days", "integer", "Margin period of risk", "business days", low=1, high=60),
        Column("lookback_days", "integer", "Scenarios of the historical model", "business days",
               low=2, high=100_000, required=False, required_for=("model", TAIL_MODELS)),
        Column("ewma_lambda", "number", "Daily decay of the volatility filter; 1 switches it off",
               "fraction", low=0, low_open=True, high=1,
               required=False, required_for=("model", TAIL_MODELS)),
        Column("apc", "choice", "Anti-procyclicality tool; blank is `stress_weight` where that "
               "column is above 0, else `none`", choices=APC_TOOLS, required=False),
        Column("stress_weight", "number", "Weight of stress-period margin in the total",
               "fraction", low=0, high=1),
        Column("apc_buffer", "number", "Buffer on calculated margin, for example 0.25", "fraction",
               low=0, low_open=True, high=1,
               required=False, required_for=("apc", ("buffer",))),
        Column("broker_multiplier", "number", "The broker's factor on venue margin; 1 if none",
               "ratio", low=0, low_open=True, high=100),
        Column("vm_threshold", "number", "Exposure below which no variation margin is called",
               "agreement currency", low=0),
        Column("im_threshold", "number", "Margin below which no initial margin is called",
               "agreement currency", low=0),
        Column("mta", "number", "Minimum transfer amount", "agreement currency", low=0),
        Column("rounding", "number", "Calls are rounded to this amount; 0 for none",
               "agreement currency", low=0),
        Column("independent_amount", "number", "Independent amount of the CSA",
               "agreement currency"),
        Column("vm_held", "number", "Variation margin posted by the fund (negative: held by it)",
               "agreement currency"),
        Column("im_held", "number", "Initial margin posted by the fund (negative: held by it)",
               "agreement currency"),
        Column("eod_hour_utc", "integer", "Hour of the daily call", "hour UTC", low=0, high=23),
        Column("intraday_hours_utc", "hours", "Hours of further calls, for example 9;13;16; blank "
               "for none", "hours UTC", required=False, low=0, high=23),
        Column("pay_lag_hours", "integer", "Hours from a call to its deadline", "hours",
               low=1, high=31),
        Column("im_group", "text", "Counterparty group that shares the regulatory IM threshold; "
               "blank is the counterparty itself", required=False),
        Column("eligible_collateral", "texts", "Asset classes of the collateral table "
               "that may be posted as margin; blank is cash only", required=False),
        Column("reported_im", "number", "Initial margin the venue or dealer reports for the "
               "fund's date; blank if not known", "agreement currency", low=0, required=False),
        Column("evidence", "choice", "How well the model parameters are known", choices=EVIDENCE),
    ),
)  # fmt: skip

CASH = Table(
    "cash",
    "Cash by legal entity and currency. Negative is an overdraft.",
    (_ENTITY, _CURRENCY, Column("amount", "money", "Amount available today", "row's currency")),
)

COLLATERAL = Table(
    "collateral",
    "Unencumbered securities that can be pledged or sold.",
    (
        _id("asset_id", "Your id of the asset"),
        _ENTITY,
        Column("asset_class", "text", "For example government bond"),
        _CURRENCY,
        Column("market_value", "number", "Value today", "row's currency", low=0),
        Column("haircut", "number", "Share lost when pledged", "fraction",
               low=0, high=1, high_open=True),
        Column("settle_days", "integer", "Days until sale proceeds arrive", "business days",
               low=0, high=60),
    ),
)  # fmt: skip

FACILITIES = Table(
    "facilities",
    "Committed credit lines.",
    (
        _id("facility_id", "Your id of the line"),
        _ENTITY,
        Column("lender", "text", "Who lends"),
        _CURRENCY,
        Column("limit", "money", "Committed amount", "row's currency", low=0),
        Column("drawn", "money", "Already drawn; at most the limit", "row's currency", low=0),
        Column("notice_hours", "integer", "Hours from notice to cash", "hours", low=0, high=10_000),
        Column("nav_covenant", "number", "Fall of NAV that closes the line: 0.25 means 25 per cent",
               "fraction", low=0, low_open=True, high=1),
        Column("margin_bp", "number", "Margin over the reference rate on what is drawn",
               "basis points", low=0, high=10_000),
        Column("commitment_fee_bp", "number", "Yearly fee on what is not drawn", "basis points",
               low=0, high=10_000),
    ),
)  # fmt: skip

SETTLEMENTS = Table(
    "settlements",
    "Cash flows already agreed. A positive amount is received.",
    (
        _id("settlement_id", "Your id of the cash flow"),
        Column("value_date", "date", "Day of payment; not before the fund's date"),
        _ENTITY,
        _CURRENCY,
        Column("amount", "money", "Signed amount", "row's currency"),
    ),
)

MANAGERS = Table(
    "managers",
    "Portfolio managers and the capital allocated to each.",
    (
        _id("manager_id", "Your id of the manager"),
        Column("name", "text", "Name shown in reports"),
        Column("allocation", "number", "Capital allocated", "reporting currency", low=0),
    ),
)

STRATEGIES = Table(
    "strategies",
    "Strategies and their main asset class.",
    (
        _id("strategy_id", "Your id of the strategy"),
        Column("name", "text", "Name shown in reports"),
        Column("asset_class", "text", "Main asset class"),
    ),
)

FACTORS = Table(
    "factors",
    "Your own risk factors. A row whose id is already packaged replaces the packaged one.",
    (
        _id("factor_id", "Id, also the column name in the history"),
        Column("asset_class", "choice", "Asset class", choices=ASSET_CLASSES),
        Column("currency", "currency", "Currency in which a move of one unit is paid"),
        Column("unit", "text", "Unit of the level, for example index or per cent"),
        Column("return_type", "choice", "log where levels are always positive, else absolute",
               choices=RETURN_TYPES),
        Column("bucket", "text", "Liquidity bucket: what a forced sale can sell together"),
        Column("adv", "number", "Average daily volume in delta units: USD notional for log, "
               "USD per unit of the factor for absolute", "USD", low=0, low_open=True),
        Column("daily_vol_floor", "number", "Least daily volatility", "return units", low=0),
        Column("simm_risk_type", "text", "CRIF risk type", required=False),
        Column("simm_qualifier", "text", "CRIF qualifier", required=False),
        Column("simm_bucket", "text", "CRIF bucket", required=False),
        Column("simm_label1", "text", "CRIF label 1", required=False),
        Column("simm_label2", "text", "CRIF label 2", required=False),
        Column("synthetic", "boolean", "true if the history is simulated"),
        Column("source", "text", "Where the history comes from"),
    ),
    required=False,
)  # fmt: skip

# In the order in which they are read: a table comes after those it refers to.
TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        FACTORS, MANAGERS, STRATEGIES, AGREEMENTS, INSTRUMENTS, POSITIONS, CASH, COLLATERAL,
        FACILITIES, SETTLEMENTS,
    )
}  # fmt: skip


def table_schemas() -> dict[str, dict[str, Any]]:
    """Return a JSON Schema (2020-12) of one row for each table, as the text of its cells.

    Numbers are text in the files, so bounds are given twice: `pattern` for the text, and
    `x-minimum`, `x-exclusiveMinimum`, ... for its value. `x-unit` is the unit.
    """
    return {table.name: _table_schema(table) for table in TABLES.values()}


def _table_schema(table: Table) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": table.name,
        "description": table.description,
        "type": "object",
        "properties": {column.name: _column_schema(column) for column in table.columns},
        "required": [column.name for column in table.columns if column.required],
        "x-table-required": table.required,
    }


_PATTERNS: dict[str, str] = {
    "id": ID_PATTERN,
    "reference": ID_PATTERN,
    "currency": r"^[A-Z]{3}$",
    "number": NUMBER_PATTERN,
    "money": NUMBER_PATTERN,
    "integer": INTEGER_PATTERN,
    "date": DATE_PATTERN,
    "hours": HOURS_PATTERN,
    "texts": TEXTS_PATTERN,
}


def _column_schema(column: Column) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "string",
        "description": column.description,
        "x-type": column.type,
        "x-rule": column.rule(),
    }
    choices = ("true", "false") if column.type == "boolean" else column.choices
    if choices:
        schema["enum"] = [*choices] if column.required else [*choices, ""]
    elif column.type == "text":
        schema |= {"minLength": int(column.required), "maxLength": MAX_TEXT_CHARACTERS}
    else:
        pattern = _PATTERNS[column.type]
        schema["pattern"] = pattern if column.required else f"^$|{pattern}"
    if column.low is not None:
        schema["x-exclusiveMinimum" if column.low_open else "x-minimum"] = column.low
    if column.high is not None:
        schema["x-exclusiveMaximum" if column.high_open else "x-maximum"] = column.high
    if column.unit:
        schema["x-unit"] = column.unit
    if column.unique:
        schema["x-unique"] = True
    if column.references:
        schema["x-references"] = column.references
    conditions = {"x-required-for": column.required_for, "x-used-for": column.used_for}
    for key, condition in conditions.items():
        if condition:
            schema[key] = {condition[0]: list(condition[1])}
    return schema


def reference_tables() -> str:
    """Return the reference of all tables in Markdown, as it stands in `docs/fund-pack.md`."""
    sections = []
    for table in TABLES.values():
        optional = "" if table.required else " (optional)"
        lines = [f"### {table.name}{optional}", "", table.description, ""]
        lines += ["| column | blank allowed | rule | unit | meaning |", "|---|---|---|---|---|"]
        lines += [
            f"| `{column.name}` | {'no' if column.required else 'yes'} | {column.rule()} "
            f"| {column.unit} | {column.description} |"
            for column in table.columns
        ]
        sections.append("\n".join(lines))
    return "\n\n".join(sections) + "\n"
