"""The cascade in two panels: who forced whose call, and calls by window with and without impact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from workflows.pictures.svg import Canvas, Point, linear

if TYPE_CHECKING:
    from engine.avalanche.attribution.cascade_result import CascadeNetwork

WIDTH, HEIGHT = 1000, 760
MOST_NODES, MOST_EDGES = 12, 24
CENTRE, ACROSS, DOWN = (360.0, 300.0), 190.0, 175.0
BARS_LEFT, BARS_RIGHT, BARS_TOP, BARS_BOTTOM = 66, 950, 580, 712
WIDEST = 7.0
NODE_ROOM = 15.0
LONGEST_NAME = 22
HEAD = 9.0


def cascade_picture(network: CascadeNetwork, name: str) -> str:
    """Return the SVG of a network: its largest links, and calls by window.

    The width of a line is the size of the call it caused; its arrow points to who was called.
    """
    share = float(network.endogenous_usd.sum()) / max(float(network.window["calls_usd"].sum()), 1.0)
    canvas = Canvas(
        WIDTH,
        HEIGHT,
        f"{name}: cascade of forced calls, {network.scenario}",
        f"Links between agreements on {len(network.path_ids)} paths ({network.selection}): whose "
        f"calls forced sales that called whom. {network.chain_words()}",
    )
    canvas.text((26, 34), f"{name}: who forced whose call", "title")
    canvas.text(
        (26, 56),
        f"{network.scenario}, {len(network.path_ids)} paths ({network.selection}); {share:.1%} of "
        "calls come from the price impact of forced sales",
        "muted",
    )
    edges = network.edges(MOST_EDGES)
    if edges:
        _network(canvas, edges)
    else:
        canvas.text((26, 100), network.chain_words())
    _bars(canvas, network)
    return canvas.render()


def _network(canvas: Canvas, edges: list[dict[str, object]]) -> None:
    weight: dict[str, float] = {}
    for edge in edges:
        for end in ("source", "target"):
            weight[str(edge[end])] = weight.get(str(edge[end]), 0.0) + float(str(edge["usd"]))
    nodes = sorted(weight, key=lambda n: (-weight[n], n))[:MOST_NODES]
    at = {node: _place(i, len(nodes)) for i, node in enumerate(nodes)}
    shown = [e for e in edges if str(e["source"]) in at and str(e["target"]) in at]
    most = max(float(str(edge["usd"])) for edge in shown) if shown else 1.0
    for edge in reversed(shown):
        width = max(WIDEST * float(str(edge["usd"])) / most, 0.6)
        source, target = str(edge["source"]), str(edge["target"])
        if source != target:
            _arrow(canvas, at[source], at[target], width)
    own = {str(e["source"]) for e in shown if e["source"] == e["target"]}
    for node, (x, y) in at.items():
        colour = "vermillion" if node in own else "blue"
        canvas.marker((x, y), "circle", colour, "", f"{node}: links {_millions(weight[node])}")
        side = "start" if x >= CENTRE[0] else "end"
        out = 16 if side == "start" else -16
        canvas.text((x + out, y + 4), node[:LONGEST_NAME], "small", side)
    _key(canvas, shown)


def _place(i: int, count: int) -> Point:
    angle = 2 * math.pi * i / count - math.pi / 2
    return CENTRE[0] + ACROSS * math.cos(angle), CENTRE[1] + DOWN * math.sin(angle)


def _arrow(canvas: Canvas, start: Point, end: Point, width: float) -> None:
    length = math.dist(start, end)
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    # Each direction keeps to its own side, so that a pair of links stays two lines.
    sx, sy = start[0] - 3 * uy + NODE_ROOM * ux, start[1] + 3 * ux + NODE_ROOM * uy
    ex, ey = end[0] - 3 * uy - NODE_ROOM * ux, end[1] + 3 * ux - NODE_ROOM * uy
    canvas.line((sx, sy), (ex, ey), "orange", width)
    for turn in (2.6, -2.6):
        dx = ux * math.cos(turn) - uy * math.sin(turn)
        dy = ux * math.sin(turn) + uy * math.cos(turn)
        canvas.line((ex, ey), (ex + HEAD * dx, ey + HEAD * dy), "orange", max(width / 2, 1.0))


def _key(canvas: Canvas, edges: list[dict[str, object]]) -> None:
    x, y = 690.0, 104.0
    canvas.text((x, y), "Largest links, mean over the paths", "small muted")
    for edge in edges[:10]:
        y += 32
        canvas.text((x, y), f"{str(edge['source'])[:LONGEST_NAME]} to", "small")
        canvas.text((x + 10, y + 14), str(edge["target"])[:LONGEST_NAME], "small")
        canvas.text((950, y + 14), _millions(float(str(edge["usd"]))), "small", "end")
    canvas.text((x, y + 44), "Vermillion: also calls itself", "small muted")


def _bars(canvas: Canvas, network: CascadeNetwork) -> None:
    calls = network.window["calls_usd"]
    endogenous = network.endogenous_usd.sum(axis=1)
    top = max(float(np.max(calls)), 1.0)
    across = linear((0.0, float(len(calls))), (BARS_LEFT, BARS_RIGHT))
    up = linear((0.0, top), (BARS_BOTTOM, BARS_TOP))
    canvas.text((26, BARS_TOP - 34), "Calls by window of eight hours, mean over the paths", "muted")
    canvas.text((26, BARS_TOP - 16), "orange: caused by the price impact of forced sales", "small")
    for level in (0.0, top):
        canvas.line((BARS_LEFT, up(level)), (BARS_RIGHT, up(level)))
        canvas.text((BARS_LEFT - 8, up(level) + 4), _millions(level), "small muted", "end")
    width = across(1.0) - across(0.0) - 2
    for w, (whole, part) in enumerate(zip(calls.tolist(), endogenous.tolist(), strict=True)):
        canvas.bar((across(w) + 1, up(whole)), (width, BARS_BOTTOM - up(whole)), "blue")
        canvas.bar((across(w) + 1, up(part)), (width, BARS_BOTTOM - up(part)), "orange")
        if w % 3 == 0:
            canvas.text(
                (across(w + 1.5), BARS_BOTTOM + 18), f"day {w // 3 + 1}", "small muted", "middle"
            )


def _millions(usd: float) -> str:
    return f"{usd / 1e6:,.1f}m"
