"""An episode in three panels: calls said and seen, liquidity, chance of exhaustion and score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from workflows.pictures.svg import Canvas, Scale, linear

if TYPE_CHECKING:
    from engine.stress.replay.result import EpisodeReplay

WIDTH, HEIGHT = 1000, 700
LEFT, RIGHT = 70, 800
CALLS = (96, 296)
LIQUIDITY = (346, 476)
CHANCE = (526, 646)
MILLION = 1e6
MOST_TICKS = 4
LABEL_GAP = 18.0
MOST_DATES = 8


def episode_picture(result: EpisodeReplay, name: str) -> str:
    """Return the SVG of a replayed episode of the fund `name`."""
    days, found = result.days, result.summary()
    dates = [str(day) for day in days["date"]]
    end = found["exhausted_on"]
    canvas = Canvas(
        WIDTH,
        HEIGHT,
        f"{result.episode.title}: {name}, day by day",
        f"Largest call {found['largest_call_usd'] / MILLION:.0f} million USD on "
        f"{found['largest_call_on']}; expected the evening before "
        f"{found['largest_call_expected_usd'] / MILLION:.0f}. "
        + (f"Liquidity exhausted on {end}." if end else "Liquidity is never exhausted."),
    )
    mark = "prices indicative" if "indicative" in found["marks"] else "prices observed day by day"
    canvas.text((26, 34), f"{result.episode.title}: what was said, and what then happened", "title")
    canvas.text((26, 58), f"{name}; {mark}; USD m", "muted")
    across = linear((-0.5, len(dates) - 0.5), (LEFT + 4, RIGHT - 4))
    _calls(canvas, result, across)
    _liquidity(canvas, result, across)
    _chance(canvas, result, across)
    if end in dates:
        x = across(dates.index(end))
        canvas.line((x, CALLS[0] - 6), (x, CHANCE[1]), "vermillion", 1.4, "3 4")
        canvas.text((x + 4, CALLS[0] - 10), "a call unpaid", "small")
    _dates(canvas, dates, across)
    return canvas.render()


def _calls(canvas: Canvas, result: EpisodeReplay, across: Scale) -> None:
    seen = result.days["call_usd"].to_numpy() / MILLION
    tail = result.days["call_q99_usd"].to_numpy() / MILLION
    up = _axis(canvas, float(max(seen.max(), tail.max())), CALLS)
    canvas.text((26, CALLS[0] - 14), "Calls of the day", "muted")
    width = 0.6 * (across(1.0) - across(0.0))
    for i, amount in enumerate(seen):
        top = up(float(amount))
        canvas.bar((across(i) - width / 2, top), (width, CALLS[1] - top), "blue")
    canvas.path([(across(i), up(float(v))) for i, v in enumerate(tail)], "vermillion", 2.2, "5 4")
    _label(canvas, [(up(float(seen[-1])), "blue", "calls"), (up(float(tail[-1])), "vermillion",
                    "1 in 100, said before")])  # fmt: skip


def _liquidity(canvas: Canvas, result: EpisodeReplay, across: Scale) -> None:
    left = np.maximum(result.days["liquidity_usd"].to_numpy() / MILLION, 0.0)
    up = _axis(canvas, float(left.max()), LIQUIDITY)
    canvas.text((26, LIQUIDITY[0] - 14), "Cash, securities and lines at the close", "muted")
    canvas.path([(across(i), up(float(v))) for i, v in enumerate(left)], "green", 2.6)
    _label(canvas, [(up(float(left[-1])), "green", "liquidity")])


def _chance(canvas: Canvas, result: EpisodeReplay, across: Scale) -> None:
    up = linear((0.0, 1.0), (CHANCE[1], CHANCE[0]))
    for level in (0.0, 0.5, 1.0):
        canvas.line((LEFT, up(level)), (RIGHT, up(level)))
        canvas.text((LEFT - 8, up(level) + 4), f"{level:g}", "small muted", "end")
    words = "Said the evening before: chance of exhaustion within ten days, early-warning score"
    canvas.text((26, CHANCE[0] - 14), words, "muted")
    ends = []
    for column, colour, text in (
        ("p_exhaustion", "purple", "exhaustion"), ("score", "orange", "score"),
    ):  # fmt: skip
        values = result.days[column].to_numpy()
        points = [(across(i), up(float(v))) for i, v in enumerate(values) if not math.isnan(v)]
        if points:
            canvas.path(points, colour, 2.6)
            ends.append((points[-1][1], colour, text))
    _label(canvas, ends)


def _label(canvas: Canvas, ends: Sequence[tuple[float, str, str]]) -> None:
    last = -math.inf
    for y, colour, words in sorted(ends):
        last = max(y, last + LABEL_GAP)
        canvas.line((RIGHT - 2, y), (RIGHT + 6, last), colour, 1.5)
        canvas.text((RIGHT + 10, last + 4), words)


def _dates(canvas: Canvas, dates: Sequence[str], across: Scale) -> None:
    apart = max(1, math.ceil(len(dates) / MOST_DATES))
    for i in range(0, len(dates), apart):
        day = date.fromisoformat(dates[i])
        canvas.line((across(i), CHANCE[1]), (across(i), CHANCE[1] + 5), "muted")
        words = f"{day.day} {day:%b %Y}" if i == 0 else f"{day.day} {day:%b}"
        canvas.text((across(i), CHANCE[1] + 22), words, "small muted", "middle")


def _axis(canvas: Canvas, most: float, pixels: tuple[float, float]) -> Scale:
    """Draw the rules and figures of an axis from 0 and return its scale."""
    step = _step(most)
    count = max(1, math.ceil(most / step - 1e-9))
    up = linear((0.0, count * step), (pixels[1], pixels[0]))
    for i in range(count + 1):
        canvas.line((LEFT, up(i * step)), (RIGHT, up(i * step)))
        canvas.text((LEFT - 8, up(i * step) + 4), f"{i * step:g}", "small muted", "end")
    return up


def _step(most: float) -> float:
    """Return the least of 1, 2, 5 times a power of ten that needs at most four steps."""
    if not most > 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / MOST_TICKS))
    return next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power * MOST_TICKS >= most)
