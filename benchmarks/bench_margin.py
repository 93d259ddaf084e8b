"""Margin of the sample fund today and under stress, 65 historical services at once, a backtest."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from benchmarks.timing import Report, medians
from engine.domain.book import Book
from engine.domain.market import MarketState

TOPIC = "margin"
SERVICES, POSITIONS, SCENARIOS = 65, 10_000, 1_250


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Book, MarketState]:
    from engine.fund.read import read_pack
    from engine.fund.sample import write_sample_fund
    from engine.market import build_market, packaged_factors, packaged_levels

    market = build_market(packaged_factors(), packaged_levels(), date(2022, 12, 28)).value
    folder = tmp_path_factory.mktemp("sample")
    write_sample_fund(folder, 7, market)
    return read_pack(folder, packaged_factors()).book, market


def test_sample_fund(report: Report, sample: tuple[Book, MarketState]) -> None:
    from engine.margin.baseline import calculate_margin_requirements
    from engine.margin.config import MarginConfig
    from engine.margin.stress import project_stress_margin

    (book, market), config = sample, MarginConfig()
    today = calculate_margin_requirements(book, market, config)
    seconds = medians(
        {
            "baseline": lambda: calculate_margin_requirements(book, market, config),
            "stress": lambda: project_stress_margin(book, market, today, config),
        }
    )
    assert len(today.agreement_id) == len(book.agreements)
    size = f"{len(book.agreements)} agreements, {len(book.positions):,} positions"
    report.add(TOPIC, f"today: {size}", f"{seconds['baseline']:.2f} CPU-s")
    report.add(TOPIC, "at three volatility multipliers", f"{seconds['stress']:.2f} CPU-s")
    report.add(TOPIC, "stress / today", f"{seconds['stress'] / seconds['baseline']:.2f} x")


def test_historical_services(report: Report, sample: tuple[Book, MarketState]) -> None:
    """Every position its own instrument, so that nothing is revalued once for many."""
    from engine.margin.config import MarginConfig
    from engine.margin.exposure import net_positions
    from engine.margin.required import MarginEngine

    book, market = _many_services(sample[0]), sample[1]
    config = MarginConfig()

    def margin() -> None:
        engine = MarginEngine(net_positions(book, market), config, models=("fhs_var", "fhs_es"))
        assert not engine.failed.any()
        assert int((engine.at().im > 0.0).sum()) == SERVICES

    seconds = medians({"margin": margin})["margin"]
    size = f"{SERVICES} services x {SCENARIOS:,} scenarios x {POSITIONS:,} instruments"
    report.add(TOPIC, size, f"{seconds:.2f} CPU-s")


def _many_services(book: Book) -> Book:
    """The book's cleared accounts as 65 historical services with 10,000 instruments of their own.

    Decay, margin period and stress weight are those of the accounts; instruments are the book's,
    each strike moved a little.
    """
    terms, positions = book.agreements, book.positions
    cleared = np.flatnonzero(terms.kind == "cleared")
    _, first = np.unique(terms.venue[cleared].astype(str), return_index=True)
    rest = np.delete(cleared, first)
    rows = np.sort(np.concatenate([cleared[first], rest])[:SERVICES])
    held = np.flatnonzero(np.isin(positions.agreement, cleared))
    pick = np.resize(held, POSITIONS)
    columns = {
        name: column[positions.instrument[pick]] for name, column in vars(book.instruments).items()
    }
    columns["strike"] = columns["strike"] * (1.0 + 1e-8 * np.arange(POSITIONS))
    agreements = replace(
        terms,
        model=np.where(terms.kind == "cleared", "fhs_var", terms.model).astype(object),
        confidence=np.where(np.isfinite(terms.confidence), terms.confidence, 0.99),
        ewma_lambda=np.where(np.isfinite(terms.ewma_lambda), terms.ewma_lambda, 0.97),
        lookback_days=np.full(len(terms), SCENARIOS),
    )
    own = {name: column[pick] for name, column in vars(positions).items()}
    own["instrument"] = np.arange(POSITIONS)
    own["agreement"] = rows[np.arange(POSITIONS) % SERVICES]
    return replace(
        book,
        positions=replace(positions, **own),
        instruments=replace(book.instruments, **columns),
        agreements=agreements,
    )


def test_backtest(report: Report) -> None:
    from engine.margin.config import BacktestConfig
    from engine.margin.validation.backtest import backtest_margin
    from engine.market import packaged_levels

    levels = packaged_levels()
    prices = levels.column("SPX")
    known = np.isfinite(prices)
    seconds = medians(
        {"backtest": lambda: backtest_margin(prices[known], levels.dates[known], BacktestConfig())}
    )
    report.add(TOPIC, f"backtest of {known.sum():,} days", f"{seconds['backtest']:.2f} CPU-s")
