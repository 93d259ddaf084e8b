"""Announced and live changes of margin models: what changes, for whom, and on which dates.

The packaged ones are data (`engine/rulebooks/model_changes.toml`); a user's file has the same form.
A change whose parameters were not published carries no edits and is never computed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import engine.rulebooks
from engine.domain.agreements import APC_TOOLS, EVIDENCE, MARGIN_MODELS
from engine.domain.failures import InputError
from engine.domain.market import ASSET_CLASSES

CHANGES_FILE = Path(engine.rulebooks.__file__).with_name("model_changes.toml")
STRICT = ConfigDict(frozen=True, extra="forbid")

Hour = Annotated[int, Field(ge=0, le=23)]
Weight = Annotated[float, Field(gt=0.0, le=1.0)]


class AgreementEdits(BaseModel):
    """New values of agreement terms; a field that is None stays as it is.

    Amounts are in the agreement's currency, as in `engine.domain.agreements`.
    """

    model_config = STRICT

    model: Literal[MARGIN_MODELS] | None = None  # type: ignore[valid-type]
    confidence: float | None = Field(None, gt=0.5, lt=1.0)
    mpor_days: int | None = Field(None, ge=1, le=60)
    lookback_days: int | None = Field(None, ge=2, le=100_000)
    ewma_lambda: float | None = Field(None, gt=0.0, le=1.0)
    apc: Literal[APC_TOOLS] | None = None  # type: ignore[valid-type]
    stress_weight: float | None = Field(None, ge=0.0, le=1.0)
    apc_buffer: float | None = Field(None, ge=0.0, le=1.0)
    broker_multiplier: float | None = Field(None, gt=0.0, le=100.0)
    im_threshold: float | None = Field(None, ge=0.0)
    mta: float | None = Field(None, ge=0.0)
    rounding: float | None = Field(None, ge=0.0)
    eod_hour_utc: Hour | None = None
    intraday_hours_utc: tuple[Hour, ...] | None = None
    pay_lag_hours: int | None = Field(None, ge=1, le=31)

    def given(self) -> dict[str, Any]:
        """Return the fields that change, by column of the agreements."""
        return {name: value for name, value in self if value is not None}


class Phase(BaseModel):
    """From close of business `cob_date` on, the new margin has this weight."""

    model_config = STRICT

    cob_date: date
    weight: Weight


class ModelChange(BaseModel):
    """One change of a margin model, effective-dated.

    Attributes
    ----------
    change_id, title : str
    kind : {"parameter", "model", "add-on", "schedule", "rule"}
        `rule` is a regulation or a consultation; it has no parameters of its own.
    services, agreements : tuple of str
        Scope: clearing services (`venue` of an agreement) or agreement ids. With `simm_version`
        the scope is every agreement with model simm.
    announced, parallel_run_from : date or None
    effective_cob : date or None
        First close of business margined by the new model; a business day. A SIMM version effective
        on Saturday 6 December 2025 is used for close of business on Friday the 5th.
    first_call_date : date or None
        Day of the first call that rests on it; Monday the 8th in that example. Needed with edits.
    edits : AgreementEdits
    simm_version : str or None
    phase_in : tuple of Phase
        Margin(d) = (1 - w) * old + w * new; none is a step to w = 1 on `effective_cob`.
    asset_classes, buckets, factors : tuple of str
        Product filter on the underlying factor: a position is in if it passes every filter given.
    status : {"announced", "live", "open date"}
    period : str
        The date in words, where no day is known ("Q3 2023").
    source, note : str
    mark : {"verified", "indicative", "user"}
        How well dates and edits are known.
    """

    model_config = STRICT

    change_id: str = Field(min_length=1, max_length=64)
    title: str
    kind: Literal["parameter", "model", "add-on", "schedule", "rule"]
    services: tuple[str, ...] = ()
    agreements: tuple[str, ...] = ()
    announced: date | None = None
    parallel_run_from: date | None = None
    effective_cob: date | None = None
    first_call_date: date | None = None
    edits: AgreementEdits = AgreementEdits()
    simm_version: str | None = None
    phase_in: tuple[Phase, ...] = ()
    asset_classes: tuple[Literal[ASSET_CLASSES], ...] = ()  # type: ignore[valid-type]
    buckets: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    status: Literal["announced", "live", "open date"]
    period: str = ""
    source: str = Field(min_length=1)
    note: str = ""
    mark: Literal[EVIDENCE]  # type: ignore[valid-type]

    @property
    def has_parameters(self) -> bool:
        """Whether the new margin can be computed at all."""
        return bool(self.edits.given()) or self.simm_version is not None

    @property
    def filtered(self) -> bool:
        """Whether only some products change."""
        return bool(self.asset_classes or self.buckets or self.factors)

    def weight(self, cob: date) -> float:
        """Return the weight of the new margin at close of business `cob`.

        With phases 0.5 from 3 March and 1 from 2 June: 0 on 28 February, 0.5 on 3 March.
        """
        if self.effective_cob is None or cob < self.effective_cob:
            return 0.0
        reached = [phase.weight for phase in self.phase_in if phase.cob_date <= cob]
        return reached[-1] if reached else 1.0

    def call_dates(self) -> tuple[tuple[date, float], ...]:
        """Return the day of the first call of each phase, and its weight.

        Later phases are called as many business days after their close as the first one.
        """
        if self.effective_cob is None or self.first_call_date is None:
            return ()
        lag = int(np.busday_count(self.effective_cob, self.first_call_date))
        phases = self.phase_in or (Phase(cob_date=self.effective_cob, weight=1.0),)
        days = np.array([phase.cob_date for phase in phases], dtype="datetime64[D]")
        calls: list[date] = np.busday_offset(days, lag).astype(object).tolist()
        return tuple((day, phase.weight) for day, phase in zip(calls, phases, strict=True))

    def called_weight(self, day: date) -> float:
        """Return the weight of the new margin in the calls of `day`."""
        reached = [weight for call, weight in self.call_dates() if call <= day]
        return reached[-1] if reached else 0.0

    @model_validator(mode="after")
    def _consistent(self) -> ModelChange:
        problem = _problem(self)
        if problem:
            raise ValueError(problem)
        return self


def _problem(change: ModelChange) -> str:
    cob, call = change.effective_cob, change.first_call_date
    phases = change.phase_in
    days = [phase.cob_date for phase in phases]
    weights = [phase.weight for phase in phases]
    dated = [d for d in (change.announced, change.parallel_run_from) if d is not None]
    business = [d for d in (cob, call, *days) if d is not None]
    checks = (
        (change.status != "open date" or cob is None, "an open date has no effective_cob"),
        (cob is not None or call is None, "first_call_date needs an effective_cob"),
        (
            not change.has_parameters or change.status == "open date" or call is not None,
            "a change with edits needs effective_cob and first_call_date, or status 'open date'",
        ),
        (cob is None or call is None or cob <= call, "first_call_date is before effective_cob"),
        (cob is None or all(d <= cob for d in dated), "announced or parallel run after the change"),
        (
            all(bool(np.is_busday(d)) for d in business),
            "effective_cob, first_call_date and phases must be business days: a version effective "
            "on a Saturday is used for close of business on the Friday before",
        ),
        (days == sorted(set(days)), "dates of phase_in must increase"),
        (weights == sorted(weights), "weights of phase_in must not fall"),
        (not phases or weights[-1] == 1.0, "the last weight of phase_in must be 1"),
        (not phases or days[0] == cob, "phase_in must start on effective_cob"),
        (
            change.simm_version is None or not (change.edits.given() or change.filtered),
            "a SIMM version changes every SIMM agreement as a whole: no edits, no product filter",
        ),
        (
            change.simm_version is None or not (change.services or change.agreements),
            "a SIMM version has no services or agreements of its own",
        ),
        (
            not change.edits.given() or bool(change.services or change.agreements),
            "edits need services or agreements to apply to",
        ),
    )
    return next((message for good, message in checks if not good), "")


def read_changes(path: Path) -> tuple[ModelChange, ...]:
    """Read a file of changes: TOML, one `[[change]]` per change.

    Raises
    ------
    InputError
        With file, change and field, if the file or a change cannot be used.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; give a TOML file with [[change]] tables") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}; correct the file") from error
    rows = document.get("change", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: `change` must be an array of tables; write [[change]]")
    changes = tuple(_change(row, f"{path}: change {i}") for i, row in enumerate(rows, 1))
    seen: set[str] = set()
    for change in changes:
        if change.change_id in seen:
            raise InputError(f"{path}: change_id {change.change_id!r} is repeated; remove one")
        seen.add(change.change_id)
    return changes


@cache
def load_changes() -> tuple[ModelChange, ...]:
    """Return the packaged changes in file order."""
    return read_changes(CHANGES_FILE)


def merged(first: Iterable[ModelChange], second: Iterable[ModelChange]) -> tuple[ModelChange, ...]:
    """Return both lists; a change of `second` takes the place of one with its id in `first`."""
    return tuple({change.change_id: change for change in (*first, *second)}.values())


def _change(row: dict[str, Any], where: str) -> ModelChange:
    try:
        return ModelChange(**row)
    except (ValidationError, TypeError) as error:
        name = row.get("change_id", "without change_id")
        if isinstance(error, TypeError):
            raise InputError(f"{where} ({name}): {error}; correct the row") from error
        lines = []
        for detail in error.errors():
            field = ".".join(str(part) for part in detail["loc"])
            text = detail["msg"].removeprefix("Value error, ")
            lines.append(
                f"{field} = {detail['input']!r}: {text}" if field else text
            )  # a rule over several fields names them itself
        raise InputError(f"{where} ({name}): {'; '.join(lines)}") from error
