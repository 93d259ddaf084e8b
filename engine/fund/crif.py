"""Reading and writing a file of sensitivities in the common record (CRIF), commas or tabs.

Every cell is read as text and then cast by column, so that a bad cell is reported as written and
an accepted record can be written as it was read, columns that no model uses included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.fund.crif_text import CrifText, read_text, write_text
from engine.fund.schema import MAX_NUMBER
from engine.margin.simm.encode import encode
from engine.margin.simm.validate import as_failure, row_problems, take_rows

_REQUIRED = (
    "PortfolioID",
    "ProductClass",
    "RiskType",
    "Qualifier",
    "Bucket",
    "Label1",
    "Label2",
)
# Columns of the common record that are texts of a table, and the table's names for them.
_TEXT_FIELDS = {
    "TradeID": "trade_id",
    "PortfolioID": "portfolio_id",
    "ProductClass": "product_class",
    "RiskType": "risk_type",
    "Qualifier": "qualifier",
    "Bucket": "bucket",
    "Label1": "label1",
    "Label2": "label2",
    "collect_regulations": "collect_regulations",
    "post_regulations": "post_regulations",
}
_USED = (
    *(name.replace("_", "") for name in _TEXT_FIELDS),
    *("Amount", "AmountCurrency", "AmountUSD", "IMModel"),
)
# The order of columns in files of the engine.
_WRITTEN = (
    *("TradeID", "PortfolioID", "ProductClass", "RiskType", "Qualifier", "Bucket", "Label1"),
    *("Label2", "AmountCurrency", "Amount", "AmountUSD"),
    *("collect_regulations", "post_regulations"),
)
# These parameters are plain numbers, so their currency does not matter.
_PLAIN_NUMBERS = ("param_productclassmultiplier", "param_addonnotionalfactor")


@dataclass(frozen=True)
class CrifFile:
    """The accepted records of a file: `table` for the models, `text` as they were written."""

    table: CrifTable
    text: CrifText


def read_crif(path: Path | str) -> Partial[CrifTable]:
    """Read the sensitivities of a CRIF file; as `read_crif_file` without the text of its cells."""
    reading = read_crif_file(path)
    return Partial(reading.value.table, reading.failures)


def read_crif_file(path: Path | str) -> Partial[CrifFile]:
    """Read a CRIF file so that it can be written again without loss.

    Parameters
    ----------
    path : Path or str
        UTF-8 text with a header line; commas or tabs. Column names are matched without regard to
        case and underscores. Needed: PortfolioID, ProductClass, RiskType, Qualifier, Bucket,
        Label1, Label2, and AmountUSD or Amount with AmountCurrency. collect_regulations and
        post_regulations are read where they exist; other columns are kept as text.

    Returns
    -------
    Partial[CrifFile]
        The usable rows in file order, and one failure (file:line, field, text) per row that is
        not: wrong number of cells, an amount that is not a finite number of at most 1e18 or not in
        USD, a word the margin model does not know.

    Raises
    ------
    InputError
        The file cannot be read, is empty, lacks a needed column, or has one twice.
    """
    source = Path(path)
    text, lines, failures = read_text(source)
    columns = _Columns(text, source)
    crif = _table(columns)
    good, amount, more = _amounts(columns, crif, source, lines)
    failures.extend(more)
    schedule = _is_one_of(columns.text("IMModel"), ("schedule",))
    failures.extend(_schedule_failures(crif, np.flatnonzero(schedule & good), source, lines))
    good &= ~schedule
    crif, lines = take_rows(replace(crif, amount_usd=amount), good), lines[good]
    keep = np.ones(len(crif), dtype=np.bool_)
    for problem in row_problems(crif, encode(crif)):
        keep[problem.row] = False
        failures.append(as_failure(problem, crif, f"{source.name}:{lines[problem.row]}"))
    failures.sort(key=lambda failure: int(failure.where.rpartition(":")[2]))
    accepted = CrifFile(take_rows(crif, keep), text.where(good).where(keep))
    return Partial(accepted, tuple(failures))


def write_crif(path: Path | str, file: CrifFile) -> None:
    """Write the records of a file: same columns, order and cells as read."""
    write_text(Path(path), file.text)


def crif_file(table: CrifTable) -> CrifFile:
    """Return the file of a table made by the engine, comma separated.

    Amounts are written with the fewest digits that give the same number back, such as 0.1.
    """
    named = {name: getattr(table, field) for name, field in _TEXT_FIELDS.items()}
    amounts = [repr(value) for value in table.amount_usd.tolist()]
    named |= {"AmountCurrency": ["USD"] * len(table), "Amount": amounts, "AmountUSD": amounts}
    header = tuple(name for name in _WRITTEN if name in named)
    arrays = [pa.array([str(cell) for cell in named[name]], type=pa.string()) for name in header]
    cells = pa.table(dict(zip(map(str, range(len(header))), arrays, strict=True)))
    return CrifFile(table, CrifText(header, ",", cells))


def _table(columns: _Columns) -> CrifTable:
    """Return the rows with amounts of 0."""
    texts = {field: columns.text(name.replace("_", "")) for name, field in _TEXT_FIELDS.items()}
    return CrifTable(**texts, amount_usd=np.zeros(columns.n_rows))


def _schedule_failures(
    crif: CrifTable, rows: Int64Array, source: Path, lines: Int64Array
) -> Iterator[Failure]:
    for row in rows:
        yield Failure(
            FailureReason.UNSUPPORTED,
            str(crif.trade_id[row]) or str(crif.qualifier[row]),
            f"{source.name}:{lines[row]}",
            "IMModel: a Schedule row is not a sensitivity; margin it with model schedule",
        )


@dataclass(frozen=True)
class _Columns:
    """Columns of the file by name, whatever their case."""

    file: CrifText
    source: Path

    def __post_init__(self) -> None:
        missing = [name for name in _REQUIRED if not self.has(name)]
        amounts = self.has("AmountUSD") or (self.has("Amount") and self.has("AmountCurrency"))
        if not amounts:
            missing.append("AmountUSD (or Amount with AmountCurrency)")
        if missing:
            raise InputError(
                f"the CRIF file {self.source} lacks the column{'s' if len(missing) > 1 else ''} "
                f"{', '.join(missing)}; its header has {', '.join(self.file.names())}"
            )
        plain = self._plain_names()
        twice = [name for name in _USED if plain.count(name.casefold()) > 1]
        if twice:
            raise InputError(
                f"the CRIF file {self.source} has the column {twice[0]} more than once; keep one"
            )

    def _plain_names(self) -> list[str]:
        return [c.replace("_", "").replace(" ", "").casefold() for c in self.file.names()]

    @property
    def table(self) -> pa.Table:
        """Return the cells as text."""
        return self.file.cells

    @property
    def n_rows(self) -> int:
        """Return the number of records."""
        return int(self.table.num_rows)

    def _find(self, name: str) -> int:
        plain = self._plain_names()
        return plain.index(name.casefold()) if name.casefold() in plain else -1

    def has(self, name: str) -> bool:
        return self._find(name) >= 0

    def all_blank(self) -> BoolArray:
        """Return the rows without any text: empty lines of the file, which mean nothing."""
        blank = np.ones(self.n_rows, dtype=np.bool_)
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
            return np.full(self.n_rows, "", dtype=object)
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
