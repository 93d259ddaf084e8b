"""The set of scenarios: sizes of severities, plausibility, what they cost, and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from engine.domain.failures import FailureReason
from engine.domain.scenarios import Scenario
from engine.margin.exposure import net_positions
from engine.stress.generator.generate import SEVERITIES, ScenarioConfig, generate_stress_scenarios
from engine.stress.generator.hypothetical import Hypothetical, hypothetical_scenario, hypotheticals
from engine.stress.generator.losses import scenario_losses
from engine.stress.library.fit import LibraryConfig, as_scenarios
from engine.stress.library.joint_moves import joint_moves
from tests.support.tiny_fund import FundBuilder, text, tiny_market

# The tiny market under ids that the library knows.
IDS = text(["SPX", "AAPL", "UST10", "WTI", "EURUSD", "VIX"])
UNITS = text(["index", "USD/share", "per cent", "USD/bbl", "rate", "vol points"])
MARKET = tiny_market(factor_id=IDS, unit=UNITS)


def fund() -> FundBuilder:
    return (
        FundBuilder()
        .agreement("A")
        .agreement("B")
        .instrument("SHARE", "equity", "SPX", multiplier=1.0)
        .instrument("OIL", "future", "WTI", multiplier=1000.0)
        .position("SHARE", "A", "M1", 100.0)
        .position("OIL", "A", "M2", -5.0)
        .position("OIL", "B", "M2", 20.0)
    )


@pytest.fixture(scope="module")
def found():  # type: ignore[no-untyped-def]
    return generate_stress_scenarios(fund().build(MARKET), MARKET)


def test_losses_are_full_revaluation_netted_inside_an_agreement() -> None:
    book = fund().build(MARKET)
    scenario = Scenario(scenario_id="x", name="x", moves={"SPX": -0.2, "WTI": -30.0})
    still = Scenario(scenario_id="y", name="y")
    losses = scenario_losses(net_positions(book, MARKET), [scenario, still])
    share = 100 * 4000.0 * math.expm1(-0.2)
    short, long_ = 5 * 1000 * 30.0, -20 * 1000 * 30.0
    assert losses.total_usd[0] == pytest.approx(share + short + long_, rel=1e-12)
    assert losses.calls_usd[0] == pytest.approx(max(0, -share - short) + -long_, rel=1e-12)
    np.testing.assert_allclose(losses.manager_usd[:, 0], [share, short + long_], rtol=1e-12)
    assert losses.total_usd[1] == 0.0
    assert losses.calls_usd[1] == 0.0


def test_worked_number_of_the_losses() -> None:
    one = FundBuilder().agreement("A").instrument("S", "equity", "AAPL")
    book = one.position("S", "A", "M1", 10.0).build(MARKET)
    scenario = Scenario(scenario_id="x", name="x", moves={"AAPL": -0.2})
    losses = scenario_losses(net_positions(book, MARKET), [scenario])
    assert -losses.total_usd[0] == pytest.approx(181.26924692, abs=1e-8)


def test_an_instrument_out_of_range_is_named_and_the_rest_stays() -> None:
    swap = {"fixed_rate": 4.0, "tenor_years": 10.0, "multiplier": 1.0}
    book = (
        fund().instrument("SWAP", "swap", "UST10", **swap).position("SWAP", "B", "M1", 1e6)
    ).build(MARKET)
    bad = Scenario(scenario_id="bad", name="bad", moves={"UST10": -300.0, "SPX": -0.1})
    good = Scenario(scenario_id="good", name="good", moves={"UST10": 1.0})
    losses = scenario_losses(net_positions(book, MARKET), [bad, good])
    assert [(f.item, f.where) for f in losses.failures] == [("SWAP", "scenario bad")]
    assert losses.total_usd[0] == pytest.approx(100 * 4000 * math.expm1(-0.1), rel=1e-12)
    assert losses.total_usd[1] != 0.0


def test_severities_are_quantiles_of_the_library(found) -> None:  # type: ignore[no-untyped-def]
    joint = joint_moves(MARKET, 2500)
    fitted = as_scenarios(MARKET, LibraryConfig(), joint).value
    # No episode names ten factors of this market, so that all of them serve.
    sizes = [joint.distance(f.named, f.scenario.days) / math.sqrt(len(f.named)) for f in fitted]
    for severity, quantile in zip(SEVERITIES, (0.5, 0.8, 0.95), strict=True):
        expected = float(np.quantile(sizes, quantile))
        assert found.severity_distances[severity] == pytest.approx(expected, rel=1e-12)
        entry = found.entry(f"oil_collapse_{severity}")
        assert entry.distance == pytest.approx(expected, rel=1e-9)
        assert entry.dimension == 1
        # The conditional mean of the others adds nothing to the distance.
        whole = joint.distance(entry.scenario.moves, entry.scenario.days)
        assert whole == pytest.approx(expected, rel=1e-9)


def test_labels_of_history_agree_with_the_sizes(found) -> None:  # type: ignore[no-untyped-def]
    history = [e for e in found.entries if e.scenario.kind == "historical"]
    worst = max(history, key=lambda e: e.turbulence)
    assert worst.share_of_worst == pytest.approx(1.0)
    assert worst.library_rank == pytest.approx(1.0 - 1.0 / len(history))
    for entry in history:
        reached = [s for s in SEVERITIES if entry.turbulence >= found.severity_distances[s]] or [
            "moderate"
        ]
        assert entry.scenario.severity == reached[-1]
        assert entry.to_dict()["turbulence"] == pytest.approx(
            entry.distance / math.sqrt(entry.dimension)
        )


def test_hypothetical_of_one_factor_by_hand() -> None:
    joint = joint_moves(MARKET, 2500)
    direction = Hypothetical(
        hypothetical_id="x", name="x", days=4, shape={"SPX": -2.0}, source="test"
    )
    scenario, named = hypothetical_scenario(direction, "severe", 3.0, 2.0, MARKET, joint, False)
    assert named == {"SPX": pytest.approx(-3.0 * joint.volatility[0] * 2.0, rel=1e-12)}
    assert scenario.moves == named
    assert scenario.days == 4
    assert scenario.mark == "indicative"


def test_a_factor_overrides_its_bucket_and_its_class() -> None:
    joint = joint_moves(MARKET, 2500)
    direction = Hypothetical(
        hypothetical_id="x", name="x", days=1, shape={"equity": 1.0, "AAPL": -1.0}, source="test"
    )
    _, named = hypothetical_scenario(direction, "severe", 3.0, 1.0, MARKET, joint)
    assert set(named) == {"SPX", "AAPL"}
    ratio = named["AAPL"] / named["SPX"]
    assert ratio == pytest.approx(-joint.volatility[1] / joint.volatility[0], rel=1e-12)


def test_rulebook_of_directions_covers_both_signs_of_correlation() -> None:
    found = {one.hypothetical_id: one for one in hypotheticals()}
    assert len(found) == 25
    risk_off, flip = found["correlation_risk_off"], found["correlation_sign_flip"]
    assert risk_off.breakdown_signs["equity"] * risk_off.breakdown_signs["rates"] > 0.0
    assert flip.breakdown_signs["equity"] * flip.breakdown_signs["rates"] < 0.0
    assert found["concentration_thin_markets"].depth_multiplier["severe"] == 0.25


def test_kinds_can_be_left_out() -> None:
    only = ScenarioConfig(
        include_historical_events=False,
        include_hypothetical_scenarios=False,
        correlation_breakdown_effects=False,
        include_concentration=False,
        include_model_changes=False,
        volatility_shock_magnitudes=(2.0, 2.5),
    )
    found = generate_stress_scenarios(None, MARKET, only)
    assert [s.scenario_id for s in found.scenarios] == ["volatility_2x", "volatility_2_5x"]
    assert found.entries[0].to_dict()["distance"] is None
    assert found.entries[0].to_dict()["pnl_usd"] is None
    assert found.worst() == []


def test_levels_filter_all_that_have_one(found) -> None:  # type: ignore[no-untyped-def]
    extreme = generate_stress_scenarios(None, MARKET, ScenarioConfig(severity_levels=("extreme",)))
    levels = {scenario.severity for scenario in extreme.scenarios}
    assert levels == {"extreme", None}
    assert len(extreme.entries) < len(found.entries)


def test_own_scenarios_come_last_and_replace() -> None:
    own = [
        Scenario(scenario_id="volatility_2x", name="mine", moves={"SPX": -0.1}),
        Scenario(scenario_id="new", name="new", volatility_multiplier=3.0),
    ]
    found = generate_stress_scenarios(fund().build(MARKET), MARKET, own=own)
    ids = [scenario.scenario_id for scenario in found.scenarios]
    assert ids[-2:] == ["volatility_2x", "new"]
    assert len(set(ids)) == len(ids)
    mine = found.entry("volatility_2x")
    assert mine.scenario.mark == "user"
    assert mine.dimension == 1
    assert mine.pnl_usd == pytest.approx(100 * 4000 * math.expm1(-0.1), rel=1e-12)


def test_summary_tables_and_failures(found) -> None:  # type: ignore[no-untyped-def]
    summary = found.summary(3)
    assert summary["scenarios"] == len(found.entries)
    assert sum(summary["by_kind"].values()) == len(found.entries)
    calls = [row["calls_usd"] for row in summary["worst"]]
    assert calls == sorted(calls, reverse=True)
    tables = found.tables()
    assert len(tables["scenarios"]) == len(found.entries)
    by_manager = tables["scenario_pnl_by_manager"].groupby("scenario_id")["pnl_usd"].sum()
    for entry in found.entries:
        assert by_manager[entry.scenario.scenario_id] == pytest.approx(entry.pnl_usd, abs=1e-6)
    facts = tables["scenario_facts"]
    assert "indicative" in set(facts["mark"])
    missing = {f.item for f in found.failures if f.reason == FailureReason.NOT_APPLICABLE}
    assert {"archegos_2021", "nickel_2022", "metals_squeeze"} <= missing


def test_a_market_without_any_known_factor_says_so() -> None:
    strange = tiny_market(factor_id=text(["A", "B", "C", "D", "E", "F"]))
    found = generate_stress_scenarios(None, strange)
    kinds = {scenario.kind for scenario in found.scenarios}
    assert kinds <= {"volatility", "model_change"}
    assert any("severities have no size" in failure.message for failure in found.failures)


def test_config_refuses_what_has_no_sense() -> None:
    wrong = {"moderate": 0.9, "severe": 0.5, "extreme": 0.95}
    with pytest.raises(ValidationError, match="must not fall"):
        ScenarioConfig(severity_quantiles=wrong)
    with pytest.raises(ValidationError, match="needs exactly"):
        ScenarioConfig(severity_quantiles={"severe": 0.5})
    with pytest.raises(ValidationError):
        ScenarioConfig(severities=("moderate",))  # type: ignore[call-arg]
