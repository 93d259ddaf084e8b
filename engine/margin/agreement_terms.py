"""Agreements grouped by equal terms, and the days of history each one's factors have."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.domain.arrays import Int64Array
from engine.domain.book import Book
from engine.margin.exposure import Exposures


def by_equal_terms(
    book: Book, rows: Int64Array, names: tuple[str, ...]
) -> dict[tuple[Any, ...], Int64Array]:
    """Group the agreements `rows` by their values in the columns `names`, in order of the values.

    Members of a group are increasing.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for a in np.sort(rows).tolist():
        key = tuple(getattr(book.agreements, name)[a].item() for name in names)
        groups.setdefault(key, []).append(a)
    return {key: np.array(groups[key], dtype=np.int64) for key in sorted(groups)}


def days_used(exposures: Exposures, row: int, lookback_days: int) -> int:
    """Return the days of the lookback on which all factors of an agreement are known."""
    used = exposures.agreement_factor[row]
    known = np.isfinite(exposures.market.returns[-lookback_days:, used])
    return int(known.all(axis=1).sum())
