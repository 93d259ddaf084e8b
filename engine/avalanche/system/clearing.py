"""Payments between institutions that wait for each other's payments: who can pay what it owes.

Eisenberg and Noe, "Systemic risk in financial systems" (2001). The soft default is that of Paddrik,
Rajan and Young, "Contagion in derivatives markets" (2020): stress is what is owed beyond what was
received and the buffer, and payments fall short by the share tau of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import BoolArray, Float64Array, StrArray
from engine.domain.failures import Failure, InputError

# Below this share of all obligations a shortfall is rounding.
ROUNDING_SHARE = 1e-12
MOST_ROUNDS = 1_000_000


@dataclass(frozen=True)
class Clearing:
    """What each of N institutions pays; arrays (N,) in the unit of the obligations.

    `shortfall` is what it owes and does not pay, `stress` what it would lack without credit
    (the shortfall, if tau is 1), `cash_left` what it holds afterwards: negative, by the soft part
    of stress, where it borrowed.
    """

    institution_id: StrArray
    owed: Float64Array
    received: Float64Array
    paid: Float64Array
    shortfall: Float64Array
    stress: Float64Array
    cash_left: Float64Array
    failures: tuple[Failure, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return totals, and the institutions that do not pay in full."""
        short = self.shortfall > 0.0
        return {
            "owed": float(self.owed.sum()),
            "paid": float(self.paid.sum()),
            "shortfall": float(self.shortfall.sum()),
            "short": [str(name) for name in self.institution_id[short]],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the summary and the failures."""
        return {**self.summary(), "failures": [failure.to_dict() for failure in self.failures]}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `clearing`: one row for each institution."""
        names = ("institution_id", "owed", "received", "paid", "shortfall", "stress", "cash_left")
        return {"clearing": pd.DataFrame({name: getattr(self, name) for name in names})}


def clear_payments(
    institution_id: StrArray,
    obligations: Float64Array,
    cash: Float64Array,
    transmission: float = 1.0,
) -> Clearing:
    """Return the greatest clearing payments.

    Parameters
    ----------
    institution_id : object array of str (N,)
    obligations : float64 array (N, N), not negative
        Row i owes column j. The diagonal is 0. A shortfall is shared in proportion.
    cash : float64 array (N,), not negative
    transmission : float
        tau, above 0 and at most 1: share of its stress an institution passes on. 1 is the hard
        default of Eisenberg and Noe: it pays all it has.

    Returns
    -------
    Clearing
        Obligations 100, 80 and 60 in a ring with cash 10, 5 and 0 clear with payments 70, 75 and
        60: shortfalls 30, 5 and 0.

    Raises
    ------
    InputError
        If an amount is negative or not finite, shapes do not fit or tau is out of range.

    Notes
    -----
    p = owed - tau max(0, owed - received(p) - cash). All pay in full at first; those that cannot
    are the stressed set, the linear system of this set is solved, and the set grows until nobody
    new is stressed: at most N rounds ("fictitious default").
    """
    _check(institution_id, obligations, cash)
    if not 0.0 < transmission <= 1.0:
        raise InputError(f"transmission is {transmission:g}; give it above 0 and at most 1")
    owed = obligations.sum(axis=1)
    shares = _shares(obligations, owed)
    noise = ROUNDING_SHARE * max(float(owed.sum()), 1.0)
    paid = owed.copy()
    stressed = np.zeros(len(owed), dtype=np.bool_)
    for _ in range(len(owed) + 1):
        now = stressed | (owed - shares.T @ paid - cash > noise)
        if np.array_equal(now, stressed):
            break
        stressed = now
        paid = _solve(shares, owed, cash, stressed, transmission, paid)
    received = shares.T @ paid
    stress = np.where(stressed, np.maximum(owed - received - cash, 0.0), 0.0)
    return Clearing(
        institution_id,
        owed,
        received,
        paid,
        np.maximum(owed - paid, 0.0),
        stress,
        cash + received - paid,
    )


def payments_in_rounds(obligations: Float64Array, cash: Float64Array, rounds: int) -> Float64Array:
    """Return payments when each waits for its receipts, shape (rounds, N), cumulative.

    In each round an institution pays on what it holds: its cash and what it received in the rounds
    before. This climbs to the least clearing payments: two that owe each other 10 and hold nothing
    pay nothing (gridlock), though both would clear together. The ring of `clear_payments` pays
    10, 5, 0 at first, then 10, 15, 5, and reaches 70, 75, 60 in round 14.

    Raises
    ------
    InputError
        As `clear_payments`, or if `rounds` is below 1.
    """
    _check(np.arange(len(cash)).astype(object), obligations, cash)
    if not 1 <= rounds <= MOST_ROUNDS:
        raise InputError(f"rounds is {rounds}; give 1 to {MOST_ROUNDS}")
    owed = obligations.sum(axis=1)
    shares = _shares(obligations, owed)
    path = np.zeros((rounds, len(owed)))
    paid = np.zeros(len(owed))
    for t in range(rounds):
        paid = np.minimum(owed, cash + shares.T @ paid)
        path[t] = paid
    return path


def _shares(obligations: Float64Array, owed: Float64Array) -> Float64Array:
    """Return the share of each creditor in what an institution pays, shape (N, N)."""
    some = np.where(owed > 0.0, owed, 1.0)
    return np.asarray(obligations / some[:, None])


def _solve(
    shares: Float64Array,
    owed: Float64Array,
    cash: Float64Array,
    stressed: BoolArray,
    tau: float,
    above: Float64Array,
) -> Float64Array:
    """Payments if exactly `stressed` pay less than they owe; `above` is an upper bound."""
    rows = np.nonzero(stressed)[0]
    inside = shares[np.ix_(rows, rows)]
    others = shares[~stressed].T[rows] @ owed[~stressed]
    fixed = (1.0 - tau) * owed[rows] + tau * (others + cash[rows])
    system = np.eye(len(rows)) - tau * inside.T
    paid = owed.copy()
    if np.linalg.matrix_rank(system) == len(rows):
        solved = np.linalg.solve(system, fixed)
        paid[rows] = np.clip(solved, 0.0, above[rows])
        return np.asarray(paid)
    # A closed group without cash has many clearing payments; from above, iteration finds the
    # greatest.
    part = above[rows]
    for _ in range(MOST_ROUNDS):
        lower = np.minimum(part, fixed + tau * (inside.T @ part))
        if np.allclose(lower, part, rtol=ROUNDING_SHARE, atol=0.0):
            break
        part = lower
    paid[rows] = part
    return np.asarray(paid)


def _check(names: StrArray, obligations: Float64Array, cash: Float64Array) -> None:
    n = len(names)
    if obligations.shape != (n, n) or cash.shape != (n,):
        raise InputError(
            f"{n} institutions, obligations {obligations.shape} and cash {cash.shape} do not fit"
        )
    for what, values in (("obligations", obligations), ("cash", cash)):
        wrong = ~np.isfinite(values) | (values < 0.0)
        if np.any(wrong):
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            who = " to ".join(str(names[i]) for i in place)
            raise InputError(
                f"{what} of {who}: {float(values[place]):g}; give a finite number, not negative"
            )
    own = np.nonzero(np.diag(obligations))[0]
    if len(own):
        raise InputError(
            f"{names[own[0]]} owes itself {obligations[own[0], own[0]]:g}; leave it out"
        )
