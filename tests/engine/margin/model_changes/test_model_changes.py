from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.model_changes.analyze import analyze_model_changes
from engine.margin.model_changes.calendar import last_business_day, year_after
from engine.margin.model_changes.registry import ModelChange, load_changes
from engine.margin.stress import project_stress_margin
from engine.pricing.sensitivities import crif_from_positions
from tests.support.tiny_fund import SIMM

CONFIG = MarginConfig()
COB, CALL = date(2023, 3, 3), date(2023, 3, 6)
FLOAT = {"rel": 1e-12}


def change(**fields):
    given = {
        "change_id": "C",
        "title": "C",
        "kind": "parameter",
        "agreements": ("A",),
        "effective_cob": COB,
        "first_call_date": CALL,
        "edits": {"mpor_days": 5},
        "status": "announced",
        "source": "test",
        "mark": "user",
    }
    return ModelChange(**{**given, **fields})


@pytest.fixture
def book(builder, market):
    builder.agreement("A").agreement("B", broker_multiplier=1.5).agreement("S", **SIMM)
    for name in ("A", "B", "S"):
        builder.position("FUT", name, "M1", 10.0).position("EQ", name, "M2", -9000.0)
        builder.position("SWAP", name, "M2", 2e6)
    return builder.build(market)


def edited(book, **columns):
    """The book with the first agreement's terms replaced by hand."""
    new = {}
    for name, value in columns.items():
        column = getattr(book.agreements, name).copy()
        column[0] = value
        new[name] = column
    return replace(book, agreements=replace(book.agreements, **new))


def required(result):
    return result.im_usd + result.add_ons_usd()


def test_before_the_date_old_on_it_new_and_the_call_a_day_later(book, market):
    found = analyze_model_changes(book, market, CONFIG, [change()])
    old = calculate_margin_requirements(book, market, CONFIG)
    new = calculate_margin_requirements(edited(book, mpor_days=5), market, CONFIG)
    assert new.im_usd[0] > old.im_usd[0]
    assert found.im_on(date(2023, 3, 2)).tolist() == pytest.approx(old.im_usd.tolist(), **FLOAT)
    assert found.im_on(COB) == pytest.approx(new.im_usd, **FLOAT)
    assert found.required_on(COB) == pytest.approx(required(new), **FLOAT)
    assert found.called_on(COB) == pytest.approx(required(old), **FLOAT)
    assert found.called_on(date(2023, 3, 5)) == pytest.approx(required(old), **FLOAT)
    assert found.called_on(CALL) == pytest.approx(required(new), **FLOAT)
    (impact,) = found.impacts
    assert list(impact.agreement_id) == ["A"]
    assert impact.step_usd() == pytest.approx(float((required(new) - required(old)).sum()), **FLOAT)


def test_phase_weights_are_exact_in_between(book, market):
    phases = (
        {"cob_date": COB, "weight": 0.25},
        {"cob_date": date(2023, 6, 2), "weight": 0.75},
        {"cob_date": date(2023, 9, 1), "weight": 1.0},
    )
    found = analyze_model_changes(book, market, CONFIG, [change(phase_in=phases)])
    old = calculate_margin_requirements(book, market, CONFIG).im_usd[0]
    new = calculate_margin_requirements(edited(book, mpor_days=5), market, CONFIG).im_usd[0]
    for day, weight in (
        (date(2023, 3, 2), 0.0), (COB, 0.25), (date(2023, 6, 1), 0.25), (date(2023, 6, 2), 0.75),
        (date(2023, 8, 31), 0.75), (date(2023, 9, 1), 1.0), (date(2024, 1, 1), 1.0),
    ):  # fmt: skip
        assert found.im_on(day)[0] == pytest.approx((1 - weight) * old + weight * new, **FLOAT)
    closes = [e for e in found.calendar if e.event == "close of business"]
    assert [e.weight for e in closes] == [0.25, 0.75, 1.0]
    steps = [e.im_step_usd for e in closes]
    assert steps == pytest.approx([0.25 * (new - old), 0.5 * (new - old), 0.25 * (new - old)])
    calls = [e.call_usd for e in found.calendar if e.event == "call"]
    assert sum(calls) == pytest.approx(found.impacts[0].step_usd(), **FLOAT)


