"""Margin of agreements with a historical model: full revaluation of the book on filtered moves.

Agreements that share (lambda, margin period of risk, lookback) form a class and share scenarios.
In a class: instruments are revalued once, quantities are netted per agreement and manager by one
sparse product, and the tail of each agreement is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.failures import Failure
from engine.margin.exposure import Exposures, unit_pnl
from engine.margin.family import FamilyMargin, pairs_of
from engine.margin.historical import (
    ewma_volatility,
    filtered_scenarios,
    overlapping_sums,
    tail_count,
)

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig


@dataclass(frozen=True)
class ScenarioClass:
    """Agreements with the same scenarios, and what they hold (rows of `Exposures`)."""

    ewma_lambda: float
    mpor_days: int
    lookback_days: int
    agreements: Int64Array
    pairs: Int64Array
    instruments: Int64Array


@dataclass(frozen=True)
class TailMargin:
    """Margin of a class: `agreement` (n_agreements,), `pair` (n_pairs,), `scenarios` used.

    Pairs of one agreement sum to its margin. NaN where the margin could not be computed.
    """

    agreement: Float64Array
    pair: Float64Array
    scenarios: Int64Array


class HistoricalModel:
    """Scenarios of one book and market, prepared once and used for baseline and stress.

    Takes the agreements `rows`, whose history was checked (`engine.margin.enough_history`), and
    groups them in `classes`.
    """

    def __init__(self, exposures: Exposures, rows: Int64Array, config: MarginConfig) -> None:
        self.exposures = exposures
        self.config = config
        self.classes = self._classes(rows)
        self._daily: dict[float, Float64Array] = {}
        self._limits: dict[float, tuple[Int64Array, Float64Array]] = {}
        self._today: dict[tuple[float, int, int], TailMargin] = {}

    def filtered(self, group: ScenarioClass, scale: float = 1.0) -> TailMargin:
        """Margin of a class on filtered moves times `scale` (see `factor_scale`)."""
        h = group.mpor_days
        overlapping = self.config.aggregation == "overlapping"
        needed = group.lookback_days + (h - 1 if overlapping else 0)
        daily = self._scaled_daily(group.ewma_lambda)[-needed:]
        moves = overlapping_sums(daily, h) if overlapping else daily * math.sqrt(h)
        return self._tail(group, moves * self.factor_scale(group.ewma_lambda, scale))

    def today(self, group: ScenarioClass) -> TailMargin:
        """Margin of one of `classes` on filtered moves at today's volatility, computed once."""
        key = (group.ewma_lambda, group.mpor_days, group.lookback_days)
        if key not in self._today:
            self._today[key] = self.filtered(group)
        return self._today[key]

    def unfiltered(self, group: ScenarioClass, first: int, last: int) -> TailMargin:
        """Margin of a class on the moves as they were on rows first .. last of the history."""
        daily = self.exposures.market.returns[first : last + 1]
        h = group.mpor_days
        overlapping = self.config.aggregation == "overlapping"
        moves = overlapping_sums(daily, h) if overlapping else daily * math.sqrt(h)
        return self._tail(group, moves)

    def part(self, group: ScenarioClass, members: list[int]) -> ScenarioClass:
        """Return the class of only some of its agreements."""
        return self._class((group.ewma_lambda, group.mpor_days, group.lookback_days), members)

    def daily_losses(self, group: ScenarioClass, days: int) -> Float64Array:
        """Loss of each agreement on the one-day moves of the last `days` days, (n, days), USD.

        Moves before a factor's first observation count as zero.
        """
        exposures = self.exposures
        moves = np.nan_to_num(exposures.market.returns[-days:], nan=0.0)
        pnl = unit_pnl(exposures, group.instruments, moves)
        quantity = exposures.quantity_usd[group.pairs][:, group.instruments]
        owner = np.searchsorted(group.agreements, exposures.pair_agreement[group.pairs])
        out = np.zeros((len(group.agreements), moves.shape[0]))
        np.add.at(out, owner, -np.asarray(quantity @ pnl))
        return out

    def factor_scale(self, ewma_lambda: float, scale: float) -> Float64Array:
        """Scale of each factor's moves under a volatility step, shape (n_factors,).

        It is `scale`, but a factor that is itself a volatility is not taken beyond the highest
        volatility the filter has seen in its history: its log moves are exponentiated, and ten
        times the volatility of a volatility index would take it to levels without meaning.
        """
        out = np.full(len(self.exposures.market.factors), scale)
        if scale > 1.0 and self.config.cap_volatility_factors:
            capped, limit = self._volatility_limits(ewma_lambda)
            out[capped] = np.minimum(scale, limit)
        return out

    def _volatility_limits(self, ewma_lambda: float) -> tuple[Int64Array, Float64Array]:
        """Volatility factors used, and their highest volatility over today's."""
        if ewma_lambda not in self._limits:
            factors = self.exposures.market.factors
            capped = np.flatnonzero((factors.asset_class == "volatility") & self._used())
            sigma = ewma_volatility(
                self.exposures.market.returns[:, capped],
                ewma_lambda,
                self.config.seed_days,
                factors.daily_vol_floor[capped],
            )
            self._limits[ewma_lambda] = capped, np.nanmax(sigma, axis=0) / sigma[-1]
        return self._limits[ewma_lambda]

    def _used(self) -> BoolArray:
        active = np.concatenate([group.agreements for group in self.classes])
        return np.asarray(self.exposures.agreement_factor[active].any(axis=0), dtype=np.bool_)

    def _scaled_daily(self, ewma_lambda: float) -> Float64Array:
        """Daily filtered moves, (n_days, n_factors); NaN for factors that are not used."""
        if ewma_lambda not in self._daily:
            market = self.exposures.market
            used = np.flatnonzero(self._used())
            needed = max(g.lookback_days + g.mpor_days - 1 for g in self.classes)
            part = filtered_scenarios(
                market.returns[:, used],
                ewma_lambda,
                1,
                needed,
                volatility_floor=market.factors.daily_vol_floor[used],
                seed_days=self.config.seed_days,
                mid_volatility=self.config.mid_volatility,
            )
            table = np.full((len(part), len(market.factors)), np.nan)
            table[:, used] = part
            self._daily[ewma_lambda] = table
        return self._daily[ewma_lambda]

    def _tail(self, group: ScenarioClass, moves: Float64Array) -> TailMargin:
        exposures = self.exposures
        known = np.isfinite(moves)
        # Trailing scenarios in which every factor of the agreement is known.
        usable = np.where(known.all(axis=0), len(moves), known[::-1].argmin(axis=0))
        uses = exposures.agreement_factor[group.agreements]
        scenarios = np.where(uses, usable, len(moves)).min(axis=1).astype(np.int64)
        pnl = unit_pnl(exposures, group.instruments, np.where(known, moves, 0.0))
        quantity = exposures.quantity_usd[group.pairs][:, group.instruments]
        loss = -np.asarray(quantity @ pnl)
        agreements = exposures.book.agreements
        margin = np.zeros(len(group.agreements))
        pair = np.zeros(len(group.pairs))
        owner = exposures.pair_agreement[group.pairs]
        for i, a in enumerate(group.agreements):
            rows = slice(*np.searchsorted(owner, [a, a + 1]))
            part = loss[rows, len(moves) - scenarios[i] :]
            margin[i], pair[rows] = tail_contributions(
                part, float(agreements.confidence[a]), agreements.model[a] == "fhs_es"
            )
        return TailMargin(margin, pair, scenarios)

    def _classes(self, rows: Int64Array) -> list[ScenarioClass]:
        agreements = self.exposures.book.agreements
        keys: dict[tuple[float, int, int], list[int]] = {}
        for a in rows:
            key = (
                float(agreements.ewma_lambda[a]),
                int(agreements.mpor_days[a]),
                int(agreements.lookback_days[a]),
            )
            keys.setdefault(key, []).append(int(a))
        return [self._class(key, members) for key, members in sorted(keys.items())]

    def _class(self, key: tuple[float, int, int], members: list[int]) -> ScenarioClass:
        exposures = self.exposures
        pairs = np.flatnonzero(np.isin(exposures.pair_agreement, members))
        held = np.unique(exposures.quantity_usd[pairs].indices).astype(np.int64)
        return ScenarioClass(*key, np.array(members, dtype=np.int64), pairs, held)


