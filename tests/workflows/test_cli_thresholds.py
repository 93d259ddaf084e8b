"""`--fail-on`: parsing and judging."""

from __future__ import annotations

import pytest

from engine.domain.failures import UsageError
from workflows.cli.thresholds import METRICS, judge, parse_thresholds

RESULT = {
    "liquidity": {"p_exhaustion": 0.02, "median_hours_to_exhaustion": None},
    "avalanche": {"p_avalanche": {"value": 0.5}, "cash_error_cents": 0},
}


@pytest.mark.parametrize(
    ("expression", "breached"),
    [
        ("p_exhaustion>0.01", True),
        ("p_exhaustion > 0.02", False),
        ("p_exhaustion>=0.02", True),
        ("p_exhaustion<0.01", False),
        ("p_exhaustion<=2e-2", True),
        ("p_avalanche==0.5", True),
        ("p_avalanche!=0.5", False),
        ("liquidity.p_exhaustion>0.01", True),
        ("cash_error_cents!=0", False),
    ],
)
def test_expressions(expression: str, breached: bool) -> None:
    (verdict,) = judge(parse_thresholds([expression]), RESULT)
    assert verdict.breached is breached


def test_a_missing_figure_is_told_and_breaches_nothing() -> None:
    (verdict,) = judge(parse_thresholds(["median_hours_to_exhaustion<48"]), RESULT)
    assert verdict.value is None
    assert not verdict.breached


def test_a_command_knows_only_its_own_metrics() -> None:
    assert parse_thresholds(["im_usd>1"], ("margin",))
    with pytest.raises(UsageError, match="vm_usd"):
        parse_thresholds(["p_exhaustion>1"], ("margin",))


def test_no_metric_has_two_names() -> None:
    assert len(set(METRICS.values())) == len(METRICS)
