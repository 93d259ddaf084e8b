"""How a day's variance is spread over its hours."""

from __future__ import annotations

import numpy as np

from engine.avalanche.config import AvalancheConfig
from engine.domain.arrays import Float64Array
from engine.kernels.avalanche.layout import HOURS_PER_DAY

ACTIVE_HOURS = range(7, 21)


def hour_weights(config: AvalancheConfig) -> Float64Array:
    """Return each hour's share of a day's variance, shape (24,), sum 1."""
    active = np.isin(np.arange(HOURS_PER_DAY), ACTIVE_HOURS)
    quiet_share = 1.0 - config.active_hours_share
    weights: Float64Array = np.where(
        active,
        config.active_hours_share / active.sum(),
        quiet_share / (~active).sum(),
    )
    return weights
