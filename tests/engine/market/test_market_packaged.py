"""The packaged history: real where it says so, else pinned to published moves; small, quick."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.market.build_history import move_in_unit
from engine.market.levels import Levels, read_levels
from engine.market.packaged import (
    ECB_FILE,
    data_folder,
    packaged_factors,
    packaged_levels,
    pair_levels,
)

ROOT = Path(__file__).resolve().parents[3]
LARGEST_DATA_BYTES = 1_500_000


def level_on(levels: Levels, name: str, day: str) -> float:
    row = int(np.searchsorted(levels.dates, np.datetime64(day)))
    assert levels.dates[row] == np.datetime64(day)
    return float(levels.column(name)[row])


def test_columns_are_the_packaged_factors() -> None:
    levels = packaged_levels()
    assert list(levels.factor_ids) == list(packaged_factors().factor_id)
    assert str(levels.dates[0]) == "1990-01-02"
    assert str(levels.dates[-1]) == "2022-12-28"


def test_spx_is_complete_and_exact() -> None:
    levels = packaged_levels()
    spx = levels.column("SPX")
    assert len(spx) == 8313
    assert not np.isnan(spx).any()
    assert level_on(levels, "SPX", "1990-01-02") == 359.69
    assert level_on(levels, "SPX", "2022-12-28") == 3783.22
    # Source: S&P 500 close, 19 February to 23 March 2020, -33.92 %.
    move = level_on(levels, "SPX", "2020-03-23") / level_on(levels, "SPX", "2020-02-19") - 1.0
    assert round(100.0 * move, 2) == -33.92


def test_fx_pairs_come_from_the_published_rates() -> None:
    levels = packaged_levels()
    assert level_on(levels, "EURUSD", "1999-01-04") == 1.1789
    assert level_on(levels, "USDJPY", "1999-01-04") == pytest.approx(133.73 / 1.1789, rel=1e-15)
    assert level_on(levels, "EURCHF", "2015-01-14") == 1.2010
    assert level_on(levels, "EURCHF", "2015-01-15") == 1.0280
    rates = read_levels(data_folder() / ECB_FILE)
    pair = pair_levels(rates, ["GBPUSD"]).values[0, 0]
    assert pair == rates.column("USD")[0] / rates.column("GBP")[0]


def test_levels_exist_on_joint_days_from_the_start_of_each_series() -> None:
    levels = packaged_levels()
    joint = ~np.isnan(levels.column("EURUSD"))
    assert joint.sum() == 5983
    for name in levels.factor_ids:
        seen = np.flatnonzero(~np.isnan(levels.column(str(name))))
        assert seen[-1] == len(levels.dates) - 1
        if name == "SPX":
            continue
        expected = np.flatnonzero(joint)
        np.testing.assert_array_equal(seen, expected[expected >= seen[0]])


def test_log_factors_are_positive_and_wti_is_negative_once() -> None:
    levels, factors = packaged_levels(), packaged_factors()
    for j in np.flatnonzero(factors.return_type == "log"):
        values = levels.values[:, j]
        assert (values[~np.isnan(values)] > 0.0).all(), factors.factor_id[j]
    wti = levels.column("WTI")
    assert levels.dates[wti < 0.0].astype(str).tolist() == ["2020-04-20"]
    assert level_on(levels, "WTI", "2020-04-20") == -36.98


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("UST10", 3.5, 4.2),
        ("WTI", 74.0, 84.0),
        ("TTF", 70.0, 90.0),
        ("VIX", 20.0, 24.0),
        ("GOLD", 1700.0, 1900.0),
        ("HY", 4.0, 5.5),
    ],
)
def test_last_levels_are_plausible(name: str, low: float, high: float) -> None:
    assert low <= packaged_levels().column(name)[-1] <= high


def test_every_episode_move_is_met() -> None:
    with (data_folder() / "episode_targets.csv").open(newline="") as stream:
        targets = list(csv.DictReader(stream))
    assert len(targets) > 250
    assert {"TTF", "NICKEL", "GBP30", "WTI", "VIX", "HY", "N225"} <= {
        t["factor_id"] for t in targets
    }
    levels = packaged_levels()
    for target in targets:
        start, end = (
            level_on(levels, target["factor_id"], target[name]) for name in ("date_from", "date_to")
        )
        achieved = move_in_unit(start, end, target["unit"])
        wanted = float(target["move"])
        # Levels and published moves are rounded; 0.02 was measured.
        assert abs(achieved - wanted) <= 0.05, target


def test_synthetic_factors_move_with_the_real_ones() -> None:
    levels = packaged_levels()
    joint = ~np.isnan(levels.column("EURUSD"))
    spx = np.diff(np.log(levels.column("SPX")[joint]))
    for name, low, high in [("NDX", 0.7, 0.97), ("VIX", -0.9, -0.5), ("STOXX50", 0.4, 0.8)]:
        other = np.diff(np.log(levels.column(name)[joint]))
        assert low < float(np.corrcoef(spx, other)[0, 1]) < high, name


def test_data_files_are_small() -> None:
    total = sum(path.stat().st_size for path in data_folder().iterdir())
    assert total <= LARGEST_DATA_BYTES


def test_loading_is_light() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from engine.market import packaged_levels; packaged_levels()\n"
        "print(sorted({'pandas', 'scipy', 'skfolio', 'numba'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
