"""Margins of the classes with risk buckets (credit, equity, commodity) and of FX.

Each class and measure is first written as `Exposures`; one aggregation then serves all. FX is the
case of one bucket whose families are the two volatility groups of currencies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.margin.simm.aggregate import (
    across_buckets,
    bucket_variance,
    curvature_margin,
    group_ids,
    scaling_factors,
    sums,
    volatility_scale,
)
from engine.margin.simm.encode import Sensitivities
from engine.margin.simm.rulebook import (
    HIGH_VOLATILITY,
    REGULAR,
    BucketParameters,
    SimmParameters,
)
from engine.margin.simm.vocabulary import ALL_BUCKETS, EQUITY_BUCKETS, RESIDUAL, currencies

_RESIDUAL_CODE = ALL_BUCKETS.index(RESIDUAL)
# Volatility indices have vega but, by rule, no curvature.
_VOLATILITY_INDEX_BUCKET = EQUITY_BUCKETS.index("12")


@dataclass(frozen=True)
class Exposures:
    """Records of one risk class and measure; arrays have shape (n_records,).

    `value` in USD is what concentration is measured on; `weight` * `value` is the weighted
    sensitivity before concentration. `bucket` counts from 0 and the residual bucket is
    `n_ordinary`. `same` and `different` are correlations (see `bucket_variance`); `between` is
    (n_ordinary, n_ordinary) with a zero diagonal.
    """

    n_silos: int
    n_ordinary: int
    silo: Int64Array
    bucket: Int64Array
    name: Int64Array
    family: Int64Array
    value: Float64Array
    weight: Float64Array
    threshold: Float64Array
    same: Float64Array
    different: Float64Array
    between: Float64Array

    def by_name(self) -> Exposures:
        """Return one record per name: values over tenors are added."""
        ids, first = group_ids(self.silo, self.bucket, self.name)
        columns = ("silo", "bucket", "name", "family", "weight", "threshold", "same", "different")
        return replace(
            self,
            value=sums(self.value, ids, len(first)),
            **{column: getattr(self, column)[first] for column in columns},
        )


def _bucketed(
    records: Sensitivities, parameters: BucketParameters, family: Int64Array, measure: str
) -> Exposures:
    bucket = np.where(records.bucket == _RESIDUAL_CODE, parameters.ordinary, records.bucket)
    is_delta = measure == "delta"
    weight = parameters.delta_weight if is_delta else parameters.vega_weight
    threshold = parameters.delta_threshold if is_delta else parameters.vega_threshold
    return Exposures(
        n_silos=records.n_silos,
        n_ordinary=parameters.ordinary,
        silo=records.silo,
        bucket=bucket,
        name=records.qualifier,
        family=family,
        value=records.amount_usd,
        weight=weight[bucket],
        threshold=threshold[bucket],
        same=parameters.same[bucket],
        different=parameters.different[bucket],
        between=parameters.between,
    )


def credit_qualifying(
    records: Sensitivities, parameters: SimmParameters, measure: str
) -> Exposures:
    """Return exposures of Risk_CreditQ or Risk_CreditVol; a family is one issuer."""
    return _bucketed(records, parameters.credit_qualifying, records.qualifier, measure)


def credit_non_qualifying(
    records: Sensitivities, parameters: SimmParameters, measure: str
) -> Exposures:
    """Return exposures of Risk_CreditNonQ or Risk_CreditVolNonQ; a family is a Label2 group."""
    return _bucketed(records, parameters.credit_non_qualifying, records.label2, measure)


def _per_point(
    records: Sensitivities, bucketed: BucketParameters, parameters: SimmParameters, measure: str
) -> Exposures:
    """Equity and commodity: vega comes per volatility point and is put in value terms here."""
    exposures = _bucketed(records, bucketed, records.qualifier, measure)
    if measure != "delta":
        sigma = bucketed.delta_weight[exposures.bucket] * volatility_scale(parameters.horizon_days)
        ratio = bucketed.volatility_ratio if measure == "vega" else 1.0
        exposures = replace(exposures, value=ratio * sigma * records.amount_usd)
    return exposures


def equity(records: Sensitivities, parameters: SimmParameters, measure: str) -> Exposures:
    """Return exposures of Risk_Equity or Risk_EquityVol."""
    exposures = _per_point(records, parameters.equity, parameters, measure)
    if measure != "curvature":
        return exposures
    quiet = exposures.bucket == _VOLATILITY_INDEX_BUCKET
    return replace(exposures, value=np.where(quiet, 0.0, exposures.value))


def commodity(records: Sensitivities, parameters: SimmParameters, measure: str) -> Exposures:
    """Return exposures of Risk_Commodity or Risk_CommodityVol."""
    return _per_point(records, parameters.commodity, parameters, measure)


def fx(
    records: Sensitivities,
    parameters: SimmParameters,
    measure: str,
    calculation_currency: int,
) -> Exposures:
    """Return exposures of Risk_FX (without the calculation currency) or of Risk_FXVol."""
    rates = parameters.fx
    n = len(currencies()[0])
    if measure == "delta":
        records = records.where(records.qualifier != calculation_currency)
        level = rates.level[records.qualifier]
        base = int(rates.level[calculation_currency])
        weight = rates.delta_weight[base, level]
        threshold = rates.delta_threshold[rates.category[records.qualifier]]
        value, family = records.amount_usd, level
        same = rates.correlation[base, level, level]
        different = np.full(len(records), rates.correlation[base, HIGH_VOLATILITY, REGULAR])
    else:
        first, second = np.divmod(records.qualifier, n)
        sigma = rates.delta_weight[rates.level[first], rates.level[second]]
        ratio = rates.volatility_ratio if measure == "vega" else 1.0
        value = ratio * sigma * volatility_scale(parameters.horizon_days) * records.amount_usd
        weight = np.full(len(records), rates.vega_weight)
        threshold = rates.vega_threshold[rates.category[first], rates.category[second]]
        family = records.qualifier
        same = different = np.full(len(records), rates.vega_correlation)
    return Exposures(
        n_silos=records.n_silos,
        n_ordinary=1,
        silo=records.silo,
        bucket=np.zeros(len(records), dtype=np.int64),
        name=records.qualifier,
        family=family,
        value=value,
        weight=weight,
        threshold=threshold,
        same=same,
        different=different,
        between=np.zeros((1, 1)),
    )


Builder = Callable[[Sensitivities, SimmParameters, str], Exposures]


def delta_or_vega(
    records: Sensitivities, parameters: SimmParameters, measure: str, build: Builder
) -> Float64Array:
    """Return the delta or vega margin of each silo of a class.

    Parameters
    ----------
    records : Sensitivities
        Only the class's delta (or volatility) risk type.
    measure : str
        `delta` or `vega`.
    build : callable
        `credit_qualifying`, `credit_non_qualifying`, `equity`, `commodity` or a bound `fx`.

    Returns
    -------
    float64 array of shape (n_silos,)
        sqrt(sum K_b^2 + sum gamma S_b S_c) + K_residual with
        CR = max(1, sqrt(|sum value of the name| / threshold)) and WS = weight * value * CR.
        One equity in bucket 5 worth USD 1,000 per 1 %, version 2.8+2506: 23 * 1,000 = 23,000.
    """
    exposures = build(records, parameters, measure)
    if build is not credit_qualifying and build is not credit_non_qualifying:
        exposures = exposures.by_name()
    ratio = np.ones(len(exposures.value))
    if parameters.concentration:
        ids, first = group_ids(exposures.silo, exposures.bucket, exposures.name)
        size = np.abs(sums(exposures.value, ids, len(first)))
        ratio = np.maximum(1.0, np.sqrt(size / exposures.threshold[first]))[ids]
    ws = exposures.weight * exposures.value * ratio
    variance, total = _bucket_parts(exposures, ws, ratio)
    ordinary = across_buckets(variance[:, :-1], total[:, :-1], exposures.between)
    return np.sqrt(ordinary) + np.sqrt(variance[:, -1])


def curvature(
    records: Sensitivities, parameters: SimmParameters, sign: float, build: Builder
) -> Float64Array:
    """Return the curvature margin of each silo of a class, shape (n_silos,).

    CVR = SF(t) * sigma * vega * sign with correlations squared and no concentration. In theta,
    |CVR| is per name for equity, commodity and FX, per record for credit. The residual bucket is
    a portfolio of its own.
    """
    exposures = build(records, parameters, "curvature")
    factor = sign * scaling_factors(parameters.horizon_days)[records.tenor]
    exposures = replace(
        exposures,
        value=factor * exposures.value,
        same=exposures.same**2,
        different=exposures.different**2,
        between=exposures.between**2,
    )
    if build is not credit_qualifying and build is not credit_non_qualifying:
        exposures = exposures.by_name()
    cvr = exposures.value
    variance, total = _bucket_parts(exposures, cvr, np.ones(len(cvr)))
    residual = (exposures.bucket == exposures.n_ordinary).astype(np.int64)
    side = exposures.silo * 2 + residual
    n_sides = exposures.n_silos * 2
    spread = np.sqrt(
        np.stack(
            [
                across_buckets(variance[:, :-1], total[:, :-1], exposures.between),
                variance[:, -1],
            ],
            axis=1,
        )
    )
    margin = curvature_margin(
        sums(cvr, side, n_sides).reshape(-1, 2),
        sums(np.abs(cvr), side, n_sides).reshape(-1, 2),
        spread,
    )
    return np.asarray(margin[:, 0] + margin[:, 1], dtype=np.float64)


def _bucket_parts(
    exposures: Exposures, ws: Float64Array, ratio: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return K^2 and sum WS of shape (n_silos, n_ordinary + 1), the residual bucket last."""
    width = exposures.n_ordinary + 1
    cell = exposures.silo * width + exposures.bucket
    n_cells = exposures.n_silos * width
    variance = bucket_variance(
        ws,
        exposures.name,
        exposures.family,
        cell,
        ratio,
        exposures.same,
        exposures.different,
        n_cells,
    )
    return variance.reshape(-1, width), sums(ws, cell, n_cells).reshape(-1, width)


def base_correlation(records: Sensitivities, parameters: SimmParameters) -> Float64Array:
    """Return the base-correlation margin of each silo, shape (n_silos,).

    `records` holds only Risk_BaseCorr; one weight, one correlation between indices, no
    concentration.
    """
    ws = parameters.base_correlation_weight * records.amount_usd
    rho = np.full(len(ws), parameters.base_correlation)
    variance = bucket_variance(
        ws,
        records.qualifier,
        records.qualifier,
        records.silo,
        np.ones(len(ws)),
        rho,
        rho,
        records.n_silos,
    )
    return np.sqrt(variance)
