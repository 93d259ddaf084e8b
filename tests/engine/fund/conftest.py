"""A small pack to break, and factors that do not depend on the packaged history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.domain.market import FactorTable
from engine.fund.read import PackReading, read_pack
from engine.fund.template import write_template


def _text(*values: str) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.fixture(scope="session")
def small_factors() -> FactorTable:
    """Eight factors: those the template uses."""
    rows = {
        "SPX": ("equity", "log"),
        "NDX": ("equity", "log"),
        "VIX": ("volatility", "log"),
        "UST2": ("rates", "absolute"),
        "UST10": ("rates", "absolute"),
        "EURUSD": ("fx", "log"),
        "USDJPY": ("fx", "log"),
        "WTI": ("commodity", "absolute"),
    }
    n = len(rows)
    blank = _text(*[""] * n)
    return FactorTable(
        factor_id=_text(*rows),
        asset_class=_text(*[row[0] for row in rows.values()]),
        currency=_text(*["USD"] * n),
        unit=_text(*["index"] * n),
        return_type=_text(*[row[1] for row in rows.values()]),
        bucket=_text(*rows),
        adv=np.full(n, 1e9),
        daily_vol_floor=np.full(n, 1e-4),
        simm_risk_type=blank,
        simm_qualifier=blank,
        simm_bucket=blank,
        simm_label1=blank,
        simm_label2=blank,
        synthetic=np.zeros(n, dtype=np.bool_),
        source=_text(*["test"] * n),
    )


class Pack:
    """The template pack in a folder, with ways to change its files."""

    def __init__(self, folder: Path, factors: FactorTable) -> None:
        self.folder = folder
        self.factors = factors
        write_template(folder)

    def read(self, **options: object) -> PackReading:
        return read_pack(self.folder, self.factors, **options)  # type: ignore[arg-type]

    def text(self, file: str) -> str:
        return (self.folder / file).read_text(encoding="utf-8")

    def write(self, file: str, data: str | bytes) -> None:
        raw = data.encode() if isinstance(data, str) else data
        (self.folder / file).write_bytes(raw)

    def replace(self, file: str, old: str, new: str) -> None:
        """Replace the first `old` of a file; it must be there."""
        text = self.text(file)
        assert old in text, f"{file} has no {old!r}"
        self.write(file, text.replace(old, new, 1))

    def append(self, file: str, *lines: str) -> None:
        self.write(file, self.text(file) + "".join(f"{line}\n" for line in lines))

    def problems(self) -> list[tuple[str, int, str, str]]:
        """Read, and return (file, row, field, rule) of all quarantine entries."""
        frame = self.read().quarantine
        columns = [frame[name].tolist() for name in ("file", "row", "field", "rule")]
        return list(zip(*columns, strict=True))


@pytest.fixture
def pack(tmp_path: Path, small_factors: FactorTable) -> Pack:
    return Pack(tmp_path / "pack", small_factors)
