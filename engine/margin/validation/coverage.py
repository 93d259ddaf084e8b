"""Coverage tests of a margin model: how often, how far and how bunched losses exceed margin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array
from engine.domain.failures import InputError

# Cumulative probabilities at which the zones begin (Basel Committee, 1996, supervisory framework
# for backtesting).
YELLOW_FROM = 0.95
RED_FROM = 0.9999


@dataclass(frozen=True)
class Coverage:
    """Breaches of a margin by the losses it was held against.

    `kupiec_p` and `christoffersen_p` have 1 degree of freedom, `conditional_p` has 2. Excesses
    are loss minus margin on the days of breach, in the units of the margin; 0 without a breach.
    """

    n: int
    breaches: int
    expected_rate: float
    kupiec_lr: float
    christoffersen_lr: float
    light: str
    mean_excess: float
    max_excess: float

    @property
    def rate(self) -> float:
        """Share of days with a breach."""
        return self.breaches / self.n

    @property
    def kupiec_p(self) -> float:
        """Probability of a coverage ratio this large if the model is right."""
        return chi2_tail(self.kupiec_lr, 1)

    @property
    def christoffersen_p(self) -> float:
        """Probability of an independence ratio this large if breaches are independent."""
        return chi2_tail(self.christoffersen_lr, 1)

    @property
    def conditional_lr(self) -> float:
        """Ratio of conditional coverage, the sum of the other two: chi-squared(2)."""
        return self.kupiec_lr + self.christoffersen_lr

    @property
    def conditional_p(self) -> float:
        """Probability of both together if the model is right."""
        return chi2_tail(self.conditional_lr, 2)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the tests."""
        return {
            "n": self.n,
            "breaches": self.breaches,
            "breach_rate": self.rate,
            "expected_rate": self.expected_rate,
            "kupiec_lr": self.kupiec_lr,
            "kupiec_p": self.kupiec_p,
            "christoffersen_lr": self.christoffersen_lr,
            "christoffersen_p": self.christoffersen_p,
            "conditional_lr": self.conditional_lr,
            "conditional_p": self.conditional_p,
            "light": self.light,
            "mean_excess": self.mean_excess,
            "max_excess": self.max_excess,
        }


