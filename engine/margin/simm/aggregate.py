"""Sums over groups: the two-level aggregation every risk class shares.

Within a bucket K^2 = sum_k WS_k^2 + sum_{k != l} rho_kl f_kl WS_k WS_l with the concentration
ratio of names, f_kl = min(CR_k, CR_l) / max(CR_k, CR_l). Sorted by CR the double sum is a prefix
sum, so the cost is n log n, not n^2. Every sum runs inside its own group: a portfolio's margin
does not change with the other portfolios computed beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array, Int64Array
from engine.margin.simm.vocabulary import TENOR_DAYS

# 99 % and 99.5 % quantiles of the standard normal law. A poorer inverse breaks the unit tests.
NORMAL_99 = 2.3263478740408408
NORMAL_995 = 2.5758293035489004


def group_ids(*keys: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Number the distinct rows of `keys` in sorted order.

    Returns
    -------
    ids : int64 array of shape (n,)
        Group of each row.
    first : int64 array of shape (n_groups,)
        The first row of each group, to read the keys back.
    """
    n = len(keys[0])
    if n == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    order = np.lexsort(keys[::-1])
    new = np.zeros(n, dtype=np.bool_)
    new[0] = True
    for key in keys:
        in_order = key[order]
        new[1:] |= in_order[1:] != in_order[:-1]
    ids = np.empty(n, dtype=np.int64)
    ids[order] = np.cumsum(new) - 1
    return ids, order[new]


def sums(values: Float64Array, ids: Int64Array, n_groups: int) -> Float64Array:
    """Return the sum of `values` in each group, 0 where a group is empty; rows in order."""
    return np.bincount(ids, weights=values, minlength=n_groups).astype(np.float64, copy=False)


def concentrated_pairs(
    x: Float64Array, ratio: Float64Array, ids: Int64Array, n_groups: int
) -> Float64Array:
    """Return, per group, the sum over ordered pairs i != j of f_ij x_i x_j.

    f_ij = min(ratio_i, ratio_j) / max(ratio_i, ratio_j), ratios > 0.

    Parameters
    ----------
    x, ratio : float64 arrays of shape (n,)
    ids : int64 array of shape (n,)
        Group of each item.

    Returns
    -------
    float64 array of shape (n_groups,)
        With x = (1, 2, 3), ratio = (1, 2, 4): 2 * (1*2/2 + 1*3/4 + 2*3/2) = 9.5.
    """
    n = len(x)
    if n == 0:
        return np.zeros(n_groups)
    order = np.lexsort((ratio, ids))
    group, r = ids[order], ratio[order]
    start = np.zeros(n, dtype=np.int64)
    new = np.flatnonzero(group[1:] != group[:-1]) + 1
    start[new] = new
    start = np.maximum.accumulate(start)
    before = _exclusive_sums(x[order] * r, np.arange(n) - start)
    return sums(2.0 * before * x[order] / r, group, n_groups)


def _exclusive_sums(values: Float64Array, rank: npt.NDArray[np.int64]) -> Float64Array:
    """Return for each item the sum of the earlier items of its group.

    `rank` is the item's position in its group. By doubling steps, so that no sum ever crosses a
    group: a plain cumulative sum minus its value at the start would lose the digits of small
    groups that stand behind large ones.
    """
    total = values.copy()
    step = 1
    longest = int(rank.max(initial=0))
    while step <= longest:
        add = np.where(rank[step:] >= step, total[:-step], 0.0)
        total[step:] = total[step:] + add
        step *= 2
    before = np.zeros_like(total)
    before[1:] = np.where(rank[1:] > 0, total[:-1], 0.0)
    return before


