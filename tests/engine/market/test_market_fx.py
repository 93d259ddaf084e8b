"""USD per unit of each currency: direct pairs, inverses, crosses."""

from __future__ import annotations

import pytest

from engine.market.fx import usd_per_unit


def test_direct_inverse_and_cross() -> None:
    rates = usd_per_unit({"EURUSD": 1.25, "EURCHF": 1.0, "USDJPY": 160.0})
    assert rates == {"USD": 1.0, "EUR": 1.25, "CHF": 1.25, "JPY": 0.00625}


def test_a_pair_with_usd_goes_before_a_cross() -> None:
    rates = usd_per_unit({"EURCHF": 1.0, "EURUSD": 1.25, "USDCHF": 0.5})
    assert rates["CHF"] == 2.0


def test_chain_of_crosses_is_followed_in_any_order() -> None:
    rates = usd_per_unit({"AAABBB": 2.0, "BBBCCC": 3.0, "CCCUSD": 0.5})
    assert rates["AAA"] == pytest.approx(3.0)


def test_unconnected_currency_and_other_ids_are_absent() -> None:
    assert usd_per_unit({"SEKNOK": 1.0, "EURUSD1": 9.0, "GOLD": 1800.0}) == {"USD": 1.0}
