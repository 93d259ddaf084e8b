"""Every field of a risk parameter file, from exactly its own columns or element.

Records are full: what is not read holds letters, so that a field read one column off is no number.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from engine.domain.failures import FailureReason, InputError
from engine.margin.span.parameter_file import read_parameter_file
from engine.margin.span.records import (
    Commodity,
    Failures,
    FileSpread,
    RecordError,
    SpotRate,
    SpreadLeg,
    Tier,
    number,
    side_of,
    whole,
)

PARSING, UNSUPPORTED = FailureReason.PARSING, FailureReason.UNSUPPORTED


def at(width=200, fill="z", **fields):
    """A record of `fill`: `c12='x'` puts x in column 12."""
    text = [fill] * width
    for name, value in fields.items():
        start = int(name[1:]) - 1
        text[start : start + len(value)] = value
    return "".join(text)


HEAD = at(c1="0 ", c3="TESTOR", c9="20260529", c36="U2")


def price_record(product="AAAAAAAAAA", kind="FUT", **changes):
    fields = {"c1": "P ", "c3": "EXC", "c6": product, "c16": kind, "c34": "002", "c37": "001",
              "c42": "00000250000000", "c73": "+", "c74": "01"}  # fmt: skip
    return at(**{**fields, **changes})


def definition(*slots, code="CMBAAA", **changes):
    """Type 2: each slot is product (10), kind (3), decimal locator and its sign."""
    fields = {"c1": "2 ", "c3": "EXC", "c7": code, "c13": "0", "c14": "USD", "c18": "P"}
    for i in range(6):
        text = slots[i] if i < len(slots) else " " * 10
        fields[f"c{23 + 16 * i}"] = text
    return at(**{**fields, **changes})


def charges(code="CMBAAA", **changes):
    fields = {"c1": "4 ", "c3": code, "c9": "10", "c11": "02", "c15": "202606", "c21": "0000003",
              "c28": "0000005", "c37": "202607", "c43": "0000007", "c50": "0000011",
              "c63": "0000012", "c79": "1"}  # fmt: skip
    return at(**{**fields, **changes})


def credit(*legs, **changes):
    """Type 6: each leg is commodity (6), ratio (7) and side."""
    fields = {"c1": "6 ", "c6": "0042", "c10": "0500000", "c89": "01", "c101": "W",
              "c102": " " * 8}  # fmt: skip
    for i in range(4):
        code, ratio, side = legs[i] if i < len(legs) else (" " * 6, " " * 7, " ")
        fields.update({f"c{21 + 18 * i}": code, f"c{27 + 18 * i}": ratio, f"c{34 + 18 * i}": side})
    return at(**{**fields, **changes})


VALUES = [11, -12, 13, -14, 15, -16, 17, -18, 19, -20, 21, -22, 23, -24, 25, -26]


def arrays(product="AAAAAAAAAA", kind="FUT", wide=False, **changes):
    """The two records of one array; `changes` go to both, those from column 97 on to the second."""
    width = 8 if wide else 5
    texts = [f"{abs(x):0{width}d}" + ("-" if x < 0 else "+") for x in VALUES]
    name = {"c3": "EXC", "c6": product, "c26": kind, "c29": "C", "c30": "20260630",
            "c39": "20260528", "c48": "0001050"}  # fmt: skip
    name.update({key: value for key, value in changes.items() if int(key[1:]) < 55})
    own = {key: value for key, value in changes.items() if int(key[1:]) >= 55}
    after = 55 + 7 * (width + 1)
    tail = {f"c{after}": "12500-", f"c{after + 14}": "0010050-", f"c{after + 22}": "+", **own}
    first = at(c1="83" if wide else "81", **name, c55="".join(texts[:9]))
    return [first, at(c1="84" if wide else "82", **name, c55="".join(texts[9:]), **tail)]


FUTURE, OPTION = "AAAAAAAAAAFUT2+", "BBBBBBBBBBOOF1+"
OPTIONS = {"product": "BBBBBBBBBB", "kind": "OOF"}


def read(tmp_path, lines, name="f.pa2", **options):
    path = tmp_path / name
    path.write_bytes(("\n".join(lines) + "\n").encode("latin-1"))
    return read_parameter_file(path, **options)


def whole_file(*more):
    return [HEAD, price_record(), price_record("BBBBBBBBBB", "OOF"), definition(FUTURE, OPTION),
            *more]  # fmt: skip


def test_every_field_of_a_future(tmp_path):
    out = read(tmp_path, whole_file(*arrays()))
    assert out.failures == ()
    book = out.value
    assert (book.format, book.clearing_org, book.business_date) == (
        "positional U2", "TESTOR", "20260529",
    )  # fmt: skip
    (future,) = book.contracts
    assert future.key == ("EXC", "AAAAAAAAAA", "FUT", "20260630", "", 0.0)
    assert (future.commodity, future.where) == ("CMBAAA", "f.pa2 line 6")
    assert (future.delta, future.price, future.value_factor) == (-1.25, -100.5, 250.0)
    assert np.isnan(future.strike)
    assert not future.premium_style
    assert future.losses.tolist() == [x / 100.0 for x in VALUES]


@pytest.mark.parametrize("wide", [False, True])
def test_every_field_of_an_option(tmp_path, wide):
    after = 55 + 7 * (9 if wide else 6)
    more = []
    for right, sign in (("C", "+"), ("P", "-")):
        more += arrays(**OPTIONS, wide=wide, c29=right, **{f"c{after + 22}": sign})
    call, put = read(tmp_path, whole_file(*more)).value.contracts
    assert call.key == ("EXC", "BBBBBBBBBB", "OOF", "20260528", "C", 105.0)
    assert put.key == ("EXC", "BBBBBBBBBB", "OOF", "20260528", "P", -105.0)
    assert call.premium_style
    assert call.losses.tolist() == [x / 10.0 for x in VALUES]
    assert (call.delta, call.price) == (-1.25, -100.5)
    daily = [HEAD, price_record("BBBBBBBBBB", "OOF"), definition(FUTURE, OPTION, c18="F"), *more]
    assert [c.premium_style for c in read(tmp_path, daily).value.contracts] == [False, False]


def test_months_without_days_and_blank_fields(tmp_path):
    lines = whole_file(*arrays(c30="202606  "), *arrays(**OPTIONS, c39="202605  "))
    lines[1] = price_record(c34="   ", c37="   ", c73=" ", c74="  ")
    lines[2] = price_record("BBBBBBBBBB", "OOF", c34="003", c37="002", c73="-", c74="02")
    lines[3] = definition("AAAAAAAAAAFUT +", "BBBBBBBBBBOOF +", c13=" ")
    out = read(tmp_path, lines)
    assert out.failures == ()
    future, option = out.value.contracts
    assert (future.period, option.period) == ("202606", "202605")
    assert (future.price, future.value_factor) == (-10050.0, 25.0)
    assert (option.price, option.strike, option.value_factor) == (-10.05, 10.5, 0.25)
    assert future.losses.tolist() == [float(x) for x in VALUES]


def test_all_six_products_of_a_commodity(tmp_path):
    names = [letter * 10 for letter in "ABCDEF"]
    slots = [f"{name}FUT{i}+" for i, name in enumerate(names)]
    slots[1] = " " * 15  # an empty slot does not end the list
    lines = [HEAD, *(price_record(name) for name in names), definition(*slots)]
    for name in names:
        lines += arrays(name)
    out = read(tmp_path, lines)
    assert [c.product for c in out.value.contracts] == [n for n in names if n[0] != "B"]
    assert [c.losses[0] for c in out.value.contracts] == pytest.approx(
        [11.0, 0.11, 0.011, 0.0011, 0.00011]
    )
    (failure,) = out.failures
    assert failure.item == "BBBBBBBBBB FUT 20260528 C 0001050"
    assert failure.message == "its product is in no combined commodity; it is left out"


def test_charges_and_credits(tmp_path):
    legs = (("CMBAAA", "0010000", "A"), ("CMBBBB", "0020000", "B"), ("CMBAAA", "0025000", "B"),
            ("CMBBBB", "0000001", "A"))  # fmt: skip
    lines = whole_file(definition("CCCCCCCCCCFUT0+", code="CMBBBB", c14="EUR"), charges(),
                       charges("CMBBBB", c9="00", c79="0"), credit(*legs))  # fmt: skip
    out = read(tmp_path, lines)
    assert out.failures == ()
    spot = (SpotRate("202606", 3.0, 5.0), SpotRate("202607", 7.0, 11.0))
    assert out.value.commodities == {
        "CMBAAA": Commodity("CMBAAA", "USD", 12.0, "MAX", spot_rates=spot),
        "CMBBBB": Commodity("CMBBBB", "EUR", 12.0, "GROSS"),
    }
    assert out.value.inter_spreads == (
        FileSpread(42, 0.5, (
            SpreadLeg("CMBAAA", "", 0, 1, 1.0), SpreadLeg("CMBBBB", "", 0, -1, 2.0),
            SpreadLeg("CMBAAA", "", 0, -1, 2.5), SpreadLeg("CMBBBB", "", 0, 1, 0.0001),
        )),
    )  # fmt: skip
    lines[5] = charges(c11="01", c21=" " * 7, c28=" " * 7, c63=" " * 7)
    lines[6] = charges("CMBBBB", c11="  ")
    out = read(tmp_path, lines, commodities=["CMBAAA"])
    assert out.value.commodities == {
        "CMBAAA": Commodity("CMBAAA", "USD", 0.0, "MAX", spot_rates=(SpotRate("202606", 0.0, 0.0),))
    }
    assert out.value.inter_spreads == ()  # one leg is of a commodity that was not asked for
    assert out.failures == ()


LEGS = (("CMBAAA", "0010000", "A"), ("CMBBBB", "0020000", "B"))
NAME = "AAAAAAAAAA FUT 20260528 C 0001050"
OPTION_NAME = "BBBBBBBBBB OOF 20260528 X 0001050"
INTER = "inter-commodity spread 42"
# records -> reason, item, line and what the message begins and ends with.
REFUSED = {
    "no first": (arrays()[1:], PARSING, NAME, 5, "a second array record without", "left out"),
    "no second": (arrays()[:1], PARSING, NAME, 5, "the array has no second record", "is left out"),
    "other month": (
        [arrays()[0], arrays(c30="20260730")[1]], PARSING, NAME, 6,
        "its two array records do not belong", "left out",
    ),
    "other width": (
        [arrays()[0], "84" + arrays()[1][2:]], PARSING, NAME, 6,
        "its two array records do not belong", "left out",
    ),
    "unknown product": (
        arrays("QQQQQQQQQQ"), PARSING, NAME.replace("A" * 10, "Q" * 10), 6,
        "its product is in no combined commodity", "left out",
    ),
    "right": (
        arrays(**OPTIONS, c29="X"), PARSING, OPTION_NAME, 6, "right of the option is 'X'", "C or P",
    ),
    "value 2": (
        [arrays()[0][:60] + "1_012" + arrays()[0][65:], arrays()[1]], PARSING, NAME, 6,
        "array value 2 is '1_012'", "give a finite number",
    ),
    "value 7 of the second": (
        [arrays()[0], arrays()[1][:90] + "00x26" + arrays()[1][95:]], PARSING, NAME, 6,
        "array value 7 is '00x26'", "finite number",
    ),
    "sign": (
        [arrays()[0][:59] + "*" + arrays()[0][60:], arrays()[1]], PARSING, NAME, 6,
        "sign of array value 1 is '\\*'", "it must be \\+ or -",
    ),
    "delta": (arrays(c97="x2500-"), PARSING, NAME, 6, "composite delta is 'x2500'", "number"),
    "price": (arrays(c111="001005x"), PARSING, NAME, 6, "settlement price is '001005x'", "number"),
    "strike": (
        arrays(**OPTIONS, c48="00010x0"), PARSING, "BBBBBBBBBB OOF 20260528 C 00010x0", 6,
        "strike is '00010x0'", "give a finite number",
    ),
    "unknown type": (
        ["Q zzz"], UNSUPPORTED, "Q ", 5, "record type 'Q ' is not known", "it is left out",
    ),
    "tiers": (
        [at(c1="3 ", c3="CMBAAA"), at(c1="3 ", c3="CMBAAA")], UNSUPPORTED, "CMBAAA", 5,
        "tiers are not read", "the margin of CMBAAA lacks what they charge",
    ),
    "spreads": (
        [at(c1="E ", c3="CMBAAA")], UNSUPPORTED, "CMBAAA", 5, "inter-month spreads are", "charge",
    ),
    "scanning tiers": (
        [at(c1="S ", c3="CMBAAA")], UNSUPPORTED, "CMBAAA", 5, "scanning tiers are not", "charge",
    ),
    "factor": (
        [price_record(c42="0000025000000x")], PARSING, "EXC AAAAAAAAAA FUT", 5,
        "contract value factor is '0000025000000x'", "number",
    ),
    "factor exponent": (
        [price_record(c74="x1")], PARSING, "EXC AAAAAAAAAA FUT", 5,
        "contract value factor exponent is 'x1'", "number",
    ),
    "price decimals": (
        [price_record(c34="1.5")], PARSING, "EXC AAAAAAAAAA FUT", 5,
        "settlement price decimal locator is '1.5'", "give a whole number",
    ),
    "strike decimals": (
        [price_record(c37="1.5")], PARSING, "EXC AAAAAAAAAA FUT", 5,
        "strike price decimal locator is '1.5'", "give a whole number",
    ),
    "no code": (
        [definition(FUTURE, code=" " * 6)], PARSING, "type 2", 5,
        "a combined commodity has no code", "obtain the file again",
    ),
    "negative decimals": (
        [definition("CCCCCCCCCCFUT2-", code="CMBBBB")], UNSUPPORTED, "CMBBBB", 5,
        "array values of CCCCCCCCCC have a negative decimal locator", "not read",
    ),
    "array decimals": (
        [definition("CCCCCCCCCCFUTx+", code="CMBBBB")], PARSING, "CMBBBB", 5,
        "array value decimal locator is 'x'", "number",
    ),
    "risk exponent": (
        [definition(code="CMBBBB", c13="3")], UNSUPPORTED, "CMBBBB", 5,
        "risk exponent is 3, which is not read", "its contracts are left out",
    ),
    "charges of nothing": (
        [charges("CMBZZZ")], PARSING, "CMBZZZ", 5, "charges of a combined commodity", "defined",
    ),
    "basis risk": (
        [charges(c9="11")], UNSUPPORTED, "CMBAAA", 5, "delivery charge by basis risk", "lacks it",
    ),
    "months": (
        [charges(c11="x2")], PARSING, "CMBAAA", 5, "months in delivery is 'x2'", "number",
    ),
    "delivery in spreads": (
        [charges(c43="000000x")], PARSING, "CMBAAA", 5,
        "delivery charge in spreads is '000000x'", "number",
    ),
    "delivery outright": (
        [charges(c50="000000x")], PARSING, "CMBAAA", 5,
        "delivery charge outright is '000000x'", "number",
    ),
    "minimum": (
        [charges(c63="000000x")], PARSING, "CMBAAA", 5, "short option minimum is", "finite number",
    ),
    "priority": (
        [credit(*LEGS, c6="004x")], PARSING, "inter-commodity spread", 5,
        "spread priority is '004x'", "number",
    ),
    "method": (
        [credit(*LEGS, c89="02")], UNSUPPORTED, INTER, 5,
        "method '02', credit 'W' or its tiers are not read", "margins lack this credit",
    ),
    "credit": (
        [credit(*LEGS, c101="F")], UNSUPPORTED, INTER, 5, "method '01', credit 'F'", "credit",
    ),
    "credit tiers": (
        [credit(*LEGS, c102="       1")], UNSUPPORTED, INTER, 5, "method '01'", "this credit",
    ),
    "ratio": (
        [credit(LEGS[0], ("CMBBBB", "0000000", "B"))], PARSING, INTER, 5,
        "delta per spread is 0", "it must be above 0",
    ),
    "ratio text": (
        [credit(LEGS[0], ("CMBBBB", "000000x", "B"))], PARSING, INTER, 5,
        "delta per spread is '000000x'", "number",
    ),
    "side": (
        [credit(LEGS[0], ("CMBBBB", "0020000", "C"))], PARSING, INTER, 5,
        "side of a leg is 'C'", "it must be A or B",
    ),
    "one leg": (
        [credit(LEGS[0])], PARSING, INTER, 5, "the spread has 1 legs", "it needs two or more",
    ),
    "rate": (
        [credit(*LEGS, c10="000000x")], PARSING, INTER, 5, "spread credit rate is", "number",
    ),
}  # fmt: skip


def check(failure, reason, item, where, begins, ends):
    assert (failure.reason, failure.item, failure.where) == (reason, item, where)
    assert re.fullmatch(f"{begins}.*{ends}", failure.message), failure.message


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_value_place_and_remedy(tmp_path, name):
    records, reason, item, line, begins, ends = REFUSED[name]
    out = read(tmp_path, whole_file(*records, *arrays(c30="20261231")))
    check(out.failures[0], reason, item, f"f.pa2 line {line}", begins, ends)
    assert len(out.failures) == 1
    # What follows is read all the same.
    assert out.value.contracts[-1].period == "20261231"


def test_a_product_without_price_record(tmp_path):
    lines = [HEAD, definition(FUTURE), *arrays()]
    (failure,) = read(tmp_path, lines).failures
    check(failure, PARSING, NAME, "f.pa2 line 4", "its product has no price conversion", "left out")


def test_contracts_of_a_refused_commodity_are_left_out_in_silence(tmp_path):
    lines = [HEAD, price_record(), definition(FUTURE, c13="1"), *arrays()]
    out = read(tmp_path, lines)
    assert out.value.contracts == ()
    assert len(out.failures) == 1


def test_commodities_that_the_file_lacks(tmp_path):
    out = read(tmp_path, whole_file(*arrays()), commodities=["CMBAAA", "NOSUCH", "ABSENT"])
    assert [f.item for f in out.failures] == ["ABSENT", "NOSUCH"]
    begins = "the file defines no such combined commodity"
    check(out.failures[0], PARSING, "ABSENT", "f.pa2", begins, "check the code")
    assert len(out.value.contracts) == 1


def test_records_that_are_not_needed_say_nothing(tmp_path):
    kinds = ("1 ", "5 ", "B ", "R ", "T ", "V ", "X ", "Y ", "Z ", "91", "92")
    out = read(tmp_path, whole_file(*(at(c1=kind) for kind in kinds), "", "   ", *arrays()))
    assert out.failures == ()
    assert len(out.value.contracts) == 1
    assert out.value.contracts[0].where == "f.pa2 line 19"


def test_the_longest_line(tmp_path):
    fine = at(999, c1="1 ")
    assert read(tmp_path, whole_file(fine)).failures == ()
    said = r"^f\.pa2 line 5: longer than 1000 characters; this is not a positional risk parameter f"
    with pytest.raises(InputError, match=said):
        read(tmp_path, whole_file(fine + "z"))


def test_a_file_must_begin_with_its_head(tmp_path):
    said = r"^f\.pa2 line 1: file format is 'U3'; only 'U2', expanded unpacked, is read$"
    with pytest.raises(InputError, match=said):
        read(tmp_path, [HEAD.replace("U2", "U3")])


def test_numbers_of_records():
    assert number("X", "price", " 1.5 ") == 1.5
    assert whole("X", "tier", "3.0") == 3
    assert (side_of("X", "A"), side_of("X", "B")) == (1, -1)
    for read_it, text, said in (
        (number, "9" * 400, f"^price is '{'9' * 40}'; give a finite number$"),
        (number, "-inf", "^price is '-inf'; give a finite number$"),
        (whole, "2.5", "^price is '2.5'; give a whole number$"),
        (whole, "x", "^price is 'x'; give a finite number$"),
    ):
        with pytest.raises(RecordError, match=said) as error:
            read_it("ITEM", "price", text)
        assert (error.value.item, error.value.reason) == ("ITEM", PARSING)
    with pytest.raises(RecordError, match=f"^side of a leg is '{'A' * 40}'; it must be A or B$"):
        side_of("X", "A" * 50)


def test_tiers_hold_their_ends():
    closed = Tier(1, "202603", "202606")
    assert [closed.holds(p) for p in ("202602", "202603", "202606", "202607")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert closed.holds("20260630")
    assert closed.holds("20260301")
    assert not closed.holds("20260701")
    assert Tier(1, "", "202606").holds("190001")
    assert Tier(1, "202603", "").holds("209912")


def test_failures_beyond_the_most_are_counted():
    failures = Failures(most=1)
    one = RecordError("A", "is bad").failure("line 1")
    for _ in range(3):
        failures.add(one)
    kept, more = failures.all("f.spn")
    assert kept == one
    assert (more.reason, more.item, more.where) == (PARSING, "f.spn", "f.spn")
    assert more.message == "2 further failures are not listed; obtain the file again"
    alone = Failures(most=1)
    alone.add(one)
    assert alone.all("f.spn") == (one,)
