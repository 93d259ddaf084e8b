"""Sensitivities of the positions under agreements margined by sensitivities, as CRIF rows.

Amounts follow the common risk interchange convention: rates and credit per basis point, equity,
commodity and currency per 1 % relative move, volatility as vega * vol (rates, credit) or vega per
volatility point (equity, commodity, currency). Curvature rows are not written: the margin model
derives curvature from the volatility rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.book import Book, Instruments
from engine.domain.crif import CrifTable
from engine.domain.market import MarketState
from engine.pricing.greeks import level_greeks
from engine.pricing.terms import MOST_IDS_SHOWN, years_to_expiry
from engine.pricing.value import value_per_unit

# Tenor labels of the risk interchange format, shared by all versions of the model.
TENOR_LABELS = ("2w", "1m", "3m", "6m", "1y", "2y", "3y", "5y", "10y", "15y", "20y", "30y")
TENOR_YEARS = (14 / 365, 1 / 12, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0)
CREDIT_TENOR_LABELS = ("1y", "2y", "3y", "5y", "10y")
CREDIT_TENOR_YEARS = (1.0, 2.0, 3.0, 5.0, 10.0)

BASIS_POINT_IN_PER_CENT = 0.01
ONE_PER_CENT = 0.01
VOL_POINT = 0.01
CURRENCY_CODE_LENGTH = 3
DEFAULT_SUB_CURVE = "OIS"

PRODUCT_CLASS = {
    "rates": "RatesFX",
    "fx": "RatesFX",
    "credit": "Credit",
    "equity": "Equity",
    "volatility": "Equity",
    "commodity": "Commodity",
}
VOL_RISK_TYPE = {
    "Risk_IRCurve": "Risk_IRVol",
    "Risk_CreditQ": "Risk_CreditVol",
    "Risk_CreditNonQ": "Risk_CreditVolNonQ",
    "Risk_Equity": "Risk_EquityVol",
    "Risk_Commodity": "Risk_CommodityVol",
    "Risk_FX": "Risk_FXVol",
}
_CREDIT = ("Risk_CreditQ", "Risk_CreditNonQ")
_PER_BASIS_POINT = ("Risk_IRCurve", *_CREDIT)
# Their gains and losses are paid every day, so they hold no present value in their currency.
_DAILY_MARGINED = ("future", "rate_future")

_TEXT = ("risk_type", "qualifier", "bucket", "label1", "label2")


@dataclass(frozen=True)
class _Rows:
    """One CRIF row per position named in `position`; text arrays and USD amounts."""

    position: Int64Array
    risk_type: StrArray
    qualifier: StrArray
    bucket: StrArray
    label1: StrArray
    label2: StrArray
    amount_usd: Float64Array


@dataclass(frozen=True)
class _Exposures:
    """Positions with the static facts and USD greeks of their instruments, shape (n,).

    `delta` is per one unit of the factor's level, `vega` per 1.0 of quoted volatility.
    """

    instruments: Instruments
    risk_type: StrArray
    pair: StrArray
    qualifier: StrArray
    bucket: StrArray
    label1: StrArray
    label2: StrArray
    level: Float64Array
    years: Float64Array
    value_usd: Float64Array
    delta_usd: Float64Array
    vega_usd: Float64Array


def crif_from_positions(book: Book, market: MarketState) -> CrifTable:
    """Return the CRIF rows of every position whose agreement has the model `simm`.

    Parameters
    ----------
    book : Book
        Positions under other models are ignored.
    market : MarketState
        Levels, the CRIF mapping of each factor (`FactorTable.simm_*`) and exchange rates.

    Returns
    -------
    CrifTable
        `portfolio_id` is the agreement id, `trade_id` the position id. Rows of zero are left out.
        Two rows of one position may name the same currency; the margin model nets them. Ten
        million of a swap at par, 4 %, 10 years: Risk_IRCurve 10y 8,110.90 USD.

    Raises
    ------
    ValueError
        Naming the instruments that cannot be priced, have no currency rate, or whose factor has
        no usable CRIF mapping.

    Notes
    -----
    A currency's row holds 1 % of the derivative of the USD value with respect to the log of its
    rate against the dollar: the present value itself for the currency of an instrument, and
    plus and minus the pair's delta for the two currencies of an exchange rate. All currencies
    are written, USD too: the margin model drops the one it calculates in.
    Tenors are the nearest label in years, the shorter one where two are equally near.
    """
    positions = book.positions
    held = np.flatnonzero(book.agreements.model[positions.agreement] == "simm")
    exposures = _exposures(book, market, held)
    parts = [
        part
        for part in (
            _delta_rows(exposures),
            *_pair_rows(exposures),
            _translation_rows(exposures),
            _vega_rows(exposures),
        )
        if len(part.position)
    ]
    order, columns, amount = _joined(parts)
    at = held[order]
    asset_class = market.factors.asset_class[exposures.instruments.factor[order]]
    return CrifTable(
        portfolio_id=book.agreements.agreement_id[positions.agreement[at]],
        trade_id=positions.position_id[at],
        product_class=_objects([PRODUCT_CLASS[name] for name in asset_class]),
        risk_type=columns["risk_type"],
        qualifier=columns["qualifier"],
        bucket=columns["bucket"],
        label1=columns["label1"],
        label2=columns["label2"],
        amount_usd=amount,
    )


def _joined(parts: list[_Rows]) -> tuple[Int64Array, dict[str, StrArray], Float64Array]:
    """Return rows of all parts without zeros, sorted by position, in the order of the parts."""
    if not parts:
        return (
            np.zeros(0, dtype=np.int64),
            {name: _objects([]) for name in _TEXT},
            np.zeros(0),
        )
    position = np.concatenate([part.position for part in parts])
    amount = np.concatenate([part.amount_usd for part in parts])
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _TEXT}
    keep = np.flatnonzero(amount != 0.0)
    keep = keep[np.argsort(position[keep], kind="stable")]
    return position[keep], {name: text[keep] for name, text in columns.items()}, amount[keep]


def _objects(texts: list[str]) -> StrArray:
    return np.array(texts, dtype=np.object_)


def _fill(count: int, text: str) -> StrArray:
    return np.full(count, text, dtype=np.object_)


def _take(instruments: Instruments, at: Int64Array) -> Instruments:
    return Instruments(**{name: column[at] for name, column in vars(instruments).items()})


def _refuse(ids: StrArray, why: str) -> None:
    if len(ids):
        names = list(dict.fromkeys(str(name) for name in ids))
        more = f" and {len(names) - MOST_IDS_SHOWN} more" if len(names) > MOST_IDS_SHOWN else ""
        raise ValueError(f"{why}: {', '.join(names[:MOST_IDS_SHOWN])}{more}")


def _exposures(book: Book, market: MarketState, held: Int64Array) -> _Exposures:
    """Return the positions at `held` with their greeks times quantity, in USD."""
    used, at = np.unique(book.positions.instrument[held], return_inverse=True)
    unique = _take(book.instruments, used)
    greeks = level_greeks(unique, market)
    value = value_per_unit(unique, market)
    no_rate = np.array([c not in market.fx_usd for c in unique.currency], dtype=np.bool_)
    _refuse(unique.instrument_id[no_rate], "the market has no USD rate for the currency of")
    scale = book.positions.quantity[held] * market.usd_per(unique.currency)[at]
    factors = market.factors
    factor = unique.factor
    _check_mapping(unique, factors.simm_risk_type[factor], factors.asset_class[factor])
    pairs = _objects([_pair(market, int(column)) for column in factor])
    is_fx = factors.simm_risk_type[factor] == "Risk_FX"
    _refuse(
        unique.instrument_id[is_fx & (pairs == "")],
        "the exchange rate's simm_qualifier or factor_id must be a pair such as EURUSD for",
    )
    return _Exposures(
        instruments=_take(unique, at),
        risk_type=factors.simm_risk_type[factor][at],
        pair=pairs[at],
        qualifier=factors.simm_qualifier[factor][at],
        bucket=factors.simm_bucket[factor][at],
        label1=factors.simm_label1[factor][at],
        label2=factors.simm_label2[factor][at],
        level=market.level[factor][at],
        years=years_to_expiry(unique.expiry, market.as_of)[at],
        value_usd=value[at] * scale,
        delta_usd=greeks.delta[at] * scale,
        vega_usd=greeks.vega[at] * scale,
    )


def _check_mapping(instruments: Instruments, risk_type: StrArray, asset_class: StrArray) -> None:
    known = np.isin(risk_type, list(VOL_RISK_TYPE))
    _refuse(
        instruments.instrument_id[~known],
        f"the factor's simm_risk_type is not one of {', '.join(VOL_RISK_TYPE)} for",
    )
    known = np.isin(asset_class, list(PRODUCT_CLASS))
    _refuse(instruments.instrument_id[~known], "the factor's asset_class has no product class for")


def _pair(market: MarketState, column: int) -> str:
    """Return the six letters of an exchange rate factor, base first; "" for other names."""
    for text in (market.factors.simm_qualifier[column], market.factors.factor_id[column]):
        if len(text) == 2 * CURRENCY_CODE_LENGTH and text.isalpha():
            return str(text).upper()
    return ""


def _nearest(years: Float64Array, labels: tuple[str, ...], grid: tuple[float, ...]) -> StrArray:
    """Return the label nearest in years; argmin takes the shorter of two equally near."""
    distance = np.abs(years[:, np.newaxis] - np.array(grid)[np.newaxis, :])
    return _objects([labels[i] for i in np.argmin(distance, axis=1)])


def _delta_labels(e: _Exposures, at: Int64Array) -> tuple[StrArray, StrArray]:
    """Return label1 and label2 of delta rows: a tenor and a curve, currency or group, or ""."""
    tenor, own = e.instruments.tenor_years[at], e.label1[at]
    rates = e.risk_type[at] == "Risk_IRCurve"
    credit = np.isin(e.risk_type[at], _CREDIT)
    # Futures, forwards and options on a rate have no tenor: the factor's own label stands.
    has_tenor = np.isfinite(tenor)
    _refuse(
        e.instruments.instrument_id[at][(rates | credit) & ~has_tenor & (own == "")],
        "neither tenor_years nor the factor's simm_label1 gives a tenor for",
    )
    safe = np.where(has_tenor, tenor, 1.0)
    label1 = np.where(rates & has_tenor, _nearest(safe, TENOR_LABELS, TENOR_YEARS), own)
    near_credit = _nearest(safe, CREDIT_TENOR_LABELS, CREDIT_TENOR_YEARS)
    label1 = np.where(credit & has_tenor, near_credit, label1)
    label1 = np.where(rates | credit, label1, "")
    return label1.astype(np.object_), _label2(e, at)


def _label2(e: _Exposures, at: Int64Array) -> StrArray:
    """Return the factor's label2, or the sub-curve of rates and the currency of credit."""
    own = e.label2[at]
    by_type = np.where(e.risk_type[at] == "Risk_IRCurve", DEFAULT_SUB_CURVE, "")
    by_type = np.where(
        np.isin(e.risk_type[at], _CREDIT), e.instruments.currency[at], by_type
    ).astype(np.object_)
    return np.where(own == "", by_type, own).astype(np.object_)


