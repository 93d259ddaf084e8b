"""Risk arrays: the grid, repricing against another library, composite deltas."""

from __future__ import annotations

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.span.arrays import (
    DeltaPoints,
    OptionUnits,
    linear_arrays,
    option_arrays,
    option_deltas,
    scanned_levels,
    standard_grid,
)
from engine.margin.span.commodity import scan_risk

ql = pytest.importorskip("QuantLib")

POINTS = DeltaPoints(
    np.array([-3, -2, -1, 0, 1, 2, 3]) / 3.0,
    np.array([0.037, 0.111, 0.217, 0.27, 0.217, 0.111, 0.037]),
)


def units(n: int = 1, **changes: object) -> OptionUnits:
    columns = {
        "black": True, "level": 100.0, "strike": 100.0, "vol": 0.2, "years": 1.0, "sign": 1.0,
        "multiplier": 1.0, "price_scan_range": 10.0, "volatility_scan_range": 0.05, **changes,
    }  # fmt: skip
    return OptionUnits(**{name: np.broadcast_to(np.asarray(value), (n,)).copy()
                          for name, value in columns.items()})  # fmt: skip


def test_grid_is_the_published_one():
    grid = standard_grid()
    thirds = [0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3]
    assert np.array_equal(grid.price[:14] * 3, thirds)
    assert list(grid.price[14:]) == [2.0, -2.0]
    assert list(grid.volatility) == [1.0, -1.0] * 7 + [0.0, 0.0]
    assert list(grid.covered) == [1.0] * 14 + [0.35, 0.35]
    assert list(grid.paired) == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 14, 15]
    assert list(grid.unchanged) == [0, 1]
    assert len(grid) == 16


def test_linear_array_is_the_published_future():
    published = [0, 0, -3330, -3330, 3330, 3330, -6670, -6670, 6670, 6670, -10000, -10000, 10000,
                 10000, -7000, 7000]  # fmt: skip
    own = linear_arrays(np.array([10_000.0]), standard_grid())[0]
    assert np.abs(own - published).max() < 3.34  # published to the nearest ten
    assert own[14] == -7000.0
    assert own[15] == 7000.0
    other = linear_arrays(np.array([10_000.0]), standard_grid(3.0, 0.33))[0]
    assert other[15] == pytest.approx(9900.0, rel=1e-12)


@pytest.mark.parametrize("multiple", [1.0, 0.0, float("nan"), float("inf")])
def test_bad_extreme_multiple(multiple):
    with pytest.raises(InputError, match="extreme_multiple"):
        standard_grid(multiple)


@pytest.mark.parametrize("covered", [0.0, -0.1, 1.01, float("nan")])
def test_bad_covered_fraction(covered):
    with pytest.raises(InputError, match="extreme_covered_fraction"):
        standard_grid(2.0, covered)


def test_whole_extreme_loss_may_count():
    assert standard_grid(2.0, 1.0).covered[15] == 1.0


def test_option_array_worked_number():
    row = option_arrays(units(), standard_grid(), 0.0)[0]
    assert row[10] == pytest.approx(-8.224859, abs=5e-7)
    assert row[10] == pytest.approx(7.965567455405804 - ql_black(110.0, 100.0, 0.25, 1.0, 1.0))


def ql_black(forward, strike, vol, years, sign):
    kind = ql.Option.Call if sign > 0 else ql.Option.Put
    return ql.blackFormula(kind, strike, forward, vol * np.sqrt(years))


def ql_bachelier(forward, strike, vol, years, sign):
    kind = ql.Option.Call if sign > 0 else ql.Option.Put
    return ql.bachelierBlackFormula(kind, strike, forward, vol * np.sqrt(years))


