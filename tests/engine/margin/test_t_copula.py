from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from engine.margin.historical import ewma_volatility, expected_shortfall
from engine.margin.monte_carlo import shortfall_error
from engine.margin.t_copula import (
    COPULA_GRID,
    MARGINAL_GRID,
    copula_correlation,
    draw_t,
    fit_copula_dof,
    fit_marginal_dof,
    fit_tail,
    kendall_tau,
    lower_quantiles,
    to_marginals,
    to_sample_marginals,
)

SEED = 20221228
PAIR = np.array([[1.0, 0.6], [0.6, 1.0]])
BOTH = np.arange(2)


def both_halves(half):
    return np.concatenate([half, -half], axis=1)


# --- Kendall's tau -------------------------------------------------------------------------------


def test_worked_number_of_tau():
    values = np.array([[1.0, 1.0], [2.0, 3.0], [3.0, 2.0], [4.0, 4.0]])
    assert kendall_tau(values)[0, 1] == pytest.approx(4.0 / 6.0, rel=1e-14)


@pytest.mark.parametrize("n_rows", [2, 3, 8, 9, 64, 65, 130])
def test_tau_equals_scipy_with_and_without_ties(n_rows):
    rng = np.random.default_rng(n_rows)
    values = rng.normal(size=(n_rows, 6))
    values[:, 1] += values[:, 0]
    values[:, 3] = np.round(values[:, 3])
    values[:, 4] = np.round(values[:, 0] - values[:, 3])
    got = kendall_tau(values)
    for i in range(6):
        for j in range(6):
            want = 1.0 if i == j else stats.kendalltau(values[:, i], values[:, j])[0]
            want = 0.0 if math.isnan(want) else want
            assert got[i, j] == pytest.approx(want, abs=1e-14)
    np.testing.assert_array_equal(got, got.T)


def test_tau_uses_the_rows_on_which_both_are_known():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(60, 3)).round(1)
    values[:20, 1] = np.nan
    values[:35, 2] = np.nan
    got = kendall_tau(values)
    for (i, j), first in {(0, 1): 20, (0, 2): 35, (1, 2): 35}.items():
        want = stats.kendalltau(values[first:, i], values[first:, j])[0]
        assert got[i, j] == pytest.approx(want, abs=1e-14)


def test_a_column_that_does_not_vary_has_tau_zero():
    values = np.random.default_rng(1).normal(size=(20, 2))
    values[:, 1] = 3.0
    np.testing.assert_array_equal(kendall_tau(values), np.eye(2))


def test_one_row_or_column_has_nothing_to_compare():
    assert kendall_tau(np.ones((5, 1))).tolist() == [[1.0]]
    np.testing.assert_array_equal(kendall_tau(np.ones((1, 2))), np.eye(2))


# --- correlation ---------------------------------------------------------------------------------


def test_correlation_of_a_tau():
    tau = np.array([[1.0, 1.0 / 3.0], [1.0 / 3.0, 1.0]])
    assert copula_correlation(tau)[0, 1] == pytest.approx(0.49995, rel=1e-12)
    assert copula_correlation(tau)[0, 0] == 1.0


def test_correlation_is_repaired_to_be_positive_definite():
    tau = 2.0 / np.pi * np.arcsin(np.array([[1, 0.99, 0.0], [0.99, 1, 0.99], [0.0, 0.99, 1]]))
    got = copula_correlation(tau)
    assert np.linalg.eigvalsh(got)[0] >= 0.99e-4
    assert np.diag(got).tolist() == [1.0, 1.0, 1.0]


# --- draws ---------------------------------------------------------------------------------------


def test_sampled_tau_is_the_tau_put_in():
    tau = np.array([[1.0, 0.4, -0.2], [0.4, 1.0, 0.1], [-0.2, 0.1, 1.0]])
    correlation = copula_correlation(tau)
    for dof in (3.0, 12.0):
        half = draw_t(correlation, dof, 4000, SEED, np.arange(3))
        moves = to_marginals(half, dof, np.array([3.0, 5.0, 30.0]))
        # Standard error of a tau of 4,000 independent pairs is below sqrt(2 / (9 n)) * 1.5 = 0.011.
        np.testing.assert_allclose(kendall_tau(moves.T), tau, atol=0.035)


