"""What the avalanche simulation says of given moves: one deterministic path for each candidate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.avalanche.columns import metric, usd
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.hours import hour_weights
from engine.avalanche.prepared import PreparedFund
from engine.domain.arrays import Float64Array
from engine.kernels.avalanche.layout import HOURS_PER_DAY, POOL_NAV, Model
from engine.stress.reverse.config import TargetMetric

# The calls of the last day of a move fall due within these days.
SETTLEMENT_DAYS = 2
CALM = {
    "noise": False,
    "volatility_multiplier": 1.0,
    "tail_degrees": 0,
    "jumps_per_day": 0.0,
    "breakdown_weight": 0.0,
    "defaults": False,
}


def simulated_metric(
    fund: PreparedFund, target: TargetMetric, days: int
) -> Callable[[Float64Array], Float64Array]:
    """Return a measure of moves (n, factors of the market) in USD, shape (n,).

    The moves come evenly over `days` without noise, at today's volatility; then the calls fall
    due. Cash is exchanged, securities and lines are used, positions are sold by force as in any
    run. The metric is that of the reverse stress test: calls issued, the loss of NAV, or how far
    the lowest point of liquidity, lines included, lies below zero.
    """
    horizon = days + SETTLEMENT_DAYS
    config = AvalancheConfig(horizon_days=horizon, **CALM)
    model = fund.model(config)
    basis = _unit_moves(model, config, days)
    ready = model._replace(shock=basis)

    def measure(moves: Float64Array) -> Float64Array:
        from engine.kernels.avalanche.compiled import run_paths

        drive = np.ascontiguousarray(moves[:, fund.inputs.columns].T)
        out = run_paths(ready, len(moves), config.seed, drive=drive)
        if target == "calls_usd":
            return usd(metric(out, "calls_total"))
        if target == "loss_usd":
            return usd(model.pool[POOL_NAV] - metric(out, "nav_end"))
        return usd(-metric(out, "liquidity_min"))

    return measure


def _unit_moves(model: Model, config: AvalancheConfig, days: int) -> Float64Array:
    """One basis shock for each simulated factor: a move of 1 over `days`, (K, hours, K)."""
    factors = len(model.group)
    hours = np.zeros(config.horizon_days * HOURS_PER_DAY)
    hours[: days * HOURS_PER_DAY] = np.tile(hour_weights(config), days) / days
    basis: Float64Array = np.eye(factors)[:, None, :] * hours[None, :, None]
    return np.ascontiguousarray(basis)
