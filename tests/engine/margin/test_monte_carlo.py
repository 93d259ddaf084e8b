from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from engine.domain.failures import FailureReason
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions, unit_pnl
from engine.margin.factor_volatility import FactorVolatility
from engine.margin.historical import ewma_volatility, expected_shortfall
from engine.margin.monte_carlo import McConfig, prepare, shortfall_error
from engine.margin.t_copula import (
    copula_correlation,
    draw_t,
    fit_copula_dof,
    kendall_tau,
    to_sample_marginals,
)
from tests.support.tiny_fund import FACTORS, FundBuilder, text, tiny_market

VOLATILITY = np.array([row[4] for row in FACTORS])
STUDENT = {"marginals": "student_t"}
NORMAL = {"copula_dof": 1e9, "marginal_dof": 1e9, **STUDENT}


def quiet_market(**changes):
    """Levels move by differences, and tomorrow's volatility is exactly that of `FACTORS`."""
    levels = text(["absolute"] * len(FACTORS))
    given = {"returns": tiny_market().returns * 1e-3, "daily_vol_floor": VOLATILITY.copy()}
    return tiny_market(**{"return_type": levels, **given, **changes})


@pytest.fixture(scope="module")
def quiet():
    return quiet_market()


def family(builder, market, own=None, **config):
    exposures = net_positions(builder.build(market), market)
    rows = np.arange(len(builder.agreements))
    return prepare(exposures, rows, MarginConfig(**config), own or McConfig(paths=2000))


def margin_of(builder, market, own=None, scale=1.0, **config):
    return family(builder, market, own, **config).margin(np.full(len(builder.agreements), scale))


def oil(**terms) -> FundBuilder:
    builder = FundBuilder().instrument("CL", "future", "OIL", multiplier=1000.0)
    return builder.agreement("A", model="mc_es", **terms).position("CL", "A", "M1", 1.0)


def student_es(confidence: float, nu: float) -> float:
    """ES of a Student-t of unit variance (McNeil, Frey and Embrechts 2015, equation 2.25)."""
    q = stats.t.ppf(confidence, nu)
    es = stats.t.pdf(q, nu) / (1 - confidence) * (nu + q * q) / (nu - 1)
    return es * math.sqrt((nu - 2) / nu)


def normal_es(confidence: float) -> float:
    return stats.norm.pdf(stats.norm.ppf(confidence)) / (1 - confidence)


# --- closed forms --------------------------------------------------------------------------------


def test_one_normal_future_tends_to_the_closed_form(quiet):
    want = normal_es(0.99) * 1.8 * math.sqrt(2.0) * 1000.0
    assert round(want, 2) == 6784.53
    got = margin_of(oil(), quiet, McConfig(paths=200_000, **NORMAL))
    error = got.basis["A"]["standard_error_usd"]
    assert 0.0 < error < 0.01 * want
    assert got.im[0] == pytest.approx(want, abs=4.0 * error)


@pytest.mark.parametrize("nu", [4.0, 8.0])
@pytest.mark.parametrize("copula_dof", [4.0, 30.0])
def test_one_student_future_tends_to_the_closed_form(quiet, nu, copula_dof):
    own = McConfig(paths=100_000, copula_dof=copula_dof, marginal_dof=nu, **STUDENT)
    want = student_es(0.975, nu) * 1.8 * math.sqrt(5.0) * 1000.0
    got = margin_of(oil(confidence=0.975, mpor_days=5), quiet, own)
    error = got.basis["A"]["standard_error_usd"]
    assert error < 0.03 * want
    assert got.im[0] == pytest.approx(want, abs=4.0 * error)


