"""Sizing: how large a position must be for its account to cost about so much margin.

A rough historical margin (one decay, two days, 500 scenarios) sets the scale of the sample. What
the fund really owes under each agreement is computed by `engine.margin`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Instruments
from engine.domain.market import MarketState
from engine.margin.historical import filtered_scenarios, value_at_risk
from engine.pricing.greeks import factor_greeks
from engine.pricing.scenarios import scenario_pnl

DECAY = 0.97
HORIZON_DAYS = 2
SCENARIOS = 500
CONFIDENCE = 0.99
# Normal multiple that turns a root mean square into a 99 per cent loss.
NORMAL_99 = 2.33
# Far options count as at least this share of their underlying, or quantities would be absurd.
LEAST_SHARE = 0.15
# Least daily volatility of an exchange rate: pegged and managed ones would get absurd notionals.
LEAST_FX_VOL = 0.006
# A block is never scaled up on more netting than this share of independent risks.
LEAST_NETTING = 0.5


@dataclass(frozen=True)
class UnitRisk:
    """Risk of one unit of each instrument, in USD.

    `delta` (n_instruments,) per 1.0 of the factor's return, `pnl` (n_instruments, n_scenarios)
    over two days, `size` (n_instruments,) the root mean square of `pnl`, kept away from zero.
    """

    instruments: Instruments
    delta: Float64Array
    pnl: Float64Array
    size: Float64Array


def to_instruments(frame: pd.DataFrame, market: MarketState) -> Instruments:
    """Return instrument rows of the pack as the engine's columns.

    Every factor must be one of the market's; an unknown one raises KeyError.
    """
    column = market.index()
    return Instruments(
        instrument_id=_texts(frame["instrument_id"]),
        kind=_texts(frame["kind"]),
        factor_id=_texts(frame["factor_id"]),
        factor=np.array([column[f] for f in frame["factor_id"]], dtype=np.int64),
        currency=_texts(frame["currency"]),
        multiplier=frame["multiplier"].to_numpy(np.float64),
        expiry=pd.to_datetime(frame["expiry"]).to_numpy().astype("datetime64[D]"),
        strike=frame["strike"].to_numpy(np.float64),
        right=_texts(frame["right"]),
        fixed_rate=frame["fixed_rate"].to_numpy(np.float64),
        tenor_years=frame["tenor_years"].to_numpy(np.float64),
        vol=frame["vol"].to_numpy(np.float64),
        vol_factor_id=_texts(frame["vol_factor_id"]),
        vol_factor=np.array(
            [column[f] if f else -1 for f in _texts(frame["vol_factor_id"])], dtype=np.int64
        ),
    )


def unit_risk(frame: pd.DataFrame, market: MarketState) -> UnitRisk:
    """Return the risk of one unit of each instrument of the catalogue."""
    instruments = to_instruments(frame, market)
    usd = market.usd_per(instruments.currency)
    known = np.nan_to_num(market.returns[-(SCENARIOS + 2 * 250) :], nan=0.0)
    moves = filtered_scenarios(
        known,
        DECAY,
        HORIZON_DAYS,
        SCENARIOS,
        volatility_floor=market.factors.daily_vol_floor,
    )
    pnl = scenario_pnl(instruments, market, moves) * usd[:, None]
    level = market.level[instruments.factor]
    log = market.factors.return_type[instruments.factor] == "log"
    factor_rms = np.sqrt(np.mean(moves**2, axis=0))[instruments.factor]
    whole = instruments.multiplier * usd * factor_rms * np.where(log, level, 1.0)
    least = np.where(instruments.kind == "option", LEAST_SHARE * whole, 0.0)
    delta = factor_greeks(instruments, market).delta * usd
    is_fx = market.factors.asset_class[instruments.factor] == "fx"
    least_fx = np.where(is_fx, np.abs(delta) * LEAST_FX_VOL * math.sqrt(HORIZON_DAYS), 0.0)
    size = np.maximum(np.sqrt(np.mean(pnl**2, axis=1)), np.maximum(least, least_fx))
    return UnitRisk(instruments, delta, pnl, size)


def block_margin_usd(
    risk: UnitRisk, rows: Int64Array, quantity: Float64Array, mpor_days: float
) -> float:
    """Return a rough 99 per cent margin of a block of positions in USD.

    The tail loss of two days, scaled by the root of time; not below `LEAST_NETTING` of what the
    same positions would cost if their risks were independent.
    """
    loss = -(quantity @ risk.pnl[rows])
    alone = NORMAL_99 * float(np.sqrt(np.sum((quantity * risk.size[rows]) ** 2)))
    tail = max(float(value_at_risk(loss, CONFIDENCE)), LEAST_NETTING * alone)
    return tail * math.sqrt(mpor_days / HORIZON_DAYS)


def _texts(column: pd.Series[str]) -> np.ndarray:
    values = column.to_numpy(object)
    return np.array([v if isinstance(v, str) else "" for v in values], dtype=object)
