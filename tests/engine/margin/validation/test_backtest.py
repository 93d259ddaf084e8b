from __future__ import annotations

import json
import math
from datetime import date

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.margin.config import BacktestConfig
from engine.margin.historical import expected_shortfall, value_at_risk
from engine.margin.validation.backtest import (
    backtest_margin,
    backtest_tools,
    christoffersen_lr,
    kupiec_lr,
    rolling_tail,
)

STRESS = {"stress_start": date(2008, 7, 1), "stress_end": date(2009, 6, 30)}
# model choices -> margin on 19 Feb 2020, peak, peak/trough, rises over 1, 5, 30 days (per cent),
# breaches, days, LR of coverage, LR of independence. Two-day margin, window 2019-2020.
GOLDEN = [
    ({}, ".0340 .2516 9.25 40 111 626 76 7061 0.41 3.56"),
    ({"ewma_lambda": 0.99}, ".0347 .1640 4.85 24 85 364 77 7061 0.57 9.99"),
    ({"model": "fhs_es"}, ".0332 .2317 8.84 35 102 584 77 7061 0.57 3.44"),
    ({"model": "hs"}, ".0389 .0541 1.50 8 10 33 108 7061 17.2 16.9"),
    ({"apc": "stress_weight", **STRESS}, ".0585 .2218 4.15 24 70 272 10 7061 82.7 0.03"),
    ({"apc": "long_run_floor"}, ".0404 .2516 6.25 34 102 523 32 7061 26.8 0.29"),
    # The 250-day mean is unknown for the first 249 days, which are not tested.
    ({"apc": "buffer"}, ".0424 .2516 7.40 34 102 481 43 6812 10.8 4.67"),
]


def _config(**choices):
    return BacktestConfig(window_start=date(2019, 1, 1), window_end=date(2020, 12, 31), **choices)


def _dates(n):
    return np.datetime64("1990-01-01") + np.arange(n)


@pytest.mark.parametrize(("choices", "golden"), GOLDEN)
def test_published_table_of_the_index(spx, choices, golden):
    level, dates = spx
    result = backtest_margin(level, dates, _config(**choices))
    before = result.margin[np.searchsorted(result.dates, np.datetime64("2020-02-19"))]
    in_window = (result.dates >= np.datetime64("2019-01-01")) & (
        result.dates <= np.datetime64("2020-12-31")
    )
    got = [
        before,
        result.margin[in_window].max(),
        result.peak_to_trough,
        100 * result.max_1d,
        100 * result.max_5d,
        100 * result.max_30d,
        result.breaches,
        result.n,
        result.kupiec_lr,
        result.christoffersen_lr,
    ]
    for value, printed in zip(got, golden.split(), strict=True):
        decimals = len(printed.partition(".")[2])
        assert abs(value - float(printed)) <= 0.5 * 10.0**-decimals + 1e-12


def test_peak_dates_and_the_stress_period_in_hindsight(spx):
    level, dates = spx
    result = backtest_margin(level, dates, _config())
    assert result.dates[np.argmax(result.margin)] == np.datetime64("2020-03-26")
    chosen = backtest_margin(level, dates, _config(apc="stress_weight"))
    assert chosen.stress_period == ("2008-07-21", "2009-07-16")


def test_keys_and_table(spx):
    level, dates = spx
    result = backtest_margin(level, dates, BacktestConfig())
    assert list(result.to_dict()) == [
        "peak_to_trough", "max_1d", "max_5d", "max_30d", "mean_margin",
        "n", "breaches", "breach_rate", "expected_rate", "kupiec_lr", "kupiec_p",
        "christoffersen_lr", "christoffersen_p", "conditional_lr", "conditional_p", "light",
        "mean_excess", "max_excess", "period", "stress_period",
    ]  # fmt: skip
    assert result.tables()["backtest"]["breach"].sum() == result.breaches
    week = BacktestConfig(window_start=date(2020, 3, 2), window_end=date(2020, 3, 6))
    short = backtest_margin(level, dates, week).to_dict()
    assert short["max_1d"] > 0.0
    assert short["max_5d"] is None
    json.dumps(short, allow_nan=False)


