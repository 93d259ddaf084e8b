"""The exact gradient of the standard margin: reverse-mode differentiation by hand.

After the forward pass of `engine.kernels.simm` the derivative of the total flows from the
portfolio down the tree to the rows, at about twice the cost of the margin. At a corner of the
margin one of its two one-sided derivatives is returned, and 0 where a root has no derivative.
"""

from __future__ import annotations

import math

import numpy as np

from engine.domain.arrays import Float64Array
from engine.kernels.jit import inlined, kernel
from engine.kernels.simm import (
    LAMBDA,
    across,
    clamped,
    class_sums,
    correlation,
    curvature,
    fill_block,
    fill_values,
    gamma,
    is_residual,
    new_state,
    ratio_factor,
    residual_variance,
    side_sums,
)
from engine.kernels.simm_layout import CLASSES, CURVATURE, PRODUCTS, RATES, State, Structure


@inlined
def _half_inverse(x: float) -> float:
    """Return the derivative of sqrt at x."""
    return 0.5 / math.sqrt(x) if x > 0.0 else 0.0


@inlined
def _curvature_slopes(plain: float, absolute: float, spread: float) -> tuple[float, float, float]:
    """Return derivatives of `curvature` by sum CVR, sum |CVR| and spread."""
    if absolute <= 0.0 or curvature(plain, absolute, spread) <= 0.0:
        return 0.0, 0.0, 0.0
    if plain >= 0.0:
        return 1.0, 0.0, LAMBDA
    theta = plain / absolute
    by_theta = (LAMBDA - 1.0) * spread
    slope = LAMBDA * (1.0 + theta) - theta
    return 1.0 + by_theta / absolute, -by_theta * theta / absolute, slope


@inlined
def _add_ratio_slopes(ratio: Float64Array, g: int, h: int, slope: float, d: Float64Array) -> None:
    """Pass the derivative by min / max of two ratios on to the two."""
    a, b = ratio[g], ratio[h]
    if a < b:
        d[g] += slope / b
        d[h] -= slope * a / (b * b)
    elif b < a:
        d[g] -= slope * b / (a * a)
        d[h] += slope / a


@inlined
def _across_slopes(m: Structure, k: int, squared: int, upstream: float, s: State, d: State) -> None:
    """Add the derivatives of `across` by ratios, variances and sums of the buckets."""
    for b in range(m.bucket_start[k], m.bucket_start[k + 1]):
        if is_residual(m, k, b):
            continue
        spread = math.sqrt(s.variance[b])
        own = clamped(s.total[b], spread)
        by_own = 0.0
        for c in range(m.bucket_start[k], m.bucket_start[k + 1]):
            if c == b or is_residual(m, k, c):
                continue
            other = clamped(s.total[c], math.sqrt(s.variance[c]))
            by_own += 2.0 * gamma(m, k, squared, b, c, s.ratio) * other
            if c < b and m.block_class[k] == RATES:
                slope = 2.0 * upstream * m.rates_gamma[squared] * own * other
                _add_ratio_slopes(s.ratio, m.group_start[b], m.group_start[c], slope, d.ratio)
        d.variance[b] += upstream
        if abs(s.total[b]) <= spread:
            d.total[b] += upstream * by_own
        elif s.total[b] > 0.0:
            d.variance[b] += upstream * by_own * _half_inverse(s.variance[b])
        else:
            d.variance[b] -= upstream * by_own * _half_inverse(s.variance[b])


@inlined
def _bucket_slopes(m: Structure, k: int, b: int, squared: int, s: State, d: State) -> None:
    """Pass the derivatives by variance and sum of a bucket on to its ratios and values."""
    rates = bool(m.block_class[k] == RATES)
    by_variance = d.variance[b] if s.variance[b] > 0.0 else 0.0
    first, last = m.factor_start[b], m.factor_start[b + 1]
    for i in range(first, last):
        g = m.group[i]
        by_ws = 2.0 * s.ws[i]
        for j in range(first, last):
            if j == i:
                continue
            rho = correlation(m, b, rates, squared, i, j)
            h = m.group[j]
            if rates or g == h:
                by_ws += 2.0 * rho * s.ws[j]
                continue
            by_ws += 2.0 * rho * ratio_factor(s.ratio[g], s.ratio[h]) * s.ws[j]
            if j < i:
                slope = 2.0 * by_variance * rho * s.ws[i] * s.ws[j]
                _add_ratio_slopes(s.ratio, g, h, slope, d.ratio)
        down = by_variance * by_ws + d.total[b]
        d.value[i] += down * m.weight[i] * s.ratio[g]
        d.ratio[g] += down * m.weight[i] * s.value[i]
    for i in range(first, last):
        g = m.group[i]
        if s.ratio[g] > 1.0:
            slope = 0.5 / math.sqrt(abs(s.size[g]) * m.threshold[g])
            d.value[i] += d.ratio[g] * (slope if s.size[g] > 0.0 else -slope)


