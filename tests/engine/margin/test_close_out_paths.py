from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from engine.margin.close_out.paths import (
    days_to_close,
    open_fraction,
    path_moves,
    worst_cash_flow,
)


def _one(quantity: list[float], days: list[int], pnl: list[list[list[float]]]):
    """One account; `pnl[d][i][s]`."""
    return worst_cash_flow(
        [np.array(day, dtype=np.float64) for day in pnl],
        csr_array(np.array([quantity])),
        np.array(days, dtype=np.int64),
    )


def _loops(quantity: np.ndarray, days: np.ndarray, pnl: np.ndarray, path: int) -> tuple[float, int]:
    """Cash by the definition: realised by what closes each day, and settled on what is open.

    `pnl[d, i, s]` is the P&L of a unit to the end of day d + 1.
    """
    worst, worst_day, total = 0.0, 0, 0.0
    for d in range(pnl.shape[0]):
        for i in range(len(quantity)):
            since_yesterday = pnl[d, i, path] - (pnl[d - 1, i, path] if d else 0.0)
            open_before = quantity[i] * (days[i] - d) / days[i] if d < days[i] else 0.0
            closed_today = quantity[i] / days[i] if d < days[i] else 0.0
            open_after = open_before - closed_today
            total += closed_today * since_yesterday + open_after * since_yesterday
        if total < worst:
            worst, worst_day = total, d + 1
    return -worst, worst_day


def test_worked_example_of_two_units_over_two_days():
    got = _one([2.0], [2], [[[-3.0]], [[1.0]]])
    assert got.loss[0, 0] == 6.0
    assert got.day[0, 0] == 1


def test_worked_example_of_three_instruments_over_three_days():
    # Instrument 1: 6 units over 3 days, P -1, -3, -2: cash -6, 4 * -2, 2 * +1.
    # Instrument 2: 4 short over 2 days, P -1, 0: cash +4, then -2 * 1.
    # Instrument 3: 10 units on day 1, P -0.5: cash -5.
    # Total -7, then -17, then -15.
    pnl = [
        [[-1.0], [-1.0], [-0.5]],
        [[-3.0], [0.0], [9.0]],
        [[-2.0], [5.0], [9.0]],
    ]
    got = _one([6.0, -4.0, 10.0], [3, 2, 1], pnl)
    assert got.loss[0, 0] == pytest.approx(17.0, rel=1e-12)
    assert got.day[0, 0] == 2


def test_equals_enumeration_of_three_instruments_over_three_days():
    rng = np.random.Generator(np.random.Philox(key=5))
    for days in itertools.product((1, 2, 3), repeat=3):
        quantity = rng.normal(size=3) * 100.0
        pnl = np.cumsum(rng.standard_t(4, size=(3, 3, 20)), axis=0)
        got = _one(quantity.tolist(), list(days), pnl.tolist())
        for path in range(20):
            loss, day = _loops(quantity, np.array(days), pnl, path)
            assert got.loss[0, path] == pytest.approx(loss, rel=1e-9, abs=1e-9)
            assert got.day[0, path] == day


def test_enumeration_finds_a_wrong_schedule():
    quantity, pnl = np.array([1.0, 1.0, 1.0]), -np.ones((3, 3, 1)).cumsum(axis=0)
    right = _one(quantity.tolist(), [1, 2, 3], pnl.tolist()).loss[0, 0]
    assert right != pytest.approx(_loops(quantity, np.array([1, 2, 2]), pnl, 0)[0], rel=1e-3)


def test_accounts_do_not_see_each_other():
    rng = np.random.Generator(np.random.Philox(key=6))
    pnl = [rng.normal(size=(3, 7)) for _ in range(3)]
    quantity = csr_array(np.array([[1.0, 0.0, 2.0], [0.0, -3.0, 0.0]]))
    both = worst_cash_flow(pnl, quantity, np.array([2, 3, 1]))
    second = worst_cash_flow(pnl, csr_array(np.array([[0.0, -3.0, 0.0]])), np.array([1]))
    assert np.array_equal(both.loss[1], second.loss[0])


def test_a_level_that_cannot_be_revalued_stays_with_its_holder():
    pnl = [np.array([[1.0], [np.nan]]), np.array([[-2.0], [np.nan]])]
    quantity = csr_array(np.array([[1.0, 0.0], [1.0, 1.0]]))
    got = worst_cash_flow(pnl, quantity, np.array([2, 2, 2]))
    assert got.loss[0, 0] == 0.5  # +1, then half of -3
    assert np.isnan(got.loss[1, 0])


def test_a_closed_instrument_is_not_needed_any_more():
    pnl = [np.array([[-4.0]]), np.array([[np.nan]])]
    assert worst_cash_flow(pnl, csr_array(np.array([[1.0]])), np.array([1])).loss[0, 0] == 4.0


def test_cash_that_never_falls_below_zero_has_no_loss_and_no_day():
    got = _one([1.0], [3], [[[0.0]], [[2.0]], [[1.0]]])
    assert got.loss[0, 0] == 0.0 and not np.signbit(got.loss[0, 0])
    assert got.day[0, 0] == 0


def test_the_first_of_equal_days_is_the_worst():
    assert _one([1.0], [3], [[[-1.0]], [[-1.0]], [[-1.0]]]).day[0, 0] == 1


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.lists(st.floats(-5, 5), min_size=10, max_size=10),
    st.sampled_from([1.0, -2.0]),
)
def test_a_slower_schedule_never_lowers_the_loss_of_one_position(fast, extra, moves, quantity):
    pnl = np.cumsum(moves)[:, None, None]
    slow = min(10, fast + extra)
    quick = _one([quantity], [fast], pnl.tolist()).loss[0, 0]
    assert _one([quantity], [slow], pnl.tolist()).loss[0, 0] >= quick - 1e-12


def test_days_to_close_at_the_boundaries():
    assert days_to_close(50e6, 100e6, 0.2, 10) == 3
    assert days_to_close([0.0, 20e6, 20e6 + 1.0, 40e6, -40e6], 100e6, 0.2, 10).tolist() == [
        1, 1, 2, 2, 2,
    ]  # fmt: skip
    assert days_to_close([200e6, 200e6 + 1.0, 1e12], 100e6, 0.2, 10).tolist() == [10, 10, 10]
    # 0.3 / (0.1 * 1) is 2.9999999999999996 or 3.0000000000000004 in floats, never 4 days.
    assert days_to_close([0.3, 0.7], 1.0, 0.1, 10).tolist() == [3, 7]


def test_a_factor_without_volume_takes_every_day():
    assert days_to_close([1.0, 1.0], [0.0, np.nan], 0.2, 7).tolist() == [7, 7]


def test_open_fraction():
    assert open_fraction(np.array([1, 4]), 3).tolist() == [[1.0, 1.0], [0.0, 0.75], [0.0, 0.5]]


def test_path_moves_add_consecutive_days_and_stop_at_the_end():
    returns = np.array([[1.0], [2.0], [4.0]])
    got = [moves[:, 0].tolist() for moves in path_moves(returns, 0, 3, 2)]
    assert got == [[1.0, 2.0, 4.0], [3.0, 6.0, 4.0]]
    later = [moves[:, 0].tolist() for moves in path_moves(returns, 1, 3, 3)]
    assert later == [[2.0, 4.0], [6.0, 4.0], [6.0, 4.0]]
