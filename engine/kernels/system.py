"""The fire-sale kernel: many institutions with common assets, many scenarios at once.

One body, built by factories; scenarios ("lanes") are innermost, so that the compiler vectorises.
`engine.kernels.system_twin` is the same model in plain NumPy and is the oracle. The model itself:
docs/methodology/system.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from engine.domain.arrays import Float64Array
from engine.kernels.jit import inlined, kernel

LANES = 16

Inline: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]


class System(NamedTuple):
    """N institutions and K assets; amounts in one currency, values at the price before the shock.

    `holding` and `margin` have shape (N, K), everything else (N,). `margin` is the share of a
    holding's value that stands in the institution's own assets: 1 for what it owns outright, the
    margin rate of a derivative, the haircut of a repo. A negative holding is a short position.
    `debt` can be repaid early, `fixed_debt` cannot. `minimum`, `buffer` and `target` are shares of
    equity in assets.
    """

    holding: Float64Array
    margin: Float64Array
    cash: Float64Array
    cash_buffer: Float64Array
    other: Float64Array
    debt: Float64Array
    fixed_debt: Float64Array
    minimum: Float64Array
    buffer: Float64Array
    target: Float64Array


class Drive(NamedTuple):
    """What differs between L scenarios; the last axis of every array is the scenario.

    `price` (K, L) after the shock, 1 before it; log price falls by `linear` (K, L) per unit of
    cumulative volume sold and by `root` (K, L) per square root of it. `targeting` (1, L) is 1 where
    institutions always return to their target, 0 where only below their buffer;
    `margin_multiple` (1, L); `calls` (steps, N, L) of cash, due at the end of each step; `active`
    (N, L) is 1 where the institution trades, 0 where it only holds.
    """

    price: Float64Array
    linear: Float64Array
    root: Float64Array
    targeting: Float64Array
    margin_multiple: Float64Array
    calls: Float64Array
    active: Float64Array


class SystemState(NamedTuple):
    """The state at the end, and what happened; rows of (N * K) run over assets within institutions.

    `sold` (N * K, L) is the signed volume sold so far, `defaulted` (N, L) the step of default (0:
    none), `path` (steps * K, L) the prices and `volumes` (steps * K, L) the gross volume traded in
    each step. `posted` (N, L) is the institution's own part of its holdings' value.
    """

    quantity: Float64Array
    order: Float64Array
    sold: Float64Array
    price: Float64Array
    net: Float64Array
    cash: Float64Array
    other: Float64Array
    debt: Float64Array
    posted: Float64Array
    equity: Float64Array
    defaulted: Float64Array
    path: Float64Array
    volumes: Float64Array


def new_state(system: System, steps: int, lanes: int) -> SystemState:
    """Allocate a state of zeros for `lanes` scenarios."""
    n, k = system.holding.shape
    rows = (n * k, n * k, n * k, k, k, n, n, n, n, n, n, steps * k, steps * k)
    return SystemState(*(np.zeros((count, lanes)) for count in rows))


def build_open(inline: Inline, lanes: int) -> Callable[..., None]:
    """Apply the price shock and the rise of margin rates: both are paid in cash on margin."""

    @inline
    def open_books(first: int, m: System, d: Drive, s: SystemState) -> None:
        n, assets = m.holding.shape
        for k in range(assets):
            for w in range(lanes):
                s.price[k, first + w] = d.price[k, first + w]
        for i in range(n):
            for w in range(lanes):
                c = first + w
                s.cash[i, c] = m.cash[i]
                s.other[i, c] = m.other[i]
                s.debt[i, c] = m.debt[i]
            for k in range(assets):
                q, rate = m.holding[i, k], m.margin[i, k]
                for w in range(lanes):
                    c = first + w
                    s.quantity[i * assets + k, c] = q
                    p = d.price[k, c]
                    posted = min(1.0, rate * d.margin_multiple[0, c]) * p - rate
                    s.cash[i, c] += q * (p - 1.0) - abs(q) * posted

    return open_books


def build_clear(inline: Inline, lanes: int) -> Callable[..., None]:
    """Move prices by the cumulative volume, revalue, and execute half way between both prices."""

    @inline
    def clear(first: int, step: int, m: System, d: Drive, s: SystemState) -> None:
        n, assets = m.holding.shape
        for k in range(assets):
            for i in range(n):
                for w in range(lanes):
                    c = first + w
                    s.net[k, c] += s.order[i * assets + k, c]
                    s.volumes[step * assets + k, c] += abs(s.order[i * assets + k, c])
            for w in range(lanes):
                c = first + w
                net = s.net[k, c]
                size = math.sqrt(abs(net))
                side = 1.0 if net >= 0.0 else -1.0
                fall = d.linear[k, c] * net + d.root[k, c] * side * size
                s.path[step * assets + k, c] = d.price[k, c] * math.exp(-fall)
            for i in range(n):
                rate, row = m.margin[i, k], i * assets + k
                for w in range(lanes):
                    c = first + w
                    new = s.path[step * assets + k, c]
                    change = new - s.price[k, c]
                    own = min(1.0, rate * d.margin_multiple[0, c])
                    q, sale = s.quantity[row, c], s.order[row, c]
                    s.cash[i, c] += q * change - own * abs(q) * change
                    s.cash[i, c] += own * abs(sale) * new - 0.5 * sale * change
                    s.quantity[row, c] = q - sale
                    s.sold[row, c] += sale
                    s.order[row, c] = 0.0
            for w in range(lanes):
                s.price[k, first + w] = s.path[step * assets + k, first + w]

    return clear


def build_measure(inline: Inline, lanes: int) -> Callable[..., None]:
    """Pay the calls of the step into collateral, and take stock of holdings and equity."""

    @inline
    def measure(first: int, step: int, m: System, d: Drive, s: SystemState) -> None:
        n, assets = m.holding.shape
        for i in range(n):
            for w in range(lanes):
                c = first + w
                s.cash[i, c] -= d.calls[step, i, c]
                s.other[i, c] += d.calls[step, i, c]
                s.posted[i, c] = 0.0
            for k in range(assets):
                rate = m.margin[i, k]
                for w in range(lanes):
                    c = first + w
                    own = min(1.0, rate * d.margin_multiple[0, c])
                    s.posted[i, c] += own * abs(s.quantity[i * assets + k, c]) * s.price[k, c]
            for w in range(lanes):
                c = first + w
                value = s.cash[i, c] + s.posted[i, c] + s.other[i, c]
                s.equity[i, c] = value - s.debt[i, c] - m.fixed_debt[i]

    return measure


def build_decide(inline: Inline, lanes: int) -> Callable[..., None]:
    """Default, repay debt from spare cash, and order the sales of the next step."""

    @inline
    def decide(first: int, step: int, m: System, d: Drive, s: SystemState) -> None:
        n, assets = m.holding.shape
        for i in range(n):
            floor, least, buffer, target = m.cash_buffer[i], m.minimum[i], m.buffer[i], m.target[i]
            inverse = 1.0 / target if target > 0.0 else 0.0
            for w in range(lanes):
                c = first + w
                if s.defaulted[i, c] > 0.0:
                    continue
                cash, equity, posted = s.cash[i, c], s.equity[i, c], s.posted[i, c]
                assets_value = max(cash, 0.0) + posted + s.other[i, c]
                short = max(floor - cash, 0.0)
                broke = cash < 0.0 and posted <= 0.0
                share = 0.0
                if equity < least * assets_value or broke:
                    s.defaulted[i, c] = step + 1.0
                    share = 1.0
                else:
                    delever = 0.0
                    if inverse > 0.0 and (
                        d.targeting[0, c] > 0.0 or equity < buffer * assets_value
                    ):
                        delever = max(assets_value - equity * inverse, 0.0)
                    spare = max(cash - floor, 0.0)
                    paid = min(min(spare, delever), s.debt[i, c])
                    s.cash[i, c] = cash - paid
                    s.debt[i, c] -= paid
                    need = short + max(delever - paid - (spare - paid), 0.0)
                    share = min(need / posted, 1.0) if posted > 0.0 else 0.0
                share *= d.active[i, c]
                for k in range(assets):
                    row = i * assets + k
                    s.order[row, c] = share * s.quantity[row, c]

    return decide


def build_fire_sale(inline: Inline, lanes: int) -> Callable[..., None]:
    """The whole run of one tile of scenarios, from the shock to the last step."""
    open_books = build_open(inline, lanes)
    clear = build_clear(inline, lanes)
    measure = build_measure(inline, lanes)
    decide = build_decide(inline, lanes)

    @inline
    def run_tile(first: int, m: System, d: Drive, s: SystemState) -> None:
        open_books(first, m, d, s)
        for step in range(d.calls.shape[0]):
            clear(first, step, m, d, s)
            measure(first, step, m, d, s)
            decide(first, step, m, d, s)

    return run_tile


_tile = build_fire_sale(inlined, LANES)


@kernel
def _run_tiles(m: System, d: Drive, s: SystemState) -> None:
    for first in range(0, s.price.shape[1], LANES):
        _tile(first, m, d, s)


def run_system(system: System, drive: Drive) -> SystemState:
    """Run every scenario of `drive`.

    Parameters
    ----------
    system : System
        Float64, C-contiguous, finite.
    drive : Drive
        L scenarios, float64, finite; prices above 0. Steps are the length of `drive.calls`.

    Returns
    -------
    SystemState
        Arrays whose last axis has length L.

    Raises
    ------
    ValueError
        If there is no scenario.
    """
    steps, _, scenarios = drive.calls.shape
    if scenarios < 1:
        raise ValueError("no scenario to run; give at least 1")
    padding = -scenarios % LANES
    padded = Drive(*(_pad(array, padding) for array in drive))
    state = new_state(system, steps, scenarios + padding)
    _run_tiles(system, padded, state)
    return SystemState(*(array[:, :scenarios] for array in state))


def _pad(array: Float64Array, padding: int) -> Float64Array:
    """Repeat the last scenario, so that the last tile is full."""
    last = np.repeat(array[..., -1:], padding, axis=-1)
    return np.ascontiguousarray(np.concatenate([array, last], axis=-1))
