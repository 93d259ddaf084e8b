"""The standard margin for many sets of amounts of one structure.

`engine.kernels.simm_slopes` has the gradient, `engine.kernels.simm_twin` the NumPy twin of both.
"""

from __future__ import annotations

import math

import numpy as np

from engine.domain.arrays import Float64Array
from engine.kernels.jit import inlined, kernel
from engine.kernels.simm_layout import CLASSES, CURVATURE, PRODUCTS, RATES, State, Structure

# z^2 - 1 with z the 99.5 % quantile of the standard normal law.
LAMBDA = 2.5758293035489004**2 - 1.0


@inlined
def new_state(m: Structure) -> State:
    """Return a state with nothing filled."""
    n_factors, n_groups, n_buckets = len(m.weight), len(m.threshold), len(m.bucket_code)
    return State(
        np.empty(n_factors),
        np.empty(n_factors),
        np.empty(n_groups),
        np.empty(n_groups),
        np.empty(n_buckets),
        np.empty(n_buckets),
        np.empty(len(m.block_class)),
    )


@inlined
def ratio_factor(a: float, b: float) -> float:
    """Return min / max of two concentration ratios."""
    return a / b if a < b else b / a


@inlined
def correlation(m: Structure, bucket: int, rates: bool, squared: int, i: int, j: int) -> float:
    """Return the correlation of two factors of one bucket, without concentration."""
    if rates:
        return float(m.rates_correlation[squared, m.cell[i], m.cell[j]])
    return float(m.same[i] if m.family[i] == m.family[j] else m.different[bucket])


@inlined
def gamma(m: Structure, k: int, squared: int, b: int, c: int, ratio: Float64Array) -> float:
    """Return the correlation of two buckets of block `k`, concentration of rates included."""
    if m.block_class[k] == RATES:
        factor = ratio_factor(ratio[m.group_start[b]], ratio[m.group_start[c]])
        return float(m.rates_gamma[squared] * factor)
    codes = m.bucket_code
    return float(m.between[squared, m.block_class[k], codes[b], codes[c]])


@inlined
def is_residual(m: Structure, k: int, b: int) -> bool:
    """Return whether bucket `b` of block `k` stands outside the aggregation."""
    return bool(m.bucket_code[b] >= m.ordinary[m.block_class[k]])


@inlined
def clamped(total: float, spread: float) -> float:
    """Return the sum of a bucket limited to its spread."""
    return min(max(total, -spread), spread)


@inlined
def fill_values(m: Structure, amounts: Float64Array, s: State) -> None:
    """Add the rows of every factor."""
    for f in range(len(s.value)):
        result = 0.0
        for e in range(m.entry_start[f], m.entry_start[f + 1]):
            result += m.entry_coefficient[e] * amounts[m.entry_row[e]]
        s.value[f] = result


@inlined
def _weigh(m: Structure, b: int, s: State) -> None:
    for g in range(m.group_start[b], m.group_start[b + 1]):
        s.size[g] = 0.0
    for i in range(m.factor_start[b], m.factor_start[b + 1]):
        s.size[m.group[i]] += s.value[i]
    for g in range(m.group_start[b], m.group_start[b + 1]):
        s.ratio[g] = max(1.0, math.sqrt(abs(s.size[g]) / m.threshold[g]))
    s.total[b] = 0.0
    for i in range(m.factor_start[b], m.factor_start[b + 1]):
        s.ws[i] = m.weight[i] * s.value[i] * s.ratio[m.group[i]]
        s.total[b] += s.ws[i]


@inlined
def _vary(m: Structure, b: int, rates: bool, squared: int, s: State) -> None:
    result = 0.0
    first = m.factor_start[b]
    for i in range(first, m.factor_start[b + 1]):
        others = 0.0
        for j in range(first, i):
            pair = correlation(m, b, rates, squared, i, j) * s.ws[j]
            if not rates:
                pair *= ratio_factor(s.ratio[m.group[i]], s.ratio[m.group[j]])
            others += pair
        result += s.ws[i] * (s.ws[i] + 2.0 * others)
    s.variance[b] = max(result, 0.0)


