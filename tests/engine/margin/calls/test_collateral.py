from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.book import Collateral
from engine.domain.failures import InputError
from engine.margin.calls.collateral import (
    Asset,
    CollateralTerms,
    after_pledging,
    is_eligible,
    securities_of,
    select_collateral,
    terms_of,
    total_haircut,
)
from engine.margin.calls.haircuts import (
    currency_mismatch_haircut,
    load_haircuts,
    supervisory_haircut,
    value_after_haircut,
)
from engine.margin.calls.margin_call import MarginCall
from tests.support.tiny_fund import FundBuilder, text, tiny_market

FX = {"USD": 1.0, "EUR": 1.25, "JPY": 0.0075}
TERMS = CollateralTerms("USD", ("government bond", "main-index equity"), Fraction(8, 100))
# class, years -> haircut in per cent
HAIRCUTS = [
    ("sovereign bond AA- or better", 0.0, "0.5"),
    ("sovereign bond AA- or better", 1.0, "0.5"),
    ("sovereign bond AA- or better", 1.01, "2"),
    ("sovereign bond AA- or better", 5.0, "2"),
    ("sovereign bond AA- or better", 5.01, "4"),
    ("other bond AA- or better", 1.0, "1"),
    ("other bond AA- or better", 5.0, "4"),
    ("other bond AA- or better", 30.0, "8"),
    ("sovereign bond A+ to BBB-", 1.0, "1"),
    ("sovereign bond A+ to BBB-", 2.0, "3"),
    ("sovereign bond A+ to BBB-", 10.0, "6"),
    ("other bond A+ to BBB-", 0.5, "2"),
    ("other bond A+ to BBB-", 5.0, "6"),
    ("other bond A+ to BBB-", 6.0, "12"),
    ("sovereign bond BB", 12.0, "15"),
    ("main-index equity", math.inf, "15"),
    ("gold", math.inf, "15"),
    ("other equity", math.inf, "25"),
    ("cash", math.inf, "0"),
]


def call_of(cents: int, currency: str = "USD") -> MarginCall:
    moment = datetime(2022, 12, 28, 18, tzinfo=UTC)
    return MarginCall(
        call_id="C", agreement_id="A", legal_entity="Fund", counterparty="Dealer",
        as_of=date(2022, 12, 28), kind="im", direction="pay", movement="delivery",
        currency=currency, amount_cents=cents, amount_usd=0.0, issued_at=moment, deadline=moment,
        settles_on=date(2022, 12, 29), cut_off=moment, regulatory=True, mark="user", why="",
    )  # fmt: skip


def asset(name: str, cents: int, **changes) -> Asset:
    base = Asset(name, "Fund", "government bond to 1y", "USD", cents, Fraction("0.005"), 1.0, 1)
    return replace(base, **changes)


@pytest.mark.parametrize("row", HAIRCUTS)
def test_supervisory_table(row):
    asset_class, years, per_cent = row
    found = supervisory_haircut(asset_class, years)
    assert found.rate == Fraction(per_cent) / 100
    assert found.mark == "verified"


def test_table_has_no_gap_and_unknown_classes_are_refused():
    assert len(load_haircuts()) == 18
    with pytest.raises(InputError, match="no haircut for asset class 'art'"):
        supervisory_haircut("art")
    with pytest.raises(InputError, match="with -1 years"):
        supervisory_haircut("sovereign bond BB", -1.0)


def test_currency_mismatch_is_eight_per_cent_and_additive():
    assert currency_mismatch_haircut() == Fraction(8, 100)
    bond = asset("B", 100_00, haircut=Fraction("0.02"))
    assert total_haircut(bond, TERMS) == Fraction("0.02")
    # 2 + 8 = 10 per cent; compounding would give 9.84.
    assert total_haircut(replace(bond, currency="EUR"), TERMS) == Fraction("0.10")
    cash = replace(bond, asset_class="cash", haircut=Fraction(0), currency="EUR")
    assert total_haircut(cash, TERMS) == Fraction("0.08")
    assert total_haircut(replace(bond, haircut=Fraction("0.95"), currency="EUR"), TERMS) == 1


def test_value_after_haircut_rounds_down():
    assert value_after_haircut(10_000_00, Fraction("0.10")) == 9_000_00
    assert value_after_haircut(101, Fraction("0.02")) == 98  # 98.98 cents
    assert value_after_haircut(100, Fraction("0.10"), Fraction("1.25")) == 112


