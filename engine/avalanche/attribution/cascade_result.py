"""The network of forced calls: edges, windows, and its main chain in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.avalanche.prepared import PreparedFund
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.failures import Failure
from engine.domain.money import CENTS_PER_UNIT
from engine.kernels.avalanche.layout import HOURS_PER_DAY, WINDOW_HOURS

if TYPE_CHECKING:
    from engine.avalanche.attribution.cascade import Links

OTHER_PAYMENTS = "(other payments)"
LONGEST_CHAIN = 4
# A link of a chain follows within a day of the one before it.
CHAIN_WINDOWS = HOURS_PER_DAY // WINDOW_HOURS
SHOWN_BY_WINDOW = 100


@dataclass(frozen=True)
class CascadeNetwork:
    """Average calls of one agreement caused by sales that another's calls forced, USD.

    Attributes
    ----------
    edge_usd : float64 array of shape (W, R + 1, R)
        By window of eight hours; row: whose calls forced the sale (the last: other payments),
        column: who was called. The sum over rows is `endogenous_usd`.
    endogenous_usd, avoided_usd : float64 arrays of shape (W, R)
        Calls above and below those of the same path without price impact; `avoided` is negative.
        It has no edges: a call can be smaller because the book is, or because it came earlier.
    by_bucket_usd : float64 array of shape (B, R)
        The endogenous calls by the bucket whose sales caused them.
    window : dict of str to float64 array of shape (W,)
        `calls_usd`, `calls_without_usd`, `raised_usd`, `closed_out`, `reached`: means over paths.
    """

    scenario: str
    selection: str
    path_ids: Int64Array
    agreement_id: StrArray
    venue: StrArray
    bucket: StrArray
    edge_usd: Float64Array
    endogenous_usd: Float64Array
    avoided_usd: Float64Array
    by_bucket_usd: Float64Array
    window: dict[str, Float64Array]
    orphan_usd: float
    failures: tuple[Failure, ...] = ()

    def total_usd(self) -> Float64Array:
        """Return edges summed over windows, (R + 1, R)."""
        total: Float64Array = self.edge_usd.sum(axis=0)
        return total

    def names(self) -> StrArray:
        """Return the names of the rows of edges."""
        return np.append(self.agreement_id, OTHER_PAYMENTS)

    def edges(self, largest: int | None = None) -> list[dict[str, Any]]:
        """Return edges above zero, largest first."""
        total, names = self.total_usd(), self.names()
        u, v = np.nonzero(total > 0.0)
        order = np.lexsort((v, u, -total[u, v]))[:largest]
        whole = float(total.sum())
        return [
            {
                "source": str(names[u[i]]),
                "target": str(self.agreement_id[v[i]]),
                "usd": float(total[u[i], v[i]]),
                "share": float(total[u[i], v[i]]) / whole,
                "first_window": int(np.flatnonzero(self.edge_usd[:, u[i], v[i]])[0]) + 1,
                "peak_window": int(np.argmax(self.edge_usd[:, u[i], v[i]])) + 1,
            }
            for i in order
        ]

    def chain(self) -> list[dict[str, Any]]:
        """Return the main chain: the largest link, then the largest that follows it within a day.

        An agreement is called at most once in a chain.
        """
        links: list[dict[str, Any]] = []
        open_edges = self.edge_usd.copy()
        at, who = -1, -1
        while len(links) < LONGEST_CHAIN:
            stop = len(open_edges) if not links else at + 1 + CHAIN_WINDOWS
            rows = slice(None, -1) if not links else slice(who, who + 1)
            part = open_edges[at + 1 : stop, rows]
            if not part.size or not np.any(part > 0.0):
                break
            w, u, v = np.unravel_index(int(np.argmax(part)), part.shape)
            if not links:
                who = int(u)
                open_edges[:, :, who] = 0.0
            at, source = at + 1 + int(w), who
            bucket = int(np.argmax(self.by_bucket_usd[:, v]))
            links.append(
                {
                    "source": str(self.agreement_id[source]),
                    "target": str(self.agreement_id[v]),
                    "window": at + 1,
                    "bucket": str(self.bucket[bucket]),
                    "usd": float(part[w, u, v]),
                }
            )
            open_edges[:, :, v] = 0.0
            who = int(v)
        return links

    def chain_words(self) -> str:
        """Return the main chain as one sentence."""
        links = self.chain()
        if not links:
            return "No call is caused by the fund's own sales on these paths."
        first = links[0]
        said = (
            f"{first['source']}'s calls forced sales, mostly of {first['bucket']}, which called "
            f"{first['target']} {_millions(first['usd'])} by {when(first['window'])}"
        )
        for link in links[1:]:
            said += (
                f"; that forced sales, mostly of {link['bucket']}, which called {link['target']} "
                f"{_millions(link['usd'])} by {when(link['window'])}"
            )
        return said + " (averages over the paths)."

    def to_dict(self, largest: int = 20) -> dict[str, Any]:
        """Return the `cascade` object of `mca attribute --json`."""
        return {
            "scenario": self.scenario,
            "selection": self.selection,
            "paths": len(self.path_ids),
            "endogenous_usd": float(self.endogenous_usd.sum()),
            "avoided_usd": float(self.avoided_usd.sum()),
            "calls_usd": float(self.window["calls_usd"].sum()),
            "calls_without_usd": float(self.window["calls_without_usd"].sum()),
            "without_earlier_sale_usd": self.orphan_usd,
            "edges": self.edges(largest),
            "chain": self.chain(),
            "chain_words": self.chain_words(),
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def summary(self) -> dict[str, Any]:
        """Return totals, the five largest edges and the chain."""
        return self.to_dict(largest=5)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return edges, the largest edges by window, nodes, and windows."""
        columns = ["source", "target", "usd", "share", "first_window", "peak_window"]
        total = self.total_usd()
        nodes = pd.DataFrame(
            {
                "agreement_id": self.agreement_id,
                "venue": self.venue,
                "forced_on_others_usd": total[:-1].sum(axis=1) - np.diag(total),
                "forced_on_itself_usd": np.diag(total),
                "endogenous_usd": self.endogenous_usd.sum(axis=0),
                "avoided_usd": self.avoided_usd.sum(axis=0),
            }
        )
        count = np.arange(len(self.endogenous_usd))
        windows = pd.DataFrame(
            {
                "window": count + 1,
                "hour_from": count * WINDOW_HOURS,
                "hour_to": (count + 1) * WINDOW_HOURS,
                "endogenous_usd": self.endogenous_usd.sum(axis=1),
                "avoided_usd": self.avoided_usd.sum(axis=1),
                **self.window,
            }
        )
        return {
            "cascade_edges": pd.DataFrame(self.edges(), columns=columns),
            "cascade_edges_by_window": self._by_window(),
            "cascade_nodes": nodes,
            "cascade_windows": windows,
        }

    def _by_window(self) -> pd.DataFrame:
        place = {str(name): i for i, name in enumerate(self.names())}
        rows = []
        for edge in self.edges(SHOWN_BY_WINDOW):
            values = self.edge_usd[:, place[edge["source"]], place[edge["target"]]]
            rows += [
                {"source": edge["source"], "target": edge["target"], "window": w + 1,
                 "usd": float(values[w])}
                for w in np.flatnonzero(values).tolist()
            ]  # fmt: skip
        return pd.DataFrame(rows, columns=["source", "target", "window", "usd"])


