"""Margin of the whole fund today: IM, VM and add-ons of every agreement, shared by manager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array, StrArray
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import FailureReason
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.margin.config import MarginConfig
from engine.margin.exposure import agreement_failure, net_positions, unit_pnl
from engine.margin.family import pro_rata
from engine.margin.required import MarginEngine, Required, report_not_finite
from engine.margin.variation import csa_call
from engine.pricing.value import value_per_unit
from engine.rulebooks.tables import worst_mark

UNATTRIBUTED = "(unattributed)"
"""Key of `by_manager` for margin of agreements in which no manager holds a position."""


def calculate_margin_requirements(
    book: Book,
    market: MarketState,
    config: MarginConfig,
    crif: CrifTable | None = None,
    anchors: Mapping[str, float] | None = None,
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
    anchors : mapping of agreement id to ratio, optional
        Ratios of reported to modelled margin to use, as a result's `basis["anchor_ratio"]` has
        them; None fits them to the reports in the book.

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
    engine = MarginEngine(exposures, config, crif, anchors=anchors)
    required = engine.at()
    vm, vm_pair = _variation(engine)
    shares = _shares(engine, required, vm_pair)
    return MarginResult(
        as_of=book.as_of,
        currency="USD",
        **_kept(engine, required, vm),
        by_manager=_by_manager(engine, required, vm, shares),
        shares=shares,
        failures=(*exposures.failures, *engine.failures),
        basis=_basis(engine, required),
    )


def _variation(engine: MarginEngine) -> tuple[Float64Array, Float64Array]:
    """VM of each agreement and its shares: the day's loss, or the CSA call on what is owed."""
    exposures, failed = engine.exposures, engine.failed
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
    # Where margin is net of the value of options, their day is already in it.
    is_option = exposures.instruments.kind == "option"
    options = np.asarray(exposures.quantity_usd @ np.where(is_option, back, 0.0))
    daily -= np.where(engine.values_options[owner], options, 0.0)
    value = np.asarray(exposures.quantity_usd @ value_per_unit(exposures.instruments, market))
    day_loss = np.bincount(owner, weights=daily, minlength=len(agreements))
    worth = np.bincount(owner, weights=value, minlength=len(agreements))
    call = np.zeros(len(agreements))
    ok = np.flatnonzero(bilateral & ~failed)
    usd = market.usd_per(agreements.currency[ok])
    call[ok] = usd * csa_call(
        -worth[ok] / usd,
        agreements.vm_threshold[ok],
        agreements.mta[ok],
        agreements.rounding[ok],
        agreements.independent_amount[ok],
        agreements.vm_held[ok],
    )
    vm = np.where(bilateral, call, day_loss)
    vm_pair = np.where(bilateral[owner], pro_rata(call, np.abs(value), owner), daily)
    report_not_finite(book, vm, failed, engine.failures)
    for k in np.flatnonzero(~np.isfinite(last)):
        for a in np.flatnonzero(exposures.agreement_factor[:, k] & ~bilateral & ~failed):
            failed[a] = True
            message = (
                f"factor {market.factors.factor_id[k]} has no return on {market.as_of}; add it"
            )
            reason = FailureReason.MISSING_DATA
            engine.failures.append(agreement_failure(book, int(a), reason, message))
    return vm, np.asarray(vm_pair)


def _kept(engine: MarginEngine, required: Required, vm: Float64Array) -> dict[str, Any]:
    """Columns of the result, without the agreements that failed."""
    agreements, keep = engine.exposures.book.agreements, ~engine.failed
    assert (required.im[keep] >= 0.0).all()
    names = ("agreement_id", "kind", "venue", "counterparty", "broker", "model")
    return {
        **{name: getattr(agreements, name)[keep] for name in names},
        "mark": engine.anchors.marks(_marks(engine))[keep],
        "im_usd": required.im[keep],
        "vm_usd": vm[keep],
        **{
            field: {name: values[keep] for name, values in getattr(required, field).items()}
            for field in ("add_ons", "components", "model_parts")
        },
    }


