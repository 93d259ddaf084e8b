from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from engine.domain.crif import CrifTable
from engine.margin.baseline import (
    UNATTRIBUTED,
    calculate_margin_requirements,
)
from engine.margin.config import MarginConfig
from engine.margin.family import pro_rata
from engine.margin.historical import (
    ewma_volatility,
    expected_shortfall,
    filtered_scenarios,
    overlapping_sums,
    value_at_risk,
    worst_volatility_period,
)
from engine.margin.scenario_margin import tail_contributions
from engine.margin.simm import simm_margin
from engine.margin.standard_margin import version_in_force
from engine.margin.stress import project_stress_margin
from engine.pricing.scenarios import scenario_pnl
from engine.pricing.sensitivities import crif_from_positions
from engine.pricing.value import value_per_unit
from tests.support.tiny_fund import SCHEDULE, SIMM, tiny_market

CONFIG = MarginConfig()


def _margin(builder, market, config=CONFIG, crif=None):
    book = builder.build(market)
    return book, calculate_margin_requirements(book, market, config, crif)


def _moves(market, decay, horizon, lookback):
    return filtered_scenarios(
        market.returns, decay, horizon, lookback,
        volatility_floor=market.factors.daily_vol_floor,
    )  # fmt: skip


def _everything(builder):
    builder.agreement("CCP-1", stress_weight=0.25, broker_multiplier=1.2)
    builder.agreement("CCP-2", model="fhs_es", confidence=0.975, ewma_lambda=0.99, mpor_days=5)
    builder.agreement("CCP-3", ewma_lambda=1.0, lookback_days=500, mpor_days=1)
    builder.agreement("PB-1", kind="prime", venue="")
    builder.agreement("CSA-S", **SIMM, im_threshold=1000.0)
    builder.agreement("CSA-G", **SCHEDULE, currency="EUR", vm_threshold=1e4, mta=1e3, rounding=1e2)
    builder.agreement("EMPTY")
    rng = np.random.default_rng(31)
    for name in ("CCP-1", "CCP-2", "CCP-3", "PB-1", "CSA-S", "CSA-G"):
        for instrument, size in (
            ("FUT", 20),
            ("EQ", 9e3),
            ("SWAP", 2e6),
            ("FWD", 3e6),
            ("PUT", 30),
        ):
            for manager in ("M1", "M2", "M3"):
                builder.position(instrument, name, manager, float(rng.normal()) * size)
    return builder


def test_var_and_es_equal_a_direct_calculation(builder, market):
    builder.agreement("VAR").agreement("ES", model="fhs_es", confidence=0.975, mpor_days=5)
    holdings = {"FUT": 10.0, "SWAP": -2e6, "PUT": -25.0, "CL": 3.0}
    for name, quantity in holdings.items():
        builder.position(name, "VAR", "M1", quantity).position(name, "ES", "M2", quantity)
    book, result = _margin(builder, market)
    quantity = np.array([holdings.get(n, 0.0) for n in book.instruments.instrument_id])
    for i, (measure, level, horizon) in enumerate(
        ((value_at_risk, 0.99, 2), (expected_shortfall, 0.975, 5))
    ):
        pnl = scenario_pnl(book.instruments, market, _moves(market, 0.97, horizon, 1000))
        assert result.im_usd[i] == pytest.approx(float(measure(-quantity @ pnl, level)), rel=1e-10)
    assert result.failures == ()


def test_everything_sums(builder, market):
    book = _everything(builder).build(market, ("M1", "M2", "M3"))
    result = calculate_margin_requirements(book, market, CONFIG)
    assert result.failures == ()
    assert list(result.agreement_id) == list(book.agreements.agreement_id)
    totals = result.totals()
    for key in ("im_usd", "vm_usd", "add_ons_usd"):
        shares = sum(row[key] for row in result.by_manager.values())
        assert shares == pytest.approx(totals[key], rel=1e-12, abs=1e-6)
    assert list(result.by_manager) == ["M1", "M2", "M3"]
    empty = list(result.agreement_id).index("EMPTY")
    assert result.im_usd[empty] == result.vm_usd[empty] == 0.0
    assert (result.im_usd[:-1] > 0.0).all()
    json.dumps(result.to_dict(), allow_nan=False)


