"""The user's own sensitivities after trades: they follow the positions they belong to."""

from __future__ import annotations

import numpy as np

from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason


def follow_trades(
    crif: CrifTable | None, before: Book, after: Book
) -> tuple[CrifTable | None, tuple[Failure, ...]]:
    """Let the user's sensitivities follow the positions whose id is their TradeID.

    Rows are scaled with the position, leave with it, and move where the new agreement has rows of
    its own (elsewhere the engine computes them). Other rows stay.

    Returns
    -------
    (crif, failures)
        One failure for each changed position under an agreement with own sensitivities that has
        no rows: its margin cannot show the change.
    """
    if crif is None:
        return None, ()
    old, new = _placed(before), _placed(after)
    named = {str(name) for name in crif.portfolio_id}
    portfolio, amount = crif.portfolio_id.copy(), crif.amount_usd.copy()
    keep = np.ones(len(crif), dtype=np.bool_)
    seen: set[str] = set()
    for i, (trade, owner) in enumerate(zip(crif.trade_id, crif.portfolio_id, strict=True)):
        name = str(trade)
        if name not in old or old[name][0] != str(owner):
            continue
        seen.add(name)
        if name not in new or (new[name][0] != str(owner) and new[name][0] not in named):
            keep[i] = False
            continue
        portfolio[i] = new[name][0]
        if new[name][1] != old[name][1]:
            amount[i] *= new[name][1] / old[name][1]
    changed = [n for n in {**old, **new} if old.get(n) != new.get(n)]
    blind = [
        (name, place)
        for name in changed
        for place in dict.fromkeys(side[name][0] for side in (old, new) if name in side)
        if place in named and name not in seen
    ]
    failures = tuple(
        Failure(
            FailureReason.MISSING_DATA,
            name,
            f"agreement {place}",
            "its margin comes from the user's sensitivities, which have no row with this TradeID: "
            "it does not show this trade; add or change the rows in the CRIF",
        )
        for name, place in blind
    )
    rows = {n: column[keep] for n, column in vars(crif).items()}
    rows |= {"portfolio_id": portfolio[keep], "amount_usd": amount[keep]}
    return CrifTable(**rows), failures


def _placed(book: Book) -> dict[str, tuple[str, float]]:
    """Agreement id and quantity of every position."""
    positions = book.positions
    names = book.agreements.agreement_id[positions.agreement]
    return {
        str(p): (str(a), float(q))
        for p, a, q in zip(positions.position_id, names, positions.quantity, strict=True)
    }
