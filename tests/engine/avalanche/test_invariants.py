"""What must hold on every path, whatever the fund."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.kernels.avalanche import layout
from engine.kernels.avalanche.compiled import run_paths
from engine.kernels.avalanche.layout import METRICS, Output
from engine.kernels.avalanche.twin import Twin

SEED = 5
PATHS = 512


def _metric(out: Output, name: str) -> np.ndarray:
    return out.metrics[METRICS.index(name)]


@pytest.mark.parametrize("multiplier", [0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("fund", [1, 2, 3])
def test_cash_is_conserved_to_the_cent(
    make_network: Callable[..., Any], multiplier: float, fund: int
) -> None:
    model = make_network(seed=fund).model(volatility_multiplier=multiplier, crowding=10.0)
    out = run_paths(model, PATHS, SEED)
    np.testing.assert_array_equal(_metric(out, "cash_error"), 0.0)
    for name in ("calls_total", "drawn_max", "unpaid_max", "impact_cost", "im_max"):
        cents = _metric(out, name)
        np.testing.assert_array_equal(cents, np.rint(cents), err_msg=name)


def test_the_cash_check_sees_a_lost_cent(make_network: Callable[..., Any]) -> None:
    """Negative control: a twin that loses one cent of each receipt does not close."""

    class Leaky(Twin):
        def _pay_due(self, hour: int, pnl: np.ndarray, called: np.ndarray) -> None:
            super()._pay_due(hour, pnl, called)
            self.cash[0] = self.cash[0] - (called > 0)

    out = Leaky(make_network().model(), 32, SEED).run()
    assert np.all(_metric(out, "cash_error") != 0.0)


def test_calls_add_up(make_network: Callable[..., Any]) -> None:
    out = run_paths(make_network().model(), PATHS, SEED)
    np.testing.assert_array_equal(out.windows.sum(axis=0), _metric(out, "calls_total"))
    np.testing.assert_array_equal(out.calls.sum(axis=0), _metric(out, "calls_total"))


def test_zero_impact_is_no_feedback_bit_for_bit(make_network: Callable[..., Any]) -> None:
    network = make_network()
    off = run_paths(network.model(feedback=False, crowding=20.0), PATHS, SEED)
    for crowd in (20.0, 3.0):
        # The price of a release depends on Y, so the order of buckets may: the policy is fixed.
        other = run_paths(network.model(impact_coefficient=0.0, crowding=crowd), PATHS, SEED)
        for name in METRICS:
            np.testing.assert_array_equal(_metric(off, name), _metric(other, name), err_msg=name)


def test_means_are_monotone_on_paired_draws(make_network: Callable[..., Any]) -> None:
    network = make_network(cash_usd=2.0e7, facility_usd=1.0e7)

    def mean(name: str, **settings: float) -> float:
        return float(_metric(run_paths(network.model(**settings), PATHS, SEED), name).mean())

    by_volatility = [mean("calls_total", volatility_multiplier=m) for m in (1, 2, 5, 10)]
    assert by_volatility == sorted(by_volatility)
    by_crowding = [mean("calls_total", crowding=c) for c in (0, 5, 20)]
    assert by_crowding == sorted(by_crowding) and by_crowding[0] < by_crowding[-1]
    by_impact = [mean("calls_total", impact_coefficient=y) for y in (0.0, 0.5, 1.0)]
    assert by_impact == sorted(by_impact) and by_impact[0] < by_impact[-1]


def test_more_cash_never_exhausts_sooner_without_sales(make_network: Callable[..., Any]) -> None:
    # Without a credit line: a poorer fund asks for one earlier, and notice then runs out sooner.
    def hours(cash: float) -> np.ndarray:
        model = make_network(cash_usd=cash, facility_usd=0.0).model(forced_sales=False)
        hour = _metric(run_paths(model, PATHS, SEED), "exhausted_hour")
        return np.where(hour < 0, np.inf, hour)

    poor, rich = hours(2.0e7), hours(4.0e7)
    assert np.all(rich >= poor)
    assert np.any(rich > poor)


def test_positions_sold_within_caps_and_never_bought_back(
    make_network: Callable[..., Any],
) -> None:
    model = make_network(cash_usd=1.0e7).model(volatility_multiplier=8.0)
    sold: list[np.ndarray] = []

    class Watch(Twin):
        def _sales(self, hour: int, want: np.ndarray) -> None:
            before = self.left.copy()
            super()._sales(hour, want)
            step = before - self.left
            assert np.all(step >= 0)
            assert np.all(step <= model.sale_cap[hour][:, None] + 1e-15)
            sold.append(step)

    twin = Watch(model, 64, SEED)
    twin.run()
    assert np.sum(sold) > 0
    assert np.all(twin.left >= model.pool[layout.POOL_KEEP_SHARE] - 1e-12)


def test_facility_waits_for_notice_and_keeps_its_limit(make_network: Callable[..., Any]) -> None:
    model = make_network(cash_usd=1.0e6, facility_usd=5.0e7).model(forced_sales=False)
    drawn: list[np.ndarray] = []
    asked: list[np.ndarray] = []

    class Watch(Twin):
        def _outlook(self, hour: int, out: Any) -> np.ndarray:
            want = super()._outlook(hour, out)
            drawn.append(self.drawn.copy())
            asked.append(self.requested.copy())
            return want

    Watch(model, 64, SEED).run()
    for hour, (amount, request) in enumerate(zip(drawn, asked, strict=True)):
        assert np.all(amount <= model.facility_limit.sum())
        early = (request < 0) | (hour < request + model.facility_notice[0])
        assert np.all(amount[early] == 0)
    assert np.any(drawn[-1] > 0)


def test_broken_covenant_closes_the_line(make_network: Callable[..., Any]) -> None:
    model = make_network(cash_usd=1.0e6, facility_usd=5.0e7).model(forced_sales=False)
    strict = model._replace(facility_covenant=np.array([-1e9]))
    assert np.all(_metric(run_paths(strict, 64, SEED), "drawn_max") == 0)


def test_margin_of_fixed_weight_agreements_moves_only_with_positions(
    make_network: Callable[..., Any],
) -> None:
    network = make_network()
    model = network.model(forced_sales=False, defaults=False, volatility_multiplier=10.0)
    fixed = np.nonzero(network.book.agreements.model == "simm")[0]
    twin = Twin(model, 32, SEED)
    twin.run()
    start = (model.im_start + model.concentration_start)[fixed]
    assert np.all(model.im_threshold == 0)
    np.testing.assert_allclose(twin.im[fixed], np.repeat(start[:, None], 32, axis=1), atol=1)


def test_moves_have_no_drift_and_the_scenario_variance(make_network: Callable[..., Any]) -> None:
    """Leverage makes volatility rise when prices fall; it must not make prices fall on average."""
    network = make_network(agreements=3, factors=3, plain=True)
    settings = {"volatility_multiplier": 1.0, "forced_sales": False, "tail_degrees": 0}
    model = network.model(**settings, volatility_of_volatility=0.15, horizon_days=5)
    twin = Twin(model, 20_000, SEED)
    twin.run()
    total = twin.cumulative / network.inputs.daily_volatility[:, None]
    error = total.std(axis=1) / np.sqrt(total.shape[1])
    assert np.all(np.abs(total.mean(axis=1)) < 4 * error)
    np.testing.assert_allclose(total.var(axis=1), 5.0, rtol=0.08)


def test_open_calls_and_settlements_reach_cash(make_network: Callable[..., Any]) -> None:
    """With a market that does not move, cash changes by exactly what is already known."""
    network = make_network()
    model = network.model(forced_sales=False, jumps_per_day=0.0)
    still = model._replace(
        volatility=np.zeros_like(model.volatility),
        vm_threshold=np.full_like(model.vm_threshold, 1e15),
        held_start=np.zeros_like(model.held_start),
    )
    twin = Twin(still, 1, SEED)
    twin.run()
    known = model.flow.sum() - model.open_call.sum()
    assert model.flow.sum() != 0 and model.open_call.sum() != 0
    hqla_used = model.hqla.sum() - twin.hqla.sum()
    assert hqla_used == 0 and twin.unpaid.sum() == 0
    released = still.im_today.sum() - twin.im.sum()
    # The volatility filter decays when nothing moves: margin comes back, calls never go out.
    assert released >= 0
    later = len(model.stress)
    in_transit = twin.receivable[later:].sum() - twin.payable[later:].sum()
    moved = twin.cash.sum() - model.cash.sum()
    assert moved + in_transit == known + released


def test_threshold_reduces_release_of_margin(make_network: Callable[..., Any]) -> None:
    """Above a threshold, 10 % less book releases 10 % of the margin before the threshold."""
    network = make_network()
    model = network.model(forced_sales=False)
    r = 1
    limited = model._replace(im_threshold=np.where(np.arange(9) == r, model.im_start * 0.5, 0.0))
    limited = limited._replace(im_today=np.maximum(limited.im_today - limited.im_threshold, 0.0))
    assert limited.ewma_lambda[r] == 1.0

    class Smaller(Twin):
        def _start(self, paths: int) -> None:
            super()._start(paths)
            self.left *= 0.9
            self.size = self._sizes()

    twin = Smaller(limited, 1, SEED)
    twin.run()
    size = twin.size[r, 0]
    add_on = limited.concentration_start[r] * size**1.5
    expected = limited.im_start[r] * (size - 0.5) + add_on
    assert twin.im[r, 0] == pytest.approx(expected, abs=1.0)
