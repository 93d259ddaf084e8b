"""`shapley_amplification`: which managers' positions make calls feed on themselves.

The worth of a set of managers is what price feedback does to the fund when only they hold
positions: calls with feedback minus calls without, on the same draws. A manager's Shapley value is
the average of what joining adds, over the orders in which managers can join (Shapley 1953). The
values sum to the feedback of the whole fund; what leaving out one manager saves does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.avalanche.attribution.coalitions import Coalitions, Players, players_of
from engine.avalanche.attribution.holders import Holders, fund_holders
from engine.avalanche.attribution.selected import run_selected
from engine.avalanche.columns import metric
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund, prepare_fund
from engine.avalanche.runs import without_impact
from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.book import Book
from engine.domain.failures import Failure, InputError
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.domain.scenarios import Scenario

MANAGERS = 8
PERMUTATIONS = 128
PATHS = 256
# Keeps this stream apart from others made from the same seed.
STREAM = 0x5A91
MEASURES = ("calls", "sales", "loss")


@dataclass(frozen=True)
class Amplification:
    """Feedback by manager; G players, arrays (G, 3) with columns `calls`, `sales`, `loss`, USD.

    `calls` and `sales` are those with feedback minus those without, per path; `loss` is NAV lost to
    feedback. A value can be negative: a smaller book after sales is called less. `shapley_usd` sums
    over players to `whole_usd` (3,). `path_error_usd` is the standard error over paths,
    `order_error_usd` that over sampled orders (0 where all orders were counted).
    `leave_one_out_usd` is the whole minus the fund without the player: it does NOT sum to the
    whole.
    `without_feedback_usd` (3,) is the level without feedback, for scale (loss: 0).
    """

    scenario: str
    name: StrArray
    members: tuple[tuple[str, ...], ...]
    method: str
    orders: int
    sets: int
    paths: int
    whole_usd: Float64Array
    without_feedback_usd: Float64Array
    shapley_usd: Float64Array
    path_error_usd: Float64Array
    order_error_usd: Float64Array
    leave_one_out_usd: Float64Array
    alone_usd: Float64Array
    failures: tuple[Failure, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return one JSON-ready row per player, largest share of calls first."""
        order = np.argsort(-self.shapley_usd[:, 0], kind="stable")
        rows = []
        for g in order.tolist():
            row: dict[str, Any] = {"manager": str(self.name[g]), "members": list(self.members[g])}
            for j, measure in enumerate(MEASURES):
                row[f"{measure}_usd"] = float(self.shapley_usd[g, j])
                row[f"{measure}_path_error_usd"] = float(self.path_error_usd[g, j])
                row[f"{measure}_order_error_usd"] = float(self.order_error_usd[g, j])
                row[f"{measure}_leave_one_out_usd"] = float(self.leave_one_out_usd[g, j])
                row[f"{measure}_alone_usd"] = float(self.alone_usd[g, j])
            rows.append(row)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the `amplification` object of `mca attribute --json`."""
        named = zip(MEASURES, self.whole_usd, self.without_feedback_usd, strict=True)
        return {
            "scenario": self.scenario,
            "method": self.method,
            "orders": self.orders,
            "sets": self.sets,
            "paths": self.paths,
            "whole": {
                name: {"feedback_usd": float(v), "without_feedback_usd": float(w)}
                for name, v, w in named
            },
            "note": "Shapley values sum to the whole; leave_one_out and alone do not",
            "managers": self.rows(),
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def summary(self, largest: int = 5) -> dict[str, Any]:
        """Return the whole and the `largest` players."""
        found = self.to_dict()
        found["managers"] = found["managers"][:largest]
        return found

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `amplification_by_manager`."""
        frame = pd.DataFrame(self.rows())
        frame["members"] = [" ".join(members) for members in frame["members"]]
        return {"amplification_by_manager": frame}


def shapley_amplification(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    permutations: int = PERMUTATIONS,
    managers: int = MANAGERS,
    paths: int = PATHS,
    threads: int | None = None,
) -> Amplification:
    """Share the effect of price feedback between managers.

    Parameters
    ----------
    book, market, margin
        The fund, the market, and the fund's margin from `calculate_margin_requirements`.
    config, scenario
        Those of the simulation; the first `paths` of its paths are run for every set.
    permutations : int
        Orders to sample, in pairs of an order and its reverse. Where all sets of players are no
        more than sampled orders would need, all are run and the values are exact.
    managers : int
        Players at most: the largest managers by margin, and the others as one player.
    threads : int, optional
        Worker threads, all cores if None. Does not change any figure.

    Raises
    ------
    InputError
        If `permutations` is below 4, `managers` below 2, or `paths` below 2 or above the config's.
    """
    fund = prepare_fund(book, market, margin, config)
    holders = fund_holders(book, market, margin, fund.inputs.columns)
    return fund_amplification(
        fund,
        holders,
        config,
        scenario,
        permutations=permutations,
        managers=managers,
        paths=paths,
        threads=threads,
    )


