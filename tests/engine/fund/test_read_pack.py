"""Reading packs: the good case, round trips, references, limits, Parquet, size."""

from __future__ import annotations

import hashlib
import time
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.domain.failures import InputError
from engine.fund.quarantine import PackRejectedError, RowCounts, write_quarantine
from engine.fund.read import read_pack
from engine.fund.rules import currencies_with_rate
from engine.fund.schema import TABLES
from engine.fund.template import write_template
from engine.fund.write import book_frames, write_pack


def test_template_reads_cleanly(pack) -> None:
    reading = pack.read()
    book = reading.book
    assert reading.quarantine.empty
    assert list(reading.quarantine.columns) == ["file", "row", "field", "rule", "raw", "suggestion"]
    assert (len(book.positions), len(book.agreements)) == (10, 4)
    assert book.as_of == date(2022, 12, 28)
    assert book.nav_usd == 250e6
    assert reading.counts["positions"] == RowCounts(10, 10, 0)
    assert reading.crif is None
    assert reading.history_path is None
    assert reading.findings[0] == "managers: 2 rows = 2 accepted + 0 quarantined"


def test_template_reads_cleanly_with_the_packaged_factors(tmp_path: Path) -> None:
    from engine.market.packaged import packaged_factors

    write_template(tmp_path / "pack")
    reading = read_pack(tmp_path / "pack", packaged_factors())
    assert reading.quarantine.empty
    assert np.all(reading.book.instruments.factor >= 0)


def test_values_types_and_references(pack) -> None:
    book = pack.read().book
    instruments, agreements = book.instruments, book.agreements
    first = book.positions.instrument[7]
    assert instruments.instrument_id[first] == "SPX-PUT-3600"
    assert instruments.strike[first] == 3600
    assert instruments.right[first] == "P"
    assert instruments.expiry[first] == np.datetime64("2023-03-17")
    assert instruments.vol_factor_id[first] == "VIX"
    assert pack.factors.factor_id[instruments.vol_factor[first]] == "VIX"
    assert pack.factors.factor_id[instruments.factor[first]] == "SPX"
    future = list(instruments.instrument_id).index("SPX-FUT")
    assert np.isnat(instruments.expiry[future])
    assert np.isnan(instruments.strike[future])
    assert instruments.vol_factor[future] == -1
    simm = list(agreements.model).index("simm")
    assert np.isnan(agreements.confidence[simm])
    assert agreements.lookback_days[simm] == 0
    assert agreements.intraday_hours_utc[0] == (15, 18)
    assert agreements.intraday_hours_utc[simm] == ()
    assert book.cash.amount_cents.tolist()[0] == 4_500_000_000
    assert book.settlements.amount_cents.dtype == np.int64


def test_arrays_are_frozen(pack) -> None:
    with pytest.raises(ValueError, match="read-only"):
        pack.read().book.positions.quantity[0] = 1.0


def test_hashes_are_of_the_bytes(pack) -> None:
    hashes = pack.read().hashes
    assert set(hashes) == {"fund.toml", *[f"{n}.csv" for n, t in TABLES.items() if t.required]}
    data = (pack.folder / "cash.csv").read_bytes()
    assert hashes["cash.csv"] == hashlib.sha256(data).hexdigest()


def same(left: object, right: object) -> None:
    for item in fields(left):  # type: ignore[arg-type]
        a, b = getattr(left, item.name), getattr(right, item.name)
        if is_dataclass(a):
            same(a, b)
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            if a.dtype == object:
                assert a.tolist() == b.tolist(), item.name
            else:
                np.testing.assert_array_equal(a, b, err_msg=item.name)
        else:
            assert a == b, item.name


def test_written_book_reads_back_unchanged(pack, tmp_path: Path) -> None:
    pack.replace("positions.csv", ",400\n", ",0.1234567890123456\n")
    pack.replace("cash.csv", "45000000.00", "-0.05")
    book = pack.read().book
    write_pack(book, tmp_path / "copy", avalanche={"paths": 7, "name": 'a "b"', "on": False})
    again = read_pack(tmp_path / "copy", pack.factors)
    same(book, again.book)
    assert again.book.cash.amount_cents[0] == -5
    assert again.config.avalanche == {"paths": 7, "name": 'a "b"', "on": False}


def parquet(pack, name: str, frame: pd.DataFrame) -> None:
    frame.to_parquet(pack.folder / f"{name}.parquet", index=False)
    pack.replace("fund.toml", f'"{name}.csv"', f'"{name}.parquet"')


