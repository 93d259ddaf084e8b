"""XML risk parameter files (`.spn`): from elements to records.

The subset: portfolios of physicals, equities, futures and options with their 16-value arrays;
combined commodities with periods, tiers, flat inter-month charges, delivery rates and short option
minimum; inter-commodity credits. `docs/methodology/span.md` lists the elements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from engine.domain.failures import Partial
from engine.margin.span.arrays import N_SCENARIOS
from engine.margin.span.records import (
    Commodity,
    Contract,
    Failures,
    FileSpread,
    RecordError,
    SpanParameters,
    number,
)
from engine.margin.span.xml_definitions import (
    CreditUnit,
    rate_of,
    read_commodity,
    read_inter_spread,
    read_links,
)
from engine.margin.span.xml_stream import CONTRACTS, PORTFOLIOS, Container, Node, walk


def read_xml(
    path: Path, commodities: Collection[str] | None, credit_unit: CreditUnit | None
) -> Partial[SpanParameters]:
    """Read an XML file in two passes: definitions, then the contracts that are wanted."""
    failures, unknown = Failures(), dict[str, tuple[int, int]]()
    head: dict[str, str] = {}
    defined: dict[str, Commodity] = {}
    links: dict[tuple[str, str], str] = {}
    inter: list[FileSpread] = []
    for node, containers in walk(path, failures, {"ccDef", "dSpread"}, lambda _: False, unknown):
        where = f"{path.name} line {node.line}"
        _keep_head(head, containers)
        try:
            if node.name == "dSpread":
                inter.append(read_inter_spread(node, credit_unit))
                continue
            code, definition = read_commodity(node, failures, path.name)
            links.update(read_links(node, code))
            defined[code] = definition
        except RecordError as error:
            failures.add(error.failure(where))
    for name, (line, count) in sorted(unknown.items()):
        message = f"{count} elements of this kind are not read; margins leave them out"
        unread = RecordError(name, message, unsupported=True)
        failures.add(unread.failure(f"{path.name} line {line}"))
    wanted = set(defined) if commodities is None else set(commodities)
    for code in sorted(wanted - set(defined)):
        absent = RecordError(code, "the file defines no such combined commodity; check the code")
        failures.add(absent.failure(path.name))
    contracts = tuple(_contracts(path, failures, links, wanted & set(defined), head))
    parameters = SpanParameters(
        format=f"xml {head.get('fileFormat', '')}".strip(),
        clearing_org=head.get("ec", ""),
        business_date=head.get("date", ""),
        commodities={code: defined[code] for code in defined if code in wanted},
        contracts=contracts,
        inter_spreads=tuple(s for s in inter if all(leg.commodity in wanted for leg in s.legs)),
    )
    return Partial(parameters, failures.all(path.name))


def _keep_head(head: dict[str, str], containers: tuple[Container, ...]) -> None:
    for container in containers:
        if container.name in ("spanFile", "pointInTime", "clearingOrg"):
            for name in ("fileFormat", "date", "ec"):
                if name in container.fields:
                    head.setdefault(name, container.fields[name])


def _contracts(
    path: Path,
    failures: Failures,
    links: dict[tuple[str, str], str],
    wanted: set[str],
    head: dict[str, str],
) -> Iterator[Contract]:
    """Yield the contracts of the wanted commodities; a product without commodity is a failure."""
    lost: dict[str, str] = {}

    def want(portfolio: Container) -> bool:
        code = _linked(portfolio, links)
        if not code and portfolio.fields.get("pfCode", "") in wanted:
            code = portfolio.fields["pfCode"]
        if not code:
            lost[portfolio.fields.get("pfCode", "")] = portfolio.name
        portfolio.fields["commodity"] = code
        return code in wanted

    for node, containers in walk(path, failures, set(CONTRACTS), want, {}):
        _keep_head(head, containers)
        try:
            yield _contract(node, containers, f"{path.name} line {node.line}")
        except RecordError as error:
            failures.add(error.failure(f"{path.name} line {node.line}"))
    for product, kind in lost.items():
        message = f"{kind} belongs to no combined commodity of the file; its contracts are left out"
        failures.add(RecordError(product or "(no pfCode)", message).failure(path.name))


def _linked(portfolio: Container, links: dict[tuple[str, str], str]) -> str:
    kind = _kind(portfolio)
    for name in ("pfId", "pfCode"):
        code = links.get((kind, portfolio.fields.get(name, "")))
        if code:
            return code
    return ""


def _kind(portfolio: Container) -> str:
    return {"phyPf": "PHY", "equityPf": "STOCK"}.get(portfolio.name, portfolio.name[:3].upper())


def _contract(node: Node, containers: tuple[Container, ...], where: str) -> Contract:
    portfolio = next((c for c in containers if c.name in PORTFOLIOS), None)
    if portfolio is None:
        raise RecordError(node.name, "the contract is outside any portfolio; obtain the file again")
    fields = dict(portfolio.fields)
    for container in containers:
        if container.name in ("exchange", "series"):
            fields.update(container.fields)
    option = node.name == "opt"
    period = node.value("pe") or fields.get("pe", "")
    item = " ".join(x for x in (fields.get("pfCode", ""), period, node.value("o"),
                                node.value("k")) if x)  # fmt: skip
    right = node.value("o")
    if option and right not in ("C", "P"):
        raise RecordError(item, f"right of the option is {right[:40]!r}; it must be C or P")
    losses, delta = _array(node, item)
    scaling = number(item, "sc", node.value("sc") or fields.get("sc", "1"))
    return Contract(
        commodity=portfolio.fields["commodity"],
        exchange=fields.get("exch", ""),
        product=fields.get("pfCode", ""),
        kind=_kind(portfolio),
        period=period,
        right=right if option else "",
        strike=number(item, "k", node.value("k")) if option else float("nan"),
        price=number(item, "p", node.value("p")),
        value_factor=number(item, "cvf", node.value("cvf") or fields.get("cvf", "")),
        premium_style=option and fields.get("valueMeth", "EQTY") == "EQTY",
        delta=delta * scaling,
        losses=losses,
        where=where,
    )


def _array(node: Node, item: str) -> tuple[np.ndarray, float]:
    """Return the 16 losses and the composite delta."""
    array = rate_of(node.all("ra"))
    if array is None:
        raise RecordError(item, "the contract has no risk array; obtain the file again")
    values = [number(item, "a risk array value", a.text.strip()) for a in array.all("a")]
    if len(values) != N_SCENARIOS:
        raise RecordError(item, f"the risk array has {len(values)} values, not {N_SCENARIOS}")
    return np.array(values, dtype=np.float64), number(item, "composite delta", array.value("d"))
