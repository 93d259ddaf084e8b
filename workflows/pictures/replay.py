"""A replay in two panels: initial margin indexed to the reference day, daily variation margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from workflows.pictures.svg import Canvas, Scale, linear

if TYPE_CHECKING:
    from engine.domain.arrays import Float64Array
    from engine.margin.validation.replay_result import ReplayResult

WIDTH, HEIGHT = 1000, 640
LEFT, RIGHT = 66, 790
IM_TOP, IM_BOTTOM = 92, 372
VM_TOP, VM_BOTTOM = 442, 580
LABEL_GAP = 18.0
MOST_TICKS = 5
DATES_APART = 8
# Column, colour, width, dash and words of each line.
LINES = (
    ("cleared_im_usd", "vermillion", 2.6, "", "cleared"),
    ("cleared_by_volatility_usd", "vermillion", 1.6, "5 4", "cleared, volatility alone"),
    ("bilateral_im_usd", "blue", 2.6, "", "uncleared"),
)


def replay_picture(result: ReplayResult, name: str) -> str:
    """Return the SVG of a replay of the fund `name`."""
    days, row = result.days, result.reference_row()
    dates = [str(day) for day in days["date"]]
    indexed = {
        column: 100.0 * days[column].to_numpy() / days[column].iloc[row]
        for column, *_ in LINES
        if days[column].iloc[row] > 0.0
    }
    flow = days["vm_flow_usd"].to_numpy() / 1e6
    spoken = "; ".join(
        f"{words} {indexed[column].min():.0f} to {indexed[column].max():.0f}"
        for column, _, _, _, words in LINES
        if column in indexed
    )
    canvas = Canvas(
        WIDTH,
        HEIGHT,
        f"{name}: margin from {dates[0]} to {dates[-1]}",
        f"Initial margin, {dates[row]} is 100: {spoken}. Variation margin peaks at "
        f"{flow.max():.1f} million USD on {dates[int(np.argmax(flow))]}.",
    )
    title = "Cleared margin follows volatility, uncleared margin stays with its version"
    canvas.text((26, 34), title, "title")
    caption = f"{name}, positions unchanged; initial margin, {dates[row]} = 100"
    canvas.text((26, 58), caption, "muted")
    across = linear((0.0, float(max(1, len(dates) - 1))), (LEFT + 8, RIGHT - 8))
    _initial(canvas, indexed, across)
    _variation(canvas, flow, across)
    _dates(canvas, dates, row, across)
    return canvas.render()


def _initial(canvas: Canvas, indexed: dict[str, Float64Array], across: Scale) -> None:
    most = max((float(values.max()) for values in indexed.values()), default=100.0)
    up = _axis(canvas, most, (IM_BOTTOM, IM_TOP))
    ends: list[tuple[float, str, str]] = []
    for column, colour, width, dash, words in LINES:
        if column not in indexed:
            continue
        points = [(across(i), up(float(v))) for i, v in enumerate(indexed[column])]
        canvas.path(points, colour, width, dash)
        ends.append((points[-1][1], colour, f"{words} {indexed[column][-1]:.0f}"))
    last = -math.inf
    for y, colour, words in sorted(ends):
        last = max(y, last + LABEL_GAP)
        canvas.line((RIGHT - 4, y), (RIGHT + 6, last), colour, 1.5)
        canvas.text((RIGHT + 10, last + 4), words)


def _variation(canvas: Canvas, flow: Float64Array, across: Scale) -> None:
    up = _axis(canvas, float(flow.max()), (VM_BOTTOM, VM_TOP))
    canvas.text((26, VM_TOP - 18), "Daily variation margin, paid or received, USD m", "muted")
    width = 0.7 * (across(1.0) - across(0.0))
    for i, amount in enumerate(flow):
        top = up(float(amount))
        canvas.bar((across(i) - width / 2, top), (width, VM_BOTTOM - top), "blue")
    at = int(np.argmax(flow))
    canvas.text((across(at) + 8, up(float(flow[at])) + 5), f"{flow[at]:.1f}", "small")


def _dates(canvas: Canvas, dates: Sequence[str], row: int, across: Scale) -> None:
    for top, bottom in ((IM_TOP - 8, IM_BOTTOM), (VM_TOP - 4, VM_BOTTOM)):
        canvas.line((across(row), top), (across(row), bottom), "muted", 1.2, "3 4")
    shown = [row]
    shown += [i for i in range(0, len(dates), DATES_APART) if abs(i - row) >= DATES_APART // 2]
    for i in sorted(shown):
        canvas.line((across(i), VM_BOTTOM), (across(i), VM_BOTTOM + 5), "muted")
        day = date.fromisoformat(dates[i])
        words = f"{day.day} {day.strftime('%b')}"
        canvas.text((across(i), VM_BOTTOM + 21), words, "small muted", "middle")


def _axis(canvas: Canvas, most: float, pixels: tuple[float, float]) -> Scale:
    """Draw the rules and figures of an axis from 0 and return its scale."""
    step = _step(most)
    count = max(1, math.ceil(most / step - 1e-9))
    up = linear((0.0, count * step), pixels)
    for i in range(count + 1):
        canvas.line((LEFT, up(i * step)), (RIGHT, up(i * step)))
        canvas.text((LEFT - 8, up(i * step) + 4), f"{i * step:g}", "small muted", "end")
    return up


def _step(most: float) -> float:
    """Return the least of 1, 2, 5 times a power of ten that needs at most five steps."""
    if not most > 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / MOST_TICKS))
    return next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power * MOST_TICKS >= most)