@dataclass(frozen=True)
class PeriodCoverage:
    """Breaches of the margin by losses over the whole margin period of risk.

    Periods begin every day and overlap, so that `breaches` are not independent and no test is
    made of them. `apart` are the periods that begin every `days` days, which do not overlap, and
    `apart_kupiec_p` is their coverage test.
    """

    days: int
    n: int
    breaches: int
    apart: int
    apart_breaches: int
    apart_kupiec_p: float

    @property
    def overlapping(self) -> bool:
        """Whether periods share days."""
        return self.days > 1

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object; `overlapping` flags a rate that no test may be made of."""
        return {
            "days": self.days,
            "n": self.n,
            "breaches": self.breaches,
            "breach_rate": self.breaches / self.n if self.n else None,
            "overlapping": self.overlapping,
            "apart": self.apart,
            "apart_breaches": self.apart_breaches,
            "apart_kupiec_p": self.apart_kupiec_p,
        }


def check_coverage(loss: Float64Array, margin: Float64Array, expected_rate: float) -> Coverage:
    """Test losses against the margins held on them.

    Parameters
    ----------
    loss, margin : float64 arrays of shape (n,)
        Positive is a loss; no NaN. A loss equal to the margin is covered.
    expected_rate : float
        Breaches per day that the model claims, above 0 and below 1.

    Returns
    -------
    Coverage

    Raises
    ------
    InputError
        If there is no day to test.

    Examples
    --------
    Losses 1, 3, 2 against margins of 2 at a rate of 0.5: one breach with an excess of 1.
    """
    if len(loss) == 0:
        raise InputError("there is no day to test coverage on; lengthen the series")
    breach = loss > margin
    excess = (loss - margin)[breach]
    return Coverage(
        n=len(breach),
        breaches=int(breach.sum()),
        expected_rate=expected_rate,
        kupiec_lr=kupiec_lr(breach, expected_rate),
        christoffersen_lr=christoffersen_lr(breach),
        light=traffic_light(int(breach.sum()), len(breach), expected_rate),
        mean_excess=float(excess.mean()) if len(excess) else 0.0,
        max_excess=float(excess.max()) if len(excess) else 0.0,
    )


def period_coverage(
    daily_loss: Float64Array, margin: Float64Array, days: int, expected_rate: float
) -> PeriodCoverage:
    """Compare the margin of day t with the loss of days t + 1 to t + `days`.

    Parameters
    ----------
    daily_loss, margin : float64 arrays of shape (n,)
        Row t has the loss of the day after the margin of row t was set, so a period is rows t to
        t + days - 1. NaN in `margin` (a tool without its history) is not tested.

    Examples
    --------
    Losses 1, 1, -1, 2 against a margin of 1.5 over 2 days: sums 2, 0, 1, so one breach of three;
    apart are the first and the third, with one breach of two.
    """
    count = len(daily_loss) - days + 1
    if count < 1:
        return PeriodCoverage(days, 0, 0, 0, 0, math.nan)
    total = np.zeros(count)
    for shift in range(days):
        total += daily_loss[shift : shift + count]
    known = np.isfinite(margin[:count])
    breach = (total > margin[:count])[known]
    apart = breach[::days]
    p = chi2_tail(kupiec_lr(apart, expected_rate), 1) if len(apart) else math.nan
    return PeriodCoverage(days, len(breach), int(breach.sum()), len(apart), int(apart.sum()), p)


def kupiec_lr(breach: BoolArray, rate: float) -> float:
    """Likelihood ratio of unconditional coverage, chi-squared with 1 degree of freedom.

    LR = -2 ln[ (1-p)^(n-x) p^x / ((1-x/n)^(n-x) (x/n)^x) ]   (Kupiec 1995)

    76 breaches in 7061 days against 1 % give 0.41.
    """
    n, x = len(breach), int(np.sum(breach))
    return max(0.0, 2.0 * (_bernoulli(x, n, x / n) - _bernoulli(x, n, rate)))


def christoffersen_lr(breach: BoolArray) -> float:
    """Likelihood ratio of independence of consecutive breaches, chi-squared(1).

    From the counts of the four transitions (Christoffersen 1998). A state that never occurs
    adds nothing, so a series without breaches gives 0.
    """
    before, after = breach[:-1], breach[1:]
    n0, n1 = int(np.sum(~before)), int(np.sum(before))
    x0, x1 = int(np.sum(~before & after)), int(np.sum(before & after))
    if n0 + n1 == 0:
        return 0.0
    pooled = _bernoulli(x0 + x1, n0 + n1, (x0 + x1) / (n0 + n1))
    split = sum(_bernoulli(x, n, x / n) for x, n in ((x0, n0), (x1, n1)) if n > 0)
    return max(0.0, 2.0 * (split - pooled))


def traffic_light(breaches: int, days: int, rate: float) -> str:
    """Return the zone of a number of breaches: `green`, `yellow` or `red`.

    Yellow begins where a right model would have that many breaches or fewer with a probability of
    at least 95 %, red at 99.99 % (Basel Committee 1996; exact binomial law, any number of days).
    On 250 days at 1 %: green to 4, yellow 5 to 9, red from 10.
    """
    from scipy.stats import binom

    probability = float(binom.cdf(breaches, days, rate))
    if probability < YELLOW_FROM:
        return "green"
    return "yellow" if probability < RED_FROM else "red"


def chi2_tail(statistic: float, degrees_of_freedom: int) -> float:
    """P(chi-squared > statistic): erfc(sqrt(x / 2)) for 1 degree of freedom, exp(-x / 2) for 2.

    `chi2_tail(3.841458820694124, 1)` and `chi2_tail(5.991464547107979, 2)` are 0.05.
    """
    if degrees_of_freedom not in (1, 2):
        raise ValueError(f"{degrees_of_freedom} degrees of freedom; the tests here have 1 or 2")
    half = max(statistic, 0.0) / 2.0
    return math.erfc(math.sqrt(half)) if degrees_of_freedom == 1 else math.exp(-half)


def _bernoulli(x: int, n: int, p: float) -> float:
    """Log-likelihood of x successes in n; 0 * log 0 is 0."""
    hit = x * math.log(p) if x else 0.0
    miss = (n - x) * math.log1p(-p) if n - x else 0.0
    return hit + miss
