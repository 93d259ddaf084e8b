"""The compiled loops against their NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest

from engine.kernels import simm_twin
from engine.kernels.simm import margins
from engine.kernels.simm_slopes import gradients
from engine.margin.simm.plan import simm_plan
from tests.engine.margin.test_simm_scenarios import book, shaken


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("horizon_days", [10, 1])
@pytest.mark.parametrize("side", ["call", "post"])
def test_kernels_equal_their_twin(seed: int, horizon_days: int, side: str) -> None:
    table = book(seed)
    plan = simm_plan(table, "2.8+2512", horizon_days, side)
    amounts = shaken(table, seed, 3)
    amounts[2, ~plan.parameter] = 0.0
    expected, expected_slope = simm_twin.margins_and_gradients(plan.structure, amounts)
    margin, same_margin = np.empty((3, 3)), np.empty((3, 3))
    slope = np.empty(amounts.shape)
    margins(plan.structure, amounts, margin)
    gradients(plan.structure, amounts, same_margin, slope)
    np.testing.assert_allclose(margin, expected, rtol=1e-12)
    np.testing.assert_allclose(same_margin, margin, rtol=1e-14)
    scale = np.abs(expected_slope).max(axis=1, keepdims=True)
    assert np.all(np.abs(slope - expected_slope) <= 1e-12 * scale)
    assert not slope[:, plan.parameter].any()
    assert not slope[2].any()


def test_outputs_are_overwritten() -> None:
    table = book(0)
    plan = simm_plan(table, "2.6", 10, "call")
    amounts = shaken(table, 0, 1)
    clean = np.zeros((1, 3)), np.zeros(amounts.shape)
    dirty = np.full((1, 3), 7.0), np.full(amounts.shape, 7.0)
    gradients(plan.structure, amounts, *clean)
    gradients(plan.structure, amounts, *dirty)
    np.testing.assert_array_equal(clean[0], dirty[0])
    np.testing.assert_array_equal(clean[1], dirty[1])
    out = np.full((1, 3), 7.0)
    margins(plan.structure, amounts, out)
    np.testing.assert_allclose(out, clean[0], rtol=1e-14)