def test_two_normal_assets_tend_to_the_closed_form(quiet):
    builder = FundBuilder().agreement("A", model="mc_es")
    for name, factor, quantity in (("X", "IDX", 1e4), ("Y", "VIX", 1.5e3)):
        builder.instrument(name, "future", factor)
        builder.position(name, "A", "M1" if name == "X" else "M2", quantity)
    residuals = FactorVolatility(quiet, 250).residuals(0.97, 1000)
    rho = copula_correlation(kendall_tau(residuals))[0, 5]
    a, b = 1e4 * 0.012, 1.5e3 * 0.06
    deviation = math.sqrt(a * a + b * b + 2 * rho * a * b) * math.sqrt(2.0)
    assert rho < -0.6
    got = margin_of(builder, quiet, McConfig(paths=200_000, **NORMAL))
    error = got.basis["A"]["standard_error_usd"]
    want = normal_es(0.99) * deviation
    assert got.im[0] == pytest.approx(want, abs=4.0 * error)
    # Euler: each asset's part is its covariance with the whole over the variance.
    part = want * (a * a + rho * a * b) * 2.0 / deviation**2
    assert got.pair_im[0] == pytest.approx(part, abs=0.02 * want)


def test_the_error_falls_with_the_root_of_the_paths_and_covers(quiet):
    want = student_es(0.99, 5.0) * 1800.0 * math.sqrt(2.0)
    errors = {}
    for paths in (2_000, 32_000):
        hits, spread = [], []
        for seed in range(12):
            own = McConfig(paths=paths, seed=seed, copula_dof=5.0, marginal_dof=5.0, **STUDENT)
            got = margin_of(oil(), quiet, own)
            spread.append(got.basis["A"]["standard_error_usd"])
            hits.append(abs(got.im[0] - want) < 2.0 * spread[-1])
        assert sum(hits) >= 8
        errors[paths] = np.mean(spread)
    assert errors[2_000] / errors[32_000] == pytest.approx(4.0, rel=0.3)


def test_worked_numbers_of_the_error():
    losses = np.array([1.0, 2.0, 3.0, 10.0])
    assert shortfall_error(losses, 0.75) == 0.0
    losses = np.array([1.0, 5.0, 2.0, 3.0, 9.0, 0.0])
    assert shortfall_error(losses, 0.5) == pytest.approx(8.0 / 3.0, rel=1e-14)


# --- empirical marginals -------------------------------------------------------------------------


def skewed_market(sample):
    """A `quiet_market` in which the residuals of OIL are a thousandth of `sample`."""
    market = tiny_market(n_days=len(sample))
    returns = market.returns * 1e-3
    returns[:, 3] = 1e-3 * 1.8 * sample
    levels = text(["absolute"] * len(FACTORS))
    return tiny_market(n_days=len(sample), return_type=levels, returns=returns,
                       daily_vol_floor=VOLATILITY.copy())  # fmt: skip


def two_piece(uniform, nu, down, up):
    """Quantiles of a Student-t stretched by `down` below zero and `up` above (Fernandez and
    Steel 1998); `down / (down + up)` of the law is below zero."""
    below = down / (down + up)
    low = down * stats.t.ppf(np.minimum(uniform, below) / (2 * below), nu)
    high = -up * stats.t.ppf(np.minimum(1 - uniform, 1 - below) / (2 * (1 - below)), nu)
    return np.where(uniform < below, low, high)


def two_piece_es(confidence, nu, stretch, other):
    """ES of the side stretched by `stretch`: that of the Student-t at a changed confidence."""
    level = 1 - (1 - confidence) * (stretch + other) / (2 * stretch)
    return stretch * student_es(level, nu) / math.sqrt((nu - 2) / nu)


