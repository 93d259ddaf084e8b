"""What is known of model changes: impact by agreement and manager, calendar, margin on a date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.failures import Failure
from engine.margin.model_changes.registry import ModelChange


@dataclass(frozen=True)
class NotComputed:
    """A change that is listed only, and why."""

    change: ModelChange
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        change = self.change
        return {
            "change_id": change.change_id,
            "title": change.title,
            "kind": change.kind,
            "status": change.status,
            "effective_cob": None if change.effective_cob is None else str(change.effective_cob),
            "period": change.period,
            "mark": change.mark,
            "source": change.source,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class ChangeImpact:
    """Margin of the agreements a change touches, before and after it in full, in USD.

    Arrays have shape (n_touched,); stress ones (n_multipliers, n_touched), add-ons included.
    `touched` are rows of the book's agreements. `required` is IM plus add-ons. `by_manager` is the
    step of each manager's IM. `sub_accounts` counts agreements split by the product filter.
    """

    change: ModelChange
    touched: Int64Array
    agreement_id: StrArray
    im_before_usd: Float64Array
    im_after_usd: Float64Array
    required_before_usd: Float64Array
    required_after_usd: Float64Array
    stress_before_usd: Float64Array
    stress_after_usd: Float64Array
    by_manager: dict[str, float]
    sub_accounts: int = 0

    def step_usd(self) -> float:
        """Return the step of required margin, agreements that cannot be margined left out."""
        return float(np.nansum(self.required_after_usd - self.required_before_usd))

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Return the JSON object; `labels` name the multipliers."""
        change = self.change
        im = float(np.nansum(self.im_after_usd - self.im_before_usd))
        stress = np.nansum(self.stress_after_usd - self.stress_before_usd, axis=1)
        return {
            "change_id": change.change_id,
            "title": change.title,
            "kind": change.kind,
            "status": change.status,
            "effective_cob": None if change.effective_cob is None else str(change.effective_cob),
            "first_call_date": None if not change.first_call_date else str(change.first_call_date),
            "mark": change.mark,
            "source": change.source,
            "note": change.note,
            "im_step_usd": im,
            "step_usd": self.step_usd(),
            "stress_step_usd": dict(zip(labels, map(float, stress), strict=True)),
            "sub_accounts": self.sub_accounts,
            "agreements": [
                {
                    "agreement_id": str(name),
                    "im_before_usd": float(self.im_before_usd[i]),
                    "im_after_usd": float(self.im_after_usd[i]),
                    "step_usd": float(self.required_after_usd[i] - self.required_before_usd[i]),
                }
                for i, name in enumerate(self.agreement_id)
            ],
            "by_manager_im_step_usd": self.by_manager,
        }


@dataclass(frozen=True)
class CalendarEvent:
    """One date in the next 12 months.

    `event` is `announced`, `parallel run`, `close of business` (the margin steps by `im_step_usd`)
    or `call` (`call_usd` is to be paid; negative: returned). `weight` is that of the new margin
    from then on. `collisions` names other changes with an event in the same week.
    """

    day: date
    event: str
    change_id: str
    weight: float
    im_step_usd: float
    call_usd: float
    month_end: bool
    quarter_end: bool
    collisions: tuple[str, ...]
    mark: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**vars(self), "day": str(self.day), "collisions": list(self.collisions)}


