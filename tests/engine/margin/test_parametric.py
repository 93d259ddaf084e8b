from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from engine.domain.failures import FailureReason, InputError
from engine.margin.agreement_terms import by_equal_terms
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions, unit_pnl
from engine.margin.factor_volatility import FactorVolatility
from engine.margin.historical import ewma_volatility
from engine.margin.one_factor import joined_losses, one_factor_pnl, weighted_correlation
from engine.margin.parametric import ParametricConfig, prepare, tail_quantile
from tests.support.tiny_fund import FACTORS, FundBuilder, text, tiny_market

VOLATILITY = np.array([row[4] for row in FACTORS])
N99 = 2.3263478740408408


def quiet_market(**changes):
    """Tomorrow's volatility is exactly the volatility of `FACTORS`: the floors hold."""
    calm = tiny_market().returns * 1e-3
    return tiny_market(**{"returns": calm, "daily_vol_floor": VOLATILITY.copy(), **changes})


def linear_market(**changes):
    """All factors move in levels, so that futures are linear in the moves."""
    n = len(FACTORS)
    return tiny_market(return_type=text(["absolute"] * n), **changes)


def family(builder, market, own=None, **config):
    exposures = net_positions(builder.build(market), market)
    rows = np.arange(len(builder.agreements))
    return prepare(exposures, rows, MarginConfig(**config), own or ParametricConfig())


def margin_of(builder, market, own=None, scale=1.0, **config):
    return family(builder, market, own, **config).margin(np.full(len(builder.agreements), scale))


def oil(**terms) -> FundBuilder:
    builder = FundBuilder().instrument("CL", "future", "OIL", multiplier=1000.0)
    return builder.agreement("A", model="parametric", **terms).position("CL", "A", "M1", 1.0)


# --- quantile ------------------------------------------------------------------------------------


def test_quantiles_of_the_docstring():
    assert tail_quantile(0.99, ParametricConfig()) == pytest.approx(N99, abs=1e-13)
    student = ParametricConfig(distribution="student_t")
    assert tail_quantile(0.99, student) == pytest.approx(2.5659780063, abs=1e-9)
    four = ParametricConfig(distribution="student_t", degrees_of_freedom=4.0)
    assert tail_quantile(0.995, four) == pytest.approx(stats.t.ppf(0.995, 4) / math.sqrt(2.0))


@pytest.mark.parametrize("confidence", [0.5, 1.0, math.nan])
def test_a_quantile_needs_a_tail(confidence):
    with pytest.raises(InputError, match="between 0.5 and 1"):
        tail_quantile(confidence, ParametricConfig())


@pytest.mark.parametrize(
    "terms",
    [{"degrees_of_freedom": 2.0}, {"rate_floors": {"equity": -0.1}}, {"rate_floors": {"x": 0.1}},
     {"unknown": 1}],
)  # fmt: skip
def test_choices_are_checked(terms):
    with pytest.raises(ValidationError):
        ParametricConfig(**terms)


# --- closed forms --------------------------------------------------------------------------------


def test_one_future_is_quantile_times_volatility_times_root_of_days():
    got = margin_of(oil(), quiet_market())
    assert got.im == pytest.approx([N99 * 1.8 * math.sqrt(2.0) * 1000.0], rel=1e-13)
    assert round(got.im[0], 2) == 5921.91
    assert got.pair_im == pytest.approx(got.im, rel=1e-13)
    assert got.basis["A"] == {
        "quantile": pytest.approx(N99),
        "distribution": "normal",
        "degrees_of_freedom": None,
        "correlation": "equal",
        "rate_floors": {},
        "days": 1000,
    }


def linear_fund(market, **terms) -> tuple[FundBuilder, np.ndarray]:
    """Futures on every factor under two managers, and the USD delta of the account."""
    builder = FundBuilder().agreement("A", model="parametric", **terms)
    rng = np.random.default_rng(11)
    delta = np.zeros(len(FACTORS))
    for k, name in enumerate(market.factors.factor_id):
        builder.instrument(f"F{name}", "future", name, multiplier=10.0)
        for manager in ("M1", "M2"):
            quantity = float(rng.normal())
            builder.position(f"F{name}", "A", manager, quantity)
            delta[k] += 10.0 * quantity
    return builder, delta


