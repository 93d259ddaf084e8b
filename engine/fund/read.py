"""Read a fund pack: every file as text first, then checked, then frozen into a book.

Rows that break a rule go to quarantine with file, row, field, rule and raw text; nothing is
defaulted and nothing vanishes: rows read = accepted + quarantined, asserted for each table. A
table that cannot be read, or too many bad rows, stop the reading, but only after every table
was looked at, so that one reading shows all there is to mend.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from engine.domain.arrays import BoolArray
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, InputError
from engine.domain.market import FactorTable
from engine.fund.build import build_book, merge_factors
from engine.fund.columns import Cast, Context, Known, Problem, cast_column, iso_currencies
from engine.fund.config import CONFIG_NAME, FundConfig, config_bytes, parse_config
from engine.fund.quarantine import (
    PackRejectedError,
    QuarantineLog,
    RowCounts,
    counts_of,
    describe_all,
    rejection,
)
from engine.fund.raw import MAX_FILE_BYTES, RawTable, read_raw
from engine.fund.rules import Facts, apply_conditions, cross_problems, currencies_with_rate
from engine.fund.schema import TABLES, Table

MAX_HINTS = 100


@dataclass(frozen=True)
class PackReading:
    """What a fund pack holds, and what was wrong with it.

    `quarantine` has the columns file, row, field, rule, raw, suggestion (one entry for each cell
    that breaks a rule). `factors` is the packaged table merged with the pack's own; the factor
    indices of `book.instruments` point into it. `hashes` maps file names to SHA-256. `findings`
    are lines for people.
    """

    book: Book
    config: FundConfig
    quarantine: pd.DataFrame
    counts: dict[str, RowCounts]
    hashes: dict[str, str]
    crif: CrifTable | None
    history_path: Path | None
    factors: FactorTable
    findings: list[str]


@dataclass
class _Progress:
    """What has been gathered while the tables of one pack are read."""

    folder: Path
    config: FundConfig
    factors: FactorTable
    with_rate: frozenset[str]
    log: QuarantineLog = field(default_factory=QuarantineLog)
    counts: dict[str, RowCounts] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    known: dict[str, Known] = field(default_factory=dict)
    tables: dict[str, dict[str, npt.NDArray[Any]]] = field(default_factory=dict)


def read_pack(
    folder: Path, factors: FactorTable, fx_usd: Mapping[str, float] | None = None
) -> PackReading:
    """Read, check and freeze the fund pack in `folder`.

    Parameters
    ----------
    folder : Path
        Holds `fund.toml` and the files it names.
    factors : FactorTable
        The packaged factors; the pack's own `factors` table replaces or adds rows.
    fx_usd : mapping of str to float, optional
        USD per unit of currency on the fund's date. Needed only where the reporting currency is
        not USD: the book holds NAV and allocations in USD.

    Returns
    -------
    PackReading

    Raises
    ------
    PackRejectedError
        An `InputError` that carries the quarantine: some table has more than one bad row and
        more than 1 % bad rows, or a file cannot be used (missing, not UTF-8, missing column).
    InputError
        If `fund.toml` is missing or wrong.
    """
    data = config_bytes(folder)
    config = parse_config(data, CONFIG_NAME)
    usd_per_unit = _reporting_rate(config, fx_usd)
    progress = _Progress(folder, config, factors, currencies_with_rate(factors.factor_id))
    progress.hashes[CONFIG_NAME] = hashlib.sha256(data).hexdigest()
    _read_factors(progress)
    for name, table in TABLES.items():
        if name != "factors":
            _read_table(progress, table)
    crif = _read_crif(progress)
    history_path = _find_history(progress)
    quarantine = progress.log.frame()
    if progress.errors:
        message = "\n".join([*progress.errors, *describe_all(quarantine)])
        raise PackRejectedError(message, quarantine, progress.counts)
    too_bad = rejection(quarantine, progress.counts)
    if too_bad:
        raise too_bad
    book = build_book(config.fund, progress.tables, progress.factors, usd_per_unit)
    assert len(book.positions) == progress.counts["positions"].accepted
    return PackReading(
        book=book,
        config=config,
        quarantine=quarantine,
        counts=progress.counts,
        hashes=progress.hashes,
        crif=crif,
        history_path=history_path,
        factors=progress.factors,
        findings=_count_lines(progress.counts) + progress.findings,
    )


def _reporting_rate(config: FundConfig, fx_usd: Mapping[str, float] | None) -> float:
    currency = config.fund.currency
    if currency not in iso_currencies():
        raise InputError(f"{CONFIG_NAME}: [fund] currency = '{currency}' is not an ISO 4217 code")
    if currency == "USD":
        return 1.0
    rate = (fx_usd or {}).get(currency, np.nan)
    if not (np.isfinite(rate) and rate > 0):
        raise InputError(
            f"{CONFIG_NAME}: [fund] currency = '{currency}': no exchange rate to USD was given; "
            'state nav and the allocations of managers in USD and write currency = "USD"'
        )
    return float(rate)


def _load(progress: _Progress, name: str) -> tuple[Path, bytes] | None:
    """Return path and bytes of a file named in [files]; note the error and return None else."""
    file = progress.config.files.given()[name]
    root = progress.folder.resolve()
    path = (root / file).resolve()
    try:
        if not path.is_relative_to(root):
            raise InputError(f"{file}: leads out of the folder of {CONFIG_NAME}; copy it inside")
        if not path.is_file():
            raise InputError(f"{file}: not found in {progress.folder}; [files] {name} names it")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{file}: larger than {MAX_FILE_BYTES} bytes; split it")
        data = path.read_bytes()
    except InputError as error:
        progress.errors.append(str(error))
        return None
    except OSError as error:
        progress.errors.append(f"{file}: cannot be read: {error.strerror}")
        return None
    progress.hashes[file] = hashlib.sha256(data).hexdigest()
    return path, data


def _load_table(progress: _Progress, table: Table) -> RawTable | None:
    loaded = _load(progress, table.name)
    if loaded is None:
        return None
    names = [column.name for column in table.columns]
    required = [column.name for column in table.columns if column.required]
    file = progress.config.files.given()[table.name]
    try:
        return read_raw(file, loaded[1], names, required)
    except InputError as error:
        progress.errors.append(str(error))
        return None


def _read_factors(progress: _Progress) -> None:
    """Merge the pack's own factors, if it has any, and make all factors known by id."""
    key = "factors.factor_id"
    packaged = progress.factors
    if progress.config.files.factors is not None:
        raw = _load_table(progress, TABLES["factors"])
        if raw is not None and pa.types.is_string(raw.cells["factor_id"].type):
            ids = np.array([*packaged.factor_id, *raw.cells["factor_id"].to_pylist()], dtype=object)
            progress.with_rate = currencies_with_rate(ids)
        columns = None if raw is None else _check_table(progress, TABLES["factors"], raw)
        if columns is None:
            return
        progress.factors = merge_factors(packaged, columns)
        replaced = sorted(set(packaged.factor_id) & set(columns["factor_id"]))
        if replaced:
            progress.findings.append(f"factors of the pack replace packaged: {', '.join(replaced)}")
        progress.with_rate = currencies_with_rate(progress.factors.factor_id)
    rejected = progress.known[key].rejected if key in progress.known else frozenset()
    ids = progress.factors.factor_id
    progress.known[key] = Known(pa.array([str(name) for name in ids], type=pa.string()), rejected)