def test_repeats_bit_for_bit_and_ignores_the_order_of_positions(builder, market):
    book = _everything(builder).build(market, ("M1", "M2", "M3"))
    one, two = (calculate_margin_requirements(book, market, CONFIG) for _ in range(2))
    assert one.to_dict() == two.to_dict()
    builder.positions.reverse()
    other = calculate_margin_requirements(builder.build(market, ("M1", "M2", "M3")), market, CONFIG)
    assert other.im_usd == pytest.approx(one.im_usd, rel=1e-9)


def test_stress_weight_is_a_convex_blend_on_a_reported_period(builder, market):
    builder.agreement("NOW").agreement("BLEND", stress_weight=0.25).agreement(
        "STRESS", stress_weight=1.0
    )
    for name in ("NOW", "BLEND", "STRESS"):
        builder.position("FUT", name, "M1", 10.0).position("SWAP", name, "M2", 1e6)
    book, result = _margin(builder, market)
    now, blend, stress = result.im_usd
    assert blend == pytest.approx(0.75 * now + 0.25 * stress, rel=1e-12)
    first, last = worst_volatility_period(market.returns[:, [0, 2]], 250)
    dates = [str(market.dates[first]), str(market.dates[last])]
    assert result.basis["stress_period"] == {"BLEND": dates, "STRESS": dates}
    moves = overlapping_sums(market.returns[first : last + 1], 2)
    pnl = scenario_pnl(book.instruments, market, moves)
    loss = -(10.0 * pnl[0] + 1e6 * pnl[2])
    assert stress == pytest.approx(float(value_at_risk(loss, 0.99)), rel=1e-10)


def test_stress_period_is_an_agreements_own_and_not_the_funds(builder, market):
    # Oil has its crisis long after the index: one period for the fund would miss one of them.
    returns = market.returns.copy()
    returns[900:1150, 3] *= 8.0
    market = replace(market, returns=returns)
    for name in ("INDEX", "OIL"):
        builder.agreement(name, stress_weight=0.5)
    builder.position("FUT", "INDEX", "M1", 10.0)
    _, alone = _margin(builder, market)
    builder.position("CL", "OIL", "M1", 10.0)
    _, both = _margin(builder, market)
    assert both.im_usd[0] == alone.im_usd[0]
    assert both.basis["stress_period"]["INDEX"] == alone.basis["stress_period"]["INDEX"]
    first, last = worst_volatility_period(market.returns[:, [3]], 250)
    dates = [str(market.dates[row]) for row in (first, last)]
    assert both.basis["stress_period"]["OIL"] == dates
    assert abs(first - 900) <= 25


def test_margin_nets_across_managers_under_one_agreement(builder, market):
    builder.agreement("CCP-1")
    builder.position("FUT", "CCP-1", "M1", 30.0).position("FUT", "CCP-1", "M2", -30.0)
    _, result = _margin(builder, market)
    assert result.im_usd[0] == pytest.approx(0.0, abs=1e-6)


def test_tail_contributions_worked_number():
    loss = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, -2.0, 2.0]])
    es, shares = tail_contributions(loss, 0.5, True)
    assert (es, list(shares)) == (4.0, [3.0, 1.0])
    var, shares = tail_contributions(loss, 0.5, False)
    assert (var, list(shares)) == (2.0, [1.5, 0.5])
    assert tail_contributions(-np.ones((1, 4)), 0.5, True)[0] == 0.0


def test_simm_is_the_model_on_the_engines_sensitivities(builder, market):
    builder.agreement("CSA-S", **SIMM).agreement("CSA-T", **SIMM, im_threshold=50_000.0)
    for name in ("CSA-S", "CSA-T"):
        builder.position("SWAP", name, "M1", 1e6).position("FWD", name, "M2", 2e6)
    book, result = _margin(builder, market)
    crif = crif_from_positions(book, market)
    rows = crif.portfolio_id == "CSA-S"
    one = type(crif)(**{k: v[rows] for k, v in vars(crif).items()})
    assert result.im_usd[0] == simm_margin(one, "2.5", 10, "call").total
    assert result.im_usd[1] == pytest.approx(result.im_usd[0] - 50_000.0)
    assert result.basis["simm_version"] == "2.5"
    assert result.basis["im_before_threshold_usd"] == {"CSA-T": result.im_usd[0]}
    newer = _margin(builder, market, MarginConfig(simm_version="2.8+2512"))[1]
    assert newer.basis["simm_version"] == "2.8+2512"
    assert newer.im_usd[0] != result.im_usd[0]


