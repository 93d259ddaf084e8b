"""Cash by currency: exact to the cent, closed hours, fees, receipts, securities that settle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.avalanche.hours import open_hours
from engine.kernels.avalanche import layout, tile
from engine.kernels.avalanche.compiled import run_paths
from engine.kernels.avalanche.layout import METRICS
from engine.kernels.avalanche.twin import run_twin
from tests.engine.avalanche.test_depth_harness import (
    CURRENCIES,
    QUIET,
    SEED,
    cut,
    inside,
    inside_plain,
    ledger_gap,
    many_currencies,
    metric,
    with_pool,
    without_haircuts,
)

POOLS = ("USD", "EUR", "GBP", "JPY")  # the hub, then by name

DEEP: list[dict[str, Any]] = [
    {"volatility_multiplier": 5.0, "crowding": 10.0},
    {"volatility_multiplier": 10.0, "sale_policy": "greedy", "impact_law": "linear"},
    {"jumps_per_day": 1.0, "jump_sigmas": 0.8, "jump_mean_sigmas": 0.3, "tail_degrees": 0},
    {"adverse_change_multiple": 4.0, "borrowing_base_share": 0.03, "default_grace_hours": 0},
    {"largest_daily_raise_usd": 1.0e6, "largest_daily_sale_share": 0.02, "hqla_share_per_day": 0.3},
    {"regime_enter_per_hour": 0.3, "breakdown_weight": 1.0, "cross_default": False},
    {"sale_policy": "user", "sale_order": ("rates_1",), "default_grace_hours": 60},
]


def _cent_units(out: Any) -> None:
    for name in ("calls_total", "drawn_max", "unpaid_max", "impact_cost", "im_max", "fx_cost"):
        cents = metric(out, name)
        np.testing.assert_array_equal(cents, np.rint(cents), err_msg=name)


@pytest.mark.parametrize("fund", [1, 2, 3])
@pytest.mark.parametrize("settings", DEEP, ids=lambda s: next(iter(s)))
def test_every_currency_closes_to_the_cent(
    make_network: Callable[..., Any], fund: int, settings: dict[str, Any]
) -> None:
    model = many_currencies(make_network(seed=fund), cash_usd=4.0e6).model(**settings)
    assert len(model.cash) == 4
    out = run_paths(model, 256, SEED)
    np.testing.assert_array_equal(metric(out, "cash_error"), 0.0)
    _cent_units(out)


@pytest.mark.parametrize("settings", DEEP, ids=lambda s: next(iter(s)))
def test_an_independent_ledger_closes(
    make_network: Callable[..., Any], settings: dict[str, Any]
) -> None:
    """The kernel's own flows are not used: opening cash, calls, lines and fees say it all."""
    network = many_currencies(make_network(), cash_usd=4.0e6)
    model = without_haircuts(network.model(**settings | {"defaults": False}))
    end = inside(model)
    np.testing.assert_array_equal(ledger_gap(model, end), 0.0)
    assert np.any(metric(end.out, "calls_total") > 0)


def test_without_exchange_each_currency_stands_alone(make_network: Callable[..., Any]) -> None:
    """With every currency closed, its account is its own cash, flows and calls."""
    network = many_currencies(make_network(agreements=8))
    model = network.model(defaults=False, forced_sales=False)
    closed = model._replace(fx_open=np.array([model.fx_open[0], 0, 0, 0], dtype=np.uint32))
    end = inside(closed)
    assert np.all(metric(end.out, "fx_cost") == 0.0)
    accounts, till = end.state.accounts, end.state.till
    called = closed.open_call[:, None] + accounts.im - closed.im_today[:, None]
    called = called - (accounts.held - closed.held_start[:, None])
    ring = layout.RING_HOURS
    for n in range(1, 4):
        rows = slice(n * ring, (n + 1) * ring)
        waiting = till.pay[rows].sum(axis=0) - till.receive[rows].sum(axis=0)
        own = called[closed.currency == n].sum(axis=0)
        expected = closed.cash[n] + closed.flow[:, n].sum() - own + waiting
        np.testing.assert_array_equal(till.cash[n] - till.unpaid[n], expected, err_msg=POOLS[n])
    short = till.unpaid[1:].sum(axis=0) > 0
    assert np.any(short & (till.cash[0] > till.unpaid[1:].sum(axis=0)))


