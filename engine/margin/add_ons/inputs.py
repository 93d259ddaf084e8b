"""What the liquidity add-ons are computed from: exposures, volatilities, volumes and terms."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.failures import Failure, FailureReason
from engine.domain.market import MarketState
from engine.margin.add_ons.config import AddOnConfig
from engine.margin.exposure import Exposures
from engine.margin.historical import ewma_volatility
from engine.pricing.greeks import factor_greeks
from engine.rulebooks.add_on_terms import AddOnTerms, load_add_on_terms

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig

# Days of equally weighted volatility where an agreement has no filter (lambda 1 or none).
UNFILTERED_DAYS = 250
# EU RTS 153/2013 Art. 24: at least 99 % where no confidence is given.
LEAST_CONFIDENCE = 0.99
# A close-out model unwinds each position at the speed of its market, and the model of a CDS account
# has a bid-offer part: charged here as well they would count twice.
MODELS_WITH_LIQUIDITY = ("close_out",)
MODELS_WITH_BID_ASK = ("cds",)


@dataclass(frozen=True)
class LiquidityInputs:
    """Exposures of accounts to factors and what the add-ons compare them with.

    Attributes
    ----------
    exposure_usd : float64 array of shape (n_agreements, n_factors)
        |net delta| in USD per 1.0 log return (or per unit of an absolute factor); zero where no
        add-on applies.
    pair_exposure_usd : float64 array of shape (n_pairs, n_factors)
        |delta| of each manager under each agreement, not netted between managers.
    volatility : float64 array of shape (n_agreements, n_factors)
        Daily volatility today by the agreement's own filter, in the same move.
    adv : float64 array of shape (n_factors,)
        Average daily volume, delta units; 1 where it is not known and exposures are zero.
    half_spread : float64 array of shape (n_factors,)
        Half the bid-ask spread today, in the same move; zero where no terms are known.
    quantile, mpor_days : float64 arrays of shape (n_agreements,)
        Normal quantile of the confidence (99 % where none is given), margin period of risk.
    concentration, bid_ask : tuples of AddOnTerms or None, one for each agreement
        None where the add-on does not apply.
    failures : tuple of Failure
    """

    exposure_usd: Float64Array
    pair_exposure_usd: Float64Array
    volatility: Float64Array
    adv: Float64Array
    half_spread: Float64Array
    quantile: Float64Array
    mpor_days: Float64Array
    concentration: tuple[AddOnTerms | None, ...]
    bid_ask: tuple[AddOnTerms | None, ...]
    failures: tuple[Failure, ...]


def liquidity_inputs(exposures: Exposures, config: MarginConfig) -> LiquidityInputs:
    """Collect what the liquidity add-ons of cleared and prime accounts need.

    A factor without a positive average daily volume is left out and named in the failures.
    """
    book, market = exposures.book, exposures.market
    agreements, adv = book.agreements, market.factors.adv
    net, pair = _deltas(exposures)
    bilateral = agreements.kind == "bilateral"
    net[bilateral] = 0.0
    thin = (net > 0.0).any(axis=0) & ~(adv > 0.0)
    net[:, thin] = 0.0
    chosen = _override(config.add_ons)
    concentration = without_models(
        account_terms(exposures, "concentration"), exposures, MODELS_WITH_LIQUIDITY
    )
    if chosen is not None:
        concentration = tuple(None if terms is None else chosen for terms in concentration)
    confidence = np.where(np.isnan(agreements.confidence), LEAST_CONFIDENCE, agreements.confidence)
    return LiquidityInputs(
        exposure_usd=net,
        pair_exposure_usd=pair,
        volatility=_volatilities(exposures, net, config.seed_days),
        adv=np.where(adv > 0.0, adv, 1.0),
        half_spread=_half_spreads(market, net),
        quantile=np.asarray(ndtri(confidence)),
        mpor_days=agreements.mpor_days.astype(np.float64),
        concentration=concentration,
        bid_ask=without_models(account_terms(exposures, "bid_ask"), exposures, MODELS_WITH_BID_ASK),
        failures=_thin_failures(market, thin),
    )


def account_terms(exposures: Exposures, add_on: str) -> tuple[AddOnTerms | None, ...]:
    """Return each agreement's terms of one add-on; None where it has none or method `none`."""
    agreements, book = exposures.book.agreements, load_add_on_terms()
    found = [
        book.account(add_on, str(kind), str(venue))
        for kind, venue in zip(agreements.kind, agreements.venue, strict=True)
    ]
    return tuple(None if one is None or one.method == "none" else one for one in found)


def without_models(
    terms: tuple[AddOnTerms | None, ...], exposures: Exposures, models: tuple[str, ...]
) -> tuple[AddOnTerms | None, ...]:
    """Take the terms from accounts whose own model has such a part: it must not count twice."""
    held = zip(terms, exposures.book.agreements.model, strict=True)
    return tuple(None if model in models else one for one, model in held)


