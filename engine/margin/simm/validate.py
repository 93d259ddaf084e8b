"""What is wrong with CRIF rows: each unknown word is named with what would be accepted.

A word that is not known never falls into the Residual bucket: a missing mapping would then look
like a small, valid margin.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason, InputError, Partial
from engine.margin.simm import vocabulary as words
from engine.margin.simm.encode import UNKNOWN, EncodedRows, encode

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One field of one row (counted from 0) that cannot be used."""

    row: int
    field: str
    value: str
    message: str


def validate_crif(crif: CrifTable, where: str = "CRIF") -> Partial[CrifTable]:
    """Return the usable rows, and one failure for each row that is not.

    `where` names the source in failures; rows are counted from 1. A row left out lowers the
    margin, so the failures must be shown with any result.
    """
    problems = list(row_problems(crif, encode(crif)))
    keep = np.ones(len(crif), dtype=np.bool_)
    keep[[problem.row for problem in problems]] = False
    return Partial(
        take_rows(crif, keep),
        tuple(as_failure(p, crif, f"{where}:{p.row + 1}") for p in problems),
    )


def take_rows(crif: CrifTable, keep: np.typing.NDArray[np.bool_]) -> CrifTable:
    """Return the rows selected by a mask."""
    return CrifTable(**{f.name: getattr(crif, f.name)[keep] for f in fields(CrifTable)})


def as_failure(problem: RowProblem, crif: CrifTable, where: str) -> Failure:
    """Return the problem as a failure; the item is the trade id, or the row's risk."""
    item = str(crif.trade_id[problem.row]) or str(crif.qualifier[problem.row])
    return Failure(FailureReason.INVALID, item, where, f"{problem.field}: {problem.message}")


def raise_on_problems(crif: CrifTable, rows: EncodedRows) -> None:
    """Raise InputError naming the first problems, if there are any."""
    problems = list(row_problems(crif, rows))
    if not problems:
        return
    lines = [f"row {p.row + 1}, {p.field}: {p.message}" for p in problems[:_SHOWN]]
    more = len(problems) - len(lines)
    tail = f"; and {more} more" if more > 0 else ""
    raise InputError(f"CRIF has rows that cannot be used: {'; '.join(lines)}{tail}")


def row_problems(crif: CrifTable, rows: EncodedRows) -> Iterator[RowProblem]:
    """Yield the first problem of each bad row, rows in order."""
    known_type = rows.risk_type != UNKNOWN
    risk = known_type & (rows.risk_type < words.FIRST_PARAMETER)
    bad = (
        ~known_type
        | (risk & (rows.product_class == UNKNOWN))
        | (rows.qualifier == UNKNOWN)
        | (rows.bucket == UNKNOWN)
        | (rows.tenor == UNKNOWN)
        | (rows.label2 == UNKNOWN)
        | ~np.isfinite(rows.amount_usd)
    )
    for row in np.flatnonzero(bad):
        yield _problem(int(row), crif, rows)


def _problem(row: int, crif: CrifTable, rows: EncodedRows) -> RowProblem:
    code = int(rows.risk_type[row])
    if code == UNKNOWN:
        return _unknown(row, "RiskType", crif.risk_type[row], tuple(words.RISK_TYPE_CODE))
    kind = words.RISK_TYPES[code]
    products = (*words.PRODUCT_CLASSES, *words.PRODUCT_CLASS_ALIASES)
    if code < words.FIRST_PARAMETER and rows.product_class[row] == UNKNOWN:
        return _unknown(row, "ProductClass", crif.product_class[row], products)
    if rows.qualifier[row] == UNKNOWN:
        return _qualifier_problem(row, str(crif.qualifier[row]), kind, products)
    if rows.bucket[row] == UNKNOWN:
        return _unknown(row, "Bucket", crif.bucket[row], kind.buckets)
    if rows.tenor[row] == UNKNOWN:
        return _unknown(row, "Label1", crif.label1[row], kind.tenors)
    if rows.label2[row] == UNKNOWN:
        return _label2_problem(row, str(crif.label2[row]), kind)
    value = str(crif.amount_usd[row])
    return RowProblem(row, "AmountUSD", value, f"{value} is not a finite number")


def _unknown(row: int, field: str, value: object, allowed: tuple[str, ...]) -> RowProblem:
    text = str(value)
    by_case = {word.casefold(): word for word in allowed}
    # The nearest number is no likelier than another.
    close = [] if text.isdigit() else difflib.get_close_matches(text.casefold(), by_case, n=1)
    hint = f"did you mean {by_case[close[0]]!r}? " if close else ""
    what = f"{text!r} is not known" if text.strip() else "is blank"
    return RowProblem(row, field, text, f"{what}; {hint}allowed: {', '.join(allowed)}")


def _qualifier_problem(
    row: int, value: str, kind: words.RiskType, products: tuple[str, ...]
) -> RowProblem:
    if kind.qualifier == "product_class":
        return _unknown(row, "Qualifier", value, products)
    if kind.qualifier == "name":
        message = f"is blank; {kind.name} needs a name"
    elif kind.qualifier == "pair":
        message = f"{value!r} is not a pair of two different ISO 4217 currencies such as EURUSD"
    else:
        close = difflib.get_close_matches(value.upper(), list(words.currency_codes()), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        message = f"{value!r} is not an ISO 4217 currency such as USD{hint}"
    return RowProblem(row, "Qualifier", value, message)


def _label2_problem(row: int, value: str, kind: words.RiskType) -> RowProblem:
    if kind.label2 == "sub_curve":
        return _unknown(row, "Label2", value, words.SUB_CURVES)
    if kind.label2 == "group":
        return RowProblem(
            row, "Label2", value, f"is blank; {kind.name} needs the name of its group, such as CMBX"
        )
    close = difflib.get_close_matches(value.upper(), list(words.currency_codes()), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return RowProblem(
        row,
        "Label2",
        value,
        f"{value!r} is neither blank, Sec nor the ISO 4217 code of the payment currency{hint}",
    )