@pytest.mark.parametrize("decay", [0.97, 1.0])
@pytest.mark.parametrize("weighting", ["equal", "ewma"])
def test_a_linear_book_is_delta_normal(decay, weighting):
    market = linear_market()
    builder, delta = linear_fund(market, ewma_lambda=decay, mpor_days=5, confidence=0.995)
    r = market.returns
    if decay < 1.0:
        paths = ewma_volatility(r, decay, 250, market.factors.daily_vol_floor)
        sigma, z = paths[-1], (r / paths[:-1])[-1000:]
    else:
        sigma, z = np.sqrt(np.mean(r[-1000:] ** 2, axis=0)), r[-1000:]
    if weighting == "ewma":
        age = np.arange(999, -1, -1)
        z = r[-1000:] * np.sqrt(decay**age)[:, None]
    second = z.T @ z
    rho = second / np.sqrt(np.outer(np.diag(second), np.diag(second)))
    covariance = np.outer(sigma, sigma) * rho
    expected = stats.norm.ppf(0.995) * math.sqrt(delta @ covariance @ delta) * math.sqrt(5.0)
    got = margin_of(builder, market, ParametricConfig(correlation=weighting))
    assert got.im[0] == pytest.approx(expected, rel=1e-12)
    assert got.pair_im.sum() == pytest.approx(expected, rel=1e-12)


def test_perfectly_correlated_factors_add_or_cancel():
    returns = tiny_market().returns.copy()
    returns[:, 1] = 3.0 * returns[:, 0]
    market = linear_market(returns=returns)
    long_long = FundBuilder().agreement("A", model="parametric")
    for name, factor in (("X", "IDX"), ("Y", "STK")):
        long_long.instrument(name, "future", factor)
    hedged = replace(long_long, positions=[("X", "A", "M1", 3.0), ("Y", "A", "M2", -1.0)])
    long_long.position("X", "A", "M1", 3.0).position("Y", "A", "M2", 1.0)
    sigma = ewma_volatility(returns, 0.97, 250)[-1, 0]
    whole = margin_of(long_long, market).im[0]
    assert whole == pytest.approx(6.0 * N99 * sigma * math.sqrt(2.0), rel=1e-12)
    assert margin_of(hedged, market).im[0] < 1e-6 * whole


def test_log_factors_are_revalued_in_full_on_the_worse_side():
    market = quiet_market()
    move = N99 * 0.020 * math.sqrt(2.0)
    builder = FundBuilder().instrument("EQ", "equity", "STK")
    builder.agreement("L", model="parametric").agreement("S", model="parametric")
    builder.position("EQ", "L", "M1", 7.0).position("EQ", "S", "M1", -7.0)
    got = margin_of(builder, market)
    assert got.im[0] == pytest.approx(700.0 * -math.expm1(-move), rel=1e-12)
    assert got.im[1] == pytest.approx(700.0 * math.expm1(move), rel=1e-12)


def straddle(quantity: float, vol_factor: str = "") -> FundBuilder:
    builder = FundBuilder().agreement("A", model="parametric")
    for right in "CP":
        builder.instrument(
            right, "option", "IDX", multiplier=50.0, strike=4000.0, right=right, vol=0.22,
            vol_factor_id=vol_factor, expiry="2023-03-17",
        )  # fmt: skip
        builder.position(right, "A", "M1", quantity)
    return builder


def test_a_long_straddle_has_no_loss_on_its_underlying():
    market = quiet_market()
    assert margin_of(straddle(1.0), market).im[0] == 0.0
    assert margin_of(straddle(1.0), market).pair_im.tolist() == [0.0]
    assert margin_of(straddle(-1.0), market).im[0] > 0.0


