from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.fund.read import read_pack
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.validation.replay import (
    ReplayConfig,
    ReplayResult,
    replay_anchors,
    replay_margin,
)
from engine.market.levels import Levels, read_levels
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.rulebooks.services import load_services

PACK = Path(__file__).resolve().parents[4] / "examples" / "replay_2020"
# How far uncleared margin moves with levels alone, in the packaged fund: the stated band.
UNCLEARED_BAND = (0.90, 1.12)
# In the fund on the panel's factors an option on EURUSD weighs more, and its delta grows.
PANEL_BAND = (0.90, 1.25)
SHORT = ReplayConfig(start=date(2020, 2, 18), end=date(2020, 2, 28), calm_end=date(2020, 2, 21))


@pytest.fixture(scope="module")
def reading():
    found = read_pack(PACK, packaged_factors())
    assert len(found.quarantine) == 0
    return found


@pytest.fixture(scope="module")
def result(reading) -> ReplayResult:
    return replay_margin(reading.book, reading.factors, packaged_levels(), ReplayConfig())


def _with_terms(book, **terms):
    columns = {}
    for name, value in terms.items():
        column = getattr(book.agreements, name).copy()
        column[:] = value
        columns[name] = column
    return replace(book, agreements=replace(book.agreements, **columns))


def test_the_fund_holds_real_factors_on_the_terms_of_its_services(reading):
    book, factors = reading.book, reading.factors
    held = factors.factor_id[np.unique(book.instruments.factor)]
    assert not factors.synthetic[np.isin(factors.factor_id, held)].any()
    services, agreements = load_services(), book.agreements
    cleared = np.flatnonzero(agreements.kind == "cleared")
    assert len(cleared) == 2
    for a in cleared:
        service = services[str(agreements.venue[a])]
        assert agreements.confidence[a] == service.confidence
        assert agreements.mpor_days[a] == service.client_mpor_days
        assert agreements.lookback_days[a] == service.lookback_days
        assert agreements.ewma_lambda[a] == service.ewma_lambda
        assert agreements.stress_weight[a] == service.stress_weight


def test_cleared_margin_rises_by_volatility(result):
    found = result.to_dict()
    assert found["reference"] == "2020-02-19"
    assert found["cleared_peak_ratio"] >= 2.0
    assert "2020-03-12" <= found["cleared_peak_date"] <= "2020-04-30"
    # Volatility explains more than all of the rise; lower levels take some of it away.
    assert found["cleared_at_peak_by_volatility"] > found["cleared_peak_ratio"]
    assert 0.8 < found["cleared_at_peak_by_levels"] < 1.0
    parts = found["cleared_at_peak_by_volatility"] * found["cleared_at_peak_by_levels"]
    assert parts == pytest.approx(found["cleared_peak_ratio"], rel=0.03)


def test_uncleared_margin_is_flat_within_the_version(result):
    found, days = result.to_dict(), result.days
    # To the cent: the sensitivities are the same, so is the margin.
    assert np.unique(np.round(days["bilateral_fixed_usd"], 2)).size == 1
    assert found["uncleared_change_sensitivities_fixed_usd"] == 0.0
    row = result.reference_row()
    assert days["bilateral_fixed_usd"][row] == pytest.approx(
        days["bilateral_im_usd"][row], rel=1e-12
    )
    low, high = result.range("bilateral_im_usd")
    assert UNCLEARED_BAND[0] <= low < 1.0 < high <= UNCLEARED_BAND[1]
    assert (found["simm_version"], found["simm_version_in_force"]) == ("2.5", False)
    assert [f.item for f in result.failures] == ["2.5"]
    assert "no shipped version was in force" in result.failures[0].message


def test_variation_margin_has_the_published_shape(result):
    found, anchors = result.to_dict(), replay_anchors()
    assert found["anchor_vm_peak_over_average"] == 5.6
    assert anchors["mark"] == "verified"
    assert found["vm_flow_peak_over_average"] > 3.0
    assert "2020-03-09" <= found["vm_flow_peak_date"] <= "2020-03-24"
    days = result.days
    calm = days["date"] <= "2020-02-28"
    assert found["vm_flow_average_usd"] == pytest.approx(days["vm_flow_usd"][calm].mean())
    assert found["vm_flow_peak_usd"] == days["vm_flow_usd"].max()
    assert (days["vm_call_usd"] <= days["vm_flow_usd"] + 1e-6).all()
    np.testing.assert_allclose(
        days["vm_flow_usd"] - 2 * days["vm_call_usd"], days["profit_usd"], atol=1e-6
    )


