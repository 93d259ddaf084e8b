"""A fund made ready for simulation: what does not depend on the assumptions of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.exposures import Exposures, aggregate
from engine.avalanche.hours import pools
from engine.avalanche.market_inputs import MarketInputs, estimate_inputs, simulated_factors
from engine.avalanche.model import build_model
from engine.avalanche.terms import CURVE_MULTIPLES
from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model
from engine.margin.add_ons.apply import FOLLOWS_MARGIN, FOLLOWS_VOLATILITY
from engine.margin.concentration import concentration_curve
from engine.margin.config import MarginConfig


@dataclass(frozen=True)
class PreparedFund:
    """Exposures, factor estimates and add-on curves, computed once for any number of runs."""

    book: Book
    market: MarketState
    margin: MarginResult
    exposures: Exposures
    inputs: MarketInputs
    curve: Float64Array

    def model(
        self, config: AvalancheConfig, scenario: Scenario | None = None, scored: int = 0
    ) -> Model:
        """Build the kernel's model under the assumptions of one run."""
        return build_model(
            self.book,
            self.market,
            self.margin,
            self.exposures,
            self.inputs,
            self.curve,
            config,
            scenario,
            scored=scored,
        )

    @property
    def buckets(self) -> tuple[str, ...]:
        """Liquidity buckets in the order of the model."""
        return tuple(sorted({str(b) for b in self.market.factors.bucket[self.inputs.columns]}))

    @property
    def currencies(self) -> tuple[str, ...]:
        """Currency pools in the order of the model."""
        position = {name: i for i, name in enumerate(self.book.agreements.agreement_id)}
        rows = [position[name] for name in self.margin.agreement_id]
        return tuple(pools(self.book.agreements.currency[rows], self.book.cash.currency))


def prepare_fund(
    book: Book, market: MarketState, margin: MarginResult, config: AvalancheConfig
) -> PreparedFund:
    """Measure exposures, estimate factors and read the add-on curves of a fund.

    Of `config` only the correlation lookback is used.
    """
    exposures = aggregate(book, market)
    inputs = estimate_inputs(market, simulated_factors(market, exposures), config)
    margin_config = MarginConfig(**margin.basis["config"])
    curve = concentration_curve(book, market, margin_config, CURVE_MULTIPLES)
    ratio = margin.basis["anchor_ratio"]
    curve *= np.array([[ratio.get(str(name), 1.0)] for name in book.agreements.agreement_id])
    curve += _fixed_add_ons(book, margin)[:, np.newaxis]
    return PreparedFund(book, market, margin, exposures, inputs, curve)


def _fixed_add_ons(book: Book, margin: MarginResult) -> Float64Array:
    """Add-ons that follow neither margin nor volatility, (n_agreements,) of the book, USD."""
    row = {str(name): a for a, name in enumerate(book.agreements.agreement_id)}
    at = [row[str(name)] for name in margin.agreement_id]
    fixed = np.zeros(len(row))
    for name, amount in margin.add_ons.items():
        if name not in FOLLOWS_MARGIN and name not in FOLLOWS_VOLATILITY:
            fixed[at] += amount
    return fixed
