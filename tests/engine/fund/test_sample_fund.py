"""The sample fund: right size, reproducible, readable, and plausible in margin."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.domain.book import Book
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.fund.read import read_pack
from engine.fund.sample import sample_tables, write_sample_fund
from engine.fund.sample.book import to_book
from engine.fund.sample.instruments import (
    build_catalogue,
    listed_expiries,
    nice,
    option_expiries,
    tenor_of,
)
from engine.fund.sample.tables import bilateral_products, cleared_products
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market

SEED = 7
AS_OF = date(2022, 12, 28)


@pytest.fixture(scope="module")
def market() -> MarketState:
    return build_market(packaged_factors(), packaged_levels(), AS_OF).value


@pytest.fixture(scope="module")
def tables(market: MarketState) -> dict[str, pd.DataFrame]:
    return sample_tables(SEED, market)


@pytest.fixture(scope="module")
def folder(market: MarketState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample")
    write_sample_fund(path, SEED, market)
    return path


@pytest.fixture(scope="module")
def book(folder: Path) -> Book:
    reading = read_pack(folder, packaged_factors())
    assert reading.quarantine.empty
    return reading.book


def test_products_are_named_once_and_held_where_they_clear(
    tables: dict[str, pd.DataFrame], market: MarketState
) -> None:
    products = (*cleared_products(), *bilateral_products())
    with pytest.raises(InputError, match="two products are named 'ES'"):
        build_catalogue((*products, products[0]), market)
    instruments = tables["instruments"].set_index("instrument_id")["factor_id"]
    agreements = tables["agreements"].set_index("agreement_id")["venue"]
    held = tables["positions"].assign(
        factor=tables["positions"]["instrument_id"].map(instruments),
        venue=tables["positions"]["agreement_id"].map(agreements),
    )
    cleared = {
        service: {p.factor_id for p in products if service in p.services}
        for service in held["venue"].unique()
        if service
    }
    for service, factors in cleared.items():
        assert set(held.loc[held["venue"] == service, "factor"]) <= factors, service


def test_counts_meet_the_story(tables: dict[str, pd.DataFrame]) -> None:
    agreements, positions = tables["agreements"], tables["positions"]
    kinds = agreements["kind"].value_counts().to_dict()
    assert kinds == {"cleared": 142, "bilateral": 75, "prime": 4}
    cleared = agreements[agreements["kind"] == "cleared"]
    assert cleared["venue"].nunique() == 59
    assert cleared["broker"].nunique() == 6
    assert agreements[agreements["kind"] == "bilateral"]["counterparty"].nunique() == 75
    assert len(tables["managers"]) == 34
    assert 9_000 <= len(positions) <= 11_000
    assert 2_500 <= len(tables["instruments"]) <= 4_000
    assert set(positions["agreement_id"]) == set(agreements["agreement_id"])
    assert set(positions["manager_id"]) == set(tables["managers"]["manager_id"])
    assert set(tables["instruments"]["kind"]) == {
        "equity", "future", "rate_future", "option", "swap", "cds", "fx_forward", "trs", "bond",
    }  # fmt: skip
    assert tables["managers"]["allocation"].sum() == pytest.approx(14.75e9)


def test_same_seed_same_bytes_and_another_seed_another_fund(
    market: MarketState, folder: Path, tmp_path: Path
) -> None:
    write_sample_fund(tmp_path / "again", SEED, market)
    for file in sorted(folder.iterdir()):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    write_sample_fund(tmp_path / "other", SEED + 1, market)
    other = (tmp_path / "other" / "positions.csv").read_bytes()
    assert other != (folder / "positions.csv").read_bytes()


def test_pack_is_small(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000


def test_book_from_tables_equals_book_read_from_files(
    tables: dict[str, pd.DataFrame], market: MarketState, book: Book
) -> None:
    made = to_book(tables, market)
    np.testing.assert_array_equal(made.positions.instrument, book.positions.instrument)
    np.testing.assert_array_equal(made.positions.agreement, book.positions.agreement)
    np.testing.assert_array_equal(made.positions.quantity, book.positions.quantity)
    np.testing.assert_allclose(made.instruments.strike, book.instruments.strike, rtol=1e-9)
    np.testing.assert_array_equal(made.instruments.expiry, book.instruments.expiry)
    np.testing.assert_array_equal(made.cash.amount_cents, book.cash.amount_cents)
    assert list(made.agreements.intraday_hours_utc) == list(book.agreements.intraday_hours_utc)
    assert (made.nav_usd, made.as_of) == (book.nav_usd, book.as_of) == (15e9, AS_OF)


def test_margin_is_plausible_and_every_agreement_is_margined(
    book: Book, market: MarketState
) -> None:
    result = calculate_margin_requirements(book, market, MarginConfig())
    assert result.failures == ()
    assert len(result.agreement_id) == 221
    total = result.im_usd + result.add_ons_usd()
    assert 1.5e9 < total.sum() < 3.5e9
    for kind, low, high in (
        ("cleared", 1.5e9, 2.5e9),
        ("bilateral", 4e8, 8e8),
        ("prime", 4e8, 7e8),
    ):
        assert low < total[result.kind == kind].sum() < high, kind
    posted = book.agreements.im_held * market.usd_per(book.agreements.currency)
    # Posted to the rounding of 10,000 units of a currency worth at most 1.3 USD.
    assert np.max(np.abs(posted - total)) <= 6_500.0
    thresholds = book.agreements.im_threshold[book.agreements.kind == "bilateral"]
    assert thresholds.sum() == pytest.approx(25 * 50e6)


def test_variation_margin_of_the_day_is_a_days_move_not_a_lifetime(
    book: Book, market: MarketState
) -> None:
    result = calculate_margin_requirements(book, market, MarginConfig())
    assert abs(result.vm_usd).sum() < 1e9
    calls = result.vm_usd[result.kind == "bilateral"]
    assert np.count_nonzero(calls) > 5


def test_liquidity_is_about_a_billion_of_each_kind(book: Book, market: MarketState) -> None:
    cash = float(book.cash.amount_cents @ market.usd_per(book.cash.currency)) / 100
    assets = book.collateral.market_value * (1.0 - book.collateral.haircut)
    hqla = float(assets @ market.usd_per(book.collateral.currency))
    assert 0.8e9 < cash < 1.2e9
    assert 0.8e9 < hqla < 1.4e9
    assert book.facilities.limit_cents.sum() == 100_000_000_000
    last = (book.settlements.value_date.max() - np.datetime64(AS_OF)).astype(int)
    assert 20 <= last <= 31


def test_strikes_rates_and_expiries_are_near_the_market(book: Book, market: MarketState) -> None:
    instruments = book.instruments
    level = market.level[instruments.factor]
    option = instruments.kind == "option"
    assert np.all(np.abs(np.log(instruments.strike[option] / level[option])) < 1.0)
    days = (instruments.expiry[option] - np.datetime64(AS_OF)).astype(int)
    assert 7 <= days.min() < 14
    assert 700 < days.max() <= 731
    swap = instruments.kind == "swap"
    assert np.all(np.abs(instruments.fixed_rate[swap] - level[swap]) < 0.6)
    assert 2.0 <= instruments.tenor_years[swap].min() < instruments.tenor_years[swap].max() <= 30.0


def test_small_helpers_give_their_worked_numbers() -> None:
    assert nice(3783.2) == 3775.0
    assert tenor_of("UST10") == 10.0
    assert listed_expiries(AS_OF, 4) == [
        date(2023, 1, 20), date(2023, 2, 17), date(2023, 3, 17), date(2023, 6, 16),
    ]  # fmt: skip
    assert option_expiries(AS_OF)[0] == date(2023, 1, 6)
