from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.failures import InputError
from engine.margin.calls.call_schedule import (
    SCHEDULES_FILE,
    load_schedules,
    read_schedules,
    run_times,
    schedule_of,
    schedules_rulebook_id,
    service_schedule,
)
from engine.rulebooks.services import load_services
from tests.support.tiny_fund import FundBuilder, tiny_market


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def issued(service: str, now: str, days: int = 1) -> list[str]:
    times = run_times(service_schedule(service), at(now), days=days)
    return [f"{each.issued_at:%m-%d %H:%M}" for each in times]


def hours(service: str) -> list[str]:
    return [f"{run.local_time:%H:%M}" for run in service_schedule(service).runs]


def test_every_service_has_a_schedule_and_the_other_way_round():
    assert set(load_schedules()) == set(load_services())
    assert len(load_schedules()) == 76
    assert schedules_rulebook_id() == "call_schedules:2026.11.20"


def test_times_that_were_read():
    assert hours("ASX_FUTURES") == ["02:00", "08:05", "11:10", "13:30"]
    slots = ["08:00", "09:30", "10:00", "11:20", "12:30", "14:30"]
    for service in ("LCH_SA_CDSCLEAR", "LCH_SA_REPOCLEAR", "LCH_SA_EQUITIES"):
        assert hours(service) == slots
    assert len(hours("NSE_CLEARING")) == 6
    assert len(hours("CME_BASE")) == 2
    assert len(hours("FICC_GSD")) == 2


def test_settlement_slots_of_the_euro_payments():
    runs = {f"{r.local_time:%H:%M}": r for r in service_schedule("LCH_SA_CDSCLEAR").runs}
    first = runs["08:00"]
    assert (first.settle_from, first.deadline_minutes) == (time(8, 30), 60)
    assert runs["11:20"].deadline_minutes == 40
    assert runs["14:30"].deadline_minutes == 60
    assert runs["08:00"].timing_mark == "verified"
    assert runs["08:00"].mark == runs["09:30"].mark == "verified"
    # The hour of this slot was read, its end was not.
    assert runs["09:30"].timing_mark == "indicative"


def test_hong_kong_run_has_a_tolerance_and_three_hours():
    run = service_schedule("HKSCC").runs[0]
    assert (run.kind, run.run, run.tolerance) == ("vm", "intraday", 5e6)
    now = at("2022-12-28T02:59:00")
    first = run_times(service_schedule("HKSCC"), now)[0]
    assert first.issued_at == at("2022-12-28T03:00:00")  # 11:00 in Hong Kong
    assert first.deadline == at("2022-12-28T06:00:00")  # 14:00
    assert first.run.timing_mark == "verified"


def test_only_rows_whose_time_was_read_are_verified():
    verified = {
        owner
        for owner, schedule in load_schedules().items()
        if any(run.mark == "verified" for run in schedule.runs)
    }
    assert verified == {
        "ASX_FUTURES", "HKSCC", "LCH_SA_CDSCLEAR", "LCH_SA_REPOCLEAR", "LCH_SA_EQUITIES",
    }  # fmt: skip


def test_northern_clock_change_in_spring_and_autumn():
    # Paris: UTC+1 to Saturday 26 March 2022, UTC+2 from the 27th, back on 30 October.
    assert issued("LCH_SA_CDSCLEAR", "2022-03-25T06:00:00", 0)[0] == "03-25 07:00"
    assert issued("LCH_SA_CDSCLEAR", "2022-03-28T05:00:00", 0)[0] == "03-28 06:00"
    assert issued("LCH_SA_CDSCLEAR", "2022-10-28T05:00:00", 0)[0] == "10-28 06:00"
    assert issued("LCH_SA_CDSCLEAR", "2022-10-31T05:00:00", 0)[0] == "10-31 07:00"


def test_southern_clock_change_goes_the_other_way():
    # Sydney: UTC+11 to 2 April 2022, UTC+10 from 3 April, UTC+11 again from 2 October.
    assert issued("ASX_FUTURES", "2022-03-31T14:00:00", 1)[0] == "03-31 15:00"
    assert issued("ASX_FUTURES", "2022-04-03T14:00:00", 1)[0] == "04-03 16:00"
    assert issued("ASX_FUTURES", "2022-09-29T14:00:00", 1)[0] == "09-29 16:00"
    assert issued("ASX_FUTURES", "2022-10-02T14:00:00", 1)[0] == "10-02 15:00"


def test_the_hours_between_two_hemispheres_change_four_times_a_year():
    def gap(day: str) -> float:
        sydney = run_times(service_schedule("ASX_FUTURES"), at(f"{day}T00:00:00"), days=0)
        paris = run_times(service_schedule("LCH_SA_CDSCLEAR"), at(f"{day}T00:00:00"), days=0)
        midday = next(t for t in sydney if t.run.local_time == time(13, 30))
        return (paris[0].issued_at - midday.issued_at).total_seconds() / 3600

    # 13:30 in Sydney to 08:00 in Paris.
    assert gap("2022-01-12") == 4.5
    assert gap("2022-03-30") == 3.5
    assert gap("2022-04-06") == 2.5
    assert gap("2022-10-05") == 3.5
    assert gap("2022-11-02") == 4.5


def test_weekends_have_no_runs_and_a_run_at_now_counts():
    friday = issued("HKSCC", "2022-12-16T09:00:00", 3)
    assert friday == ["12-16 09:00", "12-19 03:00", "12-19 09:00"]
    assert issued("HKSCC", "2022-12-16T09:00:01", 3) == ["12-19 03:00", "12-19 09:00"]


