"""Genetic search against analytic answers, and against SLSQP of scipy as an independent oracle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from engine.stress.reverse.genetic import SearchResult, SearchSettings, search, turn_away
from engine.stress.reverse.niches import distinct_answers
from engine.stress.reverse.polish import polish
from engine.stress.reverse.rays import MoveBox, first_reach, unit_directions

SEED = 20260716
LOSS = 10.0
FULL = SearchSettings(patience=300)

Loss = Callable[[np.ndarray], np.ndarray]


def book(k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Covariance of k factors and the exposures of a linear book."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(k, k))
    return a @ a.T / k + 0.1 * np.eye(k), rng.normal(size=k)


def boxed(sigma: np.ndarray, bound: float = np.inf, sign: np.ndarray | None = None) -> MoveBox:
    k = len(sigma)
    bounds = bound * np.sqrt(np.diag(sigma))
    return MoveBox(np.linalg.cholesky(sigma), bounds, np.zeros(k) if sign is None else sign, 1e3)


def linear(sigma: np.ndarray, w: np.ndarray) -> Loss:
    """Loss -w'x of whitened points."""
    slope = -np.linalg.cholesky(sigma).T @ w
    return lambda y: y @ slope


def in_moves(box: MoveBox, loss_of_moves: Loss) -> Loss:
    return lambda y: loss_of_moves(y @ box.loading.T)


def oracle(box: MoveBox, loss_of_moves: Loss, target: float, starts: np.ndarray) -> float:
    """Least distance by SLSQP from many starts: another algorithm, in moves, not whitened."""
    sigma = box.loading @ box.loading.T
    inverse = np.linalg.inv(sigma)
    low = np.where(box.sign > 0, 0.0, -box.bound)
    high = np.where(box.sign < 0, 0.0, box.bound)
    best = np.inf
    for x0 in starts:
        done = minimize(
            lambda x: x @ inverse @ x,
            np.clip(x0, low, high),
            bounds=list(zip(low, high, strict=True)),
            constraints={"type": "ineq", "fun": lambda x: loss_of_moves(x[None])[0] - target},
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-12},
        )
        if done.success and loss_of_moves(done.x[None])[0] >= target - 1e-6:
            best = min(best, float(np.sqrt(done.fun)))
    return best


@pytest.mark.parametrize("k", [2, 10, 24, 85])
@pytest.mark.parametrize("seed", [1, 2])
def test_linear_book_reaches_the_analytic_optimum(k: int, seed: int) -> None:
    """No start is given: the search finds x* = -Sigma w L / (w' Sigma w) by itself."""
    sigma, w = book(k, seed)
    nearest = LOSS / np.sqrt(w @ sigma @ w)
    found = search(linear(sigma, w), LOSS, boxed(sigma), FULL, seed)
    ratio = found.best_by_generation / nearest
    assert (ratio >= 1.0 - 1e-9).all()
    assert ratio[50] < 1.01
    assert ratio[-1] < 1.001
    x = boxed(sigma).loading @ found.points[0]
    best = -sigma @ w * LOSS / (w @ sigma @ w)
    assert x @ best / np.linalg.norm(x) / np.linalg.norm(best) > 0.999
    assert (found.loss >= LOSS).all()
    assert (np.diff(found.best_by_generation) <= 0.0).all()


def test_worked_number_and_polish() -> None:
    plane: Loss = lambda y: y @ np.array([3.0, 4.0])  # noqa: E731
    found = search(plane, 10.0, boxed(np.eye(2)), FULL, SEED)
    assert found.points[0] == pytest.approx([1.2, 1.6], rel=1e-3)
    answer = polish(plane, 10.0, np.array([4.0, 3.0]), boxed(np.eye(2)))
    assert answer.point == pytest.approx([1.2, 1.6], rel=1e-9)
    assert answer.optimum


def test_negative_control_a_wrong_slope_is_not_the_optimum() -> None:
    sigma, w = book(10, 1)
    nearest = LOSS / np.sqrt(w @ sigma @ w)
    wrong = search(linear(sigma, np.roll(w, 1)), LOSS, boxed(sigma), FULL, 1)
    assert abs(wrong.best_by_generation[-1] / nearest - 1.0) > 0.01


