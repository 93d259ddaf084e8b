"""Charts as ECharts option objects: pure functions of figures, plain JSON, no callbacks.

Colours are names of CSS variables (`var(--blue)`), resolved when the page is drawn, so that light,
dark and print share one option. The palette behind them is Okabe and Ito's, which people with
colour vision deficiencies can tell apart; dashes, patterns and labels repeat what colour says.
The key `unit` of a tooltip is read by report.js, which appends it to the shown value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from workflows.report.chart_parts import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    NAME_BELOW,
    NAME_LABEL,
    ORANGE,
    STRIPES,
    VERMILLION,
    Option,
    Points,
    bar_series,
    category_axis,
    framed,
    value_axis,
)
from workflows.report.format import bare_usd, finite, multiple, scale_for, usd

_HEAT = ("#e6f0f7", "#c3e0f2", "#8cc4e8", "#56b4e9", "#2b8fcb", "#0072b2", "#004b78", "#00304d")
_HEAT_DARK_FROM = 4
# Ratio to today from which each shade applies: fixed, so that two reports compare by eye.
HEAT_STEPS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
_HOURS_PER_DAY = 24
_POINTS_SHOWN = 480


def liquidity_fan(
    hours: Sequence[float], quantiles: Mapping[float, Points], facility_usd: float | None
) -> Option:
    """Return the fan of liquidity left: bands between paired quantiles, the median, two limits.

    Parameters
    ----------
    hours : sequence of float, shape (n_steps,)
    quantiles : mapping of quantile (0 to 1) to amounts in USD, shape (n_steps,)
        Quantiles q and 1 - q form one band; the rest are drawn as lines only.
    facility_usd : float or None
        Undrawn facility: below this amount of liquidity the fund lives on it. None: no line.
    """
    scale = scale_for(value for points in quantiles.values() for value in points)
    ordered = sorted(quantiles)
    keep = thin(len(hours), _POINTS_SHOWN)
    lines = {q: [scale.value(quantiles[q][i]) for i in keep] for q in ordered}
    xs = [hours[i] for i in keep]
    series: list[Option] = []
    for depth, q in enumerate(q for q in ordered if q < 0.5):
        mirror = next((p for p in ordered if abs(p - (1 - q)) < 1e-9), None)
        if mirror is not None:
            series += _band(f"band {depth}", xs, lines[q], lines[mirror], 0.12 + 0.10 * depth)
    series += [_quantile_line(q, xs, lines[q]) for q in ordered]
    limits = [_limit(0.0, "nothing left below 0", VERMILLION)]
    if facility_usd is not None and facility_usd > 0:
        label = f"only the facility left ({usd(facility_usd)})"
        limits.append(_limit(scale.value(facility_usd), label, ORANGE))
    if series:
        series[-1]["markLine"] = _mark_lines(limits)
    return framed(
        grid={"left": 8, "right": 20, "top": 68, "bottom": 30, "containLabel": True},
        xAxis=_hour_axis(hours),
        yAxis=value_axis(f"Liquidity left, {scale.unit}"),
        series=series,
        legend={
            "show": True,
            "data": [_quantile_name(q) for q in reversed(ordered)],
            "itemStyle": {"opacity": 0},
            "itemGap": 8,
        },
        tooltip={"trigger": "axis", "unit": scale.unit},
    )


def calls_by_window(
    windows: Sequence[float], calls: Points, without: Points, window_hours: float | None = None
) -> Option:
    """Return mean calls per window in USD with feedback beside those without, same draws."""
    axis = "Call window" if window_hours is None else f"Call window of {window_hours:g} hours"
    scale = scale_for([*calls, *without])
    return framed(
        xAxis={**category_axis([f"{window:g}" for window in windows]), "name": axis},
        yAxis=value_axis(f"Mean calls, {scale.unit}"),
        series=[
            bar_series("without feedback", [scale.value(v) for v in without], BLUE),
            {
                **bar_series("with feedback", [scale.value(v) for v in calls], VERMILLION),
                "itemStyle": {"color": VERMILLION, "decal": STRIPES},
            },
        ],
        legend={"show": True},
        tooltip={"trigger": "axis", "axisPointer": {"type": "shadow"}, "unit": scale.unit},
    )


def survival_curve(hours: Sequence[float], survival: Points) -> Option:
    """Return the share of paths whose liquidity has lasted, 0 to 100 % whatever the data."""
    keep = thin(len(hours), _POINTS_SHOWN)
    points = [
        [hours[i], None if (v := finite(survival[i])) is None else round(100 * v, 4)] for i in keep
    ]
    return framed(
        xAxis=_hour_axis(hours),
        yAxis={**value_axis("Paths still liquid, %"), "min": 0, "max": 100, "interval": 25},
        series=[
            {
                "name": "still liquid",
                "type": "line",
                "step": "end",
                "symbol": "none",
                "data": [[0, 100], *points],
                "lineStyle": {"color": BLUE, "width": 2.5},
                "itemStyle": {"color": BLUE},
                "areaStyle": {"color": BLUE, "opacity": 0.10},
                "markLine": _mark_lines([_limit(50, "half of the paths", MUTED, "insideEndTop")]),
            }
        ],
        tooltip={"trigger": "axis", "unit": "%"},
    )


def stress_heat_map(
    names: Sequence[str], labels: Sequence[str], im_usd: Sequence[Points]
) -> Option:
    """Return agreements by stress level: the cell shows the margin, its shade the rise.

    `im_usd` has shape (n_agreements, 1 + n_multipliers); column 0 is today. The shade is the ratio
    to today in the fixed steps of `HEAT_STEPS`.
    """
    cells: list[Option] = []
    for row, amounts in enumerate(im_usd):
        today = finite(amounts[0]) if len(amounts) else None
        for column, amount in enumerate(amounts):
            value = finite(amount)
            ratio = value / today if value is not None and today else None
            shade = _shade(ratio)
            cells.append(
                {
                    "name": f"{labels[column]}: {multiple(ratio)} of today",
                    "value": [column, row, shade],
                    "label": {
                        "formatter": bare_usd(value),
                        "color": "#ffffff" if shade >= _HEAT_DARK_FROM else "#10202b",
                    },
                }
            )
    return framed(
        grid={"left": 8, "right": 8, "top": 30, "bottom": 6, "containLabel": True},
        xAxis={**category_axis(list(labels)), "position": "top"},
        yAxis={**category_axis(list(names)), "inverse": True, "axisLabel": NAME_LABEL},
        series=[
            {
                "name": "Margin",
                "type": "heatmap",
                "data": cells,
                "label": {"show": True, "fontSize": 11},
                "itemStyle": {"borderColor": "var(--card)", "borderWidth": 2},
            }
        ],
        visualMap={
            "show": False,
            "type": "piecewise",
            "dimension": 2,
            "pieces": [{"value": i, "color": colour} for i, colour in enumerate(_HEAT)],
        },
        tooltip={"trigger": "item", "formatter": "{b}"},
    )


def waterfall_steps(
    resources: Mapping[str, float], peak_call_usd: float | None
) -> list[tuple[str, float, float]]:
    """Return (name, start, end) of each bar in USD; without a peak call the total is the last."""
    steps: list[tuple[str, float, float]] = []
    running = 0.0
    for name, amount in resources.items():
        steps.append((name, running, running + amount))
        running += amount
    steps.append(("Total", 0.0, running))
    call = finite(peak_call_usd)
    if call is not None:
        steps += [("ES99 call", running, running - call), ("Left", 0.0, running - call)]
    return steps


def liquidity_waterfall(resources: Mapping[str, float], peak_call_usd: float | None) -> Option:
    """Return opening sources building up to total resources, and what the peak call leaves."""
    steps = waterfall_steps(resources, peak_call_usd)
    scale = scale_for(edge for step in steps for edge in step[1:])
    base: list[float | None] = []
    above: list[Option] = []
    below: list[Option] = []
    for name, start, end in steps:
        low, high = min(start, end), max(start, end)
        base.append(scale.value(low if low > 0 else min(high, 0.0)))
        style = {"itemStyle": {"color": _step_colour(name, end)}}
        label = {"show": True, "formatter": bare_usd(end - start), "color": INK, "fontSize": 11}
        on_top = high > 0 or low == high
        upper = scale.value(max(high, 0.0) - max(low, 0.0))
        above.append({"value": upper, **style, "label": label if on_top else {"show": False}})
        lower = scale.value(min(low, 0.0) - min(high, 0.0))
        below.append({"value": lower, **style, "label": {"show": False} if on_top else label})
    invisible = {"color": "transparent", "decal": {"symbol": "none"}}
    stack = {"type": "bar", "stack": "cash", "barMaxWidth": 74}
    names = [name for name, _, _ in steps]
    return framed(
        grid={"left": 8, "right": 16, "top": 44, "bottom": 6, "containLabel": True},
        xAxis={**category_axis(names), "axisLabel": {"interval": 0, "width": 64, **_WRAP}},
        yAxis=value_axis(scale.unit),
        series=[
            {**stack, "name": "base", "data": base, "itemStyle": invisible, "silent": True},
            {**stack, "name": "amount", "data": above, "label": {"position": "top"}},
            {**stack, "name": "shortfall", "data": below, "label": {"position": "bottom"}},
        ],
        tooltip={"show": False},
    )


def margin_bars(names: Sequence[str], im_usd: Points) -> Option:
    """Return initial margin by manager as horizontal bars, in the order given."""
    scale = scale_for(im_usd)
    return framed(
        grid={"left": 8, "right": 72, "top": 8, "bottom": 30, "containLabel": True},
        xAxis={**value_axis(f"Initial margin, {scale.unit}"), **NAME_BELOW},
        yAxis={**category_axis(list(names)), "inverse": True, "axisLabel": NAME_LABEL},
        series=[
            {
                **bar_series("Initial margin", [], BLUE),
                "data": [
                    {
                        "value": scale.value(amount),
                        "label": {"formatter": bare_usd(amount)},
                    }
                    for amount in im_usd
                ],
                "label": {"show": True, "position": "right", "color": INK, "fontSize": 12},
            }
        ],
        tooltip={"trigger": "axis", "axisPointer": {"type": "shadow"}, "unit": scale.unit},
    )


def thin(length: int, most: int) -> list[int]:
    """Return at most `most` evenly spaced positions, the first and the last among them."""
    if length <= most:
        return list(range(length))
    step = (length - 1) / (most - 1)
    return [round(i * step) for i in range(most)]


_WRAP = {"overflow": "break", "hideOverlap": False, "lineHeight": 14, "fontSize": 11}
_PLATE: Option = {"backgroundColor": "var(--card)", "padding": [2, 4], "fontSize": 12}


def _hour_axis(hours: Sequence[float]) -> Option:
    last = max(hours, default=1)
    days = max(1, math.ceil(last / _HOURS_PER_DAY / 10))
    return {
        "type": "value",
        "name": "Hours from the start",
        **NAME_BELOW,
        "min": 0,
        "max": last,
        "interval": _HOURS_PER_DAY * days if last >= _HOURS_PER_DAY else max(1, last // 4),
        "splitLine": {"show": False},
        "axisLine": {"onZero": False},
    }


def _band(name: str, xs: list[float], low: Points, high: Points, opacity: float) -> list[Option]:
    """Return two stacked areas that shade between `low` and `high`, hidden from the tooltip."""
    widths = [
        None if a is None or b is None else round(b - a, 4) for a, b in zip(low, high, strict=True)
    ]
    shared: Option = {
        "type": "line",
        "name": name,
        "stack": name,
        "stackStrategy": "all",
        "symbol": "none",
        "silent": True,
        "lineStyle": {"opacity": 0},
        "tooltip": {"show": False},
        "z": 1,
    }
    return [
        {**shared, "data": [list(pair) for pair in zip(xs, low, strict=True)]},
        {
            **shared,
            "data": [list(pair) for pair in zip(xs, widths, strict=True)],
            "areaStyle": {"color": BLUE, "opacity": round(opacity, 2)},
        },
    ]


def _quantile_name(q: float) -> str:
    return "median" if q == 0.5 else f"{100 * q:g} %"


def _quantile_line(q: float, xs: list[float], points: Points) -> Option:
    middle = q == 0.5
    dash = "solid" if middle else "dotted" if q > 0.5 else "dashed"
    colour = BLUE if q >= 0.1 else VERMILLION
    return {
        "name": _quantile_name(q),
        "type": "line",
        "symbol": "none",
        "data": [list(pair) for pair in zip(xs, points, strict=True)],
        "lineStyle": {"color": colour, "width": 2.5 if middle else 1.2, "type": dash},
        "itemStyle": {"color": colour},
        "z": 3 if middle else 2,
    }


def _limit(at: float | None, text: str, colour: str, place: str = "insideStartTop") -> Option:
    label = {"formatter": text, "position": place, "color": INK, **_PLATE}
    line = {"color": colour, "type": "dashed", "width": 1.5}
    return {"yAxis": at, "name": text, "label": label, "lineStyle": line}


def _mark_lines(limits: list[Option]) -> Option:
    return {"symbol": "none", "silent": True, "animation": False, "data": limits}


def _step_colour(name: str, end: float) -> str:
    if name == "Left":
        return GREEN if end >= 0 else VERMILLION
    return {"Total": MUTED, "ES99 call": VERMILLION}.get(name, BLUE)


def _shade(ratio: float | None) -> int:
    if ratio is None:
        return 0
    return max(sum(ratio >= step for step in HEAT_STEPS) - 1, 0)


def heat_legend() -> tuple[tuple[str, str], ...]:
    """Return (colour, meaning) of each shade of the heat map."""
    labels = [f"under {HEAT_STEPS[1]:g}x", *(f"from {step:g}x" for step in HEAT_STEPS[1:])]
    return tuple(zip(_HEAT, labels, strict=True))
