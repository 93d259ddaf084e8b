"""The margin index: its step rule, its floors, and who its members are."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.stress.early_warning.config import EarlyWarningConfig
from engine.stress.early_warning.index import margin_index, requirement, stepwise
from engine.stress.early_warning.panel import build_panel, excluded_factors
from tests.support.tiny_fund import FACTORS, text, tiny_market

SMALL = EarlyWarningConfig(
    burn_in_days=500, turbulence_days=100, rank_days=60, resamples=50, use_synthetic=True
)


def observed(**changes: Any) -> MarketState:
    return tiny_market(synthetic=np.zeros(len(FACTORS), dtype=np.bool_), **changes)


def test_steps_go_up_on_the_next_day() -> None:
    required = np.array([[1.00], [1.05], [1.12], [1.30], [1.30]])
    assert stepwise(required, 0.10, 20)[:, 0].tolist() == [1.00, 1.00, 1.00, 1.12, 1.30]


def test_steps_go_down_only_after_quiet_days_in_a_row() -> None:
    required = np.full((12, 1), 0.8)
    required[0], required[4] = 1.0, 0.95
    # Below on rows 1 to 3, interrupted on row 4, below again on rows 5 to 8: in force on row 9.
    assert stepwise(required, 0.10, 4)[:, 0].tolist() == [*[1.0] * 9, *[0.8] * 3]
    required[4] = 0.8
    assert stepwise(required, 0.10, 4)[:, 0].tolist() == [*[1.0] * 5, *[0.8] * 7]


def test_requirement_is_never_below_its_own_mean_nor_the_floor() -> None:
    market = observed(daily_vol_floor=np.array([0.5, *[1e-5] * 5]))
    panel = build_panel(market, None, SMALL)
    assert "IDX" not in panel.factor_id  # its moves are all below a floor of 50 %
    required = requirement(panel, SMALL)
    wide = requirement(panel, SMALL.model_copy(update={"floor_days": 1}))
    assert np.all(required >= wide * (1 - 1e-12))
    assert np.any(required > 1.01 * wide)


def test_index_is_the_weighted_sum_and_scales_with_the_weights() -> None:
    market = observed()
    weight = np.array([2.0, 1.0, 0.0, 0.0, 3.0, 0.0])
    panel = build_panel(market, weight, SMALL)
    index = margin_index(panel, SMALL)
    assert panel.factor_id.tolist() == ["IDX", "STK", "EURUSD"]
    np.testing.assert_allclose(index.value, index.posted @ np.array([2.0, 1.0, 3.0]), rtol=1e-12)
    doubled = margin_index(build_panel(market, 2 * weight, SMALL), SMALL)
    np.testing.assert_allclose(doubled.value, 2 * index.value, rtol=1e-12)


def test_members_by_rule() -> None:
    returns = tiny_market().returns.copy()
    returns[:, 1] *= 1e-6  # sleepy: always below its floor
    returns[:700, 3] = np.nan  # begins too late
    returns[::3, 2] = returns[1::3, 2] = 0.0  # mostly without a move
    market = observed(returns=returns, daily_vol_floor=np.full(6, 1e-4))
    panel = build_panel(market, None, SMALL)
    why = {failure.item: failure.message for failure in panel.excluded}
    assert panel.factor_id.tolist() == ["IDX", "EURUSD"]
    assert "pegged or sleepy" in why["STK"]
    assert "pegged or sleepy" in why["UST"]
    assert "set a later first_day" in why["OIL"]
    assert "signal" in why["VIX"]
    assert panel.covered_share == pytest.approx(2 / 6)


def test_a_later_first_day_lets_late_factors_in() -> None:
    returns = tiny_market(2400).returns.copy()
    returns[:900, 3] = np.nan
    market = tiny_market(2400, returns=returns)
    start = market.dates[900].item()
    panel = build_panel(market, None, SMALL.model_copy(update={"first_day": start}))
    assert "OIL" in panel.factor_id
    assert panel.dates[0].item() == start


def test_simulated_and_excluded_factors_are_left_out_unless_asked_for() -> None:
    names = text(["IDX", "EURCHF", "UST", "HH", "EURUSD", "VIX"])
    synthetic = np.array([False, False, True, False, False, False])
    market = tiny_market(factor_id=names, synthetic=synthetic)
    config = SMALL.model_copy(update={"use_synthetic": False})
    assert build_panel(market, None, config).factor_id.tolist() == ["IDX", "EURUSD"]
    kept = config.model_copy(update={"keep_factors": ("EURCHF",), "leave_out": ("EURUSD",)})
    assert build_panel(market, None, kept).factor_id.tolist() == ["IDX", "EURCHF"]
    rulebook = excluded_factors()
    assert rulebook["EURCHF"].endswith("(verified)")
    assert rulebook["TTF"].endswith("(indicative)")


def test_volatility_source() -> None:
    assert build_panel(observed(), None, SMALL).volatility_source == "VIX, level"
    short = observed().returns.copy()
    short[:600, 5] = np.nan
    panel = build_panel(observed(returns=short), None, SMALL)
    assert panel.volatility_source == "IDX, realised over 10 days"
    last = observed().returns[-10:, 0]
    assert panel.volatility[-1] == pytest.approx(np.sqrt(np.mean(last**2)), rel=1e-12)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="simulated; give an observed one"):
        build_panel(tiny_market(), None, SMALL.model_copy(update={"use_synthetic": False}))
    with pytest.raises(InputError, match="give a longer history"):
        build_panel(tiny_market(400), None, SMALL)
    with pytest.raises(InputError, match="after the last day"):
        build_panel(tiny_market(), None, SMALL.model_copy(update={"as_of": date(2030, 1, 1)}))
    with pytest.raises(InputError, match="no day of the market"):
        build_panel(tiny_market(), None, SMALL.model_copy(update={"as_of": date(1990, 1, 1)}))
    with pytest.raises(ValueError, match="must be below critical"):
        EarlyWarningConfig(high=0.95)
    with pytest.raises(ValueError, match="before that a signal has no rank"):
        EarlyWarningConfig(burn_in_days=400)
