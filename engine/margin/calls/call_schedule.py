"""When margin is called: runs of a clearing service in local time, or the hours of an agreement.

The runs of services are data (`engine/rulebooks/call_schedules.csv`). A time that was not read in
a source carries the mark `indicative` and must be shown with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType

import engine.rulebooks
from engine.domain.agreements import Agreements
from engine.domain.failures import InputError
from engine.rulebooks.calendars import (
    NO_HOLIDAYS,
    Holidays,
    is_business_day,
    payment_system,
)
from engine.rulebooks.services import load_services
from engine.rulebooks.tables import mark_of, read_table, time_zone

SCHEDULES_FILE = Path(engine.rulebooks.__file__).with_name("call_schedules.csv")
CALL_KINDS = ("vm", "im", "both")
RUNS = ("end_of_day", "intraday")
LONGEST_DEADLINE_MINUTES = 31 * 60
# Fields whose being unread makes the timing of a call indicative.
TIMING_FIELDS = ("local_time", "deadline_minutes")
# A week and a day hold every run of a week, whatever the weekend.
SEARCH_DAYS = 8


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """One run of margin calls a day.

    Attributes
    ----------
    run : str
        `end_of_day`: amounts are called and returned; `intraday`: only what the fund owes.
    local_time, time_zone
        When, in an IANA time zone.
    currency : str
        Of `tolerance`; its weekend has no runs.
    kind : str
        `vm`, `im` or `both`.
    deadline_minutes : int
        From the run to the end of the payment window.
    tolerance : float
        Amounts up to it are not called in this run; 0 where none.
    settle_from : time or None
        Local time at which the settlement slot opens, where it is known.
    mark : str
        `verified`, `indicative` or `user`; `indicative_fields` names what was not read.
    """

    run: str
    local_time: time
    time_zone: str
    currency: str
    kind: str
    deadline_minutes: int
    tolerance: float
    settle_from: time | None
    mark: str
    indicative_fields: tuple[str, ...]
    source: str

    @property
    def timing_mark(self) -> str:
        """Mark of hour and deadline together."""
        unread = set(TIMING_FIELDS) & set(self.indicative_fields)
        return "indicative" if unread else self.mark


@dataclass(frozen=True, slots=True)
class CallSchedule:
    """Runs of one service or agreement, in the order of the file; `owner` is its id."""

    owner: str
    runs: tuple[ScheduledRun, ...]


@dataclass(frozen=True, slots=True)
class RunTime:
    """A run on a day: when it calls and when payment is due, both UTC."""

    run: ScheduledRun
    issued_at: datetime
    deadline: datetime


def read_schedules(path: Path = SCHEDULES_FILE) -> tuple[str, tuple[CallSchedule, ...]]:
    """Read a file of schedules: its version, and the schedules in file order.

    Raises
    ------
    InputError
        With file and line, if a row is malformed; or if a service has no `end_of_day` run of
        each kind without tolerance, so that some calls would never be made.
    """
    version, rows = read_table(path)
    runs: dict[str, list[ScheduledRun]] = {}
    for where, row in rows:
        runs.setdefault(row["service_id"], []).append(_run(row, where))
    schedules = tuple(CallSchedule(owner, tuple(found)) for owner, found in runs.items())
    for schedule in schedules:
        _check_complete(schedule, path.name)
    return version, schedules


@cache
def load_schedules() -> MappingProxyType[str, CallSchedule]:
    """Return the packaged schedules by service id."""
    return MappingProxyType({s.owner: s for s in read_schedules()[1]})


def schedules_rulebook_id() -> str:
    """Return the id of the packaged schedules for provenance, `call_schedules:<version>`."""
    return f"call_schedules:{read_schedules()[0]}"


def service_schedule(service_id: str) -> CallSchedule:
    """Return the schedule of a clearing service; an unknown id is an InputError.

    `service_schedule("ASX_FUTURES")` has runs at 02:00, 08:05, 11:10 and 13:30 Sydney time.
    """
    schedules = load_schedules()
    if service_id not in schedules:
        raise InputError(
            f"service {service_id!r} has no call schedule; use a service_id of "
            f"{SCHEDULES_FILE.name}"
        )
    return schedules[service_id]


def schedule_of(agreements: Agreements, row: int) -> CallSchedule:
    """Return the schedule of an agreement.

    A cleared agreement whose hours are those of its service in the registry, which are whole
    hours of UTC in winter, gets the runs of the service in local time. Any other agreement has
    its own hours (UTC) and `pay_lag_hours`, marked `user`: who wrote them knows them.
    """
    venue = str(agreements.venue[row])
    service = load_services().get(venue)
    own = (
        int(agreements.eod_hour_utc[row]),
        tuple(int(hour) for hour in agreements.intraday_hours_utc[row]),
        int(agreements.pay_lag_hours[row]),
    )
    if service is not None and venue in load_schedules():
        listed = (service.eod_hour_utc, service.intraday_hours_utc, service.pay_lag_hours)
        if own == listed:
            return load_schedules()[venue]
    currency = str(agreements.currency[row])
    runs = [_own_run("intraday", hour, own[2], currency) for hour in own[1]]
    runs.append(_own_run("end_of_day", own[0], own[2], currency))
    return CallSchedule(str(agreements.agreement_id[row]), tuple(runs))


def run_times(
    schedule: CallSchedule,
    now: datetime,
    holidays: Holidays = NO_HOLIDAYS,
    days: int = SEARCH_DAYS,
) -> tuple[RunTime, ...]:
    """Return the runs from `now` on (a run at `now` included) over some days, in time order.

    Parameters
    ----------
    now : datetime
        With a time zone.
    days : int
        Local days searched after the day of `now`.

    Returns
    -------
    tuple of RunTime
        Only on business days of the run's currency, by its local date.

    Notes
    -----
    Clocks: local times follow daylight saving. A local time that a clock change skips happens
    when the old offset says; one that comes twice happens the first time. 11:00 in Hong Kong is
    03:00 UTC all year; 08:00 in Paris is 07:00 UTC in winter and 06:00 in summer.
    """
    if now.tzinfo is None:
        raise InputError(f"now {now} has no time zone; give one, for example UTC")
    found = []
    for run in schedule.runs:
        zone, system = time_zone(run.time_zone, schedule.owner), payment_system(run.currency)
        today = now.astimezone(zone).date()
        for ahead in range(days + 1):
            day = today + timedelta(days=ahead)
            at = datetime.combine(day, run.local_time, tzinfo=zone).astimezone(UTC)
            if at >= now and is_business_day(day, system, holidays):
                due = at + timedelta(minutes=run.deadline_minutes)
                found.append(RunTime(run, at, due))
    return tuple(sorted(found, key=lambda each: each.issued_at))


def _own_run(run: str, hour: int, lag_hours: int, currency: str) -> ScheduledRun:
    return ScheduledRun(
        run=run,
        local_time=time(hour),
        time_zone="UTC",
        currency=currency,
        kind="both",
        deadline_minutes=60 * lag_hours,
        tolerance=0.0,
        settle_from=None,
        mark="user",
        indicative_fields=(),
        source="hours of the agreement",
    )


def _run(row: dict[str, str], where: str) -> ScheduledRun:
    try:
        run = ScheduledRun(
            run=row["run"],
            local_time=time.fromisoformat(row["local_time"]),
            time_zone=row["time_zone"],
            currency=row["currency"],
            kind=row["kind"],
            deadline_minutes=int(row["deadline_minutes"]),
            tolerance=float(row["tolerance"]),
            settle_from=time.fromisoformat(row["settle_from"]) if row["settle_from"] else None,
            mark=mark_of(row, where),
            indicative_fields=tuple(part for part in row["indicative_fields"].split(";") if part),
            source=row["source"],
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: {error}; every column must be present and typed") from error
    problem = _problem(run)
    if problem:
        raise InputError(f"{where}, service {row['service_id']!r}: {problem}; correct the row")
    time_zone(run.time_zone, where)
    payment_system(run.currency)
    return run


def _problem(run: ScheduledRun) -> str:
    unread = "local_time" in run.indicative_fields
    checks = (
        (run.run in RUNS, f"run {run.run!r} is not one of {', '.join(RUNS)}"),
        (run.kind in CALL_KINDS, f"kind {run.kind!r} is not one of {', '.join(CALL_KINDS)}"),
        (
            1 <= run.deadline_minutes <= LONGEST_DEADLINE_MINUTES,
            f"deadline_minutes {run.deadline_minutes} is not 1 to {LONGEST_DEADLINE_MINUTES}",
        ),
        (0.0 <= run.tolerance < float("inf"), f"tolerance {run.tolerance} is negative or infinite"),
        (set(run.indicative_fields) <= set(ScheduledRun.__slots__), "indicative_fields unknown"),
        (unread == (run.mark == "indicative"), "mark contradicts indicative_fields"),
    )
    return next((message for good, message in checks if not good), "")


def _check_complete(schedule: CallSchedule, file: str) -> None:
    for kind in ("vm", "im"):
        if not any(
            run.run == "end_of_day" and run.kind in (kind, "both") and run.tolerance == 0.0
            for run in schedule.runs
        ):
            raise InputError(
                f"{file}, service {schedule.owner!r}: no end_of_day run calls {kind} without "
                "tolerance; add one, or these calls would never be made"
            )