@pytest.mark.parametrize("quantity", [1.0, -1.0])
def test_both_sides_of_a_skewed_law_tend_to_their_closed_forms(quantity):
    nu, down, up, days, paths = 5.0, 1.3, 0.6, 20_000, 200_000
    uniform = np.random.default_rng(17).random(days)
    builder = FundBuilder().instrument("CL", "future", "OIL", multiplier=1000.0)
    builder.agreement("A", model="mc_es", lookback_days=days - 1, mpor_days=1)
    builder.position("CL", "A", "M1", quantity)
    sample = two_piece(uniform, nu, down, up)
    got = margin_of(builder, skewed_market(sample), McConfig(paths=paths, copula_days=250))
    side = (down, up) if quantity > 0 else (up, down)
    want = two_piece_es(0.99, nu, *side) * 1.8
    # The sample errs as the paths do; its values are pairs of independent ones.
    of_sample = 1.8 * shortfall_error(-quantity * sample, 0.99)
    error = math.hypot(got.basis["A"]["standard_error_usd"], of_sample)
    assert error < 0.035 * want
    assert got.im[0] == pytest.approx(want, abs=3.0 * error)
    other = two_piece_es(0.99, nu, *side[::-1]) * 1.8
    assert abs(got.im[0] - other) > 10.0 * error


@pytest.mark.parametrize("quantity", [1.0, -1.0])
def test_one_linear_factor_is_near_the_shortfall_of_its_residuals(quantity):
    """Independent of the law fitted: 1,250 days, 99 %, long and short, within 5 %."""
    sample = two_piece(np.random.default_rng(4).random(1250), 4.0, 1.3, 0.8)
    builder = FundBuilder().instrument("CL", "future", "OIL", multiplier=1000.0)
    builder.agreement("A", model="mc_es", lookback_days=1250, mpor_days=1)
    builder.position("CL", "A", "M1", quantity)
    got = margin_of(builder, skewed_market(sample), McConfig(paths=200_000))
    want = 1.8 * float(expected_shortfall(-quantity * sample, 0.99))
    assert got.im[0] == pytest.approx(want, rel=0.05)
    student = margin_of(builder, skewed_market(sample), McConfig(paths=200_000, **STUDENT))
    assert abs(student.im[0] / want - 1.0) > 0.15


def test_residuals_are_neither_centred_nor_rescaled():
    sample = 0.5 + 0.1 * np.random.default_rng(4).normal(size=1250)
    got = margin_of(oil(lookback_days=1250, mpor_days=1), skewed_market(sample))
    assert got.im[0] == 0.0  # a long position never lost
    short = FundBuilder().instrument("CL", "future", "OIL", multiplier=1000.0)
    short.agreement("A", model="mc_es", lookback_days=1250, mpor_days=1)
    loss = margin_of(short.position("CL", "A", "M1", -1.0), skewed_market(sample)).im[0]
    assert loss == pytest.approx(1.8 * float(expected_shortfall(sample, 0.99)), rel=0.05)


def test_the_copula_is_that_of_the_latest_days():
    returns = tiny_market().returns.copy()
    returns[-500:, 3] = 150.0 * returns[-500:, 0]  # before them the two are unrelated
    builder = oil().instrument("FUT", "future", "IDX").position("FUT", "A", "M1", 1.0)
    latest = McConfig(paths=2000, copula_days=500, **NORMAL)
    unit = family(builder, tiny_market(returns=returns), latest).draws[0.97, 1000].unit
    assert np.corrcoef(unit)[0, 1] > 0.99
    both = McConfig(paths=2000, copula_days=1000, **NORMAL)
    unit = family(builder, tiny_market(returns=returns), both).draws[0.97, 1000].unit
    assert np.corrcoef(unit)[0, 1] < 0.9


def test_the_error_is_the_spread_over_seeds():
    rng = np.random.default_rng(4)
    es, errors = [], []
    for _ in range(300):
        half = rng.normal(size=1000)
        losses = np.concatenate([half, -half])
        es.append(float(expected_shortfall(losses, 0.975)))
        errors.append(shortfall_error(losses, 0.975))
    assert np.mean(errors) == pytest.approx(np.std(es), rel=0.15)


# --- full revaluation and shares -----------------------------------------------------------------


def two_managers(builder):
    builder.agreement("A", model="mc_es").agreement("B", model="mc_es", confidence=0.995)
    for name in ("A", "B"):
        builder.position("FUT", name, "M1", 2.0).position("PUT", name, "M2", -3.0)
        builder.position("CL", name, "M2", 1.0).position("SWAP", name, "M1", 1e5)
    return builder


