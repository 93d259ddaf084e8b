"""Anti-procyclicality tools over time: margin, state and dated spells of a margin series.

A tool that remembers yesterday is a state machine: its margin depends on the path of calculated
margin, so exhaustion and refill have dates. Tools without memory are
`engine.margin.procyclicality`; here they get the same form, so that all can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import DateArray, Float64Array, StrArray
from engine.domain.failures import InputError
from engine.margin.procyclicality import (
    buffered_margin,
    long_run_floor,
    stress_floor,
    stress_weighted,
)

PATH_TOOLS = (
    "none",
    "buffer",
    "buffer_path",
    "stress_weight",
    "long_run_floor",
    "stress_floor",
    "step",
)
QUIET_STATES = ("calculated", "full", "blended", "held", "unknown")
"""States in which the tool is not at work; all others give spells."""
# A buffer this close to full or to empty, as a share of calculated margin, is so: rounding only.
ROUNDING = 1e-12


@dataclass(frozen=True)
class PathConfig:
    """Choices of the tools over time; fractions, days are days of the series.

    Attributes
    ----------
    buffer : float
        Full buffer as a fraction of calculated margin; 25 % is the least of Art. 28(1)(a).
    mean_days : int
        Days of the mean with which calculated margin is compared, today included.
    draw_trigger : float
        `buffer_path`: the buffer may be drawn while calculated margin exceeds its mean by more
        than this fraction. The regulation says "rises significantly" and gives no number.
    refill_days : int
        `buffer_path`: days in which an empty buffer is refilled.
    stress_weight : float
        25 % is the least of Art. 28(1)(b).
    stress_margin : float64 array of shape (n_days,), float or None
        Margin on the stress period, in the unit of the series.
    long_run : float64 array of shape (n_days,) or None
        Margin of a ten-year lookback; NaN while the history is too short is no floor.
    step_trigger : float
        `step`: margin is raised when calculated margin exceeds it by more than this fraction.
    step_calm_days : int
        `step`: days without a shortfall before margin is lowered.
    step_decline : float
        `step`: most that margin is lowered in a day, a fraction of its level.
    """

    buffer: float = 0.25
    mean_days: int = 250
    draw_trigger: float = 0.1
    refill_days: int = 60
    stress_weight: float = 0.25
    stress_margin: Float64Array | float | None = None
    long_run: Float64Array | None = None
    step_trigger: float = 0.0
    step_calm_days: int = 20
    step_decline: float = 0.02

    def __post_init__(self) -> None:
        limits = (
            ("buffer", self.buffer >= 0.0, "not negative"),
            ("mean_days", self.mean_days >= 1, "at least 1"),
            ("draw_trigger", self.draw_trigger >= 0.0, "not negative"),
            ("refill_days", self.refill_days >= 1, "at least 1"),
            ("stress_weight", 0.0 <= self.stress_weight <= 1.0, "between 0 and 1"),
            ("step_trigger", self.step_trigger >= 0.0, "not negative"),
            ("step_calm_days", self.step_calm_days >= 0, "not negative"),
            ("step_decline", 0.0 <= self.step_decline <= 1.0, "between 0 and 1"),
        )
        for name, good, rule in limits:
            if not good:
                raise InputError(f"{name} is {getattr(self, name)}; it must be {rule}")


@dataclass(frozen=True)
class Spell:
    """Days in one state: `first` is the first, `end` the first day after it (None: still so)."""

    state: str
    first: np.datetime64
    end: np.datetime64 | None


@dataclass(frozen=True)
class ToolPath:
    """What a tool makes of a series; arrays of shape (n_days,).

    `state` says what the tool does on a day, `spells` date every run of days in which it is at
    work. Margin is NaN, and the state `unknown`, before the tool can be computed.
    """

    margin: Float64Array
    state: StrArray
    spells: tuple[Spell, ...]


def apply_tool(
    tool: str, base_series: Float64Array, dates: DateArray, config: PathConfig
) -> ToolPath:
    """Apply one tool to a series of calculated margin.

    Parameters
    ----------
    tool : str
        Of `PATH_TOOLS`.
    base_series : float64 array of shape (n_days,)
        Calculated margin, any unit; finite and not negative.
    dates : datetime64 array of shape (n_days,)
        Increasing.
    config : PathConfig

    Returns
    -------
    ToolPath
        States: none `calculated`; buffer and buffer_path `full`, `drawn`, `exhausted`, and
        `refilling` (buffer_path); stress_weight `blended`; floors `floored` where they bind,
        else `calculated`; step `raised`, `held`, `lowered`.

    Raises
    ------
    InputError
        For an unknown tool, a bad series or dates, or a margin that the tool needs and the
        config lacks.

    Examples
    --------
    stress_floor at 100 over 80, 120, 90: margins 100, 120, 100, and two spells of `floored`.
    """
    base = np.asarray(base_series, dtype=np.float64)
    days = np.asarray(dates, dtype="datetime64[D]")
    _check(tool, base, days)
    if tool == "buffer":
        buffered = buffered_margin(base, config.buffer, config.mean_days)
        margin, state = buffered.margin, _buffer_states(buffered.margin, base, config.buffer)
    elif tool == "buffer_path":
        margin, state = buffer_path(base, config)
    elif tool == "step":
        margin, state = step_rule(base, config)
    else:
        margin, state = _without_memory(tool, base, config)
    return ToolPath(margin, state, _spells(state, days))


def buffer_path(base: Float64Array, config: PathConfig) -> tuple[Float64Array, StrArray]:
    """Tool (a) day by day: a buffer that is drawn, runs out and is refilled over time.

    The buffer B starts full, b * base. Each day, with the mean of base over the last `mean_days`
    days (fewer at the start, today included):

    - base > (1 + draw_trigger) * mean: the call is spared as far as the buffer goes. Margin stays
      at yesterday's, within base and (1 + b) * base; `drawn`, or `exhausted` when nothing is left.
    - else B is what was left, plus b * base / refill_days, at most b * base; `refilling` until it
      is whole, then `full`. Where b * base is zero there is nothing to draw: `full`.

    Margin is base + B, so base <= margin <= (1 + b) * base every day. The mean takes in the
    new level, so a buffer is refilled even if margin stays high.

    Returns
    -------
    (margin, state), shape (n_days,) each

    Examples
    --------
    base 100, 120, 140, 100, 100 with b 0.25, mean over 2 days, trigger 0.05 and 2 refill days:
    margins 125, 125, 140, 112.5, 125; states full, drawn, exhausted, refilling, full.
    """
    margin = np.empty(len(base))
    state = np.empty(len(base), dtype=np.object_)
    mean = _trailing_mean(base, config.mean_days)
    left = config.buffer * base[0] if len(base) else 0.0
    for t, now in enumerate(base):
        full = config.buffer * now
        if t > 0 and full > 0.0 and now > (1.0 + config.draw_trigger) * mean[t]:
            left = min(full, max(0.0, margin[t - 1] - now))
            state[t] = "drawn" if left > ROUNDING * now else "exhausted"
        else:
            step = full / config.refill_days if t > 0 else 0.0
            left = min(full, left + step)
            state[t] = "full" if full - left <= ROUNDING * now else "refilling"
        margin[t] = now + left
    return margin, state


def step_rule(base: Float64Array, config: PathConfig) -> tuple[Float64Array, StrArray]:
    """Margin that is raised at once and lowered slowly, as many services set their parameters.

    The level starts at base. Each day: if base exceeds (1 + step_trigger) times the level, the
    level becomes base (`raised`). Otherwise, if base has been at or below the level for more than
    `step_calm_days` days, the level falls towards base, by at most `step_decline` of itself
    (`lowered`). Otherwise it is `held`.

    So base <= (1 + step_trigger) * margin on every day, and with a trigger of 0 margin is never
    below base.

    Returns
    -------
    (margin, state), shape (n_days,) each

    Examples
    --------
    base 100, 110, 90, 90, 90 with trigger 0.05, 1 calm day and a decline of 0.1: margins 100, 110,
    110, 99, 90; states held, raised, held, lowered, lowered.
    """
    margin = np.empty(len(base))
    state = np.empty(len(base), dtype=np.object_)
    level = float(base[0]) if len(base) else 0.0
    calm = 0
    for t, now in enumerate(base):
        state[t] = "held"
        if now > (1.0 + config.step_trigger) * level:
            level, calm, state[t] = float(now), 0, "raised"
        elif now > level:
            calm = 0
        else:
            calm += 1
            lower = max(float(now), (1.0 - config.step_decline) * level)
            if calm > config.step_calm_days and lower < level:
                level, state[t] = lower, "lowered"
        margin[t] = level
    return margin, state


def _without_memory(
    tool: str, base: Float64Array, config: PathConfig
) -> tuple[Float64Array, StrArray]:
    state = np.full(len(base), "calculated", dtype=np.object_)
    if tool == "none":
        return base.copy(), state
    if tool == "long_run_floor":
        floor = _needed(config.long_run, "long_run", tool, len(base))
        margin = long_run_floor(base, floor)
    else:
        stress = _needed(config.stress_margin, "stress_margin", tool, len(base))
        if tool == "stress_weight":
            return stress_weighted(base, stress, config.stress_weight), np.full(
                len(base), "blended", dtype=np.object_
            )
        margin = stress_floor(base, stress)
    state[margin > base] = "floored"
    return margin, state


def _needed(value: Float64Array | float | None, name: str, tool: str, n_days: int) -> Float64Array:
    if value is None:
        raise InputError(f"tool {tool} needs {name}; give it in the config")
    given = np.asarray(value, dtype=np.float64)
    if given.ndim > 0 and given.shape != (n_days,):
        raise InputError(f"{name} has shape {given.shape}, the series {n_days} days; align them")
    if name == "stress_margin" and not np.isfinite(given).all():
        raise InputError(f"{name} is not finite; give a margin for every day")
    return np.broadcast_to(given, (n_days,))


def _check(tool: str, base: Float64Array, days: DateArray) -> None:
    if tool not in PATH_TOOLS:
        raise InputError(f"tool {tool!r} is not one of {PATH_TOOLS}")
    if base.ndim != 1 or base.shape != days.shape:
        raise InputError(f"margin of shape {base.shape} but dates {days.shape}; give one per day")
    bad = ~np.isfinite(base) | (base < 0.0)
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(f"margin on {days[at]} is {base[at]}; it must be finite, not negative")
    if np.isnat(days).any() or (np.diff(days) <= np.timedelta64(0, "D")).any():
        raise InputError("dates of the margin series must be known and increase")


def _trailing_mean(base: Float64Array, days: int) -> Float64Array:
    """Mean of the last `days` values, of all there are at the start."""
    return np.array([base[max(0, t + 1 - days) : t + 1].mean() for t in range(len(base))])


def _buffer_states(margin: Float64Array, base: Float64Array, buffer: float) -> StrArray:
    """Name what is left of the buffer; a buffer of nothing is full."""
    left = np.nan_to_num(margin - base, nan=0.0)
    tests = [
        np.isnan(margin),
        buffer * base - left <= ROUNDING * base,
        left <= ROUNDING * base,
    ]
    return np.select(tests, ["unknown", "full", "exhausted"], "drawn").astype(np.object_)


def _spells(state: StrArray, days: DateArray) -> tuple[Spell, ...]:
    spells = []
    changes = np.flatnonzero(state[1:] != state[:-1]) + 1
    starts = np.concatenate([[0], changes]) if len(state) else changes
    ends = np.append(changes, len(state)) if len(state) else changes
    for first, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if state[first] not in QUIET_STATES:
            after = days[end] if end < len(days) else None
            spells.append(Spell(str(state[first]), days[first], after))
    return tuple(spells)
