"""Student-t copula: Kendall's tau, fits, antithetic draws, and their marginals.

Marginals are Student-t, or those of a sample with generalised Pareto tails. Sources: Demarta and
McNeil, "The t copula and related copulas" (2005); Kendall, "A new measure of rank correlation"
(1938); Hosking and Wallis, "Parameter and quantile estimation for the generalized Pareto
distribution" (1987).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.market.covariance import nearest_correlation

Bits: TypeAlias = npt.NDArray[np.uint64]

COPULA_GRID = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 100.0)
MARGINAL_GRID = (2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)
SHRINKAGE = 1e-4
"""Weight of the identity in the correlation drawn from: makes it invertible."""
TAIL_INDEX = (0.0, 0.4)
"""Bounds of the generalised Pareto index: no end point, and the tail of 2.5 degrees of freedom,
the heaviest of `MARGINAL_GRID`. ES and variance are finite."""
FEWEST_IN_TAIL = 10


def kendall_tau(values: Float64Array) -> Float64Array:
    """Kendall's tau-b of every pair of columns, over the rows on which both are known.

    tau = (concordant - discordant) / sqrt((pairs not tied in x) * (pairs not tied in y)). Signs of
    all differences are kept as bits, and pairs of columns are compared 64 differences at a time.

    Parameters
    ----------
    values : float64 array of shape (n_rows, n)
        NaN: not known.

    Returns
    -------
    float64 array of shape (n, n)
        Symmetric, unit diagonal; 0 where a column does not vary. Columns (1, 2, 3, 4) and
        (1, 3, 2, 4) have five pairs in order and one against: 4 / 6.
    """
    above, below, both = _difference_bits(values)
    differs = above | below
    # Columns without ties or gaps first: for them one count of opposite signs is enough. Then
    # those without gaps: their own differences are all differences.
    all_bits = _packed(_wanted(len(values)))
    plain = (differs == all_bits).all(axis=1) & (len(values) > 1)
    whole = (both == all_bits).all(axis=1)
    order = np.lexsort((~whole, ~plain))
    above, differs, both = above[order], differs[order], both[order]
    n, n_plain, n_whole = values.shape[1], int(plain.sum()), int(whole.sum())
    own = _count(differs)
    out = np.eye(n)
    total = len(values) * (len(values) - 1) // 2
    # Results of bit operations are written to arrays kept: new ones would cost more than the work.
    opposite, shared = np.empty_like(above), np.empty_like(above)
    for k in range(n - 1):
        easy, rest = slice(k + 1, max(k + 1, n_plain)), slice(max(k + 1, n_plain), n)
        np.bitwise_xor(above[k], above[k + 1 :], out=opposite[k + 1 :])
        if n_plain > k + 1:
            out[k, easy] = 1.0 - 2.0 * _count(opposite[easy]) / total
        np.bitwise_and(differs[k], differs[rest], out=shared[rest])
        np.bitwise_and(opposite[rest], shared[rest], out=opposite[rest])
        score = _count(shared[rest]) - 2 * _count(opposite[rest])
        first, second = np.full(n, own[k]), own.copy()
        gaps = slice(max(rest.start, n_whole), n)
        np.bitwise_and(differs[k], both[gaps], out=shared[gaps])
        first[gaps] = _count(shared[gaps])
        np.bitwise_and(both[k], differs[gaps], out=shared[gaps])
        second[gaps] = _count(shared[gaps])
        root = np.sqrt((first[rest] * second[rest]).astype(np.float64))
        out[k, rest] = np.divide(score, root, out=np.zeros(len(root)), where=root > 0.0)
    back = np.argsort(order)
    upper = np.triu(out, 1)
    return np.asarray((np.eye(n) + upper + upper.T)[np.ix_(back, back)])


def copula_correlation(tau: Float64Array) -> Float64Array:
    """Correlation of an elliptical copula with these Kendall taus: sin(pi tau / 2).

    Repaired to be positive semidefinite by `nearest_correlation` (negative eigenvalues to zero,
    unit diagonal again) and shrunk by `SHRINKAGE` toward the identity. tau 1/3 gives
    0.5 * (1 - 1e-4) = 0.49995.
    """
    repaired = (1.0 - SHRINKAGE) * nearest_correlation(np.sin(0.5 * np.pi * tau))
    np.fill_diagonal(repaired, 1.0)
    return repaired


def fit_copula_dof(values: Float64Array, correlation: Float64Array) -> float:
    """Degrees of freedom in `COPULA_GRID` with the highest profile likelihood.

    The log density of the t copula of `correlation` (fixed at its estimate) is summed over the
    rows of `values` (n_rows, n), no NaN, each column taken to rank / (n_rows + 1). The determinant
    of the correlation is the same for all and left out.
    """
    n_rows, n = values.shape
    root = np.linalg.cholesky(correlation)
    rank = _ranks(values)
    best, highest = COPULA_GRID[0], -np.inf
    for nu in COPULA_GRID:
        # Ranks take few values, so the quantile is looked up rather than computed for each.
        quantile = special.stdtrit(nu, np.arange(1.0, n_rows + 1.0) / (n_rows + 1.0))
        x = quantile[rank]
        z = np.linalg.solve(root, x.T)
        joint = -0.5 * (nu + n) * np.log1p((z * z).sum(axis=0) / nu)
        alone = -0.5 * (nu + 1.0) * np.log1p(np.square(quantile) / nu)
        constant = special.gammaln(0.5 * (nu + n)) - special.gammaln(0.5 * nu)
        one = special.gammaln(0.5 * (nu + 1.0)) - special.gammaln(0.5 * nu)
        level = n_rows * (constant - n * one)
        likelihood = level + float(joint.sum()) - float(alone[rank].sum())
        if likelihood > highest:
            best, highest = nu, likelihood
    return best


def fit_marginal_dof(values: Float64Array) -> Float64Array:
    """Degrees of freedom in `MARGINAL_GRID` of highest likelihood for each column, (n,).

    The density is Student-t about zero with the column's own mean square; NaN rows are left out.
    A column that does not move gets the largest.
    """
    known = np.isfinite(values)
    squares = np.where(known, values, 0.0) ** 2
    days = known.sum(axis=0)
    mean = np.divide(squares.sum(axis=0), days, out=np.zeros(values.shape[1]), where=days > 0)
    unit = np.divide(squares, mean, out=np.zeros_like(squares), where=mean > 0.0)
    likelihood = []
    for nu in MARGINAL_GRID:
        one = special.gammaln(0.5 * (nu + 1.0)) - special.gammaln(0.5 * nu)
        level = one - 0.5 * np.log(np.pi * (nu - 2.0))
        likelihood.append(days * level - 0.5 * (nu + 1.0) * np.log1p(unit / (nu - 2.0)).sum(axis=0))
    best = np.asarray(MARGINAL_GRID)[np.argmax(likelihood, axis=0)]
    return np.asarray(np.where(mean > 0.0, best, MARGINAL_GRID[-1]))


def draw_t(
    correlation: Float64Array, dof: float, pairs: int, seed: int, rows: Int64Array
) -> Float64Array:
    """Draw `rows` of multivariate Student-t vectors, shape (len(rows), pairs).

    y = L e sqrt(dof / w) with L the Cholesky factor, e normal and w chi-square. Minus the draws are
    the other half of antithetic pairs. Row k depends on rows 0 .. k of the correlation alone, so a
    factor added at the end of a market leaves the others' draws as they are. Same seed, same bits.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    mixing = np.sqrt(dof / generator.chisquare(dof, pairs))
    normal = generator.standard_normal((len(correlation), pairs))
    root = np.linalg.cholesky(correlation)[rows]
    # Not a matrix product: its order of sums would depend on the number of threads.
    return np.asarray(np.einsum("kj,jp->kp", root, normal) * mixing)


