"""All add-ons of a book: prepared once, asked at today's volatility and under every step.

Charged after the family's margin, its anti-procyclicality tool and thresholds. They add up:

- `broker`: (multiplier - 1) * IM.
- `concentration`: one liquidity method for each account (`engine.margin.add_ons.methods`); none
  for a close-out model, which unwinds at the speed of the market itself.
- `bid_ask`: the cost of crossing the spread, which no liquidity method contains; not in CDS
  accounts, whose model has it.
- `jump_to_default`: the worst defaults of single names, by weight, beyond IM; not in CDS accounts,
  whose model has it, and not for names charged as wrong-way risk.
- `wrong_way`: names of, or correlated with, the clearing or prime broker.
- `delivery`: futures near physical delivery; not in scanned accounts, whose scan has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array
from engine.domain.failures import Failure
from engine.margin.add_ons.default import jump_to_default, wrong_way_risk
from engine.margin.add_ons.events import Deliveries, NameLosses, deliveries, name_losses
from engine.margin.add_ons.inputs import LiquidityInputs, liquidity_inputs
from engine.margin.add_ons.methods import accounts_of, bid_ask_by_factor, concentration_by_factor
from engine.margin.exposure import Exposures
from engine.rulebooks.add_on_terms import AddOnTerms, add_ons_rulebook_id

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig


FOLLOWS_MARGIN = ("broker",)
"""Add-ons that are a share of initial margin."""
FOLLOWS_VOLATILITY = ("concentration", "bid_ask")
"""Add-ons that grow with volatility; `engine.margin.concentration.concentration_curve`."""


@dataclass(frozen=True)
class _Columns:
    """An add-on (n_agreements, n_columns) and the weights of pairs (n_pairs, n_columns)."""

    charge: Float64Array
    weight: Float64Array


@dataclass(frozen=True)
class PreparedAddOns:
    """Add-ons ready to be asked; what does not depend on volatility is computed.

    `failures` names factors, instruments and positions that carry no add-on though they should.
    """

    exposures: Exposures
    config: MarginConfig
    inputs: LiquidityInputs
    losses: NameLosses
    delivery: Deliveries
    failures: tuple[Failure, ...]

    def amounts(
        self, im_usd: Float64Array, scale: Float64Array | float = 1.0
    ) -> dict[str, Float64Array]:
        """Return each add-on that applies to some account, (n_agreements,), USD.

        Parameters
        ----------
        im_usd : float64 array of shape (n_agreements,)
            Initial margin before add-ons, at the same volatility. Not negative; NaN (a failed
            agreement) gives NaN in `broker` and `jump_to_default`.
        scale : float64 array of shape (n_agreements,) or float
            Volatility over today's. Liquidity add-ons grow faster than it: spreads widen and
            volumes fall as well. Defaults and delivery do not depend on it.

        Returns
        -------
        dict of str to float64 array
            The keys depend on the book and config, not on `im_usd` or `scale`. A broker
            multiplier below 1 gives a negative `broker`; nothing else is negative.
        """
        out = {name: part.charge.sum(axis=1) for name, part in self._parts(im_usd, scale).items()}
        if self._has_broker():
            out = {"broker": self._broker(im_usd), **out}
        return out

    def pair_shares(
        self,
        im_usd: Float64Array,
        pair_im_usd: Float64Array,
        scale: Float64Array | float = 1.0,
    ) -> dict[str, Float64Array]:
        """Return each manager's share of each add-on, (n_pairs,), USD.

        Shares of an agreement sum to its `amounts`. `broker` follows the shares of IM
        (`pair_im_usd`, which sum to `im_usd`). Liquidity: in each factor, pro rata to the
        manager's own |delta| there. Defaults: in each name, pro rata to the manager's own loss
        if it defaults; managers who would gain bear nothing. Delivery: pro rata to the manager's
        own charge. An agreement without positions has no pairs, so its `broker` has no shares.
        """
        owner = self.exposures.pair_agreement
        out: dict[str, Float64Array] = {}
        if self._has_broker():
            multiplier = self.exposures.book.agreements.broker_multiplier[owner]
            out["broker"] = (multiplier - 1.0) * pair_im_usd
        for name, part in self._parts(im_usd, scale).items():
            sums = np.zeros_like(part.charge)
            np.add.at(sums, owner, part.weight)
            unit = np.divide(part.charge, sums, out=np.zeros_like(sums), where=sums > 0.0)
            out[name] = np.asarray((part.weight * unit[owner]).sum(axis=1))
        return out

    def basis(self) -> dict[str, Any]:
        """Return what the figures rest on: the rulebook, and each account's terms and mark."""
        ids = self.exposures.book.agreements.agreement_id
        held = accounts_of(self.inputs.concentration, self.inputs.exposure_usd)
        accounts: dict[str, dict[str, str]] = {}
        for a in held.tolist():
            terms = self.inputs.concentration[a]
            assert terms is not None
            accounts[str(ids[a])] = {
                "method": terms.method,
                "scope": terms.scope,
                "mark": terms.mark,
            }
        return {
            "rulebook": add_ons_rulebook_id(),
            "choices": self.config.add_ons.model_dump(),
            "liquidity": accounts,
        }

    def _has_broker(self) -> bool:
        return bool((self.exposures.book.agreements.broker_multiplier != 1.0).any())

    def _broker(self, im_usd: Float64Array) -> Float64Array:
        return np.asarray((self.exposures.book.agreements.broker_multiplier - 1.0) * im_usd)

    def _parts(self, im_usd: Float64Array, scale: Float64Array | float) -> dict[str, _Columns]:
        parts: dict[str, _Columns] = {}
        inputs, losses = self.inputs, self.losses
        weight = inputs.pair_exposure_usd
        if self._applies(inputs.concentration):
            charge = concentration_by_factor(inputs, self.config, scale)
            parts["concentration"] = _Columns(charge, weight)
        if self._applies(inputs.bid_ask):
            parts["bid_ask"] = _Columns(bid_ask_by_factor(inputs, self.config, scale), weight)
        net = np.zeros((len(inputs.mpor_days), len(losses.names)))
        np.add.at(net, self.exposures.pair_agreement, losses.pair)
        alone = np.maximum(0.0, losses.pair)
        exposed: BoolArray = np.asarray(net > 0.0)
        ordinary = losses.wrong_way == 0.0
        if (exposed & ordinary & (losses.worst_names > 0)[:, np.newaxis]).any():
            weighted = np.where(ordinary, net * losses.weight, 0.0)
            charge = jump_to_default(weighted, im_usd, losses.worst_names)
            parts["jump_to_default"] = _Columns(charge, alone)
        if (exposed & ~ordinary).any():
            parts["wrong_way"] = _Columns(wrong_way_risk(net, losses.wrong_way), alone)
        if (self.delivery.charge > 0.0).any():
            parts["delivery"] = _Columns(self.delivery.charge, self.delivery.pair_weight)
        return parts

    def _applies(self, terms: tuple[AddOnTerms | None, ...]) -> bool:
        return len(accounts_of(terms, self.inputs.exposure_usd)) > 0


def prepare(exposures: Exposures, config: MarginConfig) -> PreparedAddOns:
    """Compute once what the add-ons of a book need.

    Parameters
    ----------
    exposures : Exposures
    config : MarginConfig
        Its add-on choices, `concentration_*`, `depth_*` and `seed_days` are read.
    """
    inputs = liquidity_inputs(exposures, config)
    losses = name_losses(exposures, config)
    near = deliveries(exposures, config)
    failures = (*inputs.failures, *losses.failures)
    return PreparedAddOns(exposures, config, inputs, losses, near, failures)


def add_ons(
    exposures: Exposures,
    im_usd: Float64Array,
    config: MarginConfig,
    scale: Float64Array | float = 1.0,
) -> tuple[dict[str, Float64Array], tuple[Failure, ...]]:
    """Return all add-ons at one volatility, and the failures; `prepare` for more than one."""
    prepared = prepare(exposures, config)
    return prepared.amounts(im_usd, scale), prepared.failures
