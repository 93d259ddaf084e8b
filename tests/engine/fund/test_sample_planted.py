"""What the sample fund holds on purpose is really there, by the engine's own margin."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from engine.domain.book import Book
from engine.domain.market import MarketState
from engine.fund.sample import PlantedFact, planted_facts, sample_tables
from engine.fund.sample.book import to_book
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.pricing.scenarios import scenario_pnl

SEED = 7
DAYS = 3
FACTS = {fact.fact_id: fact for fact in planted_facts()}


@pytest.fixture(scope="module")
def market() -> MarketState:
    return build_market(packaged_factors(), packaged_levels(), date(2022, 12, 28)).value


@pytest.fixture(scope="module")
def book(market: MarketState) -> Book:
    return to_book(sample_tables(SEED, market), market)


def _after(market: MarketState, moves: dict[str, float]) -> MarketState:
    """The market three business days on, each with a third of the moves."""
    index = market.index()
    daily = np.zeros(len(market.level))
    for factor, move in moves.items():
        daily[index[factor]] = move / DAYS
    log = market.factors.return_type == "log"
    total = DAYS * daily
    last = market.dates[-1].astype("datetime64[D]")
    dates = np.busday_offset(last, np.arange(1, DAYS + 1))
    return replace(
        market,
        as_of=dates[-1].astype(object),
        level=np.where(log, market.level * np.exp(total), market.level + total),
        dates=np.concatenate([market.dates.astype("datetime64[D]"), dates]),
        returns=np.vstack([market.returns, np.tile(daily, (DAYS, 1))]),
    )


def _loss_usd(book: Book, market: MarketState, moves: dict[str, float]) -> np.ndarray:
    vector = np.zeros((1, len(market.level)))
    for factor, move in moves.items():
        vector[0, market.index()[factor]] = move
    unit = scenario_pnl(book.instruments, market, vector)[:, 0]
    usd = market.usd_per(book.instruments.currency)
    return -(unit * usd)[book.positions.instrument] * book.positions.quantity


def _agreement_im(book: Book, market: MarketState) -> dict[str, float]:
    result = calculate_margin_requirements(book, market, MarginConfig())
    total = result.im_usd + result.add_ons_usd()
    return dict(zip(result.agreement_id.tolist(), total.tolist(), strict=True))


def test_facts_name_what_exists(book: Book) -> None:
    assert len(FACTS) == 9
    for fact in FACTS.values():
        assert set(fact.managers) <= set(book.managers.manager_id)
        assert set(fact.agreements) <= set(book.agreements.agreement_id)
        assert set(fact.factors) <= set(book.instruments.factor_id)


def test_three_managers_look_diversified_but_lose_and_are_called_together(
    book: Book, market: MarketState
) -> None:
    fact = FACTS["TAIL-1"]
    strategies = dict(zip(book.strategies.strategy_id, book.strategies.asset_class, strict=True))
    loss = _loss_usd(book, market, fact.moves)
    before = calculate_margin_requirements(book, market, MarginConfig()).by_manager
    after = calculate_margin_requirements(
        book, _after(market, fact.moves), MarginConfig()
    ).by_manager
    classes = set()
    for manager in fact.managers:
        held = book.managers.manager_id[book.positions.manager] == manager
        ids = book.strategies.strategy_id[book.positions.strategy[held]]
        classes |= {strategies[name] for name in ids}
        assert loss[held].sum() > 100e6, manager
        assert after[manager]["im_usd"] > 1.2 * before[manager]["im_usd"] > 0.0, manager
    assert classes == {"volatility", "credit", "fx"}


def test_energy_book_is_called_about_1200m_in_three_days(book: Book, market: MarketState) -> None:
    fact = FACTS["ENERGY-1"]
    rows = np.isin(book.agreements.agreement_id, fact.agreements)
    loss = _loss_usd(book, market, fact.moves)
    variation = loss[rows[book.positions.agreement]].sum()
    before, after = _agreement_im(book, market), _agreement_im(book, _after(market, fact.moves))
    initial = sum(after[name] - before[name] for name in fact.agreements)
    assert sum(before[name] for name in fact.agreements) > 400e6
    # The buffers of two of the four accounts are used up first, so margin rises less than the loss.
    assert initial > 50e6
    assert 1.0e9 < variation + initial < 1.4e9


def _merged(book: Book, fact: PlantedFact) -> Book:
    """The second manager's positions in the factor, moved to the first account."""
    ids = book.agreements.agreement_id.tolist()
    target, source = (ids.index(name) for name in fact.agreements)
    positions = book.positions
    moved = (
        (positions.agreement == source)
        & (book.managers.manager_id[positions.manager] == fact.managers[1])
        & (book.instruments.factor_id[positions.instrument] == fact.factors[0])
    )
    assert moved.any()
    agreement = np.where(moved, target, positions.agreement)
    return replace(book, positions=replace(positions, agreement=agreement))


def test_offsetting_accounts_would_save_margin_together(book: Book, market: MarketState) -> None:
    today = sum(_agreement_im(book, market).values())
    savings = {}
    for fact in FACTS.values():
        if fact.kind == "netting":
            together = sum(_agreement_im(_merged(book, fact), market).values())
            savings[fact.fact_id] = today - together
    assert len(savings) == 7
    assert min(savings.values()) > 10e6
    assert 150e6 < sum(savings.values()) < 300e6
