"""The attribution of tail calls: splits that each sum to the tail figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.avalanche.attribution.holders import Holders
from engine.avalanche.prepared import PreparedFund
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.failures import Failure
from engine.domain.money import CENTS_PER_UNIT

if TYPE_CHECKING:
    from engine.avalanche.attribution.tail import TailShares

NOT_EXPLAINED = "(not explained)"


@dataclass(frozen=True)
class Split:
    """One split of the tail figure: names, USD, and standard errors over tail paths.

    `parts` are the columns that each row's amount is made of; each has shape (n,), like `usd`.
    """

    name: StrArray
    usd: Float64Array
    standard_error_usd: Float64Array
    parts: dict[str, Float64Array]

    def rows(self) -> list[dict[str, Any]]:
        """Return one JSON-ready row each, largest first."""
        order = np.argsort(-self.usd, kind="stable")
        whole = float(self.usd.sum())
        return [
            {
                "name": str(self.name[i]),
                "usd": float(self.usd[i]),
                "share": float(self.usd[i]) / whole if whole else 0.0,
                "standard_error_usd": float(self.standard_error_usd[i]),
                **{f"{part}_usd": float(values[i]) for part, values in self.parts.items()},
            }
            for i in order
        ]


@dataclass(frozen=True)
class TailAttribution:
    """Where the calls of the worst days come from.

    `tail_usd` is the mean over `path_ids` of all calls issued on each path's peak day. Every split
    in `by` (`agreement`, `venue`, `kind`, `currency`, `margin`, `factor`, `manager`) sums to it;
    `venue` takes the counterparty where an agreement has no venue. Splits but `margin` and `factor`
    have the parts `variation` and `initial`; `factor` has `initial` as `size` and `volatility`.
    `filled_share` is the size of what the P&L read from the record misses of the variation calls
    (thresholds, minimum transfers, times within a window), over those calls; it is shared in
    proportion. `closed_out_usd` are calls in windows in which the agreement was closed out; they
    count as variation margin.
    """

    scenario: str
    paths: int
    tail: float
    path_ids: Int64Array
    peak_day: Int64Array
    tail_usd: float
    tail_standard_error_usd: float
    by: dict[str, Split]
    filled_share: float
    closed_out_usd: float
    failures: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the `tail` object of `mca attribute --json`."""
        return {
            "scenario": self.scenario,
            "paths": self.paths,
            "tail": self.tail,
            "tail_paths": len(self.path_ids),
            "tail_usd": self.tail_usd,
            "tail_standard_error_usd": self.tail_standard_error_usd,
            "filled_share": self.filled_share,
            "closed_out_usd": self.closed_out_usd,
            "by": {name: split.rows() for name, split in self.by.items()},
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def summary(self, largest: int = 5) -> dict[str, Any]:
        """Return the tail figure and the `largest` rows of every split."""
        whole = self.to_dict()
        whole["by"] = {name: rows[:largest] for name, rows in whole["by"].items()}
        return whole

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `tail_by_<split>` for every split, and `tail_paths`."""
        frames = {f"tail_by_{name}": pd.DataFrame(split.rows()) for name, split in self.by.items()}
        frames["tail_paths"] = pd.DataFrame({"path": self.path_ids, "peak_day": self.peak_day + 1})
        return frames


def _split(names: StrArray, parts: dict[str, Float64Array], error_parts: bool = True) -> Split:
    """Average paths: `parts` map a name to cents, shape (n, P)."""
    whole = np.sum(list(parts.values()), axis=0)
    means = {name: values.mean(axis=1) / CENTS_PER_UNIT for name, values in parts.items()}
    return Split(
        names,
        whole.mean(axis=1) / CENTS_PER_UNIT,
        standard_error(whole) / CENTS_PER_UNIT,
        means if error_parts else {},
    )


def standard_error(values: Float64Array) -> Float64Array:
    """Standard error of the mean over the last axis; NaN-free: 0 for a single path."""
    paths = values.shape[-1]
    if paths < 2:
        return np.zeros(values.shape[:-1])
    return np.asarray(values.std(axis=-1, ddof=1) / np.sqrt(paths))


def _with_rest(names: StrArray) -> StrArray:
    return np.append(names, NOT_EXPLAINED)


def _grouped(labels: StrArray, parts: dict[str, Float64Array]) -> Split:
    names, place = np.unique(labels.astype(str), return_inverse=True)
    sums = {}
    for part, values in parts.items():
        total = np.zeros((len(names), values.shape[1]))
        np.add.at(total, place, values)
        sums[part] = total
    return _split(names.astype(object), sums)


def assemble(
    fund: PreparedFund,
    holders: Holders,
    shares: TailShares,
    path_ids: Int64Array,
    tail: float,
    paths: int,
    scenario: str,
) -> TailAttribution:
    """Average the shares of every path, and name them."""
    margin = fund.margin
    both = {"variation": shares.variation, "initial": shares.initial}
    venue = np.where(margin.venue == "", margin.counterparty, margin.venue)
    place = {str(name): i for i, name in enumerate(fund.book.agreements.agreement_id)}
    rows = np.array([place[str(name)] for name in margin.agreement_id], dtype=np.int64)
    factors = fund.market.factors.factor_id[fund.inputs.columns]
    kinds = np.stack([shares.variation.sum(axis=0), shares.initial.sum(axis=0)])
    by = {
        "agreement": _split(margin.agreement_id, both),
        "venue": _grouped(venue, both),
        "kind": _grouped(margin.kind, both),
        "currency": _grouped(fund.book.agreements.currency[rows], both),
        "margin": _split(np.array(["variation", "initial"], dtype=object), {"": kinds}, False),
        "factor": _split(
            _with_rest(factors),
            {
                "variation": shares.factor_variation,
                "size": shares.factor_size,
                "volatility": shares.factor_volatility,
            },
        ),
        "manager": _split(
            _with_rest(holders.manager_id),
            {"variation": shares.manager_variation, "initial": shares.manager_initial},
        ),
    }
    total = (shares.variation + shares.initial).sum(axis=0) / CENTS_PER_UNIT
    called = float(np.abs(shares.variation).sum())
    return TailAttribution(
        scenario=scenario,
        paths=paths,
        tail=tail,
        path_ids=path_ids,
        peak_day=shares.day,
        tail_usd=float(total.mean()),
        tail_standard_error_usd=float(standard_error(total)),
        by=by,
        filled_share=float(shares.filled.sum()) / called if called else 0.0,
        closed_out_usd=float(shares.closed.mean()) / CENTS_PER_UNIT,
        failures=margin.failures,
    )
