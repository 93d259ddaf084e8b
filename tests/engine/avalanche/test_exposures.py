"""Exposures of a fund against full revaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.avalanche.exposures import aggregate
from engine.fund.read import read_pack
from engine.fund.template import write_template
from engine.margin.exposure import net_positions
from engine.market import build_market, packaged_factors, packaged_levels
from engine.pricing.scenarios import scenario_pnl
from engine.pricing.value import value_per_unit


def test_small_moves_equal_full_revaluation(tmp_path: Path) -> None:
    write_template(tmp_path / "pack")
    reading = read_pack(tmp_path / "pack", packaged_factors())
    book = reading.book
    market = build_market(reading.factors, packaged_levels(), book.as_of).value
    exposures = aggregate(book, market)
    rng = np.random.default_rng(4)
    small = 1e-4 * rng.standard_normal((5, len(market.factors)))
    netted = net_positions(book, market)
    pnl = netted.quantity_usd @ scenario_pnl(netted.instruments, market, small)
    expected = np.zeros((len(book.agreements), 5))
    np.add.at(expected, netted.pair_agreement, pnl)
    first = exposures.delta @ small.T
    second = first + 0.5 * exposures.gamma @ (small**2).T
    scale = np.abs(expected).max(axis=1, keepdims=True)
    assert np.all(scale > 0)
    assert np.max(np.abs(second - expected) / scale) < 2e-4
    worth = np.zeros(len(book.agreements))
    values = netted.quantity_usd @ value_per_unit(netted.instruments, market)
    np.add.at(worth, netted.pair_agreement, values)
    np.testing.assert_allclose(exposures.value, worth, rtol=1e-12, atol=1e-6)