@dataclass(frozen=True)
class ModelChangeResult:
    """Impact of model changes on today's book.

    Arrays have shape (n_agreements,) in the order of the book, NaN for agreements that cannot be
    margined; `stress_usd` is (n_multipliers, n_agreements). They are under the rules of the book.
    """

    as_of: date
    book_date: date
    agreement_id: StrArray
    kind: StrArray
    labels: tuple[str, ...]
    im_usd: Float64Array
    required_usd: Float64Array
    stress_usd: Float64Array
    impacts: tuple[ChangeImpact, ...]
    calendar: tuple[CalendarEvent, ...]
    not_computed: tuple[NotComputed, ...]
    failures: tuple[Failure, ...] = ()

    def required_on(self, cob: date) -> Float64Array:
        """IM plus add-ons of today's book at close of business `cob`, (n_agreements,), USD."""
        return self._blend(self.required_usd, "required", lambda change: change.weight(cob))

    def im_on(self, cob: date) -> Float64Array:
        """Return IM of today's book at close of business `cob`, (n_agreements,), USD."""
        return self._blend(self.im_usd, "im", lambda change: change.weight(cob))

    def called_on(self, day: date) -> Float64Array:
        """IM plus add-ons on which the calls of `day` rest, (n_agreements,), USD."""
        return self._blend(self.required_usd, "required", lambda change: change.called_weight(day))

    def _blend(
        self, base: Float64Array, name: str, weight: Callable[[ModelChange], float]
    ) -> Float64Array:
        """Margin = (1 - w) * margin so far + w * margin after the change, in order of dates."""
        out = base.copy()
        for impact in self.impacts:
            if impact.change.effective_cob is None:
                continue
            w = weight(impact.change)
            after: Float64Array = getattr(impact, f"{name}_after_usd")
            out[impact.touched] = (1.0 - w) * out[impact.touched] + w * after
        return out

    def summary(self, largest: int = 10) -> dict[str, Any]:
        """Return today's margin, the largest steps and the next dates."""
        order = sorted(self.impacts, key=lambda impact: -abs(impact.step_usd()))[:largest]
        return {
            "as_of": str(self.as_of),
            "required_usd": float(np.nansum(self.required_usd)),
            "changes": len(self.impacts),
            "not_computed": len(self.not_computed),
            "largest": [
                {"change_id": i.change.change_id, "step_usd": i.step_usd(), "mark": i.change.mark}
                for i in order
            ],
            "next": [event.to_dict() for event in self.calendar[:largest]],
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of `mca changes --json`."""
        return {
            "as_of": str(self.as_of),
            "book_date": str(self.book_date),
            "currency": "USD",
            "im_usd": float(np.nansum(self.im_usd)),
            "required_usd": float(np.nansum(self.required_usd)),
            "stress_usd": dict(
                zip(self.labels, map(float, np.nansum(self.stress_usd, axis=1)), strict=True)
            ),
            "changes": [impact.to_dict(self.labels) for impact in self.impacts],
            "calendar": [event.to_dict() for event in self.calendar],
            "not_computed": [item.to_dict() for item in self.not_computed],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return impact by agreement, by manager, the calendar and what was not computed."""
        agreements, managers = [], []
        for impact in self.impacts:
            name = impact.change.change_id
            for i, agreement in enumerate(impact.agreement_id):
                row: dict[str, Any] = {"change_id": name, "agreement_id": str(agreement)}
                for column in ("im_before", "im_after", "required_before", "required_after"):
                    row[f"{column}_usd"] = float(getattr(impact, f"{column}_usd")[i])
                for label, before, after in zip(
                    self.labels, impact.stress_before_usd, impact.stress_after_usd, strict=True
                ):
                    row[f"before_{label}_usd"] = float(before[i])
                    row[f"after_{label}_usd"] = float(after[i])
                agreements.append({**row, "mark": impact.change.mark})
            managers += [
                {"change_id": name, "manager_id": manager, "im_step_usd": step}
                for manager, step in impact.by_manager.items()
            ]
        events = [
            {**event.to_dict(), "collisions": ";".join(event.collisions)} for event in self.calendar
        ]
        listed = [item.to_dict() for item in self.not_computed]
        return {
            "model_changes_by_agreement": pd.DataFrame(agreements),
            "model_changes_by_manager": pd.DataFrame(managers),
            "model_changes_calendar": pd.DataFrame(events),
            "model_changes_not_computed": pd.DataFrame(listed),
        }
