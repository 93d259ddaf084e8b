"""The early-warning score of every day of an episode, each with what was known at its close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.episodes import episode_vectors
from engine.stress.early_warning.panel import build_panel
from engine.stress.early_warning.score import History, warning_history
from engine.stress.early_warning.system import fund_weights
from engine.stress.library.episodes import episodes

FUND, MARKET = "the fund's observed factors", "all observed factors of the market"


@dataclass(frozen=True)
class DailyScores:
    """Score by day, shape (n,); `of` says whose factors, `members` which; NaN: no score."""

    score: Float64Array
    of: str
    members: tuple[str, ...]


def daily_scores(
    book: Book, market: MarketState, days: tuple[np.datetime64, ...], config: EarlyWarningConfig
) -> DailyScores:
    """Score each of `days`, which are days of `market`.

    The index is that of the fund's factors where one of them is observed, otherwise that of all
    observed factors with equal margins: a score of a simulated history says nothing.

    Parameters
    ----------
    book : Book
        On `market`.
    market : MarketState
        Every factor, up to the last day. The score of a day uses nothing after it: ranks expand,
        members are chosen in the burn-in.
    days : tuple of datetime64
    config : EarlyWarningConfig

    Returns
    -------
    DailyScores
    """
    try:
        panel, of = build_panel(market, fund_weights(book, market), config), FUND
    except InputError:
        panel, of = build_panel(market, None, config), MARKET
    history = warning_history(panel, episode_vectors(market, episodes()), config)
    members = tuple(str(name) for name in panel.factor_id)
    return DailyScores(_on(history, days), of, members)


def _on(history: History, days: tuple[np.datetime64, ...]) -> Float64Array:
    row = {day: i for i, day in enumerate(history.dates.astype("datetime64[D]"))}
    return np.array([history.score[row[day]] if day in row else np.nan for day in days])


def lead_days(score: Float64Array, event_row: int, threshold: float) -> int | None:
    """Return trading days from the first score at the threshold to the event; None without one.

    Scores on the day of the event or after it are no lead. Worked number: scores 0.5, 0.92, 0.8
    and an event in row 2 give 1 day at 0.9.
    """
    early = np.flatnonzero(score[:event_row] >= threshold)
    return int(event_row - early[0]) if len(early) else None
