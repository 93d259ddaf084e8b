"""What must rise or fall, what must not matter, a tail index, and inputs that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import brentq

from engine.avalanche.config import AvalancheConfig
from engine.domain.failures import InputError
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.compiled import run_paths
from engine.kernels.avalanche.layout import METRICS
from tests.engine.avalanche.test_depth_harness import QUIET, SEED, many_currencies, metric

PATHS = 1024


def _exhausted(out: Any) -> float:
    return float(np.mean(metric(out, "exhausted_hour") >= 0))


def _mean(name: str, model: Any) -> float:
    return float(metric(run_paths(model, PATHS, SEED), name).mean())


@pytest.mark.parametrize(
    ("policy", "law"),
    [
        ("pro_rata", "square_root"),
        ("pro_rata", "linear"),
        ("greedy", "linear"),
        pytest.param("greedy", "square_root"),
    ],
)
def test_calls_rise_with_volatility_crowding_and_impact(
    make_network: Callable[..., Any], policy: str, law: str
) -> None:
    network = make_network(cash_usd=2.0e7, facility_usd=1.0e7, adv_usd=2.0e9)

    def calls(**settings: Any) -> float:
        fixed = {"sale_policy": policy, "impact_law": law, "volatility_multiplier": 4.0}
        return _mean("calls_total", network.model(**fixed | {"defaults": False} | settings))

    for name, values in (
        ("volatility_multiplier", (1.0, 2.0, 5.0)),
        ("crowding", (0.0, 5.0, 20.0)),
        ("impact_coefficient", (0.0, 0.5, 1.0)),
    ):
        means = [calls(**{name: value}) for value in values]
        assert means == sorted(means) and means[0] < means[-1], (name, means)


def test_exhaustion_falls_with_cash_and_facility(make_network: Callable[..., Any]) -> None:
    def share(cash: float, line: float, **settings: Any) -> float:
        network = make_network(cash_usd=cash, facility_usd=line)
        # The same trigger of sales for all: it is a share of resources otherwise.
        model = network.model(volatility_multiplier=4.0, liquidity_target_share=0.0, **settings)
        settled = model._replace(
            flow=np.zeros_like(model.flow),
            facility_covenant=np.array([1e9]),
            hqla=np.zeros_like(model.hqla),
        )
        return _exhausted(run_paths(settled, PATHS, SEED))

    by_cash = [share(cash, 1.0e7) for cash in (1.0e7, 3.0e7, 6.0e7, 1.2e8)]
    assert by_cash == sorted(by_cash, reverse=True) and by_cash[0] > by_cash[-1]
    by_line = [share(4.0e7, line) for line in (0.0, 2.0e7, 8.0e7)]
    assert by_line == sorted(by_line, reverse=True) and by_line[0] > by_line[-1]


def test_the_order_of_agreements_does_not_matter(make_network: Callable[..., Any]) -> None:
    """Currencies, defaults and policies included; to rounding of sums."""
    network = many_currencies(make_network(), cash_usd=2.0e6)
    order = np.random.default_rng(3).permutation(9)
    margin = network.margin
    swapped = replace(
        network,
        margin=replace(
            margin,
            agreement_id=margin.agreement_id[order],
            im_usd=margin.im_usd[order],
            vm_usd=margin.vm_usd[order],
            add_ons={k: v[order] for k, v in margin.add_ons.items()},
            components={k: v[order] for k, v in margin.components.items()},
        ),
    )
    settings = {"sale_policy": "greedy", "default_grace_hours": 0, "volatility_multiplier": 4.0}
    a, b = (run_paths(net.model(**settings), 128, SEED) for net in (network, swapped))
    assert np.any(metric(a, "default_count") > 0)
    for i, name in enumerate(METRICS):
        scale = max(float(np.max(np.abs(a.metrics[i]))), 1.0)
        assert np.max(np.abs(a.metrics[i] - b.metrics[i])) <= 1e-9 * scale, name
    np.testing.assert_allclose(a.calls[order], b.calls, rtol=1e-9, atol=1.0)


def test_splitting_positions_over_managers_changes_nothing(
    make_network: Callable[..., Any],
) -> None:
    """Exposures are sums over managers: their order is rounding only."""
    network = make_network()
    rng = np.random.default_rng(5)
    weights = rng.dirichlet(np.ones(30), network.exposures.delta.shape)
    parts = weights * network.exposures.delta[..., None]
    results = []
    for order in (np.arange(30), rng.permutation(30)):
        delta = np.zeros_like(network.exposures.delta)
        for m in order:
            delta += parts[..., m]
        shared = replace(network, exposures=replace(network.exposures, delta=delta))
        results.append(run_paths(shared.model(), 64, SEED).metrics)
    scale = np.maximum(np.abs(results[0]).max(axis=1, keepdims=True), 1.0)
    assert np.max(np.abs(results[0] - results[1]) / scale) <= 1e-9


@pytest.mark.parametrize(
    ("alpha", "beta", "kappa"), [(0.1022, 0.8852, 4.36), (0.09, 0.90, 4.41), (0.05, 0.94, 8.81)]
)
def test_tail_index_of_a_garch(alpha: float, beta: float, kappa: float) -> None:
    """Kesten (1973): E[(alpha Z^2 + beta)^(kappa / 2)] = 1, by 200 Gauss-Hermite points."""
    assert _kesten(alpha, beta) == pytest.approx(kappa, abs=0.011)


def _kesten(alpha: float, beta: float) -> float:
    points, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()

    def gap(kappa: float) -> float:
        return float(np.sum(weights * (alpha * points**2 + beta) ** (kappa / 2))) - 1.0

    return float(brentq(gap, 0.5, 40.0))


def test_hill_estimate_of_garch_draws() -> None:
    """A million draws of a GARCH(1,1), 2,000 chains side by side: within 15 % of Kesten's 4.36."""
    alpha, beta, chains, days = 0.1022, 0.8852, 2000, 500
    rng = np.random.default_rng(np.random.Philox(11))
    variance = np.ones(chains)
    draws = []
    for day in range(1000 + days):
        z = rng.standard_normal(chains)
        if day >= 1000:
            draws.append(np.sqrt(variance) * z)
        variance = (1.0 - alpha - beta) + variance * (alpha * z**2 + beta)
    size = np.sort(np.abs(np.concatenate(draws)))[::-1]
    assert len(size) == 1_000_000
    top = 1000
    hill = 1.0 / float(np.mean(np.log(size[:top] / size[top])))
    assert hill == pytest.approx(_kesten(alpha, beta), rel=0.15)


