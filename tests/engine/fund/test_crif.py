"""Reading sensitivities: what is taken, and what is said of the rest."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.domain.crif import CrifTable
from engine.domain.failures import FailureReason, InputError
from engine.fund.crif import CrifFile, crif_file, read_crif, read_crif_file, write_crif
from tests.engine.margin.simm_books import crif, random_rows

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


def same_table(a: CrifTable, b: CrifTable) -> bool:
    return all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for field in fields(CrifTable)
    )


def same_file(a: CrifFile, b: CrifFile) -> bool:
    text = a.text.header == b.text.header and a.text.delimiter == b.text.delimiter
    return text and a.text.cells.equals(b.text.cells) and same_table(a.table, b.table)


def records(path: Path, delimiter: str) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


KNOWN = {
    "TradeID": st.sampled_from(["T1", "", " T 2 ", 'a "quoted" id', "x,y", "p\tq"]),
    "portfolio_id": st.sampled_from(["P", "Q", " P", "netting, set"]),
    "ProductClass": st.just("RatesFX"),
    "RISKTYPE": st.just("Risk_FX"),
    "Qualifier": st.sampled_from(["EUR", "gbp", " JPY "]),
    "Bucket": st.sampled_from(["", "1"]),
    "Label1": st.just(""),
    "Label2": st.sampled_from(["", "note"]),
    "AmountUSD": st.sampled_from(["1", "-2.50", "1e6", "+3", "0.1", " 7 ", "1E-3", "00012.340"]),
    "collect_regulations": st.sampled_from(["", "ESA", "CFTC,ESA", "[ESA, UK]"]),
    "PostRegulations": st.sampled_from(["", "USPR", "Excluded"]),
}
# Any text a cell can hold: no half characters, and not what ends a record outside quotes.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[list[str]], str]:
    """A header and records, columns in any order with others among them."""
    extra = draw(st.lists(st.sampled_from(["end_date", "Comment", "x y", 'with "quote"', "a,b"])))
    names = draw(st.permutations([*KNOWN, *extra]))
    n = draw(st.integers(0, 4))
    rows = [[draw(KNOWN.get(name, ANY_TEXT)) for name in names] for _ in range(n)]
    return [list(names), *rows], draw(st.sampled_from([",", "\t"]))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files())
def test_writing_what_was_read_loses_nothing(
    tmp_path: Path, content: tuple[list[list[str]], str]
) -> None:
    rows, delimiter = content
    path, again = tmp_path / "in.csv", tmp_path / "out.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    first = read_crif_file(path)
    assert not first.failures
    assert len(first.value.table) == len(rows) - 1
    write_crif(again, first.value)
    assert records(again, delimiter) == rows
    second = read_crif_file(again)
    assert same_file(first.value, second.value)


def test_regulations_and_unknown_columns_are_kept(tmp_path: Path) -> None:
    header = HEADER + ",post_regulations,end_date"
    path = write(tmp_path, header, GOOD + ',"[ESA, UK]",2031-03-01', GOOD + ", ,")
    read = read_crif_file(path).value
    assert list(read.table.collect_regulations) == ["CFTC,ESA", "CFTC,ESA"]
    assert list(read.table.post_regulations) == ["[ESA, UK]", ""]
    assert read.text.header == tuple(header.split(","))
    assert read.text.cells.column(13).to_pylist() == ["2031-03-01", ""]
    assert read.text.cells.column(12).to_pylist() == ["[ESA, UK]", " "]


def test_rows_left_out_are_not_written(tmp_path: Path) -> None:
    bad = GOOD.replace("USD,1,2w", "USD,1,9w")
    path = write(tmp_path, HEADER, GOOD, bad, "short,row", GOOD.replace("T1", "T4"))
    read = read_crif_file(path)
    assert [failure.where for failure in read.failures] == ["crif.csv:3", "crif.csv:4"]
    write_crif(tmp_path / "out.csv", read.value)
    written = records(tmp_path / "out.csv", ",")
    assert [row[0] for row in written] == ["TradeID", "T1", "T4"]
    assert written[1] == next(csv.reader([GOOD]))


def test_header_cells_with_separators_and_a_leading_hash(tmp_path: Path) -> None:
    header = '"#TradeID","Note, long",' + HEADER.removeprefix("TradeID,")
    path = write(tmp_path, header, 'T1,"a\nb",' + GOOD.removeprefix("T1,"))
    read = read_crif_file(path).value
    assert read.text.header[:2] == ("#TradeID", "Note, long")
    assert list(read.table.trade_id) == ["T1"]
    write_crif(tmp_path / "out.csv", read)
    assert records(tmp_path / "out.csv", ",") == records(path, ",")


def test_a_table_of_the_engine_comes_back_exactly(tmp_path: Path) -> None:
    table = crif(random_rows(4, 200))
    path = tmp_path / "engine.csv"
    write_crif(path, crif_file(table))
    read = read_crif(path)
    assert not read.failures
    assert same_table(read.value, table)
    assert path.read_text(encoding="utf-8").startswith("TradeID,PortfolioID,ProductClass,RiskType,")
    write_crif(path, crif_file(crif([])))
    assert len(read_crif(path).value) == 0
