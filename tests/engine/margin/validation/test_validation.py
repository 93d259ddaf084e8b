from __future__ import annotations

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest

from engine.domain.failures import FailureReason, InputError
from engine.margin.config import BacktestConfig
from engine.margin.validation.compare import (
    TOOLS,
    ValidationConfig,
    grid_models,
    simulated_coverage,
    validate_models,
)
from engine.margin.validation.responsiveness import ResponseConfig
from engine.margin.validation.simulated_returns import LAWS, simulated_returns

SEED = 2020
N_DAYS = 20_000
QUICK = ResponseConfig(n_paths=2, horizon_days=20)


def _config(**choices):
    series = {
        "stress_choice": "known",
        "window_start": date(2019, 1, 1),
        "window_end": date(2020, 12, 31),
        **choices.pop("series", {}),
    }
    return ValidationConfig(series=BacktestConfig(**series), response=QUICK, **choices)


@pytest.fixture(scope="module")
def result(spx):
    return validate_models(*spx, _config())


def _row(result, model_id, tool="none"):
    rows = result.table[(result.table["model_id"] == model_id) & (result.table["tool"] == tool)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_every_model_and_tool_has_a_row(result):
    version, grid = grid_models()
    assert result.rulebook == version == "validation_models:2026.11.20"
    assert list(zip(result.table["model_id"], result.table["tool"], strict=True)) == [
        (model, tool) for model in grid for tool in TOOLS
    ]
    assert result.failures == ()
    assert (result.first_day, result.last_day) == ("1994-12-12", "2022-12-27")
    assert set(result.table["mark"]) == {"verified", "indicative"}


def test_published_rows(result):
    for model, tool, breaches, ratio, five_days in (
        ("fhs_97", "none", 76, 9.25, 1.11),
        ("fhs_97", "long_run_floor", 32, 6.25, 1.02),
        ("fhs_97", "buffer", 43, 7.40, 1.02),
        ("fhs_99", "none", 77, 4.85, 0.85),
        ("fhs_es", "none", 77, 8.84, 1.02),
        ("hs", "none", 108, 1.50, 0.10),
        ("flat", "none", 296, 1.00, 0.00),
    ):
        row = _row(result, model, tool)
        assert row["breaches"] == breaches
        assert row["peak_to_trough"] == pytest.approx(ratio, abs=0.005)
        assert row["max_5d"] == pytest.approx(five_days, abs=0.005)


def test_p_values_and_lights_agree_with_scipy(result):
    from scipy.stats import binom, chi2

    for row in result.table.itertuples():
        assert row.kupiec_p == pytest.approx(chi2.sf(row.kupiec_lr, 1), rel=1e-9, abs=1e-300)
        assert row.conditional_p == pytest.approx(chi2.sf(row.conditional_lr, 2), rel=1e-9)
        below = binom.cdf(row.breaches, row.n, row.expected_rate)
        light = "green" if below < 0.95 else "yellow" if below < 0.9999 else "red"
        assert row.light == light


def test_calm_is_paid_for(result):
    """No tool lowers the peak ratio and the mean margin together; a floor never breaches more."""
    for model in ("fhs_97", "fhs_99", "fhs_es", "normal", "t", "t_es", "scan_3"):
        plain = _row(result, model)
        for tool in TOOLS[1:]:
            row = _row(result, model, tool)
            assert row["peak_to_trough"] <= plain["peak_to_trough"] + 1e-12
            assert row["mean_margin"] > plain["mean_margin"]
            assert row["breach_rate"] <= plain["breach_rate"]
    # Parametric models differ by their multiple alone.
    low, high = _row(result, "normal"), _row(result, "scan_3")
    assert low["peak_to_trough"] == pytest.approx(high["peak_to_trough"], rel=1e-12)
    assert high["mean_margin"] / low["mean_margin"] == pytest.approx(3 / 2.3263478740408408)
    assert low["breaches"] > high["breaches"]


def test_json_has_no_nan(result):
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert len(found["rows"]) == len(result.table)
    assert found["rows"][-1]["step2x_half_life_days"] is None
    assert found["rows"][0]["period_overlapping"] is True
    pd.testing.assert_frame_equal(result.tables()["validation"], result.table)


def test_models_that_do_not_apply_are_named(spx):
    config = _config(series={"returns": "absolute"}, models=("scan_6", "flat"), tools=("none",))
    found = validate_models(*spx, config)
    assert list(found.table["model_id"]) == ["flat"]
    assert [f.item for f in found.failures] == ["scan_6"]
    assert found.failures[0].reason == FailureReason.NOT_APPLICABLE
    assert "returns = log" in found.failures[0].message
    with pytest.raises(InputError, match="returns = log"):
        validate_models(*spx, _config(series={"returns": "absolute"}, models=("scan_6",)))
    with pytest.raises(InputError, match="'magic'.*fhs_97"):
        validate_models(*spx, _config(models=("magic",)))
    level, dates = spx
    with pytest.raises(InputError, match="flat series"):
        validate_models(np.full(2000, 7.0), dates[:2000], _config(models=("hs",)))
    with pytest.raises(InputError, match="--returns absolute"):
        validate_models(-level, dates, _config(models=("hs",)))


@pytest.mark.conformance
def test_real_panel_factors_can_be_validated(shared_folder):
    from engine.market.levels import read_levels

    panel = read_levels(shared_folder / "history" / "real_panel.csv")
    for factor, returns in (("EURUSD", "log"), ("UST10", "absolute"), ("WTI", "absolute")):
        config = _config(series={"returns": returns}, models=("fhs_97", "hs"), tools=("none",))
        found = validate_models(panel.column(factor), panel.dates, config)
        filtered, plain = _row(found, "fhs_97"), _row(found, "hs")
        assert 0.008 <= filtered["breach_rate"] <= 0.014
        assert filtered["christoffersen_p"] > plain["christoffersen_p"]
        assert filtered["peak_to_trough"] > 1.5 * plain["peak_to_trough"]


@pytest.mark.parametrize("law", ["iid_t5", "garch"])
def test_filtered_margin_covers_simulated_returns(law):
    found = simulated_coverage(BacktestConfig(), law, N_DAYS, SEED)
    assert found.n == N_DAYS
    assert 0.008 <= found.rate <= 0.012
    assert found.kupiec_p > 0.05


def test_unfiltered_margin_fails_where_volatility_breaks():
    """Negative control: the same harness finds a model that is wrong."""
    plain = simulated_coverage(BacktestConfig(model="hs"), "garch_break", N_DAYS, SEED)
    assert not 0.008 <= plain.rate <= 0.012
    assert plain.light == "red"
    filtered = simulated_coverage(BacktestConfig(), "garch_break", N_DAYS, SEED)
    assert 0.008 <= filtered.rate <= 0.012
    # Without a break its rate passes, and the test of independence still finds it out.
    garch = simulated_coverage(BacktestConfig(model="hs"), "garch", N_DAYS, SEED)
    assert garch.christoffersen_p < 1e-9


def test_simulated_laws():
    returns = {law: simulated_returns(law, 200_000, 5) for law in LAWS}
    assert returns["iid_t5"].std() == pytest.approx(1.0, abs=0.02)
    assert returns["garch"].std() == pytest.approx(1.0, abs=0.05)
    wild = (np.arange(200_000) // 1250) % 2 == 1
    np.testing.assert_array_equal(returns["garch_break"][wild], 4.0 * returns["garch"][wild])
    np.testing.assert_array_equal(returns["garch_break"][~wild], returns["garch"][~wild])
    square = returns["garch"] ** 2
    assert np.corrcoef(square[1:], square[:-1])[0, 1] > 0.1
    assert abs(np.corrcoef(returns["garch"][1:], returns["garch"][:-1])[0, 1]) < 0.01
    assert not np.array_equal(returns["iid_t5"], simulated_returns("iid_t5", 200_000, 6))
    with pytest.raises(InputError, match="cauchy"):
        simulated_returns("cauchy", 10, 1)
