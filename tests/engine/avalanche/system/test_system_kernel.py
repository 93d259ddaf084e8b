"""The fire-sale kernel: twin, plain Python, lanes, and the laws it must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.kernels.system import (
    LANES,
    Drive,
    System,
    SystemState,
    build_fire_sale,
    new_state,
    run_system,
)
from engine.kernels.system_twin import run_twin

SEED = 861
STEPS = 7


def random_system(seed: int, n: int = 9, k: int = 3) -> System:
    rng = np.random.Generator(np.random.Philox(seed))
    holding = rng.uniform(5.0, 60.0, (n, k)) * np.where(rng.random((n, k)) < 0.8, 1.0, 0.0)
    margined = rng.random(n) < 0.4
    holding[margined] *= np.where(rng.random((margined.sum(), k)) < 0.3, -1.0, 1.0)
    margin = np.where(margined[:, None], rng.uniform(0.05, 0.4, (n, k)), 1.0)
    cash = rng.uniform(2.0, 8.0, n)
    other = np.where(margined, 0.0, rng.uniform(50.0, 100.0, n))
    assets = np.sum(margin * np.abs(holding), axis=1) + cash + other
    debt = np.where(margined, 0.0, assets * rng.uniform(0.93, 0.96, n))
    bound = np.where(margined, 0.0, 1.0)
    return System(
        holding,
        margin,
        cash,
        rng.uniform(0.0, 2.0, n),
        other,
        debt / 2,
        debt / 2,
        0.03 * bound,
        0.04 * bound,
        0.05 * bound,
    )


def random_drive(system: System, seed: int, scenarios: int, steps: int = STEPS) -> Drive:
    rng = np.random.Generator(np.random.Philox(seed + 1))
    n, k = system.holding.shape
    size = np.abs(system.holding).sum(axis=0)[:, None]
    law = rng.random(scenarios) < 0.5
    strength = rng.uniform(0.0, 0.8, scenarios)
    calls = rng.uniform(0.0, 2.0, (steps, n, scenarios)) * (rng.random((steps, n, 1)) < 0.2)
    return Drive(
        rng.uniform(0.9, 1.05, (k, scenarios)),
        np.where(law, strength, 0.0) / size,
        np.where(law, 0.0, strength) / np.sqrt(size),
        (rng.random((1, scenarios)) < 0.5).astype(np.float64),
        rng.uniform(1.0, 1.5, (1, scenarios)),
        calls,
        (rng.random((n, scenarios)) < 0.9).astype(np.float64),
    )


def assert_twin(system: System, drive: Drive, state: SystemState) -> None:
    n, k = system.holding.shape
    for s in range(drive.price.shape[1]):
        twin = run_twin(system, drive, s)
        np.testing.assert_array_equal(state.defaulted[:, s], twin.defaulted)
        sold = state.sold[:, s].reshape(n, k)
        for found, expected in (
            (sold, twin.sold),
            (state.price[:, s], twin.price),
            (state.cash[:, s], twin.cash),
            (state.debt[:, s], twin.debt),
            (state.equity[:, s], twin.equity),
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(SEED, SEED + 6))
def test_kernel_is_its_twin(seed: int) -> None:
    system = random_system(seed)
    drive = random_drive(system, seed, 21)
    state = run_system(system, drive)
    assert np.any(state.defaulted > 0.0)
    assert np.any(state.sold < 0.0)
    assert_twin(system, drive, state)


def test_comparison_with_the_twin_can_fail() -> None:
    system = random_system(SEED)
    drive = random_drive(system, SEED, 21)
    state = run_system(system, drive)
    other = drive._replace(linear=drive.linear * 1.001, root=drive.root * 1.001)
    with pytest.raises(AssertionError):
        assert_twin(system, other, state)


def test_compiled_is_plain_python() -> None:
    system = random_system(SEED)
    drive = random_drive(system, SEED, 5)

    def plain(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    run_tile = build_fire_sale(plain, 1)
    state = new_state(system, STEPS, 5)
    for lane in range(5):
        run_tile(lane, system, drive, state)
    compiled = run_system(system, drive)
    for found, expected in zip(compiled, state, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_scenario_does_not_depend_on_its_neighbours() -> None:
    system = random_system(SEED)
    drive = random_drive(system, SEED, LANES + 3)
    whole = run_system(system, drive)
    last = run_system(system, Drive(*(array[..., -1:] for array in drive)))
    for found, expected in zip(last, whole, strict=True):
        assert np.array_equal(found[:, 0], expected[:, -1])


def test_wealth_falls_by_what_prices_take() -> None:
    system = random_system(SEED)
    drive = random_drive(system, SEED, 16)
    state = run_system(system, drive)
    n, k = system.holding.shape
    start = np.sum(system.margin * np.abs(system.holding), axis=1) + system.cash + system.other
    end = state.cash + state.posted + state.other + (system.debt[:, None] - state.debt)
    path = np.concatenate([drive.price[None], state.path.reshape(STEPS, k, 16)])
    # Nobody gains or loses beyond price moves: bounds from selling at the best and worst price.
    held = system.holding[:, :, None]
    top = np.maximum(held * (path.max(axis=0) - 1.0), held * (path.min(axis=0) - 1.0)).sum(axis=1)
    low = np.minimum(held * (path.max(axis=0) - 1.0), held * (path.min(axis=0) - 1.0)).sum(axis=1)
    gain = end - start[:, None]
    assert np.all(gain <= np.maximum(top, 0.0) + 1e-9)
    assert np.all(gain >= np.minimum(low, 0.0) - 1e-9)


def test_price_depends_on_the_volume_not_on_its_slices() -> None:
    system = random_system(SEED)
    drive = random_drive(system, SEED, 12)
    state = run_system(system, drive)
    n, k = system.holding.shape
    net = state.sold.reshape(n, k, 12).sum(axis=0)
    fall = drive.linear * net + drive.root * np.sign(net) * np.sqrt(np.abs(net))
    np.testing.assert_allclose(state.price, drive.price * np.exp(-fall), rtol=1e-12)


def test_nothing_is_sold_twice_and_idle_institutions_hold() -> None:
    system = random_system(SEED)
    drive = random_drive(system, SEED, 30)
    state = run_system(system, drive)
    n, k = system.holding.shape
    sold, held = state.sold.reshape(n, k, 30), system.holding[:, :, None]
    assert np.all(np.abs(sold) <= np.abs(held) + 1e-9)
    assert np.all(sold * held >= 0.0)
    idle = np.repeat(drive.active[:, None, :] == 0.0, k, axis=1)
    assert np.any(idle)
    assert np.all(sold[idle] == 0.0)


def test_no_shock_no_calls_moves_nothing() -> None:
    system = random_system(SEED)._replace(cash_buffer=np.zeros(9))
    n, k = system.holding.shape
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    drive = Drive(
        np.ones((k, 1)),
        np.full((k, 1), 0.01),
        np.zeros((k, 1)),
        zero,
        one,
        np.zeros((3, n, 1)),
        np.ones((n, 1)),
    )
    state = run_system(system, drive)
    assert np.all(state.price == 1.0)
    assert np.all(state.sold == 0.0)


def test_margined_holding_pays_the_move_and_releases_its_margin() -> None:
    # Holding 100 at 10 % margin, cash 4, buffer 4. A fall of 5 % costs 5 and frees 0.5 of margin:
    # cash -0.5, short of its buffer by 4.5, of margin 9.5: 45 of 95 is sold at no impact.
    one = np.ones(1)
    system = System(np.array([[100.0]]), np.array([[0.1]]), 4.0 * one, 4.0 * one, *(0.0 * one,) * 6)
    cell = np.ones((1, 1))
    drive = Drive(0.95 * cell, 0 * cell, 0 * cell, 0 * cell, cell, np.zeros((2, 1, 1)), cell)
    state = run_system(system, drive)
    assert state.sold[0, 0] == pytest.approx(100.0 * 4.5 / 9.5, rel=1e-12)
    assert state.cash[0, 0] == pytest.approx(4.0, rel=1e-12)
    assert state.equity[0, 0] == pytest.approx(9.0, rel=1e-12)


def test_short_position_is_bought_back_and_raises_the_price() -> None:
    one = np.ones(1)
    system = System(
        np.array([[-100.0]]), np.array([[0.1]]), 4.0 * one, 4.0 * one, *(0.0 * one,) * 6
    )
    cell = np.ones((1, 1))
    drive = Drive(1.05 * cell, 0.001 * cell, 0 * cell, 0 * cell, cell, np.zeros((2, 1, 1)), cell)
    state = run_system(system, drive)
    assert state.sold[0, 0] < 0.0
    assert state.price[0, 0] > 1.05


def test_what_cannot_be_paid_is_a_default() -> None:
    one = np.ones(1)
    system = System(np.array([[10.0]]), np.ones((1, 1)), one, 0 * one, 50 * one, *(0 * one,) * 5)
    cell = np.ones((1, 1))
    drive = Drive(cell, 0 * cell, 0 * cell, 0 * cell, cell, np.zeros((3, 1, 1)), cell)
    drive.calls[0] = 20.0
    state = run_system(system, drive)
    assert state.defaulted[0, 0] == 2.0
    assert state.cash[0, 0] == pytest.approx(-9.0, rel=1e-12)
    drive.calls[0] = 11.0
    assert run_system(system, drive).defaulted[0, 0] == 0.0


def test_no_scenario_is_refused() -> None:
    system = random_system(SEED)
    drive = random_drive(system, SEED, 1)
    with pytest.raises(ValueError, match="no scenario"):
        run_system(system, Drive(*(array[..., :0] for array in drive)))
