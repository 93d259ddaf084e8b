"""Past episodes as vectors of moves, and how much the last days look like each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from engine.domain.arrays import Float64Array, freeze
from engine.domain.market import MarketState
from engine.stress.early_warning.panel import Panel
from engine.stress.library.episodes import Episode

LEAST_KNOWN_SHARE = 0.5
"""An episode known for fewer of the members could be anything: it is no part of the signal."""


@dataclass(frozen=True)
class EpisodeVector:
    """What members did over an episode, from the close of `first` to the close of `last`.

    `moves` maps factor id to its total move in the factor's return unit.
    """

    episode_id: str
    name: str
    first: date
    last: date
    moves: dict[str, float]


@dataclass(frozen=True)
class Similarity:
    """Similarity in [0, 1] of each day to each episode; shape (n_days, n_episodes).

    NaN on days on which the episode does not count yet. `known` (n_episodes,) is the number of
    members whose move in the episode is known.
    """

    value: Float64Array
    known: Float64Array

    def __post_init__(self) -> None:
        freeze(self.value, self.known)

    def best(self) -> Float64Array:
        """Return the largest similarity of each day; NaN before the first episode counts."""
        open_days = ~np.isnan(self.value).all(axis=1)
        best = np.full(len(self.value), np.nan)
        if open_days.any():
            best[open_days] = np.nanmax(self.value[open_days], axis=1)
        return best


def episode_vectors(market: MarketState, library: Sequence[Episode]) -> tuple[EpisodeVector, ...]:
    """Return the library's episodes with the moves of the market's own history.

    A factor observed over the whole window has its own move; one that is not (the history begins
    later, or is simulated) has the library's move if that has one in the same unit.
    """
    factors, begun = market.factors, ~np.isnan(market.returns)
    vectors = []
    for episode in library:
        first, last = episode.window
        rows = (market.dates > np.datetime64(first)) & (market.dates <= np.datetime64(last))
        inside = market.dates[0] <= np.datetime64(first) and np.any(rows)
        told = {row.subject: row for row in episode.moves}
        moves = {}
        for k, name in enumerate(map(str, factors.factor_id)):
            row = told.get(name)
            if inside and begun[rows, k].all() and not factors.synthetic[k]:
                moves[name] = float(np.sum(market.returns[rows, k]))
            elif row is not None and row.is_log == (factors.return_type[k] == "log"):
                moves[name] = row.move
        vectors.append(EpisodeVector(episode.episode_id, episode.title, first, last, moves))
    return tuple(vectors)


def similarity(
    recent: Float64Array, panel: Panel, episodes: Sequence[EpisodeVector], embargo_days: int
) -> Similarity:
    """Return cos+(s, v) * min(1, |s| / |v|) of each day and episode, over the members known.

    s is the move of the last days and v that of the episode, both in units of `panel.scale`:
    direction times size, 0 for a move the other way. An episode counts from `embargo_days` after
    its end: on its own days it would be found to resemble itself (look-ahead).

    Parameters
    ----------
    recent : float64 array of shape (n_days, n_factors)
        Moves over the last days, NaN where not known yet.
    panel : Panel
    episodes : sequence of EpisodeVector
    embargo_days : int
        Calendar days.

    Notes
    -----
    Worked number: s = (-3, 0), v = (-4, 3): cosine 0.8, size ratio 3 / 5, similarity 0.48.
    """
    value = np.full((len(panel.dates), len(episodes)), np.nan)
    known = np.zeros(len(episodes))
    scaled = recent / panel.scale
    for e, episode in enumerate(episodes):
        moves = np.array([episode.moves.get(str(name), np.nan) for name in panel.factor_id])
        here = ~np.isnan(moves)
        known[e] = np.sum(here)
        if known[e] < LEAST_KNOWN_SHARE * len(here) or not known[e]:
            continue
        counts = panel.dates > np.datetime64(episode.last) + np.timedelta64(embargo_days, "D")
        value[counts, e] = resemblance(scaled[counts][:, here], moves[here] / panel.scale[here])
    return Similarity(value, known)


def resemblance(moves: Float64Array, target: Float64Array) -> Float64Array:
    """Return cos+ times the size ratio of each row of `moves` to `target`; NaN rows stay NaN."""
    size = float(np.sqrt(np.sum(target**2)))
    if size == 0.0:
        return np.zeros(len(moves))
    along = np.sum(moves * target, axis=1)
    length = np.sqrt(np.sum(moves**2, axis=1))
    # cos * min(1, |s| / |v|) = s'v / (|v| * max(|s|, |v|)): no division by a day without moves.
    value: Float64Array = np.where(
        np.isnan(along), np.nan, np.maximum(along, 0.0) / (size * np.maximum(length, size))
    )
    return value
