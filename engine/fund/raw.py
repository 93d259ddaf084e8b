"""Files of a pack as text cells: nothing is interpreted here, and no row is lost.

A row is one line. A line whose quotes do not close on it is never joined with the next one: it
is set aside, so that one stray quote cannot swallow the rows after it and the row numbers of
all others stay the line numbers an editor shows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from engine.domain.arrays import BoolArray, Int64Array
from engine.domain.failures import InputError
from engine.fund.suggest import did_you_mean

MAX_FILE_BYTES = 512 << 20
MAX_DECODED_BYTES = 2 << 30
MAX_COLUMNS = 256
MAX_LINES_OF_QUOTED_CELL = 20
_QUOTE, _COMMA, _NEWLINE = 34, 44, 10
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_KNOWN_FORMATS = {
    b"PK\x03\x04": "a zip file or an Excel workbook; save the sheet as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV (UTF-8)",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"PAR1": "a Parquet file; let its name end in .parquet",
    b"%PDF": "a PDF; export the data as CSV (UTF-8)",
}


@dataclass(frozen=True)
class LostRow:
    """A line that cannot be split into the cells of its table."""

    row: int
    text: str
    rule: str
    remedy: str


@dataclass(frozen=True)
class RawTable:
    """Cells by column, before any check.

    `cells` holds string arrays (or, from Parquet, typed ones) of shape (n_rows,); `row` is the
    line in the file (CSV, header is line 1) or the number of the record (Parquet, from 1).
    """

    file: str
    cells: dict[str, pa.Array]
    row: Int64Array
    lost: tuple[LostRow, ...] = ()
    notes: tuple[str, ...] = ()


def read_raw(file: str, data: bytes, expected: Sequence[str], required: Sequence[str]) -> RawTable:
    """Split the bytes of a table file into cells.

    Parameters
    ----------
    file : str
        Name relative to the pack; its ending decides the format.
    data : bytes
        Contents.
    expected, required : sequences of str
        Column names the table may have, and those it must have.

    Returns
    -------
    RawTable
        Only expected columns; what was left out or skipped is in `notes`.

    Raises
    ------
    InputError
        If the file as a whole cannot be used: encoding, format, size, header.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{file}: {len(data)} bytes; the limit is {MAX_FILE_BYTES}; split it")
    if Path(file).suffix.lower() == ".parquet":
        return _read_parquet(file, data, expected, required)
    return _read_csv(file, data, expected, required)


def _read_csv(file: str, data: bytes, expected: Sequence[str], required: Sequence[str]) -> RawTable:
    data, notes = _clean_bytes(file, data)
    header, _, body = data.partition(b"\n")
    names = _header_names(file, header.decode().rstrip("\r"))
    notes += _check_names(file, names, expected, required)
    body, row, lost = _set_aside_bad_quotes(body)
    table, ragged = _split_cells(file, body, names, row)
    gone = {line.row for line in ragged}
    if gone:
        row = row[~np.isin(row, np.fromiter(gone, dtype=np.int64))]
    assert len(table) == len(row)
    blank = _blank_rows(table)
    if blank.any():
        table, row = table.filter(pa.array(~blank)), row[~blank]
        notes.append(f"{file}: {int(blank.sum())} blank lines skipped")
    cells = {name: _one_array(table.column(name)) for name in names if name in expected}
    lost_rows = tuple(sorted([*lost, *ragged], key=lambda line: line.row))
    return RawTable(file, cells, row, lost_rows, tuple(notes))


