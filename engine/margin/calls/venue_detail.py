"""What is known of one clearing service, on one page: model, calls, payment, default fund."""

from __future__ import annotations

from typing import Any

from engine.domain.failures import InputError
from engine.margin.calls.call_schedule import ScheduledRun, service_schedule
from engine.margin.calls.default_fund import load_default_funds
from engine.rulebooks.calendars import payment_system
from engine.rulebooks.services import load_services


def venue_detail(service_id: str) -> dict[str, Any]:
    """Return the JSON-ready page of a service; every number carries its mark or is listed unread.

    Default fund terms bind members, not clients; they are empty where none are known.

    Raises
    ------
    InputError
        If the service is not in the registry.
    """
    services = load_services()
    if service_id not in services:
        raise InputError(f"service {service_id!r} is not in the registry; list the venues first")
    service = services[service_id]
    system = payment_system(service.currency)
    return {
        "service_id": service.service_id,
        "name": service.name,
        "country": service.country,
        "currency": service.currency,
        "family": service.family,
        "engine_model": service.engine_model,
        "model_fit": service.model_fit,
        "confidence": service.confidence,
        "mpor_days": service.mpor_days,
        "client_mpor_days": service.client_mpor_days,
        "lookback_days": service.lookback_days,
        "evidence": service.evidence,
        "indicative_fields": list(service.indicative_fields),
        "calls": [_run(run) for run in service_schedule(service_id).runs],
        "payment": {
            "system": system.system,
            "cut_off": system.cut_off.isoformat(timespec="minutes"),
            "time_zone": system.time_zone,
            "mark": system.mark,
        },
        "default_fund": [
            {"term": term.term, "value": term.value, "unit": term.unit, "mark": term.mark}
            for (fund, _), term in load_default_funds().items()
            if service_id == fund or service_id.startswith(f"{fund}_")
        ],
        "note": service.note,
    }


def _run(run: ScheduledRun) -> dict[str, Any]:
    return {
        "run": run.run,
        "local_time": run.local_time.isoformat(timespec="minutes"),
        "time_zone": run.time_zone,
        "kind": run.kind,
        "deadline_minutes": run.deadline_minutes,
        "tolerance": run.tolerance,
        "tolerance_currency": run.currency,
        "settle_from": run.settle_from.isoformat("minutes") if run.settle_from else None,
        "mark": run.timing_mark,
        "indicative_fields": list(run.indicative_fields),
    }
