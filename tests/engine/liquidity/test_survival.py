"""Survival of liquidity."""

from __future__ import annotations

import numpy as np

from engine.liquidity.survival import kaplan_meier, median_hours


def test_kaplan_meier_with_censoring_at_the_end() -> None:
    hours = np.array([0.0, 2.0, 2.0, -1.0])
    np.testing.assert_allclose(kaplan_meier(hours, 4), [0.75, 0.75, 0.25, 0.25])
    assert median_hours(kaplan_meier(hours, 4)) == 3.0


def test_no_exhaustion_has_no_median() -> None:
    survival = kaplan_meier(np.full(10, -1.0), 5)
    np.testing.assert_array_equal(survival, np.ones(5))
    assert median_hours(survival) is None
