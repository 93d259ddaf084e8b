"""From a book, its margin and a market to the arrays of the kernel (`layout.Model`)."""

from __future__ import annotations

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.exposures import Exposures
from engine.avalanche.hours import pools
from engine.avalanche.market_inputs import MarketInputs
from engine.avalanche.market_terms import market_part
from engine.avalanche.resources import (
    cash_part,
    facility_part,
    pool_of,
    pool_part,
    securities_part,
)
from engine.avalanche.sales_terms import market_depth, push, sales_part
from engine.avalanche.shape import segments, sizes
from engine.avalanche.sparse import index_array
from engine.avalanche.terms import agreement_part, curve_part, gross_margin, open_calls
from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.failures import InputError
from engine.domain.market import ASSET_CLASSES, MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model


def build_model(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    exposures: Exposures,
    inputs: MarketInputs,
    curve: Float64Array,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    scored: int = 0,
) -> Model:
    """Build the kernel's model; rows of agreements follow `margin.agreement_id`.

    Parameters
    ----------
    curve : float64 array of shape (n_agreements of the book, len(CURVE_MULTIPLES))
        Concentration add-on in USD at CURVE_MULTIPLES times today's volatility.
    scenario : Scenario, optional
        Mean moves, and steps that take the place of the config's.
    scored : int
        Leading normals that are principal components, so that scores can drive them.

    Raises
    ------
    KeyError
        If `margin` names an agreement the book does not have.
    InputError
        If the scenario or the config names a factor, bucket or class that the market lacks.
    """
    _check_names(market, config, scenario)
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
    depth = market_depth(market, inputs, delta, config, scenario)
    im, threshold = gross_margin(book, market, margin, rows)
    stepped = 1.0 if scenario is None else scenario.concentration_multiplier
    parts: dict[str, object] = {}
    scale = delta * inputs.daily_volatility if scored else None
    parts.update(market_part(inputs, market, bucket_of, config, scenario, scored, scale))
    parts.update(segments(delta, gamma, bucket_of, len(buckets), push(depth, config), depth))
    parts.update(pairs)
    parts.update({"im_start": im, "im_threshold": threshold, "daily_norm": norm})
    parts.update(curve_part(curve[rows] * stepped))
    parts.update(
        agreement_part(book, market, rows, margin, exposures.value[rows], config, scenario)
    )
    required = np.maximum(im - threshold, 0.0) + np.rint(curve[rows, 0] * CENTS_PER_UNIT)
    parts["im_today"] = required
    parts["open_call"] = open_calls(book, market, rows, margin, required)
    called = np.where(im > threshold, im, 0.0)
    names = [str(name) for name in buckets]
    parts.update(sales_part(depth, bucket_of, names, called, gradient, parts, config, scenario))
    parts.update(_money_parts(book, market, rows, config, scenario))
    parts.update(pool_part(book, config, scenario, parts))
    return Model(**parts)


def _money_parts(
    book: Book,
    market: MarketState,
    rows: Int64Array,
    config: AvalancheConfig,
    scenario: Scenario | None,
) -> dict[str, object]:
    currency = book.agreements.currency[rows]
    names = pools(currency, book.cash.currency)
    parts: dict[str, object] = {"currency": index_array(pool_of(currency, names))}
    parts.update(cash_part(book, market, names, config))
    parts.update(securities_part(book, market, config, scenario))
    parts.update(facility_part(book, market, config))
    return parts


def _check_names(market: MarketState, config: AvalancheConfig, scenario: Scenario | None) -> None:
    """Refuse names that nothing in the market bears: they would be ignored in silence."""
    factors = set(map(str, market.factors.factor_id))
    buckets = set(map(str, market.factors.bucket))
    given = [("crowding_by_bucket", config.crowding_by_bucket, buckets)]
    given.append(("breakdown_signs", config.breakdown_signs, factors | set(ASSET_CLASSES)))
    if scenario is not None:
        where = f"scenario {scenario.scenario_id!r}: "
        signs = factors | set(ASSET_CLASSES)
        given.append((where + "breakdown_signs", scenario.breakdown_signs, signs))
        given.append((where + "crowding", scenario.crowding, buckets))
        given.append(
            (where + "volatility_by_class", scenario.volatility_by_class, set(ASSET_CLASSES))
        )
    for where, mapping, known in given:
        unknown = sorted(set(mapping) - known)
        if unknown:
            raise InputError(f"{where} names {unknown}; known are {', '.join(sorted(known))}")
