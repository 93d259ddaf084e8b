"""Margin of a combined commodity from its parts: scan risk, spreads, minimum, option value.

A combined commodity is everything on one underlying. Functions work on many at once: arrays have
shape (n_books,), losses (n_books, n_scenarios). One currency, unit of the risk arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.margin.span.arrays import ScenarioGrid


@dataclass(frozen=True)
class Requirement:
    """Margin and its parts, each of shape (n_books,).

    `short_option_minimum` and `net_option_value` are as computed, before it is known whether they
    bind; `risk` is the larger of the minimum and scan + charges - credit; `total` is the margin.
    """

    scan: Float64Array
    inter_month: Float64Array
    delivery: Float64Array
    inter_commodity: Float64Array
    short_option_minimum: Float64Array
    net_option_value: Float64Array
    risk: Float64Array
    total: Float64Array

    def components(self) -> dict[str, Float64Array]:
        """Return parts that sum to `total`: credits and option value are negative.

        `short_option_minimum` is only what it adds, `net_option_value` only what was used.
        """
        before = self.scan + self.inter_month + self.delivery - self.inter_commodity
        return {
            "scan": self.scan,
            "inter_month": self.inter_month,
            "delivery": self.delivery,
            "inter_commodity": -self.inter_commodity,
            "short_option_minimum": self.risk - before,
            "net_option_value": self.total - self.risk,
        }


def scan_risk(losses: Float64Array) -> tuple[Float64Array, Int64Array]:
    """Return max(0, largest loss) and the active scenario, counted from 0, first of equals.

    Parameters
    ----------
    losses : float64 array of shape (n_books, n_scenarios)
        Sum over positions of quantity times risk array. A NaN gives NaN.

    Examples
    --------
    The published long call (`tests/engine/margin/test_span_published.py`) has 3,990 in the
    scenario of row 13, the fourteenth.
    """
    if not len(losses):
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    active = losses.argmax(axis=1)
    worst = losses[np.arange(len(losses)), active]
    return np.asarray(np.maximum(0.0, worst)), active.astype(np.int64)


def price_risk(losses: Float64Array, active: Int64Array, grid: ScenarioGrid) -> Float64Array:
    """Return scan risk without volatility and time risk, not below zero, (n_books,).

    Mean loss of the active scenario and its pair (volatility cancels), minus the mean loss of the
    scenarios without a price move (time), the latter times the covered fraction of the active one.

    Examples
    --------
    Losses 10 and -4 without a price move, 100 in the active scenario and 80 in its pair:
    90 - 3 = 87.
    """
    rows = np.arange(len(losses))
    paired = 0.5 * (losses[rows, active] + losses[rows, grid.paired[active]])
    time = losses[:, grid.unchanged].mean(axis=1) * grid.covered[active]
    return np.asarray(np.maximum(0.0, paired - time))


def requirement(
    scan: Float64Array,
    inter_month: Float64Array,
    delivery: Float64Array,
    inter_commodity: Float64Array,
    short_option_minimum: Float64Array,
    net_option_value: Float64Array,
) -> Requirement:
    """Put the parts together, all of shape (n_books,).

    total = max(0, max(scan + inter_month + delivery - inter_commodity, minimum) - option value).
    Source: NSE Clearing and CME, public descriptions of the method.

    Examples
    --------
    Scan 100, charge 10, delivery 5, credit 20, minimum 30, option value -50: 95 + 50 = 145. With
    option value 200 the margin is 0.
    """
    before = scan + inter_month + delivery - inter_commodity
    risk = np.maximum(before, short_option_minimum)
    return Requirement(
        scan=scan,
        inter_month=inter_month,
        delivery=delivery,
        inter_commodity=inter_commodity,
        short_option_minimum=short_option_minimum,
        net_option_value=net_option_value,
        risk=np.asarray(risk),
        total=np.asarray(np.maximum(0.0, risk - net_option_value)),
    )
