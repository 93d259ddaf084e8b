"""Which managers together strain liquidity most, and in which scenario: a ranked search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.domain.agreements import REACTIVE_MODELS
from engine.domain.arrays import BoolArray, Float64Array, StrArray
from engine.domain.book import Book
from engine.domain.failures import Failure, InputError
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.required import MarginEngine
from engine.stress.combinations.reprice import (
    Repriced,
    class_weights,
    reprice_strain,
    scenario_scale,
)
from engine.stress.combinations.result import Combination, CombinationResult
from engine.stress.generator.losses import ScenarioLosses, scenario_losses


class CombinationConfig(BaseModel):
    """Choices of the search; unknown keys are refused.

    Attributes
    ----------
    largest_subset : int
        Subsets of 1 to so many managers are searched, all of them.
    ranked : int
        Combinations kept for each size of subset.
    repriced : int
        Of each size above one, so many of the best are priced again with the margin engine on the
        moved market.
    margin : MarginConfig
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    largest_subset: Annotated[int, Field(ge=1, le=4)] = 3
    ranked: Annotated[int, Field(ge=1, le=1000)] = 10
    repriced: Annotated[int, Field(ge=0, le=100)] = 2
    margin: MarginConfig = MarginConfig()


def rank_combinations(
    book: Book,
    market: MarketState,
    scenarios: Sequence[Scenario],
    config: CombinationConfig | None = None,
) -> CombinationResult:
    """Search every subset of managers in every scenario and rank by liquidity strain.

    strain(M, s) = sum over agreements of max(0, -P&L of M) + max(0, rise of margin of M)

    P&L is by full revaluation, netted between the managers of a subset inside an agreement; a gain
    under one agreement does not pay the call of another. The fast rise of margin is the manager's
    share of today's margin times the reaction of its agreement to the scenario's volatility
    (`combinations_reprice.scenario_scale`); other margin does not rise. The best are priced
    again with the margin engine on the moved market: positions of the subset alone, with add-ons.

    Parameters
    ----------
    book, market
    scenarios : sequence of Scenario
        With and without moves; ids unique.
    config : CombinationConfig, optional

    Raises
    ------
    InputError
        If there is no scenario.
    """
    config = config or CombinationConfig()
    if not scenarios:
        raise InputError("no scenario to combine managers with; give at least one")
    exposures = net_positions(book, market)
    engine = MarginEngine(exposures, config.margin)
    losses = scenario_losses(exposures, scenarios)
    rise = margin_rise_by_manager(engine, scenarios)
    active = _active(losses, rise)
    pnl = losses.agreement_manager_usd[:, active]
    own = rise[active]
    names = book.managers.manager_id.astype(str)[active]
    search = _Search(scenarios, names, own, strain_by_subset(pnl, own, 1)[0])
    found: list[Combination] = []
    by_scenario: list[Combination] = []
    searched = 0
    for size in range(1, min(config.largest_subset, len(names)) + 1):
        strain, subsets = strain_by_subset(pnl, own, size)
        searched += strain.size
        worst = strain.argmax(axis=1)
        peak = strain[np.arange(len(subsets)), worst]
        best = np.argsort(-peak, kind="stable")[: config.ranked]
        found += [search.combination(subsets[i], int(worst[i]), peak[i]) for i in best]
        top = strain.argmax(axis=0)
        by_scenario = [
            search.combination(subsets[i], s, strain[i, s]) for s, i in enumerate(top.tolist())
        ]
    found, failures = _repriced(found, engine, scenarios, config)
    everyone = np.asarray(losses.manager_usd)
    return CombinationResult(
        ranked=tuple(found),
        by_scenario=tuple(sorted(by_scenario, key=lambda one: -one.strain_usd)),
        searched=searched,
        managers=tuple(book.managers.manager_id.astype(str)),
        loss_correlation=_correlation(everyone),
        failures=(*engine.failures, *losses.failures, *failures),
    )


