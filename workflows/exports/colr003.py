"""Margin call requests as ISO 20022 messages, colr.003.001.05: one document for each call.

Party A is the fund, party B the counterparty. Elements that the message needs and the call knows
are filled; the agreement block is left out, because its date of signature is not in a fund pack.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from engine.domain.failures import InputError
from engine.domain.money import CENTS_PER_UNIT
from engine.margin.calls.margin_call import MarginCall

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:colr.003.001.05"
# Issuer of the identifiers that are no BIC.
ISSUER = "MCA"
LONGEST_ID = 35
LONGEST_TEXT = 210
MOST_DIGITS = 18
_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?")
# Characters an XML 1.0 document cannot hold, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class CallMessage:
    """What a message says, read back from it; `amount_cents` is above zero."""

    call_id: str
    party_a: str
    party_b: str
    kind: str
    direction: str
    currency: str
    amount_cents: int
    as_of: date
    settles_on: date
    text: str


def margin_call_request(call: MarginCall, party_ids: Mapping[str, str] | None = None) -> bytes:
    """Return the message of one call as UTF-8 XML; the same call gives the same bytes.

    Parameters
    ----------
    call : MarginCall
    party_ids : mapping of name to identifier, optional
        BIC, or another identifier of up to 35 characters, of legal entities and counterparties.
        A name without one identifies itself.

    Raises
    ------
    InputError
        If an identifier is blank or too long, a text holds a character that XML cannot, or the
        amount has more digits than the message allows.

    Notes
    -----
    `TxId` is the call's id; `ValtnDt` the date of the margin; the amount stands under `DueToPtyB`
    when the fund pays and `DueToPtyA` when it receives, within the variation margin result for VM
    and the segregated independent amount for IM; the expected movement carries the day of value,
    as a delivery, a return, or both. `AddtlInf` has the reason and the deadline.
    """
    ids = party_ids or {}
    root = ET.Element("Document", {"xmlns": NAMESPACE})
    request = ET.SubElement(root, "MrgnCallReq")
    _text(request, "TxId", _identifier(call.call_id, "call_id"))
    _obligation(request, call, ids)
    _result(request, call)
    _expected(request, call)
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def margin_call_requests(
    calls: tuple[MarginCall, ...], party_ids: Mapping[str, str] | None = None
) -> dict[str, bytes]:
    """Return file name -> message for several calls, `colr003-<call id>.xml`.

    Raises
    ------
    InputError
        If two calls have one id, or as `margin_call_request`.
    """
    files: dict[str, bytes] = {}
    for call in calls:
        name = f"colr003-{call.call_id}.xml"
        if name in files:
            raise InputError(f"call {call.call_id} is given twice; send it once")
        files[name] = margin_call_request(call, party_ids)
    return files


def read_margin_call_request(message: bytes) -> CallMessage:
    """Read back a message of `margin_call_request`.

    Raises
    ------
    InputError
        If it is no such message.
    """
    try:
        root = ET.fromstring(message)
    except ET.ParseError as error:
        raise InputError(f"not a readable XML message: {error}") from error
    if root.tag != f"{{{NAMESPACE}}}Document":
        raise InputError(f"not a colr.003.001.05 message: its root is {root.tag}")
    segregated = root.find(".//{*}MrgnCallRslt/{*}MrgnCallRslt/{*}SgrtdIndpdntAmt")
    result = segregated
    if result is None:
        result = root.find(".//{*}VartnMrgnRslt")
    to_a = None if result is None else result.find("{*}DueToPtyA")
    to_b = None if result is None else result.find("{*}DueToPtyB")
    amount = to_a if to_a is not None else to_b
    if result is None or amount is None:
        raise InputError("the message has no amount due to party A or B")
    return CallMessage(
        call_id=_found(root, "{*}MrgnCallReq/{*}TxId"),
        party_a=_party_of(root, "PtyA"),
        party_b=_party_of(root, "PtyB"),
        kind="vm" if segregated is None else "im",
        direction="receive" if to_a is not None else "pay",
        currency=amount.attrib["Ccy"],
        amount_cents=int(Decimal(amount.text or "") * CENTS_PER_UNIT),
        as_of=date.fromisoformat(_found(root, ".//{*}ValtnDt/{*}Dt")),
        settles_on=_value_day(root),
        text=_found(result, "{*}AddtlInf"),
    )


def _obligation(request: ET.Element, call: MarginCall, ids: Mapping[str, str]) -> None:
    obligation = ET.SubElement(request, "Oblgtn")
    _party(obligation, "PtyA", call.legal_entity, ids)
    _party(obligation, "PtyB", call.counterparty, ids)
    valuation = ET.SubElement(obligation, "ValtnDt")
    _text(valuation, "Dt", call.as_of.isoformat())


def _result(request: ET.Element, call: MarginCall) -> None:
    outer = ET.SubElement(ET.SubElement(request, "MrgnCallRslt"), "MrgnCallRslt")
    if call.kind == "vm":
        result = ET.SubElement(ET.SubElement(outer, "MrgnCallRsltDtls"), "VartnMrgnRslt")
    else:
        result = ET.SubElement(outer, "SgrtdIndpdntAmt")
    due = "DueToPtyB" if call.direction == "pay" else "DueToPtyA"
    amount = ET.SubElement(result, due, {"Ccy": call.currency})
    amount.text = _amount(call)
    deadline = f"pay by {call.deadline:%Y-%m-%dT%H:%M:%SZ}"
    _text(result, "AddtlInf", f"{deadline} (timing {call.mark}); {call.why}"[:LONGEST_TEXT])


def _expected(request: ET.Element, call: MarginCall) -> None:
    name = "XpctdCollDueToB" if call.direction == "pay" else "XpctdCollDueToA"
    expected = ET.SubElement(request, name)
    if call.kind == "vm":
        parent = ET.SubElement(ET.SubElement(expected, "XpctdCollDtls"), "VartnMrgn")
    else:
        parent = ET.SubElement(expected, "SgrtdIndpdntAmt")
    for movement, tag in (("delivery", "Dlvry"), ("return", "Rtr")):
        if call.movement in (movement, "both"):
            step = ET.SubElement(parent, tag)
            _text(step, "CollTp", "CASH")
            _text(step, "Dt", call.settles_on.isoformat())


def _party(parent: ET.Element, tag: str, name: str, ids: Mapping[str, str]) -> None:
    identifier = _identifier(ids.get(name, name), f"party {name!r}")
    party = ET.SubElement(parent, tag)
    if _BIC.fullmatch(identifier) and name in ids:
        _text(party, "AnyBIC", identifier)
        return
    proprietary = ET.SubElement(party, "PrtryId")
    _text(proprietary, "Id", identifier)
    _text(proprietary, "Issr", ISSUER)


def _identifier(text: str, what: str) -> str:
    if not text.strip() or len(text) > LONGEST_ID:
        raise InputError(
            f"{what}: identifier {text!r} has {len(text)} characters; the message takes 1 to "
            f"{LONGEST_ID}: shorten the name in the agreements, or give its BIC in party_ids"
        )
    return text


def _amount(call: MarginCall) -> str:
    whole, cents = divmod(call.amount_cents, CENTS_PER_UNIT)
    text = f"{whole}.{cents:02d}"
    if call.amount_cents <= 0 or len(text) - 1 > MOST_DIGITS:
        raise InputError(
            f"call {call.call_id}: amount {text} {call.currency} must be above zero and have at "
            f"most {MOST_DIGITS} digits"
        )
    return text


def _text(parent: ET.Element, tag: str, text: str) -> None:
    bad = _FORBIDDEN.search(text)
    if bad:
        raise InputError(f"{tag} {text!r} holds a character that XML cannot carry; remove it")
    ET.SubElement(parent, tag).text = text


def _found(root: ET.Element, path: str) -> str:
    text = root.findtext(path)
    if text is None:
        raise InputError(f"the message lacks {path.replace('{*}', '')}")
    return text


def _party_of(root: ET.Element, tag: str) -> str:
    bic = root.findtext(f".//{{*}}Oblgtn/{{*}}{tag}/{{*}}AnyBIC")
    return (
        bic if bic is not None else _found(root, f".//{{*}}Oblgtn/{{*}}{tag}/{{*}}PrtryId/{{*}}Id")
    )


def _value_day(root: ET.Element) -> date:
    for side in ("XpctdCollDueToA", "XpctdCollDueToB"):
        day = root.findtext(f".//{{*}}{side}//{{*}}Dt")
        if day is not None:
            return date.fromisoformat(day)
    raise InputError("the message lacks the day of value of the expected collateral")
