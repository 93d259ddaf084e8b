"""A fund pack on disk from a few rows, for tests that go through the command line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.fund.schema import TABLES

AS_OF = "2022-12-28"
Row = dict[str, str]

_AGREEMENT = {
    "kind": "cleared", "venue": "Futures clearing", "counterparty": "Broker A",
    "broker": "Broker A", "legal_entity": "MASTER", "currency": "USD", "confidence": "0.99",
    "mpor_days": "2", "lookback_days": "500", "ewma_lambda": "0.97", "apc": "none",
    "stress_weight": "0", "broker_multiplier": "1", "vm_threshold": "0", "im_threshold": "0",
    "mta": "0", "rounding": "0", "independent_amount": "0", "vm_held": "0", "im_held": "0",
    "eod_hour_utc": "21", "intraday_hours_utc": "15;18", "pay_lag_hours": "12",
    "evidence": "user",
}  # fmt: skip
_BILATERAL = {
    "kind": "bilateral", "venue": "", "counterparty": "Dealer C", "broker": "",
    "mpor_days": "10", "intraday_hours_utc": "", "pay_lag_hours": "24", "mta": "500000",
    "rounding": "10000",
}  # fmt: skip
_WITHOUT_TAIL = {"confidence": "", "lookback_days": "", "ewma_lambda": ""}
_OTHERS: dict[str, list[Row]] = {
    "cash": [{"legal_entity": "MASTER", "currency": "USD", "amount": "45000000.00"}],
    "collateral": [
        {
            "asset_id": "TBILL", "legal_entity": "MASTER", "asset_class": "government bond",
            "currency": "USD", "market_value": "30000000", "haircut": "0.005", "settle_days": "1",
        }
    ],
    "facilities": [],
    "settlements": [],
    "managers": [
        {"manager_id": name, "name": name, "allocation": "100000000"} for name in ("PM-1", "PM-2")
    ],
    "strategies": [{"strategy_id": "S", "name": "All", "asset_class": "equity"}],
}  # fmt: skip


def agreement(name: str, model: str, **cells: str) -> Row:
    """Return a row of agreements: cleared, or bilateral for `simm` and `schedule`."""
    row = {"agreement_id": name, "model": model, **_AGREEMENT}
    if model in ("simm", "schedule"):
        row |= _BILATERAL
    if model in ("simm", "schedule", "flat"):
        row |= _WITHOUT_TAIL
    return row | cells


def instrument(name: str, kind: str, factor: str, **cells: str) -> Row:
    """Return a row of instruments in USD with a multiplier of 1."""
    row = {"instrument_id": name, "kind": kind, "factor_id": factor}
    return {**row, "currency": "USD", "multiplier": "1", **cells}


def positions(held: Iterable[tuple[str, str, float]]) -> list[Row]:
    """Return rows P1, P2, ... of (instrument, agreement, quantity), managers in turn."""
    return [
        {
            "position_id": f"P{n}", "instrument_id": what, "agreement_id": where,
            "manager_id": f"PM-{1 + n % 2}", "strategy_id": "S", "quantity": f"{quantity:.0f}",
        }
        for n, (what, where, quantity) in enumerate(held, start=1)
    ]  # fmt: skip


def fx_delta(agreement_id: str, amount_usd: int, currency: str = "EUR") -> Row:
    """Return a CRIF row of one FX delta."""
    return {
        "ProductClass": "RatesFX", "RiskType": "Risk_FX", "Qualifier": currency, "Bucket": "",
        "Label1": "", "Label2": "", "Amount": str(amount_usd), "AmountCurrency": "USD",
        "AmountUSD": str(amount_usd), "PortfolioID": agreement_id,
    }  # fmt: skip


def write_pack(folder: Path, tables: Mapping[str, list[Row]], omit: Iterable[str] = ()) -> Path:
    """Write the tables, with a little cash and a bond where not given; return the folder.

    Columns named in `omit` are left out of every table.
    """
    given = {**_OTHERS, **tables}
    folder.mkdir(parents=True)
    names = "\n".join(f'{name} = "{name}.csv"' for name in given)
    (folder / "fund.toml").write_text(
        f'[fund]\nname = "Test Fund"\nas_of = {AS_OF}\ncurrency = "USD"\nnav = 250000000.0\n'
        f"\n[files]\n{names}\n"
    )
    left_out = set(omit)
    for name, rows in given.items():
        known = (
            [column.name for column in TABLES[name].columns] if name in TABLES else list(rows[0])
        )
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(
                stream, [n for n in known if n not in left_out], "", extrasaction="ignore"
            )
            writer.writeheader()
            writer.writerows(rows)
    return folder