def test_a_long_straddle_pays_for_falling_volatility_alone():
    market = quiet_market()
    builder = straddle(1.0, "VIX")
    exposures = net_positions(builder.build(market), market)
    move = np.zeros((1, len(FACTORS)))
    move[0, 5] = -N99 * 0.06 * math.sqrt(2.0)
    loss = -unit_pnl(exposures, np.arange(2), move).sum()
    assert margin_of(builder, market).im[0] == pytest.approx(loss, rel=1e-12)


# --- shares and joins ----------------------------------------------------------------------------


def test_worked_number_of_joined_losses():
    up, down = np.array([[-3.0, 4.0], [0.0, -1.0]]), np.array([[3.0, -4.0], [0.0, 1.0]])
    margin, shares = joined_losses(up, down, np.array([0, 0]), 1, np.array([[1, 0.5], [0.5, 1]]))
    assert margin.tolist() == [3.0]
    assert shares.tolist() == [3.5, -0.5]


def test_of_two_equal_losses_the_rise_is_taken():
    up, down = np.array([[1.0, 1.0]]), np.array([[1.0, -1.0]])
    margin, _ = joined_losses(up, down, np.array([0]), 1, np.array([[1, 0.5], [0.5, 1]]))
    assert margin[0] == pytest.approx(math.sqrt(3.0), rel=1e-14)


def test_shares_are_the_gradient_of_the_margin():
    rng = np.random.default_rng(3)
    up, down = rng.normal(size=(2, 3, 4))
    rho = weighted_correlation(rng.normal(size=(50, 4)), np.ones(50))
    owner = np.zeros(3, dtype=np.int64)
    margin, shares = joined_losses(up, down, owner, 1, rho)
    assert shares.sum() == pytest.approx(margin[0], rel=1e-12)
    for part in range(3):
        size = np.ones((3, 1))
        size[part] = 1.0 + 1e-6
        more, _ = joined_losses(up * size, down * size, owner, 1, rho)
        assert (more[0] - margin[0]) / 1e-6 == pytest.approx(shares[part], abs=1e-4)


def test_a_loss_that_cannot_be_computed_spoils_its_own_account_only():
    up = np.array([[1.0, 0.0], [np.nan, 1.0]])
    for rho in (np.eye(2), np.array([[1.0, 1.5], [1.5, 1.0]])):
        margin, shares = joined_losses(up, -up, np.array([0, 1]), 2, rho)
        assert margin[0] == 1.0 and math.isnan(margin[1])
        assert shares[0] == 1.0 and math.isnan(shares[1])


def test_a_matrix_that_is_no_correlation_is_repaired_for_the_factors_of_the_account():
    rho = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    losses = np.array([[1.0, 0.0, 1.0], [1.0, -1.0, 1.0]])
    margin, _ = joined_losses(losses, -losses, np.array([0, 1]), 2, rho)
    assert margin[0] == pytest.approx(math.sqrt(2.0), rel=1e-12)  # its own two are uncorrelated
    assert margin[1] >= 0.0  # 1 - 1 + 1 - 1 + ... is -1 unrepaired
    alone = (math.sqrt(2.0) - 1.0) / (math.sqrt(2.0) + 3.0)
    from engine.market.covariance import nearest_correlation

    fixed = nearest_correlation(rho)
    assert fixed[0, 2] == pytest.approx(alone, rel=1e-9)
    signed = losses[1]
    assert margin[1] == pytest.approx(math.sqrt(signed @ fixed @ signed), rel=1e-12)


def test_worked_numbers_of_the_correlation():
    columns = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert weighted_correlation(columns, np.ones(2))[0, 1] == pytest.approx(0.8, rel=1e-14)
    got = weighted_correlation(columns, np.array([1.0, 0.5]))[0, 1]
    assert got == pytest.approx(0.8164965809, abs=1e-10)


