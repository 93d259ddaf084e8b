"""`replay_episode`: what the system would have said each day, and what then happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.failures import Failure, InputError
from engine.domain.market import FactorTable, MarketState
from engine.domain.results import MarginResult
from engine.market.levels import Levels
from engine.market.state import build_market
from engine.market.volatility import daily_volatility
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.replay.config import EpisodeReplayConfig
from engine.stress.replay.days import Days, book_on, episode_days
from engine.stress.replay.episode_file import ReplayEpisode
from engine.stress.replay.path import basis_table, episode_levels
from engine.stress.replay.realised import Realised, run_realised
from engine.stress.replay.result import EpisodeReplay
from engine.stress.replay.scores import DailyScores, daily_scores
from engine.stress.replay.state import FundState, resources_of
from engine.stress.replay.statement import Statement, margin_on, state_at_close, total_margin_usd

LOW, HIGH = 0.05, 0.95


def replay_episode(
    book: Book,
    factors: FactorTable,
    levels: Levels,
    episode: ReplayEpisode,
    config: EpisodeReplayConfig | None = None,
    user_levels: Levels | None = None,
) -> EpisodeReplay:
    """Replay an episode with a fund.

    The fund stands at the close of the first day with all margin posted. The kernel then takes it
    along the real moves of every day, hour by hour on bridges that end at the real close, without
    any impact of its own: real prices already hold it. At each close the system makes a statement
    from the state reached, with nothing known of the days after.

    Parameters
    ----------
    book : Book
        Its date does not matter.
    factors, levels, user_levels
        As for `engine.market.state.build_market`. Known levels of the episode replace those of
        `levels`; a factor in `user_levels` is taken from there alone.
    episode : ReplayEpisode
    config : EpisodeReplayConfig, optional

    Returns
    -------
    EpisodeReplay

    Raises
    ------
    InputError
        If the history does not cover the episode.
    """
    config = config or EpisodeReplayConfig()
    brought = set() if user_levels is None else {str(name) for name in user_levels.factor_ids}
    kept = tuple(known for known in episode.levels if known.factor_id not in brought)
    path = episode_levels(replace(episode, levels=kept), levels, factors)
    span = (episode.start, episode.end)
    days = episode_days(book, factors, path, span, config.max_stale_days, user_levels)
    books = [book_on(book, market) for market in days.markets]
    margin = margin_on(books[0], days.markets[0], config)
    if not len(margin.agreement_id):
        raise InputError(f"no agreement of {book.name} can be margined on {episode.start}")
    happened = run_realised(books[0], days, margin, config)
    said = _statements(books, days, happened, config)
    scores = _scores(book, factors, path, user_levels, days, config)
    held = {*map(str, book.instruments.factor_id), *map(str, book.instruments.vol_factor_id)}
    return EpisodeReplay(
        episode=episode,
        days=_frame(days, said, happened, scores, books[0], margin),
        agreements=_by_agreement(days, happened),
        basis=basis_table(episode, factors, held, brought),
        score_of=scores.of,
        opening_usd=resources_of(books[0], days.markets[0]).to_dict(),
        config=config,
        failures=_distinct([*days.failures, *(f for each in said for f in each.failures)]),
    )


def _statements(
    books: list[Book], days: Days, happened: Realised, config: EpisodeReplayConfig
) -> list[Statement]:
    """One statement for each close but the last."""
    opening = resources_of(books[0], days.markets[0])
    first = FundState(opening.total, {}, {})
    states = [first, *(happened.state(day) for day in range(len(days.moves) - 1))]
    return [
        state_at_close(books[i], days.markets[i], state, opening, config)
        for i, state in enumerate(states)
    ]


def _scores(
    book: Book,
    factors: FactorTable,
    levels: Levels,
    user_levels: Levels | None,
    days: Days,
    config: EpisodeReplayConfig,
) -> DailyScores:
    closes = tuple(np.datetime64(day) for day in days.dates[:-1])
    if not config.warning:
        return DailyScores(np.full(len(closes), np.nan), "not scored", ())
    last = days.markets[-1].as_of
    market: MarketState = build_market(
        factors, levels, last, user_levels, config.max_stale_days
    ).value
    return daily_scores(book_on(book, market), market, closes, EarlyWarningConfig())


def _frame(
    days: Days,
    said: list[Statement],
    happened: Realised,
    scores: DailyScores,
    book: Book,
    margin: MarginResult,
) -> pd.DataFrame:
    calls = happened.calls_usd.sum(axis=1)
    dates = [day.isoformat() for day in days.dates]
    size, who = _largest_moves(days, book)
    columns: dict[str, Any] = {
        "date": dates[1:],
        "said_on": dates[:-1],
        "factor": who,
        "moved": size,
        "score": scores.score,
        "im_said_usd": [each.im_usd for each in said],
        "call_expected_usd": [each.call_expected_usd for each in said],
        "call_q99_usd": [each.call_q99_usd for each in said],
        "p_exhaustion": [each.p_exhaustion.value for each in said],
        "p_exhaustion_low": [each.p_exhaustion.low for each in said],
        "p_exhaustion_high": [each.p_exhaustion.high for each in said],
        "call_usd": calls.mean(axis=1),
        "call_low_usd": np.quantile(calls, LOW, axis=1),
        "call_high_usd": np.quantile(calls, HIGH, axis=1),
        "im_usd": happened.im_usd.sum(axis=1).mean(axis=1),
        "liquidity_usd": happened.liquidity_usd.mean(axis=1),
        "liquidity_lowest_usd": happened.lowest_liquidity_usd.mean(axis=1),
        "held_share": _held(happened),
        "exhausted_share": [happened.exhausted_by(day) for day in range(len(said))],
        "defaulted_share": [happened.defaulted_by(day) for day in range(len(said))],
    }
    frame = pd.DataFrame(columns)
    frame.attrs["im_first_usd"] = total_margin_usd(margin)
    return frame


def _held(happened: Realised) -> Float64Array:
    """Smallest share of a bucket that is left at the end of each day, mean over bridges."""
    return np.asarray(happened.left.min(axis=1).mean(axis=1))


def _largest_moves(days: Days, book: Book) -> tuple[Float64Array, list[str]]:
    """Largest move of a held factor each day, in standard deviations known the day before."""
    held = np.unique(book.instruments.factor[book.instruments.factor >= 0])
    names = days.markets[0].factors.factor_id
    ratio = np.stack(
        [
            days.moves[i, held] / daily_volatility(market)[held]
            for i, market in enumerate(days.markets[:-1])
        ]
    )
    at = np.argmax(np.abs(ratio), axis=1)
    return ratio[np.arange(len(ratio)), at], [str(names[held[j]]) for j in at]


def _by_agreement(days: Days, happened: Realised) -> pd.DataFrame:
    names = [str(name) for name in happened.agreement_id]
    dates = [day.isoformat() for day in days.dates[1:]]
    return pd.DataFrame(
        {
            "date": np.repeat(dates, len(names)),
            "agreement_id": names * len(dates),
            "call_usd": happened.calls_usd.mean(axis=2).ravel(),
            "im_usd": happened.im_usd.mean(axis=2).ravel(),
        }
    )


def _distinct(failures: list[Failure]) -> tuple[Failure, ...]:
    return tuple({(f.reason, f.item, f.where): f for f in failures}.values())
