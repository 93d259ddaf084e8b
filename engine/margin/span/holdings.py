"""What each agreement holds of each combined commodity, netted once for all scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.margin.exposure import Exposures
from engine.margin.span.scan_ranges import ScanKey


@dataclass(frozen=True)
class Holdings:
    """Agreements with the same scan ranges, and their books.

    A book is one agreement's holding of one combined commodity (a factor), a cell is one manager's
    share of it.

    Attributes
    ----------
    key : ScanKey
    agreements : int64 array
        Rows of the agreements, increasing.
    instruments : int64 array of shape (n_instruments,)
        Rows of `Exposures.instruments` held.
    cells : sparse array of shape (n_cells, n_instruments)
        Quantity times USD rate.
    cell_pair, cell_book : int64 arrays of shape (n_cells,)
    book_agreement, book_factor : int64 arrays of shape (n_books,)
    """

    key: ScanKey
    agreements: Int64Array
    instruments: Int64Array
    cells: csr_array
    cell_pair: Int64Array
    cell_book: Int64Array
    book_agreement: Int64Array
    book_factor: Int64Array

    @cached_property
    def books(self) -> csr_array:
        """Net quantity times USD rate of each book, (n_books, n_instruments)."""
        shape = (len(self.book_agreement), len(self.cell_book))
        ones = np.ones(len(self.cell_book))
        member = csr_array((ones, (self.cell_book, np.arange(len(self.cell_book)))), shape=shape)
        net = csr_array(member @ self.cells)
        net.eliminate_zeros()
        return net


def hold(exposures: Exposures, key: ScanKey, agreements: Int64Array) -> Holdings:
    """Collect the books and cells of some agreements."""
    pairs = np.flatnonzero(np.isin(exposures.pair_agreement, agreements))
    held = exposures.quantity_usd[pairs].tocoo()
    instruments, column = np.unique(held.coords[1], return_inverse=True)
    pair = pairs[held.coords[0]]
    factor = exposures.instruments.factor[held.coords[1]]
    n_factors = len(exposures.market.factors)
    cell_key, cell = np.unique(pair * n_factors + factor, return_inverse=True)
    cell_pair, cell_factor = cell_key // n_factors, cell_key % n_factors
    book_key, cell_book = np.unique(
        exposures.pair_agreement[cell_pair] * n_factors + cell_factor, return_inverse=True
    )
    shape = (len(cell_key), len(instruments))
    return Holdings(
        key=key,
        agreements=agreements,
        instruments=instruments.astype(np.int64),
        cells=csr_array((held.data, (cell, column)), shape=shape),
        cell_pair=cell_pair.astype(np.int64),
        cell_book=cell_book.astype(np.int64),
        book_agreement=(book_key // n_factors).astype(np.int64),
        book_factor=(book_key % n_factors).astype(np.int64),
    )


def short_options(quantity: csr_array, option: BoolArray) -> csr_array:
    """Return the short quantities of options, as positive numbers."""
    return _weighted(quantity, np.where(option[quantity.indices] & (quantity.data < 0.0), -1.0, 0))


def charged_exposure(quantity: csr_array, option: BoolArray) -> csr_array:
    """Return |quantity| of everything but long options, which risk no more than they are worth."""
    long_option = option[quantity.indices] & (quantity.data > 0.0)
    return _weighted(quantity, np.where(long_option, 0.0, np.sign(quantity.data)))


def by_period(
    quantity: csr_array, delta: Float64Array, period: Int64Array, n_periods: int
) -> Float64Array:
    """Return net delta by contract period, (n_rows, n_periods)."""
    spread = np.zeros((len(delta), n_periods))
    spread[np.arange(len(delta)), period] = delta
    return np.asarray(quantity @ spread)


def _weighted(quantity: csr_array, weight: Float64Array) -> csr_array:
    data = quantity.data * weight
    out = csr_array((data, quantity.indices.copy(), quantity.indptr.copy()), shape=quantity.shape)
    out.eliminate_zeros()
    return out