def test_days_of_the_episode(result):
    days = result.days
    assert len(days) == 61
    assert (days["date"].iloc[0], days["date"].iloc[-1]) == ("2020-02-03", "2020-04-30")
    by_day = result.agreements.groupby("date")[["im_usd", "profit_usd"]].sum()
    total = days[["cleared_im_usd", "bilateral_im_usd", "prime_im_usd"]].sum(axis=1)
    np.testing.assert_allclose(by_day["im_usd"], total, rtol=1e-12)
    np.testing.assert_allclose(by_day["profit_usd"], days["profit_usd"], atol=1e-6)
    assert set(result.tables()) == {"replay_days", "replay_agreements"}
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_day_equals_the_margin_of_that_day(reading, result):
    day = date(2020, 3, 16)
    names = sorted({str(n) for n in reading.book.instruments.factor_id})
    market = build_market(packaged_factors(), packaged_levels(), day, factor_ids=names).value
    index = market.index()
    old = reading.book.instruments
    column = np.array([index[str(n)] for n in old.factor_id], dtype=np.int64)
    book = replace(reading.book, as_of=day, instruments=replace(old, factor=column))
    alone = calculate_margin_requirements(book, market, MarginConfig())
    rows = result.agreements[result.agreements["date"] == "2020-03-16"]
    for name, amount in zip(alone.agreement_id, alone.im_usd, strict=True):
        got = rows.loc[rows["agreement_id"] == name, "im_usd"].item()
        assert got == pytest.approx(amount, rel=1e-12)
    # Profit of the index future on the worst day: 900 * 50 * (2386.13 - 2711.02), options aside.
    assert rows.loc[rows["agreement_id"] == "CME-FUTURES", "profit_usd"].item() < -14.0e6


def test_reference_day_is_its_own_measure(result):
    row = result.days.iloc[result.reference_row()]
    assert row["date"] == "2020-02-19"
    for name in ("cleared_by_volatility_usd", "cleared_by_levels_usd"):
        assert row[name] == row["cleared_im_usd"]


def test_unfiltered_margin_does_not_double(reading):
    """Negative control: without the filter the same harness sees no doubling."""
    book = _with_terms(reading.book, ewma_lambda=1.0)
    simm = reading.book.agreements.model == "simm"
    decay = np.where(simm, np.nan, 1.0)
    book = _with_terms(reading.book, ewma_lambda=decay, stress_weight=0.0)
    plain = replay_margin(book, reading.factors, packaged_levels(), ReplayConfig(
        start=date(2020, 2, 18), end=date(2020, 3, 27)
    ))  # fmt: skip
    assert plain.to_dict()["cleared_peak_ratio"] < 2.0


@pytest.mark.slow
def test_bilateral_margin_that_follows_volatility_is_found(reading):
    """Negative control: a historical model under a CSA breaks the band of a standard model."""
    agreements = reading.book.agreements
    bilateral = agreements.kind == "bilateral"
    book = _with_terms(
        reading.book,
        model=np.where(bilateral, "fhs_var", agreements.model).astype(object),
        confidence=np.where(bilateral, 0.99, agreements.confidence),
        lookback_days=np.where(bilateral, 1250, agreements.lookback_days),
        ewma_lambda=np.where(bilateral, 0.97, agreements.ewma_lambda),
    )
    config = ReplayConfig(start=date(2020, 2, 18), end=date(2020, 3, 27))
    found = replay_margin(book, reading.factors, packaged_levels(), config)
    assert found.range("bilateral_im_usd")[1] > UNCLEARED_BAND[1] + 0.3
    assert found.to_dict()["uncleared_change_sensitivities_fixed_usd"] > 1e6
    assert found.simm_version is None


def test_an_agreement_without_margin_is_named_and_left_out(reading):
    book = _with_terms(
        reading.book,
        lookback_days=np.where(reading.book.agreements.agreement_id == "LCH-FX", 100, 2500),
    )
    found = replay_margin(book, reading.factors, packaged_levels(), SHORT)
    assert "LCH-FX" not in set(found.agreements["agreement_id"])
    assert any(f.item == "LCH-FX" and "left out of all days" in f.message for f in found.failures)
    whole = replay_margin(reading.book, reading.factors, packaged_levels(), SHORT)
    assert found.days["cleared_im_usd"].iloc[0] < whole.days["cleared_im_usd"].iloc[0]


