"""Projected initial margin when volatility steps up, or when margin itself is multiplied."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from engine.domain.agreements import REACTIVE_MODELS
from engine.domain.arrays import BoolArray, Float64Array
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure
from engine.domain.market import MarketState
from engine.domain.results import MarginResult, StressMarginResult
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.required import MarginEngine


def volatility_scale(ewma_lambda: float, multiplier: float, horizon_days: int) -> float:
    """Ratio of EWMA volatility after a step in true volatility to what it was before.

    scale = sqrt(lambda ** n + (1 - lambda ** n) * M ** 2), n days after daily volatility steps to
    M times what the filter had (its expected variance). An agreement without a filter
    (lambda 1) does not react: its scale is 1.

    Worked numbers, lambda 0.97 and 10 days: M 2, 5, 10 give 1.337, 2.702, 5.196.
    """
    kept = ewma_lambda**horizon_days
    return math.sqrt(kept + (1.0 - kept) * multiplier * multiplier)


def project_stress_margin(
    book: Book,
    market: MarketState,
    baseline: MarginResult,
    config: MarginConfig,
    crif: CrifTable | None = None,
) -> StressMarginResult:
    """Project IM, add-ons included, under each volatility (or margin) multiplier.

    Parameters
    ----------
    book, market, config
        As given to `calculate_margin_requirements`.
    baseline : MarginResult
        Its answer; agreements that failed there stay out.
    crif : CrifTable, optional
        Accepted for symmetry: standard models do not react, so it is not used.

    Returns
    -------
    StressMarginResult
        `baseline_im_usd` and `im_usd` are IM plus add-ons, in USD, for the agreements of
        `baseline` that could also be stressed.

    Notes
    -----
    Mode `volatility`: historical models: the book is revalued on the filtered scenarios times
    `volatility_scale` of each agreement's lambda (volatility indices: not beyond the highest of
    their history, `HistoricalModel.factor_scale`); the stress-period part of a blend keeps its
    own volatility. SIMM and schedule margins are unchanged, because their weights do not follow
    volatility within a version. Concentration: volatility times the scale, and depth falls
    (`engine.margin.concentration`); agreements without a filter have scale 1. Broker add-ons
    follow IM. Positions are those of today.
    Mode `margin`: every agreement's IM and add-ons times the multiplier, whatever its model.
    """
    row = {str(name): a for a, name in enumerate(book.agreements.agreement_id)}
    at = np.array([row[str(name)] for name in baseline.agreement_id], dtype=np.int64)
    base = baseline.im_usd + baseline.add_ons_usd()
    multipliers = config.volatility_multipliers
    failures: list[Failure] = []
    keep: BoolArray = np.ones(len(at), dtype=np.bool_)
    if config.stress_mode == "margin":
        im = np.outer(multipliers, base)
    else:
        full = np.zeros(len(book.agreements))
        full[at] = baseline.im_usd
        anchors = baseline.basis.get("anchor_ratio", {})
        projected = _under_volatility(book, market, full, config, anchors, failures)[:, at]
        keep = np.asarray(np.isfinite(projected).all(axis=0), dtype=np.bool_)
        im = projected
    return StressMarginResult(
        mode=config.stress_mode,
        horizon_days=config.stress_horizon_days,
        multipliers=multipliers,
        agreement_id=baseline.agreement_id[keep],
        kind=baseline.kind[keep],
        baseline_im_usd=base[keep],
        im_usd=im[:, keep],
        failures=tuple(failures),
    )


def _under_volatility(
    book: Book,
    market: MarketState,
    baseline_im: Float64Array,
    config: MarginConfig,
    anchors: Mapping[str, float],
    failures: list[Failure],
) -> Float64Array:
    """IM plus add-ons, (n_multipliers, n_agreements); NaN where it could not be computed."""
    agreements, days = book.agreements, config.stress_horizon_days
    engine = MarginEngine(
        net_positions(book, market), config, models=REACTIVE_MODELS, anchors=anchors
    )
    reacts = np.isin(agreements.model, REACTIVE_MODELS)
    decay = np.where(reacts, agreements.ewma_lambda, 1.0)
    already_named = len(engine.failures)
    out = np.empty((len(config.volatility_multipliers), len(agreements)))
    for i, multiplier in enumerate(config.volatility_multipliers):
        scale = np.array([volatility_scale(float(d), multiplier, days) for d in decay])
        im = np.where(reacts, engine.at(scale).im, baseline_im)
        out[i] = im + sum(engine.add_ons(im, scale).values())
    out[:, engine.failed] = np.nan
    failures += engine.failures[already_named:]
    return out
