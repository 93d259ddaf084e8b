"""One section of the page, and how sections read the tables of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workflows.report.chart_parts import Option
from workflows.report.tables import Table

if TYPE_CHECKING:
    import pandas as pd

Tables = Mapping[str, "pd.DataFrame"]


@dataclass(frozen=True)
class Section:
    """One answer: a sentence, perhaps a chart, and the table behind it."""

    id: str
    title: str
    lead: str
    chart: Option | None = None
    height: int = 320
    table: Table | None = None
    open_table: bool = False
    notes: tuple[str, ...] = field(default=())
    legend: tuple[tuple[str, str], ...] = ()
    half: bool = False


def frame_of(frames: Tables, name: str, column: str) -> pd.DataFrame | None:
    """Return a table that has rows and this column; None if there is none."""
    frame = frames.get(name)
    return frame if frame is not None and len(frame) and column in frame.columns else None
