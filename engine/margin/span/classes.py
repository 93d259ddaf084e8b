"""Agreements grouped by what sets their scan ranges, and what their history cannot support."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.failures import Failure, FailureReason
from engine.margin.exposure import MOST_SHOWN, Exposures, agreement_failure
from engine.margin.span.rulebook import SpanRulebook
from engine.margin.span.scan_ranges import DailyVolatility, ScanKey, daily_volatility

MIN_RETURNS = 250
"""Fewest daily returns a volatility is estimated from: one year of business days."""


@dataclass(frozen=True)
class KeyedAgreements:
    """Agreements that can be margined, by key, and the failures of the others."""

    members: dict[ScanKey, Int64Array]
    volatility: dict[ScanKey, DailyVolatility]
    failures: tuple[Failure, ...]


def group_agreements(
    exposures: Exposures, rows: Int64Array, book: SpanRulebook, seed_days: int
) -> KeyedAgreements:
    """Group `rows` by scan key, leaving out agreements whose history is too short or still."""
    keys = {int(a): _key(exposures, int(a), book) for a in rows}
    found: dict[tuple[float, int], DailyVolatility] = {}
    for key in keys.values():
        name = (key.ewma_lambda, key.lookback_days)
        if name not in found:
            alike = [a for a, k in keys.items() if (k.ewma_lambda, k.lookback_days) == name]
            used: BoolArray = np.any(exposures.agreement_factor[alike], axis=0)
            found[name] = daily_volatility(exposures.market, used, *name, seed_days)
    volatility = {k: found[k.ewma_lambda, k.lookback_days] for k in keys.values()}
    held = _held_factors(exposures, rows)
    known = np.isfinite(exposures.market.returns)
    failures: list[Failure] = []
    groups: dict[ScanKey, list[int]] = {}
    for a, key in keys.items():
        days = (known[-key.lookback_days :] if key.lookback_days else known).sum(axis=0)
        failure = _failure(exposures, a, held[a], days, volatility[key].today)
        if failure is not None:
            failures.append(failure)
        else:
            groups.setdefault(key, []).append(a)
    members = {key: np.array(sorted(some), dtype=np.int64) for key, some in groups.items()}
    return KeyedAgreements(members, volatility, tuple(failures))


def _key(exposures: Exposures, a: int, book: SpanRulebook) -> ScanKey:
    agreements = exposures.book.agreements
    decay, venue = float(agreements.ewma_lambda[a]), str(agreements.venue[a])
    return ScanKey(
        venue=venue if venue in book.venues else "",
        confidence=float(agreements.confidence[a]),
        mpor_days=int(agreements.mpor_days[a]),
        ewma_lambda=decay,
        lookback_days=0 if decay < 1.0 else int(agreements.lookback_days[a]),
    )


def _held_factors(exposures: Exposures, rows: Int64Array) -> dict[int, Int64Array]:
    """Return the underlying factors of each agreement; volatility factors are not scanned."""
    agreement = exposures.pair_agreement[exposures.position_pair]
    factor = exposures.instruments.factor[exposures.position_instrument]
    uses = np.zeros((len(exposures.book.agreements), len(exposures.market.factors)), np.bool_)
    uses[agreement, factor] = True
    return {int(a): np.flatnonzero(uses[a]).astype(np.int64) for a in rows}


def _failure(
    exposures: Exposures, a: int, held: Int64Array, days: Int64Array, today: Float64Array
) -> Failure | None:
    names = exposures.market.factors.factor_id
    short = held[days[held] < MIN_RETURNS]
    still = held[~(today[held] > 0.0)]
    if len(short):
        message = (
            f"factors {_listed(names[short])} have {int(days[short].min())} daily returns in its "
            f"lookback, fewer than {MIN_RETURNS}; lengthen the history or the lookback, or remove "
            "the positions"
        )
        return agreement_failure(exposures.book, a, FailureReason.MISSING_DATA, message)
    if len(still):
        message = (
            f"factors {_listed(names[still])} do not move and have a daily_vol_floor of 0; give "
            "them one above 0"
        )
        return agreement_failure(exposures.book, a, FailureReason.INVALID, message)
    return None


def _listed(names: StrArray) -> str:
    shown = ", ".join(str(name) for name in names[:MOST_SHOWN])
    return f"{shown} and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else shown
