"""Margin of agreements with a standard model: SIMM on sensitivities, or the schedule.

SIMM is shared between managers by Euler's theorem (`engine.margin.simm.attribution`): a manager who
hedges the others has a negative share. Above a concentration threshold, where margin is not of
degree one, Euler's parts are scaled to the margin.
The schedule is no sum and has no useful derivative; it is shared pro rata to the margin each would
have alone. So is SIMM on a user's CRIF whose rows are not all of known positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason, InputError
from engine.margin.config import MarginConfig
from engine.margin.exposure import Exposures, agreement_failure, take
from engine.margin.family import pro_rata
from engine.margin.notional import notional_per_unit
from engine.margin.schedule import ScheduleTrades, maturity_years, schedule_margin
from engine.margin.simm import simm_versions, simm_worst_of
from engine.margin.simm.attribution import simm_gradient
from engine.margin.simm.rulebook import load_parameters
from engine.pricing.sensitivities import crif_from_positions
from engine.pricing.value import value_per_unit

SCHEDULE_CLASS = {
    "rates": "Rates",
    "credit": "Credit",
    "fx": "FX",
    "equity": "Equity",
    "volatility": "Equity",
    "commodity": "Commodity",
}
MATURITY_MATTERS = ("Rates", "Credit")


@dataclass(frozen=True)
class StandardMargin:
    """Margin before threshold and its split over managers, in USD.

    `agreement` (n_agreements,), zero for other models; `pair` (n_pairs,), each manager's share;
    `failed` (n_agreements,); `simm_version` used, or None without such an agreement.
    """

    agreement: Float64Array
    pair: Float64Array
    failed: BoolArray
    simm_version: str | None
    failures: tuple[Failure, ...]


def version_in_force(as_of: date, horizon_days: int) -> tuple[str, bool]:
    """Return the SIMM version for close of business `as_of`, and whether it was in force.

    A version effective on Saturday 6 December 2025 is used from close of business on Friday the
    5th (ISDA), so the version in force is the latest effective by the next day. Before the first
    one shipped, that first one is returned with False.
    """
    versions = simm_versions()
    limit = (as_of + timedelta(days=1)).isoformat()
    known = [v for v in versions if load_parameters(v, horizon_days).effective_date <= limit]
    return (known[-1], True) if known else (versions[0], False)


def standard_margin(
    exposures: Exposures, config: MarginConfig, crif: CrifTable | None
) -> StandardMargin:
    """Return the margin of every `simm` and `schedule` agreement.

    Parameters
    ----------
    exposures : Exposures
    config : MarginConfig
        Version, horizon and side.
    crif : CrifTable, optional
        The user's sensitivities: they replace the engine's for every agreement they name.
    """
    book = exposures.book
    n = len(book.agreements)
    total, alone = np.zeros(n), np.zeros(len(exposures.pair_agreement))
    failed = np.zeros(n, dtype=np.bool_)
    failures: list[Failure] = []
    version: str | None = None
    ids = {str(name): i for i, name in enumerate(book.agreements.agreement_id)}
    if (book.agreements.model == "simm").any():
        version, in_force = version_in_force(book.as_of, config.simm_horizon_days)
        if config.simm_version is not None:
            version = config.simm_version
        elif not in_force:
            failures.append(
                Failure(
                    FailureReason.NOT_APPLICABLE,
                    version,
                    "SIMM version",
                    f"no shipped version was in force on {book.as_of}; the oldest one is used: "
                    "read SIMM margin of this date as an approximation",
                )
            )
        derived, bad = _derived_crif(exposures)
        failures += bad
        used = derived if crif is None else _with_user_rows(derived, crif, ids)
        amounts, more = _simm(used, version, config)
        for name, amount in amounts.items():
            if name in ids and book.agreements.model[ids[name]] == "simm":
                total[ids[name]] = amount
        for name, message in more.items():
            if name in ids:
                failed[ids[name]] = True
                failures.append(agreement_failure(book, ids[name], FailureReason.INVALID, message))
        failures += _unused_portfolios(crif, book, ids)
        by_pair, _ = _simm(_by_manager(derived, exposures), version, config)
        for name, amount in by_pair.items():
            alone[int(name)] = amount
    _schedule(exposures, config, total, alone, failed, failures)
    pair = pro_rata(total, alone, exposures.pair_agreement)
    if version is not None:
        _share_simm(exposures, used, version, config, total, pair)
    return StandardMargin(total, pair, failed, version, tuple(failures))


def _share_simm(
    exposures: Exposures,
    crif: CrifTable,
    version: str,
    config: MarginConfig,
    total: Float64Array,
    pair: Float64Array,
) -> None:
    """Put Euler's shares of SIMM agreements into `pair`, where every CRIF row has a position."""
    kept = exposures.book.positions.position_id[exposures.position]
    pair_of = dict(zip(kept, exposures.position_pair.tolist(), strict=True))
    owner = np.array([pair_of.get(t, -1) for t in crif.trade_id], dtype=np.int64)
    names = exposures.book.agreements.agreement_id
    margined = set(names[(total > 0.0) & (exposures.book.agreements.model == "simm")])
    # Of a portfolio under regulations, the rows of the worst one alone make the margin.
    regulated = (crif.collect_regulations != "") | (crif.post_regulations != "")
    foreign = set(crif.portfolio_id[(owner < 0) | regulated])
    rows = np.flatnonzero([name in margined - foreign for name in crif.portfolio_id])
    if not len(rows):
        return
    part = _rows(crif, rows)
    slope = simm_gradient(part, version, config.simm_horizon_days, config.side)
    euler = np.bincount(owner[rows], weights=slope * part.amount_usd, minlength=len(pair))
    whole = np.bincount(exposures.pair_agreement, weights=euler, minlength=len(total))
    scale = np.divide(total, whole, out=np.zeros_like(total), where=whole > 0.0)
    exact = euler * scale[exposures.pair_agreement]
    shared = np.isin(names[exposures.pair_agreement], list(margined - foreign))
    shared &= (whole > 0.0)[exposures.pair_agreement]
    pair[:] = np.where(shared, exact, pair)


