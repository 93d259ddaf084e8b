"""Array types whose names say shape, and the freezing of arrays held by domain objects."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float64Array: TypeAlias = npt.NDArray[np.float64]
Int64Array: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
StrArray: TypeAlias = npt.NDArray[np.object_]
DateArray: TypeAlias = npt.NDArray[np.datetime64]


def freeze(*arrays: npt.NDArray[np.generic]) -> None:
    """Make arrays read-only, so that a domain object cannot change after it was validated."""
    for array in arrays:
        array.setflags(write=False)
