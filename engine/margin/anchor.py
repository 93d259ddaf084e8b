"""Calibration to reported margin: one ratio per agreement, carried into stress.

Where a venue's model is not public, the margin it reports today says how far the family model is
off for this book. The ratio is applied to every projection. It is held fixed: see
`docs/methodology/anchor.md` for what that misses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, freeze
from engine.domain.book import Book
from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.market import MarketState

LEAST_RATIO = 0.2
"""Below and above these a ratio tells of other positions or another model, not of calibration."""
LARGEST_RATIO = 5.0
ANCHORED_MARK = "user"


@dataclass(frozen=True)
class Anchors:
    """Ratios of reported to modelled margin; arrays have shape (n_agreements,).

    Attributes
    ----------
    ratio : float64 array
        1.0 where nothing is reported or the report was refused.
    anchored : bool array
        Where the ratio comes from a report; such margins carry the mark `user`.
    failures : tuple of Failure
        Reports that were refused.
    """

    ratio: Float64Array
    anchored: BoolArray
    failures: tuple[Failure, ...]

    def __post_init__(self) -> None:
        freeze(self.ratio, self.anchored)

    def marks(self, mark: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return `mark` with `user` where a margin is anchored."""
        return np.where(self.anchored, ANCHORED_MARK, mark).astype(np.object_)


def known_anchors(book: Book, ratios: Mapping[str, float]) -> Anchors:
    """Return anchors of ratios found elsewhere, by agreement id: before a trade, or today."""
    names = [str(name) for name in book.agreements.agreement_id]
    ratio = np.array([ratios.get(name, 1.0) for name in names], dtype=np.float64)
    return Anchors(ratio, np.array([name in ratios for name in names], dtype=np.bool_), ())


def anchor_ratio(reported: float, modelled: float) -> float:
    """Return reported / modelled margin, both in one currency.

    18,000,000 reported and 15,000,000 modelled give 1.2.

    Raises
    ------
    InputError
        If either is not finite, the model gives none, or the ratio is outside [0.2, 5].
    """
    if not (np.isfinite(reported) and np.isfinite(modelled)) or reported < 0.0:
        raise InputError(
            f"reported {reported:g} and modelled {modelled:g} must be finite, reported not negative"
        )
    if modelled <= 0.0:
        raise InputError(
            f"the model gives {modelled:g} where {reported:,.0f} is reported; no ratio can mend "
            "that: check that the positions are complete"
        )
    ratio = reported / modelled
    if not LEAST_RATIO <= ratio <= LARGEST_RATIO:
        raise InputError(
            f"reported {reported:,.0f} is {ratio:.3g} times the modelled {modelled:,.0f}, outside "
            f"{LEAST_RATIO:g} to {LARGEST_RATIO:g}: check date, currency, positions and whether "
            "the report has other accounts in it, before choosing another model"
        )
    return ratio


def anchor(
    book: Book, market: MarketState, modelled_usd: Float64Array, threshold_usd: Float64Array
) -> Anchors:
    """Return the ratio of every agreement that reports its margin.

    Parameters
    ----------
    book : Book
        `agreements.reported_im` is in the agreement's currency, NaN where not known.
    market : MarketState
        Gives the rates of `book.as_of`.
    modelled_usd : float64 array of shape (n_agreements,)
        Margin of the engine on the same date in USD, before the threshold, with the venue's
        add-ons but not the broker's; NaN where it failed.
    threshold_usd : float64 array of shape (n_agreements,)
        What is reported is margin above this threshold, so it is added to the report: the ratio
        is that of the margins themselves.

    Returns
    -------
    Anchors
        A refused report is a failure with its agreement, and its margin stays the model's.
    """
    agreements = book.agreements
    if modelled_usd.shape != (len(agreements),):
        raise InputError(
            f"modelled_usd has shape {modelled_usd.shape}, the book {len(agreements)} agreements"
        )
    ratio = np.ones(len(agreements))
    anchored = np.zeros(len(agreements), dtype=np.bool_)
    failures: list[Failure] = []
    for row in np.flatnonzero(~np.isnan(agreements.reported_im)):
        name, currency = str(agreements.agreement_id[row]), str(agreements.currency[row])
        try:
            if currency not in market.fx_usd:
                raise InputError(f"no USD rate for {currency}; add the currency pair's factor")
            usd = market.fx_usd[currency]
            reported = float(agreements.reported_im[row]) * usd
            if reported == 0.0 and threshold_usd[row] > 0.0:
                raise InputError("0 says no more than that margin is below its threshold")
            ratio[row] = anchor_ratio(reported + threshold_usd[row], modelled_usd[row])
            anchored[row] = True
        except InputError as error:
            message = f"reported_im is not used: {error}"
            where = f"agreement {name}, reported_im"
            failures.append(Failure(FailureReason.INVALID, name, where, message))
    return Anchors(ratio, anchored, tuple(failures))
