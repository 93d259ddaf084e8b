"""A real history of 20 factors with its faults: gaps, a negative price, a peg, different ends."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from engine.domain.failures import FailureReason
from engine.market.covariance import cholesky_factor, correlation
from engine.market.factors import merge_factors, table_from_rows, table_rows
from engine.market.levels import Levels, read_levels
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.market.volatility import daily_volatility

pytestmark = pytest.mark.conformance


@pytest.fixture(scope="module")
def panel(shared_folder: Path) -> Levels:
    return read_levels(shared_folder / "history" / "real_panel.csv")


def test_panel_over_packaged_history(panel: Levels) -> None:
    built = build_market(packaged_factors(), packaged_levels(), date(2022, 12, 28), panel)
    market = built.value
    assert built.failures == ()
    assert len(market.factors) == len(packaged_factors())
    assert set(market.substituted) == set(packaged_factors().factor_id) - set(panel.factor_ids)
    row = int(np.flatnonzero(market.dates == np.datetime64("2020-04-20"))[0])
    wti = market.index()["WTI"]
    assert market.returns[row, wti] == pytest.approx(-36.98 - 18.31)
    assert market.filled_days["N225"] > 100
    lower = cholesky_factor(correlation(market, 500))
    assert np.isfinite(lower).all()
    assert (daily_volatility(market) > 0.0).all()


@pytest.mark.parametrize(
    ("as_of", "kept"),
    [(date(2015, 1, 14), 20), (date(2024, 6, 28), 20), (date(2026, 10, 30), 6)],
)
def test_panel_alone_reports_what_has_ended(panel: Levels, as_of: date, kept: int) -> None:
    names = [str(name) for name in panel.factor_ids]
    built = build_market(packaged_factors(), panel, as_of, factor_ids=names)
    market = built.value
    assert market.as_of == as_of
    assert len(market.factors) == kept
    own = {failure.item: failure for failure in built.failures if failure.item in names}
    assert set(own) == set(names) - set(market.factors.factor_id)
    assert all(failure.reason is FailureReason.MISSING_DATA for failure in own.values())
    if as_of.year == 2026:
        assert "2024-08-0" in own["N225"].message
        assert "2026-02-27" in own["SPX"].message


def test_log_oil_is_refused_with_the_day(panel: Levels) -> None:
    rows = [row for row in table_rows(packaged_factors()) if row["factor_id"] == "WTI"]
    rows[0]["return_type"] = "log"
    factors = merge_factors(packaged_factors(), table_from_rows(rows))
    built = build_market(factors, packaged_levels(), date(2022, 12, 28), panel)
    failure = next(failure for failure in built.failures if failure.item == "WTI")
    assert "2020-04-20" in failure.message
    assert "-36.98" in failure.message
    assert "WTI" not in built.value.index()


def test_packaged_real_series_agree_with_the_panel(panel: Levels) -> None:
    packaged = packaged_levels()
    common, mine, theirs = np.intersect1d(packaged.dates, panel.dates, return_indices=True)
    assert len(common) > 8000
    for name in ("SPX", "EURUSD", "GBPUSD", "USDJPY", "EURCHF", "EURGBP", "USDMXN"):
        one, two = packaged.column(name)[mine], panel.column(name)[theirs]
        both = ~np.isnan(one) & ~np.isnan(two)
        assert both.sum() > 3500, name
        np.testing.assert_allclose(one[both], two[both], rtol=2e-5, err_msg=name)
