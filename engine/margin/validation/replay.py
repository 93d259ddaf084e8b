"""Replay of an episode: the margin of unchanged positions on every day of a real history.

Each day is computed with what was known at its close. Cleared margin is computed twice more: with
the volatility of the day at the levels of the reference day, and with the levels of the day at the
volatility of the reference day. Uncleared margin is computed once more with the sensitivities of
the reference day: what then still moves is the model, and a standard model does not move within
its version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.market import FactorTable, MarketState
from engine.domain.results import MarginResult
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.exposure import net_positions
from engine.margin.standard_margin import version_in_force
from engine.margin.validation.replay_result import ReplayConfig, ReplayResult, replay_anchors
from engine.market.levels import Levels
from engine.market.state import build_market
from engine.pricing.sensitivities import crif_from_positions
from engine.pricing.value import value_per_unit

__all__ = ["ReplayConfig", "ReplayResult", "replay_anchors", "replay_margin"]

KINDS = ("cleared", "bilateral", "prime")


def replay_margin(
    book: Book,
    factors: FactorTable,
    levels: Levels,
    config: ReplayConfig,
    user_levels: Levels | None = None,
) -> ReplayResult:
    """Compute margin and profit of the book's positions on every day of an episode.

    Parameters
    ----------
    book : Book
        Positions and agreements, held constant; its date does not matter. `factor_id` and
        `vol_factor_id` of the instruments name factors of `factors`.
    factors, levels, user_levels
        As for `engine.market.state.build_market`.
    config : ReplayConfig

    Returns
    -------
    ReplayResult
        An agreement that cannot be margined on one of the days is left out of all of them and
        named, so that sums of different days compare.

    Raises
    ------
    InputError
        If the history does not reach the episode or a factor begins or ends within it.

    Notes
    -----
    Daily profit is the change in value of the positions, at the exchange rates of the day. IM is
    before add-ons.
    """
    needed = _needed(book)
    last = build_market(
        factors, levels, config.end, user_levels, config.max_stale_days, factor_ids=needed
    )
    days = last.value.dates
    inside = np.flatnonzero((days >= np.datetime64(config.start)) & (days <= last.value.dates[-1]))
    if len(inside) < 2 or inside[0] == 0 or days[inside[0]] > np.datetime64(config.reference):
        raise InputError(
            f"the history has {len(inside)} days from {config.start} to {config.end}; give one "
            "that covers the episode and a day before it"
        )
    markets = [
        build_market(
            factors, levels, day.item(), user_levels, config.max_stale_days, factor_ids=needed
        ).value
        for day in days[inside[0] - 1 : inside[-1] + 1]
    ]
    _same_factors(markets)
    replayed = _Replay(book, markets, config)
    return replayed.result(last.failures)


class _Replay:
    """The runs of an episode: `markets[0]` is the day before the first."""

    def __init__(self, book: Book, markets: list[MarketState], config: ReplayConfig) -> None:
        self.config = config
        self.markets = markets
        self.book = _on_market(book, markets[0])
        limit = np.datetime64(config.reference)
        self.reference = [m for m in markets if np.datetime64(m.as_of) <= limit][-1]
        self.failures: dict[tuple[str, str, str], Failure] = {}
        self.failed_days: dict[str, list[str]] = {}

    def result(self, failures: tuple[Failure, ...]) -> ReplayResult:
        for failure in failures:
            self._note(failure)
        kind = {
            str(name): str(kind)
            for name, kind in zip(
                self.book.agreements.agreement_id, self.book.agreements.kind, strict=True
            )
        }
        crif = self._reference_sensitivities()
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ("im", "vol", "lev", "fix")}
        cleared, bilateral = (_under(self.book, one) for one in ("cleared", "bilateral"))
        for market in self.markets[1:]:
            runs["im"].append(self._margin(self.book, market))
            runs["vol"].append(self._margin(cleared, _at_levels(market, self.reference)))
            runs["lev"].append(self._margin(cleared, _at_levels(self.reference, market)))
            runs["fix"].append(self._margin(bilateral, market, crif))
        alive = [
            name
            for name in kind
            if all(name in day for results in runs.values() for day in results)
        ]
        self._name_lost([name for name in kind if name not in alive])
        profit = np.array(list(self._profits(alive)))
        table = {name: _matrix(results, alive) for name, results in runs.items()}
        dates = np.array([m.as_of for m in self.markets[1:]], dtype="datetime64[D]")
        kinds = np.array([kind[name] for name in alive], dtype=np.object_)
        simm = bool((self.book.agreements.model == "simm").any())
        version, in_force = version_in_force(
            self.reference.as_of, self.config.margin.simm_horizon_days
        )
        if self.config.margin.simm_version is not None:
            version, in_force = self.config.margin.simm_version, True
        return ReplayResult(
            days=_days(dates, kinds, table, profit),
            agreements=_by_agreement(dates, alive, kinds, table["im"], profit),
            config=self.config,
            simm_version=version if simm else None,
            in_force=in_force if simm else True,
            failures=tuple(self.failures.values()),
        )

    def _margin(
        self, book: Book, market: MarketState, crif: CrifTable | None = None
    ) -> dict[str, float]:
        book = replace(book, as_of=market.as_of)
        # A report of today says nothing of the days replayed.
        found: MarginResult = calculate_margin_requirements(
            book, market, self.config.margin, crif, anchors={}
        )
        for failure in found.failures:
            self._note(failure)
        return dict(zip(map(str, found.agreement_id), found.im_usd.tolist(), strict=True))

    def _reference_sensitivities(self) -> CrifTable:
        return crif_from_positions(replace(self.book, as_of=self.reference.as_of), self.reference)

    def _profits(self, alive: list[str]) -> Iterator[Float64Array]:
        """Profit of each agreement in `alive` on each day after the first, USD."""
        rows = {str(name): a for a, name in enumerate(self.book.agreements.agreement_id)}
        wanted = [rows[name] for name in alive]
        before: Float64Array | None = None
        for market in self.markets:
            exposures = net_positions(replace(self.book, as_of=market.as_of), market)
            value = value_per_unit(exposures.instruments, market)
            if before is not None:
                change = np.asarray(exposures.quantity_usd @ (value - before))
                by_agreement = np.bincount(
                    exposures.pair_agreement, change, minlength=len(self.book.agreements)
                )
                yield np.asarray(by_agreement[wanted], dtype=np.float64)
            before = value

    def _note(self, failure: Failure) -> None:
        self.failures.setdefault((failure.reason.value, failure.item, failure.where), failure)

    def _name_lost(self, names: list[str]) -> None:
        for name in names:
            message = "it has no margin on some day of the episode and is left out of all days"
            reason = FailureReason.CALCULATION_FAILED
            self._note(Failure(reason, name, f"agreement {name}, replay", message))


def _needed(book: Book) -> list[str]:
    instruments = book.instruments
    names = [*instruments.factor_id, *instruments.vol_factor_id]
    return list(dict.fromkeys(str(name) for name in names if name))


def _same_factors(markets: list[MarketState]) -> None:
    first = markets[0].factors.factor_id
    for market in markets[1:]:
        if not np.array_equal(first, market.factors.factor_id):
            changed = set(first) ^ set(market.factors.factor_id)
            raise InputError(
                f"factors {', '.join(sorted(changed))} begin or end before {market.as_of}; a "
                "replay needs the same factors on every day: lengthen their history or drop them"
            )


def _on_market(book: Book, market: MarketState) -> Book:
    index = market.index()
    old = book.instruments

    def columns(names: Any) -> Int64Array:
        return np.array([index.get(str(name), -1) for name in names], dtype=np.int64)

    new = replace(old, factor=columns(old.factor_id), vol_factor=columns(old.vol_factor_id))
    return replace(book, instruments=new)


def _under(book: Book, kind: str) -> Book:
    """Return the book with only the positions under agreements of one kind."""
    kept = np.flatnonzero(book.agreements.kind[book.positions.agreement] == kind)
    columns = {name: column[kept] for name, column in vars(book.positions).items()}
    return replace(book, positions=replace(book.positions, **columns))


def _at_levels(history: MarketState, levels: MarketState) -> MarketState:
    """Return the volatility of one day at the levels, exchange rates and date of another."""
    return replace(
        levels, dates=history.dates, returns=history.returns, filled_days=history.filled_days
    )


def _matrix(results: list[dict[str, float]], names: list[str]) -> Float64Array:
    shape = (len(results), len(names))
    return np.array([[day[name] for name in names] for day in results]).reshape(shape)


def _days(
    dates: Any, kinds: Any, table: dict[str, Float64Array], profit: Float64Array
) -> pd.DataFrame:
    def total(name: str, kind: str) -> Float64Array:
        return np.asarray(table[name][:, kinds == kind].sum(axis=1))

    return pd.DataFrame(
        {
            "date": [str(day) for day in dates],
            **{f"{kind}_im_usd": total("im", kind) for kind in KINDS},
            "cleared_by_volatility_usd": total("vol", "cleared"),
            "cleared_by_levels_usd": total("lev", "cleared"),
            "bilateral_fixed_usd": total("fix", "bilateral"),
            "profit_usd": profit.sum(axis=1),
            "vm_call_usd": np.maximum(-profit, 0.0).sum(axis=1),
            "vm_flow_usd": np.abs(profit).sum(axis=1),
        }
    )


def _by_agreement(
    dates: Any, names: list[str], kinds: Any, im: Float64Array, profit: Float64Array
) -> pd.DataFrame:
    n = len(dates)
    return pd.DataFrame(
        {
            "date": np.repeat([str(day) for day in dates], len(names)),
            "agreement_id": names * n,
            "kind": list(kinds) * n,
            "im_usd": im.ravel(),
            "profit_usd": profit.ravel(),
        }
    )