def test_users_crif_replaces_only_the_agreements_it_names(builder, market):
    builder.agreement("CSA-S", **SIMM).agreement("CSA-T", **SIMM)
    for name in ("CSA-S", "CSA-T"):
        builder.position("SWAP", name, "M1", 1e6)
    book, plain = _margin(builder, market)
    crif = crif_from_positions(book, market)
    rows = crif.portfolio_id == "CSA-T"
    columns = {k: v[rows] for k, v in vars(crif).items()}
    columns["amount_usd"] = 2.0 * columns["amount_usd"]
    _, result = _margin(builder, market, crif=type(crif)(**columns))
    assert result.im_usd == pytest.approx([plain.im_usd[0], 2.0 * plain.im_usd[1]], rel=1e-12)
    columns["portfolio_id"] = np.full(int(rows.sum()), "NOBODY", dtype=object)
    _, result = _margin(builder, market, crif=type(crif)(**columns))
    assert [f.item for f in result.failures] == ["NOBODY"]


@pytest.mark.parametrize(
    ("as_of", "version"),
    [
        (date(2022, 12, 28), ("2.5", True)),
        (date(2025, 12, 4), ("2.7+2412", True)),
        (date(2025, 12, 5), ("2.8+2506", True)),  # close of business of the Friday before
        (date(2026, 11, 20), ("2.8+2512", True)),
        (date(2019, 1, 2), ("2.5", False)),
    ],
)
def test_simm_version_in_force(as_of, version):
    assert version_in_force(as_of, 10) == version


@pytest.mark.parametrize("side", ["call", "post"])
def test_schedule_by_hand(builder, market, side):
    builder.agreement("CSA-G", **SCHEDULE)
    builder.position("SWAP", "CSA-G", "M1", 1e6).position("FWD", "CSA-G", "M2", -2e6)
    book, result = _margin(builder, market, CONFIG.model_copy(update={"side": side}))
    swap, forward = value_per_unit(book.instruments, market)[[2, 4]]
    gross = 1e6 * 0.04 + 2e6 * 1.06 * 0.06  # ten-year rates, and FX on multiplier * level
    # What the fund posts depends on what it owes: its values with the other sign.
    values = np.array([1e6 * swap, -2e6 * forward]) * (1.0 if side == "call" else -1.0)
    ngr = max(values.sum(), 0.0) / np.maximum(values, 0.0).sum()
    assert result.im_usd[0] == pytest.approx(gross * (0.4 + 0.6 * ngr), rel=1e-12)
    alone = np.array([1e6 * 0.04, 2e6 * 1.06 * 0.06])  # NGR is 1 for each alone
    shares = [result.by_manager[m]["im_usd"] for m in ("M1", "M2")]
    assert shares == pytest.approx(result.im_usd[0] * alone / alone.sum(), rel=1e-12)


def test_cleared_vm_is_the_days_loss_exactly_by_manager(builder, market):
    builder.agreement("CCP-1")
    builder.position("FUT", "CCP-1", "M1", 10.0).position("CL", "CCP-1", "M2", -4.0)
    _, result = _margin(builder, market)
    last = market.returns[-1]
    loss_1 = -10.0 * 50.0 * 4000.0 * (1.0 - np.exp(-last[0]))
    loss_2 = 4.0 * 1000.0 * last[3]
    assert result.by_manager["M1"]["vm_usd"] == pytest.approx(loss_1, rel=1e-9)
    assert result.by_manager["M2"]["vm_usd"] == pytest.approx(loss_2, rel=1e-9)
    assert result.vm_usd[0] == pytest.approx(loss_1 + loss_2, rel=1e-12)


