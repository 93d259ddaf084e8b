"""The moves a reverse stress test searches: which factors, how they move together, and the box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array, freeze
from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario
from engine.fund.suggest import did_you_mean
from engine.market.covariance import cholesky_factor, correlation
from engine.market.volatility import daily_volatility
from engine.stress.reverse.config import LARGEST_DISTANCE, ReverseConfig
from engine.stress.reverse.plausibility import conditional_mean, mahalanobis
from engine.stress.reverse.rays import MoveBox

PRINCIPAL_STARTS = 10


@dataclass(frozen=True)
class SearchSpace:
    """Whitened coordinates y of the factors searched, and the moves of all factors they mean.

    Attributes
    ----------
    daily_covariance : float64 array of shape (n_factors, n_factors)
        Of all factors of the market.
    columns : int64 array of shape (K,)
        Factors searched.
    basis : float64 array of shape (n_factors, K)
        Moves of all factors are basis @ y: those searched are loading @ y, the others are at their
        conditional mean. |y| is the Mahalanobis distance of both.
    box : MoveBox
    """

    daily_covariance: Float64Array
    columns: Int64Array
    basis: Float64Array
    box: MoveBox

    def __post_init__(self) -> None:
        freeze(self.daily_covariance, self.columns, self.basis)

    def moves(self, points: Float64Array) -> Float64Array:
        """Moves of all factors, (n, n_factors), of whitened points (n, K)."""
        out: Float64Array = points @ self.basis.T
        return out

    def whiten(self, moves: Float64Array) -> Float64Array:
        """Whitened points (n, K) of the searched factors' part of moves (n, n_factors)."""
        return np.asarray(np.linalg.solve(self.box.loading, moves[:, self.columns].T).T)


def daily_covariance(market: MarketState, lookback_days: int) -> Float64Array:
    """Covariance of tomorrow's moves: EWMA volatility, and correlation shrunk to be invertible."""
    lower = cholesky_factor(correlation(market, lookback_days))
    volatility = daily_volatility(market)
    out: Float64Array = (lower @ lower.T) * volatility[:, None] * volatility
    return out


def build_space(
    market: MarketState, covariance: Float64Array, delta: Float64Array, config: ReverseConfig
) -> SearchSpace:
    """Choose the factors and set up their coordinates.

    Searched are the factors with the largest sum over agreements of |delta| times volatility:
    gross, because gains of one agreement do not pay the calls of another. Those with a sign
    constraint are always among them.

    Parameters
    ----------
    covariance : float64 array of shape (n_factors, n_factors)
        Of one day.
    delta : float64 array of shape (n_agreements, n_factors)

    Raises
    ------
    InputError
        If no factor is held, or a sign names an unknown factor.
    """
    volatility = np.sqrt(np.diag(covariance))
    size = np.abs(delta).sum(axis=0) * volatility
    held = int(np.count_nonzero(size))
    if not held:
        raise InputError("no factor is held: the fund has no position whose value moves")
    count = held if config.drivers is None else min(config.drivers, held)
    chosen = set(np.argsort(-size, kind="stable")[:count].tolist())
    signs = _signs(market, config.signs)
    columns = np.array(sorted(chosen | set(signs)), dtype=np.int64)
    horizon = covariance * config.horizon_days
    loading = np.asarray(np.linalg.cholesky(horizon[np.ix_(columns, columns)]), dtype=np.float64)
    basis = np.asarray(np.linalg.solve(loading, horizon[columns]).T, dtype=np.float64)
    free = not config.plausibility_constraints
    bound = config.box_sigmas * volatility[columns] * np.sqrt(config.horizon_days)
    sign = np.array([0.0 if free else signs.get(int(k), 0.0) for k in columns])
    box = MoveBox(loading, np.where(free, np.inf, bound), sign, LARGEST_DISTANCE)
    return SearchSpace(covariance, columns, basis, box)


def _signs(market: MarketState, signs: Mapping[str, int]) -> dict[int, float]:
    index = market.index()
    for name in signs:
        if name not in index:
            near = did_you_mean(name, index)
            hint = f"did you mean {near}?" if near else "use a factor id of the market"
            raise InputError(f"signs: unknown factor {name!r}; {hint}")
    return {index[name]: float(sign) for name, sign in signs.items()}


@dataclass(frozen=True)
class KnownMoves:
    """Episodes as moves of all factors: `moves` (n, n_factors) and their distances (n,)."""

    ids: tuple[str, ...]
    moves: Float64Array
    distance: Float64Array
    failures: tuple[Failure, ...]

    def distances(self) -> dict[str, float]:
        """Return the distance of each episode by its id."""
        return {name: float(far) for name, far in zip(self.ids, self.distance, strict=True)}

    def worst(self) -> tuple[str, float] | None:
        """Id and distance of the least plausible episode, None without episodes."""
        if not self.ids:
            return None
        at = int(np.argmax(self.distance))
        return self.ids[at], float(self.distance[at])


def known_moves(
    market: MarketState, covariance: Float64Array, episodes: Sequence[Scenario]
) -> KnownMoves:
    """Complete episodes by the conditional mean, and measure them.

    The distance is that of the factors an episode names, by today's covariance over as many days
    as it lasted. An episode of which the market knows no factor is a failure.
    """
    index = market.index()
    ids: list[str] = []
    moves: list[Float64Array] = []
    distance: list[float] = []
    failures: list[Failure] = []
    for episode in episodes:
        named = {index[n]: x for n, x in episode.moves.items() if n in index and x != 0.0}
        if not named:
            failures.append(_no_factor(episode))
            continue
        rows = np.array(sorted(named), dtype=np.int64)
        known = np.array([[named[int(k)] for k in rows]])
        own = covariance[np.ix_(rows, rows)] * episode.days
        ids.append(episode.scenario_id)
        moves.append(conditional_mean(known, rows, covariance)[0])
        distance.append(float(mahalanobis(known, own)[0]))
    table = np.array(moves).reshape(len(ids), len(market.factors))
    return KnownMoves(tuple(ids), table, np.array(distance), tuple(failures))


def _no_factor(episode: Scenario) -> Failure:
    return Failure(
        FailureReason.NOT_APPLICABLE,
        episode.scenario_id,
        f"scenario {episode.scenario_id}",
        "it moves no factor of the market, so it is neither a start of the search nor a yardstick; "
        "give moves of factors the market has",
    )


def start_directions(
    space: SearchSpace, delta: Float64Array, episodes: Float64Array
) -> Float64Array:
    """Directions to begin with, (n, K): analytic points, episodes, principal components.

    The analytic points are of the linearised fund: -basis' w, with w the fund's net delta; then
    w of only those agreements that lose in that direction, repeated; and of each of the largest
    agreements alone.
    """
    whitened = delta @ space.basis
    nets = [whitened.sum(axis=0)]
    for _ in range(5):
        losing = whitened @ nets[-1] > 0.0
        nets.append(whitened[losing].sum(axis=0))
    largest = np.argsort(-np.linalg.norm(whitened, axis=1), kind="stable")[:PRINCIPAL_STARTS]
    covariance = space.box.loading @ space.box.loading.T
    scale = np.sqrt(np.diag(covariance))
    _, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    components = vectors[:, ::-1][:, :PRINCIPAL_STARTS].T * scale
    axes = np.linalg.solve(space.box.loading, components.T).T
    parts = [-np.array(nets), -whitened[largest], space.whiten(episodes), axes, -axes]
    table = np.concatenate(parts)
    out: Float64Array = table[np.linalg.norm(table, axis=1) > 0.0]
    return out
