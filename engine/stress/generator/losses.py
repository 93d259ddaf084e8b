"""What scenarios cost the fund: full revaluation of net positions, by agreement and manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.failures import Failure, FailureReason
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario
from engine.margin.exposure import Exposures, unit_pnl


@dataclass(frozen=True)
class ScenarioLosses:
    """Mean P&L of scenarios: every instrument revalued at the end of the mean path.

    Attributes
    ----------
    exposures : Exposures
    pair_pnl_usd : float64 array of shape (n_pairs, n_scenarios)
        P&L of one manager under one agreement. No NaN.
    failures : tuple of Failure
        Instruments that a scenario takes out of range; they count as unmoved there.
    """

    exposures: Exposures
    pair_pnl_usd: Float64Array
    failures: tuple[Failure, ...] = ()

    @cached_property
    def agreement_manager_usd(self) -> Float64Array:
        """P&L by agreement, manager and scenario, shape (n_agreements, n_managers, S)."""
        book = self.exposures.book
        shape = (len(book.agreements), len(book.managers.manager_id), self.pair_pnl_usd.shape[1])
        out = np.zeros(shape)
        out[self.exposures.pair_agreement, self.exposures.pair_manager] = self.pair_pnl_usd
        return out

    @property
    def total_usd(self) -> Float64Array:
        """P&L of the fund, shape (n_scenarios,)."""
        return np.asarray(self.pair_pnl_usd.sum(axis=0))

    @property
    def calls_usd(self) -> Float64Array:
        """Losses to pay, (n_scenarios,): of each agreement its net loss, gains elsewhere unused."""
        by_agreement = self.agreement_manager_usd.sum(axis=1)
        return np.asarray(np.maximum(0.0, -by_agreement).sum(axis=0))

    @property
    def manager_usd(self) -> Float64Array:
        """P&L by manager, shape (n_managers, n_scenarios)."""
        return np.asarray(self.agreement_manager_usd.sum(axis=0))


def moves_matrix(scenarios: Sequence[Mapping[str, float]], market: MarketState) -> Float64Array:
    """Return total moves, shape (n_scenarios, n_factors); unnamed factors do not move."""
    column = market.index()
    out = np.zeros((len(scenarios), len(column)))
    for row, moves in enumerate(scenarios):
        for name, move in moves.items():
            out[row, column[name]] = move
    return out


def scenario_losses(exposures: Exposures, scenarios: Sequence[Scenario]) -> ScenarioLosses:
    """Revalue the book in each scenario.

    Worked number: 10 shares at 100 in a scenario of -0.2 (log) lose
    1000 * (1 - exp(-0.2)) = 181.26924692 USD.
    """
    moves = moves_matrix([s.moves for s in scenarios], exposures.market)
    every = np.arange(len(exposures.instruments))
    unit = unit_pnl(exposures, every, moves)
    bad = np.isnan(unit).any(axis=1)
    failures = []
    for row in np.flatnonzero(bad).tolist():
        # The row as a whole is NaN if one scenario fails: revalue them one by one.
        for s in range(len(scenarios)):
            unit[row, s] = unit_pnl(exposures, every[row : row + 1], moves[s : s + 1])[0, 0]
            if np.isnan(unit[row, s]):
                failures.append(_out_of_range(exposures, row, scenarios[s].scenario_id))
    pair = np.asarray(exposures.quantity_usd @ np.nan_to_num(unit, nan=0.0))
    pair[:, ~np.any(moves != 0.0, axis=1)] = 0.0  # revaluation alone leaves rounding
    return ScenarioLosses(exposures, pair, tuple(failures))


def _out_of_range(exposures: Exposures, row: int, scenario_id: str) -> Failure:
    name = str(exposures.instruments.instrument_id[row])
    factor = str(exposures.instruments.factor_id[row])
    return Failure(
        FailureReason.CALCULATION_FAILED,
        name,
        f"scenario {scenario_id}",
        f"the move of {factor} takes it out of range (a yield below -100 % or an infinite level); "
        "it counts as unmoved there: lessen the move or check the factor's return_type",
    )