def to_marginals(
    draws: Float64Array, copula_dof: float, marginal_dof: Float64Array
) -> Float64Array:
    """Turn Student-t draws (n, pairs) into Student-t moves of unit variance, one dof per row.

    x = F_nu^-1(F_copula(y)) * sqrt((nu - 2) / nu), taken on the lower tail, where both are exact,
    and given the sign of y.
    """
    out = np.empty_like(draws)
    for nu in np.unique(marginal_dof):
        at = np.flatnonzero(marginal_dof == nu)
        x = draws[at]
        if nu != copula_dof:
            x = np.copysign(special.stdtrit(nu, special.stdtr(copula_dof, -np.abs(x))), x)
        out[at] = x * np.sqrt((nu - 2.0) / nu)
    return out


def fit_tail(excess: Float64Array) -> tuple[float, float]:
    """Index and scale of a generalised Pareto law, by probability-weighted moments.

    a0 is the mean, a1 the mean of excess_(j) * (n - j) / (n - 1), j = 1 .. n in rising order. Then
    index = 2 - a0 / (a0 - 2 a1), kept within `TAIL_INDEX`, and scale = a0 * (1 - index): the law
    has the mean of the sample, whatever the index (Hosking and Wallis 1987).

    Parameters
    ----------
    excess : float64 array of shape (n,)
        Distances beyond the threshold, not negative, no NaN; n of 2 or more.

    Returns
    -------
    (index, scale)
        (1, 1, 2, 8): a0 = 3, a1 = 7 / 12, index 4 / 11, scale 21 / 11. Equal ones have index 0.
    """
    n = len(excess)
    a0 = float(excess.mean())
    a1 = float(np.mean(np.sort(excess) * np.arange(n - 1, -1, -1) / (n - 1)))
    spread = a0 - 2.0 * a1
    low, high = TAIL_INDEX
    index = min(high, max(low, 2.0 - a0 / spread)) if spread > 0.0 else low
    return index, a0 * (1.0 - index)


