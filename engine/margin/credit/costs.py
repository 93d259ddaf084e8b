"""Smaller charges of the model `cds`: moves of the discount rate, and bid-offer spreads."""

from __future__ import annotations

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Instruments
from engine.domain.market import MarketState
from engine.pricing.annuities import CDS_RECOVERY, PER_CENT, risky_annuity
from engine.pricing.greeks import level_greeks

BP = 1e-4
STANDARD_TENOR_YEARS = 5.0


def discounted_value(
    instruments: Instruments, market: MarketState, rate_per_cent: Float64Array
) -> Float64Array:
    """Value of one unit of credit default swaps at flat, continuous discount rates.

    (F - fixed)/100 * integral of exp(-(h + r) t) from 0 to T, h = F / (1 - recovery): the engine's
    value (`engine.pricing.annuities.cds_value`) has r = 0.

    Parameters
    ----------
    instruments : Instruments
        Of kind `cds`, n rows.
    rate_per_cent : float64 array of shape (n,)

    Returns
    -------
    float64 array of shape (n,)
        Instrument currency. Spread 1.5 %, coupon 1 %, five years, notional 1, rate 3 %:
        0.021857079706821.
    """
    level = market.level[instruments.factor]
    # exp(-(h + r) t) is the discount of a spread that is higher by (1 - recovery) r.
    shifted = (level + (1.0 - CDS_RECOVERY) * rate_per_cent) / PER_CENT
    gap = (level - instruments.fixed_rate) / PER_CENT
    annuity = risky_annuity(shifted, instruments.tenor_years)
    return np.asarray(instruments.multiplier * gap * annuity)


def rate_losses(
    instruments: Instruments, market: MarketState, rate: Float64Array, shock: Float64Array
) -> Float64Array:
    """Loss of one unit when the rate moves up and when it moves down, shape (n, 2).

    `rate` and `shock` in per cent, shape (n,). NaN where a discount factor leaves every scale.
    """
    now = discounted_value(instruments, market, rate)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = [discounted_value(instruments, market, r) for r in (rate + shock, rate - shock)]
    loss = np.stack([now - then for then in moved], axis=1)
    return np.where(np.isfinite(loss), loss, np.nan)


def worst_direction(loss: Float64Array) -> tuple[float, Float64Array]:
    """Return the larger loss of two directions, at least 0, and the rows' shares of it.

    `loss` has shape (n_rows, 2); NaN gives NaN. Rows (3, -3) and (-1, 1): up loses 2, and the
    shares are 3 and -1.
    """
    total = loss.sum(axis=0)
    side = int(np.argmax(total))
    if total[side] <= 0.0:
        return 0.0, np.zeros(len(loss))
    return float(total[side]), loss[:, side]


def spread_value_of_bp(instruments: Instruments, market: MarketState) -> Float64Array:
    """Return the gain of one unit per basis point of spread, instrument currency, (n,).

    Spreads are in per cent. Five-year par protection at 1 % on 1 million: 479.7335122241.
    """
    return np.asarray(level_greeks(instruments, market).delta / PER_CENT)


def bid_offer_charge(
    value_of_bp: Float64Array, spread_per_cent: float, bands: tuple[tuple[float, float], ...]
) -> tuple[float, Float64Array]:
    """Return the cost of crossing half the bid-offer spread in one name, and the rows' shares.

    The net value of a basis point is turned into the notional of a five-year contract with the
    same; each part of that notional pays the half-spread of its band.

    Parameters
    ----------
    value_of_bp : float64 array of shape (n_rows,)
        USD per bp by manager, signed.
    spread_per_cent : float
    bands : tuple of (upper bound of notional in USD, half-spread in bp)

    Returns
    -------
    (charge in USD, shares of shape (n_rows,))
        Shares are the average cost times each row's own value of a basis point.

    Examples
    --------
    Value of a bp 47,973.35 at spread 1 % is 100 million of notional. Bands to 25 million at 2 bp,
    then 4 bp: 11,993.34 USD * 2 + 35,980.01 * 4 = 167,906.73 USD.
    """
    net = float(value_of_bp.sum())
    per_notional = float(risky_annuity(spread_per_cent / PER_CENT, STANDARD_TENOR_YEARS)) * BP
    cost = per_notional * banded(abs(net) / per_notional, bands)
    if cost == 0.0:
        return 0.0, np.zeros(len(value_of_bp))
    return cost, value_of_bp * (cost / net)


def banded(notional: float, bands: tuple[tuple[float, float], ...]) -> float:
    """Return the sum over bands of the notional in the band times the band's number.

    `banded(100, ((25, 2), (inf, 4)))` is 350.
    """
    total, below = 0.0, 0.0
    for bound, number in bands:
        total += number * max(0.0, min(notional, bound) - below)
        below = bound
    return total
