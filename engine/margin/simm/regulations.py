"""The margin under several regulations: each on its own rows, then the largest.

Which rows a regulation takes, as public implementations have it (open-source-risk-engine; Acadia's
simm-lib agrees on its tests, but would count rows of SEC-unseg under SEC):

- `collect_regulations` counts for call, `post_regulations` for post.
- A blank cell is in no regulation, if any row of the portfolio names one on either side. If none
  does, all rows give one margin, named Unspecified.
- A row that says Excluded is left out.
- A portfolio with rows under SEC takes its rows under CFTC into SEC too; CFTC stays without SEC.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pandas as pd

from engine.domain.arrays import BoolArray, Int64Array, StrArray
from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.margin.simm import vocabulary as words
from engine.margin.simm.calculate import checked_settings, margins_of_rows, read_rows
from engine.margin.simm.encode import EncodedRows
from engine.margin.simm.result import SimmResult

_FIELDS = {
    "call": ("collect_regulations", "post_regulations"),
    "post": ("post_regulations", "collect_regulations"),
}


def simm_worst_of(
    crif: CrifTable,
    version: str,
    horizon_days: int,
    side: str,
    calculation_currency: str = "USD",
) -> dict[str, SimmResult]:
    """Return, for each netting set, the largest margin over its regulations.

    Parameters
    ----------
    crif : CrifTable
        With `collect_regulations` (side call) and `post_regulations` (side post): names separated
        by commas, such as "CFTC,ESA"; brackets, quotes and case do not matter.
    version, horizon_days, side, calculation_currency
        As in `simm_margin`.

    Returns
    -------
    dict of str to SimmResult
        Portfolios in sorted order. `regulation` won (the first by name of equals) and
        `by_regulation` has all margins. Without any row under a regulation the margin is 0.
        Acadia's test J1, version 2.5, 10 days: USPR -1,000,000 at 1y in USD gives 66,000,000, ESA
        -2,000,000 at 3y in EUR 112,000,000, so ESA wins.

    Raises
    ------
    InputError
        As `simm_margin`; and a regulation that is not known, with its row.
    """
    parameters, _ = checked_settings(version, horizon_days, side, calculation_currency)
    rows = read_rows(crif)
    chosen, regulation, names = regulation_rows(crif, rows.portfolio, side)
    pair = rows.portfolio[chosen] * len(names) + regulation
    used, portfolio = np.unique(pair, return_inverse=True)
    taken = {
        f.name: getattr(rows, f.name)[chosen]
        for f in fields(EncodedRows)
        if f.name not in ("portfolio", "portfolio_ids", "names")
    }
    split = EncodedRows(
        **taken,
        portfolio=portfolio,
        portfolio_ids=np.array([str(i) for i in range(len(used))], dtype=object),
        names=rows.names,
    )
    margins = list(margins_of_rows(split, parameters, side, calculation_currency).values())
    empty = SimmResult(version, horizon_days, side, "USD", 0.0, {}, {}, calculation_currency)
    results: dict[str, SimmResult] = {}
    for p, portfolio_id in enumerate(rows.portfolio_ids):
        own = np.flatnonzero(used // len(names) == p)
        by_regulation = {names[used[i] % len(names)]: margins[i] for i in own}
        results[str(portfolio_id)] = _largest(dict(sorted(by_regulation.items())), empty)
    return results


def _largest(by_regulation: dict[str, SimmResult], empty: SimmResult) -> SimmResult:
    if not by_regulation:
        return empty
    winner = max(by_regulation, key=lambda name: by_regulation[name].total)
    totals = {name: result.total for name, result in by_regulation.items()}
    return replace(by_regulation[winner], regulation=winner, by_regulation=totals)


def regulation_rows(
    crif: CrifTable, portfolio: Int64Array, side: str
) -> tuple[Int64Array, Int64Array, tuple[str, ...]]:
    """Return the rows of every regulation.

    Parameters
    ----------
    crif : CrifTable
        n_rows rows.
    portfolio : int64 array of shape (n_rows,)
        Code of each row's portfolio.
    side : str
        `call` or `post`.

    Returns
    -------
    rows, regulation : int64 arrays of shape (n_pairs,)
        A row stands here once for each regulation it counts under; none if it is left out.
    names : tuple of str
        `regulation` is a position here.
    """
    names = (*words.REGULATIONS, words.UNSPECIFIED)
    own, other = (_memberships(getattr(crif, field), field) for field in _FIELDS[side])
    n_portfolios = int(portfolio.max(initial=-1)) + 1
    named = own.any(axis=1) | other.any(axis=1)
    regulated = np.bincount(portfolio, weights=named, minlength=n_portfolios) > 0
    member = np.column_stack([own[:, :-1], ~regulated[portfolio]])
    sec, cftc = names.index("SEC"), names.index("CFTC")
    with_sec = np.bincount(portfolio, weights=own[:, sec], minlength=n_portfolios) > 0
    member[:, sec] |= member[:, cftc] & with_sec[portfolio]
    member[own[:, -1]] = False
    rows, regulation = np.nonzero(member)
    return rows, regulation, names


def _memberships(cells: StrArray, field: str) -> BoolArray:
    """Return which regulations each row names, shape (n_rows, n_regulations + 1), last Excluded."""
    codes, distinct = pd.factorize(np.asarray(cells, dtype=object), use_na_sentinel=False)
    known = (*words.REGULATIONS, words.EXCLUDED)
    by_case = {name.casefold(): i for i, name in enumerate(known)}
    table = np.zeros((len(distinct), len(known)), dtype=np.bool_)
    for i, cell in enumerate(distinct):
        for word in _split(cell):
            if word.casefold() not in by_case:
                row = int(np.flatnonzero(codes == i)[0])
                raise InputError(_unknown(word, field, row, known))
            table[i, by_case[word.casefold()]] = True
    return table[codes]


def _split(cell: object) -> Iterator[str]:
    for word in re.split(r"[\s,;\[\]\"']+", "" if cell is None or cell != cell else str(cell)):
        if word and word.casefold() != words.UNSPECIFIED.casefold():
            yield word


def _unknown(word: str, field: str, row: int, known: tuple[str, ...]) -> str:
    by_case = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_case, n=1)
    hint = f"did you mean {by_case[close[0]]!r}? " if close else ""
    return (
        f"CRIF row {row + 1}, {field}: {word!r} is not a known regulation; {hint}"
        f"allowed: {', '.join(known)}, or blank"
    )
