"""What every chart of the page shares: colours, axes, and the frame around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Option = dict[str, Any]
Points = Sequence[float | None]

BLUE, ORANGE, GREEN = "var(--blue)", "var(--orange)", "var(--green)"
VERMILLION, MUTED, INK = "var(--vermillion)", "var(--muted)", "var(--ink)"
NAME_LABEL: Option = {"width": 128, "overflow": "truncate", "interval": 0, "fontSize": 11}
NAME_BELOW: Option = {
    "nameLocation": "middle",
    "nameGap": 30,
    "nameTextStyle": {"align": "center"},
}
STRIPES: Option = {
    "symbol": "rect",
    "dashArrayX": [1, 0],
    "dashArrayY": [2, 4],
    "rotation": math.pi / 4,
    "color": "rgba(255,255,255,0.35)",
}


def framed(**parts: Any) -> Option:
    """Return the option with what all charts share; `parts` win."""
    legend = {"show": False, "top": 0, "left": 0, "itemWidth": 22, "itemHeight": 10}
    frame: Option = {
        "animation": False,
        "grid": {"left": 8, "right": 20, "top": 56, "bottom": 30, "containLabel": True},
    }
    if "legend" in parts:
        parts["legend"] = {**legend, **parts["legend"]}
    return {**frame, **parts}


def value_axis(name: str) -> Option:
    """Return an axis of amounts whose name gives the unit."""
    return {
        "type": "value",
        "name": name,
        "nameLocation": "end",
        "nameGap": 14,
        "nameTextStyle": {"align": "left"},
        "splitNumber": 4,
    }


def category_axis(names: list[str]) -> Option:
    """Return an axis of names."""
    return {
        "type": "category",
        "data": names,
        **NAME_BELOW,
        "axisTick": {"show": False},
        "axisLabel": {"hideOverlap": True},
    }


def bar_series(name: str, data: list[float | None], colour: str) -> Option:
    """Return bars of one colour."""
    return {
        "name": name,
        "type": "bar",
        "data": data,
        "barMaxWidth": 22,
        "itemStyle": {"color": colour},
    }
