"""Rises of the margin index: which days lie before one, when each was reached, and how it came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array
from engine.market.volatility import ewma_paths
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.index import requirement
from engine.stress.early_warning.panel import Panel
from engine.stress.early_warning.score import History

GAP_SHARE = 0.5
"""A day that brings this share of the rise of requirements is a gap: nothing announces it."""


@dataclass(frozen=True)
class Event:
    """One rise of the index by the config's share.

    Attributes
    ----------
    day : date
        First day on which the index is that much above its least of the horizon before.
    rise : float
        Largest rise over the horizon's least until the event is over.
    lead_days : int or None
        Trading days from the first critical score to `day`, looked for within the config's lead
        window; None without any: the event got no warning.
    high_lead_days : int or None
        The same for the high threshold.
    move_day : date
        Day before the event, within the horizon, on which requirements rose most.
    move_share : float
        Its share of all rises of requirements in the horizon before the event.
    move_factor, move_sigmas : str, float
        The member that added most on that day, and its move over its volatility of the day before.
    score_before : float
        Score at the close before that day.
    """

    day: date
    rise: float
    lead_days: int | None
    high_lead_days: int | None
    move_day: date
    move_share: float
    move_factor: str
    move_sigmas: float
    score_before: float

    def before_move(self, threshold: float) -> bool:
        """Whether the score was at the threshold at the close before the move."""
        return self.score_before >= threshold

    def reason(self) -> str:
        """Say why an event got no critical score in time; empty where it got one."""
        if self.lead_days is not None:
            return ""
        if self.move_share >= GAP_SHARE:
            return (
                f"one-day gap: {self.move_factor} moved {self.move_sigmas:.1f} daily volatilities "
                f"on {self.move_day}, which brought {self.move_share:.0%} of the rise"
            )
        return "slow rise: no signal was extreme enough"

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON."""
        return {
            "day": self.day.isoformat(),
            "rise": self.rise,
            "lead_days": self.lead_days,
            "high_lead_days": self.high_lead_days,
            "move_day": self.move_day.isoformat(),
            "move_share": self.move_share,
            "move_factor": self.move_factor,
            "move_sigmas": self.move_sigmas,
            "score_before": self.score_before,
            "reason_without_warning": self.reason(),
        }


def future_rise(index: Float64Array, horizon_days: int) -> Float64Array:
    """Return max(index of the next `horizon_days`) / index - 1; NaN where they are not all known.

    Worked number: 100, 105, 112, 111 over 2 days: 0.12, 0.0667, NaN, NaN.
    """
    out = np.full(len(index), np.nan)
    if len(index) > horizon_days:
        ahead = np.lib.stride_tricks.sliding_window_view(index[1:], horizon_days)
        out[:-horizon_days] = ahead.max(axis=1) / index[:-horizon_days] - 1.0
    return out


def past_rise(index: Float64Array, horizon_days: int) -> Float64Array:
    """Return index / min(index of the `horizon_days` before) - 1; NaN where they are not known."""
    out = np.full(len(index), np.nan)
    if len(index) > horizon_days:
        before = np.lib.stride_tricks.sliding_window_view(index[:-1], horizon_days)
        out[horizon_days:] = index[horizon_days:] / before.min(axis=1) - 1.0
    return out


def find_events(panel: Panel, history: History, config: EarlyWarningConfig) -> tuple[Event, ...]:
    """Return the rises of the scored days, each with its lead.

    Risen days no more than `event_gap_days` apart are one event. A lead ends on the event's day
    and begins on the first day of the lead window whose score reaches the threshold; days before
    the end of the previous event are not searched, so that one warning serves one event.
    """
    rise = past_rise(history.index.value, config.horizon_days)
    risen = np.flatnonzero((rise >= config.rise_share) & history.scored)
    if not len(risen):
        return ()
    starts = np.flatnonzero(np.diff(risen, prepend=-config.event_gap_days - 1)
                            > config.event_gap_days)  # fmt: skip
    groups = np.split(risen, starts[1:])
    required = requirement(panel, config) * panel.weight
    added = np.diff(required, axis=0, prepend=required[:1])
    free = int(np.argmax(history.scored))
    events = []
    for group in groups:
        leads = _leads(history.score, int(group[0]), free, config)
        events.append(
            _event(panel, history, float(np.max(rise[group])), added, int(group[0]), leads, config)
        )
        free = int(group[-1]) + 1
    return tuple(events)


def _leads(
    score: Float64Array, at: int, free: int, config: EarlyWarningConfig
) -> tuple[int | None, int | None]:
    """Lead of the critical and of the high threshold before row `at`; search begins at `free`."""
    before = score[max(at - config.lead_days, free) : at]
    return _lead(before >= config.critical), _lead(before >= config.high)


def _event(
    panel: Panel,
    history: History,
    rise: float,
    added: Float64Array,
    at: int,
    leads: tuple[int | None, int | None],
    config: EarlyWarningConfig,
) -> Event:
    """Describe the event of row `at`; `added` (n_days, n_factors) are rises of requirements."""
    # What is in force on a day was decided at the close before it.
    begin = max(at - config.horizon_days, 1)
    rises = np.sum(added[begin:at], axis=1)
    row = begin + int(np.argmax(rises))
    column = int(np.argmax(added[row]))
    sigma = ewma_paths(panel.returns[: row + 1], config.margin_decay, panel.floor)[row]
    return Event(
        day=panel.dates[at].item(),
        rise=rise,
        lead_days=leads[0],
        high_lead_days=leads[1],
        move_day=panel.dates[row].item(),
        move_share=float(np.max(rises) / np.sum(np.maximum(rises, 0.0))),
        move_factor=str(panel.factor_id[column]),
        move_sigmas=float(abs(panel.returns[row, column]) / sigma[column]),
        score_before=float(history.score[row - 1]),
    )


def _lead(reached: BoolArray) -> int | None:
    """Days from the first of the reached days to the day after the last one looked at."""
    return len(reached) - int(np.argmax(reached)) if reached.any() else None
