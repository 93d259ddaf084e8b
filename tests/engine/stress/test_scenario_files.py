"""Scenario files: exact round trips, units, and errors that name place, value and remedy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.domain.scenarios import Scenario
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.stress.generator.generate import ScenarioConfig, generate_stress_scenarios
from engine.stress.scenario_files.toml import read_scenarios, scenarios_text, write_scenarios
from engine.stress.scenario_files.units import move_in_return_units
from tests.support.tiny_fund import text, tiny_market

ROOT = Path(__file__).resolve().parents[3]
MARKET = tiny_market(unit=text(["index", "USD/share", "per cent", "USD/bbl", "rate", "vol points"]))
GOOD = """
[[scenario]]
scenario_id = "mine"
name = "Mine"
[scenario.moves]
IDX = "-20 %"
UST = "+75 bp"
OIL = "-30 USD"
VIX = "+20 pts"
EURUSD = -0.01
"""


def written(folder: Path, body: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(body, encoding="utf-8")
    return path


def test_units_of_moves(tmp_path: Path) -> None:
    found = read_scenarios(written(tmp_path, GOOD), MARKET)
    assert not found.failures
    moves = found.value[0].moves
    assert moves["IDX"] == pytest.approx(math.log(0.8), rel=1e-12)
    assert moves["IDX"] == pytest.approx(-0.22314355, abs=1e-8)
    assert moves["UST"] == pytest.approx(0.75, rel=1e-12)
    assert moves["OIL"] == -30.0
    assert moves["VIX"] == pytest.approx(math.log(42.0 / 22.0), rel=1e-12)
    assert moves["EURUSD"] == -0.01
    # Absolute factors: a per cent is one of the level.
    assert move_in_return_units("OIL", "-25%", MARKET) == pytest.approx(-20.0)
    assert move_in_return_units("UST", "-10 %", MARKET) == pytest.approx(-0.4)
    assert move_in_return_units("STK", "-30 USD", MARKET) == pytest.approx(math.log(0.7))


@pytest.mark.parametrize(
    ("factor", "value", "message"),
    [
        ("IDX", "-20 bp", "its level is in index, not in per cent"),
        ("IDX", "-20 EUR", "'EUR' is no unit"),
        ("EURUSD", "-1 rate", "'rate' is no unit"),
        ("OIL", "-30 EUR", "its level is in USD/bbl"),
        ("IDX", "-100 %", "takes its level 4000 to 0"),
        ("VIX", "-30 pts", "takes its level 22 to -8"),
        ("IDX", "twenty", "'twenty': give a number"),
        ("IDX", True, "True: give a number"),
        ("IDX", math.inf, "not finite"),
        ("IDX", ["-1 %"], "give a number"),
    ],
)
def test_wrong_moves_say_why(factor: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        move_in_return_units(factor, value, MARKET)
    assert factor in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("IDX =", "IDy =", "moves: 'IDy' is not known; did you mean 'IDX'?"),
        ('name = "Mine"', 'nme = "Mine"', "key 'nme' is not known; did you mean 'name'?"),
        ('name = "Mine"', "", "name is missing; give it"),
        ('"mine"', '"Mine!"', "scenario_id = 'Mine!'"),
        ('name = "Mine"', 'name = "Mine"\nday_shares = [0.5]', "day_shares sum to 0.5"),
        ('name = "Mine"', 'name = "Mine"\nkind = "bad"', "kind = 'bad'"),
        ('name = "Mine"', 'name = "Mine"\ndepth_multiplier = 2.0', "depth_multiplier = 2.0"),
        ('name = "Mine"', 'name = "Mine"\nbreakdown_weight = 0.5', "needs breakdown_signs"),
        ("[scenario.moves]", "[scenario.volatility_by_class]\nequities = 2.0\n[scenario.moves]",
         "volatility_by_class: 'equities' is not known; did you mean 'equity'?"),
        ("[scenario.moves]", "[scenario.crowding]\nbuckets = 2.0\n[scenario.moves]",
         "crowding: 'buckets' is not known; did you mean 'bucket'?"),
        ("[scenario.moves]", "[scenario.breakdown_signs]\nOIk = 1.0\n[scenario.moves]",
         "breakdown_signs: 'OIk'"),
    ],
)  # fmt: skip
def test_a_wrong_scenario_is_named_and_the_others_stay(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    body = GOOD.replace(old, new, 1) + '\n[[scenario]]\nscenario_id = "fine"\nname = "Fine"\n'
    found = read_scenarios(written(tmp_path, body), MARKET)
    assert [scenario.scenario_id for scenario in found.value] == ["fine"]
    (failure,) = found.failures
    assert message in failure.message
    assert failure.where.startswith("mine.toml, scenario ")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = ", "give a TOML file"),
        ("", r"no \[\[scenario\]\] table"),
        ('[scenario]\nscenario_id = "a"', r"no \[\[scenario\]\] table"),
        ("severity = 1\n[[scenario]]", "key 'severity' at the top"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_scenarios(written(tmp_path, body), MARKET)
    assert "mine.toml" in str(caught.value)
    with pytest.raises(InputError, match=r"absent\.toml"):
        read_scenarios(tmp_path / "absent.toml", MARKET)


def test_twice_the_same_id(tmp_path: Path) -> None:
    found = read_scenarios(written(tmp_path, GOOD + GOOD), MARKET)
    assert len(found.value) == 1
    assert "is used above" in found.failures[0].message


def test_every_generated_scenario_comes_back_exactly(tmp_path: Path) -> None:
    levels = packaged_levels()
    market = build_market(packaged_factors(), levels, levels.dates[-1].item()).value
    scenarios = generate_stress_scenarios(None, market, ScenarioConfig()).scenarios
    path = tmp_path / "all.toml"
    write_scenarios(path, scenarios)
    back = read_scenarios(path, market)
    assert not back.failures
    assert back.value == scenarios


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
names = st.sampled_from(["IDX", "STK", "UST", "OIL", "EURUSD", "VIX"])
words = st.text(max_size=40).filter(lambda s: s.isprintable() or "\n" in s or "\x7f" in s)


@st.composite
def any_scenario(draw: st.DrawFn) -> Scenario:
    days = draw(st.integers(1, 30))
    return Scenario(
        scenario_id=draw(st.from_regex(r"\A[a-z0-9][a-z0-9_]{0,20}\Z")),
        name=draw(words.filter(bool)),
        description=draw(words),
        moves=draw(st.dictionaries(names, finite, max_size=6)),
        day_shares=(1.0 / days,) * days,
        volatility_multiplier=draw(st.floats(0.01, 20.0)),
        breakdown_signs=draw(st.dictionaries(names, st.floats(-1.0, 1.0), max_size=3)),
        depth_multiplier=draw(st.floats(1e-6, 1.0)),
        extra_calls_per_day=draw(st.integers(0, 7)),
        starts_in_stress=draw(st.booleans()),
        crowding=draw(st.dictionaries(st.just("bucket"), st.floats(0.0, 100.0))),
        model_changes=tuple(draw(st.lists(words, max_size=2))),
        severity=draw(st.sampled_from([None, "severe"])),
        mark=draw(st.sampled_from(["verified", "indicative", "user"])),
        sources=tuple(draw(st.lists(words, max_size=2))),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(any_scenario(), min_size=1, max_size=3, unique_by=lambda s: s.scenario_id))
def test_any_scenario_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, scenarios: list[Scenario]
) -> None:
    path = tmp_path_factory.mktemp("files") / "some.toml"
    write_scenarios(path, scenarios)
    back = read_scenarios(path, MARKET)
    assert not back.failures, scenarios_text(scenarios)
    assert list(back.value) == scenarios


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "scenarios").glob("*.toml")))
def test_examples_can_be_read(path: Path) -> None:
    levels = packaged_levels()
    market = build_market(packaged_factors(), levels, levels.dates[-1].item()).value
    found = read_scenarios(path, market)
    assert not found.failures
    assert found.value
