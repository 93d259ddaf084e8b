"""Close-out paths: how fast positions are closed, and the cash that flows on every path.

Positions are closed linearly over their own number of days, on paths of consecutive past moves.
Until it is closed, a position pays its profit and loss every day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from engine.domain.arrays import BoolArray, Float64Array, Int64Array

# Guards the ceiling against a quotient that rounding leaves a little above a whole number.
ROUNDING = 1e-9


def days_to_close(
    delta_usd: npt.ArrayLike, adv: npt.ArrayLike, participation: float, horizon_days: int
) -> Int64Array:
    """Return the days that closing a position takes: ceil(|delta| / (participation * ADV)).

    Parameters
    ----------
    delta_usd : array_like
        USD per unit move of the factor, in the units of `adv` (`FactorTable.adv`).
    adv : array_like
        Average daily volume; where it is not above zero the position takes all the days.
    participation : float
        Part of a day's volume that can be closed in a day.
    horizon_days : int
        Most days.

    Returns
    -------
    int64 array, broadcast shape
        1 to `horizon_days`. Delta 50 million, volume 100 million, participation 0.2: 3.
    """
    size, volume = np.broadcast_arrays(
        np.abs(np.asarray(delta_usd, dtype=np.float64)), np.asarray(adv, dtype=np.float64)
    )
    traded = volume > 0.0
    capacity = participation * np.where(traded, volume, 1.0)
    days = np.clip(np.ceil(size / capacity - ROUNDING), 1, horizon_days)
    return np.where(traded, days, horizon_days).astype(np.int64)


def open_fraction(days: Int64Array, horizon_days: int) -> Float64Array:
    """Return the part that is open before each day's close, shape (horizon_days, n).

    max(0, 1 - (d - 1) / n) on day d = 1 .. `horizon_days`. `open_fraction([1, 4], 3)` is
    [[1, 1], [0, 0.75], [0, 0.5]].
    """
    day = np.arange(horizon_days, dtype=np.float64)[:, np.newaxis]
    return np.maximum(0.0, 1.0 - day / days.astype(np.float64))


def path_moves(
    returns: Float64Array, first: int, last: int, horizon_days: int
) -> Iterator[Float64Array]:
    """Yield the moves to day 1, 2, .. of the paths that start on rows `first` .. `last` - 1.

    Each has shape (last - first, n_factors). The path of row s holds rows s, s + 1, .. of
    `returns`; after the last row nothing moves, and such paths must not be used. Returns 1, 2, 4
    and two days give (1, 2, 4), then (3, 6, 4).
    """
    total = np.zeros((last - first, returns.shape[1]))
    for step in range(horizon_days):
        rows = returns[first + step : last + step]
        total = total.copy()
        total[: len(rows)] += rows
        yield total


@dataclass(frozen=True)
class PathLoss:
    """Worst of the cumulated cash flow of every account on every path.

    `loss` (n_accounts, n_paths) is minus the least cumulated cash, at least 0, USD, and `day`
    (n_accounts, n_paths) the day it is reached (0: cash never falls below zero).
    """

    loss: Float64Array
    day: Int64Array


def worst_cash_flow(
    unit_pnl_by_day: list[Float64Array], quantity: csr_array, days: Int64Array
) -> PathLoss:
    """Return the worst cumulated cash flow of accounts that close their positions.

    cash[d] = sum over instruments of q * open[d] * (P[d] - P[d-1]), cumulated over d

    P[d] is the P&L of one unit from the start to day d: what is closed by day d has realised its
    P&L, and what is open has settled it.

    Parameters
    ----------
    unit_pnl_by_day : list of float64 arrays of shape (n_instruments, n_paths)
        P[1], P[2], ...; their number is the horizon. NaN makes the accounts that hold the
        instrument NaN.
    quantity : sparse float64 array of shape (n_accounts, n_instruments)
        Explicit entries alone count.
    days : int64 array of shape (n_entries,)
        Days to close each stored entry of `quantity`, in its order.

    Returns
    -------
    PathLoss

    Examples
    --------
    Two units closed over two days, P = 1 - 3 = -3 on day 1 and +1 on day 2: cash is -6, then
    2 * 0.5 * 4 = 4: the worst is 6, on day 1.
    """
    horizon = len(unit_pnl_by_day)
    fraction = open_fraction(days, horizon)
    shape = (quantity.shape[0], unit_pnl_by_day[0].shape[1])
    cash, worst = np.zeros(shape), np.zeros(shape)
    day = np.zeros(shape, dtype=np.int64)
    before = np.zeros_like(unit_pnl_by_day[0])
    for d, now in enumerate(unit_pnl_by_day):
        still = fraction[d] > 0.0
        held = _keep(quantity, still, fraction[d])
        cash += np.asarray(held @ (now - before))
        lower = cash < worst
        day[lower] = d + 1
        worst = np.where(lower | np.isnan(cash), cash, worst)
        before = now
    return PathLoss(0.0 - worst, day)


def _keep(quantity: csr_array, still: BoolArray, fraction: Float64Array) -> csr_array:
    """Return `quantity` times `fraction` by entry, without the entries that are closed.

    Entries that stay stored at zero would turn a NaN elsewhere into a NaN here.
    """
    owner = np.repeat(np.arange(quantity.shape[0]), np.diff(quantity.indptr))
    data = (quantity.data * fraction)[still]
    return csr_array((data, (owner[still], quantity.indices[still])), shape=quantity.shape)
