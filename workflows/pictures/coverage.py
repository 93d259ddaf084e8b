"""Coverage against procyclicality: one mark for each model and tool of a validation table."""

from __future__ import annotations

import math
import string

import pandas as pd

from workflows.pictures.svg import Canvas, Point, logarithmic, square_root

# Colour and shape of each tool; both say the same.
TOOLS = {
    "none": ("ink", "circle", "no tool"),
    "buffer": ("orange", "square", "buffer 25 %"),
    "stress_weight": ("blue", "diamond", "stress weight 25 %"),
    "long_run_floor": ("green", "up", "ten-year floor"),
    "stress_floor": ("vermillion", "down", "stress floor"),
    "step": ("purple", "hexagon", "steps"),
    "buffer_path": ("muted", "square", "buffer with memory"),
}
WIDTH, HEIGHT = 1000, 640
# Marks nearer than CLEAR pixels hide each other; the later one moves by ASIDE pixels.
CLEAR, ASIDE = 8.0, 12.0
LEFT, RIGHT, TOP, BOTTOM = 66, 710, 96, 566
RATE_TICKS = (0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 50.0, 100.0)
RATIO_TICKS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0, 1000.0, 10000.0)


def coverage_picture(table: pd.DataFrame, series: str, period: str, window: str) -> str:
    """Return the SVG of a validation table.

    Parameters
    ----------
    table : pd.DataFrame
        `ValidationResult.table`: `model_id`, `model`, `mark`, `tool`, `breach_rate`,
        `peak_to_trough`.
    series, period, window : str
        What was tested, over which days, and the window of the ratio: words of the captions.
    """
    models = list(dict.fromkeys(table["model_id"]))
    letters = dict(zip(models, string.ascii_uppercase, strict=False))
    rates = 100.0 * table["breach_rate"]
    most = next(tick for tick in RATE_TICKS if tick > max(1.0, rates.max()))
    steepest = table["peak_to_trough"].max()
    highest = next((tick for tick in RATIO_TICKS if tick > steepest), steepest)
    across = square_root((0.0, most), (LEFT + 16, RIGHT - 16))
    up = logarithmic((1.0, highest), (BOTTOM - 16, TOP))
    canvas = Canvas(
        WIDTH,
        HEIGHT,
        "Coverage against procyclicality",
        f"{series}, {period}. Each mark is a margin model, by letter, under one tool, by colour "
        "and shape: days with a loss above margin, across, and peak over trough of margin, up.",
    )
    canvas.text(
        (LEFT - 40, 34), "Coverage against procyclicality, by margin model and tool", "title"
    )
    canvas.text((LEFT - 40, 56), f"{series}: coverage {period}, peak over trough {window}", "muted")
    canvas.text((LEFT - 40, 82), "Peak margin over trough", "small muted")
    for tick in RATIO_TICKS:
        if tick <= highest:
            canvas.line((LEFT, up(tick)), (RIGHT, up(tick)))
            canvas.text((LEFT - 8, up(tick) + 4), f"{tick:g}x", "small muted", "end")
    for tick in RATE_TICKS:
        if tick <= most:
            canvas.line((across(tick), BOTTOM), (across(tick), BOTTOM + 5), "muted")
            canvas.text((across(tick), BOTTOM + 20), f"{tick:g} %", "small muted", "middle")
    canvas.text(
        ((LEFT + RIGHT) / 2, BOTTOM + 42),
        "Days with a loss above the one-day margin (marks that would hide others stand beside)",
        "small muted",
        "middle",
    )
    canvas.line((across(1.0), TOP - 8), (across(1.0), BOTTOM), "muted", 1.5, "5 4")
    canvas.text((across(1.0) + 6, TOP - 2), "1 %: what 99 % promises", "small muted")
    taken: list[Point] = []
    for row in table.to_dict("records"):
        colour, shape, words = TOOLS[row["tool"]]
        rate, ratio = 100.0 * row["breach_rate"], row["peak_to_trough"]
        note = f"{row['model']}, {words}: {rate:.2f} % of days, {ratio:.2f}x"
        at = (across(rate), up(ratio))
        while any(math.dist(at, other) < CLEAR for other in taken):
            at = (at[0] + ASIDE, at[1])
        taken.append(at)
        canvas.marker(at, shape, colour, letters[row["model_id"]], note)
    _key(canvas, table, letters)
    return canvas.render()


def _key(canvas: Canvas, table: pd.DataFrame, letters: dict[str, str]) -> None:
    x, y = RIGHT + 30, TOP + 4
    canvas.text((x - 8, y), "Tool: colour and shape", "small muted")
    for tool in dict.fromkeys(table["tool"]):
        y += 24
        colour, shape, words = TOOLS[str(tool)]
        canvas.marker((x + 2, y - 4), shape, colour, "", words)
        canvas.text((x + 22, y), words)
    y += 42
    canvas.text((x - 8, y), "Model: letter", "small muted")
    names = dict(zip(table["model_id"], table["model"], strict=True))
    marks = dict(zip(table["model_id"], table["mark"], strict=True))
    for model, letter in letters.items():
        y += 22
        star = " *" if marks[model] != "verified" else ""
        canvas.text((x, y), letter)
        canvas.text((x + 22, y), f"{names[model]}{star}", "small")
    if set(marks.values()) != {"verified"}:
        canvas.text((x - 8, y + 26), "* parameters are indicative", "small muted")
