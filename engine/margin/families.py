"""The families of margin models: which module margins which model."""

from __future__ import annotations

from collections.abc import Callable

from engine.domain.arrays import Int64Array
from engine.margin import flat_rate, monte_carlo, parametric
from engine.margin.close_out import family as close_out
from engine.margin.config import MarginConfig
from engine.margin.credit import family as credit
from engine.margin.exposure import Exposures
from engine.margin.family import PreparedFamily
from engine.margin.span import family as span

Prepare = Callable[[Exposures, Int64Array, MarginConfig], PreparedFamily]

FAMILIES: dict[str, Prepare] = {
    "parametric": lambda e, rows, m: parametric.prepare(e, rows, m, m.parametric),
    "span": lambda e, rows, m: span.prepare(e, rows, m, m.span),
    "mc_es": lambda e, rows, m: monte_carlo.prepare(e, rows, m, m.monte_carlo),
    "cds": lambda e, rows, m: credit.prepare(e, rows, m, m.cds),
    "close_out": lambda e, rows, m: close_out.prepare(e, rows, m, m.close_out),
    "flat": lambda e, rows, m: flat_rate.prepare(e, rows, m, m.flat_rate),
}
"""Models beside historical simulation (`scenario_margin`) and the standard ones
(`standard_margin`)."""
FIXED_PARTS = (
    "net_option_value", "exposure", "jump_to_default", "wrong_way", "bid_offer",
)  # fmt: skip
"""Parts of a calculated margin that do not follow volatility."""
