"""Concentration add-on: what it costs to close a position that is large against the market."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array
from engine.domain.book import Book
from engine.domain.failures import Failure, FailureReason
from engine.domain.market import MarketState
from engine.margin.config import MarginConfig
from engine.margin.exposure import Exposures, net_positions
from engine.margin.historical import ewma_volatility
from engine.pricing.greeks import factor_greeks

# Days of equally weighted volatility where an agreement has no filter (lambda 1 or none).
UNFILTERED_DAYS = 250


@dataclass(frozen=True)
class ConcentrationInputs:
    """Exposures of agreements to factors and what the add-on compares them with.

    `exposure_usd` and `volatility` have shape (n_agreements, n_factors): |net delta| in USD per
    1.0 log return (or per unit of an absolute factor), and daily volatility in the same move.
    `adv` is (n_factors,). Exposures are zero where the add-on does not apply.
    """

    exposure_usd: Float64Array
    volatility: Float64Array
    adv: Float64Array
    failures: tuple[Failure, ...]


def concentration_inputs(exposures: Exposures, config: MarginConfig) -> ConcentrationInputs:
    """Collect deltas, volatilities and volumes for cleared and prime agreements.

    A factor without a positive average daily volume is left out and named in the failures.
    """
    book, market = exposures.book, exposures.market
    agreements = book.agreements
    delta = factor_greeks(exposures.instruments, market).delta
    owner = exposures.pair_agreement[exposures.position_pair]
    quantity = book.positions.quantity[exposures.position]
    at = exposures.position_instrument
    net = np.zeros((len(agreements), len(market.factors)))
    amount = quantity * (exposures.usd * delta)[at]
    np.add.at(net, (owner, exposures.instruments.factor[at]), amount)
    net = np.abs(net)
    net[agreements.kind == "bilateral"] = 0.0
    volatility = np.zeros_like(net)
    decays = np.where(agreements.ewma_lambda < 1.0, agreements.ewma_lambda, np.nan)
    used = np.flatnonzero(net.any(axis=0))
    floor = market.factors.daily_vol_floor[used]
    for decay in np.unique(decays):
        rows = np.isnan(decays) if np.isnan(decay) else decays == decay
        volatility[np.ix_(rows, used)] = _volatility(market.returns[:, used], decay, floor, config)
    adv = market.factors.adv
    thin = (net > 0.0).any(axis=0) & ~(adv > 0.0)
    net[:, thin] = 0.0
    failures = tuple(
        Failure(
            FailureReason.MISSING_DATA,
            str(market.factors.factor_id[k]),
            "adv of the factor table",
            f"average daily volume is {adv[k]:g}; positions in this factor carry no concentration "
            "add-on: give a volume above 0",
        )
        for k in np.flatnonzero(thin)
    )
    return ConcentrationInputs(net, volatility, np.where(adv > 0.0, adv, 1.0), failures)


def concentration_add_on(
    inputs: ConcentrationInputs, config: MarginConfig, scale: Float64Array | float = 1.0
) -> Float64Array:
    """Return the add-on of each agreement in USD, shape (n_agreements,).

    add_v = sum over k of c * s_k * e_k * sqrt(max(0, e_k / (f * ADV_k) - 1))

    e_k is |net delta|, s_k daily volatility, c and f as in `MarginConfig`. Under stress, s_k is
    multiplied by `scale` (shape (n_agreements,)) and depth falls with it:
    ADV_k * max(depth_floor, scale ** -zeta).

    Worked number: e 100 million, ADV 80 million, s 1 %, c 1, f 0.25: e / (f ADV) = 5, so
    0.01 * 100e6 * sqrt(4) = 2,000,000 USD.
    """
    ratio = np.broadcast_to(np.asarray(scale, dtype=np.float64), len(inputs.exposure_usd))
    depth = np.maximum(config.depth_floor, ratio**-config.depth_exponent)
    capacity = config.concentration_fraction * inputs.adv * depth[:, np.newaxis]
    excess = np.sqrt(np.maximum(0.0, inputs.exposure_usd / capacity - 1.0))
    volatility = np.where(inputs.exposure_usd > 0.0, inputs.volatility, 0.0)
    terms = volatility * ratio[:, np.newaxis] * inputs.exposure_usd * excess
    return np.asarray(config.concentration_coefficient * terms.sum(axis=1))


def concentration_curve(
    book: Book, market: MarketState, config: MarginConfig, scales: tuple[float, ...]
) -> Float64Array:
    """Return the add-on of every agreement at each volatility scale, (n_agreements, n_scales).

    USD; rows follow `book.agreements`.
    """
    inputs = concentration_inputs(net_positions(book, market), config)
    return np.stack([concentration_add_on(inputs, config, scale) for scale in scales], axis=1)


def _volatility(
    returns: Float64Array, decay: float, floor: Float64Array, config: MarginConfig
) -> Float64Array:
    if np.isnan(decay):
        recent = returns[-UNFILTERED_DAYS:]
        known: BoolArray = np.isfinite(recent)
        count = np.maximum(1, known.sum(axis=0))
        mean = np.where(known, recent, 0.0).sum(axis=0) / count
        squares = np.where(known, recent - mean, 0.0) ** 2
        return np.asarray(np.maximum(np.sqrt(squares.sum(axis=0) / count), floor))
    sigma = ewma_volatility(returns, float(decay), config.seed_days, floor)[-1]
    return np.where(np.isnan(sigma), floor, sigma)
