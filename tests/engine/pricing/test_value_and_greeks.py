"""Values of every kind against the contract's formulas, and greeks against revaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.pricing.black import bachelier_price, black_price
from engine.pricing.greeks import factor_greeks
from engine.pricing.scenarios import scenario_pnl
from engine.pricing.value import value_per_unit


def test_value_of_every_kind(every_kind, market) -> None:
    value = value_per_unit(every_kind, market)
    expected = [
        3800.0,
        50 * 3800.0,
        2500 * (100 - 4.5),
        100 * black_price(3800, 3900, 0.22, 1, 1),
        100 * black_price(3800, 3500, 0.22, 1, -1),
        bachelier_price(79, 85, 0.22 * 79, 1, 1),
        1e6 * bachelier_price(4, 3.5, 0.22 * 4, 1, -1),
        1e6 * black_price(1.06, 1.1, 0.22, 1, 1),
        81_108.95779355,
        1e6 * (0.8 - 1) / 100 * (1 - np.exp(-0.008 / 0.6 * 5)) / (0.008 / 0.6),
        1e6 * (134 - 130),
        10 * (3800 - 3700),
        1e6 / 100 * 108.110895779355,
    ]
    assert value == pytest.approx(expected, rel=1e-11)


def test_worked_greeks(make_instruments, make_market) -> None:
    call = make_instruments(
        {"kind": "option", "strike": 100.0, "right": "C", "expiry": "2023-12-28", "vol": 0.2}
    )
    greeks = factor_greeks(call, make_market(SPX=100.0))
    assert greeks.delta[0] == pytest.approx(53.9827837277029, rel=1e-14)
    assert greeks.vega[0] == pytest.approx(39.69525474770118, rel=1e-14)


def test_greeks_equal_central_differences_of_value(every_kind, market) -> None:
    greeks = factor_greeks(every_kind, market)
    # The volatility must stand still while the factor moves.
    held = replace(every_kind, vol_factor=np.full(len(every_kind), -1))
    log = market.factors.return_type == "log"
    h = np.where(log, 2e-3, 2e-3 * np.maximum(np.abs(market.level), 1.0))
    moves = np.array([2.0, 1.0, -1.0, -2.0])[:, np.newaxis] * h
    up2, up, down, down2 = scenario_pnl(held, market, moves).T
    step = h[every_kind.factor]
    delta = (8 * (up - down) - (up2 - down2)) / (12 * step)
    gamma = (16 * (up + down) - (up2 + down2)) / (12 * step**2)
    assert greeks.delta == pytest.approx(delta, rel=1e-6)
    size = np.abs(value_per_unit(every_kind, market)) + np.abs(delta) + 1.0
    assert np.all(np.abs(greeks.gamma - gamma) <= 1e-6 * np.abs(gamma) + 1e-15 * size / step**2)


def test_vega_equals_central_difference_of_quoted_vol(every_kind, market) -> None:
    h = 1e-5
    up = value_per_unit(replace(every_kind, vol=every_kind.vol + h), market)
    down = value_per_unit(replace(every_kind, vol=every_kind.vol - h), market)
    vega = factor_greeks(every_kind, market).vega
    assert vega == pytest.approx((up - down) / (2 * h), rel=1e-6)
    assert np.array_equal(vega > 0, every_kind.kind == "option")


def test_expired_option_is_intrinsic_without_gamma_and_vega(make_instruments, market) -> None:
    option = {"kind": "option", "expiry": "2022-12-28", "vol": 0.2, "strike": 3700.0}
    instruments = make_instruments(
        {**option, "right": "C"},
        {**option, "right": "P"},
        {**option, "right": "P", "factor_id": "CPW", "strike": 10.0, "expiry": "2020-04-20"},
    )
    assert value_per_unit(instruments, market) == pytest.approx([100.0, 0.0, 47.63])
    greeks = factor_greeks(instruments, market)
    assert greeks.delta.tolist() == [3800.0, 0.0, -1.0]
    # For a log factor the second derivative in the log move keeps the curvature of exp itself.
    assert greeks.gamma.tolist() == [3800.0, 0.0, 0.0]
    assert not np.any(greeks.vega)


def test_option_on_negative_price_uses_bachelier(make_instruments, market) -> None:
    put = make_instruments(
        {"kind": "option", "factor_id": "CPW", "strike": -10.0, "right": "P", "vol": 0.5,
         "expiry": "2023-12-28"},
    )  # fmt: skip
    expected = bachelier_price(-37.63, -10.0, 0.5 * 37.63, 1.0, -1)
    assert value_per_unit(put, market)[0] == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"kind": "equity", "factor_id": "NOPE"}, "the market has no factor for: bad"),
        ({"kind": "swaption"}, "kind is not one of"),
        ({"kind": "trs"}, "strike is missing: bad"),
        ({"kind": "swap", "tenor_years": 5.0}, "fixed_rate is missing: bad"),
        ({"kind": "bond", "fixed_rate": 5.0, "tenor_years": 0.0}, "tenor_years is not above 0"),
        ({"kind": "option", "strike": 1.0, "right": "C", "expiry": "2023-01-01"}, "vol is missing"),
        ({"kind": "option", "strike": 1.0, "right": "C", "vol": 0.2}, "expiry is missing: bad"),
        ({"kind": "option", "strike": 1.0, "right": "X", "vol": 0.2, "expiry": "2023-01-01"},
         "right is not C or P: bad"),
        ({"kind": "option", "strike": 0.0, "right": "C", "vol": 0.2, "expiry": "2023-01-01"},
         "strike must be above 0 for an option on a log factor: bad"),
        ({"kind": "option", "strike": 1.0, "right": "C", "vol": 0.2, "expiry": "2023-01-01",
          "vol_factor_id": "CPW"}, "level of vol_factor is not above 0 for: bad"),
    ],
)  # fmt: skip
def test_unpriceable_instruments_are_named(make_instruments, market, row, why) -> None:
    instruments = make_instruments({"kind": "equity"}, {"instrument_id": "bad", **row})
    moves = np.zeros((1, len(market.factors)))
    for function in (
        value_per_unit,
        factor_greeks,
        lambda i, m: scenario_pnl(i, m, moves),
    ):
        with pytest.raises(ValueError, match=why):
            function(instruments, market)


def test_yield_without_discount_factor_is_refused(every_kind, make_market) -> None:
    with pytest.raises(ValueError, match="no discount factor, for: swap-8, bond-12"):
        value_per_unit(every_kind, make_market(UST10=-100.0))


def test_long_lists_of_ids_are_cut(make_instruments, market) -> None:
    rows = [{"kind": "equity", "factor_id": "NOPE"}] * 13
    with pytest.raises(ValueError, match="equity-9 and 3 more"):
        value_per_unit(make_instruments(*rows), market)


def test_no_instruments_give_empty_results(make_instruments, market) -> None:
    none = make_instruments()
    assert value_per_unit(none, market).shape == (0,)
    assert factor_greeks(none, market).delta.shape == (0,)
    assert scenario_pnl(none, market, np.zeros((4, len(market.factors)))).shape == (0, 4)
