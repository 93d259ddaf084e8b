"""Applying a model change to a book: new terms for its agreements, sub-accounts for some products.

A change for some products only splits each agreement it touches in two: the products in the filter
move to a sub-account with the new terms, the others stay. The two do not net with each other. The
sub-account has no IM threshold of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.domain.agreements import EVIDENCE, TAIL_MODELS, Agreements
from engine.domain.arrays import BoolArray, Int64Array, StrArray
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.domain.market import FactorTable
from engine.margin.explain.margin_inputs import MarginInputs
from engine.margin.model_changes.registry import ModelChange

# From the least known to the best.
_RANK = ("indicative", "user", "verified")
assert set(_RANK) == set(EVIDENCE)


@dataclass(frozen=True)
class Split:
    """Inputs whose agreements may have sub-accounts.

    `owner` (n_agreements of `inputs`,) is the row of the agreement each belongs to in the original
    book, where the first `len(original)` rows are the originals themselves.
    """

    inputs: MarginInputs
    owner: Int64Array


def unsplit(inputs: MarginInputs) -> Split:
    """Return the inputs before any change."""
    return Split(inputs, np.arange(len(inputs.book.agreements), dtype=np.int64))


def in_scope(change: ModelChange, agreements: Agreements) -> BoolArray:
    """Return which agreements a change concerns, shape (n_agreements,)."""
    if change.simm_version is not None:
        return np.asarray(agreements.model == "simm", dtype=np.bool_)
    named = np.isin(agreements.agreement_id, list(change.agreements))
    venue = (agreements.kind == "cleared") & np.isin(agreements.venue, list(change.services))
    return np.asarray(named | venue, dtype=np.bool_)


def in_filter(change: ModelChange, factors: FactorTable, factor: Int64Array) -> BoolArray:
    """Return which positions pass the product filter; `factor` (n,) are columns, -1 for none.

    A position without a known factor never passes a filter.
    """
    passes: BoolArray = np.ones(len(factor), dtype=np.bool_)
    for wanted, column in (
        (change.asset_classes, factors.asset_class),
        (change.buckets, factors.bucket),
        (change.factors, factors.factor_id),
    ):
        if wanted:
            passes &= (factor >= 0) & np.isin(column[factor], list(wanted))
    return passes


def apply_change(split: Split, change: ModelChange) -> tuple[Split, BoolArray]:
    """Return the inputs under the change in full, and the original agreements it touches.

    Parameters
    ----------
    split : Split
        Inputs, maybe under earlier changes already.
    change : ModelChange
        One with parameters.

    Returns
    -------
    (split, touched)
        `touched` has a place for each row of the original book; an agreement with no position in
        the filter is not touched.

    Raises
    ------
    InputError
        If an agreement would lack a parameter its new model needs.
    """
    inputs, owner = split.inputs, split.owner
    book = inputs.book
    n_original = int(owner.max(initial=-1)) + 1
    scope = in_scope(change, book.agreements)
    # A scope by id covers the sub-accounts of that agreement too.
    scope |= np.isin(owner, np.flatnonzero(scope[:n_original]))
    if change.simm_version is not None:
        config = inputs.config.model_copy(update={"simm_version": change.simm_version})
        return Split(replace(inputs, config=config), owner), _originals(scope, owner, n_original)
    passes = in_filter(
        change, inputs.market.factors, book.instruments.factor[book.positions.instrument]
    )
    n = len(book.agreements)
    held_in = np.bincount(book.positions.agreement[passes], minlength=n) > 0
    held_out = np.bincount(book.positions.agreement[~passes], minlength=n) > 0
    whole = scope & (~held_out if change.filtered else True)
    if change.filtered:
        whole &= held_in
    parted = scope & held_in & held_out if change.filtered else np.zeros(n, dtype=np.bool_)
    rows = np.flatnonzero(parted)
    agreements = _edited(book.agreements, np.flatnonzero(whole), change)
    extra = _edited(_rows(book.agreements, rows), np.arange(len(rows)), change)
    extra = _as_sub_accounts(extra, change)
    moved = passes & parted[book.positions.agreement]
    place = np.zeros(n, dtype=np.int64)
    place[rows] = n + np.arange(len(rows))
    under = np.where(moved, place[book.positions.agreement], book.positions.agreement)
    book = replace(
        book,
        agreements=_joined(agreements, extra),
        positions=replace(book.positions, agreement=under),
    )
    crif = None if inputs.crif is None else _moved_rows(inputs.crif, split, book, moved)
    touched = _originals(whole | parted, owner, n_original)
    after = replace(inputs, book=book, crif=crif)
    return Split(after, np.concatenate([owner, owner[rows]])), touched


def _moved_rows(crif: CrifTable, split: Split, book: Book, moved: BoolArray) -> CrifTable:
    """Return the user's sensitivities with those of moved positions in the sub-accounts."""
    old, new = split.inputs.book, book
    place = {
        (old.agreements.agreement_id[old.positions.agreement[i]], old.positions.position_id[i]):
            new.agreements.agreement_id[new.positions.agreement[i]]
        for i in np.flatnonzero(moved)
    }  # fmt: skip
    names: StrArray = np.array(
        [place.get(key, key[0]) for key in zip(crif.portfolio_id, crif.trade_id, strict=True)],
        dtype=np.object_,
    )
    return replace(crif, portfolio_id=names)


