"""Hostile files: each is refused or quarantined at its row, and none breaks the reader."""

from __future__ import annotations

import random

import pytest

from engine.domain.failures import InputError
from engine.fund.read import PackReading

ROW_1 = "P-001,SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,400"


def one_problem(reading: PackReading) -> tuple[str, int, str, str, str]:
    """Return file, row, rule, raw, suggestion of the only quarantine entry."""
    assert len(reading.quarantine) == 1, reading.quarantine
    entry = reading.quarantine.iloc[0]
    return entry["file"], entry["row"], entry["rule"], entry["raw"], entry["suggestion"]


def refused(pack) -> str:
    with pytest.raises(InputError) as caught:
        pack.read()
    return str(caught.value)


def quantity(pack, text: str) -> tuple[str, int, str, str, str]:
    """Give the first position the quantity `text` and return its only problem."""
    pack.replace("positions.csv", ROW_1, ROW_1.replace("400", text))
    found = one_problem(pack.read())
    assert found[:2] == ("positions.csv", 2)
    return found


@pytest.mark.parametrize("text", ["NaN", "nan", "NULL", "None", "N/A", "inf", "-Infinity", "TRUE"])
def test_words_are_not_numbers(pack, text: str) -> None:
    assert quantity(pack, text)[2:4] == ("not_a_number", text)


def test_overflow_to_infinity(pack) -> None:
    assert quantity(pack, "1e400")[2] == "not_finite"


def test_underflow_to_zero(pack) -> None:
    assert quantity(pack, "1e-400")[2] == "zero"


def test_too_large_number(pack) -> None:
    assert quantity(pack, "1e19")[2] == "too_large"


def test_underscore_in_number(pack) -> None:
    assert quantity(pack, "1_000")[2:] == ("not_a_number", "1_000", "write 1000")


def test_arabic_indic_digits(pack) -> None:
    assert quantity(pack, "١٢")[2:] == ("not_a_number", "١٢", "write 12")


def test_full_width_digits(pack) -> None:
    assert quantity(pack, "１２")[2:] == ("not_a_number", "１２", "write 12")


def test_thousands_separators(pack) -> None:
    assert quantity(pack, '"1,000"')[2:] == ("not_a_number", "1,000", "write 1000")


def test_unquoted_thousands_separator_is_a_ragged_row(pack) -> None:
    found = quantity(pack, "1,000")
    assert found[2] == "ragged"
    assert found[3] == "P-001,SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,1,000"
    assert found[4] == "7 cells where the header has 6"


def test_decimal_comma_semicolon_hex_and_spaces(pack) -> None:
    for text in ("1;5", "0x10", "1 0", "--1", "1e", ".", "+", "1.5.2", "1e5000"):
        pack.write("positions.csv", pack.text("positions.csv").splitlines()[0] + "\n")
        pack.append("positions.csv", ROW_1.replace("400", text))
        assert one_problem(pack.read())[2] == "not_a_number", text


def test_space_around_a_number(pack) -> None:
    assert quantity(pack, " 5 ")[2:] == ("not_a_number", " 5 ", "write 5")


def test_number_of_many_digits(pack) -> None:
    assert quantity(pack, "0." + "0" * 100_000 + "1")[2] == "not_a_number"


def test_fraction_where_a_whole_number_is_needed(pack) -> None:
    pack.replace("collateral.csv", "0.005,1", "0.005,1.0")
    assert one_problem(pack.read())[2] == "not_an_integer"


def test_identifier_that_looks_like_a_number_stays_text(pack) -> None:
    """CUSIP 31428E10 is 3.1428e14 to readers that guess types."""
    pack.replace("instruments.csv", "SPX-BASKET", "31428E10")
    pack.replace("positions.csv", "SPX-BASKET", "31428E10")
    book = pack.read().book
    assert book.instruments.instrument_id[8] == "31428E10"
    assert book.positions.instrument[8] == 8


def test_leading_zeros_are_kept(pack) -> None:
    pack.replace("positions.csv", "P-001", "00123456")
    assert pack.read().book.positions.position_id[0] == "00123456"


@pytest.mark.parametrize("name", ["NA", "null", "None", "TRUE", "nan", "inf"])
def test_identifiers_that_look_like_missing_values_stay_text(pack, name: str) -> None:
    pack.replace("positions.csv", "P-001", name)
    assert pack.read().book.positions.position_id[0] == name


def test_short_row(pack) -> None:
    pack.replace("positions.csv", ROW_1, "P-001,SPX-FUT")
    assert one_problem(pack.read())[1:3] == (2, "ragged")


