from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.procyclicality import (
    buffered_margin,
    largest_rise,
    long_run_floor,
    peak_to_trough,
    stress_weighted,
)


def _series(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.exp(np.cumsum(rng.normal(0.0, 0.08, 400)))


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_tools_keep_their_bounds(seed, number):
    base = _series(seed)
    floor = np.full(400, np.median(base))
    assert (long_run_floor(base, floor) >= base).all()
    blend = stress_weighted(base, floor, number)
    assert blend == pytest.approx((1.0 - number) * base + number * floor, rel=1e-14)
    tool = buffered_margin(base, number, 60)
    assert np.isnan(tool.margin[:59]).all()
    margin = tool.margin[59:]
    assert (margin >= base[59:]).all()
    assert (margin <= (1.0 + number) * base[59:] * (1 + 1e-12)).all()


def test_buffer_worked_number_and_dates():
    tool = buffered_margin(np.array([100.0, 100.0, 130.0]), 0.25, 2)
    assert np.isnan(tool.margin[0])
    assert tool.margin[1:] == pytest.approx([125.0, 143.75])
    assert tool.buffer_left[1:] == pytest.approx([1.0, 13.75 / 32.5])
    base = np.array([100.0] * 10 + [300.0] * 3 + [100.0] * 7)
    dates = np.datetime64("2020-01-01") + np.arange(20)
    spells = buffered_margin(base, 0.25, 10).exhausted(dates)
    assert spells == [(dates[10], dates[13])]
    assert buffered_margin(base[:13], 0.25, 10).exhausted(dates) == [(dates[10], None)]


def test_an_unknown_floor_is_no_floor():
    assert list(long_run_floor(np.array([1.0, 1.0]), np.array([np.nan, 2.0]))) == [1.0, 2.0]


def test_measures():
    series = np.array([2.0, 1.0, 1.5, 3.0])
    assert peak_to_trough(series) == 3.0
    assert largest_rise(series, 1) == 1.0
    assert largest_rise(series, 2) == 2.0
    assert np.isnan(largest_rise(series, 4))
    with pytest.raises(InputError, match="above 0"):
        peak_to_trough(np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="widen"):
        peak_to_trough(np.array([]))
    with pytest.raises(InputError, match=r"1\.5"):
        stress_weighted(series, 1.0, 1.5)
