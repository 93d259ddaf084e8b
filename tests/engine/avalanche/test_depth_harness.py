"""What the depth tests build on: a fund of many currencies, a look inside the kernel, a ledger.

`inside` runs the compiled kernel and keeps the state of its last hour, so that a model cut short
(`cut`) shows any hour. `ledger_gap` adds up every cent from the model and that state alone; it does
not use the kernel's own in and out flows. The tests here show that both can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from engine.domain.book import Cash, Collateral, Settlements
from engine.kernels.avalanche import compiled, layout
from engine.kernels.avalanche.compiled import prepare_draws, run_paths
from engine.kernels.avalanche.groups import State, group, workspace
from engine.kernels.avalanche.layout import METRICS, Model, Output, empty_output, score_rows
from engine.kernels.avalanche.tile import build_tile

SEED = 20_240_805
CURRENCIES = ("USD", "EUR", "JPY", "GBP")
FX_USD = {"USD": 1.0, "EUR": 1.0625, "JPY": 0.0078125, "GBP": 1.25}

# No randomness but the market's: one regime, no jumps, nothing that reacts.
QUIET: dict[str, Any] = {
    "volatility_multiplier": 1.0,
    "volatility_of_volatility": 0.0,
    "tail_degrees": 0,
    "jumps_per_day": 0.0,
    "breakdown_weight": 0.0,
    "regime_enter_per_hour": 0.0,
    "volatility_reaction": 0.0,
    "defaults": False,
}


class Inside(NamedTuple):
    """Outputs and the state after the last hour."""

    out: Output
    state: State


def text(values: list[str]) -> np.ndarray:
    """Return an object array of strings."""
    return np.array(values, dtype=object)


def metric(out: Output, name: str) -> np.ndarray:
    """Return one metric of all paths."""
    return out.metrics[METRICS.index(name)]


def inside(
    model: Model,
    paths: int = compiled.LANES,
    seed: int = SEED,
    *,
    first_path: int = 0,
    drive: np.ndarray | None = None,
    scores: np.ndarray | None = None,
) -> Inside:
    """Run one tile of the compiled kernel and keep its state."""
    draws = prepare_draws(model, np.arange(first_path, first_path + paths), drive, scores)
    assert len(draws.path) == compiled.LANES
    out = empty_output(model, compiled.LANES, fan=True, record=True)
    state = workspace(model, compiled.LANES, score_rows(model, draws.scores))
    compiled._run_tiles(1, 0, seed, 0, group(model), draws, state, out)

    def kept(parts: Any) -> Any:
        return type(parts)(*(array[..., :paths] for array in parts))

    return Inside(kept(out), State(*(kept(part) for part in state)))


def inside_plain(model: Model, paths: int, seed: int = SEED, *, scenario: int = 0) -> Inside:
    """Do the same with the stages as plain Python, whichever stand in the module `tile` now."""

    def plain(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    draws = prepare_draws(model, np.arange(paths), None, None)
    out, state = empty_output(model, paths, fan=True, record=True), workspace(model, paths)
    tile = build_tile(plain, paths, plain)
    with np.errstate(over="ignore"):
        tile(0, 0, seed, scenario, group(model), draws, state, out)
    return Inside(out, state)


def cut(model: Model, hours: int) -> Model:
    """Return the model of the first `hours` hours."""
    return model._replace(
        shock=np.ascontiguousarray(model.shock[:, :hours]),
        volatility=np.ascontiguousarray(model.volatility[:hours]),
        stress=np.ascontiguousarray(model.stress[:hours]),
        sale_cap=np.ascontiguousarray(model.sale_cap[:hours]),
        flow=np.ascontiguousarray(model.flow[:hours]),
    )


def with_pool(model: Model, **entries: float) -> Model:
    """Replace entries of `pool`: `with_pool(model, TARGET=0.0)`."""
    pool = model.pool.copy()
    for name, value in entries.items():
        pool[getattr(layout, f"POOL_{name}")] = value
    return model._replace(pool=pool)


def many_currencies(network: Any, *, cash_usd: float = 1.0e7, settle_days: int = 1) -> Any:
    """Return the network with agreements, cash and settlements in four currencies, and securities
    that pay at once and `settle_days` later."""
    book = network.book
    count = len(book.agreements.currency)
    currency = text([CURRENCIES[i % 4] for i in range(count)])
    rate = np.array([FX_USD[c] for c in currency])
    agreements = replace(
        book.agreements,
        currency=currency,
        im_held=book.agreements.im_held / rate,
        vm_held=book.agreements.vm_held / rate,
    )
    names = list(CURRENCIES)
    cents = np.array([round(cash_usd * 100 / FX_USD[c]) for c in names])
    days = np.array(["2022-12-29", "2022-12-30", "2023-01-03"], dtype="datetime64[D]")
    book = replace(
        book,
        agreements=agreements,
        cash=Cash(text(["MAIN"] * 4), text(names), cents),
        settlements=Settlements(
            text(["S0", "S1", "S2"]),
            days,
            text(["MAIN"] * 3),
            text(["EUR", "GBP", "USD"]),
            np.array([round(30 * cash_usd), -round(60 * cash_usd), round(20 * cash_usd)]),
        ),
        collateral=Collateral(
            text(["BILL", "NOTE"]),
            text(["MAIN"] * 2),
            text(["govt"] * 2),
            text(["USD"] * 2),
            np.array([cash_usd, cash_usd]),
            np.array([0.02, 0.05]),
            np.array([0, settle_days]),
        ),
    )
    return replace(network, book=book, market=replace(network.market, fx_usd=FX_USD))


def ledger_gap(model: Model, end: Inside) -> np.ndarray:
    """Cash less debts minus what every agreement, line, security and fee says it should be, cents.

    For haircuts of zero and without defaults, where it is exactly zero on every path.
    """
    accounts, till, scalars = end.state.accounts, end.state.till, end.state.work.scalars
    called = model.open_call[:, None] + accounts.im - model.im_today[:, None]
    called = called - (accounts.held - model.held_start[:, None])
    outstanding = till.pay.sum(axis=0) - till.receive.sum(axis=0)
    sold = model.hqla.sum() - till.hqla.sum(axis=0) - scalars[layout.IN_SETTLEMENT]
    expected = model.cash.sum() + model.flow.sum() - called.sum(axis=0) + outstanding
    expected = expected + scalars[layout.DRAWN] + sold
    expected = expected - scalars[layout.FX_COST] - scalars[layout.COST]
    return np.asarray((till.cash - till.unpaid).sum(axis=0) - expected)


def without_haircuts(model: Model) -> Model:
    """Return the model with securities that lose nothing when used."""
    return model._replace(hqla_haircut=np.zeros_like(model.hqla_haircut))


def test_a_look_inside_is_the_run_itself(make_network: Callable[..., Any]) -> None:
    model = many_currencies(make_network()).model(horizon_days=2)
    look, run = inside(model, 40), run_paths(model, 40, SEED, fan=True, record=True)
    for field, a, b in zip(Output._fields, look.out, run, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=field)


def test_a_cut_model_is_the_beginning_of_the_run(make_network: Callable[..., Any]) -> None:
    model = many_currencies(make_network()).model(horizon_days=2, crowding=10.0)
    whole, part = inside(model).out, inside(cut(model, 24)).out
    np.testing.assert_array_equal(whole.window_calls[:3], part.window_calls)
    np.testing.assert_array_equal(whole.window_left[:3], part.window_left)
    np.testing.assert_array_equal(whole.fan[:24], part.fan)


@pytest.mark.parametrize("part", ["cash", "pay", "receive", "hqla"])
def test_the_ledger_sees_one_cent_anywhere(make_network: Callable[..., Any], part: str) -> None:
    """Negative control: one cent too much in any account opens a gap of one cent."""
    model = without_haircuts(many_currencies(make_network()).model(horizon_days=2, defaults=False))
    end = inside(model)
    np.testing.assert_array_equal(ledger_gap(model, end), 0.0)
    getattr(end.state.till, part)[0, 5] += 1.0
    gap = np.abs(ledger_gap(model, end))
    assert gap[5] == 1.0 and np.count_nonzero(gap) == 1


@pytest.mark.parametrize("settings", [{}, {"sale_policy": "greedy", "defaults": False}])
@pytest.mark.parametrize("poison", [np.nan, 1e300])
def test_a_run_reads_nothing_that_it_has_not_written(
    make_network: Callable[..., Any], settings: dict[str, Any], poison: float
) -> None:
    """The state is allocated, not cleared: what was in memory before must not matter."""
    model = many_currencies(make_network(), cash_usd=2.0e6).model(horizon_days=3, **settings)
    draws = prepare_draws(model, np.arange(64), None, None)
    results = []
    for start in (0.0, poison):
        out = empty_output(model, 64, fan=True, record=True)
        state = workspace(model, 64)
        for part in state:
            for array in part:
                array[:] = start
        compiled._run_tiles(1, 0, SEED, 0, group(model), draws, state, out)
        results.append(out)
    for field, a, b in zip(Output._fields, *results, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=field)
