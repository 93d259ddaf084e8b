"""Margins of one table under many sets of amounts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.kernels.simm import margins
from engine.margin.simm.plan import SimmPlan, simm_plan


def simm_scenarios(
    crif: CrifTable,
    amounts: Float64Array,
    version: str,
    horizon_days: int,
    side: str,
    calculation_currency: str = "USD",
    threads: int = 1,
) -> Float64Array:
    """Return the margin of every netting set in every scenario.

    Parameters
    ----------
    crif : CrifTable
        Its rows give the structure; its own amounts matter for add-on rows alone.
    amounts : float64 array of shape (n_scenarios, n_rows), finite
        Sensitivities in USD of each scenario, columns in the order of the rows. Add-on rows
        (multipliers, notionals, factors, fixed amounts) must hold the table's amounts.
    version, horizon_days, side, calculation_currency
        As in `simm_margin`.
    threads : int
        Scenarios are shared among this many threads; the result does not depend on it.

    Returns
    -------
    float64 array of shape (n_scenarios, n_portfolios)
        USD; portfolios in the order of `simm_by_portfolio`, which gives the same margins. USD
        100,000 and 200,000 per basis point at 10y in USD, version 2.8+2506, 10 days: 6,000,000 and
        12,000,000.

    Raises
    ------
    InputError
        As `simm_margin`; and a wrong shape, an amount that is not finite, an add-on row whose
        amount differs, fewer than 1 thread.
    """
    plan = simm_plan(crif, version, horizon_days, side, calculation_currency)
    return plan_margins(plan, amounts, threads)


def plan_margins(plan: SimmPlan, amounts: Float64Array, threads: int = 1) -> Float64Array:
    """Return margins of shape (n_scenarios, n_portfolios) of a plan; see `simm_scenarios`."""
    if threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}")
    checked = checked_amounts(plan, amounts)
    out = np.empty((len(checked), len(plan.portfolio_ids)))
    if threads == 1 or len(checked) < 2:
        margins(plan.structure, checked, out)
        return out
    bounds = np.linspace(0, len(checked), threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        runs = [
            pool.submit(margins, plan.structure, checked[a:b], out[a:b])
            for a, b in zip(bounds[:-1], bounds[1:], strict=True)
        ]
        for run in runs:
            run.result()
    return out


def checked_amounts(plan: SimmPlan, amounts: Float64Array) -> Float64Array:
    """Return amounts ready for a kernel, or raise InputError saying what is wrong with them."""
    array = np.require(amounts, np.float64, ["C", "W"])
    if array.ndim != 2 or array.shape[1] != len(plan.amount):
        raise InputError(
            f"amounts have shape {array.shape}; give one row per scenario and one column for each "
            f"of the {len(plan.amount)} CRIF rows"
        )
    bad = ~np.isfinite(array)
    if bad.any():
        scenario, row = np.argwhere(bad)[0]
        raise InputError(
            f"scenario {scenario + 1}, CRIF row {row + 1}: {array[scenario, row]} is not a finite "
            "number"
        )
    for row in np.flatnonzero(plan.parameter):
        other = np.flatnonzero(array[:, row] != plan.amount[row])
        if len(other):
            raise InputError(
                f"scenario {other[0] + 1}, CRIF row {row + 1}: an add-on row has "
                f"{array[other[0], row]:g} where the table has {plan.amount[row]:g}; add-ons do "
                "not vary by scenario"
            )
    return array
