"""The model `close_out`: the worst cumulated cash flow while an account is closed day by day.

Positions and posted collateral close together, each at its own speed, along every path of the
whole history. Moves are not filtered, so the margin does not follow volatility.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.failures import Failure, FailureReason, InputError
from engine.margin.close_out.book import CloseOutBook, close_out_book
from engine.margin.close_out.config import (
    CloseOutConfig,
    CloseOutTerms,
    PostedAsset,
    close_out_terms,
)
from engine.margin.close_out.paths import PathLoss, open_fraction, path_moves, worst_cash_flow
from engine.margin.config import MarginConfig
from engine.margin.enough_history import listed
from engine.margin.exposure import Exposures, agreement_failure, unit_pnl
from engine.margin.family import FamilyMargin, pairs_of, pro_rata
from engine.margin.historical import (
    MIN_SCENARIOS,
    first_observation,
    tail_count,
    worst_volatility_period,
)

__all__ = ["CloseOutConfig", "PostedAsset", "PreparedCloseOut", "prepare"]

# P&L numbers held at once: 64 MB. A chunk of paths is as long as that allows.
NUMBERS_IN_MEMORY = 8_000_000
FEWEST_PATHS_AT_ONCE = 64


@dataclass(frozen=True)
class TailPath:
    """Path that sets an account's margin: its start (row of the returns), worst day, and kind."""

    start: int
    day: int
    kind: str


