"""The levels an episode is replayed on, and how each factor's levels are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.domain.arrays import DateArray, Float64Array
from engine.domain.failures import InputError
from engine.domain.market import FactorTable
from engine.market.levels import Levels
from engine.stress.replay.episode_file import KnownLevels, ReplayEpisode

OBSERVED, KNOWN_DAYS, SIMULATED = "observed", "known days", "simulated"


def episode_levels(episode: ReplayEpisode, levels: Levels, factors: FactorTable) -> Levels:
    """Return the history with the episode's known levels in it.

    Days between two known ones are a straight line: in logs for a factor whose level is above zero
    on both, in levels otherwise. History before the first known day keeps its moves and is brought
    to its level (a ratio for `log` factors, a difference for the others). Days after the last
    known one are removed: nothing is known of them.

    Raises
    ------
    InputError
        If the history has no column or no day of a known level.

    Notes
    -----
    Worked number: 200 and 251 five business days apart give 200 (251 / 200)^(2/5) = 219.0 after
    two.
    """
    values = levels.values.copy()
    column = levels.index()
    kinds = dict(zip(factors.factor_id, factors.return_type, strict=True))
    for known in episode.levels:
        if known.factor_id not in column:
            raise InputError(
                f"{episode.episode_id}: the history has no column {known.factor_id}; add one"
            )
        k = column[known.factor_id]
        values[:, k] = _with_known(levels.dates, values[:, k], known, kinds[known.factor_id])
    return Levels(levels.dates.copy(), levels.factor_ids, values)


def _with_known(
    dates: DateArray, history: Float64Array, known: KnownLevels, return_type: str
) -> Float64Array:
    days = np.array(list(known.days), dtype="datetime64[D]")
    level = np.array(list(known.days.values()))
    inside = np.flatnonzero((dates >= days[0]) & (dates <= days[-1]))
    first = int(inside[0]) if len(inside) else -1
    before = history[: first + 1][~np.isnan(history[: first + 1])]
    if first < 0 or dates[first] != days[0] or not len(before):
        raise InputError(
            f"{known.factor_id}: the history has no level on {days[0]}; give one that covers it"
        )
    out = history.copy()
    out[first + len(inside) :] = np.nan
    anchor = before[-1]
    if return_type == "log":
        out[:first] = history[:first] * (level[0] / anchor)
    else:
        out[:first] = history[:first] + (level[0] - anchor)
    at = np.array([np.busday_count(days[0], day) for day in dates[inside]], dtype=np.float64)
    knots = np.array([np.busday_count(days[0], day) for day in days], dtype=np.float64)
    if np.all(level > 0.0):
        out[inside] = np.exp(np.interp(at, knots, np.log(level)))
    else:
        out[inside] = np.interp(at, knots, level)
    return out


def basis_table(
    episode: ReplayEpisode, factors: FactorTable, held: set[str], users: set[str]
) -> pd.DataFrame:
    """Say of each factor in `held` how its levels in the episode are known.

    `users` are factors whose levels the caller brought. Columns: `factor_id`, `basis` (`observed`,
    `known days` or `simulated`), `mark`, `source`.
    """
    known = {entry.factor_id: entry for entry in episode.levels}
    rows = []
    for i, name in enumerate(map(str, factors.factor_id)):
        if name not in held:
            continue
        if name in users:
            row = (name, OBSERVED, "user", "the user's own history")
        elif name in known:
            row = (name, KNOWN_DAYS, known[name].mark, known[name].source)
        elif factors.synthetic[i]:
            row = (name, SIMULATED, "indicative", str(factors.source[i]))
        else:
            row = (name, OBSERVED, "verified", str(factors.source[i]))
        rows.append(row)
    return pd.DataFrame(rows, columns=["factor_id", "basis", "mark", "source"])
