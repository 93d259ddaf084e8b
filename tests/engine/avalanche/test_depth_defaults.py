"""Credit lines, and relations that default: who first, when, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.domain.book import Settlements
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.compiled import run_paths
from tests.engine.avalanche.test_depth_harness import (
    QUIET,
    SEED,
    cut,
    inside,
    many_currencies,
    metric,
    text,
    with_pool,
)

KINDS = ["cleared", "bilateral", "prime"]
CALL_USD = 1.0e6
CALL = 1.0e8  # cents


def _three_calls(make_network: Callable[..., Any], cash_usd: float, **settings: Any) -> Any:
    """A still market; a clearing house, a dealer and a prime broker each call a million today."""
    network = make_network(agreements=3, factors=1, plain=True, cash_usd=1.0, facility_usd=0.0)
    kind = text(KINDS)
    network = replace(
        network,
        book=replace(network.book, agreements=replace(network.book.agreements, kind=kind)),
        margin=replace(network.margin, vm_usd=np.full(3, CALL_USD), kind=kind),
        exposures=replace(network.exposures, value=np.where(kind == "bilateral", -CALL_USD, 0.0)),
    )
    quiet = QUIET | {"noise": False, "forced_sales": False, "defaults": True, "feedback": False}
    model = network.model(**quiet | {"default_grace_hours": 10, "horizon_days": 4} | settings)
    return model._replace(
        ewma_lambda=np.ones(3), cash=np.array([cash_usd * 100.0]), hqla=np.zeros_like(model.hqla)
    )


def _alive(model: Any) -> list[float]:
    return list(inside(model, 1).state.accounts.alive[:, 0])


@pytest.mark.parametrize(
    ("cash_usd", "alive"),
    [(3.0e6, [1, 1, 1]), (2.5e6, [1, 0, 1]), (1.5e6, [1, 0, 0]), (0.5e6, [0, 0, 0])],
)
def test_who_is_left_unpaid_first(
    make_network: Callable[..., Any], cash_usd: float, alive: list[float]
) -> None:
    """The dealer, then the prime broker, the clearing house last."""
    model = _three_calls(make_network, cash_usd, cross_default=False)
    end = inside(model, 1)
    assert list(end.state.accounts.alive[:, 0]) == alive
    assert metric(end.out, "default_count")[0] == 3 - sum(alive)
    assert metric(end.out, "default_hour")[0] == (-1.0 if all(alive) else 23.0)


def test_a_default_terminates_the_others_but_the_clearing_house(
    make_network: Callable[..., Any],
) -> None:
    assert _alive(_three_calls(make_network, 2.5e6, cross_default=True)) == [1, 0, 0]
    assert _alive(_three_calls(make_network, 2.5e6, cross_default=False)) == [1, 0, 1]
    assert _alive(_three_calls(make_network, 2.5e6, defaults=False)) == [1, 1, 1]


@pytest.mark.parametrize(
    ("grace", "hour"), [(0, 23), (22, 23), (23, 47), (24, 47), (46, 47), (47, 71), (200, -1)]
)
def test_grace_runs_out_before_a_creditor_decides(
    make_network: Callable[..., Any], grace: int, hour: int
) -> None:
    """Owed since 01:00, so for 23 hours at the end of 23:00, when creditors decide."""
    model = with_pool(_three_calls(make_network, 2.5e6), GRACE=float(grace))
    assert metric(inside(model, 1).out, "default_hour")[0] == hour


@pytest.mark.parametrize(
    ("margin_usd", "owed"),
    [
        pytest.param(0.0, CALL),
        pytest.param(3.0e5, 0.7 * CALL),
        (2.0e6, 0.0),
    ],
)
def test_margin_is_kept_for_what_is_not_paid(
    make_network: Callable[..., Any], margin_usd: float, owed: float
) -> None:
    """The dealer's margin covers its claim first, the rest is a claim; the others were paid."""
    model = _three_calls(make_network, 2.0e6, cross_default=False)
    im = model.im_start.copy()
    im[1] = margin_usd * 100.0
    end = inside(cut(model._replace(im_start=im, im_today=im), 24), 1)
    assert end.state.accounts.im[1, 0] == 0.0
    assert list(end.state.accounts.alive[:, 0]) == [1, 0, 1]
    assert end.state.till.unpaid[0, 0] == 0.0
    assert end.state.work.scalars[layout.CLAIMS, 0] == owed
    assert metric(end.out, "default_count")[0] == 1.0


