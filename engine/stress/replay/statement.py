"""What the system says at a close: margin, calls to expect, and the chance to run out of cash."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avalanche.columns import metric
from engine.avalanche.simulate import fund_model
from engine.avalanche.statistics import wilson
from engine.domain.book import Book
from engine.domain.failures import Failure
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import Estimate, MarginResult
from engine.kernels.avalanche.layout import HOURS_PER_DAY, WINDOW_HOURS
from engine.margin.baseline import calculate_margin_requirements
from engine.stress.replay.config import EpisodeReplayConfig
from engine.stress.replay.state import FundState, Resources, book_at, restarted

TAIL = 0.99


@dataclass(frozen=True)
class Statement:
    """A day's statement, made of what was known at its close. USD.

    `call_expected_usd` and `call_q99_usd` are of the next day; `p_exhaustion` is the share of paths
    on which a call is left unpaid within the horizon.
    """

    im_usd: float
    call_expected_usd: float
    call_q99_usd: float
    p_exhaustion: Estimate
    failures: tuple[Failure, ...]


def margin_on(book: Book, market: MarketState, config: EpisodeReplayConfig) -> MarginResult:
    """Return the margin of the book on a day; a report of another day says nothing of it."""
    return calculate_margin_requirements(book, market, config.margin, anchors={})


def total_margin_usd(margin: MarginResult) -> float:
    """Return initial margin with add-ons, USD."""
    return float(np.sum(margin.im_usd) + sum(np.sum(a) for a in margin.add_ons.values()))


def state_at_close(
    book: Book,
    market: MarketState,
    state: FundState,
    opening: Resources,
    config: EpisodeReplayConfig,
) -> Statement:
    """Make the statement of a close from the state of the fund, with a new run.

    Parameters
    ----------
    book : Book
        The fund of the first day, on `market`.
    market : MarketState
        Nothing in it is later than the close.
    state : FundState
    opening : Resources
        Of the first day.
    config : EpisodeReplayConfig

    Returns
    -------
    Statement
        Margin called so far counts as posted; calls on their way are paid in the run.
    """
    from engine.kernels.avalanche.compiled import run_paths

    now = book_at(book, market, state)
    margin = margin_on(now, market, config)
    settings = config.forecast()
    model = restarted(fund_model(now, market, margin, settings), margin, state, opening, settings)
    output = run_paths(model, config.paths, config.seed)
    next_day = output.windows[: HOURS_PER_DAY // WINDOW_HOURS].sum(axis=0) / CENTS_PER_UNIT
    exhausted = int(np.sum(metric(output, "exhausted_hour") >= 0.0))
    return Statement(
        im_usd=total_margin_usd(margin),
        call_expected_usd=float(next_day.mean()),
        call_q99_usd=float(np.quantile(next_day, TAIL)),
        p_exhaustion=wilson(exhausted, config.paths),
        failures=margin.failures,
    )
