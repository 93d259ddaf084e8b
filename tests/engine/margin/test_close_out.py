from __future__ import annotations

import json

import numpy as np
import pytest

from engine.domain.failures import FailureReason, InputError
from engine.margin.close_out import family as close_out
from engine.margin.close_out.config import close_out_terms
from engine.margin.close_out.family import CloseOutConfig, PostedAsset, prepare
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions
from engine.margin.historical import tail_count, value_at_risk, worst_volatility_period
from engine.pricing.scenarios import scenario_pnl
from tests.support.tiny_fund import tiny_market

TERMS = {"model": "close_out", "confidence": 0.9996, "ewma_lambda": 1.0, "lookback_days": 1000}
CONFIG = MarginConfig()
NO_CRISIS = CloseOutConfig(crisis_paths=False)
N_DAYS = 420


def thin_market(**adv: float):
    """The tiny market with 420 days and a volume for each named factor."""
    market = tiny_market(n_days=N_DAYS)
    volume = np.full(len(market.factors), 1e12)
    for name, value in adv.items():
        volume[market.index()[name]] = value
    return tiny_market(n_days=N_DAYS, adv=volume)


def prepared(builder, market, own=NO_CRISIS, config=CONFIG):
    book = builder.build(market)
    exposures = net_positions(book, market)
    rows = np.flatnonzero(book.agreements.model == "close_out").astype(np.int64)
    return prepare(exposures, rows, config, own)


def margin(builder, market, own=NO_CRISIS, config=CONFIG):
    model = prepared(builder, market, own, config)
    return model.margin(np.ones(len(model.rows)))


def enumerated(builder, market, days: dict[str, int], confidence: float) -> float:
    """The margin by plain loops over paths, days and positions."""
    book = builder.build(market)
    horizon = max(days.values())
    worst = []
    for start in range(len(market.returns) - horizon + 1):
        cash, least, before = 0.0, 0.0, np.zeros(len(book.instruments))
        move = np.zeros(len(market.factors))
        for d in range(horizon):
            move = move + market.returns[start + d]
            now = scenario_pnl(book.instruments, market, move[None, :])[:, 0]
            for row, quantity in zip(
                book.positions.instrument, book.positions.quantity, strict=True
            ):
                n = days[str(book.instruments.factor_id[row])]
                if d < n:
                    cash += quantity * (n - d) / n * (now[row] - before[row])
            before = now
            least = min(least, cash)
        worst.append(-least)
    return sorted(worst, reverse=True)[tail_count(len(worst), confidence) - 1]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_enumeration_on_random_books(builder, seed):
    rng = np.random.Generator(np.random.Philox(key=seed))
    builder.agreement("A", **{**TERMS, "confidence": 0.99})
    for name in ("FUT", "SWAP", "PUT"):
        builder.position(name, "A", "M1", float(rng.normal()))
    market = thin_market(UST=1e-9, IDX=1e-3)
    own = CloseOutConfig(crisis_paths=False, horizon_days=3)
    got = margin(builder, market, own)
    expected = enumerated(builder, market, {"IDX": 3, "UST": 3}, 0.99)
    assert got.im[0] == pytest.approx(expected, rel=1e-9)


def test_equals_enumeration_with_different_speeds(builder):
    builder.agreement("A", **{**TERMS, "confidence": 0.98})
    # |delta|: one future on 80 USD times 1000; 50 * 4000 USD for the index; 100 for the stock.
    builder.position("CL", "A", "M1", 1.0).position("FUT", "A", "M1", -0.5)
    builder.position("EQ", "A", "M2", 1000.0)
    market = thin_market(OIL=5000.0, IDX=3e5, STK=1e12)
    got = margin(builder, market)
    days = {"OIL": 1, "IDX": 2, "STK": 1}
    assert got.basis["A"]["days_to_close"] == days
    assert got.im[0] == pytest.approx(enumerated(builder, market, days, 0.98), rel=1e-9)
    assert got.pair_im.sum() == pytest.approx(got.im[0], rel=1e-12)


