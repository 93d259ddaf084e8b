"""Registry of clearing services: what is known of each one's margin model and call schedule.

The numbers are data (`ccp_services.csv`, sources in `SOURCES.md`). A number listed in
`indicative_fields` must never be shown without that mark.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType

from engine.domain.agreements import APC_TOOLS, TAIL_MODELS
from engine.domain.failures import InputError

SERVICES_FILE = Path(__file__).with_name("ccp_services.csv")
ZONES = ("APAC", "EU", "US")
ENGINE_MODELS = (*TAIL_MODELS, "flat")
MODEL_FITS = ("family", "approximation")
MARKS = ("verified", "indicative")
# A row is called verified only if these three were read in a named source.
KEY_FIELDS = ("confidence", "mpor_days", "lookback_days")


@dataclass(frozen=True, slots=True)
class ClearingService:
    """One service of a central counterparty.

    `family` names the kind of model the service publishes and `engine_model` the model used for
    it here; `model_fit` is `approximation` where the two differ in kind. `apc` is the tool of
    EMIR RTS 153/2013 Art. 28(1), or `none` where none is known. `mpor_days` is the margin
    period of risk of the member's own account, `client_mpor_days` that of a client's. Hours are
    UTC in winter. `indicative_fields` names the numbers that were not read in a source.
    """

    service_id: str
    name: str
    country: str
    zone: str
    currency: str
    asset_classes: tuple[str, ...]
    family: str
    engine_model: str
    model_fit: str
    confidence: float
    mpor_days: int
    client_mpor_days: int
    lookback_days: int
    ewma_lambda: float
    apc: str
    stress_weight: float
    apc_buffer: float
    anti_procyclicality: str
    eod_hour_utc: int
    intraday_hours_utc: tuple[int, ...]
    pay_lag_hours: int
    evidence: str
    indicative_fields: tuple[str, ...]
    note: str

    @property
    def agreement_evidence(self) -> str:
        """Mark of an agreement that uses this row as it stands.

        `verified` needs verified numbers and an engine model of the service's own family.
        """
        if self.evidence == "verified" and self.model_fit == "family":
            return "verified"
        return "indicative"


def read_services(path: Path = SERVICES_FILE) -> tuple[str, tuple[ClearingService, ...]]:
    """Read a registry file.

    Returns
    -------
    version : str
        From the file's first line, `# version: ... |`.
    services : tuple of ClearingService
        In file order.

    Raises
    ------
    InputError
        If the version line is missing, or a row is malformed, out of range or repeated.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].startswith("# version: "):
        raise InputError(f"{path.name}: first line must be '# version: ...'; restore the file")
    version = lines[0].removeprefix("# version: ").split("|")[0].strip()
    services: list[ClearingService] = []
    seen: set[str] = set()
    for number, row in enumerate(csv.DictReader(lines[1:]), start=3):
        where = f"{path.name} line {number}"
        service = _service(row, where)
        if service.service_id in seen:
            raise InputError(f"{where}: service_id {service.service_id!r} is repeated; remove one")
        seen.add(service.service_id)
        services.append(service)
    return version, tuple(services)


@cache
def load_services() -> MappingProxyType[str, ClearingService]:
    """Return the packaged registry, by service id, in file order.

    Examples
    --------
    >>> load_services()["JSCC_LISTED"].lookback_days
    1250
    """
    return MappingProxyType({s.service_id: s for s in read_services()[1]})


def services_rulebook_id() -> str:
    """Return the id of the packaged registry for provenance, `ccp_services:<version>`."""
    return f"ccp_services:{read_services()[0]}"


def _service(row: dict[str, str], where: str) -> ClearingService:
    try:
        service = ClearingService(
            service_id=row["service_id"],
            name=row["name"],
            country=row["country"],
            zone=row["zone"],
            currency=row["currency"],
            asset_classes=_texts(row["asset_classes"]),
            family=row["family"],
            engine_model=row["engine_model"],
            model_fit=row["model_fit"],
            confidence=float(row["confidence"]),
            mpor_days=int(row["mpor_days"]),
            client_mpor_days=int(row["client_mpor_days"]),
            lookback_days=int(row["lookback_days"]),
            ewma_lambda=float(row["ewma_lambda"]),
            apc=row["apc"],
            stress_weight=float(row["stress_weight"]),
            apc_buffer=float(row["apc_buffer"]),
            anti_procyclicality=row["anti_procyclicality"],
            eod_hour_utc=int(row["eod_hour_utc"]),
            intraday_hours_utc=tuple(int(h) for h in _texts(row["intraday_hours_utc"])),
            pay_lag_hours=int(row["pay_lag_hours"]),
            evidence=row["evidence"],
            indicative_fields=_texts(row["indicative_fields"]),
            note=row["note"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: {error}; every column must be present and typed") from error
    problem = _problem(service)
    if problem:
        raise InputError(f"{where}, service {service.service_id!r}: {problem}; correct the row")
    return service


def _texts(cell: str) -> tuple[str, ...]:
    return tuple(part for part in cell.split(";") if part)


def _problem(service: ClearingService) -> str:
    hours = (service.eod_hour_utc, *service.intraday_hours_utc)
    names = {field.name for field in fields(ClearingService)}
    verified = not set(KEY_FIELDS) & set(service.indicative_fields)
    checks = (
        (bool(service.service_id), "service_id is blank"),
        (service.zone in ZONES, f"zone {service.zone!r} is not one of {ZONES}"),
        (service.engine_model in ENGINE_MODELS, f"engine_model {service.engine_model!r} unknown"),
        (service.model_fit in MODEL_FITS, f"model_fit {service.model_fit!r} unknown"),
        (service.evidence in MARKS, f"evidence {service.evidence!r} unknown"),
        (0.9 <= service.confidence < 1.0, f"confidence {service.confidence} not in [0.9, 1)"),
        (1 <= service.mpor_days <= service.client_mpor_days <= 10, "MPOR outside 1 to 10 days"),
        (service.lookback_days >= 250, f"lookback_days {service.lookback_days} below 250"),
        (0.9 <= service.ewma_lambda <= 1.0, f"ewma_lambda {service.ewma_lambda} not in [0.9, 1]"),
        (service.apc in APC_TOOLS, f"apc {service.apc!r} is not one of {APC_TOOLS}"),
        (0.0 <= service.stress_weight <= 1.0, f"stress_weight {service.stress_weight}"),
        (
            (service.stress_weight > 0.0) == (service.apc == "stress_weight"),
            f"stress_weight {service.stress_weight} with apc {service.apc!r}",
        ),
        (
            0.0 <= service.apc_buffer <= 1.0
            and (service.apc_buffer > 0.0) == (service.apc == "buffer"),
            f"apc_buffer {service.apc_buffer} with apc {service.apc!r}",
        ),
        (all(0 <= hour <= 23 for hour in hours), f"an hour of {hours} is not 0 to 23"),
        (1 <= service.pay_lag_hours <= 31, f"pay_lag_hours {service.pay_lag_hours}"),
        (set(service.indicative_fields) <= names, "indicative_fields names no column"),
        (verified == (service.evidence == "verified"), "evidence contradicts indicative_fields"),
    )
    return next((message for good, message in checks if not good), "")
