from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from itertools import permutations

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.domain.money import to_cents
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.explain.explain import explain_change, explain_margin
from engine.margin.explain.margin_inputs import MarginInputs
from engine.pricing.sensitivities import crif_from_positions
from tests.support.tiny_fund import SIMM, FundBuilder, text, tiny_market

CONFIG = MarginConfig()


def holdings(builder, scale=1.0):
    for name in ("A", "B", "S"):
        builder.position("FUT", name, "M1", 10.0 * scale).position("EQ", name, "M2", -9000.0)
        builder.position("SWAP", name, "M2", 2e6)
    return builder


@pytest.fixture
def thin():
    """Two markets a day apart, in which stock and index are thin enough for add-ons."""
    adv = np.array([1e6, 1e5, 1e12, 1e12, 1e12, 1e12])
    before = tiny_market(adv=adv)
    returns = before.returns.copy()
    returns[-1] *= 4.0
    after = replace(
        before, as_of=date(2022, 12, 29), returns=returns, level=before.level * 1.02,
        dates=np.append(before.dates[1:], np.datetime64("2022-12-29")),
    )  # fmt: skip
    return before, after


def book_of(builder, market, as_of=None):
    book = builder.build(market)
    return book if as_of is None else replace(book, as_of=as_of)


@pytest.fixture
def two(builder, thin):
    builder.agreement("A", broker_multiplier=1.2).agreement("B", model="fhs_es", confidence=0.975)
    builder.agreement("S", **SIMM, im_threshold=2e4)
    first = book_of(holdings(builder), thin[0])
    builder.positions = []
    second = book_of(holdings(builder, 1.5), thin[1], date(2022, 12, 29))
    lam = second.agreements.ewma_lambda.copy()
    lam[0] = 0.99
    second = replace(second, agreements=replace(second.agreements, ewma_lambda=lam))
    return MarginInputs(first, thin[0], CONFIG), MarginInputs(second, thin[1], CONFIG)


def required_cents(result):
    parts = [result.im_usd, *result.add_ons.values()]
    return np.sum([to_cents(part) for part in parts], axis=0)


@pytest.mark.parametrize("method", ["sequential", "symmetric"])
def test_contributions_sum_to_the_cent(two, method):
    found = explain_change(*two, method)
    before, after = (side.margin() for side in two)
    assert found.before_cents.tolist() == required_cents(before).tolist()
    assert found.after_cents.tolist() == required_cents(after).tolist()
    parts = np.sum(list(found.contributions.values()), axis=0)
    assert parts.tolist() == found.change_cents().tolist()
    assert sum(found.totals_cents().values()) == int(found.change_cents().sum())
    for name in ("positions", "market", "rules", "add_ons"):
        assert found.totals_cents()[name] != 0, name
    assert found.totals_cents()["not_separated"] == 0
    assert found.failures == ()
    rules = dict(zip(found.agreement_id, found.contributions["rules"], strict=True))
    assert rules["A"] != 0
    assert rules["B"] == rules["S"] == 0


def test_steps_are_margins_of_the_states_between(two):
    before, after = two
    found = explain_change(*two)
    moved = replace(before.book, positions=after.book.positions)
    first = calculate_margin_requirements(moved, before.market, CONFIG)
    moved = replace(moved, as_of=after.book.as_of)
    second = calculate_margin_requirements(moved, after.market, CONFIG)
    path = [before.margin(), first, second, after.margin()]
    cents = [to_cents(result.im_usd) for result in path]
    for i, name in enumerate(("positions", "market", "rules")):
        assert found.contributions[name].tolist() == (cents[i + 1] - cents[i]).tolist(), name


def test_add_ons_have_steps_of_their_own(two):
    found = explain_change(*two)
    total = sum(steps.sum() for kind in found.add_on_steps.values() for steps in kind.values())
    assert total == found.totals_cents()["add_ons"]
    assert set(found.add_on_steps) >= {"broker", "concentration"}
    assert found.add_on_steps["concentration"]["positions"].sum() > 0


