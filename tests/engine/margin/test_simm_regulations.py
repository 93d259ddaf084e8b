"""The worst of several regulations.

Cases J1 to J10, JS1 and JS2 are facts of AcadiaSoft/simm-lib (MIT licence, (c) 2022 Acadia, Inc.):
simm-ple/src/test/java/com/acadiasoft/im/simmple/SimmOptionalCrifMixin.java (rows) and
SimmOptionalTenDayTest.java, SimmOptionalOneDayTest.java (answers) at 9f7b03ff0ad4, version 2.5.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pytest

from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.margin.simm import SimmResult, simm_by_portfolio, simm_margin, simm_worst_of
from engine.margin.simm.validate import take_rows
from tests.engine.margin.simm_books import crif, peer_margins, random_rows, risk


def _curve(
    currency: str, tenor: str, curve: str, amount: float, regulations: str, product: str = "RatesFX"
) -> tuple[tuple[Any, ...], str]:
    row = risk(product, "Risk_IRCurve", currency, amount, "2", tenor, curve)
    return row, regulations


def _parameter(kind: str, name: str, value: float, regulations: str) -> tuple[tuple[Any, ...], str]:
    return risk("", kind, name, value), regulations


_MULTIPLIER = "Param_ProductClassMultiplier"
ROWS = {
    "IR47": _curve("USD", "1y", "Prime", -1e6, "USPR"),
    "IR48": _curve("EUR", "3y", "Libor3m", -2e6, "ESA"),
    "IR49": _curve("JPY", "2w", "Libor1m", -1e6, "USPR"),
    "IR50": _curve("JPY", "3m", "Libor1m", -1.5e6, "ESA"),
    "IR51": _curve("JPY", "3m", "Libor3m", 1.5e6, "USPR,ESA"),
    "IR52": _curve("JPY", "1m", "Libor3m", 1.5e6, "USPR,JFSA"),
    "IR53": _curve("JPY", "3y", "Libor6m", 3e6, "USPR"),
    "IR54": _curve("JPY", "5y", "Libor6m", 3e6, "JFSA"),
    "IR55": _curve("JPY", "3m", "Libor3m", 1.5e6, ""),
    "IR56": _curve("JPY", "5y", "Libor6m", 2.5e6, "ESA"),
    "IR57": _curve("JPY", "3y", "Libor6m", 2.5e6, "JFSA"),
    "IR58": _curve("JPY", "3y", "Libor6m", 4e6, "JFSA"),
    "IR59": _curve("JPY", "3y", "Libor6m", 5e6, "USPR"),
    "IR60": _curve("JPY", "5y", "Libor6m", 4e6, "USPR", "Credit"),
    "IR61": _curve("JPY", "2w", "Libor6m", 6e6, "JFSA"),
    "IR62": _curve("JPY", "3y", "Libor6m", 5e6, "USPR,JFSA"),
    "IR63": _curve("JPY", "5y", "Libor6m", 4e6, "USPR,JFSA", "Credit"),
    "IR64": _curve("JPY", "3y", "Libor6m", 5e6, "SEC-unseg,USPR"),
    "IR65": _curve("JPY", "5y", "Libor6m", 4e6, "SEC-unseg,JFSA"),
    "IR66": _curve("JPY", "5y", "Libor6m", 2.5e6, "SEC-unseg,ESA"),
    "IR67": _curve("JPY", "3y", "Libor6m", 3e6, "SEC-unseg,ESA"),
    "IR68": _curve("JPY", "5y", "Libor6m", 4e6, "ESA"),
    "AN9": _parameter("Notional", "Product Alpha", 80e6, "JFSA"),
    "AN10": _parameter("Param_AddOnNotionalFactor", "Product Alpha", 12.5, "JFSA"),
    "MUL5": _parameter(_MULTIPLIER, "RatesFX", 1.5, "ESA"),
    "MUL6": _parameter(_MULTIPLIER, "RatesFX", 1.6, "JFSA"),
    "MUL7": _parameter(_MULTIPLIER, "RatesFX", 1.2, "USPR,JFSA"),
    "MUL8": _parameter(_MULTIPLIER, "Credit", 1.5, "USPR"),
    "MUL9": _parameter(_MULTIPLIER, "RatesFX", 2.5, "JFSA"),
}
# Rows, answers at 10 days and at 1 day, and which regulations the answer is over.
SEGREGATED, UNSEGREGATED, ALL = "segregated", "unsegregated", "all"
CASES = {
    "J1": ("IR47 IR48", 112_000_000, 32_000_000, ALL),
    "J2": ("IR49 IR50 IR51", 12_435_896, 2_110_553, ALL),
    "J3": ("IR49 IR50 IR52", 27_000_000, 5_100_000, ALL),
    "J4": ("IR53 IR54 AN9 AN10", 70_000_000, 30_400_000, ALL),
    "J5": ("IR49 IR50 IR55", 15_000_000, 2_700_000, ALL),
    "J6": ("IR53 IR56 MUL5", 75_000_000, 25_500_000, ALL),
    "J7": ("IR53 IR56 IR57 MUL5 MUL6", 75_000_000, 25_500_000, ALL),
    "J8": ("IR53 IR56 IR58 MUL5 MUL7", 86_400_000, 27_840_000, ALL),
    "J9": ("IR59 IR60 IR61", 170_000_000, 56_200_000, ALL),
    "J10": ("IR62 IR63 MUL8 MUL9", 305_000_000, 99_700_000, ALL),
    "JS1 segregated": ("IR64 IR65 IR66", 90_000_000, 29_000_000, SEGREGATED),
    "JS1 unsegregated": ("IR64 IR65 IR66", 217_862_342, 72_496_179, UNSEGREGATED),
    "JS1": ("IR64 IR65 IR66", 217_862_342, 72_496_179, ALL),
    "JS2 segregated": ("IR66 IR67 IR68", 182_467_531, 61_098_556, SEGREGATED),
    "JS2 unsegregated": ("IR66 IR67 IR68", 102_956_301, 34_054_310, UNSEGREGATED),
    "JS2": ("IR66 IR67 IR68", 182_467_531, 61_098_556, ALL),
}
WINNERS = {"J1": "ESA", "J3": "JFSA", "J4": "JFSA", "J6": "ESA", "J9": "USPR", "J10": "JFSA"}


def regulated(
    rows: list[tuple[Any, ...]], collect: list[str], post: list[str] | None = None
) -> CrifTable:
    """Return a table with regulations."""
    blank = [""] * len(rows)
    return replace(
        crif(rows),
        collect_regulations=np.array(collect, dtype=object),
        post_regulations=np.array(blank if post is None else post, dtype=object),
    )


@pytest.mark.parametrize("horizon_days", [10, 1])
@pytest.mark.parametrize("name", CASES)
def test_acadia_cases(name: str, horizon_days: int) -> None:
    names, ten, one, over = CASES[name]
    rows, regulations = zip(*(ROWS[row] for row in names.split()), strict=True)
    result = simm_worst_of(regulated(list(rows), list(regulations)), "2.5", horizon_days, "call")[
        "P"
    ]
    margins = dict(result.by_regulation)
    if over != ALL:
        margins = {k: v for k, v in margins.items() if (k == "SEC-unseg") == (over == UNSEGREGATED)}
    answer = max(margins.values())
    expected = ten if horizon_days == 10 else one
    assert int(Decimal(answer).quantize(Decimal(1), ROUND_HALF_UP)) == expected
    if over == ALL:
        assert result.total == answer
        assert result.regulation == WINNERS.get(name, result.regulation)


EUR = risk("RatesFX", "Risk_FX", "EUR", 1e6)
GBP = risk("RatesFX", "Risk_FX", "GBP", 2e6)
JPY = risk("RatesFX", "Risk_FX", "JPY", 4e6)


def margins(
    collect: list[str], post: list[str] | None = None, side: str = "call"
) -> tuple[str, dict[str, float]]:
    """Return the winner and each regulation's margin over EUR, GBP and JPY."""
    table = regulated([EUR, GBP, JPY], collect, post)
    result = simm_worst_of(table, "2.6", 10, side)["P"]
    return result.regulation, result.by_regulation


