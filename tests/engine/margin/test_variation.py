from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.variation import csa_call, csa_requirement

# exposure, threshold, mta, rounding, independent amount, held -> call
TABLE = [
    (1_234_567, 1_000_000, 100_000, 10_000, 0, 0, 240_000),  # delivery, rounded up
    (1_099_999, 1_000_000, 100_000, 10_000, 0, 0, 0),  # below the MTA
    (1_100_000, 1_000_000, 100_000, 10_000, 0, 0, 100_000),  # exactly the MTA
    (900_000, 1_000_000, 100_000, 10_000, 0, 0, 0),  # below the threshold
    (900_000, 1_000_000, 100_000, 10_000, 250_000, 0, 150_000),  # with the independent amount
    (500_000, 1_000_000, 100_000, 10_000, 250_000, 0, 0),  # the threshold covers both
    (500_000, 0, 0, 0, 0, 0, 500_000),
    (500_000.01, 0, 0, 1_000, 0, 0, 501_000),
    (500_000, 0, 0, 1_000, 0, 0, 500_000),  # an exact multiple is not rounded up
    (100_000, 0, 50_000, 10_000, 0, 264_999, -160_000),  # return, rounded down
    (100_000, 0, 170_000, 10_000, 0, 264_999, 0),  # return below the MTA
    (-400_000, 100_000, 50_000, 10_000, 0, 0, -300_000),  # the counterparty delivers
    (-405_000, 100_000, 50_000, 10_000, 0, 0, -310_000),  # it rounds up too
    (-400_000, 0, 50_000, 10_000, 0, 200_000, -600_000),  # both: return and delivery
    (-30_000, 0, 50_000, 10_000, 0, 200_000, -200_000),  # return; its delivery is below the MTA
    (0, 0, 50_000, 10_000, 0, -205_000, 200_000),  # the fund returns what it holds, rounded down
    (-5_000, 0, 4_000, 10_000, 0, 205_500, -215_500),  # sides change: returned in full
    (0, 0, 0, 0, 0, 0, 0),
]


@pytest.mark.parametrize("row", TABLE)
def test_table(row):
    assert csa_call(*row[:6]) == pytest.approx(row[6], abs=1e-6)


def test_vectorised():
    columns = np.array(TABLE, dtype=np.float64).T
    assert csa_call(*columns[:6]) == pytest.approx(columns[6], abs=1e-6)


def test_threshold_is_two_way():
    assert csa_requirement([-150.0, -50.0, 50.0, 150.0], 100.0, 10.0) == pytest.approx(
        [-40.0, 0.0, 0.0, 60.0]
    )


money = st.floats(-1e10, 1e10).map(lambda x: round(x, 2))
term = st.floats(0.0, 1e8).map(lambda x: round(x, 2))
steps = st.sampled_from([0.0, 0.01, 1.0, 1_000.0, 10_000.0, 250_000.0])


@given(money, term, term, steps, term, money)
def test_nothing_is_called_after_paying(exposure, threshold, mta, rounding, ia, held):
    call = csa_call(exposure, threshold, mta, rounding, ia, held)
    assert csa_call(exposure, threshold, mta, rounding, ia, held + call) == 0.0


@given(money, term, term, steps, money)
def test_the_counterparty_sees_the_opposite_call(exposure, threshold, mta, rounding, held):
    ours = csa_call(exposure, threshold, mta, rounding, 0.0, held)
    theirs = csa_call(-exposure, threshold, mta, rounding, 0.0, -held)
    assert ours == -theirs


@given(money, term, term, money)
def test_without_rounding_the_gap_left_is_below_the_mta(exposure, threshold, mta, held):
    call = csa_call(exposure, threshold, mta, 0.0, 0.0, held)
    gap = csa_requirement(exposure, threshold, 0.0) - (held + call)
    # Delivery and return legs are tested against the MTA one by one.
    assert abs(gap) < 2 * mta + 0.01


def test_bad_terms_are_refused():
    with pytest.raises(InputError, match="mta is -1"):
        csa_call(1.0, 0.0, -1.0, 0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="exposure is nan at position 1"):
        csa_call([1.0, np.nan], 0.0, 0.0, 0.0, 0.0, 0.0)
