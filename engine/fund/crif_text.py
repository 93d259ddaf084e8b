"""The records of a sensitivity file as text: every cell as written, in order."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from engine.domain.arrays import BoolArray, Int64Array
from engine.domain.failures import Failure, FailureReason, InputError


@dataclass(frozen=True)
class CrifText:
    """Records of a file.

    Attributes
    ----------
    header : tuple of str
        The cells of the header line as written.
    delimiter : str
        Comma or tab.
    cells : pyarrow.Table of strings
        One column per header cell, named by its position; one row per record.
    """

    header: tuple[str, ...]
    delimiter: str
    cells: pa.Table

    def names(self) -> list[str]:
        """Return the column names without blanks, quotes and a leading hash."""
        first = [self.header[0].lstrip("#"), *self.header[1:]] if self.header else []
        return [name.strip().strip('"').strip() for name in first]

    def where(self, keep: BoolArray) -> CrifText:
        """Return the records selected by a mask."""
        if keep.all():
            return self
        return CrifText(self.header, self.delimiter, self.cells.filter(pa.array(keep)))


def read_text(source: Path) -> tuple[CrifText, Int64Array, list[Failure]]:
    """Return all records, the line number of each, and failures of broken lines.

    Raises
    ------
    InputError
        The file cannot be read, is no UTF-8 text, or has no header line.
    """
    data, header, delimiter = _split_header(source)
    broken: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    positions = [str(i) for i in range(len(header))]
    try:
        cells = pacsv.read_csv(
            io.BytesIO(data),
            read_options=pacsv.ReadOptions(
                use_threads=False, column_names=positions, skip_rows=1, block_size=1 << 26
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter,
                ignore_empty_lines=False,
                newlines_in_values=True,
                invalid_row_handler=skip,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(positions, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise _unreadable(source, delimiter, error) from error
    text = CrifText(header, delimiter, cells)
    return text, *_line_numbers(cells.num_rows, broken, source)


def _split_header(source: Path) -> tuple[bytes, tuple[str, ...], str]:
    """Return the bytes of the file, the cells of its header and the delimiter."""
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the CRIF file {source}: {error.strerror}") from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in data:
        # Lines ended by carriage returns alone, or a header that no line end follows.
        data = data.replace(b"\r", b"\n").rstrip(b"\n") + b"\n"
    end = data.find(b"\n")
    header = data if end < 0 else data[:end]
    if not header.strip():
        raise InputError(f"the CRIF file {source} has no header line")
    delimiter = "\t" if header.count(b"\t") > header.count(b",") else ","
    try:
        line = header.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raise _unreadable(source, delimiter, error) from error
    return data, tuple(next(csv.reader([line], delimiter=delimiter))), delimiter


def _unreadable(source: Path, delimiter: str, error: Exception) -> InputError:
    return InputError(
        f"the CRIF file {source} cannot be read as UTF-8 text with separator {delimiter!r}: {error}"
    )


def _line_numbers(
    n_rows: int, broken: list[pacsv.InvalidRow], source: Path
) -> tuple[Int64Array, list[Failure]]:
    skipped = np.array([row.number for row in broken], dtype=np.int64)
    total = n_rows + len(skipped)
    # The reader counts lines from 1, the header included.
    lines = np.arange(2, total + 2)
    lines = np.delete(lines, skipped - 2)
    failures = [
        Failure(
            FailureReason.PARSING,
            f"line {row.number}",
            f"{source.name}:{row.number}",
            f"{row.actual_columns} cells where the header has {row.expected_columns}: "
            f"{row.text[:120]!r}",
        )
        for row in broken
        if row.text.strip()
    ]
    return lines, failures


def write_text(path: Path, text: CrifText) -> None:
    """Write records as UTF-8 text, lines ended by CR LF (RFC 4180).

    A cell is quoted if it holds a separator, a quote, CR or LF; the writer looks for the last two
    because they end lines.
    """
    columns = [column.to_pylist() for column in text.cells.columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=text.delimiter, lineterminator="\r\n")
        writer.writerow(text.header)
        writer.writerows(zip(*columns, strict=True))
