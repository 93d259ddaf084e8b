"""What announced changes of margin models will cost: today, under stress, and on their dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.market import MarketState
from engine.margin.config import MarginConfig
from engine.margin.explain.margin_inputs import (
    MarginInputs,
    by_agreement,
    shares_by_label,
    take_positions,
    with_labels_as_managers,
)
from engine.margin.model_changes.apply import Split, apply_change, unsplit
from engine.margin.model_changes.calendar import calendar_events
from engine.margin.model_changes.registry import ModelChange
from engine.margin.model_changes.results import ChangeImpact, ModelChangeResult, NotComputed
from engine.margin.standard_margin import version_in_force
from engine.margin.stress import project_stress_margin


@dataclass(frozen=True)
class Level:
    """Margin of the original agreements in one state of the rules, in USD.

    `im`, `add_ons` (n_agreements,), `stress` (n_multipliers, n_agreements) with add-ons, `pair_im`
    (n_pairs,) by agreement and manager. NaN where it could not be computed.
    """

    im: Float64Array
    add_ons: Float64Array
    stress: Float64Array
    pair_im: Float64Array


def analyze_model_changes(
    book: Book,
    market: MarketState,
    config: MarginConfig,
    changes: Sequence[ModelChange],
    crif: CrifTable | None = None,
    as_of: date | None = None,
    multipliers: tuple[float, ...] | None = None,
) -> ModelChangeResult:
    """Margin of today's book before and after every change to come, and when it is called.

    Parameters
    ----------
    book, market, config, crif
        As given to `calculate_margin_requirements`.
    changes : sequence of ModelChange
        From `engine.margin.model_changes.registry`. Those without parameters, live on `as_of` in
        full, or without an agreement in the book are listed and not computed.
    as_of : date, optional
        First day of the calendar, which runs for 12 months; the book's date if None. The terms of
        the book are those in force on it: a change still being phased in is not in them.
    multipliers : tuple of float, optional
        Volatility multipliers; those of `config` if None.

    Returns
    -------
    ModelChangeResult
        USD. Each change is computed on top of those before it (by `effective_cob`), so the steps
        of several changes add up; changes without a date come on top of today's rules, each alone.

    Raises
    ------
    InputError
        If a multiplier is not allowed. A change that cannot be applied is a `Failure` instead.

    Notes
    -----
    Margin(d) = (1 - w(d)) * old + w(d) * new, with w of `ModelChange.weight`. Positions and market
    are today's. An agreement with a reported margin keeps the ratio of reported to computed margin
    it has under the old rules.
    """
    start = book.as_of if as_of is None else as_of
    inputs = MarginInputs(book, market, _config(config, multipliers, book.as_of, start), crif)
    work = _Work(inputs)
    dated, undated, rest = _sorted(changes, start)
    not_computed = list(rest)
    impacts: list[ChangeImpact] = []
    current, level = unsplit(inputs), work.base
    for change in (*dated, *undated):
        chained = change.effective_cob is not None
        split, old = (current, level) if chained else (unsplit(inputs), work.base)
        found = work.step(split, old, change)
        if isinstance(found, str):
            not_computed.append(NotComputed(change, found))
            continue
        impact, after, new = found
        impacts.append(impact)
        if chained:
            current, level = after, new
    return ModelChangeResult(
        as_of=start,
        book_date=book.as_of,
        agreement_id=book.agreements.agreement_id,
        kind=book.agreements.kind,
        labels=tuple(f"{m:g}x" for m in inputs.config.volatility_multipliers),
        im_usd=work.base.im,
        required_usd=work.base.im + work.base.add_ons,
        stress_usd=work.base.stress,
        impacts=tuple(impacts),
        calendar=calendar_events([i for i in impacts if i.change.effective_cob], changes, start),
        not_computed=tuple(not_computed),
        failures=tuple(work.failures),
    )


def _config(
    config: MarginConfig, multipliers: tuple[float, ...] | None, book_date: date, start: date
) -> MarginConfig:
    """Return the choices with the multipliers, and the SIMM version in force on `start`."""
    if start != book_date and config.simm_version is None:
        version, in_force = version_in_force(start, config.simm_horizon_days)
        config = config.model_copy(update={"simm_version": version if in_force else None})
    if multipliers is None:
        return config
    try:
        return type(config)(**{**dict(config), "volatility_multipliers": multipliers})
    except ValueError as error:
        raise InputError(f"multipliers = {multipliers}: {error}") from error


def _sorted(
    changes: Sequence[ModelChange], start: date
) -> tuple[list[ModelChange], list[ModelChange], list[NotComputed]]:
    """Changes with a date to come in order of it, those without, and the rest with the reason."""
    dated, undated, rest = [], [], []
    for change in changes:
        if not change.has_parameters:
            rest.append(NotComputed(change, "no parameters published"))
        elif change.effective_cob is None:
            undated.append(change)
        elif change.weight(start) == 1.0:
            rest.append(NotComputed(change, f"in force on {start}: the book's terms have it"))
        else:
            dated.append(change)
    return sorted(dated, key=lambda c: (c.effective_cob or start, c.change_id)), undated, rest


class _Work:
    """Evaluates states of the rules on one book, and collects failures."""

    def __init__(self, inputs: MarginInputs) -> None:
        self.inputs = inputs
        self.failures: list[Failure] = []
        book = inputs.book
        n_managers = max(1, len(book.managers.manager_id))
        key = book.positions.agreement * n_managers + book.positions.manager
        pairs, pair = np.unique(key, return_inverse=True)
        self.label: Int64Array = pair.astype(np.int64)
        self.pair_agreement: Int64Array = (pairs // n_managers).astype(np.int64)
        self.pair_manager: Int64Array = (pairs % n_managers).astype(np.int64)
        self.base = self.level(unsplit(inputs), keep_failures=True)
        self._raw: Level | None = None

    def level(
        self, split: Split, only: BoolArray | None = None, keep_failures: bool = False
    ) -> Level:
        """Margin today and under stress, sub-accounts added to their agreements.

        With `only` (n_agreements,), the positions of other agreements are left out.
        """
        inputs = split.inputs
        n_pairs = len(self.pair_agreement)
        book = with_labels_as_managers(inputs.book, self.label, n_pairs)
        if only is not None:
            kept = np.flatnonzero(only[split.owner[book.positions.agreement]]).astype(np.int64)
            book = replace(book, positions=take_positions(book.positions, kept))
        inputs = replace(inputs, book=book)
        result = inputs.margin()
        projected = project_stress_margin(book, inputs.market, result, inputs.config, inputs.crif)
        if keep_failures:
            self.failures += [*result.failures, *projected.failures]
        names = book.agreements.agreement_id
        found = dict(zip(projected.agreement_id, projected.im_usd.T, strict=True))
        lost = np.full(len(inputs.config.volatility_multipliers), np.nan)
        stress = np.stack([found.get(name, lost) for name in names], axis=1)
        return Level(
            im=self._folded(by_agreement(result, names), split.owner),
            add_ons=self._folded(by_agreement(result, names, result.add_ons_usd()), split.owner),
            stress=np.stack([self._folded(row, split.owner) for row in stress]),
            pair_im=shares_by_label(result, n_pairs),
        )

    def step(
        self, split: Split, old: Level, change: ModelChange
    ) -> tuple[ChangeImpact, Split, Level] | str:
        """Apply one change; the reason in words if it changes nothing or cannot be applied."""
        try:
            after, touched = apply_change(split, change)
        except InputError as error:
            self._fail(change, "", str(error))
            return "it cannot be applied: see failures"
        if not touched.any():
            return "no agreement or position of this book is concerned"
        try:
            new = self._calibrated(self.level(self._as_computed(after, touched), touched), touched)
        except InputError as error:
            self._fail(change, "", str(error))
            return "it cannot be computed: see failures"
        new = self._kept(old, new, touched, change)
        impact = ChangeImpact(
            change=change,
            touched=np.flatnonzero(touched),
            agreement_id=self.inputs.book.agreements.agreement_id[touched],
            im_before_usd=old.im[touched],
            im_after_usd=new.im[touched],
            required_before_usd=(old.im + old.add_ons)[touched],
            required_after_usd=(new.im + new.add_ons)[touched],
            stress_before_usd=old.stress[:, touched],
            stress_after_usd=new.stress[:, touched],
            by_manager=self._by_manager(old, new, touched),
            sub_accounts=len(after.owner) - len(split.owner),
        )
        return impact, after, new

    def _folded(self, values: Float64Array, owner: Int64Array) -> Float64Array:
        out = np.zeros(len(self.inputs.book.agreements))
        np.add.at(out, owner, values)
        return out

    def _as_computed(self, split: Split, touched: BoolArray) -> Split:
        """Take the reported margin away where rules change: it was computed by the old ones."""
        agreements = split.inputs.book.agreements
        reported = np.where(touched[split.owner], np.nan, agreements.reported_im)
        agreements = replace(agreements, reported_im=reported)
        book = replace(split.inputs.book, agreements=agreements)
        return Split(replace(split.inputs, book=book), split.owner)

    def _calibrated(self, new: Level, touched: BoolArray) -> Level:
        """Scale margins by reported over computed margin under the old rules."""
        known = touched & np.isfinite(self.inputs.book.agreements.reported_im)
        if not known.any():
            return new
        if self._raw is None:
            everything = np.ones(len(touched), dtype=np.bool_)
            self._raw = self.level(self._as_computed(unsplit(self.inputs), everything))
        ratios = [
            np.where(known, _ratio(base, raw), 1.0)
            for base, raw in (
                (self.base.im, self._raw.im),
                (self.base.add_ons, self._raw.add_ons),
                (self.base.stress, self._raw.stress),
            )
        ]
        return Level(
            im=new.im * ratios[0],
            add_ons=new.add_ons * ratios[1],
            stress=new.stress * ratios[2],
            pair_im=new.pair_im * ratios[0][self.pair_agreement],
        )

    def _kept(self, old: Level, new: Level, touched: BoolArray, change: ModelChange) -> Level:
        """Keep the old margin of agreements the change does not touch or that fail under it."""
        good = np.isfinite(new.im) & np.isfinite(new.stress).all(axis=0)
        for a in np.flatnonzero(touched & ~good & np.isfinite(old.im)):
            name = str(self.inputs.book.agreements.agreement_id[a])
            self._fail(change, name, "no margin under the new rules; the old margin is kept")
        use = touched & good
        return Level(
            im=np.where(use, new.im, old.im),
            add_ons=np.where(use, new.add_ons, old.add_ons),
            stress=np.where(use, new.stress, old.stress),
            pair_im=np.where(use[self.pair_agreement], new.pair_im, old.pair_im),
        )

    def _by_manager(self, old: Level, new: Level, touched: BoolArray) -> dict[str, float]:
        book = self.inputs.book
        step = np.where(touched[self.pair_agreement], new.pair_im - old.pair_im, 0.0)
        total = np.bincount(self.pair_manager, step, minlength=len(book.managers.manager_id))
        holds = np.unique(self.pair_manager[touched[self.pair_agreement]])
        return {str(book.managers.manager_id[m]): float(total[m]) for m in holds}

    def _fail(self, change: ModelChange, agreement: str, message: str) -> None:
        where = f"agreement {agreement}" if agreement else "model changes"
        reason = FailureReason.CALCULATION_FAILED
        self.failures.append(Failure(reason, change.change_id, where, message))


def _ratio(reported: Float64Array, computed: Float64Array) -> Float64Array:
    return np.divide(reported, computed, out=np.ones_like(computed), where=computed > 0.0)
