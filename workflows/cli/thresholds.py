"""`--fail-on EXPR`: a metric, a comparison and a number; parsed here, never evaluated as code."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.domain.failures import UsageError

# Short name of a metric to its place in the JSON of `mca run`.
METRICS = {
    "im_usd": "margin.totals.im_usd",
    "vm_usd": "margin.totals.vm_usd",
    "add_ons_usd": "margin.totals.add_ons_usd",
    "stress_2x_im_usd": "stress.2x.im_usd",
    "stress_5x_im_usd": "stress.5x.im_usd",
    "stress_10x_im_usd": "stress.10x.im_usd",
    "amplification": "avalanche.amplification",
    "branching_ratio": "avalanche.branching_ratio",
    "p_avalanche": "avalanche.p_avalanche.value",
    "p_runaway": "avalanche.estimates.p_runaway.value",
    "p_default": "avalanche.estimates.p_default.value",
    "peak_call_mean_usd": "avalanche.peak_call_usd.mean",
    "peak_call_q99_usd": "avalanche.peak_call_usd.q99",
    "peak_call_es99_usd": "avalanche.peak_call_usd.es99",
    "cash_error_cents": "avalanche.cash_error_cents",
    "p_exhaustion": "liquidity.p_exhaustion",
    "median_hours_to_exhaustion": "liquidity.median_hours_to_exhaustion",
    "facility_need_99_usd": "liquidity.facility_need_99_usd.value",
}
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_EXPRESSION = re.compile(r"\s*([A-Za-z0-9_.]+)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*", re.ASCII)


@dataclass(frozen=True)
class Threshold:
    """One parsed expression, for example `p_exhaustion > 0.01`."""

    metric: str
    comparison: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.limit:g}"

    def breached_by(self, value: float) -> bool:
        """Return whether the expression is true of `value`."""
        return COMPARISONS[self.comparison](value, self.limit)


@dataclass(frozen=True)
class Verdict:
    """What became of one threshold; `value` is None where the run has no such figure."""

    threshold: Threshold
    value: float | None

    @property
    def breached(self) -> bool:
        """Whether the threshold is breached; a figure the run lacks breaches nothing."""
        return self.value is not None and self.threshold.breached_by(self.value)


def parse_thresholds(
    expressions: Sequence[str] | None, prefixes: Sequence[str] = ()
) -> list[Threshold]:
    """Parse `--fail-on` values before any work is done.

    Parameters
    ----------
    expressions : sequence of str, optional
        For example `["p_exhaustion>0.01"]`.
    prefixes : sequence of str
        Parts of the result the command computes (`margin`, ...); empty for all.

    Raises
    ------
    UsageError
        If one cannot be parsed or names an unknown metric; the message lists the names.
    """
    known = [
        name for name, path in METRICS.items() if not prefixes or path.split(".", 1)[0] in prefixes
    ]
    return [_parse(expression, known) for expression in expressions or ()]


def _parse(expression: str, known: list[str]) -> Threshold:
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise UsageError(
            f"--fail-on {expression!r}: expected METRIC COMPARISON NUMBER, such as "
            f'"p_exhaustion>0.01", with one of {" ".join(COMPARISONS)}'
        )
    name, comparison, number = match.groups()
    metric = {path: short for short, path in METRICS.items()}.get(name, name)
    if metric not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"--fail-on {expression!r}: unknown metric {name!r}.{hint} Known: {', '.join(known)}"
        )
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise UsageError(f"--fail-on {expression!r}: {number!r} is not a finite number")
    return Threshold(metric, comparison, limit)


def judge(thresholds: Sequence[Threshold], payload: dict[str, Any]) -> list[Verdict]:
    """Compare every threshold with the run's JSON object."""
    return [Verdict(threshold, _lookup(payload, threshold.metric)) for threshold in thresholds]


def _lookup(payload: dict[str, Any], metric: str) -> float | None:
    value: Any = payload
    for key in METRICS[metric].split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
