"""Shock of the discount rate of each currency, for the model `cds`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.failures import Failure, FailureReason
from engine.margin.config import MarginConfig
from engine.margin.credit.rules import CreditRules
from engine.margin.exposure import Exposures
from engine.margin.historical import MIN_SCENARIOS, filtered_scenarios, value_at_risk
from engine.pricing.annuities import PER_CENT

RULEBOOK_DAYS = 5.0


@dataclass(frozen=True)
class RateShock:
    """Rate and its shock in per cent; `source` is the factor, or `rulebook` without history."""

    rate: float
    shock: float
    source: str


class RateShocks:
    """Shocks by currency, terms and confidence; moves are filtered once for each.

    A currency without a rate factor of sufficient history takes the rulebook's shock at a rate of
    zero, and says so in `failures`.
    """

    def __init__(self, exposures: Exposures, margin: MarginConfig, rules: CreditRules) -> None:
        self.exposures = exposures
        self.margin = margin
        self.rules = rules
        self.failures: list[Failure] = []
        self._moves: dict[tuple[str, float, int, int], Float64Array] = {}
        self._said: set[str] = set()

    def shock(self, currency: str, terms: tuple[float, int, int], confidence: float) -> RateShock:
        """Return the VaR of the absolute move of the currency's rate over the margin period.

        `terms` are (ewma_lambda, mpor_days, lookback_days). Not scaled by stress.
        """
        factor = self.rules.rate_factors.get(currency, "")
        column = self.exposures.market.index().get(factor, -1)
        key = (currency, *terms)
        if key not in self._moves:
            self._moves[key] = self._filtered(column, terms)
        moves = self._moves[key]
        if len(moves) < MIN_SCENARIOS:
            self._say(currency, factor, column)
            days = (terms[1] / RULEBOOK_DAYS) ** 0.5
            return RateShock(0.0, days * self.rules.rate_shock_bp / PER_CENT, "rulebook")
        size = float(value_at_risk(np.abs(moves), confidence))
        return RateShock(float(self.exposures.market.level[column]), size, factor)

    def _filtered(self, column: int, terms: tuple[float, int, int]) -> Float64Array:
        """Moves of a rate in per cent; empty if the market does not know enough of it."""
        market = self.exposures.market
        ewma_lambda, mpor_days, lookback_days = terms
        nothing = np.zeros(0)
        if column < 0:
            return nothing
        returns = market.returns[:, [column]]
        floor = market.factors.daily_vol_floor[[column]]
        known = returns[np.isfinite(returns)]
        if len(known) < mpor_days or not (floor[0] > 0.0 or known[: self.margin.seed_days].any()):
            return nothing
        moves = filtered_scenarios(
            returns,
            ewma_lambda,
            mpor_days,
            lookback_days,
            volatility_floor=floor,
            seed_days=self.margin.seed_days,
            mid_volatility=self.margin.mid_volatility,
            aggregation=self.margin.aggregation,
        )[:, 0]
        moves = moves[np.isfinite(moves)]
        if market.factors.return_type[column] == "log":
            moves = market.level[column] * np.expm1(moves)
        return np.asarray(moves, dtype=np.float64)

    def _say(self, currency: str, factor: str, column: int) -> None:
        if currency in self._said:
            return
        self._said.add(currency)
        if not factor:
            what = "no rate factor is named for it; name one in rate_factors of the cds choices"
        elif column < 0:
            what = f"the market has no factor {factor}; add it or name another in rate_factors"
        else:
            what = (
                f"factor {factor} gives fewer than {MIN_SCENARIOS} moves; lengthen its history or "
                "name another in rate_factors"
            )
        message = (
            f"{what}: its credit swaps are margined with the rulebook's rate shock of "
            f"{self.rules.rate_shock_bp:g} bp over five days at a rate of zero"
        )
        reason = FailureReason.MISSING_DATA
        self.failures.append(Failure(reason, currency, "interest-rate charge of cds", message))
