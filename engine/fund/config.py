"""`fund.toml`: the name, date and value of the fund, and where its tables are."""

from __future__ import annotations

import math
import re
import tomllib
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from engine.domain.failures import InputError
from engine.fund.schema import MAX_TEXT_CHARACTERS, TABLES
from engine.fund.suggest import did_you_mean

CONFIG_NAME = "fund.toml"
MAX_CONFIG_BYTES = 1 << 20
TABLE_SUFFIXES = (".csv", ".parquet")
_UNSAFE_TEXT = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


def _plain_text(text: str) -> str:
    if text != text.strip() or not text:
        raise ValueError("must not be blank or have spaces at the ends")
    if len(text) > MAX_TEXT_CHARACTERS or _UNSAFE_TEXT.search(text):
        raise ValueError(
            f"must have at most {MAX_TEXT_CHARACTERS} characters and no control or direction "
            "characters"
        )
    return text


def _inside_folder(name: str) -> str:
    _plain_text(name)
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ":" in name or ".." in parts:
        raise ValueError("must be a file inside the folder of fund.toml: no '..', no absolute path")
    if not name.lower().endswith(TABLE_SUFFIXES):
        raise ValueError("must end in .csv or .parquet")
    return name


def _finite_setting(value: int | float | str | bool) -> int | float | str | bool:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be finite")
    return value


FileName = Annotated[str, AfterValidator(_inside_folder)]
Setting = Annotated[int | float | str | bool, AfterValidator(_finite_setting)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FundSection(_Section):
    """Who the fund is, on which date, and what it is worth in its reporting currency."""

    name: Annotated[str, AfterValidator(_plain_text)]
    as_of: date
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    nav: Annotated[float, Field(gt=0, le=1e18)]


class FilesSection(_Section):
    """Table name to file, relative to the folder."""

    positions: FileName
    instruments: FileName
    agreements: FileName
    cash: FileName
    collateral: FileName
    facilities: FileName
    settlements: FileName
    managers: FileName
    strategies: FileName
    factors: FileName | None = None
    history: FileName | None = None
    crif: FileName | None = None

    def given(self) -> dict[str, str]:
        """Return the files that are named, by table."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class OptionsSection(_Section):
    """Reading options. `max_stale_days`: oldest level a factor may have on the fund's date."""

    max_stale_days: Annotated[int, Field(ge=0, le=3650)] = 10


class FundConfig(_Section):
    """All of `fund.toml`. `avalanche` is passed on as it is; the simulation checks it."""

    fund: FundSection
    files: FilesSection
    options: OptionsSection = OptionsSection()
    avalanche: dict[str, Setting] = Field(default_factory=dict)


def parse_config(data: bytes, where: str = CONFIG_NAME) -> FundConfig:
    """Parse the bytes of a `fund.toml`.

    Parameters
    ----------
    data : bytes
        UTF-8, with or without byte order mark.
    where : str
        Name of the file for messages.

    Returns
    -------
    FundConfig

    Raises
    ------
    InputError
        With every wrong key, its line where it can be found, and what to write instead.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise InputError(f"{where}: {len(data)} bytes is too large for a configuration file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    try:
        document = tomllib.loads(text)
    # ValueError covers TOMLDecodeError and whole numbers of more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    try:
        return FundConfig.model_validate(document)
    except ValidationError as error:
        lines = [_explain(detail, text, where) for detail in _distinct(error.errors())]
        raise InputError("\n".join(lines)) from error


def read_config(folder: Path) -> FundConfig:
    """Read `fund.toml` in `folder`; InputError as `parse_config`, or if it is not there."""
    return parse_config(config_bytes(folder), str(folder / CONFIG_NAME))


def config_bytes(folder: Path) -> bytes:
    """Return the bytes of `fund.toml` in `folder`; InputError if it cannot be read."""
    path = folder / CONFIG_NAME
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(
            f"{path}: {reason}; a fund pack is a folder with a {CONFIG_NAME} "
            "(`mca init FOLDER` writes a small one)"
        ) from error


def _distinct(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Keep one error for each key: a union reports one for each of its members."""
    first: dict[tuple[int | str, ...], ErrorDetails] = {}
    for detail in errors:
        first.setdefault(detail["loc"][:2], detail)
    return list(first.values())


_KNOWN_KEYS: dict[str, list[str]] = {
    "": list(FundConfig.model_fields),
    "fund": list(FundSection.model_fields),
    "files": list(FilesSection.model_fields),
    "options": list(OptionsSection.model_fields),
}


def _explain(detail: ErrorDetails, text: str, where: str) -> str:
    section, key = _section_and_key(detail["loc"])
    name = f"[{section}] {key}".strip() if section else f"[{key}]"
    line = _line_of(text, section, key)
    place = f"{where}:{line}" if line else where
    kind = detail["type"]
    if kind == "missing":
        remedy = f'add {key} = "{key}.csv"' if key in TABLES else "add it"
        return f"{place}: {name} is missing; {remedy}"
    if kind == "extra_forbidden":
        near = did_you_mean(key, _KNOWN_KEYS.get(section, []))
        hint = f"did you mean '{near}'?" if near else "remove it"
        return f"{place}: {name} is not known; {hint}"
    raw: Any = detail.get("input")
    reason = str(detail.get("ctx", {}).get("error", "")) or detail["msg"].lower()
    if kind.startswith("date"):
        reason = "must be a date without quotes, for example 2022-12-28"
    elif kind == "string_pattern_mismatch":
        reason = 'must be an ISO 4217 code in capitals, for example "USD"'
    elif section == "avalanche":
        reason = reason if kind == "value_error" else "must be a finite number, text or true/false"
    return f"{place}: {name} = {_short(raw)}: {reason}"


def _section_and_key(location: tuple[int | str, ...]) -> tuple[str, str]:
    names = [str(part) for part in location[:2]]
    return ("", names[0]) if len(names) == 1 else (names[0], names[1])


def _short(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _line_of(text: str, section: str, key: str) -> int:
    """Return the line of a key (or of its section's header), 0 if it is not found."""
    current, header = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        opened = re.match(r"^\[\s*([^\]]+?)\s*\]", stripped)
        if opened:
            current = opened.group(1)
            if current == (section or key):
                header = number
        elif current == section and re.match(rf"^[\"']?{re.escape(key)}[\"']?\s*=", stripped):
            return number
    return header
