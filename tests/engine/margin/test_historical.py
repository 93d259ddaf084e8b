from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.historical import (
    ewma_variance,
    ewma_volatility,
    expected_shortfall,
    filtered_scenarios,
    overlapping_sums,
    tail_count,
    tail_scenarios,
    value_at_risk,
    worst_volatility_period,
)


@pytest.fixture(scope="module")
def spx_percent_to_march_2020(spx):
    level, dates = spx
    kept = level[dates <= np.datetime64("2020-03-16")]
    return 100.0 * np.diff(np.log(kept))


def test_worked_number_of_the_recursion():
    got = ewma_variance([0.01, 0.02], 0.97, backcast=0.0001)
    assert got == pytest.approx([0.0001, 0.0001, 0.000109], abs=1e-18)


def test_equals_arch_seeded_with_its_backcast(spx_percent_to_march_2020):
    from arch.univariate.volatility import EWMAVariance

    r = spx_percent_to_march_2020[-3000:]
    for decay in (0.94, 0.97, 0.99):
        model = EWMAVariance(decay)
        backcast = model.backcast(r)
        theirs = np.empty_like(r)
        model.compute_variance(np.empty(0), r, theirs, backcast, model.variance_bounds(r))
        ours = ewma_variance(r, decay, backcast=backcast)
        assert np.max(np.abs(ours[:-1] / theirs - 1.0)) < 1e-12


def test_seed_is_the_variance_of_the_first_returns():
    r = np.random.default_rng(11).normal(0.3, 1.0, 600)
    assert ewma_variance(r, 0.97, seed_days=250)[0] == np.var(r[:250])
    assert ewma_variance(r[:40], 0.97, seed_days=250)[0] == np.var(r[:40])


def test_volatility_has_no_look_ahead():
    r = np.random.default_rng(12).normal(size=400)
    changed = r.copy()
    changed[300] = 50.0
    before, after = ewma_volatility(r, 0.97), ewma_volatility(changed, 0.97)
    assert np.array_equal(before[:301], after[:301])
    assert after[301] > before[301]


def test_a_late_factor_is_seeded_at_its_own_start():
    rng = np.random.default_rng(13)
    early, late = rng.normal(size=900), rng.normal(size=600)
    table = np.column_stack([early, np.concatenate([np.full(300, np.nan), late])])
    both = ewma_variance(table, 0.97)
    assert np.array_equal(both[:, 0], ewma_variance(early, 0.97))
    assert np.isnan(both[:300, 1]).all()
    assert np.array_equal(both[300:, 1], ewma_variance(late, 0.97))


def test_a_hole_in_the_history_is_refused():
    r = np.random.default_rng(14).normal(size=300)
    r[150] = np.nan
    said = (
        "^return of column 0 on row 150 is nan; only days before a factor's first observation may"
    )
    with pytest.raises(InputError, match=f"{said} be missing: fill or drop the day$"):
        ewma_variance(r, 0.97)


def test_a_pegged_factor_keeps_its_floor():
    r = np.zeros(500)
    scenarios = filtered_scenarios(r[:, None], 0.97, 1, 250, volatility_floor=0.002)
    assert np.array_equal(scenarios, np.zeros((250, 1)))
    r[100] = 0.01  # 0.01 / floor 0.002 * floor 0.002
    scenarios = filtered_scenarios(r[:, None], 0.5, 1, 450, volatility_floor=0.002)
    assert scenarios.max() == pytest.approx(0.01, abs=1e-15)
    with pytest.raises(InputError, match="daily_vol_floor"):
        filtered_scenarios(np.zeros((500, 1)), 0.97, 1, 250)


def test_goldens_of_the_index_to_16_march_2020(spx_percent_to_march_2020):
    r = spx_percent_to_march_2020
    assert ewma_volatility(r, 0.97)[-1] == pytest.approx(3.9300752259, abs=1e-9)
    loss = -filtered_scenarios(r[:, None], 0.97, 1, 1250)[:, 0]
    assert len(loss) == 1250
    assert value_at_risk(loss, 0.99) == pytest.approx(16.569017, abs=1e-6)
    assert np.sort(loss)[-13] == pytest.approx(16.085262, abs=1e-6)
    assert np.quantile(loss, 0.99) == pytest.approx(15.819371, abs=1e-6)
    assert expected_shortfall(loss, 0.975) == pytest.approx(15.257444, abs=1e-6)
    assert expected_shortfall(loss, 0.99) == pytest.approx(19.429791, abs=1e-6)


