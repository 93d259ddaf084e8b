"""The search over managers: against brute force, and against the margin engine."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.domain.scenarios import Scenario
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.required import MarginEngine
from engine.margin.stress import volatility_scale
from engine.stress.combinations.rank import (
    CombinationConfig,
    margin_rise_by_manager,
    rank_combinations,
    strain_by_subset,
)
from engine.stress.combinations.reprice import class_weights, moved_market, scenario_scale
from tests.support.tiny_fund import FundBuilder, tiny_market

MARKET = tiny_market()
MANAGERS = ("M1", "M2", "M3", "IDLE")
SCENARIOS = [
    Scenario(scenario_id="crash", name="crash", moves={"IDX": -0.2, "VIX": 0.8},
             volatility_multiplier=4.0, day_shares=(0.2,) * 5),
    Scenario(scenario_id="oil", name="oil", moves={"OIL": -25.0}, volatility_multiplier=1.5,
             volatility_by_class={"commodity": 5.0}, day_shares=(0.1,) * 10),
    Scenario(scenario_id="calm", name="calm"),
]  # fmt: skip


def fund() -> FundBuilder:
    return (
        FundBuilder()
        .agreement("CCP1")
        .agreement("CCP2", ewma_lambda=0.94)
        .agreement("CSA", kind="bilateral", venue="", broker="", model="schedule",
                   confidence=np.nan, ewma_lambda=np.nan, lookback_days=0, mpor_days=10)
        .instrument("IDXF", "future", "IDX", multiplier=50.0)
        .instrument("OILF", "future", "OIL", multiplier=1000.0)
        .position("IDXF", "CCP1", "M1", 300.0)
        .position("IDXF", "CCP1", "M2", -100.0)
        .position("OILF", "CCP2", "M2", 400.0)
        .position("OILF", "CCP2", "M3", 250.0)
        .position("IDXF", "CCP2", "M3", 50.0)
        .position("OILF", "CSA", "M1", -100.0)
    )  # fmt: skip


BOOK = fund().build(MARKET, MANAGERS)


def test_strain_equals_brute_force() -> None:
    rng = np.random.default_rng(4)
    pnl = rng.normal(size=(7, 6, 5))
    pnl[rng.random((7, 6)) < 0.5] = 0.0
    rise = rng.random((6, 5))
    for size in (1, 2, 3, 4):
        strain, subsets = strain_by_subset(pnl, rise, size)
        assert subsets == list(combinations(range(6), size))
        for row, subset in enumerate(subsets):
            for s in range(5):
                brute = sum(max(0.0, -sum(pnl[r, m, s] for m in subset)) for r in range(7)) + sum(
                    rise[m, s] for m in subset
                )
                assert strain[row, s] == pytest.approx(brute, rel=1e-12)


def test_worked_number_of_netting() -> None:
    pnl = np.array([[[-3.0], [2.0]]])
    none = np.zeros((2, 1))
    assert strain_by_subset(pnl, none, 1)[0].tolist() == [[3.0], [0.0]]
    assert strain_by_subset(pnl, none, 2)[0].tolist() == [[1.0]]
    assert strain_by_subset(pnl, none, 3)[0].shape == (0, 1)


def test_ranking_is_that_of_brute_force() -> None:
    found = rank_combinations(BOOK, MARKET, SCENARIOS, CombinationConfig(repriced=0))
    # Managers without positions add nothing and are not searched.
    assert all("IDLE" not in one.managers for one in found.ranked)
    assert found.searched == 3 * (3 + 3 + 1)
    assert [len(one.managers) for one in found.ranked] == [1, 1, 1, 2, 2, 2, 3]
    for size in (1, 2, 3):
        strains = [one.strain_usd for one in found.ranked if len(one.managers) == size]
        assert strains == sorted(strains, reverse=True)
    pair = next(one for one in found.ranked if one.managers == ("M2", "M3"))
    assert pair.scenario_id == "oil"
    assert pair.loss_usd == pytest.approx((400 + 250) * 1000 * 25.0, rel=1e-12)
    assert pair.interaction_usd == pytest.approx(pair.strain_usd - pair.singles_usd)
    assert pair.interaction_usd == pytest.approx(0.0, abs=1e-3)
    crash = [one for one in found.by_scenario if one.scenario_id == "crash"]
    assert len(found.by_scenario) == 3
    # M1 and M2 net under CCP1 in the crash: together they need less than apart.
    assert crash[0].interaction_usd < -1.0
    assert all(0.0 < one.coincidence <= 1.0 + 1e-12 for one in found.ranked)


def test_margin_rise_is_the_share_times_the_reaction() -> None:
    engine = MarginEngine(net_positions(BOOK, MARKET), MarginConfig())
    rise = margin_rise_by_manager(engine, SCENARIOS)
    share = engine.at().pair_im
    exposures = engine.exposures
    for s, scenario in enumerate(SCENARIOS):
        step = {0: 4.0, 1: 1.5}.get(s, 1.0)
        if s == 0:
            # CCP1 holds equity alone, CCP2 mostly oil; all classes step up by 4 in the crash.
            expected = np.zeros(len(MANAGERS))
            for pair, (agreement, manager) in enumerate(
                zip(exposures.pair_agreement, exposures.pair_manager, strict=True)
            ):
                decay = {"CCP1": 0.97, "CCP2": 0.94}.get(
                    str(BOOK.agreements.agreement_id[agreement]), 1.0
                )
                scale = volatility_scale(decay, step, scenario.days)
                expected[manager] += share[pair] * (scale - 1.0)
            np.testing.assert_allclose(rise[:, s], np.maximum(expected, 0.0), rtol=1e-12)
    assert np.all(rise[:, 2] == 0.0)


def test_scale_mixes_the_steps_of_the_classes() -> None:
    weights = np.array([[0.5, 0.5, 0.0, 0.0, 0.0, 0.0], [0.0] * 6])
    scenario = Scenario(scenario_id="x", name="x", volatility_by_class={"equity": 3.0},
                        day_shares=(1.0,))  # fmt: skip
    scale = scenario_scale(weights, np.array([0.5, 0.5]), scenario, MARKET)
    assert scale[0] == pytest.approx(volatility_scale(0.5, 5.0**0.5, 1), rel=1e-12)
    assert scale[1] == pytest.approx(1.0)
    rows = class_weights(net_positions(BOOK, MARKET)).sum(axis=1)
    np.testing.assert_allclose(rows, 1.0, rtol=1e-12)


def test_repriced_equals_the_engine_on_the_subset_alone() -> None:
    config = CombinationConfig(largest_subset=2, repriced=1)
    found = rank_combinations(BOOK, MARKET, SCENARIOS, config)
    best = next(one for one in found.ranked if one.repriced is not None)
    assert len(best.managers) == 2
    scenario = next(s for s in SCENARIOS if s.scenario_id == best.scenario_id)
    names = np.isin(BOOK.managers.manager_id.astype(str), best.managers)
    rows = np.flatnonzero(names[BOOK.positions.manager])
    kept = {name: column[rows] for name, column in vars(BOOK.positions).items()}
    part = replace(BOOK, positions=replace(BOOK.positions, **kept))
    today = calculate_margin_requirements(part, MARKET, MarginConfig())
    then = moved_market(MARKET, scenario)
    engine = MarginEngine(net_positions(part, then), MarginConfig())
    weights = class_weights(net_positions(part, MARKET))
    decay = np.where(part.agreements.model == "schedule", 1.0, part.agreements.ewma_lambda)
    after = engine.at(scenario_scale(weights, decay, scenario, MARKET))
    rise = (after.im + sum(after.add_ons.values())) - (today.im_usd + today.add_ons_usd())
    assert best.repriced is not None
    assert best.repriced.margin_rise_usd == pytest.approx(np.maximum(rise, 0.0).sum(), rel=1e-9)
    assert best.repriced.loss_usd == pytest.approx(best.loss_usd, rel=1e-12)
    told = best.repriced.to_dict()
    # M3's index future offsets less of the oil in the scenario than it does today.
    assert told["interaction_usd"] == pytest.approx(
        best.repriced.strain_usd - best.repriced.singles_usd
    )
    assert told["interaction_usd"] > 0.0


def test_correlation_of_managers_and_tables() -> None:
    found = rank_combinations(BOOK, MARKET, SCENARIOS, CombinationConfig(repriced=0))
    tables = found.tables()
    matrix = found.loss_correlation
    assert matrix[0, 0] == pytest.approx(1.0)
    assert np.isnan(matrix[3]).all()
    np.testing.assert_allclose(matrix, matrix.T)
    assert list(tables["manager_loss_correlation"]["manager_id"]) == list(MANAGERS)
    assert tables["stress_combinations"]["managers"].iloc[-1] == "M1 + M2 + M3"
    assert found.summary()["worst"][-1]["size"] == 3
    assert len(found.to_dict()["by_scenario"]) == 3


def test_moved_market_moves_levels_alone() -> None:
    then = moved_market(MARKET, SCENARIOS[1])
    k = MARKET.index()["OIL"]
    assert then.level[k] == pytest.approx(55.0)
    assert then.level[0] == MARKET.level[0]
    assert then.fx_usd == MARKET.fx_usd


def test_nothing_to_combine_is_said() -> None:
    with pytest.raises(InputError, match="no scenario"):
        rank_combinations(BOOK, MARKET, [])
