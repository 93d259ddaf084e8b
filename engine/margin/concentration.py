"""Concentration add-on: what it costs to close a position that is large against the market.

The formulas and their choice by account are in `engine.margin.add_ons`; this is the part that
needs no initial margin, so that it can be asked for at any volatility.
"""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.margin.add_ons.inputs import LiquidityInputs, liquidity_inputs
from engine.margin.add_ons.methods import bid_ask_by_factor, concentration_by_factor
from engine.margin.config import MarginConfig
from engine.margin.exposure import Exposures, net_positions

ConcentrationInputs = LiquidityInputs
"""Exposures of accounts to factors and what the add-on compares them with."""


def concentration_inputs(exposures: Exposures, config: MarginConfig) -> ConcentrationInputs:
    """Collect deltas, volatilities and volumes for cleared and prime agreements.

    A factor without a positive average daily volume is left out and named in the failures.
    """
    return liquidity_inputs(exposures, config)


def concentration_add_on(
    inputs: ConcentrationInputs, config: MarginConfig, scale: Float64Array | float = 1.0
) -> Float64Array:
    """Return the concentration add-on of each agreement in USD, shape (n_agreements,).

    By the account's method in `engine/rulebooks/add_ons.csv`; most have `excess`:

    add_v = sum over k of c * s_k * e_k * sqrt(max(0, e_k / (f * ADV_k) - 1))

    e_k is |net delta|, s_k daily volatility, c and f as in `MarginConfig`. Under stress, s_k is
    multiplied by `scale` (shape (n_agreements,)) and depth falls with it:
    ADV_k * max(depth_floor, scale ** -zeta).

    Worked number: e 100 million, ADV 80 million, s 1 %, c 1, f 0.25: e / (f ADV) = 5, so
    0.01 * 100e6 * sqrt(4) = 2,000,000 USD.
    """
    return np.asarray(concentration_by_factor(inputs, config, scale).sum(axis=1))


def concentration_curve(
    book: Book, market: MarketState, config: MarginConfig, scales: tuple[float, ...]
) -> Float64Array:
    """Return what liquidity adds to margin at each volatility scale, (n_agreements, n_scales).

    Concentration plus bid-ask, USD; rows follow `book.agreements`.
    """
    inputs = liquidity_inputs(net_positions(book, market), config)
    columns = [
        concentration_by_factor(inputs, config, scale).sum(axis=1)
        + bid_ask_by_factor(inputs, config, scale).sum(axis=1)
        for scale in scales
    ]
    return np.stack(columns, axis=1)