def test_overlapping_sums_and_square_root_scaling():
    assert np.array_equal(overlapping_sums(np.array([1.0, 2.0, 4.0]), 2), [3.0, 6.0])
    r = np.random.default_rng(15).normal(size=(800, 2))
    summed = filtered_scenarios(r, 1.0, 5, 500)
    assert summed.shape == (500, 2)
    assert summed[-1] == pytest.approx(r[-5:].sum(axis=0), rel=1e-14)
    rooted = filtered_scenarios(r, 1.0, 5, 500, aggregation="sqrt")
    assert rooted == pytest.approx(r[-500:] * np.sqrt(5.0), rel=1e-14)
    with pytest.raises(InputError, match="5-day"):
        overlapping_sums(np.zeros(3), 5)


def test_last_scenario_is_rescaled_to_tomorrow():
    r = np.random.default_rng(16).normal(size=(700, 1))
    sigma = ewma_volatility(r, 0.97)[:, 0]
    plain = filtered_scenarios(r, 0.97, 1, 300)[-1, 0]
    middle = filtered_scenarios(r, 0.97, 1, 300, mid_volatility=True)[-1, 0]
    assert plain == pytest.approx(r[-1, 0] / sigma[-2] * sigma[-1], rel=1e-14)
    assert middle == pytest.approx(r[-1, 0] / sigma[-2] * (sigma[-1] + sigma[-2]) / 2, rel=1e-14)


@pytest.mark.parametrize(
    ("scenarios", "confidence", "k"),
    [(1250, 0.99, 12), (1250, 0.975, 31), (1000, 0.9, 100), (500, 0.99, 5), (250, 0.997, 1)],
)
def test_tail_count(scenarios, confidence, k):
    assert tail_count(scenarios, confidence) == k


def test_tail_measures_of_a_ramp():
    ramp = np.arange(1.0, 1251.0)
    assert value_at_risk(ramp, 0.99) == 1239.0
    assert expected_shortfall(ramp, 0.99) == 1244.5
    assert list(tail_scenarios(ramp, 0.99)) == list(range(1249, 1237, -1))
    with pytest.raises(InputError, match="NaN"):
        value_at_risk(np.array([1.0, np.nan]), 0.99)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.9, 0.975, 0.99]), st.floats(0.1, 50.0))
def test_tail_measures_scale_order_and_shift(seed, confidence, factor):
    losses = np.random.default_rng(seed).standard_t(4, size=(3, 260))
    var, es = value_at_risk(losses, confidence), expected_shortfall(losses, confidence)
    assert (es >= var - 1e-12).all()
    assert value_at_risk(factor * losses, confidence) == pytest.approx(factor * var, rel=1e-12)
    assert expected_shortfall(losses + factor, confidence) == pytest.approx(es + factor, rel=1e-12)
    both = expected_shortfall(losses[0] + losses[1], confidence)
    assert both <= es[0] + es[1] + 1e-9


def test_worst_volatility_period_is_found_and_waits_for_every_factor():
    rng = np.random.default_rng(17)
    r = rng.normal(0.0, [0.01, 5.0], size=(2000, 2))
    r[700:950] *= 4.0
    assert worst_volatility_period(r, 250) == pytest.approx((700, 949), abs=3)
    r[:1200, 1] = np.nan
    first, last = worst_volatility_period(r, 250)
    assert first >= 1200
    assert last - first == 249
    with pytest.raises(InputError, match="only 800 days"):
        worst_volatility_period(r, 900)


def test_volatility_starts_from_its_own_seed_and_floor():
    r = np.random.default_rng(18).normal(size=300)
    assert ewma_volatility(r, 0.97, 40)[0] == np.sqrt(np.var(r[:40]))
    # A floor from a column of mixed type gives numbers none the less.
    floored = ewma_volatility(np.zeros((3, 1)), 0.97, floor=np.array([0.002], dtype=np.object_))
    assert floored.dtype == np.float64
    assert floored.tolist() == [[0.002]] * 4


def test_two_days_are_summed_and_no_filter_is_none():
    r = np.array([[0.01], [0.02], [-0.05], [0.04]])
    assert filtered_scenarios(r, 1.0, 2, 2)[:, 0] == pytest.approx([-0.03, -0.01], rel=1e-14)
    assert filtered_scenarios(r, 1.0, 2, 2, aggregation="sqrt")[:, 0] == pytest.approx(
        [-0.05 * np.sqrt(2.0), 0.04 * np.sqrt(2.0)], rel=1e-14
    )
    assert filtered_scenarios(r, 1.0, 1, 4).tolist() == r.tolist()
    # Without the filter nothing is divided by a volatility, so a flat factor is no error.
    assert filtered_scenarios(np.zeros((4, 1)), 1.0, 1, 4).tolist() == [[0.0]] * 4
    with pytest.raises(InputError, match="^aggregation is 'mean'; use 'overlapping' or 'sqrt'$"):
        filtered_scenarios(r, 1.0, 2, 2, aggregation="mean")


