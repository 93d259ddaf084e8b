"""Flat rate margin: a share of notional by asset class and venue. It does not follow volatility.

A family model with parameters you can see; it is not the model of any clearing house.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.failures import Failure, FailureReason
from engine.margin.exposure import Exposures, agreement_failure
from engine.margin.family import FamilyMargin, pairs_of
from engine.margin.flat_rate_rules import FlatRate, find_rate, packaged_rates
from engine.margin.notional import notional_per_unit

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig


class FlatRateConfig(BaseModel):
    """Choices of the flat rate family.

    Attributes
    ----------
    rates : tuple of FlatRate
        The user's own: they replace those of the rulebook for the same venue, asset class and
        group.
    margin_groups : dict of factor id to margin group
        Which group of a venue's rates a factor is in; a factor that is not named is in none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rates: tuple[FlatRate, ...] = ()
    margin_groups: dict[str, str] = Field(default_factory=dict)


def share_of_notional(
    notional: Float64Array, factor: Int64Array, rate: Float64Array, net: BoolArray
) -> tuple[float, Float64Array]:
    """Margin of one account on signed notionals, and its Euler shares.

    An instrument's notional is summed over the account's parts first. Where `net`, the direction
    that pays is the sign of the sum over the instruments on one factor; else of the instrument.
    Margin = sum of rate * direction * notional.

    Parameters
    ----------
    notional : float64 array of shape (n_parts, n_instruments)
        USD, negative is short.
    factor, rate, net : arrays of shape (n_instruments,)
        Instruments of one factor have one rate and one netting.

    Returns
    -------
    (margin, shares of shape (n_parts,))

    Examples
    --------
    Longs of 100 and shorts of 40 in two instruments on one factor, rate 0.1: gross 14, net 6.
    """
    account = notional.sum(axis=0)
    _, group = np.unique(factor, return_inverse=True)
    by_factor = np.bincount(group, weights=account)[group]
    direction = np.sign(np.where(net, by_factor, account))
    shares = notional @ (rate * direction)
    return max(0.0, float(shares.sum())), np.asarray(shares)


def prepare(
    exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: FlatRateConfig
) -> FlatRateFamily:
    """Prepare the margin of the agreements `rows`, which have the model `flat`.

    Parameters
    ----------
    exposures : Exposures
    rows : int64 array of shape (n_rows,)
        Agreements that are not failed and have at least one position that can be priced.
    margin : MarginConfig
        Not used: the family has no tail and no volatility.
    own : FlatRateConfig

    Returns
    -------
    FlatRateFamily
        Its failures name agreements with an asset class that has no rate (NaN margin), and rates
        used before the first date they were in force.

    Notes
    -----
    Margin = sum over the rates of rate * |notional|, gross or net by factor as the rate says
    (`share_of_notional`); notional as in `notional_per_unit`; instruments that ended before the
    date of the book have none. Options are charged on the notional of their underlying, bought
    ones too. Shares of managers are Euler's: who goes against the account's direction pays less
    than nothing.

    Worked number: 10 index futures at 4,000 with multiplier 50, rate 0.15: 300,000 USD.
    """
    return FlatRateFamily(exposures, rows, own)


class FlatRateFamily:
    """Model `flat`, computed once; see `prepare`."""

    def __init__(self, exposures: Exposures, rows: Int64Array, own: FlatRateConfig) -> None:
        self.exposures, self.own = exposures, own
        version, packaged = packaged_rates()
        mine = {(r.venue, r.asset_class, r.margin_group) for r in own.rates}
        kept = [r for r in packaged if (r.venue, r.asset_class, r.margin_group) not in mine]
        self.rates = (*own.rates, *kept)
        self.rulebook = f"flat_rates:{version}"
        self._failures: dict[tuple[str, ...], Failure] = {}
        terms = exposures.instruments
        ended = terms.expiry < np.datetime64(exposures.book.as_of, "D")
        unit = np.where(ended, 0.0, notional_per_unit(terms, exposures.market))
        pairs = pairs_of(exposures, rows)
        self.result = FamilyMargin(
            rows, np.full(len(rows), np.nan), pairs, np.full(len(pairs), np.nan)
        )
        for i, a in enumerate(rows.tolist()):
            at = slice(*np.searchsorted(exposures.pair_agreement[pairs], [a, a + 1]))
            amount, shares = self._agreement_margin(a, pairs[at], unit)
            self.result.im[i], self.result.pair_im[at] = amount, shares

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return what could not be margined, and rates used outside their dates."""
        return tuple(self._failures.values())

    def margin(self, scale: Float64Array) -> FamilyMargin:
        """Return the margin; `scale` is not used, because rates do not follow volatility."""
        return self.result

    def _agreement_margin(
        self, row: int, pairs: Int64Array, unit: Float64Array
    ) -> tuple[float, Float64Array]:
        exposures = self.exposures
        held = np.unique(exposures.quantity_usd[pairs].indices).astype(np.int64)
        notional = exposures.quantity_usd[pairs][:, held].toarray() * unit[held]
        factor = exposures.instruments.factor[held]
        found = {int(k): self._rate(row, int(k)) for k in np.unique(factor)}
        rates = {k: rate for k, rate in found.items() if rate is not None}
        if len(rates) < len(found):
            return np.nan, np.full(len(pairs), np.nan)
        self._add_basis(row, rates)
        rate = np.array([rates[int(k)].rate for k in factor])
        net = np.array([rates[int(k)].netting == "net" for k in factor])
        return share_of_notional(notional, factor, rate, net)

    def _rate(self, row: int, factor: int) -> FlatRate | None:
        """Rate of a factor under an agreement; its absence, or a wrong date, is put on record."""
        exposures, book = self.exposures, self.exposures.book
        factors = exposures.market.factors
        asset_class, venue = str(factors.asset_class[factor]), str(book.agreements.venue[row])
        group = self.own.margin_groups.get(str(factors.factor_id[factor]), "")
        rate, in_force = find_rate(self.rates, venue, asset_class, group, book.as_of)
        named = f"{asset_class}{' group ' + group if group else ''} at venue {venue!r}"
        if rate is None:
            message = (
                f"no flat rate for {named}; add one to the flat rates of the configuration, or "
                "change the agreement's model"
            )
            failure = agreement_failure(book, row, FailureReason.MISSING_DATA, message)
            self._failures.setdefault((str(row), asset_class, group), failure)
        elif not in_force:
            self._failures.setdefault(
                (venue, asset_class, group),
                Failure(
                    FailureReason.NOT_APPLICABLE,
                    rate.venue or "flat rate",
                    f"flat rate of {named}",
                    f"the rate of {rate.rate:g} is in force from {rate.effective}, after the date "
                    f"of the book {book.as_of}; it is used: read the margin as an approximation",
                ),
            )
        return rate

    def _add_basis(self, row: int, rates: dict[int, FlatRate]) -> None:
        used = list(dict.fromkeys(rates.values()))
        marks = {rate.mark for rate in used}
        mark = next(m for m in ("indicative", "user", "verified") if m in marks)
        shown = ("asset_class", "margin_group", "venue", "netting", "rate", "mark", "source")
        basis: dict[str, Any] = {
            "rulebook": self.rulebook,
            "mark": mark,
            "rates": [{name: getattr(rate, name) for name in shown} for rate in used],
        }
        self.result.basis[str(self.exposures.book.agreements.agreement_id[row])] = basis