def _read_table(progress: _Progress, table: Table) -> None:
    raw = _load_table(progress, table)
    if raw is None:
        return
    columns = _check_table(progress, table, raw)
    if columns is not None:
        progress.tables[table.name] = columns


def _check_table(
    progress: _Progress, table: Table, raw: RawTable
) -> dict[str, npt.NDArray[Any]] | None:
    """Cast and check all columns, quarantine bad rows, and return the accepted values."""
    context = Context(progress.known, progress.with_rate)
    try:
        casts = {
            column.name: cast_column(column, _cells(raw, column.name), raw.file, context)
            for column in table.columns
        }
    except InputError as error:
        progress.errors.append(str(error))
        return None
    progress.findings += [*raw.notes, *apply_conditions(table, casts, raw.file)]
    facts = Facts(progress.config.fund.as_of, progress.factors)
    crossed = cross_problems(table.name, casts, facts)
    good = np.ones(len(raw.row), dtype=np.bool_)
    for name, cast in casts.items():
        for problem in [*cast.problems, *crossed.get(name, [])]:
            good &= ~problem.rows
            _log_problem(progress.log, raw, name, cast, problem)
    for lost in raw.lost:
        row = np.array([lost.row], dtype=np.int64)
        progress.log.add_cells(raw.file, row, "(row)", lost.rule, [lost.text], [lost.remedy])
    progress.counts[table.name] = counts_of(good, len(raw.lost))
    _make_known(progress, table, raw, casts, good)
    return {name: cast.values[good] for name, cast in casts.items()}


