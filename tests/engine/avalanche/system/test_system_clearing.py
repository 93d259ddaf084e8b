"""Clearing payments: the published chain, and the laws of Eisenberg and Noe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.avalanche.system.clearing import Clearing, clear_payments, payments_in_rounds
from engine.domain.failures import InputError

RING = np.array([[0.0, 100.0, 0.0], [0.0, 0.0, 80.0], [60.0, 0.0, 0.0]])
RING_CASH = np.array([10.0, 5.0, 0.0])


def clear(obligations: np.ndarray, cash: np.ndarray, transmission: float = 1.0) -> Clearing:
    names = np.array([f"I{i}" for i in range(len(cash))], dtype=object)
    return clear_payments(names, obligations, cash, transmission)


@st.composite
def networks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(2, 6))
    amounts = st.sampled_from([0.0, 0.0, 1.0, 7.5, 20.0, 100.0])
    owed = np.array(draw(st.lists(amounts, min_size=n * n, max_size=n * n))).reshape(n, n)
    np.fill_diagonal(owed, 0.0)
    cash = np.array(draw(st.lists(st.sampled_from([0.0, 0.0, 2.0, 15.0]), min_size=n, max_size=n)))
    return owed, cash


def from_above(owed: np.ndarray, cash: np.ndarray, tau: float) -> np.ndarray:
    """The greatest fixed point by iteration from full payment: slow and plain."""
    total = owed.sum(axis=1)
    share = owed / np.where(total > 0.0, total, 1.0)[:, None]
    paid = total.copy()
    for _ in range(3_000):
        paid = total - tau * np.maximum(total - share.T @ paid - cash, 0.0)
    return paid


def test_ring_of_three() -> None:
    found = clear(RING, RING_CASH)
    np.testing.assert_allclose(found.paid, [70.0, 75.0, 60.0], rtol=1e-12)
    np.testing.assert_allclose(found.shortfall, [30.0, 5.0, 0.0], rtol=1e-12, atol=1e-12)
    assert found.summary()["short"] == ["I0", "I1"]
    assert found.tables()["clearing"]["paid"].sum() == pytest.approx(205.0)
    assert found.to_dict()["failures"] == []


@settings(max_examples=150, deadline=None, derandomize=True)
@given(networks(), st.sampled_from([0.3, 0.9, 1.0]))
def test_greatest_fixed_point(network: tuple[np.ndarray, np.ndarray], tau: float) -> None:
    owed, cash = network
    found = clear(owed, cash, tau)
    np.testing.assert_allclose(found.paid, from_above(owed, cash, tau), rtol=1e-6, atol=1e-3)
    share = owed / np.where(found.owed > 0.0, found.owed, 1.0)[:, None]
    again = found.owed - tau * np.maximum(found.owed - share.T @ found.paid - cash, 0.0)
    np.testing.assert_allclose(found.paid, again, rtol=1e-9, atol=1e-9)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(networks(), st.integers(0, 5), st.sampled_from([0.5, 4.0, 50.0]))
def test_laws_of_clearing(network: tuple[np.ndarray, np.ndarray], who: int, extra: float) -> None:
    owed, cash = network
    found = clear(owed, cash)
    tolerance = 1e-9 * max(owed.sum(), 1.0)
    assert np.all(found.paid >= 0.0)
    assert np.all(found.paid <= found.owed + tolerance)
    # Limited liability: nobody pays more than it has; absolute priority: short ones pay it all.
    assert np.all(found.paid <= cash + found.received + tolerance)
    short = found.shortfall > tolerance
    assert np.all(np.abs(found.cash_left[short]) <= tolerance)
    assert found.received.sum() == pytest.approx(found.paid.sum(), abs=tolerance)
    more = cash.copy()
    more[who % len(cash)] += extra
    assert np.all(clear(owed, more).paid >= found.paid - tolerance)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(networks())
def test_soft_default_passes_on_less(network: tuple[np.ndarray, np.ndarray]) -> None:
    owed, cash = network
    hard, soft = clear(owed, cash), clear(owed, cash, 0.5)
    assert np.all(soft.paid >= hard.paid - 1e-9 * max(owed.sum(), 1.0))
    np.testing.assert_allclose(soft.shortfall, 0.5 * soft.stress, rtol=1e-9, atol=1e-9)


def test_soft_default_by_hand() -> None:
    # A owes B 10 and has 4: stress 6, of which half is passed on.
    found = clear(np.array([[0.0, 10.0], [0.0, 0.0]]), np.array([4.0, 0.0]), 0.5)
    assert found.paid[0] == pytest.approx(7.0, rel=1e-12)
    assert found.stress[0] == pytest.approx(6.0, rel=1e-12)
    assert found.cash_left[0] == pytest.approx(-3.0, rel=1e-12)


def test_waiting_for_receipts() -> None:
    path = payments_in_rounds(RING, RING_CASH, 14)
    np.testing.assert_allclose(path[0], [10.0, 5.0, 0.0])
    np.testing.assert_allclose(path[1], [10.0, 15.0, 5.0])
    np.testing.assert_allclose(path[13], clear(RING, RING_CASH).paid, rtol=1e-12)
    assert not np.allclose(path[12], path[13])
    assert np.all(np.diff(path, axis=0) >= 0.0)


def test_gridlock() -> None:
    both = np.array([[0.0, 10.0], [10.0, 0.0]])
    assert np.all(payments_in_rounds(both, np.zeros(2), 50) == 0.0)
    np.testing.assert_allclose(clear(both, np.zeros(2)).paid, [10.0, 10.0])


def test_closed_group_without_cash() -> None:
    # B owes 100 and only ever receives what A passes on of 50; C takes part of what A pays.
    owed = np.array([[0.0, 100.0, 50.0], [100.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert clear(owed, np.zeros(3)).paid == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("owed", "cash", "message"),
    [
        ([[0.0, -1.0], [0.0, 0.0]], [0.0, 0.0], "obligations of I0 to I1: -1"),
        ([[0.0, 1.0], [0.0, 0.0]], [0.0, np.nan], "cash of I1: nan"),
        ([[3.0, 1.0], [0.0, 0.0]], [0.0, 0.0], "I0 owes itself 3"),
        ([[0.0, 1.0]], [0.0, 0.0], "do not fit"),
    ],
)
def test_wrong_input(owed: list[list[float]], cash: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        clear(np.array(owed), np.array(cash))


def test_wrong_parameters() -> None:
    with pytest.raises(InputError, match="transmission is 0"):
        clear(RING, RING_CASH, 0.0)
    with pytest.raises(InputError, match="rounds is 0"):
        payments_in_rounds(RING, RING_CASH, 0)
