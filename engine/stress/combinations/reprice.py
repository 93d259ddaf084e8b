"""The reaction of margin to a scenario: a fast scale by agreement, and the engine itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.agreements import REACTIVE_MODELS
from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.failures import Failure
from engine.domain.market import ASSET_CLASSES, MarketState
from engine.domain.scenarios import Scenario
from engine.margin.config import MarginConfig
from engine.margin.exposure import Exposures, net_positions
from engine.margin.required import MarginEngine
from engine.margin.stress import volatility_scale
from engine.market.volatility import daily_volatility
from engine.pricing.greeks import factor_greeks
from engine.pricing.terms import is_log, moved_levels
from engine.stress.generator.losses import moves_matrix, scenario_losses


@dataclass(frozen=True)
class Repriced:
    """Strain priced with the margin engine on the moved market, USD.

    `margin_rise_usd` is the sum over agreements of what margin with add-ons rises by, falls
    counted as none. `singles_usd` is the same strain of each manager alone, summed.
    """

    loss_usd: float
    margin_rise_usd: float
    singles_usd: float

    @property
    def strain_usd(self) -> float:
        """Losses to pay and the rise of margin."""
        return self.loss_usd + self.margin_rise_usd

    def to_dict(self) -> dict[str, float]:
        """Return the amounts as JSON."""
        return {
            "strain_usd": self.strain_usd,
            "loss_usd": self.loss_usd,
            "margin_rise_usd": self.margin_rise_usd,
            "singles_usd": self.singles_usd,
            "interaction_usd": self.strain_usd - self.singles_usd,
        }


def class_weights(exposures: Exposures) -> Float64Array:
    """Share of each asset class in the risk of an agreement, shape (n_agreements, n_classes).

    Squares of delta times daily volatility, summed over the factors of a class; rows sum to 1, or
    to 0 where an agreement holds nothing. Correlation between factors is left out.
    """
    market, i = exposures.market, exposures.position_instrument
    greeks = factor_greeks(exposures.instruments, market)
    quantity = exposures.book.positions.quantity[exposures.position] * exposures.usd[i]
    delta = np.zeros((len(exposures.book.agreements), len(market.factors)))
    agreement = exposures.pair_agreement[exposures.position_pair]
    np.add.at(delta, (agreement, exposures.instruments.factor[i]), quantity * greeks.delta[i])
    risk = (delta * daily_volatility(market)) ** 2
    in_class = market.factors.asset_class[:, np.newaxis] == np.array(ASSET_CLASSES, dtype=object)
    weights = risk @ in_class.astype(np.float64)
    total = weights.sum(axis=1, keepdims=True)
    out: Float64Array = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0.0)
    return out


def scenario_scale(
    weights: Float64Array, decay: Float64Array, scenario: Scenario, market: MarketState
) -> Float64Array:
    """Volatility each agreement's margin sees over today's, shape (n_agreements,).

    The true step of an agreement is M = sqrt(sum over classes of weight * M_c^2), M_c the
    scenario's step of the class; the filter then follows over the scenario's days
    (`volatility_scale`). Worked number: half of the risk in equity at 3x, half in rates at 1x is
    M = sqrt(5) = 2.236068.
    """
    by_class = scenario.volatility_by_class
    steps = np.array([by_class.get(c, scenario.volatility_multiplier) for c in ASSET_CLASSES])
    held = weights.sum(axis=1) > 0.0
    step = np.where(held, np.sqrt(weights @ steps**2), 1.0)
    pairs = zip(decay, step, strict=True)
    return np.array([volatility_scale(float(d), float(m), scenario.days) for d, m in pairs])


def reprice_strain(
    engine: MarginEngine,
    config: MarginConfig,
    managers: Sequence[str],
    scenario: Scenario,
    done: dict[tuple[tuple[str, ...], str], Repriced],
    failures: list[Failure],
) -> Repriced:
    """Strain of a subset, and of its managers alone, with the margin engine.

    Margin with add-ons of the subset's positions, today and at the scenario's levels and
    volatility; reported margins keep today's ratio. `done` remembers managers alone.
    """
    singles = 0.0
    for name in managers:
        key = ((name,), scenario.scenario_id)
        if key not in done:
            loss, rise = _strain(engine, config, (name,), scenario, failures)
            done[key] = Repriced(loss, rise, loss + rise)
        singles += done[key].strain_usd
    loss, rise = _strain(engine, config, tuple(managers), scenario, failures)
    return Repriced(loss, rise, singles)


def _strain(
    engine: MarginEngine,
    config: MarginConfig,
    managers: tuple[str, ...],
    scenario: Scenario,
    failures: list[Failure],
) -> tuple[float, float]:
    """Losses to pay and rise of margin of the positions of some managers."""
    book = _of_managers(engine.exposures.book, managers)
    market = engine.exposures.market
    anchors = dict(zip(book.agreements.agreement_id, engine.anchors.ratio.tolist(), strict=True))
    today = net_positions(book, market)
    then = net_positions(book, moved_market(market, scenario))
    agreements = book.agreements
    reacts = np.isin(agreements.model, REACTIVE_MODELS)
    decay = np.where(reacts, agreements.ewma_lambda, 1.0)
    scale = scenario_scale(class_weights(today), decay, scenario, market)
    before = MarginEngine(today, config, anchors=anchors)
    after = MarginEngine(then, config, anchors=anchors)
    known = {failure.item for failure in (*engine.failures, *failures)}
    failures += [f for f in (*before.failures, *after.failures) if f.item not in known]
    change = _margin(after, scale) - _margin(before, None)
    change[before.failed | after.failed] = 0.0
    calls = scenario_losses(today, [scenario]).calls_usd
    return float(calls[0]), float(np.maximum(0.0, change).sum())


def _margin(engine: MarginEngine, scale: Float64Array | None) -> Float64Array:
    required = engine.at(scale)
    return np.asarray(required.im + sum(required.add_ons.values()))


def moved_market(market: MarketState, scenario: Scenario) -> MarketState:
    """The market at the end of the mean path; history and exchange rates stay today's."""
    moves = moves_matrix([scenario.moves], market)[0]
    return replace(market, level=moved_levels(market.level, is_log(market), moves))


def _of_managers(book: Book, managers: tuple[str, ...]) -> Book:
    wanted = np.isin(book.managers.manager_id.astype(str), managers)
    rows = np.flatnonzero(wanted[book.positions.manager])
    columns = {name: column[rows] for name, column in vars(book.positions).items()}
    return replace(book, positions=replace(book.positions, **columns))