def _cells(raw: RawTable, name: str) -> pa.Array:
    if name in raw.cells:
        return raw.cells[name]
    return pa.array([""] * len(raw.row), type=pa.string())


def _log_problem(
    log: QuarantineLog, raw: RawTable, name: str, cast: Cast, problem: Problem
) -> None:
    rows = np.flatnonzero(problem.rows)
    if not len(rows):
        return
    texts = ["" if value is None else str(value) for value in cast.raw.take(rows).to_pylist()]
    hints: dict[str, str] = {}
    for text in texts:
        # Finding the nearest name is slow; after many different mistakes it helps no one.
        if text not in hints:
            hints[text] = problem.hint(text) if len(hints) < MAX_HINTS else ""
    suggestions = [hints[text] for text in texts]
    log.add_cells(raw.file, raw.row[rows], name, problem.rule, texts, suggestions)


def _make_known(
    progress: _Progress, table: Table, raw: RawTable, casts: Mapping[str, Cast], good: BoolArray
) -> None:
    """Let later tables refer to the accepted ids, and tell quarantined ids from unknown ones."""
    ids = table.columns[0]
    if ids.type != "id":
        return
    text = casts[ids.name].raw
    rejected = set(text.filter(pa.array(~good)).to_pylist())
    for lost in raw.lost:
        rejected.update(part.strip('" ') for part in lost.text.split(","))
    accepted = text.filter(pa.array(good))
    progress.known[f"{table.name}.{ids.name}"] = Known(accepted, frozenset(rejected - {""}))


def _read_crif(progress: _Progress) -> CrifTable | None:
    file = progress.config.files.crif
    loaded = None if file is None else _load(progress, "crif")
    if file is None or loaded is None:
        return None
    from engine.fund.crif import read_crif

    try:
        reading = read_crif(loaded[0])
    except InputError as error:
        progress.errors.append(str(error))
        return None
    for failure in reading.failures:
        row = np.array([_row_of(failure)], dtype=np.int64)
        item, help_text = [failure.item], [failure.message]
        progress.log.add_cells(file, row, "(row)", failure.reason.value.lower(), item, help_text)
    crif = reading.value
    good = _crif_rows_with_agreement(progress, file, crif, reading.failures)
    # A row with two mistakes is one quarantined row; a failure without a row stands for itself.
    rows = [_row_of(failure) for failure in reading.failures]
    progress.counts["crif"] = counts_of(good, len(set(rows) - {0}) + rows.count(0))
    return CrifTable(**{name: getattr(crif, name)[good] for name in crif.__dataclass_fields__})


def _row_of(failure: Failure) -> int:
    """Return the row a failure names in `where` (`crif.csv:12`, `row 12`), 0 if it names none."""
    found = re.search(r"(?::|row |line )\s*(\d+)", failure.where)
    return int(found.group(1)) if found else 0


def _crif_rows_with_agreement(
    progress: _Progress, file: str, crif: CrifTable, failures: tuple[Failure, ...]
) -> BoolArray:
    known = progress.known.get("agreements.agreement_id")
    if known is None:
        return np.ones(len(crif), dtype=np.bool_)
    context = Context({"agreements.agreement_id": known}, frozenset())
    column = TABLES["positions"].column("agreement_id")
    text = pa.array([str(name) for name in crif.portfolio_id], type=pa.string())
    cast = cast_column(column, text, file, context)
    failed = {_row_of(failure) for failure in failures}
    lines = np.arange(2, len(crif) + len(failures) + 2, dtype=np.int64)
    rows = lines[~np.isin(lines, np.array(sorted(failed), dtype=np.int64))][: len(crif)]
    source = RawTable(file, {}, rows)
    good = np.ones(len(crif), dtype=np.bool_)
    for problem in cast.problems:
        good &= ~problem.rows
        _log_problem(progress.log, source, "PortfolioID", cast, problem)
    return good


def _find_history(progress: _Progress) -> Path | None:
    if progress.config.files.history is None:
        return None
    loaded = _load(progress, "history")
    return None if loaded is None else loaded[0]


def _count_lines(counts: Mapping[str, RowCounts]) -> list[str]:
    return [
        f"{table}: {count.rows_in} rows = {count.accepted} accepted + "
        f"{count.quarantined} quarantined"
        for table, count in counts.items()
    ]
