"""Bad rows: where they stand, what is wrong, and when there are too many to go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from engine.domain.arrays import BoolArray, Int64Array
from engine.domain.failures import InputError

QUARANTINE_COLUMNS = ["file", "row", "field", "rule", "raw", "suggestion"]
MAX_BAD_SHARE = 0.01
MAX_RAW_CHARACTERS = 80
SHOWN_ROWS = 10
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class RowCounts:
    """Rows of one table: read, accepted and quarantined. The last two add up to the first."""

    rows_in: int
    accepted: int
    quarantined: int

    def __post_init__(self) -> None:
        assert self.rows_in == self.accepted + self.quarantined, self

    def too_many_bad(self) -> bool:
        """Tell whether the table must stop the run: more than one bad row and more than 1 %.

        A single bad row never stops a run, however small its table.
        """
        return self.quarantined > 1 and self.quarantined > MAX_BAD_SHARE * self.rows_in


class PackRejectedError(InputError):
    """The pack cannot be used. `quarantine` and `counts` hold all that was found."""

    def __init__(
        self, message: str, quarantine: pd.DataFrame, counts: dict[str, RowCounts]
    ) -> None:
        super().__init__(message)
        self.quarantine = quarantine
        self.counts = counts


@dataclass
class QuarantineLog:
    """Collects what is wrong, cell by cell, while a pack is read."""

    _parts: list[pd.DataFrame] = field(default_factory=list)

    def add_cells(
        self,
        file: str,
        rows: Int64Array,
        field_name: str,
        rule: str,
        raw: list[str],
        suggestion: list[str],
    ) -> None:
        """Add one entry for each of `rows` (line numbers); all lists have the same length."""
        if not len(rows):
            return
        self._parts.append(
            pd.DataFrame(
                {
                    "file": file,
                    "row": np.asarray(rows, dtype=np.int64),
                    "field": field_name,
                    "rule": rule,
                    "raw": [shown(text) for text in raw],
                    "suggestion": suggestion,
                }
            )
        )

    def frame(self) -> pd.DataFrame:
        """Return all entries: file, row, field, rule, raw, suggestion, in file and row order."""
        if not self._parts:
            empty = pd.DataFrame({name: pd.Series(dtype=object) for name in QUARANTINE_COLUMNS})
            return empty.astype({"row": np.int64})
        whole = pd.concat(self._parts, ignore_index=True)
        # Files keep the order in which they were read: causes come before consequences.
        order = {name: i for i, name in enumerate(dict.fromkeys(whole["file"]))}
        rank = whole["file"].map(order)
        positions = np.lexsort((whole["row"].to_numpy(), rank.to_numpy()))
        return whole.iloc[positions].reset_index(drop=True)[QUARANTINE_COLUMNS]


def shown(raw: str) -> str:
    """Return raw text as it may safely be shown: control characters escaped, length capped."""
    if len(raw) > MAX_RAW_CHARACTERS:
        raw = f"{raw[:MAX_RAW_CHARACTERS]}... ({len(raw)} characters)"
    if raw.isprintable():
        return raw
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in raw)


def describe(entry: pd.Series) -> str:
    """Return one quarantine entry as a line for people."""
    text = f"{entry['file']}:{entry['row']}: {entry['field']} '{entry['raw']}': {entry['rule']}"
    return f"{text}; {entry['suggestion']}" if entry["suggestion"] else text


def describe_all(quarantine: pd.DataFrame, limit: int = SHOWN_ROWS) -> list[str]:
    """Return the first `limit` entries as lines, and a line that counts the rest."""
    lines = [describe(entry) for _, entry in quarantine.head(limit).iterrows()]
    if len(quarantine) > limit:
        lines.append(f"... and {len(quarantine) - limit} more")
    return lines


def rejection(quarantine: pd.DataFrame, counts: dict[str, RowCounts]) -> PackRejectedError | None:
    """Return the error that stops the run if any table has too many bad rows, else None."""
    bad = [
        f"{table}: {count.quarantined} of {count.rows_in} rows are bad "
        f"({count.quarantined / count.rows_in:.1%}; the limit is one row or {MAX_BAD_SHARE:.0%}, "
        "whichever is more)"
        for table, count in counts.items()
        if count.too_many_bad()
    ]
    if not bad:
        return None
    message = "\n".join([*bad, *describe_all(quarantine), "Mend these rows and read again."])
    return PackRejectedError(message, quarantine, counts)


def write_quarantine(quarantine: pd.DataFrame, path: Path) -> None:
    """Write the entries as CSV; text a spreadsheet would run as a formula gets a leading '."""
    safe = quarantine.copy()
    for name in ("file", "field", "rule", "raw", "suggestion"):
        starts = safe[name].astype(str).str.startswith(_FORMULA_STARTS)
        safe[name] = safe[name].astype(object).where(~starts, "'" + safe[name].astype(str))
    safe.to_csv(path, index=False, lineterminator="\n")


def counts_of(good: BoolArray, lost: int) -> RowCounts:
    """Count rows from the mask of good ones and the number that could not even be split."""
    accepted = int(np.count_nonzero(good))
    return RowCounts(len(good) + lost, accepted, len(good) - accepted + lost)
