"""The factor table: every packaged row is valid, a bad row of the user is named."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.market.factors import COLUMNS, merge_factors, read_factors
from engine.market.packaged import packaged_factors

FACTORS_FILE = Path(str(files("engine.rulebooks") / "factors.csv"))
EQUITY_BUCKETS = {str(bucket) for bucket in range(1, 13)}
CREDIT_BUCKETS = {str(bucket) for bucket in range(1, 13)}
COMMODITY_BUCKETS = {str(bucket) for bucket in range(1, 18)}


def test_packaged_table_covers_the_markets_of_a_fund() -> None:
    table = packaged_factors()
    assert Counter(table.asset_class) == {
        "equity": 32,
        "rates": 13,
        "credit": 4,
        "fx": 24,
        "commodity": 14,
        "volatility": 2,
    }
    assert 16 <= len(set(table.bucket)) <= 24
    assert (table.adv > 0).all()
    assert (table.daily_vol_floor > 0).all()
    assert all("indicative" in source for source in table.source)


def test_only_stocks_spx_and_fx_are_real() -> None:
    table = packaged_factors()
    real = set(table.factor_id[~table.synthetic])
    stocks = set(table.factor_id[table.bucket == "equity_us_single"])
    assert len(stocks) == 20
    assert real == stocks | {"SPX"} | set(table.factor_id[table.asset_class == "fx"])
    assert all("synthetic" in source for source in table.source[table.synthetic])


def test_factors_that_may_be_negative_use_differences() -> None:
    table = packaged_factors()
    absolute = set(table.factor_id[table.return_type == "absolute"])
    expected = set(table.factor_id[np.isin(table.asset_class, ["rates", "credit"])])
    assert absolute == expected | {"WTI", "BRENT", "HH", "TTF", "POWER_DE"}


def test_simm_mapping_uses_buckets_of_every_version() -> None:
    table = packaged_factors()
    for i, name in enumerate(table.factor_id):
        kind, bucket = table.simm_risk_type[i], table.simm_bucket[i]
        if kind == "Risk_Equity":
            assert bucket in EQUITY_BUCKETS
        elif kind == "Risk_CreditQ":
            assert bucket in CREDIT_BUCKETS
            assert table.simm_label1[i] == "5y"
        elif kind == "Risk_Commodity":
            assert bucket in COMMODITY_BUCKETS
        elif kind == "Risk_IRCurve":
            assert table.simm_qualifier[i] == table.currency[i]
            assert table.simm_label1[i] in {"2y", "5y", "10y", "30y"}
        else:
            assert kind == "Risk_FX"
            assert table.simm_qualifier[i] in (name[:3], name[3:])
            assert table.simm_qualifier[i] != "USD"
    bucket_of = dict(zip(table.factor_id, table.simm_bucket, strict=True))
    assert bucket_of["SPX"] == "11"
    assert bucket_of["AAPL"] == bucket_of["JPM"] == "8"
    assert bucket_of["VIX"] == "12"


def test_fx_pays_in_its_quote_currency() -> None:
    table = packaged_factors()
    for name, currency in zip(table.factor_id, table.currency, strict=True):
        if len(name) == 6 and currency == name[3:]:
            assert name[:3] != currency
    fx = table.asset_class == "fx"
    assert [name[3:] for name in table.factor_id[fx]] == list(table.currency[fx])


def edited(folder: Path, old: str, new: str) -> Path:
    text = FACTORS_FILE.read_text(encoding="utf-8")
    assert old in text
    path = folder / "factors.csv"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("\nNDX,equity", "\nSPX,equity", ["row 3", "'SPX'", "already on row 2"]),
        ("\nNDX,equity", "\nNDX,shares", ["row 3", "'asset_class'", "'shares'"]),
        ("index,log,equity_us_index,2e+11", "index,ln,equity_us_index,2e+11", ["'ln'"]),
        ("equity_us_index,2e+11", "equity_us_index,-1", ["row 3", "'adv'", "'-1'"]),
        ("equity_us_index,2e+11", "equity_us_index,many", ["row 3", "'adv'", "'many'"]),
        ("\nNDX,equity,USD", "\nNDX,equity,", ["row 3", "'currency'", "blank"]),
        ("daily_vol_floor", "floor", ["row 1", "'daily_vol_floor'"]),
    ],
)
def test_bad_row_is_named(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read_factors(edited(tmp_path, old, new))
    for part in expected:
        assert part in str(caught.value)


def test_user_rows_replace_and_extend(tmp_path: Path) -> None:
    header = ",".join(COLUMNS)
    path = tmp_path / "factors.csv"
    path.write_text(
        f"{header}\nSPX,equity,USD,index,log,mine,1e9,0.01,,,,,,false,own\n"
        "URALS,commodity,USD,USD/bbl,absolute,oil,1e6,0.4,,,,,,FALSE,own\n"
    )
    merged = merge_factors(packaged_factors(), read_factors(path))
    assert len(merged) == len(packaged_factors()) + 1
    assert merged.bucket[0] == "mine"
    assert merged.factor_id[-1] == "URALS"
    assert merged.adv.dtype == np.float64
    assert merged.synthetic.dtype == np.bool_
