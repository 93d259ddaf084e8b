"""A run as an Excel workbook, read back with another library."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest

from engine.domain.failures import InputError, UsageError
from workflows.exports.workbook import write_workbook

SUMMARY = {
    "run_id": "abc",
    "margin": {"totals": {"im_usd": 12.5}, "agreements": [1, 2]},
    "avalanche": {"amplification": None, "paths": 256},
}
TABLES = {
    "plain": pd.DataFrame(
        {
            "id": ["a", "=1+1", "https://example.invalid", "007"],
            "amount_usd": [1234.5678, np.nan, -0.01, np.inf],
            "count": [1, 2, 3, 10**17],
            "flag": [True, False, True, False],
            "day": np.array(["2022-12-28"] * 4, dtype="datetime64[s]"),
        }
    ),
    "a_table_with_a_name_longer_than_excel_allows": pd.DataFrame({"x": [1.0]}),
    "a_table_with_a_name_longer_than_excel_takes": pd.DataFrame({"x": [2.0]}),
    "empty": pd.DataFrame({"x": pd.Series(dtype=float)}),
}


@pytest.fixture(scope="module")
def workbook(tmp_path_factory: pytest.TempPathFactory) -> openpyxl.Workbook:
    path = tmp_path_factory.mktemp("book") / "run.xlsx"
    write_workbook(path, SUMMARY, TABLES)
    return openpyxl.load_workbook(path)


def rows(sheet: Any) -> list[tuple[object, ...]]:
    return [tuple(cell.value for cell in row) for row in sheet.iter_rows()]


def test_sheets_and_contents(workbook: openpyxl.Workbook) -> None:
    assert workbook.sheetnames == [
        "Summary", "Contents", "plain", "a_table_with_a_name_longer_than",
        "a_table_with_a_name_longer_th_2", "empty",
    ]  # fmt: skip
    assert rows(workbook["Contents"])[1:] == [
        ("plain", 4, 5),
        ("a_table_with_a_name_longer_than_excel_allows", 1, 1),
        ("a_table_with_a_name_longer_than_excel_takes", 1, 1),
        ("empty", 0, 1),
    ]
    assert rows(workbook["a_table_with_a_name_longer_th_2"]) == [("x",), (2.0,)]
    assert rows(workbook["empty"]) == [("x",)]


def test_summary_lists_single_values(workbook: openpyxl.Workbook) -> None:
    assert rows(workbook["Summary"]) == [
        ("figure", "value"),
        ("run_id", "abc"),
        ("margin.totals.im_usd", 12.5),
        ("avalanche.amplification", None),
        ("avalanche.paths", 256),
    ]


def test_values_keep_their_type(workbook: openpyxl.Workbook) -> None:
    day = datetime(2022, 12, 28)
    assert rows(workbook["plain"])[1:] == [
        ("a", 1234.5678, 1, True, day),
        ("=1+1", None, 2, False, day),
        ("https://example.invalid", -0.01, 3, True, day),
        ("007", None, str(10**17), False, day),
    ]
    # A formula would be read as one: the text must not have become a formula.
    assert workbook["plain"]["A3"].data_type == "s"
    assert workbook["plain"]["B2"].number_format == "#,##0.00"


def test_same_run_same_bytes(tmp_path: Path) -> None:
    for name in ("one.xlsx", "two.xlsx"):
        write_workbook(tmp_path / name, SUMMARY, TABLES)
    assert (tmp_path / "one.xlsx").read_bytes() == (tmp_path / "two.xlsx").read_bytes()
    changed = {"plain": TABLES["plain"].assign(count=[9, 2, 3, 4])}
    write_workbook(tmp_path / "three.xlsx", SUMMARY, changed)
    assert (tmp_path / "one.xlsx").read_bytes() != (tmp_path / "three.xlsx").read_bytes()


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"ends with \.xlsx"):
        write_workbook(tmp_path / "run.xls", SUMMARY, TABLES)
    with pytest.raises(UsageError, match="cannot be written"):
        write_workbook(tmp_path / "missing" / "run.xlsx", SUMMARY, TABLES)
    monkeypatch.setattr("workflows.exports.workbook.MOST_ROWS", 4)
    with pytest.raises(InputError, match="table plain has 4 rows"):
        write_workbook(tmp_path / "run.xlsx", SUMMARY, TABLES)