@pytest.mark.parametrize("black", [True, False])
def test_repricing_against_quantlib(black):
    rng = np.random.default_rng(7)
    n, look_ahead = 40, 1.0 / 365.0
    level = rng.uniform(50.0, 150.0, n)
    some = units(
        n, black=black, level=level, strike=level * rng.uniform(0.8, 1.2, n),
        vol=rng.uniform(0.1, 0.5, n), years=rng.uniform(0.05, 2.0, n),
        sign=np.where(rng.random(n) < 0.5, 1.0, -1.0), multiplier=rng.uniform(1.0, 50.0, n),
        price_scan_range=level * rng.uniform(0.02, 0.2, n),
        volatility_scan_range=rng.uniform(0.01, 0.09, n),
    )  # fmt: skip
    grid = standard_grid()
    own = option_arrays(some, grid, look_ahead)
    price = ql_black if black else ql_bachelier
    for i in range(n):
        unit = 1.0 if black else some.level[i]
        now = price(some.level[i], some.strike[i], some.vol[i] * unit, some.years[i], some.sign[i])
        for j in range(len(grid)):
            then = price(
                some.level[i] + grid.price[j] * some.price_scan_range[i], some.strike[i],
                (some.vol[i] + grid.volatility[j] * some.volatility_scan_range[i]) * unit,
                some.years[i] - look_ahead, some.sign[i],
            )  # fmt: skip
            expected = grid.covered[j] * some.multiplier[i] * (now - then)
            assert own[i, j] == pytest.approx(expected, rel=1e-9, abs=1e-9 * some.multiplier[i])


def test_volatility_and_time_stop_at_zero():
    row = option_arrays(units(vol=0.03, years=1.0 / 730.0), standard_grid(), 1.0 / 365.0)[0]
    now = ql_black(100.0, 100.0, 0.03, 1.0 / 730.0, 1.0)
    assert (
        row[0] == row[1] == pytest.approx(now)
    )  # nothing is left of an expired option at its strike
    assert row[12] == pytest.approx(now)
    assert row[10] == pytest.approx(now - 10.0)


def test_price_stops_at_zero_only_where_lognormal():
    level, span = np.array([100.0, 100.0]), np.array([60.0, 60.0])
    moves, positive = np.array([-2.0, 2.0]), np.array([True, False])
    out = scanned_levels(level, span, moves, positive)
    assert out[0, 0] == pytest.approx(1e-7, rel=1e-12)
    assert list(out[1]) == [-20.0, 220.0]
    assert np.isfinite(option_arrays(units(price_scan_range=60.0), standard_grid(), 0.0)).all()


def test_composite_delta():
    deep = option_deltas(units(strike=1e-3, multiplier=50.0), POINTS, 0.0)
    assert deep[0] == pytest.approx(50.0, rel=1e-12)
    call = option_deltas(units(), POINTS, 0.0)[0]
    put = option_deltas(units(sign=-1.0), POINTS, 0.0)[0]
    assert call - put == pytest.approx(1.0, rel=1e-12)
    by_hand = sum(
        w * ql.BlackCalculator(ql.PlainVanillaPayoff(ql.Option.Call, 100.0), 100.0 + 10.0 * p, 0.2)
        .deltaForward()
        for p, w in zip(POINTS.price, POINTS.weight, strict=True)
    )  # fmt: skip
    assert call == pytest.approx(by_hand, rel=1e-9)
    normal = option_deltas(units(black=False, strike=-1e6, multiplier=3.0), POINTS, 0.0)[0]
    assert normal == pytest.approx(3.0, rel=1e-12)


def test_short_straddle_without_delta_has_scan_risk():
    grid = standard_grid()
    both = option_arrays(units(2, sign=np.array([1.0, -1.0]), strike=98.0), grid, 0.0)
    delta = option_deltas(units(2, sign=np.array([1.0, -1.0]), strike=98.0), POINTS, 0.0)
    quantity = np.array([1.0, -delta[0] / delta[1]])  # delta of the pair is zero
    assert quantity @ delta == pytest.approx(0.0, abs=1e-12)
    for side in (1.0, -1.0):
        scan, _ = scan_risk((side * quantity @ both)[np.newaxis])
        assert scan[0] > 1.0


def test_unit_scaling():
    grid = standard_grid()
    base = option_arrays(units(), grid, 0.01)
    scaled = units(level=1e4, strike=1e4, price_scan_range=1e3)
    assert np.allclose(option_arrays(scaled, grid, 0.01), 100.0 * base, rtol=1e-9, atol=1e-9)
    assert np.allclose(option_arrays(units(multiplier=7.0), grid, 0.01), 7.0 * base, rtol=1e-12)
