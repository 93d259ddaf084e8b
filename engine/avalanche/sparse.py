"""Packing dense coefficients into the compressed rows the kernel reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array
from engine.kernels.avalanche.layout import ENTRY_BLOCK

IndexArray = npt.NDArray[np.uint32]


def index_array(values: npt.ArrayLike) -> IndexArray:
    """Return contiguous uint32 indices."""
    return np.ascontiguousarray(values, dtype=np.uint32)


def pack_rows(rows: list[Float64Array]) -> tuple[IndexArray, IndexArray, Float64Array]:
    """Compress dense rows to (ptr, column, coefficient), non-zeros only.

    Every row is padded with zero coefficients to a multiple of ENTRY_BLOCK entries.
    """
    ptr, columns, coefs = [0], [], []
    for row in rows:
        used = np.nonzero(row)[0]
        padding = -len(used) % ENTRY_BLOCK
        columns.append(np.concatenate([used, np.zeros(padding, dtype=np.int64)]))
        coefs.append(np.concatenate([row[used], np.zeros(padding)]))
        ptr.append(ptr[-1] + len(used) + padding)
    if not rows:
        return index_array(ptr), index_array([]), np.zeros(0)
    return (
        index_array(ptr),
        index_array(np.concatenate(columns)),
        np.ascontiguousarray(np.concatenate(coefs)),
    )