def test_bilateral_vm_is_the_csa_call_in_its_currency(builder, market):
    terms = {"vm_threshold": 1e4, "mta": 5e3, "rounding": 1e3, "currency": "EUR"}
    builder.agreement("OWES", **SIMM, **terms, vm_held=2e3)
    builder.agreement("IA", **SIMM, independent_amount=7e4)
    builder.position("SWAP", "OWES", "M1", -1e6)
    book, result = _margin(builder, market)
    owed_eur = 1e6 * value_per_unit(book.instruments, market)[2] / 1.06
    assert result.vm_usd[0] == pytest.approx(1.06 * 1e3 * np.ceil((owed_eur - 1e4 - 2e3) / 1e3))
    assert result.vm_usd[1] == 7e4
    # Nobody holds a position there, and nothing may vanish from the sum.
    assert result.by_manager[UNATTRIBUTED] == {
        "im_usd": 0.0, "vm_usd": 7e4, "add_ons_usd": 0.0,
    }  # fmt: skip
    assert result.by_manager["M1"]["vm_usd"] == pytest.approx(result.vm_usd[0])


def test_concentration_worked_number(builder):
    market = tiny_market(adv=np.full(6, 80e6))
    builder.agreement("CCP-1", broker_multiplier=1.5).agreement("CSA", **SIMM)
    builder.position("EQ", "CCP-1", "M1", 1e6).position("EQ", "CSA", "M1", 1e6)
    _, result = _margin(builder, market)
    sigma = ewma_volatility(market.returns, 0.97)[-1, 1]
    # e 100 million against f * ADV of 20 million: sqrt(5 - 1) = 2.
    assert result.add_ons["concentration"][0] == pytest.approx(sigma * 100e6 * 2.0, rel=1e-12)
    assert result.add_ons["concentration"][1] == 0.0
    assert result.add_ons["broker"][0] == pytest.approx(0.5 * result.im_usd[0], rel=1e-12)


def test_failures_name_the_item_and_the_rest_goes_on(builder):
    market = tiny_market()
    returns = np.array(market.returns)
    returns[:-100, 3] = np.nan  # oil has 100 days
    returns[:-600, 1] = np.nan  # the stock has 600
    market = tiny_market(returns=returns)
    builder.instrument("GHOST", "future", "NOWHERE").instrument(
        "PLN", "equity", "STK", currency="PLN"
    )
    for name in ("GOOD", "GHOSTS", "YOUNG", "SHORT", "MIXED"):
        builder.agreement(name)
    builder.agreement("ABROAD", currency="PLN")
    builder.position("FUT", "GOOD", "M1", 1.0).position("GHOST", "GHOSTS", "M1", 1.0)
    builder.position("CL", "YOUNG", "M1", 1.0).position("EQ", "SHORT", "M1", 1.0)
    builder.position("FUT", "MIXED", "M1", 1.0).position("PLN", "MIXED", "M1", 1.0)
    builder.position("FUT", "ABROAD", "M1", 1.0)
    _, result = _margin(builder, market)
    assert list(result.agreement_id) == ["GOOD", "SHORT", "MIXED"]
    by_item = {f.item: f for f in result.failures}
    assert set(by_item) == {"GHOST", "GHOSTS", "YOUNG", "STK", "PLN", "ABROAD"}
    assert by_item["YOUNG"].message.startswith("a lookback of 1000 days gives 99 scenarios of OIL")
    assert "uses these 599" in by_item["STK"].message
    assert "MIXED" in by_item["PLN"].where
    assert by_item["ABROAD"].reason == "CURRENCY_CONVERSION"
    assert result.im_usd[0] == pytest.approx(result.im_usd[2], rel=1e-12)
    assert result.basis["agreements"]["SHORT"]["scenarios"] == 599


def test_a_peg_without_a_floor_fails_its_agreements_only(builder):
    returns = np.array(tiny_market().returns)
    returns[:400, 4] = 0.0
    market = tiny_market(returns=returns, daily_vol_floor=np.zeros(6))
    builder.agreement("GOOD").agreement("PEG")
    builder.position("FUT", "GOOD", "M1", 1.0).position("FWD", "PEG", "M1", 1e6)
    _, result = _margin(builder, market)
    assert list(result.agreement_id) == ["GOOD"]
    assert "daily_vol_floor" in result.failures[0].message