def test_symmetric_is_the_mean_over_all_orders(two):
    before, after = two
    found = explain_change(before, after, "symmetric")

    def im(state):
        held, market, rules = (after if side else before for side in state)
        book = replace(held.book, agreements=rules.book.agreements, as_of=market.book.as_of)
        return calculate_margin_requirements(book, market.market, CONFIG).im_usd

    parts = np.zeros((3, 3))
    for order in permutations(range(3)):
        state = [False] * 3
        for factor in order:
            old = im(state)
            state[factor] = True
            parts[factor] += (im(state) - old) / 6.0
    for factor, name in enumerate(("positions", "market", "rules")):
        assert found.contributions[name] / 100 == pytest.approx(parts[factor], abs=0.02)


def test_simm_version_is_a_rule_and_not_the_market(two):
    before, after = two
    late = replace(after, book=replace(before.book, as_of=date(2023, 7, 14)), market=before.market)
    late = replace(late, market=replace(late.market, as_of=date(2022, 12, 28)))
    found = explain_change(before, late)
    at = list(found.agreement_id).index("S")
    assert found.contributions["market"][at] == 0
    pinned = CONFIG.model_copy(update={"simm_version": "2.5A"})
    direct = calculate_margin_requirements(before.book, before.market, pinned).im_usd[2]
    assert found.after_cents[at] == to_cents(direct)
    assert found.contributions["rules"][at] == found.change_cents()[at]


def test_new_and_closed_agreements_are_items_of_their_own(two):
    before, after = two
    columns = {n: c.copy() for n, c in vars(after.book.agreements).items()}
    columns["agreement_id"] = text(["A", "NEW", "S"])
    agreements = replace(after.book.agreements, **columns)
    after = replace(after, book=replace(after.book, agreements=agreements))
    found = explain_change(before, after)
    assert list(found.agreement_id) == ["A", "B", "S", "NEW"]
    assert found.contributions["closed_agreements"].tolist() == [0, -found.before_cents[1], 0, 0]
    assert found.contributions["new_agreements"].tolist() == [0, 0, 0, found.after_cents[3]]
    assert found.contributions["positions"][1] == found.contributions["positions"][3] == 0
    parts = np.sum(list(found.contributions.values()), axis=0)
    assert parts.tolist() == found.change_cents().tolist()


def test_factors_are_matched_by_id_and_not_by_column(two):
    before, after = two
    order = np.array([3, 0, 5, 1, 4, 2])
    factors = replace(
        after.market.factors, **{n: c[order] for n, c in vars(after.market.factors).items()}
    )
    market = replace(
        after.market, factors=factors, level=after.market.level[order],
        returns=after.market.returns[:, order],
    )  # fmt: skip
    back = np.argsort(order)
    held = after.book.instruments
    linked = replace(
        held, factor=back[held.factor],
        vol_factor=np.where(held.vol_factor >= 0, back[held.vol_factor], -1),
    )  # fmt: skip
    shuffled = MarginInputs(replace(after.book, instruments=linked), market, CONFIG)
    one, two_ = explain_change(before, after), explain_change(before, shuffled)
    for name, cents in one.contributions.items():
        assert np.abs(cents - two_.contributions[name]).max() <= 1, name


def test_an_agreement_without_a_margin_between_is_not_separated(two):
    before, after = two
    market = before.market
    keep = np.arange(5)
    factors = replace(market.factors, **{n: c[1:] for n, c in vars(market.factors).items()})
    short = replace(
        market, factors=factors, level=market.level[keep + 1], returns=market.returns[:, 1:]
    )
    # Before, the index was no factor and nobody held it; after, the first agreement holds only it.
    held = before.book.positions
    rows = np.flatnonzero((held.agreement != 0) & (held.instrument != 0))
    rows = np.append(rows, np.flatnonzero((held.agreement == 0) & (held.instrument == 1)))
    small = replace(held, **{n: c[rows] for n, c in vars(held).items()})
    first = MarginInputs(
        replace(before.book, positions=small, instruments=_linked_to(before.book, short)),
        short, CONFIG,
    )  # fmt: skip
    only = np.flatnonzero((after.book.positions.agreement != 0)
                          | (after.book.positions.instrument == 0))  # fmt: skip
    positions = replace(
        after.book.positions, **{n: c[only] for n, c in vars(after.book.positions).items()}
    )
    found = explain_change(first, replace(after, book=replace(after.book, positions=positions)))
    at = list(found.agreement_id).index("A")
    assert found.contributions["not_separated"][at] == found.change_cents()[at] != 0
    assert [f.item for f in found.failures if "not separated" in f.message] == ["A"]


