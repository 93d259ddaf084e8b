"""Reading institutions: every bad column stops the run, every bad row is left out and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.avalanche.system.read import read_institutions
from engine.domain.failures import InputError

HEADER = "institution_id,cash,other_assets,repayable_debt,fixed_debt,holding_X,margin_X,cash_buffer"
GOOD = "A,5,50,30,30,20,,"


def written(folder: Path, *lines: str) -> Path:
    path = folder / "system.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_blank_cells_take_the_documented_values(tmp_path: Path) -> None:
    found = read_institutions(written(tmp_path, HEADER, GOOD, "", "B,1,0,0,0,-9,0.2,0.5"), "USD m")
    x = found.value
    assert found.failures == ()
    assert x.unit == "USD m"
    np.testing.assert_array_equal(x.margin, [[1.0], [0.2]])
    np.testing.assert_array_equal(x.holding, [[20.0], [-9.0]])
    np.testing.assert_array_equal(x.cash_buffer, [0.0, 0.5])
    np.testing.assert_array_equal(x.leverage_minimum, [0.03, 0.03])
    np.testing.assert_array_equal(x.leverage_buffer, [0.04, 0.04])
    np.testing.assert_array_equal(x.leverage_target, [0.05, 0.05])
    np.testing.assert_allclose(x.equity, [15.0, 2.8])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("B,1e,50,30,30,20,,", "cash is '1e'; give a number"),
        ('B,"1,000",50,30,30,20,,', "cash is '1,000'; did you mean 1000?"),
        ("B,,50,30,30,20,,", "cash is ''"),
        ("B,nan,50,30,30,20,,", "cash is 'nan'"),
        ("B,-1,50,30,30,20,,", "B: cash is -1"),
        ("B,1,50,30,30,20,2,", "B: margin is 2; give it above 0 and at most 1"),
        (",1,50,30,30,20,,", "institution_id is blank"),
        ("A,1,50,30,30,20,,", "'A' appears twice"),
        ("B,1,50,30", "has 4 cells, the header has 8"),
    ],
)
def test_a_bad_row_is_left_out_and_named(tmp_path: Path, row: str, message: str) -> None:
    path = written(tmp_path, HEADER, GOOD, row)
    found = read_institutions(path)
    assert list(found.value.institution_id) == ["A"]
    assert len(found.failures) == 1
    assert message in found.failures[0].message
    assert found.failures[0].where == f"{path} row 3"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER.replace("cash,", "cahs,"), GOOD], "unknown column 'cahs'; did you mean 'cash'"),
        ([HEADER + ",zzz", GOOD + ","], "unknown column 'zzz'; known: institution_id"),
        ([HEADER + ",cash", GOOD + ","], "column 'cash' appears twice"),
        ([HEADER.replace(",fixed_debt", ""), "A,5,50,30,20,,"], "column 'fixed_debt' is missing"),
        (["institution_id,cash,other_assets,repayable_debt,fixed_debt", "A,1,1,1,1"], "no asset"),
        ([HEADER], "has no rows"),
        ([HEADER, "A,x,50,30,30,20,,"], "not a row can be used; the first: .* row 2: cash is 'x'"),
        ([HEADER.replace("margin_X", "margin_Y"), GOOD], "unknown column 'margin_Y'"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_institutions(written(tmp_path, *lines))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        read_institutions(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes(b"institution_id\n\xe9\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_institutions(tmp_path / "latin.csv")


def test_banks_in_the_published_form(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "bank_id,CET1E,leverage,debt_sec,govbonds",
        "B1 5 5.0 20 2+10",
        "B2 5 5.0 20",
        "B3 5 0 20 12",
        "B4 5 5.0 20 x+1",
    )
    found = read_institutions(path)
    assert found.value.unit == "EUR m"
    assert list(found.value.asset_id) == ["corporate_bonds", "government_bonds"]
    np.testing.assert_allclose(found.value.holding, [[8.0, 12.0]])
    np.testing.assert_allclose(found.value.equity, [5.0])
    assert [f.item for f in found.failures] == ["B2", "B3", "B4"]
    assert "has 4 values; give 5" in found.failures[0].message
    assert "leverage is 0" in found.failures[1].message
    assert "govbonds is 'x+1'" in found.failures[2].message
