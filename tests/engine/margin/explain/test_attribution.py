from __future__ import annotations

import json

import numpy as np
import pytest

from engine.domain.agreements import MARGIN_MODELS, TAIL_MODELS
from engine.domain.crif import CrifTable
from engine.domain.failures import InputError
from engine.domain.money import to_cents
from engine.margin.config import MarginConfig
from engine.margin.explain.attribution import (
    INTERACTION,
    LEVELS,
    METHODS,
    UNATTRIBUTED,
    attribute_margin,
)
from engine.margin.explain.attribution_games import (
    MOST_EXACT,
    aumann_shapley_game,
    incremental_game,
    shapley_game,
    stand_alone_game,
)
from engine.margin.explain.cents import split_cents
from engine.margin.explain.margin_inputs import MarginInputs, elements_of, evaluate_variants
from engine.pricing.sensitivities import crif_from_positions
from tests.support.tiny_fund import SCHEDULE, SIMM, tiny_market

SEED = 7
MANAGERS = ("M1", "M2", "M3")


def draws() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(SEED))


def play(game, value):
    return game.shares(np.array([value(w) for w in game.weights]))


@pytest.fixture
def inputs(builder, market):
    builder.agreement("VAR", broker_multiplier=1.2)
    builder.agreement("ES", model="fhs_es", confidence=0.975)
    builder.agreement("CSA", **SIMM, im_threshold=50_000.0)
    builder.agreement("GRID", **SCHEDULE)
    builder.agreement("EMPTY")
    rng = np.random.default_rng(SEED)
    for name in ("VAR", "ES", "CSA", "GRID"):
        for instrument, size in (("FUT", 20), ("EQ", 9e3), ("SWAP", 2e6), ("PUT", 30)):
            for manager in MANAGERS:
                builder.position(instrument, name, manager, float(rng.normal()) * size)
    return MarginInputs(builder.build(market, MANAGERS), market, MarginConfig())


def test_cents_go_to_the_largest_remainders():
    assert split_cents(1000, np.array([10 / 3] * 3)).tolist() == [334, 333, 333]
    assert split_cents(-1000, np.array([-10 / 3] * 3)).tolist() == [-333, -333, -334]
    assert split_cents(100, np.array([2.004, -1.004])).tolist() == [200, -100]
    assert split_cents(3, np.array([0.009, 0.021])).tolist() == [1, 2]
    assert split_cents(30, np.array([0.1 + 0.2])).tolist() == [30]
    assert split_cents(0, np.zeros(0)).tolist() == []
    for total, parts in ((1000, [3.0, 3.0]), (5, []), (100, [np.nan])):
        with pytest.raises(ValueError, match="parts|NaN"):
            split_cents(total, np.array(parts, dtype=np.float64))


def test_shapley_of_two_and_of_an_additive_game():
    table = {(0, 0): 0.0, (1, 0): 6.0, (0, 1): 10.0, (1, 1): 12.0}
    game = shapley_game(2, 1, draws())
    assert play(game, lambda w: table[tuple(w)]) == pytest.approx([4.0, 8.0], rel=1e-15)
    weight = np.array([1.0, 2.0, 4.0])
    assert play(shapley_game(3, 1, draws()), lambda w: w @ weight) == pytest.approx(weight)


def test_shapley_of_the_airport_game():
    # Littlechild and Owen (1973): costs 1, 2, 4 of the longest runway: 1/3, 1/3 + 1/2, + 2.
    cost = np.array([1.0, 2.0, 4.0])
    shares = play(shapley_game(3, 1, draws()), lambda w: float((cost * w).max()))
    assert shares == pytest.approx([1 / 3, 5 / 6, 17 / 6], rel=1e-14)


def test_drawn_shapley_sums_and_comes_near_the_exact_value():
    n = MOST_EXACT + 1
    cost = np.arange(1.0, n + 1)
    game = shapley_game(n, 4000, draws())
    shares = play(game, lambda w: float((cost * w).max()))
    exact = np.cumsum(1.0 / np.arange(n, 0, -1))
    assert shares.sum() == pytest.approx(n, rel=1e-12)
    assert shares == pytest.approx(exact, abs=0.1)
    assert "4000 drawn orders" in game.name
    assert shapley_game(MOST_EXACT, 1, draws()).name == "shapley"


def test_aumann_shapley_of_powers():
    held = np.array([1.0, 3.0])
    for steps in (1, 2, 8):
        game = aumann_shapley_game(2, steps)
        assert play(game, lambda w: (w @ held) ** 2) == pytest.approx([4.0, 12.0], rel=1e-12)
    # Degree 1.5: the integral of the gradient is proportional to the holdings.
    power = [play(aumann_shapley_game(2, n), lambda w: (w @ held) ** 1.5) for n in (8, 64)]
    errors = [abs(shares[0] - 2.0) for shares in power]
    assert errors[0] < 0.01
    assert errors[1] < errors[0] / 8.0
    assert [shares.sum() for shares in power] == pytest.approx([8.0, 8.0], rel=1e-14)