@pytest.mark.parametrize(
    ("asset_class", "eligible"),
    [
        ("government bond to 1y", True),
        ("Government_Bond", True),
        ("main-index equity", True),
        ("cash", True),
        ("government bonds", False),
        ("corporate bond", False),
    ],
)
def test_eligibility(asset_class, eligible):
    assert is_eligible(asset("X", 1, asset_class=asset_class), TERMS) is eligible


def test_worked_example_cheapest_first():
    bills = asset("BILL", 60_00)
    cash = asset("CASH", 500_00, asset_class="cash", haircut=Fraction(0), cost_bp=10.0)
    found = select_collateral(call_of(100_00), [cash, bills], TERMS, FX)
    assert [(p.asset_id, p.market_value_cents, p.value_cents) for p in found.pledges] == [
        ("BILL", 60_00, 59_70), ("CASH", 40_30, 40_30),
    ]  # fmt: skip
    assert (found.value_cents, found.excess_cents, found.shortfall_cents) == (100_00, 0, 0)
    assert found.pledges[1].cost_usd_a_year == pytest.approx(40.30 * 10e-4, rel=1e-12)


def test_order_is_by_cost_per_value_then_haircut_then_id():
    # 9 bp on equity with 15 per cent is 10.59 bp of value: dearer than cash at 10.
    equity = asset("EQ", 100_00, asset_class="main-index equity", haircut=Fraction("0.15"),
                   cost_bp=9.0)  # fmt: skip
    cash = asset("CASH", 100_00, asset_class="cash", haircut=Fraction(0), cost_bp=10.0)
    found = select_collateral(call_of(1_00), [equity, cash], TERMS, FX)
    assert [p.asset_id for p in found.pledges] == ["CASH"]
    tie = select_collateral(call_of(1_00), [asset("B2", 9_00), asset("B1", 9_00)], TERMS, FX)
    assert [p.asset_id for p in tie.pledges] == ["B1"]


def test_foreign_currency_is_converted_after_haircut():
    bund = asset("BUND", 1_000_00, currency="EUR", haircut=Fraction("0.02"))
    found = select_collateral(call_of(900_00), [bund], TERMS, FX)
    # 900 / (0.9 * 1.25) = 800 euro.
    assert found.pledges[0].market_value_cents == 800_00
    assert found.pledges[0].haircut == Fraction("0.10")
    assert (found.value_cents, found.excess_cents) == (900_00, 0)
    assert found.pledges[0].cost_usd_a_year == pytest.approx(800 * 1.25 * 1e-4, rel=1e-12)


def test_lots_overshoot_by_less_than_one_lot():
    bills = asset("BILL", 5_500_00, lot_cents=1_000_00)
    found = select_collateral(call_of(1_500_00), [bills], TERMS, FX)
    assert found.pledges[0].market_value_cents == 2_000_00
    assert found.excess_cents == 1_990_00 - 1_500_00
    whole = select_collateral(call_of(9_000_00), [bills], TERMS, FX)
    assert whole.pledges[0].market_value_cents == 5_000_00  # the half lot cannot be delivered
    assert whole.shortfall_cents == 9_000_00 - 4_975_00


def test_what_cannot_be_used_is_named():
    corporate = asset("CORP", 100_00, asset_class="corporate bond")
    other = asset("OTHER", 100_00, legal_entity="Fund 2")
    found = select_collateral(call_of(50_00), [corporate, other], TERMS, FX)
    assert found.pledges == ()
    assert found.not_eligible == ("CORP",)
    assert found.shortfall_cents == 50_00


def test_refusals():
    received = replace(call_of(1), direction="receive")
    with pytest.raises(InputError, match="is received"):
        select_collateral(received, [], TERMS, FX)
    with pytest.raises(InputError, match="'B' is listed twice"):
        select_collateral(call_of(1), [asset("B", 1), asset("B", 2)], TERMS, FX)
    with pytest.raises(InputError, match="no USD rate for CHF"):
        select_collateral(call_of(1), [asset("B", 100, currency="CHF")], TERMS, FX)
    for bad in (
        asset("B", -1), asset("B", 1, haircut=Fraction(1)), asset("B", 1, lot_cents=0),
        asset("B", 1, cost_bp=math.nan),
    ):  # fmt: skip
        with pytest.raises(InputError, match="asset 'B'"):
            select_collateral(call_of(1), [bad], TERMS, FX)


