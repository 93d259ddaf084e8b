"""Which factors the early-warning system looks at, and what a move of each is worth.

Membership is decided by rules that do not use the scored part of a history: a factor left out
because of what it did later would be look-ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

import engine.rulebooks
from engine.domain.arrays import BoolArray, DateArray, Float64Array, Int64Array, StrArray, freeze
from engine.domain.failures import Failure, FailureReason, InputError
from engine.domain.market import FactorTable, MarketState
from engine.market.volatility import daily_volatility
from engine.rulebooks.tables import mark_of, read_table
from engine.stress.early_warning.config import EarlyWarningConfig

WHERE = "early warning"
EXCLUSIONS_FILE = Path(engine.rulebooks.__file__).with_name("early_warning_exclusions.csv")
SLEEPY_SHARE = 0.5
"""A factor that is quiet for more than this share of the burn-in is pegged or sleepy."""
SLEEPY_DAYS = 60
INDEX = "VIX"


@dataclass(frozen=True)
class Panel:
    """The members of the margin index on the days all of them are known.

    Attributes
    ----------
    dates : datetime64[D] array of shape (n_days,)
    factor_id : object array of str of shape (n_factors,)
    returns : float64 array of shape (n_days, n_factors)
        No NaN.
    weight : float64 array of shape (n_factors,)
        Margin per unit of volatility: USD per unit move for a fund.
    scale : float64 array of shape (n_factors,)
        Root mean square return of the burn-in, floored: the unit in which moves are compared.
    floor : float64 array of shape (n_factors,)
        Least daily volatility.
    volatility : float64 array of shape (n_days,)
        What the first two signals look at: see `volatility_source`. NaN before it is known.
    volatility_source : str
    covered_share : float
        Members' part of weight times today's volatility, among all factors with a weight.
    excluded : tuple of Failure
        Factors with a weight that are no members, each with its reason.
    """

    dates: DateArray
    factor_id: StrArray
    returns: Float64Array
    weight: Float64Array
    scale: Float64Array
    floor: Float64Array
    volatility: Float64Array
    volatility_source: str
    covered_share: float
    excluded: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        days, factors = self.returns.shape
        assert self.dates.shape == self.volatility.shape == (days,)
        assert self.weight.shape == self.scale.shape == self.floor.shape == (factors,)
        assert not np.isnan(self.returns).any()
        freeze(self.dates, self.returns, self.weight, self.scale, self.floor, self.volatility)


def build_panel(
    market: MarketState, weight: Float64Array | None, config: EarlyWarningConfig
) -> Panel:
    """Choose the members, cut the history to their common days and scale their moves.

    Parameters
    ----------
    market : MarketState
    weight : float64 array of shape (n_factors,), or None
        USD per unit move of each factor of the market, at least 0; a factor without weight is no
        member. None gives every factor the same margin on average over the burn-in (1 / scale).
    config : EarlyWarningConfig

    Returns
    -------
    Panel

    Raises
    ------
    InputError
        When no factor is left, or the common history is not longer than the burn-in.
    """
    wanted = np.ones(len(market.factors), dtype=np.bool_) if weight is None else weight > 0.0
    days = _known_days(market, config)
    reasons = _reasons(market, days, wanted, config)
    chosen = [int(k) for k in np.flatnonzero(wanted) if int(k) not in reasons]
    if not chosen:
        raise InputError(_nothing_left(market.factors, reasons))
    known = ~np.isnan(market.returns[days][:, chosen])
    first = int(np.argmax(known.all(axis=1)))
    rows = days[first:]
    if len(rows) <= config.burn_in_days:
        raise InputError(
            f"the common history of {len(chosen)} factors has {len(rows)} days; early warning "
            f"needs more than burn_in_days = {config.burn_in_days}: give a longer history"
        )
    returns = market.returns[rows][:, chosen]
    floor = market.factors.daily_vol_floor[chosen]
    burn = returns[: config.burn_in_days]
    scale = np.maximum(np.sqrt(np.mean(burn**2, axis=0)), floor)
    given = 1.0 / scale if weight is None else weight[chosen]
    volatility, source = _volatility(market, rows, returns / scale, config)
    return Panel(
        dates=market.dates[rows],
        factor_id=market.factors.factor_id[chosen],
        returns=returns,
        weight=np.asarray(given, dtype=np.float64),
        scale=scale,
        floor=floor,
        volatility=volatility,
        volatility_source=source,
        covered_share=_covered(market, weight, wanted, chosen),
        excluded=tuple(_failure(market.factors, k, reasons[k]) for k in sorted(reasons)),
    )


def _known_days(market: MarketState, config: EarlyWarningConfig) -> Int64Array:
    """Rows of the market from `first_day` to `as_of`."""
    known = np.ones(len(market.dates), dtype=np.bool_)
    if config.as_of is not None:
        day = np.datetime64(config.as_of, "D")
        if day > market.dates[-1]:
            raise InputError(
                f"as_of {config.as_of} is after the last day of the market, {market.dates[-1]}; "
                "use that day or an earlier one"
            )
        known &= market.dates <= day
    if config.first_day is not None:
        known &= market.dates >= np.datetime64(config.first_day, "D")
    if not known.any():
        raise InputError(
            f"no day of the market lies between first_day {config.first_day} and as_of "
            f"{config.as_of}; it has {market.dates[0]} to {market.dates[-1]}"
        )
    return np.flatnonzero(known)


def _reasons(
    market: MarketState, days: Int64Array, wanted: BoolArray, config: EarlyWarningConfig
) -> dict[int, str]:
    """Why a wanted factor is no member, by column."""
    rulebook, factors = excluded_factors(), market.factors
    found: dict[int, str] = {}
    for k in np.flatnonzero(wanted):
        name, history = str(factors.factor_id[k]), market.returns[days, k]
        begun = np.flatnonzero(~np.isnan(history))
        if name in config.leave_out:
            reason = "left out by the config"
        elif factors.synthetic[k] and not config.use_synthetic:
            reason = "its history is simulated; give an observed one"
        elif factors.asset_class[k] == "volatility":
            reason = "a volatility factor is a signal, not a member of the margin index"
        elif name in rulebook and name not in config.keep_factors:
            reason = f"{rulebook[name]}; keep_factors takes it in all the same"
        elif not len(begun) or begun[0] > config.burn_in_days // 2:
            reason = _late(market, days, begun)
        elif _sleepy(history[begun[0] : config.burn_in_days], factors, int(k)):
            reason = "pegged or sleepy: in the burn-in it mostly did not move, or below its floor"
        else:
            continue
        found[int(k)] = reason
    return found


def _late(market: MarketState, days: Int64Array, begun: Int64Array) -> str:
    start = market.dates[days[0]]
    if not len(begun):
        return f"it has no history after {start}; give one"
    first = market.dates[days[begun[0]]]
    return f"its history begins on {first}, too late for one from {start}; set a later first_day"


def _sleepy(returns: Float64Array, factors: FactorTable, k: int) -> bool:
    """Whether a factor does not move on most days, or is below its floor in most quarters.

    The floor of an absolute factor is in units of its level today, which tell nothing of a past
    with other levels: there only days without a move count.
    """
    if np.mean(returns == 0.0) > SLEEPY_SHARE:
        return True
    whole = len(returns) // SLEEPY_DAYS * SLEEPY_DAYS
    if factors.return_type[k] != "log" or not whole:
        return False
    quarters = returns[:whole].reshape(-1, SLEEPY_DAYS)
    quiet = np.sqrt(np.mean(quarters**2, axis=1)) < factors.daily_vol_floor[k]
    return bool(np.mean(quiet) > SLEEPY_SHARE)


def _volatility(
    market: MarketState, rows: Int64Array, scaled: Float64Array, config: EarlyWarningConfig
) -> tuple[Float64Array, str]:
    """The volatility index if its observed log history is as long; else realised volatility.

    Realised volatility is that of the first observed equity factor of the market, or, without
    one, of all members together.
    """
    factors, burn = market.factors, rows[: config.burn_in_days // 2]
    usable = ~np.isnan(market.returns[burn[-1]]) & (~factors.synthetic | config.use_synthetic)
    index = (factors.factor_id == INDEX) & (factors.return_type == "log") & usable
    if index.any():
        # The level up to a factor: ranks and log changes do not depend on it.
        moves = np.nan_to_num(market.returns[rows, int(np.argmax(index))])
        return np.exp(np.cumsum(moves)), f"{INDEX}, level"
    equity = np.flatnonzero((factors.asset_class == "equity") & usable)
    if len(equity):
        name = str(factors.factor_id[equity[0]])
        squares = market.returns[rows, equity[0]] ** 2
    else:
        name, squares = "all members", np.mean(scaled**2, axis=1)
    words = f"{name}, realised over {config.realised_days} days"
    return np.sqrt(_trailing_mean(squares, config.realised_days)), words


def _trailing_mean(values: Float64Array, days: int) -> Float64Array:
    """Mean of the last `days` values, NaN before; each window is summed on its own."""
    out = np.full(len(values), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(values, days)
    out[days - 1 :] = windows.mean(axis=1)
    return out


def _covered(
    market: MarketState, weight: Float64Array | None, wanted: BoolArray, chosen: list[int]
) -> float:
    if weight is None:
        return len(chosen) / int(np.sum(wanted))
    margin = weight * daily_volatility(market)
    return float(np.sum(margin[chosen]) / np.sum(margin))


def _failure(factors: FactorTable, k: int, reason: str) -> Failure:
    return Failure(FailureReason.NOT_APPLICABLE, str(factors.factor_id[k]), WHERE, reason)


def _nothing_left(factors: FactorTable, reasons: dict[int, str]) -> str:
    told = "; ".join(f"{factors.factor_id[k]}: {text}" for k, text in list(reasons.items())[:3])
    return f"no factor is left for early warning ({told or 'the book holds none'})"


@lru_cache(maxsize=1)
def excluded_factors() -> dict[str, str]:
    """Return the reason of each factor the rulebook keeps out of margin indices, with its mark."""
    _, rows = read_table(EXCLUSIONS_FILE)
    return {row["factor_id"]: f"{row['reason']} ({mark_of(row, place)})" for place, row in rows}
