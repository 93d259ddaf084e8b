"""Shares of margin, in cents that sum to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import Int64Array, StrArray
from engine.domain.failures import Failure
from engine.domain.money import CENTS_PER_UNIT


@dataclass(frozen=True)
class Attribution:
    """Shares in int64 cents of USD; arrays have shape (n_rows,), one row per share.

    `component` is `im`, or the name of an add-on. `method` is the rule used for the row. The rows
    of an agreement and component sum to its amount, rounded to cents.
    """

    as_of: date
    by: str
    agreement_id: StrArray
    label: StrArray
    component: StrArray
    method: StrArray
    amount_cents: Int64Array
    failures: tuple[Failure, ...] = ()

    def total_cents(self) -> int:
        """Return the sum of all shares."""
        return int(self.amount_cents.sum())

    def by_label(self) -> dict[str, dict[str, float]]:
        """Return {label: {component: USD, "total": USD}}, largest total first."""
        frame = self.tables()[f"margin_by_{self.by}"]
        columns = [c for c in frame.columns if c != self.by]
        return {
            str(row[self.by]): {c.removesuffix("_usd"): float(row[c]) for c in columns}
            for row in frame.to_dict("records")
        }

    def summary(self, largest: int = 10) -> dict[str, Any]:
        """Return the total and the `largest` shares."""
        return {
            "by": self.by,
            "total_usd": self.total_cents() / CENTS_PER_UNIT,
            "largest": dict(list(self.by_label().items())[:largest]),
            "methods": sorted(set(map(str, self.method))),
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object: totals by label, and every share."""
        return {
            "by": self.by,
            "total_usd": self.total_cents() / CENTS_PER_UNIT,
            "by_label": self.by_label(),
            "shares": self.tables()[f"attribution_by_{self.by}"].to_dict("records"),
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return every share, and the totals by label with one column per component."""
        rows = pd.DataFrame(
            {
                "agreement_id": self.agreement_id,
                self.by: self.label,
                "component": self.component,
                "amount_usd": self.amount_cents / CENTS_PER_UNIT,
                "method": self.method,
            }
        )
        labels, at = np.unique(self.label.astype(str), return_inverse=True)
        parts = sorted(set(self.component), key=lambda c: (c != "im", c))
        cents: dict[str, Int64Array] = {}
        for part in parts:
            rows_of = self.component == part
            cents[f"{part}_usd"] = np.zeros(len(labels), dtype=np.int64)
            np.add.at(cents[f"{part}_usd"], at[rows_of], self.amount_cents[rows_of])
        whole = np.sum([np.zeros(len(labels), dtype=np.int64), *cents.values()], axis=0)
        cents["total_usd"] = whole
        totals = pd.DataFrame(
            {self.by: labels, **{n: c / CENTS_PER_UNIT for n, c in cents.items()}}
        ).iloc[np.argsort(-whole, kind="stable")]
        return {
            f"attribution_by_{self.by}": rows,
            f"margin_by_{self.by}": totals.reset_index(drop=True),
        }
