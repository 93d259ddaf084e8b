"""Joint moves of the market: what the others do when some move, and how far from normal that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from engine.domain.arrays import Float64Array, Int64Array, freeze
from engine.domain.market import FactorTable, MarketState
from engine.market.covariance import SHRINKAGE, correlation
from engine.market.volatility import long_run_volatility


@dataclass(frozen=True)
class JointMoves:
    """Volatility over the whole history and correlation of the factors of a market.

    Attributes
    ----------
    column : dict of str to int
        Place of each factor id.
    volatility : float64 array of shape (n_factors,)
        Root mean square daily move, floored, in the factor's return unit.
    correlation : float64 array of shape (n_factors, n_factors)
        Shrunk towards the identity by 5 %, so that it can be inverted.
    """

    column: dict[str, int]
    volatility: Float64Array
    correlation: Float64Array

    def __post_init__(self) -> None:
        freeze(self.volatility, self.correlation)

    def distance(self, moves: Mapping[str, float], days: int) -> float:
        """Mahalanobis distance D = sqrt(x' (days * Sigma)^-1 x) over the factors named.

        Factors outside the market do not count; 0 where none is left. Worked number: one factor
        with a daily volatility of 1 % that moves by 8 % in 4 days has D = 4.
        """
        rows, score = self._scores(moves)
        if not len(rows):
            return 0.0
        block = self.correlation[np.ix_(rows, rows)]
        return math.sqrt(max(0.0, float(score @ np.linalg.solve(block, score))) / days)

    def conditional_mean(self, moves: Mapping[str, float]) -> dict[str, float]:
        """Moves of all factors not named: x_u = C_uo C_oo^-1 x_o (Breuer et al., 2009).

        With them the distance of the whole market is that of the named factors alone: they add
        nothing that the named moves do not explain. Worked number: volatilities 1 % and 2 %,
        correlation 0.5, first moves -4 %: the second moves 0.5 * 2 / 1 * -4 % = -4 %.
        """
        rows, score = self._scores(moves)
        if not len(rows):
            return {}
        weights = np.linalg.solve(self.correlation[np.ix_(rows, rows)], score)
        expected = self.volatility * (self.correlation[:, rows] @ weights)
        named = set(rows.tolist())
        return {name: float(expected[k]) for name, k in self.column.items() if k not in named}

    def _scores(self, moves: Mapping[str, float]) -> tuple[Int64Array, Float64Array]:
        """Columns of the named factors the market has, and their moves over volatility."""
        found = [(self.column[name], move) for name, move in moves.items() if name in self.column]
        rows = np.array([row for row, _ in found], dtype=np.int64)
        sizes = np.array([move for _, move in found], dtype=np.float64)
        return rows, sizes / self.volatility[rows]


def joint_moves(market: MarketState, lookback_days: int) -> JointMoves:
    """Estimate volatility over the whole history and correlation over `lookback_days`."""
    matrix = correlation(market, lookback_days)
    shrunk = (1.0 - SHRINKAGE) * matrix + SHRINKAGE * np.eye(len(matrix))
    return JointMoves(market.index(), long_run_volatility(market), shrunk)


def tail_probability(distance: float, factors: int) -> float:
    """Chance that k normals are at least so far out: the tail of chi-square with k degrees."""
    return float(chi2.sf(distance * distance, factors)) if factors else 1.0


def implied_crosses(moves: Mapping[str, float], factors: FactorTable) -> dict[str, float]:
    """Moves of currency pairs that follow from the named ones without any estimate.

    ln(A/C) = ln(A/B) + ln(B/C). A pair is the six letters of its id; only pairs whose two
    currencies are connected by named pairs are returned, the named ones not among them. Named
    pairs that contradict each other count in their order. Worked number: EURUSD -0.01 and
    EURCHF -0.14 imply USDCHF -0.13.
    """
    pairs = [str(name) for name in factors.factor_id[factors.asset_class == "fx"]]
    value = _currency_values({p: moves[p] for p in pairs if p in moves})
    return {
        pair: value[pair[:3]][1] - value[pair[3:]][1]
        for pair in pairs
        if pair not in moves
        and pair[:3] in value
        and pair[3:] in value
        and value[pair[:3]][0] == value[pair[3:]][0]
    }


def _currency_values(named: Mapping[str, float]) -> dict[str, tuple[str, float]]:
    """Group and log value of each currency of the named pairs; groups are not comparable."""
    value: dict[str, tuple[str, float]] = {}
    for pair, move in named.items():
        base, quote = pair[:3], pair[3:]
        if quote not in value:
            value[quote] = (quote, 0.0) if base not in value else _shift(value[base], -move)
        if base not in value:
            value[base] = _shift(value[quote], move)
        group, offset = value[base][0], value[quote][1] + move - value[base][1]
        if group != value[quote][0]:
            value.update(
                {
                    name: (value[quote][0], level + offset)
                    for name, (member, level) in value.items()
                    if member == group
                }
            )
    return value


def _shift(known: tuple[str, float], move: float) -> tuple[str, float]:
    return known[0], known[1] + move
