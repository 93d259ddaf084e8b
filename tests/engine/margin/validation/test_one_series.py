from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.config import BacktestConfig
from engine.margin.historical import ewma_volatility
from engine.margin.validation.one_series import (
    LossSeries,
    base_margin,
    expected_rate,
    stress_rows,
    tool_margin,
    volatility_multiple,
)

SEED = 153
LOOKBACK = 120
SMALL = {"lookback_days": LOOKBACK, "seed_days": 50, "stress_days": 40, "floor_days": 260,
         "buffer_mean_days": 30, "close_out_days": 150}  # fmt: skip


def _config(**choices):
    return BacktestConfig(**{**SMALL, **choices})


def _series(columns=2, n=400, begin=LOOKBACK):
    rng = np.random.default_rng(SEED)
    loss = rng.standard_t(5, (n, columns)) * 0.01
    loss[60:100] *= 4.0
    return LossSeries(loss, np.datetime64("2001-01-01") + np.arange(n), begin)


def test_multiples_of_volatility():
    from scipy.stats import norm, t

    assert volatility_multiple(_config(model="normal")) == pytest.approx(2.3263478740, rel=1e-9)
    assert volatility_multiple(_config(model="t")) == pytest.approx(2.606464, abs=5e-7)
    assert volatility_multiple(_config(model="t_es")) == pytest.approx(2.727802, abs=5e-7)
    assert volatility_multiple(_config(model="scan", scan_multiple=4.5)) == 4.5
    # With many degrees of freedom the law is normal: ES = density / (1 - alpha).
    near = volatility_multiple(_config(model="t_es", degrees_of_freedom=1e7))
    assert near == pytest.approx(norm.pdf(norm.ppf(0.975)) / 0.025, rel=1e-6)
    # ES by numerical integration of the quantiles.
    u = 0.975 + 0.025 * (np.arange(200_000) + 0.5) / 200_000
    es = math.sqrt(3 / 5) * t.ppf(u, 5).mean()
    assert volatility_multiple(_config(model="t_es")) == pytest.approx(es, rel=1e-4)


def test_rate_each_model_claims():
    assert expected_rate(_config()) == pytest.approx(0.01)
    assert expected_rate(_config(confidence=0.995)) == pytest.approx(0.005)
    assert expected_rate(_config(model="fhs_es")) == 0.01
    assert expected_rate(_config(model="t_es")) == pytest.approx(0.008445, abs=5e-7)
    assert expected_rate(_config(model="close_out", close_out_days=2499)) == pytest.approx(1 / 2500)
    assert expected_rate(_config(model="flat", target_breach_rate=0.03)) == 0.03


def test_volatility_models_are_multiples_of_ewma():
    series = _series()
    sigma = ewma_volatility(series.loss, 0.97, 50)[LOOKBACK + 1 :]
    for model in ("normal", "t", "t_es", "scan"):
        config = _config(model=model)
        margin = base_margin(series, config, 4)
        assert margin.shape == (280, 2)
        np.testing.assert_allclose(margin, 2.0 * volatility_multiple(config) * sigma, rtol=1e-12)


def test_scan_floor_is_over_the_margin_period():
    series = _series()
    config = _config(model="scan", scan_floor=0.5, mpor_days=4)
    assert (base_margin(series, config, 4) == 0.5).all()
    np.testing.assert_allclose(base_margin(series, config, 1), 0.25, rtol=1e-15)
    np.testing.assert_allclose(
        base_margin(series, _config(model="flat", flat_rate=0.12, mpor_days=4), 1), 0.06, rtol=1e-15
    )


def test_flat_is_set_once_from_the_first_days():
    series = _series()
    margin = base_margin(series, _config(model="flat"), 1)
    first = np.sort(series.loss[:LOOKBACK], axis=0)[-1]  # k = floor(120 * 0.01) = 1
    np.testing.assert_allclose(margin, np.broadcast_to(first, margin.shape), rtol=1e-15)


def test_close_out_equals_a_search_over_all_paths():
    series = _series(columns=1)
    margin = base_margin(series, _config(model="close_out"), 3)[:, 0]
    loss = series.loss[:, 0]
    for close in (LOOKBACK, 200, 399):
        start = max(0, close - 149)
        worst = max(
            loss[i : i + length].sum()
            for length in (1, 2, 3)
            for i in range(start, close - length + 2)
        )
        assert margin[close - LOOKBACK] == pytest.approx(worst, rel=1e-12)
    assert (margin >= base_margin(series, _config(model="close_out"), 1)[:, 0]).all()


def test_filtered_and_unfiltered_tails():
    series = _series(columns=1)
    loss = series.loss[:, 0]
    sigma = ewma_volatility(loss, 0.97, 50)
    z = loss / sigma[:-1]
    close = 250
    window = slice(close - LOOKBACK + 1, close + 1)
    for model, expected in (
        ("hs", np.sort(loss[window])[-1]),
        ("fhs", np.sort(z[window])[-1] * sigma[close + 1]),
        ("fhs_es", np.sort(z[window])[-3:].mean() * sigma[close + 1]),
    ):
        margin = base_margin(series, _config(model=model), 1)[close - LOOKBACK, 0]
        assert margin == pytest.approx(expected, rel=1e-12)


