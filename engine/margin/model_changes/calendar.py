"""When model changes move margin and cash in the next 12 months, and what else falls there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from engine.margin.model_changes.registry import ModelChange
from engine.margin.model_changes.results import CalendarEvent, ChangeImpact


def year_after(day: date) -> date:
    """Return the same day a year later; 28 February for 29 February."""
    try:
        return day.replace(year=day.year + 1)
    except ValueError:
        return day.replace(year=day.year + 1, day=28)


def last_business_day(day: date) -> date:
    """Return the last business day (Monday to Friday) of the month of `day`.

    `last_business_day(date(2026, 1, 5)) == date(2026, 1, 30)`.
    """
    following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    last = np.busday_offset(following - timedelta(days=1), 0, roll="backward")
    return date.fromisoformat(str(last))


def calendar_events(
    impacts: Sequence[ChangeImpact], changes: Sequence[ModelChange], start: date
) -> tuple[CalendarEvent, ...]:
    """Return the events after `start` and up to 12 months later, in order of date.

    A change that was not computed keeps its dates, with no steps. The step of a phase is the
    change of its weight times the step of the change in full, if earlier changes are in full by
    then.
    """
    end = year_after(start)
    computed = {impact.change.change_id: impact for impact in impacts}
    events = [
        event
        for change in changes
        for event in _events(change, computed.get(change.change_id))
        if start < event.day <= end
    ]
    events.sort(key=lambda event: (event.day, event.event, event.change_id))
    weeks: dict[tuple[int, int], set[str]] = {}
    for event in events:
        weeks.setdefault(event.day.isocalendar()[:2], set()).add(event.change_id)
    return tuple(
        replace(
            event,
            collisions=tuple(sorted(weeks[event.day.isocalendar()[:2]] - {event.change_id})),
        )
        for event in events
    )


def _events(change: ModelChange, impact: ChangeImpact | None) -> list[CalendarEvent]:
    im = step = 0.0
    if impact is not None:
        im = float(np.nansum(impact.im_after_usd - impact.im_before_usd))
        step = impact.step_usd()
    out = [
        _event(day, name, change, 0.0, 0.0, 0.0)
        for day, name in ((change.announced, "announced"),
                          (change.parallel_run_from, "parallel run"))
        if day is not None
    ]  # fmt: skip
    if change.effective_cob is None:
        return out
    phases = [(phase.cob_date, phase.weight) for phase in change.phase_in]
    for day, weight, rise in _rises(phases or [(change.effective_cob, 1.0)]):
        out.append(_event(day, "close of business", change, weight, rise * im, 0.0))
    for day, weight, rise in _rises(change.call_dates()):
        out.append(_event(day, "call", change, weight, 0.0, rise * step))
    return out


def _rises(dates: Sequence[tuple[date, float]]) -> list[tuple[date, float, float]]:
    """Return date, weight, and the rise of the weight on it."""
    before = [0.0, *(weight for _, weight in dates)]
    return [(day, weight, weight - old) for (day, weight), old in zip(dates, before, strict=False)]


def _event(
    day: date, name: str, change: ModelChange, weight: float, im_step: float, call: float
) -> CalendarEvent:
    month_end = day == last_business_day(day)
    return CalendarEvent(
        day=day,
        event=name,
        change_id=change.change_id,
        weight=weight,
        im_step_usd=im_step,
        call_usd=call,
        month_end=month_end,
        quarter_end=month_end and day.month % 3 == 0,
        collisions=(),
        mark=change.mark,
    )