def test_row_numbers_stay_right_after_ragged_and_blank_lines(pack) -> None:
    header, *rows = pack.text("positions.csv").splitlines()
    rows = [f"Q{i},SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,1" for i in range(300)]
    rows[10] = "short"
    rows[20] = ""
    rows[30] = ",,,,,"
    rows[40] = rows[40].replace(",1", ",x")
    pack.write("positions.csv", "\n".join([header, *rows]))
    reading = pack.read()
    assert reading.quarantine["row"].tolist() == [12, 42]
    assert reading.counts["positions"].rows_in == 298
    assert "positions.csv: 2 blank lines skipped" in reading.findings


def test_carriage_return_only_file(pack) -> None:
    pack.write("positions.csv", pack.text("positions.csv").replace("\n", "\r"))
    reading = pack.read()
    assert len(reading.book.positions) == 10
    assert any("bare carriage return" in line for line in reading.findings)


def test_windows_line_ends(pack) -> None:
    pack.write("positions.csv", pack.text("positions.csv").replace("\n", "\r\n"))
    reading = pack.read()
    assert reading.quarantine.empty
    assert len(reading.book.positions) == 10


def test_stray_carriage_return_does_not_split_a_row(pack) -> None:
    pack.replace("positions.csv", "PM-EQ,INDEX,400", "PM-EQ,INDEX,4\r00")
    found = one_problem(pack.read())
    assert found[1:3] == (2, "not_a_number")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_refused_with_a_remedy(pack, encoding: str) -> None:
    pack.write("positions.csv", pack.text("positions.csv").encode(encoding))
    message = refused(pack)
    assert "positions.csv" in message
    assert "UTF-8" in message


def test_utf8_with_byte_order_mark_is_accepted(pack) -> None:
    pack.write("positions.csv", b"\xef\xbb\xbf" + pack.text("positions.csv").encode())
    assert pack.read().quarantine.empty


def test_latin1_is_refused_with_line_and_remedy(pack) -> None:
    pack.replace("managers.csv", "Macro book", "Macro b\u00fc")
    pack.write("managers.csv", pack.text("managers.csv").encode("latin-1"))
    assert "managers.csv:3: byte 0xFC is not UTF-8" in refused(pack)


def test_accented_names_are_accepted(pack) -> None:
    pack.replace("managers.csv", "Macro book", "Büro für Ökonomie 東京")
    assert pack.read().book.managers.name[1] == "Büro für Ökonomie 東京"


def test_duplicate_ids_quarantine_every_row(pack) -> None:
    rows = [f"Q{i},SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,1" for i in range(300)]
    pack.append("positions.csv", *rows, "P-001,SPX-FUT,CCP-FUTURES,PM-EQ,INDEX,5")
    frame = pack.read().quarantine
    assert frame["row"].tolist() == [2, 312]
    assert set(frame["rule"]) == {"duplicate_id"}


def test_unknown_currency(pack) -> None:
    pack.replace("cash.csv", "MASTER,EUR", "MASTER,EURO")
    found = one_problem(pack.read())
    assert found[2:] == ("unknown_currency", "EURO", "did you mean 'EUR'?")


def test_lower_case_currency(pack) -> None:
    pack.replace("cash.csv", "MASTER,EUR", "MASTER,eur")
    assert one_problem(pack.read())[4] == "did you mean 'EUR'?"


def test_currency_without_exchange_rate(pack) -> None:
    pack.replace("cash.csv", "MASTER,EUR", "MASTER,CHF")
    assert one_problem(pack.read())[2] == "no_exchange_rate"


@pytest.mark.parametrize("strike", ["-3600", "0"])
def test_impossible_strike_on_a_log_factor(pack, strike: str) -> None:
    pack.replace("instruments.csv", ",3600,", f",{strike},")
    entry = pack.read().quarantine.iloc[0]
    assert (entry["file"], entry["row"], entry["rule"]) == ("instruments.csv", 9, "not_positive")


def test_negative_strike_on_an_absolute_factor_is_possible(pack) -> None:
    pack.append("instruments.csv", "WTI-TRS,trs,WTI,USD,1,,-10,,,,,")
    assert pack.read().quarantine.empty


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("collateral.csv", "30000000", "-1"),
        ("collateral.csv", "0.005", "1"),
        ("facilities.csv", "0.25", "0"),
        ("facilities.csv", "25000000.00", "-1"),
        ("agreements.csv", "0.99,2", "99,2"),
        ("agreements.csv", "21,15;18,12", "24,15;18,12"),
        ("agreements.csv", "15;18,12", "15;18,32"),
        ("instruments.csv", "USD,50", "USD,-50"),
    ],
)
def test_values_out_of_range(pack, file: str, old: str, new: str) -> None:
    pack.replace(file, old, new)
    with_causes = _frame(pack)
    assert with_causes.iloc[0][["file", "rule"]].tolist() == [file, "out_of_range"]


