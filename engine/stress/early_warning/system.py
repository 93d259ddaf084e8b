"""`develop_early_warning_system`: is a rise of margin coming, and how far can one believe that?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from engine.avalanche.exposures import aggregate
from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.failures import Failure, FailureReason
from engine.domain.market import MarketState
from engine.domain.results import AvalancheResult
from engine.domain.scenarios import Scenario
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.episodes import EpisodeVector, episode_vectors
from engine.stress.early_warning.evaluate import Evaluation, evaluate, interval
from engine.stress.early_warning.events import future_rise
from engine.stress.early_warning.monitoring import monitoring_plan
from engine.stress.early_warning.panel import WHERE, Panel, build_panel
from engine.stress.early_warning.proximity import scenario_proximity
from engine.stress.early_warning.result import EarlyWarningResult, Indicator
from engine.stress.early_warning.score import History, level_of, warning_history
from engine.stress.early_warning.signals import SIGNALS
from engine.stress.library.episodes import episodes as library

FIRST_INDEX = 100.0
LEAST_COVERED_SHARE = 0.5


def develop_early_warning_system(
    book: Book,
    market: MarketState,
    config: EarlyWarningConfig | None = None,
    *,
    episodes: Sequence[EpisodeVector] | None = None,
    scenarios: Sequence[Scenario] = (),
    avalanche: AvalancheResult | None = None,
) -> EarlyWarningResult:
    """Score the fund's margin day by day, say what today looks like, and measure past warnings.

    The margin index is that of today's positions on every past day: what rises is the market. A
    factor's weight is the sum over agreements of its absolute net delta, because agreements do not
    net with each other. Convexity and the diversification of an agreement's model are left out.

    Parameters
    ----------
    book : Book
    market : MarketState
    config : EarlyWarningConfig, optional
    episodes : sequence of EpisodeVector, optional
        Past episodes to compare with; None takes those of the rulebook.
    scenarios : sequence of Scenario
        Scenarios whose proximity is reported, such as those of a reverse stress test.
    avalanche : AvalancheResult, optional
        A simulation of the same fund; its branching ratio is part of the monitoring plan.

    Returns
    -------
    EarlyWarningResult
        `left_out` names every factor the fund holds that is no member of the index, and why; when
        they are most of its margin, that is a failure of the item `margin index`.

    Raises
    ------
    InputError
        When no factor is left, or the history is not longer than the burn-in.
    """
    config = config or EarlyWarningConfig()
    panel = build_panel(market, fund_weights(book, market), config)
    return _assemble(panel, market, config, episodes, scenarios, avalanche)


def reference_early_warning(
    market: MarketState,
    config: EarlyWarningConfig | None = None,
    *,
    episodes: Sequence[EpisodeVector] | None = None,
    scenarios: Sequence[Scenario] = (),
) -> EarlyWarningResult:
    """Do the same for an index of all observed factors of a market, with equal margins.

    Each factor's weight is the inverse of its volatility in the burn-in.
    """
    config = config or EarlyWarningConfig()
    panel = build_panel(market, None, config)
    return _assemble(panel, market, config, episodes, scenarios, None)


def fund_weights(book: Book, market: MarketState) -> Float64Array:
    """Return the sum over agreements of the absolute net delta of each factor, (n_factors,), USD.

    Worked number: 3 million long in one agreement and 1 million short in another weigh 4 million.
    """
    weights: Float64Array = np.sum(np.abs(aggregate(book, market).delta), axis=0)
    return weights


def _assemble(
    panel: Panel,
    market: MarketState,
    config: EarlyWarningConfig,
    episodes: Sequence[EpisodeVector] | None,
    scenarios: Sequence[Scenario],
    avalanche: AvalancheResult | None,
) -> EarlyWarningResult:
    past = episode_vectors(market, library()) if episodes is None else tuple(episodes)
    history = warning_history(panel, past, config)
    found = evaluate(panel, history, config)
    score = float(history.score[-1])
    near, failures = scenario_proximity(market, scenarios, config)
    indicators = _indicators(history)
    told = None if avalanche is None else _avalanche(avalanche)
    return EarlyWarningResult(
        as_of=panel.dates[-1].item(),
        score=score,
        level=level_of(score, config),
        proximity=_proximity(score, history, found, config),
        indicators=indicators,
        resembles=_resembles(history, past),
        scenarios=near,
        avalanche=told,
        evaluation=found,
        monitoring=monitoring_plan(score, indicators, near, told, config),
        members=tuple(str(name) for name in panel.factor_id),
        covered_share=panel.covered_share,
        volatility_source=panel.volatility_source,
        history=_frame(history, past, config),
        config=config.model_dump(mode="json"),
        left_out=panel.excluded,
        failures=(*_thin_cover(panel), *_no_similarity(history), *failures),
    )


def _indicators(history: History) -> tuple[Indicator, ...]:
    ranks = {name: float(rank[-1]) for name, rank in history.ranks.items()}
    counted = sum(not np.isnan(rank) for rank in ranks.values())
    return tuple(
        Indicator(
            name=name,
            words=SIGNALS[name],
            value=float(history.values[name][-1]),
            rank=rank,
            contribution=0.0 if np.isnan(rank) else rank / counted,
        )
        for name, rank in ranks.items()
    )


def _proximity(
    score: float, history: History, found: Evaluation, config: EarlyWarningConfig
) -> dict[str, Any]:
    scored = history.score[history.scored]
    return {
        "of_high": score / config.high,
        "of_critical": score / config.critical,
        "higher_than": float(np.mean(scored < score)),
        "event_rate": interval(found.event_rate[level_of(score, config)]),
    }


def _avalanche(result: AvalancheResult) -> dict[str, Any]:
    return {
        "scenario": result.scenario,
        "p_avalanche": result.p_avalanche.to_dict(),
        "branching_ratio": result.branching_ratio,
        "amplification": result.amplification.to_dict(),
        "crowding": result.crowding,
    }


def _resembles(history: History, past: Sequence[EpisodeVector]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "episode_id": [episode.episode_id for episode in past],
            "episode": [episode.name for episode in past],
            "first": [episode.first.isoformat() for episode in past],
            "last": [episode.last.isoformat() for episode in past],
            "similarity": history.resembling.value[-1],
            "members_known": history.resembling.known.astype(np.int64),
        }
    )
    return frame.sort_values("similarity", ascending=False, ignore_index=True, kind="stable")


def _frame(
    history: History, past: Sequence[EpisodeVector], config: EarlyWarningConfig
) -> pd.DataFrame:
    rows = history.scored
    value = history.index.value
    alike = np.nan_to_num(history.resembling.value[rows], nan=-1.0)
    names = np.array([episode.episode_id for episode in past] + [""], dtype=object)
    best = np.full(len(alike), len(past))
    if len(past):
        best = np.where(alike.max(axis=1) > 0.0, alike.argmax(axis=1), len(past))
    frame = {
        "date": history.dates[rows],
        "margin_index": FIRST_INDEX * value[rows] / value[rows][0],
        "score": history.score[rows],
        "level": [level_of(score, config) for score in history.score[rows].tolist()],
        **{name: values[rows] for name, values in history.values.items()},
        **{f"{name}_rank": ranks[rows] for name, ranks in history.ranks.items()},
        "episode_most_alike": names[best],
        "rise_ahead": future_rise(value, config.horizon_days)[rows],
    }
    return pd.DataFrame(frame)


def _thin_cover(panel: Panel) -> tuple[Failure, ...]:
    if panel.covered_share >= LEAST_COVERED_SHARE:
        return ()
    message = (
        f"its members carry {panel.covered_share:.0%} of the margin of single factors: the score "
        "says little of the rest; see left_out for what each of the others lacks"
    )
    return (Failure(FailureReason.MISSING_DATA, "margin index", WHERE, message),)


def _no_similarity(history: History) -> tuple[Failure, ...]:
    if not np.isnan(history.ranks["similarity"][-1]):
        return ()
    message = (
        "similarity has no rank today and does not count: too few days lie after an episode known "
        "for the members; give episodes with moves of these factors"
    )
    return (Failure(FailureReason.MISSING_DATA, "similarity", WHERE, message),)
