"""What a reverse stress test found: scenarios, how plausible they are, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array
from engine.domain.failures import Failure
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario
from engine.stress.reverse.plausibility import Plausibility

SHOWN_FACTORS = 8
SHOWN_AGREEMENTS = 8


@dataclass(frozen=True)
class FactorMove:
    """One factor's move in market units.

    `move` is in return units, `sigmas` over the standard deviation of the horizon, `change` in
    `change_unit`: per cent of the level (log factors), bp (levels in per cent), or the
    factor's own unit.
    """

    factor_id: str
    move: float
    sigmas: float
    level_before: float
    level_after: float
    change: float
    change_unit: str

    def text(self) -> str:
        """Return the change as people write it, for example `SPX -21.3 %`."""
        return f"{self.factor_id} {self.change:+.3g} {self.change_unit}"


@dataclass(frozen=True)
class AgreementCall:
    """What one agreement calls under a move, USD."""

    agreement_id: str
    variation_usd: float
    im_rise_usd: float
    im_rise_full_usd: float | None

    @property
    def total_usd(self) -> float:
        """Variation margin and rise of initial margin, by the full engine where it was asked."""
        full = self.im_rise_full_usd
        return self.variation_usd + (self.im_rise_usd if full is None else full)


@dataclass(frozen=True)
class ReverseAnswer:
    """One move that reaches the target.

    Attributes
    ----------
    scenario : Scenario
        The move of every factor of the market.
    plausibility : Plausibility
    optimum : bool
        Whether no nearer move of its kind does (`engine.stress.reverse.polish`).
    metric_usd : float
        The target metric, IM by the fast measure.
    metric_full_usd : float or None
        The same, IM by the full margin engine on the moved market; None where not asked.
    distance_full : float or None
        Distance at which the same direction meets the target by the full engine, interpolated
        (`engine.stress.reverse.full_check`); None where it does not, or was not asked.
    verified_usd : float or None
        The metric by the caller's own verification.
    parts : dict of str to float
        USD: `pnl`, `variation_calls`, `im_rise`, `im_rise_full`, `receipts`, `resources`.
    factors : tuple of FactorMove
        Largest first, in standard deviations.
    agreements : tuple of AgreementCall
        Largest first.
    """

    scenario: Scenario
    plausibility: Plausibility
    optimum: bool
    metric_usd: float
    metric_full_usd: float | None
    distance_full: float | None
    verified_usd: float | None
    parts: dict[str, float]
    factors: tuple[FactorMove, ...]
    agreements: tuple[AgreementCall, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready object with the largest factors and agreements."""
        own = ("optimum", "metric_usd", "metric_full_usd", "distance_full", "verified_usd", "parts")
        return {
            "scenario_id": self.scenario.scenario_id,
            "plausibility": self.plausibility.to_dict(),
            **{name: getattr(self, name) for name in own},
            "factors": [dict(vars(f)) for f in self.factors[:SHOWN_FACTORS]],
            "agreements": [
                {**vars(a), "total_usd": a.total_usd} for a in self.agreements[:SHOWN_AGREEMENTS]
            ],
        }