def _originals(touched: BoolArray, owner: Int64Array, n_original: int) -> BoolArray:
    return np.bincount(owner[touched], minlength=n_original) > 0


def _rows(agreements: Agreements, rows: Int64Array) -> Agreements:
    return replace(agreements, **{name: column[rows] for name, column in vars(agreements).items()})


def _joined(first: Agreements, second: Agreements) -> Agreements:
    return replace(
        first,
        **{
            name: np.concatenate([column, getattr(second, name)])
            for name, column in vars(first).items()
        },
    )


def _as_sub_accounts(agreements: Agreements, change: ModelChange) -> Agreements:
    names: StrArray = np.array(
        [f"{name}|{change.change_id}" for name in agreements.agreement_id], dtype=np.object_
    )
    zeros = np.zeros(len(names))
    return replace(agreements, agreement_id=names, im_threshold=zeros, reported_im=zeros + np.nan)


def _edited(agreements: Agreements, rows: Int64Array, change: ModelChange) -> Agreements:
    """Return the agreements with the edits in `rows`; the mark is the worse of the two."""
    edits: dict[str, Any] = change.edits.given()
    if edits.get("stress_weight", 0.0) > 0.0:
        edits.setdefault("apc", "stress_weight")
    columns = {name: column.copy() for name, column in vars(agreements).items()}
    for name, value in edits.items():
        if isinstance(value, tuple):
            for row in rows:
                columns[name][row] = value
        else:
            columns[name][rows] = value
    for row in rows:
        columns["evidence"][row] = min(columns["evidence"][row], change.mark, key=_RANK.index)
    # A tool that is not named any more has no weight and no buffer.
    if "apc" in edits:
        for name, tool in (("stress_weight", "stress_weight"), ("apc_buffer", "buffer")):
            columns[name][rows[columns["apc"][rows] != tool]] = 0.0
    out = replace(agreements, **columns)
    _check_terms(out, rows, change)
    return out


def _check_terms(agreements: Agreements, rows: Int64Array, change: ModelChange) -> None:
    for row in rows[np.isin(agreements.model[rows], TAIL_MODELS)]:
        lacks = [
            name
            for name, known in (
                ("confidence", np.isfinite(agreements.confidence[row])),
                ("ewma_lambda", np.isfinite(agreements.ewma_lambda[row])),
                ("lookback_days", agreements.lookback_days[row] > 0),
            )
            if not known
        ]
        if lacks:
            raise InputError(
                f"change {change.change_id}, agreement {agreements.agreement_id[row]}: model "
                f"{agreements.model[row]} needs {', '.join(lacks)}; add them to the edits"
            )