def test_simm_version_changes_simm_agreements_alone(book, market):
    changes = [c for c in load_changes() if c.simm_version in ("2.5", "2.5A", "2.6")]
    found = analyze_model_changes(book, market, CONFIG, changes)
    assert [i.change.simm_version for i in found.impacts] == ["2.5A", "2.6"]
    assert "in force" in found.not_computed[0].reason
    for impact in found.impacts:
        assert list(impact.agreement_id) == ["S"]
        pinned = CONFIG.model_copy(update={"simm_version": impact.change.simm_version})
        direct = calculate_margin_requirements(book, market, pinned)
        assert found.im_on(impact.change.effective_cob) == pytest.approx(direct.im_usd, **FLOAT)
    # Standard weights do not follow volatility: the step is the same under stress.
    step = found.impacts[1].im_after_usd - found.impacts[1].im_before_usd
    stress = found.impacts[1].stress_after_usd - found.impacts[1].stress_before_usd
    assert stress == pytest.approx(np.tile(step, (3, 1)), rel=1e-9)


def test_rules_of_a_later_start_are_those_in_force_on_it(book, market):
    changes = [c for c in load_changes() if c.simm_version is not None]
    found = analyze_model_changes(book, market, CONFIG, changes, as_of=date(2025, 11, 20))
    assert [i.change.simm_version for i in found.impacts] == ["2.8+2506", "2.8+2512"]
    pinned = CONFIG.model_copy(update={"simm_version": "2.7+2412"})
    old = calculate_margin_requirements(book, market, pinned).im_usd
    assert found.im_usd == pytest.approx(old, **FLOAT)
    day = {(str(e.day), e.event) for e in found.calendar if e.change_id == "SIMM-2.8+2506"}
    assert day == {("2025-12-05", "close of business"), ("2025-12-08", "call")}


def test_stress_is_the_projection_under_the_new_terms(book, market):
    found = analyze_model_changes(book, market, CONFIG, [change()], multipliers=(3.0,))
    config = MarginConfig(volatility_multipliers=(3.0,))
    after = edited(book, mpor_days=5)
    direct = project_stress_margin(
        after, market, calculate_margin_requirements(after, market, config), config
    )
    assert found.labels == ("3x",)
    assert found.impacts[0].stress_after_usd[0, 0] == pytest.approx(direct.im_usd[0, 0], **FLOAT)
    with pytest.raises(InputError, match="multipliers"):
        analyze_model_changes(book, market, CONFIG, [change()], multipliers=(0.0,))


def test_manager_steps_sum_to_the_step_of_margin(book, market):
    found = analyze_model_changes(book, market, CONFIG, [change()])
    (impact,) = found.impacts
    total = sum(impact.by_manager.values())
    assert total == pytest.approx(float((impact.im_after_usd - impact.im_before_usd).sum()))
    assert set(impact.by_manager) == {"M1", "M2"}


def test_changes_on_one_agreement_build_on_each_other(book, market):
    second = change(
        change_id="D", effective_cob=date(2023, 5, 5), first_call_date=date(2023, 5, 8),
        edits={"confidence": 0.995},
    )  # fmt: skip
    found = analyze_model_changes(book, market, CONFIG, [second, change()])
    assert [i.change.change_id for i in found.impacts] == ["C", "D"]
    both = edited(book, mpor_days=5, confidence=0.995)
    direct = calculate_margin_requirements(both, market, CONFIG)
    assert found.im_on(date(2023, 5, 5)) == pytest.approx(direct.im_usd, **FLOAT)
    only = calculate_margin_requirements(edited(book, mpor_days=5), market, CONFIG)
    assert found.im_on(date(2023, 5, 4)) == pytest.approx(only.im_usd, **FLOAT)


def test_product_filter_splits_the_agreement(builder, market):
    builder.agreement("A").agreement("IN", mpor_days=5).agreement("OUT")
    for name in ("A", "IN"):
        builder.position("FUT", name, "M1", 10.0).position("PUT", name, "M2", 5.0)
    for name in ("A", "OUT"):
        builder.position("CL", name, "M1", 3.0)
    book = builder.build(market)
    found = analyze_model_changes(book, market, CONFIG, [change(asset_classes=("equity",))])
    (impact,) = found.impacts
    assert impact.sub_accounts == 1
    whole, inside, outside = calculate_margin_requirements(book, market, CONFIG).im_usd
    assert impact.im_before_usd[0] == pytest.approx(whole, **FLOAT)
    assert impact.im_after_usd[0] == pytest.approx(inside + outside, **FLOAT)
    assert sum(impact.by_manager.values()) == pytest.approx(inside + outside - whole, rel=1e-9)


