"""Every element of an XML risk parameter file that is read, and what is said of the others."""

from __future__ import annotations

import re

import numpy as np
import pytest

from engine.domain.failures import FailureReason, InputError
from engine.margin.span.parameter_file import read_parameter_file
from engine.margin.span.records import Commodity, FileSpread, SpotRate, SpreadLeg, Tier

PARSING, UNSUPPORTED = FailureReason.PARSING, FailureReason.UNSUPPORTED
VALUES = [11.5, -12.5, 13.5, -14.5, 15.5, -16.5, 17.5, -18.5, 19.5, -20.5, 21.5, -22.5, 23.5,
          -24.5, 25.5, -26.5]  # fmt: skip


def el(name, *content):
    """An element; a list joins its parts."""
    return f"<{name}>" + "".join(str(part) for part in content) + f"</{name}>"


def fields(**values):
    return "".join(el(name, value) for name, value in values.items())


def array(delta="0.25", rate="1", values=VALUES):
    return el("ra", el("r", rate), *(el("a", x) for x in values), el("d", delta))


def rate(value, index="1"):
    return el("rate", el("r", index), el("val", value))


FUT = el("fut", fields(cId=1, pe="20260630", p="100.5", sc="2", cvf="30"), array(rate="2"), array())
SERIES = el(
    "series",
    fields(pe="20260528", cvf="40", sc="3"),
    el("intrRate", el("val", "0.07")),
    el("opt", fields(o="C", k="105", p="7.5"), array("0.5")),
    el("opt", fields(o="P", k="95", p="6.5"), array("-0.5")),
)
PORTFOLIOS = (
    el("phyPf", fields(pfId=1, pfCode="PH", cvf=1), el("phy", fields(pe="", p=9), array())),
    el("equityPf", fields(pfId=2, pfCode="EQ", cvf=2), el("equity", fields(p=8), array())),
    el("futPf", fields(pfId=3, pfCode="FU", cvf=25), el("undPf", fields(exch="NOT")), FUT),
    el("oopPf", fields(pfId=4, pfCode="OP", cvf=50, valueMeth="EQTY"), SERIES),
    el("oofPf", fields(pfId=5, pfCode="OF", cvf=50, valueMeth="FUT"), SERIES),
)


def link(product, kind, by="pfId", extra=""):
    return el("pfLink", el("exch", "E"), el(by, product), el("pfType", kind), extra)


LINKS = (link(1, "PHY"), link(2, "STOCK"), link("FU", "FUT", "pfCode"), link(4, "OOP"),
         link(5, "OOF"))  # fmt: skip


def leg(kind, **values):
    return el(kind, fields(**values))


MONTHS = el(
    "dSpread",
    fields(spread=7, chargeMeth="F"),
    rate("99", "2"),
    rate("5.5"),
    leg("pLeg", cc="AAA", pe="20260630", rs="A", i="1.5"),
    leg("tLeg", cc="AAA", tn=2, rs="B", i="2"),
)
TIERS = el("intraTiers", el("tier", fields(tn=1, sPe="202601", ePe="202603")),
           el("tier", fields(tn=2, sPe="202604")))  # fmt: skip
SPOT = (el("spotRate", fields(r=1, pe="20260630", sprd="3", outr="5")),
        el("spotRate", fields(r=2, pe="20260630", sprd="4", outr="6")),
        el("spotRate", fields(pe="20260730", sprd="", outr="")),
        el("spotRate", fields(pe="20260830")))  # fmt: skip
MINIMUM = el("somTiers", el("tier", el("tn", 1), rate("12.5")), el("tier", el("tn", 2)),
             el("tier", el("tn", 3), rate("12.5")))  # fmt: skip


def ccdef(*parts, code="AAA", links=LINKS):
    head = fields(cc=code, currency="USD", riskExponent="0", somMeth="MAX")
    return el("ccDef", head, *links, *parts)


def inter(*legs, unit="W", value="50"):
    given = legs or (leg("tLeg", cc="AAA", tn=0, rs="A", i="1"), leg("tLeg", cc="AAA", rs="B"))
    return el("dSpread", fields(spread=9, chargeMeth=unit), rate(value), *given)


def document(*definitions, portfolios=PORTFOLIOS, spreads=()):
    return el(
        "spanFile",
        fields(fileFormat="4.00"),
        el("definitions", el("fut", "x"), el("currencyDef", el("currency", "USD"))),
        el(
            "pointInTime",
            fields(date="20260529"),
            el(
                "clearingOrg",
                fields(ec="TEST"),
                el("exchange", fields(exch="E"), *portfolios),
                *definitions,
                el("interSpreads", *spreads),
            ),
        ),
    )


