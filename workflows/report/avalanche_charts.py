"""Charts of the simulated paths: how bad they get, where payment fails, what is sold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workflows.report.chart_parts import (
    BLUE,
    GREEN,
    INK,
    NAME_BELOW,
    NAME_LABEL,
    ORANGE,
    STRIPES,
    VERMILLION,
    Option,
    bar_series,
    category_axis,
    framed,
    value_axis,
)
from workflows.report.format import finite, percent

# From mild to severe; a pattern sets the last two apart without colour.
_BAND_STYLES: dict[str, Option] = {
    "contained": {"color": GREEN},
    "amplified": {"color": ORANGE},
    "avalanche": {"color": VERMILLION},
    "runaway": {"color": VERMILLION, "decal": STRIPES},
}
_GRID = {"left": 8, "right": 64, "top": 8, "bottom": 30, "containLabel": True}
_WHOLE = {"min": 0, "max": 100, "interval": 25}


def share_bars(shares: Mapping[str, float], axis: str) -> Option:
    """Return one horizontal bar for each share, 0 to 100 % whatever the data.

    Severity bands keep their own colours; every bar carries its figure.
    """
    return framed(
        grid=_GRID,
        xAxis={**value_axis(axis), **NAME_BELOW, **_WHOLE},
        yAxis={**category_axis(list(shares)), "inverse": True, "axisLabel": NAME_LABEL},
        series=[
            {
                **bar_series("Share", [], BLUE),
                "data": [
                    {
                        "value": points(share),
                        "itemStyle": _BAND_STYLES.get(name, {"color": BLUE}),
                        "label": {"formatter": percent(share)},
                    }
                    for name, share in shares.items()
                ],
                "label": {"show": True, "position": "right", "color": INK, "fontSize": 12},
            }
        ],
        tooltip={"trigger": "axis", "axisPointer": {"type": "shadow"}, "unit": "%"},
    )


def sold_bars(
    buckets: Sequence[str], mean: Sequence[float | None], tail: Sequence[float | None]
) -> Option:
    """Return the share of each bucket sold, over all paths and over the tail."""
    tail_bars = bar_series("worst 1 % of paths", [points(v) for v in tail], VERMILLION)
    return framed(
        grid={**_GRID, "left": 16, "top": 36, "right": 24},
        xAxis={**value_axis("Share of the bucket sold, %"), **NAME_BELOW, **_WHOLE},
        yAxis={
            **category_axis(list(buckets)),
            "inverse": True,
            "axisLabel": NAME_LABEL,
        },
        series=[
            bar_series("all paths", [points(v) for v in mean], BLUE),
            {**tail_bars, "itemStyle": {"color": VERMILLION, "decal": STRIPES}},
        ],
        legend={"show": True},
        tooltip={"trigger": "axis", "axisPointer": {"type": "shadow"}, "unit": "%"},
    )


def points(share: float | None) -> float | None:
    """Return a share as per cent, rounded for a chart; None if it is not finite."""
    number = finite(share)
    return None if number is None else round(100 * number, 4) + 0.0
