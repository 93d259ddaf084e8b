"""Interest-rate margin: the bucket is a currency, its risks are curve tenors, inflation, basis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.margin.simm.aggregate import (
    concentrated_pairs,
    curvature_margin,
    group_ids,
    scaling_factors,
    sums,
)
from engine.margin.simm.encode import Sensitivities
from engine.margin.simm.rulebook import InterestRateParameters, SimmParameters
from engine.margin.simm.vocabulary import RISK_TYPE_CODE, TENORS

_N_TENORS = len(TENORS)


@dataclass(frozen=True)
class _Currencies:
    """The (silo, currency) buckets of some records; `row` gives each record's bucket."""

    row: Int64Array
    silo: Int64Array
    currency: Int64Array

    def __len__(self) -> int:
        return len(self.silo)


def _currencies(records: Sensitivities) -> _Currencies:
    row, first = group_ids(records.silo, records.qualifier)
    return _Currencies(row, records.silo[first], records.qualifier[first])


def _ratios(total: Float64Array, threshold: Float64Array, concentration: bool) -> Float64Array:
    if not concentration:
        return np.ones_like(total)
    return np.maximum(1.0, np.sqrt(np.abs(total) / threshold))


def _across_currencies(
    variance: Float64Array,
    total: Float64Array,
    ratio: Float64Array,
    buckets: _Currencies,
    gamma: float,
    n_silos: int,
) -> Float64Array:
    """Return sum K^2 + sum gamma g_bc S_b S_c, g_bc = min(CR_b, CR_c)/max(CR_b, CR_c)."""
    spread = np.sqrt(np.maximum(variance, 0.0))
    clamped = np.clip(total, -spread, spread)
    cross = gamma * concentrated_pairs(clamped, ratio, buckets.silo, n_silos)
    return np.maximum(sums(spread * spread, buckets.silo, n_silos) + cross, 0.0)


def delta(records: Sensitivities, parameters: SimmParameters) -> Float64Array:
    """Return the delta margin of each silo.

    Parameters
    ----------
    records : Sensitivities
        Only Risk_IRCurve, Risk_Inflation and Risk_XCcyBasis.

    Returns
    -------
    float64 array of shape (n_silos,)
        USD 100,000 per basis point at 10y in USD alone, version 2.8+2506 at 10 days: weight 60,
        no concentration, margin 6,000,000.

    Notes
    -----
    With T the sum over sub-curves c of the tenor vectors t_c, the sub-curve correlation phi gives
    phi T'RT + (1 - phi) sum_c t_c'R t_c, so no matrix over (curve, tenor) pairs is needed.
    Basis spreads have no concentration ratio and do not count in it.
    """
    rates = parameters.interest_rate
    n_silos = records.n_silos
    buckets = _currencies(records)
    n = len(buckets)
    curve, inflation, basis = (
        records.risk_type == code
        for code in _codes("Risk_IRCurve", "Risk_Inflation", "Risk_XCcyBasis")
    )
    amount = records.amount_usd
    ratio = _ratios(
        sums(np.where(basis, 0.0, amount), buckets.row, n),
        rates.delta_threshold[buckets.currency],
        parameters.concentration,
    )
    weight = rates.delta_weight[records.qualifier, records.tenor]
    ws = (weight * amount * ratio[buckets.row])[curve]
    on_curve = _tenor_variance(records.where(curve), ws, buckets.row[curve], n, rates)
    x_inflation = (
        rates.inflation_weight * ratio * sums(amount[inflation], buckets.row[inflation], n)
    )
    x_basis = rates.basis_weight * sums(amount[basis], buckets.row[basis], n)
    level = sums(ws, buckets.row[curve], n)
    variance = (
        on_curve
        + x_inflation**2
        + x_basis**2
        + 2.0 * rates.inflation_correlation * x_inflation * level
        + 2.0 * rates.basis_correlation * x_basis * (level + x_inflation)
    )
    total = level + x_inflation + x_basis
    return np.sqrt(
        _across_currencies(variance, total, ratio, buckets, rates.currency_correlation, n_silos)
    )


def _codes(*names: str) -> list[int]:
    return [RISK_TYPE_CODE[name] for name in names]


