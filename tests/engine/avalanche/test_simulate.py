"""The simulation's summary: figures that must agree with each other and with the runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.simulate import simulate_fund
from engine.domain.results import AvalancheResult


@pytest.fixture(scope="module")
def result(make_network: Callable[..., Any]) -> AvalancheResult:
    network = make_network(cash_usd=2.0e7)
    config = AvalancheConfig(paths=2_000, crowding=10.0)
    return simulate_fund(network.fund, config)


def test_amplification_is_the_ratio_of_the_paths_sums(result: AvalancheResult) -> None:
    total = result.per_path["calls_usd"].sum()
    exogenous = result.per_path["calls_without_feedback_usd"].sum()
    assert result.amplification.value == pytest.approx(total / exogenous, rel=1e-12)
    assert result.amplification.low <= result.amplification.value <= result.amplification.high


def test_feedback_enlarges_sales(result: AvalancheResult) -> None:
    assert result.sales_amplification.low > 1.0


def test_bands_are_shares(result: AvalancheResult) -> None:
    assert sum(result.bands.values()) == pytest.approx(1.0)
    both = result.per_path["avalanche"] * result.per_path["runaway"]
    expected = result.p_avalanche.value - both.mean()
    assert result.bands["avalanche"] == pytest.approx(expected)
    assert result.bands["runaway"] == result.estimates["p_runaway"].value


def test_calls_by_window_sum_to_the_mean(result: AvalancheResult) -> None:
    assert result.mean_calls_by_window_usd.sum() == pytest.approx(result.calls_total_mean, rel=1e-9)
    assert result.mean_calls_by_agreement_usd.sum() == pytest.approx(
        result.calls_total_mean, rel=1e-9
    )


def test_tail_calls_exceed_the_mean(result: AvalancheResult) -> None:
    assert result.tail_calls_by_agreement_usd.sum() > result.mean_calls_by_agreement_usd.sum()
    assert result.peak_call_es99.value >= result.peak_call_q99.value >= result.peak_call_mean


def test_fan_is_ordered_and_cash_closes(result: AvalancheResult) -> None:
    assert np.all(np.diff(result.fan_usd, axis=0) >= 0)
    assert result.cash_error_cents == 0


def test_json_has_only_finite_numbers(result: AvalancheResult) -> None:
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text)["peak_call_usd"].keys() >= {"mean", "q99", "es99", "es99_low"}
    for name, table in result.tables().items():
        assert np.all(np.isfinite(table.select_dtypes("number").to_numpy())), name


def test_more_threads_give_the_same_result(make_network: Callable[..., Any]) -> None:
    network = make_network()
    config = AvalancheConfig(paths=300)
    one = simulate_fund(network.fund, config, threads=1)
    two = simulate_fund(network.fund, config, threads=2)
    assert one.to_dict() == two.to_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"paths": 0}, "greater than or equal to 1"),
        ({"tail_degrees": 2}, "no variance"),
        ({"leverage": {"equity": -0.5}}, "missing"),
        ({"crowding": float("nan")}, "finite"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_config_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AvalancheConfig(**settings)