def test_a_missing_volatility_factor_is_said(builder, market):
    builder.agreement("CCP-1")
    builder.instrument("P2", "option", "IDX", multiplier=50.0, strike=3900.0, right="P", vol=0.2,
                       vol_factor_id="VSTOXX", expiry="2023-03-17")  # fmt: skip
    builder.position("P2", "CCP-1", "M1", -5.0)
    _, result = _margin(builder, market)
    assert [f.item for f in result.failures] == ["VSTOXX"]
    assert result.im_usd[0] > 0.0


def test_a_bad_simm_mapping_leaves_the_other_agreements(builder):
    types = np.array(
        ["", "Risk_Equity", "Risk_IRCurve", "Risk_Commodity", "Risk_FX", ""], dtype=object
    )
    market = tiny_market(simm_risk_type=types)
    builder.agreement("CSA-S", **SIMM).agreement("CSA-T", **SIMM)
    builder.position("SWAP", "CSA-S", "M1", 1e6).position("FUT", "CSA-T", "M1", 1e6)
    _, result = _margin(builder, market)
    assert [f.item for f in result.failures] == ["FUT"]
    assert result.im_usd[0] > 0.0


def test_pro_rata():
    shares = pro_rata(np.array([10.0, 8.0]), np.array([1.0, 3.0, 0.0, 0.0]), np.array([0, 0, 1, 1]))
    assert list(shares) == [2.5, 7.5, 4.0, 4.0]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    from engine.fund.read import read_pack
    from engine.fund.sample import write_sample_fund
    from engine.market.packaged import packaged_factors, packaged_levels
    from engine.market.state import build_market

    market = build_market(packaged_factors(), packaged_levels(), date(2022, 12, 28)).value
    folder = tmp_path_factory.mktemp("sample")
    write_sample_fund(folder, 7, market)
    return read_pack(folder, packaged_factors()).book, market


def test_sample_fund_sums(sample):
    book, market = sample
    assert len(book.agreements) > 200
    assert len(book.positions) >= 10_000
    result = calculate_margin_requirements(book, market, CONFIG)
    stressed = project_stress_margin(book, market, result, CONFIG)
    failed = {f.item for f in result.failures} & set(book.agreements.agreement_id)
    assert set(result.agreement_id) | failed == set(book.agreements.agreement_id)
    for key in ("im_usd", "vm_usd", "add_ons_usd"):
        shares = sum(row[key] for row in result.by_manager.values())
        assert shares == pytest.approx(result.totals()[key], rel=1e-9, abs=1e-3)
    assert (np.diff(stressed.im_usd.sum(axis=1)) > 0.0).all()
    cleared = stressed.to_dict()["10x"]["by_kind"]["cleared"]
    assert cleared > 2.0 * result.im_usd[result.kind == "cleared"].sum()


def test_uncleared_margin_does_not_follow_volatility(sample):
    book, market = sample
    result = calculate_margin_requirements(book, market, CONFIG)
    stressed = project_stress_margin(book, market, result, CONFIG)
    rows = np.isin(result.model, ("simm", "schedule")) & (result.kind == "bilateral")
    same = stressed.im_usd[:, rows] - stressed.baseline_im_usd[rows]
    assert rows.sum() > 70
    assert np.abs(same).max() == 0.0


def test_the_worst_regulation_of_a_users_crif_is_the_margin(builder, market):
    builder.agreement("CSA", **SIMM).position("FUT", "CSA", "M1", 1.0)
    book = builder.build(market)
    rows = crif_from_positions(book, market)
    two = {name: np.concatenate([column, column]) for name, column in vars(rows).items()}
    two["amount_usd"] = np.concatenate([rows.amount_usd, 3.0 * rows.amount_usd])
    two["post_regulations"] = np.array(["USPR"] * len(rows) + ["ESA"] * len(rows), dtype=object)
    config = MarginConfig()
    plain = calculate_margin_requirements(book, market, config, rows)
    worst = calculate_margin_requirements(book, market, config, CrifTable(**two))
    assert worst.im_usd[0] == pytest.approx(3.0 * plain.im_usd[0], rel=1e-12)
    assert worst.by_manager["M1"]["im_usd"] == pytest.approx(worst.im_usd[0], rel=1e-12)
