"""Two planted bugs, and the tests that catch them.

(a) A leak of one cent. A stage of the kernel, or a step of its twin, loses one cent. Where the
in and out flows are not booked with it, the run's own `cash_error` shows it
(`test_every_currency_closes_to_the_cent` in test_depth_money); where cash and flows are wrong
together, `cash_error` stays zero and the independent ledger shows it
(`test_an_independent_ledger_closes`, same file).

(b) Feedback on other draws. Run with another seed or scenario counter, the run without feedback is
no twin of the run with it. `zero impact = feedback off, bit for bit` (test_depth_switches) catches
it at once; so does the variance of the difference, which common draws must at least halve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.kernels.avalanche import layout, tile
from engine.kernels.avalanche.compiled import run_paths, run_plain
from engine.kernels.avalanche.twin import Twin
from tests.engine.avalanche.test_depth_harness import (
    SEED,
    inside,
    inside_plain,
    ledger_gap,
    many_currencies,
    metric,
    without_haircuts,
)

Stage = Callable[..., Any]


def _small(make_network: Callable[..., Any], **settings: Any) -> Any:
    network = many_currencies(make_network(agreements=4, factors=4), cash_usd=1.0e6)
    base = {"horizon_days": 2, "crowding": 10.0, "defaults": False}
    return without_haircuts(network.model(**base | settings))


def _plant(monkeypatch: pytest.MonkeyPatch, name: str, spoil: Callable[..., None]) -> None:
    """Put a stage into the kernel that does its work and then `spoil`s the till."""
    build = getattr(tile, name)

    def builder(inline: Stage, lanes: int) -> Stage:
        stage = build(inline, lanes)

        def spoiled(*arguments: Any) -> Any:
            till = next(a for a in arguments if type(a).__name__ == "Till")
            before = till.outflow.copy()
            result = stage(*arguments)
            spoil(till, before)
            return result

        return spoiled

    monkeypatch.setattr(tile, name, builder)


def _lose_cash(till: Any, before: np.ndarray) -> None:
    """One cent of each payment vanishes from cash alone."""
    till.cash[:] -= till.outflow > before


def _lose_cash_and_flow(till: Any, before: np.ndarray) -> None:
    """One cent more than owed is paid: cash and outflow agree, nobody was owed it."""
    more = till.outflow > before
    till.cash[:] -= more
    till.outflow[:] += more


def test_the_kernel_without_a_leak(make_network: Callable[..., Any]) -> None:
    """Control: the same harness, nothing planted, equals the compiled kernel and closes."""
    model = _small(make_network)
    plain, fast = inside_plain(model, 3), inside(model, 3)
    np.testing.assert_array_equal(plain.out.metrics, fast.out.metrics)
    np.testing.assert_array_equal(plain.state.till.cash, fast.state.till.cash)
    np.testing.assert_array_equal(ledger_gap(model, plain), 0.0)


@pytest.mark.parametrize("stage", ["build_due", "build_pay_hub", "build_from_hub"])
def test_a_cent_lost_from_cash_is_seen(
    make_network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    _plant(monkeypatch, stage, _lose_cash)
    model = _small(make_network)
    end = inside_plain(model, 3)
    error, gap = metric(end.out, "cash_error"), ledger_gap(model, end)
    assert np.any(error > 0)
    np.testing.assert_array_equal(error > 0, gap < 0)
    # The plain run that the compiler is tested with sees it as well.
    assert np.any(metric(run_plain(model, 2, SEED), "cash_error") > 0)


@pytest.mark.parametrize("stage", ["build_due", "build_pay_hub"])
def test_a_cent_paid_too_much_is_seen_by_the_ledger_alone(
    make_network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """`cash_error` compares cash with the flows of the same stage: it cannot see this one."""
    _plant(monkeypatch, stage, _lose_cash_and_flow)
    model = _small(make_network)
    end = inside_plain(model, 3)
    np.testing.assert_array_equal(metric(end.out, "cash_error"), 0.0)
    gap = ledger_gap(model, end)
    assert np.any(gap < 0) and np.all(gap <= 0) and np.all(gap == np.rint(gap))


def test_a_single_cent_on_a_single_path_is_seen(
    make_network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _small(make_network)
    seen: list[bool] = []

    def once(till: Any, before: np.ndarray) -> None:
        if not seen:
            till.cash[0, 1] -= 1.0
            seen.append(True)

    _plant(monkeypatch, "build_due", once)
    end = inside_plain(model, 3)
    assert list(metric(end.out, "cash_error")) == [0.0, 1.0, 0.0]
    assert list(ledger_gap(model, end)[[0, 2]]) == [0.0, 0.0]


class LeakyTwin(Twin):
    """Loses one cent of each payment; with `booked`, out of the flows too."""

    booked = False

    def _pay(self, n: int) -> None:
        pays = (np.minimum(self.cash[n], self.unpaid[n]) > 0).astype(np.float64)
        super()._pay(n)
        self.cash[n] -= pays
        if self.booked:
            self.outflow[n] += pays


class BookedLeakyTwin(LeakyTwin):
    booked = True


def test_a_leak_in_the_twin_is_seen(make_network: Callable[..., Any]) -> None:
    """Unbooked by its own check; booked by the comparison with the kernel, to the cent."""
    model = _small(make_network)
    sound = Twin(model, 16, SEED)
    np.testing.assert_array_equal(metric(sound.run(), "cash_error"), 0.0)
    assert np.all(metric(LeakyTwin(model, 16, SEED).run(), "cash_error") > 0)
    booked = BookedLeakyTwin(model, 16, SEED)
    np.testing.assert_array_equal(metric(booked.run(), "cash_error"), 0.0)
    till = inside(model, 16).state.till
    kernel = (till.cash - till.unpaid).sum(axis=0)
    np.testing.assert_array_equal((sound.cash - sound.unpaid).sum(axis=0), kernel)
    assert np.mean((booked.cash - booked.unpaid).sum(axis=0) != kernel) > 0.5


# Feedback on other draws -----------------------------------------------------------------------


def _pair(
    make_network: Callable[..., Any], *, seed: int, scenario: int
) -> tuple[np.ndarray, np.ndarray]:
    """Calls of the run with feedback at impact zero, and of the run without feedback."""
    network = many_currencies(make_network(), cash_usd=2.0e6)
    on = network.model(impact_coefficient=0.0, crowding=20.0)
    off = network.model(feedback=False)
    a = run_paths(on, 256, SEED)
    b = run_paths(off, 256, seed, scenario=scenario)
    return a.metrics, b.metrics


def test_common_draws_pass(make_network: Callable[..., Any]) -> None:
    a, b = _pair(make_network, seed=SEED, scenario=0)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("seed", "scenario"), [(SEED + 1, 0), (SEED, 1)])
def test_other_draws_are_caught_by_zero_impact(
    make_network: Callable[..., Any], seed: int, scenario: int
) -> None:
    """The planted bug: the run without feedback uses another seed, or another scenario counter."""
    a, b = _pair(make_network, seed=seed, scenario=scenario)
    assert not np.array_equal(a, b)
    calls = np.abs(a[0] - b[0]) / a[0].mean()
    assert np.mean(calls > 1e-6) > 0.99


def test_common_draws_cut_the_variance_of_the_feedback_effect(
    make_network: Callable[..., Any],
) -> None:
    """At least twofold at 5x volatility without defaults; with another seed or counter it is not.

    A default ends a path's calls in one of the runs alone: with defaults it is 1.8.
    """
    network = make_network()
    paths = 2000
    on = metric(run_paths(network.model(defaults=False), paths, SEED), "calls_total")
    dead = network.model(feedback=False, defaults=False)
    off = {
        name: metric(run_paths(dead, paths, seed, scenario=scenario), "calls_total")
        for name, seed, scenario in (("common", SEED, 0), ("seed", SEED + 1, 0), ("run", SEED, 1))
    }
    independent = on.var() + off["common"].var()
    assert independent / (on - off["common"]).var() >= 2.0
    for name in ("seed", "run"):
        assert independent / (on - off[name]).var() < 1.3, name


def test_a_feedback_switch_draws_nothing(make_network: Callable[..., Any]) -> None:
    """The hour's normals are the same with and without feedback, sales and defaults."""
    network = many_currencies(make_network(), cash_usd=1.0e6)
    runs = [
        inside(network.model(horizon_days=3, **settings)).state
        for settings in (
            {}, {"feedback": False}, {"forced_sales": False}, {"defaults": False},
            {"sale_policy": "greedy"}, {"noise": False}, {"regime_enter_per_hour": 0.5},
        )
    ]  # fmt: skip
    for other in runs[1:]:
        np.testing.assert_array_equal(runs[0].tape.z, other.tape.z)
    mixing = [state.work.scalars[layout.MIXING] for state in runs]
    assert all(np.array_equal(mixing[0], row) for row in mixing[1:])
