"""How good the warnings were: on days, on events, and beside volatility alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import BoolArray, DateArray, Float64Array, Int64Array
from engine.domain.results import Estimate
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.events import Event, find_events, future_rise
from engine.stress.early_warning.intervals import (
    auroc,
    bootstrap,
    median_interval,
    wilson_interval,
    year_blocks,
)
from engine.stress.early_warning.panel import Panel
from engine.stress.early_warning.score import LEVELS, History, level_of


@dataclass(frozen=True)
class AtThreshold:
    """What a threshold would have done.

    `alert_days` is the share of days at or above it, `precision` the share of those that lie
    before an event, `recall` the share of days before an event that it caught: intervals of 90 %
    by calendar years. `alarms` counts runs of such days (joined over the event gap), `followed`
    those that an event followed within the lead window, with Wilson's interval. `warned` counts
    events with a lead, `before_move` those on which the score was there at the close before the
    day that raised requirements most: the others were warned of the rise of margin, not of the
    move that caused it.
    """

    threshold: float
    alert_days: Estimate
    precision: Estimate
    recall: Estimate
    alarms: int
    followed: Estimate
    warned: int
    warned_share: Estimate
    before_move: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "threshold": self.threshold,
            "alert_days": interval(self.alert_days),
            "precision": interval(self.precision),
            "recall": interval(self.recall),
            "alarms": self.alarms,
            "alarms_followed": interval(self.followed),
            "events_warned": self.warned,
            "events_warned_share": interval(self.warned_share),
            "events_warned_before_the_move": self.before_move,
        }


@dataclass(frozen=True)
class Evaluation:
    """The past of the score; everything in the sample, nothing fitted to it.

    `event_rate` maps each level to the share of its days that lie before an event.
    `auroc_by_signal` holds each signal's rank alone; `auroc_gain` is the composite's AUROC minus
    that of volatility alone on the same resamples. `lead_days` is the median over events with a
    lead, `lead_days_with_misses` counts an event without warning as 0.
    """

    days: int
    first: str
    last: str
    base_rate: float
    auroc: Estimate
    auroc_volatility: Estimate
    auroc_gain: Estimate
    auroc_by_signal: dict[str, float]
    event_rate: dict[str, Estimate]
    at: tuple[AtThreshold, ...]
    events: tuple[Event, ...]
    lead_days: Estimate
    lead_days_with_misses: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON; what has no value is None."""
        return {
            "days": self.days,
            "first": self.first,
            "last": self.last,
            "base_rate": known(self.base_rate),
            "auroc": interval(self.auroc),
            "auroc_volatility_alone": interval(self.auroc_volatility),
            "auroc_gain_over_volatility": interval(self.auroc_gain),
            "auroc_by_signal": {name: known(value) for name, value in self.auroc_by_signal.items()},
            "event_rate_by_level": {name: interval(e) for name, e in self.event_rate.items()},
            "thresholds": [at.to_dict() for at in self.at],
            "events": [event.to_dict() for event in self.events],
            "lead_days": interval(self.lead_days),
            "lead_days_with_misses_as_zero": interval(self.lead_days_with_misses),
        }

    def table(self) -> pd.DataFrame:
        """Return the events, one row each."""
        return pd.DataFrame([event.to_dict() for event in self.events])


def known(value: float) -> float | None:
    """Return a number, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def interval(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as JSON; NaN becomes None."""
    return {name: known(value) for name, value in estimate.to_dict().items()}