# Inputs that must be refused -------------------------------------------------------------------

HOSTILE_CONFIG = [
    ({"paths": 0}, "paths"),
    ({"seed": -1}, "seed"),
    ({"horizon_days": 31}, "horizon_days"),
    ({"volatility_multiplier": float("nan")}, "volatility_multiplier"),
    ({"volatility_multiplier": float("inf")}, "volatility_multiplier"),
    ({"crowding_by_bucket": {"equity_0": float("nan")}}, "equity_0"),
    ({"crowding_by_bucket": {"equity_0": -1.0}}, "equity_0"),
    ({"breakdown_signs": {"equity": 1.5}}, "equity"),
    ({"leverage": {"equity": -0.7}}, "missing"),
    ({"leverage": dict.fromkeys(("equity", "volatlity"), 0.0)}, "volatlity"),
    ({"tail_degrees": 2}, "tail_degrees 2 has no variance; use 0"),
    ({"jumps_per_day": 1.0, "jump_sigmas": 3.0}, "9.00 of a day's variance; keep it below 1"),
    ({"sale_policy": "user"}, "give an order"),
    ({"sale_order": ("equity_0",)}, "give an order"),
    ({"sale_policy": "cheapest"}, "sale_policy"),
    ({"default_grace_hours": -1}, "default_grace_hours"),
    ({"participation": 0.0}, "participation"),
    ({"mean_reversion_per_hour": 1.0}, "mean_reversion_per_hour"),
    ({"volatility_multipler": 2.0}, "volatility_multipler"),
    ({"adverse_change_multiple": 0.0}, "adverse_change_multiple"),
]


@pytest.mark.parametrize(("given", "message"), HOSTILE_CONFIG, ids=lambda v: str(v)[:40])
def test_a_bad_config_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        AvalancheConfig(**given)
    assert message in str(error.value)


