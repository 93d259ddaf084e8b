from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.margin.add_ons.costs import bid_ask_cost, square_root_impact, stressed_spread
from engine.margin.add_ons.default import (
    default_log_move,
    default_move,
    jump_to_default,
    wrong_way_risk,
)
from engine.margin.add_ons.delivery import delivery_charge
from engine.margin.add_ons.liquidity import (
    block_unwind,
    excess_over_depth,
    horizon_days,
    linear_unwind,
    liquidation_period,
    market_depth,
    period_factor,
)
from engine.margin.add_ons.tiers import tier_multiplier


def _close(value):
    return pytest.approx(value, rel=1e-12)


def test_market_depth_falls_to_its_floor():
    assert market_depth([1.0, 2.0, 20.0], 1.0, 0.1) == _close([1.0, 0.5, 0.1])
    assert market_depth([4.0, 0.25], 0.5, 0.1) == _close([0.5, 2.0])
    assert market_depth(10.0, 0.0, 0.1) == 1.0


def test_horizon_worked_number_and_edges():
    assert horizon_days(100e6, 80e6, 0.25, 2) == 5.0
    assert horizon_days(100e6 + 1.0, 80e6, 0.25, 2) == 6.0
    assert horizon_days([1e6, 40e6, 40e6 + 1.0], 80e6, 0.25, 2).tolist() == [2.0, 2.0, 3.0]
    assert horizon_days(0.0, 80e6, 0.25, 5) == 5.0
    # 0.3 / (0.1 * 1) is a little above 3 in binary.
    assert horizon_days(0.1 + 0.2, 1.0, 0.1, 1) == 3.0
    assert np.isnan(horizon_days(np.nan, 80e6, 0.25, 2))


def test_unwinds():
    assert block_unwind(8, 2) == 2.0
    assert linear_unwind([1, 10]) == _close([1.0, np.sqrt(3.85)])
    assert float(linear_unwind(10)) == pytest.approx(1.962142, abs=1e-6)


@given(st.integers(1, 400))
def test_linear_unwind_is_the_sum_it_stands_for(days):
    steps = np.arange(1, days + 1) / days
    assert linear_unwind(days) == _close(np.sqrt((steps**2).sum()))


def test_excess_over_depth():
    assert excess_over_depth(100e6, 0.01, 20e6) == _close(2e6)
    assert excess_over_depth([20e6, 40e6], 0.01, 20e6).tolist() == [0.0, 400_000.0]
    assert excess_over_depth(0.0, 0.01, 20e6) == 0.0


def test_liquidation_period_and_factor():
    assert liquidation_period([0.0, 1.5, 2.7, 4.0], 0.3, 3.0) == _close([0.3, 1.8, 3.0, 3.0])
    assert period_factor([1.8, 2.0, 3.0], 2.0) == _close([0.0, 0.0, np.sqrt(1.5) - 1.0])
    assert float(period_factor(3.0, 2.0)) == pytest.approx(0.2247449, abs=1e-7)


def test_costs():
    assert stressed_spread(0.0002, 4.0, 0.5) == _close(0.0004)
    assert bid_ask_cost(100e6, 0.0002, 400e6, 1.0, 0.5) == _close(30_000.0)
    assert bid_ask_cost(100e6, 0.0002, 400e6, 0.0, 0.5) == _close(20_000.0)
    assert bid_ask_cost(0.0, 0.0002, 400e6, 1.0, 0.5) == 0.0
    assert square_root_impact(100e6, 0.01, 400e6, 0.5) == _close(250_000.0)
    # Twice the size costs 2 ** 1.5 as much.
    twice = square_root_impact(200e6, 0.01, 400e6, 0.5)
    assert twice == _close(250_000.0 * 2**1.5)


def test_tiers_jump_at_their_thresholds():
    sizes = [0.0, 0.5, np.nextafter(1.0, 0.0), 1.0, 3.0, 4.0, 9.0]
    expected = [1.0, 1.0, 1.0, 1.1, 1.2, 1.4, 1.4]
    assert tier_multiplier(sizes, (1.0, 2.0, 4.0), (1.1, 1.2, 1.4)).tolist() == expected
    assert np.isnan(tier_multiplier(np.nan, (1.0,), (1.1,)))


def test_jump_to_default_worked_number():
    loss = np.array([[60.0, 30.0, -20.0]])
    margined = np.array([40.0])
    assert jump_to_default(loss, margined, 1).tolist() == [[20.0, 0.0, 0.0]]
    assert jump_to_default(loss, margined, 2) == _close(np.array([[100 / 3, 50 / 3, 0.0]]))
    assert jump_to_default(loss, margined, 3).sum() == _close(50.0)
    assert jump_to_default(loss, np.array([90.0]), 2).tolist() == [[0.0, 0.0, 0.0]]
    assert jump_to_default(loss, np.array([0.0]), 0).tolist() == [[0.0, 0.0, 0.0]]


