"""Margin of the sample fund today and under stress, and a backtest."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.timing import Report, medians

TOPIC = "margin"


def test_sample_fund(report: Report, tmp_path: Path) -> None:
    from engine.fund.read import read_pack
    from engine.fund.sample import write_sample_fund
    from engine.margin.backtest import backtest_margin
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.config import BacktestConfig, MarginConfig
    from engine.margin.stress import project_stress_margin
    from engine.market import build_market, packaged_factors, packaged_levels

    levels, config = packaged_levels(), MarginConfig()
    market = build_market(packaged_factors(), levels, date(2022, 12, 28)).value
    write_sample_fund(tmp_path, 7, market)
    book = read_pack(tmp_path, packaged_factors()).book
    today = calculate_margin_requirements(book, market, config)
    prices = levels.column("SPX")
    known = np.isfinite(prices)
    seconds = medians(
        {
            "baseline": lambda: calculate_margin_requirements(book, market, config),
            "stress": lambda: project_stress_margin(book, market, today, config),
            "backtest": lambda: backtest_margin(
                prices[known], levels.dates[known], BacktestConfig()
            ),
        }
    )
    assert len(today.agreement_id) == len(book.agreements)
    size = f"{len(book.agreements)} agreements, {len(book.positions):,} positions"
    report.add(TOPIC, f"today: {size}", f"{seconds['baseline']:.2f} CPU-s")
    report.add(TOPIC, "at three volatility multipliers", f"{seconds['stress']:.2f} CPU-s")
    report.add(TOPIC, "stress / today", f"{seconds['stress'] / seconds['baseline']:.2f} x")
    report.add(TOPIC, f"backtest of {known.sum():,} days", f"{seconds['backtest']:.2f} CPU-s")
