"""Parts of the model `cds` against closed forms, enumeration and hand-worked numbers."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import quad

from engine.domain.failures import InputError
from engine.margin.credit.config import CdsConfig, RecoveryTerms
from engine.margin.credit.costs import (
    banded,
    bid_offer_charge,
    discounted_value,
    rate_losses,
    spread_value_of_bp,
    worst_direction,
)
from engine.margin.credit.default import default_charge, default_table, name_weights, worst_defaults
from engine.margin.credit.rules import RULEBOOK_FILE, credit_rules
from engine.margin.credit.scenarios import spread_history
from engine.margin.credit.spread import spread_charge
from engine.margin.exposure import take
from engine.pricing.annuities import cds_value, risky_annuity
from engine.pricing.value import value_per_unit
from tests.engine.margin.credit_books import credit_builder, credit_market

RULES = credit_rules(CdsConfig())


@pytest.fixture(scope="module")
def market():
    return credit_market()


@pytest.fixture(scope="module")
def swaps(market):
    book = credit_builder().agreement("A").position("IG-5Y", "A", "M1", 1.0).build(market)
    return take(book.instruments, np.flatnonzero(book.instruments.kind == "cds"))


def test_loss_of_one_name_by_hand(market, swaps):
    # BOLT: spread 2 %, coupon 1 %, five years, one million; recovery 20 % to 60 %.
    value = 1e6 * (2.0 - 1.0) / 100.0 * (1.0 - math.exp(-0.02 * 5 / 0.6)) / (0.02 / 0.6)
    table = default_table(swaps, market, RULES)
    i = list(swaps.instrument_id).index("BOLT-5Y")
    j = list(table.name).index("BOLT")
    assert table.least[i, j] == pytest.approx(value - 800_000.0, rel=1e-12)
    assert table.most[i, j] == pytest.approx(value - 400_000.0, rel=1e-12)
    assert table.least[[i]].nnz == 1


def test_worked_number_of_the_docstring():
    # Protection sold on 10 million that is worth 0.2 million to the buyer.
    least = np.array([[-(0.2 - 0.8 * 10.0)]])
    got = default_charge(least, least, np.zeros(1), 1)
    assert got.jump == pytest.approx(7.8, rel=1e-12)


def test_an_index_loses_one_name_at_a_time(market, swaps):
    table = default_table(swaps, market, RULES)
    i = list(swaps.instrument_id).index("IG-5Y")
    names = [n for n in table.name if n.startswith("IG")]
    assert names == ["IG constituent 1", "IG constituent 2"]
    value = value_per_unit(swaps, market)[i]
    j = list(table.name).index("IG constituent 2")
    assert table.least[i, j] == pytest.approx((value - 0.8e6) / 125.0, rel=1e-12)
    assert table.recovery[j].tolist() == [0.2, 0.6]
    hy = list(table.name).index("HY constituent 1")
    assert table.recovery[hy].tolist() == [0.1, 0.5]


def test_look_through_adds_to_the_name_itself(market, swaps):
    own = CdsConfig(constituents={"IG": {"ACME": 0.01, "BOLT": 0.02}})
    rules = credit_rules(own)
    weights = name_weights("IG", rules)
    assert list(weights) == ["ACME", "BOLT", "IG constituent 1", "IG constituent 2"]
    assert weights["IG constituent 1"] == (pytest.approx(0.97 / 123, rel=1e-12), "IG")
    assert weights["BOLT"] == (0.02, "BOLT")
    table = default_table(swaps, market, rules)
    i = list(swaps.instrument_id).index("IG-5Y")
    j = list(table.name).index("ACME")
    value = value_per_unit(swaps, market)[i]
    assert table.least[i, j] == pytest.approx(0.01 * (value - 0.8e6), rel=1e-12)


def test_an_index_has_no_more_unnamed_constituents_than_are_left():
    rules = credit_rules(CdsConfig(indices={"TINY": 2}, constituents={"TINY": {"ACME": 0.5}}))
    assert name_weights("TINY", rules) == {
        "ACME": (0.5, "ACME"),
        "TINY constituent 1": (0.5, "TINY"),
    }
    none = credit_rules(CdsConfig(defaults=0))
    assert name_weights("IG", none) == {}


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6), st.integers(0, 4))
def test_worst_defaults_equal_enumeration_of_every_set(losses, count):
    loss = np.array(losses)
    best = max(
        sum(subset)
        for size in range(min(count, len(losses)) + 1)
        for subset in itertools.combinations(losses, size)
    )
    assert loss[worst_defaults(loss, count)].sum() == pytest.approx(best, rel=1e-12, abs=1e-12)


def test_two_worst_of_three_names():
    loss = np.array([[7.0, 5.0, 3.0, -9.0]])
    got = default_charge(loss, loss, np.zeros(4), 2)
    assert (got.jump, got.wrong_way) == (12.0, 0.0)
    assert got.names.tolist() == [0, 1]
    assert default_charge(loss, loss, np.zeros(4), 1).jump == 7.0
    assert default_charge(loss, loss, np.zeros(4), 4).jump == 15.0
    assert default_charge(-loss, -loss, np.zeros(4), 2).jump == 9.0


def test_wrong_way_names_are_charged_once():
    loss = np.array([[7.0, 5.0, 3.0, -9.0]])
    full = default_charge(loss, loss, np.array([1.0, 0.0, 0.0, 1.0]), 2)
    assert (full.wrong_way, full.jump) == (7.0, 8.0)
    assert full.names.tolist() == [1, 2]
    assert full.correlated.tolist() == [0]
    half = default_charge(loss, loss, np.array([0.5, 0.0, 0.0, 0.0]), 1)
    assert (half.wrong_way, half.jump) == (3.5, 5.0)
    assert half.names.tolist() == [1]
    most = default_charge(loss, loss, np.array([0.25, 0.0, 0.0, 0.0]), 1)
    assert (most.wrong_way, most.jump) == (1.75, 5.25)


def test_each_name_takes_its_worse_recovery_and_shares_follow():
    least = np.array([[4.0, -1.0], [2.0, 0.0]])
    most = np.array([[1.0, 3.0], [1.0, -1.0]])
    got = default_charge(least, most, np.zeros(2), 2)
    assert got.jump == 8.0
    assert got.names.tolist() == [0, 1]
    assert got.at_most.tolist() == [False, True]
    assert got.jump_shares.tolist() == [7.0, 1.0]
    partly = default_charge(least, most, np.array([0.5, 0.0]), 1)
    assert (partly.wrong_way, partly.wrong_way_shares.tolist()) == (3.0, [2.0, 1.0])
    # Half of the first name is left, 3, against 2 of the second.
    assert (partly.jump, partly.jump_shares.tolist()) == (3.0, [2.0, 1.0])


def test_a_name_that_loses_alike_is_reported_at_its_least_recovery():
    loss = np.array([[2.0]])
    assert default_charge(loss, loss, np.zeros(1), 1).at_most.tolist() == [False]


def test_value_with_discount_equals_the_integral(market, swaps):
    rate = 3.0
    got = discounted_value(swaps, market, np.full(len(swaps), rate))
    for i, factor in enumerate(swaps.factor):
        spread, tenor = market.level[factor] / 100.0, swaps.tenor_years[i]
        hazard = spread / 0.6

        def discount(t: float, h: float = hazard) -> float:
            return math.exp(-(h + rate / 100.0) * t)

        annuity = quad(discount, 0.0, tenor, epsabs=1e-14)[0]
        protection = 0.6 * hazard * annuity
        expected = 1e6 * (protection - swaps.fixed_rate[i] / 100.0 * annuity)
        assert got[i] == pytest.approx(expected, rel=1e-11)


def test_value_without_discount_is_the_engines(market, swaps):
    got = discounted_value(swaps, market, np.zeros(len(swaps)))
    assert got == pytest.approx(value_per_unit(swaps, market), rel=1e-12)


def test_worked_number_of_the_discounted_value(market, swaps):
    book = credit_builder().instrument(
        "X", "cds", "BOLT", multiplier=1.0, fixed_rate=1.0, tenor_years=5.0
    ).agreement("A").position("X", "A", "M1", 1.0).build(market)  # fmt: skip
    x = take(book.instruments, np.flatnonzero(book.instruments.instrument_id == "X"))
    level = credit_market(level={"BOLT": 1.5})
    assert discounted_value(x, level, np.array([3.0]))[0] == pytest.approx(
        0.021857079706821, rel=1e-12
    )


def test_rate_losses_are_the_two_revaluations(market, swaps):
    n = len(swaps)
    loss = rate_losses(swaps, market, np.full(n, 3.0), np.full(n, 0.25))
    base = discounted_value(swaps, market, np.full(n, 3.0))
    assert loss[:, 0] == pytest.approx(base - discounted_value(swaps, market, np.full(n, 3.25)))
    assert loss[:, 1] == pytest.approx(base - discounted_value(swaps, market, np.full(n, 2.75)))
    # Protection with a positive value is worth less at a higher rate; one with a negative, more.
    bolt, hy = (list(swaps.instrument_id).index(f"{name}-5Y") for name in ("BOLT", "HY"))
    assert loss[bolt, 0] > 0.0 > loss[bolt, 1]
    assert loss[hy, 0] < 0.0 < loss[hy, 1]


def test_worst_direction():
    charge, shares = worst_direction(np.array([[3.0, -3.0], [-1.0, 1.0]]))
    assert (charge, shares.tolist()) == (2.0, [3.0, -1.0])
    charge, shares = worst_direction(np.array([[-3.0, 4.0], [1.0, -1.0]]))
    assert (charge, shares.tolist()) == (3.0, [4.0, -1.0])
    charge, shares = worst_direction(np.array([[-3.0, -0.5], [1.0, 0.5]]))
    assert (charge, shares.tolist()) == (0.0, [0.0, 0.0])


def test_value_of_a_basis_point(market):
    level = credit_market(level={"ACME": 1.0})
    book = credit_builder().agreement("A").position("ACME-5Y", "A", "M1", 1.0).build(level)
    par = take(book.instruments, np.flatnonzero(book.instruments.instrument_id == "ACME-5Y"))
    got = spread_value_of_bp(par, level)[0]
    assert got == pytest.approx(479.7335122241, rel=1e-12)
    up = 1e6 * (float(cds_value(1.0001, 1.0, 5.0)) - float(cds_value(0.9999, 1.0, 5.0))) / 0.02
    assert got == pytest.approx(up / 1.0, rel=1e-6)


def test_bid_offer_by_hand():
    bands = ((25e6, 2.0), (100e6, 4.0), (math.inf, 8.0))
    per_notional = float(risky_annuity(0.01, 5.0)) * 1e-4
    cost, shares = bid_offer_charge(np.array([60e6, 40e6]) * per_notional, 1.0, bands)
    assert cost == pytest.approx(per_notional * (25e6 * 2.0 + 75e6 * 4.0), rel=1e-12)
    assert cost == pytest.approx(167_906.729, abs=0.001)
    assert shares == pytest.approx([0.6 * cost, 0.4 * cost], rel=1e-12)
    sold, parts = bid_offer_charge(np.array([-160e6, 60e6]) * per_notional, 1.0, bands)
    assert sold == pytest.approx(cost, rel=1e-12)
    assert parts == pytest.approx([1.6 * cost, -0.6 * cost], rel=1e-12)
    assert bid_offer_charge(np.array([5.0, -5.0]), 1.0, bands)[0] == 0.0


def test_bands_at_their_bounds():
    bands = ((25.0, 2.0), (100.0, 4.0), (math.inf, 8.0))
    got = [banded(x, bands) for x in (0.0, 10.0, 25.0, 26.0, 100.0, 101.0)]
    assert got == [0.0, 20.0, 50.0, 54.0, 350.0, 358.0]
    assert banded(100.0, ((25.0, 2.0), (math.inf, 4.0))) == 350.0


def test_index_and_names_by_hand():
    index, names = np.array([[10.0, -8.0, 0.0, 0.0]]), np.array([[-9.0, 8.0, 0.0, 0.0]])
    nothing = np.zeros((1, 4))
    got = spread_charge(index, names, nothing, 0.75, False, 0.75)
    assert (got.response, got.basis) == (1.0, 4.25)
    assert got.basis_shares.tolist() == [4.25]
    assert spread_charge(index, names, nothing, 0.75, False, 1.0).basis == 0.0
    assert spread_charge(index, names, nothing, 0.75, False, 0.0).basis == 17.0
    # Other positions share the response, never the basis.
    other = np.array([[5.0, 0.0, 0.0, 0.0]])
    with_other = spread_charge(index, names, other, 0.75, False, 0.75)
    assert (with_other.response, with_other.basis) == (6.0, 4.25)


def test_basis_shares_sum_and_a_book_of_one_kind_has_none():
    rng = np.random.Generator(np.random.Philox(key=8))
    index, names = rng.normal(size=(3, 400)), rng.normal(size=(3, 400))
    other = rng.normal(size=(3, 400))
    for shortfall in (True, False):
        got = spread_charge(index, names, other, 0.99, shortfall, 0.6)
        assert got.basis > 0.0
        assert got.basis_shares.sum() == pytest.approx(got.basis, rel=1e-9)
        assert got.response_shares.sum() == pytest.approx(got.response, rel=1e-9)
    nothing = np.zeros_like(index)
    assert spread_charge(index, nothing, other, 0.99, True, 0.6).basis == 0.0
    assert spread_charge(nothing, names, other, 0.99, True, 0.6).basis == 0.0
    # The same losses twice offset nothing.
    assert spread_charge(index, index, nothing, 0.99, False, 0.6).basis == pytest.approx(
        0.0, abs=1e-9
    )


def test_value_at_risk_that_adds_up_to_less_has_no_basis():
    # Alone each loses nothing in its second worst scenario; together they lose twice.
    index, names = np.array([[9.0, 0.0, 0.0, 0.0]]), np.array([[0.0, 9.0, 0.0, 0.0]])
    got = spread_charge(index, names, np.zeros((1, 4)), 0.5, False, 0.75)
    assert (got.response, got.basis, got.basis_shares.tolist()) == (9.0, 0.0, [0.0])


def test_log_changes_are_rebuilt_from_differences(market):
    history = spread_history(market, "log")
    k = market.index()["ACME"]
    levels = market.level[k] - np.append(np.cumsum(market.returns[::-1, k])[::-1], 0.0)
    assert history.returns[:, k] == pytest.approx(np.diff(np.log(levels)), rel=1e-9, abs=1e-12)
    assert history.logged.sum() == 5
    assert history.floor[k] == market.factors.daily_vol_floor[k] / market.level[k]
    rate = market.index()["UST5"]
    assert not history.logged[rate]
    assert np.array_equal(history.returns[:, rate], market.returns[:, rate])
    assert not spread_history(market, "factor").logged.any()


def test_worked_log_change():
    moves = np.zeros(1300)
    moves[-1] = 0.2
    market = credit_market(ACME=moves)
    got = spread_history(market, "log").returns[-2:, market.index()["ACME"]]
    assert got == pytest.approx([0.0, 0.22314355131421], rel=1e-12)


def test_a_late_spread_keeps_its_unknown_days():
    moves = np.full(1300, 0.001)
    moves[:700] = np.nan
    market = credit_market(ACME=moves)
    history = spread_history(market, "log")
    got = history.returns[:, market.index()["ACME"]]
    assert np.isnan(got[:700]).all()
    assert np.isfinite(got[700:]).all()


def test_a_spread_that_was_not_positive_keeps_its_differences():
    moves = np.zeros(1300)
    moves[600] = 1.0
    for name, positive in (("ACME", False), ("BOLT", True)):
        market = credit_market(**{name: moves})
        history = spread_history(market, "log")
        assert history.logged[market.index()[name]] == positive
        assert len(history.not_positive) == (0 if positive else 1)


def test_the_day_before_the_first_must_be_positive_too():
    moves = np.zeros(1300)
    moves[0] = 1.0
    market = credit_market(ACME=moves)
    assert not spread_history(market, "log").logged[market.index()["ACME"]]


def test_rulebook_numbers_are_marked():
    table = json.loads(RULEBOOK_FILE.read_text())
    assert RULES.marks["draws"] == "verified" and RULES.draws == 20000
    assert RULES.marks["recoveries"] == "indicative"
    assert RULES.index_names == {"IG": 125, "HY": 100, "ITRX": 125, "ITRXX": 75}
    for terms in table["classes"]["value"].values():
        assert 0.0 <= terms["recovery_least"] < terms["recovery_most"] <= 1.0
        halves = [half for _, half in terms["half_spread_bp"]]
        assert halves == sorted(halves)
        assert terms["half_spread_bp"][-1][0] is None


def test_choices_replace_the_rulebook_and_are_marked_as_such():
    own = CdsConfig(
        defaults=1, draws=5000, index_offset=0.5, degrees_of_freedom=3.0,
        recoveries={"senior": RecoveryTerms(least=0.3, most=0.3)}, rate_factors={"USD": "X"},
    )  # fmt: skip
    rules = credit_rules(own)
    assert (rules.defaults, rules.draws, rules.index_offset) == (1, 5000, 0.5)
    assert rules.degrees_of_freedom == 3.0
    assert rules.name_class("ACME").recovery_least == 0.3
    assert rules.rate_factors["USD"] == "X" and rules.rate_factors["EUR"] == "EUR10"
    for name in ("defaults", "draws", "index_offset", "degrees_of_freedom", "recoveries"):
        assert rules.marks[name] == "user"


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"name_class": {"ACME": "junk"}}, "'junk'"),
        ({"indices": {"TINY": 0}}, "give at least 1"),
        ({"constituents": {"ACME": {"BOLT": 0.1}}}, "not an index"),
        ({"constituents": {"IG": {"ACME": 0.6, "BOLT": 0.5}}}, "weigh 1.1"),
        ({"constituents": {"IG": {"ACME": -0.1}}}, "at least 0"),
        ({"indices": {"T": 1}, "constituents": {"T": {"A": 0.1, "B": 0.1}}}, "1 names but 2"),
    ],
)
def test_contradictory_choices_are_refused(choices, words):
    with pytest.raises(InputError, match=words):
        credit_rules(CdsConfig(**choices))


def test_weights_may_miss_a_whole_by_rounding():
    credit_rules(CdsConfig(constituents={"IG": {"ACME": 0.6, "BOLT": 0.4 + 1e-12}}))


def test_recoveries_must_be_ordered():
    with pytest.raises(ValidationError, match="above the most"):
        RecoveryTerms(least=0.5, most=0.4)


def test_an_unmarked_rulebook_is_refused(tmp_path):
    table = json.loads(RULEBOOK_FILE.read_text())
    table["defaults"]["mark"] = "guess"
    path = tmp_path / "credit.json"
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match="defaults needs a value"):
        credit_rules(CdsConfig(), path)