def _linked_to(book, market):
    index = market.index()
    old = book.instruments
    column = {
        n: np.array([index.get(name, -1) for name in getattr(old, f"{n}_id")])
        for n in ("factor", "vol_factor")
    }
    return replace(old, **column)


def test_own_sensitivities_change_with_the_positions(two):
    before, after = two
    crif = crif_from_positions(before.book, before.market)
    double = replace(crif, amount_usd=crif.amount_usd * 2.0)
    found = explain_change(replace(before, crif=crif), replace(before, crif=double))
    at = list(found.agreement_id).index("S")
    assert found.contributions["positions"][at] == found.change_cents()[at] > 0


def test_nothing_changes_between_equal_inputs(two):
    found = explain_change(two[0], two[0])
    assert not any(found.totals_cents().values())
    assert found.before_cents.sum() > 0


def test_an_unknown_method_is_refused(two):
    with pytest.raises(InputError, match="'magic'.*sequential, symmetric"):
        explain_change(*two, "magic")


def test_parts_of_a_margin_sum_to_it(two):
    result = two[0].margin()
    found = explain_margin(result)
    for i, row in enumerate(found["agreements"]):
        if row["components"]:
            assert sum(row["components"].values()) == pytest.approx(row["im"], abs=1e-6)
        add_ons = sum(row["add_ons"].values())
        assert row["im"] + add_ons == pytest.approx(row["required"], abs=1e-6)
        assert round(row["required"] * 100) == required_cents(result)[i]
    totals = found["totals"]
    assert totals["required"] == pytest.approx(required_cents(result).sum() / 100)
    add_ons = sum(value for name, value in totals.items() if name.startswith("add_on:"))
    assert totals["im"] + add_ons == pytest.approx(totals["required"], abs=1e-6)
    assert list(totals)[-2:] == ["required", "vm"]


def test_components_and_parts_of_a_model_close_in_cents(two):
    result = two[0].margin()
    im = result.im_usd
    third = im / 3.0
    named = replace(
        result,
        components={"calculated": im + 20_000.0, "threshold": np.full(3, -20_000.0)},
        model_parts={"scan": third, "spread": np.array([5.0, 0.0, 0.0])},
    )
    rows = explain_margin(named)["agreements"]
    for row, amount in zip(rows, im, strict=True):
        assert row["components"]["threshold"] == pytest.approx(-20_000.0, abs=0.011)
        assert sum(row["components"].values()) == pytest.approx(row["im"], abs=1e-6)
        assert sum(row["model_parts"].values()) == pytest.approx(row["components"]["calculated"])
        assert row["model_parts"]["other"] == pytest.approx(
            amount * 2 / 3 + 20_000.0 - row["model_parts"].get("spread", 0.0), abs=0.03
        )
    assert "spread" not in rows[1]["model_parts"]
    split = replace(named, model_parts={"up": im / 3.0, "down": im * 2 / 3.0 + 20_000.0})
    assert "other" not in explain_margin(split)["agreements"][0]["model_parts"]
    plain = explain_margin(replace(result, components={}, model_parts={}))["agreements"][0]
    assert plain["components"] == plain["model_parts"] == {}


def test_result_is_plain_json_and_a_table(two):
    found = explain_change(*two)
    json.dumps(found.to_dict(), allow_nan=False)
    frame = found.tables()["margin_change_by_agreement"]
    assert list(frame["agreement_id"]) == ["A", "B", "S"]
    assert found.summary(1)["largest"][0]["agreement_id"] in frame["agreement_id"].tolist()


def test_a_fund_without_agreements_has_nothing_to_explain(market):
    empty = MarginInputs(FundBuilder().instrument("FUT", "future", "IDX").build(market), market,
                         CONFIG)  # fmt: skip
    for method in ("sequential", "symmetric"):
        assert len(explain_change(empty, empty, method).agreement_id) == 0
