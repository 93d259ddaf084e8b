"""`fund.toml`: strict, and each error says where and what to do."""

from __future__ import annotations

from datetime import date

import pytest

from engine.domain.failures import InputError
from engine.fund.config import FilesSection, parse_config
from engine.fund.schema import TABLES

FILES = "".join(f'{name} = "{name}.csv"\n' for name, table in TABLES.items() if table.required)
GOOD = f"""[fund]
name = "Example Fund"
as_of = 2022-12-28
currency = "USD"
nav = 15_000_000_000.0
[files]
{FILES}"""


def fails(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(text.encode())
    return str(caught.value)


def test_good_config_and_defaults() -> None:
    config = parse_config((GOOD + "[avalanche]\npaths = 100\nfull = true\n").encode())
    assert config.fund.as_of == date(2022, 12, 28)
    assert config.fund.nav == 15e9
    assert config.options.max_stale_days == 10
    assert config.avalanche == {"paths": 100, "full": True}
    assert isinstance(config.avalanche["paths"], int)
    assert config.files.given()["positions"] == "positions.csv"


def test_whole_number_nav_and_byte_order_mark() -> None:
    text = GOOD.replace("15_000_000_000.0", "1000")
    assert parse_config(b"\xef\xbb\xbf" + text.encode()).fund.nav == 1000


def test_files_section_knows_every_table() -> None:
    assert set(FilesSection.model_fields) == {*TABLES, "history", "crif"}


def test_unknown_key_is_named_with_line_and_suggestion() -> None:
    message = fails(GOOD.replace("nav =", "navv = 1\nnav ="))
    assert message == "fund.toml:5: [fund] navv is not known; did you mean 'nav'?"


def test_unknown_section() -> None:
    assert "[option] is not known; did you mean 'options'?" in fails(GOOD + "[option]\n")


def test_missing_key() -> None:
    message = fails(GOOD.replace('cash = "cash.csv"\n', ""))
    assert message == 'fund.toml:6: [files] cash is missing; add cash = "cash.csv"'
    assert "[fund] name is missing" in fails(GOOD.replace('name = "Example Fund"\n', ""))


def test_all_errors_are_told_at_once() -> None:
    message = fails(GOOD.replace('"USD"', '"usd"').replace("2022-12-28", '"2022-12-28"'))
    assert "fund.toml:3: [fund] as_of = '2022-12-28': must be a date without quotes" in message
    assert "fund.toml:4: [fund] currency = 'usd': must be an ISO 4217 code" in message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("15_000_000_000.0", "nan", "finite"),
        ("15_000_000_000.0", "inf", "finite"),
        ("15_000_000_000.0", "-1.0", "greater than 0"),
        ("15_000_000_000.0", "true", "number"),
        ("15_000_000_000.0", '"15"', "number"),
        ("2022-12-28", "2022-12-28T10:00:00", "date without quotes"),
        ("Example Fund", "Exa\\u202emple", "control or direction"),
        ("Example Fund", " ", "blank"),
    ],
)
def test_wrong_values(old: str, new: str, says: str) -> None:
    assert says in fails(GOOD.replace(old, new))


@pytest.mark.parametrize(
    "name",
    [
        "../cash.csv",
        "/etc/passwd.csv",
        "a/../../b.csv",
        "..\\\\cash.csv",
        "C:/cash.csv",
        "cash.xlsx",
    ],
)
def test_file_names_stay_in_the_folder(name: str) -> None:
    message = fails(GOOD.replace('"cash.csv"', f'"{name}"'))
    assert "[files] cash" in message
    assert "inside the folder" in message or ".csv or .parquet" in message


def test_sub_folders_are_allowed() -> None:
    config = parse_config(GOOD.replace('"cash.csv"', '"data/cash.csv"').encode())
    assert config.files.cash == "data/cash.csv"


def test_avalanche_takes_only_plain_values() -> None:
    message = fails(GOOD + "[avalanche]\npaths = [1, 2]\n")
    assert "[avalanche] paths" in message
    assert "must be a finite number, text or true/false" in message
    assert "finite" in fails(GOOD + "[avalanche]\nx = inf\n")


def test_not_toml_tells_the_line() -> None:
    assert "line 1" in fails("[fund\n")
    assert "not valid TOML" in fails(GOOD + "[fund]\n")


def test_not_utf8() -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        parse_config(GOOD.encode("utf-16"))


def test_deep_nesting_is_refused_without_a_traceback() -> None:
    with pytest.raises(InputError):
        parse_config(("a = " + "[" * 100_000).encode())


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_numbers_beyond_all_bounds(digits: int) -> None:
    assert "fund.toml" in fails(GOOD.replace("15_000_000_000.0", "1" + "0" * digits))