def test_jump_to_default_counts_by_account_and_one_of_equal_names():
    loss = np.array([[10.0, 10.0], [-5.0, -1.0], [10.0, 20.0]])
    charge = jump_to_default(loss, np.array([4.0, 0.0, 0.0]), np.array([1, 1, 2]))
    assert charge.tolist() == [[6.0, 0.0], [0.0, 0.0], [10.0, 20.0]]


def test_the_first_of_many_equal_names_defaults():
    charge = jump_to_default(np.full((1, 200), 10.0), np.array([0.0]), 3)
    assert charge[0, :3].tolist() == [10.0, 10.0, 10.0]
    assert not charge[0, 3:].any()


def test_wrong_way_and_default_moves():
    loss = np.array([[60.0, -20.0]])
    assert wrong_way_risk(loss, np.array([[0.25, 1.0]])).tolist() == [[15.0, 0.0]]
    assert default_move(0.6, 50.0) == -30.0
    assert default_log_move(0.6) == _close(np.log(0.4))
    assert default_log_move(1.0) == _close(np.log(1e-6))


def test_delivery_ramp():
    charge = delivery_charge(10e6, [60, 7, 6, 5, 2, 1, 0, -3], 0.05, 5)
    assert charge == _close([0.0, 0.0, 0.0, 1e5, 4e5, 5e5, 5e5, 5e5])
    assert delivery_charge(-10e6, 2, 0.05, 5) == _close(400_000.0)
    assert delivery_charge(10e6, 2, 0.05, Decimal(5)) == _close(400_000.0)
    assert np.isnan(delivery_charge(10e6, np.nan, 0.05, 5))


def _decimal(*numbers):
    """The numbers as decimals, one row each: what a column of a ledger holds."""
    return [np.array([Decimal(str(x))], dtype=np.object_) for x in numbers]


@pytest.mark.parametrize(
    ("formula", "numbers", "plain"),
    [
        (market_depth, (20.0,), (1.0, 0.1)),
        (horizon_days, (100e6, 80e6), (0.25, 2)),
        (block_unwind, (8.0, 2.0), ()),
        (linear_unwind, (10.0,), ()),
        (excess_over_depth, (100e6, 0.01, 20e6), ()),
        (liquidation_period, (1.5,), (0.3, 3.0)),
        (period_factor, (3.0,), (2.0,)),
        (stressed_spread, (0.0002, 4.0), (0.5,)),
        (bid_ask_cost, (100e6, 0.0002, 400e6), (1.0, 0.5)),
        (square_root_impact, (100e6, 0.01, 400e6), (0.5,)),
        (default_move, (0.6, 50.0), ()),
        (default_log_move, (0.6,), ()),
        (tier_multiplier, (3.0,), ((1.0, 2.0), (Decimal("1.1"), Decimal("1.2")))),
        (tier_multiplier, (3.0,), ((Decimal("1"), Decimal("2")), (1.1, 1.2))),
    ],
)
def test_formulas_take_decimals(formula, numbers, plain):
    expected = formula(*numbers, *plain)
    for i in range(len(numbers)):
        mixed = [*numbers]
        mixed[i] = _decimal(numbers[i])[0]
        got = formula(*mixed, *plain)
        assert got.dtype == np.float64
        assert got == _close([float(expected)])


SCALES = st.floats(1.001, 10.0)


@given(st.floats(0.3, 50.0), SCALES)
def test_every_liquidity_cost_grows_faster_than_volatility(days, scale):
    """The size is `days` of volume: volatility times s must cost more than s times as much."""
    adv, sigma = 1e8, 0.01
    size = days * adv
    depth = float(market_depth(scale, 1.0, 0.05))
    # 30 days of volume, so that the horizon is longer than the period of risk at once.
    excess = [
        excess_over_depth(size, s * sigma, 0.25 * adv * d) for s, d in ((1, 1), (scale, depth))
    ]
    impact = [
        square_root_impact(size, s * sigma, adv * d, 0.5) for s, d in ((1, 1), (scale, depth))
    ]
    spread = [
        bid_ask_cost(size, stressed_spread(0.0002, s, 1.0), adv * d, 1.0, 0.5)
        for s, d in ((1, 1), (scale, depth))
    ]
    for today, stressed in (excess, impact, spread):
        assert stressed > scale * today > 0.0