def plain(*rows: tuple[Any, ...]) -> float:
    return simm_margin(crif(list(rows)), "2.6", 10, "call").total


def test_sec_takes_the_rows_of_cftc_but_cftc_not_those_of_sec() -> None:
    winner, by_regulation = margins(["SEC", "CFTC", "ESA"])
    assert by_regulation == {
        "CFTC": plain(GBP),
        "ESA": plain(JPY),
        "SEC": plain(EUR, GBP),
    }
    assert winner == "ESA"
    # A row under both counts once under each.
    _, by_regulation = margins(["SEC,CFTC", "CFTC", "CFTC, SEC"])
    assert by_regulation == {"CFTC": plain(EUR, GBP, JPY), "SEC": plain(EUR, GBP, JPY)}
    # Without any row under SEC there is no SEC margin, and SEC-unseg is another regulation.
    _, by_regulation = margins(["CFTC", "SEC-unseg", "CFTC"])
    assert by_regulation == {"CFTC": plain(EUR, JPY), "SEC-unseg": plain(GBP)}


def test_sec_of_one_portfolio_does_not_reach_another() -> None:
    table = regulated([EUR, ("Q", *GBP[1:])], ["SEC", "CFTC"])
    results = simm_worst_of(table, "2.6", 10, "call")
    assert list(results) == ["P", "Q"]
    assert results["P"].by_regulation == {"SEC": plain(EUR)}
    assert results["Q"].by_regulation == {"CFTC": plain(GBP)}


