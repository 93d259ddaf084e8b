"""Which account is charged which margin add-on, on which terms: `add_ons.csv`.

A row gives one parameter of one add-on for a scope: an account (`service:`, `kind:`) or a risk
factor (`factor:`, `bucket:`, `asset_class:`). The narrowest scope wins as a whole. Every number
has a mark and a source; an indicative one must never be shown without its mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from engine.domain.agreements import AGREEMENT_KINDS
from engine.domain.failures import InputError
from engine.domain.market import ASSET_CLASSES
from engine.rulebooks.services import load_services
from engine.rulebooks.tables import mark_of, read_table, worst_mark

ADD_ONS_FILE = Path(__file__).with_name("add_ons.csv")
ACCOUNT_SCOPES = ("service", "kind")
FACTOR_SCOPES = ("factor", "bucket", "asset_class")
LIQUIDITY_METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "none": (),
        "excess": (),
        "horizon_block": ("participation",),
        "horizon_linear": ("participation",),
        "impact": ("coefficient",),
        "liquidation_period": ("capacity_fraction", "added_days", "cap_days", "basis_days"),
        "tiers": ("adv_fraction", "thresholds", "multipliers"),
    }
)
"""Ways to charge a concentrated account; each has one. Values are the parameters they need."""
# Parameters that a method needs, by add-on and method, for scopes of accounts and of factors.
_ACCOUNT: dict[tuple[str, str], tuple[str, ...]] = {
    **{("concentration", name): needed for name, needed in LIQUIDITY_METHODS.items()},
    ("bid_ask", "none"): (),
    ("bid_ask", "size"): ("size_factor", "size_exponent"),
    ("jump_to_default", "none"): (),
    ("jump_to_default", "worst_names"): ("names",),
    ("wrong_way", "none"): (),
    ("wrong_way", "issuer"): ("self_share", "correlated_share"),
    ("delivery", "none"): (),
    ("delivery", "ramp"): ("rate", "days"),
}
_FACTOR: dict[tuple[str, str], tuple[str, ...]] = {
    ("bid_ask", "half_spread"): ("volatility_share",),
    ("jump_to_default", "loss"): ("loss_given_default", "default_weight"),
    ("wrong_way", "names"): ("issuer_names",),
    ("delivery", "physical"): (),
}
_LISTS = ("thresholds", "multipliers")
_TEXTS = ("issuer_names",)
_FRACTIONS = ("loss_given_default", "default_weight", "self_share", "correlated_share", "rate")
# Zero is a choice for these; for all others it would switch the method off or divide by it.
_MAY_BE_ZERO = ("size_factor", "size_exponent", "volatility_share", "added_days",
                "coefficient", *_FRACTIONS)  # fmt: skip


@dataclass(frozen=True, eq=False)
class AddOnTerms:
    """Terms of one add-on for one scope.

    `numbers` holds single values, `lists` tables of values, `texts` names; `marks` and `sources`
    have one entry for each parameter (or one under "" where the method has none).
    """

    scope: str
    add_on: str
    method: str
    numbers: Mapping[str, float]
    lists: Mapping[str, tuple[float, ...]]
    texts: Mapping[str, tuple[str, ...]]
    marks: Mapping[str, str]
    sources: Mapping[str, str]

    @property
    def mark(self) -> str:
        """Return the weakest mark of the parameters."""
        return worst_mark(*self.marks.values())


@dataclass(frozen=True)
class AddOnRulebook:
    """All terms, by add-on and scope."""

    version: str
    terms: Mapping[tuple[str, str], AddOnTerms]

    def account(self, add_on: str, kind: str, venue: str) -> AddOnTerms | None:
        """Return the terms of an account: of its service, else of its kind, else None."""
        return self._first(add_on, f"service:{venue}", f"kind:{kind}")

    def factor(self, add_on: str, factor: str, bucket: str, asset_class: str) -> AddOnTerms | None:
        """Return the terms of a factor: its own, else of its bucket, else of its class."""
        return self._first(
            add_on, f"factor:{factor}", f"bucket:{bucket}", f"asset_class:{asset_class}"
        )

    def _first(self, add_on: str, *scopes: str) -> AddOnTerms | None:
        found = (self.terms.get((add_on, scope)) for scope in scopes)
        return next((terms for terms in found if terms is not None), None)


def read_add_on_terms(path: Path = ADD_ONS_FILE) -> AddOnRulebook:
    """Read a rulebook file.

    Raises
    ------
    InputError
        If a row is malformed, repeated, names an unknown scope, method or parameter, or is out of
        range, or if a method lacks a parameter; the message names file and line.
    """
    version, rows = read_table(path)
    grouped: dict[tuple[str, str], list[tuple[str, dict[str, str]]]] = {}
    for where, row in rows:
        grouped.setdefault((row["add_on"], row["scope"]), []).append((where, row))
    terms = {key: _terms(lines) for key, lines in grouped.items()}
    return AddOnRulebook(version, MappingProxyType(terms))


@cache
def load_add_on_terms() -> AddOnRulebook:
    """Return the packaged rulebook.

    Examples
    --------
    >>> load_add_on_terms().account("concentration", "cleared", "ECC").numbers["cap_days"]
    3.0
    """
    return read_add_on_terms()


def add_ons_rulebook_id() -> str:
    """Return the id of the packaged rulebook for provenance, `add_ons:<version>`."""
    return f"add_ons:{load_add_on_terms().version}"


def _terms(lines: list[tuple[str, dict[str, str]]]) -> AddOnTerms:
    where, first = lines[0]
    scope, add_on, method = first["scope"], first["add_on"], first["method"]
    needed = _needed(scope, add_on, method, where)
    numbers: dict[str, float] = {}
    lists: dict[str, tuple[float, ...]] = {}
    texts: dict[str, tuple[str, ...]] = {}
    marks: dict[str, str] = {}
    sources: dict[str, str] = {}
    for where, row in lines:
        name, value = row["parameter"], row["value"]
        if row["method"] != method:
            raise InputError(f"{where}: {scope} has two methods of {add_on}; keep one")
        if name in marks or (name not in needed and (name or needed)):
            raise InputError(f"{where}: parameter {name!r} is repeated or not one of {needed}")
        if not row["source"]:
            raise InputError(f"{where}: source is blank; say where the number comes from")
        marks[name], sources[name] = mark_of(row, where), row["source"]
        if name in _TEXTS:
            texts[name] = tuple(part for part in value.split(";") if part)
        elif name in _LISTS:
            lists[name] = tuple(_number(part, name, where) for part in value.split(";"))
        elif name:
            numbers[name] = _number(value, name, where)
    missing = [name for name in needed if name not in marks]
    if missing:
        raise InputError(f"{where}: {method} of {scope} lacks {missing}; add a row for each")
    _check_tiers(lists, where)
    return AddOnTerms(scope, add_on, method, numbers, lists, texts, marks, sources)


def _needed(scope: str, add_on: str, method: str, where: str) -> tuple[str, ...]:
    kind, _, name = scope.partition(":")
    known = {
        "service": load_services(),
        "kind": AGREEMENT_KINDS,
        "asset_class": ASSET_CLASSES,
    }
    table = _ACCOUNT if kind in ACCOUNT_SCOPES else _FACTOR
    if (
        kind not in (*ACCOUNT_SCOPES, *FACTOR_SCOPES)
        or not name
        or name not in known.get(kind, name)
    ):
        raise InputError(f"{where}: scope {scope!r} is not known; name a service, kind or factor")
    if (add_on, method) not in table:
        raise InputError(f"{where}: {scope} cannot have method {method!r} of add-on {add_on!r}")
    return table[add_on, method]


def _number(cell: str, name: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise InputError(f"{where}: {name} is {cell!r}; give a number") from None
    low = value >= 0.0 if name in _MAY_BE_ZERO else value > 0.0
    high = value <= 1.0 if name in _FRACTIONS else value < float("inf")
    if not (low and high):
        raise InputError(f"{where}: {name} is {value:g}, out of range; correct it")
    return value


def _check_tiers(lists: dict[str, tuple[float, ...]], where: str) -> None:
    if not lists:
        return
    thresholds, multipliers = lists["thresholds"], lists["multipliers"]
    rising = all(a < b for a, b in zip(thresholds, thresholds[1:], strict=False))
    growing = all(a <= b for a, b in zip(multipliers, multipliers[1:], strict=False))
    if not (len(thresholds) == len(multipliers) and rising and growing and multipliers[0] >= 1.0):
        raise InputError(
            f"{where}: thresholds {thresholds} must rise, with as many multipliers {multipliers}, "
            "from 1 up"
        )