def tail_dependence(rho: float, dof: float) -> float:
    """Demarta and McNeil (2005), equation 6."""
    return 2.0 * float(stats.t.cdf(-math.sqrt((dof + 1) * (1 - rho) / (1 + rho)), dof + 1))


def test_joint_extremes_come_as_often_as_the_copula_says():
    """P(both below u) / u tends to the tail dependence; at u = 0.001 it is compared exactly."""
    rho, dof, n, u = 0.6, 4.0, 400_000, 0.001
    half = both_halves(draw_t(PAIR, dof, n // 2, SEED, BOTH))
    cut = stats.t.ppf(u, dof)
    # Exact: the bivariate t probability is a mixture of bivariate normal ones over chi-square.
    w = stats.chi2.ppf((np.arange(400) + 0.5) / 400, dof)
    joint = np.mean(
        [stats.multivariate_normal.cdf([cut * math.sqrt(x / dof)] * 2, cov=PAIR) for x in w]
    )
    sampled = float(np.mean((half < cut).all(axis=0)))
    assert sampled == pytest.approx(joint, abs=4.0 * math.sqrt(joint / n))
    # The limit itself: within 10 % of the ratio at this quantile; the normal copula is far off.
    assert sampled / u == pytest.approx(tail_dependence(rho, dof), rel=0.15)
    normal = both_halves(draw_t(PAIR, 1e9, n // 2, SEED, BOTH))
    assert np.mean((normal < stats.norm.ppf(u)).all(axis=0)) / u < 0.5 * sampled / u


@pytest.mark.parametrize(("dof", "nu"), [(4.0, 4.0), (4.0, 3.0), (8.0, 30.0), (1e9, 5.0)])
def test_marginals_are_student_with_unit_variance(dof, nu):
    moves = to_marginals(draw_t(PAIR, dof, 20_000, SEED, BOTH), dof, np.array([nu, nu]))
    scaled = moves[1] / math.sqrt((nu - 2.0) / nu)
    assert stats.kstest(scaled, stats.t(nu).cdf).pvalue > 0.01
    exact = moves.copy()
    assert np.sign(exact[0, 0]) == np.sign(draw_t(PAIR, dof, 20_000, SEED, BOTH)[0, 0])


def test_quantiles_are_mapped_exactly_far_into_the_tail():
    draws = np.array([[-40.0, -3.0, 0.0, 3.0, 40.0]])
    got = to_marginals(draws, 4.0, np.array([6.0]))[0]
    below = stats.t.ppf(stats.t.cdf(draws[0, :2], 4.0), 6.0) * math.sqrt(4.0 / 6.0)
    np.testing.assert_allclose(got[:2], below, rtol=1e-10)
    np.testing.assert_allclose(got[3:], -below[::-1], rtol=1e-10)
    assert got[2] == 0.0


def test_same_seed_same_bits_and_rows_do_not_depend_on_later_factors():
    larger = np.eye(3)
    larger[:2, :2] = PAIR
    a, b = draw_t(PAIR, 4.0, 100, 7, BOTH), draw_t(PAIR, 4.0, 100, 7, BOTH)
    assert a.tobytes() == b.tobytes()
    np.testing.assert_allclose(draw_t(larger, 4.0, 100, 7, BOTH), a, rtol=1e-14)
    np.testing.assert_array_equal(draw_t(PAIR, 4.0, 100, 7, np.array([1]))[0], a[1])
    assert not np.array_equal(draw_t(PAIR, 4.0, 100, 8, BOTH), a)


# --- fits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dof", [3.0, 8.0])
def test_the_copula_fit_finds_the_degrees_of_freedom_drawn_with(dof):
    correlation = np.full((6, 6), 0.5) + 0.5 * np.eye(6)
    half = draw_t(correlation, dof, 3000, SEED, np.arange(6))
    values = to_marginals(half, dof, np.array([3.0, 4.0, 5.0, 8.0, 30.0, 6.0])).T
    got = fit_copula_dof(values, copula_correlation(kendall_tau(values)))
    at = COPULA_GRID.index(dof)
    assert got in COPULA_GRID[at - 1 : at + 2]


def test_the_copula_fit_is_the_maximum_of_the_density():
    rng = np.random.default_rng(5)
    values = stats.multivariate_t(shape=PAIR, df=4).rvs(400, random_state=rng)
    rank = stats.rankdata(values, axis=0) / 401.0
    likelihood = []
    for nu in COPULA_GRID:
        x = stats.t.ppf(rank, nu)
        joint = stats.multivariate_t(shape=PAIR, df=nu).logpdf(x)
        likelihood.append(float(np.sum(joint - stats.t.logpdf(x, nu).sum(axis=1))))
    assert fit_copula_dof(values, PAIR) == COPULA_GRID[int(np.argmax(likelihood))]


@pytest.mark.parametrize("nu", [3.0, 5.0, 100.0])
def test_the_marginal_fit_finds_the_degrees_of_freedom_drawn_with(nu):
    rng = np.random.default_rng(SEED)
    values = 0.02 * rng.standard_t(nu, size=(6000, 1))
    at = MARGINAL_GRID.index(nu)
    assert fit_marginal_dof(values)[0] in MARGINAL_GRID[max(0, at - 1) : at + 2]


def test_the_marginal_fit_is_the_maximum_of_the_density_and_leaves_gaps_out():
    rng = np.random.default_rng(2)
    values = rng.standard_t(5, size=(500, 2))
    values[:200, 1] = np.nan
    got = fit_marginal_dof(values)
    for column, first in ((0, 0), (1, 200)):
        x = values[first:, column]
        s = math.sqrt(np.mean(x * x))
        fits = [
            stats.t.logpdf(x, nu, scale=s * math.sqrt((nu - 2) / nu)).sum() for nu in MARGINAL_GRID
        ]
        assert got[column] == MARGINAL_GRID[int(np.argmax(fits))]


def test_a_still_factor_gets_the_largest_degrees_of_freedom():
    assert fit_marginal_dof(np.zeros((300, 1))).tolist() == [100.0]


# --- marginals of a sample -----------------------------------------------------------------------

UNCUT = 1e6
GRID = (np.arange(200_000) + 0.5) / 400_000  # probabilities of the lower half


def shortfall_of_the_law(values, confidence=0.99, tail_fraction=0.05, multiple=1.5):
    """ES of the lower side of the law of `values`, by the mean of its quantiles."""
    q, _ = lower_quantiles(np.asarray(values), GRID, tail_fraction, multiple)
    return -float(q[np.less(GRID, 1 - confidence)].mean())


def test_worked_numbers_of_the_tail_fit():
    index, scale = fit_tail(np.array([8.0, 1.0, 2.0, 1.0]))
    assert (index, scale) == pytest.approx((4 / 11, 21 / 11), rel=1e-14)
    assert fit_tail(np.full(5, 3.0)) == (0.0, 3.0)
    assert fit_tail(np.zeros(5)) == (0.0, 0.0)


def test_the_tail_index_is_bounded_and_the_mean_kept():
    light, heavy = np.arange(1.0, 11.0), np.array([1.0, 1, 1, 1, 1, 1, 1, 1, 1, 91.0])
    assert fit_tail(light) == (0.0, 5.5)
    assert fit_tail(heavy) == pytest.approx((0.4, 6.0), rel=1e-14)


@pytest.mark.parametrize("index", [0.1, 0.3])
def test_the_tail_fit_finds_the_index_drawn_with(index):
    rng = np.random.default_rng(SEED)
    drawn = stats.genpareto(index, scale=2.0).rvs(200_000, random_state=rng)
    got, scale = fit_tail(drawn)
    assert got == pytest.approx(index, abs=0.02)
    assert scale == pytest.approx(2.0, rel=0.02)


def test_worked_numbers_of_a_quantile():
    values = np.arange(-50.0, 50.0)
    q, index = lower_quantiles(values[::-1], np.array([0.25, 0.1, 0.01]), 0.1, 2.0)
    assert index == 0.0
    assert q == pytest.approx([-25.5, -40.5, -40.5 - 5.0 * math.log(10.0)], rel=1e-14)
    assert round(q[2], 4) == -52.0129


def test_the_tail_is_the_generalised_pareto_law():
    rng = np.random.default_rng(3)
    values = rng.standard_t(3, size=2000)
    p = np.array([1e-12, 1e-6, 0.001, 0.01, 0.0499])
    got, index = lower_quantiles(values, p, 0.05, UNCUT)
    ordered = np.sort(values)
    u = 0.5 * (ordered[99] + ordered[100])
    scale = (u - ordered[:100]).mean() * (1.0 - index)
    assert 0.0 < index < 0.4
    want = u - stats.genpareto(index, scale=scale).isf(p / 0.05)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("n", [250, 1250])
def test_quantiles_never_fall_and_the_tail_has_the_mean_of_its_values(n):
    values = np.random.default_rng(n).standard_t(4, size=n)
    k = 12 if n == 250 else 62
    p = np.sort(np.concatenate([GRID, [k / n, np.nextafter(k / n, 0), np.nextafter(k / n, 1)]]))
    for side in (values, -values):
        q, _ = lower_quantiles(side, p, 0.05, UNCUT)
        assert (np.diff(q) >= -1e-12).all()
        assert q[-1] == pytest.approx(np.median(side), abs=1e-5)
        # Quantiles over a finer grid near zero, where the law is steep.
        v = np.exp(np.linspace(math.log(1e-12), math.log(k / n), 400_001))
        q, _ = lower_quantiles(side, v, 0.05, UNCUT)
        mean = float(np.trapezoid(q * v, np.log(v))) / (k / n)
        assert mean == pytest.approx(np.sort(side)[:k].mean(), rel=1e-6)


def test_moves_are_cut_at_a_multiple_of_the_worst():
    values = np.random.default_rng(1).standard_t(3, size=500)
    values[7] = -30.0
    p = np.array([1e-9, 0.2])
    assert lower_quantiles(values, p, 0.05, 1.5)[0][0] == -45.0
    assert lower_quantiles(values, p, 0.05, 1.0)[0][0] == -30.0
    assert lower_quantiles(values, p, 0.05, UNCUT)[0][0] < -100.0
    assert lower_quantiles(values + 31.0, p, 0.05, 1.5)[0][0] == 1.0
    assert lower_quantiles(np.zeros(300), p, 0.05, 1.5)[0].tolist() == [0.0, 0.0]


def test_a_tail_has_ten_values_or_more_and_needs_a_body():
    values = np.random.default_rng(1).normal(size=21)
    ordered = np.sort(values)
    got, _ = lower_quantiles(values, np.array([10 / 21]), 0.05, 1.5)
    assert got[0] == pytest.approx(0.5 * (ordered[9] + ordered[10]), rel=1e-14)
    with pytest.raises(ValueError, match="20 values are too few for two tails of 10"):
        lower_quantiles(values[:20], np.array([0.1]), 0.05, 1.5)


def test_moves_of_a_symmetric_sample_are_negatives():
    half = np.random.default_rng(2).standard_t(4, size=300)
    values = np.concatenate([half, -half])[:, np.newaxis]
    moves, index = to_sample_marginals(draw_t(np.eye(1), 5.0, 500, SEED, BOTH[:1]), 5.0, values,
                                       0.05, 1.5)  # fmt: skip
    np.testing.assert_array_equal(moves[:, :500], -moves[:, 500:])
    assert index[0, 0] == index[0, 1]


def test_pairs_are_mirror_quantiles_and_a_mirrored_sample_swaps_them():
    rng = np.random.default_rng(2)
    values = rng.gamma(2.0, size=(1000, 2))
    values[:600, 1] = np.nan
    y = draw_t(PAIR, 5.0, 400, SEED, BOTH)
    moves, index = to_sample_marginals(y, 5.0, values, 0.05, 1.5)
    swapped, other = to_sample_marginals(y, 5.0, -values, 0.05, 1.5)
    np.testing.assert_array_equal(swapped, -np.roll(moves, 400, axis=1))
    np.testing.assert_array_equal(other, index[:, ::-1])
    alone, _ = to_sample_marginals(y[1:], 5.0, values[600:, 1:], 0.05, 1.5)
    np.testing.assert_array_equal(alone[0], moves[1])
    v = stats.t.cdf(y[0], 5.0)
    inside = (v > 0.06) & (v < 0.94)
    at = (np.arange(1000) + 0.5) / 1000
    for half, p in ((moves[0, :400], v), (moves[0, 400:], 1 - v)):
        want = np.interp(p, at, np.sort(values[:, 0]))
        np.testing.assert_allclose(half[inside], want[inside], rtol=1e-9)


def test_sample_marginals_leave_the_copula_as_it_is():
    tau = np.array([[1.0, 0.4, -0.2], [0.4, 1.0, 0.1], [-0.2, 0.1, 1.0]])
    rng = np.random.default_rng(6)
    values = np.stack([rng.gumbel(size=900), rng.standard_t(3, 900), rng.normal(size=900)], axis=1)
    half = draw_t(copula_correlation(tau), 4.0, 2000, SEED, np.arange(3))
    moves, _ = to_sample_marginals(half, 4.0, values, 0.05, UNCUT)
    got = kendall_tau(moves.T)
    np.testing.assert_array_equal(got, kendall_tau(both_halves(half).T))
    # Pairs are not independent: the bound is that of 2,000 draws, below 0.016, twice.
    np.testing.assert_allclose(got, tau, atol=0.035)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("nu", "most"), [(4.0, 0.05), (1e9, 0.065)])
def test_shortfall_of_the_law_is_near_that_of_its_residuals(seed, nu, most):
    """1,250 days: within 5 % at 99 %, where 12 residuals decide; 3 % at 97.5 %.

    Normal tails are lighter than any index allowed: their ES is 2.7 % too high on average.
    """
    values = np.random.default_rng(seed).standard_t(nu, size=1250)
    values = np.where(values < 0.0, 1.5 * values, values)
    for side in (values, -values):
        for confidence, within in ((0.99, most), (0.975, 0.03)):
            want = float(expected_shortfall(-side, confidence))
            assert shortfall_of_the_law(side, confidence) == pytest.approx(want, rel=within)


def test_the_error_of_mirrored_pairs_is_the_spread_over_seeds():
    values = np.random.default_rng(1).standard_t(4, size=1250)
    values = np.where(values < 0.0, 1.5 * values, values)[:, np.newaxis]
    for sign in (1.0, -1.0):
        es, errors = [], []
        for seed in range(300):
            y = draw_t(np.eye(1), 5.0, 1000, seed, BOTH[:1])
            losses = -sign * to_sample_marginals(y, 5.0, values, 0.05, 1.5)[0][0]
            es.append(float(expected_shortfall(losses, 0.975)))
            errors.append(shortfall_error(losses, 0.975))
        assert np.mean(errors) == pytest.approx(np.std(es), rel=0.15)


def test_shortfall_of_normal_residuals_is_slightly_high():
    """With index 0 and ES 95 % = 2.0627, ES 99 % is u + a0 (1 + ln 5) = 2.736, not 2.665."""
    values = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    u, es = stats.norm.ppf(0.95), stats.norm.pdf(stats.norm.ppf(0.95)) / 0.05
    want = u + (es - u) * (1.0 + math.log(5.0))
    assert round(want, 3) == 2.735
    assert shortfall_of_the_law(values) == pytest.approx(want, rel=1e-3)


def test_worked_numbers_of_the_equity_index(spx):
    """Residuals of the last 1,250 days, decay 0.97: falls are larger than rises, in both."""
    returns = np.diff(np.log(spx[0]))
    residuals = (returns / ewma_volatility(returns, 0.97)[:-1])[-1250:]
    assert round(float(np.sqrt(np.mean(residuals**2))), 2) == 1.08
    got = []
    for side in (residuals, -residuals):
        law = shortfall_of_the_law(side)
        got.append((float(expected_shortfall(-side, 0.99)), law))
        assert law == pytest.approx(got[-1][0], rel=0.02)
    assert np.round(got, 2).tolist() == [[4.66, 4.61], [2.81, 2.80]]
