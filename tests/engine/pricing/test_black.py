"""Option formulas against QuantLib, limits, parity, and worked numbers."""

from __future__ import annotations

import numpy as np
import pytest
import QuantLib as ql
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.pricing.black import bachelier_greeks, bachelier_price, black_greeks, black_price

CASES = [
    (forward, strike, vol, years, sign)
    for forward in (100.0, 37.5)
    for strike in (60.0, 100.0, 140.0)
    for vol in (0.05, 0.2, 1.5)
    for years in (7 / 365, 1.0, 10.0)
    for sign in (1, -1)
]

positive = st.floats(0.01, 1e6)
vols = st.floats(0.0, 5.0)
expiries = st.floats(-1.0, 30.0)


def kind(sign: int) -> int:
    return ql.Option.Call if sign > 0 else ql.Option.Put


def test_worked_numbers() -> None:
    assert black_price(100, 100, 0.2, 1, 1) == 7.965567455405804
    greeks = black_greeks(100, 100, 0.2, 1, 1)
    assert greeks.delta == pytest.approx(0.539827837277029, rel=1e-15)
    assert greeks.vega == pytest.approx(39.69525474770118, rel=1e-15)
    assert bachelier_price(0, 0, 1, 1, 1) == pytest.approx(0.3989422804014327, rel=1e-15)
    normal = bachelier_greeks(0, 0, 1, 1, 1)
    assert normal.delta == 0.5
    assert normal.gamma == pytest.approx(0.3989422804014327, rel=1e-15)
    assert normal.vega == pytest.approx(0.3989422804014327, rel=1e-15)
    assert normal.theta == pytest.approx(-0.3989422804014327 / 2, rel=1e-15)


@pytest.mark.parametrize(("forward", "strike", "vol", "years", "sign"), CASES)
def test_black_equals_quantlib(
    forward: float, strike: float, vol: float, years: float, sign: int
) -> None:
    deviation = vol * np.sqrt(years)
    expected = ql.blackFormula(kind(sign), strike, forward, deviation)
    scale = forward + strike
    assert black_price(forward, strike, vol, years, sign) == pytest.approx(
        expected, rel=1e-12, abs=1e-14 * scale
    )
    oracle = ql.BlackCalculator(ql.PlainVanillaPayoff(kind(sign), strike), forward, deviation)
    greeks = black_greeks(forward, strike, vol, years, sign)
    assert greeks.delta == pytest.approx(oracle.deltaForward(), rel=1e-11, abs=1e-14)
    assert greeks.gamma == pytest.approx(oracle.gammaForward(), rel=1e-11, abs=1e-14)
    assert greeks.vega == pytest.approx(oracle.vega(years), rel=1e-11, abs=1e-12)
    # Without rates the forward is the spot, and theta is the decay of the premium alone.
    assert greeks.theta == pytest.approx(oracle.theta(forward, years), rel=1e-10, abs=1e-11)


