"""The structure of a table's margin, encoded once and used for any amounts.

Rows become a tree of sorted runs (see `engine.kernels.simm_layout`) without any amount, and the
kernels walk it for one set of amounts after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.crif import CrifTable
from engine.kernels.simm_layout import (
    BASIS_CELL,
    CELLS,
    CLASSES,
    CURVATURE,
    INFLATION_CELL,
    RATES,
    Structure,
)
from engine.margin.simm import vocabulary as words
from engine.margin.simm.add_ons import read_add_ons
from engine.margin.simm.calculate import checked_settings, read_rows
from engine.margin.simm.rulebook import BucketParameters, InterestRateParameters, SimmParameters
from engine.margin.simm.uses import Uses, all_uses

_MAX_BUCKETS = len(words.ALL_BUCKETS)


@dataclass(frozen=True)
class SimmPlan:
    """The margin of the netting sets of one table as a function of the amounts.

    Attributes
    ----------
    structure : Structure
        What the kernels read.
    portfolio_ids : StrArray of shape (n_portfolios,)
        In sorted order.
    portfolio : int64 array of shape (n_rows,)
        Portfolio of each row.
    amount : float64 array of shape (n_rows,)
        The table's own amounts, USD.
    parameter : bool array of shape (n_rows,)
        Rows of add-ons, whose amounts are part of the structure.
    add_on : float64 array of shape (n_rows,)
        Derivative of the portfolio's margin by the amount of an add-on row: 1 for a fixed amount,
        factor / 100 for a notional, 0 for factors, multipliers and sensitivities.
    """

    structure: Structure
    portfolio_ids: StrArray
    portfolio: Int64Array
    amount: Float64Array
    parameter: BoolArray
    add_on: Float64Array


def simm_plan(
    crif: CrifTable,
    version: str,
    horizon_days: int,
    side: str,
    calculation_currency: str = "USD",
) -> SimmPlan:
    """Encode the margin of every netting set of a table.

    Arguments and errors as in `simm_margin`. The cost of a margin is quadratic in the factors of
    one bucket, where `simm_by_portfolio` is n log n: use the plan for many sets of amounts.
    """
    parameters, currency = checked_settings(version, horizon_days, side, calculation_currency)
    rows = read_rows(crif)
    add_ons = read_add_ons(rows)
    sign = 1.0 if side == "call" else -1.0
    uses = all_uses(rows, parameters, sign, currency)
    n_silos = len(rows.portfolio_ids) * len(words.PRODUCT_CLASSES)
    return SimmPlan(
        structure=_structure(uses, parameters, n_silos, add_ons.multiplier.ravel(), add_ons.amount),
        portfolio_ids=rows.portfolio_ids,
        portfolio=rows.portfolio,
        amount=rows.amount_usd,
        parameter=rows.risk_type >= words.FIRST_PARAMETER,
        add_on=add_ons.slope,
    )


def _starts(*keys: Int64Array) -> BoolArray:
    """Return where a new combination of sorted keys begins."""
    new = np.zeros(len(keys[0]), dtype=np.bool_)
    new[:1] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return new


def _runs(parent: BoolArray, child: BoolArray) -> Int64Array:
    """Return for each parent run the number of child runs before it, and their total at the end."""
    position = np.cumsum(child) - 1
    return np.append(position[parent], int(child.sum())).astype(np.int64)


def _structure(
    uses: Uses,
    parameters: SimmParameters,
    n_silos: int,
    multiplier: Float64Array,
    add_on: Float64Array,
) -> Structure:
    keys = (uses.silo, uses.risk_class, uses.measure, uses.bucket, uses.group, uses.key)
    order = np.lexsort((uses.row, *keys[::-1]))
    u = Uses(**{name: getattr(uses, name)[order] for name in Uses.__dataclass_fields__})
    keys = (u.silo, u.risk_class, u.measure, u.bucket, u.group, u.key)
    block, bucket, group, factor = (_starts(*keys[:depth]) for depth in (3, 4, 5, 6))
    n_blocks = np.bincount(u.silo[block], minlength=n_silos)
    rates = parameters.interest_rate
    bent_rates = (u.risk_class == RATES) & (u.measure == CURVATURE)
    return Structure(
        entry_start=_runs(factor, np.ones(len(order), dtype=np.bool_)),
        entry_row=u.row,
        entry_coefficient=u.coefficient,
        weight=u.weight[factor],
        group=(np.cumsum(group) - 1)[factor],
        family=u.family[factor],
        cell=u.key[factor],
        threshold=u.threshold[group],
        factor_start=_runs(bucket, factor),
        group_start=_runs(bucket, group),
        bucket_code=u.bucket[bucket],
        same=u.same[factor],
        different=u.different[bucket],
        bucket_start=_runs(block, bucket),
        block_class=u.risk_class[block],
        block_measure=u.measure[block],
        block_scale=np.where(bent_rates, rates.volatility_ratio**-2.0, 1.0)[block],
        block_start=np.append(0, np.cumsum(n_blocks)).astype(np.int64),
        multiplier=multiplier,
        add_on=add_on,
        rates_correlation=_with_square(_rates_correlation(rates)),
        rates_gamma=np.array([rates.currency_correlation, rates.currency_correlation**2]),
        between=_with_square(_between(parameters)),
        ordinary=_ordinary(parameters),
        class_correlation=np.array(parameters.class_correlation),
    )


def _with_square(matrix: Float64Array) -> Float64Array:
    return np.stack([matrix, matrix**2])


def _rates_correlation(rates: InterestRateParameters) -> Float64Array:
    n_curves = len(words.SUB_CURVES)
    curves = np.full((n_curves, n_curves), rates.sub_curve_correlation)
    np.fill_diagonal(curves, 1.0)
    table = np.ones((CELLS, CELLS))
    table[:INFLATION_CELL, :INFLATION_CELL] = np.kron(curves, rates.tenor_correlation)
    table[INFLATION_CELL, :INFLATION_CELL] = rates.inflation_correlation
    table[:INFLATION_CELL, INFLATION_CELL] = rates.inflation_correlation
    table[BASIS_CELL, :BASIS_CELL] = rates.basis_correlation
    table[:BASIS_CELL, BASIS_CELL] = rates.basis_correlation
    return table


def _classes_with_buckets(parameters: SimmParameters) -> tuple[tuple[int, BucketParameters], ...]:
    names = ("credit_qualifying", "credit_non_qualifying", "equity", "commodity")
    return tuple((i, getattr(parameters, name)) for i, name in enumerate(names, start=1))


def _between(parameters: SimmParameters) -> Float64Array:
    table = np.zeros((CLASSES, _MAX_BUCKETS, _MAX_BUCKETS))
    for i, of_class in _classes_with_buckets(parameters):
        table[i, : of_class.ordinary, : of_class.ordinary] = of_class.between
    return table


def _ordinary(parameters: SimmParameters) -> Int64Array:
    """Return the number of ordinary buckets of each class; currencies are all ordinary."""
    counts = np.full(CLASSES, np.iinfo(np.int64).max)
    for i, of_class in _classes_with_buckets(parameters):
        counts[i] = of_class.ordinary
    return counts
