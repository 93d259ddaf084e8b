"""Options every command shares, so that they read and behave the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the result alone on stdout, as JSON.")
]
Out: TypeAlias = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder for the result's files.")
]
Seed: TypeAlias = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Seed of random numbers (recorded; same seed, same bits)."),
]
FailOn: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="EXPR",
        help='Exit with 4 if true, e.g. "p_exhaustion>0.01"; may be repeated.',
    ),
]
History: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--history",
        metavar="FILE",
        help="Your own price history: wide CSV or Parquet, first column `date`.",
    ),
]
Paths: TypeAlias = Annotated[
    int | None, typer.Option("--paths", min=1, help="Simulated paths (default: the pack's).")
]
Volatility: TypeAlias = Annotated[
    float | None,
    typer.Option("--volatility", help="Volatility multiplier of the avalanche, such as 5."),
]
Crowding: TypeAlias = Annotated[
    float | None,
    typer.Option("--crowding", help="Volume others sell for each unit the fund sells."),
]
ScenarioChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        metavar="ID|FILE",
        help="A scenario by id (see `mca scenarios`), or a TOML file with one of your own.",
    ),
]
Device: TypeAlias = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where paths are simulated.")
]
Precision: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--precision",
        metavar="SHARE",
        help="Add paths until the interval of ES99 is this share of it either way, such as 0.05.",
    ),
]
Minutes: TypeAlias = Annotated[
    float | None,
    typer.Option("--minutes", min=0.01, help="Stop adding paths after this time."),
]
Pack: TypeAlias = Annotated[
    Path, typer.Argument(metavar="PACK", help="Folder with fund.toml and its tables.")
]