def test_columns_do_not_touch_each_other():
    both = _series(columns=3)
    alone = LossSeries(both.loss[:, 1:2].copy(), both.day, both.begin)
    for model in ("fhs", "hs", "t", "close_out", "flat"):
        for apc in ("none", "buffer", "stress_weight", "stress_floor", "long_run_floor", "step"):
            config = _config(model=model, apc=apc, stress_choice="known")
            base, single = base_margin(both, config, 1), base_margin(alone, config, 1)
            np.testing.assert_array_equal(base[:, 1:2], single)
            np.testing.assert_array_equal(
                tool_margin(base, both, config, 1)[:, 1:2], tool_margin(single, alone, config, 1)
            )


def test_no_margin_looks_ahead():
    whole = _series(n=400)
    cut = LossSeries(whole.loss[:330], whole.day[:330], whole.begin)
    for model in ("fhs", "fhs_es", "hs", "normal", "t_es", "scan", "close_out", "flat"):
        for apc in ("none", "buffer", "buffer_path", "stress_weight", "stress_floor",
                    "long_run_floor", "step"):  # fmt: skip
            config = _config(model=model, apc=apc, stress_choice="known")
            early = tool_margin(base_margin(cut, config, 2), cut, config, 2)
            late = tool_margin(base_margin(whole, config, 2), whole, config, 2)
            np.testing.assert_array_equal(early, late[: len(early)])
    # Negative control: hindsight does look ahead.
    wild = whole.loss.copy()
    wild[350:] *= 50.0
    later = LossSeries(wild, whole.day, whole.begin)
    config = _config(apc="stress_floor", stress_choice="hindsight")
    base = base_margin(cut, config, 1)
    assert not np.array_equal(
        tool_margin(base, cut, config, 1),
        tool_margin(base_margin(later, config, 1), later, config, 1)[: len(base)],
    )


def test_stress_period_known_on_the_day():
    loss = np.full((300, 1), 0.01)
    loss[50:90] = 0.02
    loss[200:240] = 0.03
    series = LossSeries(loss, np.datetime64("2001-01-01") + np.arange(300), LOOKBACK)
    known = stress_rows(series, _config(stress_choice="known"))[:, 0]
    assert known[0].tolist() == [50, 89]
    assert known[200 - LOOKBACK].tolist() == [50, 89]
    assert known[239 - LOOKBACK].tolist() == [200, 239]
    assert known[-1].tolist() == [200, 239]
    assert (stress_rows(series, _config())[:, 0] == [200, 239]).all()
    given = _config(stress_start=date(2001, 1, 11), stress_end=date(2001, 1, 20))
    assert stress_rows(series, given)[0, 0].tolist() == [10, 19]


def test_tools_use_the_models_own_measure():
    series = _series(columns=1)
    period = {"stress_start": date(2001, 3, 2), "stress_end": date(2001, 4, 10)}  # rows 60 to 99
    wild = series.loss[60:100, 0]
    for model, expected in (
        ("hs", np.max(wild)),
        ("fhs_es", np.max(wild)),
        ("normal", 2.3263478740408408 * math.sqrt(np.mean(wild**2))),
        ("scan", 3.0 * math.sqrt(np.mean(wild**2))),
        ("close_out", np.max(wild)),
    ):
        config = _config(model=model, apc="stress_weight", stress_weight=1.0, **period)
        base = base_margin(series, config, 1)
        np.testing.assert_allclose(tool_margin(base, series, config, 1), expected, rtol=1e-9)
    config = _config(model="normal", apc="long_run_floor")
    base = base_margin(series, config, 1)
    floored = tool_margin(base, series, config, 1)
    floor = 2.3263478740408408 * math.sqrt(np.mean(series.loss[41:301, 0] ** 2))
    assert floored[300 - LOOKBACK, 0] == pytest.approx(max(base[300 - LOOKBACK, 0], floor))
    np.testing.assert_array_equal(floored[: 259 - LOOKBACK], base[: 259 - LOOKBACK])


def test_unusable_requests_say_what_to_do():
    with pytest.raises(InputError, match="lookback of 120 days needs 120"):
        base_margin(_series(begin=119), _config(), 1)
    series = _series()
    with pytest.raises(InputError, match="121 returns are known"):
        stress_rows(series, _config(stress_days=122, stress_choice="known"))
    with pytest.raises(InputError, match="holds 0 returns"):
        given = {"stress_start": date(1990, 1, 1), "stress_end": date(1990, 2, 1)}
        stress_rows(series, _config(**given))
    still = LossSeries(np.zeros((300, 1)), series.day[:300], LOOKBACK)
    with pytest.raises(InputError, match="volatility is 0 on 2001-01-01"):
        base_margin(still, _config(), 1)
