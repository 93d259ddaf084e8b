"""Crowding that gives an episode its known share of forced selling."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from engine.avalanche.columns import metric
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund
from engine.avalanche.runs import without_impact
from engine.domain.failures import InputError
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model
from engine.market.volatility import daily_volatility
from engine.stress.replay.days import Days

LARGEST_CROWDING = 100.0
MOST_VOLATILITY_STEP = 20.0
NO_FADING_DAYS = 1e6
STEPS = 30


def exogenous_scenario(days: Days, factor_id: str, last: date, share: float = 0.5) -> Scenario:
    """Return what a factor would have done without forced sales, as a scenario.

    The move from the first close of `days` to `last` times `share`, with the real shares of the
    days. Volatility steps up to the root mean square of these daily moves over the factor's daily
    volatility of the first close, at least 1, and does not fade: impact is in units of the
    volatility of the crisis.

    Parameters
    ----------
    days : Days
    factor_id : str
    last : date
        A close of `days` after the first.
    share : float
        Exogenous part of the move, above 0 and at most 1.

    Notes
    -----
    Worked number: moves of 27, 48 and 45 bp at a share of one half have a root mean square of
    20.6 bp; with a daily volatility of 5 bp the step is 4.1.
    """
    if last not in days.dates[1:]:
        raise InputError(f"{last} is no close of the episode after its first; choose one of them")
    market = days.markets[0]
    k = market.index()[factor_id]
    moves = share * days.moves[: days.dates.index(last), k]
    total = float(moves.sum())
    shares = [float(move) / total for move in moves]
    shares[-1] = 1.0 - sum(shares[:-1])
    step = float(np.sqrt(np.mean(moves**2)) / daily_volatility(market)[k])
    return Scenario(
        scenario_id=f"exogenous_{factor_id.lower()}",
        name=f"{factor_id} to {last}, {share:.0%} of its move",
        moves={factor_id: total},
        day_shares=tuple(shares),
        volatility_multiplier=min(max(step, 1.0), MOST_VOLATILITY_STEP),
        volatility_half_life_days=NO_FADING_DAYS,
        mark="indicative",
    )


@dataclass(frozen=True)
class CrowdingFit:
    """Crowding theta at which calls caused by sales are the share `branching` of all calls.

    `branching` n = 1 - calls without feedback / calls with it; `amplification` 1 / (1 - n).
    `calls_usd` and `calls_without_feedback_usd` are totals of the run; `held_share` is the least
    share of a bucket left at the end.
    """

    crowding: float
    branching: float
    calls_usd: float
    calls_without_feedback_usd: float
    held_share: float

    @property
    def amplification(self) -> float:
        """Calls over calls without feedback."""
        return self.calls_usd / self.calls_without_feedback_usd

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as JSON."""
        return {
            "crowding": self.crowding,
            "branching": self.branching,
            "amplification": self.amplification,
            "calls_usd": self.calls_usd,
            "calls_without_feedback_usd": self.calls_without_feedback_usd,
            "held_share": self.held_share,
        }


def branching_at(
    fund: PreparedFund, scenario: Scenario, config: AvalancheConfig, crowding: float
) -> CrowdingFit:
    """Measure the branching ratio of a fund on the scenario's mean path at one crowding."""
    settings = config.model_copy(update={"noise": False, "crowding": crowding})
    model = fund.model(settings, scenario)
    total, left = _calls(model, settings.seed)
    alone, _ = _calls(without_impact(model), settings.seed)
    if alone <= 0.0:
        raise InputError(
            f"scenario {scenario.scenario_id!r} causes no calls: it moves nothing the fund holds"
        )
    return CrowdingFit(crowding, 1.0 - alone / total, total, alone, left)


def fit_crowding(
    fund: PreparedFund, scenario: Scenario, config: AvalancheConfig, target: float = 0.5
) -> CrowdingFit:
    """Find the crowding theta with branching ratio n = `target` on the scenario's mean path.

    Bisection between 0 and 100 others for each unit the fund sells. The gilt market of September
    2022 is the reason to ask: forced selling made about half of the fall (Bank of England SWP
    1089), n = 0.5.

    Parameters
    ----------
    fund : PreparedFund
    scenario : Scenario
        The exogenous move: what prices would have done without forced sales.
    config : AvalancheConfig
    target : float
        Between 0 and 1.

    Raises
    ------
    InputError
        If even `LARGEST_CROWDING` gives less, or no crowding at all already gives more.
    """
    low, high = 0.0, LARGEST_CROWDING
    least, most = (branching_at(fund, scenario, config, theta) for theta in (low, high))
    if not least.branching <= target <= most.branching:
        raise InputError(
            f"a branching ratio of {target:g} is out of reach: it is {least.branching:.3f} without "
            f"crowding and {most.branching:.3f} at {LARGEST_CROWDING:g}; change the shock or the "
            "fund's resources"
        )
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        below = branching_at(fund, scenario, config, middle).branching < target
        low, high = (middle, high) if below else (low, middle)
    return branching_at(fund, scenario, config, 0.5 * (low + high))


def _calls(model: Model, seed: int) -> tuple[float, float]:
    from engine.kernels.avalanche.compiled import run_paths

    output = run_paths(model, 1, seed)
    return float(metric(output, "calls_total")[0]) / CENTS_PER_UNIT, float(np.min(output.left))