def test_correlation_uses_common_days_and_leaves_still_factors_alone():
    values = np.array([[5.0, np.nan, 0.0], [1.0, 2.0, 0.0], [2.0, 1.0, 0.0]])
    got = weighted_correlation(values, np.ones(3))
    assert got[0, 1] == pytest.approx(0.8, rel=1e-14)
    assert got[0, 2] == 0.0 and np.diag(got).tolist() == [1.0, 1.0, 1.0]


# --- one factor at a time ------------------------------------------------------------------------


def test_every_instrument_is_revalued_on_each_factor_alone(builder):
    market = quiet_market()
    for name, factor, vol in (("ON_VOL", "VIX", "IDX"), ("SELF", "VIX", "VIX"), ("S", "IDX", "")):
        builder.instrument(
            name, "option", factor, multiplier=10.0, strike=21.0 if factor == "VIX" else 4000.0,
            right="C", vol=0.9, vol_factor_id=vol, expiry="2023-02-15",
        )  # fmt: skip
    builder.instrument("VF", "future", "VIX", multiplier=1000.0).agreement("A")
    for row in builder.instruments:
        builder.position(row["instrument_id"], "A", "M1", 1.0)
    exposures = net_positions(builder.build(market), market)
    rows = np.arange(len(exposures.instruments))
    move = 2.0 * VOLATILITY
    up, down = one_factor_pnl(exposures, rows, move)
    for k in range(len(FACTORS)):
        one = np.zeros((2, len(FACTORS)))
        one[:, k] = move[k], -move[k]
        want = unit_pnl(exposures, rows, one)
        np.testing.assert_allclose(up[:, k], want[:, 0], rtol=1e-13, atol=1e-9)
        np.testing.assert_allclose(down[:, k], want[:, 1], rtol=1e-13, atol=1e-9)
    assert np.count_nonzero(up, axis=1).max() == 2


# --- properties ----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(-5, 5)), min_size=1, max_size=8),
    st.floats(0.1, 10.0),
    st.randoms(use_true_random=False),
)
def test_homogeneous_and_the_same_for_any_order_and_split(positions, size, random):
    market = quiet_market()
    names = ("FUT", "EQ", "SWAP", "CL", "FWD", "PUT")

    def fund(rows):
        builder = _instruments().agreement("A", model="parametric")
        for name, manager, quantity in rows:
            builder.position(name, "A", manager, quantity)
        return margin_of(builder, market)

    rows = [(names[i], "M1" if i % 2 else "M2", q) for i, q in positions]
    base = fund(rows)
    scale = max(1.0, float(base.im[0]))
    shuffled = rows.copy()
    random.shuffle(shuffled)
    split = [(n, m, part) for n, m, q in shuffled for part in (0.25 * q, 0.75 * q)]
    assert fund(split).im[0] == pytest.approx(base.im[0], abs=1e-9 * scale)
    larger = fund([(n, m, size * q) for n, m, q in rows])
    assert larger.im[0] == pytest.approx(size * base.im[0], abs=1e-9 * size * scale)
    assert base.pair_im.sum() == pytest.approx(base.im[0], abs=1e-9 * scale)
    nothing = fund(rows + [(n, m, -q) for n, m, q in rows])
    assert nothing.im[0] == pytest.approx(0.0, abs=1e-6)


def _instruments() -> FundBuilder:
    return (
        FundBuilder()
        .instrument("FUT", "future", "IDX", multiplier=50.0)
        .instrument("EQ", "equity", "STK")
        .instrument("SWAP", "swap", "UST", fixed_rate=3.5, tenor_years=10.0)
        .instrument("CL", "future", "OIL", multiplier=1000.0)
        .instrument("FWD", "fx_forward", "EURUSD", strike=1.05, expiry="2023-03-15")
        .instrument(
            "PUT", "option", "IDX", multiplier=50.0, strike=3900.0, right="P", vol=0.22,
            vol_factor_id="VIX", expiry="2023-03-17",
        )
    )  # fmt: skip


