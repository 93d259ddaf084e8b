"""Additional margin: multipliers of product classes, notional factors and fixed amounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.failures import InputError
from engine.margin.simm import vocabulary as words
from engine.margin.simm.aggregate import group_ids, sums
from engine.margin.simm.encode import EncodedRows


@dataclass(frozen=True)
class AddOns:
    """Per portfolio: `multiplier` (n_portfolios, 4), `amount` in USD and whether rows exist.

    `slope` (n_rows,) is the derivative of the amount by the row's own amount: 1 for a fixed
    amount, factor / 100 for a notional, 0 for the others.
    """

    multiplier: Float64Array
    amount: Float64Array
    present: BoolArray
    slope: Float64Array


def read_add_ons(rows: EncodedRows) -> AddOns:
    """Read the add-on rows of every portfolio.

    Returns
    -------
    AddOns
        amount = sum of fixed amounts + sum over products of factor/100 * notional. ISDA's unit
        test C474: 25 % of (60m + 100m) = 40,000,000. A notional without a factor adds nothing.

    Raises
    ------
    InputError
        Two different multipliers for one product class, or factors for one product, in a
        portfolio; a multiplier below 1; a negative factor or net notional.
    """
    n = len(rows.portfolio_ids)
    multiplier = np.ones((n, len(words.PRODUCT_CLASSES)))
    portfolio, product, value = _single(rows, "Param_ProductClassMultiplier", 1.0)
    multiplier[portfolio, product] = value
    fixed = rows.risk_type == words.RISK_TYPE_CODE["Param_AddOnFixedAmount"]
    amount = sums(rows.amount_usd[fixed], rows.portfolio[fixed], n)
    portfolio, product, factor = _single(rows, "Param_AddOnNotionalFactor", 0.0)
    notional = _notionals(rows)
    slope = fixed.astype(np.float64)
    is_notional = rows.risk_type == words.RISK_TYPE_CODE["Notional"]
    for p, q, f in zip(portfolio, product, factor, strict=True):
        amount[p] += f / 100.0 * notional.get((int(p), int(q)), 0.0)
        slope[is_notional & (rows.portfolio == p) & (rows.qualifier == q)] = f / 100.0
    kinds = [
        words.RISK_TYPE_CODE[k] for k in ("Param_AddOnFixedAmount", "Param_AddOnNotionalFactor")
    ]
    present = np.zeros(n, dtype=np.bool_)
    present[rows.portfolio[np.isin(rows.risk_type, kinds)]] = True
    return AddOns(multiplier, amount, present, slope)


def _single(
    rows: EncodedRows, risk_type: str, least: float
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Return the one value of each (portfolio, qualifier) of a parameter row type."""
    chosen = np.flatnonzero(rows.risk_type == words.RISK_TYPE_CODE[risk_type])
    portfolio, qualifier = rows.portfolio[chosen], rows.qualifier[chosen]
    value = rows.amount_usd[chosen]
    for i in np.flatnonzero(value < least)[:1]:
        raise InputError(
            f"CRIF row {rows.number[chosen[i]]}: {risk_type} of {value[i]:g} is below {least:g}"
        )
    ids, first = group_ids(portfolio, qualifier)
    for i in np.flatnonzero(value != value[first][ids])[:1]:
        raise InputError(
            f"CRIF row {rows.number[chosen[i]]}: {risk_type} {value[i]:g} contradicts "
            f"{value[first][ids][i]:g} in row {rows.number[chosen[first[ids[i]]]]} of the same "
            "portfolio; keep one of them"
        )
    return portfolio[first], qualifier[first], value[first]


def _notionals(rows: EncodedRows) -> dict[tuple[int, int], float]:
    chosen = np.flatnonzero(rows.risk_type == words.RISK_TYPE_CODE["Notional"])
    portfolio, qualifier = rows.portfolio[chosen], rows.qualifier[chosen]
    ids, first = group_ids(portfolio, qualifier)
    totals = sums(rows.amount_usd[chosen], ids, len(first))
    for i in np.flatnonzero(totals < 0.0)[:1]:
        raise InputError(
            f"CRIF row {rows.number[chosen[first[i]]]}: the notional of "
            f"{rows.names[qualifier[first[i]]]!r} nets to {totals[i]:g}; a notional must not be "
            "negative"
        )
    keys = zip(portfolio[first], qualifier[first], strict=True)
    return {(int(p), int(q)): float(t) for (p, q), t in zip(keys, totals, strict=True)}