def test_same_seed_same_bits_and_another_seed_another_path() -> None:
    sigma, w = book(10, 3)
    short = SearchSettings(generations=20)

    def run(seed: int) -> SearchResult:
        return search(linear(sigma, w), LOSS, boxed(sigma), short, seed)

    one, again, other = run(5), run(5), run(6)
    assert np.array_equal(one.points, again.points)
    assert np.array_equal(one.best_by_generation, again.best_by_generation)
    assert not np.array_equal(one.points, other.points)


def test_starts_help() -> None:
    sigma, w = book(60, 4)
    nearest = LOSS / np.sqrt(w @ sigma @ w)
    near = -np.linalg.cholesky(sigma).T @ w + 0.5 * np.random.default_rng(SEED).normal(size=60)
    few = SearchSettings(generations=5)
    alone = search(linear(sigma, w), LOSS, boxed(sigma), few, 1)
    helped = search(linear(sigma, w), LOSS, boxed(sigma), few, 1, near[None, :])
    assert helped.best_by_generation[0] < 1.2 * nearest < alone.best_by_generation[0]
    assert helped.best_by_generation[-1] < alone.best_by_generation[-1]


def bent(x: np.ndarray) -> np.ndarray:
    """A smooth book: linear, short gamma, and a bounded spread."""
    w = np.linspace(-1.0, 1.0, x.shape[1])
    return -x @ w + 0.15 * (x[:, 0] ** 2 + x[:, 1] ** 2) + np.tanh(x[:, 2] * x[:, 3])


@pytest.mark.parametrize(("bound", "signed"), [(np.inf, False), (0.8, False), (np.inf, True)])
def test_smooth_book_agrees_with_slsqp(bound: float, signed: bool) -> None:
    sigma, _ = book(8, 7)
    sign = np.zeros(8)
    if signed:
        sign[[0, 7]] = [-1.0, 1.0]
    box = boxed(sigma, bound, sign)
    target = 4.0 if np.isinf(bound) else 3.0
    starts = np.random.default_rng(SEED).normal(size=(20, 8)) * 2.0
    expected = oracle(box, bent, target, starts)
    loss = in_moves(box, bent)
    found = search(loss, target, box, FULL, SEED)
    assert found.best_by_generation[-1] == pytest.approx(expected, rel=1e-2)
    answer = polish(loss, target, found.points[0], box)
    assert answer.distance == pytest.approx(expected, rel=1e-3)
    assert answer.optimum
    x = box.loading @ answer.point
    assert (np.abs(x) <= box.bound * (1 + 1e-9)).all()
    assert (sign * x >= -1e-9).all()
    if np.isfinite(bound):
        free = oracle(boxed(sigma), bent, target, starts)
        assert expected > 1.001 * free, "the box must bind, or this tests nothing"


def two_modes(y: np.ndarray) -> np.ndarray:
    """Two ways to lose, at right angles: the nearest points are 4 e_0 and -5 e_1."""
    return np.maximum(y[:, 0] / 4.0, -y[:, 1] / 5.0)


@pytest.mark.parametrize("seed", range(3))
def test_both_modes_are_among_the_distinct_answers(seed: int) -> None:
    niches = distinct_answers(two_modes, 1.0, boxed(np.eye(6)), SearchSettings(), seed)
    points = np.array([answer.point for answer in niches.answers])
    units, lengths = unit_directions(points)
    assert len(points) == 5
    assert (np.diff(lengths) >= 0.0).all()
    cosines = units @ units.T - np.eye(5)
    assert cosines.max() < 0.8
    for axis, distance in ((np.eye(6)[0], 4.0), (-np.eye(6)[1], 5.0)):
        at = int(np.argmax(units @ axis))
        assert lengths[at] == pytest.approx(distance, rel=1e-4)
        assert niches.answers[at].optimum
    # The other three are not minima, and say so.
    assert sum(answer.optimum for answer in niches.answers) == 2