def _delta_rows(e: _Exposures) -> _Rows:
    at = np.flatnonzero(e.risk_type != "Risk_FX")
    per_bp = np.isin(e.risk_type[at], _PER_BASIS_POINT)
    move = np.where(per_bp, BASIS_POINT_IN_PER_CENT, ONE_PER_CENT * e.level[at])
    label1, label2 = _delta_labels(e, at)
    return _Rows(
        at, e.risk_type[at], e.qualifier[at], e.bucket[at], label1, label2, e.delta_usd[at] * move
    )


def _fx_rows(at: Int64Array, currency: StrArray, amount: Float64Array) -> _Rows:
    blank = _fill(len(at), "")
    return _Rows(at, _fill(len(at), "Risk_FX"), currency, blank, blank, blank, amount)


def _pair_rows(e: _Exposures) -> tuple[_Rows, _Rows]:
    """Return the base and the quote currency of each exchange rate position."""
    at = np.flatnonzero(e.risk_type == "Risk_FX")
    amount = ONE_PER_CENT * e.delta_usd[at] * e.level[at]
    base = _objects([pair[:CURRENCY_CODE_LENGTH] for pair in e.pair[at]])
    quote = _objects([pair[CURRENCY_CODE_LENGTH:] for pair in e.pair[at]])
    return _fx_rows(at, base, amount), _fx_rows(at, quote, -amount)


