from __future__ import annotations

import json
import math

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.explain.margin_inputs import MarginInputs
from engine.margin.explain.trades import Trade, apply_trades, read_trades
from engine.margin.explain.what_if import MOST_MARGINAL, what_if
from engine.pricing.sensitivities import crif_from_positions
from tests.support.tiny_fund import SIMM, tiny_market

CONFIG = MarginConfig()


@pytest.fixture
def inputs(builder, market):
    builder.agreement("A", broker_multiplier=1.2).agreement("B").agreement("S", **SIMM)
    builder.agreement("T", **SIMM)
    for name in ("A", "B", "S"):
        builder.position("FUT", name, "M1", 10.0).position("EQ", name, "M2", -9000.0)
    return MarginInputs(builder.build(market), market, CONFIG)


def add(**fields):
    given = {"instrument_id": "FUT", "agreement_id": "B", "manager_id": "M1", "strategy_id": "S"}
    return Trade("add", **{**given, "quantity": 5.0, **fields})


def same(one, other):
    assert one.im_usd.tolist() == other.im_usd.tolist()
    assert one.vm_usd.tolist() == other.vm_usd.tolist()
    assert one.add_ons_usd().tolist() == other.add_ons_usd().tolist()
    assert one.by_manager == other.by_manager


@pytest.mark.parametrize(
    "trades",
    [
        [Trade("move", "P0", to_agreement="B"), Trade("move", "P0", to_agreement="A")],
        [add(position_id="N"), Trade("remove", "N")],
        [Trade("scale", "P0", factor=2.0), Trade("scale", "P0", factor=0.5)],
        [Trade("scale", "P0", factor=-1.0), Trade("scale", "P0", factor=-1.0)],
        [],
    ],
)
def test_a_round_trip_gives_the_identical_margin(inputs, trades):
    book = apply_trades(inputs.book, trades)
    for name, column in vars(inputs.book.positions).items():
        assert getattr(book.positions, name).tolist() == column.tolist(), name
    after = calculate_margin_requirements(book, inputs.market, CONFIG)
    same(inputs.margin(), after)
    found = what_if(inputs, trades)
    assert found.totals()["required_usd"]["change"] == 0.0
    assert found.to_dict()["agreements"] == []


def test_a_partial_move_and_back_gives_the_margin_again(inputs):
    trades = [
        Trade("move", "P0", to_agreement="B", quantity=4.0),
        Trade("move", "P0>B", to_agreement="A"),
    ]
    after = calculate_margin_requirements(apply_trades(inputs.book, trades), inputs.market, CONFIG)
    assert after.im_usd == pytest.approx(inputs.margin().im_usd, rel=1e-12)


def test_before_and_after_are_the_margins_of_the_two_books(inputs):
    trades = [Trade("move", "P0", to_agreement="B"), Trade("remove", "P3", quantity=-4000.0)]
    found = what_if(inputs, trades)
    book = apply_trades(inputs.book, trades)
    after = calculate_margin_requirements(book, inputs.market, CONFIG)
    before = inputs.margin()
    assert found.components["im_usd"][0].tolist() == before.im_usd.tolist()
    assert found.components["im_usd"][1].tolist() == after.im_usd.tolist()
    assert found.components["vm_usd"][1].tolist() == after.vm_usd.tolist()
    assert found.components["add_on_broker_usd"][1].tolist() == after.add_ons["broker"].tolist()
    change = (after.im_usd + after.add_ons_usd()) - (before.im_usd + before.add_ons_usd())
    assert found.change_usd() == pytest.approx(change, rel=1e-12)
    assert {row["agreement_id"] for row in found.to_dict()["agreements"]} == {"A", "B"}
    assert list(book.positions.quantity[:4]) == [10.0, -9000.0, 10.0, -5000.0]
    assert list(book.positions.agreement[:4]) == [1, 0, 1, 1]


