"""The fund of a book as one institution, and a scenario as a shock of its buckets."""

from __future__ import annotations

import numpy as np
import pytest

from engine.avalanche.exposures import Exposures
from engine.avalanche.system.crowding import modelled_crowding
from engine.avalanche.system.fund import (
    BucketIndices,
    bucket_indices,
    fund_institution,
    market_impact,
    shock_of,
)
from engine.avalanche.system.institutions import Institutions
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario
from engine.market.volatility import daily_volatility
from tests.support.tiny_fund import tiny_market

BUCKETS = np.array(["equity", "equity", "rates", "energy", "fx", "vol"], dtype=object)


@pytest.fixture(scope="module")
def market() -> MarketState:
    return tiny_market(bucket=BUCKETS)


def exposures(**delta: float) -> Exposures:
    order = ["IDX", "STK", "UST", "OIL", "EURUSD", "VIX"]
    row = np.array([[delta.get(name, 0.0) for name in order]])
    return Exposures(row, np.zeros_like(row), np.zeros(1))


def indices(market: MarketState, **delta: float) -> BucketIndices:
    return bucket_indices(exposures(**delta), market)


def test_a_bucket_is_an_index_of_one_per_cent_volatility(market: MarketState) -> None:
    sigma = daily_volatility(market)
    found = indices(market, IDX=2e6, UST=-5e5)
    assert found.bucket == ("equity", "rates")
    expected = [2e6 * sigma[0] / 0.01, -5e5 * sigma[2] / 0.01]
    np.testing.assert_allclose(found.holding_usd, expected, rtol=1e-12)
    assert found.volume_usd["rates"] == pytest.approx(1e12 * sigma[2] / 0.01, rel=1e-12)


def test_profit_of_the_index_is_that_of_the_factor(market: MarketState) -> None:
    found = indices(market, IDX=2e6, UST=-5e5)
    scenario = Scenario(scenario_id="s", name="s", moves={"IDX": -0.04, "UST": 0.3})
    falls = shock_of(scenario, found, market).falls
    profit = [-falls[name] * found.holding_usd[b] for b, name in enumerate(found.bucket)]
    np.testing.assert_allclose(profit, [2e6 * -0.04, -5e5 * 0.3], rtol=1e-12)


def test_margin_rate_and_liquidity(market: MarketState) -> None:
    found = indices(market, IDX=2e6, UST=-5e5)
    fund = fund_institution("FUND", found, 3e5, 1e5, 2e4)
    assert float(np.sum(fund.margin * np.abs(fund.holding))) == pytest.approx(3e5, rel=1e-12)
    assert fund.equity[0] == pytest.approx(4e5, rel=1e-12)
    assert fund.cash_buffer[0] == 2e4


def test_crowding_of_a_fund_among_its_likes(market: MarketState) -> None:
    found = indices(market, IDX=2e6, UST=-5e5)
    fund = fund_institution("FUND", found, 3e5, 1e5, 2e4)
    peer = Institutions(
        **{
            **vars(fund),
            "institution_id": np.array(["PEER"], dtype=object),
            "holding": 3.0 * fund.holding,
            "cash": 3.0 * fund.cash,
            "cash_buffer": 3.0 * fund.cash_buffer,
        }
    )
    scenario = Scenario(scenario_id="fall", name="fall", moves={"IDX": -0.06})
    shock = shock_of(scenario, found, market, {"FUND": (1e4,), "PEER": (3e4,)})
    crowding = modelled_crowding(fund, peer, [shock], market_impact(0.8), found.volume_usd)
    assert crowding == {
        "equity": pytest.approx(3.0, rel=1e-9),
        "rates": pytest.approx(3.0, rel=1e-9),
    }


def test_impact_of_a_days_volume() -> None:
    config = market_impact(0.8, 2.0, 9)
    assert config.steps == 9
    assert -np.log1p(-config.price_impact) == pytest.approx(0.016, rel=1e-12)
    assert market_impact(0.8).steps == 6


def test_wrong_input(market: MarketState) -> None:
    found = indices(market, IDX=2e6)
    with pytest.raises(InputError, match="no exposure to any factor"):
        indices(market)
    with pytest.raises(InputError, match="initial margin 0"):
        fund_institution("FUND", found, 0.0, 1.0, 0.0)
    with pytest.raises(InputError, match="factor 'GOLD' is not in the market"):
        shock_of(Scenario(scenario_id="s", name="s", moves={"GOLD": 1.0}), found, market)
    with pytest.raises(InputError, match="bucket equity falls by"):
        shock_of(Scenario(scenario_id="s", name="s", moves={"IDX": -50.0}), found, market)
