"""A change of margin between two dates or two sets of rules, in parts that sum to the cent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import Int64Array, StrArray
from engine.domain.failures import Failure
from engine.domain.money import CENTS_PER_UNIT

STEPS = ("positions", "market", "rules")
ADD_ONS = "add_ons"
NEW = "new_agreements"
CLOSED = "closed_agreements"
NOT_SEPARATED = "not_separated"
"""Change of agreements that cannot be margined in every state needed."""


@dataclass(frozen=True)
class MarginChange:
    """Change of required margin; arrays have shape (n_agreements,), int64 cents of USD.

    Agreements are those of both sides, before's first. `contributions` maps `STEPS`, `add_ons`,
    `new_agreements`, `closed_agreements` and `not_separated` to cents; they sum to `after_cents -
    before_cents` for every agreement. `add_on_steps` splits each add-on by `STEPS`.
    """

    before_as_of: date
    after_as_of: date
    method: str
    agreement_id: StrArray
    before_cents: Int64Array
    after_cents: Int64Array
    contributions: dict[str, Int64Array]
    add_on_steps: dict[str, dict[str, Int64Array]]
    failures: tuple[Failure, ...] = ()

    def change_cents(self) -> Int64Array:
        """Return the change of each agreement."""
        return np.asarray(self.after_cents - self.before_cents)

    def totals_cents(self) -> dict[str, int]:
        """Return the sum of every contribution over agreements."""
        return {name: int(cents.sum()) for name, cents in self.contributions.items()}

    def summary(self, largest: int = 10) -> dict[str, Any]:
        """Return totals and the `largest` changes by agreement."""
        order = np.argsort(-np.abs(self.change_cents()), kind="stable")[:largest]
        return {
            "before": str(self.before_as_of),
            "after": str(self.after_as_of),
            "method": self.method,
            "before_usd": int(self.before_cents.sum()) / CENTS_PER_UNIT,
            "after_usd": int(self.after_cents.sum()) / CENTS_PER_UNIT,
            "change_usd": int(self.change_cents().sum()) / CENTS_PER_UNIT,
            "contributions_usd": {
                name: cents / CENTS_PER_UNIT for name, cents in self.totals_cents().items()
            },
            "largest": [self._row(int(i)) for i in order],
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of `mca explain BEFORE AFTER --json`."""
        return {
            **{key: value for key, value in self.summary(0).items() if key != "largest"},
            "order": list(STEPS),
            "add_on_steps_usd": {
                kind: {step: int(cents.sum()) / CENTS_PER_UNIT for step, cents in steps.items()}
                for kind, steps in self.add_on_steps.items()
            },
            "agreements": [self._row(i) for i in range(len(self.agreement_id))],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def _row(self, i: int) -> dict[str, Any]:
        return {
            "agreement_id": str(self.agreement_id[i]),
            "before_usd": int(self.before_cents[i]) / CENTS_PER_UNIT,
            "after_usd": int(self.after_cents[i]) / CENTS_PER_UNIT,
            "change_usd": int(self.after_cents[i] - self.before_cents[i]) / CENTS_PER_UNIT,
            **{
                f"{name}_usd": int(cents[i]) / CENTS_PER_UNIT
                for name, cents in self.contributions.items()
            },
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `margin_change_by_agreement`."""
        rows = [self._row(i) for i in range(len(self.agreement_id))]
        columns = ["agreement_id", "before_usd", "after_usd", "change_usd"]
        columns += [f"{name}_usd" for name in self.contributions]
        return {"margin_change_by_agreement": pd.DataFrame(rows, columns=columns)}