HOSTILE_SCENARIO = [
    ({"scenario_id": "Bad Id"}, "scenario_id"),
    ({"moves": {"F00": float("nan")}}, "F00"),
    ({"moves": {"F00": float("inf")}}, "F00"),
    ({"day_shares": ()}, "day_shares"),
    ({"day_shares": (0.5, 0.4)}, "day_shares sum to 0.9; they must sum to 1"),
    ({"day_shares": (float("nan"), 1.0)}, "day_shares"),
    ({"breakdown_weight": 0.5}, "needs breakdown_signs"),
    ({"breakdown_weight": 1.5, "breakdown_signs": {"equity": 1.0}}, "breakdown_weight"),
    ({"depth_multiplier": 0.0}, "depth_multiplier"),
    ({"depth_multiplier": 2.0}, "depth_multiplier"),
    ({"haircut_multiplier": 0.5}, "haircut_multiplier"),
    ({"extra_calls_per_day": 8}, "extra_calls_per_day"),
    ({"crowding": {"equity_0": -5.0}}, "equity_0"),
    ({"volatility_by_class": {"equity": 0.0}}, "equity"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("given", "message"), HOSTILE_SCENARIO, ids=lambda v: str(v)[:40])
def test_a_bad_scenario_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Scenario(**{"scenario_id": "case", "name": "case"} | given)
    assert message in str(error.value)


UNKNOWN_IN_CONFIG = [
    {"crowding_by_bucket": {"equity_9": 3.0}},
    {"breakdown_signs": {"equties": -0.5}},
    {"sale_policy": "user", "sale_order": ("equity_9",)},
    {"sale_policy": "user", "sale_order": ("equity_0", "equity_0")},
]


@pytest.mark.parametrize("given", UNKNOWN_IN_CONFIG, ids=lambda g: next(reversed(g)))
def test_unknown_names_of_a_config_are_refused(
    make_network: Callable[..., Any], given: dict[str, Any]
) -> None:
    """The message names the value, the setting and what is known."""
    with pytest.raises(InputError) as error:
        make_network().model(**given)
    setting, value = list(given.items())[-1]
    known = "equity" if setting == "breakdown_signs" else "equity_0"
    for part in (setting, str(next(iter(value))), known):
        assert part in str(error.value)


UNKNOWN_IN_SCENARIO = [
    ("moves", {"F99": -0.1}),
    ("crowding", {"equity_9": 3.0}),
    ("volatility_by_class", {"equties": 3.0}),
    ("breakdown_signs", {"F99": -0.5}),
]


@pytest.mark.parametrize(("field", "value"), UNKNOWN_IN_SCENARIO, ids=lambda v: str(v))
def test_unknown_names_of_a_scenario_are_refused(
    make_network: Callable[..., Any], field: str, value: dict[str, float]
) -> None:
    scenario = Scenario(scenario_id="case", name="case", **{field: value})
    with pytest.raises(InputError) as error:
        make_network().model(scenario)
    message = str(error.value)
    assert "'case'" in message and field in message and next(iter(value)) in message


def test_a_scenario_longer_than_the_run_is_refused(
    make_network: Callable[..., Any],
) -> None:
    scenario = Scenario(
        scenario_id="long", name="long", moves={"F00": -0.1}, day_shares=(0.25, 0.25, 0.5)
    )
    with pytest.raises(InputError, match="takes 3 days, the run only horizon_days = 2"):
        make_network().model(scenario, horizon_days=2, noise=False)


def test_an_exchange_never_costs_more_than_it_brings(make_network: Callable[..., Any]) -> None:
    """A call in USD, cash in EUR: what is exchanged helps, or is not exchanged."""
    network = many_currencies(make_network(agreements=2, factors=2, plain=True), cash_usd=1.0e6)
    model = network.model(
        **QUIET | {"noise": False, "forced_sales": False, "volatility_multiplier": 15.0},
        fx_spread_bp=1000.0,
    )
    model = model._replace(
        cash=np.array([0.0, 1.0e8]),
        open_call=np.array([5.0e7, 0.0]),
        flow=np.zeros_like(model.flow),
        hqla=np.zeros_like(model.hqla),
        facility_limit=np.zeros(1),
        ewma_lambda=np.ones(2),
    )
    out = run_paths(model, 1, SEED)
    assert metric(out, "fx_cost")[0] < 1.0e8 and metric(out, "unpaid_max")[0] <= 5.0e7