@pytest.mark.parametrize("settings", DEEP, ids=lambda s: next(iter(s)))
def test_the_twin_agrees_with_many_currencies(
    make_network: Callable[..., Any], settings: dict[str, Any]
) -> None:
    model = many_currencies(make_network(), cash_usd=4.0e6).model(**settings)
    fast, slow = run_paths(model, 64, SEED, fan=True, record=True), run_twin(model, 64, SEED)
    for i, name in enumerate(METRICS):
        np.testing.assert_allclose(
            fast.metrics[i],
            slow.metrics[i],
            rtol=1e-9,
            atol=1e-6 + (1e-9 * float(np.max(np.abs(slow.metrics[i])))),
            err_msg=name,
        )
    for name in ("windows", "calls", "left", "window_calls", "window_im", "window_left"):
        a, b = getattr(fast, name), getattr(slow, name)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * float(np.max(np.abs(b))))


def test_deadlines_fall_into_the_first_open_hour(make_network: Callable[..., Any]) -> None:
    """A JPY call of 09:00 UTC due at 11:00 is paid at 15:00, when the next Tokyo day begins."""
    network = many_currencies(make_network())
    model, book = network.model(), network.book
    for r, currency in enumerate(book.agreements.currency):
        bits = open_hours(str(currency), book.as_of)
        lag = int(book.agreements.pay_lag_hours[r])
        for clock in range(24):
            wait = int(model.pay_lag[r, clock]) - lag
            hours = [(clock + lag + i) % 24 for i in range(wait + 1)]
            assert bits >> hours[-1] & 1
            assert not any(bits >> hour & 1 for hour in hours[:-1])
    jpy = int(np.nonzero((book.agreements.currency == "JPY") & (model.pay_lag[:, 9] < 24))[0][0])
    assert book.agreements.pay_lag_hours[jpy] == 2 and model.pay_lag[jpy, 9] == 6