@inlined
def _side_slopes(
    m: Structure, k: int, residual: bool, upstream: float, spread: float, s: State, d: State
) -> float:
    """Add the derivatives of one side's curvature by its sums; return that by its spread."""
    plain, absolute = side_sums(m, k, residual, s)
    by_plain, by_absolute, by_spread = _curvature_slopes(plain, absolute, spread)
    for b in range(m.bucket_start[k], m.bucket_start[k + 1]):
        if is_residual(m, k, b) == residual:
            d.total[b] += upstream * by_plain
            for i in range(m.factor_start[b], m.factor_start[b + 1]):
                if s.ws[i] != 0.0:
                    sign = 1.0 if s.ws[i] > 0.0 else -1.0
                    d.value[i] += upstream * by_absolute * sign * m.weight[i]
    return by_spread


@inlined
def _block_slopes(m: Structure, k: int, upstream: float, s: State, d: State) -> None:
    """Fill the derivatives of upstream * margin of block `k` by the values of its factors."""
    squared = 1 if m.block_measure[k] == CURVATURE else 0
    ordinary = across(m, k, squared, s)
    residual = residual_variance(m, k, s)
    up = upstream * m.block_scale[k]
    by_ordinary, by_residual = 1.0, 1.0
    if squared == 1:
        by_ordinary = _side_slopes(m, k, False, up, math.sqrt(ordinary), s, d)
        by_residual = _side_slopes(m, k, True, up, math.sqrt(residual), s, d)
    _across_slopes(m, k, squared, up * by_ordinary * _half_inverse(ordinary), s, d)
    for b in range(m.bucket_start[k], m.bucket_start[k + 1]):
        if is_residual(m, k, b):
            d.variance[b] += up * by_residual * _half_inverse(residual)
        _bucket_slopes(m, k, b, squared, s, d)


@kernel
def gradients(
    m: Structure, amounts: Float64Array, out: Float64Array, out_gradient: Float64Array
) -> None:
    """Fill margins and their derivatives by every amount, for every set of amounts.

    Parameters
    ----------
    m, amounts, out
        As in `engine.kernels.simm.margins`.
    out_gradient : float64 array of shape (n_sets, R)
        Overwritten: derivative of the margin of the row's portfolio, USD per unit of the amount;
        0 for add-on rows.
    """
    s, d = new_state(m), new_state(m)
    classes = np.empty(CLASSES)
    for i in range(len(amounts)):
        fill_values(m, amounts[i], s)
        d.value[:] = 0.0
        d.ratio[:] = 0.0
        d.variance[:] = 0.0
        d.total[:] = 0.0
        for k in range(len(m.block_class)):
            fill_block(m, k, s)
        for p in range(len(m.add_on)):
            out[i, p] = m.add_on[p]
        for silo in range(PRODUCTS * len(m.add_on)):
            if m.block_start[silo] == m.block_start[silo + 1]:
                continue
            root = math.sqrt(class_sums(m, silo, s, classes))
            out[i, silo // PRODUCTS] += m.multiplier[silo] * root
            for k in range(m.block_start[silo], m.block_start[silo + 1]):
                up = 0.0
                for q in range(CLASSES):
                    up += m.class_correlation[m.block_class[k], q] * classes[q]
                if root > 0.0:
                    _block_slopes(m, k, m.multiplier[silo] * up / root, s, d)
        out_gradient[i, :] = 0.0
        for f in range(len(d.value)):
            for e in range(m.entry_start[f], m.entry_start[f + 1]):
                out_gradient[i, m.entry_row[e]] += d.value[f] * m.entry_coefficient[e]
