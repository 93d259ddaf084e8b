"""`attribute_tail`: whose calls, of which kind and from which factor, make up the worst days.

The tail figure is the mean, over the paths with the largest peak daily call, of all calls issued on
each path's peak day: the expected shortfall of the peak daily call. Every split sums to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avalanche.attribution.holders import Holders, fund_holders
from engine.avalanche.attribution.result import TailAttribution, assemble
from engine.avalanche.attribution.selected import (
    check_again,
    run_selected,
    sampled_model,
    tail_paths,
)
from engine.avalanche.attribution.split import (
    PER_DAY,
    Calls,
    Causes,
    Exposed,
    call_hours,
    causes,
    exposed,
    log_mean,
    settled_windows,
    split_calls,
    spread,
)
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund, prepare_fund
from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.domain.results import AvalancheResult, MarginResult
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model, Output

TAIL = 0.99


def attribute_tail(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    tail: float = TAIL,
    result: AvalancheResult | None = None,
    threads: int | None = None,
) -> TailAttribution:
    """Split the tail call by agreement, venue, kind, currency, margin type, factor and manager.

    Parameters
    ----------
    book, market, margin
        The fund, the market, and the fund's margin from `calculate_margin_requirements`.
    config, scenario
        Those of the simulation.
    tail : float
        Share of paths left out: 0.99 takes the worst 1 % by peak daily call.
    result : AvalancheResult, optional
        The simulation of this fund, config and scenario; None simulates first.
    threads : int, optional
        Worker threads, all cores if None. Does not change any figure.

    Returns
    -------
    TailAttribution
        Amounts in USD with standard errors over tail paths.

    Raises
    ------
    InputError
        If `tail` is out of range, or the result is of another fund, config or scenario.
    """
    fund = prepare_fund(book, market, margin, config)
    holders = fund_holders(book, market, margin, fund.inputs.columns)
    return attribute_fund(
        fund, holders, config, scenario, tail=tail, result=result, threads=threads
    )


def attribute_fund(
    fund: PreparedFund,
    holders: Holders,
    config: AvalancheConfig,
    scenario: Scenario | None = None,
    *,
    tail: float = TAIL,
    result: AvalancheResult | None = None,
    threads: int | None = None,
) -> TailAttribution:
    """Attribute the tail of a fund that is already prepared; see `attribute_tail`."""
    model = sampled_model(fund, config, scenario)
    ids, peak = tail_paths(model, config, tail, result, threads)
    record = run_selected(model, config, ids, record=True, threads=threads)
    check_again(record, peak)
    shares = split_tail(model, record, holders)
    paths = config.paths if result is None else result.paths
    label = config.scenario() if scenario is None else scenario.scenario_id
    return assemble(fund, holders, shares, ids, tail, paths, label)


@dataclass(frozen=True)
class TailShares:
    """Cents on every tail path; P paths, R agreements, K factors, M managers.

    `variation` and `initial` (R, P) sum to the calls of the peak day. `factor_variation`,
    `factor_size`, `factor_volatility` (K + 1, P) and `manager_variation`, `manager_initial`
    (M + 1, P) sum to the same over their rows; the last row holds what nothing explains.
    `filled` (P,) is what variation calls differ from the P&L read from the record, in size.
    """

    day: Int64Array
    variation: Float64Array
    initial: Float64Array
    factor_variation: Float64Array
    factor_size: Float64Array
    factor_volatility: Float64Array
    manager_variation: Float64Array
    manager_initial: Float64Array
    filled: Float64Array
    closed: Float64Array


def peak_days(record: Output) -> Int64Array:
    """Return the day with the largest sum of calls on every path, the first of equals; (P,)."""
    windows = record.windows
    days = windows.reshape(len(windows) // PER_DAY, PER_DAY, windows.shape[1]).sum(axis=1)
    return np.asarray(np.argmax(days, axis=0), dtype=np.int64)


def split_tail(model: Model, record: Output, holders: Holders) -> TailShares:
    """Split the calls of every path's peak day; see `docs/methodology/attribution.md`."""
    known, calls = exposed(model), split_calls(model, record)
    day = peak_days(record)
    agreements, factors = known.delta.shape
    managers, paths = len(holders.manager_id), len(day)
    rows = [agreements] * 2 + [factors + 1] * 3 + [managers + 1] * 2
    shares = TailShares(day, *(np.zeros((n, paths)) for n in rows), *np.zeros((2, paths)))
    hours = call_hours(model, len(record.window_calls))
    settled = settled_windows(model, record.window_calls)
    by_margin = _margin_shares(holders, agreements)
    for r in range(agreements):
        if np.any(record.window_calls[:, r] > 0.0):
            found = causes(model, record, known, r, hours[:, r], settled[:, r])
            _add_agreement(shares, model, known, calls, found, holders, by_margin, r)
    return shares


