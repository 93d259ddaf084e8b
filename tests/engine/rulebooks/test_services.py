"""The registry of clearing services: complete, typed and honest about what is indicative."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.domain.failures import InputError
from engine.rulebooks.services import (
    KEY_FIELDS,
    SERVICES_FILE,
    load_services,
    read_services,
    services_rulebook_id,
)


def test_registry_holds_every_service_of_the_table() -> None:
    services = load_services()
    assert len(services) == 76
    assert {service.zone for service in services.values()} == {"APAC", "EU", "US"}


@pytest.mark.parametrize(
    ("service_id", "confidence", "mpor_days", "lookback_days"),
    [
        ("CME_BASE", 0.99, 1, 2500),
        ("ICC", 0.995, 5, 3900),
        ("LCH_SA_CDSCLEAR", 0.997, 5, 2500),
        ("JSCC_LISTED", 0.99, 2, 1250),
        ("JSCC_CDS", 0.995, 5, 750),
        ("NODAL", 0.995, 2, 1000),
    ],
)
def test_verified_rows_carry_the_published_numbers(
    service_id: str, confidence: float, mpor_days: int, lookback_days: int
) -> None:
    service = load_services()[service_id]
    assert service.evidence == "verified"
    found = (service.confidence, service.mpor_days, service.lookback_days)
    assert found == (confidence, mpor_days, lookback_days)


def test_no_row_with_a_recalled_key_number_is_called_verified() -> None:
    for service in load_services().values():
        recalled = set(KEY_FIELDS) & set(service.indicative_fields)
        assert (service.evidence == "verified") == (not recalled), service.service_id


def test_an_approximated_family_never_gives_a_verified_agreement() -> None:
    services = load_services()
    assert services["KDPW_CCP"].evidence == "verified"
    assert services["KDPW_CCP"].agreement_evidence == "indicative"
    assert services["JSCC_LISTED"].agreement_evidence == "verified"


def test_daily_calls_fall_in_the_hours_of_their_zone() -> None:
    hours = {"APAC": range(5, 17), "EU": range(12, 19), "US": range(21, 23)}
    for service in load_services().values():
        assert service.eod_hour_utc in hours[service.zone], service.service_id


def test_rulebook_id_names_the_version() -> None:
    assert services_rulebook_id() == "ccp_services:2026.11.20"


def _copy(tmp_path: Path, old: str, new: str) -> Path:
    text = SERVICES_FILE.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path = tmp_path / "ccp_services.csv"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# version: ", "# ", "first line"),
        ("CME_IRS,", "CME_BASE,", "line 4: service_id 'CME_BASE' is repeated"),
        ("family,0.99,1,1,", "family,1.5,1,1,", "confidence 1.5"),
        ("family,0.99,1,1,", "family,much,1,1,", "line 3"),
        ("verified,client_mpor_days", "indicative,client_mpor_days", "evidence contradicts"),
    ],
)
def test_a_broken_row_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_services(_copy(tmp_path, old, new))