def _marks(engine: MarginEngine) -> StrArray:
    """The weaker of the agreement's own mark and that of its family's rulebook."""
    agreements = engine.exposures.book.agreements
    marks = [
        worst_mark(str(evidence), str(engine.basis.get(str(name), {}).get("mark", evidence)))
        for name, evidence in zip(agreements.agreement_id, agreements.evidence, strict=True)
    ]
    return np.array(marks, dtype=np.object_)


def _basis(engine: MarginEngine, required: Required) -> dict[str, Any]:
    book, config = engine.exposures.book, engine.config
    names, dates = book.agreements.agreement_id, engine.exposures.market.dates
    with_threshold = np.flatnonzero((book.agreements.im_threshold > 0.0) & ~engine.failed)
    before = required.im - required.components["threshold"]
    assert engine.standard is not None
    return {
        "simm_version": engine.standard.simm_version,
        "simm_horizon_days": config.simm_horizon_days,
        "side": config.side,
        "stress_period": {
            str(names[a]): [str(dates[row]) for row in period]
            for a, period in engine.tools.stress_period.items()
        }
        or None,
        "agreements": engine.basis,
        "im_before_threshold_usd": {str(names[a]): float(before[a]) for a in with_threshold},
        "add_ons": engine.prepared_add_ons.basis(),
        "anchor_ratio": {
            str(names[a]): float(engine.anchors.ratio[a])
            for a in np.flatnonzero(engine.anchors.anchored)
        },
        "config": config.model_dump(mode="json"),
    }


def _shares(
    engine: MarginEngine, required: Required, vm_pair: Float64Array
) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of (n_pairs,): what each manager owes under each agreement that did not fail."""
    exposures = engine.exposures
    alive = ~engine.failed[exposures.pair_agreement]
    add_ons = engine.add_on_shares(required)
    columns: dict[str, np.ndarray[Any, Any]] = {
        "agreement_id": exposures.book.agreements.agreement_id[exposures.pair_agreement],
        "manager_id": exposures.book.managers.manager_id[exposures.pair_manager],
        "im_usd": required.pair_im,
        "vm_usd": vm_pair,
        **{f"add_on_{name}_usd": values for name, values in add_ons.items()},
    }
    return {name: values[alive] for name, values in columns.items()}


def _by_manager(
    engine: MarginEngine,
    required: Required,
    vm: Float64Array,
    shares: dict[str, np.ndarray[Any, Any]],
) -> dict[str, dict[str, float]]:
    """Sums of the managers' shares; what no position carries goes to `UNATTRIBUTED`."""
    exposures, keep = engine.exposures, ~engine.failed
    names = exposures.book.managers.manager_id
    manager = exposures.pair_manager[keep[exposures.pair_agreement]]
    extra = [values for name, values in shares.items() if name.startswith("add_on_")]
    columns = {
        "im_usd": shares["im_usd"],
        "vm_usd": shares["vm_usd"],
        "add_ons_usd": np.sum([np.zeros(len(manager)), *extra], axis=0),
    }
    sums = {
        column: np.bincount(manager, weights=pair, minlength=len(names))
        for column, pair in columns.items()
    }
    by_manager = {
        str(name): {column: float(total[m]) for column, total in sums.items()}
        for m, name in enumerate(names)
    }
    empty = keep & (np.bincount(exposures.pair_agreement, minlength=len(keep)) == 0)
    charged = np.sum([np.zeros(len(keep)), *required.add_ons.values()], axis=0)
    rest = {
        column: float(amount[empty].sum())
        for column, amount in (("im_usd", required.im), ("vm_usd", vm), ("add_ons_usd", charged))
    }
    if any(rest.values()):
        by_manager[UNATTRIBUTED] = rest
    return by_manager