def test_other_agreements_do_not_change_a_margin(market):
    alone = _instruments().agreement("A", model="parametric")
    both = _instruments().agreement("A", model="parametric")
    for fund in (alone, both):
        fund.position("FUT", "A", "M1", 2.0).position("CL", "A", "M2", -1.0)
    both.agreement("B", model="parametric").position("EQ", "B", "M1", 500.0)
    both.position("PUT", "B", "M2", -3.0)
    one, two = margin_of(alone, market), margin_of(both, market)
    assert two.im[0] == pytest.approx(one.im[0], rel=1e-13)
    assert two.pair_im[:2] == pytest.approx(one.pair_im, rel=1e-13)


def test_terms_of_each_agreement_are_its_own():
    builder = _instruments()
    terms = {"A": (0.99, 2), "B": (0.995, 2), "C": (0.99, 8)}
    for name, (confidence, days) in terms.items():
        builder.agreement(name, model="parametric", confidence=confidence, mpor_days=days)
        builder.position("CL", name, "M1", 1.0)
    im = margin_of(builder, quiet_market()).im
    expected = [stats.norm.ppf(c) * 1800.0 * math.sqrt(h) for c, h in terms.values()]
    assert im == pytest.approx(expected, rel=1e-12)


# --- volatility steps, floors --------------------------------------------------------------------


def test_margin_follows_the_scale_of_each_agreement():
    builder = oil().agreement("B", model="parametric").position("CL", "B", "M2", -2.0)
    got = family(builder, quiet_market()).margin(np.array([3.0, 0.5]))
    unit = N99 * 1800.0 * math.sqrt(2.0)
    assert got.im == pytest.approx([3.0 * unit, 2.0 * 0.5 * unit], rel=1e-12)
    assert got.pair_im == pytest.approx(got.im, rel=1e-12)


def test_volatility_factors_are_capped_at_their_own_highest(market):
    builder = FundBuilder().instrument("VF", "future", "VIX").agreement("A", model="parametric")
    builder.position("VF", "A", "M1", -1.0)
    paths = ewma_volatility(market.returns[:, 5], 0.97, 250, 1e-5)
    limit = paths.max() / paths[-1]
    assert limit < 50.0
    unit = N99 * paths[-1] * math.sqrt(2.0)
    capped = margin_of(builder, market, scale=50.0).im[0]
    assert capped == pytest.approx(22.0 * math.expm1(unit * limit), rel=1e-12)
    free = margin_of(builder, market, scale=4.0, cap_volatility_factors=False).im[0]
    assert free == pytest.approx(22.0 * math.expm1(unit * 4.0), rel=1e-12)


def test_an_unfiltered_volatility_factor_is_not_raised():
    volatility = FactorVolatility(tiny_market(), 250)
    assert volatility.scale(1.0, 3.0, True).tolist() == [3.0] * 5 + [1.0]
    assert volatility.scale(1.0, 3.0, False).tolist() == [3.0] * 6
    assert volatility.scale(0.97, 0.5, True).tolist() == [0.5] * 6


def test_rate_floors_by_asset_class_hold_whatever_the_scale():
    own = ParametricConfig(rate_floors={"commodity": 0.5, "equity": 0.1})
    builder = oil().instrument("EQ", "equity", "STK").agreement("E", model="parametric")
    builder.position("EQ", "E", "M1", 1.0)
    got = margin_of(builder, quiet_market(), own)
    assert got.im == pytest.approx([0.5 * 80.0 * 1000.0, 100.0 * -math.expm1(-0.1)], rel=1e-12)
    assert margin_of(builder, quiet_market(), own, scale=1.2).im == pytest.approx(got.im, rel=1e-12)
    assert got.basis["A"]["rate_floors"] == {"commodity": 0.5, "equity": 0.1}