def _frame(pack):
    try:
        return pack.read().quarantine
    except InputError as error:
        return error.quarantine  # type: ignore[attr-defined]


@pytest.mark.parametrize("hours", ["25", "9;9", "9,13", "a", "9;", "-1"])
def test_wrong_hours(pack, hours: str) -> None:
    pack.replace("agreements.csv", "15;18", f'"{hours}"')
    assert _frame(pack).iloc[0]["rule"] == "not_hours"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)"])
def test_formula_cells(pack, text: str) -> None:
    pack.replace("collateral.csv", "government bond", text)
    assert one_problem(pack.read())[2] == "formula"


def test_formula_as_identifier(pack) -> None:
    pack.replace("positions.csv", "P-001", "=1+1")
    assert one_problem(pack.read())[2] == "not_an_id"


@pytest.mark.parametrize("character", ["\u202e", "\u200b", "\u2066", "\x07", "\x1b", "\x85", "\t"])
def test_control_and_direction_characters(pack, character: str) -> None:
    pack.replace("collateral.csv", "government bond", f"gov{character}ernment")
    found = one_problem(pack.read())
    assert found[2] == "control_characters"
    assert character not in found[3]
    assert "\\" in found[3]


def test_spaces_at_the_ends_of_text(pack) -> None:
    pack.replace("collateral.csv", "government bond", "government bond\u00a0")
    assert one_problem(pack.read())[2::2] == ("spaces", "write 'government bond'")


def test_space_at_the_end_of_a_reference(pack) -> None:
    pack.replace("positions.csv", ROW_1, ROW_1.replace("SPX-FUT", "SPX-FUT "))
    assert one_problem(pack.read())[2::2] == ("unknown_reference", "did you mean 'SPX-FUT'?")


def test_blank_required_cell(pack) -> None:
    pack.replace("positions.csv", ROW_1, ROW_1.replace("PM-EQ", ""))
    assert one_problem(pack.read())[2] == "blank"


@pytest.mark.parametrize("data", [b"", b"\n\n", b"   ", b"\xef\xbb\xbf"])
def test_empty_file(pack, data: bytes) -> None:
    pack.write("cash.csv", data)
    assert "cash.csv: the file is empty" in refused(pack)


def test_header_only(pack) -> None:
    pack.write("settlements.csv", pack.text("settlements.csv").splitlines()[0])
    assert len(pack.read().book.settlements.settlement_id) == 0


def test_file_without_header(pack) -> None:
    pack.write("positions.csv", "".join(pack.text("positions.csv").splitlines(True)[1:]))
    assert "positions.csv:1: missing column 'position_id'" in refused(pack)


def test_duplicate_column_names(pack) -> None:
    pack.replace("cash.csv", "currency,amount", "currency,amount,amount")
    assert "cash.csv:1: column 'amount' stands more than once" in refused(pack)


def test_unnamed_column(pack) -> None:
    pack.replace("cash.csv", "currency,amount", "currency,amount,")
    assert "cash.csv:1: column 4 has no name" in refused(pack)


@pytest.mark.parametrize("name", ["Quantity", "QUANTITY", " quantity", "quantity "])
def test_header_case_and_spaces(pack, name: str) -> None:
    pack.replace("positions.csv", "quantity", name)
    assert f"missing column 'quantity' (found '{name}': rename it)" in refused(pack)


def test_other_separator(pack) -> None:
    pack.write("cash.csv", pack.text("cash.csv").replace(",", ";"))
    assert "columns must be separated by commas" in refused(pack)


def test_line_break_in_quotes_is_set_aside_and_rows_stay_right(pack) -> None:
    rows = [f"PM-{i},Name {i},1" for i in range(300)]
    rows[100] = 'PM-100,"two\nlines",1'
    rows[200] = "PM-200,Name,x"
    pack.append("managers.csv", *rows)
    reading = pack.read()
    frame = reading.quarantine
    assert frame[["row", "rule"]].to_numpy().tolist() == [
        [104, "quotes"],
        [105, "quotes"],
        [205, "not_a_number"],
    ]
    assert reading.counts["managers"].rows_in == 303


def test_lines_inside_a_quoted_cell_are_not_rows(pack) -> None:
    """The middle line looks like a row of its own; it must not become one."""
    rows = [f"PM-{i},Name {i},1" for i in range(400)]
    rows[100] = 'PM-100,"two\nPM-X,Phantom,1\nlines",1'
    pack.append("managers.csv", *rows)
    reading = pack.read()
    assert "PM-X" not in reading.book.managers.manager_id.tolist()
    assert reading.quarantine["row"].tolist() == [104, 105, 106]