class HistoricalFamily:
    """Models `fhs_var` and `fhs_es`: the tail of the book revalued on filtered moves."""

    failures: tuple[Failure, ...] = ()

    def __init__(self, model: HistoricalModel, rows: Int64Array) -> None:
        self.model, self.rows = model, rows

    def margin(self, scale: Float64Array) -> FamilyMargin:
        """Return the margin when volatility is `scale` (n_agreements,) times today's."""
        exposures = self.model.exposures
        rows = self.rows
        pairs = pairs_of(exposures, rows)
        im, pair_im = np.zeros(len(rows)), np.zeros(len(pairs))
        basis: dict[str, dict[str, Any]] = {}
        for group in self.model.classes:
            for part, tail in self._tails(group, scale):
                own, own_pair = np.isin(part.agreements, rows), np.isin(part.pairs, pairs)
                im[np.searchsorted(rows, part.agreements[own])] = tail.agreement[own]
                pair_im[np.searchsorted(pairs, part.pairs[own_pair])] = tail.pair[own_pair]
                for a, used in zip(part.agreements[own], tail.scenarios[own], strict=True):
                    name = str(exposures.book.agreements.agreement_id[a])
                    basis[name] = {"scenarios": int(used)}
        return FamilyMargin(rows, im, pairs, pair_im, basis=basis)

    def _tails(
        self, group: ScenarioClass, scale: Float64Array
    ) -> Iterator[tuple[ScenarioClass, TailMargin]]:
        """Tails of a class, one for each different scale of the family's agreements in it."""
        members = group.agreements[np.isin(group.agreements, self.rows)]
        if (scale[members] == 1.0).all():
            yield group, self.model.today(group)
            return
        for factor in np.unique(scale[members]):
            part = self.model.part(group, members[scale[members] == factor].tolist())
            yield part, self.model.filtered(part, float(factor))


