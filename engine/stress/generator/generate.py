"""All stress scenarios of a fund: historical, hypothetical, volatility, correlation, and so on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.book import Book
from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario, Severity
from engine.margin.exposure import net_positions
from engine.margin.model_changes.registry import ModelChange, load_changes
from engine.stress.generator.config import SEVERITIES, ScenarioConfig
from engine.stress.generator.hypothetical import (
    HYPOTHETICAL_FILE,
    hypothetical_scenario,
    hypotheticals,
)
from engine.stress.generator.losses import scenario_losses
from engine.stress.generator.result import ScenarioEntry, ScenarioSet
from engine.stress.library.episodes import EpisodeRow
from engine.stress.library.fit import BROAD_FACTORS, FittedEpisode, as_scenarios
from engine.stress.library.joint_moves import JointMoves, joint_moves, tail_probability

__all__ = ["SEVERITIES", "ScenarioConfig", "generate_stress_scenarios"]


@dataclass(frozen=True)
class _Draft:
    """A scenario before it is measured."""

    scenario: Scenario
    named: dict[str, float]
    basis: dict[str, str]
    dimension: int
    facts: tuple[EpisodeRow, ...] = ()


@dataclass(frozen=True)
class _Scale:
    """What the library says about sizes: sorted turbulence, and sizes by severity."""

    turbulence: tuple[float, ...]
    distances: dict[Severity, float]
    volatility: dict[Severity, float]

    def severity(self, turbulence: float) -> Severity:
        """The highest level reached; what is below all is moderate."""
        reached = [name for name in SEVERITIES if turbulence >= self.distances[name]]
        return reached[-1] if reached else "moderate"


def generate_stress_scenarios(
    book: Book | None,
    market: MarketState,
    config: ScenarioConfig | None = None,
    own: Sequence[Scenario] = (),
) -> ScenarioSet:
    """Make the scenarios asked for, measure how plausible they are and what they cost the fund.

    Parameters
    ----------
    book : Book or None
        None leaves out what the scenarios cost.
    market : MarketState
    config : ScenarioConfig, optional
    own : sequence of Scenario
        The user's; they come last and take the place of a generated one with their id. Their moves
        must be of factors of the market (`engine.stress.scenario_files.toml` checks that).

    Returns
    -------
    ScenarioSet
        P&L and calls in USD by full revaluation at the end of the mean path, for positions of
        today. What could not be made or revalued is in `failures`.
    """
    config = config or ScenarioConfig()
    joint = joint_moves(market, config.library.correlation_lookback_days)
    library = as_scenarios(market, config.library, joint)
    scale = _scale(library.value, joint, config)
    failures: list[Failure] = []
    drafts: list[_Draft] = []
    if config.include_historical_events:
        failures += library.failures
        drafts += [_historical(fitted, joint, scale) for fitted in library.value]
    drafts += _directed(market, joint, scale, config, failures)
    drafts += [_volatility(step) for step in config.volatility_shock_magnitudes]
    if config.include_model_changes:
        drafts += [_model_change(c) for c in load_changes() if _is_ahead(c, market)]
    drafts = [d for d in drafts if d.scenario.severity in (None, *config.severity_levels)]
    replaced = {scenario.scenario_id for scenario in own}
    drafts = [d for d in drafts if d.scenario.scenario_id not in replaced]
    drafts += [_own(scenario) for scenario in own]
    return _measured(drafts, book, market, joint, scale, failures)


def _scale(fitted: Sequence[FittedEpisode], joint: JointMoves, config: ScenarioConfig) -> _Scale:
    """Read the sizes of the severities off the library."""
    known = {f.episode.episode_id: _turbulence(f, joint) for f in fitted}
    broad = [f for f in fitted if len(f.named) >= BROAD_FACTORS]
    # A market with few factors of the library has no broad episode: all of them serve then.
    used = broad or list(fitted)
    sizes = [known[f.episode.episode_id] for f in used]
    steps = [max(1.0, r) for f in used if not math.isnan(r := f.episode.volatility_ratio)]
    quantiles = config.severity_quantiles
    return _Scale(
        tuple(sorted(known.values())),
        {s: float(np.quantile(sizes, q)) if sizes else math.nan for s, q in quantiles.items()},
        {s: float(np.quantile(steps, q)) if steps else 1.0 for s, q in quantiles.items()},
    )


def _turbulence(fitted: FittedEpisode, joint: JointMoves) -> float:
    distance = joint.distance(fitted.named, fitted.scenario.days)
    return distance / math.sqrt(len(fitted.named))


def _historical(fitted: FittedEpisode, joint: JointMoves, scale: _Scale) -> _Draft:
    severity = scale.severity(_turbulence(fitted, joint))
    scenario = fitted.scenario.model_copy(update={"severity": severity})
    basis = {name: fitted.basis(name) for name in scenario.moves}
    return _Draft(scenario, fitted.named, basis, len(fitted.named), fitted.episode.facts)


def _directed(
    market: MarketState,
    joint: JointMoves,
    scale: _Scale,
    config: ScenarioConfig,
    failures: list[Failure],
) -> list[_Draft]:
    """Scenarios of the rulebook's directions at every level wanted."""
    wanted = {
        "hypothetical": config.include_hypothetical_scenarios,
        "correlation": config.correlation_breakdown_effects,
        "concentration": config.include_concentration,
    }
    drafts = []
    for direction in hypotheticals():
        if not wanted[direction.kind]:
            continue
        for severity in config.severity_levels:
            step = 1.0 if direction.kind == "concentration" else scale.volatility[severity]
            try:
                scenario, named = hypothetical_scenario(
                    direction, severity, _size(scale, severity), step, market, joint,
                    config.library.complete_factors,
                )  # fmt: skip
            except InputError as error:
                where, name = HYPOTHETICAL_FILE.name, direction.hypothetical_id
                failures.append(Failure(FailureReason.NOT_APPLICABLE, name, where, str(error)))
                break
            basis = {n: "named" if n in named else "conditional mean" for n in scenario.moves}
            drafts.append(_Draft(scenario, named, basis, 1))
    return drafts


