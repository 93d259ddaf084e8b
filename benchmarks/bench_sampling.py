"""What each way of drawing paths does to the error of peak daily calls, at equal numbers of paths.

Figures are standard errors over those of plain Monte Carlo, from replicates with fixed seeds. With
80 replicates a ratio is known to about 11 %, in a fat tail to about 15 %.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.timing import Report, medians
from tests.engine.avalanche.test_sampling import DAYS, LEADING, SEED, CallBook, call_book

TOPIC = "sampling"
REPLICATES, PATHS = 80, 1024
SHOWN = ("mean", "q99", "ES99")
# Importance sampling: one day, chosen at random, has its first score lowered by TILT and, with
# Student tails, its chi-squared scaled by SHRINK. Half of the paths stay as they are.
TILT, SHRINK = 1.5, 0.5

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]  # z (days, K, paths), mixing, weights


def _noise(book: CallBook, replicate: int, degrees: int) -> Drawn:
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([SEED, replicate, 2])))
    z = rng.standard_normal((DAYS, len(book.correlation), PATHS))
    chi2 = rng.chisquare(degrees, (DAYS, PATHS)) if degrees else np.zeros((DAYS, PATHS))
    return z, chi2, np.ones(PATHS)


def _mixing(chi2: np.ndarray, degrees: int) -> np.ndarray:
    return np.sqrt((degrees - 2.0) / chi2) if degrees else np.ones_like(chi2)


def plain(book: CallBook, replicate: int, degrees: int) -> Drawn:
    z, chi2, weight = _noise(book, replicate, degrees)
    return z, _mixing(chi2, degrees), weight


def antithetic(book: CallBook, replicate: int, degrees: int) -> Drawn:
    z, mixing, weight = plain(book, replicate, degrees)
    half = PATHS // 2
    z[..., half:], mixing[:, half:] = -z[..., :half], mixing[:, :half]
    return z, mixing, weight


def sobol(book: CallBook, replicate: int, degrees: int) -> Drawn:
    from engine.avalanche.sampling import daily_scores

    z, mixing, weight = plain(book, replicate, degrees)
    scores = daily_scores(DAYS, LEADING, PATHS, SEED, replicate, degrees)
    scores = scores.reshape(DAYS, LEADING + 1, PATHS)
    z[:, :LEADING] = scores[:, :LEADING]
    return z, scores[:, LEADING], weight


def sobol_by_date(book: CallBook, replicate: int, degrees: int) -> Drawn:
    """Days in their order of time: first component of all days, mixing, other components."""
    from scipy.special import gammaincinv, ndtri
    from scipy.stats import qmc

    z, mixing, weight = plain(book, replicate, degrees)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([SEED, replicate, 3])))
    count = DAYS * (LEADING + (degrees > 0))
    u = qmc.Sobol(count, rng=rng).random(PATHS).T + 2.0**-31
    z[:, 0], rest = ndtri(u[:DAYS]), u[DAYS:]
    if degrees:
        mixing = _mixing(2.0 * gammaincinv(degrees / 2, rest[:DAYS]), degrees)
        rest = rest[DAYS:]
    z[:, 1:LEADING] = ndtri(rest).reshape(LEADING - 1, DAYS, PATHS).transpose(1, 0, 2)
    return z, mixing, weight


def importance(book: CallBook, replicate: int, degrees: int) -> Drawn:
    z, chi2, _ = _noise(book, replicate, degrees)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([SEED, replicate, 4])))
    tilted = np.arange(PATHS // 2)
    day = rng.integers(0, DAYS, len(tilted))
    z[day, 0, tilted] -= TILT
    log_ratio = -TILT * z[:, 0] - 0.5 * TILT**2
    if degrees:
        chi2[day, tilted] *= SHRINK
        half = 0.5 * degrees
        log_ratio += 0.5 * chi2 * (1.0 - 1.0 / SHRINK) - half * np.log(SHRINK)
    weight = 1.0 / (0.5 + 0.5 * np.exp(log_ratio).mean(axis=0))
    return z, _mixing(chi2, degrees), weight


def weighted(peak: np.ndarray, weight: np.ndarray, q: float = 0.99) -> list[float]:
    """Mean, quantile and expected shortfall of weighted paths (weights sum to about n)."""
    order = np.argsort(-peak)
    x, w = peak[order], weight[order] / len(peak)
    tail = np.cumsum(w)
    last = int(np.searchsorted(tail, 1.0 - q - 1e-12))
    inside = float(np.sum(w[:last] * x[:last])) + (1.0 - q - float(np.sum(w[:last]))) * x[last]
    return [float(np.sum(w * x)), float(x[last]), inside / (1.0 - q)]


def linear(book: CallBook, factor: np.ndarray, z: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    return book.peak(factor, z, mixing)


def optioned(book: CallBook, factor: np.ndarray, z: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """The same book with sold options: gamma in a fifth of the cells, on cumulative moves."""
    rng = np.random.default_rng(6)
    shape = book.exposure.shape
    size = np.where(rng.random(shape) < 0.2, -rng.uniform(0, 0.3, shape), 0.0)
    cumulative, peak = np.zeros(z.shape[1:]), np.zeros(z.shape[2])
    for day, w in zip(z, mixing, strict=True):
        move = (factor @ day) * w
        bent = size @ (0.5 * (cumulative + move) ** 2 - 0.5 * cumulative**2)
        cumulative += move
        loss = -(book.exposure @ move + bent)
        peak = np.maximum(peak, np.maximum(loss, 0.0).sum(axis=0))
    return peak


def spread(
    book: CallBook, method: Callable[..., Drawn], degrees: int, calls: Callable, weighting: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation and mean over replicates of (mean, q99, ES99)."""
    from engine.avalanche.leading import leading_factor

    exposure = book.exposure if weighting else None
    factor = leading_factor(book.correlation, LEADING, exposure)
    seen = []
    for replicate in range(REPLICATES):
        z, mixing, weight = method(book, replicate, degrees)
        seen.append(weighted(calls(book, factor, z, mixing), weight))
    return np.std(seen, axis=0, ddof=1), np.mean(seen, axis=0)