def _tenor_variance(
    records: Sensitivities,
    ws: Float64Array,
    row: Int64Array,
    n_buckets: int,
    rates: InterestRateParameters,
) -> Float64Array:
    """Return the curve part of K^2, shape (n_buckets,)."""
    if not len(ws):
        return np.zeros(n_buckets)
    curve, first = group_ids(row, records.label2)
    vectors = sums(ws, curve * _N_TENORS + records.tenor, len(first) * _N_TENORS)
    vectors = vectors.reshape(-1, _N_TENORS)
    merged = sums(ws, row * _N_TENORS + records.tenor, n_buckets * _N_TENORS)
    merged = merged.reshape(-1, _N_TENORS)
    phi = rates.sub_curve_correlation
    own = sums(_quadratic(vectors, rates.tenor_correlation), row[first], n_buckets)
    return phi * _quadratic(merged, rates.tenor_correlation) + (1.0 - phi) * own


def _quadratic(vectors: Float64Array, correlation: Float64Array) -> Float64Array:
    quadratic: Float64Array = np.einsum("nk,kl,nl->n", vectors, correlation, vectors)
    return quadratic


def _volatility_variance(
    records: Sensitivities,
    x: Float64Array,
    row: Int64Array,
    n_buckets: int,
    correlation: Float64Array,
    inflation_correlation: float,
) -> Float64Array:
    """Return K^2 over rate volatilities by tenor and the inflation volatility of a currency."""
    inflation = _is_inflation(records)
    cells = sums(
        x[~inflation], (row * _N_TENORS + records.tenor)[~inflation], n_buckets * _N_TENORS
    )
    rate = cells.reshape(-1, _N_TENORS)
    price = sums(x[inflation], row[inflation], n_buckets)
    cross = 2.0 * inflation_correlation * rate.sum(axis=1) * price
    variance = _quadratic(rate, correlation) + price**2 + cross
    return np.asarray(variance, dtype=np.float64)


def _is_inflation(records: Sensitivities) -> BoolArray:
    (code,) = _codes("Risk_InflationVol")
    return np.asarray(records.risk_type == code)


def vega(records: Sensitivities, parameters: SimmParameters) -> Float64Array:
    """Return the vega margin of each silo, shape (n_silos,).

    `records` holds only Risk_IRVol and Risk_InflationVol, whose amounts are vega times volatility
    already. WS = VRW * amount * VCR. Inflation volatility is one risk over all expiries.
    """
    rates = parameters.interest_rate
    buckets = _currencies(records)
    n = len(buckets)
    ratio = _ratios(
        sums(records.amount_usd, buckets.row, n),
        rates.vega_threshold[buckets.currency],
        parameters.concentration,
    )
    ws = rates.vega_weight * records.amount_usd * ratio[buckets.row]
    variance = _volatility_variance(
        records, ws, buckets.row, n, rates.tenor_correlation, rates.inflation_correlation
    )
    total = sums(ws, buckets.row, n)
    return np.sqrt(
        _across_currencies(
            variance, total, ratio, buckets, rates.currency_correlation, records.n_silos
        )
    )


def curvature(records: Sensitivities, parameters: SimmParameters, sign: float) -> Float64Array:
    """Return the curvature margin of each silo, shape (n_silos,).

    CVR = SF(t) * amount * sign (+1 call, -1 post); correlations are squared; the result is scaled
    by 1 / HVR^2. |CVR| is summed per record.
    """
    rates = parameters.interest_rate
    n_silos = records.n_silos
    buckets = _currencies(records)
    n = len(buckets)
    cvr = sign * scaling_factors(parameters.horizon_days)[records.tenor] * records.amount_usd
    variance = _volatility_variance(
        records, cvr, buckets.row, n, rates.tenor_correlation**2, rates.inflation_correlation**2
    )
    spread = np.sqrt(
        _across_currencies(
            variance,
            sums(cvr, buckets.row, n),
            np.ones(n),
            buckets,
            rates.currency_correlation**2,
            n_silos,
        )
    )
    inflation = _is_inflation(records)
    absolute = sums(np.abs(cvr[~inflation]), records.silo[~inflation], n_silos)
    net_inflation = np.abs(sums(cvr[inflation], buckets.row[inflation], n))
    absolute = absolute + sums(net_inflation, buckets.silo, n_silos)
    margin = curvature_margin(sums(cvr, records.silo, n_silos), absolute, spread)
    return margin / rates.volatility_ratio**2
