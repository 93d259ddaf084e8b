"""Numbers of the published fire-sale stress test: the rulebook `fire_sale.json`."""

from __future__ import annotations

from pathlib import Path

import engine.rulebooks
from engine.rulebooks.tables import read_marked

RULEBOOK_FILE = Path(engine.rulebooks.__file__).with_name("fire_sale.json")
NUMBERS = (
    "leverage_minimum",
    "leverage_buffer",
    "leverage_target",
    "price_impact",
    "reference_share",
    "steps",
    "event_floor",
    "cash_share",
    "repayable_share",
)


def published_number(name: str) -> float:
    """Return one number of the rulebook; `published_number("leverage_target") == 0.05`."""
    return float(read_marked(RULEBOOK_FILE, NUMBERS)[name]["value"])


def published_marks() -> dict[str, str]:
    """Return `verified` or `indicative` for each number of the rulebook."""
    table = read_marked(RULEBOOK_FILE, NUMBERS)
    return {name: str(table[name]["mark"]) for name in NUMBERS}
