"""What a margin is computed from, and the same inputs with positions weighted or relabelled.

Everything here asks `calculate_margin_requirements` as it stands, so that it holds for every family
of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.book import Book, Managers, Positions
from engine.domain.crif import CrifTable
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig

ROWS_AT_ONCE = 200_000
"""Position rows of one evaluation of variants; more are evaluated in turns."""


@dataclass(frozen=True)
class MarginInputs:
    """Book, market, choices and the user's sensitivities: all that a margin depends on."""

    book: Book
    market: MarketState
    config: MarginConfig
    crif: CrifTable | None = None
    anchors: Mapping[str, float] | None = None
    """Ratios of reported to modelled margin; None fits them to the reports in the book."""

    def margin(self) -> MarginResult:
        """Return the margin of every agreement."""
        return calculate_margin_requirements(
            self.book, self.market, self.config, self.crif, self.anchors
        )


@dataclass(frozen=True)
class Elements:
    """What an agreement's margin is made of: its positions, and CRIF rows of no position.

    `position` (n_positions,) are rows of `book.positions`. With `loose`, one more element follows
    them: the rows of the user's CRIF under this agreement whose TradeID is no position.
    """

    agreement: int
    position: Int64Array
    loose: bool

    def __len__(self) -> int:
        return len(self.position) + int(self.loose)


@dataclass(frozen=True)
class VariantMargins:
    """Margin of variants of one agreement, in USD; arrays have shape (n_variants,).

    `im` is before the IM threshold. NaN where the variant could not be margined.
    """

    im: Float64Array
    add_ons: dict[str, Float64Array]


def elements_of(inputs: MarginInputs, agreement: int) -> Elements:
    """Return the elements of the agreement in row `agreement` of the book."""
    positions = inputs.book.positions
    rows = np.flatnonzero(positions.agreement == agreement).astype(np.int64)
    crif, loose = inputs.crif, False
    if crif is not None:
        own = crif.portfolio_id == inputs.book.agreements.agreement_id[agreement]
        loose = bool((own & ~np.isin(crif.trade_id, positions.position_id[rows])).any())
    return Elements(agreement, rows, loose)


def take_positions(positions: Positions, rows: Int64Array) -> Positions:
    """Return the given rows of the positions."""
    return replace(positions, **{name: column[rows] for name, column in vars(positions).items()})


def with_labels_as_managers(book: Book, label: Int64Array, n_labels: int) -> Book:
    """Return the book with `label` (n_positions,) in the place of each position's manager.

    The engine shares every margin over managers; this makes it share over anything else.
    """
    names: StrArray = np.array([str(i) for i in range(n_labels)], dtype=np.object_)
    managers = Managers(names, names, np.zeros(n_labels))
    return replace(book, managers=managers, positions=replace(book.positions, manager=label))


def shares_by_label(result: MarginResult, n_labels: int, key: str = "im_usd") -> Float64Array:
    """Return what `result`, of a book with labels as managers, gives each label, in USD."""
    nothing: dict[str, float] = {}
    return np.array([result.by_manager.get(str(i), nothing).get(key, 0.0) for i in range(n_labels)])


def by_agreement(
    result: MarginResult, names: StrArray, values: Float64Array | None = None
) -> Float64Array:
    """Return `values` (IM if None) for the agreements `names`; NaN where the result lacks one."""
    found = dict(zip(result.agreement_id, result.im_usd if values is None else values, strict=True))
    return np.array([found.get(name, np.nan) for name in names], dtype=np.float64)