def test_parquet_tables_read_the_same(pack) -> None:
    book = pack.read().book
    frames = book_frames(book)
    for name, frame in frames.items():
        parquet(pack, name, frame)
    same(book, pack.read().book)


def test_typed_parquet_columns(pack) -> None:
    book = pack.read().book
    frame = book_frames(book)["instruments"]
    frame["expiry"] = pd.to_datetime(frame["expiry"]).dt.as_unit("us")
    frame["kind"] = frame["kind"].astype("category")
    parquet(pack, "instruments", frame)
    same(book, pack.read().book)


def test_parquet_rows_are_checked_like_text(pack) -> None:
    frame = book_frames(pack.read().book)["positions"]
    frame.loc[2, "quantity"] = np.nan
    parquet(pack, "positions", frame)
    assert pack.problems() == [("positions.parquet", 3, "quantity", "blank")]
    frame.loc[2, "quantity"] = np.inf
    frame.to_parquet(pack.folder / "positions.parquet", index=False)
    assert pack.problems() == [("positions.parquet", 3, "quantity", "not_finite")]


def test_parquet_ids_must_be_text(pack) -> None:
    frame = book_frames(pack.read().book)["positions"]
    frame["position_id"] = range(len(frame))
    parquet(pack, "positions", frame)
    with pytest.raises(InputError, match="'position_id' is stored as int64, but it must be text"):
        pack.read()


def test_date_with_time_of_day_is_refused_in_parquet(pack) -> None:
    frame = book_frames(pack.read().book)["settlements"]
    frame["value_date"] = pd.to_datetime(["2022-12-30 10:30", "2023-01-03 00:00"]).as_unit("us")
    parquet(pack, "settlements", frame)
    assert pack.problems() == [("settlements.parquet", 1, "value_date", "not_a_date")]


@pytest.mark.parametrize(
    ("field", "old", "new", "near"),
    [
        ("instrument_id", "WTI-FUT", "WTI-FUTT", "WTI-FUT"),
        ("agreement_id", "CCP-FUTURES", "ccp-futures", "CCP-FUTURES"),
        ("manager_id", "PM-MACRO", "PM-MACR", "PM-MACRO"),
        ("strategy_id", "ENERGY", "ENERGI", "ENERGY"),
    ],
)
def test_unknown_references(pack, field: str, old: str, new: str, near: str) -> None:
    row = "P-003,WTI-FUT,CCP-FUTURES,PM-MACRO,ENERGY,300"
    pack.replace("positions.csv", row, row.replace(old, new))
    [entry] = pack.read().quarantine.to_dict("records")
    assert (entry["row"], entry["field"], entry["rule"]) == (4, field, "unknown_reference")
    assert (entry["raw"], entry["suggestion"]) == (new, f"did you mean '{near}'?")


def test_unknown_factor(pack) -> None:
    pack.replace("instruments.csv", "WTI-FUT,future,WTI", "WTI-FUT,future,WTIX")
    entries = pack.read().quarantine.to_dict("records")
    assert entries[0]["suggestion"] == "did you mean 'WTI'?"
    assert entries[1]["file"] == "positions.csv"
    assert entries[1]["rule"] == "reference_quarantined"
    assert entries[1]["suggestion"] == "its row in instruments is quarantined"


def test_position_of_a_ragged_instrument_row_is_told_the_cause(pack) -> None:
    pack.replace("instruments.csv", "WTI-FUT,future,WTI,USD,1000,,,,,,,", "WTI-FUT,future,WTI")
    assert pack.problems() == [
        ("instruments.csv", 4, "(row)", "ragged"),
        ("positions.csv", 4, "instrument_id", "reference_quarantined"),
    ]


def test_second_bad_row_of_a_small_table_stops(pack) -> None:
    pack.replace("positions.csv", ",400\n", ",x\n")
    assert pack.read().counts["positions"] == RowCounts(10, 9, 1)
    pack.replace("positions.csv", ",300\n", ",y\n")
    with pytest.raises(PackRejectedError) as caught:
        pack.read()
    error = caught.value
    assert error.exit_code == 3
    assert "positions: 2 of 10 rows are bad (20.0%" in str(error)
    assert "positions.csv:2: quantity 'x': not_a_number" in str(error)
    assert len(error.quarantine) == 2
    assert error.counts["positions"] == RowCounts(10, 8, 2)


