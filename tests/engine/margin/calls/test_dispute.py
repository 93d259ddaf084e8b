from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.calls.dispute import agree, expire, open_dispute, resolve

DAY, LAST, LATE = date(2022, 12, 28), date(2023, 1, 2), date(2023, 1, 3)


def opened(called: int = 100_000_000, undisputed: int = 40_000_000):
    return open_dispute("C", called, undisputed, DAY, LAST)


def test_the_undisputed_amount_moves_at_once():
    step = opened()
    assert step.moves_cents == 40_000_000
    assert step.dispute.disputed_cents == 60_000_000
    assert step.dispute.state == "open"
    assert step.dispute.closed_on is None


def test_agreement_moves_the_rest_up_to_it():
    step = agree(opened().dispute, 70_000_000, LAST)
    assert (step.moves_cents, step.dispute.state) == (30_000_000, "agreed")
    assert step.dispute.disputed_cents == 0
    assert step.dispute.final_cents == 70_000_000
    assert step.dispute.closed_on == LAST


def test_resolution_may_give_back_or_exceed_the_call():
    assert resolve(opened().dispute, 25_000_000, DAY).moves_cents == -15_000_000
    assert resolve(opened().dispute, 120_000_000, DAY).moves_cents == 80_000_000
    assert resolve(opened().dispute, 0, DAY).dispute.state == "resolved"


def test_expiry_keeps_the_rest_disputed():
    step = expire(opened().dispute, LATE)
    assert (step.moves_cents, step.dispute.state) == (0, "expired")
    assert step.dispute.disputed_cents == 60_000_000
    assert step.dispute.final_cents == 40_000_000


def test_wrong_steps_are_refused():
    dispute = opened().dispute
    with pytest.raises(InputError, match="outside 40000000 to 100000000"):
        agree(dispute, 39_999_999, DAY)
    with pytest.raises(InputError, match="outside"):
        agree(dispute, 100_000_001, DAY)
    with pytest.raises(InputError, match="negative"):
        resolve(dispute, -1, DAY)
    with pytest.raises(InputError, match="not after the last day"):
        expire(dispute, LAST)
    with pytest.raises(InputError, match="after the last day 2023-01-02; expire"):
        resolve(dispute, 1, LATE)
    with pytest.raises(InputError, match="before it opened"):
        agree(dispute, 40_000_000, date(2022, 12, 27))


def test_openings_that_are_no_dispute():
    with pytest.raises(InputError, match="no dispute"):
        open_dispute("C", 5, 5, DAY, LAST)
    with pytest.raises(InputError, match="no dispute"):
        open_dispute("C", 5, -1, DAY, LAST)
    with pytest.raises(InputError, match="before"):
        open_dispute("C", 5, 1, LAST, DAY)
    assert open_dispute("C", 5, 0, DAY, DAY).moves_cents == 0


@pytest.mark.parametrize("close", [agree, resolve])
def test_a_closed_dispute_stays_closed(close):
    closed = close(opened().dispute, 50_000_000, DAY).dispute
    for again in (lambda: agree(closed, 50_000_000, DAY), lambda: resolve(closed, 1, DAY),
                  lambda: expire(closed, LATE)):  # fmt: skip
        with pytest.raises(InputError, match=f"is {closed.state} since 2022-12-28"):
            again()


@given(st.integers(1, 10**12), st.data())
def test_all_movements_sum_to_the_final_amount(called, data):
    undisputed = data.draw(st.integers(0, called - 1))
    first = open_dispute("C", called, undisputed, DAY, LAST)
    final = data.draw(st.integers(0, 2 * called))
    last = resolve(first.dispute, final, LAST)
    assert first.moves_cents + last.moves_cents == last.dispute.final_cents == final
