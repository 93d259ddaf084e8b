"""Tail attribution: every split sums to the tail figure, and a case worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.avalanche.attribution.holders import Holders
from engine.avalanche.attribution.result import NOT_EXPLAINED, TailAttribution
from engine.avalanche.attribution.selected import run_selected, sampled_model, tail_paths
from engine.avalanche.attribution.split import log_mean, spread
from engine.avalanche.attribution.tail import TailShares, attribute_fund, peak_days, split_tail
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund
from engine.avalanche.simulate import simulate_fund
from engine.domain.failures import InputError
from engine.domain.scenarios import Scenario

PATHS = 640
SETTINGS: dict[str, Any] = {"paths": PATHS, "crowding": 10.0, "horizon_days": 4}


def prepared(network: Any) -> PreparedFund:
    return PreparedFund(
        network.book,
        network.market,
        network.margin,
        network.exposures,
        network.inputs,
        network.curve,
    )


def shared(network: Any, managers: int = 3, seed: int = 11) -> Holders:
    """Every agreement's exposures in random parts, of which some are hedges."""
    rng = np.random.default_rng(seed)
    delta, gamma = 100.0 * network.exposures.delta, 100.0 * network.exposures.gamma
    agreements = len(delta)
    parts = rng.normal(1.0 / managers, 0.6, (managers, agreements))
    parts[-1] = 1.0 - parts[:-1].sum(axis=0)
    row = np.tile(np.arange(agreements), managers)
    manager = np.repeat(np.arange(managers), agreements)
    part = parts.reshape(-1)
    margin = 100.0 * network.margin.im_usd
    return Holders(
        row,
        manager,
        np.array([f"M{m}" for m in range(managers)], dtype=object),
        part[:, None] * delta[row],
        part[:, None] * gamma[row],
        part * 100.0 * network.exposures.value[row],
        part * 100.0 * network.margin.vm_usd[row],
        part * margin[row],
    )


@pytest.fixture(scope="module")
def found(make_network: Callable[..., Any]) -> TailAttribution:
    network = make_network(cash_usd=1.0e7)
    config = AvalancheConfig(**SETTINGS)
    return attribute_fund(prepared(network), shared(network), config, tail=0.95)


def test_every_split_sums_to_the_tail_call(found: TailAttribution) -> None:
    assert found.tail_usd > 0.0
    for name, split in found.by.items():
        assert split.usd.sum() == pytest.approx(found.tail_usd, rel=1e-9), name
        if split.parts:
            whole = np.sum(list(split.parts.values()), axis=0)
            np.testing.assert_allclose(whole, split.usd, rtol=1e-9, atol=1e-6)


def test_parts_agree_between_splits(found: TailAttribution) -> None:
    margin = dict(zip(found.by["margin"].name, found.by["margin"].usd, strict=True))
    for name in ("agreement", "venue", "kind", "currency", "factor", "manager"):
        variation = found.by[name].parts["variation"].sum()
        assert variation == pytest.approx(margin["variation"], rel=1e-9), name
    factor = found.by["factor"].parts
    initial = factor["size"].sum() + factor["volatility"].sum()
    assert initial == pytest.approx(margin["initial"], rel=1e-9)


def test_tail_is_the_expected_shortfall_of_the_peak_daily_call(
    make_network: Callable[..., Any], found: TailAttribution
) -> None:
    network = make_network(cash_usd=1.0e7)
    result = simulate_fund(prepared(network), AvalancheConfig(**SETTINGS))
    peak = np.sort(result.per_path["peak_daily_call_usd"])[-round(0.05 * PATHS) :]
    assert found.tail_usd == pytest.approx(peak.mean(), rel=1e-9)
    again = attribute_fund(
        prepared(network), shared(network), AvalancheConfig(**SETTINGS), tail=0.95, result=result
    )
    assert again.to_dict() == found.to_dict()


