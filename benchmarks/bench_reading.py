"""Reading and checking a pack of 1,000,000 positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.timing import Report, medians

TOPIC = "reading"
COUNT = 1_000_000


@pytest.mark.timeout(600)
def test_million_positions(tmp_path: Path, report: Report) -> None:
    from engine.fund.read import read_pack
    from engine.fund.template import write_template
    from engine.market.packaged import packaged_factors

    factors = packaged_factors()
    pack = tmp_path / "pack"
    write_template(pack)
    path = pack / "positions.csv"
    few = read_pack(pack, factors).counts["positions"].accepted
    template = pd.read_csv(path, dtype=str, comment="#")
    rng = np.random.default_rng(3)
    frame = template.iloc[rng.integers(0, len(template), COUNT)].assign(
        position_id=[f"P-{i:07d}" for i in range(COUNT)],
        quantity=np.char.mod("%.3f", 1.0 + rng.random(COUNT) * 1000.0),
    )
    frame.to_csv(path, index=False)

    def read() -> None:
        assert read_pack(pack, factors).counts["positions"].accepted == COUNT

    seconds = medians({"ours": read, "pandas": lambda: pd.read_csv(path, dtype=str)}, repeats=3)
    assert few > 0
    report.add(TOPIC, f"{COUNT:,} positions, read and checked", f"{seconds['ours']:.2f} CPU-s")
    report.add(
        TOPIC, "the same / pandas.read_csv as text", f"{seconds['ours'] / seconds['pandas']:.2f} x"
    )
