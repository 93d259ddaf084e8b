"""The market as the engine sees it: factors, their levels today, and their history."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import numpy as np

from engine.domain.arrays import BoolArray, DateArray, Float64Array, StrArray, freeze

ASSET_CLASSES = ("equity", "rates", "credit", "fx", "commodity", "volatility")
RETURN_TYPES = ("log", "absolute")


@dataclass(frozen=True)
class FactorTable:
    """Static facts of each risk factor; every array has shape (n_factors,).

    Attributes
    ----------
    factor_id : object array of str
        Unique id, for example `SPX`, `UST10`, `EURUSD`.
    asset_class : object array of str
        One of `ASSET_CLASSES`.
    currency : object array of str
        ISO currency in which a move of one unit is paid.
    unit : object array of str
        Unit of the level: `index`, `per cent`, `rate`, `USD/bbl`, ...
    return_type : object array of str
        `log` (moves are log returns) or `absolute` (moves are differences of levels; needed where
        levels may be zero or negative: rates, spreads, energy).
    bucket : object array of str
        Liquidity bucket: what a forced sale can sell together.
    adv : float64 array
        Average daily volume in delta units: USD notional per day for `log` factors, USD P&L per
        one unit of the factor per day for `absolute` ones.
    daily_vol_floor : float64 array
        Least daily volatility, in the units of the return; keeps a pegged factor from having none.
    simm_risk_type, simm_qualifier, simm_bucket, simm_label1, simm_label2 : object arrays of str
        How a sensitivity to the factor is written in a CRIF (empty string where not used).
    synthetic : bool array
        True where the packaged history of the factor is simulated, not observed.
    source : object array of str
        Where the history comes from.
    """

    factor_id: StrArray
    asset_class: StrArray
    currency: StrArray
    unit: StrArray
    return_type: StrArray
    bucket: StrArray
    adv: Float64Array
    daily_vol_floor: Float64Array
    simm_risk_type: StrArray
    simm_qualifier: StrArray
    simm_bucket: StrArray
    simm_label1: StrArray
    simm_label2: StrArray
    synthetic: BoolArray
    source: StrArray

    def __len__(self) -> int:
        return len(self.factor_id)


@dataclass(frozen=True)
class MarketState:
    """Levels today and the return history behind them.

    Attributes
    ----------
    as_of : date
        Last date used; nothing after it is in the arrays.
    factors : FactorTable
        n_factors rows.
    level : float64 array of shape (n_factors,)
        Level on `as_of` in the factor's unit. No NaN.
    dates : datetime64[D] array of shape (n_days,)
        Increasing; the last is `as_of`.
    returns : float64 array of shape (n_days, n_factors)
        Log returns or level differences (`FactorTable.return_type`) from the previous date.
        NaN only before a factor's first observation.
    fx_usd : dict of str to float
        USD per unit of currency; `fx_usd["USD"] == 1.0`.
    filled_days : dict of str to int
        Days inside a factor's history that had no observation; the previous level was carried.
    substituted : tuple of str
        Factors absent from the user's history and taken from the packaged one.
    """

    as_of: date
    factors: FactorTable
    level: Float64Array
    dates: DateArray
    returns: Float64Array
    fx_usd: dict[str, float]
    filled_days: dict[str, int] = field(default_factory=dict)
    substituted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n_factors = len(self.factors)
        assert self.level.shape == (n_factors,)
        assert self.returns.shape == (len(self.dates), n_factors)
        assert self.fx_usd.get("USD") == 1.0
        freeze(self.level, self.dates, self.returns)

    def index(self) -> dict[str, int]:
        """Return the column of each factor id."""
        return {name: i for i, name in enumerate(self.factors.factor_id)}

    def usd_per(self, currencies: StrArray) -> Float64Array:
        """Return USD per unit for an array of currency codes; an unknown one raises KeyError."""
        return np.array([self.fx_usd[c] for c in currencies], dtype=np.float64)
