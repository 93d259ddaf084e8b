"""Chart options: plain JSON that draws, with units on the axes and fixed scales."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workflows.report import avalanche_charts, charts

ECHARTS = Path(charts.__file__).parent / "static" / "echarts.min.js"
HOSTILE = "<img src=x onerror=alert(1)>{b|x}"
DRAW = """
const echarts = require(process.argv[1]);
const options = JSON.parse(require("fs").readFileSync(0, "utf8"));
const drawn = {};
for (const name of Object.keys(options)) {
  const chart = echarts.init(null, null, {renderer: "svg", ssr: true, width: 900, height: 420});
  chart.setOption(options[name]);
  drawn[name] = chart.renderToSVGString();
  chart.dispose();
}
process.stdout.write(JSON.stringify(drawn));
"""


def all_options() -> dict[str, charts.Option]:
    """Return every chart on ordinary and on awkward figures."""
    hours = [float(hour) for hour in range(1, 49)]
    fan = {q: [1e9 * (q + 1) - 3e7 * hour for hour in hours] for q in (0.01, 0.05, 0.5, 0.95, 0.99)}
    gaps: list[float | None] = [None if hour % 7 == 0 else 1.0 - hour / 500 for hour in hours]
    return {
        "fan": charts.liquidity_fan(hours, fan, 4e8),
        "fan of the median alone": charts.liquidity_fan(hours, {0.5: fan[0.5]}, None),
        "empty fan": charts.liquidity_fan([], {}, None),
        "calls": charts.calls_by_window([1, 2, 3], [2e8, 1e8, None], [1e8, 9e7, 0.0]),
        "survival": charts.survival_curve(hours, gaps),
        "heat": charts.stress_heat_map(
            ["CCP-1", HOSTILE], ["today", "2x", "10x"], [[1e8, 1.34e8, 9e8], [0.0, None, 3e6]]
        ),
        "waterfall": charts.liquidity_waterfall({"Cash": 1e9, "Facility": 5e8}, 4e8),
        "shortfall": charts.liquidity_waterfall({"Cash": 1e9, "Facility": 5e8}, 2e9),
        "managers": charts.margin_bars(["PM-1", HOSTILE], [2.6e8, -1e6]),
        "bands": avalanche_charts.share_bars(
            {"contained": 0.7, "amplified": 0.2, "avalanche": 0.0, "runaway": 0.1}, "Paths, %"
        ),
        "no bands": avalanche_charts.share_bars({}, "Paths, %"),
        "sold": avalanche_charts.sold_bars(["oil", HOSTILE], [0.1, None], [0.439175, 0.0]),
    }


@pytest.fixture(scope="module")
def drawings() -> dict[str, str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: charts cannot be drawn without a browser")
    done = subprocess.run(
        [node, "-e", DRAW, str(ECHARTS)],
        input=json.dumps(all_options()),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    drawn: dict[str, str] = json.loads(done.stdout)
    return drawn


def walk(value: Any) -> Any:
    yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from walk(item)
        else:
            yield item


@pytest.mark.parametrize("name", all_options())
def test_every_option_draws(name: str, drawings: dict[str, str]) -> None:
    assert drawings[name].startswith("<svg")
    assert "NaN" not in drawings[name]
    assert "<img" not in drawings[name]


def test_drawings_carry_their_words(drawings: dict[str, str]) -> None:
    assert "nothing left below 0" in drawings["fan"]
    assert "only the facility left" in drawings["fan"]
    assert "with feedback" in drawings["calls"]
    assert "half of the paths" in drawings["survival"]
    assert "ES99 call" in drawings["waterfall"]
    assert "PM-1" in drawings["managers"]


@pytest.mark.parametrize("name", all_options())
def test_every_option_is_finite_json(name: str) -> None:
    option = all_options()[name]
    assert json.loads(json.dumps(option, allow_nan=False)) == option
    for item in walk(option):
        assert not (isinstance(item, float) and not math.isfinite(item))


def test_value_axes_name_their_unit() -> None:
    options = all_options()
    assert options["fan"]["yAxis"]["name"] == "Liquidity left, USD m"
    assert options["fan"]["xAxis"]["name"] == "Hours from the start"
    assert options["calls"]["yAxis"]["name"] == "Mean calls, USD m"
    assert options["survival"]["yAxis"]["name"] == "Paths still liquid, %"
    assert options["waterfall"]["yAxis"]["name"] == "USD m"
    assert options["managers"]["xAxis"]["name"] == "Initial margin, USD m"


def test_severity_bars_tell_the_gravest_bands_apart_without_colour() -> None:
    option = all_options()["bands"]
    assert option["yAxis"]["data"] == ["contained", "amplified", "avalanche", "runaway"]
    bars = option["series"][0]["data"]
    assert [bar["value"] for bar in bars] == [70.0, 20.0, 0.0, 10.0]
    assert [bar["label"]["formatter"].replace("\u00a0", " ") for bar in bars] == [
        "70.0 %", "20.0 %", "0 %", "10.0 %",
    ]  # fmt: skip
    avalanche, runaway = bars[2]["itemStyle"], bars[3]["itemStyle"]
    assert "decal" in runaway and "decal" not in avalanche
    assert (option["xAxis"]["min"], option["xAxis"]["max"]) == (0, 100)


def test_sold_bars_are_per_cent_of_the_bucket() -> None:
    series = all_options()["sold"]["series"]
    assert [one["data"] for one in series] == [[10.0, None], [43.9175, 0.0]]


def test_survival_axis_is_the_whole_range_whatever_the_data() -> None:
    axis = charts.survival_curve([1, 2], [0.999, 0.998])["yAxis"]
    assert (axis["min"], axis["max"]) == (0, 100)


def test_bands_pair_symmetric_quantiles_and_add_up() -> None:
    option = charts.liquidity_fan([1.0], {0.05: [-5e8], 0.5: [1e9], 0.95: [3e9]}, 1e9)
    low, width = [s for s in option["series"] if s["name"] == "band 0"]
    assert low["data"] == [[1.0, -0.5]]
    assert width["data"] == [[1.0, 3.5]]
    assert low["stackStrategy"] == "all"
    limits = option["series"][-1]["markLine"]["data"]
    assert [limit["yAxis"] for limit in limits] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("ratio", "shade"),
    [(0.5, 0), (1.0, 0), (1.2499, 0), (1.25, 1), (2.0, 3), (7.99, 6), (8.0, 7), (100.0, 7)],
)
def test_heat_shades_have_fixed_steps(ratio: float, shade: int) -> None:
    option = charts.stress_heat_map(["A"], ["today", "5x"], [[1e6, 1e6 * ratio]])
    assert option["series"][0]["data"][1]["value"] == [1, 0, shade]


def test_waterfall_steps_meet() -> None:
    option = charts.liquidity_waterfall({"Cash": 3e9, "HQLA": 1e9}, 1.5e9)
    base, above, below = (series["data"] for series in option["series"])
    assert option["xAxis"]["data"] == ["Cash", "HQLA", "Total", "ES99 call", "Left"]
    assert base == [0.0, 3.0, 0.0, 2.5, 0.0]
    assert [bar["value"] for bar in above] == [3.0, 1.0, 4.0, 1.5, 2.5]
    assert all(bar["value"] == 0.0 for bar in below)


def test_waterfall_shows_a_shortfall_below_zero() -> None:
    option = charts.liquidity_waterfall({"Cash": 3e9}, 5e9)
    _, above, below = (series["data"] for series in option["series"])
    assert (above[2]["value"], below[2]["value"]) == (3.0, -2.0)
    assert (above[3]["value"], below[3]["value"]) == (0.0, -2.0)
    assert below[3]["label"]["show"]


def test_waterfall_without_a_peak_call_ends_at_the_total() -> None:
    option = charts.liquidity_waterfall({"Cash": 3e9}, None)
    assert option["xAxis"]["data"] == ["Cash", "Total"]


def test_waterfall_floats_below_an_overdraft() -> None:
    steps = charts.waterfall_steps({"Cash": -1e9, "Facility": 3e8}, 2e8)
    assert steps[1] == ("Facility", -1e9, -7e8)
    base, above, below = (
        series["data"]
        for series in charts.liquidity_waterfall({"Cash": -4e9, "Facility": 1e9}, 2e8)["series"]
    )
    assert (base[1], above[1]["value"], below[1]["value"]) == (-3.0, 0.0, -1.0)


def test_thinning_keeps_both_ends() -> None:
    kept = charts.thin(1000, 60)
    assert (kept[0], kept[-1], len(set(kept))) == (0, 999, 60)
    assert charts.thin(3, 60) == [0, 1, 2]


def test_colours_are_named_by_variables() -> None:
    style = (Path(charts.__file__).parent / "static" / "report.css").read_text("utf-8")
    names = {
        item[4:-1]
        for option in all_options().values()
        for item in walk(option)
        if isinstance(item, str) and item.startswith("var(")
    }
    assert names
    for name in names:
        assert style.count(f"{name}: #") == 2, f"{name} needs a light and a dark value"
