"""Generating the sample fund's tables and writing them as a fund pack."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from engine.domain.market import MarketState
from engine.fund.sample.agreements import agreement_table
from engine.fund.sample.book import FUND_NAME, NAV_USD
from engine.fund.sample.instruments import build_catalogue
from engine.fund.sample.liquidity import (
    cash_table,
    collateral_table,
    facility_table,
    settlement_table,
)
from engine.fund.sample.opening import with_margin_targets, with_posted_margin
from engine.fund.sample.positions import (
    build_workbench,
    margin_targets_usd,
    position_table,
)
from engine.fund.sample.tables import (
    bilateral_products,
    cleared_products,
    managers,
    prime_products,
    strategies,
)

TABLE_FILES = (
    "positions", "instruments", "agreements", "cash", "collateral", "facilities", "settlements",
    "managers", "strategies",
)  # fmt: skip
MAX_STALE_DAYS = 10
SIGNIFICANT_DIGITS = 10


def sample_tables(seed: int, market: MarketState) -> dict[str, pd.DataFrame]:
    """Generate the sample fund.

    Parameters
    ----------
    seed : int
        Of the Philox generator; the same seed and market give the same tables.
    market : MarketState
        Levels set strikes and rates, returns set sizes. Needs the packaged factors.

    Returns
    -------
    dict of str to DataFrame
        The tables of a fund pack by name, in the pack's columns.

    Raises
    ------
    InputError
        If the market lacks a factor.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    products = (*cleared_products(), *bilateral_products(), *prime_products())
    catalogue = build_catalogue(products, market)
    positions = position_table(build_workbench(catalogue, market, rng), rng)
    held = catalogue.frame["instrument_id"].isin(set(positions["instrument_id"]))
    instruments = catalogue.frame[held].reset_index(drop=True)
    tables = {
        "positions": positions,
        "instruments": instruments,
        "agreements": agreement_table(market),
        "cash": cash_table(),
        "collateral": collateral_table(),
        "facilities": facility_table(),
        "settlements": settlement_table(market.as_of, rng),
        "managers": pd.DataFrame(
            [(m.manager_id, m.name, m.allocation_usd) for m in managers()],
            columns=["manager_id", "name", "allocation"],
        ),
        "strategies": pd.DataFrame(
            [(s["strategy_id"], s["name"], s["asset_class"]) for s in strategies()],
            columns=["strategy_id", "name", "asset_class"],
        ),
    }
    tables["positions"] = with_margin_targets(tables, margin_targets_usd(), market)
    tables["agreements"] = with_posted_margin(tables, market)
    return tables


def write_sample_fund(folder: Path, seed: int, market: MarketState) -> None:
    """Write the sample fund as a fund pack: CSV tables and `fund.toml`.

    The folder is created; files of the same names are overwritten. The same seed and market
    give the same bytes.

    Raises
    ------
    InputError
        If the market lacks a factor.
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in sample_tables(seed, market).items():
        (folder / f"{name}.csv").write_bytes(csv_text(frame).encode())
    (folder / "fund.toml").write_bytes(_toml(market.as_of, seed).encode())


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV: ten significant digits, no trailing zeros, blank for missing."""
    cells = frame.map(_cell)
    return cells.to_csv(index=False, lineterminator="\n")


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else _number(float(value))
    if value is None or value is pd.NaT:
        return ""
    return str(value)


def _number(value: float) -> str:
    text = f"{value:.{SIGNIFICANT_DIGITS}g}"
    return f"{value:.0f}" if "e+" in text else text


def _toml(as_of: date, seed: int) -> str:
    files = "\n".join(f'{name} = "{name}.csv"' for name in TABLE_FILES)
    return (
        f"# Sample fund, generated from seed {seed}. Invented: no real fund, broker or dealer.\n"
        "[fund]\n"
        f'name = "{FUND_NAME}"\n'
        f"as_of = {as_of.isoformat()}\n"
        'currency = "USD"\n'
        f"nav = {NAV_USD:_.1f}\n"
        "\n[files]\n"
        f"{files}\n"
        "\n[options]\n"
        f"max_stale_days = {MAX_STALE_DAYS}\n"
    )
