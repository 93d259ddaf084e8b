"""Spread response of one account, and what of its index offset is taken back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array
from engine.margin.scenario_margin import tail_contributions


@dataclass(frozen=True)
class SpreadCharge:
    """Charges in USD and the shares of the account's rows, each (n_rows,), which sum to them."""

    response: float
    response_shares: Float64Array
    basis: float
    basis_shares: Float64Array


def spread_charge(
    index_loss: Float64Array,
    name_loss: Float64Array,
    other_loss: Float64Array,
    confidence: float,
    shortfall: bool,
    index_offset: float,
) -> SpreadCharge:
    """Return spread response and basis charge of an account.

    response = T(index + names + other), T the tail measure, at least 0
    basis = (1 - f) * max(0, T(index) + T(names) - T(index + names))

    Parameters
    ----------
    index_loss, name_loss, other_loss : float64 arrays of shape (n_rows, n_scenarios)
        USD by manager, positive is a loss: credit indices, single names, all else. NaN gives NaN.
    confidence : float
    shortfall : bool
        True for expected shortfall, False for value at risk.
    index_offset : float
        f: fraction of the offset between indices and names that is recognised.

    Returns
    -------
    SpreadCharge

    Examples
    --------
    One manager, index losses (10, -8, 0, 0), names (-9, 8, 0, 0), VaR at 0.75 (the worst of
    four): index 10, names 8, together 1. Response 1; with f 0.75 the basis is 0.25 * 17 = 4.25.
    """
    credit = index_loss + name_loss
    response, shares = tail_contributions(credit + other_loss, confidence, shortfall)
    nothing = np.zeros(len(index_loss))
    if not (np.any(index_loss) and np.any(name_loss)):
        return SpreadCharge(response, shares, 0.0, nothing)
    alone = tail_contributions(index_loss, confidence, shortfall)
    names = tail_contributions(name_loss, confidence, shortfall)
    together = tail_contributions(credit, confidence, shortfall)
    offset = alone[0] + names[0] - together[0]
    if offset <= 0.0:
        return SpreadCharge(response, shares, 0.0, nothing)
    kept = 1.0 - index_offset
    return SpreadCharge(response, shares, kept * offset, kept * (alone[1] + names[1] - together[1]))
