"""Full revaluation: equal to revaluing a moved market, robust to extreme moves, kernel = twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfcx

from engine.domain.market import MarketState
from engine.kernels.black import (
    bachelier_revalue,
    bachelier_revalue_numpy,
    black_revalue,
    black_revalue_numpy,
    mills_ratio,
)
from engine.pricing.black import bachelier_price
from engine.pricing.scenarios import scenario_pnl
from engine.pricing.value import value_per_unit

SEED = 20200316


def moved(market: MarketState, move: np.ndarray) -> MarketState:
    log = market.factors.return_type == "log"
    level = np.where(log, market.level * np.exp(np.where(log, move, 0)), market.level + move)
    return replace(market, level=level)


def random_moves(market: MarketState, count: int) -> np.ndarray:
    rng = np.random.default_rng(SEED)
    log = market.factors.return_type == "log"
    size = np.where(log, 0.15, 0.2 * np.maximum(np.abs(market.level), 1.0))
    return rng.normal(size=(count, len(log))) * size


def test_worked_number(make_instruments, make_market) -> None:
    market = make_market(SPX=100.0)
    moves = np.zeros((1, len(market.factors)))
    moves[0, 0] = 0.1
    pnl = scenario_pnl(make_instruments({"kind": "equity"}), market, moves)
    assert pnl[0, 0] == pytest.approx(10.517091807564762, rel=1e-14)


def test_equals_revaluing_the_moved_market(every_kind, market) -> None:
    moves = random_moves(market, 40)
    pnl = scenario_pnl(every_kind, market, moves)
    assert pnl.shape == (len(every_kind), 40)
    now = value_per_unit(every_kind, market)
    index = market.index()
    for s, move in enumerate(moves):
        then = moved(market, move)
        vol = every_kind.vol.copy()
        ratio = then.level / market.level
        has = every_kind.vol_factor >= 0
        vol[has] *= np.maximum(ratio[every_kind.vol_factor[has]], 0.0)
        # Bachelier volatility belongs to today's level: undo the level of the moved market.
        for name in ("WTI", "UST10"):
            same = (every_kind.factor == index[name]) & (every_kind.kind == "option")
            vol[same] /= np.abs(ratio[index[name]])
        value = value_per_unit(replace(every_kind, vol=vol), then)
        scale = np.abs(now) + np.abs(value)
        assert np.all(np.abs(pnl[:, s] - (value - now)) <= 1e-12 * scale + 1e-12 * 3800 * 100)


def test_no_move_is_no_pnl(every_kind, market) -> None:
    pnl = scenario_pnl(every_kind, market, np.zeros((3, len(market.factors))))
    assert np.max(np.abs(pnl)) <= 1e-12 * np.max(np.abs(value_per_unit(every_kind, market)))


def test_horizon_ages_options_only(every_kind, market) -> None:
    moves = np.zeros((1, len(market.factors)))
    pnl = scenario_pnl(every_kind, market, moves, horizon_days=10)[:, 0]
    option = every_kind.kind == "option"
    aged = replace(every_kind, expiry=every_kind.expiry - np.timedelta64(10, "D"))
    expected = value_per_unit(aged, market) - value_per_unit(every_kind, market)
    assert pnl[option] == pytest.approx(expected[option], rel=1e-9)
    assert np.all(pnl[option] < 0.0)
    assert not np.any(pnl[~option])


def test_horizon_past_expiry_is_intrinsic(make_instruments, make_market) -> None:
    option = {"kind": "option", "expiry": "2023-01-02", "vol": 0.2, "right": "C"}
    market = make_market(SPX=100.0)
    instruments = make_instruments({**option, "strike": 90.0}, {**option, "strike": 110.0})
    moves = np.zeros((3, len(market.factors)))
    moves[:, 0] = np.log([1.0, 0.85, 1.2])
    pnl = scenario_pnl(instruments, market, moves, horizon_days=5)
    value = pnl + value_per_unit(instruments, market)[:, np.newaxis]
    assert value == pytest.approx(np.array([[10, 0, 30], [0, 0, 10]]), abs=1e-12)


def test_huge_moves_keep_limits(make_instruments, make_market) -> None:
    option = {"kind": "option", "expiry": "2023-12-28", "vol": 0.2, "strike": 100.0}
    instruments = make_instruments(
        {**option, "right": "C", "vol_factor_id": "VIX"}, {**option, "right": "P"}
    )
    market = make_market(SPX=100.0)
    moves = np.zeros((4, len(market.factors)))
    moves[:, 0] = [-60.0, -3.0, 3.0, 60.0]
    moves[:, 8] = [0.0, 40.0, -40.0, 0.0]
    value = scenario_pnl(instruments, market, moves) + 7.965567455405804
    forward = 100 * np.exp(moves[:, 0])
    # At a volatility of 5e16 a call is worth its forward; at 1e-18 its intrinsic value.
    assert value[0] == pytest.approx(
        [0.0, forward[1], forward[2] - 100, forward[3] - 100], abs=1e-9
    )
    assert value[1] == pytest.approx([100.0, 100 - forward[1], 0.0, 0.0], abs=1e-9)


def test_wti_below_zero(make_instruments, make_market) -> None:
    market = make_market(WTI=18.27)
    put = make_instruments(
        {"kind": "option", "factor_id": "WTI", "strike": 10.0, "right": "P", "vol": 0.9,
         "expiry": "2023-01-28", "multiplier": 1000.0},
        {"kind": "future", "factor_id": "WTI", "multiplier": 1000.0},
    )  # fmt: skip
    moves = np.zeros((1, len(market.factors)))
    moves[0, 7] = -55.90
    years, normal_vol = 31 / 365, 0.9 * 18.27
    then = bachelier_price(-37.63, 10, normal_vol, years, -1)
    now = bachelier_price(18.27, 10, normal_vol, years, -1)
    pnl = scenario_pnl(put, market, moves)[:, 0]
    assert pnl == pytest.approx([1000 * float(then - now), -55_900.0], rel=1e-12)


def test_bad_moves_are_refused(every_kind, market) -> None:
    n = len(market.factors)
    with pytest.raises(ValueError, match="not \\(n_scenarios, 11 factors\\)"):
        scenario_pnl(every_kind, market, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="horizon_days is -1"):
        scenario_pnl(every_kind, market, np.zeros((2, n)), horizon_days=-1)
    for value in (np.nan, np.inf, 800.0):
        moves = np.zeros((2, n))
        moves[1, 0] = value
        with pytest.raises(ValueError, match="too large for: SPX"):
            scenario_pnl(every_kind, market, moves)
    moves = np.zeros((2, n))
    moves[1, 2] = -104.0
    with pytest.raises(ValueError, match="instrument swap-8 in a scenario: a yield of -100 %"):
        scenario_pnl(every_kind, market, moves)


def test_unused_factors_may_lack_moves(make_instruments, market) -> None:
    moves = np.full((2, len(market.factors)), np.nan)
    moves[:, 0] = 0.01
    assert np.all(np.isfinite(scenario_pnl(make_instruments({"kind": "equity"}), market, moves)))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    level=st.floats(0.01, 1e5),
    moneyness=st.floats(-8.0, 8.0),
    deviation=st.floats(0.0, 6.0),
    move=st.floats(-20.0, 20.0),
    vol_ratio=st.floats(0.0, 50.0),
    sign=st.sampled_from([1.0, -1.0]),
)
def test_black_kernel_equals_twin(
    level: float, moneyness: float, deviation: float, move: float, vol_ratio: float, sign: float
) -> None:
    strike = level * np.exp(-moneyness)
    row = np.zeros(1, dtype=np.int64)
    arguments = (
        np.array([[level * np.exp(move)]]),
        np.array([[move]]),
        np.array([[vol_ratio]]),
        row,
        row,
        np.array([moneyness]),
        np.array([strike]),
        np.array([deviation]),
        np.array([sign]),
        np.ones(1),
        np.zeros(1),
        row,
    )
    ours, twin = np.empty((1, 1)), np.empty((1, 1))
    black_revalue(*arguments, ours)
    black_revalue_numpy(*arguments, twin)
    forward = level * np.exp(move)
    # Both subtract terms as large as forward and strike: their rounding is the limit.
    rounding = 1e-14 * (forward + strike)
    assert abs(ours[0, 0] - twin[0, 0]) <= 1e-12 * abs(twin[0, 0]) + rounding
    bound = forward if sign > 0 else strike
    assert 0.0 <= ours[0, 0] <= bound * (1 + 1e-12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    level=st.floats(-1e3, 1e3),
    strike=st.floats(-1e3, 1e3),
    deviation=st.floats(0.0, 1e3),
    vol_ratio=st.floats(0.0, 50.0),
    sign=st.sampled_from([1.0, -1.0]),
)
def test_bachelier_kernel_equals_twin(
    level: float, strike: float, deviation: float, vol_ratio: float, sign: float
) -> None:
    row = np.zeros(1, dtype=np.int64)
    arguments = (
        np.array([[level]]),
        np.array([[vol_ratio]]),
        row,
        row,
        np.array([strike]),
        np.array([deviation]),
        np.array([sign]),
        np.ones(1),
        np.zeros(1),
        row,
    )
    ours, twin = np.empty((1, 1)), np.empty((1, 1))
    bachelier_revalue(*arguments, ours)
    bachelier_revalue_numpy(*arguments, twin)
    scale = abs(level - strike) + deviation * vol_ratio
    assert abs(ours[0, 0] - twin[0, 0]) <= 1e-13 * scale


def test_kernels_equal_twins_on_a_grid(market) -> None:
    rng = np.random.default_rng(SEED)
    n, scenarios, factors = 300, 257, 7
    moves = rng.normal(0, 0.1, (factors, scenarios))
    now = rng.uniform(10, 200, factors)
    levels = now[:, np.newaxis] * np.exp(moves)
    ratios = np.exp(rng.normal(0, 0.3, (4, scenarios)))
    level_row, vol_row = rng.integers(0, factors, n), rng.integers(0, 4, n)
    strike = now[level_row] * np.exp(rng.normal(0, 0.3, n))
    deviation = rng.uniform(0.0, 0.8, n)
    tail = (rng.choice([-1.0, 1.0], n), rng.uniform(1, 100, n), rng.uniform(0, 5, n))
    out_row = rng.permutation(n)
    black = (levels, moves, ratios, level_row, vol_row, np.log(now[level_row] / strike), strike,
             deviation, *tail, out_row)  # fmt: skip
    bachelier = (levels, ratios, level_row, vol_row, strike, deviation * strike, *tail, out_row)
    for compiled, twin, arguments in (
        (black_revalue, black_revalue_numpy, black),
        (bachelier_revalue, bachelier_revalue_numpy, bachelier),
    ):
        ours, theirs = np.full((n, scenarios), np.nan), np.full((n, scenarios), np.nan)
        compiled(*arguments, ours)
        twin(*arguments, theirs)
        assert np.max(np.abs(ours - theirs) / (np.abs(theirs) + 100.0)) <= 1e-12


def test_mills_ratio_is_accurate_to_its_claim() -> None:
    z = np.concatenate([[0.0], np.geomspace(1e-9, 40.0, 200_001)])
    out = np.empty_like(z)
    mills_ratio(z, out)
    exact = np.sqrt(np.pi / 2) * erfcx(z / np.sqrt(2))
    assert np.max(np.abs(out / exact - 1)) < 5e-15
