"""Parts of an episode replay: known levels, bridges, resources, flows."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from engine.domain.failures import InputError
from engine.market.levels import Levels, read_levels
from engine.market.packaged import packaged_factors, packaged_levels
from engine.stress.replay.bridge import bridge_shocks, path_weights
from engine.stress.replay.episode_file import (
    KnownLevels,
    ReplayEpisode,
    replay_episode_named,
    replay_episodes,
)
from engine.stress.replay.flows import market_flow, peak_over_calm
from engine.stress.replay.path import basis_table, episode_levels
from engine.stress.replay.scores import lead_days
from engine.stress.replay.state import Resources

SEED = 7


def test_every_episode_has_days_a_fund_and_marks() -> None:
    found = replay_episodes()
    assert list(found) == [
        "covid_2020", "energy_2022", "ldi_2022", "nickel_2022", "swiss_floor_2015",
    ]  # fmt: skip
    assert found["nickel_2022"].levels[0].days[date(2022, 3, 7)] == 42995.0
    assert all(known.source for each in found.values() for known in each.levels)
    with pytest.raises(InputError, match="no episode 'nickle' to replay; known are covid_2020"):
        replay_episode_named("nickle")


def _levels(values: list[float]) -> Levels:
    days = np.array(["2022-08-09", "2022-08-10", "2022-08-11", "2022-08-12", "2022-08-15",
                     "2022-08-16", "2022-08-17", "2022-08-18", "2022-08-19", "2022-08-22"],
                    dtype="datetime64[D]")  # fmt: skip
    return Levels(days, np.array(["TTF"], dtype=object), np.array(values)[:, np.newaxis])


def _known(days: dict[date, float]) -> ReplayEpisode:
    known = KnownLevels("TTF", days, "indicative", "a test")
    return ReplayEpisode("x", "X", date(2022, 8, 12), date(2022, 8, 19), "none", (known,))


def test_known_levels_replace_the_history_and_keep_its_moves_before() -> None:
    history = _levels([50.0, 52.0, 51.0, 60.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    episode = _known({date(2022, 8, 12): 200.0, date(2022, 8, 19): 251.0})
    made = episode_levels(episode, history, packaged_factors()).column("TTF")
    assert made[3] == pytest.approx(200.0, rel=1e-12)
    assert made[5] == pytest.approx(200.0 * (251.0 / 200.0) ** (2 / 5), rel=1e-12)
    assert made[5] == pytest.approx(219.0, abs=0.05)
    assert made[8] == pytest.approx(251.0, rel=1e-12)
    # TTF moves are differences: those of the history are kept.
    np.testing.assert_allclose(np.diff(made[:4]), [2.0, -1.0, 9.0], rtol=1e-12)
    assert np.isnan(made[9])
    assert history.column("TTF")[4] == 1.0


def test_a_known_day_outside_the_history_is_refused() -> None:
    history = _levels([50.0] * 10)
    with pytest.raises(InputError, match="no level on 2022-08-13"):
        episode_levels(
            _known({date(2022, 8, 13): 1.0, date(2022, 8, 19): 2.0}), history, packaged_factors()
        )


def test_each_factor_says_how_it_is_known() -> None:
    episode = replay_episodes()["nickel_2022"]
    table = basis_table(episode, packaged_factors(), {"SPX", "NICKEL", "TTF", "EURUSD"}, {"EURUSD"})
    basis = dict(zip(table["factor_id"], table["basis"], strict=True))
    assert basis == {
        "SPX": "observed", "EURUSD": "observed", "TTF": "simulated", "NICKEL": "known days",
    }  # fmt: skip
    mark = dict(zip(table["factor_id"], table["mark"], strict=True))
    assert mark == {
        "SPX": "verified", "EURUSD": "user", "TTF": "indicative", "NICKEL": "indicative",
    }  # fmt: skip


def test_bridges_end_every_day_at_the_real_close() -> None:
    moves = np.array([[-0.04, 0.01], [0.02, -0.03]])
    weights = np.vstack([np.full(24, 1 / 24), np.arange(1, 25) / 300])
    shocks = bridge_shocks(
        moves, np.full((2, 2), 0.015), np.array([[1.0, 0.5], [0.5, 1.0]]), weights, 200, SEED
    )
    assert shocks.shape == (201, 48, 2)
    assert shocks[0, :24, 0] == pytest.approx(np.full(24, -0.04 / 24), rel=1e-12)
    paths = np.einsum("sp,stk->ptk", path_weights(200), shocks).reshape(200, 2, 24, 2)
    closes = np.broadcast_to(moves, (200, 2, 2))
    np.testing.assert_allclose(paths.sum(axis=2), closes, rtol=0.0, atol=1e-15)
    # In the middle of the day paths differ: the bridge's deviation there is sigma / 2.
    half = paths[:, 0, :12, 0].sum(axis=1)
    assert half.std() == pytest.approx(0.015 / 2, rel=0.2)


def test_one_path_has_no_bridge() -> None:
    one = bridge_shocks(
        np.array([[0.01]]), np.array([[0.02]]), np.eye(1), np.full((1, 24), 1 / 24), 1, SEED
    )
    assert one.shape == (1, 24, 1)
    assert path_weights(1).tolist() == [[1.0]]


def test_resources_are_used_in_order() -> None:
    full = Resources(cash=45.0, quick=0.0, lines=25.0, slow=30.0)
    left = full.reduced_to(34.0)
    assert (left.cash, left.lines, left.slow) == (0.0, 4.0, 30.0)
    assert full.reduced_to(110.0).cash == 55.0
    assert full.reduced_to(-5.0).total == 0.0
    for amount in (0.0, 10.0, 34.0, 60.0, 99.0, 100.0, 140.0):
        assert full.reduced_to(amount).total == pytest.approx(amount, abs=1e-12)


def test_lead_is_counted_before_the_event_alone() -> None:
    score = np.array([0.5, 0.92, 0.8, 0.99])
    assert lead_days(score, 2, 0.9) == 1
    assert lead_days(score, 1, 0.9) is None


def test_flow_of_a_market_has_no_direction() -> None:
    flow = market_flow(np.array([[-0.02, 0.01]]), np.array([0.01, 0.005]))
    assert flow.tolist() == [4.0]
    dates = np.array(["2020-02-03", "2020-02-04", "2020-03-09"], dtype="datetime64[D]")
    flows = np.array([1.0, 3.0, 10.0])
    spans = (("2020-02-01", "2020-02-29"), ("2020-03-01", "2020-03-31"))
    assert peak_over_calm(dates, flows, *spans) == (5.0, "2020-03-09")
    with pytest.raises(InputError, match="no flow from 2019-01-01"):
        peak_over_calm(dates, flows, ("2019-01-01", "2019-12-31"), spans[1])


def _flow_of(levels: Levels, names: list[str]) -> tuple[float, str]:
    """Peak in March 2020 over the mean of February, log moves in units of February's size."""
    values = np.stack([levels.column(name) for name in names], axis=1)
    inside = (levels.dates >= np.datetime64("2019-01-02")) & ~np.isnan(values).any(axis=1)
    moves = np.diff(np.log(values[inside]), axis=0)
    dates = levels.dates[inside][1:]
    year = dates <= np.datetime64("2020-01-31")
    scale = np.sqrt(np.mean(moves[year] ** 2, axis=0))
    return peak_over_calm(
        dates,
        market_flow(moves, scale),
        ("2020-02-03", "2020-02-28"),
        ("2020-03-01", "2020-03-31"),
    )


