"""The volatility ladder on a small fund read from a pack."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.ladder import volatility_ladder
from engine.avalanche.simulate import simulate_margin_avalanche
from engine.domain.failures import Failure
from engine.fund.read import read_pack
from engine.fund.template import write_template
from engine.liquidity.survival import assess_liquidity
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.config import MarginConfig
from engine.market import build_market, packaged_factors, packaged_levels


def test_rungs_rise_and_equal_single_runs(tmp_path: Path) -> None:
    write_template(tmp_path / "pack")
    reading = read_pack(tmp_path / "pack", packaged_factors())
    market = build_market(reading.factors, packaged_levels(), reading.book.as_of).value
    margin = calculate_margin_requirements(reading.book, market, MarginConfig())
    failures: tuple[Failure, ...] = margin.failures
    assert not failures
    config = AvalancheConfig(paths=128, horizon_days=3)
    ladder = volatility_ladder(reading.book, market, margin, config, multipliers=(1.0, 5.0))
    rows = ladder.rows()
    assert [row["volatility_multiplier"] for row in rows] == [1.0, 5.0]
    assert rows[0]["es99_usd"] < rows[1]["es99_usd"]
    single = config.model_copy(update={"volatility_multiplier": 5.0})
    alone = simulate_margin_avalanche(reading.book, market, margin, single)
    assert alone.to_dict() == ladder.rungs[1].to_dict()
    reused = volatility_ladder(
        reading.book, market, margin, config, known=alone, multipliers=(1.0, 5.0)
    )
    assert reused.rows() == rows and reused.rungs[1] is alone
    liquidity = assess_liquidity(reading.book, market, alone)
    assert liquidity.p_exhaustion.value == pytest.approx(rows[1]["p_exhaustion"])
    assert list(ladder.tables()) == ["avalanche_ladder"]