def test_moving_a_position_can_raise_both_brokers_margin(builder):
    # At A the two legs hedge each other; at B the moved leg meets one of its own side.
    builder.agreement("A").agreement("B")
    builder.position("FUT", "A", "M1", 10.0).position("FUT", "A", "M1", -10.0)
    builder.position("FUT", "B", "M1", 10.0)
    market = tiny_market()
    found = what_if(MarginInputs(builder.build(market), market, CONFIG),
                    [Trade("move", "P0", to_agreement="B")])  # fmt: skip
    assert (found.change_usd() > 0.0).all()


def test_moving_a_position_can_raise_both_brokers_concentration(builder):
    adv = np.array([1e12, 2e5, 1e12, 1e12, 1e12, 1e12])
    market = tiny_market(adv=adv)
    builder.agreement("A").agreement("B")
    builder.position("EQ", "A", "M1", 6000.0).position("EQ", "A", "M1", -6000.0)
    builder.position("EQ", "B", "M1", 5000.0)
    inputs = MarginInputs(builder.build(market), market, CONFIG)
    found = what_if(inputs, [Trade("move", "P0", to_agreement="B")])
    before, after = found.components["add_on_concentration_usd"]
    assert (after > before).all()
    # The add-on grows faster than the position.
    assert after[1] / before[1] > 11000.0 / 5000.0


def test_alone_and_last_differ_where_trades_hedge_each_other(inputs):
    trades = [add(quantity=50.0), add(quantity=-50.0)]
    found = what_if(inputs, trades)
    one = what_if(inputs, trades[:1])
    assert found.first_usd[0] == pytest.approx(one.totals()["required_usd"]["change"])
    assert one.first_usd == one.last_usd
    assert found.totals()["required_usd"]["change"] == pytest.approx(0.0, abs=1e-6)
    assert found.last_usd == pytest.approx(-found.first_usd[::-1])
    assert what_if(inputs, trades, marginal=False).first_usd is None
    many = what_if(inputs, [Trade("scale", "P0", factor=-1.0)] * (MOST_MARGINAL + 1))
    assert many.first_usd is None


def test_a_trade_that_rests_on_another_has_no_effect_alone(inputs):
    found = what_if(inputs, [add(position_id="N"), Trade("move", "N", to_agreement="A")])
    assert math.isnan(found.first_usd[1])
    assert math.isnan(found.last_usd[0])
    assert math.isfinite(found.first_usd[0])


@pytest.mark.parametrize(
    ("trade", "words"),
    [
        (Trade("swap", "P0"), "action 'swap' is not one of add"),
        (Trade("remove"), "position_id is blank"),
        (Trade("remove", "P99"), "position_id 'P99' is not in the book"),
        (Trade("remove", "P0", quantity=-1.0), "-1 is no part of the 10 held"),
        (Trade("remove", "P0", quantity=10.5), "10.5 is no part"),
        (Trade("remove", "P0", quantity=0.0), "0 is no part"),
        (Trade("remove", "P0", factor=2.0), "factor is not used by `remove`"),
        (Trade("move", "P0"), "to_agreement is blank"),
        (Trade("move", "P0", to_agreement="A"), "where it is now"),
        (Trade("move", "P0", to_agreement="AA"), "did you mean 'A'"),
        (Trade("scale", "P0"), "factor is blank"),
        (Trade("scale", "P0", factor=0.0), "use `remove`"),
        (add(quantity=0.0), "quantity is 0"),
        (add(quantity=math.nan), "quantity is blank"),
        (add(instrument_id="FUTT"), "instrument_id 'FUTT'.*'FUT'"),
        (add(agreement_id="Z"), "agreement_id 'Z'.*it has A, B"),
        (add(manager_id="M9"), "manager_id 'M9'"),
        (add(strategy_id="T"), "strategy_id 'T'"),
        (add(position_id="P0"), "'P0' exists already"),
    ],
)
def test_a_wrong_trade_says_number_field_value_and_remedy(inputs, trade, words):
    with pytest.raises(InputError, match=words) as error:
        apply_trades(inputs.book, [Trade("scale", "P1", factor=2.0), trade])
    assert str(error.value).startswith("trade 2 (")