def test_weekend_is_that_of_the_currency():
    # Riyadh pays Sunday to Thursday.
    days = {
        each.issued_at.strftime("%a")
        for each in run_times(service_schedule("MUQASSA"), at("2022-12-12T00:00:00"), days=13)
    }
    assert days == {"Mon", "Tue", "Wed", "Thu", "Sun"}


def test_holidays_given_are_closed():
    closed = {"HKD": frozenset({date(2022, 12, 26), date(2022, 12, 27)})}
    found = run_times(service_schedule("HKSCC"), at("2022-12-24T00:00:00"), closed, days=5)
    assert found[0].issued_at == at("2022-12-28T03:00:00")


def test_deadline_is_elapsed_time_over_a_clock_change():
    for each in run_times(service_schedule("CME_BASE"), at("2022-11-04T00:00:00"), days=5):
        assert each.deadline - each.issued_at == timedelta(minutes=each.run.deadline_minutes)


def test_now_needs_a_zone():
    with pytest.raises(InputError, match="no time zone"):
        run_times(service_schedule("HKSCC"), datetime(2022, 12, 16))


def test_unknown_service_is_refused():
    with pytest.raises(InputError, match="'NOWHERE' has no call schedule"):
        service_schedule("NOWHERE")


def _terms(**terms):
    market = tiny_market(n_days=10)
    builder = FundBuilder().agreement("A", **terms)
    builder.instrument("F", "future", "IDX").position("F", "A", "M1", 1.0)
    return builder.build(market).agreements


def test_an_agreement_with_the_registry_hours_follows_its_service():
    service = load_services()["ASX_FUTURES"]
    agreements = _terms(
        venue="ASX_FUTURES", currency="AUD", eod_hour_utc=service.eod_hour_utc,
        intraday_hours_utc=service.intraday_hours_utc, pay_lag_hours=service.pay_lag_hours,
    )  # fmt: skip
    assert schedule_of(agreements, 0) is load_schedules()["ASX_FUTURES"]


@pytest.mark.parametrize(
    "change", [{"eod_hour_utc": 15}, {"intraday_hours_utc": (1, 3)}, {"pay_lag_hours": 3}]
)
def test_own_hours_go_before_the_service(change):
    service = load_services()["ASX_FUTURES"]
    terms = {
        "eod_hour_utc": service.eod_hour_utc,
        "intraday_hours_utc": service.intraday_hours_utc,
        "pay_lag_hours": service.pay_lag_hours,
    } | change
    schedule = schedule_of(_terms(venue="ASX_FUTURES", currency="AUD", **terms), 0)
    assert schedule.owner == "A"
    assert {run.mark for run in schedule.runs} == {"user"}
    assert [run.local_time.hour for run in schedule.runs] == [
        *terms["intraday_hours_utc"], terms["eod_hour_utc"],
    ]  # fmt: skip
    assert {run.deadline_minutes for run in schedule.runs} == {60 * terms["pay_lag_hours"]}


def test_bilateral_hours_are_utc():
    agreements = _terms(kind="bilateral", venue="", intraday_hours_utc=(9,), eod_hour_utc=17)
    times = run_times(schedule_of(agreements, 0), at("2022-07-01T00:00:00"), days=0)
    assert [f"{t.issued_at:%H:%M}" for t in times] == ["09:00", "17:00"]
    assert [t.run.run for t in times] == ["intraday", "end_of_day"]


@given(
    st.sampled_from(sorted(load_services())),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
)
def test_runs_are_sorted_in_the_future_and_due_later(service, moment):
    now = moment.replace(tzinfo=UTC)
    times = run_times(service_schedule(service), now)
    assert times
    stamps = [each.issued_at for each in times]
    assert stamps == sorted(stamps)
    assert stamps[0] >= now
    assert all(each.deadline > each.issued_at for each in times)


def _copy(tmp_path: Path, old: str, new: str) -> Path:
    text = SCHEDULES_FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "call_schedules.csv"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# version: ", "# ", "first line"),
        ("CME_BASE,intraday", "CME_BASE,morning", "line 3, service 'CME_BASE': run 'morning'"),
        ("CME_BASE,end_of_day", "CME_BASE,intraday", "no end_of_day run calls vm"),
        ("America/Chicago", "America/Gotham", "line 3: time zone 'America/Gotham'"),
        (",both,60,", ",both,0,", "deadline_minutes 0"),
        (",both,60,0,", ",both,60,-1,", "tolerance -1"),
        (",10:00,", ",25:00,", "line 3"),
        ("indicative,local_time;", "verified,local_time;", "mark contradicts"),
        ("indicative,local_time;", "guess,local_time;", "mark 'guess'"),
        (",USD,both", ",XXX,both", "currency XXX"),
    ],
)
def test_a_broken_row_is_refused_with_its_line(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        read_schedules(_copy(tmp_path, old, new))


def test_registry_hours_are_those_of_the_verified_runs():
    # The registry keeps whole hours of UTC+10 for Sydney: 02:00 is 16 UTC, 08:05 is 22.
    service = load_services()["ASX_FUTURES"]
    told = {(run.local_time.hour - 10) % 24 for run in service_schedule("ASX_FUTURES").runs}
    assert told == {service.eod_hour_utc, *service.intraday_hours_utc}
    assert np.isfinite(service.confidence)
