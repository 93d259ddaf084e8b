"""The simulation as a second opinion on moves the search has found."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund, prepare_fund
from engine.fund.read import read_pack
from engine.fund.template import write_template
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.market import build_market, packaged_factors, packaged_levels
from engine.stress.reverse.simulated_metric import simulated_metric


@pytest.fixture(scope="module")
def fund(tmp_path_factory: pytest.TempPathFactory) -> PreparedFund:
    folder = tmp_path_factory.mktemp("fund") / "pack"
    write_template(folder)
    reading = read_pack(folder, packaged_factors())
    assert isinstance(reading.book.as_of, date) and Path(folder).is_dir()
    market = build_market(reading.factors, packaged_levels(), reading.book.as_of).value
    margin = calculate_margin_requirements(reading.book, market, MarginConfig())
    return prepare_fund(reading.book, market, margin, AvalancheConfig())


def _moves(fund: PreparedFund, sigmas: list[float]) -> np.ndarray:
    """The fund's worst direction by linear exposure, scaled."""
    delta = fund.exposures.delta[:, fund.inputs.columns].sum(axis=0)
    moves = np.zeros((len(sigmas), len(fund.market.factors)))
    moves[:, fund.inputs.columns] = np.outer(sigmas, -np.sign(delta) * fund.inputs.daily_volatility)
    return moves


def test_loss_is_the_revaluation_of_the_move(fund: PreparedFund) -> None:
    """Without a move nothing is lost; a small one loses delta times the move."""
    measure = simulated_metric(fund, "loss_usd", 1)
    moves = _moves(fund, [0.0, 0.01])
    loss = measure(moves)
    delta = fund.exposures.delta.sum(axis=0)
    # The dollar cost of exchanging currencies is the only other thing that moves NAV.
    assert abs(loss[0]) < 1e3
    assert loss[1] - loss[0] == pytest.approx(-float(moves[1] @ delta), rel=1e-3)


def test_metrics_rise_with_the_move_and_candidates_do_not_touch_each_other(
    fund: PreparedFund,
) -> None:
    for target in ("loss_usd", "calls_usd", "exceed_liquidity_resources"):
        measure = simulated_metric(fund, target, 2)  # type: ignore[arg-type]
        together = measure(_moves(fund, [1.0, 3.0, 6.0]))
        assert np.all(np.diff(together) > 0)
        alone = measure(_moves(fund, [3.0]))
        assert alone[0] == together[1]