def test_every_bad_trade_is_named(inputs):
    with pytest.raises(InputError) as error:
        apply_trades(inputs.book, [Trade("remove", "X1"), Trade("remove", "X2")])
    assert [line[:7] for line in str(error.value).splitlines()] == ["trade 1", "trade 2"]


def test_names_of_new_positions_are_free(inputs):
    book = apply_trades(
        inputs.book,
        [add(), add(), *[Trade("move", "P0", to_agreement="B", quantity=1.0)] * 2],
    )
    assert list(book.positions.position_id[-4:]) == ["WHATIF-1", "WHATIF-2", "P0>B", "P0>B-1"]
    assert book.positions.quantity[0] == 8.0


def test_trades_are_read_from_a_file(tmp_path, inputs):
    path = tmp_path / "trades.csv"
    path.write_text(
        "action,position_id,instrument_id,agreement_id,manager_id,strategy_id,quantity,"
        "to_agreement,factor\n"
        "move,P0,,,,,,B,\n"
        "add,,FUT,B,M1,S,5,,\n"
        "scale,P1,,,,,,,0.5\n"
    )
    trades = read_trades(path)
    assert [t.words() for t in trades] == ["move P0 to B", "add 5 FUT to B", "scale P1 by 0.5"]
    assert what_if(inputs, trades).totals()["required_usd"]["change"] != 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("action,position\nmove,P0\n", "line 1: unknown column 'position'"),
        ("position_id\nP0\n", "line 1: no column 'action'"),
        ("", "no column 'action'"),
        ("action,quantity\nremove,much\n", "line 2: quantity 'much' is no number"),
        ("action,factor\nscale,inf\n", "line 2: factor 'inf' is not finite"),
        ("action,factor\nscale\n", "line 2: not as many cells"),
        ("action,factor\nscale,1,2\n", "line 2: not as many cells"),
    ],
)
def test_a_wrong_file_names_line_and_column(tmp_path, text, words):
    path = tmp_path / "trades.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="trades.csv") as error:
        read_trades(path)
    assert words in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.csv: not found"):
        read_trades(tmp_path / "nowhere.csv")


def test_own_sensitivities_follow_their_positions(inputs):
    crif = crif_from_positions(inputs.book, inputs.market)
    own = crif.portfolio_id == "S"
    given = MarginInputs(inputs.book, inputs.market, CONFIG,
                         type(crif)(**{n: c[own] for n, c in vars(crif).items()}))  # fmt: skip
    for trades in (
        [Trade("scale", "P4", factor=2.0)],
        [Trade("remove", "P4")],
        [Trade("move", "P4", to_agreement="T")],
    ):
        ours, theirs = what_if(inputs, trades), what_if(given, trades)
        assert theirs.failures == ()
        assert theirs.components["im_usd"][1] == pytest.approx(ours.components["im_usd"][1],
                                                               rel=1e-9)  # fmt: skip


def test_a_trade_the_sensitivities_cannot_show_is_a_failure(inputs):
    crif = crif_from_positions(inputs.book, inputs.market)
    given = MarginInputs(inputs.book, inputs.market, CONFIG, crif)
    found = what_if(given, [add(agreement_id="S", position_id="N")])
    assert [(f.item, f.where) for f in found.failures] == [("N", "agreement S")]
    assert found.totals()["im_usd"]["change"] == 0.0


def test_result_is_plain_json_and_tables(inputs):
    found = what_if(inputs, [Trade("move", "P0", to_agreement="B")])
    json.dumps(found.to_dict(), allow_nan=False)
    json.dumps(found.summary(), allow_nan=False)
    tables = found.tables()
    assert list(tables["what_if_by_agreement"]["agreement_id"]) == ["A", "B", "S", "T"]
    assert tables["what_if_by_trade"]["words"].tolist() == ["move P0 to B"]
