"""Reading a file of sensitivities in the common record (CRIF), comma or tab separated.

Every cell is read as text and then cast by column, so that a bad cell is reported as written.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.fund.schema import MAX_NUMBER
from engine.margin.simm.encode import encode
from engine.margin.simm.validate import row_problems, take_rows

_REQUIRED = (
    "PortfolioID",
    "ProductClass",
    "RiskType",
    "Qualifier",
    "Bucket",
    "Label1",
    "Label2",
)
_USED = (*_REQUIRED, "TradeID", "Amount", "AmountCurrency", "AmountUSD", "IMModel")
# These parameters are plain numbers, so their currency does not matter.
_PLAIN_NUMBERS = ("param_productclassmultiplier", "param_addonnotionalfactor")


def read_crif(path: Path | str) -> Partial[CrifTable]:
    """Read a CRIF file.

    Parameters
    ----------
    path : Path or str
        UTF-8 text with a header line; commas or tabs. Column names are matched without regard to
        case and underscores. Needed: PortfolioID, ProductClass, RiskType, Qualifier, Bucket,
        Label1, Label2, and AmountUSD or Amount with AmountCurrency. Other columns, regulations
        among them, are not used.

    Returns
    -------
    Partial[CrifTable]
        The usable rows in file order, and one failure (file:line, field, text) per row that is
        not: wrong number of cells, an amount that is not a finite number of at most 1e18 or not in
        USD, a word the margin model does not know.

    Raises
    ------
    InputError
        The file cannot be read, is empty, lacks a needed column, or has one twice.
    """
    source = Path(path)
    table, lines, failures = _read_text(source)
    columns = _Columns(table, source)
    crif = CrifTable(
        portfolio_id=columns.text("PortfolioID"),
        trade_id=columns.text("TradeID"),
        product_class=columns.text("ProductClass"),
        risk_type=columns.text("RiskType"),
        qualifier=columns.text("Qualifier"),
        bucket=columns.text("Bucket"),
        label1=columns.text("Label1"),
        label2=columns.text("Label2"),
        amount_usd=np.zeros(table.num_rows),
    )
    good, amount, more = _amounts(columns, crif, source, lines)
    failures.extend(more)
    schedule = _is_one_of(columns.text("IMModel"), ("schedule",))
    for row in np.flatnonzero(schedule & good):
        failures.append(
            Failure(
                FailureReason.UNSUPPORTED,
                str(crif.trade_id[row]) or str(crif.qualifier[row]),
                f"{source.name}:{lines[row]}",
                "IMModel: a Schedule row is not a sensitivity; margin it with model schedule",
            )
        )
    good &= ~schedule
    crif = take_rows(CrifTable(**{**crif.__dict__, "amount_usd": amount}), good)
    lines = lines[good]
    keep = np.ones(len(crif), dtype=np.bool_)
    for problem in row_problems(crif, encode(crif)):
        keep[problem.row] = False
        where = f"{source.name}:{lines[problem.row]}"
        item = str(crif.trade_id[problem.row]) or str(crif.qualifier[problem.row])
        failures.append(
            Failure(FailureReason.INVALID, item, where, f"{problem.field}: {problem.message}")
        )
    failures.sort(key=lambda failure: int(failure.where.rpartition(":")[2]))
    return Partial(take_rows(crif, keep), tuple(failures))


def _read_text(source: Path) -> tuple[pa.Table, Int64Array, list[Failure]]:
    """Return all cells as text, the line number of each row, and failures of broken lines."""
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
    broken: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    try:
        names = header.decode("utf-8").lstrip("#").strip("\r\n").split(delimiter)
        names = [name.strip().strip('"').strip() for name in names]
        table = pacsv.read_csv(
            io.BytesIO(data),
            read_options=pacsv.ReadOptions(
                use_threads=False, column_names=names, skip_rows=1, block_size=1 << 26
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=skip
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise InputError(
            f"the CRIF file {source} cannot be read as UTF-8 text with separator {delimiter!r}: "
            f"{error}"
        ) from error
    return table, *_line_numbers(table.num_rows, broken, source)


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


@dataclass(frozen=True)
class _Columns:
    """Columns of the file by name, whatever their case."""

    table: pa.Table
    source: Path

    def __post_init__(self) -> None:
        missing = [name for name in _REQUIRED if not self.has(name)]
        amounts = self.has("AmountUSD") or (self.has("Amount") and self.has("AmountCurrency"))
        if not amounts:
            missing.append("AmountUSD (or Amount with AmountCurrency)")
        if missing:
            raise InputError(
                f"the CRIF file {self.source} lacks the column{'s' if len(missing) > 1 else ''} "
                f"{', '.join(missing)}; its header has {', '.join(self.table.column_names)}"
            )
        plain = self._plain_names()
        twice = [name for name in _USED if plain.count(name.casefold()) > 1]
        if twice:
            raise InputError(
                f"the CRIF file {self.source} has the column {twice[0]} more than once; keep one"
            )

    def _plain_names(self) -> list[str]:
        return [c.replace("_", "").replace(" ", "").casefold() for c in self.table.column_names]

    def _find(self, name: str) -> int:
        plain = self._plain_names()
        return plain.index(name.casefold()) if name.casefold() in plain else -1

    def has(self, name: str) -> bool:
        return self._find(name) >= 0

    def all_blank(self) -> BoolArray:
        """Return the rows without any text: empty lines of the file, which mean nothing."""
        blank = np.ones(self.table.num_rows, dtype=np.bool_)
        for column in self.table.columns:
            blank &= pc.equal(pc.utf8_trim_whitespace(column), "").to_numpy()
        return blank

    def numbers(self, name: str) -> Float64Array | None:
        """Return a column cast to float64, or None where it is absent or a cell is no number."""
        if not self.has(name):
            return None
        trimmed = pc.utf8_trim_whitespace(self.table.column(self._find(name)))
        try:
            cast = pc.cast(trimmed, pa.float64())
        except pa.ArrowInvalid:
            return None
        return np.asarray(cast.to_numpy(), dtype=np.float64)

    def text(self, name: str) -> StrArray:
        """Return stripped texts, shape (n_rows,); "" where the file lacks the column."""
        if not self.has(name):
            return np.full(self.table.num_rows, "", dtype=object)
        column = self.table.column(self._find(name)).combine_chunks()
        if not len(column):
            return np.empty(0, dtype=object)
        # One Python string per distinct text, not per row.
        encoded = pc.utf8_trim_whitespace(column).dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        distinct = np.array(encoded.dictionary.to_pylist(), dtype=object)
        return np.asarray(distinct[encoded.indices.to_numpy()], dtype=object)


def _is_one_of(texts: StrArray, folded: tuple[str, ...]) -> BoolArray:
    """Return which texts equal one of the lower-case words, without regard to case."""
    matching = [text for text in set(texts) if text.casefold() in folded]
    return np.asarray(pd.Series(texts, dtype=object).isin(matching), dtype=np.bool_)


def _amounts(
    columns: _Columns, crif: CrifTable, source: Path, lines: Int64Array
) -> tuple[BoolArray, Float64Array, list[Failure]]:
    """Return which rows have a finite USD amount, the amounts, and failures of the others."""
    n = len(crif)
    amount = columns.numbers("AmountUSD")
    if amount is not None and (np.abs(amount) <= MAX_NUMBER).all():
        return np.ones(n, dtype=np.bool_), amount, []
    chosen = columns.text("AmountUSD")
    field = np.full(n, "AmountUSD", dtype=object)
    blank = chosen == ""
    currency = columns.text("AmountCurrency")
    other = columns.text("Amount")
    plain = _is_one_of(crif.risk_type, _PLAIN_NUMBERS)
    in_usd = _is_one_of(currency, ("usd",))
    use_other = blank & (other != "") & (in_usd | plain)
    chosen = np.where(use_other, other, chosen)
    field[use_other] = "Amount"
    amount = pd.to_numeric(pd.Series(chosen), errors="coerce").to_numpy(dtype=np.float64)
    good = np.abs(amount) <= MAX_NUMBER
    failures = []
    empty_line = columns.all_blank()
    for row in np.flatnonzero(~good & ~empty_line):
        item = str(crif.trade_id[row]) or str(crif.qualifier[row])
        where = f"{source.name}:{lines[row]}"
        if chosen[row] == "" and other[row] != "":
            reason = FailureReason.CURRENCY_CONVERSION
            message = (
                f"AmountUSD is needed: it is blank and Amount {other[row]!r} is in "
                f"{currency[row] or 'no currency'}; give the amount in USD"
            )
        elif np.isfinite(amount[row]):
            reason = FailureReason.INVALID
            message = f"{field[row]}: {chosen[row]!r} is too large; at most {MAX_NUMBER:g}"
        else:
            reason = FailureReason.PARSING
            message = f"{field[row]}: {chosen[row]!r} is not a finite number"
        failures.append(Failure(reason, item, where, message))
    return good, amount, failures