def evaluate_variants(
    inputs: MarginInputs, weights: list[tuple[Elements, Float64Array]]
) -> list[VariantMargins]:
    """Margin of agreements with their elements weighted, all variants in few evaluations.

    Each variant becomes an agreement of its own with the terms of the original, but without IM
    threshold, threshold group and reported margin.

    Parameters
    ----------
    inputs : MarginInputs
    weights : list of (Elements, float64 array of shape (n_variants, len(elements)))
        Factors on quantities (and on amounts of CRIF rows). A weight of 0 leaves the element out;
        a variant of zeros has margin 0.

    Returns
    -------
    list of VariantMargins
        In the order of `weights`.
    """
    jobs = [(k, v) for k, (_, table) in enumerate(weights) for v in range(len(table))]
    jobs = [(k, v) for k, v in jobs if weights[k][1][v].any()]
    sizes = np.array([np.count_nonzero(weights[k][1][v]) for k, v in jobs], dtype=np.int64)
    turn = np.cumsum(sizes) // ROWS_AT_ONCE
    out = [VariantMargins(np.zeros(len(table)), {}) for _, table in weights]
    for group in np.unique(turn):
        part = [jobs[j] for j in np.flatnonzero(turn == group)]
        result = _variant_book(inputs, weights, part).margin()
        names: StrArray = np.array([str(j) for j in range(len(part))], dtype=np.object_)
        columns = {"": by_agreement(result, names)}
        columns |= {n: by_agreement(result, names, v) for n, v in result.add_ons.items()}
        for name, column in columns.items():
            for (k, v), amount in zip(part, column, strict=True):
                margins = out[k]
                if name:
                    zeros = np.zeros(len(margins.im))
                    margins.add_ons.setdefault(name, zeros)[v] = amount
                else:
                    margins.im[v] = amount
    return out


def _variant_book(
    inputs: MarginInputs,
    weights: list[tuple[Elements, Float64Array]],
    jobs: list[tuple[int, int]],
) -> MarginInputs:
    """Inputs whose agreement number j is variant `jobs[j]`."""
    book = inputs.book
    rows, owners, factors = [], [], []
    for j, (k, v) in enumerate(jobs):
        elements, table = weights[k]
        weight = table[v][: len(elements.position)]
        used = np.flatnonzero(weight)
        rows.append(elements.position[used])
        owners.append(np.full(len(used), j, dtype=np.int64))
        factors.append(weight[used])
    row, owner, factor = (np.concatenate(parts) for parts in (rows, owners, factors))
    row, owner = row.astype(np.int64), owner.astype(np.int64)
    positions = take_positions(book.positions, row)
    names = [f"{p}@{j}" for p, j in zip(positions.position_id, owner, strict=True)]
    positions = replace(
        positions,
        position_id=np.array(names, dtype=np.object_),
        agreement=owner,
        quantity=positions.quantity * factor,
    )
    at = np.array([weights[k][0].agreement for k, _ in jobs], dtype=np.int64)
    columns = {name: column[at].copy() for name, column in vars(book.agreements).items()}
    columns["agreement_id"] = np.array([str(j) for j in range(len(jobs))], dtype=np.object_)
    columns["im_threshold"] = np.zeros(len(jobs))
    columns["reported_im"] = np.full(len(jobs), np.nan)
    columns["im_group"] = np.where(columns["im_group"] == "", "", columns["agreement_id"])
    agreements = replace(book.agreements, **columns)
    crif = None if inputs.crif is None else _variant_crif(inputs, weights, jobs)
    return replace(inputs, book=replace(book, positions=positions, agreements=agreements),
                   crif=crif)  # fmt: skip


def _variant_crif(
    inputs: MarginInputs,
    weights: list[tuple[Elements, Float64Array]],
    jobs: list[tuple[int, int]],
) -> CrifTable | None:
    """CRIF rows of every variant; rows of a weight of 0 are left out, parameters are kept."""
    crif, book = inputs.crif, inputs.book
    assert crif is not None
    parameter: BoolArray = np.array([str(t).startswith("Param_") for t in crif.risk_type], bool)
    parts: list[dict[str, np.ndarray]] = []
    for j, (k, v) in enumerate(jobs):
        elements, table = weights[k]
        name = book.agreements.agreement_id[elements.agreement]
        own = np.flatnonzero(crif.portfolio_id == name)
        if not len(own):
            continue
        ids = book.positions.position_id[elements.position]
        factor = dict(zip(ids, table[v], strict=False))
        loose = float(table[v][-1]) if elements.loose else 0.0
        amount = np.array([factor.get(t, loose) for t in crif.trade_id[own]], dtype=np.float64)
        amount[parameter[own]] = 1.0
        own, amount = own[amount != 0.0], amount[amount != 0.0]
        columns = {n: column[own] for n, column in vars(crif).items()}
        columns["amount_usd"] = columns["amount_usd"] * amount
        columns["portfolio_id"] = np.full(len(own), str(j), dtype=np.object_)
        parts.append(columns)
    if not parts:
        return None
    return CrifTable(**{n: np.concatenate([p[n] for p in parts]) for n in vars(crif)})