def test_margin_is_the_shortfall_of_the_book_revalued_on_the_draws(builder, market):
    prepared = family(two_managers(builder), market)
    got = prepared.margin(np.ones(2))
    draws = prepared.draws[0.97, 1000]
    sigma = ewma_volatility(market.returns, 0.97, 250, 1e-5)[-1] * math.sqrt(2.0)
    moves = np.zeros((2000, len(FACTORS)))
    moves[:, draws.columns] = draws.unit.T * sigma[draws.columns]
    exposures = prepared.exposures
    pnl = unit_pnl(exposures, np.arange(len(exposures.instruments)), moves)
    loss = -(exposures.quantity_usd @ pnl)
    for i, confidence in enumerate((0.99, 0.995)):
        whole = loss[2 * i : 2 * i + 2].sum(axis=0)
        assert got.im[i] == pytest.approx(float(expected_shortfall(whole, confidence)), rel=1e-12)
        tail = np.argsort(-whole)[: 20 if i == 0 else 10]
        np.testing.assert_allclose(
            got.pair_im[2 * i : 2 * i + 2], loss[2 * i : 2 * i + 2, tail].mean(axis=1), rtol=1e-9
        )
        assert got.pair_im[2 * i : 2 * i + 2].sum() == pytest.approx(got.im[i], rel=1e-12)


def test_draws_come_in_antithetic_pairs_of_the_factors_held(builder, market):
    own = McConfig(paths=2000, **STUDENT)
    draws = family(two_managers(builder), market, own).draws[0.97, 1000]
    assert draws.columns.tolist() == [0, 2, 3, 5]
    np.testing.assert_array_equal(draws.unit[:, :1000], -draws.unit[:, 1000:])


def test_empirical_draws_have_the_laws_of_the_residuals_of_the_lookback(builder, market):
    own = McConfig(paths=2000, copula_days=500, tail_fraction=0.1, worst_multiple=1.2, seed=3)
    draws = family(two_managers(builder), market, own).draws[0.97, 1000]
    held = np.array([0, 2, 3, 5])
    assert draws.columns.tolist() == held.tolist()
    residuals = FactorVolatility(market, 250).residuals(0.97, 1000)
    correlation = copula_correlation(kendall_tau(residuals[-500:]))
    dof = fit_copula_dof(residuals[-500:], correlation)
    y = draw_t(correlation, dof, 1000, 3, held)
    moves, index = to_sample_marginals(y, dof, residuals[:, held], 0.1, 1.2)
    np.testing.assert_array_equal(draws.unit, moves)
    np.testing.assert_array_equal(draws.law, index)
    assert draws.copula_dof == dof


def test_same_seed_same_bits_other_seeds_agree_within_their_errors(builder, market):
    fund = two_managers(builder)
    results = [margin_of(fund, market, McConfig(paths=4000, seed=s)) for s in (1, 1, 2, 3, 4)]
    assert results[0].im.tobytes() == results[1].im.tobytes()
    assert results[0].pair_im.tobytes() == results[1].pair_im.tobytes()
    assert results[0].im[0] != results[2].im[0]
    for other in results[2:]:
        errors = [r.basis["A"]["standard_error_usd"] for r in (results[0], other)]
        assert other.im[0] == pytest.approx(results[0].im[0], abs=4.0 * math.hypot(*errors))


def test_other_agreements_do_not_change_a_margin(builder, market):
    fund = two_managers(builder)
    alone = margin_of(fund, market)
    fund.agreement("C", model="mc_es").position("EQ", "C", "M1", 100.0)
    fund.position("FWD", "C", "M2", 1e5)
    more = margin_of(fund, market)
    assert more.im[:2] == pytest.approx(alone.im, rel=1e-12)
    assert more.pair_im[:4] == pytest.approx(alone.pair_im, rel=1e-12)


