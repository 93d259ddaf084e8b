"""What one agreement's calls on recorded paths came from: its P&L and margin, by their causes.

Between two settlements an agreement's exposure changes by what is left of each bucket times the
moves of its factors. Records hold the state every eight hours: within a window, moves are read at
the call's hour along the variance clock, their expected value given both ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.kernels.avalanche.layout import HOURS_PER_DAY, WINDOW_HOURS, Model, Output

PER_DAY = HOURS_PER_DAY // WINDOW_HOURS


@dataclass(frozen=True)
class Exposed:
    """Dense exposures of a model; R agreements, K factors, B buckets.

    `delta`, `gamma` (R, K) in cents; `sigma` (K,) daily standard deviation of calm moves; `form`
    (R, B, B) symmetric, with squared size = q' form q.
    """

    delta: Float64Array
    gamma: Float64Array
    sigma: Float64Array
    form: Float64Array


def exposed(model: Model) -> Exposed:
    """Unpack the kernel's compressed rows."""
    agreements, factors, buckets = len(model.im_start), len(model.group), len(model.relief)
    owner = np.repeat(np.arange(agreements), np.diff(model.seg_ptr.astype(np.int64)))
    entries = np.repeat(owner, np.diff(model.ent_ptr.astype(np.int64)))
    dense = np.zeros((agreements, 2 * factors))
    np.add.at(dense, (entries, model.ent_row.astype(np.int64)), model.ent_coef)
    form = np.zeros((agreements, buckets, buckets))
    pair_of = np.repeat(np.arange(agreements), np.diff(model.pair_ptr.astype(np.int64)))
    a, b = model.pair_a.astype(np.int64), model.pair_b.astype(np.int64)
    np.add.at(form, (pair_of, a, b), 0.5 * model.pair_coef)
    np.add.at(form, (pair_of, b, a), 0.5 * model.pair_coef)
    row = np.repeat(np.arange(factors), np.diff(model.chol_ptr.astype(np.int64)))
    variance = np.zeros(factors)
    np.add.at(variance, row, model.chol_coef**2)
    return Exposed(dense[:, :factors], dense[:, factors:], np.sqrt(variance), form)


def convexity(move: Float64Array, reach: Float64Array) -> Float64Array:
    """Return half the squared move, linear beyond `reach`: the kernel's convexity term."""
    size = np.abs(move)
    return np.where(size <= reach, 0.5 * size**2, reach * (size - 0.5 * reach))