def test_quote_that_never_closes_costs_one_row(pack) -> None:
    pack.replace("positions.csv", "P-001", '"P-001')
    found = one_problem(pack.read())
    assert found[1:3] == (2, "quotes")


@pytest.mark.parametrize("cell", ['"4"00', '4"0"0', '"4"0"0"', '4""'])
def test_text_beside_quotes_is_not_joined(pack, cell: str) -> None:
    pack.replace("positions.csv", ROW_1, ROW_1.replace("400", cell))
    assert one_problem(pack.read())[1:3] == (2, "quotes")


def test_well_quoted_cells_are_read(pack) -> None:
    pack.replace("managers.csv", "Equity book", '"Equity, ""long"" book"')
    lines = pack.text("positions.csv").splitlines()
    quoted = [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines]
    pack.write("positions.csv", "\r\n".join(quoted))
    reading = pack.read()
    assert reading.quarantine.empty
    assert reading.book.managers.name[0] == 'Equity, "long" book'
    assert len(reading.book.positions) == 10


def test_path_traversal(pack, tmp_path) -> None:
    (tmp_path / "cash.csv").write_text("x")
    pack.replace("fund.toml", '"cash.csv"', '"../cash.csv"')
    assert "[files] cash = '../cash.csv': must be a file inside the folder" in refused(pack)


def test_link_that_leads_out_of_the_folder(pack, tmp_path) -> None:
    (tmp_path / "secret.csv").write_text(pack.text("cash.csv"))
    (pack.folder / "cash.csv").unlink()
    (pack.folder / "cash.csv").symlink_to(tmp_path / "secret.csv")
    assert "cash.csv: leads out of the folder" in refused(pack)


def test_huge_field(pack) -> None:
    pack.replace("collateral.csv", "government bond", "x" * 3_000_000)
    found = one_problem(pack.read())
    assert found[2] == "too_long"
    assert len(found[3]) < 120


def test_huge_identifier(pack) -> None:
    pack.replace("positions.csv", "P-001", "x" * 3_000_000)
    assert one_problem(pack.read())[2] == "not_an_id"


def test_too_many_columns(pack) -> None:
    pack.write("cash.csv", ",".join(f"c{i}" for i in range(10_000)) + "\n")
    assert "10000 columns; the limit is 256" in refused(pack)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"PK\x03\x04", "Excel workbook"),
        (b"\x1f\x8b", "gzip"),
        (b"PAR1", "Parquet"),
        (b"%PDF", "PDF"),
    ],
)
def test_other_formats_are_named(pack, start: bytes, says: str) -> None:
    pack.write("cash.csv", start + bytes(range(256)))
    message = refused(pack)
    assert "cash.csv: this is" in message
    assert says in message


def test_binary_file(pack) -> None:
    pack.write("cash.csv", random.Random(1).randbytes(10_000))
    assert "cash.csv:" in refused(pack)


def test_nul_bytes(pack) -> None:
    pack.replace("cash.csv", "MASTER,EUR", "MAS\0TER,EUR")
    assert "cash.csv:3: holds NUL bytes" in refused(pack)


def test_missing_file(pack) -> None:
    (pack.folder / "cash.csv").unlink()
    assert "cash.csv: not found" in refused(pack)


def test_folder_in_place_of_a_file(pack) -> None:
    (pack.folder / "cash.csv").unlink()
    (pack.folder / "cash.csv").mkdir()
    assert "cash.csv: not found" in refused(pack)


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"x,y\n1,2\n"])
def test_damaged_parquet(pack, data: bytes) -> None:
    pack.write("cash.parquet", data)
    pack.replace("fund.toml", '"cash.csv"', '"cash.parquet"')
    assert "cash.parquet: " in refused(pack)


def test_mutated_files_never_break_the_reader(pack) -> None:
    """Random damage ends in a reading whose rows add up, or in an `InputError`."""
    rng = random.Random(20221228)
    names = ["positions.csv", "instruments.csv", "agreements.csv", "fund.toml", "cash.csv"]
    original = {name: (pack.folder / name).read_bytes() for name in names}
    pieces = [
        b'"',
        b",",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"-",
        b"9",
        b"=",
        b"\xe2\x80\xae",
        b" ",
        b"",
    ]
    read = 0
    for _ in range(150):
        name = rng.choice(names)
        data = bytearray(original[name])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 3)] = rng.choice(pieces)
        pack.write(name, bytes(data))
        try:
            reading = pack.read()
        except InputError:
            pass
        else:
            read += 1
            assert len(reading.book.positions) == reading.counts["positions"].accepted
        pack.write(name, original[name])
    assert read > 10