def test_student_quantile_is_used_and_named():
    own = ParametricConfig(distribution="student_t", degrees_of_freedom=4.0)
    got = margin_of(oil(), quiet_market(), own)
    quantile = stats.t.ppf(0.99, 4) / math.sqrt(2.0)
    assert got.im[0] == pytest.approx(quantile * 1800.0 * math.sqrt(2.0), rel=1e-12)
    assert got.basis["A"]["degrees_of_freedom"] == 4.0
    assert got.basis["A"]["quantile"] == pytest.approx(quantile)


# --- failures ------------------------------------------------------------------------------------


def young(days: int):
    returns = tiny_market().returns.copy()
    returns[: len(returns) - days, 3] = np.nan
    return tiny_market(returns=returns)


def test_too_little_history_fails_the_agreement_as_a_whole():
    builder = oil(mpor_days=1).instrument("EQ", "equity", "STK").agreement("E", model="parametric")
    builder.position("EQ", "E", "M1", 1.0)
    prepared = family(builder, young(249))
    assert [(f.item, f.reason) for f in prepared.failures] == [("A", FailureReason.MISSING_DATA)]
    assert "249 scenarios of OIL" in prepared.failures[0].message
    got = prepared.margin(np.ones(2))
    assert math.isnan(got.im[0]) and math.isnan(got.pair_im[0]) and got.im[1] > 0.0
    assert set(got.basis) == {"E"}


def test_a_young_factor_shortens_the_lookback_and_is_named():
    prepared = family(oil(mpor_days=1), young(250))
    assert prepared.failures[0].item == "OIL"
    got = prepared.margin(np.ones(1))
    assert got.im[0] > 0.0 and got.basis["A"]["days"] == 250


def test_a_yield_out_of_range_gives_nan_for_its_agreement_alone():
    floors = VOLATILITY.copy()
    floors[2] = 60.0
    builder = oil().instrument("SW", "swap", "UST", fixed_rate=3.5, tenor_years=10.0)
    builder.agreement("B", model="parametric").position("SW", "B", "M1", 1e6)
    got = margin_of(builder, quiet_market(daily_vol_floor=floors))
    assert got.im[0] > 0.0 and math.isnan(got.im[1])


def test_no_agreements_give_an_empty_margin(market):
    exposures = net_positions(oil().build(market), market)
    prepared = prepare(exposures, np.zeros(0, dtype=np.int64), MarginConfig(), ParametricConfig())
    got = prepared.margin(np.ones(1))
    assert len(got.im) == 0 and len(got.pair_im) == 0 and prepared.failures == ()


# --- parts ---------------------------------------------------------------------------------------


def test_agreements_are_grouped_by_their_values_in_order(market):
    builder = FundBuilder()
    for name, days in (("A", 5), ("B", 2), ("C", 5)):
        builder.agreement(name, mpor_days=days)
    groups = by_equal_terms(builder.build(market), np.array([2, 1, 0]), ("mpor_days",))
    assert [(key, rows.tolist()) for key, rows in groups.items()] == [((2,), [1]), ((5,), [0, 2])]


def test_residuals_are_returns_over_the_volatility_known_the_day_before(market):
    volatility = FactorVolatility(market, 250)
    paths = ewma_volatility(market.returns, 0.97, 250, market.factors.daily_vol_floor)
    want = (market.returns / paths[:-1])[-300:]
    np.testing.assert_array_equal(volatility.residuals(0.97, 300), want)
    rms = np.sqrt(np.mean(market.returns[-300:] ** 2, axis=0))
    np.testing.assert_allclose(volatility.residuals(1.0, 300), market.returns[-300:] / rms)


def test_a_still_factor_has_residuals_of_zero_and_missing_days_stay_missing():
    returns = tiny_market().returns.copy()
    returns[:, 0] = 0.0
    returns[:1500, 1] = np.nan
    calm = tiny_market(returns=returns, daily_vol_floor=np.zeros(len(FACTORS)))
    got = FactorVolatility(calm, 250).residuals(0.97, 300)
    assert (got[:, 0] == 0.0).all()
    assert np.isnan(got[:200, 1]).all() and np.isfinite(got[200:, 1]).all()
