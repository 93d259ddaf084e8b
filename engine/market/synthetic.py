"""Simulated histories tied to real ones and pinned to published levels. They are not data.

Each synthetic factor k has a latent path x with level = exp(x) - shift, and parents: real factors
or synthetic ones built before it. The first factor of a class (UST10, IG, BRENT, GOLD, COPPER,
WHEAT, VIX, ...) carries the class, the others hang on it. With z_p the parents' daily moves in
units of their own volatility and e a Student-t draw with 5 degrees of freedom,

    dx_t = sigma_k s_t (sum_p l_p z_p,t + sqrt(1 - R2) e_t) + reversion (b_t - x_{t-1})
    s_t  = (v_t / mean v)^power * exp(h_t),  h an AR(1) of standard deviation own_vol_sd,

where v_t is the volatility of SPX known the day before, R2 the variance the parents explain and
b_t the path through the waypoints in straight lines or, for volatility indices, the log of 125 %
of annualised v_t in points. s has mean square 1 and is at most `LARGEST_VOL_STATE`. A level that
would fall below the factor's floor (rates) is reflected there.

Pinning. A waypoint is a level on a date. Between two neighbours the path gets a correction that
grows with the elapsed variance, as in a Brownian bridge, so that both are met exactly; where the
move asked for is more than `STRETCH_FROM` standard deviations of the segment, the factor's own
shocks are first raised (at most `STRETCH_MOST` times), so that a crash has large days and is not
a drift.
"""

from __future__ import annotations

import csv
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.domain.arrays import DateArray, Float64Array
from engine.domain.failures import InputError

TAIL_DOF = 5.0
VOL_PERSISTENCE = 0.985
SPX_DECAY = 0.94
STRETCH_FROM = 2.0
STRETCH_MOST = 3.0
LEAST_IDIOSYNCRATIC_VARIANCE = 0.01
PREMIUM_OF_IMPLIED_VOL = 1.25
DAYS_PER_YEAR = 252
LARGEST_MOVE = 6.0
LARGEST_VOL_STATE = 4.0


@dataclass(frozen=True)
class SyntheticSpec:
    """One row of `synthetic_model.csv`; `daily_vol` is that of the latent path."""

    factor_id: str
    start: np.datetime64
    shift: float
    floor: float
    daily_vol: float
    spx_vol_power: float
    own_vol_sd: float
    reversion: float
    reverts_to: str
    decimals: int
    parents: dict[str, float]


@dataclass(frozen=True)
class Waypoint:
    """A level that the simulated path meets on a date."""

    date: np.datetime64
    level: float


