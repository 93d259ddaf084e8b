from __future__ import annotations

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
    with pytest.raises(InputError, match="row 150"):
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