def test_aumann_shapley_of_degree_one_is_euler():
    held = np.array([3.0, 4.0])
    shares = play(aumann_shapley_game(2, 64), lambda w: float(np.hypot(*(w * held))))
    assert shares == pytest.approx([9 / 5, 16 / 5], rel=3e-3)
    assert shares.sum() == pytest.approx(5.0, rel=1e-14)


def test_aumann_shapley_of_a_pure_interaction_is_even():
    shares = play(aumann_shapley_game(2, 1), lambda w: 4.0 if w.all() else 0.0)
    assert shares == pytest.approx([2.0, 2.0])
    # No player moves it alone and the step cannot be scaled: the gap is spread evenly.
    table = {(0.0, 0.0): 0.0, (1.0, 0.0): 1.0, (0.0, 1.0): 1.0, (1.0, 1.0): 0.0}
    assert play(aumann_shapley_game(2, 1), lambda w: table[tuple(w)]) == pytest.approx([0.0, 0.0])


def test_incremental_and_stand_alone_by_hand():
    def value(w):
        return float(np.hypot(3.0 * w[0], 4.0 * w[1]))

    assert play(incremental_game(2), value) == pytest.approx([1.0, 2.0])
    assert play(stand_alone_game(2), value) == pytest.approx([15 / 7, 20 / 7])
    table = {(1, 1): 12.0, (0, 1): 10.0, (1, 0): 6.0}
    assert play(incremental_game(2), lambda w: table[tuple(w)]) == pytest.approx([2.0, 6.0])
    assert play(stand_alone_game(2), lambda w: table[tuple(w)]) == pytest.approx([4.5, 7.5])
    assert play(stand_alone_game(2), lambda w: 6.0 if w.all() else 0.0) == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize("by", LEVELS)
@pytest.mark.parametrize("method", METHODS)
def test_shares_sum_to_every_margin_to_the_cent(inputs, by, method):
    result = inputs.margin()
    found = attribute_margin(inputs, result, by, method, seed=SEED)
    assert found.failures == ()
    parts = {"im": result.im_usd, **result.add_ons}
    for i, name in enumerate(result.agreement_id):
        for component, values in parts.items():
            rows = (found.agreement_id == name) & (found.component == component)
            assert found.amount_cents[rows].sum() == to_cents(values[i]), (name, component)
    assert found.total_cents() == sum(int(to_cents(v).sum()) for v in parts.values())
    assert (INTERACTION in found.label) == (method == "incremental")
    assert UNATTRIBUTED not in found.label
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.summary()["by"] == by


def test_engine_shares_are_the_engines_own_by_manager(inputs):
    result = inputs.margin()
    found = attribute_margin(inputs, result).by_label()
    for manager in MANAGERS:
        own = result.by_manager[manager]["im_usd"]
        assert found[manager]["im"] == pytest.approx(own, abs=0.03)


def test_engine_shares_of_expected_shortfall_are_its_gradient(inputs):
    result = inputs.margin()
    elements = elements_of(inputs, 1)
    n, h = len(elements), 1e-6
    weights = np.vstack([1.0 + h * np.eye(n), 1.0 - h * np.eye(n)])
    values = evaluate_variants(inputs, [(elements, weights)])[0].im
    gradient = (values[:n] - values[n:]) / (2.0 * h)
    shares = attribute_margin(inputs, result, "position", agreements=["ES"])
    rows = shares.component == "im"
    assert shares.amount_cents[rows] / 100 == pytest.approx(gradient, rel=1e-5, abs=0.05)


def test_strategies_and_managers_agree_on_the_total(inputs):
    result = inputs.margin()
    totals = {attribute_margin(inputs, result, by).total_cents() for by in LEVELS}
    assert len(totals) == 1


def test_variants_are_margined_as_books_of_their_own(inputs, market):
    elements = elements_of(inputs, 0)
    weights = np.zeros((3, len(elements)))
    weights[1, :4] = 1.0
    weights[2] = 2.0
    margins = evaluate_variants(inputs, [(elements, weights)])[0]
    whole = inputs.margin().im_usd[0]
    assert margins.im[0] == 0.0
    assert margins.im[2] == pytest.approx(2.0 * whole, rel=1e-12)
    assert margins.add_ons["broker"][2] == pytest.approx(0.4 * whole, rel=1e-9)
    assert 0.0 < margins.im[1] < whole * 10


def test_variants_ignore_threshold_and_reported_margin(builder, market):
    for name, terms in (("A", {}), ("B", {"im_threshold": 1e5, "reported_im": 9e9})):
        builder.agreement(name, **SIMM, im_group="G", **terms).position("EQ", name, "M1", 1e5)
    inputs = MarginInputs(builder.build(market), market, MarginConfig())
    plain, other = evaluate_variants(
        inputs, [(elements_of(inputs, a), np.ones((1, 1))) for a in (0, 1)]
    )
    assert plain.im[0] == pytest.approx(other.im[0], rel=1e-12)
    assert plain.im[0] > 1e5


