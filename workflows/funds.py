"""From a folder on disk to a fund ready to compute on, and what must be said about its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.domain.failures import Failure, FailureReason, InputError, UsageError
from engine.domain.provenance import file_sha256
from workflows.markets import (
    check_rates,
    held_factors,
    on_market,
    split_failures,
    with_own_history,
)
from workflows.run import PACK, RunFolder

if TYPE_CHECKING:
    from pydantic import BaseModel

    from engine.avalanche.config import AvalancheConfig
    from engine.domain.arrays import DateArray, Float64Array
    from engine.domain.book import Book
    from engine.domain.market import MarketState
    from engine.fund.read import PackReading
    from engine.market.levels import Levels

Config = TypeVar("Config", bound="BaseModel")

SHOWN_QUARANTINE = 50
DATA_SUFFIXES = (".csv", ".gz", ".json", ".parquet", ".toml")


@dataclass(frozen=True)
class Opened:
    """A fund ready to compute on.

    `book.instruments` point into `market.factors`, -1 where the market lacks the factor; the book
    inside `reading` points into `reading.factors`. `failures` are those of reading and of the
    market; `unused` names factors without usable levels on which no position depends.
    """

    reading: PackReading
    book: Book
    market: MarketState
    failures: tuple[Failure, ...]
    unused: tuple[str, ...] = ()


def checked(model: type[Config], /, **values: Any) -> Config:
    """Build a config from options of a caller; a wrong value is a usage error."""
    from pydantic import ValidationError

    try:
        return model(**values)
    except ValidationError as error:
        raise UsageError("\n".join(_explained(error))) from error


def _explained(error: Any) -> list[str]:
    lines = []
    for detail in error.errors():
        text = detail["msg"].removeprefix("Value error, ")
        name = ".".join(str(part) for part in detail["loc"])
        # A rule over several options names them itself; its input would be all of them.
        lines.append(f"{name} = {detail['input']!r}: {text}" if name else text)
    return lines


def avalanche_config(
    section: Mapping[str, Any], overrides: Mapping[str, Any], seed: int | None
) -> AvalancheConfig:
    """Merge defaults, the pack's `[avalanche]`, overrides and seed; the last one wins.

    Raises
    ------
    InputError
        If the pack's section is wrong.
    UsageError
        If an override is.
    """
    from pydantic import ValidationError

    from engine.avalanche.config import AvalancheConfig

    try:
        AvalancheConfig(**section)
    except ValidationError as error:
        wrong = "\n".join(f"fund.toml: [avalanche] {line}" for line in _explained(error))
        raise InputError(wrong) from error
    given = {key: value for key, value in overrides.items() if value is not None}
    if seed is not None:
        given["seed"] = seed
    return checked(AvalancheConfig, **{**section, **given})


def packaged_data_hash() -> str:
    """Return one SHA-256 over all rulebooks and packaged history, names included."""
    digest = hashlib.sha256()
    for package in ("engine.rulebooks", "engine.market"):
        for name, path in _data_files(package):
            digest.update(f"{package}/{name}\n{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def rulebook_ids() -> tuple[str, ...]:
    """Return `name@hash` of every rulebook, sorted; eight hex digits tell versions apart."""
    return tuple(
        f"{name}@{file_sha256(path)[:8]}" for name, path in _data_files("engine.rulebooks")
    )


def _data_files(package: str) -> list[tuple[str, Path]]:
    root = Path(str(files(package)))
    return [
        (path.relative_to(root).as_posix(), path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in DATA_SUFFIXES
    ]


def _given_levels(history: Path) -> Levels:
    from engine.market.levels import read_levels

    if not history.is_file():
        raise InputError(f"{history}: not found; --history takes a wide CSV or Parquet file")
    return read_levels(history)


def series_levels(history: Path | None, series: str) -> tuple[DateArray, Float64Array]:
    """Return dates and levels of one column of a history file, or of the packaged history."""
    from engine.fund.suggest import did_you_mean
    from engine.market.packaged import packaged_levels

    levels = packaged_levels() if history is None else _given_levels(history)
    known = list(levels.index())
    if series not in known:
        near = did_you_mean(series, known)
        hint = f"did you mean {near!r}?" if near else f"it has {', '.join(known[:30])}"
        raise InputError(f"{history or 'packaged history'}: no column {series!r}; {hint}")
    return levels.dates, levels.column(series)


def write_sample(folder: RunFolder, seed: int) -> Path:
    """Write the sample fund of `seed` into the run folder and return its pack."""
    from engine.fund.sample import write_sample_fund
    from engine.market.packaged import packaged_factors, packaged_levels
    from engine.market.state import build_market

    levels = packaged_levels()
    market = build_market(packaged_factors(), levels, levels.dates[-1].item())
    pack = folder.path / PACK
    write_sample_fund(pack, seed, market.value)
    return pack


def open_fund(pack: Path, history: Path | None = None) -> Opened:
    """Read a pack and build its market; `history` takes the place of the pack's own.

    Raises
    ------
    InputError
        If the pack or the history cannot be used as a whole.
    """
    from engine.fund.config import read_config
    from engine.fund.read import read_pack
    from engine.market.levels import read_levels
    from engine.market.packaged import packaged_factors, packaged_levels
    from engine.market.state import build_market

    config = read_config(pack)
    as_of, stale = config.fund.as_of, config.options.max_stale_days
    levels = packaged_levels()
    fx_usd = None
    if config.fund.currency != "USD":
        # The book is held in USD, so its reading needs the exchange rate of the day first.
        rates = build_market(packaged_factors(), levels, as_of, max_stale_days=stale)
        fx_usd = rates.value.fx_usd
    reading = read_pack(pack, packaged_factors(), fx_usd)
    path = reading.history_path
    if history is not None:
        users: Levels | None = _given_levels(history)
    else:
        users = None if path is None else read_levels(path)
    factors = reading.factors if users is None else with_own_history(reading.factors, users)
    market = build_market(factors, levels, as_of, users, max_stale_days=stale)
    failed, unused = split_failures(market.failures, held_factors(reading), factors)
    check_rates(reading.book, market.value, market.failures)
    book = on_market(reading.book, factors, market.value)
    failures = (*_quarantine_failures(reading), *failed)
    return Opened(reading, book, market.value, failures, unused)


def _quarantine_failures(reading: PackReading) -> tuple[Failure, ...]:
    """Return one failure for each table with bad rows; the table `quarantine` holds them all."""
    from engine.fund.quarantine import describe

    named = reading.config.files.given()
    entries = reading.quarantine
    failures = []
    for table, count in reading.counts.items():
        if count.quarantined:
            first = entries[entries["file"] == named[table]].iloc[0]
            text = (
                f"{count.quarantined} of {count.rows_in} rows left out; the first: "
                f"{describe(first)}; `mca validate` lists them"
            )
            failures.append(Failure(FailureReason.INVALID, table, named[table], text))
    return tuple(failures)


def data_quality(opened: Opened) -> dict[str, Any]:
    """Return what a reader must know about the inputs before believing the figures."""
    market = opened.market
    factors = market.factors
    return {
        **_reading_quality(opened.reading.counts, opened.reading.quarantine),
        "synthetic_factors": [str(name) for name in factors.factor_id[factors.synthetic]],
        "substituted_factors": list(market.substituted),
        "unused_factors_without_levels": list(opened.unused),
        "filled_days": {name: days for name, days in market.filled_days.items() if days},
    }


def _reading_quality(counts: Mapping[str, Any], quarantine: Any) -> dict[str, Any]:
    return {
        "rows": {
            name: {
                "rows_in": count.rows_in,
                "accepted": count.accepted,
                "quarantined": count.quarantined,
            }
            for name, count in counts.items()
        },
        "quarantined": quarantine.head(SHOWN_QUARANTINE).to_dict("records"),
    }


def inspect_pack(pack: Path, history: Path | None) -> tuple[dict[str, Any], tuple[Failure, ...]]:
    """Read a pack as a run would; return the findings as one object, and the failures.

    `ok` is true if not a row was quarantined and nothing failed. `error` is what would stop a run.
    `options` are the avalanche's, each with its value and origin (`pack` or `default`).
    """
    from engine.fund.quarantine import PackRejectedError

    found: dict[str, Any] = {"rows": {}, "quarantined": [], "options": {}, "error": None}
    failures: tuple[Failure, ...] = ()
    try:
        opened = open_fund(pack, history)
        failures = opened.failures
        found.update(data_quality(opened))
        section = opened.reading.config.avalanche
        config = avalanche_config(section, {}, None)
        found["options"] = {
            name: {"value": value, "origin": "pack" if name in section else "default"}
            for name, value in config.model_dump().items()
        }
    except PackRejectedError as error:
        found.update(_reading_quality(error.counts, error.quarantine), error=str(error))
    except InputError as error:
        found["error"] = str(error)
    bad = sum(count["quarantined"] for count in found["rows"].values())
    found["ok"] = not (bad or failures or found["error"])
    found["failures"] = [failure.to_dict() for failure in failures]
    return {"pack": str(pack), **found}, failures