def test_a_position_closed_on_day_one_equals_the_one_day_tail_loss(builder):
    market = thin_market()
    builder.agreement("A", **{**TERMS, "confidence": 0.99}).position("FUT", "A", "M1", -3.0)
    moves = market.returns[:, 0]
    loss = 3.0 * 50.0 * 4000.0 * np.expm1(moves)
    got = margin(builder, market)
    assert got.im[0] == pytest.approx(float(value_at_risk(loss, 0.99)), rel=1e-9)
    assert got.basis["A"]["scenarios"] == N_DAYS
    assert got.basis["A"]["horizon_days"] == 1


def test_confidence_of_9996_is_the_worst_path(builder):
    market = thin_market()
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 2.0)
    got = margin(builder, market)
    assert got.im[0] == pytest.approx(-2000.0 * market.returns[:, 3].min(), rel=1e-9)
    assert got.basis["A"]["tail_path"]["worst_day"] == 1
    first = market.dates[np.argmin(market.returns[:, 3])]
    assert got.basis["A"]["tail_path"]["first_day"] == str(first)


def test_a_slower_schedule_never_lowers_the_margin_of_one_position(builder):
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 1.0)
    volumes = [1e12, 2500.0, 1500.0, 1000.0, 700.0, 500.0, 1.0]
    results = [margin(builder, thin_market(OIL=v)) for v in volumes]
    days = [r.basis["A"]["days_to_close"]["OIL"] for r in results]
    assert days == [1, 2, 4, 5, 8, 10, 10]
    # Slower schedules have fewer whole paths; the worst path of these is in all of them.
    im = [float(r.im[0]) for r in results]
    assert im == sorted(im)
    assert im[0] < im[-1]


def test_homogeneous_while_the_schedule_holds_and_above_it_when_it_lengthens(builder):
    market = thin_market(OIL=5000.0)  # a day closes 0.2 * 5000 of delta: one contract
    ims = {}
    for quantity in (0.25, 0.5, 1.0, 8.0):
        b = _copy(builder).agreement("A", **TERMS).position("CL", "A", "M1", quantity)
        ims[quantity] = float(margin(b, market).im[0])
    assert ims[0.5] == pytest.approx(2.0 * ims[0.25], rel=1e-12)
    assert ims[1.0] == pytest.approx(4.0 * ims[0.25], rel=1e-12)
    assert ims[8.0] > 8.01 * ims[1.0]


def _copy(builder):
    fresh = type(builder)()
    fresh.instruments = list(builder.instruments)
    return fresh


def test_order_and_splits_of_positions_do_not_matter(builder):
    market = thin_market(OIL=2000.0, IDX=1e6)
    one = _copy(builder).agreement("A", **TERMS)
    one.position("CL", "A", "M1", 3.0).position("FUT", "A", "M1", -1.0)
    two = _copy(builder).agreement("A", **TERMS)
    two.position("FUT", "A", "M1", -1.0).position("CL", "A", "M1", 2.0)
    two.position("CL", "A", "M1", 1.0)
    assert margin(one, market).im[0] == pytest.approx(margin(two, market).im[0], rel=1e-12)


def test_opposite_positions_of_two_managers_net_to_nothing(builder):
    builder.agreement("A", **TERMS)
    builder.position("CL", "A", "M1", 5.0).position("CL", "A", "M2", -5.0)
    got = margin(builder, thin_market(OIL=100.0))
    assert got.im.tolist() == [0.0]
    assert got.pair_im.tolist() == [0.0, 0.0]


def test_an_agreement_does_not_see_what_others_hold(builder):
    market = thin_market(OIL=2000.0)
    alone = _copy(builder).agreement("A", **TERMS).position("CL", "A", "M1", 3.0)
    both = _copy(builder).agreement("B", **TERMS).agreement("A", **TERMS)
    both.position("CL", "A", "M1", 3.0).position("CL", "B", "M1", -9.0)
    both.position("PUT", "B", "M2", 4.0)
    assert margin(both, market).im[1] == margin(alone, market).im[0]


def test_shares_are_each_managers_loss_on_the_worst_day_of_the_tail_path(builder):
    market = thin_market(OIL=2000.0)
    builder.agreement("A", **TERMS)
    builder.position("CL", "A", "M1", 3.0).position("CL", "A", "M2", -1.0)
    got = margin(builder, market)
    assert got.pair_im == pytest.approx([1.5 * got.im[0], -0.5 * got.im[0]], rel=1e-9)