@pytest.mark.parametrize(
    ("filters", "sub_accounts", "touched"),
    [
        ({"factors": ("STK",)}, 1, 1),
        ({"factors": ("STK", "IDX", "UST")}, 0, 1),
        ({"factors": ("OIL",)}, 0, 0),
        ({"asset_classes": ("equity",), "factors": ("UST",)}, 0, 0),
        ({"buckets": ("bucket",)}, 0, 1),
    ],
)
def test_filters_are_joined_and_may_take_all_or_nothing(
    book, market, filters, sub_accounts, touched
):
    found = analyze_model_changes(book, market, CONFIG, [change(**filters)])
    assert len(found.impacts) == touched
    assert sum(i.sub_accounts for i in found.impacts) == sub_accounts
    if not touched:
        assert "no agreement or position" in found.not_computed[0].reason


def test_split_of_an_agreement_with_own_sensitivities_moves_its_rows(book, market):
    crif = crif_from_positions(book, market)
    moved = change(agreements=("S",), factors=("STK",), edits={"mpor_days": 9})
    own, derived = (
        analyze_model_changes(book, market, CONFIG, [moved], crif=c) for c in (crif, None)
    )
    assert own.impacts[0].im_after_usd == pytest.approx(derived.impacts[0].im_after_usd, rel=1e-9)
    assert own.impacts[0].im_after_usd[0] > own.impacts[0].im_before_usd[0]


def test_scope_by_service_is_cleared_agreements_of_that_venue(builder, market):
    builder.agreement("A", venue="V").agreement("B", venue="W").agreement(
        "P", kind="prime", venue="V"
    )
    for name in ("A", "B", "P"):
        builder.position("FUT", name, "M1", 1.0)
    book = builder.build(market)
    found = analyze_model_changes(book, market, CONFIG, [change(agreements=(), services=("V",))])
    assert list(found.impacts[0].agreement_id) == ["A"]


def test_a_change_without_a_date_is_computed_alone_and_has_no_calendar(book, market):
    undated = change(
        change_id="U", effective_cob=None, first_call_date=None, status="open date",
        edits={"confidence": 0.995},
    )  # fmt: skip
    found = analyze_model_changes(book, market, CONFIG, [undated, change()])
    direct = calculate_margin_requirements(edited(book, confidence=0.995), market, CONFIG)
    impact = found.impacts[1]
    assert impact.change.change_id == "U"
    assert impact.im_after_usd[0] == pytest.approx(direct.im_usd[0], **FLOAT)
    assert {e.change_id for e in found.calendar} == {"C"}
    new = calculate_margin_requirements(edited(book, mpor_days=5), market, CONFIG)
    assert found.im_on(COB)[0] == pytest.approx(new.im_usd[0], **FLOAT)


def test_what_was_not_published_is_listed_and_not_computed(book, market):
    found = analyze_model_changes(book, market, CONFIG, load_changes())
    listed = {item.change.change_id: item.reason for item in found.not_computed}
    assert listed["LME-VAR"] == "no parameters published"
    assert listed["JSCC-VAR"].startswith("no agreement or position")
    assert len(found.impacts) + len(listed) == len(load_changes())


def test_a_change_that_cannot_be_applied_is_a_failure_and_the_rest_is_computed(book, market):
    bad = change(change_id="BAD", agreements=("S",), edits={"model": "fhs_var"})
    late = change(change_id="SHORT", agreements=("B",), edits={"lookback_days": 20})
    found = analyze_model_changes(book, market, CONFIG, [bad, late, change()])
    said = {failure.item: failure.message for failure in found.failures}
    assert "needs confidence, ewma_lambda, lookback_days" in said["BAD"]
    assert "old margin is kept" in said["SHORT"]
    assert {i.change.change_id: i.step_usd() for i in found.impacts}["SHORT"] == 0.0
    assert any(i.change.change_id == "C" and i.step_usd() > 0 for i in found.impacts)