def test_histories_that_do_not_reach_are_refused(reading):
    book, factors, levels = reading.book, reading.factors, packaged_levels()
    with pytest.raises(InputError, match="after the last date"):
        late = ReplayConfig(start=date(2024, 1, 1), reference=date(2024, 1, 2),
                            calm_end=date(2024, 1, 3), end=date(2024, 2, 1))  # fmt: skip
        replay_margin(book, factors, levels, late)
    with pytest.raises(ValueError, match="must follow each other"):
        ReplayConfig(reference=date(2020, 5, 1))
    values = levels.values.copy()
    gone = levels.dates > np.datetime64("2020-02-24")
    values[gone, levels.index()["USDKRW"]] = np.nan
    cut = Levels(levels.dates.copy(), levels.factor_ids.copy(), values)
    with pytest.raises(InputError, match="USDKRW begin or end"):
        end = ReplayConfig(start=SHORT.start, end=date(2020, 3, 2), calm_end=SHORT.calm_end,
                           max_stale_days=3)  # fmt: skip
        replay_margin(book, factors, cut, end)


def _panel_pack(folder: Path) -> Path:
    """The packaged fund on factors of the panel, with implied volatility, rates and oil."""
    shutil.copytree(PACK, folder)
    gone = ("USDKRW", "USDINR", "USDBRL", "AUDUSD", "AAPL", "MSFT", "JPM", "XOM")
    rows = (folder / "instruments.csv").read_text().splitlines()
    lost = [row.split(",")[0] for row in rows if row.split(",")[2] in gone]
    rows = [row for row in rows if row.split(",")[0] not in lost]
    rows = [row + "VIX" if row.startswith("SPX-PUT") else row for row in rows]
    rows += ["NDX-FUT,future,NDX,USD,20,,,,,,,", "TY-FUT,rate_future,UST10,USD,1000,,,,,,,",
             "BRENT-FUT,future,BRENT,USD,1000,,,,,,,"]  # fmt: skip
    positions = (folder / "positions.csv").read_text().splitlines()
    positions = [row for row in positions if row.split(",")[1] not in lost]
    positions += ["R21,NDX-FUT,CME-FUTURES,PM-EQ,INDEX,-300", "R22,BRENT-FUT,LCH-FX,PM-FX,FX,300",
                  "R23,TY-FUT,LCH-FX,PM-FX,FX,500"]  # fmt: skip
    (folder / "instruments.csv").write_text("\n".join(rows) + "\n")
    (folder / "positions.csv").write_text("\n".join(positions) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.conformance
def test_real_panel_tells_the_same_story(shared_folder, tmp_path):
    panel = read_levels(shared_folder / "history" / "real_panel.csv")
    reading = read_pack(_panel_pack(tmp_path / "pack"), packaged_factors())
    assert len(reading.quarantine) == 0
    config = ReplayConfig(start=date(2020, 2, 18), end=date(2020, 3, 31))
    found = replay_margin(reading.book, reading.factors, packaged_levels(), config, panel)
    answer = found.to_dict()
    assert answer["cleared_peak_ratio"] >= 2.0
    assert answer["cleared_at_peak_by_volatility"] >= 2.0
    assert answer["uncleared_change_sensitivities_fixed_usd"] == 0.0
    low, high = found.range("bilateral_im_usd")
    assert PANEL_BAND[0] <= low
    assert high <= PANEL_BAND[1]


@pytest.mark.conformance
def test_panel_and_packaged_history_agree_in_the_episode(shared_folder):
    """Two copies of the same real series: levels equal, so any replay on them is."""
    panel, packaged = read_levels(shared_folder / "history" / "real_panel.csv"), packaged_levels()
    for name in ("SPX", "EURUSD", "GBPUSD", "USDJPY"):
        for day in ("2020-02-19", "2020-03-16", "2020-03-23", "2020-04-30"):
            at = [np.searchsorted(h.dates, np.datetime64(day)) for h in (panel, packaged)]
            ours, theirs = packaged.column(name)[at[1]], panel.column(name)[at[0]]
            assert ours == pytest.approx(theirs, rel=1e-4), (name, day)
