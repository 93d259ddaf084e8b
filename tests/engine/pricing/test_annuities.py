"""Closed forms of swaps, credit default swaps and bonds against QuantLib and integration."""

from __future__ import annotations

import numpy as np
import pytest
import QuantLib as ql
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from engine.pricing.annuities import (
    CDS_RECOVERY,
    annuity,
    annuity_curve,
    bond_curve,
    bond_price,
    cds_curve,
    cds_value,
    risky_annuity,
    risky_annuity_curve,
    swap_curve,
    swap_value,
)

TODAY = ql.Date(15, 6, 2020)
THIRTY = ql.Thirty360(ql.Thirty360.BondBasis)


@pytest.fixture
def quantlib_today():
    before = ql.Settings.instance().evaluationDate
    ql.Settings.instance().evaluationDate = TODAY
    yield TODAY
    ql.Settings.instance().evaluationDate = before


def schedule(years: int) -> ql.Schedule:
    return ql.Schedule(
        TODAY,
        TODAY + ql.Period(years, ql.Years),
        ql.Period(ql.Annual),
        ql.NullCalendar(),
        ql.Unadjusted,
        ql.Unadjusted,
        ql.DateGeneration.Forward,
        False,
    )


def test_worked_numbers() -> None:
    assert annuity(0.04, 10) == pytest.approx(8.110895779355, rel=1e-12)
    assert annuity(0.0, 10) == 10.0
    assert risky_annuity(0.01, 5) == pytest.approx(4.797335122241, rel=1e-12)
    assert swap_value(4, 3, 10) == pytest.approx(0.08110895779355, rel=1e-12)
    assert cds_value(1.5, 1, 5) == pytest.approx(0.02350061948308, rel=1e-12)
    assert bond_price(4, 5, 10) == pytest.approx(108.110895779355, rel=1e-12)
    assert np.allclose(annuity_curve(0, 10), (10, -55, 440), rtol=1e-14)
    assert np.allclose(risky_annuity_curve(0, 6), (6, -30, 200), rtol=1e-14)
    assert swap_curve(4, 4, 10).first == pytest.approx(0.08110895779355, rel=1e-12)
    assert cds_curve(1, 1, 5).first == pytest.approx(0.04797335122241, rel=1e-12)
    assert np.allclose(bond_curve(0, 0, 10), (100, -10, 1.1), rtol=1e-14)


@pytest.mark.parametrize("rate", [0.04, 0.0025, -0.005])
@pytest.mark.parametrize("fixed", [0.01, 0.05])
@pytest.mark.parametrize("years", [1, 5, 30])
def test_swap_equals_quantlib(quantlib_today, rate: float, fixed: float, years: int) -> None:
    flat = ql.FlatForward(TODAY, rate, THIRTY, ql.Compounded, ql.Annual)
    curve = ql.YieldTermStructureHandle(flat)
    index = ql.IborIndex(
        "annual", ql.Period(1, ql.Years), 0, ql.USDCurrency(), ql.NullCalendar(), ql.Unadjusted,
        False, THIRTY, curve,
    )  # fmt: skip
    dates = schedule(years)
    swap = ql.VanillaSwap(
        ql.VanillaSwap.Payer, 1.0, dates, fixed, THIRTY, dates, index, 0.0, THIRTY
    )
    swap.setPricingEngine(ql.DiscountingSwapEngine(curve))
    value = swap_value(100 * rate, 100 * fixed, years)
    assert value == pytest.approx(swap.NPV(), rel=1e-12, abs=1e-13)
    assert annuity(rate, years) == pytest.approx(1e4 * abs(swap.fixedLegBPS()), rel=1e-12)


@pytest.mark.parametrize("bond_yield", [0.07, 0.0, -0.01])
@pytest.mark.parametrize("coupon", [0.0, 0.05])
@pytest.mark.parametrize("years", [1, 10, 30])
def test_bond_equals_quantlib(quantlib_today, bond_yield: float, coupon: float, years: int) -> None:
    bond = ql.FixedRateBond(0, 100.0, schedule(years), [coupon], THIRTY)
    expected = ql.BondFunctions.cleanPrice(
        bond, bond_yield, THIRTY, ql.Compounded, ql.Annual, TODAY
    )
    assert bond_price(100 * bond_yield, 100 * coupon, years) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spread", [0.0001, 0.01, 0.25])
@pytest.mark.parametrize("years", [0.5, 5.0, 10.0])
def test_cds_equals_integrated_legs(spread: float, years: float) -> None:
    hazard = spread / (1 - CDS_RECOVERY)
    survival, _ = quad(lambda t: np.exp(-hazard * t), 0, years, epsabs=1e-14)
    default, _ = quad(lambda t: hazard * np.exp(-hazard * t), 0, years, epsabs=1e-14)
    assert risky_annuity(spread, years) == pytest.approx(survival, rel=1e-12)
    value = (1 - CDS_RECOVERY) * default - 0.01 * survival
    assert cds_value(100 * spread, 1.0, years) == pytest.approx(value, rel=1e-11, abs=1e-15)


@pytest.mark.parametrize(
    ("value", "curve"), [(swap_value, swap_curve), (cds_value, cds_curve), (bond_price, bond_curve)]
)
@pytest.mark.parametrize("level", [-0.6, 0.0, 1e-7, 0.33, 4.0, 25.0])
@pytest.mark.parametrize("tenor", [0.25, 5.0, 30.0])
def test_derivatives_equal_central_differences(value, curve, level: float, tenor: float) -> None:
    h = 0.02
    up, mid, down, up2, down2 = (value(level + s * h, 3.0, tenor) for s in (1, 0, -1, 2, -2))
    parts = curve(level, 3.0, tenor)
    assert parts.value == pytest.approx(mid, rel=1e-14)
    first = (8 * (up - down) - (up2 - down2)) / (12 * h)
    second = (-up2 + 16 * up - 30 * mid + 16 * down - down2) / (12 * h * h)
    assert parts.first == pytest.approx(first, rel=1e-6)
    rounding = 40 * np.finfo(float).eps * abs(float(mid)) / (h * h)
    assert parts.second == pytest.approx(second, rel=1e-6, abs=rounding)


@pytest.mark.parametrize("tenor", [0.5, 10.0, 50.0])
def test_series_meets_closed_form(tenor: float) -> None:
    edge = 0.1 / (tenor + 1)
    below, above = annuity_curve([edge * (1 - 1e-9), edge * (1 + 1e-9)], tenor)[1:]
    assert below[0] == pytest.approx(below[1], rel=1e-7)
    assert above[0] == pytest.approx(above[1], rel=1e-7)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(y=st.floats(-0.5, 2.0), tenor=st.floats(0.01, 60.0))
def test_annuity_falls_with_yield(y: float, tenor: float) -> None:
    parts = annuity_curve(y, tenor)
    assert parts.value > 0.0
    assert parts.first < 0.0
    assert parts.second > 0.0
    assert (parts.value <= tenor) == (y >= 0.0) or parts.value == pytest.approx(tenor, rel=1e-12)


def test_yield_of_minus_hundred_per_cent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"yield of -100 %"):
        swap_value([4.0, -100.0], 3.0, 5.0)