def _clean_bytes(file: str, data: bytes) -> tuple[bytes, list[str]]:
    """Refuse what is not UTF-8 text; unify line ends without moving any line."""
    notes: list[str] = []
    for magic, what in _KNOWN_FORMATS.items():
        if data.startswith(magic):
            raise InputError(f"{file}: this is {what}")
    if data.startswith(_UTF16_BOMS):
        raise InputError(f"{file}: encoded as UTF-16; save it as UTF-8 ('CSV UTF-8' in Excel)")
    data = data.removeprefix(_UTF8_BOM)
    if not data.strip():
        raise InputError(f"{file}: the file is empty; a table without rows still needs its header")
    at = data.find(b"\0")
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise InputError(
            f"{file}:{line}: holds NUL bytes: a binary file or UTF-16; save it as CSV in UTF-8"
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file}:{line}: byte 0x{data[error.start]:02X} is not UTF-8 (Windows-1252 or Latin-1 "
            "perhaps); save the file as UTF-8"
        ) from error
    returns = data.count(b"\r")
    if returns and not data.count(b"\n"):
        notes.append(f"{file}: lines end in a bare carriage return; read as line ends")
        data = data.replace(b"\r", b"\n")
    elif returns != data.count(b"\r\n"):
        # A stray CR would end a row for some readers and not for others. As a vertical tab it
        # is an ordinary control character, and the check of its cell quarantines the row.
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\x0b")
    return data, notes


def _header_names(file: str, header: str) -> list[str]:
    try:
        names = next(csv.reader([header], strict=True), [])
    except csv.Error as error:
        raise InputError(f"{file}:1: the header cannot be split: {error}") from error
    if not any(name.strip() for name in names):
        raise InputError(f"{file}:1: the header is blank; line 1 must name the columns")
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{file}:1: {len(names)} columns; the limit is {MAX_COLUMNS}")
    return names


def _check_names(
    file: str, names: Sequence[str], expected: Sequence[str], required: Sequence[str]
) -> list[str]:
    """Refuse repeated, unnamed and missing columns; return notes on unused and absent ones."""
    if "" in names:
        raise InputError(f"{file}:1: column {list(names).index('') + 1} has no name; remove it")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise InputError(f"{file}:1: column {ascii(repeated[0])} stands more than once; keep one")
    unused = [name for name in names if name not in expected]
    absent = [name for name in expected if name not in names]
    near = {name: did_you_mean(name, unused) for name in absent}
    wrong = [name for name in absent if name in required or near[name]]
    if wrong:
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            raise InputError(
                f"{file}:1: columns must be separated by commas; found {ascii(names[0])}"
            )
        found = [
            f"'{name}'" + (f" (found {ascii(near[name])}: rename it)" if near[name] else "")
            for name in wrong
        ]
        raise InputError(f"{file}:1: missing column {', '.join(found)}")
    notes = [f"{file}: column {ascii(name)} is not used" for name in unused]
    return notes + [f"{file}: column '{name}' is absent; read as blank" for name in absent]


def _set_aside_bad_quotes(body: bytes) -> tuple[bytes, Int64Array, list[LostRow]]:
    """Take out lines whose quotes do not open and close on them as RFC 4180 asks.

    Returns the remaining lines, the line number of each, and the lines taken out. Between two
    lines with an odd number of quotes at most `MAX_LINES_OF_QUOTED_CELL` apart the lines may be
    text of a quoted cell, so they are taken out as well.
    """
    if body and not body.endswith(b"\n"):
        body += b"\n"
    count = body.count(b"\n")
    row = np.arange(2, count + 2, dtype=np.int64)
    if b'"' not in body:
        return body, row, []
    text = np.frombuffer(body, dtype=np.uint8)
    ends = np.flatnonzero(text == _NEWLINE)
    bad, odd = _badly_quoted(text, ends)
    for first, second in zip(odd[::2], odd[1::2], strict=False):
        if second - first <= MAX_LINES_OF_QUOTED_CELL:
            bad[first : second + 1] = True
    if not bad.any():
        return body, row, []
    starts = np.concatenate(([0], ends[:-1] + 1))
    remedy = "put each row on one line and close each quote; write a quote in a cell as two quotes"
    lost = [
        LostRow(int(row[i]), body[starts[i] : ends[i]].decode().rstrip("\r"), "quotes", remedy)
        for i in np.flatnonzero(bad)
    ]
    keep = np.repeat(~bad, ends - starts + 1)
    return text[keep].tobytes(), row[~bad], lost


