"""Daily scores from scrambled Sobol points: evenly spread where it matters most.

A path's day is driven by q leading scores and one mixing factor. They are drawn as one
low-discrepancy point per path; everything else (hours within the day, the other factors) stays
pseudo-random. Each replicate has a scrambling of its own, so replicates are independent and
every point is uniform: estimates are unbiased and their error is seen from replicate to replicate.

A peak is made by one bad day, and which of the days it is would be spread over as many
coordinates as there are days. So days are drawn worst first and then put in random order: the
first coordinate alone decides how bad the worst day is.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaincinv, ndtri, stdtrit
from scipy.stats import qmc

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.failures import InputError

SOBOL_BITS = 30
# Keeps these streams apart from others made from the same seed.
STREAM = 0x50B01
MOST_DIMENSIONS = qmc.Sobol.MAXDIM


def daily_scores(
    days: int, leading: int, paths: int, seed: int, replicate: int, tail_degrees: int
) -> Float64Array:
    """Return the scores of every day and path, shape (days * (leading + 1), paths).

    Row d * (leading + 1) + j is the standard normal score s_j of component j on day d: the sum over
    the day's hours of the root of the hour's share of variance times the hourly normal. Row
    d * (leading + 1) + leading is the day's mixing factor w = sqrt((nu - 2) / X), X ~ chi2_nu;
    1.0 throughout if `tail_degrees` is 0.

    Days are independent and identically distributed, built in this order:

    1. v = w s_1, the day's move along the first component (Student, unit variance), for the days
       sorted from the lowest: its probabilities are 1 - U_1^(1/D), then 1 - U_1^(1/D) U_2^(1/(D-1))
       and so on. Losses are on the low side if `leading_factor` knew the exposures.
    2. X given v is chi2_(nu+1) / (1 + v^2 / (nu - 2)), by inversion; s_1 = v / w.
    3. s_2 .. s_q, component by component.
    4. The worst day's date from one more coordinate, the order of the others pseudo-random.

    Sobol coordinates go to steps 1 to 4 in this order.

    Parameters
    ----------
    days, leading : int
        Business days and q, the number of leading components, at least 1.
    paths : int
        Paths of the replicate. Points are balanced for powers of two; for another size the first
        `paths` points of the next power of two are used: still uniform each, less even together.
    seed, replicate : int
        Scrambling and order follow from these two numbers alone.
    tail_degrees : int
        nu, 0 for Gaussian, otherwise 3 or more.

    Returns
    -------
    float64 array
        Finite throughout: a coordinate is the middle of its cell of width 2**-30.

    Raises
    ------
    InputError
        If a count is out of range.

    Notes
    -----
    Sobol points with the direction numbers of Joe and Kuo (2008), a random linear matrix scrambling
    and a digital shift (Matousek 1998), as in `scipy.stats.qmc.Sobol`. The largest of D uniforms
    is U^(1/D), the next largest that times U^(1/(D-1)), and so on. With ten Gaussian days a
    coordinate of 0.5 gives the worst day the probability 1 - 0.5^(1/10) = 0.0670, a score of
    -1.499.
    """
    _check(days, leading, paths, seed, replicate, tail_degrees)
    # Two streams: the number of coordinates must not shift the order of days.
    scramble, order = (
        np.random.Generator(
            np.random.Philox(np.random.SeedSequence([STREAM, part, seed, replicate]))
        )
        for part in range(2)
    )
    mixed = tail_degrees > 0
    u = _points(days * (leading + int(mixed)) + 1, paths, scramble)
    scores = np.ones((days, leading + 1, paths))
    move = _sorted_moves(u[:days], tail_degrees)
    if mixed:
        scores[:, leading] = _mixing(move, u[days : 2 * days], tail_degrees)
    scores[:, 0] = move / scores[:, leading]
    rest = u[days * (1 + int(mixed)) : -1].reshape(leading - 1, days, paths)
    scores[:, 1:leading] = ndtri(rest).transpose(1, 0, 2)
    rank = _rank_of_day(days, u[-1], order)
    dated = np.take_along_axis(scores, rank[:, np.newaxis, :], axis=0)
    return np.ascontiguousarray(dated.reshape(days * (leading + 1), paths))


def _check(
    days: int, leading: int, paths: int, seed: int, replicate: int, tail_degrees: int
) -> None:
    if min(days, leading, paths) < 1 or min(seed, replicate) < 0:
        raise InputError(
            f"days {days}, leading {leading}, paths {paths}, seed {seed}, replicate {replicate}: "
            "need at least one day, component and path, and no negative number"
        )
    if tail_degrees < 0 or 0 < tail_degrees < 3:
        raise InputError(
            f"tail_degrees {tail_degrees} has no variance; use 0 (Gaussian) or 3 or more"
        )
    if days * (leading + 1) >= MOST_DIMENSIONS or paths > 2**SOBOL_BITS:
        raise InputError(
            f"{days} days of {leading + 1} scores and {paths} paths: Sobol points have at most "
            f"{MOST_DIMENSIONS} coordinates and 2**{SOBOL_BITS} points; take fewer components"
        )


def _points(dimensions: int, paths: int, rng: np.random.Generator) -> Float64Array:
    """Scrambled Sobol coordinates in (0, 1), shape (dimensions, paths)."""
    sampler = qmc.Sobol(dimensions, scramble=True, bits=SOBOL_BITS, rng=rng)
    points = sampler.random_base2((paths - 1).bit_length())[:paths]
    return np.ascontiguousarray(points.T) + 0.5 * 2.0**-SOBOL_BITS


def _sorted_moves(u: Float64Array, degrees: int) -> Float64Array:
    """Moves of unit variance along the first component, lowest day first, (days, paths)."""
    days = len(u)
    above = np.exp(np.cumsum(np.log(u) / np.arange(days, 0, -1)[:, np.newaxis], axis=0))
    below = 1.0 - above
    # The smaller tail is inverted, so that no probability rounds to 1.
    tail = np.minimum(above, below)
    if degrees == 0:
        size = ndtri(tail)
    else:
        size = stdtrit(degrees, tail) * np.sqrt((degrees - 2.0) / degrees)
    return np.asarray(np.where(below < above, size, -size))


def _mixing(move: Float64Array, u: Float64Array, degrees: int) -> Float64Array:
    """Mixing factor given the day's move along the first component."""
    pull = 1.0 + move**2 / (degrees - 2.0)
    chi2 = 2.0 * gammaincinv(0.5 * (degrees + 1), u) / pull
    return np.asarray(np.sqrt((degrees - 2.0) / chi2))


def _rank_of_day(days: int, u: Float64Array, rng: np.random.Generator) -> Int64Array:
    """Rank of severity on each day, (days, paths); the worst (0) falls on day floor(days u)."""
    order = np.argsort(rng.random((days, len(u))), axis=0)
    paths = np.arange(len(u))
    worst = np.minimum((days * u).astype(np.int64), days - 1)
    at = np.argmin(order, axis=0)
    order[at, paths] = order[worst, paths]
    order[worst, paths] = 0
    return np.asarray(order, dtype=np.int64)
