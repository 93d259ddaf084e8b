"""The system-wide fire sale: one run for each shock, all in one pass of the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from engine.avalanche.system.config import SystemConfig, SystemShock
from engine.avalanche.system.institutions import Institutions
from engine.avalanche.system.result import SystemResult
from engine.domain.arrays import Float64Array
from engine.domain.failures import InputError
from engine.kernels.system import Drive, run_system


def run_fire_sale(
    institutions: Institutions,
    shocks: Sequence[SystemShock],
    config: SystemConfig | None = None,
    market_size: Mapping[str, float] | None = None,
) -> SystemResult:
    """Run every shock on its own copy of the system.

    Parameters
    ----------
    institutions : Institutions
    shocks : sequence of SystemShock
        At least one; ids unique.
    config : SystemConfig, optional
    market_size : mapping of asset to float, optional
        Size of the whole market of an asset in the unit of the system; the sum of all holdings
        (without sign) where left out.

    Returns
    -------
    SystemResult
        Arrays by shock. For the 48 banks of the EBA test of 2018, government bonds down 20 % and
        1 % impact, `systemic_event` is 0.3750 and `sold_share` 0.914501.

    Raises
    ------
    InputError
        If a shock names an asset or institution that is not there, or calls beyond the last step.

    Notes
    -----
    Rules of Farmer et al. (Bank of England Staff Working Paper 861) and their public code
    ox-inet-resilience/firesale_stresstest: docs/methodology/system.md.
    """
    settings = config or SystemConfig()
    _check_shocks(institutions, shocks, settings)
    sizes = market_sizes(institutions, market_size or {})
    drive = _drive(institutions, shocks, settings, sizes)
    state = run_system(institutions.to_kernel(), drive)
    n, k = institutions.holding.shape
    shape = (settings.steps, k, len(shocks))
    return SystemResult(
        institutions=institutions,
        config=settings,
        shocks=tuple(shocks),
        market_size=sizes,
        start_price=drive.price,
        price=state.price,
        price_path=state.path.reshape(shape),
        volume_path=state.volumes.reshape(shape),
        sold=state.sold.reshape(n, k, len(shocks)),
        default_step=state.defaulted,
        cash=state.cash,
        equity=state.equity,
    )


def market_sizes(institutions: Institutions, given: Mapping[str, float]) -> Float64Array:
    """Return the size of each asset's market, (K,): what is given, else the sum of holdings.

    Raises
    ------
    InputError
        If an asset is unknown, or a size is not above 0.
    """
    _known(given, institutions.asset_id, "market size", "asset")
    sizes = np.abs(institutions.holding).sum(axis=0)
    for k, name in enumerate(institutions.asset_id):
        if name in given:
            sizes[k] = given[name]
            if not (np.isfinite(sizes[k]) and sizes[k] > 0.0):
                raise InputError(f"market size of {name} is {sizes[k]:g}; give a number above 0")
    return np.asarray(sizes)


def _drive(
    x: Institutions, shocks: Sequence[SystemShock], config: SystemConfig, sizes: Float64Array
) -> Drive:
    n, k, count = len(x), len(x.asset_id), len(shocks)
    price, linear, root = np.ones((k, count)), np.zeros((k, count)), np.zeros((k, count))
    calls, active = np.zeros((config.steps, n, count)), np.ones((n, count))
    row = {str(name): i for i, name in enumerate(x.institution_id)}
    column = {str(name): i for i, name in enumerate(x.asset_id)}
    targeting, multiple = np.zeros((1, count)), np.ones((1, count))
    # An asset nobody holds has no market, and nothing of it is sold.
    share = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 0.0)
    for s, shock in enumerate(shocks):
        for asset, fall in shock.falls.items():
            price[column[asset], s] = 1.0 - fall
        impact = config.price_impact if shock.price_impact is None else shock.price_impact
        fall = -np.log1p(-impact)
        if config.impact_law == "exponential":
            linear[:, s] = fall * share / config.reference_share
        else:
            root[:, s] = fall * np.sqrt(share / config.reference_share)
        targeting[0, s] = float((shock.behaviour or config.behaviour) == "target")
        multiple[0, s] = shock.margin_multiple
        for name, amounts in shock.calls.items():
            calls[: len(amounts), row[name], s] = amounts
        for name in shock.idle:
            active[row[name], s] = 0.0
    return Drive(price, linear, root, targeting, multiple, calls, active)


def _check_shocks(x: Institutions, shocks: Sequence[SystemShock], config: SystemConfig) -> None:
    if not shocks:
        raise InputError("no shock to run; give at least 1")
    names = [shock.shock_id for shock in shocks]
    if len(set(names)) < len(names):
        raise InputError(f"shock ids {', '.join(names)}: one appears twice; make every id unique")
    for shock in shocks:
        where = f"shock {shock.shock_id}"
        _known(shock.falls, x.asset_id, where, "asset")
        _known(shock.calls, x.institution_id, where, "institution")
        _known(shock.idle, x.institution_id, where, "institution")
        for name, amounts in shock.calls.items():
            if len(amounts) > config.steps:
                raise InputError(
                    f"{where}: {name} is called in {len(amounts)} steps, the run has "
                    f"{config.steps}; raise steps or shorten the calls"
                )


def _known(names: Iterable[str], ids: Iterable[str], where: str, what: str) -> None:
    known = [str(name) for name in ids]
    for name in names:
        if name not in known:
            listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
            raise InputError(f"{where}: {what} {name!r} is not in the system; it has {listed}")
