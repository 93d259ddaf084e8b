"""Reading sensitivities: what is taken, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.domain.failures import FailureReason, InputError
from engine.fund.crif import read_crif

HEADER = (
    "TradeID,PortfolioID,ProductClass,RiskType,Qualifier,Bucket,Label1,Label2,"
    "AmountCurrency,Amount,AmountUSD,collect_regulations"
)
GOOD = 'T1,P,RatesFX,Risk_IRCurve,USD,1,2w,OIS,USD,1,4000000,"CFTC,ESA"'


def write(folder: Path, *lines: str, name: str = "crif.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_good_file(tmp_path: Path) -> None:
    read = read_crif(write(tmp_path, HEADER, GOOD, GOOD.replace("T1", "T2")))
    assert not read.failures
    assert list(read.value.trade_id) == ["T1", "T2"]
    assert list(read.value.amount_usd) == [4e6, 4e6]
    assert list(read.value.label2) == ["OIS", "OIS"]


def test_tabs_bom_hash_and_other_spellings_of_the_header(tmp_path: Path) -> None:
    text = "\n".join((HEADER.replace("CollectRegulations", ""), GOOD.split(',"')[0] + ","))
    text = text.replace("PortfolioID", "portfolio_id").replace("RiskType", "RISKTYPE")
    path = tmp_path / "crif.tsv"
    path.write_bytes(b"\xef\xbb\xbf#" + text.replace(",", "\t").replace("\n", "\r\n").encode())
    read = read_crif(path)
    assert not read.failures
    assert read.value.portfolio_id[0] == "P"
    assert read.value.trade_id[0] == "T1"


def test_the_amount_may_stand_in_amount_if_it_is_in_dollars(tmp_path: Path) -> None:
    read = read_crif(
        write(
            tmp_path,
            HEADER,
            "T1,P,RatesFX,Risk_FX,EUR,,,,usd, 1e6 ,,",
            "T2,P,RatesFX,Risk_FX,EUR,,,,EUR,10,,",
            "T3,P,,Param_ProductClassMultiplier,RatesFX,,,,,1.2,,",
        )
    )
    assert list(read.value.amount_usd) == [1e6, 1.2]
    (failure,) = read.failures
    assert failure.reason is FailureReason.CURRENCY_CONVERSION
    assert (failure.item, failure.where) == ("T2", "crif.csv:3")
    assert "AmountUSD is needed" in failure.message
    assert "'10' is in EUR" in failure.message


def test_bad_rows_are_named_by_line_field_and_text(tmp_path: Path) -> None:
    read = read_crif(
        write(
            tmp_path,
            HEADER,
            GOOD,
            "",
            "T2,P,RatesFX",
            "T3,P,RatesFX,Risk_FX,EURO,,,,USD,1,1,",
            'T4,P,RatesFX,Risk_FX,EUR,,,,USD,1,"1,000",',
            "T5,P,Equity,Risk_Equity,ACME,13,,,USD,1,5,",
            "T6,P,RatesFX,Risk_FX,EUR,,,,USD,1,inf,",
            GOOD.replace("T1", "T7"),
        )
    )
    assert list(read.value.trade_id) == ["T1", "T7"]
    said = [(f.where, f.reason, f.message) for f in read.failures]
    assert [where for where, _, _ in said] == [f"crif.csv:{n}" for n in (4, 5, 6, 7, 8)]
    for (_, reason, message), expected in zip(
        said,
        [
            (FailureReason.PARSING, "3 cells where the header has 12: 'T2,P,RatesFX'"),
            (FailureReason.INVALID, "Qualifier: 'EURO' is not an ISO 4217 currency"),
            (FailureReason.PARSING, "AmountUSD: '1,000' is not a finite number"),
            (FailureReason.INVALID, "Bucket: '13' is not known"),
            (FailureReason.PARSING, "AmountUSD: 'inf' is not a finite number"),
        ],
        strict=True,
    ):
        assert reason is expected[0]
        assert expected[1] in message


def test_schedule_rows_are_refused(tmp_path: Path) -> None:
    row = "T1,P,RatesFX,Risk_FX,EUR,,,,USD,1,1,,Schedule"
    read = read_crif(write(tmp_path, HEADER + ",im_model", row))
    assert len(read.value) == 0
    assert read.failures[0].reason is FailureReason.UNSUPPORTED


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read.*absent.csv: No such file"):
        read_crif(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="no header"):
        read_crif(write(tmp_path, ""))
    with pytest.raises(InputError, match="lacks the column RiskType"):
        read_crif(write(tmp_path, HEADER.replace("RiskType", "Kind"), GOOD))
    with pytest.raises(InputError, match="lacks the column AmountUSD"):
        read_crif(write(tmp_path, HEADER.replace("AmountUSD", "X").replace("Currency", ""), GOOD))
    latin = tmp_path / "latin.csv"
    latin.write_bytes((HEADER + "\n" + GOOD.replace("USD,1,2w", "USD,\xe9,2w")).encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_crif(latin)


def test_a_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    read = read_crif(write(tmp_path, HEADER))
    assert len(read.value) == 0
    assert not read.failures
    assert read.value.amount_usd.dtype == np.float64


def test_a_header_without_a_line_end_and_carriage_returns_alone(tmp_path: Path) -> None:
    path = tmp_path / "crif.csv"
    path.write_text(HEADER, encoding="utf-8")
    assert len(read_crif(path).value) == 0
    path.write_bytes(f"{HEADER}\r{GOOD}\r{GOOD.replace('T1', 'T2')}".encode())
    read = read_crif(path)
    assert not read.failures
    assert list(read.value.trade_id) == ["T1", "T2"]


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + ",amount_usd", GOOD + ",5")
    with pytest.raises(InputError, match="has the column AmountUSD more than once"):
        read_crif(path)


def test_an_amount_that_would_overflow_is_left_out(tmp_path: Path) -> None:
    row = "T2,P,RatesFX,Risk_FX,EUR,,,,USD,,-1e308,"
    read = read_crif(write(tmp_path, HEADER, GOOD, row, row.replace("-1e308", "1e18")))
    assert list(read.value.amount_usd) == [4e6, 1e18]
    (failure,) = read.failures
    assert failure.reason is FailureReason.INVALID
    assert failure.where == "crif.csv:3"
    assert "'-1e308' is too large; at most 1e+18" in failure.message