def strain_by_subset(
    pnl_usd: Float64Array, rise_usd: Float64Array, size: int
) -> tuple[Float64Array, list[tuple[int, ...]]]:
    """Strain of every subset of `size` managers in every scenario.

    Parameters
    ----------
    pnl_usd : float64 array of shape (n_agreements, n_managers, n_scenarios)
    rise_usd : float64 array of shape (n_managers, n_scenarios)
        Rise of margin of each manager.
    size : int
        1 or more.

    Returns
    -------
    float64 array of shape (n_subsets, n_scenarios)
    list of tuple of int
        Managers of each subset, in the order of `itertools.combinations`.

    Notes
    -----
    Worked number: two managers with -3 and +2 under one agreement need 1 together, 3 + 0 alone.
    The last manager of a subset is taken in one vectorised step, so that the cost is that of
    adding arrays.
    """
    count = pnl_usd.shape[1]
    by_manager = np.ascontiguousarray(np.moveaxis(pnl_usd, 1, 0))
    blocks, subsets = [], []
    for head in combinations(range(count), size - 1):
        first = head[-1] + 1 if head else 0
        if first >= count:
            continue
        rows = list(head)
        base = by_manager[rows].sum(axis=0)
        together = by_manager[first:] + base
        np.minimum(together, 0.0, out=together)
        extra = rise_usd[rows].sum(axis=0)
        blocks.append(-together.sum(axis=1) + rise_usd[first:] + extra)
        subsets += [(*head, last) for last in range(first, count)]
    shape = (0, pnl_usd.shape[2])
    return (np.concatenate(blocks) if blocks else np.zeros(shape)), subsets


def margin_rise_by_manager(engine: MarginEngine, scenarios: Sequence[Scenario]) -> Float64Array:
    """Fast rise of margin, shape (n_managers, n_scenarios), USD, not below zero.

    share of a manager in the margin of an agreement * (scale - 1), where scale is the reaction of
    the agreement's filter to the scenario (`volatility_scale` over the scenario's days) and 1 for
    models that do not follow volatility. Worked number: a share of 10m under lambda 0.97 and
    volatility 5x for ten days rises by 10m * (2.702 - 1) = 17.0m.
    """
    exposures = engine.exposures
    agreements = exposures.book.agreements
    weights = class_weights(exposures)
    reacts: BoolArray = np.isin(agreements.model, REACTIVE_MODELS)
    decay = np.where(reacts, agreements.ewma_lambda, 1.0)
    share = engine.at().pair_im
    out = np.zeros((len(exposures.book.managers.manager_id), len(scenarios)))
    for s, scenario in enumerate(scenarios):
        scale = scenario_scale(weights, decay, scenario, exposures.market)
        rise = share * np.maximum(0.0, scale - 1.0)[exposures.pair_agreement]
        np.add.at(out[:, s], exposures.pair_manager, rise)
    return np.maximum(0.0, out)


def _active(losses: ScenarioLosses, rise: Float64Array) -> BoolArray:
    """Managers with any P&L or margin: the others add nothing to any subset."""
    moves = np.any(losses.manager_usd != 0.0, axis=1) | np.any(
        losses.agreement_manager_usd != 0.0, axis=(0, 2)
    )
    return np.asarray(moves | np.any(rise != 0.0, axis=1), dtype=np.bool_)


@dataclass(frozen=True)
class _Search:
    """What describes a combination: scenarios, names, rises of margin, strain of each alone."""

    scenarios: Sequence[Scenario]
    names: StrArray
    rise: Float64Array
    alone: Float64Array

    def combination(self, members: tuple[int, ...], s: int, strain: float) -> Combination:
        rows = list(members)
        margin_rise = float(self.rise[rows, s].sum())
        own_worst = float(self.alone[rows].max(axis=1).sum())
        return Combination(
            managers=tuple(str(self.names[m]) for m in members),
            scenario_id=self.scenarios[s].scenario_id,
            strain_usd=float(strain),
            loss_usd=float(strain) - margin_rise,
            margin_rise_usd=margin_rise,
            singles_usd=float(self.alone[rows, s].sum()),
            coincidence=float(strain) / own_worst if own_worst > 0.0 else math.nan,
        )


def _repriced(
    found: list[Combination],
    engine: MarginEngine,
    scenarios: Sequence[Scenario],
    config: CombinationConfig,
) -> tuple[list[Combination], list[Failure]]:
    """Price the best of each size above one again."""
    by_id = {scenario.scenario_id: scenario for scenario in scenarios}
    done: dict[tuple[tuple[str, ...], str], Repriced] = {}
    left = dict.fromkeys(range(2, config.largest_subset + 1), config.repriced)
    failures: list[Failure] = []
    out = []
    for one in found:
        size = len(one.managers)
        if left.get(size, 0) > 0:
            left[size] -= 1
            scenario = by_id[one.scenario_id]
            again = reprice_strain(engine, config.margin, one.managers, scenario, done, failures)
            one = Combination(**{**vars(one), "repriced": again})
        out.append(one)
    return out, failures


def _correlation(pnl: Float64Array) -> Float64Array:
    """Correlation of the rows of (n_managers, n_scenarios) about their means; NaN where flat."""
    centred = pnl - pnl.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.sum(centred**2, axis=1))
    scale = np.outer(norm, norm)
    out = np.full(scale.shape, np.nan)
    np.divide(centred @ centred.T, scale, out=out, where=scale > 0.0)
    return np.asarray(np.clip(out, -1.0, 1.0))
