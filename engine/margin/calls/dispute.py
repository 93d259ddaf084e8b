"""Disputed calls: the undisputed amount moves at once, the rest waits for an outcome.

A pure state machine, after paragraph 5 of the ISDA Credit Support Annex (New York law, 1994).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from engine.domain.failures import InputError

STATES = ("open", "agreed", "resolved", "expired")


@dataclass(frozen=True, slots=True)
class Dispute:
    """A call that is partly disputed; amounts in cents of the call's currency.

    Attributes
    ----------
    called_cents : int
        Amount of the call.
    undisputed_cents : int
        What both sides accept; it moves when the dispute opens.
    state : str
        `open`; or closed: `agreed` between the sides, `resolved` by recalculation or a third
        party, `expired` without an outcome.
    final_cents : int
        What has moved in all.
    opened_on, last_day, closed_on : date
        `last_day` is the last day for an outcome; `closed_on` is None while open.
    """

    call_id: str
    called_cents: int
    undisputed_cents: int
    state: str
    final_cents: int
    opened_on: date
    last_day: date
    closed_on: date | None

    @property
    def disputed_cents(self) -> int:
        """What is called but has not moved: while open, and for good once expired."""
        if self.state in ("open", "expired"):
            return self.called_cents - self.undisputed_cents
        return 0


@dataclass(frozen=True, slots=True)
class Movement:
    """A dispute after a step, and the cents that move by it (negative: given back)."""

    dispute: Dispute
    moves_cents: int


def open_dispute(
    call_id: str, called_cents: int, undisputed_cents: int, opened_on: date, last_day: date
) -> Movement:
    """Open a dispute; the undisputed amount moves.

    A call of 1,000,000.00 of which 400,000.00 is accepted moves 400,000.00 and leaves 600,000.00
    disputed.

    Raises
    ------
    InputError
        If the undisputed amount is not in [0, called), or the last day is before the first.
    """
    if not 0 <= undisputed_cents < called_cents:
        raise InputError(
            f"call {call_id}: undisputed {undisputed_cents} must be at least 0 and below the "
            f"called {called_cents} cents; a call accepted in full is no dispute"
        )
    if last_day < opened_on:
        raise InputError(f"call {call_id}: last day {last_day} is before {opened_on}")
    dispute = Dispute(
        call_id=call_id,
        called_cents=called_cents,
        undisputed_cents=undisputed_cents,
        state="open",
        final_cents=undisputed_cents,
        opened_on=opened_on,
        last_day=last_day,
        closed_on=None,
    )
    return Movement(dispute, undisputed_cents)


def agree(dispute: Dispute, amount_cents: int, on: date) -> Movement:
    """Close by agreement on an amount between what was accepted and what was called."""
    if not dispute.undisputed_cents <= amount_cents <= dispute.called_cents:
        raise InputError(
            f"call {dispute.call_id}: agreed {amount_cents} cents is outside "
            f"{dispute.undisputed_cents} to {dispute.called_cents}; resolve it instead"
        )
    return _close(dispute, "agreed", amount_cents, on)


def resolve(dispute: Dispute, amount_cents: int, on: date) -> Movement:
    """Close by recalculation or a third party, whose amount may be any, also above the call.

    Below the undisputed amount the difference is given back.
    """
    if amount_cents < 0:
        raise InputError(f"call {dispute.call_id}: resolved {amount_cents} cents is negative")
    return _close(dispute, "resolved", amount_cents, on)


def expire(dispute: Dispute, on: date) -> Movement:
    """Close without an outcome after the last day; nothing more moves, the rest stays disputed."""
    _check_open(dispute, on)
    if on <= dispute.last_day:
        raise InputError(
            f"call {dispute.call_id}: {on} is not after the last day {dispute.last_day}; wait"
        )
    return Movement(replace(dispute, state="expired", closed_on=on), 0)


def _close(dispute: Dispute, state: str, amount_cents: int, on: date) -> Movement:
    _check_open(dispute, on)
    if on > dispute.last_day:
        raise InputError(
            f"call {dispute.call_id}: {on} is after the last day {dispute.last_day}; expire it and "
            "call anew"
        )
    closed = replace(dispute, state=state, final_cents=amount_cents, closed_on=on)
    return Movement(closed, amount_cents - dispute.final_cents)


def _check_open(dispute: Dispute, on: date) -> None:
    if dispute.state != "open":
        raise InputError(
            f"call {dispute.call_id}: the dispute is {dispute.state} since {dispute.closed_on}; "
            "only an open one can be closed"
        )
    if on < dispute.opened_on:
        raise InputError(f"call {dispute.call_id}: {on} is before it opened, {dispute.opened_on}")
