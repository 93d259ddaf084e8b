from __future__ import annotations

from datetime import date

import pytest

from engine.domain.failures import InputError
from engine.margin.model_changes.registry import load_changes, merged, read_changes
from engine.margin.simm import simm_versions
from engine.margin.simm.rulebook import load_parameters
from engine.margin.standard_margin import version_in_force
from engine.rulebooks.services import load_services

PHASED = """
[[change]]
change_id = "X"
title = "X"
kind = "model"
agreements = ["A"]
effective_cob = 2026-03-02
first_call_date = 2026-03-03
phase_in = [
    {cob_date = 2026-03-02, weight = 0.5},
    {cob_date = 2026-06-05, weight = 1.0},
]
status = "announced"
source = "test"
mark = "user"
[change.edits]
mpor_days = 5
"""


def one(text, tmp_path):
    path = tmp_path / "changes.toml"
    path.write_text(text)
    return read_changes(path)


def test_the_packaged_changes_are_consistent():
    changes = load_changes()
    services = load_services()
    assert len(changes) == 31
    for change in changes:
        assert set(change.services) <= set(services), change.change_id
        assert change.mark in ("verified", "indicative")
        assert change.source
    assert {c.simm_version for c in changes} - {None} == set(simm_versions())
    # What was not published is listed and never computed.
    for name in ("LME-VAR", "HKSCC-TIER-N", "CME-SPAN2-EQUITY", "EUREX-FLOOR-2026", "EMIR-3"):
        assert not next(c for c in changes if c.change_id == name).has_parameters


def test_simm_dates_are_those_of_the_version_in_force():
    for change in load_changes():
        if change.simm_version is None:
            continue
        cob = change.effective_cob
        saturday = date.fromisoformat(load_parameters(change.simm_version, 10).effective_date)
        assert (saturday - cob).days == 1
        assert version_in_force(cob, 10) == (change.simm_version, True)
        day_before = date.fromordinal(cob.toordinal() - 1)
        assert version_in_force(day_before, 10) != (change.simm_version, True)


def test_isda_example_of_december_2025():
    change = next(c for c in load_changes() if c.simm_version == "2.8+2506")
    assert [change.weight(date(2025, 12, d)) for d in (4, 5, 6, 8)] == [0.0, 1.0, 1.0, 1.0]
    assert [change.called_weight(date(2025, 12, d)) for d in (5, 6, 7, 8)] == [0.0, 0.0, 0.0, 1.0]
    assert change.call_dates() == ((date(2025, 12, 8), 1.0),)


def test_phases_step_on_their_dates(tmp_path):
    (change,) = one(PHASED, tmp_path)
    days = [date(2026, 3, 1), date(2026, 3, 2), date(2026, 6, 4), date(2026, 6, 5)]
    assert [change.weight(day) for day in days] == [0.0, 0.5, 0.5, 1.0]
    # Friday's close is called on Monday.
    assert change.call_dates() == ((date(2026, 3, 3), 0.5), (date(2026, 6, 8), 1.0))
    assert change.called_weight(date(2026, 6, 7)) == 0.5


def test_a_file_takes_the_place_of_a_packaged_change(tmp_path):
    own = one(PHASED.replace('"X"', '"LME-VAR"', 1), tmp_path)
    both = merged(load_changes(), own)
    assert len(both) == len(load_changes())
    assert next(c for c in both if c.change_id == "LME-VAR").edits.mpor_days == 5


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mpor_days = 5", "mpor_day = 5", "edits.mpor_day"),
        ("mpor_days = 5", "mpor_days = 0", "mpor_days = 0"),
        ("mpor_days = 5", 'model = "magic"', "magic"),
        ('mark = "user"', 'mark = "sure"', "sure"),
        ('kind = "model"', 'kind = "mood"', "mood"),
        ("effective_cob = 2026-03-02", "effective_cob = 2026-03-01", "business days"),
        ("first_call_date = 2026-03-03", "first_call_date = 2026-02-27", "before effective_cob"),
        ("first_call_date = 2026-03-03", "", "needs effective_cob and first_call_date"),
        ("effective_cob = 2026-03-02", "", "needs an effective_cob"),
        ("weight = 1.0", "weight = 0.9", "must be 1"),
        ("weight = 0.5", "weight = 1.5", "weight"),
        ("weight = 1.0", "weight = 0.25", "must not fall"),
        ("cob_date = 2026-06-05", "cob_date = 2026-03-02", "must increase"),
        ("{cob_date = 2026-03-02", "{cob_date = 2026-03-03", "start on effective_cob"),
        ('agreements = ["A"]', "", "services or agreements"),
        ('agreements = ["A"]', 'agreements = ["A"]\nannounced = 2026-03-03', "after the change"),
        ('agreements = ["A"]', 'agreements = ["A"]\nsimm_version = "2.6"', "as a whole"),
        ('status = "announced"', 'status = "open date"', "open date"),
        ('change_id = "X"', 'change_id = ""', "change_id"),
        ("[[change]]", "[change]", "array of tables"),
        ("[[change]]", "[[change", "cannot be read"),
    ],
)
def test_a_wrong_change_names_file_change_and_field(old, new, words, tmp_path):
    assert old in PHASED
    with pytest.raises(InputError, match="changes.toml") as error:
        one(PHASED.replace(old, new, 1), tmp_path)
    assert words in str(error.value)


def test_a_repeated_id_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="'X' is repeated"):
        one(PHASED + PHASED, tmp_path)
    with pytest.raises(InputError, match="nowhere.toml: not found"):
        read_changes(tmp_path / "nowhere.toml")


def test_a_simm_version_has_no_scope_of_its_own(tmp_path):
    text = PHASED.split("[change.edits]")[0] + 'simm_version = "2.6"\n'
    with pytest.raises(InputError, match="no services or agreements"):
        one(text, tmp_path)