@inlined
def across(m: Structure, k: int, squared: int, s: State) -> float:
    """Return sum K^2 + sum gamma S S over the ordinary buckets of block `k`, not negative."""
    result = 0.0
    for b in range(m.bucket_start[k], m.bucket_start[k + 1]):
        if is_residual(m, k, b):
            continue
        result += s.variance[b]
        own = clamped(s.total[b], math.sqrt(s.variance[b]))
        for c in range(m.bucket_start[k], b):
            if is_residual(m, k, c):
                continue
            other = clamped(s.total[c], math.sqrt(s.variance[c]))
            result += 2.0 * gamma(m, k, squared, b, c, s.ratio) * own * other
    return max(result, 0.0)


@inlined
def residual_variance(m: Structure, k: int, s: State) -> float:
    """Return K^2 of the residual bucket of block `k`, 0 if it has none."""
    result = 0.0
    for b in range(m.bucket_start[k], m.bucket_start[k + 1]):
        if is_residual(m, k, b):
            result += s.variance[b]
    return result


@inlined
def side_sums(m: Structure, k: int, residual: bool, s: State) -> tuple[float, float]:
    """Return sum CVR and sum |CVR| over the ordinary (or the residual) buckets of block `k`."""
    plain, absolute = 0.0, 0.0
    for b in range(m.bucket_start[k], m.bucket_start[k + 1]):
        if is_residual(m, k, b) == residual:
            plain += s.total[b]
            for i in range(m.factor_start[b], m.factor_start[b + 1]):
                absolute += abs(s.ws[i])
    return plain, absolute


@inlined
def curvature(plain: float, absolute: float, spread: float) -> float:
    """Return max(sum CVR + lambda * spread, 0)."""
    theta = min(plain / absolute, 0.0) if absolute > 0.0 else 0.0
    return max(plain + (LAMBDA * (1.0 + theta) - theta) * spread, 0.0)


@inlined
def fill_block(m: Structure, k: int, s: State) -> None:
    """Compute block `k`: its buckets and its margin."""
    rates = bool(m.block_class[k] == RATES)
    squared = 1 if m.block_measure[k] == CURVATURE else 0
    for b in range(m.bucket_start[k], m.bucket_start[k + 1]):
        _weigh(m, b, s)
        _vary(m, b, rates, squared, s)
    ordinary = math.sqrt(across(m, k, squared, s))
    residual = math.sqrt(residual_variance(m, k, s))
    if squared == 1:
        plain, absolute = side_sums(m, k, False, s)
        ordinary = curvature(plain, absolute, ordinary)
        plain, absolute = side_sums(m, k, True, s)
        residual = curvature(plain, absolute, residual)
    s.margin[k] = m.block_scale[k] * (ordinary + residual)


@inlined
def class_sums(m: Structure, silo: int, s: State, classes: Float64Array) -> float:
    """Fill the margins of the risk classes of a silo; return the square of their aggregate."""
    for r in range(CLASSES):
        classes[r] = 0.0
    for k in range(m.block_start[silo], m.block_start[silo + 1]):
        classes[m.block_class[k]] += s.margin[k]
    result = 0.0
    for r in range(CLASSES):
        for q in range(CLASSES):
            result += classes[r] * m.class_correlation[r, q] * classes[q]
    return max(result, 0.0)


@kernel
def margins(m: Structure, amounts: Float64Array, out: Float64Array) -> None:
    """Fill the margin of every portfolio for every set of amounts.

    Parameters
    ----------
    m : Structure
        R rows, P portfolios.
    amounts : float64 array of shape (n_sets, R), finite
        USD, C-contiguous.
    out : float64 array of shape (n_sets, P)
        Overwritten; USD.
    """
    s = new_state(m)
    classes = np.empty(CLASSES)
    for i in range(len(amounts)):
        fill_values(m, amounts[i], s)
        for k in range(len(m.block_class)):
            fill_block(m, k, s)
        for p in range(len(m.add_on)):
            result = 0.0
            for silo in range(PRODUCTS * p, PRODUCTS * (p + 1)):
                if m.block_start[silo] < m.block_start[silo + 1]:
                    result += m.multiplier[silo] * math.sqrt(class_sums(m, silo, s, classes))
            out[i, p] = result + m.add_on[p]