def test_edits_switch_tools_off_and_take_the_worse_mark(builder, market):
    builder.agreement("A", stress_weight=0.25).position("FUT", "A", "M1", 10.0)
    book = builder.build(market)
    off = change(edits={"apc": "none"}, mark="indicative")
    found = analyze_model_changes(book, market, CONFIG, [off])
    plain = edited(book, apc="none", stress_weight=0.0)
    direct = calculate_margin_requirements(plain, market, CONFIG)
    assert found.impacts[0].im_after_usd[0] == pytest.approx(direct.im_usd[0], **FLOAT)
    assert found.to_dict()["changes"][0]["mark"] == "indicative"
    on = change(edits={"stress_weight": 0.5})
    found = analyze_model_changes(plain, market, CONFIG, [on])
    direct = calculate_margin_requirements(
        edited(book, apc="stress_weight", stress_weight=0.5), market, CONFIG
    )
    assert found.impacts[0].im_after_usd[0] == pytest.approx(direct.im_usd[0], **FLOAT)


def test_a_schedule_of_calls_changes_no_amount(book, market):
    found = analyze_model_changes(
        book, market, CONFIG,
        [change(kind="schedule", edits={"intraday_hours_utc": (9, 13), "eod_hour_utc": 17})],
    )  # fmt: skip
    assert found.impacts[0].step_usd() == 0.0


def test_calendar_marks_month_ends_collisions_and_one_year(book, market):
    month_end = change(
        change_id="END", parallel_run_from=date(2023, 1, 30), effective_cob=date(2023, 3, 30),
        first_call_date=date(2023, 3, 31),
    )  # fmt: skip
    beside = change(
        change_id="BESIDE", effective_cob=date(2023, 3, 27), first_call_date=date(2023, 3, 28)
    )
    far = change(
        change_id="FAR", effective_cob=date(2023, 12, 28), first_call_date=date(2023, 12, 29)
    )
    listed = change(
        change_id="LISTED", edits={}, agreements=(), effective_cob=date(2023, 1, 31),
        first_call_date=None,
    )  # fmt: skip
    found = analyze_model_changes(book, market, CONFIG, [month_end, beside, far, listed])
    events = {(e.change_id, e.event): e for e in found.calendar}
    end = events["END", "call"]
    assert (end.month_end, end.quarter_end, end.collisions) == (True, True, ("BESIDE",))
    assert not events["END", "close of business"].month_end
    assert events["END", "parallel run"].day == date(2023, 1, 30)
    assert events["LISTED", "close of business"].collisions == ("END",)
    assert events["LISTED", "close of business"].month_end
    assert not events["LISTED", "close of business"].quarter_end
    assert ("FAR", "close of business") in events
    assert ("FAR", "call") not in events
    assert [e.day for e in found.calendar] == sorted(e.day for e in found.calendar)


def test_month_ends_and_years():
    assert last_business_day(date(2026, 1, 5)) == date(2026, 1, 30)
    assert last_business_day(date(2022, 12, 31)) == date(2022, 12, 30)
    assert last_business_day(date(2023, 2, 28)) == date(2023, 2, 28)
    assert year_after(date(2024, 2, 29)) == date(2025, 2, 28)
    assert year_after(date(2022, 12, 28)) == date(2023, 12, 28)


def test_a_reported_margin_keeps_its_ratio(book, market, monkeypatch):
    # Whatever the engine does with reported margins: computed margins are compared like to like.
    computed = calculate_margin_requirements(book, market, CONFIG).im_usd[0]
    reported = edited(book, reported_im=2.0 * computed)
    found = analyze_model_changes(reported, market, CONFIG, [change()])
    new = calculate_margin_requirements(edited(book, mpor_days=5), market, CONFIG).im_usd[0]
    impact = found.impacts[0]
    assert impact.im_after_usd[0] / impact.im_before_usd[0] == pytest.approx(new / computed)


def test_result_is_plain_json_and_tables(book, market):
    found = analyze_model_changes(book, market, CONFIG, [change(), *load_changes()])
    json.dumps(found.to_dict(), allow_nan=False)
    json.dumps(found.summary(), allow_nan=False)
    tables = found.tables()
    assert len(tables["model_changes_by_agreement"]) == sum(len(i.touched) for i in found.impacts)
    assert set(tables["model_changes_by_manager"]["manager_id"]) == {"M1", "M2"}
    assert len(tables["model_changes_calendar"]) == len(found.calendar)
    assert len(tables["model_changes_not_computed"]) == len(found.not_computed)


def test_without_changes_nothing_moves(book, market):
    found = analyze_model_changes(book, market, CONFIG, [])
    assert found.impacts == found.calendar == found.not_computed == ()
    assert found.im_on(date(2030, 1, 1)) == pytest.approx(found.im_usd)
    assert all(isinstance(frame.empty, bool) for frame in found.tables().values())
