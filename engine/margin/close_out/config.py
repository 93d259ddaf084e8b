"""Terms of the model `close_out`: the rulebook `close_out.json` under the user's choices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

import engine.rulebooks
from engine.rulebooks.tables import read_marked

RULEBOOK_FILE = Path(engine.rulebooks.__file__).with_name("close_out.json")
_TERMS = ("horizon_days", "participation", "crisis_paths")


class PostedAsset(BaseModel):
    """An asset posted as collateral that is sold in the close-out.

    Attributes
    ----------
    agreement_id, instrument_id : str
        Of the fund; the instrument need not be held as a position.
    quantity : float
        Units posted, above zero.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    agreement_id: str
    instrument_id: str
    quantity: float = Field(gt=0.0)


class CloseOutConfig(BaseModel):
    """Choices of the model `close_out`; None takes the number of the rulebook.

    Attributes
    ----------
    participation : float or None
        Part of average daily volume that can be closed in a day.
    horizon_days : int or None
        Most days that closing takes.
    crisis_paths : bool or None
        Whether the worst path that starts in the account's stress period is a floor.
    posted : tuple of PostedAsset
        Collateral that is not cash. Without any, what is posted is taken to be cash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    participation: float | None = Field(None, gt=0.0)
    horizon_days: int | None = Field(None, ge=1, le=60)
    crisis_paths: bool | None = None
    posted: tuple[PostedAsset, ...] = ()


@dataclass(frozen=True)
class CloseOutTerms:
    """Terms of a run; `marks` says of each whether it is verified, indicative or the user's."""

    version: str
    participation: float
    horizon_days: int
    crisis_paths: bool
    marks: dict[str, str]


def close_out_terms(own: CloseOutConfig, path: Path = RULEBOOK_FILE) -> CloseOutTerms:
    """Return the terms; a malformed rulebook raises `InputError`."""
    table = read_marked(path, _TERMS)
    values = {name: table[name]["value"] for name in _TERMS}
    marks = {name: str(table[name]["mark"]) for name in _TERMS}
    for name in _TERMS:
        chosen = getattr(own, name)
        if chosen is not None:
            values[name], marks[name] = chosen, "user"
    return CloseOutTerms(
        version=str(table["version"]),
        participation=float(values["participation"]),
        horizon_days=int(values["horizon_days"]),
        crisis_paths=bool(values["crisis_paths"]),
        marks=marks,
    )
