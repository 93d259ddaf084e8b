"""Regulatory initial margin thresholds by counterparty group: how near, and how steep beyond.

Below the threshold nothing is called; just above it a small rise of margin is a large rise of the
call. That kink makes uncleared margin jump in stress.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.domain.book import Book
from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.margin.calls.uncleared_rules import rules_of

# Half a cent: an allocation exactly at the limit must not be flagged for float noise.
SAME_MONEY = 0.005


@dataclass(frozen=True, slots=True)
class GroupThreshold:
    """One counterparty group; amounts in USD.

    Attributes
    ----------
    group : str
    agreements : tuple of str
        Ids of its bilateral agreements that have a margin.
    im_usd : float
        Sum of their margins before thresholds.
    threshold_usd : float
        Sum of the thresholds allocated to them.
    called_usd : float
        Sum over agreements of max(0, margin - threshold): what is called with this allocation.
    pooled_usd : float
        max(0, im_usd - threshold_usd): what would be called if the group's threshold were used as
        one. The difference is what the allocation costs.
    distance_usd : float
        threshold_usd - im_usd; negative beyond the threshold.
    rise_to_cross : float
        Relative rise of margin at which the group reaches its threshold (negative: beyond; inf
        without margin).
    leverage : float
        Relative change of the pooled call per relative change of margin; 0 below the threshold,
        inf at it.
    limit_usd : float
        Largest threshold the rules allow to a group.
    above_limit : bool
        The allocations sum to more than that.
    mark : str
        Of the limit.
    """

    group: str
    agreements: tuple[str, ...]
    im_usd: float
    threshold_usd: float
    called_usd: float
    pooled_usd: float
    distance_usd: float
    rise_to_cross: float
    leverage: float
    limit_usd: float
    above_limit: bool
    mark: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready object; infinite ratios are None."""
        row = asdict(self)
        for name in ("rise_to_cross", "leverage"):
            row[name] = row[name] if math.isfinite(row[name]) else None
        return row


def called_above(im_usd: float, threshold_usd: float) -> float:
    """Return max(0, margin - threshold)."""
    return max(0.0, im_usd - threshold_usd)


def call_change(im_usd: float, threshold_usd: float, rise: float) -> float:
    """Change of the call when margin rises by the fraction `rise`.

    Margin 48m, threshold 50m, rise 25 per cent: margin 60m, the call goes from 0 to 10m.
    """
    return called_above(im_usd * (1.0 + rise), threshold_usd) - called_above(im_usd, threshold_usd)


def threshold_leverage(im_usd: float, threshold_usd: float) -> float:
    """Relative change of the call per relative change of margin: IM / (IM - T).

    55m over a threshold of 50m has leverage 11: one per cent more margin is 11 per cent more
    call. 0 below the threshold, inf at it, 1 without one.
    """
    if im_usd < threshold_usd or im_usd == 0.0:
        return 0.0
    if im_usd == threshold_usd:
        return math.inf
    return im_usd / (im_usd - threshold_usd)


def largest_threshold_usd(market: MarketState) -> tuple[float, str]:
    """Return the largest threshold of the rules in USD (they name EUR and USD), and its mark.

    At 1.06 USD per EUR it is 53,000,000, from EUR 50,000,000.

    Raises
    ------
    InputError
        If the market has no rate for a currency of the rules.
    """
    limits = []
    for rule in rules_of("im_threshold"):
        if rule.unit not in market.fx_usd:
            raise InputError(
                f"the threshold of the rules is in {rule.unit}, which has no USD rate; add the "
                "currency pair's factor"
            )
        limits.append((rule.value * market.fx_usd[rule.unit], rule.mark))
    return max(limits)


def group_thresholds(
    book: Book, market: MarketState, result: MarginResult
) -> Partial[tuple[GroupThreshold, ...]]:
    """Return the state of every counterparty group that has a threshold, nearest first.

    Parameters
    ----------
    book, market
        As given to `calculate_margin_requirements`.
    result : MarginResult
        Its answer; margins before thresholds are read from
        `basis["im_before_threshold_usd"]`, and are `im_usd` where an agreement has no threshold.

    Returns
    -------
    Partial of tuple of GroupThreshold
        Sorted by |rise_to_cross|, then name. A group is `im_group`, or the counterparty where
        that is blank. Agreements whose margin is missing are failures, and their thresholds are
        left out with them.
    """
    limit, mark = largest_threshold_usd(market)
    agreements, failures = book.agreements, list[Failure]()
    at = {str(name): i for i, name in enumerate(result.agreement_id)}
    before = result.basis.get("im_before_threshold_usd", {})
    members: dict[str, list[tuple[str, float, float]]] = {}
    for row in np.flatnonzero(agreements.kind == "bilateral"):
        name, currency = str(agreements.agreement_id[row]), str(agreements.currency[row])
        threshold = float(agreements.im_threshold[row])
        if name not in at or currency not in market.fx_usd or (threshold and name not in before):
            message = (
                "it has no margin before its threshold in the result, so its group is shown "
                "without it; see its failure in the margin result"
            )
            where = f"agreement {name}"
            failures.append(Failure(FailureReason.MISSING_DATA, name, where, message))
            continue
        im = float(before.get(name, result.im_usd[at[name]]))
        group = str(agreements.im_group[row]) or str(agreements.counterparty[row])
        members.setdefault(group, []).append((name, im, threshold * market.fx_usd[currency]))
    groups = [
        _group(name, rows, limit, mark)
        for name, rows in members.items()
        if any(threshold > 0.0 for _, _, threshold in rows)
    ]
    groups.sort(key=lambda each: (abs(each.rise_to_cross), each.group))
    return Partial(tuple(groups), tuple(failures))


def _group(
    name: str, rows: list[tuple[str, float, float]], limit: float, mark: str
) -> GroupThreshold:
    im = sum(margin for _, margin, _ in rows)
    threshold = sum(allocated for _, _, allocated in rows)
    return GroupThreshold(
        group=name,
        agreements=tuple(agreement for agreement, _, _ in rows),
        im_usd=im,
        threshold_usd=threshold,
        called_usd=sum(called_above(margin, allocated) for _, margin, allocated in rows),
        pooled_usd=called_above(im, threshold),
        distance_usd=threshold - im,
        rise_to_cross=threshold / im - 1.0 if im > 0.0 else math.inf,
        leverage=threshold_leverage(im, threshold),
        limit_usd=limit,
        above_limit=threshold > limit + SAME_MONEY,
        mark=mark,
    )
