"""Genetic search for the nearest point, in whitened units, whose loss reaches a target.

Every candidate is a direction; the smallest step along it that reaches the target (ray repair) is
its fitness. So all candidates of a generation lie on the boundary of the set that is searched for,
and the search is over directions alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array
from engine.stress.reverse.rays import Evaluate, MoveBox, first_reach, unit_directions

# Added to the key of candidates that do not reach the target: they rank after all that do.
UNREACHED = 1e6
# Looks along each ray of the first generation.
FIRST_SCANS = 4


@dataclass(frozen=True)
class SearchSettings:
    """How the search is run. The defaults are choices of the house, measured in its tests.

    Attributes
    ----------
    population : int
        Candidates kept; as many children are made in each generation.
    generations : int
        At most.
    patience : int
        The search ends when the best distance has fallen by less than `least_gain` (relative)
        over this many generations.
    tournament : int
        Candidates drawn for each parent; the best of them is taken.
    blend : float
        BLX: each gene of a child is uniform between its parents' and this share beyond.
    mutation : float
        Length of a mutation over that of the child, in the first generation.
    mutation_half_life : float
        Generations in which it halves.
    repair_steps, repair_tolerance
        Refinements of the step along a ray at most, and the relative width at which they end.
    """

    population: int = 200
    generations: int = 300
    patience: int = 40
    least_gain: float = 1e-5
    tournament: int = 3
    blend: float = 0.25
    mutation: float = 0.15
    mutation_half_life: float = 25.0
    repair_steps: int = 18
    repair_tolerance: float = 1e-5


@dataclass(frozen=True)
class SearchResult:
    """The population at the end, and how the search went.

    Attributes
    ----------
    points : float64 array of shape (n, K)
        Candidates that reach the target, nearest first; n may be 0.
    loss : float64 array of shape (n,)
    best_by_generation : float64 array of shape (generations + 1,)
        Least distance so far, NaN while none reached the target; entry 0 is the start.
    largest_loss : float
        Largest loss of any candidate at the end of its ray; with `largest_point` (K,).
    evaluations : int
        Points whose loss was computed.
    """

    points: Float64Array
    loss: Float64Array
    best_by_generation: Float64Array
    largest_loss: float
    largest_point: Float64Array
    evaluations: int

    @property
    def reached(self) -> bool:
        """Whether any candidate reached the target."""
        return len(self.points) > 0


@dataclass
class _Population:
    """Directions with their steps, losses and keys, sorted by key."""

    directions: Float64Array
    radius: Float64Array
    loss: Float64Array
    reached: BoolArray
    key: Float64Array

    def best(self, count: int) -> _Population:
        """Return the `count` members with the lowest key."""
        order = np.argsort(self.key, kind="stable")[:count]
        return _Population(*(column[order] for column in vars(self).values()))

    def joined(self, other: _Population) -> _Population:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Population(*(np.concatenate(pair) for pair in pairs))


@dataclass
class _Counted:
    """An evaluation that counts its points."""

    evaluate: Evaluate
    count: int = 0

    def __call__(self, points: Float64Array) -> Float64Array:
        self.count += len(points)
        return self.evaluate(points)


def search(
    evaluate: Evaluate,
    target: float,
    box: MoveBox,
    settings: SearchSettings,
    seed: int,
    starts: Float64Array | None = None,
    avoid: Float64Array | None = None,
    least_cosine: float = 1.0,
) -> SearchResult:
    """Search the nearest point y with loss(y) >= target inside the box.

    Parameters
    ----------
    evaluate : callable
        Losses (n,) of whitened points (n, K); deterministic.
    target : float
        Above the loss at y = 0.
    box : MoveBox
    settings : SearchSettings
    seed : int
        Same seed, same bits.
    starts : float64 array of shape (m, K), optional
        Directions to begin with, of any length. The rest of the population is random.
    avoid : float64 array of shape (a, K), optional
        Unit directions; candidates with a cosine of `least_cosine` or more to one of them are
        turned away from it.

    Returns
    -------
    SearchResult
        Loss w'y with w = (3, 4), target 10: nearest point (1.2, 1.6), distance 2.

    Raises
    ------
    ValueError
        If the target is reached without any move.
    """
    counted = _Counted(evaluate)
    at_zero = float(counted(np.zeros((1, len(box.loading))))[0])
    if not at_zero < target:
        raise ValueError(f"the loss without a move, {at_zero:g}, is at or above {target:g}")
    rng = np.random.Generator(np.random.Philox(seed))
    scale = target - at_zero if np.isfinite(at_zero) else 1.0
    cones = np.zeros((0, len(box.loading))) if avoid is None else avoid

    def repaired(points: Float64Array, cut: float, scans: int) -> _Population:
        points = turn_away(box.project(points), cones, least_cosine)
        directions, _ = unit_directions(box.project(points) if len(cones) else points)
        most = np.where(_allowed(directions, cones, least_cosine), box.longest(directions), 0.0)
        reach = first_reach(
            counted, target, at_zero, directions, np.minimum(most, cut),
            scans=scans, steps=settings.repair_steps, tolerance=settings.repair_tolerance,
        )  # fmt: skip
        shortfall = np.minimum((target - reach.loss) / scale, UNREACHED)
        key = np.where(reach.reached, reach.radius, UNREACHED + shortfall)
        return _Population(directions, reach.radius, reach.loss, reach.reached, key)

    size = settings.population
    first = rng.standard_normal((size, len(box.loading)))
    if starts is not None and len(starts):
        first = np.concatenate([starts, first])[: max(size, len(starts))]
    # Long rays: a direction that hits the box at once may bend along it.
    current = repaired(_stretched(first, box), np.inf, FIRST_SCANS).best(size)
    history = [_best(current)]
    top = _largest(current, None)
    for generation in range(settings.generations):
        children = _children(current, settings, generation, rng)
        cut = float(current.radius[-1]) if current.reached.all() else np.inf
        # A child is kept only if it reaches the target nearer than the last member: one look there
        # settles most of them.
        made = repaired(children, cut, 1)
        top = _largest(made, top)
        current = current.joined(made).best(size)
        history.append(_best(current))
        if _converged(history, settings):
            break
    kept = current.reached
    return SearchResult(
        points=(current.directions * current.radius[:, None])[kept],
        loss=current.loss[kept],
        best_by_generation=np.array(history),
        largest_loss=top[0],
        largest_point=top[1],
        evaluations=counted.count,
    )


def turn_away(points: Float64Array, avoid: Float64Array, least_cosine: float) -> Float64Array:
    """Turn points (n, K) out of the cones around unit directions (a, K), one cone after another.

    A point inside a cone goes to its surface, in the plane of the point and the axis, its length
    kept. A point on an axis stays. Point (1, 0), axis (0.8, 0.6), cosine 0.6: (0.96, -0.28)/1.
    """
    out = points.copy()
    wanted = least_cosine - 1e-6
    for axis in avoid:
        length = np.linalg.norm(out, axis=1)
        along = out @ axis
        aside = out - along[:, None] * axis
        width = np.linalg.norm(aside, axis=1)
        inside = (along >= least_cosine * length) & (width > 1e-9 * np.maximum(length, 1e-300))
        sine = np.sqrt(1.0 - wanted * wanted)
        side = np.divide(aside, width[:, None], out=np.zeros_like(aside), where=inside[:, None])
        turned = length[:, None] * (wanted * axis + sine * side)
        out = np.where(inside[:, None], turned, out)
    return out


def _allowed(directions: Float64Array, avoid: Float64Array, least_cosine: float) -> BoolArray:
    if not len(avoid):
        return np.ones(len(directions), dtype=np.bool_)
    return np.asarray((directions @ avoid.T).max(axis=1) < least_cosine, dtype=np.bool_)


def _stretched(points: Float64Array, box: MoveBox) -> Float64Array:
    directions, _ = unit_directions(points)
    length = box.longest(directions)
    return directions * np.where(length > 0.0, length, 1.0)[:, None]


def _children(
    parents: _Population, settings: SearchSettings, generation: int, rng: np.random.Generator
) -> Float64Array:
    """Blend tournament winners and move the children by noise that fades with the generations.

    Where the target is out of reach so far, children are stretched, so that they meet the box and
    bend along it.
    """
    n, dimension = parents.directions.shape
    # Members are sorted by key: the lowest number drawn is the winner.
    drawn = rng.integers(0, n, (2, settings.population, settings.tournament)).min(axis=2)
    points = parents.directions * parents.radius[:, None]
    a, b = points[drawn[0]], points[drawn[1]]
    low, high = np.minimum(a, b), np.maximum(a, b)
    reach = settings.blend * (high - low)
    child = rng.uniform(low - reach, high + reach)
    size = settings.mutation * 0.5 ** (generation / settings.mutation_half_life)
    length = np.linalg.norm(child, axis=1, keepdims=True) / np.sqrt(dimension)
    # Half of the children mutate in full, the others by a hundredth: explore and refine at once.
    scale = np.where(rng.random((len(child), 1)) < 0.5, size, 0.01 * size)
    child = child + scale * length * rng.standard_normal(child.shape)
    stretch = np.where(parents.reached[drawn[0]], 1.0, 1.0 + rng.random(len(child)))
    out: Float64Array = child * stretch[:, None]
    return out


def _best(population: _Population) -> float:
    return float(population.radius[0]) if population.reached[0] else float("nan")


def _largest(
    population: _Population, so_far: tuple[float, Float64Array] | None
) -> tuple[float, Float64Array]:
    at = int(np.argmax(population.loss))
    loss = float(population.loss[at])
    if so_far is not None and so_far[0] >= loss:
        return so_far
    return loss, population.directions[at] * population.radius[at]


def _converged(history: list[float], settings: SearchSettings) -> bool:
    if len(history) <= settings.patience:
        return False
    before, now = history[-1 - settings.patience], history[-1]
    if np.isnan(now):
        return len(history) > 4 * settings.patience
    return bool(before - now < settings.least_gain * now)