def when(window: int) -> str:
    """Return a window in words: `when(4) == "day 2, hour 8"`."""
    hour = window * WINDOW_HOURS
    day = (hour - 1) // HOURS_PER_DAY
    return f"day {day + 1}, hour {hour - day * HOURS_PER_DAY}"


def _millions(usd: float) -> str:
    return f"{usd / 1e6:,.1f}m USD" if usd >= 1e5 else f"{usd / 1e3:,.1f}k USD"


def network_of(
    fund: PreparedFund, links: Links, path_ids: Int64Array, selection: str, scenario: str
) -> CascadeNetwork:
    """Average the links of all paths, and name them."""
    unit = CENTS_PER_UNIT * links.paths
    margin = fund.margin
    return CascadeNetwork(
        scenario=scenario,
        selection=selection,
        path_ids=path_ids,
        agreement_id=margin.agreement_id,
        venue=np.where(margin.venue == "", margin.counterparty, margin.venue),
        bucket=np.array(fund.buckets, dtype=object),
        edge_usd=links.edges / unit,
        endogenous_usd=links.endogenous / unit,
        avoided_usd=links.avoided / unit,
        by_bucket_usd=links.by_bucket / unit,
        window={
            "calls_usd": links.calls / unit,
            "calls_without_usd": links.calls_without / unit,
            "raised_usd": links.raised / unit,
            "closed_out": links.closed / links.paths,
            "reached": links.reached / links.paths,
        },
        orphan_usd=links.orphan / unit,
        failures=margin.failures,
    )
