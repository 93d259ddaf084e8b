"""What a move costs a fund: calls, rise of margin, resources; checked by hand on a tiny fund."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from engine.domain.book import Book, Facilities, Settlements
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.concentration import concentration_curve
from engine.margin.config import MarginConfig
from engine.margin.exposure import net_positions, unit_pnl
from engine.stress.reverse.config import ReverseConfig
from engine.stress.reverse.fund_loss import FundLoss, margin_multiple
from engine.stress.reverse.moved_market import full_margin_rise, moved_market
from engine.stress.reverse.search_space import daily_covariance
from tests.support.tiny_fund import SIMM, FundBuilder, text, tiny_market

CASH_USD = 10_000_000.0


def fund(**terms: Any) -> tuple[Book, MarketState]:
    """One future and an option under CCP, the future sold under CSA, a bond under PRIME."""
    market = tiny_market()
    builder = (
        FundBuilder()
        .agreement("CCP", **terms)
        .agreement("CSA", **{**SIMM, "vm_threshold": 1e6, "mta": 5e5})
        .agreement("PRIME", kind="prime", venue="", model="flat", confidence=np.nan,
                   ewma_lambda=np.nan, lookback_days=0)
        .instrument("FUT", "future", "IDX")
        .instrument("PUT", "option", "IDX", strike=3600.0, right="P", vol=0.25,
                    expiry="2023-06-28", vol_factor_id="VIX")
        .instrument("FWD", "trs", "STK", strike=100.0)
        .instrument("BOND", "bond", "UST", multiplier=1.0, fixed_rate=4.0, tenor_years=9.0)
        .position("FUT", "CCP", "M1", 10_000.0)
        .position("PUT", "CCP", "M2", -2_000.0)
        .position("FWD", "CSA", "M1", 200_000.0)
        .position("BOND", "PRIME", "M2", 300_000.0)
    )  # fmt: skip
    return builder.build(market), market


def prepared(
    config: ReverseConfig | None = None, changes: dict[str, Any] | None = None, **terms: Any
) -> tuple[FundLoss, MarginResult]:
    book, market = fund(**terms)
    book = replace(book, **(changes or {}))
    margin = calculate_margin_requirements(book, market, MarginConfig())
    assert not margin.failures
    covariance = daily_covariance(market, 500)
    return FundLoss(book, market, margin, covariance, config or ReverseConfig()), margin


def moves(**of: float) -> np.ndarray:
    out = np.zeros((1, 6))
    for name, move in of.items():
        out[0, ["IDX", "STK", "UST", "OIL", "EURUSD", "VIX"].index(name)] = move
    return out


def at(margin: MarginResult, name: str) -> int:
    return list(margin.agreement_id).index(name)


def liquidity(loss: FundLoss, multiple: float) -> float:
    """Rise of the add-ons for concentration and bid-ask of CCP, linear between its readings."""
    scales = (1.0, 2.0)
    curve = concentration_curve(loss.book, loss.market, MarginConfig(), scales)[0]
    assert 1.0 <= multiple <= 2.0
    return float(np.interp(multiple, scales, curve) - curve[0])


def test_the_margin_multiple_is_the_closed_form() -> None:
    u = np.array([[3.0, 5.0, 10.0, 0.0]])
    one = margin_multiple(u, np.array([0.97]), 1)[0]
    assert one[0] == pytest.approx(1.1135528726, rel=1e-9)
    assert one[:3] == pytest.approx([1.114, 1.311, 1.992], abs=1e-3)
    assert one[3] == 1.0  # a fall is not counted
    ten = margin_multiple(np.array([[20.0, 50.0, 100.0]]), np.array([0.97]), 10)[0]
    assert ten == pytest.approx([1.337, 2.702, 5.196], abs=1e-3)
    assert (margin_multiple(u, np.array([1.0]), 1) == 1.0).all()


def test_nothing_moves_nothing_is_called() -> None:
    loss, _ = prepared()
    needs = loss.needs(np.zeros((3, 6)))
    assert np.allclose(needs.pnl, 0.0, atol=1e-6)
    assert needs.need() == pytest.approx(np.zeros(3), abs=1e-3)


def test_pnl_is_that_of_full_revaluation() -> None:
    loss, margin = prepared()
    some = np.random.default_rng(20260716).normal(size=(25, 6)) * 0.05
    netted = net_positions(loss.book, loss.market)
    unit = unit_pnl(netted, np.arange(len(netted.instruments)), some)
    by_pair = np.asarray(netted.quantity_usd @ unit)
    expected = np.zeros((3, 25))
    np.add.at(expected, netted.pair_agreement, by_pair)
    assert list(margin.agreement_id) == list(loss.book.agreements.agreement_id)
    assert loss.needs(some).pnl == pytest.approx(expected, rel=1e-9, abs=1e-3)


def test_calls_by_hand() -> None:
    loss, margin = prepared()
    needs = loss.needs(moves(STK=np.log(0.9)))
    # 200,000 at 100 fall by 10: 2m, of which the threshold keeps 1m.
    assert needs.pnl[at(margin, "CSA"), 0] == pytest.approx(-2e6, rel=1e-9)
    assert needs.calls[at(margin, "CSA"), 0] == pytest.approx(1e6, rel=1e-9)
    # 1.4m owed beyond nothing: 0.4m above the threshold is below the minimum transfer.
    small = loss.needs(moves(STK=np.log(0.93)))
    assert small.calls[at(margin, "CSA"), 0] == 0.0


def test_gains_of_one_agreement_do_not_pay_another_unless_told() -> None:
    move = moves(IDX=-0.03, STK=0.2)
    strict, margin = prepared()
    needs = strict.needs(move)
    gain = needs.pnl[at(margin, "CSA"), 0]
    assert gain > 4e6
    assert needs.need()[0] >= -needs.pnl[at(margin, "CCP"), 0]
    lenient, _ = prepared(ReverseConfig(gains_usable_share=0.5))
    saved = needs.need()[0] - lenient.needs(move).need()[0]
    assert saved == pytest.approx(0.5 * (gain - 1e6), rel=1e-9)  # the other side's threshold


def test_margin_rises_by_the_formula() -> None:
    loss, margin = prepared()
    move = moves(IDX=-0.05, VIX=0.3)
    needs = loss.needs(move)
    a = at(margin, "CCP")
    u = needs.pnl[a, 0] / loss.daily_pnl[a]
    multiple = np.sqrt(0.97 + 0.03 * u * u)
    expected = margin.im_usd[a] * (multiple - 1.0) + liquidity(loss, multiple)
    assert 2.0 < abs(u) < 12.0
    assert needs.im_rise[a, 0] == pytest.approx(expected, rel=1e-9)
    # Models that do not follow volatility do not react.
    assert needs.im_rise[at(margin, "CSA"), 0] == 0.0
    assert needs.im_rise[at(margin, "PRIME"), 0] == 0.0


def test_a_stress_weight_softens_the_rise_and_a_broker_multiplies_it() -> None:
    move = moves(IDX=-0.05)
    plain, margin = prepared()
    weighted, softer = prepared(stress_weight=0.25)
    broker, _ = prepared(broker_multiplier=1.2)
    a = at(margin, "CCP")
    rise = plain.needs(move).im_rise[a, 0]
    relative = rise / margin.im_usd[a]
    assert weighted.needs(move).im_rise[a, 0] / softer.im_usd[a] < 0.8 * relative
    u = plain.needs(move).pnl[a, 0] / plain.daily_pnl[a]
    spread = liquidity(plain, float(np.sqrt(0.97 + 0.03 * u * u)))
    dearer = broker.needs(move).im_rise[a, 0]
    assert dearer - spread == pytest.approx(1.2 * (rise - spread), rel=1e-9)


def test_resources_are_cash_securities_and_open_lines() -> None:
    lines = Facilities(
        facility_id=text(["QUICK", "SLOW", "LOOSE"]), legal_entity=text(["Fund"] * 3),
        lender=text(["Bank"] * 3), currency=text(["USD", "USD", "EUR"]),
        limit_cents=np.array([100, 200, 400]) * 10**8, drawn_cents=np.array([0, 0, 100]) * 10**8,
        notice_hours=np.array([4, 48, 24]), nav_covenant=np.array([0.01, 0.2, np.nan]),
        margin_bp=np.zeros(3), commitment_fee_bp=np.zeros(3),
    )  # fmt: skip
    config = ReverseConfig(include_open_calls=False)
    loss, _ = prepared(config, {"facilities": lines})
    quick, loose = 100e6, 300e6 * 1.06
    resources = loss.needs(np.concatenate([moves(), moves(IDX=-0.5)])).resources
    assert loss.needs(moves(IDX=-0.5)).pnl.sum() < -0.01 * loss.book.nav_usd
    # The slow line needs two days; the quick one closes when NAV falls by 1 %.
    assert resources == pytest.approx([CASH_USD + quick + loose, CASH_USD + loose], rel=1e-9)
    slow, _ = prepared(config.model_copy(update={"horizon_days": 2}), {"facilities": lines})
    assert slow.needs(moves()).resources[0] == pytest.approx(resources[0] + 200e6, rel=1e-9)


def test_open_calls_and_agreed_payments_come_first() -> None:
    payments = Settlements(
        settlement_id=text(["A", "B", "C"]),
        value_date=np.array(["2022-12-29", "2022-12-29", "2023-01-20"], dtype="datetime64[D]"),
        legal_entity=text(["Fund"] * 3),
        currency=text(["USD"] * 3),
        amount_cents=np.array([-300_000_00, 100_000_00, -900_000_00]),
    )
    loss, margin = prepared(changes={"settlements": payments})
    assert loss.book.as_of == date(2022, 12, 28)
    assert loss.opening["agreed_payments"] == pytest.approx(-200_000.0)
    required = margin.vm_usd + margin.im_usd + margin.add_ons_usd()  # nothing is posted
    assert loss.opening["open_calls"] == pytest.approx(-np.maximum(required, 0.0).sum(), rel=1e-9)
    resources = loss.needs(moves()).resources[0]
    assert resources == pytest.approx(CASH_USD + sum(
        loss.opening[name] for name in ("open_calls", "agreed_payments")), rel=1e-9)  # fmt: skip


def test_metrics() -> None:
    move = moves(IDX=-0.05, STK=0.02)
    amount = {"target_usd": 1.0}
    need, _ = prepared()
    loss, _ = prepared(ReverseConfig(target_metric="loss_usd", **amount))
    calls, _ = prepared(ReverseConfig(target_metric="calls_usd", **amount))
    needs = need.needs(move)
    assert need.metric(move)[0] == pytest.approx(needs.need()[0] - needs.resources[0], rel=1e-12)
    assert loss.metric(move)[0] == pytest.approx(-needs.pnl.sum(), rel=1e-12)
    assert calls.metric(move)[0] == pytest.approx(needs.need()[0], rel=1e-12)


def test_a_move_without_a_value_is_nan_and_harms_no_other() -> None:
    loss, _ = prepared()
    both = np.concatenate([moves(UST=-150.0), moves(UST=0.1)])
    metric = loss.metric(both)
    assert np.isnan(metric[0])
    assert metric[1] == pytest.approx(loss.metric(moves(UST=0.1))[0], rel=1e-12)


def test_the_moved_market_has_the_move_as_its_newest_days() -> None:
    market = tiny_market()
    move = moves(IDX=np.log(1.1), UST=0.5)[0]
    after = moved_market(market, move, 2)
    assert after.as_of == market.as_of
    assert after.level[0] == pytest.approx(4400.0, rel=1e-12)
    assert after.level[2] == pytest.approx(4.5, rel=1e-12)
    assert after.returns[-2:] == pytest.approx(np.tile(move / 2, (2, 1)))
    assert np.array_equal(after.returns[:-2], market.returns[2:])
    for days in (0, len(market.dates)):
        with pytest.raises(ValueError, match="days is"):
            moved_market(market, move, days)
    with pytest.raises(ValueError, match="finite"):
        moved_market(market, move * np.nan, 1)


def test_the_full_engine_rises_with_the_fast_measure() -> None:
    """Both rise; they differ where the shape of the book changes, which the fast one ignores."""
    loss, margin = prepared()
    a = at(margin, "CCP")
    move = moves(IDX=-0.05)
    full = full_margin_rise(loss.book, loss.market, margin, move[0], 1)
    assert not full.failures
    assert full.im_rise_usd[a] > 0.0
    assert full.im_rise_usd[a] == pytest.approx(loss.needs(move).im_rise[a, 0], rel=1.0)
    still = full_margin_rise(loss.book, loss.market, margin, np.zeros(6), 1)
    assert still.im_rise_usd[a] < 0.05 * full.im_rise_usd[a]
