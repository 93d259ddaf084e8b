"""From a book, its margin and a market to the arrays of the kernel (`layout.Model`)."""

from __future__ import annotations

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.exposures import Exposures
from engine.avalanche.hours import hour_weights
from engine.avalanche.market_inputs import MarketInputs
from engine.avalanche.resources import flow_part, liquidity_part, sales_part
from engine.avalanche.shape import segments, sizes
from engine.avalanche.sparse import index_array, pack_rows
from engine.avalanche.terms import agreement_part, curve_part, gross_margin, open_calls
from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.market import ASSET_CLASSES, MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.kernels.avalanche.layout import HOURS_PER_DAY, Model


def build_model(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    exposures: Exposures,
    inputs: MarketInputs,
    curve: Float64Array,
    config: AvalancheConfig,
) -> Model:
    """Build the kernel's model; rows of agreements follow `margin.agreement_id`.

    `curve` is the concentration add-on in USD at CURVE_MULTIPLES times today's volatility, shape
    (n_agreements of the book, len(CURVE_MULTIPLES)).

    Raises
    ------
    KeyError
        If `margin` names an agreement the book does not have.
    """
    position = {name: i for i, name in enumerate(book.agreements.agreement_id)}
    rows = np.array([position[name] for name in margin.agreement_id], dtype=np.int64)
    delta = exposures.delta[np.ix_(rows, inputs.columns)] * CENTS_PER_UNIT
    gamma = exposures.gamma[np.ix_(rows, inputs.columns)] * CENTS_PER_UNIT
    buckets, bucket_of = np.unique(
        market.factors.bucket[inputs.columns].astype(str), return_inverse=True
    )
    bucket_of = bucket_of.astype(np.int64)
    covariance = (
        inputs.correlation * inputs.daily_volatility[:, None] * inputs.daily_volatility[None, :]
    )
    pairs, norm, gradient = sizes(delta, gamma, covariance, bucket_of, len(buckets))
    im, threshold = gross_margin(book, market, margin, rows)
    parts: dict[str, object] = {}
    parts.update(_market_part(inputs, market, bucket_of, config))
    parts.update(segments(delta, gamma, bucket_of, len(buckets)))
    parts.update(pairs)
    parts.update({"im_start": im, "im_threshold": threshold, "daily_norm": norm})
    parts.update(curve_part(curve[rows]))
    parts.update(agreement_part(book, market, rows, margin, exposures.value[rows], config))
    required = np.maximum(im - threshold, 0.0) + np.rint(curve[rows, 0] * CENTS_PER_UNIT)
    parts["open_call"] = open_calls(book, market, rows, margin, required)
    called = np.where(im > threshold, im, 0.0)
    parts.update(sales_part(market, inputs, delta, bucket_of, called, gradient, config))
    parts.update(liquidity_part(book, market, config))
    parts.update(flow_part(book, market, config))
    return Model(**parts)


def _market_part(
    inputs: MarketInputs, market: MarketState, bucket_of: Int64Array, config: AvalancheConfig
) -> dict[str, object]:
    classes = market.factors.asset_class[inputs.columns]
    present = [name for name in ASSET_CLASSES if name in set(classes)]
    group = np.array([present.index(name) for name in classes])
    hours = config.horizon_days * HOURS_PER_DAY
    day = np.arange(1, hours + 1) / HOURS_PER_DAY
    fade = 0.5 ** (day / config.volatility_half_life_days)
    stress = 1.0 + (config.volatility_multiplier - 1.0) * fade
    weight = np.tile(hour_weights(config), config.horizon_days)
    keep = 1.0 - config.mean_reversion_per_hour
    noise = config.volatility_of_volatility
    # Taking out the variance of log volatility keeps E[volatility^2] at the scenario's level. An
    # hour's moves use the volatility before it, so the first has none.
    powers = keep ** (2 * np.arange(hours))
    log_variance = noise**2 * (np.cumsum(powers) - powers)
    volatility = np.sqrt(weight) * stress * np.exp(-log_variance)
    lower = np.linalg.cholesky(inputs.correlation) * inputs.daily_volatility[:, None]
    ptr, row, coef = pack_rows(list(lower))
    load = np.array([config.leverage[name] for name in present])
    return {
        "chol_ptr": ptr,
        "chol_row": row,
        "chol_coef": coef,
        "group": index_array(group),
        "bucket": index_array(bucket_of),
        "gamma_range": config.convexity_range_sigmas * inputs.daily_volatility,
        "shock": np.zeros((hours, len(classes))),
        "volatility": np.repeat(volatility[:, None], len(present), axis=1),
        "stress": stress,
        "keep": np.full(len(present), keep),
        "lead_row": index_array([0]),
        "lead_load": noise * load,
        "own_load": noise * np.sqrt(1.0 - load**2),
    }
