"""Margin of agreements with a historical model: full revaluation of the book on filtered moves.

Agreements that share (lambda, margin period of risk, lookback) form a class and share scenarios.
In a class: instruments are revalued once, quantities are netted per agreement and manager by one
sparse product, and the tail of each agreement is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.failures import Failure, FailureReason, InputError
from engine.margin.config import MIN_SCENARIOS, MarginConfig
from engine.margin.exposure import MOST_SHOWN, Exposures, agreement_failure, unit_pnl
from engine.margin.historical import (
    ewma_volatility,
    filtered_scenarios,
    first_observation,
    overlapping_sums,
    tail_count,
    worst_volatility_period,
)

HISTORICAL = ("fhs_var", "fhs_es")


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

    Attributes
    ----------
    classes : list of ScenarioClass
    failed : bool array of shape (n_agreements,)
        Agreements with too little history.
    failures : list of Failure
    stress_period : dict of agreement row to (first row, last row) of `market.returns`
        Of every agreement with a stress weight, from its own factors: what the fund holds
        elsewhere must not change an agreement's margin.
    """

    def __init__(self, exposures: Exposures, config: MarginConfig) -> None:
        self.exposures = exposures
        self.config = config
        self.failures: list[Failure] = []
        agreements = exposures.book.agreements
        self.failed: BoolArray = np.zeros(len(agreements), dtype=np.bool_)
        self._check_history()
        active = np.isin(agreements.model, HISTORICAL) & ~exposures.failed & ~self.failed
        active &= np.bincount(exposures.pair_agreement, minlength=len(agreements)) > 0
        self.classes = self._classes(active)
        self._daily: dict[float, Float64Array] = {}
        self._limits: dict[float, tuple[Int64Array, Float64Array]] = {}
        self.stress_period = self._stress_periods(active & (agreements.stress_weight > 0.0))
        if self.failed[active].any():
            self.classes = self._classes(active & ~self.failed)

    def filtered(self, group: ScenarioClass, scale: float = 1.0) -> TailMargin:
        """Margin of a class on filtered moves times `scale` (see `factor_scale`)."""
        h = group.mpor_days
        overlapping = self.config.aggregation == "overlapping"
        needed = group.lookback_days + (h - 1 if overlapping else 0)
        daily = self._scaled_daily(group.ewma_lambda)[-needed:]
        moves = overlapping_sums(daily, h) if overlapping else daily * math.sqrt(h)
        return self._tail(group, moves * self.factor_scale(group.ewma_lambda, scale))

    def stressed(self, group: ScenarioClass) -> TailMargin:
        """Margin of a class on the unfiltered moves of each agreement's stress period.

        Agreements without a stress weight have margin 0 and no scenarios.
        """
        h = group.mpor_days
        overlapping = self.config.aggregation == "overlapping"
        n = len(group.agreements)
        out = TailMargin(np.zeros(n), np.zeros(len(group.pairs)), np.zeros(n, dtype=np.int64))
        by_period: dict[tuple[int, int], list[int]] = {}
        for a in group.agreements.tolist():
            if a in self.stress_period:
                by_period.setdefault(self.stress_period[a], []).append(a)
        for (first, last), members in by_period.items():
            daily = self.exposures.market.returns[first : last + 1]
            moves = overlapping_sums(daily, h) if overlapping else daily * math.sqrt(h)
            part = self._class((group.ewma_lambda, h, group.lookback_days), members)
            tail = self._tail(part, moves)
            at = np.isin(group.agreements, members)
            out.agreement[at], out.scenarios[at] = tail.agreement, tail.scenarios
            out.pair[np.isin(group.pairs, part.pairs)] = tail.pair
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

    def _classes(self, active: BoolArray) -> list[ScenarioClass]:
        agreements = self.exposures.book.agreements
        rows = np.flatnonzero(active)
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

    def _check_history(self) -> None:
        """Fail agreements with too few scenarios; name factors that shorten a lookback."""
        exposures = self.exposures
        book, market = exposures.book, exposures.market
        days = np.isfinite(market.returns).sum(axis=0)
        names = market.factors.factor_id
        first = first_observation(market.returns)
        seeds = [market.returns[f : f + self.config.seed_days, k] for k, f in enumerate(first)]
        still = np.array([len(seed) > 0 and float(np.var(seed)) == 0.0 for seed in seeds])
        self._flat: BoolArray = still & ~(market.factors.daily_vol_floor > 0.0)
        for a in np.flatnonzero(np.isin(book.agreements.model, HISTORICAL)):
            used = np.flatnonzero(exposures.agreement_factor[a])
            if len(used) == 0 or exposures.failed[a]:
                continue
            lost = int(book.agreements.mpor_days[a]) - 1
            wanted = int(book.agreements.lookback_days[a])
            short = used[np.minimum(days[used] - lost, wanted) < MIN_SCENARIOS]
            young = used[days[used] - lost < wanted]
            flat = used[self._flat[used]]
            if len(flat) and book.agreements.ewma_lambda[a] < 1.0:
                self.failed[a] = True
                message = (
                    f"factors {_listed(names[flat])} do not move at the start of their history "
                    "and have a daily_vol_floor of 0; give them one above 0"
                )
                reason = FailureReason.INVALID
                self.failures.append(agreement_failure(book, int(a), reason, message))
            elif len(short):
                self.failed[a] = True
                message = (
                    f"a lookback of {wanted} days gives "
                    f"{min(wanted, int(days[short].min()) - lost)} scenarios of "
                    f"{_listed(names[short])}, fewer than {MIN_SCENARIOS}; lengthen the history "
                    "or the lookback, or remove the positions"
                )
                reason = FailureReason.MISSING_DATA
                self.failures.append(agreement_failure(book, int(a), reason, message))
            elif len(young):
                have = int(days[young].min()) - lost
                self.failures.append(
                    Failure(
                        FailureReason.MISSING_DATA,
                        str(names[young[np.argmin(days[young])]]),
                        f"agreement {book.agreements.agreement_id[a]}",
                        f"its lookback of {wanted} days has {have} scenarios, from factors "
                        f"{_listed(names[young])}; the margin uses these {have}: lengthen the "
                        "history for all",
                    )
                )

    def _stress_periods(self, weighted: BoolArray) -> dict[int, tuple[int, int]]:
        """Worst period of each weighted agreement's own factors; one without is failed."""
        exposures = self.exposures
        periods: dict[int, tuple[int, int]] = {}
        found: dict[bytes, tuple[int, int]] = {}
        for a in np.flatnonzero(weighted).tolist():
            used = exposures.agreement_factor[a]
            try:
                if used.tobytes() not in found:
                    found[used.tobytes()] = worst_volatility_period(
                        exposures.market.returns[:, used], self.config.stress_days
                    )
                periods[a] = found[used.tobytes()]
            except InputError as error:
                self.failed[a] = True
                message = f"stress period: {error}"
                reason = FailureReason.MISSING_DATA
                self.failures.append(agreement_failure(exposures.book, a, reason, message))
        return periods


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


def _listed(names: np.ndarray) -> str:
    shown = ", ".join(str(name) for name in names[:MOST_SHOWN])
    return f"{shown} and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else shown
