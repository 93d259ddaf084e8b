"""Rows and words at the edge, and what is said of them in full: value, place and remedy."""

from __future__ import annotations

import numpy as np
import pytest

from engine.domain.failures import FailureReason, InputError
from engine.margin.simm import simm_margin, validate_crif
from engine.margin.simm.aggregate import group_ids
from tests.engine.margin.simm_books import crif, risk

GOOD = risk("RatesFX", "Risk_IRCurve", "USD", 4e6, label1="2w", label2="OIS")
TYPO = risk("RatesFX", "Risk_IRCurve", "USD", 1.0, label1="2w", label2="Libor3n")
SAID = "Label2: 'Libor3n' is not known; did you mean 'Libor3m'? allowed: "


def test_a_failure_names_its_trade_or_its_risk() -> None:
    table = crif([GOOD, TYPO, TYPO])
    table.trade_id[1] = "T-7"
    table.trade_id[2] = ""
    checked = validate_crif(table)
    assert [(f.item, f.where) for f in checked.failures] == [("T-7", "CRIF:2"), ("USD", "CRIF:3")]
    assert {f.reason for f in checked.failures} == {FailureReason.INVALID}
    for failure in checked.failures:
        assert failure.message.startswith(SAID)
        assert failure.message.endswith("Municipal")
    assert len(checked.value) == 1


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7])
def test_five_problems_are_shown_and_the_rest_counted(count: int) -> None:
    with pytest.raises(InputError) as caught:
        simm_margin(crif([GOOD] + [TYPO] * count), "2.5", 10, "call")
    begin, *parts = (
        str(caught.value).removeprefix("CRIF has rows that cannot be used: ").split("; row ")
    )
    shown = [begin.removeprefix("row "), *parts]
    assert [text.split(",")[0] for text in shown] == [str(i + 2) for i in range(min(count, 5))]
    assert all(f", {SAID}" in text for text in shown)
    assert str(caught.value).endswith("; and 1 more") == (count == 6)
    assert str(caught.value).endswith("; and 2 more") == (count == 7)
    assert (" more" in str(caught.value)) == (count > 5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            risk("Equity", "Risk_Equity", "ACME", 1.0, "13"),
            "Bucket: '13' is not known; allowed: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, Residual",
        ),
        (
            risk("RatesFX", "Risk_FX", "EURO", 1.0),
            "Qualifier: 'EURO' is not an ISO 4217 currency such as USD; did you mean 'EUR'?",
        ),
        (
            risk("RatesFX", "Risk_FX", "12345", 1.0),
            "Qualifier: '12345' is not an ISO 4217 currency such as USD",
        ),
        (
            risk("Credit", "Risk_CreditQ", "ACME", 1.0, "1", "5y", "EURO"),
            "Label2: 'EURO' is neither blank, Sec nor the ISO 4217 code of the payment currency; "
            "did you mean 'EUR'?",
        ),
        (
            risk("Credit", "Risk_CreditQ", "ACME", 1.0, "1", "5y", "12345"),
            "Label2: '12345' is neither blank, Sec nor the ISO 4217 code of the payment currency",
        ),
        (
            risk("Credit", "Risk_CreditNonQ", "POOL", 1.0, "1", "5y"),
            "Label2: is blank; Risk_CreditNonQ needs the name of its group, such as CMBX",
        ),
        (
            risk("Equity", "Risk_Equity", "", 1.0, "5"),
            "Qualifier: is blank; Risk_Equity needs a name",
        ),
        (
            risk("RatesFX", "Risk_FXVol", "EUREUR", 1.0, label1="1y"),
            "Qualifier: 'EUREUR' is not a pair of two different ISO 4217 currencies such as EURUSD",
        ),
        (
            risk("RatesFX", "Risk_FX", "EUR", float("inf")),
            "AmountUSD: inf is not a finite number",
        ),
    ],
)
def test_each_problem_in_full(row: tuple[object, ...], message: str) -> None:
    (failure,) = validate_crif(crif([row]), "book.csv").failures
    assert failure.message == message
    assert failure.where == "book.csv:1"


def test_the_older_mark_of_a_securitisation_is_a_label_of_its_own() -> None:
    def margin(*signed: tuple[str, float]) -> float:
        rows = [risk("Credit", "Risk_CreditQ", "ACME", x, "1", "5y", text) for text, x in signed]
        return simm_margin(crif(rows), "2.5", 10, "call").total

    alone = margin(("", 1e5))
    assert margin(("Sec", 1e5)) == margin(("SEC", 1e5)) == margin(("USD", 1e5)) == alone > 0.0
    assert margin(("Sec", 1e5), ("sec", -1e5)) == 0.0
    # The same name on two curves does not net in full.
    assert 0.0 < margin(("Sec", 1e5), ("", -1e5)) < alone


def test_groups_are_numbered_in_the_order_of_their_keys() -> None:
    ids, first = group_ids(np.array([2, 1, 1, 2, 1]), np.array([0, 5, 3, 0, 5]))
    assert ids.tolist() == [2, 1, 0, 2, 1]
    assert first.tolist() == [2, 1, 0]


def test_contradicting_add_on_rows_say_what_to_do() -> None:
    rows = [GOOD, *(risk("", "Param_ProductClassMultiplier", "FX", x) for x in (1.2, 1.3))]
    with pytest.raises(InputError) as caught:
        simm_margin(crif(rows), "2.5", 10, "call")
    assert str(caught.value) == (
        "CRIF row 3: Param_ProductClassMultiplier 1.3 contradicts 1.2 in row 2 of the same "
        "portfolio; keep one of them"
    )
