"""What margin would be after some trades: before, after, and what each trade does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from engine.domain.arrays import BoolArray, Float64Array, StrArray
from engine.domain.failures import Failure, InputError
from engine.domain.results import MarginResult
from engine.margin.explain.margin_inputs import MarginInputs, by_agreement
from engine.margin.explain.trade_sensitivities import follow_trades
from engine.margin.explain.trades import Trade, apply_trades

MOST_MARGINAL = 25
"""Most trades whose own effect is computed: each one takes two calculations of the fund."""


@dataclass(frozen=True)
class WhatIfResult:
    """Margin before and after the trades; arrays have shape (n_agreements,), USD.

    Agreements are those with a margin on both sides, in the order of the book. `components` maps
    `im_usd`, `vm_usd` and `add_on_NAME_usd` to (before, after). `first_usd` and `last_usd`
    (n_trades,) are the effect of each trade on IM plus add-ons done alone, and done after all
    others; NaN where a trade rests on another, None with more than `MOST_MARGINAL` trades.
    """

    as_of: date
    trades: tuple[Trade, ...]
    agreement_id: StrArray
    components: dict[str, tuple[Float64Array, Float64Array]]
    first_usd: Float64Array | None
    last_usd: Float64Array | None
    failures: tuple[Failure, ...] = ()

    def required_usd(self) -> tuple[Float64Array, Float64Array]:
        """Return IM plus add-ons before and after."""
        parts = [pair for name, pair in self.components.items() if name != "vm_usd"]
        before, after = (np.sum([pair[side] for pair in parts], axis=0) for side in (0, 1))
        return np.asarray(before), np.asarray(after)

    def change_usd(self) -> Float64Array:
        """Return the change of IM plus add-ons of each agreement."""
        before, after = self.required_usd()
        return np.asarray(after - before)

    def totals(self) -> dict[str, dict[str, float]]:
        """Return {component: {before, after, change}} over all agreements."""
        pairs = {"required_usd": self.required_usd(), **self.components}
        return {
            name: {
                "before": float(before.sum()),
                "after": float(after.sum()),
                "change": float(after.sum() - before.sum()),
            }
            for name, (before, after) in pairs.items()
        }

    def summary(self, largest: int = 10) -> dict[str, Any]:
        """Return totals and the `largest` changes."""
        moved = np.flatnonzero(self._moved())
        order = moved[np.argsort(-np.abs(self.change_usd()[moved]), kind="stable")][:largest]
        return {
            "as_of": str(self.as_of),
            "trades": len(self.trades),
            "totals": self.totals(),
            "largest": [self._row(int(i)) for i in order],
            "failures": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of `mca whatif --json`; `agreements` are those that change."""
        return {
            "as_of": str(self.as_of),
            "currency": "USD",
            "totals": self.totals(),
            "agreements": [self._row(int(i)) for i in np.flatnonzero(self._moved())],
            "trades": self._trades(),
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return every agreement before and after, and the effect of each trade."""
        rows = [self._row(i) for i in range(len(self.agreement_id))]
        return {
            "what_if_by_agreement": pd.DataFrame(rows),
            "what_if_by_trade": pd.DataFrame(self._trades()),
        }

    def _moved(self) -> BoolArray:
        moved = [before != after for before, after in self.components.values()]
        return np.asarray(np.any(moved, axis=0), dtype=np.bool_)

    def _row(self, i: int) -> dict[str, Any]:
        row: dict[str, Any] = {"agreement_id": str(self.agreement_id[i])}
        pairs = {"required_usd": self.required_usd(), **self.components}
        for name, (before, after) in pairs.items():
            stem = name.removesuffix("_usd")
            row[f"{stem}_before_usd"] = float(before[i])
            row[f"{stem}_after_usd"] = float(after[i])
            row[f"{stem}_change_usd"] = float(after[i] - before[i])
        return row

    def _trades(self) -> list[dict[str, Any]]:
        return [
            {
                "trade": number,
                "words": trade.words(),
                "alone_usd": _known(self.first_usd, number - 1),
                "last_usd": _known(self.last_usd, number - 1),
            }
            for number, trade in enumerate(self.trades, 1)
        ]


def _known(values: Float64Array | None, row: int) -> float | None:
    return None if values is None or np.isnan(values[row]) else float(values[row])


def what_if(inputs: MarginInputs, trades: Sequence[Trade], marginal: bool = True) -> WhatIfResult:
    """Compute margin before and after some trades.

    Parameters
    ----------
    inputs : MarginInputs
    trades : sequence of Trade
        Done in order (`engine.margin.explain.trades.apply_trades`).
    marginal : bool
        Also compute each trade's own effect: on the book as it is (`alone`), and on the book after
        all others (`last`). They differ where margins net, or are not proportional.

    Returns
    -------
    WhatIfResult
        VM is that of the day as if the positions had been held since the day before.

    Raises
    ------
    InputError
        If a trade is wrong; the message has a line for each.
    """
    after, failures = _after(inputs, trades)
    first = inputs.margin()
    # A report was made for the book before the trades: its ratio is kept, not fitted again.
    inputs, after = (replace(side, anchors=first.basis["anchor_ratio"]) for side in (inputs, after))
    last = after.margin()
    lost = set(map(str, first.agreement_id)) ^ set(map(str, last.agreement_id))
    kept = first.agreement_id[~np.isin(first.agreement_id, list(lost))]
    alone = final = None
    if marginal and 0 < len(trades) <= MOST_MARGINAL:
        alone, final = _effects(inputs, after, trades, kept, first, last)
    told = [*first.failures, *(f for f in last.failures if f not in first.failures), *failures]
    return WhatIfResult(
        as_of=first.as_of,
        trades=tuple(trades),
        agreement_id=kept,
        components=_components(kept, first, last),
        first_usd=alone,
        last_usd=final,
        failures=tuple(told),
    )


def _after(
    inputs: MarginInputs, trades: Sequence[Trade]
) -> tuple[MarginInputs, tuple[Failure, ...]]:
    book = apply_trades(inputs.book, trades)
    crif, failures = follow_trades(inputs.crif, inputs.book, book)
    return replace(inputs, book=book, crif=crif), failures


def _components(
    names: StrArray, first: MarginResult, last: MarginResult
) -> dict[str, tuple[Float64Array, Float64Array]]:
    pairs = {
        "im_usd": (by_agreement(first, names), by_agreement(last, names)),
        "vm_usd": tuple(by_agreement(side, names, side.vm_usd) for side in (first, last)),
    }
    zeros = np.zeros(len(names))
    for kind in dict.fromkeys([*first.add_ons, *last.add_ons]):
        pairs[f"add_on_{kind}_usd"] = tuple(
            by_agreement(side, names, side.add_ons[kind]) if kind in side.add_ons else zeros
            for side in (first, last)
        )
    return pairs  # type: ignore[return-value]


def _effects(
    inputs: MarginInputs,
    after: MarginInputs,
    trades: Sequence[Trade],
    names: StrArray,
    first: MarginResult,
    last: MarginResult,
) -> tuple[Float64Array, Float64Array]:
    """Effect of each trade done alone, and done last, on IM plus add-ons of all agreements."""
    start, end = _required(first, names), _required(last, names)
    if len(trades) == 1:
        whole = np.array([end - start])
        return whole, whole
    alone, final = np.full(len(trades), np.nan), np.full(len(trades), np.nan)
    for i, trade in enumerate(trades):
        others = [*trades[:i], *trades[i + 1 :]]
        alone[i] = _margin_or_nan(inputs, [trade], names) - start
        final[i] = end - _margin_or_nan(inputs, others, names)
    return alone, final


def _margin_or_nan(inputs: MarginInputs, trades: Sequence[Trade], names: StrArray) -> float:
    """Margin after some of the trades; NaN where they rest on one that is left out."""
    try:
        after, _ = _after(inputs, trades)
    except InputError:
        return float("nan")
    return _required(after.margin(), names)


def _required(result: MarginResult, names: StrArray) -> float:
    total = by_agreement(result, names, result.im_usd + result.add_ons_usd())
    return float(total.sum())
