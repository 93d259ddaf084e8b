from __future__ import annotations

import math

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.validation.coverage import (
    check_coverage,
    chi2_tail,
    christoffersen_lr,
    kupiec_lr,
    period_coverage,
    traffic_light,
)


def _breaches(n, *rows):
    out = np.zeros(n, dtype=bool)
    out[list(rows)] = True
    return out


def test_p_values_equal_scipy():
    from scipy.stats import chi2

    for statistic in (0.0, 0.3, 3.841458820694124, 5.991464547107979, 40.0):
        for freedom in (1, 2):
            assert chi2_tail(statistic, freedom) == pytest.approx(
                chi2.sf(statistic, freedom), rel=1e-12
            )
    assert chi2_tail(3.841458820694124, 1) == pytest.approx(0.05, rel=1e-12)
    assert chi2_tail(5.991464547107979, 2) == pytest.approx(0.05, rel=1e-12)
    with pytest.raises(ValueError, match="3 degrees"):
        chi2_tail(1.0, 3)


def test_likelihood_ratios_by_hand():
    breach = _breaches(250, 10, 11, 100, 200)
    x, n, p = 4, 250, 0.01
    by_hand = -2 * math.log(((1 - p) ** (n - x) * p**x) / ((1 - x / n) ** (n - x) * (x / n) ** x))
    assert kupiec_lr(breach, p) == pytest.approx(by_hand, rel=1e-12)
    assert kupiec_lr(_breaches(100, 5), 0.01) == 0.0
    assert kupiec_lr(np.zeros(100, dtype=bool), 0.01) == pytest.approx(-200 * math.log(0.99))
    assert kupiec_lr(np.ones(3, dtype=bool), 0.01) == pytest.approx(-6 * math.log(0.01))
    assert christoffersen_lr(np.zeros(100, dtype=bool)) == 0.0
    assert christoffersen_lr(np.ones(1, dtype=bool)) == 0.0
    # Transitions of 0 1 1 0: one each of 0->1, 1->1, 1->0; pooled 2 of 3, split 1 of 1, 1 of 2.
    pooled = 2 * math.log(2 / 3) + math.log(1 / 3)
    split = 2 * math.log(0.5)
    assert christoffersen_lr(_breaches(4, 1, 2)) == pytest.approx(2 * (split - pooled), rel=1e-12)


@pytest.mark.parametrize(
    ("breaches", "days", "rate", "light"),
    [
        (0, 250, 0.01, "green"),
        (4, 250, 0.01, "green"),
        (5, 250, 0.01, "yellow"),
        (9, 250, 0.01, "yellow"),
        (10, 250, 0.01, "red"),
        # Other lengths and rates, from scipy's binomial law.
        (15, 1000, 0.01, "yellow"),
        (14, 1000, 0.01, "green"),
        (24, 1000, 0.01, "red"),
        (23, 1000, 0.01, "yellow"),
        (76, 7061, 0.01, "green"),
    ],
)
def test_traffic_light_of_the_basel_committee(breaches, days, rate, light):
    assert traffic_light(breaches, days, rate) == light


def test_coverage_of_losses():
    loss = np.array([1.0, 3.0, 2.0, 5.0])
    found = check_coverage(loss, np.full(4, 2.0), 0.25)
    assert (found.n, found.breaches, found.rate) == (4, 2, 0.5)  # a loss equal to margin is covered
    assert (found.mean_excess, found.max_excess) == (2.0, 3.0)
    assert found.conditional_lr == found.kupiec_lr + found.christoffersen_lr
    assert found.conditional_p == pytest.approx(math.exp(-found.conditional_lr / 2), rel=1e-14)
    assert found.to_dict()["light"] == traffic_light(2, 4, 0.25)
    none = check_coverage(loss, np.full(4, 9.0), 0.25)
    assert (none.breaches, none.mean_excess, none.max_excess) == (0, 0.0, 0.0)
    with pytest.raises(InputError, match="no day"):
        check_coverage(np.zeros(0), np.zeros(0), 0.01)


def test_period_losses_overlap_and_are_flagged():
    loss = np.array([1.0, 1.0, -1.0, 2.0])
    found = period_coverage(loss, np.full(4, 1.5), 2, 0.5)
    # Sums 2, 0, 1: rows 0, 1, 2; apart are rows 0 and 2.
    assert (found.n, found.breaches, found.apart, found.apart_breaches) == (3, 1, 2, 1)
    assert found.overlapping
    assert found.apart_kupiec_p == 1.0
    assert found.to_dict()["breach_rate"] == pytest.approx(1 / 3)
    one = period_coverage(loss, np.full(4, 1.5), 1, 0.5)
    assert (one.n, one.breaches, one.overlapping) == (4, 1, False)
    unknown = period_coverage(loss, np.array([np.nan, 1.5, 1.5, 1.5]), 2, 0.5)
    assert (unknown.n, unknown.breaches, unknown.apart) == (2, 0, 1)
    short = period_coverage(loss, np.full(4, 1.5), 5, 0.5)
    assert short.n == 0
    assert short.to_dict()["breach_rate"] is None


def test_tests_have_their_size():
    """Under a right model p-values are spread evenly: no more than chance rejects at 5 %."""
    rng = np.random.default_rng(1995)
    rejected = np.zeros(3)
    for _ in range(400):
        loss = rng.random(2000)
        found = check_coverage(loss, np.full(2000, 0.95), 0.05)
        rejected += np.array([found.kupiec_p, found.christoffersen_p, found.conditional_p]) < 0.05
    assert (rejected / 400 < 0.09).all()
    # Negative controls: too many, and bunched.
    wrong = check_coverage(rng.random(2000), np.full(2000, 0.93), 0.05)
    assert wrong.kupiec_p < 0.01
    bunched = np.repeat(rng.random(500), 4)
    assert check_coverage(bunched, np.full(2000, 0.95), 0.05).christoffersen_p < 1e-6
