"""An answer of the search by the full margin engine: does it reach the target, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure
from engine.stress.reverse.fund_loss import FundLoss
from engine.stress.reverse.moved_market import full_margin_rise

SECANT_STEPS = 2
LARGEST_SCALE = 3.0


@dataclass(frozen=True)
class FullCheck:
    """A move by the full engine.

    Attributes
    ----------
    metric_usd : float
        The target metric with the full engine's rise of margin.
    im_rise_usd : float64 array of shape (n_agreements,)
    scale : float
        Multiple of the move at which the metric is at the target, by interpolation between
        evaluations; between 0 and 3. NaN where the metric does not rise along the move.
    failures : tuple of Failure
    """

    metric_usd: float
    im_rise_usd: Float64Array
    scale: float
    failures: tuple[Failure, ...]


def full_check(
    fund: FundLoss, move: Float64Array, target: float, today: float, crif: CrifTable | None
) -> FullCheck:
    """Evaluate a move with the full margin engine, then at two smaller or larger multiples of it.

    Parameters
    ----------
    move : float64 array of shape (n_factors,)
    target, today : float
        The metric wanted, and the one without a move.
    """
    metric, rise, failures = _evaluate(fund, move, crif)
    if fund.config.target_metric == "loss_usd":
        return FullCheck(metric, rise, 1.0, failures)
    known = [(0.0, today), (1.0, metric)]
    scale = scale_at(known, target)
    for _ in range(SECANT_STEPS):
        if not np.isfinite(scale):
            break
        known.append((scale, _evaluate(fund, scale * move, crif)[0]))
        scale = scale_at(known, target)
    return FullCheck(metric, rise, scale, failures)


def scale_at(known: list[tuple[float, float]], target: float) -> float:
    """Scale at which the straight line between the two nearest known points is at the target.

    The points are (scale, metric). Taken are the last point below the target and the first one
    above it that follows; if none is above, the last two. Points (0, -2) and (1, 2), target 0: 0.5.
    """
    points = sorted(known)
    first_above = next((i for i, (_, m) in enumerate(points) if m >= target), len(points) - 1)
    (s0, m0), (s1, m1) = points[max(first_above, 1) - 1], points[max(first_above, 1)]
    if not m1 > m0:
        return float("nan")
    return float(np.clip(s0 + (s1 - s0) * (target - m0) / (m1 - m0), 0.0, LARGEST_SCALE))


def _evaluate(
    fund: FundLoss, move: Float64Array, crif: CrifTable | None
) -> tuple[float, Float64Array, tuple[Failure, ...]]:
    needs = fund.needs(move[None, :])
    fast = needs.im_rise[:, 0]
    full = full_margin_rise(
        fund.book, fund.market, fund.margin, move, fund.config.horizon_days, crif
    )
    rise = np.where(np.isnan(full.im_rise_usd), fast, full.im_rise_usd)
    metric = float(fund.metric_of(needs)[0])
    if fund.config.target_metric != "loss_usd":
        metric += float(rise.sum() - fast.sum())
    return metric, rise, full.failures
