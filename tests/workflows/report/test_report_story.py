"""Statuses follow their printed thresholds; sentences follow the figures."""

from __future__ import annotations

from typing import Any

import pytest

from workflows.report.facts import read_facts
from workflows.report.format import NBSP
from workflows.report.story import cards, headline, overall


def summary(**changes: Any) -> dict[str, Any]:
    """Return a run in which nothing is wrong, with `changes` to its figures."""
    figures = {
        "k": 0.1,
        "amplification": 1.1,
        "p_avalanche": 0.0,
        "p_exhaustion": 0.0,
        "increase": 1e8,
        "vm": 5e6,
        "steps": 240,
        **changes,
    }
    return {
        "fund": {"name": "F", "nav_usd": 1e10},
        "margin": {
            "totals": {"im_usd": 1e9, "vm_usd": figures["vm"], "add_ons_usd": 1e8},
            "agreements": [{}, {}, {}],
        },
        "stress": {
            "10x": {
                "mode": "volatility",
                "horizon_days": 10,
                "im_usd": 1e9 + figures["increase"],
                "increase_usd": figures["increase"],
                "ratio": 1 + figures["increase"] / 1e9,
            }
        },
        "avalanche": {
            "scenario": "volatility 5x",
            "volatility_multiplier": 5.0,
            "paths": 100,
            "steps": figures["steps"],
            "amplification": figures["amplification"],
            "branching_ratio": figures["k"],
            "p_avalanche": {"value": figures["p_avalanche"], "low": 0.0, "high": 0.1},
            "calls_total_mean_usd": 1e8,
        },
        "liquidity": {
            "p_exhaustion": figures["p_exhaustion"],
            "facility_limit_usd": 4e8,
            "opening_usd": {"cash": 3e8, "hqla_after_haircut": 3e8, "total": 6e8},
        },
    }


def levels(**changes: Any) -> tuple[str, ...]:
    return tuple(card.status.level for card in cards(read_facts(summary(**changes))))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("holds", "holds", "holds")),
        ({"increase": 4.99e8}, ("holds", "holds", "holds")),
        ({"increase": 5e8}, ("watch", "holds", "holds")),
        ({"increase": 1e9}, ("act", "holds", "holds")),
        ({"amplification": 1.25}, ("holds", "watch", "holds")),
        ({"p_avalanche": 0.01}, ("holds", "watch", "holds")),
        ({"amplification": 2.0}, ("holds", "act", "holds")),
        ({"p_avalanche": 0.05}, ("holds", "act", "holds")),
        ({"k": 1.0}, ("holds", "act", "holds")),
        ({"p_exhaustion": 0.0099}, ("holds", "holds", "holds")),
        ({"p_exhaustion": 0.01}, ("holds", "holds", "watch")),
        ({"p_exhaustion": 0.05}, ("holds", "holds", "act")),
        ({"p_exhaustion": None}, ("holds", "holds", "unknown")),
    ],
)
def test_levels_change_at_their_thresholds(
    changes: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert levels(**changes) == expected


def test_the_rule_that_decided_is_named() -> None:
    card = cards(read_facts(summary(k=1.2, amplification=2.5)))[1]
    assert card.status.threshold.startswith("Branching ratio k is 1.20")


def test_overall_is_the_gravest() -> None:
    assert overall(cards(read_facts(summary(p_exhaustion=0.2)))).word == "Act"
    assert overall(cards(read_facts(summary()))).word == "Holds"
    assert overall(cards(read_facts({}))).word == "No verdict"


def test_facility_is_a_resource_once_and_totals_are_not_added() -> None:
    liquidity = read_facts(summary()).liquidity
    assert liquidity is not None
    assert liquidity.resources == {"Cash": 3e8, "HQLA": 3e8, "Facility": 4e8}
    assert liquidity.resources_usd == 1e9


def test_variation_margin_says_who_pays() -> None:
    def labels(vm: float) -> list[str]:
        return [line.label for line in cards(read_facts(summary(vm=vm)))[0].lines]

    assert "Variation margin to pay" in labels(5e6)
    assert "Variation margin to receive" in labels(-5e6)


def test_horizon_is_in_days_only_if_whole() -> None:
    said = headline(read_facts(summary(p_exhaustion=0.1, steps=30)))
    assert said.replace(NBSP, " ").endswith(
        "Liquidity runs out within 30 hours in 10.0 % of simulated paths."
    )
