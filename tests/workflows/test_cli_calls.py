"""`mca calls` and `mca export` through the command line, on a pack checked by hand.

OWN margins an FX delta of 5,000,000 USD at 7.4: 37,000,000, less a threshold of 2,000,000; posted
are 30,000,000. SMALL needs 37,000,000 and has 36,600,000: 400,000 lie below its MTA. FLAT and YEN
are long 50 index futures of 50 USD a point; the index fell from 3,829.25 to 3,783.22 on the day.
"""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from engine.market.packaged import packaged_levels
from tests.support.pack_writer import (
    AS_OF,
    Row,
    agreement,
    fx_delta,
    instrument,
    positions,
    write_pack,
)
from workflows.cli import exits, main
from workflows.exports.colr003 import read_margin_call_request

DAY_LOSS_USD = 50 * 50 * (3829.25 - 3783.22)
FLAT_IM_USD = 50 * 50 * 3783.22 * 0.15


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


def mca(*arguments: str | Path) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.main([str(argument) for argument in arguments])
    return Said(code, out.getvalue(), err.getvalue())


def tables(counterparty: str = "Dealer C") -> dict[str, list[Row]]:
    return {
        "agreements": [
            agreement(
                "OWN", "simm", im_threshold="2000000", im_held="30000000", counterparty=counterparty
            ),
            agreement("SMALL", "simm", im_held="36600000", counterparty="Dealer D"),
            agreement("FLAT", "flat", venue="Futures house"),
            agreement("YEN", "flat", venue="Futures house", currency="JPY", im_held="500000000"),
        ],
        "instruments": [
            instrument("SPX-FUT", "future", "SPX", multiplier="50"),
            instrument("EUR-FWD", "fx_forward", "EURUSD", expiry="2023-03-28", strike="1.06"),
        ],
        "positions": positions(
            [("SPX-FUT", "FLAT", 50), ("SPX-FUT", "YEN", 50), ("EUR-FWD", "OWN", 1)]
        ),
        "crif": [fx_delta("OWN", 5_000_000), fx_delta("SMALL", 5_000_000)],
    }


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("calls") / "pack", tables())


@pytest.fixture(scope="module")
def made(pack: Path) -> dict[str, Any]:
    said = mca("calls", pack, "--json")
    assert (said.code, said.err) == (exits.OK, "")
    return said.json()


def call(found: dict[str, Any], name: str, kind: str) -> dict[str, Any]:
    row: dict[str, Any] = next(
        row for row in found["calls"] if (row["agreement_id"], row["kind"]) == (name, kind)
    )
    return row


def usd_per_yen() -> float:
    levels = packaged_levels()
    day = [str(date) for date in levels.dates].index(AS_OF)
    return float(1.0 / levels.column("USDJPY")[day])


def test_amounts_are_those_of_the_hand_calculation(made: dict[str, Any]) -> None:
    own = call(made, "OWN", "im")
    assert (own["direction"], own["amount_cents"]) == ("pay", 500_000_000)
    assert {row["agreement_id"] for row in made["calls"]} == {"OWN", "FLAT", "YEN"}
    assert call(made, "FLAT", "vm")["amount_cents"] == round(DAY_LOSS_USD * 100) == 11_507_500
    # Whole yen: the currency has no minor unit.
    loss_yen = round(DAY_LOSS_USD / usd_per_yen())
    assert call(made, "YEN", "vm")["amount_cents"] == loss_yen * 100
    back = call(made, "YEN", "im")
    assert (back["direction"], back["movement"], back["currency"]) == ("receive", "return", "JPY")


def test_calls_agree_with_the_margin_to_the_cent(pack: Path, made: dict[str, Any]) -> None:
    rows = {row["agreement_id"]: row for row in mca("margin", pack, "--json").json()["agreements"]}
    assert rows["FLAT"]["im_usd"] == pytest.approx(FLAT_IM_USD, rel=1e-12)
    required = rows["FLAT"]["im_usd"] + sum(rows["FLAT"]["add_ons"].values())
    assert call(made, "FLAT", "im")["amount_cents"] == round(required * 100)
    yen = (rows["YEN"]["im_usd"] + sum(rows["YEN"]["add_ons"].values())) / usd_per_yen()
    assert call(made, "YEN", "im")["amount_cents"] == round(500_000_000 - yen) * 100
    totals = made["by_currency_cents"]
    for currency, way in (("USD", "pay"), ("JPY", "pay"), ("JPY", "receive")):
        of_currency = [
            row["amount_cents"]
            for row in made["calls"]
            if (row["currency"], row["direction"]) == (currency, way)
        ]
        assert totals[currency][way] == sum(of_currency) > 0