def test_agreement_split_is_the_recorded_calls(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    config = AvalancheConfig(**SETTINGS)
    model = sampled_model(prepared(network), config)
    ids, _ = tail_paths(model, config, 0.95, None, None)
    record = run_selected(model, config, ids, record=True)
    shares = split_tail(model, record, shared(network))
    for p, day in enumerate(peak_days(record)):
        called = record.window_calls[3 * day : 3 * day + 3, :, p].sum(axis=0)
        np.testing.assert_allclose(shares.variation[:, p] + shares.initial[:, p], called, rtol=1e-9)


def deterministic(make_network: Callable[..., Any]) -> tuple[Any, TailShares, TailAttribution]:
    network = make_network(2, 4, plain=True, cash_usd=1.0e9, facility_usd=1.0e9)
    config = AvalancheConfig(paths=1, horizon_days=2, noise=False, forced_sales=False)
    case = Scenario(scenario_id="down", name="Down", moves={"F00": -0.05, "F01": 0.02})
    fund, holders = prepared(network), shared(network)
    model = sampled_model(fund, config, case)
    record = run_selected(model, config, np.array([0]), record=True)
    return network, split_tail(model, record, holders), attribute_fund(
        fund, holders, config, case, tail=0.0
    )  # fmt: skip


def test_a_day_worked_by_hand(make_network: Callable[..., Any]) -> None:
    network, shares, found = deterministic(make_network)
    # Two agreements of delta 200 million: 10 million lost on F00, 4 million gained on F01, each.
    factor = dict(zip(found.by["factor"].name, found.by["factor"].parts["variation"], strict=True))
    assert factor["F00"] == pytest.approx(20.0e6, rel=1e-9)
    assert factor["F01"] == pytest.approx(-8.0e6, rel=1e-9)
    assert factor["F02"] == factor[NOT_EXPLAINED] == 0.0
    assert found.filled_share == pytest.approx(0.0, abs=1e-9)
    delta = shared(network).delta
    held = -(delta[:, 0] * -0.05 + delta[:, 1] * 0.02)
    by_manager = np.bincount(shared(network).manager, weights=held) / 100.0
    np.testing.assert_allclose(found.by["manager"].parts["variation"][:-1], by_manager, rtol=1e-9)
    # No sales: nothing of the margin call comes from size; volatility follows the two moves.
    assert np.all(shares.factor_size == 0.0)
    assert shares.factor_volatility[0, 0] > 0.0 > shares.factor_volatility[1, 0]


def test_another_result_is_refused(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    fund, config = prepared(network), AvalancheConfig(**SETTINGS)
    other = simulate_fund(fund, config.model_copy(update={"volatility_multiplier": 2.0}))
    with pytest.raises(InputError, match="give the result of this fund"):
        attribute_fund(fund, shared(network), config, result=other)
    with pytest.raises(InputError, match="give a result of this config"):
        seed = config.model_copy(update={"seed": 1})
        attribute_fund(fund, shared(network), seed, result=other)
    with pytest.raises(InputError, match="tail 1.0"):
        attribute_fund(fund, shared(network), config, tail=1.0)


def test_json_and_tables(found: TailAttribution) -> None:
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["tail_paths"] == round(0.05 * PATHS)
    assert len(found.summary(2)["by"]["factor"]) == 2
    tables = found.tables()
    assert set(tables) == {f"tail_by_{name}" for name in found.by} | {"tail_paths"}
    assert tables["tail_by_agreement"]["usd"].is_monotonic_decreasing


numbers = st.floats(-1e9, 1e9, allow_nan=False)


@given(arrays(np.float64, (4, 3), elements=numbers), arrays(np.float64, 3, elements=numbers))
@settings(deadline=None)
def test_spread_sums_to_its_target(parts: np.ndarray, target: np.ndarray) -> None:
    filled, rest = spread(target, parts)
    np.testing.assert_allclose(filled.sum(axis=0) + rest, target, rtol=1e-9, atol=1e-5)


def test_spread_and_log_mean_worked_numbers() -> None:
    filled, rest = spread(np.array([5.0]), np.array([[6.0], [-2.0]]))
    np.testing.assert_allclose(filled[:, 0], [6.75, -1.75])
    assert rest[0] == 0.0
    assert spread(np.array([5.0]), np.zeros((2, 1)))[1][0] == 5.0
    got = log_mean(np.array([np.e, 2.0, 0.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(got, [np.e - 1.0, 2.0, 0.0], rtol=1e-12)