def _margin_shares(holders: Holders, agreements: int) -> Float64Array:
    """Share of each pair in its agreement's initial margin today, (n_pairs,); they sum to 1."""
    total = np.zeros(agreements)
    np.add.at(total, holders.row, holders.margin)
    pairs = np.bincount(holders.row, minlength=agreements)
    whole = total[holders.row]
    equal = 1.0 / pairs[holders.row]
    return np.divide(holders.margin, whole, out=equal, where=whole > 0.0)


def _add_agreement(
    shares: TailShares,
    model: Model,
    known: Exposed,
    calls: Calls,
    found: Causes,
    holders: Holders,
    by_margin: Float64Array,
    r: int,
) -> None:
    """Add the calls of one agreement in the three windows of every peak day."""
    paths = np.arange(len(shares.day))
    pairs = np.flatnonzero(holders.row == r)
    ks, owners = found.factors, holders.manager[pairs]
    for window in (PER_DAY * shares.day + j for j in range(PER_DAY)):
        variation = calls.variation[window, r, paths]
        initial = calls.initial[window, r, paths]
        shares.variation[r] += variation
        shares.initial[r] += initial
        shares.closed[:] += np.where(calls.closed[window, r, paths], variation, 0.0)
        linear = found.linear[window, :, paths].T
        bent = found.bent[window, :, paths].T
        called = variation != 0.0
        loss = -(known.delta[r, ks, None] * linear + known.gamma[r, ks, None] * bent) * called
        parts, rest = spread(variation, loss)
        _add(shares.factor_variation, ks, parts, rest)
        shares.filled[:] += np.abs(variation - loss.sum(axis=0))
        size, volatility, rest = _margin_causes(model, known, calls, found, loss, r, window)
        _add(shares.factor_size, ks, size, np.zeros_like(rest))
        _add(shares.factor_volatility, ks, volatility, rest)
        held = -(holders.delta[pairs][:, ks] @ linear + holders.gamma[pairs][:, ks] @ bent) * called
        parts, rest = spread(variation, held)
        _add(shares.manager_variation, owners, parts, rest)
        parts = by_margin[pairs][:, None] * initial
        _add(shares.manager_initial, owners, parts, np.zeros_like(rest) if len(pairs) else initial)


def _add(total: Float64Array, rows: Int64Array, parts: Float64Array, rest: Float64Array) -> None:
    np.add.at(total, rows, parts)
    total[-1] += rest


def _margin_causes(
    model: Model,
    known: Exposed,
    calls: Calls,
    found: Causes,
    loss: Float64Array,
    r: int,
    window: Int64Array,
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Split the change of initial margin by factor: by size of the book, and by volatility.

    Size: IM ln(s1 / s0) with IM the logarithmic mean of both margins, shared between buckets by
    the quadratic form of squared size (exact), within a bucket by stand-alone risk. The rest is
    volatility: the EWMA rises with the square of the day's P&L, so a factor's Euler share is its
    P&L over all P&L; it is bounded where P&Ls cancel (`spread`).
    """
    paths = np.arange(len(window))
    initial = calls.initial[window, r, paths]
    after = calls.margin[window, r, paths]
    mean = np.where(initial != 0.0, log_mean(after, after - initial), 0.0)
    now, old = (left[window, :, paths].T for left in (found.left, found.left_before))
    pull = known.form[r] @ (now + old)
    middle = log_mean(*(np.einsum("bp,bc,cp->p", q, known.form[r], q) for q in (now, old)))
    weight = np.divide(mean, 2.0 * middle, out=np.zeros_like(mean), where=middle > 0.0)
    by_bucket = weight * (now - old) * pull
    ks = found.factors
    risk = np.abs(known.delta[r, ks]) * known.sigma[ks]
    risk = risk + 0.5 * np.abs(known.gamma[r, ks]) * known.sigma[ks] ** 2
    bucket = np.asarray(model.bucket)[ks].astype(np.int64)
    whole = np.bincount(bucket, weights=risk, minlength=len(by_bucket))[bucket]
    alone = np.divide(risk, whole, out=np.zeros_like(risk), where=whole > 0.0)
    size = alone[:, None] * by_bucket[bucket]
    rest = initial - size.sum(axis=0)
    sizes = np.abs(loss).sum(axis=0)
    euler = loss * np.sign(loss.sum(axis=0)) * rest
    euler = np.divide(euler, sizes, out=np.zeros_like(euler), where=sizes > 0.0)
    volatility, missing = spread(rest, euler)
    return size, volatility, missing
