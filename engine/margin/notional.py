"""Notional of an instrument, as margin rules that take a share of it mean it."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Instruments
from engine.domain.market import MarketState

# Kinds whose notional is the multiplier itself; a rate future quotes multiplier per 1 per cent.
FACE = {"swap": 1.0, "cds": 1.0, "bond": 1.0, "rate_future": 100.0}


def notional_per_unit(instruments: Instruments, market: MarketState) -> Float64Array:
    """Notional of one unit of each instrument, (n_instruments,), currency of the instrument.

    Swaps, CDS and bonds: the multiplier (face amount). Rate futures: 100 * multiplier. All others:
    multiplier * |level of the underlying|, for options too. Never negative for a positive
    multiplier; no NaN where the instrument has a factor. An option on an index at 4,000 with
    multiplier 50 has 200,000, a rate future with multiplier 2,500 has 250,000.
    """
    level = np.abs(market.level[instruments.factor])
    face = np.array([FACE.get(kind, np.nan) for kind in instruments.kind], dtype=np.float64)
    return np.asarray(instruments.multiplier * np.where(np.isnan(face), level, face))
