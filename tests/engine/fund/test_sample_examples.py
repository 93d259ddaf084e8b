"""The hand-written example pack and CRIF file can be read whole and margined."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from engine.fund.crif import read_crif
from engine.fund.read import read_pack
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.margin.simm.calculate import simm_by_portfolio
from engine.market.packaged import packaged_factors, packaged_levels
from engine.market.state import build_market

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def test_small_fund_is_accepted_and_margined() -> None:
    reading = read_pack(EXAMPLES / "small_fund", packaged_factors())
    assert reading.quarantine.empty
    assert (len(reading.book.positions), len(reading.book.agreements)) == (42, 8)
    market = build_market(packaged_factors(), packaged_levels(), date(2022, 12, 28)).value
    result = calculate_margin_requirements(reading.book, market, MarginConfig())
    assert result.failures == ()
    assert len(result.agreement_id) == 8
    assert all(im > 0.0 for im in result.im_usd)


def test_example_crif_has_every_risk_class() -> None:
    crif = read_crif(EXAMPLES / "crif.csv")
    assert crif.failures == ()
    assert len(crif.value) == 30
    result = simm_by_portfolio(crif.value, "2.8+2506", 10, "call")
    assert set(result) == {"CSA-X", "CSA-Y"}
    assert set(result["CSA-X"].by_risk_class) == {
        "InterestRate", "CreditQualifying", "CreditNonQualifying", "Equity", "Commodity", "FX",
    }  # fmt: skip
    assert min(result["CSA-X"].by_risk_class.values()) > 0.0
