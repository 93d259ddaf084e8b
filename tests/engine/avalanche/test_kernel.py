"""The compiled kernel against its NumPy twin, plain Python, threads and blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.avalanche.sampling import daily_scores
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.compiled import run_paths, run_plain
from engine.kernels.avalanche.layout import METRICS, Output
from engine.kernels.avalanche.twin import run_twin

SEED = 42
CASES = [
    {"volatility_multiplier": 1.0, "tail_degrees": 0, "crowding": 0.0},
    {"volatility_multiplier": 3.0, "crowding": 5.0},
    {"volatility_multiplier": 10.0, "crowding": 20.0, "receipt_delay_hours": 0},
    {"volatility_multiplier": 5.0, "forced_sales": False},
    {"volatility_multiplier": 5.0, "feedback": False, "horizon_days": 3},
    {"sale_policy": "greedy", "crowding": 30.0, "feedback_margin": False, "default_grace_hours": 3},
    {"impact_law": "linear", "feedback_volatility": False, "largest_daily_sale_share": 0.2},
    {"feedback_depth": False, "borrowing_base_share": 0.01, "adverse_change_multiple": 6.0},
    {"feedback_prices": False, "largest_daily_raise_usd": 1.0e6, "cross_default": False},
]
CASH_USD = (4.0e7, 5.0e6)


def _same(a: Output, b: Output) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    scale = max(float(np.max(np.abs(b))), 1e-9)
    return float(np.max(np.abs(a.astype(float) - b))) / scale


@pytest.mark.parametrize("cash_usd", CASH_USD)
@pytest.mark.parametrize("settings", CASES, ids=lambda s: "-".join(f"{v}" for v in s.values()))
def test_equals_numpy_twin(
    make_network: Callable[..., Any], settings: dict[str, Any], cash_usd: float
) -> None:
    model = make_network(cash_usd=cash_usd).model(**settings)
    fast = run_paths(model, 96, SEED, fan=True, record=True)
    slow = run_twin(model, 96, SEED)
    for i, name in enumerate(METRICS):
        assert _relative_difference(fast.metrics[i], slow.metrics[i]) <= 1e-9, name
    for name in Output._fields[1:]:
        kept = 1e-6 if name == "fan" else 1e-9  # the fan is kept as float32
        a, b = getattr(fast, name), getattr(slow, name).astype(float)
        assert _relative_difference(a, b) <= kept, name


def test_scores_and_drive_equal_the_twin(make_network: Callable[..., Any]) -> None:
    """Scores bridge the day's normals and drive weighs the scenario's path, in both alike."""
    moves = {"F00": -0.08, "F01": 0.03}
    scenario = Scenario(scenario_id="fall", name="Fall", moves=moves, day_shares=(0.5, 0.5))
    model = make_network().model(scenario, scored=4, horizon_days=3)
    scores = daily_scores(3, 4, 96, SEED, 0, 5)
    drive = np.linspace(0.0, 2.0, 96)[None, :]
    fast = run_paths(model, 96, SEED, record=True, scores=scores, drive=drive)
    slow = run_twin(model, 96, SEED, scores=scores, drive=drive)
    for i, name in enumerate(METRICS):
        assert _relative_difference(fast.metrics[i], slow.metrics[i]) <= 1e-9, name
    assert _relative_difference(fast.window_moves, slow.window_moves) <= 1e-9
    assert _relative_difference(fast.window_moves, run_twin(model, 96, SEED).window_moves) > 1e-3


def test_the_comparison_can_fail(make_network: Callable[..., Any]) -> None:
    """Negative control: another seed, or one wrong coefficient, is seen."""
    model = make_network().model()
    fast = run_paths(model, 64, SEED)
    assert _relative_difference(fast.metrics[0], run_twin(model, 64, SEED + 1).metrics[0]) > 1e-3
    wrong = model._replace(im_start=model.im_start * 1.001)
    assert _relative_difference(fast.metrics[0], run_twin(wrong, 64, SEED).metrics[0]) > 1e-7


def test_equals_plain_python(make_network: Callable[..., Any]) -> None:
    model = make_network(agreements=4, factors=4).model(horizon_days=2, crowding=10.0)
    compiled = run_paths(model, 3, SEED, fan=True, record=True)
    plain = run_plain(model, 3, SEED)
    assert _same(compiled, plain)


def test_threads_and_blocks_do_not_change_a_bit(make_network: Callable[..., Any]) -> None:
    model = make_network().model(volatility_multiplier=5.0, crowding=10.0)
    whole = run_paths(model, 600, SEED, threads=1, fan=True)
    assert _same(whole, run_paths(model, 600, SEED, threads=2, fan=True))
    cuts = [0, 1, 64, 65, 200, 600]
    parts = [
        run_paths(model, stop - start, SEED, first_path=start, fan=True)
        for start, stop in zip(cuts[:-1], cuts[1:], strict=True)
    ]
    joined = Output(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)))
    assert _same(whole, joined)


def test_order_of_agreements_does_not_matter(make_network: Callable[..., Any]) -> None:
    network = make_network()
    model = network.model()
    order = np.random.default_rng(3).permutation(len(network.margin.im_usd))
    swapped = replace(
        network,
        margin=replace(
            network.margin,
            agreement_id=network.margin.agreement_id[order],
            im_usd=network.margin.im_usd[order],
            vm_usd=network.margin.vm_usd[order],
            add_ons={k: v[order] for k, v in network.margin.add_ons.items()},
        ),
    ).model()
    a, b = run_paths(model, 128, SEED), run_paths(swapped, 128, SEED)
    for i, name in enumerate(METRICS):
        assert _relative_difference(a.metrics[i], b.metrics[i]) <= 1e-9, name
    assert _relative_difference(a.calls[order], b.calls) <= 1e-9


def test_rejects_no_paths(make_network: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="paths is 0"):
        run_paths(make_network().model(), 0, SEED)
