"""Published arrays, random books against an independent implementation, hand-worked cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.margin.span.arrays import standard_grid
from engine.margin.span.commodity import price_risk, requirement, scan_risk
from engine.margin.span.parameter_file import read_parameter_file
from engine.margin.span.portfolio import ContractPosition, margin_from_parameters
from engine.margin.span.records import (
    Commodity,
    Contract,
    FileSpread,
    SpanParameters,
    SpotRate,
    SpreadLeg,
    Tier,
)

marginism_algorithm = pytest.importorskip("marginism.algorithm")
marginism_model = pytest.importorskip("marginism.model")

# Losses of one long unit as printed in a textbook, in USD.
FUTURE = [0, 0, -3330, -3330, 3330, 3330, -6670, -6670, 6670, 6670, -10000, -10000, 10000, 10000,
          -7000, 7000]  # fmt: skip
CALL = [-460, 610, -2640, -1730, 1270, 2340, -5210, -4540, 2540, 3430, -8060, -7640, 3380, 3990,
        -3130, 1500]  # fmt: skip
PERIODS = ["20260630", "20260728", "20260825"]
SEED = 20260529
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def contract(period, losses, *, commodity="X", right="", strike=np.nan, price=0.0, cvf=1.0,
             delta=1.0, premium=True):  # fmt: skip
    return Contract(
        commodity=commodity, exchange="E", product=commodity, kind="OOP" if right else "FUT",
        period=period, right=right, strike=strike, price=price, value_factor=cvf,
        premium_style=bool(right) and premium, delta=delta,
        losses=np.array(losses, dtype=np.float64), where="test",
    )  # fmt: skip


def parameters(contracts, *definitions, inter=()):
    found = {d.code: d for d in definitions} or {"X": Commodity("X", "USD", 0.0)}
    return SpanParameters("test", "T", "20260529", found, tuple(contracts), tuple(inter))


def margin(held, *definitions, inter=()):
    """Margin of (contract, quantity) pairs."""
    book = parameters([c for c, _ in held], *definitions, inter=inter)
    out = margin_from_parameters(book, [ContractPosition(c.key, q) for c, q in held])
    assert not out.failures
    return out


def test_published_long_call():
    call = contract("199412", CALL, right="C", strike=410.0)
    part = margin([(call, 1.0)]).commodities[0]
    assert (part.components["scan"], part.active_scenario) == (3990.0, 14)


def test_published_covered_write():
    call = contract("199412", CALL, right="C", strike=410.0)
    part = margin([(contract("199412", FUTURE), 1.0), (call, -1.0)]).commodities[0]
    assert (part.components["scan"], part.active_scenario) == (6620.0, 13)
    assert part.margin == 6620.0


def leg(period, side, ratio=1.0, commodity="X", tier=0):
    return SpreadLeg(commodity, period, tier, side, ratio)


def random_case(rng):
    """One commodity with three months, options and calendar spreads, and positions in it."""
    contracts = []
    for period in PERIODS:
        psr = rng.uniform(100.0, 2000.0)
        contracts.append(contract(period, -psr * standard_grid().price * standard_grid().covered))
        for strike in (90.0, 100.0, 110.0):
            for right in ("C", "P"):
                losses = rng.normal(0.0, 300.0, 16)
                contracts.append(
                    contract(period, losses, right=right, strike=strike,
                             price=rng.uniform(1.0, 400.0), cvf=rng.choice([1.0, 25.0]),
                             delta=rng.uniform(-1.0, 1.0))
                )  # fmt: skip
    spreads = tuple(
        FileSpread(i + 1, float(rng.uniform(10.0, 500.0)),
                   (leg(a, 1, rng.choice([1.0, 2.0])), leg(b, -1, rng.choice([1.0, 3.0]))))
        for i, (a, b) in enumerate([(PERIODS[0], PERIODS[1]), (PERIODS[1], PERIODS[2]),
                                    (PERIODS[0], PERIODS[2])])
    )  # fmt: skip
    som = float(rng.choice([0.0, 50.0, 3000.0]))
    definition = Commodity("X", "INR", som, spreads=spreads)
    chosen = rng.choice(len(contracts), size=rng.integers(1, 9), replace=False)
    return contracts, definition, [(contracts[i], float(rng.integers(-80, 80))) for i in chosen]


def independent(definition, held):
    """The same book by the independent implementation."""

    def other(c):
        shared = {
            "cc": "X", "pf_id": 1, "pf_type": c.kind, "contract_id": 1, "expiry": c.period,
            "price": c.price, "delta": c.delta, "volatility": 0.2, "cvf": c.value_factor,
            "risk_array": marginism_model.RiskArray(list(c.losses), c.delta),
        }  # fmt: skip
        if c.right:
            return marginism_model.OptionContract(**shared, option_type=c.right, strike=c.strike)
        return marginism_model.FuturesContract(**shared)

    spreads = [
        marginism_model.CalendarSpread(
            s.priority, "F", s.rate,
            [marginism_model.SpreadLeg("X", one.period, "A" if one.side > 0 else "B", one.ratio)
             for one in s.legs],
        )
        for s in definition.spreads
    ]  # fmt: skip
    commodity = marginism_model.CombinedCommodity("X", som_rate=definition.som_rate,
                                                  spreads=spreads)  # fmt: skip
    resolved = [marginism_algorithm.ResolvedPosition(other(c), q) for c, q in held]
    return marginism_algorithm.compute_commodity(commodity, resolved)


def largest_difference(rng, books, spoil=0.0):
    worst = {"scan": 0.0, "inter_month": 0.0, "minimum": 0.0, "nov": 0.0, "margin": 0.0}
    seen = dict.fromkeys(worst, 0)
    for _ in range(books):
        _, definition, held = random_case(rng)
        theirs = independent(definition, held)
        if spoil:
            held = [(c, q * (1.0 + spoil) if c.right else q) for c, q in held]
        ours = margin(held, definition).commodities[0]
        minimum = definition.som_rate * sum(max(0.0, -q) for c, q in held if c.right)
        pairs = {
            "scan": (ours.components["scan"], theirs.scan_risk),
            "inter_month": (ours.components["inter_month"], theirs.calendar_spread_charge),
            "minimum": (minimum, theirs.short_option_minimum),
            "nov": (ours.net_option_value, theirs.net_option_value),
            "margin": (ours.margin, theirs.span_risk),
        }
        if theirs.scan_risk > 0.0:
            assert spoil or ours.active_scenario == theirs.worst_scenario
        for name, (own, other) in pairs.items():
            seen[name] += other != 0.0
            worst[name] = max(worst[name], abs(own - other) / max(1.0, abs(other)))
    return worst, seen


def test_200_random_books_equal_the_independent_implementation():
    worst, seen = largest_difference(np.random.default_rng(SEED), 200)
    assert max(worst.values()) < 1e-9, worst
    assert min(seen.values()) > 30, seen  # every part was really at work


def test_comparison_notices_a_thousandth_of_a_per_cent():
    worst, _ = largest_difference(np.random.default_rng(SEED), 50, spoil=1e-5)
    assert worst["nov"] > 1e-6
    assert worst["scan"] > 1e-6


FLAT = [0.0] * 14 + [0.0, 0.0]


def test_option_value_by_hand():
    losses = [100.0] * 16
    call = contract("1", losses, right="C", strike=1.0, price=3.0, cvf=10.0)
    assert margin([(call, 2.0)]).commodities[0].margin == 140.0  # 200 - 2 * 3 * 10
    short = [-x for x in losses]
    sold = contract("1", short, right="C", strike=1.0, price=3.0, cvf=10.0)
    assert margin([(sold, -2.0)]).commodities[0].margin == 260.0
    daily = contract("1", short, right="C", strike=1.0, price=3.0, cvf=10.0, premium=False)
    assert margin([(daily, -2.0)]).commodities[0].margin == 200.0
    rich = contract("1", losses, right="C", strike=1.0, price=30.0, cvf=10.0)
    part = margin([(rich, 2.0)]).commodities[0]
    assert part.margin == 0.0
    assert part.components["net_option_value"] == -200.0
    assert sum(part.components.values()) == 0.0


def test_short_option_minimum_by_hand():
    call = contract("1", FLAT, right="C", strike=1.0)
    put = contract("1", FLAT, right="P", strike=1.0)
    rule = Commodity("X", "USD", 50.0)
    assert margin([(call, -3.0), (put, -2.0)], rule).commodities[0].margin == 250.0
    assert margin([(call, -3.0), (put, 2.0)], rule).commodities[0].margin == 150.0
    assert margin([(call, 3.0), (put, 2.0)], rule).commodities[0].margin == 0.0
    greater = Commodity("X", "USD", 50.0, som_method="MAX")
    assert margin([(call, -3.0), (put, -2.0)], greater).commodities[0].margin == 150.0
    future = contract("1", [200.0] * 16)
    part = margin([(call, -3.0), (future, 1.0)], rule).commodities[0]
    assert (part.margin, part.components["short_option_minimum"]) == (200.0, 0.0)


def test_calendar_by_hand():
    near, mid, far = (contract(p, FUTURE) for p in ("1", "2", "3"))
    spreads = (
        FileSpread(2, 7.0, (leg("1", 1), leg("3", -1))),
        FileSpread(1, 5.0, (leg("1", 1), leg("2", -1))),
    )
    rule = Commodity("X", "USD", 0.0, spreads=spreads)
    part = margin([(near, 10.0), (mid, -4.0), (far, -6.0)], rule).commodities[0]
    assert part.components["scan"] == 0.0
    assert part.components["inter_month"] == 62.0
    # Sides A and B may be exchanged, deltas of one sign form nothing.
    assert margin([(near, -10.0), (mid, 4.0)], rule).commodities[0].components[
        "inter_month"
    ] == 20.0  # fmt: skip
    assert margin([(near, 1.0), (mid, 4.0)], rule).commodities[0].components["inter_month"] == 0.0


def test_tiers_keep_long_and_short_apart():
    one, two, three = (contract(p, FUTURE) for p in ("202601", "202602", "202607"))
    tiers = (Tier(1, "202601", "202603"), Tier(2, "202604", "202612"))
    spreads = (
        FileSpread(1, 2.0, (leg("", 1, tier=1), leg("", -1, tier=1))),
        FileSpread(2, 9.0, (leg("", 1, tier=1), leg("", -1, tier=2))),
    )
    rule = Commodity("X", "USD", 0.0, tiers=tiers, spreads=spreads)
    part = margin([(one, 5.0), (two, -3.0), (three, -2.0)], rule).commodities[0]
    assert part.components["inter_month"] == 3 * 2.0 + 2 * 9.0


def test_delivery_by_hand():
    near, far = contract("1", FUTURE), contract("2", FUTURE)
    rule = Commodity(
        "X", "USD", 0.0, spreads=(FileSpread(1, 0.0, (leg("1", 1), leg("2", -1))),),
        spot_rates=(SpotRate("1", 3.0, 5.0),),
    )  # fmt: skip
    part = margin([(near, 10.0), (far, -4.0)], rule).commodities[0]
    assert part.components["delivery"] == 4 * 3.0 + 6 * 5.0


def inter_case(rate=0.5):
    a = contract("1", [-x * 100.0 for x in standard_grid().price], commodity="A")
    b = contract("1", [-x * 120.0 for x in standard_grid().price], commodity="B")
    rules = (Commodity("A", "USD", 0.0), Commodity("B", "USD", 0.0))
    credit = FileSpread(1, rate, (leg("", 1, commodity="A"), leg("", -1, commodity="B")))
    return a, b, rules, credit


def test_inter_commodity_credit_by_hand():
    a, b, rules, credit = inter_case()
    # The array is not covered here, so that the extreme scenario is the active one: 2 * range.
    out = margin([(a, 10.0), (b, -4.0)], *rules, inter=(credit,))
    first, second = out.commodities
    assert first.components["scan"] == 2000.0
    assert first.components["inter_commodity"] == pytest.approx(-0.5 * 4 / 10 * 2000.0, rel=1e-12)
    assert second.components["inter_commodity"] == pytest.approx(-0.5 * 960.0, rel=1e-12)
    assert out.total() == {"USD": pytest.approx(2000.0 - 400.0 + 960.0 - 480.0, rel=1e-12)}
    same_side = margin([(a, 10.0), (b, 4.0)], *rules, inter=(credit,))
    assert same_side.total() == {"USD": 2960.0}


def test_credit_has_no_volatility_or_time_risk():
    grid = standard_grid()
    losses = np.full((1, 16), -1000.0)
    losses[0, 0], losses[0, 1] = 10.0, -4.0
    losses[0, 12], losses[0, 13] = 80.0, 100.0
    scan, active = scan_risk(losses)
    assert (scan[0], active[0]) == (100.0, 13)
    assert price_risk(losses, active, grid)[0] == 87.0
    losses[0, 15] = 200.0
    extreme = price_risk(losses, np.array([15]), grid)[0]
    assert extreme == pytest.approx(200.0 - 0.35 * 3.0, rel=1e-12)
    losses[0, 0] = losses[0, 1] = 500.0
    assert price_risk(losses, active, grid)[0] == 0.0


def test_requirement_worked_numbers():
    one = [np.array([x]) for x in (100.0, 10.0, 5.0, 20.0, 30.0, -50.0)]
    assert requirement(*one).total[0] == 145.0
    one[5] = np.array([200.0])
    out = requirement(*one)
    assert out.total[0] == 0.0
    assert sum(v[0] for v in out.components().values()) == 0.0
    one[4] = np.array([500.0])
    out = requirement(*one)
    assert (out.risk[0], out.total[0]) == (500.0, 300.0)
    assert out.components()["short_option_minimum"][0] == 405.0


def test_no_books():
    risk, active = scan_risk(np.zeros((0, 16)))
    assert len(risk) == len(active) == 0
    assert margin_from_parameters(parameters([]), []).commodities == ()


@pytest.mark.parametrize("seed", range(5))
def test_properties(seed):
    rng = np.random.default_rng(seed)
    contracts, rule, held = random_case(rng)
    base = margin(held, rule).commodities[0]
    mixed = [held[i] for i in rng.permutation(len(held))]
    assert margin(mixed, rule).commodities[0].margin == pytest.approx(base.margin, rel=1e-12)
    book = parameters(contracts, rule)
    halves = [ContractPosition(c.key, part * q) for c, q in held for part in (0.25, 0.75)]
    split = margin_from_parameters(book, halves).commodities[0]
    assert split.margin == pytest.approx(base.margin, rel=1e-12)
    thrice = margin([(c, 3.0 * q) for c, q in held], rule).commodities[0]
    for name, value in base.components.items():
        assert thrice.components[name] == pytest.approx(3.0 * value, rel=1e-9, abs=1e-9)
    flat = [ContractPosition(c.key, s * q) for c, q in held for s in (1.0, -1.0)]
    assert margin_from_parameters(book, flat).commodities[0].margin == 0.0


def test_positions_that_cannot_be_placed_are_named():
    future = contract("1", FUTURE)
    other = contract("2", FUTURE)
    out = margin_from_parameters(
        parameters([future]),
        [ContractPosition(other.key, 1.0), ContractPosition(future.key, np.nan),
         ContractPosition(future.key, 1.0)],
    )  # fmt: skip
    assert [f.where for f in out.failures] == ["position 1", "position 2"]
    assert "no such contract" in out.failures[0].message
    assert "nan" in out.failures[1].message
    assert out.commodities[0].margin == 10000.0


def test_example_file():
    out = read_parameter_file(EXAMPLES / "span_parameters.spn")
    assert out.failures == ()
    future, call = (contract.key for contract in out.value.contracts)
    book = {"call": [(call, 1.0)], "write": [(future, 1.0), (call, -1.0)]}
    found = {
        name: margin_from_parameters(out.value, [ContractPosition(*held) for held in positions])
        for name, positions in book.items()
    }
    assert found["call"].total() == {"USD": 3990.0}
    assert found["write"].total() == {"USD": 6620.0}
    assert found["write"].commodities[0].active_scenario == 13