def test_observed_factors_alone_give_the_shape_of_all_clearing_houses() -> None:
    """Published: 140 over 25 bn USD, 5.6 times, on 9 March (BCBS-CPMI-IOSCO 2022)."""
    factors = packaged_factors()
    names = [
        str(name)
        for name in factors.factor_id[~factors.synthetic]
        if name not in ("USDHKD", "USDDKK", "USDCNY")
    ]
    ratio, day = _flow_of(packaged_levels(), names)
    assert day == "2020-03-16"
    assert ratio == pytest.approx(6.958, abs=0.001)
    # One market alone is no market of all: the control leaves the band of 4 to 7.
    alone, _ = _flow_of(packaged_levels(), ["SPX"])
    assert alone == pytest.approx(11.831, abs=0.001)


@pytest.mark.conformance
def test_many_markets_peak_on_the_published_day(shared_folder: Path) -> None:
    levels = read_levels(shared_folder / "history" / "real_panel.csv")
    names = ["SPX", "NDX", "N225", "HSI", "RUT", "VIX", "UST2", "UST10", "UST30", "HY", "IG",
             "BRENT", "EURUSD", "GBPUSD", "USDJPY", "EURCHF", "USDMXN"]  # fmt: skip
    ratio, day = _flow_of(levels, names)
    assert day == "2020-03-09"
    assert ratio == pytest.approx(6.702, abs=0.001)
