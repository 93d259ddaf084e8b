"""What a system-wide run gives: defaults, sales and prices for each shock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.avalanche.system.config import SystemConfig, SystemShock
from engine.avalanche.system.institutions import Institutions
from engine.avalanche.system.rules import published_marks
from engine.domain.arrays import Float64Array, StrArray, freeze
from engine.domain.failures import Failure


@dataclass(frozen=True)
class SystemResult:
    """S shocks on N institutions and K assets; volumes in the unit of the system, at prices of 1.

    Attributes
    ----------
    shocks : tuple of SystemShock (S,)
    market_size : float64 array (K,)
    start_price, price : float64 arrays (K, S)
        After the shock, and at the end; 1 before the shock.
    price_path, volume_path : float64 arrays (steps, K, S)
        Price after each step and gross volume traded in it.
    sold : float64 array (N, K, S)
        Signed volume sold; a short position is bought back, so it is negative.
    default_step : float64 array (N, S)
        Step of default, 0 where there is none.
    cash, equity : float64 arrays (N, S)
        At the end; negative cash is what could not be paid.
    """

    institutions: Institutions
    config: SystemConfig
    shocks: tuple[SystemShock, ...]
    market_size: Float64Array
    start_price: Float64Array
    price: Float64Array
    price_path: Float64Array
    volume_path: Float64Array
    sold: Float64Array
    default_step: Float64Array
    cash: Float64Array
    equity: Float64Array
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        assert self.sold.shape[0] == len(self.institutions)
        assert self.sold.shape[2] == len(self.shocks)
        freeze(self.price, self.sold, self.default_step, self.cash, self.equity)

    @property
    def shock_id(self) -> StrArray:
        """Ids of the shocks, (S,)."""
        return np.array([shock.shock_id for shock in self.shocks], dtype=object)

    @property
    def default_share(self) -> Float64Array:
        """Share of institutions in default at the end, (S,)."""
        return np.asarray(np.mean(self.default_step > 0.0, axis=0))

    @property
    def systemic_event(self) -> Float64Array:
        """Extent of the systemic event, (S,): the share of defaults, 0 below `event_floor`."""
        share = self.default_share
        return np.where(share < self.config.event_floor, 0.0, share)

    @property
    def sold_share(self) -> Float64Array:
        """Gross volume traded over the size of all markets, (S,)."""
        return np.asarray(np.abs(self.sold).sum(axis=(0, 1)) / self.market_size.sum())

    @property
    def second_round_fall(self) -> Float64Array:
        """Fall of each price caused by sales, as a share of the price after the shock, (K, S)."""
        return np.asarray(1.0 - self.price / self.start_price)

    def summary(self) -> dict[str, Any]:
        """Return one small row for each shock."""
        return {"shocks": [self._row(s) for s in range(len(self.shocks))]}

    def _row(self, s: int) -> dict[str, Any]:
        names = self.institutions.institution_id
        failed = self.default_step[:, s] > 0.0
        shock, run = self.shocks[s], self.config
        return {
            "shock": shock.shock_id,
            "price_impact": run.price_impact if shock.price_impact is None else shock.price_impact,
            "behaviour": shock.behaviour or run.behaviour,
            "systemic_event": float(self.systemic_event[s]),
            "defaults": int(failed.sum()),
            "defaulted": [str(name) for name in names[failed]],
            "sold_share": float(self.sold_share[s]),
            "unpaid": float(np.maximum(-self.cash[:, s], 0.0).sum()),
            "equity": float(self.equity[:, s].sum()),
            "sold": self._by_asset(np.abs(self.sold[:, :, s]).sum(axis=0)),
            "second_round_fall": self._by_asset(self.second_round_fall[:, s]),
        }

    def _by_asset(self, values: Float64Array) -> dict[str, float]:
        return {
            str(name): float(value)
            for name, value in zip(self.institutions.asset_id, values, strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the object of `mca system --json`."""
        return {
            "unit": self.institutions.unit,
            "institutions": len(self.institutions),
            "assets": [str(name) for name in self.institutions.asset_id],
            "market_size": self._by_asset(self.market_size),
            "assumptions": self.config.model_dump(),
            "marks": published_marks(),
            **self.summary(),
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return one table each of shocks, institutions by shock, and prices by step."""
        rows = [
            {name: value for name, value in row.items() if not isinstance(value, dict | list)}
            for row in self.summary()["shocks"]
        ]
        return {
            "system_shocks": pd.DataFrame(rows),
            "system_institutions": pd.concat(
                [self._institutions(s) for s in range(len(self.shocks))], ignore_index=True
            ),
            "system_prices": pd.concat(
                [self._prices(s) for s in range(len(self.shocks))], ignore_index=True
            ),
        }

    def _institutions(self, s: int) -> pd.DataFrame:
        sold = {
            f"sold_{name}": self.sold[:, k, s] for k, name in enumerate(self.institutions.asset_id)
        }
        return pd.DataFrame(
            {
                "shock": self.shocks[s].shock_id,
                "institution_id": self.institutions.institution_id,
                "default_step": self.default_step[:, s].astype(np.int64),
                "cash": self.cash[:, s],
                "equity": self.equity[:, s],
                **sold,
            }
        )

    def _prices(self, s: int) -> pd.DataFrame:
        steps, assets, _ = self.price_path.shape
        return pd.DataFrame(
            {
                "shock": self.shocks[s].shock_id,
                "step": np.repeat(np.arange(1, steps + 1), assets),
                "asset_id": np.tile(self.institutions.asset_id, steps),
                "price": self.price_path[:, :, s].ravel(),
                "volume": self.volume_path[:, :, s].ravel(),
            }
        )
