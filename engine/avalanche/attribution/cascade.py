"""`cascade_network`: who forced whose call, in which window.

An agreement's calls drain resources; forced sales follow; their impact makes losses elsewhere and
margin rise; that is called. Each link is read from two runs of the same paths, with and without
price impact: what the first calls more than the second is endogenous.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avalanche.attribution.cascade_result import CascadeNetwork, network_of
from engine.avalanche.attribution.selected import (
    Selection,
    avalanche_paths,
    check_again,
    run_selected,
    sampled_model,
    tail_paths,
)
from engine.avalanche.attribution.split import PER_DAY
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund, prepare_fund
from engine.avalanche.runs import without_impact
from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.domain.results import AvalancheResult, MarginResult
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import WINDOW_HOURS, Model, Output

TAIL = 0.99
MOST_PATHS = 100
# Calls of this many windows, the sale's own included, are taken to have made a shortfall: a day.
SOURCE_WINDOWS = PER_DAY


def cascade_network(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    selection: Selection = "tail",
    tail: float = TAIL,
    most_paths: int = MOST_PATHS,
    result: AvalancheResult | None = None,
    threads: int | None = None,
) -> CascadeNetwork:
    """Return the average network of forced calls on selected paths.

    Parameters
    ----------
    book, market, margin
        The fund, the market, and the fund's margin from `calculate_margin_requirements`.
    config, scenario
        Those of the simulation.
    selection : {"tail", "avalanche"}
        The worst paths by peak daily call, or a sample of those that are avalanches.
    tail, most_paths
        Share of paths left out of the tail; paths of the network at most (the worst ones).
    result : AvalancheResult, optional
        The simulation of this fund, config and scenario; None simulates first.
    threads : int, optional
        Worker threads, all cores if None. Does not change any figure.

    Raises
    ------
    InputError
        If no path is selected, or the result is of another fund, config or scenario.
    """
    fund = prepare_fund(book, market, margin, config)
    return fund_cascade(
        fund,
        config,
        scenario,
        selection=selection,
        tail=tail,
        most_paths=most_paths,
        result=result,
        threads=threads,
    )


def fund_cascade(
    fund: PreparedFund,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    selection: Selection = "tail",
    tail: float = TAIL,
    most_paths: int = MOST_PATHS,
    result: AvalancheResult | None = None,
    threads: int | None = None,
) -> CascadeNetwork:
    """Return the network of a fund that is already prepared; see `cascade_network`."""
    model = sampled_model(fund, config, scenario)
    peak = None
    if selection == "tail":
        ids, peak = tail_paths(model, config, tail, result, threads)
        ids, peak = ids[:most_paths], peak[:most_paths]
    else:
        ids = avalanche_paths(model, config, most_paths, result, threads)
    on = run_selected(model, config, ids, record=True, threads=threads)
    if peak is not None:
        check_again(on, peak)
    off = run_selected(without_impact(model), config, ids, record=True, threads=threads)
    label = config.scenario() if scenario is None else scenario.scenario_id
    return network_of(fund, link(model, on, off), ids, selection, label)


@dataclass(frozen=True)
class Links:
    """Sums over paths in cents; W windows, R agreements, B buckets, P paths.

    `edges` (W, R + 1, R): calls of the column in the window that sales forced by the row's calls
    made; the last row holds sales before which nothing was called (agreed payments). `edges`
    summed over rows is `endogenous` (W, R), the positive part of what calls exceed those without
    impact; `avoided` (W, R) is the negative part. `by_bucket` (B, R): the same calls by the bucket
    whose sale caused them. `raised` (W,), `closed` (W,): margin released by sales, agreements
    closed out. `reached` (W,): agreements with endogenous calls. `calls`, `calls_without` (W,).
    `orphan` is endogenous calls without any earlier sale: zero, or the runs do not pair.
    """

    edges: Float64Array
    endogenous: Float64Array
    avoided: Float64Array
    by_bucket: Float64Array
    raised: Float64Array
    closed: Float64Array
    reached: Float64Array
    calls: Float64Array
    calls_without: Float64Array
    orphan: float
    paths: int


def link(model: Model, on: Output, off: Output) -> Links:
    """Trace endogenous calls back to sales, and sales to calls, path by path."""
    windows, agreements, paths = on.window_calls.shape
    buckets = on.window_left.shape[1]
    more = on.window_calls - off.window_calls
    gained = np.maximum(more, 0.0)
    fragile = fragility(model)
    pressing = closing_volume(model)
    left = np.concatenate([np.ones_like(on.window_left[:1]), on.window_left])
    sold = left[:-1] - left[1:]
    ended = closed_windows(model, on)
    edges = np.zeros((windows, agreements + 1, agreements))
    by_bucket = np.zeros((buckets, agreements))
    orphan = 0.0
    for p in range(paths):
        source = sources(on.window_calls[:, :, p], np.asarray(model.open_call))
        closing = ended[:, :, p, None] * pressing[None] * left[:-1, None, :, p]
        orphan += _trace(
            model,
            gained[:, :, p],
            fragile,
            sold[:, :, p],
            closing,
            left[:-1, :, p],
            source,
            edges,
            by_bucket,
        )
    raised = np.einsum("wbp,b->w", sold, np.asarray(model.relief))
    return Links(
        edges,
        gained.sum(axis=2),
        np.minimum(more, 0.0).sum(axis=2),
        by_bucket,
        raised,
        ended.sum(axis=(1, 2)).astype(np.float64),
        (gained > 0.0).sum(axis=(1, 2)).astype(np.float64),
        on.window_calls.sum(axis=(1, 2)),
        off.window_calls.sum(axis=(1, 2)),
        orphan,
        paths,
    )


def fragility(model: Model) -> Float64Array:
    """Loss of each agreement per unit of impact level of each bucket, cents, (R, B); gains: 0."""
    loss = np.zeros((len(model.im_start), len(model.relief)))
    owner = np.repeat(np.arange(len(loss)), np.diff(model.seg_ptr.astype(np.int64)))
    bucket = model.seg_bucket.astype(np.int64)
    np.add.at(loss, (owner, bucket), np.maximum(-np.asarray(model.seg_push), 0.0))
    return loss


def closing_volume(model: Model) -> Float64Array:
    """Share of each bucket that a close-out of each agreement trades, (R, B)."""
    volume = np.zeros((len(model.im_start), len(model.relief)))
    owner = np.repeat(np.arange(len(volume)), np.diff(model.seg_ptr.astype(np.int64)))
    np.add.at(volume, (owner, model.seg_bucket.astype(np.int64)), np.asarray(model.seg_volume))
    return volume


def closed_windows(model: Model, on: Output) -> Float64Array:
    """1.0 in the window at whose end an agreement was closed out, (W, R, P).

    A close-out ends the margin for good, in the last hour of a day.
    """
    im = on.window_im
    today = np.broadcast_to(np.asarray(model.im_today)[:, None], im.shape[1:])[None]
    before = np.concatenate([today, im[:-1]])
    gone = np.flip(np.logical_and.accumulate(np.flip(im == 0.0, axis=0), axis=0), axis=0)
    last = (np.arange(len(im)) % PER_DAY == PER_DAY - 1)[:, None, None]
    return np.asarray(gone & (before > 0.0) & last, dtype=np.float64)


def sources(calls: Float64Array, open_call: Float64Array) -> Float64Array:
    """Share of each agreement in the calls that made the shortfall of each window, (W, R + 1).

    Calls issued in the window and the two before it: a day. Where there are none, all calls so
    far, today's open ones included; where there are none of these either, the last column. Rows
    sum to 1. `calls` is (W, R).
    """
    windows, agreements = calls.shape
    total = np.concatenate([np.maximum(open_call, 0.0)[None], calls]).cumsum(axis=0)
    share = np.zeros((windows, agreements + 1))
    for w in range(windows):
        recent = total[w + 1] - total[max(w + 1 - SOURCE_WINDOWS, 0)]
        if not np.any(recent > 0.0):
            recent = total[w + 1]
        whole = recent.sum()
        if whole > 0.0:
            share[w, :-1] = recent / whole
        else:
            share[w, -1] = 1.0
    return share


def _trace(
    model: Model,
    gained: Float64Array,
    fragile: Float64Array,
    sold: Float64Array,
    closing: Float64Array,
    left: Float64Array,
    source: Float64Array,
    edges: Float64Array,
    by_bucket: Float64Array,
) -> float:
    """Add the edges of one path; returns endogenous calls with no sale before them.

    `gained` (W, R), `sold` (W, B), `closing` (W, R, B) volumes of close-outs, `left` (W, B).
    """
    orphan = 0.0
    crowd = 1.0 + np.asarray(model.crowd)
    forced, closed = sold * crowd, closing * crowd
    volume = forced + closed.sum(axis=1)
    fade = float(model.pool[layout.POOL_DECAY]) ** WINDOW_HOURS
    linear = model.pool[layout.POOL_LINEAR] > 0.0
    for t in np.flatnonzero(gained.any(axis=1)).tolist():
        felt = fade ** (t - np.arange(t + 1))
        still = felt[:, None] * volume[: t + 1]
        whole = still.sum(axis=0)
        if not whole.any():
            orphan += float(gained[t].sum())
            edges[t, -1] += gained[t]
            continue
        level = whole if linear else np.sqrt(whole)
        # What each bucket's level costs each agreement; where it costs nothing, all sales count.
        cost = fragile * (left[t] * level)[None, :]
        nothing = cost.sum(axis=1) == 0.0
        cost[nothing] = level
        weight = gained[t][:, None] * cost / cost.sum(axis=1, keepdims=True)
        by_bucket += weight.T
        per_volume = np.divide(weight, whole, out=np.zeros_like(weight), where=whole > 0.0)
        forced_by = (felt[:, None] * forced[: t + 1]) @ per_volume.T
        edges[t] += source[: t + 1].T @ forced_by
        for w in np.flatnonzero(closed[: t + 1].any(axis=(1, 2))).tolist():
            edges[t, :-1] += felt[w] * closed[w] @ per_volume.T
    return orphan
