"""How each agreement's book is made up of buckets: P&L rows, and size after sales."""

from __future__ import annotations

import numpy as np

from engine.avalanche.sales_terms import Depth
from engine.avalanche.sparse import index_array, pack_rows
from engine.domain.arrays import Float64Array, Int64Array


def segments(
    delta: Float64Array,
    gamma: Float64Array,
    bucket_of: Int64Array,
    buckets: int,
    push: Float64Array,
    depth: Depth,
) -> dict[str, object]:
    """P&L rows of each (agreement, bucket) that has any exposure.

    `push` (K,) is the move of each factor per unit of impact level. A close-out of the agreement
    trades its part of the bucket as far as it goes the fund's way; what hedges the rest is traded
    against it and does not press further.
    """
    factors = delta.shape[1]
    weight = np.abs(depth.net) * depth.sigma
    toward = np.sign(depth.net) * depth.sigma
    seg_ptr, seg_bucket, rows, pushes, volumes = [0], [], [], [], []
    for r in range(len(delta)):
        for b in range(buckets):
            inside = bucket_of == b
            row = np.zeros(2 * factors)
            row[:factors] = np.where(inside, delta[r], 0.0)
            row[factors:] = np.where(inside, gamma[r], 0.0)
            if np.any(row):
                rows.append(row)
                seg_bucket.append(b)
                pushes.append(float(np.sum(row[:factors] * push)))
                whole = float(np.sum(weight[inside]))
                own = float(np.sum(row[:factors] * toward))
                volumes.append(max(own, 0.0) / whole if whole > 0.0 else 0.0)
        seg_ptr.append(len(rows))
    ptr, row_index, coef = pack_rows(rows)
    return {
        "seg_ptr": index_array(seg_ptr),
        "seg_bucket": index_array(seg_bucket),
        "seg_push": np.array(pushes),
        "seg_volume": np.array(volumes),
        "ent_ptr": ptr,
        "ent_row": row_index,
        "ent_coef": coef,
    }


def sizes(
    delta: Float64Array,
    gamma: Float64Array,
    covariance: Float64Array,
    bucket_of: Int64Array,
    buckets: int,
) -> tuple[dict[str, object], Float64Array, Float64Array]:
    """Daily P&L variance by pairs of buckets, its root, and the gradient of relative size.

    Convexity adds its own variance: Var(gamma x^2 / 2) = gamma_k gamma_l cov_kl^2 / 2 for normal
    moves. An agreement without exposure keeps size 1 through its first bucket.
    """
    member = (bucket_of[None, :] == np.arange(buckets)[:, None]).astype(np.float64)
    ptr, first, second, coefs = [0], [], [], []
    norm = np.zeros(len(delta))
    gradient = np.zeros((len(delta), buckets))
    for r in range(len(delta)):
        by_bucket = member * delta[r]
        bent = member * gamma[r]
        matrix = by_bucket @ covariance @ by_bucket.T + 0.5 * bent @ covariance**2 @ bent.T
        total = float(matrix.sum())
        norm[r] = np.sqrt(max(total, 0.0))
        if norm[r] == 0.0:
            matrix, total = np.zeros((buckets, buckets)), 1.0
            matrix[0, 0] = 1.0
        else:
            gradient[r] = matrix.sum(axis=1) / total
        a, b = np.nonzero(np.triu(matrix != 0.0))
        first.append(a)
        second.append(b)
        coefs.append(matrix[a, b] / total * np.where(a == b, 1.0, 2.0))
        ptr.append(ptr[-1] + len(a))
    pairs: dict[str, object] = {
        "pair_ptr": index_array(ptr),
        "pair_a": index_array(np.concatenate(first) if first else []),
        "pair_b": index_array(np.concatenate(second) if second else []),
        "pair_coef": np.concatenate(coefs) if coefs else np.zeros(0),
    }
    return pairs, norm, gradient
