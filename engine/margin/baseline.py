"""Margin of the whole fund today: IM, VM and add-ons of every agreement, shared by manager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, FailureReason
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.margin.concentration import concentration_add_on, concentration_inputs
from engine.margin.config import MarginConfig
from engine.margin.exposure import Exposures, agreement_failure, net_positions, unit_pnl
from engine.margin.scenario_margin import HistoricalModel
from engine.margin.standard_margin import StandardMargin, standard_margin
from engine.margin.variation import csa_call
from engine.pricing.value import value_per_unit

UNATTRIBUTED = "(unattributed)"
"""Key of `by_manager` for margin of agreements in which no manager holds a position."""


@dataclass
class _Work:
    """IM and VM while they are collected: (n_agreements,) and their shares (n_pairs,)."""

    im: Float64Array
    im_pair: Float64Array
    vm: Float64Array
    vm_pair: Float64Array
    failed: BoolArray
    failures: list[Failure]
    scenarios: dict[str, int]


def calculate_margin_requirements(
    book: Book, market: MarketState, config: MarginConfig, crif: CrifTable | None = None
) -> MarginResult:
    """Compute the margin of every agreement of the fund.

    Parameters
    ----------
    book : Book
        Validated fund.
    market : MarketState
        Levels and history to `book.as_of`.
    config : MarginConfig
    crif : CrifTable, optional
        The user's sensitivities; `portfolio_id` is the agreement id. They replace the engine's.

    Returns
    -------
    MarginResult
        Agreements in the order of the book, without those that failed as a whole: each of these
        is in `failures` with its id. USD.

    Notes
    -----
    IM: `fhs_var` and `fhs_es`: max(0, tail loss) of the book revalued on filtered moves over the
    margin period of risk, blended as (1 - w) * current + w * stress period. `simm`, `schedule`:
    the standard models. Then max(0, IM - im_threshold).
    VM: cleared and prime: minus the profit of the day to `as_of`. Bilateral: the CSA call on
    minus the value of the trades, given the collateral now posted.
    Add-ons: `broker` = (multiplier - 1) * IM; `concentration`, for cleared and prime.
    By manager: Euler shares of VaR and ES; pro rata to stand-alone margin for standard models;
    VM by each manager's own profit, bilateral VM pro rata to |value|. Shares sum to the total.
    """
    exposures = net_positions(book, market)
    work = _start(exposures)
    stress_dates = _historical(exposures, config, work)
    standard = standard_margin(exposures, config, crif)
    _standard(exposures, standard, work)
    before = work.im.copy()
    apply_threshold(exposures, work.im, work.im_pair)
    _variation(exposures, work)
    inputs = concentration_inputs(exposures, config)
    add_ons = {
        "broker": (book.agreements.broker_multiplier - 1.0) * work.im,
        "concentration": concentration_add_on(inputs, config),
    }
    failures = (*exposures.failures, *work.failures, *inputs.failures)
    return _result(
        exposures,
        work,
        add_ons,
        failures,
        _basis(book, config, standard, stress_dates, before, work),
    )


def im_threshold_usd(exposures: Exposures) -> Float64Array:
    """IM threshold of each agreement in USD; 0 where its currency has no rate (it failed)."""
    agreements, rates = exposures.book.agreements, exposures.market.fx_usd
    usd = np.array([rates.get(c, 0.0) for c in agreements.currency], dtype=np.float64)
    return agreements.im_threshold * usd


def apply_threshold(exposures: Exposures, im: Float64Array, im_pair: Float64Array) -> None:
    """Reduce IM by the threshold, in place; shares of a manager shrink in proportion."""
    after = np.maximum(0.0, im - im_threshold_usd(exposures))
    ratio = np.divide(after, im, out=np.zeros_like(im), where=im > 0.0)
    im_pair *= ratio[exposures.pair_agreement]
    im[:] = after


def pro_rata(total: Float64Array, weight: Float64Array, owner: Int64Array) -> Float64Array:
    """Share `total` (n_owners,) over rows by non-negative `weight` (n_rows,), exactly.

    Rows of an owner without any weight share alike. `pro_rata([10], [1, 3], [0, 0])` is
    [2.5, 7.5].
    """
    sums = np.bincount(owner, weights=weight, minlength=len(total))
    counts = np.bincount(owner, minlength=len(total))
    weighted = sums[owner] > 0.0
    parts = np.divide(weight, sums[owner], out=np.zeros_like(weight), where=weighted)
    parts = np.where(weighted, parts, 1.0 / np.maximum(1, counts)[owner])
    return np.asarray(total[owner] * parts)


def _start(exposures: Exposures) -> _Work:
    n, pairs = len(exposures.book.agreements), len(exposures.pair_agreement)
    return _Work(
        im=np.zeros(n),
        im_pair=np.zeros(pairs),
        vm=np.zeros(n),
        vm_pair=np.zeros(pairs),
        failed=exposures.failed.copy(),
        failures=[],
        scenarios={},
    )


def _historical(
    exposures: Exposures, config: MarginConfig, work: _Work
) -> dict[str, list[str]] | None:
    model = HistoricalModel(exposures, config)
    book = exposures.book
    for group in model.classes:
        weight = book.agreements.stress_weight[group.agreements]
        now = model.filtered(group)
        im, pair = now.agreement, now.pair
        if (weight > 0.0).any():
            then = model.stressed(group)
            by_pair = book.agreements.stress_weight[exposures.pair_agreement[group.pairs]]
            im = np.where(weight > 0.0, (1.0 - weight) * im + weight * then.agreement, im)
            pair = np.where(by_pair > 0.0, (1.0 - by_pair) * pair + by_pair * then.pair, pair)
        work.im[group.agreements], work.im_pair[group.pairs] = im, pair
        for a, n in zip(group.agreements, now.scenarios, strict=True):
            work.scenarios[str(book.agreements.agreement_id[a])] = int(n)
    work.failures += model.failures
    work.failed |= model.failed
    report_not_finite(book, work.im, work.failed, work.failures)
    dates = exposures.market.dates
    return {
        str(book.agreements.agreement_id[a]): [str(dates[row]) for row in period]
        for a, period in model.stress_period.items()
    } or None


def report_not_finite(
    book: Book, amount: Float64Array, failed: BoolArray, failures: list[Failure]
) -> None:
    """Fail agreements whose amount is NaN (a move could not be revalued) and set it to zero."""
    for a in np.flatnonzero(~np.isfinite(amount) & ~failed):
        failed[a] = True
        message = (
            "a scenario move takes a level it holds out of range (a yield below -100 % or an "
            "infinite level); check the factor's history and return_type"
        )
        failures.append(agreement_failure(book, int(a), FailureReason.CALCULATION_FAILED, message))
    amount[failed] = 0.0


def _standard(exposures: Exposures, standard: StandardMargin, work: _Work) -> None:
    model = exposures.book.agreements.model
    is_standard = np.isin(model, ("simm", "schedule"))
    work.im = np.where(is_standard, standard.agreement, work.im)
    shared = pro_rata(standard.agreement, standard.alone, exposures.pair_agreement)
    work.im_pair = np.where(is_standard[exposures.pair_agreement], shared, work.im_pair)
    work.failures += standard.failures
    work.failed |= standard.failed


def _variation(exposures: Exposures, work: _Work) -> None:
    """VM of each agreement: the day's loss, or the CSA call on what the fund owes."""
    book, market = exposures.book, exposures.market
    agreements, owner = book.agreements, exposures.pair_agreement
    bilateral = np.asarray(agreements.kind == "bilateral", dtype=np.bool_)
    last = market.returns[-1]
    # Moving back by the last return revalues yesterday: the change is minus the day's profit.
    back = unit_pnl(
        exposures,
        np.arange(len(exposures.instruments), dtype=np.int64),
        np.where(np.isfinite(last), -last, 0.0)[np.newaxis, :],
    )[:, 0]
    daily = np.asarray(exposures.quantity_usd @ back)
    value = np.asarray(exposures.quantity_usd @ value_per_unit(exposures.instruments, market))
    day_loss = np.bincount(owner, weights=daily, minlength=len(agreements))
    worth = np.bincount(owner, weights=value, minlength=len(agreements))
    call = np.zeros(len(agreements))
    ok = np.flatnonzero(bilateral & ~work.failed)
    usd = market.usd_per(agreements.currency[ok])
    call[ok] = usd * csa_call(
        -worth[ok] / usd,
        agreements.vm_threshold[ok],
        agreements.mta[ok],
        agreements.rounding[ok],
        agreements.independent_amount[ok],
        agreements.vm_held[ok],
    )
    work.vm = np.where(bilateral, call, day_loss)
    work.vm_pair = np.where(bilateral[owner], pro_rata(call, np.abs(value), owner), daily)
    report_not_finite(book, work.vm, work.failed, work.failures)
    for k in np.flatnonzero(~np.isfinite(last)):
        for a in np.flatnonzero(exposures.agreement_factor[:, k] & ~bilateral & ~work.failed):
            work.failed[a] = True
            message = (
                f"factor {market.factors.factor_id[k]} has no return on {market.as_of}; add it"
            )
            reason = FailureReason.MISSING_DATA
            work.failures.append(agreement_failure(book, int(a), reason, message))


