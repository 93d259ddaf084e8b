"""Amplification by manager: sums, symmetry, null players, and the models of subsets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.avalanche.attribution.coalitions import OTHERS, Coalitions, players_of
from engine.avalanche.attribution.holders import Holders
from engine.avalanche.attribution.shapley import (
    exact_shapley,
    fund_amplification,
    sampled_orders,
    sampled_shapley,
)
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund
from engine.domain.failures import InputError
from engine.kernels.avalanche.layout import Model

SETTINGS: dict[str, Any] = {
    "paths": 64,
    "crowding": 10.0,
    "horizon_days": 3,
    "sampling": "independent",
}


def prepared(network: Any) -> PreparedFund:
    return PreparedFund(
        network.book,
        network.market,
        network.margin,
        network.exposures,
        network.inputs,
        network.curve,
    )


def holders(network: Any, parts: tuple[float, ...]) -> Holders:
    """Managers who each hold one share of every agreement."""
    delta, gamma = 100.0 * network.exposures.delta, 100.0 * network.exposures.gamma
    agreements = len(delta)
    row = np.tile(np.arange(agreements), len(parts))
    manager = np.repeat(np.arange(len(parts)), agreements)
    part = np.array(parts)[manager]
    return Holders(
        row,
        manager,
        np.array([f"M{m}" for m in range(len(parts))], dtype=object),
        part[:, None] * delta[row],
        part[:, None] * gamma[row],
        part * 100.0 * network.exposures.value[row],
        part * 100.0 * network.margin.vm_usd[row],
        part * 100.0 * network.margin.im_usd[row],
    )


class Table:
    """Worth of sets from a table of sizes: (3, 2) arrays."""

    def __init__(self, worth: dict[frozenset[int], float]) -> None:
        self._worth = worth

    def of(self, present: np.ndarray) -> np.ndarray:
        value = self._worth[frozenset(np.flatnonzero(present).tolist())]
        return np.full((3, 2), value)


def test_worked_numbers_of_two_and_three_players() -> None:
    two = {frozenset(): 0.0, frozenset({0}): 1.0, frozenset({1}): 2.0, frozenset({0, 1}): 5.0}
    of_two = exact_shapley(Table(two), 2)[:, 0, 0]  # type: ignore[arg-type]
    np.testing.assert_allclose(of_two, [2.0, 3.0])
    rng = np.random.default_rng(5)
    sets = [frozenset(c) for n in range(4) for c in itertools.combinations(range(3), n)]
    three = Table({each: float(rng.normal()) if each else 0.0 for each in sets})
    exact = exact_shapley(three, 3)  # type: ignore[arg-type]
    every = np.array(list(itertools.permutations(range(3))))
    sampled, error = sampled_shapley(three, every)  # type: ignore[arg-type]
    np.testing.assert_allclose(sampled, exact, rtol=1e-12, atol=1e-12)
    assert np.all(error >= 0.0)


def test_orders_come_in_pairs() -> None:
    orders = sampled_orders(5, 7, 3)
    assert orders.shape == (8, 5)
    np.testing.assert_array_equal(orders[::2], orders[1::2, ::-1])
    np.testing.assert_array_equal(orders, sampled_orders(5, 7, 3))


def test_all_players_are_the_fund_itself(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    fund, config = prepared(network), AvalancheConfig(**SETTINGS)
    players = players_of(holders(network, (0.7, 0.6, -0.3)), 9, 8)
    build = Coalitions(fund, players, config)
    again = build.model(np.ones(3, dtype=bool))
    for name in Model._fields:
        mine, whole = np.asarray(getattr(again, name)), np.asarray(getattr(build.whole, name))
        np.testing.assert_allclose(mine, whole, rtol=1e-9, atol=1.0, err_msg=name)


def test_half_a_fund_has_half_the_margin(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    # Convexity adds its own variance, so only books without it scale with size exactly.
    network.exposures.gamma.setflags(write=True)
    network.exposures.gamma[:] = 0.0
    fund, config = prepared(network), AvalancheConfig(**SETTINGS)
    build = Coalitions(fund, players_of(holders(network, (0.5, 0.5)), 9, 8), config)
    half = build.model(np.array([True, False]))
    np.testing.assert_allclose(half.im_start, 0.5 * build.whole.im_start, atol=1.0)
    np.testing.assert_allclose(
        half.concentration_start, 0.5**1.5 * build.whole.concentration_start, atol=1.0
    )
    np.testing.assert_allclose(half.daily_norm, 0.5 * build.whole.daily_norm, rtol=1e-12)


def test_values_sum_symmetry_and_null_player(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    fund, config = prepared(network), AvalancheConfig(**SETTINGS)
    found = fund_amplification(fund, holders(network, (0.5, 0.5, 0.0)), config, paths=64)
    assert found.method == "all sets"
    assert np.all(np.abs(found.whole_usd) > 0.0)
    np.testing.assert_allclose(found.shapley_usd.sum(axis=0), found.whole_usd, rtol=1e-9)
    np.testing.assert_allclose(found.shapley_usd[0], found.shapley_usd[1], rtol=1e-9)
    np.testing.assert_allclose(found.shapley_usd[2], 0.0, atol=1e-6 * abs(found.whole_usd).max())
    # Leaving one out does not sum to the whole.
    gap = np.abs(found.leave_one_out_usd.sum(axis=0) - found.whole_usd)
    assert np.all(gap > 0.2 * np.abs(found.whole_usd))
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.tables()["amplification_by_manager"]) == 3


def test_sampled_orders_sum_too(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    fund, config = prepared(network), AvalancheConfig(**SETTINGS)
    parts = (0.3, 0.25, 0.2, 0.15, 0.06, 0.04)
    found = fund_amplification(
        fund, holders(network, parts), config, permutations=6, managers=5, paths=64
    )
    assert found.method == "sampled orders"
    assert found.orders == 6
    assert found.name[-1] == OTHERS
    assert found.members[-1] == ("M4", "M5")
    np.testing.assert_allclose(found.shapley_usd.sum(axis=0), found.whole_usd, rtol=1e-9)
    assert np.any(found.order_error_usd > 0.0)


def test_without_feedback_nobody_amplifies(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    config = AvalancheConfig(**SETTINGS, feedback=False)
    found = fund_amplification(prepared(network), holders(network, (0.5, 0.5)), config, paths=64)
    assert not found.shapley_usd.any()


def test_wrong_calls(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=1.0e7)
    fund, config = prepared(network), AvalancheConfig(**SETTINGS)
    who = holders(network, (0.5, 0.5))
    with pytest.raises(InputError, match="need at least 4 and 2"):
        fund_amplification(fund, who, config, permutations=2)
    with pytest.raises(InputError, match="paths 65"):
        fund_amplification(fund, who, config, paths=65)
    with pytest.raises(InputError, match="at least 2 players"):
        fund_amplification(fund, who, config, managers=1, paths=64)
