from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from pyiso20022.colr import colr_003_001_05 as schema
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig

from engine.domain.failures import InputError
from engine.margin.calls.margin_call import MarginCall
from workflows.exports.colr003 import (
    NAMESPACE,
    margin_call_request,
    margin_call_requests,
    read_margin_call_request,
)

CALL = MarginCall(
    call_id="MC0123456789ABCDEF01234567", agreement_id="CSA-1", legal_entity="MASTER",
    counterparty="Dealer C", as_of=date(2022, 12, 28), kind="vm", direction="pay",
    movement="delivery", currency="EUR", amount_cents=123_456_789, amount_usd=1.3e6,
    issued_at=datetime(2022, 12, 28, 18, tzinfo=UTC),
    deadline=datetime(2022, 12, 29, 6, tzinfo=UTC), settles_on=date(2022, 12, 29),
    cut_off=datetime(2022, 12, 29, 16, tzinfo=UTC), regulatory=False, mark="user",
    why="variation margin by the terms of the CSA",
)  # fmt: skip


def parse(message: bytes) -> Any:
    strict = ParserConfig(fail_on_unknown_properties=True, fail_on_unknown_attributes=True,
                          fail_on_converter_warnings=True)  # fmt: skip
    document = XmlParser(config=strict).from_bytes(message, schema.Document)
    check(document)
    return document.mrgn_call_req


def check(node: Any) -> None:
    """Hold a parsed message to the facets of its schema, which the parser itself does not check."""
    if not dataclasses.is_dataclass(node):
        return
    given = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
    if type(node).__name__.endswith("Choice"):
        filled = [name for name, value in given.items() if value not in (None, [])]
        assert len(filled) == 1, (type(node).__name__, filled)
    for field in dataclasses.fields(node):
        value, facets = given[field.name], field.metadata
        if value is None:
            assert not facets.get("required"), field.name
        elif isinstance(value, str):
            assert facets.get("min_length", 0) <= len(value) <= facets.get("max_length", 10**6)
            assert re.fullmatch(facets.get("pattern", ".*"), value, re.DOTALL), (field.name, value)
        elif isinstance(value, Decimal):
            digits = value.as_tuple()
            assert len(digits.digits) <= facets["total_digits"]
            assert -digits.exponent <= facets["fraction_digits"]
            assert value >= facets["min_inclusive"]
        for each in value if isinstance(value, list) else [value]:
            check(each)


def test_variation_margin_paid():
    request = parse(margin_call_request(CALL))
    assert request.tx_id == CALL.call_id
    assert request.oblgtn.pty_a.prtry_id.id == "MASTER"
    assert request.oblgtn.pty_b.prtry_id.id == "Dealer C"
    assert request.oblgtn.valtn_dt.dt.to_date() == date(2022, 12, 28)
    result = request.mrgn_call_rslt.mrgn_call_rslt.mrgn_call_rslt_dtls.vartn_mrgn_rslt
    assert (result.due_to_pty_b.value, result.due_to_pty_b.ccy) == (Decimal("1234567.89"), "EUR")
    assert result.due_to_pty_a is None
    assert result.addtl_inf.startswith("pay by 2022-12-29T06:00:00Z (timing user); variation")
    movement = request.xpctd_coll_due_to_b.xpctd_coll_dtls.vartn_mrgn
    assert [m.dt.to_date() for m in movement.dlvry] == [date(2022, 12, 29)]
    assert movement.rtr == []
    assert request.xpctd_coll_due_to_a is None


def test_initial_margin_received_back():
    call = replace(CALL, kind="im", direction="receive", movement="return", regulatory=True)
    request = parse(margin_call_request(call))
    result = request.mrgn_call_rslt.mrgn_call_rslt.sgrtd_indpdnt_amt
    assert result.due_to_pty_a.value == Decimal("1234567.89")
    assert result.due_to_pty_b is None
    movement = request.xpctd_coll_due_to_a.sgrtd_indpdnt_amt
    assert (len(movement.dlvry), len(movement.rtr)) == (0, 1)
    assert movement.rtr[0].coll_tp.value == "CASH"


def test_return_and_delivery_together():
    request = parse(margin_call_request(replace(CALL, movement="both")))
    movement = request.xpctd_coll_due_to_b.xpctd_coll_dtls.vartn_mrgn
    assert (len(movement.dlvry), len(movement.rtr)) == (1, 1)


def test_namespace_and_order_of_elements():
    root = etree.fromstring(margin_call_request(CALL))
    assert root.tag == f"{{{NAMESPACE}}}Document"
    names = [etree.QName(child).localname for child in root[0]]
    assert names == ["TxId", "Oblgtn", "MrgnCallRslt", "XpctdCollDueToB"]
    assert {etree.QName(node).namespace for node in root.iter()} == {NAMESPACE}


def test_the_same_call_gives_the_same_bytes():
    first = margin_call_request(CALL)
    assert first == margin_call_request(replace(CALL))
    assert first.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<Document xmlns=")
    assert first.endswith(b"</Document>\n")
    assert b'<DueToPtyB Ccy="EUR">1234567.89</DueToPtyB>' in first


