"""Scenarios from the episodes of history, on today's market."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.domain.market import MarketState
from engine.domain.scenarios import MOST_SCENARIO_DAYS, Evidence, Scenario
from engine.rulebooks.tables import worst_mark
from engine.stress.library.day_shares import episode_day_shares
from engine.stress.library.episodes import Episode, EpisodeRow, episodes
from engine.stress.library.joint_moves import JointMoves, implied_crosses, joint_moves

WHERE = "stress_episodes.csv"
LEAST_LEVEL_SHARE = 0.1
# An episode that names at least so many factors says what the whole market did.
BROAD_FACTORS = 10
MOST_VOLATILITY_STEP = 20.0


class LibraryConfig(BaseModel):
    """How an episode becomes a scenario; unknown keys are refused.

    Attributes
    ----------
    horizon_days : int
        Longest scenario. A longer window is brought to this length.
    long_windows : {"scaled", "full"}
        `scaled`: moves of a window of n > horizon business days times sqrt(horizon / n), so that
        the distance D stays that of the window. `full`: the whole move in `horizon_days`.
    commodity_moves : {"scaled", "absolute"}
        Commodities whose moves are differences of prices: `scaled` takes the relative move times
        today's level where both prices were above zero, otherwise (negative oil) the difference;
        `absolute` always takes the difference.
    complete_factors : bool
        Set factors an episode does not name to their conditional mean; off leaves them unmoved.
    correlation_lookback_days : int
    largest_volatility_step : float
        Most that the volatility of an asset class steps up.
    largest_common_size : float
        Of an episode with fewer than ten named factors, the part of a move beyond so many
        long-run standard deviations is the factor's own: the others do not follow it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    horizon_days: Annotated[int, Field(ge=1, le=MOST_SCENARIO_DAYS)] = 10
    long_windows: Literal["scaled", "full"] = "scaled"
    commodity_moves: Literal["scaled", "absolute"] = "scaled"
    complete_factors: bool = True
    correlation_lookback_days: Annotated[int, Field(ge=60, le=20_000)] = 2500
    largest_volatility_step: Annotated[float, Field(ge=1.0, le=MOST_VOLATILITY_STEP)] = 10.0
    largest_common_size: Annotated[float, Field(gt=0.0)] = 5.0


@dataclass(frozen=True)
class FittedEpisode:
    """An episode on today's market.

    Attributes
    ----------
    scenario : Scenario
    named : dict of str to float
        Moves the episode names and the market has, as they stand in the scenario.
    implied : tuple of str
        Currency pairs that follow from the named ones exactly.
    completed : tuple of str
        Factors set to their conditional mean; these are indicative.
    missing : tuple of str
        Factors the episode names and the market lacks, or has in another unit.
    """

    episode: Episode
    scenario: Scenario
    named: dict[str, float]
    implied: tuple[str, ...] = ()
    completed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def basis(self, factor_id: str) -> str:
        """Where a move comes from: `named`, `cross rate` or `conditional mean`."""
        if factor_id in self.named:
            return "named"
        return "cross rate" if factor_id in self.implied else "conditional mean"


def episode_scenario(
    episode: Episode,
    market: MarketState,
    config: LibraryConfig | None = None,
    joint: JointMoves | None = None,
) -> Scenario:
    """Return the scenario of `fitted_episode`."""
    return fitted_episode(episode, market, config, joint).scenario


def fitted_episode(
    episode: Episode,
    market: MarketState,
    config: LibraryConfig | None = None,
    joint: JointMoves | None = None,
) -> FittedEpisode:
    """Put an episode on today's market.

    Named factors move as they did (`LibraryConfig` says how prices of another level are brought to
    today's), currency pairs follow by arithmetic, all others take their conditional mean. A
    completed spread or commodity price that cannot be below zero keeps a tenth of its level, which
    a linear rule does not know. Volatility of a class steps up by the larger of the VIX ratio and
    the size of the class's own moves in long-run standard deviations (root mean square over the
    named factors), between 1 and `largest_volatility_step`. The completion of an episode of few
    factors is bounded (`largest_common_size`): a linear rule would carry a squeeze of one metal
    into every market.

    Parameters
    ----------
    episode : Episode
    market : MarketState
    config : LibraryConfig, optional
    joint : JointMoves, optional
        Of the same market; estimated when absent.

    Returns
    -------
    FittedEpisode
        Its scenario is marked `indicative` where any factor was completed.

    Raises
    ------
    InputError
        If the episode moves no factor of the market.

    Notes
    -----
    Worked number: `covid_2020`, S&P 500 from 3386.15 to 2237.4 in 23 weekdays, is
    ln(2237.4 / 3386.15) * sqrt(10 / 23) = -0.27324 over ten days.
    """
    config = config or LibraryConfig()
    joint = joint or joint_moves(market, config.correlation_lookback_days)
    days = min(episode.business_days, config.horizon_days)
    shrink = math.sqrt(days / episode.business_days) if config.long_windows == "scaled" else 1.0
    named: dict[str, float] = {}
    missing = []
    for row in episode.moves:
        move = _market_move(row, market, joint, config)
        if move is None:
            missing.append(row.subject)
        else:
            named[row.subject] = move * shrink
    if not named:
        raise InputError(_nothing_named(episode, missing))
    moves, implied, completed = _filled(named, market, joint, days, config)
    scenario = Scenario(
        scenario_id=episode.episode_id,
        name=episode.title,
        kind="historical",
        description=_description(episode, days, shrink, len(completed)),
        moves=moves,
        day_shares=episode_day_shares(*episode.window, days),
        mark=_mark(episode, bool(completed)),
        sources=episode.sources,
        **_volatility(episode, named, market, joint, days, config),
    )
    return FittedEpisode(episode, scenario, named, tuple(implied), tuple(completed), tuple(missing))


