"""The simulation of synthetic histories: repeatable, pinned, independent of its neighbours."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from engine.domain.arrays import DateArray, Float64Array
from engine.domain.failures import InputError
from engine.market.build_history import SEED, build, move_in_unit, write_fit
from engine.market.levels import read_levels
from engine.market.packaged import (
    SYNTHETIC_FILE,
    data_folder,
    packaged_factors,
    packaged_levels,
)
from engine.market.synthetic import (
    SyntheticSpec,
    Waypoint,
    lagged_volatility,
    read_specs,
    read_waypoints,
    simulate_levels,
)

MODEL = data_folder() / "synthetic_model.csv"
WAYPOINTS = data_folder() / "waypoints.csv"


def real_slice(n_days: int) -> tuple[DateArray, dict[str, Float64Array]]:
    levels = packaged_levels()
    joint = ~np.isnan(levels.column("EURUSD"))
    real = {name: levels.column(name)[joint][:n_days] for name in ("SPX", "EURUSD", "USDJPY")}
    return levels.dates[joint][:n_days], real


def spec(name: str, parents: dict[str, float], **changes: object) -> SyntheticSpec:
    fields: dict[str, object] = {
        "factor_id": name,
        "start": np.datetime64("1999-01-04"),
        "shift": 0.0,
        "floor": 0.0,
        "daily_vol": 0.01,
        "spx_vol_power": 0.5,
        "own_vol_sd": 0.2,
        "reversion": 0.0,
        "reverts_to": "waypoints",
        "decimals": 6,
        "parents": parents,
    }
    return SyntheticSpec(**(fields | changes))  # type: ignore[arg-type]


def point(day: str, level: float) -> Waypoint:
    return Waypoint(np.datetime64(day), level)


def test_packaged_file_is_what_the_code_builds() -> None:
    dates, real = real_slice(5983)
    built = simulate_levels(read_specs(MODEL), read_waypoints(WAYPOINTS), dates, real, SEED)
    stored = read_levels(data_folder() / SYNTHETIC_FILE)
    assert list(stored.factor_ids) == list(built)
    for name, values in built.items():
        # A library that differs in the last bit of exp may round the last stored decimal otherwise.
        step = 1.001 * max(
            10.0 ** -next(s.decimals for s in read_specs(MODEL) if s.factor_id == name), 0.0
        )
        np.testing.assert_allclose(stored.column(name), values, rtol=0.0, atol=step)


def test_same_seed_same_levels_and_another_seed_others() -> None:
    dates, real = real_slice(400)
    specs = [spec("X", {"SPX": 0.5})]
    pins = {"X": [point("1999-01-04", 100.0), point("2000-05-01", 150.0)]}
    one, two, other = (simulate_levels(specs, pins, dates, real, seed)["X"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1.0


def test_adding_a_factor_changes_no_other() -> None:
    dates, real = real_slice(400)
    pins = {name: [point("1999-01-04", 100.0)] for name in ("X", "Y")}
    alone = simulate_levels([spec("X", {"SPX": 0.5})], pins, dates, real, 3)
    both = simulate_levels([spec("Y", {"SPX": 0.9}), spec("X", {"SPX": 0.5})], pins, dates, real, 3)
    np.testing.assert_array_equal(alone["X"], both["X"])


def test_path_meets_waypoints_shift_and_negative_day() -> None:
    dates, real = real_slice(400)
    days = [str(dates[i]) for i in (0, 100, 101, 102, 399)]
    pins = {
        "X": [
            point(days[0], 18.0),
            point(days[1], 18.31),
            point(days[2], -36.98),
            point(days[3], 8.9),
            point(days[4], -0.5),
        ]
    }
    levels = simulate_levels([spec("X", {"SPX": 0.2}, shift=1.0, floor=-0.9)], pins, dates, real, 4)
    rows = [0, 100, 101, 102, 399]
    np.testing.assert_allclose(levels["X"][rows], [18.0, 18.31, -36.98, 8.9, -0.5], atol=1e-5)
    others = np.delete(levels["X"], rows)
    assert (others > -0.91).all()


def test_start_is_respected_and_needs_a_waypoint() -> None:
    dates, real = real_slice(400)
    late = spec("X", {"SPX": 0.5}, start=dates[50])
    levels = simulate_levels([late], {"X": [point(str(dates[50]), 10.0)]}, dates, real, 5)["X"]
    assert np.isnan(levels[:50]).all()
    assert levels[50] == 10.0
    with pytest.raises(InputError, match="no waypoint on its start"):
        simulate_levels([late], {"X": [point(str(dates[80]), 10.0)]}, dates, real, 5)


def test_unknown_parent_and_missing_waypoint_are_refused() -> None:
    dates, real = real_slice(100)
    with pytest.raises(InputError, match="'LATER'"):
        simulate_levels([spec("X", {"LATER": 0.5})], {}, dates, real, 1)
    with pytest.raises(InputError, match="no waypoint"):
        simulate_levels([spec("X", {"SPX": 0.5})], {}, dates, real, 1)


def test_volatility_state_looks_back_only() -> None:
    returns = np.full(100, 0.01)
    returns[0] = np.nan
    jump = returns.copy()
    jump[80] = 0.5
    assert (lagged_volatility(returns, 0.94)[:81] == lagged_volatility(jump, 0.94)[:81]).all()
    assert lagged_volatility(jump, 0.94)[81] > 0.1


def test_model_names_every_synthetic_factor() -> None:
    factors = packaged_factors()
    names = {item.factor_id for item in read_specs(MODEL)}
    assert names == set(factors.factor_id[factors.synthetic])


def test_waypoints_say_what_they_are() -> None:
    with WAYPOINTS.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["status"] for row in rows} == {"published", "indicative", "interpolated"}
    assert all(row["source"] for row in rows)


@pytest.mark.parametrize(
    ("start", "end", "unit", "expected"),
    [(80.0, 340.0, "pct", 325.0), (4.52, 4.97, "bp", 45.0), (18.31, -36.98, "USD/bbl", -55.29)],
)
def test_move_in_unit(start: float, end: float, unit: str, expected: float) -> None:
    assert move_in_unit(start, end, unit) == pytest.approx(expected)


def test_fit_table_is_what_the_levels_say(tmp_path: Path) -> None:
    levels = packaged_levels()
    columns = {str(name): levels.column(str(name)) for name in levels.factor_ids}
    write_fit(data_folder() / "episode_targets.csv", tmp_path / "fit.csv", levels.dates, columns)
    stored = (data_folder() / "episode_fit.csv").read_text()
    assert (tmp_path / "fit.csv").read_text() == stored


def test_build_repeats_the_packaged_files(tmp_path: Path) -> None:
    if find_spec("skfolio") is None or find_spec("currency_converter") is None:
        pytest.skip("dependency group `data` is not installed")
    for name in ("synthetic_model.csv", "waypoints.csv", "episode_targets.csv"):
        (tmp_path / name).write_bytes((data_folder() / name).read_bytes())
    build(tmp_path)
    for path in sorted(data_folder().glob("*.csv.gz")):
        assert (
            read_levels(tmp_path / path.name).values.tobytes() == read_levels(path).values.tobytes()
        )
