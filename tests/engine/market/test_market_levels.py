"""A history file is read exactly, or refused with file, row, column, raw text and remedy."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from engine.domain.failures import InputError
from engine.market.levels import read_levels

GOOD = "date,SPX,WTI\n2020-04-17,2874.56,18.31\n2020-04-20,,-36.98\n2020-04-21, 2736.56 ,\n"


def written(folder: Path, text: str, name: str = "history.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_levels_blanks_and_negatives(tmp_path: Path) -> None:
    levels = read_levels(written(tmp_path, GOOD))
    assert list(levels.factor_ids) == ["SPX", "WTI"]
    assert levels.dates.astype(str).tolist() == ["2020-04-17", "2020-04-20", "2020-04-21"]
    np.testing.assert_array_equal(
        levels.values, [[2874.56, 18.31], [np.nan, -36.98], [2736.56, np.nan]]
    )
    assert not levels.values.flags.writeable


def test_byte_order_mark_quotes_and_windows_lines_are_read(tmp_path: Path) -> None:
    text = "\ufeff" + GOOD.replace("date", '"date"').replace("\n", "\r\n")
    np.testing.assert_array_equal(
        read_levels(written(tmp_path, text)).values, read_levels(written(tmp_path, GOOD)).values
    )


def test_blank_lines_at_the_end_are_no_rows(tmp_path: Path) -> None:
    assert read_levels(written(tmp_path, GOOD + "\n\n")).values.shape == (3, 2)
    with pytest.raises(InputError, match="row 3"):
        read_levels(written(tmp_path, GOOD.replace("2020-04-20,", "\n2020-04-20,")))


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(GOOD.encode() + "2020-04-22,Ä,1\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_levels(path)


def test_gzip_and_parquet_give_the_same(tmp_path: Path) -> None:
    expected = read_levels(written(tmp_path, GOOD)).values
    packed = tmp_path / "history.csv.gz"
    packed.write_bytes(gzip.compress(GOOD.encode()))
    np.testing.assert_array_equal(read_levels(packed).values, expected)
    table = pa.table(
        {
            "date": pa.array(["2020-04-17", "2020-04-20", "2020-04-21"]).cast(pa.date32()),
            "SPX": [2874.56, None, 2736.56],
            "WTI": [18.31, -36.98, float("nan")],
        }
    )
    path = tmp_path / "history.parquet"
    parquet.write_table(table, path)
    np.testing.assert_array_equal(read_levels(path).values, expected)
    stamped = table.set_column(0, "date", table.column("date").cast(pa.timestamp("us")))
    parquet.write_table(stamped, path)
    np.testing.assert_array_equal(read_levels(path).values, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("-36.98", "n/a"), ["row 3", "'WTI'", "'n/a'", "plain decimal"]),
        (GOOD.replace("2874.56", '"2,874.56"'), ["row 2", "'SPX'", "'2,874.56'"]),
        (GOOD.replace("-36.98", "nan"), ["row 3", "'WTI'", "'nan'", "blank"]),
        (GOOD.replace("18.31", "inf"), ["row 2", "'WTI'", "'inf'"]),
        (GOOD.replace("2874.56", "2_874"), ["row 2", "'SPX'", "'2_874'"]),
        (GOOD.replace("2020-04-20", "20.04.2020"), ["row 3", "'20.04.2020'", "YYYY-MM-DD"]),
        (GOOD.replace("2020-04-20", "2020-02-30"), ["row 3", "'2020-02-30'", "YYYY-MM-DD"]),
        (GOOD.replace("2020-04-20", ""), ["row 3", "'' is not a date"]),
        (GOOD.replace("2020-04-20", "2020-04-17"), ["row 3", "'2020-04-17'", "appears twice"]),
        (GOOD.replace("2020-04-20", "2020-05-20"), ["row 4", "'2020-04-21'", "out of order"]),
        (GOOD.replace("WTI", "SPX"), ["row 1", "'SPX'", "appears twice"]),
        (GOOD.replace("date", "Datum"), ["row 1", "'Datum'", "'date'"]),
        (GOOD.replace("WTI", ""), ["row 1", "column 3", "no name"]),
        (GOOD.replace("18.31", "18.31,7"), ["row 2 has 4 cells", "header has 3"]),
        ("date\n2020-04-17\n", ["no factor column"]),
        ("date,SPX\n", ["no rows"]),
    ],
)
def test_refusal_says_where_and_what(tmp_path: Path, text: str, expected: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_levels(path)
    message = str(caught.value)
    assert str(path) in message
    for part in expected:
        assert part.lower() in message.lower()
    assert caught.value.exit_code == 3


def test_missing_or_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_levels(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_levels(written(tmp_path, GOOD, "history.parquet"))
    with pytest.raises(InputError):
        read_levels(written(tmp_path, ""))
