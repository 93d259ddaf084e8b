"""Episodes of history as scenarios: facts, conditional means, distances, crosses, day shares."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from engine.domain.failures import FailureReason, InputError
from engine.domain.market import MarketState
from engine.domain.scenarios import Scenario
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market
from engine.stress.library.day_shares import episode_day_shares, shares_of_returns
from engine.stress.library.episodes import EPISODES_FILE, Episode, episodes
from engine.stress.library.fit import LibraryConfig, as_scenarios, episode_scenario, fitted_episode
from engine.stress.library.joint_moves import (
    JointMoves,
    implied_crosses,
    joint_moves,
    tail_probability,
)
from tests.support.tiny_fund import text, tiny_market


@pytest.fixture(scope="module")
def market() -> MarketState:
    levels = packaged_levels()
    return build_market(packaged_factors(), levels, date(2022, 12, 28)).value


@pytest.fixture(scope="module")
def joint(market: MarketState) -> JointMoves:
    return joint_moves(market, LibraryConfig().correlation_lookback_days)


def by_id(name: str) -> Episode:
    return next(episode for episode in episodes() if episode.episode_id == name)


def test_rulebook_has_34_events_in_41_windows_each_move_with_a_source() -> None:
    found = episodes()
    assert len(found) == 41
    assert len({episode.event for episode in found}) == 34
    known = set(packaged_factors().factor_id)
    for episode in found:
        for row in episode.moves:
            assert row.subject in known, (episode.episode_id, row.subject)
            assert row.source
            log = packaged_factors().return_type[list(packaged_factors().factor_id).index(
                row.subject)] == "log"  # fmt: skip
            assert row.is_log == log, (episode.episode_id, row.subject)


def test_known_facts() -> None:
    black = by_id("black_monday_1987")
    spx = next(row for row in black.moves if row.subject == "SPX")
    assert spx.move == pytest.approx(math.log(224.84 / 314.52), abs=1e-8)
    assert spx.move == pytest.approx(-0.33565863, abs=1e-8)
    oil = next(r for r in by_id("negative_oil_2020").moves if r.subject == "WTI")
    assert (oil.value_to, oil.move) == (-36.98, pytest.approx(-55.29))
    assert not by_id("archegos_2021").moves
    assert by_id("nickel_2022").mark == "indicative"
    assert by_id("covid_2020").mark == "verified"
    assert by_id("covid_2020").facts[0].to_dict()["value_from"] == 25.0
    assert math.isnan(by_id("nickel_2022").volatility_ratio)


@pytest.mark.conformance
def test_every_number_of_the_reference_is_in_the_rulebook(shared_folder: Path) -> None:
    import pandas as pd

    path = shared_folder / "reference" / "stress_library.csv"
    if not path.is_file():
        pytest.skip(f"{path} not found")
    reference = pd.read_csv(path)
    data = reference[reference["status"] == "VERIFIED_DATA"]
    ours = {
        (row.first.isoformat(), row.last.isoformat(), row.value_from, row.value_to)
        for episode in episodes()
        for row in (*episode.moves, *episode.facts)
    }
    moved = data[~((data["episode_id"] == "E01") & (data["factor"] == "N225"))]
    for row in moved.itertuples():
        assert (row.date_from, row.date_to, row.value_from, row.value_to) in ours, row


def test_covid_is_brought_to_ten_days_by_the_root_of_time(
    market: MarketState, joint: JointMoves
) -> None:
    covid = by_id("covid_2020")
    scaled = fitted_episode(covid, market, None, joint)
    whole = math.log(2237.4 / 3386.15)
    assert covid.business_days == 23
    assert scaled.scenario.days == 10
    assert scaled.named["SPX"] == pytest.approx(whole * math.sqrt(10 / 23), rel=1e-6)
    assert scaled.named["SPX"] == pytest.approx(-0.27324, abs=2e-5)
    full = episode_scenario(covid, market, LibraryConfig(long_windows="full"), joint)
    assert full.moves["SPX"] == pytest.approx(whole, rel=1e-6)
    # The same distance as over the whole window.
    over_window = joint.distance({n: m * math.sqrt(23 / 10) for n, m in scaled.named.items()}, 23)
    assert joint.distance(scaled.named, 10) == pytest.approx(over_window, rel=1e-12)


def test_commodities_are_scaled_to_todays_level_only_between_positive_prices(
    market: MarketState, joint: JointMoves
) -> None:
    gulf, oil = by_id("gulf_oil_1990"), by_id("negative_oil_2020")
    level = float(market.level[market.index()["WTI"]])
    shrink = math.sqrt(10 / gulf.business_days)
    scaled = fitted_episode(gulf, market, None, joint).named["WTI"]
    assert scaled == pytest.approx((41.07 / 18.67 - 1.0) * level * shrink, rel=1e-9)
    absolute = LibraryConfig(commodity_moves="absolute")
    assert fitted_episode(gulf, market, absolute, joint).named["WTI"] == pytest.approx(
        (41.07 - 18.67) * shrink, rel=1e-9
    )
    assert fitted_episode(oil, market, None, joint).named["WTI"] == pytest.approx(-55.29)


def test_rates_are_differences_and_classes_step_by_their_own_moves(
    market: MarketState, joint: JointMoves
) -> None:
    fitted = fitted_episode(by_id("banks_2023"), market, None, joint)
    assert fitted.named["UST2"] == pytest.approx(-1.24, abs=0.011)
    steps = fitted.scenario.volatility_by_class
    sizes = [
        fitted.named[n] / (joint.volatility[joint.column[n]] * math.sqrt(7))
        for n in ("UST2", "UST10", "UST30")
    ]
    assert steps["rates"] == pytest.approx(math.sqrt(np.mean(np.square(sizes))), rel=1e-12)
    assert fitted.scenario.volatility_multiplier == pytest.approx(25.51 / 19.11, rel=1e-3)
    assert "equity" not in steps or steps["equity"] > fitted.scenario.volatility_multiplier


def test_completion_is_marked_listed_and_optional(market: MarketState, joint: JointMoves) -> None:
    episode = by_id("lehman_2008")
    fitted = fitted_episode(episode, market, None, joint)
    assert episode.mark == "verified"
    assert fitted.scenario.mark == "indicative"
    assert "AAPL" in fitted.completed
    assert fitted.basis("AAPL") == "conditional mean"
    assert fitted.basis("SPX") == "named"
    assert set(fitted.scenario.moves) == set(market.factors.factor_id)
    bare = fitted_episode(episode, market, LibraryConfig(complete_factors=False), joint)
    assert bare.scenario.mark == "verified"
    assert bare.scenario.moves == bare.named
    assert not bare.completed


def test_a_squeeze_of_one_metal_does_not_move_the_world(
    market: MarketState, joint: JointMoves
) -> None:
    nickel = fitted_episode(by_id("nickel_2022"), market, None, joint)
    assert nickel.named["NICKEL"] == pytest.approx(math.log(101365 / 27080), rel=1e-6)
    assert abs(nickel.scenario.moves["SPX"]) < 0.03
    unbounded = LibraryConfig(largest_common_size=1e9)
    carried = fitted_episode(by_id("nickel_2022"), market, unbounded, joint)
    assert abs(carried.scenario.moves["SPX"]) > 2.0 * abs(nickel.scenario.moves["SPX"])


def test_completed_spreads_and_prices_stay_above_zero(market: MarketState) -> None:
    for fitted in as_scenarios(market).value:
        for name in fitted.completed:
            k = market.index()[name]
            if market.factors.return_type[k] == "absolute" and market.factors.asset_class[k] in (
                "credit",
                "commodity",
            ):
                after = market.level[k] + fitted.scenario.moves[name]
                assert after > 0.0, (fitted.episode.episode_id, name)


def test_episodes_without_a_move_are_named(market: MarketState) -> None:
    found = as_scenarios(market)
    assert len(found.value) == 40
    assert [(f.item, f.reason) for f in found.failures] == [
        ("archegos_2021", FailureReason.NOT_APPLICABLE)
    ]
    assert all(isinstance(f.scenario, Scenario) for f in found.value)


def test_a_market_of_its_own_takes_what_it_knows() -> None:
    tiny = tiny_market()
    fitted = fitted_episode(by_id("brexit_2016"), tiny)
    assert set(fitted.named) == {"VIX", "EURUSD"}
    assert "UST10" in fitted.missing
    with pytest.raises(InputError, match=r"none of its factors \(NICKEL\)"):
        fitted_episode(by_id("nickel_2022"), tiny)
    # A yield in another unit than per cent is not taken for one in per cent.
    renamed = tiny_market(factor_id=text(["SPX", "AAPL", "UST10", "WTI", "EURUSD", "VIX"]))
    assert "UST10" in fitted_episode(by_id("brexit_2016"), renamed).missing


def test_conditional_mean_by_hand_and_by_formula(joint: JointMoves) -> None:
    hand = JointMoves({"A": 0, "B": 1}, np.array([0.01, 0.02]), np.array([[1.0, 0.5], [0.5, 1.0]]))
    assert hand.conditional_mean({"A": -0.04}) == {"B": pytest.approx(-0.04, rel=1e-12)}
    assert hand.distance({"A": 0.08}, 4) == pytest.approx(4.0, rel=1e-12)
    named = {"SPX": -0.1, "UST10": 0.3, "TTF": 20.0}
    rest = joint.conditional_mean(named)
    sigma = np.outer(joint.volatility, joint.volatility) * joint.correlation
    rows = [joint.column[n] for n in named]
    other = [joint.column[n] for n in rest]
    expected = (
        sigma[np.ix_(other, rows)] @ np.linalg.inv(sigma[np.ix_(rows, rows)]) @ list(named.values())
    )
    np.testing.assert_allclose(list(rest.values()), expected, rtol=1e-8)
    # Completing by conditional mean leaves the distance as it is; anything else adds to it.
    assert joint.distance({**named, **rest}, 5) == pytest.approx(joint.distance(named, 5), rel=1e-8)
    other_move = {**rest, "AAPL": rest["AAPL"] + 0.05}
    assert joint.distance({**named, **other_move}, 5) > 1.01 * joint.distance(named, 5)


def test_tail_probability_is_that_of_chi_square() -> None:
    assert tail_probability(1.959963984540054, 1) == pytest.approx(0.05, rel=1e-9)
    assert tail_probability(2.0, 2) == pytest.approx(math.exp(-2.0), rel=1e-12)


def test_crosses_follow_from_the_named_pairs(market: MarketState) -> None:
    moves = {"EURUSD": -0.01, "EURCHF": -0.14, "GBPUSD": 0.02}
    implied = implied_crosses(moves, market.factors)
    assert implied == {
        "USDCHF": pytest.approx(-0.13, abs=1e-12),
        "EURGBP": pytest.approx(-0.03, abs=1e-12),
    }
    # Two groups of currencies that no pair connects imply nothing across.
    apart = implied_crosses({"EURCHF": 0.1, "USDJPY": 0.2}, market.factors)
    assert apart == {}
    late = implied_crosses({"EURCHF": 0.1, "USDJPY": 0.2, "EURUSD": 0.05}, market.factors)
    assert late == {"USDCHF": pytest.approx(0.05, abs=1e-12)}


def test_day_shares_follow_the_index_and_fall_back_to_even() -> None:
    assert shares_of_returns(np.array([-0.02, 0.01, -0.03]), 3) == pytest.approx((0.5, -0.25, 0.75))
    assert shares_of_returns(np.array([0.01, -0.0101]), 2) == ()
    covid = episode_day_shares(date(2020, 2, 19), date(2020, 3, 23), 10)
    assert len(covid) == 10
    assert sum(covid) == pytest.approx(1.0, abs=1e-12)
    assert max(covid) > 0.15
    assert episode_day_shares(date(1987, 10, 13), date(1987, 10, 19), 4) == (0.25,) * 4
    # Gilts in 2022: the index did not fall with them, so its path is not theirs.
    assert episode_day_shares(date(2022, 9, 21), date(2022, 9, 28), 5) == (0.2,) * 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-0.33565863", "-0.5", "is not the log move of its levels"),
        ("move,1987-10-13", "shift,1987-10-13", "role 'shift'"),
        ("1987-10-13,1987-10-19,SPX", "1987-10-20,1987-10-19,SPX", "is before date_from"),
        ("verified", "sure", "mark 'sure'"),
        (",NDX,201.23", ",SPX,201.23", "moves SPX twice"),
    ],
)
def test_a_damaged_rulebook_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    lines = EPISODES_FILE.read_text(encoding="utf-8").splitlines()[:6]
    body = "\n".join(lines)
    assert old in body
    damaged = tmp_path / "stress_episodes.csv"
    damaged.write_text(body.replace(old, new, 1) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        episodes(damaged)


def test_a_factor_with_log_returns_takes_a_difference(market: MarketState) -> None:
    table = replace(
        market.factors,
        return_type=np.where(market.factors.factor_id == "WTI", "log", market.factors.return_type),
    )
    logged = replace(market, factors=table)
    fitted = fitted_episode(by_id("china_2015"), logged)
    row = next(r for r in by_id("china_2015").moves if r.subject == "WTI")
    assert fitted.named["WTI"] == pytest.approx(math.log(row.value_to / row.value_from), rel=1e-9)
    # A negative price has no log return: the factor is missing, not invented.
    assert "WTI" in fitted_episode(by_id("negative_oil_2020"), logged).missing
