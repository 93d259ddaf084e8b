from __future__ import annotations

import json

import pytest

from engine.domain.failures import InputError
from engine.margin.calls.venue_detail import venue_detail
from engine.rulebooks.services import load_services


@pytest.mark.parametrize("service_id", sorted(load_services()))
def test_every_service_has_a_page_with_marks(service_id):
    page = venue_detail(service_id)
    assert page["calls"]
    marks = {each["mark"] for each in (*page["calls"], page["payment"], *page["default_fund"])}
    assert marks <= {"verified", "indicative"}
    assert json.loads(json.dumps(page)) == page


def test_default_funds_are_those_of_the_house():
    assert {t["term"] for t in venue_detail("EUREX_ETD")["default_fund"]} == {
        "assessment_multiple", "total_multiple", "capped_period_days", "longest_period_months",
    }  # fmt: skip
    assert len(venue_detail("ECC")["default_fund"]) == 5
    assert len(venue_detail("CME_IRS")["default_fund"]) == 2
    assert venue_detail("LCH_SA_EQUITIES")["default_fund"] == []


def test_page_of_a_known_service():
    page = venue_detail("HKSCC")
    assert page["calls"][0] == {
        "run": "intraday", "local_time": "11:00", "time_zone": "Asia/Hong_Kong", "kind": "vm",
        "deadline_minutes": 180, "tolerance": 5e6, "tolerance_currency": "HKD",
        "settle_from": None, "mark": "verified", "indicative_fields": ["run"],
    }  # fmt: skip
    assert page["payment"]["system"] == "HKD CHATS"
    assert venue_detail("LCH_SA_CDSCLEAR")["calls"][0]["settle_from"] == "08:30"


def test_unknown_service():
    with pytest.raises(InputError, match="'NOWHERE' is not in the registry"):
        venue_detail("NOWHERE")
