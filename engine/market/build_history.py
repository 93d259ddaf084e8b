"""Build the packaged history: `python -m engine.market.build_history`.

Needs the dependency group `data` (skfolio, currencyconverter). Writes four gzipped CSV files and
the table of achieved episode moves into `engine/market/data/`. The inputs beside them
(`synthetic_model.csv`, `waypoints.csv`, `episode_targets.csv`) are written by hand.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import math
import zipfile
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from engine.domain.arrays import DateArray, Float64Array
from engine.domain.failures import McaError, MissingDependencyError
from engine.market.levels import Levels
from engine.market.packaged import (
    ECB_FILE,
    SPX_FILE,
    STOCKS_FILE,
    SYNTHETIC_FILE,
    data_folder,
    pair_levels,
)
from engine.market.synthetic import read_specs, read_waypoints, simulate_levels

SEED = 20221228
FIRST_PANEL_DATE = "1999-01-04"
LAST_DATE = "2022-12-28"
CURRENCIES = (
    "USD", "GBP", "JPY", "CHF", "AUD", "NZD", "CAD", "SEK", "NOK", "DKK", "MXN", "BRL", "ZAR",
    "INR", "KRW", "CNY", "SGD", "HKD", "PLN", "CZK", "HUF", "TRY",
)  # fmt: skip
REAL_PARENT_PAIRS = ["EURUSD", "USDJPY"]
ACHIEVED_FILE = "episode_fit.csv"

Rows = dict[str, list[str]]


def build(folder: Path, seed: int = SEED) -> None:
    """Write the packaged history into `folder`, which holds the inputs; same inputs, same bytes."""
    spx_header, spx = _read_skfolio("sp500_index.csv.gz")
    stock_header, stocks = _read_skfolio("sp500_dataset.csv.gz")
    ecb = _read_ecb()
    joint = [d for d in spx if FIRST_PANEL_DATE <= d <= LAST_DATE and d in ecb and d in stocks]
    _write(folder / SPX_FILE, ["date", "SPX"], ([d, *cells] for d, cells in spx.items()))
    _write(folder / STOCKS_FILE, ["date", *stock_header], ([d, *stocks[d]] for d in joint))
    _write(folder / ECB_FILE, ["date", *CURRENCIES], ([d, *ecb[d]] for d in joint))

    dates = np.array(joint, dtype="datetime64[D]")
    rates = np.array([[float(c) if c else math.nan for c in ecb[d]] for d in joint])
    pairs = pair_levels(Levels(dates, np.array(CURRENCIES, dtype=object), rates), REAL_PARENT_PAIRS)
    real = {name: pairs.column(name) for name in REAL_PARENT_PAIRS}
    real["SPX"] = np.array([float(spx[d][0]) for d in joint])
    specs = read_specs(folder / "synthetic_model.csv")
    waypoints = read_waypoints(folder / "waypoints.csv")
    levels = simulate_levels(specs, waypoints, dates, real, seed)
    decimals = {spec.factor_id: spec.decimals for spec in specs}
    _write(
        folder / SYNTHETIC_FILE,
        ["date", *levels],
        (
            [d, *(_decimal(levels[name][i], decimals[name]) for name in levels)]
            for i, d in enumerate(joint)
        ),
    )
    write_fit(folder / "episode_targets.csv", folder / ACHIEVED_FILE, dates, levels)


def write_fit(
    targets: Path, achieved: Path, dates: DateArray, levels: dict[str, Float64Array]
) -> None:
    """Write each target move beside the move of the simulated history over the same window.

    `achieved` is in the unit of the target: per cent of the first level, basis points of a rate or
    spread in per cent, or volatility points.
    """
    with targets.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["episode_id", "episode", "factor_id", "date_from", "date_to", "unit", "target", "achieved"]
    )
    for row in rows:
        ends = [
            levels[row["factor_id"]][_row_at(dates, row[name])] for name in ("date_from", "date_to")
        ]
        writer.writerow(
            [
                *(row[name] for name in ("episode_id", "episode", "factor_id")),
                *(row[name] for name in ("date_from", "date_to", "unit", "move")),
                f"{move_in_unit(float(ends[0]), float(ends[1]), row['unit']):.2f}",
            ]
        )
    achieved.write_text(out.getvalue(), encoding="utf-8")


def move_in_unit(start: float, end: float, unit: str) -> float:
    """Return the move from `start` to `end` in `pct`, `bp`, `vol_points` or `USD/bbl`.

    Worked numbers: 80 to 340 is 325 pct; 4.52 to 4.97 per cent is 45 bp.
    """
    if unit == "pct":
        return 100.0 * (end / start - 1.0)
    return (end - start) * {"bp": 100.0, "vol_points": 1.0, "USD/bbl": 1.0}[unit]


def _row_at(dates: DateArray, text: str) -> int:
    return int(np.searchsorted(dates, np.datetime64(text, "D"), side="right")) - 1


def _decimal(value: float, decimals: int) -> str:
    if math.isnan(value):
        return ""
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _read_skfolio(name: str) -> tuple[list[str], Rows]:
    path = _package_folder("skfolio") / "datasets" / "data" / name
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
    rows = {line.split(",")[0]: line.split(",")[1:] for line in lines[1:] if line}
    return lines[0].split(",")[1:], rows


def _read_ecb() -> Rows:
    """Return the published rates per euro in the order of `CURRENCIES`, by date ascending."""
    path = _package_folder("currency_converter") / "eurofxref-hist.zip"
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        text = archive.read(archive.namelist()[0]).decode("utf-8")
    records = sorted(csv.DictReader(io.StringIO(text)), key=lambda record: record["Date"])
    return {record["Date"]: [_ecb_cell(record, code) for code in CURRENCIES] for record in records}


def _ecb_cell(record: dict[str, str], currency: str) -> str:
    cell = record[currency].strip()
    return "" if cell == "N/A" else cell


def _package_folder(name: str) -> Path:
    """Return where a package lies, without importing it: only its data files are wanted."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"package '{name}' is not installed; run `uv sync --group data`"
        )
    return Path(spec.submodule_search_locations[0])


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    # mtime=0: the same content gives the same file.
    path.write_bytes(gzip.compress(out.getvalue().encode("utf-8"), compresslevel=9, mtime=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=data_folder())
    try:
        build(parser.parse_args().folder)
    except McaError as error:
        parser.exit(error.exit_code, f"{error}\n")
