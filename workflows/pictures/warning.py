"""Early warning in two panels: the score with its thresholds, the margin index with its events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from workflows.pictures.svg import Canvas, Scale, linear, logarithmic

if TYPE_CHECKING:
    from engine.domain.arrays import Float64Array
    from engine.stress.early_warning.result import EarlyWarningResult

WIDTH, HEIGHT = 1000, 620
LEFT, RIGHT = 66, 930
SCORE_TOP, SCORE_BOTTOM = 98, 300
INDEX_TOP, INDEX_BOTTOM = 372, 560
MOST_POINTS = 900
YEARS_APART = 2
INDEX_STEPS = (25.0, 50.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 800.0, 1200.0, 1600.0)


def warning_picture(result: EarlyWarningResult, name: str) -> str:
    """Return the SVG of the past and present of a score."""
    history, past = result.history, result.evaluation
    score, index = history["score"].to_numpy(), history["margin_index"].to_numpy()
    days = history["date"].to_numpy().astype("datetime64[D]")
    warned = sum(event.lead_days is not None for event in past.events)
    canvas = Canvas(
        WIDTH,
        HEIGHT,
        f"{name}: early-warning score and margin index, {days[0]} to {days[-1]}",
        f"The score is {result.score:.2f} ({result.level}) on {result.as_of}. The margin index "
        f"rose by {result.config['rise_share']:.0%} or more {len(past.events)} times; {warned} of "
        "these events had a critical score before.",
    )
    head = f"Score {result.score:.2f} ({result.level}) on {result.as_of}"
    canvas.text((26, 34), head, "title")
    first, past_it = _stretches(len(days))[0]
    canvas.text(
        (26, 58),
        f"{name}: mean rank of the signals among all past days; highest of each "
        f"{past_it - first} days",
        "muted",
    )
    across = linear((0.0, float(max(1, len(days) - 1))), (LEFT, RIGHT))
    _score(canvas, score, across, result)
    _index(canvas, index, across)
    _events(canvas, days, index, across, result)
    _years(canvas, days, across)
    return canvas.render()


def _score(canvas: Canvas, score: Float64Array, across: Scale, result: EarlyWarningResult) -> None:
    up = linear((0.0, 1.0), (SCORE_BOTTOM, SCORE_TOP))
    for level in (0.0, 0.5, 1.0):
        canvas.line((LEFT, up(level)), (RIGHT, up(level)))
        canvas.text((LEFT - 8, up(level) + 4), f"{level:g}", "small muted", "end")
    # The highest score of each stretch: an alert of one day must stay visible.
    at = _stretches(len(score))
    highest = [float(np.max(score[i:j])) for i, j in at]
    middle = [(i + j - 1) / 2 for i, j in at]
    canvas.path([(across(m), up(s)) for m, s in zip(middle, highest, strict=True)], "blue", 1.2)
    for threshold, colour in (("high", "orange"), ("critical", "vermillion")):
        y = up(float(result.config[threshold]))
        canvas.line((LEFT, y), (RIGHT, y), colour, 1.4, "6 4")
        canvas.text((RIGHT + 6, y + 4), threshold, "small")


def _index(canvas: Canvas, index: Float64Array, across: Scale) -> None:
    low, high = float(index.min()) / 1.05, float(index.max()) * 1.25
    up = logarithmic((low, high), (INDEX_BOTTOM, INDEX_TOP))
    canvas.text(
        (26, INDEX_TOP - 26),
        "Margin of today's positions, first day = 100; triangles are rises, "
        "up: critical score before, down: none",
        "muted",
    )
    for step in INDEX_STEPS:
        if low < step < high:
            canvas.line((LEFT, up(step)), (RIGHT, up(step)))
            canvas.text((LEFT - 8, up(step) + 4), f"{step:g}", "small muted", "end")
    at = _stretches(len(index))
    canvas.path(
        [(across((i + j - 1) / 2), up(float(np.max(index[i:j])))) for i, j in at], "purple", 1.6
    )


def _events(
    canvas: Canvas,
    days: np.ndarray,
    index: Float64Array,
    across: Scale,
    result: EarlyWarningResult,
) -> None:
    low, high = float(index.min()) / 1.05, float(index.max()) * 1.25
    up = logarithmic((low, high), (INDEX_BOTTOM, INDEX_TOP))
    for event in result.evaluation.events:
        i = int(np.searchsorted(days, np.datetime64(event.day, "D")))
        early = event.lead_days is not None
        words = f"{event.lead_days} trading days" if early else event.reason()
        canvas.line((across(i), SCORE_TOP), (across(i), INDEX_BOTTOM), "rule", 1, "2 4")
        canvas.marker(
            (across(i), up(float(index[i])) - 14),
            "up" if early else "down",
            "green" if early else "vermillion",
            "",
            f"{event.day}, rise {event.rise:.0%}: {words}",
        )


def _years(canvas: Canvas, days: np.ndarray, across: Scale) -> None:
    years = days.astype("datetime64[Y]").astype(int) + 1970
    starts = np.flatnonzero(np.diff(years, prepend=years[0]))
    for i in starts.tolist():
        canvas.line((across(i), INDEX_BOTTOM), (across(i), INDEX_BOTTOM + 5), "muted")
        if years[i] % YEARS_APART == 0:
            canvas.text((across(i), INDEX_BOTTOM + 21), str(years[i]), "small muted", "middle")


def _stretches(count: int) -> list[tuple[int, int]]:
    """Cut rows into at most `MOST_POINTS` stretches: (first, one past the last)."""
    step = max(1, math.ceil(count / MOST_POINTS))
    return [(i, min(i + step, count)) for i in range(0, count, step)]