def test_money_is_exchanged_in_open_hours_only(
    make_network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both directions, watched in the kernel's own stages."""
    model = many_currencies(make_network(agreements=4, factors=4), cash_usd=1.0e6).model(
        horizon_days=1, volatility_multiplier=5.0
    )
    seen: list[tuple[int, int]] = []

    def watched(build: Callable[..., Any]) -> Callable[..., Any]:
        def builder(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
            stage = build(inline, lanes)

            def watch(first: int, clock: int, money: Any, till: Any, work: Any) -> None:
                before = till.cash[1:].copy() - till.unpaid[1:]
                stage(first, clock, money, till, work)
                moved = np.any(till.cash[1:] - till.unpaid[1:] != before, axis=1)
                seen.extend((int(n) + 1, clock) for n in np.nonzero(moved)[0])

            return watch

        return builder

    monkeypatch.setattr(tile, "build_to_hub", watched(tile.build_to_hub))
    monkeypatch.setattr(tile, "build_from_hub", watched(tile.build_from_hub))
    inside_plain(model, 3)
    assert len({n for n, _ in seen}) >= 2
    assert all(int(model.fx_open[n]) >> clock & 1 for n, clock in seen)


def _still(network: Any, **settings: Any) -> Any:
    """A market that does not move and margin that does not react."""
    model = network.model(**QUIET | {"noise": False, "forced_sales": False} | settings)
    return model._replace(ewma_lambda=np.ones_like(model.ewma_lambda))


def _plain_with_calls(
    network: Any, currency: list[str], calls_usd: list[float], kind: list[str] | None = None
) -> Any:
    """A plain network whose agreements have these calls of today open."""
    book, count = network.book, len(currency)
    rate = {"USD": 1.0, "EUR": 1.0625, "JPY": 0.0078125, "GBP": 1.25}
    usd = np.array([rate[c] for c in currency])
    agreements = replace(
        book.agreements,
        currency=np.array(currency, dtype=object),
        im_held=book.agreements.im_held / usd,
        kind=np.array(kind or ["cleared"] * count, dtype=object),
    )
    return replace(
        network,
        book=replace(book, agreements=agreements),
        market=replace(network.market, fx_usd=rate),
        margin=replace(network.margin, vm_usd=np.array(calls_usd), kind=agreements.kind),
    )


@pytest.mark.parametrize("spread_bp", [0.0, 2.0, 25.0])
def test_the_fee_of_an_exchange(make_network: Callable[..., Any], spread_bp: float) -> None:
    """1,234,567.89 USD bought in EUR at a half spread of 2 bp cost 246.91 USD."""
    plain = make_network(agreements=1, factors=1, plain=True)
    network = _plain_with_calls(plain, ["EUR"], [1_234_567.89])
    model = _still(network, fx_spread_bp=spread_bp)
    end = inside(cut(model, 24), 1)
    call = model.open_call[0]
    # The margin posted is in whole units of another currency: today's call keeps its rounding.
    assert call == pytest.approx(123_456_789, abs=1)
    fee = np.rint(call * spread_bp * 1e-4)
    if spread_bp == 2.0:
        assert fee == 24_691
    assert metric(end.out, "fx_cost")[0] == fee
    assert end.state.till.cash[0, 0] == model.cash[0] - call - fee
    assert end.state.work.scalars[layout.NAV, 0] == model.pool[layout.POOL_NAV] - fee


def test_a_call_in_a_closed_currency_waits(make_network: Callable[..., Any]) -> None:
    """JPY is closed from 06:00 to 15:00 UTC: a call of 06:00 is bought and paid at 15:00."""
    plain = make_network(agreements=1, factors=1, plain=True)
    model = _still(_plain_with_calls(plain, ["JPY"], [0.0]), forced_sales=False)
    masked = model._replace(
        window_mask=np.array([1 << 6], dtype=np.uint32),
        eod_hour=np.array([6], dtype=np.uint32),
        exposure_start=np.array([-5.0e7]),
    )
    assert masked.pay_lag[0, 6] == 9
    early, late = inside(cut(masked, 15), 1), inside(cut(masked, 16), 1)
    assert early.state.till.pending[1, 0] == 5.0e7 and early.state.till.outflow[1, 0] == 0.0
    assert late.state.till.pending[1, 0] == 0.0 and late.state.till.outflow[1, 0] == 5.0e7
    assert metric(late.out, "unpaid_max")[0] == 0.0


def test_mirrored_counterparties_pay_each_other(make_network: Callable[..., Any]) -> None:
    """Without thresholds, what one fund is called another with the opposite book receives."""
    network = make_network(agreements=3, factors=4, plain=True)
    other = replace(
        network,
        exposures=replace(
            network.exposures, delta=-network.exposures.delta, gamma=-network.exposures.gamma
        ),
    )
    one, two = (
        net.model(forced_sales=False, defaults=False)._replace(ewma_lambda=np.ones(3))
        for net in (network, other)
    )
    a, b = run_paths(one, 256, SEED, record=True), run_paths(two, 256, SEED, record=True)
    assert not np.any((a.window_calls > 0) & (b.window_calls > 0))
    # Calls are made at 23:00, when the moves of the third window are complete.
    delta = network.exposures.delta * 100.0
    value = np.einsum("rk,wkp->wrp", delta, a.window_moves[2::3])
    received = np.cumsum(b.window_calls[2::3] - a.window_calls[2::3], axis=0)
    np.testing.assert_allclose(received, value, rtol=0, atol=0.51)
    assert np.all(received == np.rint(received))


@pytest.mark.parametrize(("delay_hours", "short"), [(8, True), (1, True), (0, False)])
def test_receipts_come_after_payments(
    make_network: Callable[..., Any], delay_hours: int, short: bool
) -> None:
    """A fund hedged to nothing still needs cash, unless receipts come with payments."""
    plain = make_network(agreements=2, factors=1, plain=True, cash_usd=1.0, facility_usd=0.0)
    model = _still(
        _plain_with_calls(plain, ["USD", "USD"], [1.0e6, -1.0e6]), receipt_delay_hours=delay_hours
    )
    out = inside(model, 1).out
    assert (metric(out, "unpaid_max")[0] > 0) == short
    assert metric(out, "calls_total")[0] == 0.0


def _securities_only(make_network: Callable[..., Any], lag_days: int, **settings: Any) -> Any:
    plain = make_network(agreements=1, factors=1, plain=True, cash_usd=0.0, facility_usd=0.0)
    model = _still(_plain_with_calls(plain, ["USD"], [1.0e6]), **settings)
    return model._replace(
        hqla=np.array([4.0e8]),
        hqla_haircut=np.array([0.05]),
        hqla_lag=np.array([24 * lag_days], dtype=np.uint32),
        hqla_hour_cap=np.array([4.0e8]),
        hqla_day_cap=np.array([4.0e8]),
    )


@pytest.mark.parametrize("lag_days", [0, 1, 2, 10])
def test_securities_pay_when_they_settle(make_network: Callable[..., Any], lag_days: int) -> None:
    model = with_pool(_securities_only(make_network, lag_days, horizon_days=12), NAV=1.0e12)
    hour = 24 * lag_days
    call = model.open_call[0]
    if lag_days == 0:
        end = inside(cut(model, 2), 1)
        assert metric(end.out, "unpaid_max")[0] == 0.0
        assert end.state.till.hqla[0, 0] == 4.0e8 - np.rint(call / 0.95) - 1.0
        return
    # Sold in hour 0 because the call is known; owed from hour 1 until the proceeds are there.
    before, after = inside(cut(model, hour), 1), inside(cut(model, hour + 1), 1)
    assert before.state.till.unpaid[0, 0] == call and after.state.till.unpaid[0, 0] == 0.0
    assert before.state.work.scalars[layout.IN_SETTLEMENT, 0] >= call
    assert after.state.work.scalars[layout.IN_SETTLEMENT, 0] == 0.0
    assert metric(after.out, "exhausted_hour")[0] == 1.0


def test_securities_keep_their_limits(make_network: Callable[..., Any]) -> None:
    """30 million cents a day at 10 million an hour: 30 per cent of the call on the first day."""
    model = _securities_only(make_network, 0)._replace(
        hqla_hour_cap=np.array([1.0e7]), hqla_day_cap=np.array([3.0e7])
    )
    given = [4.0e8 - inside(cut(model, h), 1).state.till.hqla[0, 0] for h in (2, 3, 5, 24, 25, 48)]
    assert given == [1.0e7, 2.0e7, 3.0e7, 3.0e7, 4.0e7, 6.0e7]


def test_margin_comes_back_at_a_window(make_network: Callable[..., Any]) -> None:
    """Relief of a sale is a receipt of the next daily window, after its lag; never at once."""
    network = make_network(agreements=1, factors=1, plain=True)
    model = network.model(**QUIET | {"noise": False, "feedback": False, "horizon_days": 3})
    quiet = with_pool(
        model._replace(ewma_lambda=np.ones(1), sale_cap=np.ones_like(model.sale_cap)), TARGET=1e15
    )
    first = inside(cut(quiet, 1), 1)
    assert first.state.holdings.left[0, 0] < 0.1
    early, late = inside(cut(quiet, 23), 1), inside(cut(quiet, 24), 1)
    assert early.state.accounts.im[0, 0] == model.im_today[0]
    assert np.all(early.state.till.receive == 0.0)
    released = model.im_today[0] - late.state.accounts.im[0, 0]
    assert released > 0.9 * model.im_today[0]
    lag = int(model.receive_lag[0])
    waiting, there = inside(cut(quiet, 23 + lag), 1), inside(cut(quiet, 24 + lag), 1)
    assert there.state.till.cash[0, 0] - waiting.state.till.cash[0, 0] == released


def test_currencies_are_the_hub_then_by_name(make_network: Callable[..., Any]) -> None:
    model = many_currencies(make_network()).model()
    assert [POOLS[int(n)] for n in model.currency] == [CURRENCIES[i % 4] for i in range(9)]
