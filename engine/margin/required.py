"""The margin an agreement requires, step by step, at today's or another volatility.

    calculated margin of the model's family
    -> anti-procyclicality tool -> scaled to a reported margin -> regulatory threshold -> add-ons

Prepared once for a book and market; asked today and under every volatility step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.domain.agreements import MARGIN_MODELS, TOOL_MODELS
from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason
from engine.margin.add_ons import apply as add_ons
from engine.margin.add_ons.apply import FOLLOWS_MARGIN
from engine.margin.anchor import Anchors, anchor, known_anchors
from engine.margin.apc import AntiProcyclicality
from engine.margin.config import MarginConfig
from engine.margin.enough_history import check_history
from engine.margin.exposure import Exposures, agreement_failure
from engine.margin.families import FAMILIES, FIXED_PARTS
from engine.margin.family import PreparedFamily
from engine.margin.scenario_margin import HistoricalFamily, HistoricalModel
from engine.margin.standard_margin import StandardMargin, standard_margin


@dataclass(frozen=True)
class Required:
    """Margin at one state of volatility, in USD; arrays of shape (n_agreements,).

    Attributes
    ----------
    im : float64 array
        Initial margin required before add-ons.
    pair_im : float64 array of shape (n_pairs,)
        Shares of the managers; those of an agreement sum to its `im`.
    components : dict of str to float64 array
        `calculated` by the model, then what each step adds or takes away: `anti_procyclicality`,
        `anchor`, `threshold`. They sum to `im`.
    model_parts : dict of str to float64 array
        Named parts of `calculated` where the family has several.
    add_ons : dict of str to float64 array
    """

    im: Float64Array
    pair_im: Float64Array
    components: dict[str, Float64Array]
    model_parts: dict[str, Float64Array]
    add_ons: dict[str, Float64Array]


class MarginEngine:
    """Everything that does not depend on volatility, computed once.

    Attributes
    ----------
    failed : bool array of shape (n_agreements,)
        Agreements without a margin; each is named in `failures`.
    failures : list of Failure
    standard : StandardMargin or None
    values_options : bool array of shape (n_agreements,)
        Where margin contains the value of options (`FamilyMargin.values_options`).
    """

    def __init__(
        self,
        exposures: Exposures,
        config: MarginConfig,
        crif: CrifTable | None = None,
        models: Collection[str] = MARGIN_MODELS,
        anchors: Mapping[str, float] | None = None,
    ) -> None:
        book = exposures.book
        self.exposures, self.config = exposures, config
        self.failed: BoolArray = exposures.failed.copy()
        self.failures: list[Failure] = []
        self.basis: dict[str, dict[str, Any]] = {}
        self._fixed = np.zeros(len(self.failed))
        self._refuse_tools()
        self.values_options: BoolArray = np.zeros(len(self.failed), dtype=np.bool_)
        wanted = np.isin(exposures.book.agreements.model, list(models))
        self.families, historical = self._families(wanted)
        self.standard = self._standard(crif) if {"simm", "schedule"} & set(models) else None
        self._today = self._calculated(self._ones())
        self.tools = AntiProcyclicality(historical, self._today[0], self._fixed, config)
        self._take(self.tools.failures, self.tools.failed)
        self.prepared_add_ons = add_ons.prepare(exposures, config)
        self._take(self.prepared_add_ons.failures, self.failed)
        self.anchors = self._anchors() if anchors is None else known_anchors(book, anchors)
        self._take(self.anchors.failures, self.failed)

    def at(self, scale: Float64Array | None = None) -> Required:
        """Return the margin when volatility is `scale` (n_agreements,) times today's."""
        calculated, pair, parts = self._today if scale is None else self._calculated(scale)
        after_tool, pair = self._after_tool(calculated, pair)
        anchored = after_tool * self.anchors.ratio
        im = np.maximum(0.0, anchored - im_threshold_usd(self.exposures))
        ratio = np.divide(im, after_tool, out=np.zeros_like(im), where=after_tool > 0.0)
        calculated = np.where(self.failed, 0.0, calculated)
        return Required(
            im=im,
            pair_im=pair * ratio[self.exposures.pair_agreement],
            components={
                "calculated": calculated,
                "anti_procyclicality": after_tool - calculated,
                "anchor": anchored - after_tool,
                "threshold": im - anchored,
            },
            model_parts=parts,
            add_ons=self.add_ons(im, 1.0 if scale is None else scale),
        )

    def add_ons(self, im: Float64Array, scale: Float64Array | float) -> dict[str, Float64Array]:
        """Return the add-ons on margin `im` (n_agreements,), each (n_agreements,), USD.

        The venue's are scaled like its margin where a report is known; the broker's follows `im`.
        """
        amounts = self.prepared_add_ons.amounts(im, scale)
        return {
            name: np.where(self.failed, 0.0, values * self._own_ratio(name))
            for name, values in amounts.items()
        }

    def add_on_shares(self, required: Required) -> dict[str, Float64Array]:
        """Return each manager's share of each add-on, (n_pairs,), USD."""
        shares = self.prepared_add_ons.pair_shares(required.im, required.pair_im)
        owner = self.exposures.pair_agreement
        return {
            name: values * np.broadcast_to(self._own_ratio(name), self.failed.shape)[owner]
            for name, values in shares.items()
        }

    def _own_ratio(self, add_on: str) -> Float64Array | float:
        return 1.0 if add_on in FOLLOWS_MARGIN else self.anchors.ratio

    def _after_tool(
        self, calculated: Float64Array, pair: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        margin, shares = self.tools.apply(calculated, pair)
        margin = np.array(margin)
        report_not_finite(self.exposures.book, margin, self.failed, self.failures, OF_TOOL)
        shares[self.failed[self.exposures.pair_agreement]] = 0.0
        return margin, shares

    def _anchors(self) -> Anchors:
        """Ratios of reported to modelled margin; the report has the venue's add-ons in it."""
        gross, _ = self._after_tool(*self._today[:2])
        threshold = im_threshold_usd(self.exposures)
        amounts = self.prepared_add_ons.amounts(np.maximum(0.0, gross - threshold))
        venue = [values for name, values in amounts.items() if name not in FOLLOWS_MARGIN]
        modelled = np.sum([gross, *venue], axis=0)
        return anchor(self.exposures.book, self.exposures.market, modelled, threshold)

    def _ones(self) -> Float64Array:
        return np.ones(len(self.exposures.book.agreements))

    def _refuse_tools(self) -> None:
        """Fail agreements that name a tool which their model cannot have."""
        agreements = self.exposures.book.agreements
        wrong = (agreements.apc != "none") & ~np.isin(agreements.model, TOOL_MODELS)
        for a in np.flatnonzero(wrong & ~self.failed).tolist():
            message = (
                f"its model {agreements.model[a]} has no anti-procyclicality tool, and "
                f"{agreements.apc[a]} is named; set apc to none (tools: {', '.join(TOOL_MODELS)})"
            )
            self.failed[a] = True
            book = self.exposures.book
            self.failures.append(agreement_failure(book, a, FailureReason.INVALID, message))

    def _families(self, wanted: BoolArray) -> tuple[list[PreparedFamily], HistoricalModel]:
        """Prepare the family of every model; historical tails also serve the tools of others."""
        exposures = self.exposures
        agreements = exposures.book.agreements
        held = np.bincount(exposures.pair_agreement, minlength=len(agreements)) > 0
        alive = wanted & held & ~self.failed
        fhs = np.char.startswith(agreements.model.astype(str), "fhs")
        tooled = agreements.apc != "none"
        failed, failures = check_history(exposures, _rows(alive & (fhs | tooled)), self.config)
        self._take(failures, failed)
        alive &= ~self.failed
        model = HistoricalModel(exposures, _rows(alive & (fhs | tooled)), self.config)
        families: list[PreparedFamily] = [HistoricalFamily(model, _rows(alive & fhs))]
        for name, prepare in FAMILIES.items():
            rows = _rows(alive & (agreements.model == name))
            if len(rows):
                families.append(prepare(exposures, rows, self.config))
                self._take(families[-1].failures, self.failed)
        return families, model

    def _standard(self, crif: CrifTable | None) -> StandardMargin:
        standard = standard_margin(self.exposures, self.config, crif)
        self._take(standard.failures, standard.failed)
        return standard

    def _calculated(
        self, scale: Float64Array
    ) -> tuple[Float64Array, Float64Array, dict[str, Float64Array]]:
        """Calculated margin (n_agreements,), shares (n_pairs,), and its named parts."""
        exposures = self.exposures
        im, pair = self._ones() * 0.0, np.zeros(len(exposures.pair_agreement))
        parts: dict[str, Float64Array] = {}
        for family in self.families:
            answer = family.margin(scale)
            im[answer.rows], pair[answer.pairs] = answer.im, answer.pair_im
            for name, amount in answer.components.items():
                parts.setdefault(name, np.zeros_like(im))[answer.rows] = amount
            self._fixed[answer.rows] = sum(
                amount for name, amount in answer.components.items() if name in FIXED_PARTS
            )
            self.basis.update(answer.basis)
            if answer.values_options is not None:
                self.values_options[answer.rows] = answer.values_options
        if self.standard is not None:
            is_standard = np.isin(exposures.book.agreements.model, ("simm", "schedule"))
            im = np.where(is_standard, self.standard.agreement, im)
            pair = np.where(is_standard[exposures.pair_agreement], self.standard.pair, pair)
        report_not_finite(exposures.book, im, self.failed, self.failures)
        pair[self.failed[exposures.pair_agreement]] = 0.0
        return im, pair, parts

    def _take(self, failures: Sequence[Failure], failed: BoolArray) -> None:
        self.failures += [failure for failure in failures if failure not in self.failures]
        self.failed |= failed


def im_threshold_usd(exposures: Exposures) -> Float64Array:
    """IM threshold of each agreement in USD; 0 where its currency has no rate (it failed)."""
    agreements, rates = exposures.book.agreements, exposures.market.fx_usd
    usd = np.array([rates.get(c, 0.0) for c in agreements.currency], dtype=np.float64)
    return np.asarray(agreements.im_threshold * usd)


OUT_OF_RANGE = (
    "a scenario move takes a level it holds out of range (a yield below -100 % or an infinite "
    "level); check the factor's history and return_type"
)
OF_TOOL = f"margin of its anti-procyclicality tool: {OUT_OF_RANGE}"


def report_not_finite(
    book: Book,
    amount: Float64Array,
    failed: BoolArray,
    failures: list[Failure],
    message: str = OUT_OF_RANGE,
) -> None:
    """Fail agreements whose amount is NaN and set it to zero; name those not yet named."""
    named = {failure.item for failure in failures}
    for a in np.flatnonzero(~np.isfinite(amount) & ~failed):
        failed[a] = True
        if str(book.agreements.agreement_id[a]) not in named:
            reason = FailureReason.CALCULATION_FAILED
            failures.append(agreement_failure(book, int(a), reason, message))
    amount[failed] = 0.0


def _rows(which: BoolArray) -> Int64Array:
    return np.flatnonzero(which).astype(np.int64)
