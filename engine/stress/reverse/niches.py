"""Several distinct answers to one search: probes, the main search, and searches away from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.arrays import Float64Array
from engine.stress.reverse.genetic import FIRST_SCANS, SearchResult, SearchSettings, search
from engine.stress.reverse.polish import Answer, polish
from engine.stress.reverse.rays import Evaluate, MoveBox, first_reach, unit_directions

PROBES = 8
PROBE_STEPS = 8
PROBE_GAIN = 1e-4
FINISH_GAIN = 1e-8
# Searches away from what is known are coarse: a minimum they find is finished by gradient.
AWAY_PATIENCE = 8
AWAY_GAIN = 5e-3
AWAY_GENERATIONS = 40


@dataclass(frozen=True)
class Niches:
    """Distinct answers, nearest first, and the searches that found them; the first is the main."""

    answers: tuple[Answer, ...]
    searches: tuple[SearchResult, ...]


def distinct_answers(
    evaluate: Evaluate,
    target: float,
    box: MoveBox,
    settings: SearchSettings,
    seed: int,
    starts: Float64Array | None = None,
    count: int = 5,
    similarity: float = 0.8,
    far: float = 0.3,
) -> Niches:
    """Search up to `count` answers of which no two have a cosine of `similarity` or more.

    1. The nearest starts that are distinct go to a local minimum by gradient (`probes`); they
       join the first generation of the main search, whose best is polished in turn.
    2. A search turned away from all local minima found (cosine below `far`) looks for another
       one, again until it finds none.
    3. If fewer than `count` are distinct, searches turned away by `similarity` give the nearest
       points that are.

    Returns
    -------
    Niches
        Nearest first; without answers if the target is out of reach.
    """
    given = np.zeros((0, len(box.loading))) if starts is None else starts
    pool = _probes(evaluate, target, box, given, similarity)
    begun = np.concatenate([_points(pool, len(box.loading)), given])
    searches = [search(evaluate, target, box, settings, seed, begun)]
    if not searches[0].reached:
        return Niches((), tuple(searches))
    pool.append(polish(evaluate, target, searches[0].points[0], box, least_gain=FINISH_GAIN))
    quick = replace(
        settings,
        patience=min(settings.patience, AWAY_PATIENCE),
        least_gain=AWAY_GAIN,
        generations=min(settings.generations, AWAY_GENERATIONS),
    )
    answers = list(_apart(pool, similarity))
    # The far searches end with the first that finds nothing new; the others fill the places left,
    # and may replace an answer by a nearer one of its kind.
    for least_cosine, tries in ((far, count), (similarity, 2 * count)):
        for _ in range(tries):
            if len(answers) >= count:
                break
            more = search(
                evaluate, target, box, quick, seed + len(searches), begun,
                unit_directions(_points(answers, len(box.loading)))[0], least_cosine,
            )  # fmt: skip
            searches.append(more)
            if not more.reached:
                break
            found = [polish(evaluate, target, more.points[0], box, least_gain=FINISH_GAIN)]
            if least_cosine == similarity:
                found.append(Answer(more.points[0], float(more.loss[0]), False))
            before, answers = len(answers), list(_apart([*answers, *found], similarity))
            if least_cosine == far and len(answers) == before:
                break
    return Niches(tuple(answers[:count]), tuple(searches))


def _probes(
    evaluate: Evaluate, target: float, box: MoveBox, starts: Float64Array, similarity: float
) -> list[Answer]:
    """Polish the nearest distinct starts that reach the target."""
    if not len(starts):
        return []
    at_zero = float(evaluate(np.zeros((1, starts.shape[1])))[0])
    directions, _ = unit_directions(starts)
    reach = first_reach(
        evaluate, target, at_zero, directions, box.longest(directions), scans=FIRST_SCANS
    )
    raw = [
        Answer(directions[i] * reach.radius[i], float(reach.loss[i]), False)
        for i in np.flatnonzero(reach.reached)
    ]
    chosen = list(_apart(raw, similarity))[:PROBES]
    return [
        polish(evaluate, target, one.point, box, PROBE_STEPS, least_gain=PROBE_GAIN)
        for one in chosen
    ]


def _points(answers: list[Answer], dimension: int) -> Float64Array:
    return np.array([answer.point for answer in answers]).reshape(len(answers), dimension)


def _apart(answers: Iterable[Answer], similarity: float) -> Iterator[Answer]:
    """The answers that are distinct from every nearer one, nearest first."""
    kept: list[Float64Array] = []
    for answer in sorted(answers, key=lambda one: one.distance):
        unit = answer.point / answer.distance
        if not kept or float((np.array(kept) @ unit).max()) < similarity:
            kept.append(unit)
            yield answer