def test_text_is_escaped():
    call = replace(CALL, counterparty='<B&M> "Söhne" \u682a', why="</AddtlInf> & ]]>")
    request = parse(margin_call_request(call))
    assert request.oblgtn.pty_b.prtry_id.id == '<B&M> "Söhne" \u682a'
    assert read_margin_call_request(margin_call_request(call)).text.endswith("</AddtlInf> & ]]>")


@pytest.mark.parametrize("bad", ["\x00", "\x0b", "\ufffe", "\ud800"])
def test_characters_that_xml_cannot_hold_are_refused(bad):
    with pytest.raises(InputError, match="cannot carry"):
        margin_call_request(replace(CALL, counterparty=f"Dealer{bad}"))


def test_party_identifiers():
    ids = {"MASTER": "MSTRGB2LXXX", "Dealer C": "LEI-549300"}
    request = parse(margin_call_request(CALL, ids))
    assert request.oblgtn.pty_a.any_bic == "MSTRGB2LXXX"
    assert request.oblgtn.pty_a.prtry_id is None
    assert request.oblgtn.pty_b.prtry_id.id == "LEI-549300"
    # A name that happens to look like a BIC is none.
    named = parse(margin_call_request(replace(CALL, counterparty="MSTRGB2L")))
    assert named.oblgtn.pty_b.any_bic is None
    long = replace(CALL, counterparty="D" * 36)
    with pytest.raises(InputError, match="has 36 characters"):
        margin_call_request(long)
    assert margin_call_request(long, {"D" * 36: "D" * 35})
    with pytest.raises(InputError, match="has 0 characters"):
        margin_call_request(replace(CALL, legal_entity=""))


def test_long_reasons_are_cut_to_what_the_message_takes():
    request = parse(margin_call_request(replace(CALL, why="x" * 400)))
    details = request.mrgn_call_rslt.mrgn_call_rslt.mrgn_call_rslt_dtls
    assert len(details.vartn_mrgn_rslt.addtl_inf) == 210


def test_amounts_at_the_edge():
    parse(margin_call_request(replace(CALL, amount_cents=1)))
    assert b">0.01<" in margin_call_request(replace(CALL, amount_cents=1))
    assert b">10.05<" in margin_call_request(replace(CALL, amount_cents=1005))
    parse(margin_call_request(replace(CALL, amount_cents=10**18 - 1)))
    for cents in (0, -1, 10**18):
        with pytest.raises(InputError, match="amount"):
            margin_call_request(replace(CALL, amount_cents=cents))


def test_one_file_for_each_call():
    other = replace(CALL, call_id="MC2", kind="im")
    files = margin_call_requests((CALL, other))
    assert list(files) == [f"colr003-{CALL.call_id}.xml", "colr003-MC2.xml"]
    with pytest.raises(InputError, match="given twice"):
        margin_call_requests((CALL, CALL))


def test_what_is_no_such_message_is_refused():
    for text in (b"<Document/>", b"no xml"):
        with pytest.raises(InputError, match="not a"):
            read_margin_call_request(text)
    empty = f'<Document xmlns="{NAMESPACE}"><MrgnCallReq/></Document>'.encode()
    with pytest.raises(InputError, match="no amount"):
        read_margin_call_request(empty)


def test_the_check_itself_finds_faults():
    good = margin_call_request(CALL)
    for old, new in (
        (b"<TxId>MC", b"<TxId>" + b"M" * 30),
        (b'Ccy="EUR"', b'Ccy="eur"'),
        (b"1234567.89", b"1234567.123456"),
        (b"1234567.89", b"-1"),
        (b"<Issr>MCA</Issr>", b""),
        (b"<Dt>2022-12-28</Dt>", b""),
    ):
        assert old in good
        with pytest.raises(Exception):  # noqa: B017 - the parser and the check raise several kinds
            parse(good.replace(old, new))


names = st.text(st.characters(min_codepoint=33, max_codepoint=0xFFF), min_size=1, max_size=35)


@given(
    names.filter(lambda s: s.strip()), st.integers(1, 10**16), st.sampled_from(["USD", "JPY"]),
    st.sampled_from(["vm", "im"]), st.sampled_from(["pay", "receive"]),
    st.dates(date(2000, 1, 1), date(2099, 1, 1)), st.dates(date(2000, 1, 1), date(2099, 1, 1)),
)  # fmt: skip
def test_round_trip(name, cents, currency, kind, direction, as_of, settles_on):
    call = replace(
        CALL, counterparty=name, amount_cents=cents, currency=currency, kind=kind,
        direction=direction, as_of=as_of, settles_on=settles_on,
    )  # fmt: skip
    message = margin_call_request(call)
    parse(message)
    told = read_margin_call_request(message)
    for field in ("call_id", "kind", "direction", "currency", "amount_cents", "as_of",
                  "settles_on"):  # fmt: skip
        assert getattr(told, field) == getattr(call, field)
    assert (told.party_a, told.party_b) == ("MASTER", name)
