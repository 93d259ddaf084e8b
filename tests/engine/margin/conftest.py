"""Fixtures of the margin tests."""

from __future__ import annotations

import numpy as np
import pytest

from engine.domain.market import MarketState
from tests.support.tiny_fund import FundBuilder, tiny_market


@pytest.fixture(scope="session")
def spx() -> tuple[np.ndarray, np.ndarray]:
    """Levels and dates of the packaged US equity index, 1990-01-02 to 2022-12-28."""
    from engine.market.packaged import packaged_levels

    history = packaged_levels()
    level = history.column("SPX")
    known = np.isfinite(level)
    return level[known], history.dates[known]


@pytest.fixture(scope="session")
def market() -> MarketState:
    """Six factors with 1,600 days of simulated returns."""
    return tiny_market()


@pytest.fixture
def builder() -> FundBuilder:
    """An empty fund with a few instruments."""
    return (
        FundBuilder()
        .instrument("FUT", "future", "IDX", multiplier=50.0)
        .instrument("EQ", "equity", "STK")
        .instrument("SWAP", "swap", "UST", fixed_rate=3.5, tenor_years=10.0)
        .instrument("CL", "future", "OIL", multiplier=1000.0)
        .instrument("FWD", "fx_forward", "EURUSD", strike=1.05, expiry="2023-03-15")
        .instrument(
            "PUT", "option", "IDX", multiplier=50.0, strike=3900.0, right="P",
            vol=0.22, vol_factor_id="VIX", expiry="2023-03-17",
        )
    )  # fmt: skip