def test_limit_of_one_per_cent(pack) -> None:
    lines = [f"Q-{i},SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,1" for i in range(290)]
    bad = ["B-1,SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,1_0"] * 1
    header = pack.text("positions.csv").splitlines()[0]
    three = [bad[0].replace("B-1", f"B-{i}") for i in range(3)]
    pack.write("positions.csv", "\n".join([header, *lines, *three]) + "\n")
    with pytest.raises(InputError, match="3 of 293 rows are bad"):
        pack.read()
    more = [f"R-{i},SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,1" for i in range(7)]
    pack.write("positions.csv", "\n".join([header, *lines, *three, *more]) + "\n")
    assert pack.read().counts["positions"] == RowCounts(300, 297, 3)


def test_counts_must_add_up() -> None:
    with pytest.raises(AssertionError):
        RowCounts(3, 1, 1)


def test_all_broken_files_are_told_at_once(pack) -> None:
    (pack.folder / "cash.csv").unlink()
    pack.replace("managers.csv", "allocation", "alloc")
    pack.replace("positions.csv", ",400\n", ",x\n")
    with pytest.raises(PackRejectedError) as caught:
        pack.read()
    message = str(caught.value)
    assert "cash.csv: not found" in message
    assert "managers.csv:1: missing column 'allocation' (found 'alloc': rename it)" in message
    assert "positions.csv:2: quantity 'x'" in message


def test_empty_fund(pack) -> None:
    for name, table in TABLES.items():
        if table.required:
            pack.write(f"{name}.csv", pack.text(f"{name}.csv").splitlines()[0] + "\n")
    reading = pack.read()
    assert all(count == RowCounts(0, 0, 0) for count in reading.counts.values())
    book = reading.book
    assert len(book.positions) == len(book.instruments) == len(book.agreements) == 0
    assert book.positions.quantity.dtype == np.float64
    assert book.positions.instrument.dtype == np.int64
    assert book.instruments.expiry.dtype == np.dtype("datetime64[D]")
    assert book.instruments.factor.dtype == np.int64
    assert book.cash.amount_cents.dtype == np.int64


def test_one_position(pack) -> None:
    pack.write("positions.csv", "\n".join(pack.text("positions.csv").splitlines()[:2]))
    assert pack.read().book.positions.quantity.tolist() == [400.0]


def test_rules_between_cells(pack) -> None:
    pack.replace("facilities.csv", "0.00,48", "25000000.01,48")
    pack.replace("settlements.csv", "2022-12-30", "2022-12-27")
    pack.replace("agreements.csv", "CCP-FUTURES,cleared,Futures clearing", "CCP-FUTURES,cleared,")
    entries = {(e[0], e[1], e[2], e[3]) for e in _rejected(pack) if e[0] != "positions.csv"}
    assert entries == {
        ("agreements.csv", 2, "venue", "blank"),
        ("facilities.csv", 2, "drawn", "over_limit"),
        ("settlements.csv", 2, "value_date", "past"),
    }


def _rejected(pack) -> list[tuple[str, int, str, str]]:
    with pytest.raises(PackRejectedError) as caught:
        pack.read()
    frame = caught.value.quarantine
    columns = [frame[name].tolist() for name in ("file", "row", "field", "rule")]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    ("old", "new", "field", "rule"),
    [
        ("2023-03-17,3600", ",3600", "expiry", "blank"),
        ("2023-03-17,3600", "2022-12-28,3600", "expiry", "expired"),
        ("2023-03-17,3600", "2023-02-29,3600", "expiry", "not_a_date"),
        ("2023-03-17,3600", "17/03/2023,3600", "expiry", "not_a_date"),
        (",3600,", ",,", "strike", "blank"),
        (",P,", ",,", "right", "blank"),
        (",P,", ",p,", "right", "not_in_list"),
        (",0.24,", ",0,", "vol", "out_of_range"),
        (",0.24,VIX", ",0.24,VIXX", "vol_factor_id", "unknown_reference"),
    ],
)
def test_option_terms(pack, old: str, new: str, field: str, rule: str) -> None:
    pack.replace("instruments.csv", old, new)
    assert pack.problems()[0] == ("instruments.csv", 9, field, rule)


def test_cells_a_kind_does_not_use_are_ignored_and_told(pack) -> None:
    pack.replace("instruments.csv", "SPX-FUT,future,SPX,USD,50,,", "SPX-FUT,future,SPX,USD,50,,9")
    reading = pack.read()
    assert reading.quarantine.empty
    assert np.isnan(reading.book.instruments.strike[0])
    assert (
        "instruments.csv: 1 cells of 'strike' ignored: it is read only where kind is option, "
        "fx_forward, trs" in reading.findings
    )


