"""The scan-based family: margin of agreements with model `span` from the book's own positions.

A combined commodity is everything an agreement holds on one factor. Scan ranges come from the
factor's volatility and the rulebook; nothing is read from a venue's own files (for those:
`engine.margin.span.parameter_file`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.failures import Failure
from engine.margin.exposure import Exposures
from engine.margin.family import FamilyMargin, pairs_of, pro_rata
from engine.margin.span.arrays import DeltaPoints, standard_grid
from engine.margin.span.book_risk import BookRisk, Scanner, join
from engine.margin.span.classes import KeyedAgreements, group_agreements
from engine.margin.span.commodity import Requirement, requirement
from engine.margin.span.config import SpanConfig
from engine.margin.span.holdings import hold
from engine.margin.span.rulebook import SpanRulebook, load_rulebook, product_classes, venue_rule
from engine.margin.span.scan_ranges import ScanKey, factor_rates, price_scan_multiple
from engine.margin.span.spreads import Leg, Spread, inter_commodity_credits

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig

COMPONENTS = (
    "scan",
    "inter_month",
    "delivery",
    "inter_commodity",
    "short_option_minimum",
    "net_option_value",
    "exposure",
)


@dataclass(frozen=True)
class _Class:
    """Agreements with equal scan ranges, and the choices their margin rests on."""

    agreements: Int64Array
    scanner: Scanner
    choices: dict[str, Any]


def prepare(
    exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: SpanConfig
) -> PreparedSpan:
    """Prepare the agreements `rows`; what does not follow volatility is done here, once.

    Notes
    -----
    Price scan range = multiple * EWMA volatility (the agreement's lambda) * sqrt(days) * level, not
    below the rulebook's floor. Volatility scan range: fraction of implied volatility. An agreement
    with a factor of fewer than 250 returns, or without any volatility, is failed as a whole.
    """
    return PreparedSpan(exposures, np.sort(rows), margin, own)


class PreparedSpan:
    """Agreements of the scan-based family, ready to be margined at any volatility."""

    def __init__(
        self, exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: SpanConfig
    ) -> None:
        self.exposures = exposures
        self.rows = rows
        self.own = own
        self.rulebook = load_rulebook()
        groups = group_agreements(exposures, rows, self.rulebook, margin.seed_days)
        self._failures = groups.failures
        self._classes = [
            self._class(groups, key, margin.cap_volatility_factors) for key in groups.members
        ]
        self._pairs = pairs_of(exposures, rows)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return what could not be prepared."""
        return self._failures

    def margin(self, scale: Float64Array) -> FamilyMargin:
        """Return margins with volatility at `scale` (n_agreements,) times today's.

        Shares of managers: scan risk by Euler (each manager's loss in the active scenario of the
        commodity), option value by each manager's own, exposure margin by own exposure, spread
        charges, credits and minimum pro rata to stand-alone scan risk. They sum to the margin.
        """
        n = len(self.exposures.book.agreements)
        im = np.full(n, np.nan)
        pair_im = np.full(len(self.exposures.pair_agreement), np.nan)
        components = {name: np.full(n, np.nan) for name in COMPONENTS}
        basis: dict[str, dict[str, Any]] = {}
        if self._classes:
            risk = join([part.scanner.risk(scale) for part in self._classes])
            parts = self._requirement(risk)
            alive = np.unique(risk.agreement)
            by_part = {**parts.components(), "exposure": risk.exposure}
            for name, values in by_part.items():
                summed = np.bincount(risk.agreement, weights=values, minlength=n)
                components[name][alive] = summed[alive]
            im[alive] = _summed(risk.agreement, parts.total + risk.exposure, n)[alive]
            shares = _summed(risk.cell_pair, _shares(risk, parts), len(pair_im))
            living = np.isfinite(im[self.exposures.pair_agreement])
            pair_im[living] = shares[living]
            basis = self._basis(risk)
        return FamilyMargin(
            rows=self.rows,
            im=im[self.rows],
            pairs=self._pairs,
            pair_im=pair_im[self._pairs],
            components={name: values[self.rows] for name, values in components.items()},
            basis=basis,
            values_options=self._values_options(),
        )

    def _values_options(self) -> BoolArray:
        """Agreements whose requirement is net of the value of their options."""
        premium = [part.agreements for part in self._classes if part.scanner.premium_style]
        return np.isin(self.rows, np.concatenate([self.rows[:0], *premium]))

    def _class(self, groups: KeyedAgreements, key: ScanKey, cap: bool) -> _Class:
        book, own, agreements = self.rulebook, self.own, groups.members[key]
        rule = venue_rule(book, key.venue)
        style = rule.option_style if own.option_style == "rulebook" else own.option_style
        look_ahead = book.look_ahead_days.value
        if own.look_ahead_days is not None:
            look_ahead = own.look_ahead_days
        product_class = product_classes(self.exposures.market.factors)
        multiple = price_scan_multiple(book, key, own.price_scan_multiple)
        extreme = _extreme(book, own)
        scanner = Scanner(
            exposures=self.exposures,
            holdings=hold(self.exposures, key, agreements),
            rates=factor_rates(book, key.venue, product_class),
            product_class=product_class,
            volatility=groups.volatility[key],
            multiple=multiple,
            rule=rule,
            grid=standard_grid(*extreme),
            points=_points(book),
            look_ahead_days=look_ahead,
            period_bounds_days=book.period_bounds_days.value,
            delivery_days=book.delivery_days.value,
            premium_style=style == "premium",
            cap=cap,
        )
        choices = {
            "rulebook": book.rulebook_id,
            # Composite delta, periods and credits are indicative whatever the venue's own mark.
            "mark": "indicative",
            "scan_ranges_mark": rule.mark,
            "price_scan_multiple": multiple,
            "extreme_multiple": extreme[0],
            "extreme_covered_fraction": extreme[1],
            "look_ahead_days": look_ahead,
            "option_style": style,
        }
        return _Class(agreements, scanner, choices)

    def _requirement(self, risk: BookRisk) -> Requirement:
        credit = np.zeros(len(risk.agreement))
        if self.own.inter_commodity_credits:
            credit = self._credits(risk)
        return requirement(
            risk.scan,
            risk.inter_month,
            risk.delivery,
            credit,
            risk.short_minimum,
            risk.option_value,
        )

    def _credits(self, risk: BookRisk) -> Float64Array:
        """Inter-commodity credit of each book; deltas are measured in price scan ranges."""
        agreement, row = np.unique(risk.agreement, return_inverse=True)
        factor, column = np.unique(risk.factor, return_inverse=True)
        scanned, price_risk = (np.zeros((len(agreement), len(factor))) for _ in range(2))
        scanned[row, column] = risk.scanned_delta
        price_risk[row, column] = risk.price_risk
        bucket = self.exposures.market.factors.bucket[factor]
        spreads: list[Spread] = []
        for pair in self.rulebook.inter_commodity_credits.pairs:
            for i in np.flatnonzero(bucket == pair.a).tolist():
                for j in np.flatnonzero(bucket == pair.b).tolist():
                    if i < j or (pair.a != pair.b and i != j):
                        legs = (Leg((i,), 1), Leg((j,), -1))
                        spreads.append(Spread(len(spreads), legs, pair.credit))
        credit = inter_commodity_credits(scanned, price_risk, spreads)
        return np.asarray(credit[row, column])

    def _basis(self, risk: BookRisk) -> dict[str, dict[str, Any]]:
        """Choices by agreement id, and the active scenario (from 1) of each commodity at risk."""
        names = self.exposures.book.agreements.agreement_id
        factor_id = self.exposures.market.factors.factor_id
        basis: dict[str, dict[str, Any]] = {}
        for part in self._classes:
            for a in part.agreements.tolist():
                basis[str(names[a])] = {**part.choices, "active_scenarios": {}}
        for a, k, active, scan in zip(
            risk.agreement.tolist(), risk.factor.tolist(), risk.active.tolist(), risk.scan.tolist(),
            strict=True,
        ):  # fmt: skip
            if scan > 0.0:
                basis[str(names[a])]["active_scenarios"][str(factor_id[k])] = active + 1
        return basis


def _extreme(book: SpanRulebook, own: SpanConfig) -> tuple[float, float]:
    multiple, covered = book.extreme_move.multiple, book.extreme_move.covered_fraction
    if own.extreme_multiple is not None:
        multiple = own.extreme_multiple
    if own.extreme_covered_fraction is not None:
        covered = own.extreme_covered_fraction
    return multiple, covered


def _points(book: SpanRulebook) -> DeltaPoints:
    rule = book.composite_delta
    price = np.array(rule.price_thirds, dtype=np.float64) / 3.0
    return DeltaPoints(price, np.array(rule.weights, dtype=np.float64))


def _summed(owner: Int64Array, values: Float64Array, n: int) -> Float64Array:
    return np.asarray(np.bincount(owner, weights=values, minlength=n))


def _shares(risk: BookRisk, parts: Requirement) -> Float64Array:
    """Share of each cell in the margin of its book, (n_cells,); exact sums."""
    book = risk.cell_book
    scan = risk.cell_losses[np.arange(len(book)), risk.active[book]]
    scan = np.where(parts.scan[book] > 0.0, scan, 0.0)
    alone = np.maximum(0.0, risk.cell_losses.max(axis=1))
    rest = pro_rata(parts.risk - parts.scan, alone, book)
    share = np.where(parts.total[book] > 0.0, scan + rest - risk.cell_option_value, 0.0)
    return np.asarray(share + pro_rata(risk.exposure, risk.cell_exposure, book))
