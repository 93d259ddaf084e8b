"""How much of what the path's sales have raised has come back as calls: its branching ratio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.kernels.avalanche.layout import (
    BRANCHING_MAX,
    CAUSED,
    POOL_BRANCH_LEAST,
    RAISED,
)


def build_press(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """Add the hour's impact on what is left of each bucket to the pressure so far.

    total[0] holds the scale of the impact (from `build_push`).
    """

    @inline
    def press(first, sales, holdings, work):
        for b in range(sales.relief.shape[0]):
            for w in range(lanes):
                c = first + w
                hour = holdings.left[b, c] * holdings.sold[b, c] * work.total[0, c]
                holdings.pressure[b, c] += hour

    return press


def build_trace(inline: Callable[..., Any], lanes: int) -> Callable[..., Any]:
    """The largest branching ratio so far: everything caused over everything raised.

    With a square-root law a ratio of single sales would be without bound at the first small one.
    """

    @inline
    def trace(first, switches, work):
        least = switches[POOL_BRANCH_LEAST]
        for w in range(lanes):
            c = first + w
            raised = work.scalars[RAISED, c]
            enough = raised >= least and raised > 0.0
            ratio = work.scalars[CAUSED, c] / raised if enough else 0.0
            work.scalars[BRANCHING_MAX, c] = max(work.scalars[BRANCHING_MAX, c], ratio)

    return trace