def read(tmp_path, text, **options):
    path = tmp_path / "f.spn"
    path.write_bytes(text.encode("latin-1"))
    return read_parameter_file(path, **options)


def test_every_field_of_the_contracts(tmp_path):
    out = read(tmp_path, document(ccdef()))
    assert out.failures == ()
    book = out.value
    assert (book.format, book.clearing_org, book.business_date) == ("xml 4.00", "TEST", "20260529")
    assert [c.key for c in book.contracts] == [
        ("E", "PH", "PHY", "", "", 0.0),
        ("E", "EQ", "STOCK", "", "", 0.0),
        ("E", "FU", "FUT", "20260630", "", 0.0),
        ("E", "OP", "OOP", "20260528", "C", 105.0),
        ("E", "OP", "OOP", "20260528", "P", 95.0),
        ("E", "OF", "OOF", "20260528", "C", 105.0),
        ("E", "OF", "OOF", "20260528", "P", 95.0),
    ]
    # A contract's own factor and scale go before those of its series or portfolio.
    assert [c.value_factor for c in book.contracts] == [1.0, 2.0, 30.0, 40.0, 40.0, 40.0, 40.0]
    assert [c.delta for c in book.contracts] == [0.25, 0.25, 0.5, 1.5, -1.5, 1.5, -1.5]
    assert [c.price for c in book.contracts] == [9.0, 8.0, 100.5, 7.5, 6.5, 7.5, 6.5]
    assert [c.premium_style for c in book.contracts] == [False] * 3 + [True] * 2 + [False] * 2
    for contract in book.contracts:
        assert contract.losses.tolist() == VALUES
        assert (contract.commodity, contract.where) == ("AAA", "f.spn line 1")
        assert np.isnan(contract.strike) != bool(contract.right)


def test_every_field_of_a_definition(tmp_path):
    both = document(ccdef(MONTHS, TIERS, *SPOT, MINIMUM), spreads=(inter(),))
    out = read(tmp_path, both, credit_unit="per cent")
    assert out.failures == ()
    assert out.value.commodities == {
        "AAA": Commodity(
            code="AAA", currency="USD", som_rate=12.5, som_method="MAX",
            tiers=(Tier(1, "202601", "202603"), Tier(2, "202604", "")),
            spreads=(FileSpread(7, 5.5, (SpreadLeg("AAA", "20260630", 0, 1, 1.5),
                                         SpreadLeg("AAA", "", 2, -1, 2.0))),),
            spot_rates=(SpotRate("20260630", 3.0, 5.0), SpotRate("20260730", 0.0, 0.0),
                        SpotRate("20260830", 0.0, 0.0)),
        )
    }  # fmt: skip
    legs = (SpreadLeg("AAA", "", 0, 1, 1.0), SpreadLeg("AAA", "", 0, -1, 1.0))
    assert out.value.inter_spreads == (FileSpread(9, 0.5, legs),)
    plain = read(tmp_path, both, credit_unit="fraction").value
    assert plain.inter_spreads == (FileSpread(9, 50.0, legs),)


def test_what_a_definition_may_leave_out(tmp_path):
    bare = el("ccDef", el("cc", "AAA"), *LINKS, el("riskExponent", ""), el("somMeth", ""))
    bare += el("ccDef", el("cc", "BBB"))
    spreads = inter().replace(el("chargeMeth", "W"), ""), inter().replace(">W<", "><")
    out = read(tmp_path, document(bare, spreads=spreads), credit_unit="fraction")
    assert out.failures == ()
    assert out.value.commodities == {
        "AAA": Commodity("AAA", "", 0.0, "GROSS"), "BBB": Commodity("BBB", "", 0.0, "GROSS"),
    }  # fmt: skip
    assert len(out.value.inter_spreads) == 2
    assert len(out.value.contracts) == 7