def tail_contributions(
    loss: Float64Array, confidence: float, shortfall: bool
) -> tuple[float, Float64Array]:
    """VaR or ES of the sum of rows, and each row's Euler share.

    A row's share of ES is its mean loss over the tail scenarios of the sum. Its share of VaR is
    that mean times VaR / ES, steadier than its loss in the one scenario that is the VaR. Shares
    sum to the margin; a margin below zero is zero, and so are its shares.

    Parameters
    ----------
    loss : float64 array of shape (n_rows, n_scenarios)
        USD, positive is a loss. A NaN gives NaN.

    Returns
    -------
    (margin, shares of shape (n_rows,))

    Examples
    --------
    Rows (1, 2, 3, 4) and (0, 0, -2, 2), confidence 0.5: sums 1, 2, 1, 6, so the tail is 6 and 2;
    ES 4 splits into 3 and 1, VaR 2 into 1.5 and 0.5.
    """
    total = loss.sum(axis=0)
    if not np.isfinite(total).all():
        return math.nan, np.full(len(loss), math.nan)
    k = tail_count(len(total), confidence)
    tail = np.argpartition(-total, k - 1)[:k]
    es = float(total[tail].mean())
    margin = es if shortfall else float(total[tail].min())
    if margin <= 0.0:
        return 0.0, np.zeros(len(loss))
    shares = loss[:, tail].mean(axis=1) * (margin / es)
    return margin, shares
