"""Volatility: recursion, floor, no look-ahead, factors that begin later."""

from __future__ import annotations

import numpy as np
import pytest
from arch.univariate import EWMAVariance, ZeroMean

from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.market.volatility import (
    daily_volatility,
    ewma_paths,
    long_run_volatility,
    standardised_returns,
)

NO_FLOOR = np.array([1e-12])


def test_worked_number() -> None:
    paths = ewma_paths(np.array([[0.02], [0.01]]), 0.5, NO_FLOOR, seed_days=1)
    assert paths[-1, 0] == pytest.approx(0.0158114, abs=5e-8)


def test_equals_the_arch_package() -> None:
    levels = packaged_levels()
    returns = 100.0 * np.diff(np.log(levels.column("SPX")[-1500:]))
    model = ZeroMean(returns, volatility=EWMAVariance(0.94))
    expected = model.fit(disp="off").conditional_volatility
    mine = ewma_paths(returns[:, None], 0.94, NO_FLOOR)[:-1, 0]
    # The seeds differ; 0.94^1000 of that is left.
    np.testing.assert_allclose(mine[1000:], expected[1000:], rtol=1e-12)


def test_row_uses_the_past_alone() -> None:
    rng = np.random.default_rng(7)
    returns = rng.standard_normal((300, 3)) * 0.01
    changed = returns.copy()
    changed[200:] *= 50.0
    floor = np.full(3, 1e-6)
    np.testing.assert_array_equal(
        ewma_paths(returns, 0.97, floor)[:201], ewma_paths(changed, 0.97, floor)[:201]
    )


def test_floor_holds_a_pegged_factor_and_late_factors_wait() -> None:
    returns = np.zeros((100, 2))
    returns[:90, 1] = np.nan
    returns[90:, 1] = 0.02
    paths = ewma_paths(returns, 0.97, np.array([0.002, 0.001]))
    assert (paths[:, 0] == 0.002).all()
    np.testing.assert_allclose(paths[:, 1], 0.02)


def test_factor_without_returns_has_its_floor() -> None:
    assert ewma_paths(np.full((5, 1), np.nan), 0.97, np.array([0.3]))[-1, 0] == 0.3


@pytest.mark.parametrize("decay", [0.0, 1.01, float("nan")])
def test_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        ewma_paths(np.zeros((3, 1)), decay, NO_FLOOR)


def test_market_volatilities() -> None:
    levels = packaged_levels()
    market = build_market(packaged_factors(), levels, levels.dates[-1].item()).value
    today = daily_volatility(market)
    long_run = long_run_volatility(market)
    assert today.shape == long_run.shape == (len(market.factors),)
    assert (today >= market.factors.daily_vol_floor).all()
    spx = market.index()["SPX"]
    assert long_run[spx] == pytest.approx(np.sqrt(np.mean(market.returns[:, spx] ** 2)))
    z = standardised_returns(market)
    assert 0.9 < np.nanstd(z[:, spx]) < 1.2
    np.testing.assert_array_equal(np.isnan(z), np.isnan(market.returns))


def test_swiss_franc_under_its_floor_of_2012_keeps_a_volatility() -> None:
    levels = packaged_levels()
    as_of = np.datetime64("2012-08-31").item()
    market = build_market(packaged_factors(), levels, as_of).value
    column = market.index()["EURCHF"]
    assert ewma_paths(market.returns, 0.94, np.zeros(len(market.factors)))[-1, column] < 1e-3
    assert daily_volatility(market, 0.94)[column] == market.factors.daily_vol_floor[column]