def test_p_values_equal_scipy(spx):
    from scipy.stats import chi2

    level, dates = spx
    result = backtest_margin(level, dates, _config(model="hs"))
    assert result.kupiec_p == pytest.approx(chi2.sf(result.kupiec_lr, 1), rel=1e-12)
    assert result.christoffersen_p == pytest.approx(chi2.sf(result.christoffersen_lr, 1), rel=1e-12)


def test_likelihood_ratios_by_hand():
    breach = np.zeros(250, dtype=bool)
    breach[[10, 11, 100, 200]] = True
    x, n, p = 4, 250, 0.01
    by_hand = -2 * math.log(((1 - p) ** (n - x) * p**x) / ((1 - x / n) ** (n - x) * (x / n) ** x))
    assert kupiec_lr(breach, p) == pytest.approx(by_hand, rel=1e-12)
    n01, n00, n11, n10 = 3, 242, 1, 3
    pooled = (n01 + n11) / 249
    free = (
        n00 * math.log(n00 / 245) + n01 * math.log(n01 / 245)
        + n10 * math.log(n10 / 4) + n11 * math.log(n11 / 4)
    )  # fmt: skip
    tied = (n00 + n10) * math.log(1 - pooled) + (n01 + n11) * math.log(pooled)
    assert christoffersen_lr(breach) == pytest.approx(2 * (free - tied), rel=1e-10)
    assert christoffersen_lr(np.zeros(100, dtype=bool)) == 0.0
    assert kupiec_lr(np.zeros(100, dtype=bool), 0.01) == pytest.approx(-200 * math.log(0.99))


def test_rolling_tail_equals_one_window_at_a_time():
    losses = np.random.default_rng(21).standard_t(4, 1700)
    for shortfall, measure in ((False, value_at_risk), (True, expected_shortfall)):
        rolled = rolling_tail(losses, 300, 0.975, shortfall)
        assert len(rolled) == 1401
        for i in (0, 511, 512, 1400):
            assert rolled[i] == pytest.approx(measure(losses[i : i + 300], 0.975), rel=1e-14)


def _garch(rng, n):
    shocks = rng.standard_t(5, n) * math.sqrt(3 / 5)
    variance, out = 1.0, np.empty(n)
    for t in range(n):
        out[t] = math.sqrt(variance) * shocks[t]
        variance = 0.02 + 0.08 * out[t] ** 2 + 0.90 * variance
    return out


@pytest.mark.parametrize("law", ["iid_t5", "garch"])
def test_coverage_on_simulated_returns(law):
    rng = np.random.default_rng(2020)
    n = 21_253
    returns = rng.standard_t(5, n) if law == "iid_t5" else _garch(rng, n)
    level = np.concatenate([[0.0], np.cumsum(returns)])
    config = BacktestConfig(returns="absolute")
    result = backtest_margin(level, _dates(n + 1), config)
    assert result.n >= 20_000
    assert 0.008 <= result.breaches / result.n <= 0.012


def test_margin_uses_no_later_return(spx):
    level, dates = spx
    whole = backtest_margin(level, dates, BacktestConfig())
    cut = backtest_margin(level[:6000], dates[:6000], BacktestConfig())
    assert np.array_equal(whole.margin[: cut.n], cut.margin)


def test_short_side_mirrors_absolute_returns():
    level = 50.0 + np.cumsum(np.random.default_rng(22).normal(0.0, 0.1, 2000))
    long = backtest_margin(level, _dates(2000), BacktestConfig(returns="absolute"))
    short = backtest_margin(-level, _dates(2000), BacktestConfig(returns="absolute", side="short"))
    assert long.to_dict() == short.to_dict()


def test_missing_days_are_dropped(spx):
    level, dates = spx
    holed = level.copy()
    holed[[50, 4000, 4001]] = np.nan
    kept = np.isfinite(holed)
    result = backtest_margin(holed, dates, _config())
    assert result.dropped_days == 3
    assert result.to_dict() == backtest_margin(level[kept], dates[kept], _config()).to_dict()