def test_times_follow_the_agreement(pack: Path, made: dict[str, Any]) -> None:
    # From 16:00 the next run of FLAT is that of 18:00, due twelve hours later.
    vm = call(made, "FLAT", "vm")
    assert vm["issued_at"] == "2022-12-28T18:00:00+00:00"
    assert vm["deadline"] == "2022-12-29T06:00:00+00:00"
    assert vm["settles_on"] == "2022-12-29"
    late = mca("calls", pack, "--now", "2022-12-28T19:00:01+01:00", "--json").json()
    assert late["now"] == "2022-12-28T18:00:01+00:00"
    assert call(late, "FLAT", "vm")["issued_at"] == "2022-12-28T21:00:00+00:00"
    assert call(late, "FLAT", "vm")["call_id"] == vm["call_id"]
    # What is to be received waits for the end of day.
    assert call(made, "YEN", "im")["issued_at"] == "2022-12-28T21:00:00+00:00"


def test_threshold_of_the_group(made: dict[str, Any]) -> None:
    (group,) = made["group_thresholds"]
    assert (group["group"], group["agreements"]) == ("Dealer C", ["OWN"])
    assert (group["im_usd"], group["threshold_usd"], group["called_usd"]) == pytest.approx(
        (37e6, 2e6, 35e6), rel=1e-12
    )


def test_messages_say_what_the_calls_say(pack: Path, made: dict[str, Any], tmp_path: Path) -> None:
    said = mca("calls", pack, "--xml", tmp_path / "xml", "--json")
    assert said.json() == made
    files = {path.name: path.read_bytes() for path in (tmp_path / "xml").iterdir()}
    assert set(files) == {f"colr003-{row['call_id']}.xml" for row in made["calls"]}
    for row in made["calls"]:
        message = read_margin_call_request(files[f"colr003-{row['call_id']}.xml"])
        for name in ("call_id", "kind", "direction", "currency", "amount_cents"):
            assert getattr(message, name) == row[name]
        assert message.party_b == row["counterparty"]
        assert str(message.settles_on) == row["settles_on"]
    mca("calls", pack, "--xml", tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files


def test_a_message_that_cannot_be_written_holds_up_no_other(
    made: dict[str, Any], tmp_path: Path
) -> None:
    long_name = "The counterparty with the longest name of all"
    pack = write_pack(tmp_path / "pack", tables(long_name))
    said = mca("calls", pack, "--xml", tmp_path / "xml", "--json")
    assert said.code == exits.DONE_WITH_FAILURES
    found = said.json()
    assert len(found["calls"]) == len(made["calls"])
    of_own = [row for row in found["calls"] if row["agreement_id"] == "OWN"]
    assert [row["item"] for row in found["failures"]] == ["OWN"] * len(of_own)
    assert f"has {len(long_name)} characters" in said.err
    assert "shorten the name" in said.err
    written = list((tmp_path / "xml").iterdir())
    assert len(written) == len(found["calls"]) - len(of_own) > 0


def test_tables_and_the_object_are_the_same(
    pack: Path, made: dict[str, Any], tmp_path: Path
) -> None:
    assert mca("calls", pack, "--out", tmp_path / "a").code == exits.OK
    assert json.loads((tmp_path / "a" / "calls.json").read_text()) == made
    table = pd.read_csv(tmp_path / "a" / "tables" / "margin_calls.csv")
    assert table["amount_cents"].tolist() == [row["amount_cents"] for row in made["calls"]]
    mca("calls", pack, "--out", tmp_path / "b")
    first, again = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in "ab"
    )
    assert first == again


def test_the_lines_for_people(pack: Path) -> None:
    out = mca("calls", pack).out
    assert "OWN" in out
    assert "5,000,000.00 USD" in out
    # Timing that is only indicative says so beside its deadline.
    assert "indicative" in next(line for line in out.splitlines() if line.startswith("OWN"))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ("soon", "2022-12-28T16:00+00:00"),
        ("", "ISO 8601"),
        ("2022-12-28", "with its zone"),
        ("2022-12-28T18:00", "with its zone"),
        ("2022-12-28T01:00+02:00", "lies before the fund's date 2022-12-28"),
        ("2024-01-01T00:00Z", "lies 369 days after the fund's date"),
        ("0001-01-01T00:00+14:00", "ISO 8601"),
        ("9999-12-31T23:30-05:00", "ISO 8601"),
        ("9999-12-31T23:30Z", "the pack of that day"),
    ],
)
def test_a_wrong_time_says_what_is_wrong(pack: Path, now: str, words: str) -> None:
    said = mca("calls", pack, "--now", now)
    assert (said.code, said.out) == (exits.USAGE, "")
    assert f"--now {now!r}" in said.err
    assert words in said.err