def test_margin_is_homogeneous_and_a_flat_book_has_none(builder, market):
    builder.agreement("A", model="mc_es").agreement("B", model="mc_es")
    builder.agreement("C", model="mc_es")
    builder.position("PUT", "A", "M1", -2.0).position("PUT", "B", "M1", -6.0)
    builder.position("PUT", "C", "M1", 2.0).position("PUT", "C", "M2", -2.0)
    got = margin_of(builder, market)
    assert got.im[1] == pytest.approx(3.0 * got.im[0], rel=1e-12)
    assert got.im[2] == pytest.approx(0.0, abs=1e-9)
    assert got.pair_im[2:].sum() == pytest.approx(0.0, abs=1e-9)


# --- parameters ----------------------------------------------------------------------------------


def test_basis_names_what_the_figure_rests_on(builder, market):
    builder.agreement("A", model="mc_es").position("PUT", "A", "M1", -2.0)
    basis = margin_of(builder, market, McConfig(paths=2000, seed=5, copula_days=500)).basis["A"]
    assert basis["paths"] == 2000 and basis["seed"] == 5
    assert basis["days"] == 1000 and basis["copula_days"] == 500
    assert basis["marginals"] == "empirical"
    assert basis["tail_fraction"] == 0.05 and basis["worst_multiple"] == 1.5
    assert set(basis["tail_index_lower_upper"]) == {"IDX", "VIX"}
    for sides in basis["tail_index_lower_upper"].values():
        assert len(sides) == 2 and all(0.0 <= index <= 0.4 for index in sides)
    assert "marginal_degrees_of_freedom" not in basis
    assert basis["copula_fitted"]
    assert basis["largest_move"] == 50.0
    assert 2.0 <= basis["copula_degrees_of_freedom"] <= 100.0


def test_basis_of_student_marginals(builder, market):
    builder.agreement("A", model="mc_es").position("PUT", "A", "M1", -2.0)
    basis = margin_of(builder, market, McConfig(paths=2000, **STUDENT)).basis["A"]
    assert basis["marginals"] == "student_t" and basis["marginals_fitted"]
    assert set(basis["marginal_degrees_of_freedom"]) == {"IDX", "VIX"}
    assert "tail_index_lower_upper" not in basis and "tail_fraction" not in basis
    own = McConfig(paths=2000, copula_dof=3, marginal_dof=4, **STUDENT)
    basis = margin_of(builder, market, own).basis["A"]
    assert not basis["copula_fitted"] and not basis["marginals_fitted"]
    assert basis["copula_degrees_of_freedom"] == 3.0
    assert basis["marginal_degrees_of_freedom"] == {"IDX": 4.0, "VIX": 4.0}


def test_marginals_are_fitted_to_each_factor():
    returns = tiny_market().returns.copy()
    rng = np.random.default_rng(9)
    returns[:, 0] = 0.012 * rng.normal(size=len(returns))
    returns[:, 3] = 1.8 * rng.standard_t(3, size=len(returns))
    builder = oil().instrument("FUT", "future", "IDX").position("FUT", "A", "M1", 1.0)
    own = McConfig(paths=2000, **STUDENT)
    fitted = margin_of(builder, tiny_market(returns=returns), own).basis["A"]
    dof = fitted["marginal_degrees_of_freedom"]
    assert dof["OIL"] <= 5.0 and dof["IDX"] >= 15.0


def test_moves_are_cut_at_the_largest(quiet):
    own = McConfig(paths=2000, copula_dof=3.0, marginal_dof=3.0, largest_move=2.0, **STUDENT)
    prepared = family(oil(), quiet, own)
    assert np.abs(prepared.draws[0.97, 1000].unit).max() == 2.0
    assert prepared.margin(np.ones(1)).im[0] == pytest.approx(2.0 * 1800.0 * math.sqrt(2.0))