def _size(scale: _Scale, severity: Severity) -> float:
    size = scale.distances[severity]
    if math.isnan(size):
        raise InputError(
            "the market has no factor of any episode, so severities have no size; add one of them"
        )
    return size


def _volatility(step: float) -> _Draft:
    name = f"{step:g}".replace(".", "_")
    scenario = Scenario(
        scenario_id=f"volatility_{name}x",
        name=f"Volatility {step:g} times today's",
        kind="volatility",
        description="no mean move; margins and random moves follow",
        volatility_multiplier=step,
        mark="indicative",
        sources=("a multiple, by definition",),
    )
    return _Draft(scenario, {}, {}, 0)


def _is_ahead(change: ModelChange, market: MarketState) -> bool:
    """Whether a change can be computed and is not yet in force."""
    day = change.effective_cob
    return change.has_parameters and (day is None or day > market.as_of)


def _model_change(change: ModelChange) -> _Draft:
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in change.change_id.lower())
    scenario = Scenario(
        scenario_id=f"model_change_{name}"[:80],
        name=change.title,
        kind="model_change",
        description=f"{change.change_id} in force today",
        model_changes=(change.change_id,),
        mark=change.mark,
        sources=(change.source,) if change.source else (),
    )
    return _Draft(scenario, {}, {}, 0)


def _own(scenario: Scenario) -> _Draft:
    named = dict(scenario.moves)
    return _Draft(scenario, named, dict.fromkeys(named, "named"), len(named))


def _measured(
    drafts: Sequence[_Draft],
    book: Book | None,
    market: MarketState,
    joint: JointMoves,
    scale: _Scale,
    failures: list[Failure],
) -> ScenarioSet:
    losses = None
    pnl = calls = np.full(len(drafts), math.nan)
    if book is not None:
        losses = scenario_losses(net_positions(book, market), [d.scenario for d in drafts])
        pnl, calls = losses.total_usd, losses.calls_usd
        failures = [*failures, *losses.exposures.failures, *losses.failures]
    entries = []
    for row, draft in enumerate(drafts):
        moved = draft.dimension > 0 and bool(draft.named)
        distance = joint.distance(draft.named, draft.scenario.days) if moved else math.nan
        entry = ScenarioEntry(
            scenario=draft.scenario,
            named=tuple(draft.named),
            basis=draft.basis,
            dimension=draft.dimension if moved else 0,
            distance=distance,
            tail_probability=tail_probability(distance, draft.dimension) if moved else math.nan,
            share_of_worst=math.nan,
            library_rank=math.nan,
            pnl_usd=float(pnl[row]),
            calls_usd=float(calls[row]),
            facts=draft.facts,
        )
        entries.append(_ranked(entry, scale) if moved and scale.turbulence else entry)
    return ScenarioSet(
        as_of=market.as_of.isoformat(),
        entries=tuple(entries),
        severity_distances={str(k): v for k, v in scale.distances.items()},
        severity_volatility={str(k): v for k, v in scale.volatility.items()},
        losses=losses,
        failures=tuple(failures),
    )


def _ranked(entry: ScenarioEntry, scale: _Scale) -> ScenarioEntry:
    below = np.searchsorted(scale.turbulence, entry.turbulence, side="left")
    return replace(
        entry,
        share_of_worst=entry.turbulence / scale.turbulence[-1],
        library_rank=float(below) / len(scale.turbulence),
    )