def lower_quantiles(
    values: Float64Array, probability: Float64Array, tail_fraction: float, worst_multiple: float
) -> tuple[Float64Array, float]:
    """Lower quantiles of the law of a sample, and the index of its lower tail.

    Value j of n in rising order is the quantile of (j - 1/2) / n, with straight lines between. The
    lowest k, `tail_fraction` of n (rounded, at least `FEWEST_IN_TAIL`), give way to a generalised
    Pareto law (`fit_tail`) below the midpoint u of values k and k + 1:
    Q(p) = u - scale / index * ((p n / k)^-index - 1), cut at `worst_multiple` times value 1.
    Before the cut, the mean of the tail is that of the k values.

    Parameters
    ----------
    values : float64 array of shape (n,)
        No NaN, any order; more than 2 k of them, or ValueError.
    probability : float64 array
        0 < p <= 1/2. The upper quantile of 1 - p is minus the lower one of minus the values: so
        it is exact far into the tail.
    tail_fraction : float
        Above 0, below 1/2.
    worst_multiple : float
        1 or more. A worst value above zero is a bound itself.

    Returns
    -------
    (quantiles of the shape of `probability`, index)
        Values -50 .. 49, a tenth in the tail, multiple 2: u = -40.5, excesses 0.5 .. 9.5 with
        index 0 (bounded) and scale 5. Quantile of 0.25: -25.5, of 0.01: -40.5 - 5 ln 10 = -52.0129.
    """
    n = len(values)
    k = max(FEWEST_IN_TAIL, round(tail_fraction * n))
    if n <= 2 * k:
        raise ValueError(f"{n} values are too few for two tails of {k}")
    ordered = np.sort(values)
    threshold = 0.5 * (ordered[k - 1] + ordered[k])
    index, scale = fit_tail(threshold - ordered[:k])
    at = np.concatenate([[k], np.arange(k, n) + 0.5]) / n
    body = np.interp(probability, at, np.concatenate([[threshold], ordered[k:]]))
    # A tail without scale times an infinite distance would not be a number.
    ratio = np.clip(probability * (n / k), np.finfo(np.float64).tiny, 1.0)
    beyond = threshold + scale * special.boxcox(ratio, -index)
    worst = min(ordered[0], worst_multiple * ordered[0])
    return np.where(ratio < 1.0, np.maximum(beyond, worst), body), index