def evaluate(panel: Panel, history: History, config: EarlyWarningConfig) -> Evaluation:
    """Compare scores with what the index did next, on scored days whose horizon is known.

    Parameters
    ----------
    panel : Panel
    history : History
        Of the same panel.
    config : EarlyWarningConfig

    Returns
    -------
    Evaluation
        Shares are NaN where nothing can be counted (no event, no alert).
    """
    rise = future_rise(history.index.value, config.horizon_days)
    used = np.flatnonzero(history.scored & ~np.isnan(rise))
    event = rise[used] >= config.rise_share
    score, dates = history.score[used], history.dates[used]
    draws = year_blocks(dates, config.resamples, config.seed) if len(used) else []
    alone = _filled(history.ranks["volatility"][used])
    composite = bootstrap(lambda rows: auroc(score[rows], event[rows]), len(used), draws)
    volatility = bootstrap(lambda rows: auroc(alone[rows], event[rows]), len(used), draws)
    gain = bootstrap(
        lambda rows: auroc(score[rows], event[rows]) - auroc(alone[rows], event[rows]),
        len(used),
        draws,
    )
    events = find_events(panel, history, config)
    leads = [float(e.lead_days) for e in events if e.lead_days is not None]
    return Evaluation(
        days=len(used),
        first=str(dates[0]) if len(used) else "",
        last=str(dates[-1]) if len(used) else "",
        base_rate=float(np.mean(event)) if len(used) else math.nan,
        auroc=composite,
        auroc_volatility=volatility,
        auroc_gain=gain,
        auroc_by_signal={
            name: math.nan if np.isnan(rank).all() else auroc(_filled(rank[used]), event)
            for name, rank in history.ranks.items()
        },
        event_rate=_by_level(score, event, draws, config),
        at=(
            _at(config.high, score, event, draws, history, events, config),
            _at(config.critical, score, event, draws, history, events, config),
        ),
        events=events,
        lead_days=median_interval(leads),
        lead_days_with_misses=median_interval([float(e.lead_days or 0) for e in events]),
    )


def _filled(rank: Float64Array) -> Float64Array:
    """Ranks with the middle where a signal has none: it says nothing either way."""
    return np.where(np.isnan(rank), 0.5, rank)


def _at(
    threshold: float,
    score: Float64Array,
    event: BoolArray,
    draws: list[Int64Array],
    history: History,
    events: tuple[Event, ...],
    config: EarlyWarningConfig,
) -> AtThreshold:
    alert = score >= threshold
    warned = sum(
        (e.lead_days if threshold == config.critical else e.high_lead_days) is not None
        for e in events
    )
    followed, alarms = _alarms(threshold, history, events, config)
    return AtThreshold(
        threshold=threshold,
        alert_days=bootstrap(lambda rows: _share(alert[rows]), len(score), draws),
        precision=bootstrap(lambda rows: _share(event[rows][alert[rows]]), len(score), draws),
        recall=bootstrap(lambda rows: _share(alert[rows][event[rows]]), len(score), draws),
        alarms=alarms,
        followed=wilson_interval(followed, alarms),
        warned=warned,
        warned_share=wilson_interval(warned, len(events)),
        before_move=sum(e.before_move(threshold) for e in events),
    )


def _by_level(
    score: Float64Array, event: BoolArray, draws: list[Int64Array], config: EarlyWarningConfig
) -> dict[str, Estimate]:
    """Share of the days of each level that lie before an event."""
    level = np.array([LEVELS.index(level_of(value, config)) for value in score.tolist()])

    def rate(of: int) -> Estimate:
        return bootstrap(lambda rows: _share(event[rows][level[rows] == of]), len(score), draws)

    return {name: rate(i) for i, name in enumerate(LEVELS)}


def _share(flags: BoolArray) -> float:
    return float(np.mean(flags)) if len(flags) else math.nan


def _alarms(
    threshold: float, history: History, events: tuple[Event, ...], config: EarlyWarningConfig
) -> tuple[int, int]:
    """Runs of days at or above a threshold: how many an event followed, and how many there were.

    A run whose lead window is not over yet is not counted.
    """
    above = np.flatnonzero(np.nan_to_num(history.score) >= threshold)
    if not len(above):
        return 0, 0
    gap = config.event_gap_days
    runs = np.split(above, np.flatnonzero(np.diff(above) > gap) + 1)
    over = [run for run in runs if run[-1] + config.lead_days < len(history.dates)]
    rows = _rows_of(events, history.dates)
    hits = [np.any((rows > run[0]) & (rows <= run[-1] + config.lead_days)) for run in over]
    return int(sum(hits)), len(hits)


def _rows_of(events: tuple[Event, ...], dates: DateArray) -> Int64Array:
    days = np.array([e.day for e in events], dtype="datetime64[D]")
    rows: Int64Array = np.searchsorted(dates, days)
    return rows