class PreparedCloseOut:
    """Agreements of the model `close_out`; everything is computed once.

    Attributes
    ----------
    failures : tuple of Failure
        Agreements without enough history, factors without volume, collateral left out.
    """

    def __init__(
        self, exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: CloseOutConfig
    ) -> None:
        self.terms: CloseOutTerms = close_out_terms(own)
        self.rows = np.asarray(rows, dtype=np.int64)
        self.book: CloseOutBook = close_out_book(exposures, self.rows, own.posted, self.terms)
        self._failures: list[Failure] = list(self.book.failures)
        self._returns = np.where(
            np.isfinite(exposures.market.returns), exposures.market.returns, 0.0
        )
        self._first_row = first_observation(exposures.market.returns)
        self._horizon = self.book.horizon()
        self._crisis: dict[int, tuple[int, int]] = {}
        self._begin = np.zeros(len(self.rows), dtype=np.int64)
        alive = [i for i in range(len(self.rows)) if self._has_history(i, margin)]
        self._answer = self._all(alive)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return what could not be margined or was margined on less than asked."""
        return tuple(self._failures)

    def margin(self, scale: Float64Array) -> FamilyMargin:
        """Return the margin; it does not follow volatility, so `scale` is not used."""
        return self._answer

    def _has_history(self, i: int, margin: MarginConfig) -> bool:
        """Set the first path and the crisis of an account; fail it if it has too few paths."""
        exposures, a = self.book.exposures, int(self.rows[i])
        used = self.book.used_factors(i)
        if not len(used):
            return True
        self._begin[i] = self._first_row[used].max()
        paths = len(self._returns) - int(self._begin[i]) - int(self._horizon[i]) + 1
        names = exposures.market.factors.factor_id
        if paths < MIN_SCENARIOS:
            young = used[self._first_row[used] == self._begin[i]]
            message = (
                f"all history gives {max(0, paths)} paths of {self._horizon[i]} days of "
                f"{listed(names[young])}, fewer than {MIN_SCENARIOS}; lengthen the history, or "
                "remove the positions"
            )
            reason = FailureReason.MISSING_DATA
            self._failures.append(agreement_failure(exposures.book, a, reason, message))
            return False
        if self.terms.crisis_paths:
            try:
                self._crisis[i] = worst_volatility_period(
                    exposures.market.returns[:, used], margin.stress_days
                )
            except InputError as error:
                message = f"crisis paths: {error}"
                reason = FailureReason.MISSING_DATA
                self._failures.append(agreement_failure(exposures.book, a, reason, message))
                return False
        return True

    def _all(self, alive: list[int]) -> FamilyMargin:
        exposures = self.book.exposures
        pairs = pairs_of(exposures, self.rows)
        im = np.full(len(self.rows), np.nan)
        pair_im = np.full(len(pairs), np.nan)
        basis: dict[str, dict[str, Any]] = {}
        names = exposures.book.agreements.agreement_id
        result = self._losses()
        owner = exposures.pair_agreement[pairs]
        for i in alive:
            im[i], tail = self._tail(result, i)
            a = int(self.rows[i])
            at = slice(*np.searchsorted(owner, [a, a + 1]))
            pair_im[at] = self._shares(i, pairs[at], float(im[i]), tail)
            basis[str(names[a])] = self._basis(i, tail)
        return FamilyMargin(self.rows, im, pairs, pair_im, {}, basis)

    def _losses(self) -> PathLoss:
        """Worst cumulated cash of every account on every path, start row 0 to the last."""
        shape = (len(self.rows), len(self._returns))
        loss, day = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        horizon = int(self._horizon.max(initial=1))
        numbers = max(1, len(self.book.held)) * horizon
        step = max(FEWEST_PATHS_AT_ONCE, NUMBERS_IN_MEMORY // numbers)
        for first in range(0, shape[1], step):
            last = min(first + step, shape[1])
            pnl = self._pnl_by_day(first, last, horizon)
            part = worst_cash_flow(pnl, self.book.quantity, self.book.days)
            loss[:, first:last], day[:, first:last] = part.loss, part.day
        return PathLoss(loss, day)

    def _pnl_by_day(self, first: int, last: int, horizon: int) -> list[Float64Array]:
        """P&L of one unit from the start to each day; not revalued once every account is out."""
        book = self.book
        longest = np.zeros(len(book.held), dtype=np.int64)
        np.maximum.at(longest, book.quantity.indices, book.days)
        out: list[Float64Array] = []
        for d, moves in enumerate(path_moves(self._returns, first, last, horizon), start=1):
            now = out[-1].copy() if out else np.zeros((len(book.held), last - first))
            still = np.flatnonzero(longest >= d)
            now[still] = unit_pnl(book.exposures, book.held[still], moves)
            out.append(now)
        return out

    def _tail(self, result: PathLoss, i: int) -> tuple[float, TailPath]:
        """Margin of an account and the path that sets it."""
        first = int(self._begin[i])
        last = len(self._returns) - int(self._horizon[i]) + 1
        loss = result.loss[i, first:last]
        if not np.isfinite(loss).all():
            return float("nan"), TailPath(first, 0, "history")
        confidence = float(self.book.exposures.book.agreements.confidence[self.rows[i]])
        order = np.argsort(-loss, kind="stable")
        start, kind = first + int(order[tail_count(len(loss), confidence) - 1]), "history"
        if i in self._crisis:
            # A crisis that lasts to the last day has fewer paths: they must be whole.
            begin, end = min(self._crisis[i][0], last - 1), min(self._crisis[i][1] + 1, last)
            worst = begin + int(np.argmax(result.loss[i, begin:end]))
            if result.loss[i, worst] > result.loss[i, start]:
                start, kind = worst, "crisis"
        return float(result.loss[i, start]), TailPath(start, int(result.day[i, start]), kind)

    def _shares(self, i: int, pairs: Int64Array, margin: float, tail: TailPath) -> Float64Array:
        """Each manager's loss to the worst day of the tail path, at the account's schedule.

        Posted collateral belongs to no manager: its part is spread by the size of the shares.
        """
        if not margin > 0.0:
            return np.full(len(pairs), margin)
        book = self.book
        column, days = book.entries(i)
        returns = self._returns[tail.start : tail.start + tail.day]
        pnl = unit_pnl(book.exposures, book.held[column], np.cumsum(returns, axis=0))
        daily = np.diff(pnl, axis=1, prepend=0.0)
        gain = (daily * open_fraction(days, tail.day).T).sum(axis=1)
        held = book.held[column]
        shares = -np.asarray(book.exposures.quantity_usd[pairs][:, held] @ gain)
        collateral = -float((book.posted[[i]][:, column] @ gain)[0])
        spread = np.zeros(len(pairs), dtype=np.int64)
        return shares + pro_rata(np.array([collateral]), np.abs(shares), spread)

    def _basis(self, i: int, tail: TailPath) -> dict[str, Any]:
        exposures, terms = self.book.exposures, self.terms
        dates, names = exposures.market.dates, exposures.market.factors.factor_id
        column, days = self.book.entries(i)
        factor = exposures.instruments.factor[self.book.held[column]]
        posted = self.book.posted[[i]].indices
        crisis = self._crisis.get(i)
        return {
            "scenarios": len(dates) - int(self._begin[i]) - int(self._horizon[i]) + 1,
            "history_from": str(dates[int(self._begin[i])]),
            "horizon_days": int(self._horizon[i]),
            "days_to_close": {str(names[k]): int(n) for k, n in zip(factor, days, strict=True)},
            "tail_path": {
                "kind": tail.kind,
                "first_day": str(dates[tail.start]),
                "worst_day": tail.day,
            },
            "crisis_period": [str(dates[row]) for row in crisis] if crisis else None,
            "collateral": [
                str(exposures.instruments.instrument_id[self.book.held[c]]) for c in posted
            ]
            or "cash only",
            "participation": terms.participation,
            "rulebook": f"close_out:{terms.version}",
            "marks": dict(terms.marks),
        }


def prepare(
    exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: CloseOutConfig
) -> PreparedCloseOut:
    """Prepare the model `close_out` for the agreements `rows` (`docs/methodology/close_out.md`)."""
    return PreparedCloseOut(exposures, rows, margin, own)
