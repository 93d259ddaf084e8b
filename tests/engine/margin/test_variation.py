from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.variation import SAME_MONEY, csa_call, csa_requirement

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


# Exposure crosses the threshold of 1,000,000 day by day: MTA 100,000, rounding 10,000.
CROSSING = [(990_000, 0), (1_099_999, 0), (1_100_000, 100_000), (1_250_000, 150_000),
            (1_200_000, 0), (1_000_000, -250_000), (900_000, 0)]  # fmt: skip


def test_calls_while_exposure_crosses_the_threshold():
    held = 0.0
    for exposure, expected in CROSSING:
        call = float(csa_call(exposure, 1_000_000, 100_000, 10_000, 0, held))
        assert call == expected, exposure
        held += call
    assert held == 0.0


@given(money, term, term, steps, term, money)
def test_a_delivery_never_leaves_less_than_is_required(
    exposure, threshold, mta, rounding, ia, held
):
    call = float(csa_call(exposure, threshold, mta, rounding, ia, held))
    required = float(csa_requirement(exposure, threshold, ia))
    if call > 0.0 and required > 0.0 and held >= 0.0:
        assert 0.0 <= held + call - required + 0.01 <= max(rounding, 0.01) + 0.02


ARGUMENTS = ("exposure", "threshold", "mta", "rounding", "independent_amount", "held")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_is_checked_by_name(name):
    good = dict.fromkeys(ARGUMENTS, 0.0)
    signed = name in ("exposure", "held")
    rule = "finite" if signed else "finite and not negative"
    for bad in (np.nan, -np.inf) if signed else (np.nan, -0.01):
        said = f"^{name} is {bad:g} at position 2; it must be {rule}$"
        with pytest.raises(InputError, match=said):
            csa_call(**{**good, name: [0.0, 0.0, bad, bad]})


def test_amounts_may_be_decimals_of_a_ledger():
    row = [Decimal(x) for x in TABLE[4][:6]]
    assert csa_call(*row) == 150_000.0
    assert csa_requirement(row[0], row[1], row[4]) == 150_000.0
    assert csa_requirement(*TABLE[4][:2], row[4]) == 150_000.0
    assert csa_requirement(TABLE[4][0], row[1], TABLE[4][4]) == 150_000.0
    assert csa_requirement([row[0]], *TABLE[4][1:5:3]).tolist() == [150_000.0]


def test_half_a_cent_is_the_same_money():
    # Half a cent below the MTA is at the MTA; a gap of half a cent is none.
    least = 100.0 - SAME_MONEY
    assert csa_call(least, 0, 100, 0, 0, 0) == least
    assert csa_call(np.nextafter(least, 0.0), 0, 100, 0, 0, 0) == 0.0
    assert csa_call(SAME_MONEY, 0, 0, 0, 0, 0) == 0.0
    assert csa_call(np.nextafter(SAME_MONEY, 1.0), 0, 0, 0, 0, 0) > 0.0
    # What the other party owes begins above half a cent: until then a return is rounded.
    assert csa_call(-SAME_MONEY, 0, 4_000, 10_000, 0, 205_500) == -200_000.0
    assert csa_call(-1.0, 0, 4_000, 10_000, 0, 205_500) == -205_500.0


def test_rounding_below_one_unit():
    assert csa_call(10.3, 0, 0, 0.5, 0, 0) == 10.5
    assert csa_call(10.3, 0, 0, 1.0, 0, 0) == 11.0
    assert csa_call(0.0, 0, 0, 0.5, 0, 10.3) == -10.0
    assert csa_call(0.3, 0, 0, 0.5, 0, 0) == 0.5
    assert csa_call(0.0, 0, 0, 0, 0, 0.25) == -0.25
