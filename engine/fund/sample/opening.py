"""Opening state: CSA and prime books sized by the engine's margin, and what is already posted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.fund.sample.book import to_book
from engine.fund.sample.positions import whole
from engine.fund.sample.sizing import to_instruments
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.variation import csa_requirement
from engine.pricing.scenarios import scenario_pnl
from engine.pricing.value import value_per_unit

Tables = Mapping[str, pd.DataFrame]
SIZING_PASSES = 2
LEAST_SCALE, MOST_SCALE = 0.02, 20.0
IM_ROUNDING = 10e3


def with_margin_targets(
    tables: Tables, targets_usd: Mapping[str, float], market: MarketState
) -> pd.DataFrame:
    """Return the positions with each agreement named scaled so that its margin meets a target.

    Margin is before the threshold and with add-ons. The standard model weighs risks by rule, not
    by today's volatility, and prime books net almost to nothing, so that a rough historical size
    would miss by far. Two passes, because concentration and whole lots bend the line.
    """
    agreements = tables["agreements"].assign(im_threshold=0.0)
    positions = tables["positions"]
    for _ in range(SIZING_PASSES):
        im = margins_usd({**tables, "positions": positions, "agreements": agreements}, market)
        scale = {
            name: min(MOST_SCALE, max(LEAST_SCALE, target / im[name]))
            for name, target in targets_usd.items()
            if im[name] > 0.0
        }
        factor = positions["agreement_id"].map(scale).fillna(1.0).to_numpy(np.float64)
        quantity = positions["quantity"].to_numpy(np.float64)
        scaled = np.where(factor == 1.0, quantity, whole(quantity * factor))
        positions = positions.assign(quantity=scaled)
    return positions


def with_posted_margin(tables: Tables, market: MarketState) -> pd.DataFrame:
    """Return the agreements with what is posted under each on the sample's date.

    `im_held` is the engine's margin of the date with its add-ons, so that no initial margin call
    is open. `vm_held` of a CSA is its requirement at the previous day's levels: the call of the
    date itself is still to come. Cleared and prime accounts settle VM in cash and hold none.
    """
    agreements = tables["agreements"]
    rate = market.usd_per(agreements["currency"].to_numpy(object))
    im = margins_usd(tables, market)
    im_usd = np.array([im[name] for name in agreements["agreement_id"]])
    posted = np.rint(im_usd / rate / IM_ROUNDING) * IM_ROUNDING
    exposure = _previous_exposure_usd(tables, market) / rate
    required = csa_requirement(
        exposure, agreements["vm_threshold"], agreements["independent_amount"]
    )
    step = np.where(agreements["rounding"] > 0.0, agreements["rounding"], 1.0)
    held = np.where(agreements["kind"] == "bilateral", np.rint(required / step) * step, 0.0)
    # Adding zero turns a negative zero into a plain one.
    return agreements.assign(vm_held=held + 0.0, im_held=posted + 0.0)


def margins_usd(tables: Tables, market: MarketState) -> dict[str, float]:
    """Return initial margin with add-ons by agreement, in USD.

    Raises
    ------
    InputError
        If an agreement of the sample cannot be margined.
    """
    result = calculate_margin_requirements(to_book(tables, market), market, MarginConfig())
    total = result.im_usd + result.add_ons_usd()
    im = dict(zip(result.agreement_id.tolist(), total.tolist(), strict=True))
    lost = [name for name in tables["agreements"]["agreement_id"] if name not in im]
    if lost:
        why = "; ".join(f.message for f in result.failures if f.item in lost)
        raise InputError(f"sample fund: agreements {lost[:5]} cannot be margined: {why}")
    return im


def _previous_exposure_usd(tables: Tables, market: MarketState) -> Float64Array:
    instruments = to_instruments(tables["instruments"], market)
    back = -np.nan_to_num(market.returns[-1:], nan=0.0)
    unit = value_per_unit(instruments, market) + scenario_pnl(instruments, market, back)[:, 0]
    worth = pd.Series(unit * market.usd_per(instruments.currency), index=instruments.instrument_id)
    positions = tables["positions"]
    value = positions["quantity"] * positions["instrument_id"].map(worth)
    total = value.groupby(positions["agreement_id"]).sum()
    return -tables["agreements"]["agreement_id"].map(total).fillna(0.0).to_numpy(np.float64)