def test_margin_follows_the_scale_of_each_agreement(quiet):
    builder = oil().agreement("B", model="mc_es").position("CL", "B", "M2", 2.0)
    prepared = family(builder, quiet)
    one, more = prepared.margin(np.ones(2)), prepared.margin(np.array([3.0, 0.5]))
    assert more.im == pytest.approx([3.0 * one.im[0], 0.5 * one.im[1]], rel=1e-12)
    assert more.pair_im == pytest.approx(more.im, rel=1e-12)


def test_volatility_factors_are_capped(market):
    builder = FundBuilder().instrument("VF", "future", "VIX").agreement("A", model="mc_es")
    builder.position("VF", "A", "M1", 1.0)
    paths = ewma_volatility(market.returns[:, 5], 0.97, 250, 1e-5)
    limit = paths.max() / paths[-1]
    prepared = family(builder, market)
    most, more = prepared.margin(np.array([limit])), prepared.margin(np.array([3.0 * limit]))
    assert more.im[0] == pytest.approx(most.im[0], rel=1e-12)
    free = margin_of(builder, market, scale=3.0 * limit, cap_volatility_factors=False)
    assert free.im[0] > 1.05 * most.im[0]


def test_without_a_filter_volatility_is_that_of_the_lookback(market):
    got = margin_of(oil(ewma_lambda=1.0, lookback_days=500), market, McConfig(paths=2000, **NORMAL))
    sigma = math.sqrt(np.mean(market.returns[-500:, 3] ** 2)) * math.sqrt(2.0) * 1000.0
    error = got.basis["A"]["standard_error_usd"]
    assert got.im[0] == pytest.approx(normal_es(0.99) * sigma, abs=4.0 * error)


@pytest.mark.parametrize(
    "terms",
    [{"marginal_dof": 4.0}, {"marginals": "normal"}, {"tail_fraction": 0.0},
     {"tail_fraction": 0.251}, {"worst_multiple": 0.99}, {"marginal_dof": 2.0, **STUDENT},
     {"paths": 999}, {"paths": 1001}, {"seed": -1}, {"copula_dof": 0.0},
     {"largest_move": 0.0}, {"copula_days": 249}, {"unknown": 1}],
)  # fmt: skip
def test_choices_are_checked(terms):
    with pytest.raises(ValidationError):
        McConfig(**terms)


# --- failures ------------------------------------------------------------------------------------


def test_too_little_history_fails_the_agreement_and_leaves_the_copula():
    returns = tiny_market().returns.copy()
    returns[:-249, 3] = np.nan
    market = tiny_market(returns=returns)
    builder = oil(mpor_days=1).instrument("EQ", "equity", "STK").agreement("E", model="mc_es")
    builder.position("EQ", "E", "M1", 1.0)
    prepared = family(builder, market)
    assert [(f.item, f.reason) for f in prepared.failures] == [("A", FailureReason.MISSING_DATA)]
    got = prepared.margin(np.ones(2))
    assert math.isnan(got.im[0]) and math.isnan(got.pair_im[0]) and got.im[1] > 0.0
    assert set(got.basis) == {"E"}


def test_a_young_factor_stays_in_the_copula():
    returns = tiny_market().returns.copy()
    returns[:-250, 3] = np.nan
    prepared = family(oil(mpor_days=1), tiny_market(returns=returns))
    assert prepared.failures[0].item == "OIL"
    got = prepared.margin(np.ones(1))
    assert got.im[0] > 0.0 and got.basis["A"]["days"] == 250


def test_a_yield_out_of_range_gives_nan_for_its_agreement_alone():
    floors = VOLATILITY.copy()
    floors[2] = 60.0
    builder = oil().instrument("SW", "swap", "UST", fixed_rate=3.5, tenor_years=10.0)
    builder.agreement("B", model="mc_es").position("SW", "B", "M1", 1e6)
    own = McConfig(paths=2000, **STUDENT)
    got = margin_of(builder, quiet_market(daily_vol_floor=floors), own)
    assert got.im[0] > 0.0 and math.isnan(got.im[1])
    assert got.basis["B"]["standard_error_usd"] is None
