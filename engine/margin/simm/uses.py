"""How the rows of a table enter each risk class and measure: coefficient, weight, threshold.

The builders of the risk classes are linear in the amounts until concentration: given rows whose
amounts are all 1 they return each row's coefficient, so that the numbers of the model stand in one
place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.kernels.simm_layout import (
    BASE_CORRELATION,
    BASIS_CELL,
    CURVATURE,
    DELTA,
    INFLATION_CELL,
    RATES,
    VEGA,
)
from engine.margin.simm import bucketed
from engine.margin.simm import vocabulary as words
from engine.margin.simm.aggregate import scaling_factors
from engine.margin.simm.encode import EncodedRows, Sensitivities
from engine.margin.simm.rulebook import SimmParameters

_N_TENORS = len(words.TENORS)
_MEASURES = {"delta": DELTA, "vega": VEGA, "curvature": CURVATURE}


@dataclass(frozen=True)
class Uses:
    """Rows as they enter a class and measure; arrays of shape (n_uses,).

    A row of volatility is used twice, for vega and for curvature. `group` is what concentration is
    measured on and `key` tells the risks within it; `same` applies to risks of one `family`,
    `different` to others (rates look their correlations up by `key`).
    """

    risk_class: Int64Array
    measure: Int64Array
    silo: Int64Array
    bucket: Int64Array
    group: Int64Array
    key: Int64Array
    family: Int64Array
    row: Int64Array
    coefficient: Float64Array
    weight: Float64Array
    threshold: Float64Array
    same: Float64Array
    different: Float64Array


def all_uses(
    rows: EncodedRows, parameters: SimmParameters, sign: float, calculation_currency: int
) -> Uses:
    """Return every use of every sensitivity row; `sign` is +1 for call and -1 for post."""
    parts = _parts(rows, parameters, sign, calculation_currency)
    names = Uses.__dataclass_fields__
    return Uses(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def _parts(rows: EncodedRows, parameters: SimmParameters, sign: float, currency: int) -> list[Uses]:
    fx = partial(bucketed.fx, calculation_currency=currency)
    builders: tuple[tuple[str, str, bucketed.Builder], ...] = (
        ("Risk_CreditQ", "Risk_CreditVol", bucketed.credit_qualifying),
        ("Risk_CreditNonQ", "Risk_CreditVolNonQ", bucketed.credit_non_qualifying),
        ("Risk_Equity", "Risk_EquityVol", bucketed.equity),
        ("Risk_Commodity", "Risk_CommodityVol", bucketed.commodity),
        ("Risk_FX", "Risk_FXVol", fx),
    )
    uses = [_rates_delta(rows, parameters), *_rates_volatility(rows, parameters, sign)]
    uses.append(_base_correlation(rows, parameters))
    for risk_class, (delta_type, vega_type, build) in enumerate(builders, start=1):
        delta_rows = _rows_of(rows, delta_type)
        if delta_type == "Risk_FX":
            delta_rows = delta_rows[rows.qualifier[delta_rows] != currency]
        vega_rows = _rows_of(rows, vega_type)
        for measure, chosen in (("delta", delta_rows), ("vega", vega_rows)):
            uses.append(_of_class(rows, chosen, parameters, risk_class, measure, build))
        bent = _of_class(rows, vega_rows, parameters, risk_class, "curvature", build)
        uses.append(_bend(bent, rows, parameters, sign))
    return uses


def _rows_of(rows: EncodedRows, *risk_types: str) -> Int64Array:
    codes = [words.RISK_TYPE_CODE[name] for name in risk_types]
    return np.flatnonzero(np.isin(rows.risk_type, codes))


def _units(rows: EncodedRows, chosen: Int64Array) -> Sensitivities:
    """Return the rows as sensitivities of 1 each."""
    return Sensitivities(
        n_portfolios=len(rows.portfolio_ids),
        silo=rows.portfolio[chosen] * len(words.PRODUCT_CLASSES) + rows.product_class[chosen],
        risk_type=rows.risk_type[chosen],
        bucket=rows.bucket[chosen],
        qualifier=rows.qualifier[chosen],
        label2=rows.label2[chosen],
        tenor=rows.tenor[chosen],
        amount_usd=np.ones(len(chosen)),
    )


def _of_class(
    rows: EncodedRows,
    chosen: Int64Array,
    parameters: SimmParameters,
    risk_class: int,
    measure: str,
    build: bucketed.Builder,
) -> Uses:
    exposures = build(_units(rows, chosen), parameters, measure)
    n = len(chosen)
    credit = build in (bucketed.credit_qualifying, bucketed.credit_non_qualifying)
    limits = parameters.concentration and measure != "curvature"
    return Uses(
        risk_class=np.full(n, risk_class),
        measure=np.full(n, _MEASURES[measure]),
        silo=exposures.silo,
        bucket=exposures.bucket,
        group=exposures.name,
        # Tenors of one equity, commodity or currency pair are one risk; those of an issuer are not.
        key=rows.label2[chosen] * _N_TENORS + rows.tenor[chosen] if credit else np.zeros(n, int),
        family=exposures.family,
        row=chosen,
        coefficient=exposures.value,
        weight=exposures.weight if measure != "curvature" else np.ones(n),
        threshold=exposures.threshold if limits else np.full(n, np.inf),
        same=exposures.same,
        different=exposures.different,
    )


def _bend(uses: Uses, rows: EncodedRows, parameters: SimmParameters, sign: float) -> Uses:
    """Turn vega values into curvature values: scaled by expiry and side, correlations squared."""
    scale = sign * scaling_factors(parameters.horizon_days)[rows.tenor[uses.row]]
    return replace(
        uses,
        coefficient=scale * uses.coefficient,
        same=uses.same**2,
        different=uses.different**2,
    )


def _rates_uses(rows: EncodedRows, chosen: Int64Array, measure: int, cell: Int64Array) -> Uses:
    n = len(chosen)
    return Uses(
        risk_class=np.full(n, RATES),
        measure=np.full(n, measure),
        silo=rows.portfolio[chosen] * len(words.PRODUCT_CLASSES) + rows.product_class[chosen],
        bucket=rows.qualifier[chosen],
        group=(cell == BASIS_CELL).astype(np.int64),
        key=cell,
        family=cell,
        row=chosen,
        coefficient=np.ones(n),
        weight=np.ones(n),
        threshold=np.full(n, np.inf),
        same=np.zeros(n),
        different=np.zeros(n),
    )


def _rates_delta(rows: EncodedRows, parameters: SimmParameters) -> Uses:
    rates = parameters.interest_rate
    chosen = _rows_of(rows, "Risk_IRCurve", "Risk_Inflation", "Risk_XCcyBasis")
    kind = rows.risk_type[chosen]
    inflation = kind == words.RISK_TYPE_CODE["Risk_Inflation"]
    basis = kind == words.RISK_TYPE_CODE["Risk_XCcyBasis"]
    currency, tenor = rows.qualifier[chosen], rows.tenor[chosen]
    cell = rows.label2[chosen] * _N_TENORS + tenor
    cell = np.where(inflation, INFLATION_CELL, np.where(basis, BASIS_CELL, cell))
    weight = np.where(basis, rates.basis_weight, rates.delta_weight[currency, tenor])
    # Cross-currency basis spreads neither have a concentration ratio nor count in one.
    limited = parameters.concentration & ~basis
    return replace(
        _rates_uses(rows, chosen, DELTA, cell),
        weight=np.where(inflation, rates.inflation_weight, weight),
        threshold=np.where(limited, rates.delta_threshold[currency], np.inf),
    )


def _rates_volatility(
    rows: EncodedRows, parameters: SimmParameters, sign: float
) -> tuple[Uses, Uses]:
    rates = parameters.interest_rate
    chosen = _rows_of(rows, "Risk_IRVol", "Risk_InflationVol")
    inflation = rows.risk_type[chosen] == words.RISK_TYPE_CODE["Risk_InflationVol"]
    cell = np.where(inflation, INFLATION_CELL, rows.tenor[chosen])
    limit = rates.vega_threshold[rows.qualifier[chosen]]
    vega = replace(
        _rates_uses(rows, chosen, VEGA, cell),
        weight=np.full(len(chosen), rates.vega_weight),
        threshold=limit if parameters.concentration else np.full(len(chosen), np.inf),
    )
    return vega, _bend(_rates_uses(rows, chosen, CURVATURE, cell), rows, parameters, sign)


def _base_correlation(rows: EncodedRows, parameters: SimmParameters) -> Uses:
    chosen = _rows_of(rows, "Risk_BaseCorr")
    n = len(chosen)
    rho = np.full(n, parameters.base_correlation)
    return replace(
        _rates_uses(rows, chosen, BASE_CORRELATION, np.zeros(n, dtype=np.int64)),
        risk_class=np.full(n, words.RISK_CLASSES.index("CreditQualifying")),
        bucket=np.zeros(n, dtype=np.int64),
        group=rows.qualifier[chosen],
        family=rows.qualifier[chosen],
        weight=np.full(n, parameters.base_correlation_weight),
        same=rho,
        different=rho,
    )
