"""From a folder on disk to a fund ready to compute on, and what must be said about its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.domain.failures import Failure, FailureReason, InputError, UsageError
from engine.domain.provenance import file_sha256
from workflows.run import PACK, RunFolder

if TYPE_CHECKING:
    from pydantic import BaseModel

    from engine.avalanche.config import AvalancheConfig
    from engine.domain.arrays import DateArray, Float64Array
    from engine.domain.book import Book
    from engine.domain.market import FactorTable, MarketState
    from engine.fund.read import PackReading
    from engine.market.levels import Levels

Config = TypeVar("Config", bound="BaseModel")

SHOWN_QUARANTINE = 50
OWN_HISTORY = "the user's own history"
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


def _with_own_history(factors: FactorTable, users: Levels) -> FactorTable:
    """Mark factors whose levels the user brings: the packaged labels do not describe those.

    A row of the pack's own factor table keeps the label and source its owner gave.
    """
    from engine.market.packaged import packaged_factors

    packaged = packaged_factors()
    labels = dict(
        zip(packaged.factor_id, zip(packaged.synthetic, packaged.source, strict=True), strict=True)
    )
    synthetic, source = factors.synthetic.copy(), factors.source.copy()
    own = {str(name) for name in users.factor_ids}
    for i, name in enumerate(factors.factor_id):
        if str(name) in own and labels.get(name) == (synthetic[i], source[i]):
            synthetic[i], source[i] = False, OWN_HISTORY
    return replace(factors, synthetic=synthetic, source=source)


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
    factors = reading.factors if users is None else _with_own_history(reading.factors, users)
    market = build_market(factors, levels, as_of, users, max_stale_days=stale)
    failed, unused = _split_failures(market.failures, _held_factors(reading), factors)
    _check_rates(reading.book, market.value, market.failures)
    book = _on_market(reading.book, factors, market.value)
    failures = (*_quarantine_failures(reading), *failed)
    return Opened(reading, book, market.value, failures, unused)


def _check_rates(book: Book, market: MarketState, failures: tuple[Failure, ...]) -> None:
    """Stop where money the fund has or owes has no USD rate on the day.

    Reading has checked that a factor links each currency to USD; its level may still be missing.
    """
    used = {
        str(currency): name
        for name in ("settlements", "facilities", "collateral", "cash", "agreements")
        for currency in getattr(book, name).currency
    }
    lost = {currency: name for currency, name in used.items() if currency not in market.fx_usd}
    if lost:
        lines = [
            f"{currency}, a currency of {name}, has no rate to USD on {book.as_of}"
            for currency, name in sorted(lost.items())
        ]
        lines += [failure.message for failure in failures if set(lost) & _pair(failure.item)]
        raise InputError("\n".join(lines))


def _pair(factor_id: str) -> set[str]:
    """Return the two currencies of a factor named as a pair, such as USDJPY."""
    return {factor_id[:3], factor_id[3:]} if len(factor_id) == 6 else set()


def _held_factors(reading: PackReading) -> set[str]:
    """Return the ids of the factors on which a position depends, and the positions' currencies."""
    book, factors = reading.book, reading.factors
    held = book.positions.instrument
    columns = (book.instruments.factor[held], book.instruments.vol_factor[held])
    used = [column[column >= 0] for column in columns]
    names = [factors.factor_id[column] for column in used]
    names += [factors.currency[column] for column in used]
    return {str(name) for group in (*names, book.instruments.currency[held]) for name in group}


def _split_failures(
    failures: tuple[Failure, ...], wanted: set[str], factors: FactorTable
) -> tuple[tuple[Failure, ...], tuple[str, ...]]:
    """Return the failures that touch the fund, and the other factors left out.

    A factor that nobody holds may well end before the fund's date; that is no failure of the run,
    but `data_quality` names it. A column of the history that is no factor at all stays a failure.
    """
    names = {str(name) for name in factors.factor_id}
    idle = (names | {str(code) for code in factors.currency}) - wanted
    unused = tuple(f.item for f in failures if f.item in idle & names)
    return tuple(failure for failure in failures if failure.item not in idle), unused


def _on_market(book: Book, factors: FactorTable, market: MarketState) -> Book:
    """Return the book with factors as columns of `market`, -1 where the market lacks one.

    The reading numbers factors by rows of the factor table; the market leaves out those without
    usable levels, so that its columns are others.
    """
    import numpy as np

    index = market.index()
    column = np.array([index.get(str(name), -1) for name in factors.factor_id], dtype=np.int64)
    old = book.instruments
    new = {
        name: np.where(row >= 0, column[row], -1)
        for name, row in (("factor", old.factor), ("vol_factor", old.vol_factor))
    }
    return replace(book, instruments=replace(old, **new))


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