IN_BBB = "inter-commodity spread 9"
# what is in the file -> reason, item, and what the message begins and ends with.
DEFINITIONS = {
    "no code": (ccdef(code=""), PARSING, "ccDef", "a combined commodity has no code", "file again"),
    "scale": (
        ccdef(links=(link(1, "PHY", extra=el("sc", "2")),)), UNSUPPORTED, "AAA",
        "a product is linked with scale 2", "which is not read",
    ),
    "scale text": (
        ccdef(links=(link(1, "PHY", extra=el("sc", "x")),)), PARSING, "AAA",
        "sc of pfLink is 'x'", "give a finite number",
    ),
    "exponent": (
        ccdef().replace(fields(riskExponent=0), fields(riskExponent=2)), UNSUPPORTED, "AAA",
        "riskExponent is 2", "which is not read",
    ),
    "exponent text": (
        ccdef().replace(fields(riskExponent=0), fields(riskExponent="x")), PARSING, "AAA",
        "riskExponent is 'x'", "give a finite number",
    ),
    "adjustment": (
        ccdef(el("adjRate", el("val", "1")), el("adjRate", el("val", "1.1"))), UNSUPPORTED, "AAA",
        "adjRate is 1.1", "which is not read",
    ),
    "adjustment text": (
        ccdef(el("adjRate", el("val", "x"))), PARSING, "AAA", "adjRate is 'x'", "finite number",
    ),
    "scan tiers": (
        ccdef(el("scanTiers", el("tier", ""), el("tier", ""))), UNSUPPORTED, "AAA",
        "it is scanned in 2 tiers", "which is not read",
    ),
    "minimum differs": (
        ccdef(MINIMUM.replace("12.5", "13", 1)), UNSUPPORTED, "AAA",
        r"short option minimum differs by tier \(\[13.0, 12.5\]\)", "which is not read",
    ),
    "minimum of another account": (
        ccdef(el("somTiers", el("tier", rate("12.5", "2")))), PARSING, "AAA",
        "short option minimum is missing", "obtain the file again",
    ),
    "method": (
        ccdef().replace(">MAX<", ">OTHER<"), UNSUPPORTED, "AAA",
        "somMeth is 'OTHER'", "only GROSS and MAX are read",
    ),
    "tier": (
        ccdef(TIERS.replace("<tn>1<", "<tn>1.5<")), PARSING, "AAA", "tn is '1.5'", "whole number",
    ),
    "spot in spreads": (
        ccdef(*SPOT).replace("<sprd>3<", "<sprd>x<"), PARSING, "AAA", "sprd is 'x'", "number",
    ),
    "spot outright": (
        ccdef(*SPOT).replace("<outr>5<", "<outr>x<"), PARSING, "AAA", "outr is 'x'", "number",
    ),
}  # fmt: skip


def check(failure, reason, item, where, begins, ends):
    assert (failure.reason, failure.item, failure.where) == (reason, item, where)
    assert re.fullmatch(f"{begins}.*{ends}", failure.message), failure.message


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_definition_that_is_refused(tmp_path, name):
    definition, reason, item, begins, ends = DEFINITIONS[name]
    good = ccdef(code="GOOD", links=(link(1, "PHY"),))
    out = read(tmp_path, document("\n" + definition + good))
    check(out.failures[0], reason, item, "f.spn line 2", begins, ends)
    # The others, and their contracts, are read all the same.
    assert list(out.value.commodities) == ["GOOD"]
    assert [c.product for c in out.value.contracts] == ["PH"]
    lost = [f.item for f in out.failures[1:]]
    assert lost == ["EQ", "FU", "OP", "OF"]
    begins = "equityPf belongs to no combined commodity of the file"
    check(out.failures[1], PARSING, "EQ", "f.spn", begins, "its contracts are left out")


