from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.agreements import APC_TOOLS
from engine.domain.failures import InputError
from engine.margin.procyclicality import (
    buffered_margin,
    largest_rise,
    long_run_floor,
    peak_to_trough,
    stress_floor,
    stress_weighted,
    tool_today,
    with_buffer,
)
from engine.margin.procyclicality_paths import (
    PATH_TOOLS,
    PathConfig,
    Spell,
    apply_tool,
    buffer_path,
    step_rule,
)
from tests.support.tiny_fund import text


def _series(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.exp(np.cumsum(rng.normal(0.0, 0.08, 400)))


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_tools_keep_their_bounds(seed, number):
    base = _series(seed)
    floor = np.full(400, np.median(base))
    assert (long_run_floor(base, floor) >= base).all()
    blend = stress_weighted(base, floor, number)
    assert blend == pytest.approx((1.0 - number) * base + number * floor, rel=1e-14)
    tool = buffered_margin(base, number, 60)
    assert np.isnan(tool.margin[:59]).all()
    margin = tool.margin[59:]
    assert (margin >= base[59:]).all()
    assert (margin <= (1.0 + number) * base[59:] * (1 + 1e-12)).all()


def test_buffer_worked_number_and_dates():
    tool = buffered_margin(np.array([100.0, 100.0, 130.0]), 0.25, 2)
    assert np.isnan(tool.margin[0])
    assert tool.margin[1:] == pytest.approx([125.0, 143.75])
    assert tool.buffer_left[1:] == pytest.approx([1.0, 13.75 / 32.5])
    base = np.array([100.0] * 10 + [300.0] * 3 + [100.0] * 7)
    dates = np.datetime64("2020-01-01") + np.arange(20)
    spells = buffered_margin(base, 0.25, 10).exhausted(dates)
    assert spells == [(dates[10], dates[13])]
    assert buffered_margin(base[:13], 0.25, 10).exhausted(dates) == [(dates[10], None)]


def test_an_unknown_floor_is_no_floor():
    assert list(long_run_floor(np.array([1.0, 1.0]), np.array([np.nan, 2.0]))) == [1.0, 2.0]


def test_measures():
    series = np.array([2.0, 1.0, 1.5, 3.0])
    assert peak_to_trough(series) == 3.0
    assert largest_rise(series, 1) == 1.0
    assert largest_rise(series, 2) == 2.0
    assert np.isnan(largest_rise(series, 4))
    with pytest.raises(InputError, match="above 0"):
        peak_to_trough(np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="widen"):
        peak_to_trough(np.array([]))
    with pytest.raises(InputError, match=r"1\.5"):
        stress_weighted(series, 1.0, 1.5)


def _today(tools, im_now=100.0, **changes):
    n = len(tools)
    values = {"im_now": im_now, "im_stress": 300.0, "im_long_run": 130.0, "im_mean": 90.0,
              "stress_weight": 0.25, "buffer": 0.25, **changes}  # fmt: skip
    return tool_today(
        text(list(tools)), **{key: np.full(n, value) for key, value in values.items()}
    )


def test_tool_today_worked_numbers():
    assert APC_TOOLS == ("none", "buffer", "stress_weight", "long_run_floor", "stress_floor")
    assert _today(APC_TOOLS) == pytest.approx([100.0, 112.5, 150.0, 130.0, 300.0], rel=1e-12)
    # Volatility rises: the buffer is used up and the floors stop binding.
    assert _today(APC_TOOLS, 400.0) == pytest.approx([400.0, 400.0, 375.0, 400.0, 400.0])
    assert _today(["buffer"], 80.0)[0] == 100.0
    assert with_buffer([100.0, 120.0, 130.0], 100.0, 0.25).tolist() == [125.0, 125.0, 130.0]
    assert stress_floor([80.0, 120.0], 100.0).tolist() == [100.0, 120.0]


def test_tool_today_reads_only_what_its_tool_needs():
    nan = np.nan
    unknown = {"im_stress": nan, "im_long_run": nan, "im_mean": nan, "stress_weight": nan,
               "buffer": nan}  # fmt: skip
    assert _today(["none"], **unknown)[0] == 100.0
    assert np.isnan(_today(["long_run_floor"], im_long_run=nan)[0])
    assert np.isnan(_today(["stress_floor"], im_stress=nan)[0])
    assert np.isnan(_today(["buffer"], im_mean=nan)[0])
    with pytest.raises(InputError, match="row 1: 'floor'"):
        _today(["none", "floor"])
    for tool, bad in (
        ("stress_weight", {"stress_weight": 1.01}),
        ("stress_weight", {"stress_weight": -0.01}),
        ("stress_weight", {"stress_weight": nan}),
        ("buffer", {"buffer": -0.01}),
        ("buffer", {"buffer": nan}),
    ):
        with pytest.raises(InputError, match="row 0"):
            _today([tool], **bad)


DAYS = np.datetime64("2020-01-01") + np.arange(400)


def test_buffer_path_worked_number():
    config = PathConfig(mean_days=2, draw_trigger=0.05, refill_days=2)
    margin, state = buffer_path(np.array([100.0, 120.0, 140.0, 100.0, 100.0]), config)
    assert margin == pytest.approx([125.0, 125.0, 140.0, 112.5, 125.0], rel=1e-12)
    assert state.tolist() == ["full", "drawn", "exhausted", "refilling", "full"]
    path = apply_tool(
        "buffer_path", np.array([100.0, 120.0, 140.0, 100.0, 100.0]), DAYS[:5], config
    )
    assert path.spells == (
        Spell("drawn", DAYS[1], DAYS[2]),
        Spell("exhausted", DAYS[2], DAYS[3]),
        Spell("refilling", DAYS[3], DAYS[4]),
    )
    # A rise of exactly the trigger over the mean is not yet significant.
    calm = PathConfig(mean_days=1, draw_trigger=0.0, refill_days=1)
    assert buffer_path(np.array([100.0, 120.0]), calm)[1].tolist() == ["full", "full"]


def test_buffer_spares_calls_while_it_is_drawn():
    base = np.concatenate([np.full(50, 100.0), np.linspace(100.0, 122.0, 12), np.full(60, 122.0)])
    config = PathConfig(mean_days=50, draw_trigger=0.02, refill_days=10)
    path = apply_tool("buffer_path", base, DAYS[: len(base)], config)
    drawn = path.state == "drawn"
    assert drawn.any()
    assert (np.diff(path.margin)[drawn[1:]] <= 1e-9).all()
    # The level stays high; the mean catches up, so the buffer comes back in the end.
    assert path.state[-1] == "full"
    assert path.spells[-1].end is not None
    cut = apply_tool("buffer_path", base[:62], DAYS[:62], config)
    assert cut.spells[-1].end is None


def test_step_rule_worked_number():
    config = PathConfig(step_trigger=0.05, step_calm_days=1, step_decline=0.1)
    base = np.array([100.0, 110.0, 90.0, 90.0, 90.0])
    margin, state = step_rule(base, config)
    assert margin == pytest.approx([100.0, 110.0, 110.0, 99.0, 90.0], rel=1e-12)
    assert state.tolist() == ["held", "raised", "held", "lowered", "lowered"]
    path = apply_tool("step", base, DAYS[:5], config)
    assert path.spells == (Spell("raised", DAYS[1], DAYS[2]), Spell("lowered", DAYS[3], None))
    # Above the level but within the trigger: neither raised nor a calm day.
    margin, state = step_rule(np.array([100.0, 104.0, 99.0, 99.0, 99.0]), config)
    assert margin.tolist() == [100.0, 100.0, 100.0, 99.0, 99.0]
    assert state.tolist() == ["held", "held", "held", "lowered", "held"]
    margin, state = step_rule(np.array([100.0, 105.0, 105.1]), config)
    assert state.tolist() == ["held", "held", "raised"]


def test_calm_days_count_from_the_first_day():
    config = PathConfig(step_calm_days=0, step_decline=0.5)
    margin, state = step_rule(np.array([100.0, 80.0, 80.0]), config)
    assert margin.tolist() == [100.0, 80.0, 80.0]
    assert state.tolist() == ["held", "lowered", "held"]


def test_floors_blend_and_buffer_over_time():
    base = np.array([80.0, 120.0, 90.0])
    config = PathConfig(stress_margin=100.0, long_run=np.array([np.nan, 130.0, 90.0]), mean_days=2)
    floor = apply_tool("stress_floor", base, DAYS[:3], config)
    assert floor.margin.tolist() == [100.0, 120.0, 100.0]
    assert floor.state.tolist() == ["floored", "calculated", "floored"]
    assert floor.spells == (Spell("floored", DAYS[0], DAYS[1]), Spell("floored", DAYS[2], None))
    long_run = apply_tool("long_run_floor", base, DAYS[:3], config)
    assert long_run.margin.tolist() == [80.0, 130.0, 90.0]
    assert long_run.spells == (Spell("floored", DAYS[1], DAYS[2]),)
    blend = apply_tool("stress_weight", base, DAYS[:3], config)
    assert blend.margin.tolist() == [85.0, 115.0, 92.5]
    assert (blend.state == "blended").all()
    assert blend.spells == ()
    buffer = apply_tool("buffer", base, DAYS[:3], config)
    assert buffer.state.tolist() == ["unknown", "drawn", "full"]
    assert buffer.margin[1:] == pytest.approx([125.0, 112.5])
    burst = apply_tool("buffer", np.array([10.0, 10.0, 100.0]), DAYS[:3], config)
    assert burst.state.tolist() == ["unknown", "full", "exhausted"]
    empty = apply_tool("buffer", np.array([10.0, 0.0, 0.0, 0.0]), DAYS[:4], config)
    assert empty.state.tolist() == ["unknown", "full", "full", "full"]
    bare = PathConfig(buffer=0.0, draw_trigger=0.0)
    assert buffer_path(np.array([1.0, 5.0]), bare)[1].tolist() == ["full", "full"]
    none = apply_tool("none", base, DAYS[:3], config)
    assert none.margin.tolist() == base.tolist()
    assert none.margin is not base


TRIGGERS = st.floats(0.0, 0.5)


@given(st.integers(0, 2**32 - 1), TRIGGERS, st.floats(0.0, 1.0), st.integers(1, 80))
def test_properties_of_the_tools_over_time(seed, trigger, number, days):
    base = _series(seed)
    stress = float(np.quantile(base, 0.9))
    config = PathConfig(
        buffer=number, mean_days=60, draw_trigger=trigger, refill_days=days, stress_weight=number,
        stress_margin=stress, long_run=np.full(400, np.median(base)), step_trigger=trigger,
        step_calm_days=days, step_decline=min(1.0, number),
    )  # fmt: skip
    margin = {tool: apply_tool(tool, base, DAYS, config).margin for tool in PATH_TOOLS}
    exact = 1.0 + 1e-12
    for tool in ("long_run_floor", "stress_floor", "buffer_path"):
        assert (margin[tool] * exact >= base).all()
    assert (margin["buffer_path"] <= (1.0 + number) * base * exact).all()
    assert margin["stress_weight"] == pytest.approx(
        (1.0 - number) * base + number * stress, rel=1e-12
    )
    step = margin["step"]
    assert (step * (1.0 + trigger) * exact >= base).all()
    assert (step[1:] >= (1.0 - min(1.0, number)) * step[:-1] / exact).all()
    assert (margin["buffer"][59:] * exact >= base[59:]).all()
    sure = apply_tool("step", base, DAYS, PathConfig(step_trigger=0.0, step_calm_days=days)).margin
    assert (sure >= base).all()


@given(st.floats(0.01, 1e9), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_constant_series_changes_by_its_constant_buffer_only(level, buffer, weight):
    base = np.full(80, level)
    config = PathConfig(
        buffer=buffer, mean_days=20, stress_weight=weight, stress_margin=level, long_run=base
    )
    for tool in PATH_TOOLS:
        path = apply_tool(tool, base, DAYS[:80], config)
        known = path.margin[19:]
        factor = 1.0 + buffer if tool.startswith("buffer") else 1.0
        assert known == pytest.approx(np.full(61, factor * level), rel=1e-12)
        assert path.spells == ()
    assert len(set(apply_tool("step", base, DAYS[:80], config).state)) == 1


def test_bad_tools_series_and_choices_are_refused():
    base = np.array([1.0, 2.0])
    config = PathConfig()
    for tool, series, dates, said in (
        ("floor", base, DAYS[:2], "'floor'"),
        ("none", base, DAYS[:3], "one per day"),
        ("none", np.array([1.0, -2.0]), DAYS[:2], "2020-01-02 is -2.0"),
        ("none", np.array([1.0, np.nan]), DAYS[:2], "finite"),
        ("none", base, DAYS[[1, 1]], "increase"),
        ("none", base, np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"), "known"),
        ("stress_weight", base, DAYS[:2], "needs stress_margin"),
        ("long_run_floor", base, DAYS[:2], "needs long_run"),
    ):
        with pytest.raises(InputError, match=said):
            apply_tool(tool, series, dates, config)
    with pytest.raises(InputError, match="align"):
        apply_tool("stress_floor", base, DAYS[:2], PathConfig(stress_margin=np.ones(3)))
    with pytest.raises(InputError, match="not finite"):
        apply_tool("stress_floor", base, DAYS[:2], PathConfig(stress_margin=np.nan))
    for name, value in (
        ("buffer", -0.1), ("mean_days", 0), ("draw_trigger", -0.1), ("refill_days", 0),
        ("stress_weight", 1.1), ("step_trigger", -0.1), ("step_calm_days", -1),
        ("step_decline", 1.1),
    ):  # fmt: skip
        with pytest.raises(InputError, match=name):
            PathConfig(**{name: value})
    for tool in PATH_TOOLS[:3]:
        assert len(apply_tool(tool, base[:0], DAYS[:0], config).margin) == 0
