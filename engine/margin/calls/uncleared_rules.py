"""Numbers of the rules for margin of uncleared derivatives (`uncleared_margin.csv`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import engine.rulebooks
from engine.domain.failures import InputError
from engine.rulebooks.tables import mark_of, read_table

RULES_FILE = Path(engine.rulebooks.__file__).with_name("uncleared_margin.csv")


@dataclass(frozen=True, slots=True)
class Rule:
    """One number: `value` in `unit`, its mark and where it comes from."""

    term: str
    value: float
    unit: str
    mark: str
    source: str


@cache
def load_rules() -> tuple[Rule, ...]:
    """Return the packaged rules in file order."""
    return tuple(
        Rule(row["term"], float(row["value"]), row["unit"], mark_of(row, where), row["source"])
        for where, row in read_table(RULES_FILE)[1]
    )


def rules_of(term: str) -> tuple[Rule, ...]:
    """Return every rule of a term, one for each unit; an unknown term is an InputError.

    `rules_of("im_threshold")` has 50,000,000 EUR and 50,000,000 USD, both verified.
    """
    found = tuple(rule for rule in load_rules() if rule.term == term)
    if not found:
        raise InputError(f"{RULES_FILE.name} has no term {term!r}; restore the file")
    return found
