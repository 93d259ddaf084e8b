"""Positional risk parameter files (expanded unpacked format, `.pa2`): a subset.

Columns are those of the publisher's public layout pages (record types 0, 2, 4, 6, 8, P in the
expanded format). Lines are read one at a time. Inter-month charges (types 3, C, E) and tiers (S)
are not read: each commodity that has some is named in a failure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from engine.domain.failures import InputError, Partial
from engine.margin.span.positional_contract import Product, State, cut, name_of, read_contract
from engine.margin.span.records import (
    Commodity,
    Contract,
    Failures,
    FileSpread,
    RecordError,
    SpanParameters,
    SpotRate,
    SpreadLeg,
    number,
    side_of,
    whole,
)

MOST_LINE = 1000
EXPANDED = "U2"
PRICE_RISK_METHOD = "01"
_HEADS = ("81", "83")
_UNREAD = {
    "3 ": "tiers", "C ": "inter-month spreads", "E ": "inter-month spreads",
    "S ": "scanning tiers",
}  # fmt: skip
_NOT_NEEDED = ("1 ", "5 ", "B ", "R ", "T ", "V ", "X ", "Y ", "Z ", "91", "92")


def read_positional(path: Path, commodities: Collection[str] | None) -> Partial[SpanParameters]:
    """Read a positional file in one pass.

    Raises
    ------
    InputError
        If the file cannot be read, is not in the expanded format, or has a line beyond 1,000
        characters.
    """
    failures, state = Failures(), State()
    contracts: list[Contract] = []
    for line, text in _lines(path):
        where = f"{path.name} line {line}"
        if state.pending is not None and text[:2] not in ("82", "84"):
            _orphan(state, failures, path.name)
        try:
            contract = _record(state, text, line, where, commodities)
            if contract is not None:
                contracts.append(contract)
        except RecordError as error:
            failures.add(error.failure(where))
    if state.pending is not None:
        _orphan(state, failures, path.name)
    for (code, what), line in state.unread.items():
        message = f"{what} are not read; the margin of {code} lacks what they charge"
        unread = RecordError(code, message, unsupported=True)
        failures.add(unread.failure(f"{path.name} line {line}"))
    wanted = set(state.commodities) if commodities is None else set(commodities)
    for code in sorted(wanted - set(state.commodities)):
        absent = RecordError(code, "the file defines no such combined commodity; check the code")
        failures.add(absent.failure(path.name))
    parameters = SpanParameters(
        format=f"positional {EXPANDED}",
        clearing_org=state.head.get("org", ""),
        business_date=state.head.get("date", ""),
        commodities={c: v for c, v in state.commodities.items() if c in wanted},
        contracts=tuple(contracts),
        inter_spreads=tuple(
            s for s in state.inter if all(leg.commodity in wanted for leg in s.legs)
        ),
    )
    return Partial(parameters, failures.all(path.name))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("r", encoding="latin-1", newline="") as stream:
            line = 0
            while text := stream.readline(MOST_LINE + 2):
                line += 1
                if len(text) > MOST_LINE:
                    raise InputError(
                        f"{path.name} line {line}: longer than {MOST_LINE} characters; this is not "
                        "a positional risk parameter file"
                    )
                if text.strip():
                    yield line, text.rstrip("\r\n")
    except OSError as error:
        raise InputError(f"{path.name}: {error.strerror}; give a readable file") from error


def _record(
    state: State, text: str, line: int, where: str, wanted: Collection[str] | None
) -> Contract | None:
    kind = f"{text:2s}"[:2]
    if not state.head and kind != "0 ":
        raise InputError(
            f"{where}: the first record is of type {kind!r}, not '0'; give a file in the expanded "
            "format"
        )
    if kind == "0 ":
        _head(state, text, where)
    elif kind == "P ":
        _product(state, text)
    elif kind == "2 ":
        _commodity(state, text)
    elif kind == "4 ":
        _charges(state, text)
    elif kind == "6 ":
        _inter(state, text)
    elif kind in _HEADS:
        state.pending = (text, line)
    elif kind in ("82", "84"):
        return read_contract(state, text, where, wanted)
    elif kind in _UNREAD:
        state.unread.setdefault((cut(text, 3, 6), _UNREAD[kind]), line)
    elif kind not in _NOT_NEEDED:
        raise RecordError(kind, f"record type {kind!r} is not known; it is left out",
                          unsupported=True)  # fmt: skip
    return None


def _orphan(state: State, failures: Failures, file: str) -> None:
    """Name a first array record that no second one follows."""
    assert state.pending is not None
    (head, line), state.pending = state.pending, None
    error = RecordError(name_of(head), "the array has no second record; the contract is left out")
    failures.add(error.failure(f"{file} line {line}"))


def _head(state: State, text: str, where: str) -> None:
    layout = cut(text, 36, 2)
    if layout != EXPANDED:
        raise InputError(f"{where}: file format is {layout!r}; only {EXPANDED!r}, expanded "
                         "unpacked, is read")  # fmt: skip
    state.head = {"org": cut(text, 3, 6), "date": cut(text, 9, 8)}


def _product(state: State, text: str) -> None:
    key = (cut(text, 3, 3), cut(text, 6, 10), cut(text, 16, 3))
    item = " ".join(key)
    exponent = whole(item, "contract value factor exponent", cut(text, 74, 2) or "0")
    factor = number(item, "contract value factor", cut(text, 42, 14)) / 1e7
    sign = -1 if cut(text, 73, 1) == "-" else 1
    state.products[key] = Product(
        price_decimals=whole(item, "settlement price decimal locator", cut(text, 34, 3) or "0"),
        strike_decimals=whole(item, "strike price decimal locator", cut(text, 37, 3) or "0"),
        value_factor=factor * 10.0 ** (sign * exponent),
    )


def _commodity(state: State, text: str) -> None:
    code = cut(text, 7, 6)
    if not code:
        raise RecordError("type 2", "a combined commodity has no code; obtain the file again")
    if cut(text, 18, 1) == "F":
        state.futures_style.add(code)
    for start in range(23, 23 + 6 * 16, 16):
        product, kind = cut(text, start, 10), cut(text, start + 10, 3)
        if not product:
            continue
        if cut(text, start + 14, 1) == "-":
            raise RecordError(code, f"array values of {product} have a negative decimal locator, "
                              "which is not read", unsupported=True)  # fmt: skip
        decimals = whole(code, "array value decimal locator", cut(text, start + 13, 1) or "0")
        state.owners[cut(text, 3, 3), product, kind] = (code, decimals)
    if cut(text, 13, 1) not in ("", "0"):
        state.refused.add(code)
        raise RecordError(code, f"risk exponent is {cut(text, 13, 1)}, which is not read; its "
                          "contracts are left out", unsupported=True)  # fmt: skip
    if code not in state.commodities:
        state.commodities[code] = Commodity(code, cut(text, 14, 3), 0.0)


def _charges(state: State, text: str) -> None:
    """Type 4: short option minimum, and the table-driven delivery charge (method 10)."""
    code = cut(text, 3, 6)
    if code not in state.commodities:
        raise RecordError(code, "charges of a combined commodity that the file has not defined")
    method, spot = cut(text, 9, 2), []
    if method == "10":
        for start in (15, 37)[: whole(code, "months in delivery", cut(text, 11, 2) or "0")]:
            spot.append(
                SpotRate(
                    cut(text, start, 6),
                    number(code, "delivery charge in spreads", cut(text, start + 6, 7) or "0"),
                    number(code, "delivery charge outright", cut(text, start + 13, 7) or "0"),
                )
            )
    old = state.commodities[code]
    state.commodities[code] = Commodity(
        code=code,
        currency=old.currency,
        som_rate=number(code, "short option minimum", cut(text, 63, 7) or "0"),
        som_method="MAX" if cut(text, 79, 1) == "1" else "GROSS",
        spot_rates=tuple(spot),
    )
    if method == "11":
        raise RecordError(code, "delivery charge by basis risk (11) is not read; the margin lacks "
                          "it", unsupported=True)  # fmt: skip


def _inter(state: State, text: str) -> None:
    """Type 6: credit in per cent of weighted price risk, whole commodities only."""
    priority = whole("inter-commodity spread", "spread priority", cut(text, 6, 4))
    item = f"inter-commodity spread {priority}"
    method, credit = cut(text, 89, 2), cut(text, 101, 1)
    if method not in ("", PRICE_RISK_METHOD) or credit not in ("", "W") or cut(text, 102, 8):
        raise RecordError(item, f"method {method!r}, credit {credit!r} or its tiers are not read; "
                          "margins lack this credit", unsupported=True)  # fmt: skip
    legs = []
    for start in range(17, 17 + 4 * 18, 18):
        code = cut(text, start + 4, 6)
        if code:
            ratio = number(item, "delta per spread", cut(text, start + 10, 7)) / 1e4
            if ratio <= 0.0:
                raise RecordError(item, f"delta per spread is {ratio:g}; it must be above 0")
            side = side_of(item, cut(text, start + 17, 1))
            legs.append(SpreadLeg(code, "", 0, side, ratio))
    if len(legs) < 2:
        raise RecordError(item, f"the spread has {len(legs)} legs; it needs two or more")
    rate = number(item, "spread credit rate", cut(text, 10, 7)) / 1e4 / 100.0
    state.inter.append(FileSpread(priority, rate, tuple(legs)))