def read_specs(path: Path) -> list[SyntheticSpec]:
    """Read the model table; rows are in order of construction, so parents come first."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            SyntheticSpec(
                factor_id=row["factor_id"],
                start=np.datetime64(row["start"], "D"),
                shift=float(row["shift"]),
                floor=float(row["floor"]),
                daily_vol=float(row["daily_vol"]),
                spx_vol_power=float(row["spx_vol_power"]),
                own_vol_sd=float(row["own_vol_sd"]),
                reversion=float(row["reversion"]),
                reverts_to=row["reverts_to"],
                decimals=int(row["decimals"]),
                parents={
                    name: float(loading)
                    for name, loading in (item.split(":") for item in row["parents"].split())
                },
            )
            for row in csv.DictReader(stream)
        ]


def read_waypoints(path: Path) -> dict[str, list[Waypoint]]:
    """Read the waypoints of every factor, by date."""
    waypoints: dict[str, list[Waypoint]] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            point = Waypoint(np.datetime64(row["date"], "D"), float(row["level"]))
            waypoints.setdefault(row["factor_id"], []).append(point)
    return {name: sorted(points, key=lambda p: p.date) for name, points in waypoints.items()}


def simulate_levels(
    specs: list[SyntheticSpec],
    waypoints: dict[str, list[Waypoint]],
    dates: DateArray,
    real_levels: dict[str, Float64Array],
    seed: int,
) -> dict[str, Float64Array]:
    """Simulate every synthetic factor on `dates`.

    Parameters
    ----------
    specs : list of SyntheticSpec
        In order of construction.
    waypoints : dict of str to list of Waypoint
        At least one per factor; a waypoint on a day without a row acts on the row before it.
    dates : datetime64[D] array of shape (n_days,)
    real_levels : dict of str to float64 array of shape (n_days,)
        `SPX` and every real parent; no NaN, above zero.
    seed : int
        The draws of a factor depend on the seed and its id alone, so that adding a factor changes
        no other.

    Returns
    -------
    dict of str to float64 array of shape (n_days,)
        Levels rounded to the factor's decimals; NaN before its start.

    Raises
    ------
    InputError
        When a parent comes after its child or is unknown, or a factor has no waypoint.
    """
    moves = {name: _standardised(level) for name, level in real_levels.items()}
    spx_vol = lagged_volatility(np.diff(np.log(real_levels["SPX"]), prepend=np.nan), SPX_DECAY)
    levels: dict[str, Float64Array] = {}
    for spec in specs:
        unknown = [name for name in spec.parents if name not in moves]
        if unknown or not waypoints.get(spec.factor_id):
            raise InputError(
                f"synthetic factor '{spec.factor_id}': parent {unknown} is not built before it; "
                "move its row up"
                if unknown
                else f"synthetic factor '{spec.factor_id}' has no waypoint; add one at its start"
            )
        levels[spec.factor_id], moves[spec.factor_id] = _simulate_one(
            spec, waypoints[spec.factor_id], dates, moves, spx_vol, seed
        )
    return levels


def lagged_volatility(returns: Float64Array, decay: float) -> Float64Array:
    """EWMA volatility known before each day, shape (n_days,); `returns[0]` is ignored.

    sigma2_t = decay sigma2_{t-1} + (1 - decay) r_{t-1}^2 (RiskMetrics, 1996), seeded with the
    mean square of the first 60 returns.
    """
    variance = np.empty_like(returns)
    seed_variance = float(np.mean(returns[1:61] ** 2))
    variance[:2] = seed_variance
    for t in range(2, len(returns)):
        variance[t] = decay * variance[t - 1] + (1.0 - decay) * returns[t - 1] ** 2
    return np.sqrt(variance)


def _standardised(level: Float64Array) -> Float64Array:
    returns = np.diff(np.log(level), prepend=np.nan)
    z = returns / lagged_volatility(returns, SPX_DECAY)
    z[0] = 0.0
    bounded: Float64Array = np.clip(z, -LARGEST_MOVE, LARGEST_MOVE)
    return bounded


def _simulate_one(
    spec: SyntheticSpec,
    points: list[Waypoint],
    dates: DateArray,
    moves: dict[str, Float64Array],
    spx_vol: Float64Array,
    seed: int,
) -> tuple[Float64Array, Float64Array]:
    n_days = len(dates)
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(spec.factor_id.encode())]))
    scale = _vol_state(spec, spx_vol, rng) * spec.daily_vol
    common, own = _unit_shocks(spec, moves, rng, n_days)
    first = int(np.searchsorted(dates, spec.start))
    rows, targets, spikes = _pins(spec, points, dates, first)
    stretch = _stretch(rows, targets, scale)
    if spec.reverts_to == "spx_vol":
        baseline = np.log(PREMIUM_OF_IMPLIED_VOL * 100.0 * np.sqrt(DAYS_PER_YEAR) * spx_vol)
    else:
        baseline = np.interp(np.arange(n_days), rows, targets)
    path = np.full(n_days, np.nan)
    path[first] = targets[0]
    for t in range(first + 1, n_days):
        pull = spec.reversion * (baseline[t] - path[t - 1])
        path[t] = path[t - 1] + pull + scale[t] * (common[t] + stretch[t] * own[t])
    path += _bridge(path, rows, targets, np.cumsum((stretch * scale) ** 2))
    z = np.diff(path, prepend=np.nan) / (stretch * scale)
    z[: first + 1] = 0.0
    raw = np.exp(path) - spec.shift
    level = np.round(spec.floor + np.abs(raw - spec.floor), spec.decimals)
    for row, value in spikes.items():
        level[row] = value
    return level, np.clip(z, -LARGEST_MOVE, LARGEST_MOVE)


def _vol_state(
    spec: SyntheticSpec, spx_vol: Float64Array, rng: np.random.Generator
) -> Float64Array:
    draws = rng.standard_normal(len(spx_vol))
    own = np.empty_like(draws)
    own[0] = draws[0]
    step = np.sqrt(1.0 - VOL_PERSISTENCE**2)
    for t in range(1, len(draws)):
        own[t] = VOL_PERSISTENCE * own[t - 1] + step * draws[t]
    state = (spx_vol / spx_vol.mean()) ** spec.spx_vol_power * np.exp(spec.own_vol_sd * own)
    state = np.minimum(state, LARGEST_VOL_STATE)
    normalised: Float64Array = state / np.sqrt(np.mean(state**2))
    return normalised


def _unit_shocks(
    spec: SyntheticSpec, moves: dict[str, Float64Array], rng: np.random.Generator, n_days: int
) -> tuple[Float64Array, Float64Array]:
    """Parents' part and own part of the daily shock; together of variance about one."""
    loadings = np.array(list(spec.parents.values()))
    common: Float64Array = loadings @ np.vstack([moves[name] for name in spec.parents])
    # R2 from the parents' own sample, because they are correlated with each other.
    share = float(np.mean(common**2))
    weight = np.sqrt(max(1.0 - share, LEAST_IDIOSYNCRATIC_VARIANCE))
    student = rng.standard_normal(n_days) / np.sqrt(rng.chisquare(TAIL_DOF, n_days) / TAIL_DOF)
    student *= np.sqrt((TAIL_DOF - 2.0) / TAIL_DOF)
    own: Float64Array = weight * np.clip(student, -LARGEST_MOVE, LARGEST_MOVE)
    return common, own