def as_scenarios(
    market: MarketState, config: LibraryConfig | None = None, joint: JointMoves | None = None
) -> Partial[tuple[FittedEpisode, ...]]:
    """Put every episode of the rulebook on today's market.

    An episode without a move on this market (its facts are of margin and exposure alone, or the
    market lacks its factors) is a failure NOT_APPLICABLE.
    """
    config = config or LibraryConfig()
    joint = joint or joint_moves(market, config.correlation_lookback_days)
    fitted, failures = [], []
    for episode in episodes():
        try:
            fitted.append(fitted_episode(episode, market, config, joint))
        except InputError as error:
            failures.append(
                Failure(FailureReason.NOT_APPLICABLE, episode.episode_id, WHERE, str(error))
            )
    return Partial(tuple(fitted), tuple(failures))


def _market_move(
    row: EpisodeRow, market: MarketState, joint: JointMoves, config: LibraryConfig
) -> float | None:
    """Move of a row in the return unit of the market's factor; None where it has no such one."""
    k = joint.column.get(row.subject)
    if k is None:
        return None
    level, factors = float(market.level[k]), market.factors
    positive = row.value_from > 0.0 and row.value_to > 0.0
    if factors.return_type[k] == "log":
        if row.is_log:
            return row.move
        return math.log(row.value_to / row.value_from) if positive else None
    if row.is_log:
        return level * math.expm1(row.move)
    if row.unit == "percentage points" and factors.unit[k] != "per cent":
        return None
    scaled = config.commodity_moves == "scaled" and factors.asset_class[k] == "commodity"
    return (row.value_to / row.value_from - 1.0) * level if scaled and positive else row.move


def _filled(
    named: Mapping[str, float],
    market: MarketState,
    joint: JointMoves,
    days: int,
    config: LibraryConfig,
) -> tuple[dict[str, float], list[str], list[str]]:
    """All moves, and which of them follow from currency pairs and from the conditional mean."""
    if not config.complete_factors:
        return dict(named), [], []
    implied = implied_crosses(named, market.factors)
    common = dict(named)
    if len(named) < BROAD_FACTORS:
        common = {n: _common_part(n, x, joint, days, config) for n, x in named.items()}
    rest = joint.conditional_mean(common)
    completed = {
        name: above_zero(name, move, market, joint)
        for name, move in rest.items()
        if name not in implied
    }
    return {**named, **implied, **completed}, list(implied), list(completed)


def _common_part(
    name: str, move: float, joint: JointMoves, days: int, config: LibraryConfig
) -> float:
    most = config.largest_common_size * joint.volatility[joint.column[name]] * math.sqrt(days)
    return float(np.clip(move, -most, most))


def above_zero(name: str, move: float, market: MarketState, joint: JointMoves) -> float:
    """Bound a completed move of a spread or commodity so that a tenth of its level is left."""
    k = joint.column[name]
    level = float(market.level[k])
    can_be_negative = market.factors.return_type[k] == "log" or level <= 0.0
    if can_be_negative or market.factors.asset_class[k] not in ("credit", "commodity"):
        return move
    return max(move, -(1.0 - LEAST_LEVEL_SHARE) * level)


def _volatility(
    episode: Episode,
    named: Mapping[str, float],
    market: MarketState,
    joint: JointMoves,
    days: int,
    config: LibraryConfig,
) -> dict[str, float | dict[str, float]]:
    """Steps of volatility: the index's ratio for all, more for classes that moved more."""
    most = config.largest_volatility_step
    ratio = episode.volatility_ratio
    general = 1.0 if math.isnan(ratio) else min(most, max(1.0, ratio))
    sizes: dict[str, list[float]] = {}
    for name, move in named.items():
        k = joint.column[name]
        size = move / (joint.volatility[k] * math.sqrt(days))
        sizes.setdefault(str(market.factors.asset_class[k]), []).append(size)
    realised = {c: min(most, math.sqrt(float(np.mean(np.square(z))))) for c, z in sizes.items()}
    return {
        "volatility_multiplier": general,
        "volatility_by_class": {c: size for c, size in realised.items() if size > general},
    }


def _mark(episode: Episode, completed: bool) -> Evidence:
    mark = worst_mark(episode.mark, "indicative") if completed else episode.mark
    return "verified" if mark == "verified" else "indicative"


def _description(episode: Episode, days: int, shrink: float, completed: int) -> str:
    first, last = episode.window
    text = f"{first} to {last}, {episode.business_days} business days"
    if episode.business_days > days:
        text += f", brought to {days}" + (f" (moves x {shrink:.3f})" if shrink < 1.0 else "")
    return text + (f"; {completed} factors by conditional mean" if completed else "")


def _nothing_named(episode: Episode, missing: list[str]) -> str:
    if not missing:
        return "its facts are of margin and exposure; it moves no factor: read the facts"
    return f"the market has none of its factors ({', '.join(missing)}); add one of them"