def test_blank_cells_count_where_no_row_names_a_regulation() -> None:
    assert margins(["", "", ""]) == ("Unspecified", {"Unspecified": plain(EUR, GBP, JPY)})
    assert margins(["", "Unspecified", "[]"]) == (
        "Unspecified",
        {"Unspecified": plain(EUR, GBP, JPY)},
    )
    assert margins(["", "ESA", ""]) == ("ESA", {"ESA": plain(GBP)})
    # Regulations on the other side alone leave no row on this one.
    assert margins(["", "", ""], ["", "ESA", ""]) == ("", {})
    assert margins(["", "", ""], ["", "ESA", ""], "post") == ("ESA", {"ESA": plain(GBP)})


def test_excluded_rows_are_in_no_margin() -> None:
    assert margins(["Excluded", "ESA", "ESA,excluded"]) == ("ESA", {"ESA": plain(GBP)})
    # A portfolio whose only mark is Excluded is regulated: its blank rows do not count.
    winner, by_regulation = margins(["Excluded", "", ""])
    assert (winner, by_regulation) == ("", {})
    table = regulated([EUR], ["Excluded"])
    result = simm_worst_of(table, "2.6", 10, "call")["P"]
    assert (result.total, result.version, result.by_product_class) == (0.0, "2.6", {})


def test_collect_counts_for_call_and_post_for_post() -> None:
    collect, post = ["ESA", "USPR", "ESA"], ["UK", "UK", ""]
    assert margins(collect, post)[1] == {"ESA": plain(EUR, JPY), "USPR": plain(GBP)}
    assert margins(collect, post, "post")[1] == {"UK": plain(EUR, GBP)}


def test_spelling_of_lists_and_the_first_name_of_equals() -> None:
    winner, by_regulation = margins(['["uspr", "ESA"]', "esa;Uspr", " ESA USPR,"])
    assert by_regulation == {"ESA": plain(EUR, GBP, JPY), "USPR": plain(EUR, GBP, JPY)}
    assert winner == "ESA"


def test_an_unknown_regulation_is_named_with_its_row() -> None:
    with pytest.raises(InputError, match="CRIF row 3, collect_regulations: 'ESAA'.*mean 'ESA'"):
        margins(["ESA", "ESA", "UK,ESAA"])
    message = "row 2, post_regulations: 'X9' is not a known regulation; allowed: AMFQ, APRA, "
    with pytest.raises(InputError, match=message + ".*, or blank$"):
        margins(["ESA", "ESA", "UK"], ["", "X9", ""])


def test_parameters_that_contradict_each_other_only_across_regulations_are_fine() -> None:
    rows = [EUR, GBP, *(risk("", _MULTIPLIER, "RatesFX", value) for value in (1.5, 1.2))]
    result = simm_worst_of(regulated(rows, ["ESA", "UK", "ESA", "UK"]), "2.6", 10, "call")["P"]
    assert result.by_regulation == {
        "ESA": pytest.approx(1.5 * plain(EUR)),
        "UK": pytest.approx(1.2 * plain(GBP)),
    }
    with pytest.raises(InputError, match="CRIF row 4.*1.2 contradicts 1.5 in row 3"):
        simm_worst_of(regulated(rows, ["ESA", "ESA", "ESA", "ESA"]), "2.6", 10, "call")