def test_assets_and_terms_of_a_book():
    market = tiny_market(n_days=10)
    builder = FundBuilder().agreement("A", currency="EUR", eligible_collateral=("government_bond",))
    builder.instrument("F", "future", "IDX").position("F", "A", "M1", 1.0)
    book = replace(
        builder.build(market),
        collateral=Collateral(
            text(["UST", "EQ"]), text(["Fund"] * 2), text(["government bond", "equity"]),
            text(["USD"] * 2), np.array([1234.56, 10.0]), np.array([0.005, 0.15]),
            np.array([1, 1]),
        ),
    )  # fmt: skip
    bond, equity = securities_of(book, {"government bond": 2.0, "equity": 5.0})
    assert (bond.market_value_cents, bond.haircut, bond.cost_bp) == (123456, Fraction("0.005"), 2)
    terms = terms_of(book, 0)
    assert terms == CollateralTerms("EUR", ("government_bond",), Fraction(8, 100))
    assert is_eligible(bond, terms)
    assert not is_eligible(equity, terms)
    assert total_haircut(bond, terms) == Fraction("0.085")
    with pytest.raises(InputError, match="no cost_bp for asset class 'equity'"):
        securities_of(book, {"government bond": 2.0})


assets = st.lists(
    st.builds(
        asset,
        st.just(""),
        st.integers(0, 10**9),
        currency=st.sampled_from(sorted(FX)),
        haircut=st.sampled_from([Fraction(0), Fraction("0.005"), Fraction("0.15")]),
        cost_bp=st.floats(0.0, 50.0),
        lot_cents=st.sampled_from([1, 100, 100_000]),
        asset_class=st.sampled_from(["cash", "government bond", "corporate bond"]),
    ),
    max_size=8,
).map(lambda given: [replace(each, asset_id=f"X{i}") for i, each in enumerate(given)])


@given(assets, st.integers(1, 10**9))
def test_exact_to_the_cent_and_nothing_twice(inventory, amount):
    found = select_collateral(call_of(amount), inventory, TERMS, FX)
    by_id = {each.asset_id: each for each in inventory}
    assert found.value_cents == sum(p.value_cents for p in found.pledges)
    assert found.value_cents + found.shortfall_cents - found.excess_cents == amount
    assert found.shortfall_cents == 0 or found.excess_cents == 0
    assert len({p.asset_id for p in found.pledges}) == len(found.pledges)
    for pledge in found.pledges:
        used = by_id[pledge.asset_id]
        assert 0 < pledge.market_value_cents <= used.market_value_cents
        assert pledge.market_value_cents % used.lot_cents == 0
    if found.shortfall_cents:
        # Everything eligible was used, down to its last lot.
        left = after_pledging(inventory, found)
        for each in left:
            worthless = select_collateral(call_of(1), [each], TERMS, FX).pledges == ()
            assert worthless or not is_eligible(each, TERMS)


@given(assets, st.integers(1, 10**8), st.integers(1, 10**8))
def test_two_calls_never_use_the_same_cent(inventory, first, second):
    one = select_collateral(call_of(first), inventory, TERMS, FX)
    two = select_collateral(call_of(second), after_pledging(inventory, one), TERMS, FX)
    used: dict[str, int] = {}
    for pledge in (*one.pledges, *two.pledges):
        used[pledge.asset_id] = used.get(pledge.asset_id, 0) + pledge.market_value_cents
    assert all(used.get(a.asset_id, 0) <= a.market_value_cents for a in inventory)


@given(assets, st.integers(1, 10**8))
def test_the_last_lot_is_needed(inventory, amount):
    found = select_collateral(call_of(amount), inventory, TERMS, FX)
    if found.shortfall_cents == 0:
        last = found.pledges[-1]
        lot = next(a for a in inventory if a.asset_id == last.asset_id)
        fewer = last.market_value_cents - lot.lot_cents
        fx = Fraction(1)
        if lot.currency != "USD":
            fx = Fraction(FX[lot.currency])
        less = value_after_haircut(fewer, last.haircut, fx)
        assert found.value_cents - last.value_cents + less < amount
