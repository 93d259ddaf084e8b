"""Definitions in XML risk parameter files: combined commodities, spreads, tiers, rates."""

from __future__ import annotations

from typing import Literal

from engine.margin.span.records import (
    FLAT,
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
from engine.margin.span.xml_stream import Node

CreditUnit = Literal["fraction", "per cent"]
RATE_INDEX = "1"
"""Rate to read where a file gives several, for kinds of account: the first."""
WEIGHTED_PRICE_RISK = "W"


def read_links(node: Node, code: str) -> dict[tuple[str, str], str]:
    """Return (kind, id or code of a product) -> commodity."""
    found = {}
    for link in node.all("pfLink"):
        scale = link.value("sc", "1")
        if number(code, "sc of pfLink", scale) != 1.0:
            raise RecordError(code, f"a product is linked with scale {scale}, which is not read",
                              unsupported=True)  # fmt: skip
        for name in ("pfId", "pfCode"):
            if link.value(name):
                found[link.value("pfType"), link.value(name)] = code
    return found


def rate_of(nodes: list[Node]) -> Node | None:
    """Return the node of the first rate, or the only one."""
    own = [node for node in nodes if node.value("r", RATE_INDEX) == RATE_INDEX]
    return own[0] if own else None


def read_commodity(node: Node, failures: Failures, file: str) -> tuple[str, Commodity]:
    """Return the code and definition; a spread that cannot be used goes to `failures`."""
    code = node.value("cc")
    if not code:
        raise RecordError("ccDef", "a combined commodity has no code; obtain the file again")
    _refuse_unread(node, code)
    spreads = []
    for spread in node.all("dSpread"):
        try:
            spreads.append(_month_spread(spread, code))
        except RecordError as error:
            failures.add(error.failure(f"{file} line {spread.line}"))
    rates = [tier for group in node.all("somTiers") for tier in group.all("tier")]
    som = [_amount(tier, code, "short option minimum") for tier in rates if tier.all("rate")]
    if len(set(som)) > 1:
        raise RecordError(code, f"short option minimum differs by tier ({som}), which is not read",
                          unsupported=True)  # fmt: skip
    method = node.value("somMeth", "GROSS") or "GROSS"
    if method not in ("GROSS", "MAX"):
        raise RecordError(code, f"somMeth is {method!r}; only GROSS and MAX are read",
                          unsupported=True)  # fmt: skip
    return code, Commodity(
        code=code,
        currency=node.value("currency"),
        som_rate=som[0] if som else 0.0,
        som_method=method,
        tiers=tuple(_tier(t, code) for group in node.all("intraTiers") for t in group.all("tier")),
        spreads=tuple(spreads),
        spot_rates=tuple(_spot(spot, code) for spot in node.all("spotRate")
                         if spot.value("r", RATE_INDEX) == RATE_INDEX),
    )  # fmt: skip


def _refuse_unread(node: Node, code: str) -> None:
    """Refuse definitions whose numbers would be wrong without what is not read."""
    if number(code, "riskExponent", node.value("riskExponent", "0") or "0") != 0.0:
        raise RecordError(code, f"riskExponent is {node.value('riskExponent')}, which is not read",
                          unsupported=True)  # fmt: skip
    for rate in node.all("adjRate"):
        if number(code, "adjRate", rate.value("val", "1")) != 1.0:
            raise RecordError(code, f"adjRate is {rate.value('val')}, which is not read",
                              unsupported=True)  # fmt: skip
    tiers = [tier for group in node.all("scanTiers") for tier in group.all("tier")]
    if len(tiers) > 1:
        raise RecordError(code, f"it is scanned in {len(tiers)} tiers, which is not read",
                          unsupported=True)  # fmt: skip


def _month_spread(node: Node, code: str) -> FileSpread:
    method = node.value("chargeMeth", FLAT) or FLAT
    item = f"{code} spread {node.value('spread')}"
    if method != FLAT:
        raise RecordError(item, f"charge method {method!r} is not read, only flat ones ({FLAT}); "
                          f"the margin of {code} lacks this charge", unsupported=True)  # fmt: skip
    return FileSpread(
        whole(item, "spread", node.value("spread")), _amount(node, item, "rate"), _legs(node, item)
    )


def read_inter_spread(node: Node, unit: CreditUnit | None) -> FileSpread:
    """Return a credit between commodities; its rate becomes a fraction of the price risk."""
    method = node.value("chargeMeth", WEIGHTED_PRICE_RISK) or WEIGHTED_PRICE_RISK
    item = f"inter-commodity spread {node.value('spread')}"
    if method != WEIGHTED_PRICE_RISK:
        raise RecordError(item, f"charge method {method!r} is not read, only credits on weighted "
                          "price risk (W); margins lack this spread", unsupported=True)  # fmt: skip
    if unit is None:
        raise RecordError(
            item,
            f"its credit {node.value('rate')} has no unit in the format; say credit_unit "
            "('fraction' or 'per cent') to use it. Margins lack this credit",
            unsupported=True,
        )
    legs = _legs(node, item)
    if any(leg.tier > 0 or leg.period for leg in legs):
        raise RecordError(item, "legs by tier or period are not read, only whole commodities; "
                          "margins lack this spread", unsupported=True)  # fmt: skip
    credit = _amount(node, item, "rate") / (100.0 if unit == "per cent" else 1.0)
    return FileSpread(whole(item, "spread", node.value("spread")), credit, legs)


def _legs(node: Node, item: str) -> tuple[SpreadLeg, ...]:
    legs = []
    for leg in node.children:
        if leg.name not in ("pLeg", "tLeg", "rpLeg", "sLeg"):
            continue
        if leg.name not in ("pLeg", "tLeg"):
            raise RecordError(item, f"a leg of kind {leg.name} is not read; margins lack this "
                              "spread", unsupported=True)  # fmt: skip
        ratio = number(item, "ratio i", leg.value("i", "1"))
        if ratio <= 0.0:
            raise RecordError(item, f"ratio i of a leg is {ratio:g}; it must be above 0")
        tier = whole(item, "tn", leg.value("tn", "0") or "0") if leg.name == "tLeg" else 0
        period = leg.value("pe") if leg.name == "pLeg" else ""
        side = side_of(item, leg.value("rs"))
        legs.append(SpreadLeg(leg.value("cc"), period, tier, side, ratio))
    if len(legs) < 2:
        raise RecordError(item, f"the spread has {len(legs)} legs; it needs two or more")
    return tuple(legs)


def _tier(node: Node, code: str) -> Tier:
    return Tier(whole(code, "tn", node.value("tn", "0")), node.value("sPe"), node.value("ePe"))


def _spot(node: Node, code: str) -> SpotRate:
    return SpotRate(
        node.value("pe"),
        number(code, "sprd", node.value("sprd", "0") or "0"),
        number(code, "outr", node.value("outr", "0") or "0"),
    )


def _amount(node: Node, item: str, name: str) -> float:
    rate = rate_of(node.all("rate"))
    if rate is None:
        raise RecordError(item, f"{name} is missing; obtain the file again")
    return number(item, name, rate.value("val"))