@pytest.mark.parametrize("side", ["call", "post"])
def test_one_regulation_over_all_rows_is_the_plain_margin(side: str) -> None:
    rows = [*random_rows(6, 60), EUR]
    cells = ["ESA"] * len(rows)
    result = simm_worst_of(regulated(rows, cells, cells), "2.6", 1, side, "EUR")["P"]
    expected = simm_margin(crif(rows), "2.6", 1, side, "EUR")
    assert expected.total != simm_margin(crif(rows), "2.6", 1, side).total
    by_regulation = {"ESA": expected.total}
    assert result == replace(expected, regulation="ESA", by_regulation=by_regulation)


def test_a_portfolio_without_a_row_has_an_empty_result() -> None:
    table = regulated([EUR], [""], ["ESA"])
    expected = SimmResult("2.6", 1, "call", "USD", 0.0, {}, {}, "GBP")
    assert simm_worst_of(table, "2.6", 1, "call", "GBP") == {"P": expected}


def test_regulations_of_one_portfolio_do_not_touch_blank_cells_of_another() -> None:
    table = regulated([EUR, ("Q", *GBP[1:])], ["ESA", ""])
    for side, other in (("call", "ESA"), ("post", None)):
        results = simm_worst_of(table, "2.6", 10, side)
        assert results["Q"].by_regulation == {"Unspecified": plain(GBP)}
        assert results["P"].by_regulation == ({other: plain(EUR)} if other else {})


def test_missing_cells_are_blank() -> None:
    missing: list[Any] = [None, float("nan"), "ESA"]
    assert margins(missing) == ("ESA", {"ESA": plain(JPY)})
    assert margins([*missing[:2], ""]) == ("Unspecified", {"Unspecified": plain(EUR, GBP, JPY)})


def test_no_rows() -> None:
    assert simm_worst_of(crif([]), "2.6", 10, "call") == {}


def test_regulations_do_not_change_the_plain_margin() -> None:
    rows = random_rows(3, 60)
    table = regulated(rows, ["ESA"] * 30 + ["UK"] * 30)
    assert simm_by_portfolio(table, "2.6", 10, "call") == simm_by_portfolio(
        crif(rows), "2.6", 10, "call"
    )


@pytest.fixture(scope="module")
def peer() -> Iterator[ProcessPoolExecutor]:
    if importlib.util.find_spec("ORE") is None:
        pytest.skip("open-source-risk-engine is not installed (no wheel for this machine)")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        yield process


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("side", ["call", "post"])
def test_random_books_equal_the_worst_of_the_peer(
    peer: ProcessPoolExecutor, seed: int, side: str
) -> None:
    """The peer margins each regulation's rows; the rows are chosen here, one by one."""
    rows = random_rows(seed, 60)
    rng = np.random.default_rng(100 + seed)
    names = ["ESA", "USPR", "SEC", "CFTC", "JFSA"]
    sets = [{n for n in names if rng.random() < 0.4} for _ in rows]
    cells = [",".join(sorted(s)) for s in sets]
    other = [""] * len(rows)
    collect, post = (cells, other) if side == "call" else (other, cells)
    result = simm_worst_of(regulated(rows, collect, post), "2.8+2506", 10, side)["P"]
    expected = {}
    for name in names:
        wanted = {"SEC", "CFTC"} if name == "SEC" else {name}
        chosen = [row for row, s in zip(rows, sets, strict=True) if s & wanted]
        (expected[name],) = peer.submit(peer_margins, chosen, [("2.8+2506", 10, side)]).result()
    assert result.by_regulation == pytest.approx(expected, rel=1e-9)
    assert result.total == pytest.approx(max(expected.values()), rel=1e-9)
    assert result.regulation == max(expected, key=expected.__getitem__)


def test_row_order_does_not_change_the_result() -> None:
    rows = random_rows(5, 80)
    rng = np.random.default_rng(5)
    cells = list(rng.choice(["ESA", "ESA,UK", "SEC", "CFTC", ""], len(rows)))
    table = regulated(rows, cells, cells)
    shuffled = take_rows(table, rng.permutation(len(rows)))
    assert simm_worst_of(shuffled, "2.6", 10, "post") == simm_worst_of(table, "2.6", 10, "post")