@pytest.mark.parametrize("cross", [True, False])
def test_calls_of_a_terminated_relation_lapse(
    make_network: Callable[..., Any], cross: bool
) -> None:
    """A call of the prime broker that is not due when its agreement ends is never paid."""
    model = _three_calls(make_network, 2.5e6, cross_default=cross)
    mask, eod, lag = model.window_mask.copy(), model.eod_hour.copy(), model.pay_lag.copy()
    mask[2], eod[2], lag[2, 20] = 1 << 20, 20, 24
    start = model.exposure_start.copy()
    start[2] = -3.0e7
    later = model._replace(window_mask=mask, eod_hour=eod, pay_lag=lag, exposure_start=start)
    before, after = inside(cut(later, 23), 1), inside(cut(later, 24), 1)
    assert before.state.till.pending[0, 0] == before.state.till.pay.sum() == 3.0e7
    assert metric(after.out, "default_count")[0] == (2.0 if cross else 1.0)
    assert after.state.till.pending[0, 0] == (0.0 if cross else 3.0e7)
    assert after.state.till.pay.sum() == (0.0 if cross else 3.0e7)


@pytest.mark.parametrize("fund", [1, 2, 3])
def test_terminated_agreements_never_call_again(
    make_network: Callable[..., Any], fund: int
) -> None:
    network = many_currencies(make_network(seed=fund), cash_usd=1.0e6)
    model = network.model(volatility_multiplier=6.0, default_grace_hours=10)
    end = inside(model)
    dead = end.state.accounts.alive == 0.0
    assert 0 < dead.sum() < dead.size
    np.testing.assert_array_equal(dead.sum(axis=0), metric(end.out, "default_count"))
    assert np.all(end.state.accounts.im[dead] == 0.0)
    for day in (1, 2, 4, 7):
        early = inside(cut(model, 24 * day))
        gone = early.state.accounts.alive == 0.0
        assert np.all(dead[gone]) and np.any(gone)
        np.testing.assert_array_equal(early.out.calls[gone], end.out.calls[gone])
        np.testing.assert_array_equal(
            early.state.accounts.exposure[gone], end.state.accounts.exposure[gone]
        )


def test_a_line_pays_after_its_notice_and_up_to_its_limit(
    make_network: Callable[..., Any],
) -> None:
    """Every hour of 64 paths: nothing before notice, never beyond the limit."""
    network = make_network(cash_usd=1.0e6, facility_usd=2.0e7)
    model = network.model(forced_sales=False, defaults=False, horizon_days=4)
    model = model._replace(facility_covenant=np.array([1e9]))
    drawn_ever = np.zeros(64)
    for hour in range(0, 96, 5):
        scalars = inside(cut(model, hour + 1)).state.work.scalars
        asked, drawn = scalars[layout.REQUESTED], scalars[layout.DRAWN]
        waiting = (asked < 0) | (hour - asked < model.facility_notice[0])
        assert np.all(drawn[waiting] == 0.0)
        assert np.all(drawn <= model.facility_limit[0]) and np.all(drawn >= drawn_ever)
        drawn_ever = drawn
    assert np.any(drawn_ever == model.facility_limit[0])


def _one_call(make_network: Callable[..., Any], call_usd: float, **settings: Any) -> Any:
    """No cash, a line of 20 million on 24 hours' notice, one call of today."""
    network = make_network(agreements=1, factors=1, plain=True, facility_usd=2.0e7)
    network = replace(network, margin=replace(network.margin, vm_usd=np.array([call_usd])))
    quiet = QUIET | {"noise": False, "forced_sales": False, "horizon_days": 3}
    model = network.model(**quiet | settings)
    return model._replace(ewma_lambda=np.ones(1), cash=np.zeros(1), hqla=np.zeros_like(model.hqla))