def _translation_rows(e: _Exposures) -> _Rows:
    """Return 1 % of each present value, in the currency it is held in."""
    held: BoolArray = ~np.isin(e.instruments.kind, _DAILY_MARGINED)
    at = np.flatnonzero(held)
    return _fx_rows(at, e.instruments.currency[at], ONE_PER_CENT * e.value_usd[at])


def _vega_rows(e: _Exposures) -> _Rows:
    at = np.flatnonzero((e.instruments.kind == "option") & (e.years > 0.0))
    risk_type, years = e.risk_type[at], e.years[at]
    credit = np.isin(risk_type, _CREDIT)
    scale = np.where(np.isin(risk_type, _PER_BASIS_POINT), e.instruments.vol[at], VOL_POINT)
    label1 = np.where(
        credit,
        _nearest(years, CREDIT_TENOR_LABELS, CREDIT_TENOR_YEARS),
        _nearest(years, TENOR_LABELS, TENOR_YEARS),
    ).astype(np.object_)
    named = np.isin(risk_type, ("Risk_Equity", "Risk_Commodity", *_CREDIT))
    return _Rows(
        at,
        _objects([VOL_RISK_TYPE[name] for name in risk_type]),
        np.where(risk_type == "Risk_FX", e.pair[at], e.qualifier[at]).astype(np.object_),
        np.where(named, e.bucket[at], "").astype(np.object_),
        label1,
        np.where(credit, _label2(e, at), "").astype(np.object_),
        e.vega_usd[at] * scale,
    )