@pytest.mark.parametrize(("forward", "strike"), [(-37.63, -20.0), (5.0, -5.0), (0.0, 0.5), (4, 4)])
@pytest.mark.parametrize("deviation", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_bachelier_equals_quantlib(
    forward: float, strike: float, deviation: float, sign: int
) -> None:
    expected = ql.bachelierBlackFormula(kind(sign), strike, forward, deviation)
    scale = deviation + abs(forward - strike)
    assert bachelier_price(forward, strike, deviation, 1.0, sign) == pytest.approx(
        expected, rel=1e-12, abs=1e-14 * scale
    )
    # The probability of exercise, not deltaForward: QuantLib's put delta is 1 at F = 5, K = -5.
    exercised = ql.bachelierBlackFormulaAssetItmProbability(kind(sign), strike, forward, deviation)
    oracle = ql.BachelierCalculator(ql.PlainVanillaPayoff(kind(sign), strike), forward, deviation)
    greeks = bachelier_greeks(forward, strike, deviation, 1.0, sign)
    assert greeks.delta == pytest.approx(sign * exercised, rel=1e-11, abs=1e-14)
    assert greeks.gamma == pytest.approx(oracle.gammaForward(), rel=1e-11, abs=1e-14)
    assert greeks.vega == pytest.approx(oracle.vega(1.0), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize(
    "price", [(black_price, black_greeks), (bachelier_price, bachelier_greeks)]
)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("strike", [80.0, 100.0, 125.0])
def test_greeks_equal_central_differences(price, sign: int, strike: float) -> None:
    value, greeks = price
    f, years = 100.0, 0.75
    vol = 0.3 if value is black_price else 30.0
    h = 1e-3 * f
    up, mid, down = (value(f + s * h, strike, vol, years, sign) for s in (1, 0, -1))
    wide_up, wide_down = (value(f + s * 2 * h, strike, vol, years, sign) for s in (1, -1))
    g = greeks(f, strike, vol, years, sign)
    # Fourth-order central differences: the error of the step is below the tolerance.
    delta = (8 * (up - down) - (wide_up - wide_down)) / (12 * h)
    gamma = (-wide_up + 16 * up - 30 * mid + 16 * down - wide_down) / (12 * h * h)
    assert g.delta == pytest.approx(delta, rel=1e-6)
    assert g.gamma == pytest.approx(gamma, rel=1e-6)
    dv = 1e-4 * vol
    vega = (value(f, strike, vol + dv, years, sign) - value(f, strike, vol - dv, years, sign)) / (
        2 * dv
    )
    assert g.vega == pytest.approx(vega, rel=1e-6)
    dt = 1e-5
    theta = (value(f, strike, vol, years - dt, sign) - value(f, strike, vol, years + dt, sign)) / (
        2 * dt
    )
    assert g.theta == pytest.approx(theta, rel=1e-6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(forward=positive, strike=positive, vol=vols, years=expiries)
def test_black_bounds_and_parity(forward: float, strike: float, vol: float, years: float) -> None:
    call = black_price(forward, strike, vol, years, 1)
    put = black_price(forward, strike, vol, years, -1)
    tolerance = 1e-13 * (forward + strike)
    assert max(forward - strike, 0.0) - tolerance <= call <= forward + tolerance
    assert max(strike - forward, 0.0) - tolerance <= put <= strike + tolerance
    assert call - put == pytest.approx(forward - strike, abs=tolerance)
    greeks = black_greeks(forward, strike, vol, years, 1)
    assert 0.0 <= greeks.delta <= 1.0
    assert greeks.gamma >= 0.0
    assert greeks.vega >= 0.0
    assert greeks.theta <= 0.0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    forward=st.floats(-1e4, 1e4), strike=st.floats(-1e4, 1e4), vol=st.floats(0, 1e4), years=expiries
)
def test_bachelier_bounds_and_parity(
    forward: float, strike: float, vol: float, years: float
) -> None:
    call = bachelier_price(forward, strike, vol, years, 1)
    put = bachelier_price(forward, strike, vol, years, -1)
    tolerance = 1e-12 * (abs(forward) + abs(strike) + vol * 6)
    assert call >= max(forward - strike, 0.0) - tolerance
    assert call - put == pytest.approx(forward - strike, abs=tolerance)


@pytest.mark.parametrize("price", [black_price, bachelier_price])
@pytest.mark.parametrize(("vol", "years"), [(0.2, 0.0), (0.2, -0.5), (0.0, 1.0)])
def test_no_deviation_left_is_intrinsic(price, vol: float, years: float) -> None:
    assert price([110.0, 100.0, 90.0], 100.0, vol, years, 1).tolist() == [10.0, 0.0, 0.0]
    assert price([110.0, 100.0, 90.0], 100.0, vol, years, -1).tolist() == [0.0, 0.0, 10.0]


@pytest.mark.parametrize("greeks", [black_greeks, bachelier_greeks])
@pytest.mark.parametrize(("vol", "years"), [(0.2, 0.0), (0.2, -0.5), (0.0, 1.0)])
def test_no_deviation_left_has_only_delta(greeks, vol: float, years: float) -> None:
    call = greeks([110.0, 100.0, 90.0], 100.0, vol, years, 1)
    assert call.delta.tolist() == [1.0, 0.5, 0.0]
    for part in (call.gamma, call.vega, call.theta):
        assert not np.any(part)


def test_refused_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"-37\.63.*Bachelier"):
        black_price(-37.63, 20, 0.2, 1, 1)
    with pytest.raises(ValueError, match="strikes, got 0"):
        black_price(100, 0, 0.2, 1, 1)
    with pytest.raises(ValueError, match=r"volatility -0\.2 is negative"):
        bachelier_price(100, 100, -0.2, 1, 1)


def test_nan_gives_nan() -> None:
    assert np.isnan(black_price(np.nan, 100, 0.2, 1, 1))
    assert np.isnan(bachelier_price(np.nan, 100, 0.0, 1, 1))