def _pins(
    spec: SyntheticSpec, points: list[Waypoint], dates: DateArray, first: int
) -> tuple[list[int], Float64Array, dict[int, float]]:
    """Rows and latent targets of the waypoints, and those the latent path cannot reach."""
    targets: dict[int, float] = {}
    spikes: dict[int, float] = {}
    for point in points:
        row = max(first, int(np.searchsorted(dates, point.date, side="right")) - 1)
        if point.level + spec.shift > 0.0:
            targets[row] = float(np.log(point.level + spec.shift))
        else:
            # A negative price of one day (WTI, 20 April 2020) has no logarithm: it is put on top.
            spikes[row] = point.level
    rows = sorted(targets)
    if rows[0] != first:
        raise InputError(
            f"synthetic factor '{spec.factor_id}' has no waypoint on its start {spec.start}; "
            "add one"
        )
    return rows, np.array([targets[row] for row in rows]), spikes


def _stretch(rows: list[int], targets: Float64Array, scale: Float64Array) -> Float64Array:
    stretch = np.ones_like(scale)
    for i in range(len(rows) - 1):
        segment = slice(rows[i] + 1, rows[i + 1] + 1)
        deviation = float(np.sqrt(np.sum(scale[segment] ** 2)))
        asked = abs(float(targets[i + 1] - targets[i])) / (STRETCH_FROM * deviation)
        stretch[segment] = min(max(asked, 1.0), STRETCH_MOST)
    return stretch


def _bridge(
    path: Float64Array, rows: list[int], targets: Float64Array, elapsed: Float64Array
) -> Float64Array:
    gaps = targets - path[rows]
    correction: Float64Array = np.interp(elapsed, elapsed[rows], gaps)
    return correction