def test_a_line_is_drawn_the_hour_its_notice_ends(make_network: Callable[..., Any]) -> None:
    """Asked for in hour 0, when the call is known: 24 hours later it pays exactly the call."""
    model = with_pool(_one_call(make_network, 1.0e7), REQUEST=1.0)
    before, after = inside(cut(model, 24), 1), inside(cut(model, 25), 1)
    assert before.state.till.unpaid[0, 0] == model.open_call[0]
    assert metric(before.out, "drawn_max")[0] == 0.0
    assert after.state.till.unpaid[0, 0] == 0.0
    assert metric(after.out, "drawn_max")[0] == model.open_call[0]
    assert metric(after.out, "lines_refused_max")[0] == 0.0


NAV_CENTS = 1.0e10


@pytest.mark.parametrize(
    ("condition", "drawn"),
    [
        ({}, 1.0e9),
        ({"facility_covenant": np.array([0.1])}, 1.0e9),
        ({"facility_covenant": np.array([-0.1])}, 0.0),
        ({"facility_stress": np.array([1.0])}, 1.0e9),
        ({"facility_stress": np.array([0.99])}, 0.0),
        ({"facility_base": np.array([0.05])}, 0.05 * NAV_CENTS),
        ({"facility_base": np.array([0.5])}, 1.0e9),
        ({"facility_limit": np.array([7.0e8])}, 7.0e8),
    ],
    ids=["none", "kept", "covenant", "calm", "adverse", "base", "wide_base", "limit"],
)
def test_conditions_of_a_line(
    make_network: Callable[..., Any], condition: dict[str, Any], drawn: float
) -> None:
    """A call of ten million on a line of twenty: what is not drawn was refused by a condition."""
    model = with_pool(_one_call(make_network, 1.0e7), REQUEST=1.0, NAV=NAV_CENTS)
    model = model._replace(facility_covenant=np.array([0.9]))._replace(**condition)
    out = inside(model, 1).out
    assert metric(out, "drawn_max")[0] == drawn
    by_limit = "facility_limit" in condition
    assert metric(out, "lines_refused_max")[0] == (0.0 if by_limit else 1.0e9 - drawn)


def test_refusals_are_the_lines_meant_for_the_very_path(make_network: Callable[..., Any]) -> None:
    """A covenant refuses at most the limit, and only on paths that are short."""
    network = make_network(cash_usd=1.0e6, facility_usd=2.0e7)
    out = run_paths(network.model(forced_sales=False, defaults=False), 256, SEED)
    refused = metric(out, "lines_refused_max")
    assert np.any(refused > 0) and np.all(refused <= 2.0e9)
    assert np.all(metric(out, "unpaid_max")[refused > 0] > 0)


def test_a_settlement_in_another_currency_is_paid_from_the_hub(
    make_network: Callable[..., Any],
) -> None:
    network = make_network(agreements=1, factors=1, plain=True, cash_usd=4.0e7)
    book = network.book
    agreements = replace(
        book.agreements, currency=text(["EUR"]), im_held=book.agreements.im_held / 1.0625
    )
    settlements = Settlements(
        text(["OUT"]),
        np.array(["2022-12-29"], dtype="datetime64[D]"),
        text(["MAIN"]),
        text(["EUR"]),
        np.array([-100_000_00]),
    )
    network = replace(
        network,
        book=replace(book, agreements=agreements, settlements=settlements),
        market=replace(network.market, fx_usd={"USD": 1.0, "EUR": 1.0625}),
    )
    model = network.model(**QUIET | {"noise": False, "forced_sales": False})
    out = inside(model, 1).out
    assert metric(out, "unpaid_max")[0] == 0.0
    assert metric(out, "exhausted_hour")[0] == -1.0


def test_grace_runs_for_each_relation(make_network: Callable[..., Any]) -> None:
    """The dealer's call is owed since 01:00, the clearing house's only since 23:00."""
    model = _three_calls(make_network, 0.0, cross_default=False)
    calls, lag = np.array([CALL, CALL, 0.0]), model.pay_lag.copy()
    lag[0, 0] = 23
    late = with_pool(model._replace(open_call=calls, pay_lag=lag), GRACE=12.0)
    assert _alive(cut(late, 24)) == [1, 0, 1]