def test_zero_lookback_of_simm_is_accepted(pack) -> None:
    pack.replace("agreements.csv", "simm,,10,,,", "simm,,10,0,,")
    reading = pack.read()
    assert reading.quarantine.empty
    assert not [line for line in reading.findings if "ignored" in line]


def test_unused_and_absent_columns_are_told(pack) -> None:
    lines = pack.text("strategies.csv").splitlines()
    pack.write("strategies.csv", "\n".join([f"{line},x" for line in lines]))
    rows = [line.rsplit(",", 1)[0] for line in pack.text("instruments.csv").splitlines()]
    pack.write("instruments.csv", "\n".join(rows))
    reading = pack.read()
    assert "strategies.csv: column 'x' is not used" in reading.findings
    assert "instruments.csv: column 'vol_factor_id' is absent; read as blank" in reading.findings
    assert np.all(reading.book.instruments.vol_factor == -1)


def test_misspelt_optional_column_is_not_read_as_blank(pack) -> None:
    pack.replace("instruments.csv", "vol_factor_id", "volfactor_id")
    with pytest.raises(InputError, match=r"'vol_factor_id' \(found 'volfactor_id': rename it\)"):
        pack.read()


def test_currency_without_a_rate(pack) -> None:
    pack.append("cash.csv", "MASTER,CHF,100")
    [entry] = pack.read().quarantine.to_dict("records")
    assert (entry["rule"], entry["row"]) == ("no_exchange_rate", 5)
    assert "add CHFUSD" in entry["suggestion"]


def test_rates_reach_through_other_currencies() -> None:
    ids = np.array(["EURCHF", "EURUSD", "USDJPY", "CHFSEK", "NZDAUD", "SPX"], dtype=object)
    assert currencies_with_rate(ids) == {"USD", "EUR", "JPY", "CHF", "SEK"}


def test_reporting_currency_other_than_usd(pack) -> None:
    pack.replace("fund.toml", 'currency = "USD"', 'currency = "EUR"')
    with pytest.raises(InputError, match="no exchange rate to USD was given"):
        pack.read()
    book = pack.read(fx_usd={"EUR": 1.0625}).book
    assert book.nav_usd == 250e6 * 1.0625
    assert book.managers.allocation_usd[0] == 120e6 * 1.0625
    with pytest.raises(InputError, match="reports in EUR"):
        write_pack(book, pack.folder / "again")


OWN_FACTORS = """\
factor_id,asset_class,currency,unit,return_type,bucket,adv,daily_vol_floor,simm_risk_type,\
simm_qualifier,simm_bucket,simm_label1,simm_label2,synthetic,source
SPX,equity,USD,index,log,MINE,5e9,0,Risk_Equity,SPX,11,,,false,desk
CHFUSD,fx,USD,rate,log,FX,1e9,0.0001,Risk_FX,CHF,,,,true,desk
"""


def test_own_factors_replace_and_add(pack) -> None:
    pack.write("factors.csv", OWN_FACTORS)
    pack.replace("fund.toml", "# factors =", "factors =")
    pack.append("cash.csv", "MASTER,CHF,100")
    reading = pack.read()
    factors = reading.factors
    assert reading.quarantine.empty
    assert len(factors) == len(pack.factors) + 1
    assert (factors.factor_id[0], factors.bucket[0], factors.adv[0]) == ("SPX", "MINE", 5e9)
    assert factors.factor_id[-1] == "CHFUSD"
    assert factors.synthetic[-1]
    assert pack.factors.bucket[0] == "SPX"
    assert "factors of the pack replace packaged: SPX" in reading.findings
    index = reading.book.instruments.factor
    assert factors.factor_id[index].tolist() == reading.book.instruments.factor_id.tolist()


def test_instrument_of_a_quarantined_own_factor(pack) -> None:
    pack.write("factors.csv", OWN_FACTORS.replace("CHFUSD,fx,USD,rate,log", "NEW,fx,USD,rate,logg"))
    pack.replace("fund.toml", "# factors =", "factors =")
    pack.replace("instruments.csv", "WTI-FUT,future,WTI", "WTI-FUT,future,NEW")
    rules = [(p[0], p[3]) for p in pack.problems()]
    assert rules == [
        ("factors.csv", "not_in_list"),
        ("instruments.csv", "reference_quarantined"),
        ("positions.csv", "reference_quarantined"),
    ]


