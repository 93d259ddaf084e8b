"""Crowding from a run of the system: volumes beside the fund, and who causes what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.avalanche.system.config import SystemConfig, SystemShock
from engine.avalanche.system.crowding import modelled_crowding, study_crowding
from engine.avalanche.system.fire_sale import run_fire_sale
from engine.avalanche.system.institutions import Institutions, join, split, with_assets
from engine.domain.failures import FailureReason, InputError
from engine.domain.scenarios import Scenario

ASSETS = ("equity", "rates")


def funds(names: list[str], holding: list[list[float]], cash: list[float]) -> Institutions:
    """Margined institutions with 10 % margin that sell when cash falls below 0."""
    n = len(names)
    zero = np.zeros(n)
    return Institutions(
        unit="USD m",
        institution_id=np.array(names, dtype=object),
        asset_id=np.array(ASSETS, dtype=object),
        holding=np.array(holding),
        margin=np.full((n, 2), 0.1),
        cash=np.array(cash),
        **{
            name: zero.copy()
            for name in (
                "cash_buffer", "other_assets", "repayable_debt", "fixed_debt",
                "leverage_minimum", "leverage_buffer", "leverage_target",
            )
        },
    )  # fmt: skip


FUND = funds(["FUND"], [[100.0, 0.0]], [3.0])
FALL = SystemShock(shock_id="fall", falls={"equity": 0.05})
NO_IMPACT = SystemConfig(price_impact=0.0)


def test_twins_of_the_fund_sell_in_proportion() -> None:
    # Two peers of twice and half the fund's size in everything: theta is 2.5 at no impact.
    peers = funds(["BIG", "SMALL"], [[200.0, 0.0], [50.0, 0.0]], [6.0, 1.5])
    found = study_crowding(FUND, peers, [FALL], NO_IMPACT)
    assert found.crowding() == {"equity": pytest.approx(2.5, rel=1e-12)}
    assert found.summary()["peers_caused_by_fund"] == pytest.approx(0.0, abs=1e-12)
    assert found.summary()["fund_caused_by_peers"] == pytest.approx(0.0, abs=1e-12)
    # 5 lost, 0.5 of margin freed, cash -1.5: 15 of the 95 that are left are sold.
    assert found.fund[0, 0] == pytest.approx(100.0 * 1.5 / 9.5, rel=1e-12)


def test_impact_makes_each_side_cause_sales_of_the_other() -> None:
    peers = funds(["BIG", "SMALL"], [[200.0, 0.0], [50.0, 0.0]], [6.0, 1.5])
    found = study_crowding(FUND, peers, [FALL], SystemConfig(price_impact=0.005)).summary()
    assert 0.0 < found["peers_caused_by_fund"] < found["fund_caused_by_peers"] < 1.0
    quiet = funds(["CALM"], [[200.0, 0.0]], [50.0])
    found = study_crowding(FUND, quiet, [FALL], SystemConfig(price_impact=0.005)).summary()
    assert found["crowding"] == {"equity": 0.0}
    assert found["peers_caused_by_fund"] is None


def test_peers_that_buy_do_not_crowd() -> None:
    short = funds(["SHORT"], [[-100.0, 50.0]], [1.0])
    shock = SystemShock(
        shock_id="call", falls={"equity": 0.05}, calls={"SHORT": (9.0,), "FUND": (1.0,)}
    )
    found = study_crowding(FUND, short, [shock], NO_IMPACT)
    assert found.peers[0, 0] < 0.0
    assert found.crowding() == {"equity": 0.0}


def test_theta_is_a_ratio_of_sums_over_shocks() -> None:
    peers = funds(["PEER"], [[100.0, 100.0]], [2.0])
    shocks = [FALL, SystemShock(shock_id="worse", falls={"equity": 0.08})]
    found = study_crowding(FUND, peers, shocks, NO_IMPACT)
    expected = found.peers[0].sum() / found.fund[0].sum()
    assert found.theta[0] == pytest.approx(expected, rel=1e-12)
    assert found.theta[0] != pytest.approx(np.mean(found.peers[0] / found.fund[0]), rel=1e-3)
    assert list(found.tables()["system_crowding"]["asset_id"]) == list(ASSETS)


def test_what_the_fund_keeps_has_no_crowding_and_is_listed() -> None:
    peers = funds(["PEER"], [[100.0, 100.0]], [2.0])
    found = study_crowding(FUND, peers, [FALL], NO_IMPACT)
    assert np.isnan(found.theta[1])
    assert [(f.item, f.reason) for f in found.failures] == [("rates", FailureReason.NOT_APPLICABLE)]
    assert found.to_dict()["failures"][0]["item"] == "rates"
    assert "rates" not in found.crowding()


def test_a_scenario_takes_the_modelled_crowding() -> None:
    peers = funds(["HUGE"], [[1e6, 0.0]], [0.0])
    crowding = modelled_crowding(FUND, peers, [FALL], NO_IMPACT)
    assert crowding == {"equity": 100.0}
    assert Scenario(scenario_id="s", name="s", crowding=crowding).crowding == crowding


def test_run_with_all_is_the_plain_run() -> None:
    peers = funds(["A", "B"], [[80.0, 20.0], [10.0, 90.0]], [1.0, 0.5])
    config = SystemConfig(price_impact=0.01)
    plain = run_fire_sale(join(FUND, peers), [FALL], config)
    found = study_crowding(FUND, peers, [FALL], config)
    assert np.array_equal(plain.sold[0], found.fund)
    assert np.array_equal(plain.sold[1:].sum(axis=0), found.peers)


def test_split_join_and_more_assets() -> None:
    all_of_them = join(FUND, funds(["A"], [[80.0, 20.0]], [1.0]))
    one, others = split(all_of_them, "A")
    assert list(one.institution_id) == ["A"]
    assert list(others.institution_id) == ["FUND"]
    wide = with_assets(one, ["rates", "credit", "equity"])
    np.testing.assert_array_equal(wide.holding, [[20.0, 0.0, 80.0]])
    np.testing.assert_array_equal(wide.margin, [[0.1, 1.0, 0.1]])
    with pytest.raises(InputError, match="asset 'equity' is not among rates"):
        with_assets(one, ["rates"])
    with pytest.raises(InputError, match="institution 'B' is not in the system"):
        split(all_of_them, "B")
    with pytest.raises(InputError, match="assets rates, credit, equity and equity, rates differ"):
        join(wide, others)
    with pytest.raises(InputError, match="units 'EUR m' and 'USD m' differ"):
        join(replace(one, unit="EUR m"), others)
    with pytest.raises(InputError, match="'A' appears twice"):
        join(one, one)


def test_the_fund_is_one_institution() -> None:
    two = funds(["A", "B"], [[80.0, 20.0], [10.0, 90.0]], [1.0, 0.5])
    with pytest.raises(InputError, match="the fund is 2 institutions"):
        study_crowding(two, FUND, [FALL])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cash": np.array([np.nan])}, "FUND: cash is nan"),
        ({"cash": np.array([-1.0])}, "FUND: cash is -1; give it a finite number, not negative"),
        ({"margin": np.array([[0.1, 1.5]])}, "FUND: margin is 1.5; give it above 0 and at most 1"),
        ({"margin": np.array([[0.0, 1.0]])}, "FUND: margin is 0"),
        ({"holding": np.array([[np.inf, 1.0]])}, "FUND: holding is inf"),
        ({"cash": np.zeros(2)}, r"cash has shape \(2,\)"),
        ({"leverage_target": np.array([1.0])}, "leverage_target is 1; give it below 1"),
        (
            {"leverage_target": np.array([0.04]), "leverage_buffer": np.array([0.05])},
            "minimum 0, buffer 0.05 and target 0.04 must rise",
        ),
    ],
)
def test_impossible_balance_sheets(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(FUND, **change)


@pytest.mark.parametrize(
    ("shock", "message"),
    [
        ({"falls": {"gold": 0.1}}, "shock s: asset 'gold' is not in the system; it has equity"),
        ({"calls": {"X": (1.0,)}}, "institution 'X' is not in the system"),
        ({"idle": ("X",)}, "institution 'X' is not in the system"),
        ({"calls": {"FUND": (1.0,) * 7}}, "called in 7 steps, the run has 6"),
    ],
)
def test_shocks_that_do_not_fit(shock: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_fire_sale(FUND, [SystemShock(shock_id="s", **shock)])


def test_shocks_and_sizes_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="no shock to run"):
        run_fire_sale(FUND, [])
    with pytest.raises(InputError, match="one appears twice"):
        run_fire_sale(FUND, [FALL, FALL])
    with pytest.raises(InputError, match="market size of equity is 0"):
        run_fire_sale(FUND, [FALL], market_size={"equity": 0.0})
    with pytest.raises(InputError, match="market size: asset 'gold'"):
        run_fire_sale(FUND, [FALL], market_size={"gold": 1.0})


def test_a_larger_market_falls_less() -> None:
    peers = funds(["PEER"], [[100.0, 100.0]], [2.0])
    both, config = join(FUND, peers), SystemConfig(impact_law="square_root")
    small = run_fire_sale(both, [FALL], config)
    large = run_fire_sale(both, [FALL], config, {"equity": 5_000.0})
    assert 0.0 < large.second_round_fall[0, 0] < small.second_round_fall[0, 0]
    # Square root: the reference share moves the price by `price_impact`.
    volume = large.sold[:, 0, 0].sum() / 5_000.0
    expected = -np.log(0.99) * np.sqrt(volume / 0.05)
    assert -np.log1p(-large.second_round_fall[0, 0]) == pytest.approx(expected, rel=1e-9)
    tables = large.tables()
    assert len(tables["system_prices"]) == 12
    assert len(tables["system_institutions"]) == 2
    assert large.to_dict()["assumptions"]["impact_law"] == "square_root"
