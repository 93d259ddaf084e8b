"""What each row and each group of rows adds to the margin; the parts sum to the margin.

Below every concentration threshold the margin is homogeneous of degree one, and Euler's theorem
splits it: row = amount * derivative. Above a threshold it grows with the power 1.5 and Euler's
parts would sum to more than the margin; the Aumann-Shapley value integrates the derivative along
the ray from nothing to the whole book, and is Euler's split where that holds.

The margin is smooth only in pieces. The derivative jumps where a bucket's sum reaches its spread
(the clamp of S), where two concentration ratios cross or one crosses 1, where the theta of
curvature reaches 0, where a curvature margin is floored at 0, and where a net curvature exposure
changes its sign. There one of the one-sided derivatives is taken, and 0 where a margin is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.kernels.simm_layout import Structure
from engine.kernels.simm_slopes import gradients
from engine.margin.simm.plan import SimmPlan, simm_plan
from engine.margin.simm.validate import take_rows

# Parts sum to the margin within this share of it.
SUM_TOLERANCE = 1e-9
_NODES = 8
_SEGMENT_TOLERANCE = 1e-12
_MAX_HALVINGS = 40


@dataclass(frozen=True)
class SimmAttribution:
    """The margin split over groups of rows.

    Attributes
    ----------
    total : float
        Margin of all portfolios, USD.
    by_group : dict of str to float
        USD, labels in sorted order; they sum to `total` within `SUM_TOLERANCE`. A part may be
        negative: that group lowers the margin.
    by_row : float64 array of shape (n_rows,)
        USD. Rows of multipliers and factors have 0: their effect is in the rows they scale.
    error_usd : float
        Sum of parts minus `total`.
    """

    total: float
    by_group: dict[str, float]
    by_row: Float64Array
    error_usd: float


def simm_gradient(
    crif: CrifTable,
    version: str,
    horizon_days: int,
    side: str,
    calculation_currency: str = "USD",
) -> Float64Array:
    """Return the derivative of the margin by the amount of every row.

    Parameters
    ----------
    crif : CrifTable
        n_rows rows of any number of portfolios. Rows that net with each other have one derivative.
    version, horizon_days, side, calculation_currency
        As in `simm_margin`.

    Returns
    -------
    float64 array of shape (n_rows,)
        Change of the margin of the row's portfolio per unit of the row's amount, in USD. For
        notionals and fixed amounts the add-on's slope; 0 for multipliers and factors. Below
        concentration thresholds the sum of amount * derivative is the margin. USD 100,000 per
        basis point at 10y in USD, version 2.8+2506, 10 days: 60, the risk weight.

    Raises
    ------
    InputError
        As `simm_margin`.
    """
    plan = simm_plan(crif, version, horizon_days, side, calculation_currency)
    slope: Float64Array = _at(plan, plan.amount[None, :])[1][0] + plan.add_on
    return slope


def simm_attribution(
    crif: CrifTable,
    groups: StrArray,
    version: str,
    horizon_days: int,
    side: str,
    calculation_currency: str = "USD",
) -> SimmAttribution:
    """Split the margin over groups of rows, such as managers, strategies or trades.

    Parameters
    ----------
    crif : CrifTable
        n_rows rows of any number of portfolios; each portfolio's margin is split over its rows.
    groups : array of shape (n_rows,)
        Label of each row; a missing one is "".
    version, horizon_days, side, calculation_currency
        As in `simm_margin`.

    Returns
    -------
    SimmAttribution
        Two managers hold 1 m per 1 % of EUR and of GBP, version 2.8+2506, 10 days: the margin
        12.30 m (`docs/methodology/simm.md`) splits into 6.15 m each.

    Raises
    ------
    InputError
        As `simm_margin`; and a number of labels that is not the number of rows.
    ArithmeticError
        The integral along the ray did not reach `SUM_TOLERANCE`.
    """
    labels = np.asarray(groups, dtype=object)
    if labels.shape != (len(crif),):
        raise InputError(
            f"groups have shape {labels.shape}; give one label for each of the {len(crif)} CRIF "
            "rows"
        )
    plan = simm_plan(crif, version, horizon_days, side, calculation_currency)
    margin, slope = _at(plan, plan.amount[None, :])
    by_row = plan.amount * (slope[0] + plan.add_on)
    for p in _concentrated(plan):
        rows = plan.portfolio == p
        own = simm_plan(take_rows(crif, rows), version, horizon_days, side, calculation_currency)
        by_row[rows] = own.amount * (_ray_average(own) + own.add_on)
    total = float(margin.sum())
    error = float(by_row.sum() - total)
    if abs(error) > SUM_TOLERANCE * total + 1e-14 * float(np.abs(by_row).sum()):
        raise ArithmeticError(
            f"the parts of the margin sum to {by_row.sum():.17g}, not to {total:.17g}; the "
            "integral along the ray did not converge"
        )
    codes, distinct = pd.factorize(labels, use_na_sentinel=False)
    parts = np.bincount(codes, weights=by_row, minlength=len(distinct))
    by_group: dict[str, float] = {}
    for label, part in zip(distinct, parts, strict=True):
        name = "" if label is None or label != label else str(label)
        by_group[name] = by_group.get(name, 0.0) + float(part)
    return SimmAttribution(total, dict(sorted(by_group.items())), by_row, error)


def _at(plan: SimmPlan, amounts: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return margins (n_sets, n_portfolios) and derivatives (n_sets, n_rows)."""
    amounts = np.ascontiguousarray(amounts)
    margin = np.empty((len(amounts), len(plan.portfolio_ids)))
    slope = np.empty(amounts.shape)
    gradients(plan.structure, amounts, margin, slope)
    return margin, slope