def _badly_quoted(text: np.ndarray[Any, Any], ends: Int64Array) -> tuple[BoolArray, Int64Array]:
    """Return which lines are badly quoted, and the lines with an odd number of quotes."""
    quotes = np.flatnonzero(text == _QUOTE)
    line = np.searchsorted(ends, quotes)
    per_line = np.bincount(line, minlength=len(ends))
    rank = np.arange(len(quotes)) - (np.cumsum(per_line) - per_line)[line]
    before = np.where(quotes > 0, text[np.maximum(quotes - 1, 0)], _NEWLINE)
    after = text[quotes + 1]
    opening = rank % 2 == 0
    opens = np.isin(before, (_COMMA, _NEWLINE)) | ((before == _QUOTE) & (rank > 0))
    closes = np.isin(after, (_COMMA, _NEWLINE, _QUOTE, 13))
    bad = np.zeros(len(ends), dtype=np.bool_)
    bad[line[np.where(opening, ~opens, ~closes)]] = True
    odd = np.flatnonzero(per_line % 2 == 1)
    bad[odd] = True
    return bad, odd


def _split_cells(
    file: str, body: bytes, names: list[str], row: Int64Array
) -> tuple[pa.Table, list[LostRow]]:
    text = pa.string()
    if not body:
        return pa.table({name: pa.array([], type=text) for name in names}), []
    ragged: list[LostRow] = []

    def set_aside(bad: Any) -> str:
        remedy = f"{bad.actual_columns} cells where the header has {bad.expected_columns}"
        ragged.append(LostRow(int(row[bad.number - 1]), bad.text, "ragged", remedy))
        return "skip"

    try:
        table = pa_csv.read_csv(
            io.BytesIO(body),
            # Row numbers of bad rows are given only without threads.
            pa_csv.ReadOptions(use_threads=False, column_names=names, block_size=len(body) + 1),
            pa_csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=set_aside),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, text), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{file}: cannot be split into rows: {error}") from error
    return table, ragged


def _blank_rows(table: pa.Table) -> BoolArray:
    blank: BoolArray = np.ones(len(table), dtype=np.bool_)
    for column in table.columns:
        if not blank.any():
            break
        blank &= pc.equal(column, "").to_numpy().astype(np.bool_)
    return blank


def _one_array(column: Any) -> pa.Array:
    array = column.combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


def _read_parquet(
    file: str, data: bytes, expected: Sequence[str], required: Sequence[str]
) -> RawTable:
    if not data.startswith(b"PAR1"):
        raise InputError(f"{file}: not a Parquet file; let the name of a CSV file end in .csv")
    try:
        source = pa_parquet.ParquetFile(pa.BufferReader(data))
        names = source.schema_arrow.names
        notes = _check_names(file, names, expected, required)
        batches, decoded_bytes = [], 0
        kept = [name for name in names if name in expected]
        for batch in source.iter_batches(columns=kept, use_threads=False):
            decoded_bytes += batch.nbytes
            if decoded_bytes > MAX_DECODED_BYTES:
                raise InputError(f"{file}: more than {MAX_DECODED_BYTES} bytes when decoded")
            batches.append(batch)
        schema = pa.schema([source.schema_arrow.field(name) for name in kept])
        table = pa.Table.from_batches(batches, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: damaged Parquet file: {error}") from error
    cells = {name: _plain_array(table.column(name)) for name in kept}
    return RawTable(file, cells, np.arange(1, len(table) + 1, dtype=np.int64), (), tuple(notes))


def _plain_array(column: Any) -> pa.Array:
    """Return one contiguous array, dictionaries decoded and all text as plain strings."""
    array = _one_array(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    return pc.fill_null(array, "") if pa.types.is_string(array.type) else array
