"""The closed form of an avalanche: how many new calls one unit of forced sales creates.

Selling to raise S moves prices; the move costs variation margin on what is left (`loss`) and
raises initial margin where it reacts to volatility (`margin`). Their sum over S is the branching
ratio k. Total calls are c0 / (1 - k) after many rounds; at k >= 1 there is no end to them. Compare
Brunnermeier and Pedersen, "Market liquidity and funding liquidity" (2009): loss and margin
spirals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import Model


@dataclass(frozen=True)
class Branching:
    """Branching ratio of one raise: `ratio == loss + margin`."""

    ratio: float
    loss: float
    margin: float


def total_calls(first: float, ratio: float, rounds: int | None = None) -> float:
    """Return all calls caused by `first`, after `rounds` further rounds (None: without end).

    c0 (1 - k^(N+1)) / (1 - k), and c0 (N + 1) at k = 1. `total_calls(1, 0.9, 10)` is 6.86189.

    Raises
    ------
    ValueError
        If the series has no end and `ratio` >= 1: it diverges.
    """
    if rounds is None:
        if ratio >= 1.0:
            raise ValueError(f"branching ratio {ratio:g} >= 1: calls have no finite total")
        return first / (1.0 - ratio)
    if ratio == 1.0:
        return first * (rounds + 1)
    return first * (1.0 - ratio ** (rounds + 1)) / (1.0 - ratio)


def linear_ratio(sale: Float64Array, impact: Float64Array, exposure: Float64Array) -> float:
    """Branching ratio with linear impact: a' Lambda x.

    Parameters
    ----------
    sale : float64 array (K,)
        Notional sold per unit raised, USD.
    impact : float64 array (K,)
        Return per USD sold.
    exposure : float64 array (K,)
        Net exposure, USD, IM sensitivity included if wanted.

    For one future with margin rate m, selling 1/m of notional raises 1: exposure V and impact
    lambda give lambda V / m. With m = 10 % and lambda V = 5 % the ratio is 0.5, the total 2.
    """
    return float(np.sum(sale * impact * exposure))


def branching_ratio(model: Model, raised_cents: float, volatility_multiple: float) -> Branching:
    """Secant branching ratio of raising `raised_cents` from the fund as it stands.

    Impact follows the square root of volume, so the ratio depends on the size of the raise: it
    is reported together with it. Volatility is at `volatility_multiple` times its level today,
    market depth accordingly lower.
    """
    if raised_cents <= 0.0 or not np.any(model.relief > 0):
        return Branching(0.0, 0.0, 0.0)
    stress = max(volatility_multiple, 1.0)
    scale = stress * np.sqrt(min(stress, layout.LARGEST_DEPTH_LOSS))
    relief = np.where(model.relief > 0, model.relief, 1.0)
    sold = np.where(model.relief > 0, raised_cents * model.sale_share / relief, 0.0)
    sold = np.minimum(sold, 1.0 - model.pool[layout.POOL_KEEP_SHARE])
    volume = (1.0 + model.crowd) * sold
    level = volume if model.pool[layout.POOL_LINEAR] > 0 else np.sqrt(volume)
    move = model.impact * level[model.bucket] * scale
    left = 1.0 - sold
    pnl = _agreement_pnl(model, move, left)
    loss = float(np.sum(np.maximum(-pnl, 0.0)))
    margin = float(np.sum(_margin_increase(model, pnl, left, volatility_multiple)))
    total = (loss + margin) / raised_cents
    return Branching(total, loss / raised_cents, margin / raised_cents)


def _agreement_pnl(model: Model, move: Float64Array, left: Float64Array) -> Float64Array:
    basis = np.concatenate([move, _convexity(move, model.gamma_range)])
    contribution = model.ent_coef * basis[model.ent_row]
    by_entry = np.concatenate([[0.0], np.cumsum(contribution)])
    by_segment = by_entry[model.ent_ptr[1:]] - by_entry[model.ent_ptr[:-1]]
    owner = np.repeat(np.arange(len(model.im_start)), np.diff(model.seg_ptr.astype(np.int64)))
    pnl = np.zeros(len(model.im_start))
    np.add.at(pnl, owner, by_segment * left[model.seg_bucket])
    return pnl


def _convexity(move: Float64Array, reach: Float64Array) -> Float64Array:
    size = np.abs(move)
    return np.where(size <= reach, 0.5 * size**2, reach * (size - 0.5 * reach))


def _sizes(model: Model, left: Float64Array) -> Float64Array:
    """Size of each agreement's book when `left` of each bucket remains, 1 for the whole book."""
    owner = np.repeat(np.arange(len(model.im_start)), np.diff(model.pair_ptr.astype(np.int64)))
    squared = np.zeros(len(model.im_start))
    np.add.at(squared, owner, model.pair_coef * left[model.pair_a] * left[model.pair_b])
    return np.sqrt(np.maximum(squared, 0.0))


def _margin_increase(
    model: Model, pnl: Float64Array, left: Float64Array, multiple: float
) -> Float64Array:
    """IM called on the book that is left because its move adds to the day's expected variance."""
    size = _sizes(model, left)
    norm = model.daily_norm * size
    u = np.divide(pnl, norm, out=np.zeros_like(pnl), where=norm > 0)
    after = np.sqrt(multiple**2 + (1.0 - model.ewma_lambda) * u**2)
    increase = (1.0 - model.stress_share) * (after - multiple)
    return np.asarray(model.im_start * size * increase)