METHODS = {
    "antithetic": (antithetic, True),
    "Sobol by date, plain PCA": (sobol_by_date, False),
    "Sobol by date, exposure PCA": (sobol_by_date, True),
    "Sobol worst day first, plain PCA": (sobol, False),
    "Sobol worst day first, exposure PCA": (sobol, True),
    "importance sampling": (importance, True),
}


def test_error_of_peak_calls(report: Report) -> None:
    book = call_book()
    for label, calls in (("linear", linear), ("options", optioned)):
        for degrees in (0, 5):
            case = f"{label}, {'Gaussian' if degrees == 0 else f'Student {degrees}'}"
            error, centre = spread(book, plain, degrees, calls, True)
            shown = " / ".join(f"{100 * e:.2f}" for e in error / centre)
            report.add(TOPIC, f"{case}: Monte Carlo {'/'.join(SHOWN)}, % of value", shown)
            for name, (method, weighting) in METHODS.items():
                other, mean = spread(book, method, degrees, calls, weighting)
                apart = np.abs(mean - centre) / np.hypot(error, other) * np.sqrt(REPLICATES)
                assert np.all(apart < 4.5), (case, name, apart)
                shown = " / ".join(f"{r:.2f}" for r in other / error)
                report.add(TOPIC, f"{case}: {name}", shown)


def test_one_large_replicate_against_many_small_ones(report: Report) -> None:
    """Error of ES99 from 16,384 paths, cut into batches of several sizes."""
    from engine.avalanche.batches import BatchOutcome, Statistic, estimate, pool
    from engine.avalanche.sampling import daily_scores

    total, runs = 16_384, 24
    es99 = Statistic("es99", "tail_mean", "x")
    for degrees in (0, 5):
        cells = []
        for paths in (256, 512, 1024):
            values = []
            for run in range(runs):
                outcomes = []
                for b in range(total // paths):
                    s = daily_scores(DAYS, 1, paths, run, b, degrees).reshape(DAYS, 2, paths)
                    outcomes.append(BatchOutcome({"x": -(s[:, 0] * s[:, 1]).min(axis=0)}))
                values.append(estimate(pool(outcomes), es99).value)
            cells.append(f"{paths}: {100 * np.std(values, ddof=1) / np.mean(values):.3f} %")
        report.add(TOPIC, f"worst of ten days, tail {degrees}: error of ES99", ", ".join(cells))


def test_time_of_scores(report: Report) -> None:
    from engine.avalanche.sampling import daily_scores

    rng = np.random.Generator(np.random.Philox(SEED))
    seconds = medians(
        {
            "sobol": lambda: daily_scores(DAYS, LEADING, PATHS, SEED, 0, 5),
            "normals": lambda: rng.standard_normal((DAYS * (LEADING + 1), PATHS)),
        }
    )
    ratio = seconds["sobol"] / seconds["normals"]
    report.add(TOPIC, "1,024 paths of daily scores", f"{seconds['sobol'] * 1e3:.1f} CPU-ms")
    report.add(TOPIC, "the same / NumPy normals", f"{ratio:.1f} x")
