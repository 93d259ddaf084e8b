"""Margin of positions in the contracts of a risk parameter file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.failures import Failure, FailureReason
from engine.margin.span.arrays import ScenarioGrid, standard_grid
from engine.margin.span.commodity import price_risk, requirement, scan_risk
from engine.margin.span.records import Commodity, Contract, SpanParameters, SpreadLeg
from engine.margin.span.spreads import (
    DeliveryRate,
    Leg,
    Spread,
    delivery_charge,
    inter_commodity_credits,
    inter_month_charge,
)

MAX_METHOD = "MAX"


@dataclass(frozen=True)
class ContractPosition:
    """A signed quantity of contracts; `key` is `Contract.key`."""

    key: tuple[str, str, str, str, str, float]
    quantity: float


@dataclass(frozen=True)
class CommodityMargin:
    """Margin of one combined commodity, in its currency; parts sum to `margin`.

    `active_scenario` counts from 1.
    """

    commodity: str
    currency: str
    active_scenario: int
    losses: Float64Array
    components: dict[str, float]
    net_option_value: float
    risk: float
    margin: float


@dataclass(frozen=True)
class PortfolioMargin:
    """Margin by commodity, and the positions that could not be placed."""

    commodities: tuple[CommodityMargin, ...]
    failures: tuple[Failure, ...]

    def total(self) -> dict[str, float]:
        """Return the sum by currency."""
        sums: dict[str, float] = {}
        for part in self.commodities:
            sums[part.currency] = sums.get(part.currency, 0.0) + part.margin
        return sums


@dataclass(frozen=True)
class _Held:
    """Net holdings of one commodity."""

    definition: Commodity
    contracts: tuple[Contract, ...]
    quantity: Float64Array


@dataclass(frozen=True)
class _Part:
    """What a commodity contributes before credits; scalars but for `losses`."""

    losses: Float64Array
    scan: float
    active: int
    price_risk: float
    net_delta: float
    inter_month: float
    delivery: float
    minimum: float
    option_value: float


def margin_from_parameters(
    parameters: SpanParameters,
    positions: Sequence[ContractPosition],
    grid: ScenarioGrid | None = None,
) -> PortfolioMargin:
    """Margin positions with the arrays of a parameter file.

    Parameters
    ----------
    positions : sequence of ContractPosition
        Several in one contract are netted. One whose contract the file does not have, or whose
        quantity is not finite, is a failure and left out.
    grid : ScenarioGrid, optional
        For the pairing of scenarios in price risk; the standard one.

    Returns
    -------
    PortfolioMargin
        Commodities by code, each in its own currency.
    """
    grid = grid if grid is not None else standard_grid()
    held, failures = _net(parameters, positions)
    parts = {code: _part(one, grid) for code, one in held.items()}
    credits = _credits(parameters, parts)
    results = []
    for code, part in parts.items():
        whole = requirement(
            *(
                np.array([value])
                for value in (
                    part.scan,
                    part.inter_month,
                    part.delivery,
                    credits[code],
                    part.minimum,
                    part.option_value,
                )
            )
        )
        results.append(
            CommodityMargin(
                commodity=code,
                currency=held[code].definition.currency,
                active_scenario=part.active + 1,
                losses=part.losses,
                components={name: float(v[0]) for name, v in whole.components().items()},
                net_option_value=part.option_value,
                risk=float(whole.risk[0]),
                margin=float(whole.total[0]),
            )
        )
    return PortfolioMargin(tuple(results), tuple(failures))


def _net(
    parameters: SpanParameters, positions: Sequence[ContractPosition]
) -> tuple[dict[str, _Held], list[Failure]]:
    by_key = {contract.key: contract for contract in parameters.contracts}
    net: dict[tuple[str, str, str, str, str, float], float] = {}
    failures = []
    for row, position in enumerate(positions):
        where, item = f"position {row + 1}", " ".join(str(part) for part in position.key)
        if position.key not in by_key:
            message = "the parameter file has no such contract; check its period, right and strike"
            failures.append(Failure(FailureReason.MISSING_DATA, item, where, message))
        elif not np.isfinite(position.quantity):
            message = f"quantity is {position.quantity}; give a finite number"
            failures.append(Failure(FailureReason.INVALID, item, where, message))
        else:
            net[position.key] = net.get(position.key, 0.0) + position.quantity
    groups: dict[str, list[Contract]] = {}
    for key in net:
        groups.setdefault(by_key[key].commodity, []).append(by_key[key])
    held = {
        code: _Held(
            parameters.commodities[code],
            tuple(contracts),
            np.array([net[contract.key] for contract in contracts]),
        )
        for code, contracts in sorted(groups.items())
    }
    return held, failures


def _part(held: _Held, grid: ScenarioGrid) -> _Part:
    losses = held.quantity @ np.array([contract.losses for contract in held.contracts])
    scan, active = scan_risk(losses[np.newaxis])
    periods = sorted({contract.period for contract in held.contracts})
    delta = np.zeros((1, len(periods)))
    for contract, quantity in zip(held.contracts, held.quantity, strict=True):
        delta[0, periods.index(contract.period)] += quantity * contract.delta
    charge, left = inter_month_charge(delta, _spreads(held.definition, periods))
    value = sum(
        float(quantity) * contract.price * contract.value_factor
        for contract, quantity in zip(held.contracts, held.quantity, strict=True)
        if contract.premium_style
    )
    return _Part(
        losses=losses,
        scan=float(scan[0]),
        active=int(active[0]),
        price_risk=float(price_risk(losses[np.newaxis], active, grid)[0]),
        net_delta=float(delta.sum()),
        inter_month=float(charge[0]),
        delivery=float(delivery_charge(delta, left, _delivery(held.definition, periods))[0]),
        minimum=_minimum(held),
        option_value=value,
    )


def _spreads(definition: Commodity, periods: list[str]) -> list[Spread]:
    """Return the spreads whose legs all have a period that is held."""
    spreads = []
    for spread in definition.spreads:
        legs = [_columns(definition, leg, periods) for leg in spread.legs]
        if all(legs):
            made = tuple(
                Leg(columns, leg.side, leg.ratio)
                for columns, leg in zip(legs, spread.legs, strict=True)
            )
            spreads.append(Spread(spread.priority, made, spread.rate))
    return spreads


def _columns(definition: Commodity, leg: SpreadLeg, periods: list[str]) -> tuple[int, ...]:
    if leg.period:
        return tuple(i for i, period in enumerate(periods) if period == leg.period)
    tiers = [tier for tier in definition.tiers if tier.number == leg.tier]
    if leg.tier == 0 and not tiers:
        return tuple(range(len(periods)))
    return tuple(i for i, period in enumerate(periods) if any(t.holds(period) for t in tiers))


def _delivery(definition: Commodity, periods: list[str]) -> list[DeliveryRate]:
    return [
        DeliveryRate(periods.index(rate.period), rate.spread_rate, rate.outright_rate)
        for rate in definition.spot_rates
        if rate.period in periods
    ]


def _minimum(held: _Held) -> float:
    """Short option minimum: rate times short calls and puts, or times the greater of the two."""
    short = {"C": 0.0, "P": 0.0}
    for contract, quantity in zip(held.contracts, held.quantity, strict=True):
        if contract.right:
            short[contract.right] += max(0.0, -float(quantity))
    greater = held.definition.som_method == MAX_METHOD
    count = max(short.values()) if greater else sum(short.values())
    return held.definition.som_rate * count


def _credits(parameters: SpanParameters, parts: dict[str, _Part]) -> dict[str, float]:
    codes = list(parts)
    if not codes:
        return {}
    delta = np.array([[part.net_delta for part in parts.values()]])
    risk = np.array([[part.price_risk for part in parts.values()]])
    spreads = [
        Spread(
            spread.priority,
            tuple(Leg((codes.index(leg.commodity),), leg.side, leg.ratio) for leg in spread.legs),
            spread.rate,
        )
        for spread in parameters.inter_spreads
        if all(leg.commodity in parts for leg in spread.legs)
    ]
    found = inter_commodity_credits(delta, risk, spreads)[0]
    return dict(zip(codes, found.tolist(), strict=True))
