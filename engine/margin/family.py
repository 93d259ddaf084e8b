"""What a family of margin models answers, and what the engine asks of it.

A family is a module with a function `prepare(exposures, rows, margin, own)`: it does once what does
not depend on stress, and returns a `PreparedFamily`, which is asked for the margin today and
under every volatility step. `engine.margin.families` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.failures import Failure
from engine.margin.exposure import Exposures


@dataclass(frozen=True)
class FamilyMargin:
    """Margin of some agreements of one family, in USD, before thresholds and add-ons.

    Attributes
    ----------
    rows : int64 array of shape (n_rows,)
        Rows of `book.agreements`, increasing.
    im : float64 array of shape (n_rows,)
        Not negative; NaN where it could not be computed.
    pairs : int64 array of shape (n_pairs,)
        Rows of `Exposures.pair_agreement` under these agreements, increasing.
    pair_im : float64 array of shape (n_pairs,)
        Each manager's share; the shares of an agreement sum to its margin.
    components : dict of str to float64 array of shape (n_rows,)
        Parts of the margin by their names in the field; they sum to `im`. Empty if it has one part.
    basis : dict of agreement id to choices the figure rests on, such as the scenarios used.
    values_options : bool array of shape (n_rows,) or None
        Where the margin already contains the value of options: what they gain or lose in a day is
        not paid as variation margin as well. None is nowhere.
    """

    rows: Int64Array
    im: Float64Array
    pairs: Int64Array
    pair_im: Float64Array
    components: dict[str, Float64Array] = field(default_factory=dict)
    basis: dict[str, dict[str, Any]] = field(default_factory=dict)
    values_options: BoolArray | None = None


class PreparedFamily(Protocol):
    """A family ready to be asked; `failures` names what it cannot margin, found in preparation."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return the failures; an agreement that fails as a whole has NaN margin ever after."""

    def margin(self, scale: Float64Array) -> FamilyMargin:
        """Return the margin when volatility is `scale` times today's.

        `scale` has shape (n_agreements,), all agreements of the book. A family that does not
        follow volatility ignores it.
        """


def pairs_of(exposures: Exposures, rows: Int64Array) -> Int64Array:
    """Return the pairs under the agreements `rows`, increasing."""
    return np.flatnonzero(np.isin(exposures.pair_agreement, rows)).astype(np.int64)


def pro_rata(total: Float64Array, weight: Float64Array, owner: Int64Array) -> Float64Array:
    """Share `total` (n_owners,) over rows by non-negative `weight` (n_rows,), exactly.

    Rows of an owner without any weight share alike. `pro_rata([10], [1, 3], [0, 0])` is
    [2.5, 7.5].
    """
    sums = np.bincount(owner, weights=weight, minlength=len(total))
    counts = np.bincount(owner, minlength=len(total))
    weighted = sums[owner] > 0.0
    parts = np.divide(weight, sums[owner], out=np.zeros_like(weight), where=weighted)
    parts = np.where(weighted, parts, 1.0 / np.maximum(1, counts)[owner])
    return np.asarray(total[owner] * parts)
