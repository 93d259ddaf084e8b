"""SIMM of a 100,000-row CRIF against open-source-risk-engine in the same process."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from benchmarks.timing import Report, medians
from tests.engine.margin.simm_books import random_rows

TOPIC = "SIMM"
ROWS, PORTFOLIOS = 100_000, 200
VERSION, HORIZON_DAYS, SIDE = "2.6", 10, "call"
HEADER = (
    "PortfolioID\tTradeID\tProductClass\tRiskType\tQualifier\tBucket\tLabel1\tLabel2"
    "\tAmountCurrency\tAmount\tAmountUSD"
)


class Peer:
    """open-source-risk-engine on the same rows; the text it reads is made beforehand."""

    def __init__(self, rows: list[tuple[Any, ...]], text: str) -> None:
        self.ore = importlib.import_module("ORE")
        self.portfolios = sorted({row[0] for row in rows})
        self.text = text
        mapper = self.ore.SimmBucketMapperBase()
        for kind, qualifier, bucket in {row[3:6] for row in rows if row[5]}:
            code = getattr(self.ore.CrifRecord, "RiskType_" + kind.removeprefix("Risk_"))
            mapper.addMapping(code, qualifier, bucket)
        name = "SimmConfiguration_ISDA_V" + VERSION.replace(".", "_")
        self.config = getattr(self.ore, name)(mapper, HORIZON_DAYS)
        self.table = self.read()

    def read(self) -> Any:
        """Return its table of sensitivities."""
        table = self.ore.Crif()
        table.setCsvLoaderConfig(self.config)
        table.fromCSVString(self.text)
        return table

    def margins(self, table: Any) -> dict[str, float]:
        """Return the margin of every portfolio."""
        ore = self.ore
        # Results belong to their calculator, which must outlive them.
        calculator = ore.SimmCalculator(table, self.config)
        side = getattr(ore.SimmConfiguration, "SimmSide_" + SIDE.capitalize())
        totals = {}
        for name in self.portfolios:
            results = calculator.finalSimmResults(side, ore.NettingSetDetails(name))
            totals[name] = float(
                results.second.get(
                    ore.CrifRecord.ProductClass_All,
                    ore.SimmConfiguration.RiskClass_All,
                    ore.SimmConfiguration.MarginType_All,
                    "All",
                )
            )
        return totals


def _text(rows: list[tuple[Any, ...]]) -> str:
    lines = ["\t".join([*map(str, row[:8]), "USD", repr(row[8]), repr(row[8])]) for row in rows]
    return "\n".join([HEADER, *lines]) + "\n"


@pytest.mark.timeout(1200)
def test_against_open_source_risk_engine(tmp_path: Path, report: Report) -> None:
    if importlib.util.find_spec("ORE") is None:
        pytest.skip("open-source-risk-engine is not installed on this platform")
    from engine.fund.crif import read_crif
    from engine.margin.simm import simm_by_portfolio

    rows = [
        row
        for i in range(PORTFOLIOS)
        for row in random_rows(i, ROWS // PORTFOLIOS, portfolio=f"P{i:03d}")
    ]
    path = tmp_path / "crif.tsv"
    path.write_text(_text(rows), encoding="utf-8")
    peer = Peer(rows, _text(rows))
    table = read_crif(path).value
    assert len(table) == ROWS
    ours = simm_by_portfolio(table, VERSION, HORIZON_DAYS, SIDE)
    totals = {name: result.total for name, result in ours.items()}
    assert totals == pytest.approx(peer.margins(peer.table), rel=1e-9)
    seconds = medians(
        {
            "margin": lambda: simm_by_portfolio(table, VERSION, HORIZON_DAYS, SIDE),
            "all": lambda: simm_by_portfolio(read_crif(path).value, VERSION, HORIZON_DAYS, SIDE),
            "peer margin": lambda: peer.margins(peer.table),
            "peer all": lambda: peer.margins(peer.read()),
        },
        repeats=3,
    )
    report.add(
        TOPIC,
        f"{ROWS:,} rows, {PORTFOLIOS} portfolios, after reading",
        f"{seconds['margin']:.3f} CPU-s",
    )
    report.add(
        TOPIC,
        f"{ROWS:,} rows, {PORTFOLIOS} portfolios, with reading",
        f"{seconds['all']:.3f} CPU-s",
    )
    for key, label in (("margin", "after reading"), ("all", "with reading")):
        ratio = seconds[f"peer {key}"] / seconds[key]
        report.add(TOPIC, f"open-source-risk-engine / ours, {label}", f"{ratio:.1f} x")