def test_crisis_paths_are_a_floor(builder):
    market = tiny_market(n_days=700)
    builder.agreement("A", **{**TERMS, "confidence": 0.9}).position("CL", "A", "M1", 2.0)
    config = MarginConfig(stress_days=100)
    without = margin(builder, market, NO_CRISIS, config)
    got = margin(builder, market, CloseOutConfig(), config)
    first, last = worst_volatility_period(market.returns[:, [3]], 100)
    assert got.im[0] == pytest.approx(-2000.0 * market.returns[first : last + 1, 3].min(), rel=1e-9)
    assert got.im[0] > without.im[0]
    assert got.basis["A"]["tail_path"]["kind"] == "crisis"
    assert got.basis["A"]["crisis_period"] == [str(market.dates[first]), str(market.dates[last])]
    assert without.basis["A"]["tail_path"]["kind"] == "history"
    assert without.basis["A"]["crisis_period"] is None


def test_a_crisis_on_the_last_days_uses_whole_paths_alone(builder):
    returns = np.array(tiny_market(n_days=N_DAYS).returns)
    returns[-30:] *= 50.0
    market = tiny_market(n_days=N_DAYS, returns=returns, adv=np.full(6, 1.0))
    builder.agreement("A", **{**TERMS, "confidence": 0.6}).position("CL", "A", "M1", 1.0)
    own = CloseOutConfig(horizon_days=60)
    got = margin(builder, market, own, MarginConfig(stress_days=20))
    assert np.isfinite(got.im).all()
    assert got.basis["A"]["scenarios"] == N_DAYS - 59


def test_posted_assets_close_with_the_positions(builder):
    market = thin_market(OIL=1e12)
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 1.0)
    builder.agreement("B", **TERMS).position("CL", "B", "M1", 1.0)
    asset = PostedAsset(agreement_id="A", instrument_id="EQ", quantity=900.0)
    own = CloseOutConfig(crisis_paths=False, posted=(asset,))
    got = margin(builder, market, own)
    oil = 1000.0 * market.returns[:, 3]
    stock = 900.0 * 100.0 * np.expm1(market.returns[:, 1])
    assert got.im[0] == pytest.approx(-(oil + stock).min(), rel=1e-9)
    assert got.im[1] == pytest.approx(-oil.min(), rel=1e-9)
    assert got.basis["A"]["collateral"] == ["EQ"]
    assert got.basis["B"]["collateral"] == "cash only"
    # The manager's share holds the collateral's part, because it has no manager.
    assert got.pair_im[0] == pytest.approx(got.im[0], rel=1e-12)


@pytest.mark.parametrize(
    ("agreement", "instrument", "words"),
    [("X", "EQ", "no such agreement"), ("A", "X", "no such instrument"), ("A", "BAD", "tenor")],
)
def test_collateral_that_cannot_be_valued_is_named_and_left_out(
    builder, agreement, instrument, words
):
    builder.instrument("BAD", "bond", "UST", fixed_rate=1.0)
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 1.0)
    asset = PostedAsset(agreement_id=agreement, instrument_id=instrument, quantity=1.0)
    market = thin_market()
    model = prepared(builder, market, CloseOutConfig(crisis_paths=False, posted=(asset,)))
    assert len(model.failures) == 1
    assert model.failures[0].item == instrument
    assert words in model.failures[0].message
    got = model.margin(np.ones(1))
    assert got.im[0] == pytest.approx(-1000.0 * market.returns[:, 3].min(), rel=1e-9)


def test_collateral_of_an_agreement_of_another_model_is_not_used(builder):
    builder.agreement("A", **TERMS).agreement("B").position("CL", "A", "M1", 1.0)
    asset = PostedAsset(agreement_id="B", instrument_id="EQ", quantity=1.0)
    model = prepared(builder, thin_market(), CloseOutConfig(crisis_paths=False, posted=(asset,)))
    assert model.failures == ()


def test_a_factor_without_volume_takes_all_days_and_is_named(builder):
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 1.0)
    model = prepared(builder, thin_market(OIL=0.0))
    assert model.margin(np.ones(1)).basis["A"]["days_to_close"] == {"OIL": 10}
    assert model.failures[0].item == "OIL"
    assert "give a volume above 0" in model.failures[0].message


