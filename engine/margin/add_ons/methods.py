"""Liquidity add-ons of all accounts, factor by factor: one method each, and the bid-ask cost.

Where a formula scales initial margin, the margin meant is that of the position in one factor on
its own: z * s * e * sqrt(h), parametric. What must be unwound longer than the rest of the book is
no longer hedged by it; and the add-on does not depend on the family of the account's model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.margin.add_ons.costs import bid_ask_cost, square_root_impact, stressed_spread
from engine.margin.add_ons.inputs import LiquidityInputs, grouped
from engine.margin.add_ons.liquidity import (
    block_unwind,
    excess_over_depth,
    horizon_days,
    linear_unwind,
    liquidation_period,
    market_depth,
    period_factor,
)
from engine.margin.add_ons.tiers import tier_multiplier
from engine.rulebooks.add_on_terms import AddOnTerms

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig


@dataclass(frozen=True)
class _Account:
    """Some accounts with equal terms, at one volatility; arrays (n_rows, n_factors) or column.

    `size` is |net delta|, `sigma` daily volatility under stress, `adv` volume under stress,
    `mpor` the margin period of risk, `margin` the stand-alone margin of each factor.
    """

    size: Float64Array
    sigma: Float64Array
    adv: Float64Array
    mpor: Float64Array
    margin: Float64Array
    fraction: float


def concentration_by_factor(
    inputs: LiquidityInputs, config: MarginConfig, scale: Float64Array | float = 1.0
) -> Float64Array:
    """Return the concentration add-on of each account and factor, (n_agreements, n_factors), USD.

    Each account has one method (`add_ons.csv`): they measure the same risk, so two on one account
    would charge it twice. `config.concentration_coefficient` multiplies all of them. `scale` is
    volatility over today's, (n_agreements,): volatility grows with it and depth falls.
    """
    ratio = np.broadcast_to(np.asarray(scale, dtype=np.float64), len(inputs.exposure_usd))
    depth = market_depth(ratio, config.depth_exponent, config.depth_floor)
    out = np.zeros_like(inputs.exposure_usd)
    for terms, rows in grouped(inputs.concentration).items():
        size = inputs.exposure_usd[rows]
        sigma = np.where(size > 0.0, inputs.volatility[rows], 0.0) * ratio[rows, np.newaxis]
        mpor = inputs.mpor_days[rows, np.newaxis]
        account = _Account(
            size=size,
            sigma=sigma,
            adv=inputs.adv * depth[rows, np.newaxis],
            mpor=mpor,
            margin=inputs.quantile[rows, np.newaxis] * sigma * size * np.sqrt(mpor),
            fraction=config.concentration_fraction,
        )
        out[rows] = METHODS[terms.method](account, terms)
    return np.asarray(config.concentration_coefficient * out)


def bid_ask_by_factor(
    inputs: LiquidityInputs, config: MarginConfig, scale: Float64Array | float = 1.0
) -> Float64Array:
    """Return the bid-ask add-on of each account and factor, (n_agreements, n_factors), USD.

    Under stress the spread is today's times scale ** eta, and volume falls as for concentration.
    """
    own = config.add_ons
    ratio = np.broadcast_to(np.asarray(scale, dtype=np.float64), len(inputs.exposure_usd))
    depth = market_depth(ratio, config.depth_exponent, config.depth_floor)
    spread = stressed_spread(inputs.half_spread, ratio[:, np.newaxis], own.spread_exponent)
    out = np.zeros_like(inputs.exposure_usd)
    for terms, rows in grouped(inputs.bid_ask).items():
        out[rows] = bid_ask_cost(
            inputs.exposure_usd[rows],
            spread[rows],
            inputs.adv * depth[rows, np.newaxis],
            terms.numbers["size_factor"],
            terms.numbers["size_exponent"],
        )
    return np.asarray(own.bid_ask_multiplier * out)


def _excess(account: _Account, terms: AddOnTerms) -> Float64Array:
    return excess_over_depth(account.size, account.sigma, account.fraction * account.adv)


def _days(account: _Account, terms: AddOnTerms) -> Float64Array:
    return horizon_days(account.size, account.adv, terms.numbers["participation"], account.mpor)


def _horizon_block(account: _Account, terms: AddOnTerms) -> Float64Array:
    longer = block_unwind(_days(account, terms), account.mpor)
    return np.asarray(account.margin * (longer - 1.0))


def _horizon_linear(account: _Account, terms: AddOnTerms) -> Float64Array:
    """Even unwind from day 1: it beats waiting h0 and selling at once until n is about 3 * h0."""
    longer = linear_unwind(_days(account, terms)) / np.sqrt(account.mpor)
    return np.asarray(account.margin * np.maximum(0.0, longer - 1.0))


def _impact(account: _Account, terms: AddOnTerms) -> Float64Array:
    return square_root_impact(
        account.size, account.sigma, account.adv, terms.numbers["coefficient"]
    )


def _liquidation_period(account: _Account, terms: AddOnTerms) -> Float64Array:
    """One period for the account: the mean of its factors', weighted by their margins."""
    days = account.size / (terms.numbers["capacity_fraction"] * account.adv)
    total = account.margin.sum(axis=1)
    weighted = (account.margin * days).sum(axis=1)
    mean = np.divide(weighted, total, out=np.zeros_like(total), where=total > 0.0)
    period = liquidation_period(mean, terms.numbers["added_days"], terms.numbers["cap_days"])
    factor = period_factor(period, terms.numbers["basis_days"])
    return np.asarray(account.margin * factor[:, np.newaxis])


def _tiers(account: _Account, terms: AddOnTerms) -> Float64Array:
    ratio = account.size / (terms.numbers["adv_fraction"] * account.adv)
    multiplier = tier_multiplier(ratio, terms.lists["thresholds"], terms.lists["multipliers"])
    return np.asarray(account.margin * (multiplier - 1.0))


def _none(account: _Account, terms: AddOnTerms) -> Float64Array:
    return np.zeros_like(account.size)


METHODS: dict[str, Callable[[_Account, AddOnTerms], Float64Array]] = {
    "none": _none,
    "excess": _excess,
    "horizon_block": _horizon_block,
    "horizon_linear": _horizon_linear,
    "impact": _impact,
    "liquidation_period": _liquidation_period,
    "tiers": _tiers,
}
"""What each liquidity method of the rulebook charges, by its name there."""


def accounts_of(terms: tuple[AddOnTerms | None, ...], net: Float64Array) -> Int64Array:
    """Return the rows that an add-on applies to: they have terms and hold something."""
    has_terms = np.array([one is not None for one in terms], dtype=np.bool_)
    return np.flatnonzero(has_terms & (net > 0.0).any(axis=1)).astype(np.int64)
