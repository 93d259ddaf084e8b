"""Figures and names as the report shows them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.report.format import (
    MINUS,
    MISSING,
    NBSP,
    Scale,
    clean,
    clean_all,
    decimal,
    describe,
    multiple,
    percent,
    plain,
    plural,
    scale_for,
    short,
    usd,
)


def spaced(text: str) -> str:
    return text.replace(NBSP, " ")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (3_541_200_000, "USD 3.54 bn"),
        (-999_960_000, f"{MINUS}USD 1.00 bn"),
        (0, "USD 0"),
        (-0.2, "USD 0"),
        (999.4, "USD 999"),
        (45_678, "USD 45.7 k"),
        (187_000_000, "USD 187 m"),
        (1e13, "USD 10.0 tn"),
        (None, MISSING),
        (math.nan, MISSING),
        (math.inf, MISSING),
    ],
)
def test_usd_keeps_three_digits(amount: float | None, text: str) -> None:
    assert spaced(usd(amount)) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0542, "5.4 %"),
        (0.0004, "0.04 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.00001, "below 0.01 %"),
        (0.99996, "above 99.99 %"),
        (3.024, "302.4 %"),
        (None, MISSING),
    ],
)
def test_percent_never_rounds_a_chance_to_certainty(share: float | None, text: str) -> None:
    assert spaced(percent(share)) == text


@given(st.floats(min_value=1e-300, max_value=1.0, exclude_max=True))
def test_percent_of_an_open_share_is_neither_zero_nor_hundred(share: float) -> None:
    assert spaced(percent(share)) not in {"0 %", "100 %", "0.00 %", "100.0 %", "100.00 %"}


def test_small_formats() -> None:
    assert multiple(1.236) == "1.24x"
    assert plain(5.0) == "5"
    assert plain(0.8) == "0.8"
    assert decimal(-0.001) == "0.00"
    assert plural(1, "failure") == "1 failure"
    assert plural(1200, "failure") == "1,200 failures"


def test_a_scale_serves_its_largest_amount() -> None:
    assert scale_for([1e6, -3e9, None]) == Scale(1e9, "USD bn")
    assert scale_for([]) == Scale(1.0, "USD")
    assert Scale(1e6, "USD m").text(-40_000) == "0.0"
    assert Scale(1e6, "USD m").text(1_234_560_000) == "1,234.6"
    assert Scale(1e6, "USD m").value(math.nan) is None


def test_text_cannot_reorder_or_hide() -> None:
    shown = clean("a\u202eb\u2066c\u200bd\x00e\ud800f\u2028g\nh")
    assert shown == "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf\ufffdg h"
    assert clean("Ferðasjóður 基金") == "Ferðasjóður 基金"
    assert len(clean("x" * 5000)) == 1001
    assert clean_all({"a\u202e": ["\u200f", 1, None]}) == {"a\ufffd": ["\ufffd", 1, None]}


def test_axis_names_keep_their_end() -> None:
    assert short("CME_BASE-BRW") == "CME_BASE-BRW"
    assert short("LCH_SWAPCLEAR-HARROW-ALD") == "LCH_SWAP…OW-ALD"


def test_list_items_of_any_shape_become_a_line() -> None:
    assert describe({"factor": "X", "by": ["Y", "Z"]}) == "factor: X; by: Y, Z"
    assert describe(None) == MISSING