def to_sample_marginals(
    draws: Float64Array,
    copula_dof: float,
    values: Float64Array,
    tail_fraction: float,
    worst_multiple: float,
) -> tuple[Float64Array, Float64Array]:
    """Turn Student-t draws (n, pairs) into antithetic moves with the laws of samples.

    `values` (n_days, n) has the sample of each row of draws, as it is: neither centred nor
    rescaled; NaN is not known. The other parameters are those of `lower_quantiles`.

    Returns
    -------
    moves : float64 array of shape (n, 2 * pairs)
        Pair p is columns p and pairs + p: Q(v) and Q(1 - v) with v = F_copula(y).
    index : float64 array of shape (n, 2)
        Of the lower and the upper tail.
    """
    n, pairs = draws.shape
    moves, index = np.empty((n, 2 * pairs)), np.empty((n, 2))
    for k, y in enumerate(draws):
        probability = special.stdtr(copula_dof, -np.abs(y))
        known = values[np.isfinite(values[:, k]), k]
        low, index[k, 0] = lower_quantiles(known, probability, tail_fraction, worst_multiple)
        high, index[k, 1] = lower_quantiles(-known, probability, tail_fraction, worst_multiple)
        moves[k, :pairs] = np.where(y < 0.0, low, -high)
        moves[k, pairs:] = np.where(y < 0.0, -high, low)
    return moves, index


def _difference_bits(values: Float64Array) -> tuple[Bits, Bits, Bits]:
    """Bits of all differences: later above, later below, both known; (n_columns, n_words) each.

    The difference of rows i and i + lag (around the end) for lags 1 .. n_rows / 2 has every pair
    of rows once; with an even number of rows the last lag has only its first half.
    """
    half = len(values) // 2
    wanted = _wanted(len(values))
    n_words = len(_packed(wanted))
    above, below, both = (np.empty((values.shape[1], n_words), dtype=np.uint64) for _ in range(3))
    for k, column in enumerate(values.T):
        around = np.concatenate([column, column[:half]])
        later = np.lib.stride_tricks.sliding_window_view(around, half + 1)[:, 1:]
        now = column[:, np.newaxis]
        above[k], below[k] = _packed((later > now) & wanted), _packed((later < now) & wanted)
        known = np.isfinite(around)
        known_later = np.lib.stride_tricks.sliding_window_view(known, half + 1)[:, 1:]
        both[k] = _packed(known_later & known[: len(values), np.newaxis] & wanted)
    return above, below, both


def _wanted(n_rows: int) -> BoolArray:
    """Which differences count, (n_rows, n_rows / 2)."""
    half = n_rows // 2
    wanted = np.ones((n_rows, half), dtype=np.bool_)
    if n_rows % 2 == 0 and half:
        wanted[half:, -1] = False
    return wanted


def _packed(bits: BoolArray) -> Bits:
    """Bits in words of 64, filled up with zeros."""
    packed = np.packbits(bits)
    return np.pad(packed, (0, -len(packed) % 8)).view(np.uint64)


def _count(bits: Bits) -> Int64Array:
    """Number of ones in each row."""
    return np.asarray(np.bitwise_count(bits).sum(axis=-1, dtype=np.int64))


def _ranks(values: Float64Array) -> Int64Array:
    """Ranks 0 .. n_rows - 1 in each column; ties in the order of the rows."""
    order = np.argsort(values, axis=0, kind="stable")
    return np.asarray(np.argsort(order, axis=0, kind="stable"), dtype=np.int64)
