"""Whole episodes: what was said must not know the future, and the acceptance figures."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund, prepare_fund
from engine.domain.book import Book
from engine.domain.failures import InputError
from engine.domain.scenarios import Scenario
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.stress.replay.calibration import branching_at, exogenous_scenario, fit_crowding
from engine.stress.replay.config import EpisodeReplayConfig
from engine.stress.replay.days import Days, book_on, episode_days
from engine.stress.replay.episode_file import ReplayEpisode, replay_episodes
from engine.stress.replay.path import episode_levels
from engine.stress.replay.replay import replay_episode
from engine.stress.replay.result import EpisodeReplay
from engine.stress.replay.statement import margin_on
from engine.stress.replay.surge import call_surge, qms_scenario
from workflows.avalanche_replays import write_replay_fund
from workflows.funds import open_fund

SAID = ["im_said_usd", "call_expected_usd", "call_q99_usd", "p_exhaustion"]


def fund(episode: ReplayEpisode, folder: Path) -> Book:
    return open_fund(write_replay_fund(episode.fund, episode.start, folder)).reading.book


def replayed(
    episode: ReplayEpisode, book: Book, config: EpisodeReplayConfig | None = None
) -> EpisodeReplay:
    config = config or EpisodeReplayConfig(warning=False)
    return replay_episode(book, packaged_factors(), packaged_levels(), episode, config)


def test_nickel_exhausts_a_short_of_a_tenth_of_open_interest_within_three_days(
    tmp_path: Path,
) -> None:
    episode = replay_episodes()["nickel_2022"]
    book = fund(episode, tmp_path)
    found = replayed(episode, book)
    assert found.exhausted_on == "2022-03-07"
    assert found.exhausted_after_days() == 2
    assert found.summary()["marks"] == ["indicative"]
    assert found.failures == ()
    calls = found.agreements.groupby("date")["call_usd"].sum()
    np.testing.assert_allclose(calls.to_numpy(), found.days["call_usd"].to_numpy(), rtol=1e-9)
    # A twentieth of the short is paid: the test can fail.
    small = replace(
        book, positions=replace(book.positions, quantity=book.positions.quantity * 0.05)
    )
    assert replayed(episode, small).exhausted_on is None


def test_a_statement_knows_nothing_of_the_days_after(tmp_path: Path) -> None:
    episode = replay_episodes()["nickel_2022"]
    book = fund(episode, tmp_path)
    whole = replayed(episode, book)
    cut = replayed(replace(episode, end=date(2022, 3, 7)), book)
    assert len(cut.days) == 2
    # Bridges of a day do not depend on how many follow only where there is one: the first
    # statement is made from the same state, the same market and the same draws.
    for name in SAID:
        assert cut.days[name].iloc[0] == whole.days[name].iloc[0]
        assert cut.days[name].iloc[1] == pytest.approx(whole.days[name].iloc[1], rel=0.05, abs=0.02)


def test_one_path_makes_days_independent_of_those_that_follow(tmp_path: Path) -> None:
    episode = replay_episodes()["ldi_2022"]
    book = fund(episode, tmp_path)
    config = EpisodeReplayConfig(warning=False, bridges=1, paths=64)
    whole = replayed(episode, book, config).days
    cut = replayed(replace(episode, end=date(2022, 9, 27)), book, config).days
    for name in [*SAID, "call_usd", "liquidity_usd", "im_usd"]:
        assert cut[name].tolist() == whole[name].tolist()[: len(cut)]


def test_the_franc_gives_no_lead(tmp_path: Path) -> None:
    episode = replay_episodes()["swiss_floor_2015"]
    found = replayed(episode, fund(episode, tmp_path), EpisodeReplayConfig(paths=64))
    said = found.summary()
    assert said["largest_call_on"] == "2015-01-15"
    assert said["score_lead_days"] is None
    assert found.days["p_exhaustion"].iloc[5] == 0.0
    assert said["largest_call_usd"] > 20.0 * said["largest_call_q99_usd"]
    assert found.exhausted_on == "2015-01-16"


@pytest.mark.slow
def test_2020_has_a_lead_and_the_published_shape(tmp_path: Path) -> None:
    episode = replay_episodes()["covid_2020"]
    found = replayed(episode, fund(episode, tmp_path), EpisodeReplayConfig())
    said = found.summary()
    assert said["marks"] == ["verified"]
    assert said["largest_call_on"] == "2020-03-12"
    assert 4.0 <= said["peak_over_mean_of_other_days"] <= 7.0
    assert said["score_lead_days"] == 13
    assert said["exhausted_on"] == "2020-03-13"
    chance = dict(zip(found.days["date"], found.days["p_exhaustion"], strict=True))
    assert chance["2020-03-09"] < 0.05 < 0.2 < chance["2020-03-11"]
    assert chance["2020-03-13"] > 0.95


@pytest.fixture(scope="module")
def gilts(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedFund, Days]:
    episode = replay_episodes()["ldi_2022"]
    book = fund(episode, tmp_path_factory.mktemp("ldi"))
    factors = packaged_factors()
    levels = episode_levels(episode, packaged_levels(), factors)
    days = episode_days(book, factors, levels, (episode.start, episode.end), 10)
    first = book_on(book, days.markets[0])
    margin = margin_on(first, days.markets[0], EpisodeReplayConfig())
    config = AvalancheConfig(volatility_multiplier=1.0)
    return prepare_fund(first, days.markets[0], margin, config), days


def test_half_of_the_gilt_fall_is_a_scenario(gilts: tuple[PreparedFund, Days]) -> None:
    scenario = exogenous_scenario(gilts[1], "GBP30", date(2022, 9, 27))
    assert scenario.moves == {"GBP30": pytest.approx(0.6, rel=1e-12)}
    assert scenario.day_shares == pytest.approx((0.225, 0.4, 0.375), rel=1e-9)
    assert scenario.volatility_multiplier == pytest.approx(4.134, abs=0.001)
    with pytest.raises(InputError, match="2022-09-22 is no close of the episode after its first"):
        exogenous_scenario(gilts[1], "GBP30", date(2022, 9, 22))


def test_crowding_that_makes_sales_half_of_the_calls(gilts: tuple[PreparedFund, Days]) -> None:
    prepared, days = gilts
    scenario = exogenous_scenario(days, "GBP30", date(2022, 9, 27))
    config = AvalancheConfig(volatility_multiplier=1.0)
    fit = fit_crowding(prepared, scenario, config)
    assert fit.branching == pytest.approx(0.5, abs=1e-6)
    assert fit.amplification == pytest.approx(2.0, abs=1e-5)
    assert fit.crowding == pytest.approx(11.21, abs=0.01)
    # More crowding, more avalanche; without impact there is none at any crowding.
    shares = [branching_at(prepared, scenario, config, theta).branching for theta in (0, 5, 20)]
    assert shares == sorted(shares) and shares[0] < 0.5 < shares[2]
    still = config.model_copy(update={"impact_coefficient": 0.0})
    assert branching_at(prepared, scenario, still, 50.0).branching == 0.0
    with pytest.raises(InputError, match="out of reach: it is 0.000 without crowding"):
        fit_crowding(prepared, scenario, still)


def test_surge_grows_with_severity_and_names_its_driver(gilts: tuple[PreparedFund, Days]) -> None:
    prepared, _ = gilts
    scenario = Scenario(
        scenario_id="gilts_up", name="Gilts", moves={"GBP30": 0.3}, day_shares=(0.5, 0.25, 0.25)
    )
    config = AvalancheConfig(paths=64, horizon_days=5, volatility_multiplier=1.0)
    weak, strong = (call_surge(prepared, scenario, config, 3, size) for size in (0.5, 1.0))
    assert 0.0 < weak.mean_path_usd < strong.mean_path_usd
    assert strong.factors["factor_id"].iloc[0] == "GBP30"
    assert strong.factors["share_of_gross"].iloc[0] == pytest.approx(1.0, rel=1e-12)
    assert strong.agreements["surge_usd"].sum() == pytest.approx(strong.mean_path_usd, rel=1e-9)
    assert call_surge(prepared, scenario, config, 3, 0.0).mean_path_usd == 0.0
    with pytest.raises(InputError, match="days 6: the run has 5"):
        call_surge(prepared, scenario, config, 6)


def test_the_energy_story_is_the_episode_in_three_days() -> None:
    levels = packaged_levels()
    market = build_market(packaged_factors(), levels, levels.dates[-1].item()).value
    at = float(market.level[market.index()["TTF"]])
    scaled, whole = qms_scenario(market), qms_scenario(market, whole=True)
    assert scaled.moves["TTF"] == pytest.approx(at * (340 / 80 - 1) * (3 / 62) ** 0.5, rel=1e-9)
    assert whole.moves["TTF"] == pytest.approx(at * (340 / 80 - 1), rel=1e-9)
    assert (scaled.scenario_id, scaled.days, scaled.mark) == ("qms_energy_2022", 3, "indicative")