def _loads(plan: SimmPlan) -> tuple[Float64Array, Int64Array]:
    """Return each concentration group's |size| / threshold, and its portfolio."""
    m: Structure = plan.structure
    n_entries = np.diff(m.entry_start)
    factor = np.repeat(np.arange(len(m.weight)), n_entries)
    value = m.entry_coefficient * plan.amount[m.entry_row]
    size = np.bincount(m.group[factor], weights=value, minlength=len(m.threshold))
    portfolio = np.zeros(len(m.threshold), dtype=np.int64)
    portfolio[m.group[factor]] = plan.portfolio[m.entry_row]
    return np.abs(size) / m.threshold, portfolio


def _concentrated(plan: SimmPlan) -> Int64Array:
    """Return the portfolios with a group above its threshold."""
    load, portfolio = _loads(plan)
    return np.unique(portfolio[load > 1.0])


def _ray_average(plan: SimmPlan) -> Float64Array:
    """Return the derivative averaged over the books t * amounts, 0 < t < 1, shape (n_rows,).

    The ray is cut where a group crosses its threshold. Between cuts the derivative is smooth in
    sqrt(t), so Gauss-Legendre nodes in sqrt(t) converge fast; an interval is halved until its two
    halves agree with the whole, which also closes in on a jump.
    """
    load, _ = _loads(plan)
    cuts = np.sqrt(1.0 / np.unique(load[load > 1.0]))
    edges = np.unique(np.concatenate([[0.0], cuts, [1.0]]))
    work = [(a, b, _integral(plan, a, b), 0) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    tolerance = _SEGMENT_TOLERANCE * float(_at(plan, plan.amount[None, :])[0].sum())
    result = np.zeros(len(plan.amount))
    while work:
        a, b, whole, halvings = work.pop()
        middle = 0.5 * (a + b)
        left, right = _integral(plan, a, middle), _integral(plan, middle, b)
        change = np.abs(plan.amount * (left + right - whole)).sum()
        if change <= tolerance or halvings == _MAX_HALVINGS:
            result += left + right
        else:
            work.append((a, middle, left, halvings + 1))
            work.append((middle, b, right, halvings + 1))
    return result


def _integral(plan: SimmPlan, a: float, b: float) -> Float64Array:
    """Return the integral of the derivative over a^2 < t < b^2."""
    x, w = np.polynomial.legendre.leggauss(_NODES)
    u = 0.5 * (b - a) * x + 0.5 * (a + b)
    slope = _at(plan, (u * u)[:, None] * plan.amount)[1]
    weight = 0.5 * (b - a) * w * 2.0 * u
    return np.asarray(weight @ slope, dtype=np.float64)