def _derived_crif(exposures: Exposures) -> tuple[CrifTable, list[Failure]]:
    """Sensitivities of the kept positions; instruments without a mapping are set aside."""
    book, failures = _kept_book(exposures, "simm"), []
    try:
        return crif_from_positions(book, exposures.market), []
    except ValueError:
        bad = []
        for row in np.unique(book.positions.instrument):
            one = _with_positions(book, np.flatnonzero(book.positions.instrument == row)[:1])
            try:
                crif_from_positions(one, exposures.market)
            except ValueError as error:
                bad.append(int(row))
                failures.append(
                    Failure(
                        FailureReason.UNSUPPORTED,
                        str(book.instruments.instrument_id[row]),
                        f"sensitivities, factor {book.instruments.factor_id[row]}",
                        f"{error}; its positions are left out of the SIMM margin: mend the factor "
                        "table or give the agreement's rows in a CRIF",
                    )
                )
        good = np.flatnonzero(~np.isin(book.positions.instrument, bad))
        return crif_from_positions(_with_positions(book, good), exposures.market), failures


def _kept_book(exposures: Exposures, model: str) -> Book:
    """The book with only the priceable positions under agreements of one model."""
    book = exposures.book
    under = book.agreements.model[book.positions.agreement[exposures.position]] == model
    return _with_positions(book, exposures.position[under])


def _with_positions(book: Book, rows: Int64Array) -> Book:
    columns = {name: column[rows] for name, column in vars(book.positions).items()}
    return replace(book, positions=replace(book.positions, **columns))


def _simm(
    crif: CrifTable, version: str, config: MarginConfig
) -> tuple[dict[str, float], dict[str, str]]:
    """Margin by portfolio; if the table is refused, each portfolio alone, with what was wrong."""
    horizon, side = config.simm_horizon_days, config.side
    try:
        results = simm_worst_of(crif, version, horizon, side)
        return {name: result.total for name, result in results.items()}, {}
    except InputError:
        load_parameters(version, horizon)  # an unknown version concerns the run, not one portfolio
        amounts: dict[str, float] = {}
        wrong: dict[str, str] = {}
        for name in dict.fromkeys(str(p) for p in crif.portfolio_id):
            try:
                part = _rows(crif, crif.portfolio_id == name)
                amounts[name] = simm_worst_of(part, version, horizon, side)[name].total
            except InputError as error:
                wrong[name] = str(error)
        return amounts, wrong


