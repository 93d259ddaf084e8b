"""A small SVG canvas: shapes, text and scales; light and dark from one file.

Colours are CSS variables that follow the reader's preference. Coordinates are rounded to a tenth of
a pixel, so that the bytes do not depend on the last digit of a figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

Point = tuple[float, float]
Scale = Callable[[float], float]

# Okabe and Ito's palette, lightened where a dark background needs it.
STYLE = """
:root { --card: #ffffff; --ink: #1b2329; --muted: #59656e; --rule: #dfe3e6; --blue: #0072b2;
  --orange: #b97f00; --green: #007f5d; --vermillion: #c85400; --purple: #a8518a; }
@media (prefers-color-scheme: dark) {
  :root { --card: #191f26; --ink: #e8ecef; --muted: #a3afb8; --rule: #2f3841; --blue: #56b4e9;
    --orange: #e69f00; --green: #1fbf91; --vermillion: #f07f35; --purple: #d98cbf; }
}
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  fill: var(--ink); }
.muted { fill: var(--muted); }
.small { font-size: 11.5px; }
.title { font-size: 17px; font-weight: 650; }
.mark { font-size: 10px; font-weight: 700; fill: var(--card); text-anchor: middle; }
"""


def number(value: float) -> str:
    """Return a coordinate with at most one decimal: `number(12.04) == "12"`."""
    text = f"{value:.1f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text


def linear(domain: Point, pixels: Point) -> Scale:
    """Return the straight scale that takes `domain` to `pixels`."""
    (low, high), (start, end) = domain, pixels
    return lambda value: start + (value - low) / (high - low) * (end - start)


def logarithmic(domain: Point, pixels: Point) -> Scale:
    """Return the scale on which equal ratios are equal lengths; values above 0."""
    inner = linear((math.log(domain[0]), math.log(domain[1])), pixels)
    return lambda value: inner(math.log(value))


def square_root(domain: Point, pixels: Point) -> Scale:
    """Return a scale that spreads small values and still has a place for 0."""
    inner = linear((math.sqrt(domain[0]), math.sqrt(domain[1])), pixels)
    return lambda value: inner(math.sqrt(value))


class Canvas:
    """Elements in the order they are drawn."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self.width = width
        self.height = height
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect width="{width}" height="{height}" rx="10" fill="var(--card)"/>',
        ]

    def line(
        self, start: Point, end: Point, colour: str = "rule", width: float = 1, dash: str = ""
    ) -> None:
        """Draw a straight line."""
        (x1, y1), (x2, y2) = start, end
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" '
            f'stroke="var(--{colour})" stroke-width="{number(width)}"{dashes}/>'
        )

    def path(self, points: Iterable[Point], colour: str, width: float = 2, dash: str = "") -> None:
        """Draw a line through points."""
        steps = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<polyline points="{steps}" fill="none" stroke="var(--{colour})" '
            f'stroke-width="{number(width)}" stroke-linejoin="round"{dashes}/>'
        )

    def bar(self, corner: Point, size: Point, colour: str) -> None:
        """Draw a filled rectangle from its upper left corner."""
        (x, y), (width, height) = corner, size
        self._parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" '
            f'height="{number(height)}" fill="var(--{colour})"/>'
        )

    def text(self, at: Point, words: str, kind: str = "", anchor: str = "start") -> None:
        """Write words; `kind` is one or more classes of the style."""
        classes = f' class="{kind}"' if kind else ""
        side = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self._parts.append(
            f'<text x="{number(at[0])}" y="{number(at[1])}"{classes}{side}>{escape(words)}</text>'
        )

    def marker(self, at: Point, shape: str, colour: str, letter: str, note: str) -> None:
        """Draw a filled shape of `SHAPES` with a letter inside and a note for screen readers."""
        x, y = at
        corners = " ".join(f"{number(x + dx)},{number(y + dy)}" for dx, dy in SHAPES[shape])
        self._parts.append(
            f'<g><title>{escape(note)}</title><polygon points="{corners}" '
            f'fill="var(--{colour})" stroke="var(--card)" stroke-width="1"/>'
            f'<text x="{number(x)}" y="{number(y + LETTER_DOWN[shape])}" class="mark">'
            f"{escape(letter)}</text></g>"
        )

    def render(self) -> str:
        """Return the file's text."""
        return "\n".join([*self._parts, "</svg>"]) + "\n"


def _regular(corners: int, radius: float, turn: float) -> list[Point]:
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


SHAPES: dict[str, Sequence[Point]] = {
    "circle": _regular(24, 8.5, 0.0),
    "square": _regular(4, 11.0, math.pi / 4),
    "diamond": _regular(4, 11.0, 0.0),
    "hexagon": _regular(6, 9.5, 0.0),
    "up": [(dx, dy - 1.5) for dx, dy in _regular(3, 12.5, -math.pi / 2)],
    "down": [(dx, dy + 1.0) for dx, dy in _regular(3, 12.5, math.pi / 2)],
}
# How far below the centre a letter's foot is: inside the wide part of each shape.
LETTER_DOWN = {"circle": 3.6, "square": 3.6, "diamond": 3.6, "hexagon": 3.6, "up": 3.8, "down": 2.8}
