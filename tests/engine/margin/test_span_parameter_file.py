"""Reading risk parameter files: XML and positional, large and hostile."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from engine.domain.failures import FailureReason, InputError
from engine.margin.span.arrays import standard_grid
from engine.margin.span.parameter_file import read_parameter_file
from engine.margin.span.portfolio import ContractPosition, margin_from_parameters

marginism = pytest.importorskip("marginism")

GRID = standard_grid()


def ra(unit, delta=1.0, values=16, rate=1):
    losses = (-unit * GRID.price * GRID.covered)[:values]
    return (f"<ra><r>{rate}</r>" + "".join(f"<a>{x:.2f}</a>" for x in losses)
            + f"<d>{delta}</d></ra>")  # fmt: skip


def fut(period="20260630", unit=1000.0, body="", price="100.0"):
    return f"<fut><cId>1</cId><pe>{period}</pe><p>{price}</p><v>0.2</v>{body or ra(unit)}</fut>"


def opt(strike="100.0", right="C", unit=300.0, price="7.5", body=""):
    return (f"<opt><cId>1</cId><o>{right}</o><k>{strike}</k><p>{price}</p>"
            f"{body or ra(unit, 0.5)}</opt>")  # fmt: skip


def portfolio(code, identity, futures="", options="", style="EQTY"):
    head = f"<pfId>{identity}</pfId><pfCode>{code}</pfCode><cvf>25.0</cvf>"
    text = f"<futPf>{head}<undPf><exch>E</exch></undPf>{futures}</futPf>" if futures else ""
    if options:
        text += (f"<oopPf><pfId>{identity + 1}</pfId><pfCode>{code}</pfCode><cvf>25.0</cvf>"
                 f"<valueMeth>{style}</valueMeth><series><pe>20260630</pe>"
                 f"<intrRate><val>0.07</val></intrRate>{options}</series></oopPf>")  # fmt: skip
    return text


def cc_def(code, identity, extra=""):
    return (f"<ccDef><cc>{code}</cc><currency>USD</currency><riskExponent>0</riskExponent>"
            f"<somMeth>GROSS</somMeth>"
            f"<pfLink><exch>E</exch><pfId>{identity}</pfId><pfType>FUT</pfType></pfLink>"
            f"<pfLink><exch>E</exch><pfId>{identity + 1}</pfId><pfType>OOP</pfType></pfLink>"
            f"{extra}</ccDef>")  # fmt: skip


CALENDAR = ("<dSpread><spread>1</spread><chargeMeth>F</chargeMeth><rate><r>1</r><val>5.0</val>"
            "</rate><pLeg><cc>AAA</cc><pe>20260630</pe><rs>A</rs><i>1.0</i></pLeg>"
            "<pLeg><cc>AAA</cc><pe>20260728</pe><rs>B</rs><i>1.0</i></pLeg></dSpread>")  # fmt: skip
SOM = "<somTiers><tier><tn>0</tn><rate><r>1</r><val>12.5</val></rate></tier></somTiers>"
INTER = ("<interSpreads><dSpread><spread>1</spread><chargeMeth>W</chargeMeth><rate><r>1</r>"
         "<val>50</val></rate><tLeg><cc>AAA</cc><tn>0</tn><rs>A</rs><i>1</i></tLeg>"
         "<tLeg><cc>BBB</cc><tn>0</tn><rs>B</rs><i>1</i></tLeg></dSpread>"
         "</interSpreads>")  # fmt: skip


def spn(exchange, definitions, inter="", doctype=""):
    return (f"<?xml version='1.0' encoding='ISO-8859-1'?>{doctype}<spanFile>"
            "<fileFormat>4.00</fileFormat><definitions><currencyDef><currency>USD</currency>"
            "</currencyDef></definitions><pointInTime><date>20260529</date><clearingOrg>"
            f"<ec>TEST</ec><exchange><exch>E</exch>{exchange}</exchange>{definitions}{inter}"
            "</clearingOrg></pointInTime></spanFile>")  # fmt: skip


def good():
    exchange = portfolio("AAA", 10, fut() + fut("20260728"), opt() + opt(right="P"))
    exchange += portfolio("BBB", 20, fut(unit=500.0))
    return spn(exchange, cc_def("AAA", 10, CALENDAR + SOM) + cc_def("BBB", 20), INTER)


def read(tmp_path, text, name="f.spn", **options):
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    return read_parameter_file(path, **options)


def test_good_file(tmp_path):
    out = read(tmp_path, good(), credit_unit="per cent")
    assert out.failures == ()
    book = out.value
    assert (book.format, book.clearing_org, book.business_date) == ("xml 4.00", "TEST", "20260529")
    assert list(book.commodities) == ["AAA", "BBB"]
    assert book.commodities["AAA"].som_rate == 12.5
    assert [c.period for c in book.contracts] == ["20260630", "20260728"] + ["20260630"] * 3
    future, _, call, put, _ = book.contracts
    assert (future.kind, future.right, future.value_factor) == ("FUT", "", 25.0)
    assert (call.kind, call.right, call.strike, call.price, call.delta) == (
        "OOP", "C", 100.0, 7.5, 0.5,
    )  # fmt: skip
    assert put.key == ("E", "AAA", "OOP", "20260630", "P", 100.0)
    assert call.premium_style
    assert np.array_equal(future.losses, np.round(-1000.0 * GRID.price * GRID.covered, 2))
    assert book.inter_spreads[0].rate == 0.5


def test_margin_from_the_file(tmp_path):
    book = read(tmp_path, good(), credit_unit="fraction").value
    book = read(tmp_path, good(), credit_unit="per cent").value
    near, far, call, _, other = book.contracts
    out = margin_from_parameters(book, [ContractPosition(near.key, 2.0),
                                        ContractPosition(far.key, -1.0)])  # fmt: skip
    part = out.commodities[0]
    assert part.components["scan"] == 1000.0
    assert part.components["inter_month"] == 5.0
    out = margin_from_parameters(book, [ContractPosition(call.key, -1.0)])
    assert out.commodities[0].margin == 300.0 + 7.5 * 25.0
    out = margin_from_parameters(book, [ContractPosition(near.key, 2.0),
                                        ContractPosition(other.key, -2.0)])  # fmt: skip
    assert out.total()["USD"] == pytest.approx(0.5 * (2000.0 + 1000.0))


def test_same_numbers_as_the_independent_reader(tmp_path):
    book = read(tmp_path, good()).value
    theirs = marginism.parse_spn(str(tmp_path / "f.spn")).get("AAA")
    ours = [c for c in book.contracts if c.commodity == "AAA"]
    others = theirs.futures + theirs.options
    assert len(ours) == len(others) == 4
    for own, other in zip(ours, others, strict=True):
        assert list(own.losses) == other.risk_array.values
        assert (own.period, own.price, own.value_factor, own.delta) == (
            other.expiry, other.price, other.cvf, other.risk_array.composite_delta,
        )  # fmt: skip
    assert theirs.som_rate == book.commodities["AAA"].som_rate


def test_credit_without_a_unit_is_left_out_and_named(tmp_path):
    out = read(tmp_path, good())
    assert out.value.inter_spreads == ()
    assert [f.reason for f in out.failures] == [FailureReason.UNSUPPORTED]
    assert "credit_unit" in out.failures[0].message
    assert "line 1" in out.failures[0].where


def test_only_the_commodities_asked_for(tmp_path):
    out = read(tmp_path, good(), commodities=["BBB", "ZZZ"], credit_unit="fraction")
    assert [c.commodity for c in out.value.contracts] == ["BBB"]
    assert list(out.value.commodities) == ["BBB"]
    assert [(f.item, f.where) for f in out.failures] == [("ZZZ", "f.spn")]


def test_definitions_may_come_before_the_exchange(tmp_path):
    text = good()
    start, end = text.index("<exchange>"), text.index("</exchange>") + len("</exchange>")
    moved = text[:start] + text[end:].replace("</clearingOrg>", text[start:end] + "</clearingOrg>")
    a, b = read(tmp_path, text).value, read(tmp_path, moved, "g.spn").value
    assert [c.key for c in a.contracts] == [c.key for c in b.contracts]


BAD_CONTRACTS = {
    "fifteen values": (fut(body=ra(1.0, values=15)), "15 values, not 16"),
    "no array": (fut(body="<val>1</val>"), "no risk array"),
    "text in the array": (fut(body=ra(1.0).replace("<a>-0.33</a>", "<a>abc</a>", 1)), "'abc'"),
    "infinite": (fut(body=ra(1.0).replace("<a>-0.33</a>", "<a>1e999</a>", 1)), "'1e999'"),
    "nan": (fut(body=ra(1.0).replace("<a>-0.33</a>", "<a>nan</a>", 1)), "'nan'"),
    "underscore": (fut(body=ra(1.0).replace("<a>-0.33</a>", "<a>1_0</a>", 1)), "'1_0'"),
    "empty delta": (fut(body=ra(1.0, delta="")), "composite delta is ''"),
    "price": (fut(price="--"), "p is '--'"),
    "other account's array only": (fut(body=ra(1.0, rate=2)), "no risk array"),
    "long text": (fut(price="9" * 500), "p is '999"),
}


@pytest.mark.parametrize("name", BAD_CONTRACTS)
def test_bad_contract_is_named_and_the_rest_is_read(tmp_path, name):
    record, message = BAD_CONTRACTS[name]
    exchange = portfolio("AAA", 10, "\n\n" + record + "\n" + fut("20270101"))
    out = read(tmp_path, spn(exchange, cc_def("AAA", 10)))
    assert [c.period for c in out.value.contracts] == ["20270101"]
    assert len(out.failures) == 1
    failure = out.failures[0]
    assert message in failure.message
    assert (failure.item, failure.where) == ("AAA 20260630", "f.spn line 3")


def test_bad_options(tmp_path):
    options = opt(right="X") + opt(strike="") + opt(strike="105.0")
    out = read(tmp_path, spn(portfolio("AAA", 10, fut(), options), cc_def("AAA", 10)))
    assert [c.strike for c in out.value.contracts if c.right] == [105.0]
    messages = [f.message for f in out.failures]
    assert "right of the option is 'X'" in messages[0]
    assert "k is ''" in messages[1]


def test_futures_style_options_have_no_value(tmp_path):
    exchange = portfolio("AAA", 10, fut(), opt(), style="FUT")
    book = read(tmp_path, spn(exchange, cc_def("AAA", 10))).value
    call = book.contracts[1]
    assert not call.premium_style
    out = margin_from_parameters(book, [ContractPosition(call.key, -1.0)])
    assert out.commodities[0].margin == 300.0


UNREAD = {
    "method": (CALENDAR.replace("<chargeMeth>F<", "<chargeMeth>W<"), "charge method 'W'", 2),
    "one leg": (CALENDAR.replace("pLeg", "xLeg", 2), "1 legs", 2),
    "side": (CALENDAR.replace("<rs>A<", "<rs>C<"), "side of a leg is 'C'", 2),
    "ratio": (CALENDAR.replace("<i>1.0<", "<i>0<", 1), "must be above 0", 2),
    "priority": (CALENDAR.replace("<spread>1<", "<spread>1.5<"), "spread is '1.5'", 2),
    "rate": (CALENDAR.replace("<r>1</r><val>5.0</val>", "<r>7</r>"), "rate is missing", 2),
    "adjustment": ("<adjRate><r>1</r><val>1.1</val></adjRate>", "adjRate is 1.1", 0),
    "scan tiers": ("<scanTiers><tier><tn>1</tn></tier><tier><tn>2</tn></tier></scanTiers>",
                   "scanned in 2 tiers", 0),
    "minimum": ("<somMeth>OTHER</somMeth>", "", None),
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in UNREAD if UNREAD[n][2] is not None])
def test_what_is_not_read_of_a_definition_is_named(tmp_path, name):
    extra, message, contracts = UNREAD[name]
    text = spn(portfolio("AAA", 10, fut() + fut("20260728")), cc_def("AAA", 10, extra))
    out = read(tmp_path, text)
    assert any(message in f.message for f in out.failures), out.failures
    assert len(out.value.contracts) == contracts
    assert all(f.where.startswith("f.spn") and f.message for f in out.failures)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<riskExponent>0<", "<riskExponent>2<", "riskExponent is 2"),
        ("<somMeth>GROSS<", "<somMeth>OTHER<", "somMeth is 'OTHER'"),
        ("<pfType>FUT</pfType>", "<pfType>FUT</pfType><sc>10</sc>", "scale 10"),
        ("<cc>AAA<", "<cc><", "has no code"),
    ],
)
def test_unusable_definition_leaves_out_its_contracts(tmp_path, old, new, message):
    text = spn(portfolio("AAA", 10, fut()), cc_def("AAA", 10).replace(old, new, 1))
    out = read(tmp_path, text)
    assert out.value.contracts == ()
    assert message in out.failures[0].message
    assert "no combined commodity" in out.failures[1].message


def test_unknown_elements_are_counted(tmp_path):
    inter = "<interSpreads><hSpread><x>1</x></hSpread><hSpread><x>2</x></hSpread></interSpreads>"
    out = read(tmp_path, spn(portfolio("AAA", 10, fut()), cc_def("AAA", 10), inter))
    assert [(f.item, f.reason) for f in out.failures] == [("hSpread", FailureReason.UNSUPPORTED)]
    assert out.failures[0].message.startswith("2 elements")


def test_contract_scaling_multiplies_delta(tmp_path):
    body = "<sc>0.5</sc>" + ra(1000.0)
    out = read(tmp_path, spn(portfolio("AAA", 10, fut(body=body)), cc_def("AAA", 10)))
    assert out.value.contracts[0].delta == 0.5


BOMB = ("<!DOCTYPE z [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>"
        "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]>")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (spn("&c;", "", doctype=BOMB), "document type declaration"),
        ("<html><body/></html>", "'html', not 'spanFile'"),
        ("<spanFile><a></b></spanFile>", "mismatched tag"),
        ("<spanFile>" + "<a>" * 60 + "</a>" * 60 + "</spanFile>", "nested deeper than 40"),
        (good()[: len(good()) // 2], "cut short"),
        ("", "neither XML"),
        ("PK\x03\x04zip", "neither XML"),
        ("<spanFile>\x00</spanFile>", "damaged or cut short"),
    ],
)
def test_hostile_files_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.spn: No such file"):
        read_parameter_file(tmp_path / "none.spn")


def test_record_of_a_million_elements_is_left_out(tmp_path):
    huge = "<fut>" + "<a>1</a>" * 200_001 + "</fut>"
    out = read(tmp_path, spn(portfolio("AAA", 10, huge + fut("20270101")), cc_def("AAA", 10)))
    assert [c.period for c in out.value.contracts] == ["20270101"]
    assert "more than 200000 elements" in out.failures[0].message


def test_failures_are_capped_with_a_count(tmp_path):
    many = "<fut><pe>1</pe></fut>" * 10_005
    out = read(tmp_path, spn(portfolio("AAA", 10, many), cc_def("AAA", 10)))
    assert len(out.failures) == 10_001
    assert "5 further failures" in out.failures[-1].message


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.spn"
    with path.open("w", encoding="latin-1") as stream:
        whole = spn("@", cc_def("AAA", 10) + cc_def("BIG", 30))
        before, after = whole.split("@")
        stream.write(before + portfolio("AAA", 10, fut()))
        stream.write("<futPf><pfId>30</pfId><pfCode>BIG</pfCode><cvf>1</cvf>")
        block = fut() * 100
        for _ in range(80):
            stream.write(block)
        stream.write("</futPf>" + after)
    size = path.stat().st_size
    assert size > 2.4e6
    tracemalloc.start()
    out = read_parameter_file(path, commodities=["AAA"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert out.failures == ()
    assert len(out.value.contracts) == 1
    assert peak < 0.6e6


def positional(lines):
    return "\n".join(lines) + "\n"


def at(width, **fields):
    """A record: `c12='x'` puts x in column 12."""
    text = [" "] * width
    for name, value in fields.items():
        start = int(name[1:]) - 1
        text[start : start + len(value)] = value
    return "".join(text)


HEAD = at(132, c1="0 ", c3="TEST", c9="20260529", c36="U2")


def price_record(product="AAA", kind="FUT", decimals="002", strikes="001"):
    return at(132, c1="P ", c3="EXC", c6=product, c16=kind, c34=decimals, c37=strikes,
              c42="00000250000000")  # fmt: skip


def definition(code="AAA", style="P", exponent="0", decimals="0"):
    return at(132, c1="2 ", c3="EXC", c7=code, c13=exponent, c14="USD", c18=style, c23=code,
              c33="FUT", c36=decimals, c39=code, c49="OOF")  # fmt: skip


def array_records(product="AAA", kind="FUT", right="", future="202606", option="", strike="",
                  unit=1000.0, delta="10000", price="0010000", wide=False):  # fmt: skip
    width = 8 if wide else 5
    values = -unit * GRID.price * GRID.covered
    texts = [f"{abs(round(x)):0{width}d}" + ("-" if x < 0 else "+") for x in values]
    name = {"c3": "EXC", "c6": product, "c26": kind, "c29": right, "c30": future, "c39": option,
            "c48": strike}  # fmt: skip
    after = 55 + 7 * (width + 1)
    first = at(160, c1="83" if wide else "81", **name, c55="".join(texts[:9]))
    rest = {f"c{after}": delta + "+", f"c{after + 14}": price + "+"}
    second = at(200, c1="84" if wide else "82", **name, c55="".join(texts[9:]), **rest)
    return [first, second]


def test_positional_file(tmp_path):
    charges = at(132, c1="4 ", c3="AAA", c9="10", c11="01", c13="01", c15="202606", c21="0000003",
                 c28="0000005", c63="0000012")  # fmt: skip
    credit = at(132, c1="6 ", c3="GRP", c6="0001", c10="0500000", c17="EXC", c21="AAA",
                c27="0010000", c34="A", c35="EXC", c39="BBB", c45="0020000", c52="B")  # fmt: skip
    lines = [
        HEAD, price_record(), price_record(kind="OOF"), price_record("BBB"), definition(),
        definition("BBB"), charges, credit,
        *array_records(),
        *array_records(kind="OOF", right="C", option="202606", strike="0001050", delta="05000",
                       price="0000750", wide=True),
        *array_records("BBB", future="202609"),
    ]  # fmt: skip
    out = read(tmp_path, positional(lines), "f.pa2")
    assert out.failures == ()
    book = out.value
    assert (book.format, book.clearing_org, book.business_date) == (
        "positional U2", "TEST", "20260529",
    )  # fmt: skip
    future, call, other = book.contracts
    assert np.array_equal(future.losses, np.round(-1000.0 * GRID.price * GRID.covered))
    assert (future.price, future.value_factor, future.delta) == (100.0, 25.0, 1.0)
    assert (call.right, call.strike, call.price, call.delta) == ("C", 105.0, 7.5, 0.5)
    assert np.array_equal(call.losses, future.losses)
    assert (other.commodity, other.period) == ("BBB", "202609")
    rule = book.commodities["AAA"]
    assert (rule.som_rate, rule.som_method) == (12.0, "GROSS")
    assert rule.spot_rates[0].spread_rate == 3.0
    assert rule.spot_rates[0].outright_rate == 5.0
    inter = book.inter_spreads[0]
    assert (inter.rate, [leg.ratio for leg in inter.legs]) == (0.5, [1.0, 2.0])
    out = margin_from_parameters(book, [ContractPosition(call.key, -1.0)])
    assert out.commodities[0].components["scan"] == 1000.0
    assert out.commodities[0].net_option_value == -7.5 * 25.0


def test_positional_array_decimals_and_futures_style(tmp_path):
    lines = [HEAD, price_record(kind="OOF"), definition(style="F", decimals=" "),
             *array_records(kind="OOF", right="P", option="202606", strike="0001000")]  # fmt: skip
    out = read(tmp_path, positional(lines), "f.pa2")
    assert not out.value.contracts[0].premium_style
    lines = [HEAD, price_record(), definition(decimals="2"), *array_records()]
    assert read(tmp_path, positional(lines), "f.pa2").value.contracts[0].losses[13] == 10.0


@pytest.mark.parametrize(
    ("change", "message", "where"),
    [
        (lambda r: [r[0]], "no second record", "f.pa2 line 4"),
        (lambda r: [r[1]], "without its first", "f.pa2 line 4"),
        (lambda r: [r[0], r[1].replace("202606", "202609", 1)], "belong together", "f.pa2 line 5"),
        (lambda r: [r[0].replace("00333", "0x333", 1), r[1]], "'0x333'", "f.pa2 line 5"),
        (lambda r: [r[0].replace("00333-", "00333*", 1), r[1]], "sign of array", "f.pa2 line 5"),
        (lambda r: [x.replace("AAA", "QQQ", 1) for x in r], "no combined", "f.pa2 line 5"),
        (lambda r: [r[0][:80], r[1]], "array value 6 is ''", "f.pa2 line 5"),
        (lambda r: ["@@ what", *r], "'@@' is not known", "f.pa2 line 4"),
        (lambda r: [at(132, c1="C ", c3="AAA"), *r], "inter-month spreads", "f.pa2 line 4"),
    ],
)
def test_bad_positional_records(tmp_path, change, message, where):
    more = array_records(future="202612")
    lines = [HEAD, price_record(), definition(), *change(array_records()), *more]
    out = read(tmp_path, positional(lines), "f.pa2")
    assert out.value.contracts[-1].period == "202612"
    assert [(message in f.message, f.where) for f in out.failures] == [(True, where)]


def test_last_array_without_second_record(tmp_path):
    lines = [HEAD, price_record(), definition(), array_records()[0]]
    out = read(tmp_path, positional(lines), "f.pa2")
    assert out.value.contracts == ()
    assert [f.where for f in out.failures] == ["f.pa2 line 4"]


def test_positional_risk_exponent(tmp_path):
    lines = [HEAD, price_record(), definition(exponent="3"), *array_records()]
    out = read(tmp_path, positional(lines), "f.pa2")
    assert out.value.contracts == ()
    assert [f.message.startswith("risk exponent is 3") for f in out.failures] == [True]


def test_positional_product_without_price_record(tmp_path):
    lines = [HEAD, definition(), *array_records()]
    out = read(tmp_path, positional(lines), "f.pa2")
    assert "no price conversion" in out.failures[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.replace("U2", "U "), "only 'U2'"),
        (HEAD + "\n" + "x" * 5000, "longer than 1000"),
    ],
)
def test_positional_files_that_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, "f.pa2")
