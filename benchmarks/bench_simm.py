"""SIMM of a 100,000-row CRIF against open-source-risk-engine, and many scenarios of small books."""

from __future__ import annotations

import importlib
import importlib.util
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.timing import Report, medians
from tests.engine.margin.simm_books import random_rows

TOPIC = "SIMM"
ROWS, PORTFOLIOS = 100_000, 200
VERSION, HORIZON_DAYS, SIDE = "2.6", 10, "call"
# What a fund has: 75 netting sets of 50 to 150 net sensitivities each.
NETTING_SETS, SCENARIOS, THREADS = 75, 1_000, 2
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


@pytest.mark.timeout(1200)
def test_scenarios_of_75_netting_sets(report: Report) -> None:
    from engine.margin.simm import simm_by_portfolio
    from engine.margin.simm.attribution import simm_attribution
    from engine.margin.simm.plan import simm_plan
    from engine.margin.simm.scenarios import plan_margins, simm_scenarios
    from tests.engine.margin.simm_books import crif

    sizes = np.linspace(50, 150, NETTING_SETS).astype(int)
    table = crif(
        [row for i, n in enumerate(sizes) for row in random_rows(i, int(n), portfolio=f"P{i:03d}")]
    )
    rng = np.random.default_rng(0)
    amounts = table.amount_usd * rng.normal(1.0, 0.5, (SCENARIOS, len(table)))
    margins = simm_scenarios(table, amounts, VERSION, HORIZON_DAYS, SIDE)
    for scenario in (0, SCENARIOS - 1):
        shaken = replace(table, amount_usd=amounts[scenario])
        results = simm_by_portfolio(shaken, VERSION, HORIZON_DAYS, SIDE)
        plain = [result.total for result in results.values()]
        np.testing.assert_allclose(margins[scenario], plain, rtol=1e-12)
    plan = simm_plan(table, VERSION, HORIZON_DAYS, SIDE)
    seconds = medians(
        {
            "plan": lambda: simm_plan(table, VERSION, HORIZON_DAYS, SIDE),
            "scenarios": lambda: plan_margins(plan, amounts),
            "plain": lambda: simm_by_portfolio(table, VERSION, HORIZON_DAYS, SIDE),
            "split": lambda: simm_attribution(table, table.trade_id, VERSION, HORIZON_DAYS, SIDE),
        },
        repeats=3,
    )
    start = time.perf_counter()
    plan_margins(plan, amounts, THREADS)
    wall = time.perf_counter() - start
    what = f"{NETTING_SETS} netting sets, {len(table):,} rows"
    report.add(TOPIC, f"{what}, {SCENARIOS:,} scenarios", f"{seconds['scenarios']:.2f} CPU-s")
    report.add(TOPIC, f"the same on {THREADS} threads, wall", f"{wall:.2f} s")
    report.add(TOPIC, f"{what}, encoding the structure", f"{seconds['plan']:.3f} CPU-s")
    ratio = seconds["plain"] * SCENARIOS / (seconds["scenarios"] + seconds["plan"])
    report.add(TOPIC, "one call per scenario / all scenarios at once", f"{ratio:.0f} x")
    report.add(TOPIC, f"{what}, split over trades", f"{seconds['split']:.2f} CPU-s")
