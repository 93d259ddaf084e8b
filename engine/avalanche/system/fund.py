"""The fund as one institution of a system, its buckets as the common assets.

Factors of a bucket differ in unit (dollars, percentage points) and in risk, so a bucket is an
index with a daily volatility of 1 %. A holding of V has a daily standard deviation of P&L of
V / 100: this is the unit in which peers' holdings are given too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.avalanche.exposures import Exposures
from engine.avalanche.system.config import SystemConfig, SystemShock
from engine.avalanche.system.institutions import Institutions
from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario
from engine.market.volatility import daily_volatility

INDEX_VOLATILITY = 0.01
UNIT = "USD at 1 % daily volatility"


@dataclass(frozen=True)
class BucketIndices:
    """How factors make up the indices of B buckets.

    Attributes
    ----------
    bucket : tuple of str (B,)
    holding_usd : float64 array (B,)
        The fund's, signed: sum of delta sigma over 1 %.
    weight : float64 array (B, n_factors)
        Of each factor's move in standard deviations; rows sum to 1.
    volume_usd : dict of bucket to float
        Daily volume of its factors on the same scale.
    sigma : float64 array (n_factors,)
        Daily volatility.
    """

    bucket: tuple[str, ...]
    holding_usd: Float64Array
    weight: Float64Array
    volume_usd: dict[str, float]
    sigma: Float64Array


def bucket_indices(exposures: Exposures, market: MarketState) -> BucketIndices:
    """Build the indices of every bucket in which the fund has exposure.

    A fund with delta 2m on a factor of 1.5 % volatility holds 3m of the index of its bucket.

    Raises
    ------
    InputError
        If the fund has no exposure.
    """
    delta = exposures.delta.sum(axis=0)
    used = np.nonzero(delta)[0]
    if not len(used):
        raise InputError("the fund has no exposure to any factor; there is nothing to crowd")
    sigma = daily_volatility(market)
    label = market.factors.bucket.astype(str)
    buckets = tuple(sorted({str(label[k]) for k in used}))
    risk = np.abs(delta) * sigma
    holding, weight = np.zeros(len(buckets)), np.zeros((len(buckets), len(delta)))
    volume = {}
    for b, name in enumerate(buckets):
        inside = used[label[used] == name]
        holding[b] = float(np.sum(delta[inside] * sigma[inside])) / INDEX_VOLATILITY
        weight[b, inside] = risk[inside] / risk[inside].sum()
        daily = float(np.sum(market.factors.adv[inside] * sigma[inside]))
        volume[name] = daily / INDEX_VOLATILITY
    return BucketIndices(buckets, holding, weight, volume, sigma)


def fund_institution(
    name: str,
    indices: BucketIndices,
    im_usd: float,
    liquid_usd: float,
    least_liquid_usd: float,
) -> Institutions:
    """Return the fund as an institution that sells when liquid resources fall below a level.

    Parameters
    ----------
    name : str
    indices : BucketIndices
    im_usd : float
        Initial margin and add-ons posted, spread over buckets in proportion to their size: one
        margin rate, `im_usd` over the sum of absolute holdings, at most 1.
    liquid_usd : float
        Cash, and what liquid securities and credit lines bring.
    least_liquid_usd : float
        Level at which sales begin; they fill up to it.

    Raises
    ------
    InputError
        If an amount is not finite, margin is not above 0 or the level is negative.
    """
    size = float(np.abs(indices.holding_usd).sum())
    if not (np.isfinite(im_usd) and im_usd > 0.0) or size == 0.0:
        raise InputError(f"initial margin {im_usd:g} on {size:g}: a sale would release nothing")
    rate = min(im_usd / size, 1.0)
    zero = np.zeros(1)
    return Institutions(
        unit=UNIT,
        institution_id=np.array([name], dtype=object),
        asset_id=np.array(indices.bucket, dtype=object),
        holding=indices.holding_usd[None, :].copy(),
        margin=np.full((1, len(indices.bucket)), rate),
        cash=np.array([liquid_usd], dtype=np.float64),
        cash_buffer=np.array([least_liquid_usd], dtype=np.float64),
        other_assets=zero.copy(),
        repayable_debt=zero.copy(),
        fixed_debt=zero.copy(),
        leverage_minimum=zero.copy(),
        leverage_buffer=zero.copy(),
        leverage_target=zero.copy(),
    )


def shock_of(
    scenario: Scenario,
    indices: BucketIndices,
    market: MarketState,
    calls: Mapping[str, tuple[float, ...]] | None = None,
    margin_multiple: float = 1.0,
) -> SystemShock:
    """Return a scenario's moves as falls of the bucket indices.

    A bucket moves by 1 % times the average move of the fund's factors in it, in standard
    deviations, weighted by risk. This is the fund's own P&L where a bucket is one factor; where
    long and short factors offset each other within a bucket it is not.

    Parameters
    ----------
    scenario : Scenario
    indices : BucketIndices
    market : MarketState
    calls : mapping of institution to tuple of float, optional
        USD called beyond what the falls cause, by step: from a simulation, for example.
    margin_multiple : float
        Margin rates over today's, at least 1.

    Raises
    ------
    InputError
        If a factor is unknown, or an index would lose all its value (100 standard deviations).
    """
    column = market.index()
    unknown = sorted(set(scenario.moves) - set(column))
    if unknown:
        raise InputError(
            f"scenario {scenario.scenario_id}: factor {unknown[0]!r} is not in the market"
        )
    move = np.zeros(len(column))
    for name, value in scenario.moves.items():
        move[column[name]] = value / indices.sigma[column[name]]
    index_move = INDEX_VOLATILITY * (indices.weight @ move)
    falls = {name: -float(m) for name, m in zip(indices.bucket, index_move, strict=True)}
    for name, fall in falls.items():
        if fall >= 1.0:
            raise InputError(
                f"scenario {scenario.scenario_id}: bucket {name} falls by {fall / 0.01:.0f} "
                "standard deviations; the index has no value left, give a smaller move"
            )
    return SystemShock(
        shock_id=scenario.scenario_id,
        falls=falls,
        calls=dict(calls or {}),
        margin_multiple=margin_multiple,
    )


def market_impact(
    impact_coefficient: float, volatility_multiplier: float = 1.0, steps: int | None = None
) -> SystemConfig:
    """Return the impact law of the avalanche for bucket indices: Y sigma sqrt(volume / ADV).

    With `impact_coefficient` Y = 0.8, selling a day's volume lowers the log price by 0.008. Use it
    with `market_size = indices.volume_usd`.
    """
    fall = 1.0 - float(np.exp(-impact_coefficient * INDEX_VOLATILITY * volatility_multiplier))
    own = {} if steps is None else {"steps": steps}
    return SystemConfig(impact_law="square_root", price_impact=fall, reference_share=1.0, **own)