def test_history_is_found_and_hashed(pack) -> None:
    pack.replace("fund.toml", "# history =", "history =")
    with pytest.raises(InputError, match=r"history.csv: not found"):
        pack.read()
    pack.write("history.csv", "date,SPX\n2022-12-28,3783.22\n")
    reading = pack.read()
    assert reading.history_path == (pack.folder / "history.csv").resolve()
    assert "history.csv" in reading.hashes


def test_crif_rows_need_an_agreement(pack) -> None:
    pytest.importorskip("engine.fund.crif")
    pack.replace("fund.toml", "# crif =", "crif =")
    header = (
        "TradeID,PortfolioID,ProductClass,RiskType,Qualifier,Bucket,Label1,Label2,Amount,"
        "AmountCurrency,AmountUSD"
    )
    rows = [f"T{i},CSA-DEALER,RatesFX,Risk_IRCurve,USD,1,2y,OIS,100,USD,100" for i in range(5)]
    rows[3] = rows[3].replace("CSA-DEALER", "CSA-DEALR")
    pack.write("crif.csv", "\n".join([header, *rows]) + "\n")
    reading = pack.read()
    assert reading.crif is not None
    assert len(reading.crif) == 4
    assert reading.counts["crif"] == RowCounts(5, 4, 1)
    [entry] = reading.quarantine.to_dict("records")
    assert (entry["file"], entry["row"], entry["field"]) == ("crif.csv", 5, "PortfolioID")
    assert entry["suggestion"] == "did you mean 'CSA-DEALER'?"


def test_bad_crif_rows_are_counted_once(pack) -> None:
    pack.replace("fund.toml", "# crif =", "crif =")
    header = "TradeID,PortfolioID,ProductClass,RiskType,Qualifier,Bucket,Label1,Label2,AmountUSD"
    rows = [f"T{i},CSA-DEALER,RatesFX,Risk_IRCurve,USD,1,2y,OIS,100" for i in range(300)]
    rows[3] = rows[3].replace(",100", ",1_0").replace("RatesFX", "Nonsense")
    rows[9] = "a,b"
    pack.write("crif.csv", "\n".join([header, *rows]) + "\n")
    reading = pack.read()
    assert reading.counts["crif"] == RowCounts(300, 298, 2)
    assert set(reading.quarantine["row"]) == {5, 11}


def test_template_is_not_written_over_a_pack(pack) -> None:
    with pytest.raises(InputError, match="is there already"):
        write_template(pack.folder)


def test_quarantine_file_holds_no_formulas(pack, tmp_path: Path) -> None:
    pack.replace("strategies.csv", "INDEX,Index long", "INDEX,=cmd|' /C calc'!A0")
    with pytest.raises(PackRejectedError) as caught:
        pack.read()
    path = tmp_path / "quarantine.csv"
    write_quarantine(caught.value.quarantine, path)
    text = path.read_text(encoding="utf-8")
    assert "'=cmd|" in text
    assert ",=cmd|" not in text


def test_missing_folder(tmp_path: Path, small_factors) -> None:
    with pytest.raises(InputError, match="not found; a fund pack is a folder"):
        read_pack(tmp_path / "none", small_factors)


def test_million_positions_report(pack, record_property) -> None:
    """Report the CPU time of a large pack; the bound is loose because machines differ."""
    count = 1_000_000
    rng = np.random.default_rng(3)
    names = np.array(["SPX-FUT", "NDX-FUT", "WTI-FUT", "UST10-SWAP", "EURUSD-FWD"], dtype=object)
    frame = pd.DataFrame(
        {
            "position_id": [f"P-{i:07d}" for i in range(count)],
            "instrument_id": names[rng.integers(0, len(names), count)],
            "agreement_id": "CCP-FUTURES",
            "manager_id": "PM-EQ",
            "strategy_id": "INDEX",
            "quantity": np.char.mod("%.3f", 1 + rng.random(count) * 1000),
        }
    )
    frame.loc[::1000, "quantity"] = "1,000"
    frame.to_csv(pack.folder / "positions.csv", index=False)
    start = time.process_time()
    reading = pack.read()
    cpu_seconds = time.process_time() - start
    record_property("cpu_seconds", cpu_seconds)
    print(f"1,000,000 positions with 1,000 bad rows: {cpu_seconds:.2f} s CPU")
    assert reading.counts["positions"] == RowCounts(count, count - 1000, 1000)
    assert reading.quarantine["row"].tolist() == list(range(2, count + 2, 1000))
