"""The score: the mean of the signals' ranks. Nothing is fitted, so nothing can be overfitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, DateArray, Float64Array, freeze
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.episodes import EpisodeVector, Similarity, similarity
from engine.stress.early_warning.index import MarginIndex, margin_index
from engine.stress.early_warning.panel import Panel
from engine.stress.early_warning.signals import expanding_rank, moves_over, signal_values

LEVELS = ("normal", "high", "critical")


@dataclass(frozen=True)
class History:
    """Everything the system knew at the close of each day; arrays of shape (n_days,).

    `score` is NaN on days of the burn-in (`scored` is False). `ranks` are those of `values`.
    """

    dates: DateArray
    index: MarginIndex
    values: dict[str, Float64Array]
    ranks: dict[str, Float64Array]
    score: Float64Array
    scored: BoolArray
    resembling: Similarity
    recent: Float64Array

    def __post_init__(self) -> None:
        freeze(self.dates, self.score, self.scored, self.recent)


def warning_history(
    panel: Panel, episodes: Sequence[EpisodeVector], config: EarlyWarningConfig
) -> History:
    """Score every day of a panel with what was known at its close.

    score = mean of the expanding percentile ranks of the signals. A signal that has no rank on a
    day (no episode has ended yet) does not count on that day; margin pressure, volatility, its
    change and turbulence have one on every day after the burn-in.
    """
    index = margin_index(panel, config)
    recent = moves_over(panel.returns, config.change_days)
    resembling = similarity(recent, panel, episodes, config.episode_embargo_days)
    values = signal_values(panel, index, resembling, config)
    ranks = {name: expanding_rank(value, config.rank_days) for name, value in values.items()}
    scored = np.arange(len(panel.dates)) >= config.burn_in_days
    score = np.full(len(scored), np.nan)
    score[scored] = np.nanmean(np.stack(list(ranks.values()))[:, scored], axis=0)
    return History(panel.dates, index, values, ranks, score, scored, resembling, recent)


def level_of(score: float, config: EarlyWarningConfig) -> str:
    """Return `normal`, `high` or `critical`; a score on a threshold is above it."""
    return LEVELS[int(score >= config.high) + int(score >= config.critical)]


def first_difference(
    scores: Callable[[int], Float64Array], days: int, cuts: Sequence[int]
) -> int | None:
    """Return the first row whose score changes when the future is cut off; None if none does.

    `scores(n)` scores the first n days alone. Past scores must be identical bit for bit: anything
    else is look-ahead.
    """
    whole = scores(days)
    for cut in cuts:
        part = scores(cut)
        same = (part == whole[:cut]) | (np.isnan(part) & np.isnan(whole[:cut]))
        if not same.all():
            return int(np.argmin(same))
    return None
