from __future__ import annotations

import math

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.config import BacktestConfig
from engine.margin.stress import volatility_scale
from engine.margin.validation.one_series import LossSeries, base_margin, volatility_multiple
from engine.margin.validation.responsiveness import (
    ResponseConfig,
    StepResponse,
    _step_series,
    realised_volatility,
    responsiveness_ratio,
    step_responses,
)

RESPONSE = ResponseConfig(n_paths=8, horizon_days=40, seed=20200219)


def _metronome(multiple, before, after):
    """Losses of one size and alternating sign: the filter sees exactly their variance."""
    size = np.concatenate([np.ones(before), np.full(after, multiple)])
    loss = (size * np.where(np.arange(before + after) % 2 == 0, 1.0, -1.0))[:, None]
    return LossSeries(loss, np.datetime64("2000-01-01") + np.arange(len(loss)), before - 1)


@pytest.mark.parametrize("ewma_lambda", [0.94, 0.97, 0.99])
@pytest.mark.parametrize("multiple", [2.0, 5.0, 10.0])
def test_ewma_margin_follows_the_closed_form(ewma_lambda, multiple):
    config = BacktestConfig(model="normal", ewma_lambda=ewma_lambda, lookback_days=100)
    margin = base_margin(_metronome(multiple, 300, 60), config, 1)[:, 0]
    assert margin[0] == pytest.approx(volatility_multiple(config), rel=1e-12)
    for days in (1, 5, 10, 20, 60):
        kept = ewma_lambda**days
        by_hand = math.sqrt(kept + (1 - kept) * multiple**2)
        assert margin[days] / margin[0] == pytest.approx(by_hand, rel=1e-12)
        assert by_hand == pytest.approx(volatility_scale(ewma_lambda, multiple, days), rel=1e-14)


@pytest.mark.parametrize("multiple", [2.0, 5.0])
def test_simulated_variance_has_the_expected_mean_exactly(multiple):
    config = BacktestConfig(model="normal", lookback_days=100, floor_days=600, close_out_days=600)
    series = _step_series(config, RESPONSE, multiple)
    variance = np.square(base_margin(series, config, 1) / volatility_multiple(config))
    mean = variance.mean(axis=1)[-RESPONSE.horizon_days - 1 :]
    for days in (1, 5, 10, 20, 40):
        kept = 0.97**days
        assert mean[days] == pytest.approx(kept * mean[0] + (1 - kept) * multiple**2, rel=1e-12)


def test_history_before_the_step():
    config = BacktestConfig(lookback_days=100, floor_days=2500, close_out_days=2500)
    series = _step_series(config, RESPONSE, 5.0)
    rms = np.sqrt(np.mean(np.square(series.loss), axis=1))
    expected = np.ones(len(series.loss))
    first = 250 + RESPONSE.horizon_days
    expected[first : first + 250] = 3.0
    expected[-RESPONSE.horizon_days :] = 5.0
    np.testing.assert_allclose(rms, expected, rtol=1e-12)
    # The whole stress period is inside the ten years behind the last day followed.
    assert len(series.loss) - 2500 == first
    assert len(series) == 250 + RESPONSE.horizon_days
    scaled = _step_series(config, RESPONSE.model_copy(update={"daily_volatility": 0.5}), 5.0)
    np.testing.assert_allclose(scaled.loss, 0.5 * series.loss, rtol=1e-15)


def test_share_and_half_life():
    response = StepResponse(3.0, np.array([1.0, 1.5, 2.0, 2.5, 3.5]))
    assert [response.share(days) for days in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.25]
    assert response.half_life_days() == 2
    assert StepResponse(3.0, np.array([1.0, 1.9, 1.99])).half_life_days() is None


def test_responses_order_models_and_tools():
    tools = ("none", "buffer", "stress_weight", "long_run_floor", "stress_floor", "step")
    shares = {}
    for name, choices in {
        "fast": {"model": "fhs", "ewma_lambda": 0.94},
        "slow": {"model": "fhs", "ewma_lambda": 0.99},
        "hs": {"model": "hs"},
        "flat": {"model": "flat"},
        "normal": {"model": "normal"},
    }.items():
        found = step_responses(BacktestConfig(**choices), tools, RESPONSE)
        shares[name] = {tool: found[tool][2.0].share(10) for tool in tools}
    assert shares["fast"]["none"] > shares["slow"]["none"] > shares["hs"]["none"] >= 0.0
    assert all(share == 0.0 for share in shares["flat"].values())
    assert shares["normal"]["none"] == pytest.approx(0.337, abs=0.02)
    for name in ("fast", "slow"):
        for tool in tools[1:]:
            assert shares[name][tool] <= shares[name]["none"] + 1e-12, tool
    # Volatility doubles and the stress period had three times: the floor covers the step whole.
    assert shares["slow"]["stress_floor"] == pytest.approx(0.0, abs=1e-12)


def test_a_step_beyond_the_stress_moves_the_stress_floor():
    mild = ResponseConfig(n_paths=8, horizon_days=40, stress_multiple=1.2)
    found = step_responses(BacktestConfig(), ("none", "stress_floor"), mild)
    assert found["stress_floor"][5.0].share(20) > 0.3
    assert found["none"][5.0].half_life_days() is not None
    assert set(found["none"][5.0].to_dict()) == {
        "multiple", "share_1d", "share_5d", "share_10d", "share_20d", "half_life_days",
    }  # fmt: skip


def test_same_seed_same_path_and_another_seed_another():
    config = BacktestConfig(model="normal")
    one, same = (step_responses(config, ("none",), RESPONSE)["none"][2.0].path for _ in range(2))
    assert np.array_equal(one, same)
    other = step_responses(config, ("none",), RESPONSE.model_copy(update={"seed": 7}))
    assert not np.array_equal(one, other["none"][2.0].path)


def test_ratio_on_a_series():
    margin, volatility = np.array([10.0, 10.0, 15.0, 15.0]), np.array([1.0, 1.0, 2.0, 2.2])
    assert responsiveness_ratio(margin, volatility, 1) == pytest.approx(0.5)
    # Two days: the largest rise of volatility is from the second day to the last.
    assert responsiveness_ratio(margin, volatility, 2) == pytest.approx(0.5 / 1.2)
    assert math.isnan(responsiveness_ratio(margin, volatility, 4))
    assert math.isnan(responsiveness_ratio(margin, volatility[::-1].copy(), 3))
    with pytest.raises(InputError, match="above 0"):
        responsiveness_ratio(margin, np.array([1.0, 0.0, 1.0, 1.0]), 1)
    with pytest.raises(InputError, match="4.*3"):
        responsiveness_ratio(margin, volatility[:3], 1)


def test_realised_volatility():
    found = realised_volatility(np.array([0.03, 0.04, 0.0]), 2)
    assert math.isnan(found[0])
    np.testing.assert_allclose(found[1:], [0.0353553391, 0.0282842712], atol=5e-11)
    assert np.isnan(realised_volatility(np.array([0.1]), 2)).all()