SPREADS = {
    "method": (
        MONTHS.replace(">F<", ">W<"), UNSUPPORTED, r"charge method 'W' is not read, only flat ones",
        "the margin of AAA lacks this charge",
    ),
    "number": (MONTHS.replace(">7<", ">x<"), PARSING, "spread is 'x'", "give a finite number"),
    "rate": (
        MONTHS.replace(rate("5.5"), ""), PARSING, "rate is missing", "obtain the file again",
    ),
    "rate text": (MONTHS.replace(">5.5<", ">x<"), PARSING, "rate is 'x'", "give a finite number"),
    "kind of leg": (
        MONTHS.replace("pLeg", "rpLeg"), UNSUPPORTED, "a leg of kind rpLeg is not read",
        "margins lack this spread",
    ),
    "scan leg": (
        MONTHS.replace("tLeg", "sLeg"), UNSUPPORTED, "a leg of kind sLeg is not read", "spread",
    ),
    "ratio": (
        MONTHS.replace("<i>2<", "<i>0<"), PARSING, "ratio i of a leg is 0", "it must be above 0",
    ),
    "ratio text": (MONTHS.replace("<i>2<", "<i>x<"), PARSING, "ratio i is 'x'", "finite number"),
    "tier": (MONTHS.replace("<tn>2<", "<tn>2.5<"), PARSING, "tn is '2.5'", "give a whole number"),
    "side": (MONTHS.replace("<rs>B<", "<rs>x<"), PARSING, "side of a leg is 'x'", "be A or B"),
    "legs": (
        MONTHS.replace("tLeg", "other"), PARSING, "the spread has 1 legs", "it needs two or more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPREADS)
def test_a_spread_that_is_refused(tmp_path, name):
    spread, reason, begins, ends = SPREADS[name]
    item = "AAA spread x" if name == "number" else "AAA spread 7"
    out = read(tmp_path, document(ccdef("\n" + spread + MONTHS)))
    (failure,) = out.failures
    check(failure, reason, item, "f.spn line 2", begins, ends)
    assert len(out.value.commodities["AAA"].spreads) == 1


CREDITS = {
    "method": (
        inter(unit="X"), UNSUPPORTED, "charge method 'X' is not read, only credits on weighted",
        "margins lack this spread",
    ),
    "period": (
        inter(leg("pLeg", cc="AAA", pe="1", rs="A"), leg("tLeg", cc="AAA", rs="B")), UNSUPPORTED,
        "legs by tier or period are not read", "margins lack this spread",
    ),
    "tier": (
        inter(leg("tLeg", cc="AAA", tn=1, rs="A"), leg("tLeg", cc="AAA", rs="B")), UNSUPPORTED,
        "legs by tier or period are not read", "margins lack this spread",
    ),
    "credit": (inter(value="x"), PARSING, "rate is 'x'", "give a finite number"),
    "number": (inter().replace(">9<", ">9.5<"), PARSING, "spread is '9.5'", "whole number"),
    "side": (
        inter().replace("<rs>A<", "<rs>C<"), PARSING, "side of a leg is 'C'", "it must be A or B",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CREDITS)
def test_a_credit_that_is_refused(tmp_path, name):
    spread, reason, begins, ends = CREDITS[name]
    text = document(ccdef(), spreads=("\n" + spread, inter()))
    out = read(tmp_path, text, credit_unit="fraction")
    (failure,) = out.failures
    item = IN_BBB + ".5" if name == "number" else IN_BBB
    check(failure, reason, item, "f.spn line 2", begins, ends)
    assert len(out.value.inter_spreads) == 1


def test_a_credit_without_a_unit(tmp_path):
    (failure,) = read(tmp_path, document(ccdef(), spreads=(inter(),))).failures
    begins = r"its credit .*has no unit in the format; say credit_unit \('fraction' or 'per cent'\)"
    check(failure, UNSUPPORTED, IN_BBB, "f.spn line 1", begins, "Margins lack this credit")


CONTRACTS = {
    "right": (("<o>C<", "<o>X<"), "OP 20260528 X 105", "right of the option is 'X'", "C or P"),
    "strike": (("<k>105<", "<k>x<"), "OP 20260528 C x", "k is 'x'", "give a finite number"),
    "price": (("<p>7.5<", "<p>x<"), "OP 20260528 C 105", "p is 'x'", "give a finite number"),
    "factor": (("<cvf>40<", "<cvf>x<"), "OP 20260528 C 105", "cvf is 'x'", "finite number"),
    "scale": (("<sc>3<", "<sc>x<"), "OP 20260528 C 105", "sc is 'x'", "give a finite number"),
    "value": (("<a>11.5<", "<a>x<"), "OP 20260528 C 105", "a risk array value is 'x'", "number"),
    "delta": (("<d>0.5<", "<d>x<"), "OP 20260528 C 105", "composite delta is 'x'", "number"),
    "count": (("<a>11.5</a>", ""), "OP 20260528 C 105", "the risk array has 15 values", "not 16"),
    "array": (
        ("<r>1<", "<r>2<"), "OP 20260528 C 105", "the contract has no risk array", "file again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_contract_that_is_refused(tmp_path, name):
    (old, new), item, begins, ends = CONTRACTS[name]
    bad = "\n" + PORTFOLIOS[3].replace(old, new, 1)
    out = read(tmp_path, document(ccdef(), portfolios=(bad, *PORTFOLIOS[:3])))
    check(out.failures[0], PARSING, item, "f.spn line 2", begins, ends)
    assert [c.product for c in out.value.contracts][-3:] == ["PH", "EQ", "FU"]


def test_portfolios_of_no_commodity(tmp_path):
    links = (link(9, "FUT"), link("XX", "OOP", "pfCode"))
    out = read(tmp_path, document(ccdef(links=links), portfolios=PORTFOLIOS[2:4]))
    assert out.value.contracts == ()
    assert [f.item for f in out.failures] == ["FU", "OP"]
    # A portfolio that no link names belongs to the commodity of its own code.
    own = ccdef(code="FU", links=())
    out = read(tmp_path, document(own, portfolios=PORTFOLIOS[2:3]))
    assert [c.commodity for c in out.value.contracts] == ["FU"]
    nameless = PORTFOLIOS[2].replace(fields(pfCode="FU"), "")
    (failure,) = read(tmp_path, document(ccdef(links=links), portfolios=(nameless,))).failures
    check(failure, PARSING, "(no pfCode)", "f.spn", "futPf belongs to no", "left out")


def test_a_contract_outside_any_portfolio(tmp_path):
    out = read(tmp_path, document(ccdef(), portfolios=("\n" + FUT,)))
    assert out.value.contracts == ()
    begins = "the contract is outside any portfolio"
    check(out.failures[0], PARSING, "fut", "f.spn line 2", begins, "obtain the file again")


def test_commodities_asked_for(tmp_path):
    text = document(ccdef(), spreads=(inter(),))
    out = read(tmp_path, text, commodities=["AAA", "NO", "ABSENT"], credit_unit="fraction")
    assert [f.item for f in out.failures] == ["ABSENT", "NO"]
    begins = "the file defines no such combined commodity"
    check(out.failures[0], PARSING, "ABSENT", "f.spn", begins, "check the code")
    assert len(out.value.contracts) == 7
    assert len(out.value.inter_spreads) == 1
    none = read(tmp_path, text, commodities=[], credit_unit="fraction").value
    assert (none.commodities, none.contracts, none.inter_spreads) == ({}, (), ())


def test_unknown_elements_are_counted_from_their_first_line(tmp_path):
    odd = el("odd", el("x", 1))
    text = document("\n" + odd + "\n" + odd, ccdef(), el("plain", "no children"), el("other", odd))
    first, second = read(tmp_path, text).failures
    begins = "2 elements of this kind are not read"
    check(first, UNSUPPORTED, "odd", "f.spn line 2", begins, "margins leave them out")
    check(second, UNSUPPORTED, "other", "f.spn line 3", "1 elements of this kind", "out")


def test_depth_and_length_at_their_limits(tmp_path):
    deep = "<x>" * 37 + "</x>" * 37  # within spanFile, pointInTime and clearingOrg: 40
    assert read(tmp_path, document(deep, ccdef())).value.contracts
    with pytest.raises(InputError, match=r"^f\.spn line 1: elements are nested deeper than 40; "):
        read(tmp_path, document("<x>" + deep + "</x>", ccdef()))
    # Text of 200 characters is whole, longer text is cut and can be no number.
    longest = PORTFOLIOS[2].replace(">100.5<", f">{'0' * 199}7<")
    (contract,) = read(tmp_path, document(ccdef(), portfolios=(longest,))).value.contracts
    assert contract.price == 7.0
    longer = PORTFOLIOS[2].replace(">100.5<", f">{'0' * 200}7<")
    (failure,) = read(tmp_path, document(ccdef(), portfolios=(longer,))).failures
    said = f"p is '{'0' * 40}'"
    check(failure, PARSING, "FU 20260630", "f.spn line 1", said, "give a finite number")


def test_a_file_longer_than_one_chunk(tmp_path):
    many = "\n".join([PORTFOLIOS[2].replace("FU<", f"F{i}<") for i in range(200)])
    links = tuple(link(f"F{i}", "FUT", "pfCode") for i in range(200))
    out = read(tmp_path, document(ccdef(links=links), portfolios=("\n" + many,)))
    assert out.failures == ()
    assert [c.product for c in out.value.contracts] == [f"F{i}" for i in range(200)]
    assert [c.where for c in out.value.contracts][::199] == ["f.spn line 2", "f.spn line 201"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!DOCTYPE z []>" + el("spanFile"), r"^f\.spn line 1: a document type declaration is not"),
        (el("html"), r"^f\.spn: the outermost element is 'html', not 'spanFile'; give an XML risk"),
        ("<spanFile>\n<a></b>", r"^f\.spn line 2: mismatched tag; the file is damaged or cut shor"),
        ("PK zip", r"^f\.spn: begins with b'PK zip', neither XML nor a positional header; give a "),
    ],
)
def test_files_that_are_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path, text)


def test_a_file_without_its_head(tmp_path):
    text = document(ccdef())
    for name, value in (("fileFormat", "4.00"), ("date", "20260529"), ("ec", "TEST")):
        text = text.replace(el(name, value), "")
    book = read(tmp_path, text).value
    assert (book.format, book.clearing_org, book.business_date) == ("xml", "", "")
    assert len(book.contracts) == 7
