"""The factors and history that come with the product, so that it runs with no data of its own.

Real: one US equity index, 20 US stocks and ECB reference rates. Synthetic: everything else,
simulated and pinned to published figures (docs/methodology/market_data.md, NOTICE).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.market import FactorTable
from engine.market.factors import read_factors
from engine.market.levels import Levels, read_levels

SPX_FILE = "spx.csv.gz"
STOCKS_FILE = "us_stocks.csv.gz"
ECB_FILE = "ecb_rates.csv.gz"
SYNTHETIC_FILE = "synthetic.csv.gz"


def data_folder() -> Path:
    """Return the folder of the packaged history."""
    return Path(str(files("engine.market") / "data"))


@lru_cache(maxsize=1)
def packaged_factors() -> FactorTable:
    """Return the table of all packaged factors, in the order of the rulebook file."""
    return read_factors(Path(str(files("engine.rulebooks") / "factors.csv")))


@lru_cache(maxsize=1)
def packaged_levels() -> Levels:
    """Return the packaged history of every packaged factor.

    Returns
    -------
    Levels
        Columns in the order of `packaged_factors()`. SPX is observed on every US trading day from
        1990-01-02 to 2022-12-28; all others only on days since 1999-01-04 when both the US stock
        market and the ECB fixing were open. NaN elsewhere and before a series begins.
    """
    folder = data_folder()
    factors = packaged_factors()
    parts = [read_levels(folder / name) for name in (SPX_FILE, STOCKS_FILE, SYNTHETIC_FILE)]
    parts.append(pair_levels(read_levels(folder / ECB_FILE), _fx_ids(factors)))
    dates = np.unique(np.concatenate([part.dates for part in parts]))
    columns: dict[str, Float64Array] = {}
    for part in parts:
        rows = np.searchsorted(dates, part.dates)
        for j, name in enumerate(part.factor_ids):
            columns[str(name)] = np.full(len(dates), np.nan)
            columns[str(name)][rows] = part.values[:, j]
    values = np.column_stack([columns[str(name)] for name in factors.factor_id])
    return Levels(dates, factors.factor_id.copy(), values)


def pair_levels(per_euro: Levels, pairs: list[str]) -> Levels:
    """Turn ECB rates (units of each currency per euro) into currency pairs.

    The pair ABCDEF is the number of DEF per ABC: rate(DEF) / rate(ABC), with rate(EUR) = 1.
    Worked number: USD 1.1789 and JPY 133.73 per euro give USDJPY = 133.73 / 1.1789 = 113.4363.
    """
    rates = {str(c): per_euro.values[:, j] for j, c in enumerate(per_euro.factor_ids)}
    rates["EUR"] = np.ones(len(per_euro.dates))
    values = np.column_stack([rates[pair[3:]] / rates[pair[:3]] for pair in pairs])
    return Levels(per_euro.dates.copy(), np.array(pairs, dtype=object), values)


def _fx_ids(factors: FactorTable) -> list[str]:
    return [str(name) for name in factors.factor_id[factors.asset_class == "fx"]]
