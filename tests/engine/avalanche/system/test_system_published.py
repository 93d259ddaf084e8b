"""The published fire-sale test of 48 banks, reproduced; skipped without its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.avalanche.system.config import SystemConfig, SystemShock
from engine.avalanche.system.fire_sale import run_fire_sale
from engine.avalanche.system.institutions import Institutions
from engine.avalanche.system.published_banks import balance_sheet
from engine.avalanche.system.read import read_institutions
from engine.avalanche.system.rules import published_marks, published_number

TOLERANCE = 1e-4
# Fall of the price at 5 % sold, systemic event, share sold (None: not published here).
BY_IMPACT = [
    (0.0, 0.1458, 0.605124),
    (0.005, 0.1875, 0.793420),
    (0.01, 0.3750, 0.914501),
    (0.015, 0.5208, 0.944158),
    (0.02, 0.6667, 0.981624),
    (0.025, 0.7500, 0.993848),
    (0.03, 0.7917, None),
    (0.035, 0.8958, 0.993848),
    (0.04, 0.8958, 0.996054),
    (0.045, 0.8958, 0.996054),
    (0.05, 0.9167, 0.996054),
    (0.06, 0.9375, None),
    (0.065, 0.9375, None),
    (0.07, 0.9375, None),
    (0.075, 0.9375, None),
    (0.08, 0.9375, None),
    (0.085, 0.9375, None),
    (0.09, 0.9375, None),
    (0.095, 0.9375, None),
    (0.10, 0.9375, 1.0),
]
# Fall of government bonds, systemic event: threshold, leverage targeting.
BY_SHOCK = [
    (0.09, 0.0, 0.0625),
    (0.15, 0.1250, 0.2500),
    (0.18, 0.2917, 0.2500),
    (0.21, 0.3333, 0.2917),
    (0.24, 0.3750, 0.3750),
    (0.30, 0.5208, 0.5417),
]
SOLD_BY_SHOCK = [(0.06, 0.157905, 0.892436), (0.30, 0.956710, 0.983830)]


@pytest.fixture(scope="module")
def banks(shared_folder: Path) -> Institutions:
    path = shared_folder / "oracles" / "EBA_2018.csv"
    if not path.is_file():
        pytest.skip(f"{path} not found")
    reading = read_institutions(path)
    assert reading.failures == ()
    assert len(reading.value) == 48
    return reading.value


def shocks(falls: list[float], impacts: list[float], behaviour: str) -> list[SystemShock]:
    return [
        SystemShock(
            shock_id=f"{behaviour} {i}",
            falls={"government_bonds": fall},
            price_impact=impact,
            behaviour=behaviour,
        )
        for i, (fall, impact) in enumerate(zip(falls, impacts, strict=True))
    ]


@pytest.mark.conformance
def test_runs_over_price_impact(banks: Institutions) -> None:
    impacts = [row[0] for row in BY_IMPACT]
    result = run_fire_sale(banks, shocks([0.2] * len(impacts), impacts, "threshold"))
    event = np.array([row[1] for row in BY_IMPACT])
    assert np.max(np.abs(result.systemic_event - event)) < TOLERANCE
    for s, (_, _, sold) in enumerate(BY_IMPACT):
        if sold is not None:
            assert abs(result.sold_share[s] - sold) < TOLERANCE


@pytest.mark.conformance
@pytest.mark.parametrize(("behaviour", "column"), [("threshold", 1), ("target", 2)])
def test_runs_over_the_shock(banks: Institutions, behaviour: str, column: int) -> None:
    falls = [row[0] for row in BY_SHOCK]
    result = run_fire_sale(banks, shocks(falls, [0.01] * len(falls), behaviour))
    event = np.array([row[column] for row in BY_SHOCK])
    assert np.max(np.abs(result.systemic_event - event)) < TOLERANCE
    result = run_fire_sale(banks, shocks([0.06, 0.30], [0.01] * 2, behaviour))
    sold = np.array([row[column] for row in SOLD_BY_SHOCK])
    assert np.max(np.abs(result.sold_share - sold)) < TOLERANCE


@pytest.mark.conformance
def test_small_shares_of_defaults_are_no_event(banks: Institutions) -> None:
    result = run_fire_sale(banks, shocks([0.09], [0.01], "threshold"))
    assert result.default_share[0] == pytest.approx(2 / 48, rel=1e-12)
    assert result.systemic_event[0] == 0.0
    kept = run_fire_sale(banks, shocks([0.09], [0.01], "threshold"), SystemConfig(event_floor=0.0))
    assert kept.systemic_event[0] == pytest.approx(2 / 48, rel=1e-12)


@pytest.mark.conformance
@pytest.mark.parametrize(
    "settings", [{"reference_share": 0.10}, {"steps": 2}, {"impact_law": "square_root"}]
)
def test_other_rules_miss_the_published_numbers(
    banks: Institutions, settings: dict[str, object]
) -> None:
    impacts = [row[0] for row in BY_IMPACT]
    config = SystemConfig(**settings)
    result = run_fire_sale(banks, shocks([0.2] * len(impacts), impacts, "threshold"), config)
    event = np.array([row[1] for row in BY_IMPACT])
    assert np.max(np.abs(result.systemic_event - event)) > 100 * TOLERANCE


@pytest.mark.conformance
def test_order_of_banks_does_not_matter(banks: Institutions) -> None:
    order = np.random.Generator(np.random.Philox(7)).permutation(48)
    names = [name for name, value in vars(banks).items() if getattr(value, "shape", (0,))[0] == 48]
    shuffled = replace(banks, **{name: getattr(banks, name)[order] for name in names})
    runs = shocks([0.2, 0.3], [0.01, 0.02], "threshold")
    one, other = run_fire_sale(banks, runs), run_fire_sale(shuffled, runs)
    assert np.array_equal(one.default_step[order], other.default_step)
    np.testing.assert_allclose(one.sold[order], other.sold, rtol=1e-9, atol=1e-6)


def test_balance_sheet_of_a_bank() -> None:
    sheet = balance_sheet(5.0, 0.05, 20.0, 12.0)
    assert sheet["cash"] == pytest.approx(5.0, rel=1e-12)
    assert sheet["other_assets"] == pytest.approx(75.0, rel=1e-12)
    assert sheet["holding_corporate_bonds"] == 8.0
    assert sheet["repayable_debt"] == sheet["fixed_debt"] == pytest.approx(47.5, rel=1e-12)


def test_rulebook_numbers_and_their_marks() -> None:
    assert published_number("leverage_target") == 0.05
    marks = published_marks()
    assert {name for name, mark in marks.items() if mark == "indicative"} == {
        "reference_share",
        "event_floor",
    }
    config = SystemConfig()
    assert (config.steps, config.price_impact, config.reference_share) == (6, 0.01, 0.05)