def spread(target: Float64Array, parts: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Make `parts` sum to `target`: what they miss is shared in proportion to their sizes.

    part + (target - sum) |part| / sum |part|. Signs and order are kept while the parts explain
    most of the target, and no share exceeds what is missing: unlike a common factor target / sum,
    which has no bound where parts cancel. Parts 6, -2 with target 5: missing 1, so 6.75, -1.75.

    Parameters
    ----------
    target : float64 array (P,)
    parts : float64 array (n, P)

    Returns
    -------
    parts : float64 array (n, P)
    rest : float64 array (P,)
        The target where all parts are zero; else 0.
    """
    size = np.abs(parts)
    whole = size.sum(axis=0)
    missing = target - parts.sum(axis=0)
    share = np.divide(size, whole, out=np.zeros_like(size), where=whole > 0.0)
    return parts + missing * share, np.where(whole > 0.0, 0.0, target)


@dataclass(frozen=True)
class Calls:
    """Calls of a record split into their two kinds, cents; arrays (W, R, P).

    `total` is what is called; `initial` the change of initial margin in windows with a call, and
    `variation` the rest. `closed` marks windows in which the agreement was closed out: its margin
    ends there, so its last call counts as variation margin. `margin` is the margin required at the
    window's end.
    """

    total: Float64Array
    margin: Float64Array
    initial: Float64Array
    variation: Float64Array
    closed: BoolArray


def split_calls(model: Model, record: Output) -> Calls:
    """Split every call into initial and variation margin; they sum to it."""
    im, total = record.window_im, record.window_calls
    today = np.broadcast_to(np.asarray(model.im_today)[:, None], im.shape[1:])[None]
    before = np.concatenate([today, im[:-1]])
    gone = np.flip(np.logical_and.accumulate(np.flip(im == 0.0, axis=0), axis=0), axis=0)
    last = (np.arange(len(im)) % PER_DAY == PER_DAY - 1)[:, None, None]
    closed = gone & (before > 0.0) & last
    initial = np.where((total > 0.0) & ~closed, im - before, 0.0)
    return Calls(total, im, initial, total - initial, closed)


def call_hours(model: Model, windows: int) -> Int64Array:
    """Last hour of the window at which each agreement can call, -1 if it cannot; (W, R)."""
    mask = model.window_mask.astype(np.int64)
    hours = np.full((PER_DAY, len(mask)), -1, dtype=np.int64)
    for hour in range(HOURS_PER_DAY):
        slot = hour // WINDOW_HOURS
        hours[slot] = np.where(mask >> hour & 1, hour - slot * WINDOW_HOURS, hours[slot])
    return np.tile(hours, (-(-windows // PER_DAY), 1))[:windows]


def settled_windows(model: Model, total: Float64Array) -> BoolArray:
    """Windows in which an agreement settled: always at its end of day, else when it called."""
    slot = model.eod_hour.astype(np.int64) // WINDOW_HOURS
    daily = np.arange(len(total))[:, None] % PER_DAY == slot[None, :]
    return np.asarray(daily[:, :, None] | (total > 0.0))


def since_settled(at: Float64Array, settled: BoolArray, start: float) -> Float64Array:
    """Return the value at the last settled window before each one; `start` before the first.

    `at` (W, n, P) and `settled` (W, P).
    """
    held = np.full(at.shape[1:], start)
    before = np.empty_like(at)
    for w in range(len(at)):
        before[w] = held
        held = np.where(settled[w][None, :], at[w], held)
    return before


@dataclass(frozen=True)
class Causes:
    """Moves of one agreement's factors since it last settled, at every window; (W, n, P).

    `factors` (n,) are its factors. `linear` is the move times what is left of the bucket,
    `bent` the same of the convexity term: P&L = delta linear + gamma bent. `left` and
    `left_before` (W, B, P) are what is left of the buckets at the call and at the last settlement.
    """

    factors: Int64Array
    linear: Float64Array
    bent: Float64Array
    left: Float64Array
    left_before: Float64Array


def causes(
    model: Model, record: Output, known: Exposed, r: int, hours: Int64Array, settled: BoolArray
) -> Causes:
    """Read moves and holdings at the call hours of agreement `r`; `hours` (W,), settled (W, P)."""
    ks = np.flatnonzero((known.delta[r] != 0.0) | (known.gamma[r] != 0.0))
    moves, left = record.window_moves[:, ks], record.window_left
    reach = np.asarray(model.gamma_range)[ks][:, None]
    old = np.concatenate([np.zeros_like(moves[:1]), moves[:-1]])
    left_old = np.concatenate([np.ones_like(left[:1]), left[:-1]])
    at_hour = np.maximum(hours, 0)
    part = _variance_share(model, ks, at_hour)[:, :, None]
    point = old + part * (moves - old)
    bucket = np.asarray(model.bucket)[ks].astype(np.int64)
    held = 0.5 * (left + left_old)[:, bucket]
    done = np.cumsum(held * (moves - old), axis=0)
    bends = np.cumsum(held * (convexity(moves, reach) - convexity(old, reach)), axis=0)

    def upto(totals: Float64Array, partial: Float64Array) -> Float64Array:
        return np.concatenate([np.zeros_like(totals[:1]), totals[:-1]]) + partial

    linear = upto(done, held * (point - old))
    bent = upto(bends, held * (convexity(point, reach) - convexity(old, reach)))
    share = ((at_hour + 1) / WINDOW_HOURS)[:, None, None]
    now = left_old + share * (left - left_old)
    return Causes(
        ks,
        linear - since_settled(linear, settled, 0.0),
        bent - since_settled(bent, settled, 0.0),
        now,
        since_settled(now, settled, 1.0),
    )


def _variance_share(model: Model, ks: Int64Array, hours: Int64Array) -> Float64Array:
    """Share of a window's variance up to and including an hour of it, (W, n)."""
    clock = np.asarray(model.clock)[ks].astype(np.int64)
    variance = np.asarray(model.volatility)[:, clock] ** 2
    by_hour = variance.reshape(-1, WINDOW_HOURS, len(ks)).cumsum(axis=1)
    upto = by_hour[np.arange(len(hours)), hours]
    whole = by_hour[:, -1]
    share: Float64Array = ((hours + 1) / WINDOW_HOURS)[:, None] * np.ones_like(whole)
    np.divide(upto, whole, out=share, where=whole > 0.0)
    return share


def log_mean(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return (a - b) / ln(a / b), a where they agree, 0 where either is not positive."""
    both = (a > 0.0) & (b > 0.0)
    ratio = np.log(np.where(both, a, 1.0) / np.where(both, b, 1.0))
    near = np.abs(ratio) < 1e-8
    mean = np.divide(a - b, ratio, out=0.5 * (a + b), where=~near)
    return np.where(both, mean, 0.0)