def _rows(crif: CrifTable, rows: BoolArray | Int64Array) -> CrifTable:
    return CrifTable(**{name: column[rows] for name, column in vars(crif).items()})


def _with_user_rows(derived: CrifTable, user: CrifTable, ids: dict[str, int]) -> CrifTable:
    named = {str(name) for name in user.portfolio_id} & set(ids)
    ours = _rows(derived, ~np.isin(derived.portfolio_id, list(named)))
    theirs = _rows(user, np.isin(user.portfolio_id, list(named)))
    return CrifTable(
        **{n: np.concatenate([getattr(ours, n), getattr(theirs, n)]) for n in vars(ours)}
    )


def _unused_portfolios(crif: CrifTable | None, book: Book, ids: dict[str, int]) -> list[Failure]:
    """Name CRIF portfolios that match no SIMM agreement, so that none is dropped in silence."""
    if crif is None:
        return []
    names = dict.fromkeys(str(name) for name in crif.portfolio_id)
    return [
        Failure(
            FailureReason.NOT_APPLICABLE,
            name,
            "CRIF PortfolioID",
            f"no agreement {name} with model simm; its CRIF rows are not used: PortfolioID must "
            "be an agreement_id",
        )
        for name in names
        if name not in ids or book.agreements.model[ids[name]] != "simm"
    ]


def _by_manager(crif: CrifTable, exposures: Exposures) -> CrifTable:
    """Rename portfolios to the number of the pair (agreement, manager) of each row's position."""
    kept = exposures.book.positions.position_id[exposures.position]
    pair_of = dict(zip(kept, exposures.position_pair, strict=True))
    names: StrArray = np.array([str(pair_of[t]) for t in crif.trade_id], dtype=np.object_)
    return replace(crif, portfolio_id=names)


def _schedule(
    exposures: Exposures,
    config: MarginConfig,
    total: Float64Array,
    alone: Float64Array,
    failed: BoolArray,
    failures: list[Failure],
) -> None:
    """Fill the margins of schedule agreements into the arrays given."""
    book = exposures.book
    rows = np.flatnonzero(book.agreements.model == "schedule")
    if len(rows) == 0:
        return
    owner = exposures.pair_agreement[exposures.position_pair]
    for a in rows:
        kept = np.flatnonzero(owner == a)
        try:
            trades, kept = _trades(exposures, kept)
            total[a] = schedule_margin(trades, config.side).total
            for pair in np.unique(exposures.position_pair[kept]):
                own = exposures.position_pair[kept] == pair
                part = ScheduleTrades(**{n: column[own] for n, column in vars(trades).items()})
                alone[pair] = schedule_margin(part, config.side).total
        except InputError as error:
            failed[a] = True
            failures.append(agreement_failure(book, int(a), FailureReason.INVALID, str(error)))


def _trades(exposures: Exposures, kept: Int64Array) -> tuple[ScheduleTrades, Int64Array]:
    """Positions as schedule trades; ended ones are left out.

    Maturity: the tenor, or the time to expiry; it only matters for rates and credit.
    """
    book, market = exposures.book, exposures.market
    terms = take(exposures.instruments, exposures.position_instrument[kept])
    usd = exposures.usd[exposures.position_instrument[kept]]
    quantity = book.positions.quantity[exposures.position[kept]]
    notional = quantity * usd * notional_per_unit(terms, market)
    classes = np.array(
        [SCHEDULE_CLASS[name] for name in market.factors.asset_class[terms.factor]], dtype=object
    )
    to_expiry = maturity_years(book.as_of, terms.expiry.astype("datetime64[D]"))
    years = np.where(np.isnan(terms.tenor_years), to_expiry, terms.tenor_years)
    years = np.where(np.isnan(years) & ~np.isin(classes, MATURITY_MATTERS), 0.0, years)
    live = ~(years < 0.0)
    trades = ScheduleTrades(
        trade_id=book.positions.position_id[exposures.position[kept]][live],
        product_class=classes[live],
        maturity_years=years[live],
        notional_usd=notional[live],
        pv_usd=(quantity * usd * value_per_unit(terms, market))[live],
    )
    return trades, kept[live]