def _override(own: AddOnConfig) -> AddOnTerms | None:
    """Return the one method a user has chosen for all accounts, or None."""
    if own.liquidity_method == "by_service":
        return None
    numbers = {"participation": own.participation, "coefficient": own.impact_coefficient}
    empty: MappingProxyType[str, tuple[float, ...]] = MappingProxyType({})
    return AddOnTerms(
        scope="user",
        add_on="concentration",
        method=own.liquidity_method,
        numbers=MappingProxyType(numbers),
        lists=empty,
        texts=MappingProxyType({}),
        marks=MappingProxyType(dict.fromkeys(numbers, "user")),
        sources=MappingProxyType(dict.fromkeys(numbers, "margin config")),
    )


def _deltas(exposures: Exposures) -> tuple[Float64Array, Float64Array]:
    """Return |net delta| by agreement and |delta| by pair, in USD."""
    n_factors = len(exposures.market.factors)
    delta = factor_greeks(exposures.instruments, exposures.market).delta
    pairs, owner = len(exposures.pair_agreement), exposures.pair_agreement
    quantity = exposures.book.positions.quantity[exposures.position]
    at = exposures.position_instrument
    amount = quantity * (exposures.usd * delta)[at]
    cell = exposures.position_pair * n_factors + exposures.instruments.factor[at]
    signed = np.bincount(cell, weights=amount, minlength=pairs * n_factors)
    by_pair = signed.reshape(pairs, n_factors)
    net = np.zeros((len(exposures.book.agreements), n_factors))
    np.add.at(net, owner, by_pair)
    return np.abs(net), np.abs(by_pair)


def _volatilities(exposures: Exposures, net: Float64Array, seed_days: int) -> Float64Array:
    """Daily volatility of each factor by each agreement's filter; zero for unused factors."""
    market, agreements = exposures.market, exposures.book.agreements
    out = np.zeros_like(net)
    used = np.flatnonzero(net.any(axis=0))
    floor = market.factors.daily_vol_floor[used]
    decays = np.where(agreements.ewma_lambda < 1.0, agreements.ewma_lambda, np.nan)
    for decay in np.unique(decays):
        rows = np.isnan(decays) if np.isnan(decay) else decays == decay
        returns = market.returns[:, used]
        if np.isnan(decay):
            out[np.ix_(rows, used)] = recent_volatility(returns, floor)
        else:
            sigma = ewma_volatility(returns, float(decay), seed_days, floor)[-1]
            out[np.ix_(rows, used)] = np.where(np.isnan(sigma), floor, sigma)
    return out


def recent_volatility(returns: Float64Array, floor: Float64Array) -> Float64Array:
    """Equally weighted volatility of the last 250 days, (n_days, n) gives (n,); NaN days skipped.

    Not below `floor` (n,), which is also the answer where no day is known.
    """
    recent = returns[-UNFILTERED_DAYS:]
    known: BoolArray = np.isfinite(recent)
    count = np.maximum(1, known.sum(axis=0))
    mean = np.where(known, recent, 0.0).sum(axis=0) / count
    squares = np.where(known, recent - mean, 0.0) ** 2
    return np.asarray(np.maximum(np.sqrt(squares.sum(axis=0) / count), floor))


def _half_spreads(market: MarketState, net: Float64Array) -> Float64Array:
    """Half-spread of each factor: its share of the factor's volatility of the past year."""
    out = np.zeros(len(market.factors))
    used = np.flatnonzero(net.any(axis=0))
    floor = market.factors.daily_vol_floor[used]
    volatility = recent_volatility(market.returns[:, used], floor)
    for k, sigma in zip(used.tolist(), volatility.tolist(), strict=True):
        terms = factor_terms(market, k, "bid_ask")
        if terms is not None:
            out[k] = terms.numbers["volatility_share"] * sigma
    return out


def factor_terms(market: MarketState, factor: int, add_on: str) -> AddOnTerms | None:
    """Return the terms of one factor, or None."""
    f = market.factors
    names: tuple[StrArray, ...] = (f.factor_id, f.bucket, f.asset_class)
    return load_add_on_terms().factor(add_on, *(str(column[factor]) for column in names))


def grouped(terms: tuple[AddOnTerms | None, ...]) -> dict[AddOnTerms, Int64Array]:
    """Return the rows of each different terms; rows without terms are left out."""
    rows: dict[AddOnTerms, list[int]] = {}
    for row, one in enumerate(terms):
        if one is not None:
            rows.setdefault(one, []).append(row)
    return {one: np.array(members, dtype=np.int64) for one, members in rows.items()}


def _thin_failures(market: MarketState, thin: BoolArray) -> tuple[Failure, ...]:
    return tuple(
        Failure(
            FailureReason.MISSING_DATA,
            str(market.factors.factor_id[k]),
            "adv of the factor table",
            f"average daily volume is {market.factors.adv[k]:g}; positions in this factor carry no "
            "concentration or bid-ask add-on: give a volume above 0",
        )
        for k in np.flatnonzero(thin)
    )