def fund_amplification(
    fund: PreparedFund,
    holders: Holders,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    permutations: int = PERMUTATIONS,
    managers: int = MANAGERS,
    paths: int = PATHS,
    threads: int | None = None,
) -> Amplification:
    """Share feedback in a fund that is already prepared; see `shapley_amplification`."""
    if permutations < 4 or not 2 <= paths <= config.paths:
        raise InputError(
            f"permutations {permutations}, paths {paths}: need at least 4 and 2, and no more "
            f"paths than the config's {config.paths}"
        )
    players = players_of(holders, len(fund.margin.agreement_id), managers)
    worth = Worth(Coalitions(fund, players, config, scenario), config, paths, threads)
    orders = sampled_orders(len(players.name), permutations, config.seed)
    exact = 2 ** len(players.name) <= len(orders) * len(players.name)
    if exact:
        values = exact_shapley(worth, len(players.name))
        order_error = np.zeros(values.shape[:2])
    else:
        values, order_error = sampled_shapley(worth, orders)
    count = math.factorial(len(players.name)) if exact else len(orders)
    label = config.scenario() if scenario is None else scenario.scenario_id
    return _result(fund, players, worth, values, order_error, exact, count, label)


class Worth:
    """Worth of sets of players: feedback on every path, cents, (3, P); each set is run once."""

    def __init__(
        self, coalitions: Coalitions, config: AvalancheConfig, paths: int, threads: int | None
    ) -> None:
        self._coalitions, self._config, self._threads = coalitions, config, threads
        self._ids: Int64Array = np.arange(paths, dtype=np.int64)
        self._known: dict[bytes, Float64Array] = {}
        self.without = np.zeros((len(MEASURES), paths))

    @property
    def sets(self) -> int:
        """Sets run so far, the empty one included."""
        return len(self._known)

    def of(self, present: BoolArray) -> Float64Array:
        """Return the worth of the players of the mask (G,); of nobody it is 0."""
        key = present.tobytes()
        if key not in self._known:
            self._known[key] = self._run(present)
        return self._known[key]

    def _run(self, present: BoolArray) -> Float64Array:
        if not present.any():
            return np.zeros((len(MEASURES), len(self._ids)))
        everyone = bool(present.all())
        model = self._coalitions.whole if everyone else self._coalitions.model(present)
        on, off = (
            run_selected(each, self._config, self._ids, threads=self._threads)
            for each in (model, without_impact(model))
        )
        if everyone:
            self.without[:2] = metric(off, "calls_total"), metric(off, "raised")
        return np.stack(
            [
                metric(on, "calls_total") - metric(off, "calls_total"),
                metric(on, "raised") - metric(off, "raised"),
                metric(off, "nav_end") - metric(on, "nav_end"),
            ]
        )


def sampled_orders(players: int, permutations: int, seed: int) -> Int64Array:
    """Return orders in pairs of an order and its reverse, (permutations rounded up to even, G).

    A manager early in one order is late in the other, which takes most of the noise from the mean.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([STREAM, seed])))
    forward = [rng.permutation(players) for _ in range(-(-permutations // 2))]
    return np.array([each for order in forward for each in (order, order[::-1])], dtype=np.int64)


def exact_shapley(worth: Worth, players: int) -> Float64Array:
    """Return Shapley values of every path over all sets, cents, (G, 3, P).

    Sum over sets S without g of |S|! (G - |S| - 1)! / G! (v(S + g) - v(S)). Two players worth 1 and
    2 alone and 5 together have 2 and 3.
    """
    masks = (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(np.bool_)
    total: list[Float64Array] = []
    for g in range(players):
        value = np.zeros_like(worth.of(masks[0]))
        for mask in masks[~masks[:, g]]:
            size = int(mask.sum())
            weight = 1.0 / (players * math.comb(players - 1, size))
            joined = mask.copy()
            joined[g] = True
            value += weight * (worth.of(joined) - worth.of(mask))
        total.append(value)
    return np.stack(total)


def sampled_shapley(worth: Worth, orders: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Return mean gains over orders, (G, 3, P), and their standard error over pairs, (G, 3)."""
    players = orders.shape[1]
    gains = []
    for order in orders:
        present = np.zeros(players, dtype=np.bool_)
        before = worth.of(present)
        gain = np.zeros((players, *before.shape))
        for g in order.tolist():
            present[g] = True
            after = worth.of(present)
            gain[g] = after - before
            before = after
        gains.append(gain)
    mean: Float64Array = np.mean(gains, axis=0)
    by_pair = np.array(gains).mean(axis=3).reshape(-1, 2, players, len(MEASURES)).mean(axis=1)
    return mean, np.asarray(by_pair.std(axis=0, ddof=1) / np.sqrt(len(by_pair)))


def _result(
    fund: PreparedFund,
    players: Players,
    worth: Worth,
    values: Float64Array,
    order_error: Float64Array,
    exact: bool,
    orders: int,
    label: str,
) -> Amplification:
    count = len(players.name)
    everyone = np.ones(count, dtype=np.bool_)
    whole = worth.of(everyone)
    single = np.eye(count, dtype=np.bool_)
    paths = whole.shape[1]

    def usd(cents: Float64Array) -> Float64Array:
        return np.asarray(cents.mean(axis=-1) / CENTS_PER_UNIT)

    shapley = usd(values)
    return Amplification(
        scenario=label,
        name=players.name,
        members=players.members,
        method="all sets" if exact else "sampled orders",
        orders=orders,
        sets=worth.sets,
        paths=paths,
        whole_usd=usd(whole),
        without_feedback_usd=usd(worth.without),
        shapley_usd=shapley,
        path_error_usd=values.std(axis=2, ddof=1) / np.sqrt(paths) / CENTS_PER_UNIT,
        order_error_usd=order_error / CENTS_PER_UNIT,
        leave_one_out_usd=np.stack([usd(whole - worth.of(~mask)) for mask in single]),
        alone_usd=np.stack([usd(worth.of(mask)) for mask in single]),
        failures=fund.margin.failures,
    )