def test_out_of_reach_is_said() -> None:
    sigma, w = book(6, 5)
    box = boxed(sigma, 2.0)
    most = 2.0 * np.abs(w) @ np.sqrt(np.diag(sigma))
    found = search(linear(sigma, w), 1.01 * most, box, SearchSettings(generations=120), 1)
    assert not found.reached
    assert len(found.points) == 0
    assert np.isnan(found.best_by_generation).all()
    # The worst corner of the box is found all the same.
    assert 0.98 * most < found.largest_loss <= most * (1 + 1e-9)
    niches = distinct_answers(linear(sigma, w), 1.01 * most, box, SearchSettings(), 1)
    assert niches.answers == ()
    # Just inside the box it is reached.
    assert search(linear(sigma, w), 0.97 * most, box, SearchSettings(), 1).reached


def test_a_target_met_without_a_move_is_refused() -> None:
    with pytest.raises(ValueError, match="without a move"):
        search(lambda y: y[:, 0] + 1.0, 0.5, boxed(np.eye(2)), FULL, 1)


def test_losses_that_cannot_be_computed_are_avoided() -> None:
    def loss(y: np.ndarray) -> np.ndarray:
        return np.where(y[:, 0] > 0.0, -np.inf, y[:, 0] + y[:, 1])

    found = search(loss, 2.0, boxed(np.eye(2)), FULL, SEED)
    assert np.isfinite(found.loss).all()
    assert found.points[0] == pytest.approx([0.0, 2.0], abs=2e-2)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), power=st.floats(0.5, 3.0), target=st.floats(0.1, 50.0))
def test_first_reach_is_the_first_crossing(seed: int, power: float, target: float) -> None:
    rng = np.random.default_rng(seed)
    directions, _ = unit_directions(rng.normal(size=(20, 3)))
    slope = rng.normal(size=3)

    def loss(y: np.ndarray) -> np.ndarray:
        along = y @ slope
        return np.sign(along) * np.abs(along) ** power

    most = np.full(20, 100.0)
    reach = first_reach(loss, target, 0.0, directions, most, steps=60, tolerance=1e-9)
    gain = directions @ slope
    exact = np.where(gain > 0, target ** (1 / power) / np.maximum(gain, 1e-12), np.inf)
    assert np.array_equal(reach.reached, exact <= 100.0)
    hit = reach.reached
    assert reach.radius[hit] == pytest.approx(exact[hit], rel=1e-7)
    assert (reach.loss[hit] >= target).all()


def test_a_jump_is_bracketed_from_outside() -> None:
    reach = first_reach(
        lambda y: np.where(y[:, 0] >= 1.234, 1.0, -1.0), 0.5, -1.0,
        np.eye(2)[:1], np.array([10.0]), steps=18,
    )  # fmt: skip
    assert 1.234 <= reach.radius[0] < 1.24


def test_a_loss_that_fades_again_is_found_by_the_scan() -> None:
    hump: Loss = lambda y: np.exp(-((y[:, 0] - 3.0) ** 2))  # noqa: E731
    far = np.array([10.0])
    assert not first_reach(hump, 0.5, 0.0, np.eye(1), far, scans=1).reached[0]
    reach = first_reach(hump, 0.5, 0.0, np.eye(1), far, scans=4, steps=60, tolerance=1e-9)
    assert reach.radius[0] == pytest.approx(3.0 - np.sqrt(np.log(2.0)), rel=1e-6)


def test_turning_away_ends_on_the_cone() -> None:
    turned = turn_away(np.array([[1.0, 0.0]]), np.array([[0.8, 0.6]]), 0.6)
    assert turned[0] == pytest.approx([0.96, -0.28], abs=1e-5)
    outside = np.array([[-1.0, 2.0]])
    assert np.array_equal(turn_away(outside, np.array([[0.8, 0.6]]), 0.6), outside)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_projection_is_inside_and_leaves_what_is_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sigma, _ = book(5, seed)
    box = boxed(sigma, 1.5, rng.integers(-1, 2, 5).astype(float))
    y = box.project(rng.normal(size=(30, 5)) * 3.0)
    x = y @ box.loading.T
    assert (np.abs(x) <= box.bound * (1 + 1e-9)).all()
    assert (box.sign * x >= -1e-9).all()
    assert box.project(y) == pytest.approx(y, abs=1e-9)
    directions, length = unit_directions(y)
    assert (box.longest(directions) >= length * (1 - 1e-6)).all()
