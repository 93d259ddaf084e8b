"""Numbers of the model `cds`: the rulebook `credit.json` under the user's choices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine.rulebooks
from engine.domain.failures import InputError
from engine.margin.credit.config import CdsConfig
from engine.rulebooks.tables import read_marked

RULEBOOK_FILE = Path(engine.rulebooks.__file__).with_name("credit.json")
SHARE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class NameClass:
    """Recoveries of a class of names, and half bid-offer spreads in bp by notional in USD.

    `bands` are (upper bound of net notional, half-spread); the last bound is infinite.
    """

    recovery_least: float
    recovery_most: float
    bands: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CreditRules:
    """Rulebook and choices together.

    Attributes
    ----------
    draws, degrees_of_freedom, defaults, index_offset, self_reference_share, rate_shock_bp
        As in `credit.json`, or the user's. `rate_shock_bp` is for five days.
    rate_factors : dict of currency to factor id
    index_names : dict of index factor id to number of names
    constituents : dict of index factor id to dict of name factor id to weight
    classes : dict of class to NameClass
    class_of : dict of factor id to class
    default_class : str
    marks : dict of number to `verified`, `indicative` or `user`
    """

    version: str
    draws: int
    degrees_of_freedom: float
    defaults: int
    index_offset: float
    self_reference_share: float
    rate_shock_bp: float
    rate_factors: dict[str, str]
    index_names: dict[str, int]
    constituents: dict[str, dict[str, float]]
    classes: dict[str, NameClass]
    class_of: dict[str, str]
    default_class: str
    marks: dict[str, str]

    def name_class(self, factor_id: str) -> NameClass:
        """Return the class of a reference name or index."""
        return self.classes[self.class_of.get(factor_id, self.default_class)]


def credit_rules(own: CdsConfig, path: Path = RULEBOOK_FILE) -> CreditRules:
    """Return the numbers of a run.

    Raises
    ------
    InputError
        If the rulebook is malformed, or a choice names a class that does not exist, an index with
        no name, or constituents whose weights are not fractions of a whole.
    """
    table = read_marked(path, _NUMBERS)
    marks = {name: str(table[name]["mark"]) for name in _NUMBERS}
    numbers = {name: table[name]["value"] for name in _NUMBERS}
    for name, value in (
        ("draws", own.draws),
        ("degrees_of_freedom", own.degrees_of_freedom),
        ("defaults", own.defaults),
        ("index_offset", own.index_offset),
    ):
        if value is not None:
            numbers[name], marks[name] = value, "user"
    classes, class_of = _classes(table, own), dict(own.name_class)
    for factor, terms in numbers["indices"].items():
        class_of.setdefault(factor, terms["class"])
    rules = CreditRules(
        version=str(table["version"]),
        draws=int(numbers["draws"]),
        degrees_of_freedom=float(numbers["degrees_of_freedom"]),
        defaults=int(numbers["defaults"]),
        index_offset=float(numbers["index_offset"]),
        self_reference_share=float(numbers["self_reference_share"]),
        rate_shock_bp=float(numbers["rate_shock_without_history_bp"]),
        rate_factors={**numbers["rate_factors"], **own.rate_factors},
        index_names={**{f: t["names"] for f, t in numbers["indices"].items()}, **own.indices},
        constituents=own.constituents,
        classes=classes,
        class_of=class_of,
        default_class=str(table["default_class"]),
        marks={**marks, "recoveries": "user" if own.recoveries else marks["classes"]},
    )
    _check(rules)
    return rules


_NUMBERS = (
    "draws",
    "degrees_of_freedom",
    "defaults",
    "index_offset",
    "self_reference_share",
    "rate_factors",
    "rate_shock_without_history_bp",
    "indices",
    "classes",
)


def _classes(table: dict[str, Any], own: CdsConfig) -> dict[str, NameClass]:
    classes = {}
    for name, terms in table["classes"]["value"].items():
        least, most = terms["recovery_least"], terms["recovery_most"]
        if name in own.recoveries:
            least, most = own.recoveries[name].least, own.recoveries[name].most
        bands = tuple(
            (math.inf if bound is None else float(bound), float(half))
            for bound, half in terms["half_spread_bp"]
        )
        classes[name] = NameClass(float(least), float(most), bands)
    return classes


def _check(rules: CreditRules) -> None:
    wanted = {*rules.class_of.values(), rules.default_class}
    unknown = sorted(wanted - set(rules.classes))
    if unknown:
        raise InputError(
            f"name_class has {unknown[0]!r}, which is not one of {', '.join(rules.classes)}"
        )
    for index, count in rules.index_names.items():
        if count < 1:
            raise InputError(f"index {index} has {count} names; give at least 1")
    for index, weights in rules.constituents.items():
        total = sum(weights.values())
        if index not in rules.index_names:
            raise InputError(
                f"constituents names {index}, which is not an index; add it to indices"
            )
        if min(weights.values(), default=0.0) < 0.0 or total > 1.0 + SHARE_TOLERANCE:
            raise InputError(
                f"constituents of {index} weigh {total:g} in all; each must be at least 0 and the "
                "sum at most 1"
            )
        if len(weights) > rules.index_names[index]:
            raise InputError(
                f"{index} has {rules.index_names[index]} names but {len(weights)} constituents"
            )