def test_the_last_time_that_is_taken(pack: Path) -> None:
    said = mca("calls", pack, "--now", "2023-12-29T23:00Z", "--json")
    assert said.code == exits.OK
    assert all(
        datetime.fromisoformat(row["issued_at"]).year >= 2023 for row in said.json()["calls"]
    )


@pytest.mark.parametrize("option", ["--xml", "--out"])
def test_places_that_cannot_be_written(pack: Path, tmp_path: Path, option: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    said = mca("calls", pack, option, file)
    assert said.code == exits.USAGE
    assert f"{option} {file}: is a file; name a folder" in said.err
    under = mca("calls", pack, option, file / "below")
    assert under.code == exits.USAGE
    assert "name another folder" in under.err
    assert file.read_text() == "mine"


def test_a_table_in_the_way_is_a_usage_error(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("mine")
    said = mca("calls", pack, "--out", tmp_path)
    assert said.code == exits.USAGE
    assert str(tmp_path / "tables") in said.err


def test_an_empty_fund_has_no_calls_and_says_why(tmp_path: Path) -> None:
    empty = write_pack(
        tmp_path / "pack", {**tables(), "positions": [], "instruments": [], "agreements": [],
                            "crif": [fx_delta("NONE", 1)]}
    )  # fmt: skip
    said = mca("calls", empty, "--json")
    assert said.json()["calls"] == []
    assert "the fund has no positions" in said.err


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    pack = write_pack(folder / "pack", tables())
    assert mca("run", pack, "--paths", "8", "--out", folder / "run").code == exits.OK
    return folder / "run"


def test_export_holds_the_run(run: Path, tmp_path: Path) -> None:
    said = mca("export", run, "--out", tmp_path / "a", "--json")
    assert said.code == exits.OK, said.err
    file = tmp_path / "a" / "run.xlsx"
    assert said.json()["file"] == str(file)
    book = openpyxl.load_workbook(file, read_only=True)
    figures = {row[0]: row[1] for row in book["Summary"].iter_rows(values_only=True)}
    summary = json.loads((run / "summary.json").read_text())
    im_usd = summary["margin"]["totals"]["im_usd"]
    assert figures["margin.totals.im_usd"] == im_usd
    head, *rows = book["margin_by_agreement"].iter_rows(values_only=True)
    column = head.index("im_usd")
    assert sum(float(str(row[column])) for row in rows) == pytest.approx(im_usd, rel=1e-12)
    assert set(said.json()["tables"]) == {path.stem for path in (run / "tables").glob("*.parquet")}


def test_export_into_the_run_folder_leaves_it_reproducible(run: Path, tmp_path: Path) -> None:
    assert mca("export", run).code == exits.OK
    mca("export", run, "--out", tmp_path)
    assert (run / "run.xlsx").read_bytes() == (tmp_path / "run.xlsx").read_bytes()
    assert mca("reproduce", run).code == exits.OK


def test_export_says_what_is_wrong(run: Path, tmp_path: Path) -> None:
    nowhere = mca("export", tmp_path / "nowhere")
    assert (nowhere.code, nowhere.out) == (exits.BAD_INPUT, "")
    assert "is not a run folder" in nowhere.err
    file = tmp_path / "file"
    file.write_text("mine")
    assert mca("export", run, "--out", file).code == exits.USAGE
    (tmp_path / "out" / "run.xlsx").mkdir(parents=True)
    said = mca("export", run, "--out", tmp_path / "out")
    assert said.code == exits.USAGE
    assert "cannot be written" in said.err


def test_explain_of_a_run_whose_inputs_were_changed_is_refused(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    table = copy / "pack" / "positions.csv"
    table.write_text(table.read_text().replace(",50", ",500"))
    said = mca("explain", run, copy)
    assert (said.code, said.out) == (exits.BAD_INPUT, "")
    assert f"{table}: gone or changed since the run" in said.err
