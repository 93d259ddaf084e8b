"""Whether the factors of an agreement have enough history for a model of past moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.failures import Failure, FailureReason
from engine.margin.exposure import MOST_SHOWN, Exposures, agreement_failure
from engine.margin.historical import MIN_SCENARIOS

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig


def check_history(
    exposures: Exposures, rows: Int64Array, margin: MarginConfig
) -> tuple[BoolArray, list[Failure]]:
    """Check the agreements `rows` for historical simulation, overlapping sums of daily moves.

    Returns
    -------
    failed : bool array of shape (n_agreements,)
        True where no margin can be computed.
    failures : list of Failure
        One for each of these, and one where a lookback is shorter than asked.
    """
    agreements, market = exposures.book.agreements, exposures.market
    failed = np.zeros(len(agreements), dtype=np.bool_)
    failures: list[Failure] = []
    floor = market.factors.daily_vol_floor
    for a in rows.tolist():
        lost, wanted = int(agreements.mpor_days[a]) - 1, int(agreements.lookback_days[a])
        found = None
        if agreements.ewma_lambda[a] < 1.0:
            found = without_first_moves(exposures, a, market.returns, floor, margin)
        found = found or too_few_scenarios(exposures, a, lost, wanted)
        failed[a] = found is not None
        found = found or shortened_lookback(exposures, a, lost, wanted)
        if found is not None:
            failures.append(found)
    return failed, failures


def listed(names: StrArray) -> str:
    """Return the names in one line, at most `MOST_SHOWN` of them."""
    shown = ", ".join(str(name) for name in names[:MOST_SHOWN])
    return f"{shown} and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else shown


def too_few_scenarios(
    exposures: Exposures, row: int, lost_days: int, lookback_days: int | None = None
) -> Failure | None:
    """Return why an agreement fails as a whole for lack of history, or None.

    A factor with n returns gives n - `lost_days` scenarios, at most `lookback_days` (None: as
    many as there are); below `MIN_SCENARIOS` the agreement has no margin.
    """
    names = exposures.market.factors.factor_id
    used, have = _scenarios(exposures, row, lost_days)
    limit = int(have.max(initial=0)) if lookback_days is None else lookback_days
    short = used[np.minimum(have, limit) < MIN_SCENARIOS]
    if not len(short):
        return None
    fewest = min(limit, int(have.min()))
    asked = "all history" if lookback_days is None else f"a lookback of {lookback_days} days"
    message = (
        f"{asked} gives {fewest} scenarios of {listed(names[short])}, fewer than {MIN_SCENARIOS}; "
        "lengthen the history or the lookback, or remove the positions"
    )
    return agreement_failure(exposures.book, row, FailureReason.MISSING_DATA, message)


def shortened_lookback(
    exposures: Exposures, row: int, lost_days: int, lookback_days: int
) -> Failure | None:
    """Return a failure that names the factors that shorten a lookback, or None."""
    names = exposures.market.factors.factor_id
    used, have = _scenarios(exposures, row, lost_days)
    young = used[have < lookback_days]
    if not len(young):
        return None
    fewest = int(have.min())
    return Failure(
        FailureReason.MISSING_DATA,
        str(names[used[np.argmin(have)]]),
        f"agreement {exposures.book.agreements.agreement_id[row]}",
        f"its lookback of {lookback_days} days has {fewest} scenarios, from factors "
        f"{listed(names[young])}; the margin uses these {fewest}: lengthen the history for all",
    )


def without_first_moves(
    exposures: Exposures,
    row: int,
    returns: Float64Array,
    floor: Float64Array,
    margin: MarginConfig,
) -> Failure | None:
    """Return why a volatility filter cannot start for an agreement, or None.

    The filter starts from the variance of a factor's first `seed_days` returns; if they are all
    zero and its volatility has no floor (`floor`, (n_factors,)), moves would be divided by zero.
    """
    used = np.flatnonzero(exposures.agreement_factor[row])
    still = []
    for k in used.tolist():
        known = returns[np.isfinite(returns[:, k]), k][: margin.seed_days]
        if float(np.var(known)) == 0.0 and not floor[k] > 0.0:
            still.append(k)
    if not still:
        return None
    message = (
        f"factors {listed(exposures.market.factors.factor_id[still])} do not move at the start of "
        "their history and have a daily_vol_floor of 0; give them one above 0"
    )
    return agreement_failure(exposures.book, row, FailureReason.INVALID, message)


def _scenarios(exposures: Exposures, row: int, lost_days: int) -> tuple[Int64Array, Int64Array]:
    """Factors of an agreement and the scenarios that each gives."""
    used = np.flatnonzero(exposures.agreement_factor[row])
    days = np.isfinite(exposures.market.returns[:, used]).sum(axis=0)
    return used.astype(np.int64), (days - lost_days).astype(np.int64)
