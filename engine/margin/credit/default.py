"""What an account loses when reference names default: jump to default and wrong-way names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.book import Instruments
from engine.domain.market import MarketState
from engine.margin.credit.rules import CreditRules
from engine.pricing.value import value_per_unit


@dataclass(frozen=True)
class DefaultTable:
    """Loss of one unit of each instrument when a name defaults, instrument currency.

    Attributes
    ----------
    name : object array of str, shape (n_names,)
        Reference names; unnamed constituents of an index are `<index> constituent <number>`.
    least, most : sparse float64 arrays of shape (n_instruments, n_names)
        Loss at the least and at the most recovery of the name.
    recovery : float64 array of shape (n_names, 2)
        Least and most recovery.
    uncovered : object array of str
        Instruments on credit factors whose kind has no loss at default here.
    """

    name: StrArray
    least: csr_array
    most: csr_array
    recovery: Float64Array
    uncovered: StrArray


@dataclass(frozen=True)
class DefaultCharge:
    """Charges in USD and shares of the account's rows (n_rows,), which sum to them.

    `names` are the columns that `jump` charges, worst first, `at_most` whether each loses most at
    its highest recovery, and `correlated` the columns that `wrong_way` charges.
    """

    jump: float
    jump_shares: Float64Array
    names: Int64Array
    at_most: BoolArray
    wrong_way: float
    wrong_way_shares: Float64Array
    correlated: Int64Array


def default_table(
    instruments: Instruments, market: MarketState, rules: CreditRules
) -> DefaultTable:
    """Return the loss of one unit of each instrument at the default of each name.

    A swap with value V on notional N, recovery R: the buyer receives (1 - R) N and loses V, so the
    loss is V - (1 - R) N. A bond loses V - R N. A part w of an index loses w of that. V has been
    settled by variation margin. Names are sorted by factor; an index holds its listed constituents
    and as many unnamed ones as may default together.

    Worked number: protection sold on 10 million worth -0.2 million to the seller, recovery 0.2:
    0.8 * 10 - 0.2 = 7.8 million.
    """
    value = value_per_unit(instruments, market)
    asset_class = market.factors.asset_class[instruments.factor]
    swap = np.asarray(instruments.kind == "cds", dtype=np.bool_)
    bond = np.asarray((instruments.kind == "bond") & (asset_class == "credit"), dtype=np.bool_)
    parts = {f: name_weights(f, rules) for f in sorted(set(instruments.factor_id[swap | bond]))}
    class_of: dict[str, str] = {}
    for weights in parts.values():
        class_of.update({name: owner for name, (_, owner) in weights.items()})
    column = {name: j for j, name in enumerate(class_of)}
    recovery = np.array(
        [
            (rules.name_class(owner).recovery_least, rules.name_class(owner).recovery_most)
            for owner in class_of.values()
        ]
    ).reshape(-1, 2)
    row, col, weight = [], [], []
    for i in np.flatnonzero(swap | bond).tolist():
        for name, (w, _) in parts[instruments.factor_id[i]].items():
            row.append(i)
            col.append(column[name])
            weight.append(w)
    at, to, part = np.array(row, dtype=np.int64), np.array(col, dtype=np.int64), np.array(weight)
    shape = (len(instruments), len(column))
    sides = []
    for end in range(2):
        recovered = recovery[to, end]
        paid = np.where(swap[at], 1.0 - recovered, recovered) * instruments.multiplier[at]
        sides.append(csr_array((part * (value[at] - paid), (at, to)), shape=shape))
    names = np.empty(len(column), dtype=np.object_)
    names[:] = list(column)
    left = (asset_class == "credit") & ~swap & ~bond
    return DefaultTable(names, sides[0], sides[1], recovery, instruments.instrument_id[left])


def name_weights(factor_id: str, rules: CreditRules) -> dict[str, tuple[float, str]]:
    """Return name -> (weight, factor whose class it has) for a reference name or an index."""
    if factor_id not in rules.index_names:
        return {factor_id: (1.0, factor_id)}
    listed = rules.constituents.get(factor_id, {})
    out = {name: (weight, name) for name, weight in listed.items()}
    unnamed = rules.index_names[factor_id] - len(listed)
    for number in range(1, min(rules.defaults, unnamed) + 1):
        weight = (1.0 - sum(listed.values())) / unnamed
        out[f"{factor_id} constituent {number}"] = (weight, factor_id)
    return out


def default_charge(
    least: Float64Array, most: Float64Array, correlated: Float64Array, count: int
) -> DefaultCharge:
    """Return the jump-to-default and wrong-way charges of an account.

    A name's loss is the larger of those at its least and most recovery. Wrong way: the correlated
    share of the loss of every name that is correlated with who calls. Jump to default: the `count`
    largest losses among what is left. Gains are not offset against losses.

    Parameters
    ----------
    least, most : float64 arrays of shape (n_rows, n_names)
        USD by manager, positive is a loss.
    correlated : float64 array of shape (n_names,)
        Share charged as wrong way, 0 to 1.
    count : int

    Examples
    --------
    One manager, losses (7, 5, 3, -9), two defaults: 12. If the first is correlated in full:
    wrong way 7, jump to default 8.
    """
    low, high = least.sum(axis=0), most.sum(axis=0)
    at_most = np.asarray(high > low, dtype=np.bool_)
    loss = np.where(at_most, high, low)
    by_row = np.where(at_most, most, least)
    charged = np.flatnonzero((correlated > 0.0) & (loss > 0.0)).astype(np.int64)
    left = (1.0 - correlated) * loss
    names = worst_defaults(left, count)
    jump_shares = (by_row[:, names] * (1.0 - correlated[names])).sum(axis=1)
    way_shares = (by_row[:, charged] * correlated[charged]).sum(axis=1)
    return DefaultCharge(
        jump=float(left[names].sum()),
        jump_shares=jump_shares,
        names=names,
        at_most=at_most[names],
        wrong_way=float((correlated[charged] * loss[charged]).sum()),
        wrong_way_shares=way_shares,
        correlated=charged,
    )


def worst_defaults(loss: Float64Array, count: int) -> Int64Array:
    """Return the columns of the `count` largest positive losses, worst first; ties: first column.

    `worst_defaults([7, 5, 3, -9], 2)` is [0, 1].
    """
    order = np.argsort(-loss, kind="stable")[:count]
    return np.asarray(order[loss[order] > 0.0], dtype=np.int64)