@pytest.mark.parametrize(("known", "fails"), [(250, False), (249, True)])
def test_too_few_paths_fail_the_agreement_as_a_whole(builder, known, fails):
    returns = np.array(tiny_market(n_days=N_DAYS).returns)
    returns[: N_DAYS - known, 3] = np.nan
    market = tiny_market(n_days=N_DAYS, returns=returns)
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 1.0)
    builder.agreement("B", **TERMS).position("FUT", "B", "M1", 1.0)
    model = prepared(builder, market)
    got = model.margin(np.ones(2))
    assert np.isnan(got.im[0]) == fails
    assert np.isnan(got.pair_im[0]) == fails
    assert np.isfinite(got.im[1])
    if fails:
        assert model.failures[0].item == "A"
        assert model.failures[0].reason is FailureReason.MISSING_DATA
        assert "249 paths of 1 days of OIL, fewer than 250" in model.failures[0].message
    else:
        assert model.failures == ()
        assert got.basis["A"]["scenarios"] == 250


def test_a_crisis_needs_its_days(builder):
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 1.0)
    model = prepared(builder, thin_market(), CloseOutConfig(), MarginConfig(stress_days=500))
    assert np.isnan(model.margin(np.ones(1)).im[0])
    assert model.failures[0].message.startswith("crisis paths: only 420 days")


def test_a_level_out_of_range_gives_nan_to_its_holder_alone(builder):
    returns = np.array(tiny_market(n_days=N_DAYS).returns)
    returns[100, 2] = -500.0  # the yield falls below -100 %
    market = tiny_market(n_days=N_DAYS, returns=returns)
    builder.agreement("A", **TERMS).position("SWAP", "A", "M1", 1.0)
    builder.agreement("B", **TERMS).position("FUT", "B", "M1", 1.0)
    got = margin(builder, market)
    assert np.isnan(got.im[0]) and np.isnan(got.pair_im[0])
    assert np.isfinite(got.im[1])


def test_memory_is_bounded_without_changing_the_numbers(builder, monkeypatch):
    market = thin_market(OIL=2000.0, IDX=1e6)
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 3.0).position("PUT", "A", "M2", 5.0)
    whole = margin(builder, market)
    monkeypatch.setattr(close_out, "NUMBERS_IN_MEMORY", 1)
    chunks = margin(builder, market)
    assert chunks.im.tolist() == whole.im.tolist()
    assert chunks.pair_im.tolist() == whole.pair_im.tolist()


def test_volatility_does_not_matter_and_the_basis_is_json(builder):
    builder.agreement("A", **TERMS).position("CL", "A", "M1", 3.0)
    model = prepared(builder, thin_market())
    got = model.margin(np.array([5.0]))
    assert got is model.margin(np.ones(1))
    basis = json.loads(json.dumps(got.basis["A"]))
    assert basis["marks"] == {
        "participation": "indicative",
        "horizon_days": "verified",
        "crisis_paths": "user",
    }
    assert basis["rulebook"] == "close_out:2026.11.20"
    assert basis["participation"] == 0.2


def test_the_rulebook_must_be_marked(tmp_path):
    path = tmp_path / "close_out.json"
    good = {"value": 1, "mark": "verified", "source": "s"}
    table = {"version": "1", "participation": good, "horizon_days": good, "crisis_paths": good}
    path.write_text(json.dumps(table))
    assert close_out_terms(CloseOutConfig(), path).horizon_days == 1
    for broken in ({"value": 1, "mark": "guess", "source": "s"}, {"value": 1, "mark": "verified"}):
        other = tmp_path / f"broken{len(broken)}.json"
        other.write_text(json.dumps({**table, "participation": broken}))
        with pytest.raises(InputError, match="participation needs a value"):
            close_out_terms(CloseOutConfig(), other)


def test_no_agreements_give_an_empty_answer(builder):
    builder.agreement("A").position("CL", "A", "M1", 1.0)
    got = margin(builder, thin_market())
    assert (len(got.im), len(got.pair_im), got.basis) == (0, 0, {})