def test_the_first_flat_factor_is_named():
    r = np.random.default_rng(19).normal(size=(40, 3))
    r[:, 1:] = 0.0
    said = "^column 1 has a volatility of 0 inside the lookback; give the factor a daily_vol_floor"
    with pytest.raises(InputError, match=said):
        filtered_scenarios(r, 0.97, 1, 20)


def test_one_sum_is_enough_and_sums_are_floats():
    assert overlapping_sums(np.array([1.0, 2.0]), 2).tolist() == [3.0]
    assert overlapping_sums(np.array([1, 2, 4]), 2).dtype == np.float64
    with pytest.raises(InputError, match="^1 daily moves cannot form one 2-day sum$"):
        overlapping_sums(np.array([1.0]), 2)


@pytest.mark.parametrize("confidence", [-0.01, 0.0, 1.0, 1.5, np.nan])
def test_a_confidence_at_or_beyond_the_ends_is_refused(confidence):
    said = f"^confidence is {confidence}; it must lie between 0 and 1$"
    with pytest.raises(InputError, match=said):
        tail_count(100, confidence)


def test_a_tail_of_one_scenario():
    assert tail_count(1, 0.99) == 1
    assert tail_count(1, 1e-12) == 1
    with pytest.raises(InputError, match="^a tail measure needs at least one scenario$"):
        tail_count(0, 0.99)


def test_tail_measures_row_by_row_of_any_number():
    losses = np.array([[4.0, 1.0, 3.0, 2.0], [10.0, 40.0, 20.0, 30.0]])
    assert value_at_risk(losses, 0.5).tolist() == [3.0, 30.0]
    assert expected_shortfall(losses, 0.5).tolist() == [3.5, 35.0]
    decimals = [Decimal("1.5"), Decimal("2.5")]
    assert value_at_risk(decimals, 0.5) == expected_shortfall(decimals, 0.5) == 2.5
    with pytest.raises(InputError, match="^a scenario loss is NaN or infinite; check the factor's"):
        expected_shortfall([1.0, np.inf], 0.5)


def test_equal_losses_are_taken_oldest_first():
    losses = np.tile([1.0, 3.0, 2.0], 200)
    expected = [*range(1, 600, 3), *range(2, 302, 3)]
    assert tail_scenarios(losses, 0.5).tolist() == expected


# Squares over their mean, averaged over the factors: the last rows lead in the first factor by
# more than the first rows in the second, whose unit is 500 times larger. The third never moves.
UNITS = np.column_stack([
    0.01 * np.array([1.0, 1.0, 1.0, 1.0, 3.0, 3.0]),
    5.0 * np.array([1.5, 1.5, 1.0, 1.0, 1.0, 1.0]),
    np.zeros(6),
])  # fmt: skip


def test_no_factor_rules_the_stress_period_by_its_unit():
    assert worst_volatility_period(UNITS, 2) == (4, 5)
    assert worst_volatility_period(UNITS[::-1], 2) == (0, 1)
    # The first window counts in full even where it leads by little.
    assert worst_volatility_period(UNITS[:4], 2) == (0, 1)
    assert worst_volatility_period(UNITS, 6) == (0, 5)
    with pytest.raises(InputError, match="only 6 days have all 3 factors; a stress period needs 7"):
        worst_volatility_period(UNITS, 7)


@pytest.mark.parametrize("decay", [-0.5, 0.0, np.nextafter(1.0, 2.0), 1.5, np.nan])
def test_a_decay_outside_its_range_is_refused(decay):
    said = f"^ewma_lambda is {decay}; it must be above 0 and at most 1$"
    with pytest.raises(InputError, match=said):
        ewma_variance([0.01, 0.02], decay)


def test_variance_of_decimals_and_of_a_seed_that_stays():
    returns = [Decimal("0.01"), Decimal("0.02")]
    got = ewma_variance(returns, 0.97, backcast=Decimal("0.0001"))
    assert got == pytest.approx([0.0001, 0.0001, 0.000109], abs=1e-18)
    # Lambda 1 holds the seed for ever: the variance of 1 and 3 about their mean.
    assert ewma_variance([1.0, 3.0], 1.0).tolist() == [1.0, 1.0, 1.0]


def test_factors_that_start_late_or_never():
    nan = np.nan
    table = np.array([[1.0, nan, nan], [3.0, 2.0, nan], [1.0, 4.0, nan]])
    got = ewma_variance(table, 0.5, seed_days=2)
    assert got[:, 0].tolist() == [1.0, 1.0, 5.0, 3.0]
    assert np.isnan(got[0, 1])
    assert got[1:, 1].tolist() == [1.0, 2.5, 9.25]
    assert np.isnan(got[:, 2]).all()
