"""CRIF rows of positions: scaling, labels, currencies, and agreement with bumped revaluation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from engine.domain.crif import CrifTable
from engine.margin.simm import vocabulary
from engine.margin.simm.validate import validate_crif
from engine.pricing import sensitivities
from engine.pricing.greeks import factor_greeks
from engine.pricing.sensitivities import crif_from_positions
from engine.pricing.value import value_per_unit


def rows(crif: CrifTable) -> dict[tuple[str, ...], float]:
    """Return amounts summed by trade, risk type, qualifier, bucket and labels."""
    total: dict[tuple[str, ...], float] = defaultdict(float)
    for i in range(len(crif)):
        key = tuple(
            str(getattr(crif, name)[i])
            for name in ("trade_id", "risk_type", "qualifier", "bucket", "label1", "label2")
        )
        total[key] += float(crif.amount_usd[i])
    return dict(total)


def test_tenors_are_those_of_the_margin_model() -> None:
    assert sensitivities.TENOR_LABELS == vocabulary.TENORS
    assert sensitivities.CREDIT_TENOR_LABELS == vocabulary.CREDIT_TENORS
    assert np.allclose(np.array(vocabulary.TENOR_DAYS) / 365, sensitivities.TENOR_YEARS)
    names = {kind.name for kind in vocabulary.RISK_TYPES}
    assert names.issuperset(sensitivities.VOL_RISK_TYPE)
    assert names.issuperset(sensitivities.VOL_RISK_TYPE.values())


def test_worked_swap(make_instruments, make_book, market) -> None:
    swap = make_instruments(
        {"kind": "swap", "factor_id": "UST10", "fixed_rate": 4.0, "tenor_years": 10.0}
    )
    crif = crif_from_positions(make_book(swap, (0, 1e7, "simm")), market)
    found = rows(crif)
    assert found == {("P0", "Risk_IRCurve", "USD", "1", "10y", "OIS"): pytest.approx(8110.895779)}
    assert crif.product_class.tolist() == ["RatesFX"]
    assert crif.portfolio_id.tolist() == ["CSA-0"]


def test_only_simm_agreements_are_written(make_instruments, make_book, market) -> None:
    instruments = make_instruments({"kind": "equity"}, {"kind": "equity", "factor_id": "NOPE"})
    book = make_book(instruments, (0, 1.0, "fhs_es"), (1, 1.0, "schedule"), (0, 2.0, "simm"))
    crif = crif_from_positions(book, market)
    assert set(crif.trade_id) == {"P2"}
    assert set(crif.portfolio_id) == {"CSA-2"}
    none = crif_from_positions(make_book(instruments, (0, 1.0, "fhs_es")), market)
    assert len(none) == 0


def test_every_kind_is_valid_and_scaled(every_kind, make_book, market) -> None:
    quantity = 3.0
    book = make_book(every_kind, *((i, quantity, "simm") for i in range(len(every_kind))))
    crif = crif_from_positions(book, market)
    assert validate_crif(crif).failures == ()
    found = rows(crif)
    greeks, value = factor_greeks(every_kind, market), value_per_unit(every_kind, market)
    unit = quantity * market.usd_per(every_kind.currency)
    delta, vega, pv = greeks.delta * unit, greeks.vega * unit, value * unit
    expected = {
        # Log factors: delta is per 1.0 of log return. Absolute commodity: per 1 USD, level 79.
        ("P0", "Risk_Equity", "SPX", "11", "", ""): 0.01 * delta[0],
        ("P2", "Risk_IRCurve", "USD", "1", "3m", "OIS"): 0.01 * delta[2],
        ("P3", "Risk_EquityVol", "SPX", "11", "1y", ""): 0.01 * vega[3],
        ("P5", "Risk_Commodity", "WTI", "2", "", ""): 0.01 * 79 * delta[5],
        ("P5", "Risk_CommodityVol", "WTI", "2", "1y", ""): 0.01 * vega[5],
        ("P6", "Risk_IRCurve", "USD", "1", "10y", "OIS"): 0.01 * delta[6],
        ("P6", "Risk_IRVol", "USD", "", "1y", ""): 0.22 * vega[6],
        ("P7", "Risk_FX", "EUR", "", "", ""): 0.01 * delta[7],
        ("P7", "Risk_FX", "USD", "", "", ""): 0.01 * (pv[7] - delta[7]),
        ("P7", "Risk_FXVol", "EURUSD", "", "1y", ""): 0.01 * vega[7],
        # The spread is a log factor at 0.8 %: one basis point is 0.01 of the level's unit.
        ("P9", "Risk_CreditQ", "CDXIG", "7", "5y", "USD"): 0.01 * delta[9] / 0.8,
        ("P10", "Risk_FX", "USD", "", "", ""): 0.01 * delta[10],
        ("P10", "Risk_FX", "JPY", "", "", ""): 0.01 * (pv[10] - delta[10]),
        ("P11", "Risk_Equity", "SX5E", "11", "", ""): 0.01 * delta[11],
        ("P11", "Risk_FX", "EUR", "", "", ""): 0.01 * pv[11],
        ("P12", "Risk_IRCurve", "USD", "1", "10y", "OIS"): 0.01 * delta[12],
    }
    for key, amount in expected.items():
        assert found[key] == pytest.approx(amount, rel=1e-12), key
    # Futures settle every day: no present value, so no currency row.
    assert not [key for key in found if key[0] in ("P1", "P2") and key[1] == "Risk_FX"]
    classes = dict(zip(crif.trade_id, crif.product_class, strict=True))
    assert [classes[f"P{i}"] for i in (0, 5, 6, 7, 9, 11)] == [
        "Equity", "Commodity", "RatesFX", "RatesFX", "Credit", "Equity",
    ]  # fmt: skip


def test_currency_rows_equal_bumped_usd_value(make_instruments, make_book, make_market) -> None:
    forward = make_instruments(
        {"kind": "fx_forward", "factor_id": "USDJPY", "currency": "JPY", "strike": 130.0,
         "expiry": "2023-06-28", "multiplier": 1e6},
    )  # fmt: skip
    book = make_book(forward, (0, 5.0, "simm"))
    found = rows(crif_from_positions(book, make_market()))

    def usd_value(log_move_of_yen: float) -> float:
        rate = 134.0 * np.exp(-log_move_of_yen)
        return 5.0 * float(value_per_unit(forward, make_market(USDJPY=rate))[0]) / rate

    h = 1e-4
    slope = (usd_value(h) - usd_value(-h)) / (2 * h)
    yen = found[("P0", "Risk_FX", "JPY", "", "", "")]
    assert yen == pytest.approx(0.01 * slope, rel=1e-7)
    # 5 million dollars bought forward: yen value of the strike is the short leg.
    assert yen == pytest.approx(-0.01 * 5e6 * 130 / 134, rel=1e-12)


@pytest.mark.parametrize(
    ("tenor", "label"),
    [(0.01, "2w"), (0.2, "3m"), (1.5, "1y"), (4.0, "3y"), (7.0, "5y"), (8.0, "10y"), (60.0, "30y")],
)
def test_nearest_tenor(make_instruments, make_book, market, tenor: float, label: str) -> None:
    swap = make_instruments(
        {"kind": "swap", "factor_id": "UST10", "fixed_rate": 4.0, "tenor_years": tenor}
    )
    crif = crif_from_positions(make_book(swap, (0, 1e7, "simm")), market)
    assert crif.label1.tolist() == [label]


def test_option_expiry_gives_the_vega_tenor(make_instruments, make_book, market) -> None:
    option = {"kind": "option", "strike": 3900.0, "right": "C", "vol": 0.2}
    credit = {"kind": "option", "factor_id": "CDXIG", "strike": 1.0, "right": "C", "vol": 0.5}
    instruments = make_instruments(
        {**option, "expiry": "2023-01-11"},
        {**option, "expiry": "2022-12-28"},
        {**credit, "expiry": "2023-03-28"},
    )
    book = make_book(instruments, *((i, 100.0, "simm") for i in range(3)))
    crif = crif_from_positions(book, market)
    vega = {
        (str(t), str(r)): (str(label), str(second))
        for t, r, label, second in zip(
            crif.trade_id, crif.risk_type, crif.label1, crif.label2, strict=True
        )
        if "Vol" in r
    }
    assert vega == {
        ("P0", "Risk_EquityVol"): ("2w", ""),
        ("P2", "Risk_CreditVol"): ("1y", "USD"),
    }


def test_unmapped_factors_are_named(make_instruments, make_book, market) -> None:
    book = make_book(make_instruments({"kind": "equity"}), (0, 1.0, "simm"))

    def with_column(**column: str) -> object:
        table = {
            name: np.full(len(market.factors), text, dtype=np.object_)
            for name, text in column.items()
        }
        return replace(market, factors=replace(market.factors, **table))

    with pytest.raises(ValueError, match="simm_risk_type is not one of .* for: equity-0"):
        crif_from_positions(book, with_column(simm_risk_type=""))
    with pytest.raises(ValueError, match="pair such as EURUSD for: equity-0"):
        crif_from_positions(book, with_column(simm_risk_type="Risk_FX"))
    with pytest.raises(ValueError, match="gives a tenor for: equity-0"):
        crif_from_positions(book, with_column(simm_risk_type="Risk_IRCurve"))
    dear = make_book(make_instruments({"kind": "equity", "currency": "CHF"}), (0, 1.0, "simm"))
    with pytest.raises(ValueError, match="no USD rate for the currency of: equity-0"):
        crif_from_positions(dear, market)
