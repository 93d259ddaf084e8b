"""From levels to the market of one date: merge, clean, carry, difference, convert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from engine.domain.arrays import BoolArray, DateArray, Float64Array, Int64Array
from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.domain.market import FactorTable, MarketState
from engine.market.factors import select_factors
from engine.market.fx import usd_per_unit
from engine.market.levels import Levels

WHERE = "market history"
LEAST_OBSERVED_SHARE = 0.5
_MONDAY_OF_EPOCH_WEEK = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True)
class _Panel:
    """Levels by date and factor up to `as_of`: (n_dates,), (n_dates, n_factors)."""

    dates: DateArray
    values: Float64Array
    factors: FactorTable
    from_packaged: tuple[bool, ...]

    def keep(self, wanted: BoolArray) -> _Panel:
        columns = [int(j) for j in np.flatnonzero(wanted)]
        return _Panel(
            self.dates,
            self.values[:, columns],
            select_factors(self.factors, columns),
            tuple(self.from_packaged[j] for j in columns),
        )


def build_market(
    factors: FactorTable,
    levels: Levels,
    as_of: date,
    user_levels: Levels | None = None,
    max_stale_days: int = 10,
    factor_ids: list[str] | None = None,
) -> Partial[MarketState]:
    """Build the market of `as_of` from histories; nothing after `as_of` is used.

    A factor in `user_levels` is taken from there alone; the others come from `levels` and, when
    `user_levels` is given, are named in `substituted`. Rows of the result are the weekdays on
    which at least half of its factors were observed. On a row where a factor has no observation
    its last level is carried and the day counted in `filled_days`; an observation on a day without
    a row counts for the next row. A return is ln(L_t / L_{t-1}) or L_t - L_{t-1} between rows
    (`FactorTable.return_type`), NaN until the factor has two rows.

    Parameters
    ----------
    factors : FactorTable
        Facts of every factor that may be used.
    levels : Levels
        Base history, usually `packaged_levels()`.
    as_of : date
        A day that is no row (weekend, holiday) gives the market of the last row before it.
    user_levels : Levels, optional
        The user's own history.
    max_stale_days : int
        Calendar days a last observation may be older than `as_of`.
    factor_ids : list of str, optional
        Factors wanted; all of `factors` when absent. FX rates for `fx_usd` are always used.

    Returns
    -------
    Partial of MarketState
        Factors that cannot be used are left out, so that positions of columns change: use
        `MarketState.index()`. Each is a failure: no facts, no history, fewer than two rows or a
        stale last observation (MISSING_DATA), a level <= 0 of a `log` factor (INVALID). A
        currency of a factor without a rate to USD is a failure too (CURRENCY_CONVERSION).

    Raises
    ------
    InputError
        When `as_of` is after the last, or before the second, date of the histories, or no factor
        is left.

    Notes
    -----
    Worked number: levels 100, blank, 102 give the log returns 0 and ln 1.02 = 0.0198026.
    """
    wanted = [str(name) for name in (factors.factor_id if factor_ids is None else factor_ids)]
    failures = _unknown(factors, wanted, user_levels)
    facts = {str(name): i for i, name in enumerate(factors.factor_id)}
    names = list(dict.fromkeys(name for name in wanted if name in facts))
    fx_names = [str(name) for name in factors.factor_id[factors.asset_class == "fx"]]
    columns = [facts[name] for name in dict.fromkeys([*names, *fx_names])]
    panel = _merge(select_factors(factors, columns), levels, user_levels)
    _check_reach(panel, as_of)
    panel = _truncate(panel, as_of)
    panel, unusable = _usable(panel, as_of, max_stale_days)
    failures += unusable

    pairs = panel.keep(panel.factors.asset_class == "fx")
    pair_rates = [float(value) for value in _carried(pairs.values)[-1]]
    fx_usd = usd_per_unit(dict(zip(pairs.factors.factor_id, pair_rates, strict=True)))
    panel = panel.keep(np.isin(panel.factors.factor_id, names))
    rows = _grid(panel, as_of, failures)
    panel, late = _begun(panel, rows)
    failures += late
    state = _state(panel, rows, fx_usd)
    missing = sorted({str(c) for c in state.factors.currency} - fx_usd.keys())
    failures += [_no_rate(currency) for currency in missing]
    return Partial(state, tuple(failures))


def _unknown(factors: FactorTable, wanted: list[str], user: Levels | None) -> list[Failure]:
    known = {str(name) for name in factors.factor_id}
    failures = [
        Failure(
            FailureReason.MISSING_DATA,
            name,
            "factor table",
            f"factor '{name}' has no row in the factor table; add it to factors.csv, or correct "
            "the id",
        )
        for name in dict.fromkeys(wanted)
        if name not in known
    ]
    columns = [] if user is None else [str(name) for name in user.factor_ids]
    return failures + [
        Failure(
            FailureReason.INVALID,
            name,
            WHERE,
            f"column '{name}' of the history has no row in the factor table and is not used; add "
            "it to factors.csv, or correct the name",
        )
        for name in columns
        if name not in known and name not in wanted
    ]


def _merge(factors: FactorTable, levels: Levels, user: Levels | None) -> _Panel:
    sources = [levels] if user is None else [user, levels]
    dates = np.unique(np.concatenate([source.dates for source in sources]))
    rows = [np.searchsorted(dates, source.dates) for source in sources]
    indices = [source.index() for source in sources]
    values = np.full((len(dates), len(factors)), np.nan)
    from_packaged = [False] * len(factors)
    for j, name in enumerate(factors.factor_id):
        for s, source in enumerate(sources):
            column = indices[s].get(str(name))
            if column is not None:
                values[rows[s], j] = source.values[:, column]
                from_packaged[j] = user is not None and source is levels
                break
    return _Panel(dates, values, factors, tuple(from_packaged))


def _check_reach(panel: _Panel, as_of: date) -> None:
    seen = panel.dates[(~np.isnan(panel.values)).any(axis=1)]
    if not len(seen):
        raise InputError("the histories hold no level of the factors wanted; check the factor ids")
    if np.datetime64(as_of, "D") > seen[-1]:
        raise InputError(
            f"as_of {as_of} is after the last date of the history, {seen[-1]}; use {seen[-1]} or "
            "earlier, or give a history that reaches as_of ([files] history in fund.toml)"
        )
    if len(seen) < 2 or np.datetime64(as_of, "D") < seen[1]:
        raise InputError(
            f"as_of {as_of} leaves fewer than two dates of history, which begins on {seen[0]}; "
            "use a later as_of or a longer history"
        )


def _truncate(panel: _Panel, as_of: date) -> _Panel:
    known = panel.dates <= np.datetime64(as_of, "D")
    return _Panel(
        panel.dates[known],
        panel.values[known],
        panel.factors,
        panel.from_packaged,
    )


def _usable(panel: _Panel, as_of: date, max_stale_days: int) -> tuple[_Panel, list[Failure]]:
    """Leave out factors without history, stale ones, and log factors with a level <= 0."""
    failures: list[Failure] = []
    oldest = np.datetime64(as_of, "D") - np.timedelta64(max_stale_days, "D")
    for j, name in enumerate(panel.factors.factor_id):
        level = panel.values[:, j]
        seen = np.flatnonzero(~np.isnan(level))
        if not len(seen):
            reason = FailureReason.MISSING_DATA
            message = f"'{name}' has no level up to {as_of}; add its history"
        elif panel.dates[seen[-1]] < oldest:
            reason = FailureReason.MISSING_DATA
            message = (
                f"the last level of '{name}' is of {panel.dates[seen[-1]]}, more than "
                f"{max_stale_days} days before {as_of}; extend its history or raise max_stale_days"
            )
        elif panel.factors.return_type[j] == "log" and bool(np.any(level[seen] <= 0.0)):
            row = seen[np.flatnonzero(level[seen] <= 0.0)[0]]
            reason = FailureReason.INVALID
            message = (
                f"'{name}' has return_type log, which has no value at the level {level[row]:g} of "
                f"{panel.dates[row]}; set its return_type to absolute in factors.csv, or correct "
                "the level"
            )
        else:
            continue
        failures.append(Failure(reason, str(name), WHERE, message))
    dropped = [failure.item for failure in failures]
    return panel.keep(~np.isin(panel.factors.factor_id, dropped)), failures


def _grid(panel: _Panel, as_of: date, failures: list[Failure]) -> Int64Array:
    """Positions of the dates that become rows."""
    observed = ~np.isnan(panel.values)
    share = observed.sum(axis=1) / max(len(panel.factors), 1)
    rows: Int64Array = np.flatnonzero(_weekdays(panel.dates) & (share >= LEAST_OBSERVED_SHARE))
    if not len(panel.factors) or len(rows) < 2:
        reasons = "; ".join(failure.message for failure in failures[:3])
        raise InputError(f"no market can be built on {as_of}: {reasons or 'too few common dates'}")
    return rows


def _begun(panel: _Panel, rows: Int64Array) -> tuple[_Panel, list[Failure]]:
    """Leave out factors that have no level yet on the last row but one: they have no return."""
    begun = ~np.isnan(_carried(panel.values)[rows[-2]])
    failures = [
        Failure(
            FailureReason.MISSING_DATA,
            str(name),
            WHERE,
            f"'{name}' has fewer than 2 levels up to {panel.dates[rows[-1]]}; add its history",
        )
        for name in panel.factors.factor_id[~begun]
    ]
    return panel.keep(begun), failures


def _state(panel: _Panel, rows: Int64Array, fx_usd: dict[str, float]) -> MarketState:
    carried = _carried(panel.values)[rows]
    log = panel.factors.return_type == "log"
    moves = np.where(log, np.log(np.where(log, carried, 1.0)), carried)
    names = [str(name) for name in panel.factors.factor_id]
    filled = _filled(~np.isnan(panel.values)[rows])
    return MarketState(
        as_of=panel.dates[rows[-1]].item(),
        factors=panel.factors,
        level=carried[-1].copy(),
        dates=panel.dates[rows[1:]],
        returns=np.diff(moves, axis=0),
        fx_usd=fx_usd,
        filled_days={name: int(n) for name, n in zip(names, filled, strict=True) if n},
        substituted=tuple(
            name for name, packaged in zip(names, panel.from_packaged, strict=True) if packaged
        ),
    )


def _carried(values: Float64Array) -> Float64Array:
    """Carry the last observation forward in each column; NaN before the first."""
    seen = np.where(np.isnan(values), -1, np.arange(len(values))[:, None])
    last = np.maximum.accumulate(seen, axis=0)
    carried = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    carried[last < 0] = np.nan
    return carried


def _filled(observed: BoolArray) -> Int64Array:
    """Count days after the first observation that have none, shape (n_factors,)."""
    begun = np.maximum.accumulate(observed, axis=0)
    days: Int64Array = np.sum(begun & ~observed, axis=0).astype(np.int64)
    return days


def _weekdays(dates: DateArray) -> BoolArray:
    weekday: BoolArray = (dates.astype(np.int64) + _MONDAY_OF_EPOCH_WEEK) % 7 < 5
    return weekday


def _no_rate(currency: str) -> Failure:
    return Failure(
        FailureReason.CURRENCY_CONVERSION,
        currency,
        WHERE,
        f"no rate of {currency} to USD on as_of; add a factor USD{currency} or {currency}USD with "
        "its history",
    )
