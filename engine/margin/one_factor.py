"""Losses of a book when one factor moves at a time, and their sum under a correlation."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.margin.exposure import Exposures, unit_pnl
from engine.market.covariance import nearest_correlation

LEAST_EIGENVALUE = -1e-10
"""Below it a matrix is not a correlation, and the difference is more than rounding."""


def weighted_correlation(values: Float64Array, weights: Float64Array) -> Float64Array:
    """Correlation about zero of the columns of `values` (n_days, n), days weighted (n_days,).

    Each pair uses the days on which both are known (NaN: not known); a column that does not move
    has correlation zero. Positive semidefinite when no day is missing. Columns (1, 2) and (2, 1)
    with equal weights have 4 / 5; with weights (1, 0.5): 3 / sqrt(3 * 4.5) = 0.8164965809.
    """
    known = np.isfinite(values)
    x = np.where(known, values, 0.0)
    weighted = x * weights[:, np.newaxis]
    own = (weighted * x).T @ known.astype(np.float64)
    size = np.sqrt(own * own.T)
    out = np.divide(weighted.T @ x, size, out=np.zeros_like(size), where=size > 0.0)
    np.fill_diagonal(out, 1.0)
    return np.asarray(np.clip(0.5 * (out + out.T), -1.0, 1.0))


def joined_losses(
    up: Float64Array, down: Float64Array, owner: Int64Array, n: int, correlation: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Margin of n accounts from the losses of their parts when one factor moves, and its shares.

    x_k = max(0, worse of the account's losses when factor k moves up or down), s_k its direction
    (up at a tie), margin = sqrt(sum_kl x_k s_k rho_kl s_l x_l). Euler share of part p:
    sum_k (part's loss at the account's direction of k, if x_k > 0) * s_k (rho (s x))_k / margin.

    Parameters
    ----------
    up, down : float64 arrays of shape (n_parts, n_factors)
        USD, positive is a loss.
    owner : int64 array of shape (n_parts,)
        Account of each part, 0 .. n - 1.
    correlation : float64 array of shape (n_factors, n_factors)
        Positive semidefinite for every account's own factors; repaired per account
        (`nearest_correlation`) if it is not as a whole.

    Returns
    -------
    (margin of shape (n,), shares of shape (n_parts,))
        Shares of an account sum to its margin. NaN where a loss is.

    Examples
    --------
    One account of two parts, up (-3, 4) and (0, -1), down (3, -4) and (0, 1), correlation 0.5:
    x = (3, 3), s = (down, up), margin sqrt(9 + 9 - 9) = 3, shares 3 / 3 * (1.5 + 2) = 3.5, -0.5.
    """
    rises, falls = np.zeros((n, up.shape[1])), np.zeros((n, up.shape[1]))
    np.add.at(rises, owner, up)
    np.add.at(falls, owner, down)
    worse_up = rises >= falls
    signed = np.maximum(0.0, np.where(worse_up, rises, falls)) * np.where(worse_up, 1.0, -1.0)
    pull = _times_correlation(signed, correlation)
    margin = np.sqrt(np.maximum(0.0, (signed * pull).sum(axis=1)))
    weight = np.where(signed == 0.0, 0.0, pull * np.where(worse_up, 1.0, -1.0))
    part = (np.where(worse_up[owner], up, down) * weight[owner]).sum(axis=1)
    divisor = np.where(margin > 0.0, margin, np.where(np.isnan(margin), np.nan, np.inf))
    return margin, part / divisor[owner]


def _times_correlation(signed: Float64Array, correlation: Float64Array) -> Float64Array:
    """Rows times the correlation, repaired for each row's own factors where it must be."""
    if float(np.linalg.eigvalsh(correlation)[0]) >= LEAST_EIGENVALUE:
        return np.asarray(signed @ correlation)
    out = np.zeros_like(signed)
    for i, row in enumerate(signed):
        at = np.flatnonzero(row != 0.0)
        out[i, at] = nearest_correlation(correlation[np.ix_(at, at)]) @ row[at]
    return out


def one_factor_pnl(
    exposures: Exposures, rows: Int64Array, move: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """P&L of one unit of `instruments[rows]` when each factor moves alone.

    Parameters
    ----------
    exposures : Exposures
    rows : int64 array of shape (n_rows,)
    move : float64 array of shape (n_factors,)
        Size of each factor's move, units of its return; not NaN where it is used.

    Returns
    -------
    (up, down), float64 arrays of shape (n_rows, n_factors)
        Currency of the instrument; zero for factors an instrument does not depend on. NaN in the
        entries of an instrument that cannot be revalued.
    """
    terms = exposures.instruments
    own, vol = terms.factor[rows], terms.vol_factor[rows]
    second = (vol >= 0) & (vol != own)
    drives = np.zeros(len(move), dtype=np.bool_)
    drives[vol[second]] = True
    steps = np.array([[1.0], [-1.0]]) * np.nan_to_num(move, nan=0.0)
    # Two scenarios each: all factors that are no option's volatility, then all that are. An
    # instrument has one of either kind, so that all are revalued alone at once.
    both = unit_pnl(
        exposures, rows, np.vstack([np.where(drives, 0.0, steps), np.where(drives, steps, 0.0)])
    )
    own_pnl = np.where(drives[own][:, np.newaxis], both[:, 2:], both[:, :2])
    vol_pnl = both[:, 2:].copy()
    for k in np.unique(own[second & drives[own]]):  # options on a volatility that drives others
        at = np.flatnonzero(second & (own == k))
        here = np.arange(len(move)) == k
        moves = [np.where(here, steps, 0.0), np.where(drives & ~here, steps, 0.0)]
        part = unit_pnl(exposures, rows[at], np.vstack(moves))
        own_pnl[at], vol_pnl[at] = part[:, :2], part[:, 2:]
    tables = np.zeros((2, len(rows), len(move)))
    each = np.arange(len(rows))
    for side in (0, 1):
        tables[side, each, own] = own_pnl[:, side]
        tables[side, each[second], vol[second]] = vol_pnl[second, side]
    return tables[0], tables[1]
