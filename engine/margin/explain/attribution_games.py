"""Sharing the value of a game over its players: which variants to ask for, and the shares.

A game is a function v of the weights of its players, each 0 (absent) to 1 (as held); here v is a
margin. Every rule says which weights it needs, as an array of shape (n_variants, n_players), and
turns the values at these weights, shape (n_variants,), into shares of shape (n_players,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array

MOST_EXACT = 8
"""Most players whose Shapley value is taken over all subsets; above it, over drawn orders."""


@dataclass(frozen=True)
class Game:
    """Weights to evaluate and the function from their values to the shares.

    Shares of `additive` rules sum to v(all) - v(nobody). `name` says the rule used.
    """

    name: str
    weights: Float64Array
    shares: Callable[[Float64Array], Float64Array]
    additive: bool = True


def incremental_game(n_players: int) -> Game:
    """What the margin falls by when one player leaves: v(all) - v(all but i). Not additive."""
    weights = np.vstack([np.ones(n_players), 1.0 - np.eye(n_players)])
    return Game("incremental", weights, lambda v: v[0] - v[1:], additive=False)


def stand_alone_game(n_players: int) -> Game:
    """Pro rata to what each player would have alone; alike where nobody would have any.

    Stand-alone 3 and 1, together 2: shares 1.5 and 0.5.
    """
    weights = np.vstack([np.ones(n_players), np.eye(n_players)])

    def shares(v: Float64Array) -> Float64Array:
        alone = np.maximum(v[1:], 0.0)
        total = float(alone.sum())
        part = alone / total if total > 0.0 else np.full(n_players, 1.0 / max(1, n_players))
        return np.asarray(v[0] * part)

    return Game("stand_alone", weights, shares)


def shapley_game(n_players: int, orders: int, generator: np.random.Generator) -> Game:
    """Mean increment over all orders of joining (Shapley 1953).

    Exact over the 2 ** n subsets up to `MOST_EXACT` players; above, the mean over `orders` drawn
    orders, which is unbiased and still sums exactly.

    Worked example: v({1}) = 6, v({2}) = 10, v({1, 2}) = 12: shares (6 + 2) / 2 = 4 and
    (10 + 6) / 2 = 8.
    """
    if n_players > MOST_EXACT:
        return _drawn_shapley(n_players, orders, generator)
    sets = np.arange(2**n_players)
    member = (sets[:, np.newaxis] >> np.arange(n_players)) & 1
    size = member.sum(axis=1)

    def shares(v: Float64Array) -> Float64Array:
        out = np.zeros(n_players)
        for i in range(n_players):
            without = np.flatnonzero(member[:, i] == 0)
            chance = [
                math.factorial(s) * math.factorial(n_players - s - 1) / math.factorial(n_players)
                for s in size[without].tolist()
            ]
            out[i] = float(np.dot(chance, v[without + (1 << i)] - v[without]))
        return out

    return Game("shapley", member.astype(np.float64), shares)


def _drawn_shapley(n_players: int, orders: int, generator: np.random.Generator) -> Game:
    order = np.stack([generator.permutation(n_players) for _ in range(orders)])
    rank = np.argsort(order, axis=1)
    # Row (o, s) holds the first s players of order o.
    joined = rank[:, np.newaxis, :] < np.arange(n_players + 1)[np.newaxis, :, np.newaxis]
    weights = joined.reshape(-1, n_players).astype(np.float64)
    different, back = np.unique(weights, axis=0, return_inverse=True)

    def shares(v: Float64Array) -> Float64Array:
        path = v[back.reshape(-1)].reshape(orders, n_players + 1)
        step = np.diff(path, axis=1)
        return np.asarray(np.take_along_axis(step, rank, axis=1).mean(axis=0))

    return Game(f"shapley over {orders} drawn orders", different, shares)


def aumann_shapley_game(n_players: int, steps: int) -> Game:
    """All players grow together from nothing in `steps` equal steps (Aumann and Shapley 1974).

    In a step from t to t + h, a player's part is the mean of what it adds first, v(t + h e_i) -
    v(t), and last, v(t + h) - v(t + h - h e_i); the parts are then scaled to the step's whole
    increase, so that shares sum exactly. With many steps this is the integral of the gradient
    along the diagonal; with one step and two players it is the Shapley value. A function of degree
    one gives its Euler shares.

    Worked example: v = (x + y) ** 2 at x = 1, y = 3: shares 4 and 12 (Euler would give twice that).
    """
    h = 1.0 / steps
    level = np.arange(steps + 1) / steps
    together = np.repeat(level[:, np.newaxis], n_players, axis=1)
    one = h * np.eye(n_players)
    first = (together[:-1, np.newaxis, :] + one).reshape(-1, n_players)
    last = (together[1:, np.newaxis, :] - one).reshape(-1, n_players)
    # A player taken back to zero must be exactly absent.
    last[np.abs(last) < 1e-12] = 0.0
    weights = np.vstack([together, first, last])

    def shares(v: Float64Array) -> Float64Array:
        path = v[: steps + 1]
        up, down = v[steps + 1 :].reshape(2, steps, n_players)
        part = 0.5 * ((up - path[:-1, np.newaxis]) + (path[1:, np.newaxis] - down))
        return np.asarray(_scaled(part, np.diff(path)).sum(axis=0))

    return Game(f"aumann_shapley in {steps} steps", weights, shares)


def _scaled(part: Float64Array, whole: Float64Array) -> Float64Array:
    """Scale each row of `part` to sum to `whole`; the gap is spread evenly if the row cannot."""
    total = part.sum(axis=1)
    size = np.abs(part).sum(axis=1)
    able = np.abs(total) > 1e-6 * size
    ratio = np.divide(whole, total, out=np.ones_like(whole), where=able)
    out = part * ratio[:, np.newaxis]
    gap = np.where(able, 0.0, whole - total)
    return np.asarray(out + gap[:, np.newaxis] / max(1, part.shape[1]))