@pytest.mark.parametrize(("method", "tolerance"), [("engine", 1e-9), ("aumann_shapley", 2e-2)])
def test_concentration_goes_with_the_thin_stock_and_not_with_margin(builder, method, tolerance):
    market = tiny_market(adv=np.array([1e12, 1e6, 1e12, 1e12, 1e12, 1e12]))
    builder.agreement("A", broker_multiplier=1.5)
    builder.position("EQ", "A", "M1", 1e5).position("EQ", "A", "M2", 3e5)
    builder.position("FUT", "A", "M2", 100.0)
    inputs = MarginInputs(builder.build(market), market, MarginConfig())
    result = inputs.margin()
    assert result.add_ons["concentration"][0] > 0.0
    found = attribute_margin(inputs, result, method=method)
    shares = found.by_label()
    # Both hold the same thin stock: shares go with holdings (Aumann-Shapley: but for its steps).
    ratio = shares["M2"]["concentration"] / shares["M1"]["concentration"]
    assert ratio == pytest.approx(3.0, rel=tolerance)
    methods = dict(zip(found.component, found.method, strict=True))
    assert methods["concentration"].startswith(method)
    assert shares["M2"]["broker"] == pytest.approx(0.5 * shares["M2"]["im"], abs=0.02)


def test_a_crif_of_positions_is_shared_and_foreign_rows_are_named(inputs, market):
    crif = crif_from_positions(inputs.book, market)
    own = crif.portfolio_id == "CSA"
    own_rows = {n: column[own] for n, column in vars(crif).items()}
    given = MarginInputs(inputs.book, market, inputs.config, CrifTable(**own_rows))
    for method in ("shapley", "aumann_shapley"):
        with_crif = attribute_margin(given, given.margin(), "manager", method, ["CSA"])
        derived = attribute_margin(inputs, inputs.margin(), "manager", method, ["CSA"])
        assert np.abs(with_crif.amount_cents - derived.amount_cents).max() <= 1
    foreign = {n: np.concatenate([column, column[:1]]) for n, column in own_rows.items()}
    foreign["trade_id"][-1] = "ELSEWHERE"
    foreign["amount_usd"][-1] *= 5.0
    given = MarginInputs(inputs.book, market, inputs.config, CrifTable(**foreign))
    result = given.margin()
    found = attribute_margin(given, result, "manager", "shapley", ["CSA"])
    assert UNATTRIBUTED in found.label
    assert found.total_cents() == to_cents(result.im_usd[2])


@pytest.mark.parametrize("model", MARGIN_MODELS)
def test_every_family_is_shared_to_the_cent(builder, market, model):
    terms = {} if model in TAIL_MODELS else {"confidence": np.nan, "ewma_lambda": np.nan}
    builder.agreement("A", **(SIMM if model in ("simm", "schedule") else terms) | {"model": model})
    builder.position("FUT", "A", "M1", 10.0).position("EQ", "A", "M2", -9000.0)
    builder.position("PUT", "A", "M2", -20.0)
    inputs = MarginInputs(builder.build(market), market, MarginConfig())
    result = inputs.margin()
    whole = sum(int(to_cents(v).sum()) for v in (result.im_usd, *result.add_ons.values()))
    for by in ("manager", "position"):
        for method in ("engine", "aumann_shapley"):
            found = attribute_margin(inputs, result, by, method)
            assert found.total_cents() == whole, (by, method)


def test_a_method_that_is_too_dear_is_given_up_and_named(inputs, monkeypatch):
    monkeypatch.setattr("engine.margin.explain.attribution.MOST_ROWS", 95)
    result = inputs.margin()
    # Twelve positions in eight subsets of three managers are 96 rows.
    found = attribute_margin(inputs, result, "manager", "shapley", ["VAR"])
    assert "96 position rows, more than 95" in found.failures[0].message
    assert set(found.method) == {"stand_alone", "as im: stand_alone"}
    monkeypatch.setattr("engine.margin.explain.attribution.MOST_ROWS", 96)
    assert attribute_margin(inputs, result, "manager", "shapley", ["VAR"]).failures == ()


def test_an_agreement_without_positions_has_no_shares(inputs):
    found = attribute_margin(inputs, inputs.margin(), agreements=["EMPTY"])
    assert found.total_cents() == 0
    assert len(found.amount_cents) == 0
    assert found.tables()["margin_by_manager"].empty


def test_wrong_choices_are_named(inputs):
    result = inputs.margin()
    for arguments, words in (
        (("desk",), "desk.*manager"),
        (("manager", "magic"), "magic.*engine"),
        (("manager", "engine", ["NOPE"]), "NOPE.*VAR"),
    ):
        with pytest.raises(InputError, match=words):
            attribute_margin(inputs, result, *arguments)
