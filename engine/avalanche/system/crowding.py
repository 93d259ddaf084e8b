"""Crowding modelled: what peers sell beside the fund, and which of it the fund causes.

Every shock is run three times: all institutions trade; all but the fund; the fund alone. Who does
not trade holds on, so that the three runs differ in sales only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.avalanche.system.config import SystemConfig, SystemShock
from engine.avalanche.system.fire_sale import run_fire_sale
from engine.avalanche.system.institutions import Institutions, join
from engine.domain.arrays import Float64Array, StrArray, freeze
from engine.domain.failures import Failure, FailureReason, InputError

# The largest crowding that a scenario accepts.
MOST_CROWDING = 100.0
# Below this share of its holding a sale of the fund is none: a ratio to it would mean nothing.
LEAST_SALE_SHARE = 1e-6


@dataclass(frozen=True)
class CrowdingResult:
    """Volumes of K assets under S shocks, (K, S), signed: a sale is positive, a purchase negative.

    Attributes
    ----------
    fund, peers : float64 arrays (K, S)
        Volumes when all trade.
    fund_alone, peers_alone : float64 arrays (K, S)
        When only the fund trades; when only the peers do.
    fund_holding : float64 array (K,)
    """

    asset_id: StrArray
    shock_id: StrArray
    fund_holding: Float64Array
    fund: Float64Array
    peers: Float64Array
    fund_alone: Float64Array
    peers_alone: Float64Array
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        freeze(self.fund, self.peers, self.fund_alone, self.peers_alone)

    @property
    def beside(self) -> Float64Array:
        """Volume peers trade in the direction of the fund, (K, S)."""
        return np.asarray(np.maximum(self.peers * np.sign(self.fund), 0.0))

    @property
    def theta(self) -> Float64Array:
        """Crowding of each asset, (K,): a ratio of sums over shocks; NaN where the fund sells none.

        The fund sells 10 and 30 under two shocks, peers 40 and 40: theta is 2.
        """
        own = np.abs(self.fund).sum(axis=1)
        sells = own > LEAST_SALE_SHARE * np.abs(self.fund_holding)
        ratio = np.full(len(own), np.nan)
        return np.asarray(np.divide(self.beside.sum(axis=1), own, out=ratio, where=sells))

    def crowding(self) -> dict[str, float]:
        """Return theta for `Scenario.crowding`, at most 100, without assets the fund keeps."""
        return {
            str(name): min(float(value), MOST_CROWDING)
            for name, value in zip(self.asset_id, self.theta, strict=True)
            if np.isfinite(value)
        }

    def _volumes(self) -> dict[str, Float64Array]:
        return {
            "fund": np.abs(self.fund).sum(axis=1),
            "fund_alone": np.abs(self.fund_alone).sum(axis=1),
            "peers": np.abs(self.peers).sum(axis=1),
            "peers_alone": np.abs(self.peers_alone).sum(axis=1),
        }

    def summary(self) -> dict[str, Any]:
        """Return theta and who causes what: shares of the volume that is sold when all trade.

        A share is None where nothing is sold, negative where one side's sales spare the other's.
        """
        v = self._volumes()
        return {
            "crowding": self.crowding(),
            "peers_caused_by_fund": _caused(v["peers"], v["peers_alone"]),
            "fund_caused_by_peers": _caused(v["fund"], v["fund_alone"]),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the summary, volumes by asset and the failures."""
        columns = self._volumes()
        return {
            **self.summary(),
            "volumes": {
                str(name): {key: float(values[k]) for key, values in columns.items()}
                for k, name in enumerate(self.asset_id)
            },
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `system_crowding`: one row for each asset."""
        frame = pd.DataFrame({"asset_id": self.asset_id, "theta": self.theta, **self._volumes()})
        return {"system_crowding": frame}


def _caused(together: Float64Array, alone: Float64Array) -> float | None:
    total = float(together.sum())
    return float(together.sum() - alone.sum()) / total if total > 0.0 else None


def study_crowding(
    fund: Institutions,
    peers: Institutions,
    shocks: Sequence[SystemShock],
    config: SystemConfig | None = None,
    market_size: Mapping[str, float] | None = None,
) -> CrowdingResult:
    """Run the fund among its peers under `shocks`, with and without each side's own sales.

    Parameters
    ----------
    fund : Institutions
        One institution; from `engine.avalanche.system.fund.fund_institution`.
    peers : Institutions
        At least one, over the same assets in the same order.
    shocks, config, market_size
        As in `engine.avalanche.system.fire_sale.run_fire_sale`.

    Returns
    -------
    CrowdingResult
        `.crowding()` goes into `Scenario.crowding`. An asset of which the fund sells nothing has
        no theta and is listed as not applicable.

    Raises
    ------
    InputError
        If `fund` is not one institution, or fund and peers do not fit together.
    """
    if len(fund) != 1:
        raise InputError(f"the fund is {len(fund)} institutions; give exactly 1")
    both = join(fund, peers)
    own, others = str(fund.institution_id[0]), tuple(str(name) for name in peers.institution_id)
    runs = [
        _with_idle(shock, f"{tag} {s}", idle)
        for tag, idle in (("all", ()), ("peers", (own,)), ("fund", others))
        for s, shock in enumerate(shocks)
    ]
    sold = run_fire_sale(both, runs, config, market_size).sold
    count = len(shocks)
    theirs = sold[1:].sum(axis=0)
    result = CrowdingResult(
        asset_id=both.asset_id,
        shock_id=np.array([shock.shock_id for shock in shocks], dtype=object),
        fund_holding=fund.holding[0],
        fund=sold[0, :, :count],
        peers=theirs[:, :count],
        peers_alone=theirs[:, count : 2 * count],
        fund_alone=sold[0, :, 2 * count :],
    )
    failures = tuple(
        Failure(
            FailureReason.NOT_APPLICABLE,
            str(name),
            "crowding",
            f"the fund sells nothing of {name}: crowding is not defined, the run's own is used",
        )
        for name, value in zip(both.asset_id, result.theta, strict=True)
        if not np.isfinite(value)
    )
    return CrowdingResult(**{**vars(result), "failures": failures})


def _with_idle(shock: SystemShock, shock_id: str, idle: tuple[str, ...]) -> SystemShock:
    changed = {"shock_id": shock_id, "idle": (*shock.idle, *idle)}
    return SystemShock(**{**shock.model_dump(), **changed})


def modelled_crowding(
    fund: Institutions,
    peers: Institutions,
    shocks: Sequence[SystemShock],
    config: SystemConfig | None = None,
    market_size: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return theta by asset (bucket), ready for `Scenario.crowding`: see `study_crowding`."""
    return study_crowding(fund, peers, shocks, config, market_size).crowding()