def test_unusable_series_say_what_to_do():
    rng = np.random.default_rng(23)
    good = np.exp(np.cumsum(rng.normal(0.0, 0.01, 2000)))
    oil = good.copy()
    oil[1500] = -36.98
    with pytest.raises(InputError, match=r"-36\.98 on 1994-02-09.*--returns absolute"):
        backtest_margin(oil, _dates(2000), BacktestConfig())
    backtest_margin(oil, _dates(2000), BacktestConfig(returns="absolute"))
    with pytest.raises(InputError, match="400 levels .*1253"):
        backtest_margin(good[:400], _dates(400), BacktestConfig())
    with pytest.raises(InputError, match="flat"):
        backtest_margin(np.full(2000, 7.0), _dates(2000), BacktestConfig())
    asleep = good.copy()
    asleep[:400] = 1.0
    with pytest.raises(InputError, match="volatility is 0"):
        backtest_margin(asleep, _dates(2000), BacktestConfig())
    with pytest.raises(InputError, match="must increase"):
        backtest_margin(good, _dates(2000)[::-1], BacktestConfig())
    with pytest.raises(InputError, match="one level per date"):
        backtest_margin(good, _dates(1999), BacktestConfig())
    with pytest.raises(InputError, match="infinite"):
        backtest_margin(np.where(good == good[3], np.inf, good), _dates(2000), BacktestConfig())
    with pytest.raises(InputError, match="no margin"):
        backtest_margin(good, _dates(2000), _config())


def test_configuration_is_checked():
    with pytest.raises(ValueError, match="both stress_start"):
        BacktestConfig(stress_start=date(2008, 1, 1))
    with pytest.raises(ValueError, match="is after"):
        BacktestConfig(window_start=date(2020, 1, 1), window_end=date(2019, 1, 1))


def test_several_tools_equal_one_at_a_time(spx):
    level, dates = spx
    config = BacktestConfig(model="close_out", mpor_days=3)
    tools = ("none", "buffer", "long_run_floor")
    together = backtest_tools(level, dates, config, tools)
    for tool in tools:
        alone = backtest_margin(level, dates, config.model_copy(update={"apc": tool}))
        assert together[tool].to_dict() == alone.to_dict()
    with pytest.raises(ValueError, match="apc"):
        backtest_tools(level, dates, config, ("magic",))


def test_two_day_losses_against_the_two_day_margin(spx):
    level, dates = spx
    result = backtest_margin(level, dates, BacktestConfig())
    loss = -np.diff(np.log(level))
    day = np.searchsorted(dates[1:], result.dates)
    total = loss[day[:-1] + 1] + loss[day[:-1] + 2]
    breach = total > result.margin[:-1]
    assert result.period.breaches == breach.sum() == 62
    assert (result.period.n, result.period.apart) == (7060, 3530)
    assert result.period.apart_breaches == breach[::2].sum()
    assert result.to_dict()["period"]["overlapping"] is True


def test_excess_of_breaches(spx):
    level, dates = spx
    result = backtest_margin(level, dates, BacktestConfig())
    loss = -np.diff(np.log(level))[np.searchsorted(dates[1:], result.dates) + 1]
    excess = (loss - result.margin / math.sqrt(2))[result.breach]
    assert result.coverage.mean_excess == pytest.approx(excess.mean(), rel=1e-9)
    assert result.coverage.max_excess == pytest.approx(excess.max(), rel=1e-9)
    assert result.coverage.light == "green"


def test_close_out_margin_is_not_a_root_of_time(spx):
    level, dates = spx
    one = backtest_margin(level, dates, BacktestConfig(model="close_out", mpor_days=1))
    two = backtest_margin(level, dates, BacktestConfig(model="close_out", mpor_days=2))
    ratio = two.margin / one.margin
    assert (ratio >= 1.0).all()
    assert (ratio < math.sqrt(2) - 0.01).any()
    assert two.breach.sum() == one.breach.sum()