@dataclass(frozen=True)
class ReverseResult:
    """Answers of a reverse stress test, most plausible first.

    Attributes
    ----------
    feasible : bool
        False: no move inside the box was found that reaches the target, and `answers` is empty.
    already_reached : bool
        The target is met without any move; there is nothing to search.
    metric_today_usd, target_usd : float
    answers : tuple of ReverseAnswer
    largest : ReverseAnswer or None
        Where not feasible: the move with the largest metric found inside the box. It does not
        reach the target.
    opening : dict of str to float
        Resources of today, USD.
    searched_factors : tuple of str
    best_by_generation : float64 array of shape (n,)
        Least distance in the main search; NaN while none reached the target.
    evaluations : int
        Moves under which the fund was revalued, in all searches.
    worst_episode : tuple of str and float, or None
    config : dict
    failures : tuple of Failure
    """

    feasible: bool
    already_reached: bool
    metric_today_usd: float
    target_usd: float
    answers: tuple[ReverseAnswer, ...]
    largest: ReverseAnswer | None
    opening: dict[str, float]
    searched_factors: tuple[str, ...]
    best_by_generation: Float64Array
    evaluations: int
    worst_episode: tuple[str, float] | None
    config: dict[str, Any]
    failures: tuple[Failure, ...]

    def scenarios(self) -> tuple[Scenario, ...]:
        """Return the answers as scenarios."""
        return tuple(answer.scenario for answer in self.answers)

    def summary(self) -> dict[str, Any]:
        """Return the verdict and the nearest answer."""
        return {
            "target_metric": self.config["target_metric"],
            "feasible": self.feasible,
            "already_reached": self.already_reached,
            "metric_today_usd": self.metric_today_usd,
            "target_usd": self.target_usd,
            "answers": len(self.answers),
            "nearest": self.answers[0].to_dict() if self.answers else None,
            "largest_metric_usd": None if self.largest is None else self.largest.metric_usd,
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the full JSON object of `mca reverse --json`."""
        known = np.isfinite(self.best_by_generation)
        worst = self.worst_episode
        return {
            **{k: v for k, v in self.summary().items() if k not in ("answers", "nearest")},
            "answers": [answer.to_dict() for answer in self.answers],
            "largest": None if self.largest is None else self.largest.to_dict(),
            "opening_usd": self.opening,
            "searched_factors": list(self.searched_factors),
            "generations": len(self.best_by_generation),
            "distance_by_generation": [
                float(d) if ok else None for d, ok in zip(self.best_by_generation, known,
                                                          strict=True)
            ],
            "evaluations": self.evaluations,
            "worst_episode": None if worst is None else {"id": worst[0], "distance": worst[1]},
            "config": self.config,
            "failures": [failure.to_dict() for failure in self.failures],
        }  # fmt: skip

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `reverse_answers`, `reverse_moves`, `reverse_calls`, `reverse_generations`."""
        shown = self.answers or (() if self.largest is None else (self.largest,))
        names = [answer.scenario.scenario_id for answer in shown]
        pairs = list(zip(names, shown, strict=True))
        generations = pd.DataFrame({"distance": self.best_by_generation})
        generations.index.name = "generation"
        return {
            "reverse_answers": pd.DataFrame([_row(name, answer) for name, answer in pairs]),
            "reverse_moves": pd.DataFrame(
                [{"scenario_id": n, **vars(f)} for n, answer in pairs for f in answer.factors]
            ),
            "reverse_calls": pd.DataFrame(
                [{"scenario_id": n, **vars(a), "total_usd": a.total_usd}
                 for n, answer in pairs for a in answer.agreements]
            ),
            "reverse_generations": generations.reset_index(),
        }  # fmt: skip


def _row(name: str, answer: ReverseAnswer) -> dict[str, Any]:
    own = ("optimum", "metric_usd", "metric_full_usd", "distance_full", "verified_usd")
    return {
        "scenario_id": name,
        **answer.plausibility.to_dict(),
        **{key: getattr(answer, key) for key in own},
        **{f"{key}_usd": value for key, value in answer.parts.items()},
    }


def factor_moves(
    market: MarketState, move: Float64Array, deviation: Float64Array
) -> tuple[FactorMove, ...]:
    """Describe the move of every factor, the largest in standard deviations first.

    Parameters
    ----------
    move, deviation : float64 arrays of shape (n_factors,)
        Return units; `deviation` is above zero.
    """
    factors = market.factors
    sigmas = move / deviation
    return tuple(
        _factor_move(
            str(factors.factor_id[k]), str(factors.return_type[k]), str(factors.unit[k]),
            float(move[k]), float(sigmas[k]), float(market.level[k]),
        )
        for k in np.argsort(-np.abs(sigmas), kind="stable")
    )  # fmt: skip


def _factor_move(
    name: str, return_type: str, unit: str, move: float, sigmas: float, level: float
) -> FactorMove:
    if return_type == "log":
        after = level * float(np.exp(move))
        change, change_unit = 100.0 * float(np.expm1(move)), "%"
    else:
        after = level + move
        in_bp = unit == "per cent"
        change, change_unit = (100.0 * move, "bp") if in_bp else (move, unit)
    return FactorMove(name, move, sigmas, level, after, change, change_unit)


def agreement_calls(
    names: Sequence[object],
    variation: Float64Array,
    im_rise: Float64Array,
    im_rise_full: Float64Array | None,
) -> tuple[AgreementCall, ...]:
    """Return the agreements that call anything, largest first; arrays (n_agreements,) in USD."""
    calls = [
        AgreementCall(
            str(name), float(variation[a]), float(im_rise[a]),
            None if im_rise_full is None else float(im_rise_full[a]),
        )
        for a, name in enumerate(names)
    ]  # fmt: skip
    calling = [call for call in calls if call.total_usd > 0.0]
    return tuple(sorted(calling, key=lambda call: -call.total_usd))
