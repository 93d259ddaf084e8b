"""Standard initial margin of netting sets: the entry functions.

Every netting set of a table is computed at once: arrays run over (portfolio, product class)
pairs, called silos, and no step loops over rows or portfolios until the results are written.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.margin.simm import bucketed, interest_rate
from engine.margin.simm import vocabulary as words
from engine.margin.simm.add_ons import AddOns, read_add_ons
from engine.margin.simm.encode import EncodedRows, Sensitivities, encode, net
from engine.margin.simm.result import SimmResult
from engine.margin.simm.rulebook import SimmParameters, load_parameters
from engine.margin.simm.validate import raise_on_problems

SIDES = ("call", "post")
_MEASURES = ("delta", "vega", "curvature", "base_correlation")
_N_CLASSES = len(words.RISK_CLASSES)
_N_PRODUCTS = len(words.PRODUCT_CLASSES)


def simm_margin(
    crif: CrifTable,
    version: str,
    horizon_days: int,
    side: str,
    calculation_currency: str = "USD",
) -> SimmResult:
    """Return the initial margin of one netting set.

    Parameters
    ----------
    crif : CrifTable
        Sensitivities in USD. All rows must belong to one portfolio; rows with the same keys net.
    version : str
        One of `simm_versions()`, for example "2.8+2512".
    horizon_days : int
        10 or 1.
    side : str
        `call` for the margin we may call, `post` for the margin we must post. Only curvature
        differs: post takes it with the opposite sign.
    calculation_currency : str
        Its own FX sensitivity is left out, and its volatility group sets FX weights.

    Returns
    -------
    SimmResult
        USD. ISDA's unit test C1: 4,000,000 per basis point on the 2w USD OIS point, version 2.5,
        10 days: 115 * 4,000,000 = 460,000,000.

    Raises
    ------
    InputError
        Unknown version, horizon, side, or word in a row (with row, value and allowed values); an
        amount that is not finite; rows of several portfolios.
    """
    portfolios = {str(name).strip() for name in set(crif.portfolio_id)}
    if len(portfolios) > 1:
        some = ", ".join(sorted(portfolios)[:5])
        raise InputError(
            f"CRIF rows of {len(portfolios)} portfolios ({some}) do not net with each other; "
            "use simm_by_portfolio, or give the rows of one portfolio"
        )
    results = simm_by_portfolio(crif, version, horizon_days, side, calculation_currency)
    if results:
        return next(iter(results.values()))
    return SimmResult(version, horizon_days, side, "USD", 0.0, {}, {}, calculation_currency)


def simm_by_portfolio(
    crif: CrifTable,
    version: str,
    horizon_days: int,
    side: str,
    calculation_currency: str = "USD",
) -> dict[str, SimmResult]:
    """Return the initial margin of each netting set (`portfolio_id`), ids in sorted order.

    Arguments, errors and formula as in `simm_margin`. Sets are computed together and do not
    influence each other.
    """
    parameters, _ = checked_settings(version, horizon_days, side, calculation_currency)
    return margins_of_rows(read_rows(crif), parameters, side, calculation_currency)


def checked_settings(
    version: str, horizon_days: int, side: str, calculation_currency: str
) -> tuple[SimmParameters, int]:
    """Return the parameters of a version and the code of the calculation currency.

    Raises
    ------
    InputError
        Unknown version, horizon, side or currency.
    """
    parameters = load_parameters(version, horizon_days)
    if side not in SIDES:
        raise InputError(f"side {side!r} is not known; choose call or post")
    known = words.currency_codes()
    if calculation_currency not in known:
        raise InputError(
            f"calculation currency {calculation_currency!r} is not a known ISO 4217 code"
        )
    return parameters, known[calculation_currency]


def read_rows(crif: CrifTable) -> EncodedRows:
    """Look up the words of every row; InputError names the first rows that cannot be used."""
    rows = encode(crif)
    raise_on_problems(crif, rows)
    return rows


def margins_of_rows(
    rows: EncodedRows,
    parameters: SimmParameters,
    side: str,
    calculation_currency: str,
) -> dict[str, SimmResult]:
    """Return the margin of each portfolio of rows that were read, in the order of their ids."""
    records = net(rows, rows.risk_type < words.FIRST_PARAMETER)
    add_ons = read_add_ons(rows)
    sign = 1.0 if side == "call" else -1.0
    currency = words.currency_codes()[calculation_currency]
    parts = class_margins(records, parameters, sign, currency)
    return _results(rows, parts, parameters, add_ons, side, calculation_currency)


def class_margins(
    records: Sensitivities, parameters: SimmParameters, sign: float, calculation_currency: int
) -> Float64Array:
    """Return margins of shape (n_silos, 6 risk classes, 4 measures), in USD.

    Measures are delta, vega, curvature and base correlation. `sign` is +1 for call and -1 for
    post.
    """
    parts = np.zeros((records.n_silos, _N_CLASSES, len(_MEASURES)))
    curves = _any_of(records, "Risk_IRCurve", "Risk_Inflation", "Risk_XCcyBasis")
    rate_vols = _any_of(records, "Risk_IRVol", "Risk_InflationVol")
    if len(curves):
        parts[:, 0, 0] = interest_rate.delta(curves, parameters)
    if len(rate_vols):
        parts[:, 0, 1] = interest_rate.vega(rate_vols, parameters)
        parts[:, 0, 2] = interest_rate.curvature(rate_vols, parameters, sign)
    fx = partial(bucketed.fx, calculation_currency=calculation_currency)
    builders: tuple[tuple[str, str, bucketed.Builder], ...] = (
        ("Risk_CreditQ", "Risk_CreditVol", bucketed.credit_qualifying),
        ("Risk_CreditNonQ", "Risk_CreditVolNonQ", bucketed.credit_non_qualifying),
        ("Risk_Equity", "Risk_EquityVol", bucketed.equity),
        ("Risk_Commodity", "Risk_CommodityVol", bucketed.commodity),
        ("Risk_FX", "Risk_FXVol", fx),
    )
    for i, (delta_type, vega_type, build) in enumerate(builders, start=1):
        deltas, vegas = records.of(delta_type), records.of(vega_type)
        if len(deltas):
            parts[:, i, 0] = bucketed.delta_or_vega(deltas, parameters, "delta", build)
        if len(vegas):
            parts[:, i, 1] = bucketed.delta_or_vega(vegas, parameters, "vega", build)
            parts[:, i, 2] = bucketed.curvature(vegas, parameters, sign, build)
    base = records.of("Risk_BaseCorr")
    if len(base):
        parts[:, 1, 3] = bucketed.base_correlation(base, parameters)
    return parts


def _any_of(records: Sensitivities, *risk_types: str) -> Sensitivities:
    codes = [words.RISK_TYPE_CODE[name] for name in risk_types]
    return records.where(np.isin(records.risk_type, codes))


def _results(
    rows: EncodedRows,
    parts: Float64Array,
    parameters: SimmParameters,
    add_ons: AddOns,
    side: str,
    calculation_currency: str,
) -> dict[str, SimmResult]:
    n_portfolios = len(rows.portfolio_ids)
    classes = parts.sum(axis=2)
    squared = np.einsum("gr,rs,gs->g", classes, parameters.class_correlation, classes)
    products = np.sqrt(np.maximum(squared, 0.0)).reshape(n_portfolios, _N_PRODUCTS)
    products = products * add_ons.multiplier
    by_class = classes.reshape(n_portfolios, _N_PRODUCTS, _N_CLASSES).sum(axis=1)
    used = _used_silos(rows, n_portfolios)
    detail = parts.reshape(n_portfolios, _N_PRODUCTS, _N_CLASSES, len(_MEASURES))
    results = {}
    for p in range(n_portfolios):
        by_product = {
            name: float(products[p, i])
            for i, name in enumerate(words.PRODUCT_CLASSES)
            if used[p, i]
        }
        if add_ons.present[p]:
            by_product["AddOn"] = float(add_ons.amount[p])
        results[str(rows.portfolio_ids[p])] = SimmResult(
            version=parameters.version,
            horizon_days=parameters.horizon_days,
            side=side,
            currency="USD",
            total=float(sum(by_product.values())),
            by_product_class=by_product,
            by_risk_class={
                name: float(by_class[p, i])
                for i, name in enumerate(words.RISK_CLASSES)
                if by_class[p, i] > 0.0
            },
            calculation_currency=calculation_currency,
            components=_components(detail[p]),
        )
    return results


def _used_silos(rows: EncodedRows, n_portfolios: int) -> Int64Array:
    used = np.zeros((n_portfolios, _N_PRODUCTS), dtype=np.int64)
    risk = rows.risk_type < words.FIRST_PARAMETER
    used[rows.portfolio[risk], rows.product_class[risk]] = 1
    return used


def _components(parts: Float64Array) -> dict[str, dict[str, dict[str, float]]]:
    """Return the non-zero margins of one portfolio by product class, risk class and measure."""
    tree: dict[str, dict[str, dict[str, float]]] = {}
    for product, risk, measure in zip(*np.nonzero(parts), strict=True):
        branch = tree.setdefault(words.PRODUCT_CLASSES[product], {})
        leaf = branch.setdefault(words.RISK_CLASSES[risk], {})
        leaf[_MEASURES[measure]] = float(parts[product, risk, measure])
    return tree
