"""Spreads formed from deltas: inter-month charges, delivery charges, inter-commodity credits.

All functions work on many books at once: `delta` has shape (n_books, n_columns), a column being a
contract period of one commodity, or a commodity. Spreads are formed by priority and consume delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array


@dataclass(frozen=True)
class Leg:
    """One leg: the columns it may use, its side (+1 is A, -1 is B) and delta per spread."""

    columns: tuple[int, ...]
    side: int
    ratio: float = 1.0

    def __post_init__(self) -> None:
        assert self.side in (1, -1)
        assert self.ratio > 0.0


@dataclass(frozen=True)
class Spread:
    """A spread: lower `priority` forms first.

    `rate` is the charge for one spread (inter-month) or the credit as a fraction of price risk
    (inter-commodity); a float, or an array of shape (n_books,).
    """

    priority: int
    legs: tuple[Leg, ...]
    rate: float | Float64Array


@dataclass(frozen=True)
class DeliveryRate:
    """Charge for a period in delivery, per unit of delta consumed by spreads or left outright."""

    column: int
    spread_rate: float | Float64Array
    outright_rate: float | Float64Array


def form_spread(delta: Float64Array, spread: Spread) -> tuple[Float64Array, Float64Array]:
    """Form one spread in every book.

    Legs of side A must be long and legs of side B short, or the other way round. A leg of several
    columns offers the sum of its columns on that side.

    Returns
    -------
    (n, left)
        Number of spreads (n_books,) = min over legs of |delta| / ratio, and the delta that is
        left (n_books, n_columns); columns of a leg are consumed in proportion.

    Examples
    --------
    Deltas +30 and -10, ratios 2 and 1: 10 spreads, +10 and 0 are left.
    """
    orientations = []
    for way in (1.0, -1.0):
        offers = [
            np.maximum(way * leg.side * delta[:, leg.columns], 0.0).sum(axis=1) / leg.ratio
            for leg in spread.legs
        ]
        orientations.append(np.min(offers, axis=0))
    forward = orientations[0] >= orientations[1]
    count = np.where(forward, *orientations)
    way_of = np.where(forward, 1.0, -1.0)
    left = delta.copy()
    for leg in spread.legs:
        columns = list(leg.columns)
        offered = np.maximum((way_of * leg.side)[:, np.newaxis] * left[:, columns], 0.0)
        total = offered.sum(axis=1)
        used = np.divide(count * leg.ratio, total, out=np.zeros_like(total), where=total > 0.0)
        kept = offered * np.maximum(0.0, 1.0 - used)[:, np.newaxis]
        left[:, columns] += (way_of * leg.side)[:, np.newaxis] * (kept - offered)
    return np.asarray(count), left


def inter_month_charge(
    delta: Float64Array, spreads: Sequence[Spread]
) -> tuple[Float64Array, Float64Array]:
    """Charge for opposite deltas in different periods, which the scan treats as one price.

    charge = sum over spreads, by priority, of count * rate. Returns the charge (n_books,) and the
    delta left (n_books, n_columns).

    Examples
    --------
    Deltas +10, -4, -6 and a rate of 5 for (1, 2), then 7 for (1, 3): 4 * 5 + 6 * 7 = 62.
    """
    charge = np.zeros(len(delta))
    left = delta
    for spread in sorted(spreads, key=lambda spread: spread.priority):
        count, left = form_spread(left, spread)
        charge = charge + count * spread.rate
    return charge, left


def delivery_charge(
    delta: Float64Array, left: Float64Array, rates: Sequence[DeliveryRate]
) -> Float64Array:
    """Charge for periods in delivery, (n_books,): consumed * spread rate + left * outright rate.

    `delta` before and `left` after the inter-month spreads. Delta 10 of which 4 is consumed, rates
    3 and 5: 4 * 3 + 6 * 5 = 42.
    """
    charge = np.zeros(len(delta))
    for rate in rates:
        before, after = np.abs(delta[:, rate.column]), np.abs(left[:, rate.column])
        charge = charge + (before - after) * rate.spread_rate + after * rate.outright_rate
    return charge


def inter_commodity_credits(
    delta: Float64Array, price_risk: Float64Array, spreads: Sequence[Spread]
) -> Float64Array:
    """Credits for opposite deltas of related commodities, (n_books, n_commodities).

    credit of a leg = rate * (delta consumed / |net delta|) * price risk, which is the number of
    spreads times the credit rate times the weighted futures price risk (price risk per net delta).

    Parameters
    ----------
    delta : float64 array of shape (n_books, n_commodities)
        Net delta of each commodity.
    price_risk : float64 array of the same shape
        `engine.margin.span.commodity.price_risk`.

    Examples
    --------
    Net deltas +10 and -4, price risks 1,000 and 480, ratios 1, rate 0.5: four spreads, credits
    0.5 * 4/10 * 1,000 = 200 and 0.5 * 4/4 * 480 = 240.
    """
    credit = np.zeros_like(delta)
    net = np.abs(delta)
    left = delta
    for spread in sorted(spreads, key=lambda spread: spread.priority):
        before = left
        count, left = form_spread(left, spread)
        if not count.any():
            continue
        columns = sorted({column for leg in spread.legs for column in leg.columns})
        used = np.abs(before[:, columns] - left[:, columns])
        share = np.divide(
            used, net[:, columns], out=np.zeros_like(used), where=net[:, columns] > 0.0
        )
        rate = np.broadcast_to(np.asarray(spread.rate, dtype=np.float64), count.shape)
        credit[:, columns] += rate[:, np.newaxis] * share * price_risk[:, columns]
    return credit