def bucket_variance(
    ws: Float64Array,
    name: Int64Array,
    family: Int64Array,
    bucket: Int64Array,
    ratio: Float64Array,
    same: Float64Array,
    different: Float64Array,
    n_buckets: int,
) -> Float64Array:
    """Return K^2 of each bucket.

    Parameters
    ----------
    ws : float64 array of shape (n,)
        Weighted sensitivities.
    name, family, bucket : int64 arrays of shape (n,)
        Group numbers. Names lie inside a bucket; pairs of one family have correlation `same`,
        pairs of two families `different`.
    ratio, same, different : float64 arrays of shape (n,)
        Concentration ratio (constant in a name), and the two correlations (constant in a bucket;
        `same` in a family).

    Returns
    -------
    float64 array of shape (n_buckets,), not negative
        Two names, WS = (3, 4), CR = (1, 2), correlation 0.5: 9 + 16 + 2*0.5*0.5*12 = 31.
    """
    if len(ws) == 0:
        return np.zeros(n_buckets)
    squares = sums(ws * ws, bucket, n_buckets)
    name_id, first = group_ids(bucket, name)
    all_pairs = _pairs(ws, name_id, first, bucket[first], ratio, n_buckets) - squares
    rho = np.zeros(n_buckets)
    rho[bucket] = different
    variance = squares + rho * all_pairs

    cell, first = group_ids(bucket, family, name)
    set_id, set_first = group_ids(bucket[first], family[first])
    n_sets = len(set_first)
    own = sums(ws * ws, set_id[cell], n_sets)
    family_pairs = _pairs(ws, cell, first, set_id, ratio, n_sets) - own
    row = first[set_first]
    excess = (same[row] - different[row]) * family_pairs
    return np.maximum(variance + sums(excess, bucket[row], n_buckets), 0.0)


def _pairs(
    ws: Float64Array,
    item: Int64Array,
    first: Int64Array,
    group: Int64Array,
    ratio: Float64Array,
    n_groups: int,
) -> Float64Array:
    """Return sum f_ij x_i x_j over all ordered pairs, i = j included, x summed per item."""
    x = sums(ws, item, len(first))
    return sums(x * x, group, n_groups) + concentrated_pairs(x, ratio[first], group, n_groups)


def across_buckets(
    variance: Float64Array, total: Float64Array, correlation: Float64Array
) -> Float64Array:
    """Return sum_b K_b^2 + sum_{b != c} gamma_bc S_b S_c, S clamped to [-K, K].

    Parameters
    ----------
    variance, total : float64 arrays of shape (n_silos, n_buckets)
        K_b^2 and the sum of weighted sensitivities.
    correlation : float64 array of shape (n_buckets, n_buckets)
        gamma with a zero diagonal.

    Returns
    -------
    float64 array of shape (n_silos,), not negative
    """
    spread = np.sqrt(variance)
    clamped = np.clip(total, -spread, spread)
    # einsum, not a matrix product: a product's rounding may depend on the number of silos.
    cross = np.einsum("gb,bc,gc->g", clamped, correlation, clamped)
    return np.asarray(np.maximum(variance.sum(axis=1) + cross, 0.0), dtype=np.float64)


def curvature_margin(
    total: Float64Array, absolute: Float64Array, spread: Float64Array
) -> Float64Array:
    """Return max(sum CVR + lambda * spread, 0).

    theta = min(sum CVR / sum |CVR|, 0) and lambda = (z^2 - 1)(1 + theta) - theta with z the
    99.5 % normal quantile. All arrays share one shape. A single long vega with CVR = 100 has
    theta = 0, lambda = 5.634896601, margin 100 + 563.4896601 = 663.4896601.
    """
    share = np.divide(total, absolute, out=np.zeros_like(total), where=absolute > 0.0)
    theta = np.minimum(share, 0.0)
    multiplier = (NORMAL_995**2 - 1.0) * (1.0 + theta) - theta
    return np.maximum(total + multiplier * spread, 0.0)


def scaling_factors(horizon_days: int) -> Float64Array:
    """Return curvature scaling per tenor: 0.5 * min(1, 14 days / t), a tenth of it at one day."""
    scale = 0.5 * np.minimum(1.0, 14.0 / np.array(TENOR_DAYS))
    return scale if horizon_days == 10 else scale / 10.0


def volatility_scale(horizon_days: int) -> float:
    """Return sqrt(365 / 14) / z99 (14 calendar days for 10 business days, 1.4 for one)."""
    calendar_days = 14.0 if horizon_days == 10 else 1.4
    return float(np.sqrt(365.0 / calendar_days) / NORMAL_99)
