"""The registry of clearing services: complete, typed and honest about what is indicative."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.domain.failures import InputError
from engine.rulebooks.calendars import payment_system
from engine.rulebooks.services import (
    ENGINE_MODELS,
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


def test_an_approximated_family_never_gives_a_verified_agreement(tmp_path: Path) -> None:
    assert load_services()["JSCC_LISTED"].agreement_evidence == "verified"
    copy = _copy(tmp_path, ",hs_es,fhs_es,family,", ",hs_es,fhs_es,approximation,")
    approximated = {service.service_id: service for service in read_services(copy)[1]}
    assert approximated["JSCC_LISTED"].evidence == "verified"
    assert approximated["JSCC_LISTED"].agreement_evidence == "indicative"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",none,0.0,0.0,", ",guess,0.0,0.0,", "apc 'guess' is not one of"),
        (",none,0.0,0.0,", ",none,0.25,0.0,", "stress_weight 0.25 with apc 'none'"),
        (",none,0.0,0.0,", ",none,0.0,0.25,", "apc_buffer 0.25 with apc 'none'"),
        (",buffer,0.0,0.25,", ",buffer,0.0,0.0,", "apc_buffer 0.0 with apc 'buffer'"),
    ],
)
def test_tools_and_their_numbers_agree(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_services(_copy(tmp_path, old, new))


def test_daily_calls_fall_in_the_hours_of_their_zone() -> None:
    hours = {"APAC": range(5, 17), "EU": range(12, 19), "US": range(21, 23)}
    for service in load_services().values():
        assert service.eod_hour_utc in hours[service.zone], service.service_id


def test_every_service_has_a_model_of_the_engine_and_a_currency_that_can_be_paid() -> None:
    for service in load_services().values():
        assert service.engine_model in ENGINE_MODELS, service.service_id
        assert payment_system(service.currency).currency == service.currency


@pytest.mark.parametrize("model", ["span", "parametric", "mc_es", "cds", "close_out", "flat"])
def test_every_cleared_model_may_be_entered(tmp_path: Path, model: str) -> None:
    _, services = read_services(_copy(tmp_path, ",fhs_var,fhs_var,", f",fhs_var,{model},"))
    assert services[0].engine_model == model


@pytest.mark.parametrize("model", ["simm", "schedule", "guess"])
def test_models_of_uncleared_trades_are_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(InputError, match=f"engine_model '{model}' unknown"):
        read_services(_copy(tmp_path, ",fhs_var,fhs_var,", f",fhs_var,{model},"))


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
