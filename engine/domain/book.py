"""The validated fund: columnar and frozen. Rows refer to each other by integer position."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from engine.domain.agreements import Agreements
from engine.domain.arrays import DateArray, Float64Array, Int64Array, StrArray

INSTRUMENT_KINDS = (
    "equity",
    "future",
    "rate_future",
    "option",
    "swap",
    "cds",
    "fx_forward",
    "trs",
    "bond",
)


@dataclass(frozen=True)
class Instruments:
    """Static terms; every array has shape (n_instruments,). Pricing: `engine.pricing`.

    `factor` is the column of the underlying factor in the market (-1 where the market lacks it),
    `expiry` is NaT, and `strike`, `fixed_rate`, `tenor_years`, `vol` are NaN where the kind does
    not use them. `right` is "C", "P" or "". `vol_factor` is the factor whose relative moves shift
    the implied volatility (-1: volatility held constant).

    | kind | value of one unit (currency of the instrument), F = factor level |
    |---|---|
    | equity | multiplier * F |
    | future | multiplier * F, margined daily |
    | rate_future | multiplier * (100 - F), F in per cent |
    | option | multiplier * premium, European on the factor as a forward |
    | swap | pay fixed: multiplier * (F - fixed_rate)/100 * annuity(F, tenor_years) |
    | cds | protection bought: multiplier * (F - fixed_rate)/100 * risky annuity(F, tenor_years) |
    | fx_forward | multiplier * (F - strike) |
    | trs | multiplier * (F - strike) |
    | bond | multiplier/100 * price(yield F, coupon fixed_rate, tenor_years) |
    """

    instrument_id: StrArray
    kind: StrArray
    factor_id: StrArray
    factor: Int64Array
    currency: StrArray
    multiplier: Float64Array
    expiry: DateArray
    strike: Float64Array
    right: StrArray
    fixed_rate: Float64Array
    tenor_years: Float64Array
    vol: Float64Array
    vol_factor_id: StrArray
    vol_factor: Int64Array

    def __len__(self) -> int:
        return len(self.instrument_id)


@dataclass(frozen=True)
class Positions:
    """Holdings; every array has shape (n_positions,). Signed quantities, long is positive."""

    position_id: StrArray
    instrument: Int64Array
    agreement: Int64Array
    manager: Int64Array
    strategy: Int64Array
    quantity: Float64Array

    def __len__(self) -> int:
        return len(self.position_id)


@dataclass(frozen=True)
class Cash:
    """Cash by legal entity and currency; amounts in int64 cents of the currency."""

    legal_entity: StrArray
    currency: StrArray
    amount_cents: Int64Array


@dataclass(frozen=True)
class Collateral:
    """Unencumbered securities that can be pledged or sold.

    `market_value` is in the currency of the asset, `haircut` a fraction, `settle_days` the days
    until sale proceeds arrive.
    """

    asset_id: StrArray
    legal_entity: StrArray
    asset_class: StrArray
    currency: StrArray
    market_value: Float64Array
    haircut: Float64Array
    settle_days: Int64Array


@dataclass(frozen=True)
class Facilities:
    """Committed credit lines; a fall of NAV by the fraction `nav_covenant` closes one."""

    facility_id: StrArray
    legal_entity: StrArray
    lender: StrArray
    currency: StrArray
    limit_cents: Int64Array
    drawn_cents: Int64Array
    notice_hours: Int64Array
    nav_covenant: Float64Array
    margin_bp: Float64Array
    commitment_fee_bp: Float64Array


@dataclass(frozen=True)
class Settlements:
    """Cash flows already agreed; a positive amount is received, in cents of the currency."""

    settlement_id: StrArray
    value_date: DateArray
    legal_entity: StrArray
    currency: StrArray
    amount_cents: Int64Array


@dataclass(frozen=True)
class Managers:
    """Portfolio managers and the capital allocated to each (USD)."""

    manager_id: StrArray
    name: StrArray
    allocation_usd: Float64Array


@dataclass(frozen=True)
class Strategies:
    """Strategies and their main asset class."""

    strategy_id: StrArray
    name: StrArray
    asset_class: StrArray


@dataclass(frozen=True)
class Book:
    """One fund on one date, validated. Built by `engine.fund.read`, never by hand in production.

    `nav_usd` is the net asset value the fund reports.
    """

    name: str
    as_of: date
    currency: str
    nav_usd: float
    positions: Positions
    instruments: Instruments
    agreements: Agreements
    cash: Cash
    collateral: Collateral
    facilities: Facilities
    settlements: Settlements
    managers: Managers
    strategies: Strategies
