"""Schedule margin: published examples and the formula's own cases."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.schedule import ScheduleTrades, maturity_years, schedule_margin

Row = tuple[str, str, float, float, float]


def trades(*rows: Row) -> ScheduleTrades:
    """Return trades from (id, class, maturity in years, notional, value)."""
    ids, classes, maturity, notional, value = zip(*rows, strict=True)
    return ScheduleTrades(
        np.array(ids, dtype=object),
        np.array(classes, dtype=object),
        np.array(maturity, dtype=float),
        np.array(notional, dtype=float),
        np.array(value, dtype=float),
    )


# The four module examples of AcadiaSoft/simm-lib (MIT): trades of 2018-09-12 ending 2018-11-23.
SHORT = float(maturity_years(date(2018, 9, 12), np.array(["2018-11-23"], dtype="M8[D]"))[0])
MODULE_EXAMPLES = [
    ([("1", "Rates", SHORT, 1000, 0), ("1", "Rates", SHORT, -1000, 0)], 0.0),
    (
        [
            ("1", "Rates", SHORT, 1000, 0),
            ("1", "Rates", SHORT, 0, 1000),
            ("1", "Rates", SHORT, 0, -1000),
        ],
        10.0,
    ),
    ([("1", "Rates", SHORT, 1000, 1000), ("1", "Rates", SHORT, 0, -1000)], 10.0),
    (
        [
            ("1", "Rates", SHORT, 1000, 2000),
            ("1", "Rates", SHORT, 0, -1000),
            ("2", "Rates", SHORT, -1000, -1000),
        ],
        8.0,
    ),
]


@pytest.mark.parametrize(("rows", "expected"), MODULE_EXAMPLES)
def test_module_examples(rows: list[Row], expected: float) -> None:
    assert schedule_margin(trades(*rows), "call").total == pytest.approx(expected, abs=1e-12)


# The three netting-set examples of AcadiaSoft/simm-lib (MIT), valued on 2018-02-01.
ONE_DATE: list[Row] = [
    ("1", "Rates", 1, 100_000, 500),
    ("2", "FX", 1, -50_000, -100),
    ("3", "Rates", 1, 200_000, -25),
    ("4", "Credit", 1, 300_000, 20),
]
FIRST_FOUR: list[Row] = [
    ("1", "Rates", 1, 250_000, 850),
    ("2", "FX", 1, -500_000, 120),
    ("3", "Rates", 1, -200_000, -45),
    ("4", "Credit", 1, 30_000, -200),
]
MANY_DATES = [*FIRST_FOUR, ("5", "Equity", 4, 120_000, -175), ("6", "Credit", 12, -40_000, 230)]
WITHOUT_VALUES = [*FIRST_FOUR, ("5", "Equity", 4, 120_000, 0), ("6", "Credit", 12, -40_000, 0)]


@pytest.mark.parametrize(
    ("rows", "call", "post"),
    [
        (ONE_DATE, 10_269, 4_800),
        (MANY_DATES, 45_109, 22_840),
        (WITHOUT_VALUES, 48_447, 22_840),
    ],
)
def test_netting_set_examples(rows: list[Row], call: int, post: int) -> None:
    assert round(schedule_margin(trades(*rows), "call").total) == call
    assert round(schedule_margin(trades(*rows), "post").total) == post


def test_sides_see_each_others_values() -> None:
    book = trades(("a", "Rates", 1, 98_966.0, 1_000.0), ("b", "Rates", 1, 0.0, -895.718))
    call, post = schedule_margin(book, "call"), schedule_margin(book, "post")
    assert call.gross == post.gross == pytest.approx(989.66)
    assert call.net_to_gross == pytest.approx(0.104282, abs=1e-6)
    assert call.total == pytest.approx(457.79, abs=0.005)
    assert post.net_to_gross == 0.0
    assert post.total == pytest.approx(395.86, abs=0.005)
    assert call.to_dict()["gross_by_product_class"] == {"Rates": pytest.approx(989.66)}


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("Rates", (1, 2, 4)),
        ("Credit", (2, 5, 10)),
        ("FX", (6, 6, 6)),
        ("Equity", (15, 15, 15)),
        ("Commodity", (15, 15, 15)),
        ("Other", (15, 15, 15)),
    ],
)
def test_grid_and_bounds(name: str, rates: tuple[int, int, int]) -> None:
    for years, rate in zip((2.0, 5.0, 5.001), rates, strict=True):
        book = trades(("a", name, years, 100.0, 0.0))
        assert schedule_margin(book, "call").total == pytest.approx(rate)
    assert schedule_margin(trades(("a", name, 2.001, 100.0, 0.0)), "call").total == rates[1]


def test_maturity_is_exact_on_anniversaries() -> None:
    ends = np.array(["2022-02-15", "2022-02-16", "2025-02-15", "2020-02-15"], dtype="M8[D]")
    years = maturity_years(date(2020, 2, 15), ends)
    assert list(years[[0, 2, 3]]) == [2.0, 5.0, 0.0]
    assert years[1] > 2.0


def test_no_trades_no_margin() -> None:
    empty = np.empty(0)
    text = np.empty(0, dtype=object)
    assert schedule_margin(ScheduleTrades(text, text, empty, empty, empty), "call").total == 0.0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "Rate", 1, 1, 0)], "row 1, trade a: product class 'Rate'.*Rates, Credit"),
        ([("a", "Rates", 1, float("nan"), 0)], "notional_usd is nan"),
        ([("a", "Rates", -0.5, 1, 0)], "ended 0.5 years ago"),
        ([("a", "Rates", 1, 1, 0), ("a", "FX", 1, 1, 0)], "row 2.*product_class FX.*Rates.*row 1"),
        ([("a", "FX", 1, 1, 0), ("a", "FX", 2, 1, 0)], "maturity_years 2.*1.*row 1"),
    ],
)
def test_rows_that_cannot_be_used(rows: list[Row], message: str) -> None:
    with pytest.raises(InputError, match=message):
        schedule_margin(trades(*rows), "call")
    with pytest.raises(InputError, match="call or post"):
        schedule_margin(trades(("a", "FX", 1, 1, 0)), "both")
