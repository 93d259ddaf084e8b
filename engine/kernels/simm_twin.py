"""NumPy twin of the standard margin's kernels: whole correlation matrices, one bucket at a time.

It states the formula and its derivative in matrix form and is the oracle of the compiled loops. It
is slow and has no other use.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.kernels.simm_layout import CLASSES, CURVATURE, PRODUCTS, RATES, Structure

_Z2 = 2.5758293035489004**2


class _Bucket(NamedTuple):
    """One bucket: its factors and groups, correlations `rho`, ratios and weighted sensitivities."""

    factors: slice
    groups: slice
    member: BoolArray
    rho: Float64Array
    ratio: Float64Array
    size: Float64Array
    ws: Float64Array
    variance: float
    total: float


def margins_and_gradients(m: Structure, amounts: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return margins (n_sets, P) and derivatives (n_sets, R) for amounts (n_sets, R)."""
    margin = np.tile(m.add_on, (len(amounts), 1))
    gradient = np.zeros(amounts.shape)
    for s, row in enumerate(amounts):
        entries = m.entry_coefficient * row[m.entry_row]
        factor = np.repeat(np.arange(len(m.weight)), np.diff(m.entry_start))
        value = np.zeros(len(m.weight))
        np.add.at(value, factor, entries)
        slope = np.zeros(len(m.weight))
        for silo in np.flatnonzero(np.diff(m.block_start)):
            margin[s, silo // PRODUCTS] += _silo(m, int(silo), value, slope)
        np.add.at(gradient[s], m.entry_row, m.entry_coefficient * slope[factor])
    return margin, gradient


def _silo(m: Structure, silo: int, value: Float64Array, slope: Float64Array) -> float:
    blocks = range(m.block_start[silo], m.block_start[silo + 1])
    classes = np.zeros(CLASSES)
    parts = {}
    for k in blocks:
        parts[k] = _block(m, k, value)
        classes[m.block_class[k]] += parts[k][0]
    root = float(np.sqrt(max(float(classes @ m.class_correlation @ classes), 0.0)))
    for k in blocks:
        if root > 0.0:
            up = m.multiplier[silo] * (m.class_correlation @ classes)[m.block_class[k]] / root
            slope += up * parts[k][1]
    return float(m.multiplier[silo] * root)


def _block(m: Structure, k: int, value: Float64Array) -> tuple[float, Float64Array]:
    """Return the margin of a block and its derivative by every factor."""
    buckets = range(m.bucket_start[k], m.bucket_start[k + 1])
    residual = m.bucket_code[list(buckets)] >= m.ordinary[m.block_class[k]]
    margin, slope = 0.0, np.zeros(len(m.weight))
    for outside in (False, True):
        chosen = [_bucket(m, k, b, value) for b in np.array(buckets)[residual == outside]]
        codes = m.bucket_code[np.array(buckets)[residual == outside]]
        if chosen:
            part, by_factor = _side(
                m, k, chosen, np.zeros(1, dtype=np.int64) if outside else codes, value
            )
            margin += part
            slope += by_factor
    return float(m.block_scale[k] * margin), m.block_scale[k] * slope


def _bucket(m: Structure, k: int, b: int, value: Float64Array) -> _Bucket:
    factors = slice(m.factor_start[b], m.factor_start[b + 1])
    groups = slice(m.group_start[b], m.group_start[b + 1])
    member = m.group[factors, None] == np.arange(groups.start, groups.stop)
    size = value[factors] @ member
    ratio = np.maximum(1.0, np.sqrt(np.abs(size) / m.threshold[groups]))
    cr = member @ ratio
    if m.block_class[k] == RATES:
        squared = int(m.block_measure[k] == CURVATURE)
        rho = m.rates_correlation[squared][np.ix_(m.cell[factors], m.cell[factors])].copy()
    else:
        family = m.family[factors]
        rho = np.where(family[:, None] == family, m.same[factors, None], m.different[b])
        rho = rho * np.minimum.outer(cr, cr) / np.maximum.outer(cr, cr)
    np.fill_diagonal(rho, 1.0)
    ws = m.weight[factors] * value[factors] * cr
    variance = max(float(ws @ rho @ ws), 0.0)
    return _Bucket(factors, groups, member, rho, ratio, size, ws, variance, float(ws.sum()))


def _side(
    m: Structure, k: int, buckets: list[_Bucket], codes: Int64Array, value: Float64Array
) -> tuple[float, Float64Array]:
    """Return margin and derivatives of the ordinary buckets of a block, or of the residual one."""
    variance = np.array([bucket.variance for bucket in buckets])
    total = np.array([bucket.total for bucket in buckets])
    spread = np.sqrt(variance)
    clamped = np.clip(total, -spread, spread)
    gamma = _gamma(m, k, buckets, codes)
    square = max(float(variance.sum() + clamped @ gamma @ clamped), 0.0)
    root = np.sqrt(square)
    ws = np.concatenate([bucket.ws for bucket in buckets])
    margin, by_total, by_size, by_root = root, 0.0, 0.0, 1.0
    if m.block_measure[k] == CURVATURE:
        margin, by_total, by_size, by_root = _curvature(ws, root)
    half = by_root * 0.5 / root if root > 0.0 else 0.0
    inside = np.abs(total) <= spread
    by_clamped = 2.0 * half * gamma @ clamped
    inverse = np.divide(0.5, spread, out=np.zeros_like(spread), where=spread > 0.0)
    d_variance = half + np.where(inside, 0.0, np.sign(total) * by_clamped * inverse)
    d_variance[variance == 0.0] = 0.0
    d_total = by_total + np.where(inside, by_clamped, 0.0)
    by_gamma = half * np.outer(clamped, clamped) * gamma
    slope = np.zeros(len(m.weight))
    for i, bucket in enumerate(buckets):
        lead = 0.0
        if m.block_class[k] == RATES and len(buckets) > 1:
            # gamma = constant * min / max: its derivative by a ratio is +- gamma / ratio.
            first = np.array([other.ratio[0] for other in buckets])
            lead = 2.0 * float(by_gamma[i] @ np.sign(first - first[i])) / first[i]
        down = d_variance[i] * 2.0 * (bucket.rho @ bucket.ws) + d_total[i]
        slope[bucket.factors] = _within(m, k, bucket, d_variance[i], down, lead, value)
        slope[bucket.factors] += by_size * np.sign(bucket.ws) * m.weight[bucket.factors]
    return float(margin), slope


def _gamma(m: Structure, k: int, buckets: list[_Bucket], codes: Int64Array) -> Float64Array:
    squared = int(m.block_measure[k] == CURVATURE)
    if m.block_class[k] == RATES:
        first = np.array([bucket.ratio[0] for bucket in buckets])
        gamma = np.minimum.outer(first, first) / np.maximum.outer(first, first)
        gamma *= m.rates_gamma[squared]
    else:
        gamma = m.between[squared, m.block_class[k]][np.ix_(codes, codes)].copy()
    np.fill_diagonal(gamma, 0.0)
    return np.asarray(gamma, dtype=np.float64)


def _curvature(ws: Float64Array, root: float) -> tuple[float, float, float, float]:
    """Return the curvature margin and its derivatives by sum, sum of sizes and root."""
    plain, absolute = float(ws.sum()), float(np.abs(ws).sum())
    theta = min(plain / absolute, 0.0) if absolute > 0.0 else 0.0
    lam = (_Z2 - 1.0) * (1.0 + theta) - theta
    margin = plain + lam * root
    if margin <= 0.0 or absolute <= 0.0:
        return 0.0, 0.0, 0.0, 0.0
    by_theta = (_Z2 - 2.0) * root if plain < 0.0 else 0.0
    return margin, 1.0 + by_theta / absolute, -by_theta * plain / absolute**2, lam


def _within(
    m: Structure,
    k: int,
    bucket: _Bucket,
    by_variance: float,
    down: Float64Array,
    lead: float,
    value: Float64Array,
) -> Float64Array:
    """Return derivatives by the values of one bucket's factors."""
    f = bucket.factors
    cr = bucket.member @ bucket.ratio
    by_ratio = (down * m.weight[f] * value[f]) @ bucket.member
    by_ratio[0] += lead
    if m.block_class[k] != RATES:
        pair = by_variance * bucket.rho * np.outer(bucket.ws, bucket.ws)
        order = np.sign(cr[None, :] - cr[:, None])
        by_ratio += (2.0 * (pair * order).sum(axis=1) / cr) @ bucket.member
    limit = m.threshold[bucket.groups]
    active = bucket.ratio > 1.0
    root = np.sqrt(np.where(active, np.abs(bucket.size) * np.where(active, limit, 1.0), 1.0))
    by_size = np.where(active, by_ratio * 0.5 * np.sign(bucket.size) / root, 0.0)
    return np.asarray(down * m.weight[f] * cr + bucket.member @ by_size, dtype=np.float64)
