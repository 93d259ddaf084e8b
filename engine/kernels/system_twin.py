"""The fire-sale model in plain NumPy, one scenario at a time: the oracle of the kernel.

Written from balance sheets rather than from cash flows: an institution's wealth is followed, and
cash is what is left when holdings and other assets are taken out of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain.arrays import Float64Array
from engine.kernels.system import Drive, System


class TwinRun(NamedTuple):
    """One scenario: as in `SystemState`, without the axis of scenarios; (N, K) for (N * K)."""

    sold: Float64Array
    price: Float64Array
    cash: Float64Array
    debt: Float64Array
    equity: Float64Array
    defaulted: Float64Array


def run_twin(system: System, drive: Drive, scenario: int) -> TwinRun:
    """Run scenario `scenario` of `drive`."""
    price = drive.price[:, scenario]
    own = np.minimum(1.0, system.margin * drive.margin_multiple[0, scenario])
    active = drive.active[:, scenario]
    quantity = system.holding.copy()
    order = np.zeros_like(quantity)
    # Wealth: everything owned, before debt.
    start = np.sum(system.margin * np.abs(quantity), axis=1) + system.cash + system.other
    wealth = start + quantity @ (price - 1.0)
    debt, called = system.debt.copy(), np.zeros(len(start))
    defaulted = np.zeros(len(start))
    cash = np.zeros(len(start))
    for step in range(len(drive.calls)):
        net = np.sum(system.holding - quantity + order, axis=0)
        fall = drive.linear[:, scenario] * net
        fall = fall + drive.root[:, scenario] * np.sign(net) * np.sqrt(np.abs(net))
        after = drive.price[:, scenario] * np.exp(-fall)
        # What is sold loses half the change of price, what is kept all of it.
        wealth = wealth + (quantity - 0.5 * order) @ (after - price)
        quantity, price = quantity - order, after
        called = called + drive.calls[step, :, scenario]
        posted = np.sum(own * np.abs(quantity) * price, axis=1)
        cash = wealth - posted - system.other - called
        equity = wealth - debt - system.fixed_debt
        gross = np.where(cash < 0.0, wealth - cash, wealth)
        fails = (equity < system.minimum * gross) | ((cash < 0.0) & (posted <= 0.0))
        fresh = fails & (defaulted == 0.0)
        alive = ~fails & (defaulted == 0.0)
        defaulted = np.where(fresh, step + 1.0, defaulted)
        need, paid = _wanted(system, drive.targeting[0, scenario], cash, equity, gross, debt)
        paid = np.where(alive, paid, 0.0)
        debt, wealth, cash = debt - paid, wealth - paid, cash - paid
        some = np.where(posted > 0.0, posted, 1.0)
        share = np.where(alive & (posted > 0.0), np.minimum(need / some, 1.0), 0.0)
        share = np.where(fresh, 1.0, share) * active
        order = share[:, None] * quantity
    equity = wealth - debt - system.fixed_debt
    return TwinRun(system.holding - quantity, price, cash, debt, equity, defaulted)


def _wanted(
    m: System,
    targeting: float,
    cash: Float64Array,
    equity: Float64Array,
    gross: Float64Array,
    debt: Float64Array,
) -> tuple[Float64Array, Float64Array]:
    """Return what each institution wants to raise by sales, and what it repays now."""
    bound = (m.target > 0.0) & ((equity < m.buffer * gross) | (targeting > 0.0))
    multiple = np.divide(1.0, m.target, out=np.zeros_like(m.target), where=m.target > 0.0)
    delever = np.where(bound, np.maximum(gross - equity * multiple, 0.0), 0.0)
    spare = np.maximum(cash - m.cash_buffer, 0.0)
    paid = np.minimum(np.minimum(spare, delever), debt)
    short = np.maximum(m.cash_buffer - cash, 0.0)
    return short + np.maximum(delever - spare, 0.0), paid
