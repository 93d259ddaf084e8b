from __future__ import annotations

import pytest

from engine.domain.failures import InputError
from engine.margin.add_ons.methods import METHODS
from engine.rulebooks.add_on_terms import (
    ADD_ONS_FILE,
    LIQUIDITY_METHODS,
    add_ons_rulebook_id,
    load_add_on_terms,
    read_add_on_terms,
)
from engine.rulebooks.services import load_services

HEAD = "# version: test | x\nscope,add_on,method,parameter,value,mark,source\n"
TIERS = (
    "service:ECC,concentration,tiers,adv_fraction,0.25,indicative,a\n"
    "service:ECC,concentration,tiers,thresholds,{},indicative,a\n"
    "service:ECC,concentration,tiers,multipliers,{},indicative,a\n"
)


def test_a_service_goes_before_its_kind():
    book = load_add_on_terms()
    assert book.account("concentration", "cleared", "ECC").method == "liquidation_period"
    assert book.account("concentration", "cleared", "NO_SUCH").method == "excess"
    assert book.account("concentration", "prime", "").method == "excess"
    assert book.account("concentration", "bilateral", "") is None
    assert book.account("jump_to_default", "cleared", "EUREX_ETD") is None
    assert book.account("jump_to_default", "prime", "").numbers["names"] == 1.0


def test_a_factor_goes_before_its_bucket_and_class():
    book = load_add_on_terms()
    share = "volatility_share"
    assert book.factor("bid_ask", "SPX", "equity_us_index", "equity").numbers[share] == 0.005
    assert book.factor("bid_ask", "DAX", "equity_europe", "equity").numbers[share] == 0.02
    assert book.factor("delivery", "WTI", "oil", "commodity").method == "physical"
    assert book.factor("delivery", "BRENT", "oil", "commodity") is None


def test_every_number_has_mark_and_source():
    book = load_add_on_terms()
    for terms in book.terms.values():
        assert set(terms.marks) == set(terms.sources)
        named = {*terms.numbers, *terms.lists, *terms.texts}
        assert set(terms.marks) - {""} == named
        assert all(mark in ("verified", "indicative") for mark in terms.marks.values())
        assert all(terms.sources.values())
    ecc = book.account("concentration", "cleared", "ECC")
    assert (ecc.numbers["added_days"], ecc.numbers["cap_days"]) == (0.3, 3.0)
    assert ecc.marks["cap_days"] == "verified"
    assert ecc.mark == ecc.marks["capacity_fraction"] == "indicative"
    assert book.terms["wrong_way", "factor:JPM"].mark == "verified"


def test_services_exist_and_methods_are_implemented():
    book = load_add_on_terms()
    used = {scope.removeprefix("service:") for _, scope in book.terms if "service:" in scope}
    assert used <= set(load_services())
    assert set(METHODS) == set(LIQUIDITY_METHODS)
    # Every method is in use, so that none is dead.
    assert {t.method for (a, _), t in book.terms.items() if a == "concentration"} == set(METHODS)
    assert add_ons_rulebook_id() == f"add_ons:{book.version}"
    assert ADD_ONS_FILE.read_text(encoding="utf-8").startswith(f"# version: {book.version} |")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("service:NOBODY,concentration,excess,,,indicative,a\n", "service:NOBODY"),
        ("planet:X,concentration,excess,,,indicative,a\n", "planet:X"),
        ("bucket:,bid_ask,half_spread,volatility_share,0.1,indicative,a\n", "bucket:"),
        ("kind:cleared,concentration,magic,,,indicative,a\n", "magic"),
        ("kind:cleared,delivery,physical,,,indicative,a\n", "physical"),
        ("factor:WTI,delivery,ramp,rate,0.1,indicative,a\n", "ramp"),
        ("kind:cleared,concentration,excess,,,certain,a\n", "certain"),
        ("kind:cleared,concentration,excess,,,indicative,\n", "source"),
        ("kind:cleared,concentration,impact,size,1,indicative,a\n", "size"),
        ("kind:cleared,concentration,impact,,,indicative,a\n", "parameter ''"),
        ("kind:cleared,delivery,ramp,rate,0.1,indicative,a\n", r"lacks \['days'\]"),
        ("kind:cleared,concentration,impact,coefficient,-1,indicative,a\n", "-1"),
        ("kind:cleared,concentration,impact,coefficient,nan,indicative,a\n", "nan"),
        ("kind:cleared,concentration,impact,coefficient,much,indicative,a\n", "much"),
        ("kind:cleared,concentration,horizon_block,participation,0,indicative,a\n", "is 0"),
        ("bucket:x,jump_to_default,loss,loss_given_default,1.01,indicative,a\n", "1.01"),
        ("kind:cleared,concentration,excess,,,indicative,a\n" * 2, "repeated"),
        (
            "kind:cleared,concentration,excess,,,indicative,a\n"
            "kind:cleared,concentration,impact,coefficient,1,indicative,a\n",
            "two methods",
        ),
        (TIERS.format("1;2", "1.1"), "must rise"),
        (TIERS.format("2;2", "1.1;1.2"), "must rise"),
        (TIERS.format("1;2", "1.2;1.1"), "must rise"),
        (TIERS.format("1;2", "0.9;1.1"), "must rise"),
    ],
)
def test_bad_rows_are_refused_with_their_line(tmp_path, rows, said):
    path = tmp_path / "add_ons.csv"
    path.write_text(HEAD + rows, encoding="utf-8")
    with pytest.raises(InputError, match=rf"add_ons\.csv line \d+: .*{said}"):
        read_add_on_terms(path)


def test_good_rows_are_read(tmp_path):
    path = tmp_path / "add_ons.csv"
    zero = "kind:cleared,bid_ask,size,size_factor,0,verified,a\n"
    zero += "kind:cleared,bid_ask,size,size_exponent,0.5,verified,b\n"
    path.write_text(HEAD + TIERS.format("1;2", "1;1") + zero, encoding="utf-8")
    book = read_add_on_terms(path)
    assert book.version == "test"
    terms = book.account("concentration", "cleared", "ECC")
    assert terms.lists == {"thresholds": (1.0, 2.0), "multipliers": (1.0, 1.0)}
    bid_ask = book.account("bid_ask", "cleared", "")
    assert bid_ask.numbers == {"size_factor": 0.0, "size_exponent": 0.5}
    assert (bid_ask.mark, bid_ask.sources["size_exponent"]) == ("verified", "b")
