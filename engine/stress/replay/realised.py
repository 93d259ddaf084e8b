"""What then happened: the kernel along the real prices of an episode, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avalanche.columns import metric
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.exposures import Exposures, aggregate
from engine.avalanche.hours import zone_of, zone_weights
from engine.avalanche.market_inputs import MarketInputs, estimate_inputs, simulated_factors
from engine.avalanche.simulate import fund_model
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.book import Book
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.results import MarginResult
from engine.kernels.avalanche.layout import HOURS_PER_DAY, WINDOW_HOURS, Output
from engine.stress.replay.bridge import bridge_shocks, path_weights
from engine.stress.replay.config import EpisodeReplayConfig
from engine.stress.replay.days import Days
from engine.stress.replay.state import FundState

WINDOWS_PER_DAY = HOURS_PER_DAY // WINDOW_HOURS


@dataclass(frozen=True)
class Realised:
    """The episode along real prices; D days, R agreements, P bridges, B buckets. USD.

    Attributes
    ----------
    calls_usd : float64 array of shape (D, R, P)
    im_usd : float64 array of shape (D, R, P)
        Margin at the end of the day, as the kernel carries it.
    liquidity_usd : float64 array of shape (D, P)
        Cash, securities and lines at the end of the day.
    lowest_liquidity_usd : float64 array of shape (D, P)
        Least of the day's hours.
    left : float64 array of shape (D, B, P)
    exhausted_hour, default_hour : float64 arrays of shape (P,)
        -1 where never.
    sold_usd : float64 array of shape (P,)
        Margin released by forced sales.
    on_the_way : float64 array of shape (D, R)
        Calls issued and not due at the end of the day, mean over bridges.
    """

    calls_usd: Float64Array
    im_usd: Float64Array
    liquidity_usd: Float64Array
    lowest_liquidity_usd: Float64Array
    left: Float64Array
    exhausted_hour: Float64Array
    default_hour: Float64Array
    sold_usd: Float64Array
    buckets: StrArray
    agreement_id: StrArray
    on_the_way: Float64Array

    def state(self, day: int) -> FundState:
        """Return the fund at the close of day `day` (0 is the first after the start)."""
        left = self.left[day].mean(axis=1)
        return FundState(
            liquidity_usd=float(self.liquidity_usd[day].mean()),
            left={str(name): float(share) for name, share in zip(self.buckets, left, strict=True)},
            on_the_way_usd=dict(
                zip(map(str, self.agreement_id), self.on_the_way[day].tolist(), strict=True)
            ),
        )

    def exhausted_by(self, day: int) -> float:
        """Share of bridges on which a call was left unpaid up to the end of day `day`."""
        return _share_by(self.exhausted_hour, day)

    def defaulted_by(self, day: int) -> float:
        """Share of bridges on which an agreement was closed out up to the end of day `day`."""
        return _share_by(self.default_hour, day)


def _share_by(hour: Float64Array, day: int) -> float:
    return float(np.mean((hour >= 0.0) & (hour < (day + 1) * HOURS_PER_DAY)))


def run_realised(
    book: Book, days: Days, margin: MarginResult, config: EpisodeReplayConfig
) -> Realised:
    """Run the fund of the first close along the real moves of all days that follow.

    Parameters
    ----------
    book : Book
        On the first market.
    days : Days
    margin : MarginResult
        Of the first close; all of it counts as posted.

    Returns
    -------
    Realised

    Notes
    -----
    Market depth of a day falls with the fund's own volatility: the standard deviation of its P&L
    at the close before, over that of the first close.
    """
    first, length = days.markets[0], len(days.moves)
    settings = config.realised(length)
    exposures = aggregate(book, first)
    names = simulated_factors(first, exposures)
    inputs = [estimate_inputs(market, names, settings) for market in days.markets[:-1]]
    columns = inputs[0].columns
    model = fund_model(book, first, margin, settings)
    shocks = bridge_shocks(
        days.moves[:, columns],
        np.stack([each.daily_volatility for each in inputs]),
        inputs[0].correlation,
        _weights(first.factors.currency[columns], settings),
        config.bridges,
        config.seed,
    )
    model = model._replace(
        shock=shocks,
        stress=np.repeat(volatility_ratio(exposures, inputs), HOURS_PER_DAY),
        open_call=np.zeros_like(model.open_call),
    )
    from engine.kernels.avalanche.compiled import run_paths

    output = run_paths(
        model,
        config.bridges,
        config.seed,
        fan=True,
        record=True,
        drive=path_weights(config.bridges),
    )
    buckets = np.unique(first.factors.bucket[columns].astype(str)).astype(object)
    late = _unpaid_at_midnight(book, margin)
    return _collect(output, length, buckets, margin.agreement_id, late)


def volatility_ratio(exposures: Exposures, inputs: list[MarketInputs]) -> Float64Array:
    """Return the fund's volatility at each close over that of the first, shape (D,)."""
    delta = exposures.delta[:, inputs[0].columns].sum(axis=0)

    def size(each: MarketInputs) -> float:
        scaled = delta * each.daily_volatility
        return float(np.sqrt(max(scaled @ each.correlation @ scaled, 0.0)))

    sizes = np.array([size(each) for each in inputs])
    return np.ones(len(sizes)) if sizes[0] == 0.0 else sizes / sizes[0]


def _weights(currencies: StrArray, config: AvalancheConfig) -> Float64Array:
    return np.stack([zone_weights(zone_of(str(code)), config) for code in currencies])


def _unpaid_at_midnight(book: Book, margin: MarginResult) -> Int64Array:
    """1 for agreements whose daily call is due after midnight, rows as in `margin`."""
    a = book.agreements
    row = {str(name): i for i, name in enumerate(a.agreement_id)}
    rows = [row[str(name)] for name in margin.agreement_id]
    late = a.eod_hour_utc[rows] + a.pay_lag_hours[rows] >= HOURS_PER_DAY
    return np.asarray(late, dtype=np.int64)


def _collect(
    output: Output, days: int, buckets: StrArray, agreement_id: StrArray, late: Int64Array
) -> Realised:
    last = np.arange(1, days + 1) * WINDOWS_PER_DAY - 1
    calls = output.window_calls / CENTS_PER_UNIT
    by_day = calls.reshape(days, WINDOWS_PER_DAY, *calls.shape[1:]).sum(axis=1)
    fan = output.fan.astype(np.float64).reshape(days, HOURS_PER_DAY, -1) / CENTS_PER_UNIT
    return Realised(
        calls_usd=by_day,
        im_usd=output.window_im[last] / CENTS_PER_UNIT,
        liquidity_usd=fan[:, -1],
        lowest_liquidity_usd=fan.min(axis=1),
        left=output.window_left[last],
        exhausted_hour=metric(output, "exhausted_hour"),
        default_hour=metric(output, "default_hour"),
        sold_usd=metric(output, "raised") / CENTS_PER_UNIT,
        buckets=buckets,
        agreement_id=agreement_id,
        on_the_way=calls[last].mean(axis=2) * late,
    )