def _basis(
    book: Book,
    config: MarginConfig,
    standard: StandardMargin,
    stress_dates: dict[str, list[str]] | None,
    before: Float64Array,
    work: _Work,
) -> dict[str, Any]:
    with_threshold = np.flatnonzero((book.agreements.im_threshold > 0.0) & ~work.failed)
    return {
        "simm_version": standard.simm_version,
        "simm_horizon_days": config.simm_horizon_days,
        "side": config.side,
        "stress_period": stress_dates,
        "scenarios": work.scenarios,
        "im_before_threshold_usd": {
            str(book.agreements.agreement_id[a]): float(before[a]) for a in with_threshold
        },
        "concentration": {
            "coefficient": config.concentration_coefficient,
            "fraction_of_adv": config.concentration_fraction,
            "depth_exponent": config.depth_exponent,
            "depth_floor": config.depth_floor,
        },
    }


def _result(
    exposures: Exposures,
    work: _Work,
    add_ons: dict[str, Float64Array],
    failures: tuple[Failure, ...],
    basis: dict[str, Any],
) -> MarginResult:
    book = exposures.book
    agreements, keep = book.agreements, ~work.failed
    assert (work.im[keep] >= 0.0).all()
    return MarginResult(
        as_of=book.as_of,
        currency="USD",
        agreement_id=agreements.agreement_id[keep],
        kind=agreements.kind[keep],
        venue=agreements.venue[keep],
        counterparty=agreements.counterparty[keep],
        broker=agreements.broker[keep],
        model=agreements.model[keep],
        mark=agreements.evidence[keep],
        im_usd=work.im[keep],
        vm_usd=work.vm[keep],
        add_ons={name: values[keep] for name, values in add_ons.items()},
        by_manager=_by_manager(exposures, work, keep),
        failures=failures,
        basis=basis,
    )


def _by_manager(exposures: Exposures, work: _Work, keep: BoolArray) -> dict[str, dict[str, float]]:
    book = exposures.book
    alive = keep[exposures.pair_agreement]
    manager = exposures.pair_manager[alive]
    n = len(book.managers.manager_id)
    im = np.bincount(manager, weights=work.im_pair[alive], minlength=n)
    vm = np.bincount(manager, weights=work.vm_pair[alive], minlength=n)
    shares = {
        str(name): {"im_usd": float(im[m]), "vm_usd": float(vm[m])}
        for m, name in enumerate(book.managers.manager_id)
    }
    empty = keep & (np.bincount(exposures.pair_agreement, minlength=len(keep)) == 0)
    rest = {"im_usd": float(work.im[empty].sum()), "vm_usd": float(work.vm[empty].sum())}
    if any(rest.values()):
        shares[UNATTRIBUTED] = rest
    return shares
