"""What a market move costs a fund: calls it must pay, and what it can pay them with.

Positions are revalued in full. Initial margin follows by a fast measure, because thousands of moves
are judged; `moved_market` asks the margin engine itself about the few that matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from engine.avalanche.exposures import aggregate
from engine.domain.agreements import REACTIVE_MODELS
from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.book import Book, Instruments
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.margin.concentration import concentration_curve
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions, take
from engine.margin.variation import csa_call
from engine.pricing.scenarios import scenario_pnl
from engine.pricing.terms import is_log, linear_terms
from engine.pricing.value import value_per_unit
from engine.stress.reverse.fund_resources import opening_resources, usable_resources

if TYPE_CHECKING:
    from engine.stress.reverse.config import ReverseConfig

CURVE_MULTIPLES = (1.0, 2.0, 4.0, 7.0, 10.0, 20.0)


def margin_multiple(
    relative_loss: Float64Array, ewma_lambda: Float64Array, horizon_days: int
) -> Float64Array:
    """Volatility after a move over volatility before it, for an EWMA filter; never below 1.

    The move is spread evenly over h days, so each day's is u = `relative_loss` / h daily standard
    deviations: sqrt(lambda^h + (1 - lambda^h) u^2). Lambda 0.97 and one day of 3 of them:
    sqrt(0.97 + 0.03 * 9) = 1.1135529. A fall of margin is not counted: it is returned later.

    Parameters
    ----------
    relative_loss : float64 array of shape (n_agreements, n)
        P&L over the horizon in daily standard deviations.
    ewma_lambda : float64 array of shape (n_agreements,)
        1 for models that do not follow volatility.
    """
    kept = ewma_lambda[:, None] ** horizon_days
    daily = relative_loss / horizon_days
    multiple: Float64Array = np.maximum(np.sqrt(kept + (1.0 - kept) * daily**2), 1.0)
    return multiple


@dataclass(frozen=True)
class Needs:
    """What n moves do to the fund, USD.

    Attributes
    ----------
    pnl, calls, im_rise : float64 arrays of shape (n_agreements, n)
        Profit; variation margin the fund must pay (never negative: gains do not count here); and
        the rise of initial margin with its add-ons by the fast measure.
    receipts : float64 array of shape (n,)
        Gains of other agreements that arrive in time.
    resources : float64 array of shape (n,)
        Cash, securities after haircut and credit lines that are still open, less open calls and
        agreed payments.
    """

    pnl: Float64Array
    calls: Float64Array
    im_rise: Float64Array
    receipts: Float64Array
    resources: Float64Array

    def need(self) -> Float64Array:
        """Calls and rise of margin, less receipts: shape (n,)."""
        total: Float64Array = self.calls.sum(axis=0) + self.im_rise.sum(axis=0) - self.receipts
        return total


@dataclass(frozen=True)
class _Linear:
    """USD per unit of level (n_agreements, n_factors); the other instruments and quantities."""

    quantity: csr_array
    rest: Instruments
    rest_quantity: csr_array


class FundLoss:
    """A fund under market moves; rows of agreements follow `margin.agreement_id`.

    Attributes
    ----------
    delta : float64 array of shape (n_agreements, n_factors)
        USD for a unit move.
    daily_pnl : float64 array of shape (n_agreements,)
        Standard deviation of a day's P&L, convexity included.
    opening : dict of str to float
        Resources today by kind, USD; open calls and agreed payments are negative.
    """

    def __init__(
        self,
        book: Book,
        market: MarketState,
        margin: MarginResult,
        covariance: Float64Array,
        config: ReverseConfig,
    ) -> None:
        """`covariance` (n_factors, n_factors) is that of one day's moves of all factors."""
        self.book, self.market, self.margin, self.config = book, market, margin, config
        position = {str(name): a for a, name in enumerate(book.agreements.agreement_id)}
        self.rows: Int64Array = np.array(
            [position[str(name)] for name in margin.agreement_id], dtype=np.int64
        )
        self._net = net_positions(book, market)
        self._quantity = self._by_agreement()
        sensitivities = aggregate(book, market)
        self.delta = sensitivities.delta[self.rows]
        gamma = sensitivities.gamma[self.rows]
        variance = np.einsum("ak,kl,al->a", self.delta, covariance, self.delta)
        variance += 0.5 * np.einsum("ak,kl,al->a", gamma, covariance**2, gamma)
        self.daily_pnl: Float64Array = np.sqrt(np.maximum(variance, 0.0))
        self.opening = opening_resources(
            book, market, margin, config.horizon_days, config.include_open_calls
        )

    def needs(self, moves: Float64Array) -> Needs:
        """Revalue the fund under moves (n, n_factors), in the factors' return units.

        A move under which an instrument has no value (a yield below -100 %) gives NaN.
        """
        pnl = self._pnl(moves)
        called = self._called(pnl)
        share = self.config.gains_usable_share
        receipts = share * np.maximum(-called, 0.0).sum(axis=0)
        resources = usable_resources(
            self.book, self.market, self.opening, pnl.sum(axis=0), self.config.horizon_days
        )
        return Needs(pnl, np.maximum(called, 0.0), self._im_rise(pnl), receipts, resources)

    def metric(self, moves: Float64Array) -> Float64Array:
        """The config's target metric under each move, USD, shape (n,); NaN as in `needs`."""
        return self.metric_of(self.needs(moves))

    def metric_of(self, needs: Needs) -> Float64Array:
        """The config's target metric of known needs."""
        if self.config.target_metric == "loss_usd":
            return np.asarray(-needs.pnl.sum(axis=0))
        if self.config.target_metric == "calls_usd":
            return needs.need()
        return needs.need() - needs.resources

    def _by_agreement(self) -> csr_array:
        """Quantity in USD, (n_agreements, n_instruments), rows as in `margin`."""
        place = np.full(len(self.book.agreements), -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        owner = place[self._net.pair_agreement]
        kept = np.flatnonzero(owner >= 0)
        shape = (len(self.rows), len(owner))
        adds = csr_array((np.ones(len(kept)), (owner[kept], kept)), shape=shape)
        return csr_array(adds @ self._net.quantity_usd)

    def _pnl(self, moves: Float64Array) -> Float64Array:
        """P&L by agreement, (n_agreements, n), by full revaluation; NaN where there is no value."""
        market, log = self.market, is_log(self.market)
        linear = self._linear
        with np.errstate(over="ignore"):
            change = np.where(log, market.level * np.expm1(np.where(log, moves, 0.0)), moves)
        pnl = np.asarray(linear.quantity @ change.T)
        return np.asarray(pnl + linear.rest_quantity @ self._unit_pnl(moves))

    @cached_property
    def _linear(self) -> _Linear:
        """Instruments linear in their factor's level are netted; only the rest is revalued."""
        instruments = self._net.instruments
        terms = linear_terms(instruments)
        owned = csr_array(self._quantity[:, terms.row])
        shape = (len(terms.row), len(self.market.factors))
        slope = csr_array((terms.slope, (np.arange(len(terms.row)), terms.factor)), shape=shape)
        rest = np.setdiff1d(np.arange(len(instruments)), terms.row).astype(np.int64)
        return _Linear(
            csr_array(owned @ slope), take(instruments, rest), csr_array(self._quantity[:, rest])
        )

    def _unit_pnl(self, moves: Float64Array) -> Float64Array:
        rest = self._linear.rest
        try:
            return scenario_pnl(rest, self.market, moves)
        except ValueError:
            if len(moves) == 1:
                return np.full((len(rest), 1), np.nan)
            half = len(moves) // 2
            parts = [self._unit_pnl(moves[:half]), self._unit_pnl(moves[half:])]
            return np.concatenate(parts, axis=1)

    def _called(self, pnl: Float64Array) -> Float64Array:
        """Variation margin by agreement: positive is paid, negative received, shape of `pnl`.

        Bilateral agreements call by their CSA, on top of the collateral held after today's call.
        """
        called = -pnl
        at, rows = self._bilateral, self.rows[self._bilateral]
        if not len(at):
            return called
        a, known = self.book.agreements, np.isfinite(pnl).all(axis=0)
        usd = self.market.usd_per(a.currency[rows])[:, None]
        held = a.vm_held[rows, None] + self.margin.vm_usd[at, None] / usd
        exposure = -(self._value[at, None] + np.where(known, pnl[at], 0.0)) / usd
        call = csa_call(
            exposure,
            a.vm_threshold[rows, None],
            a.mta[rows, None],
            a.rounding[rows, None],
            a.independent_amount[rows, None],
            held,
        )
        called[at] = np.where(known, usd * call, np.nan)
        return called

    @cached_property
    def _bilateral(self) -> Int64Array:
        return np.flatnonzero(self.margin.kind == "bilateral").astype(np.int64)

    @cached_property
    def _value(self) -> Float64Array:
        """What the positions of each agreement are worth today, USD."""
        return np.asarray(self._quantity @ value_per_unit(self._net.instruments, self.market))

    def _im_rise(self, pnl: Float64Array) -> Float64Array:
        """Rise of IM and add-ons by the EWMA reaction to each agreement's own P&L."""
        size = np.maximum(self.daily_pnl, 1e-9)[:, None]
        relative = np.where(self.daily_pnl[:, None] > 0.0, pnl / size, 0.0)
        lam, reactive, gross, threshold, broker = self._margin_terms
        multiple = margin_multiple(relative, lam, self.config.horizon_days)
        scaled = gross * (1.0 + reactive * (multiple - 1.0))
        rise = np.maximum(scaled - threshold, 0.0) - np.maximum(gross - threshold, 0.0)
        rise *= broker
        hinges, changes = self._curve_slopes
        at = np.flatnonzero(changes.any(axis=1))
        for j, hinge in enumerate(hinges):
            rise[at] += changes[at, j, None] * np.maximum(multiple[at] - hinge, 0.0)
        return np.asarray(rise)

    @cached_property
    def _margin_terms(self) -> tuple[Float64Array, ...]:
        """Lambda (n,), and as columns: reactive share, IM before threshold, threshold, broker."""
        a, margin, rows = self.book.agreements, self.margin, self.rows
        reacts: BoolArray = np.isin(a.model[rows], REACTIVE_MODELS)
        lam = np.where(reacts, np.nan_to_num(a.ewma_lambda[rows], nan=1.0), 1.0)
        parts = margin.components
        before = parts["calculated"] + parts["anti_procyclicality"]
        own = (1.0 - a.stress_weight[rows]) * parts["calculated"]
        ratio = np.divide(own, before, out=np.zeros_like(own), where=before > 0.0)
        reactive = np.where(reacts, np.clip(ratio, 0.0, 1.0), 0.0)
        known = margin.basis.get("im_before_threshold_usd", {})
        names = [str(name) for name in margin.agreement_id]
        gross = np.array(
            [known.get(name, im) for name, im in zip(names, margin.im_usd, strict=True)]
        )
        limit = a.im_threshold[rows] * self.market.usd_per(a.currency[rows])
        limit = np.where([name in known for name in names], limit, 0.0)
        columns = (reactive, gross, limit, a.broker_multiplier[rows])
        return (lam, *(column[:, None] for column in columns))

    @cached_property
    def _curve_slopes(self) -> tuple[tuple[float, ...], Float64Array]:
        """Concentration add-on by volatility: hinges, and the change of slope at each, USD.

        The add-on is read at CURVE_MULTIPLES and linear between; shape (n_agreements, n_hinges).
        """
        config = MarginConfig(**self.margin.basis["config"])
        curve = concentration_curve(self.book, self.market, config, CURVE_MULTIPLES)[self.rows]
        ratio = self.margin.basis.get("anchor_ratio", {})
        by_name = [[ratio.get(str(name), 1.0)] for name in self.margin.agreement_id]
        slopes = np.diff(curve * np.array(by_name), axis=1) / np.diff(CURVE_MULTIPLES)
        return CURVE_MULTIPLES[:-1], np.diff(slopes, axis=1, prepend=0.0)
