"""The margin against answers that others computed: ISDA's unit tests and a peer library."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.margin.simm import simm_by_portfolio, simm_margin
from tests.engine.margin.simm_books import crif, peer_margins, random_rows

PEER_VERSIONS = ("2.6", "2.7+2412", "2.8+2506", "2.8+2512")
SETTINGS = [(v, h, s) for v in PEER_VERSIONS for h in (10, 1) for s in ("call", "post")]


@pytest.fixture(scope="module")
def cases(shared_folder: Path) -> dict[str, Any]:
    document = json.loads((shared_folder / "oracles/isda_simm_2_5_cases.json").read_text())
    return dict(document)


@pytest.fixture(scope="module")
def goldens(shared_folder: Path) -> dict[str, Any]:
    return dict(json.loads((shared_folder / "oracles/ore_simm_goldens.json").read_text())["golden"])


def table(document: dict[str, Any], horizon_days: int) -> Any:
    """Return one table with a portfolio per unit test."""
    return crif(
        [
            (case["id"], name, *document["rows"][name][:6], document["rows"][name][6])
            for case in document["cases"][str(horizon_days)]
            for name in case["rows"]
        ]
    )


@pytest.mark.conformance
@pytest.mark.parametrize("horizon_days", [10, 1])
def test_every_isda_unit_test_of_version_2_5(cases: dict[str, Any], horizon_days: int) -> None:
    results = simm_by_portfolio(table(cases, horizon_days), "2.5", horizon_days, "call")
    wrong = {}
    for case in cases["cases"][str(horizon_days)]:
        total = results[case["id"]].total
        rounded = int(Decimal(total).quantize(Decimal(1), ROUND_HALF_UP))
        if rounded != case["expected"]:
            wrong[case["id"]] = (total, case["expected"])
    assert len(results) == 481
    assert not wrong


@pytest.mark.conformance
@pytest.mark.parametrize(("version", "horizon_days", "side"), SETTINGS)
def test_stored_peer_results(
    cases: dict[str, Any], goldens: dict[str, Any], version: str, horizon_days: int, side: str
) -> None:
    results = simm_by_portfolio(table(cases, horizon_days), version, horizon_days, side)
    expected = goldens[f"{version}|{horizon_days}|{side}"]
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        assert results[name].total == pytest.approx(value, rel=1e-9, abs=1e-6), name


@pytest.fixture(scope="module")
def peer() -> Iterator[ProcessPoolExecutor]:
    """A process of its own for the peer: it holds a copy of QuantLib that clashes with QuantLib."""
    if importlib.util.find_spec("ORE") is None:
        pytest.skip("open-source-risk-engine is not installed (no wheel for this machine)")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        yield process


@pytest.mark.parametrize("seed", range(12))
def test_random_books_equal_the_peer(peer: ProcessPoolExecutor, seed: int) -> None:
    n_rows = int(np.random.default_rng(seed).integers(3, 250))
    rows = random_rows(seed, n_rows)
    answers = peer.submit(peer_margins, rows, SETTINGS).result()
    for (version, horizon_days, side), theirs in zip(SETTINGS, answers, strict=True):
        ours = simm_margin(crif(rows), version, horizon_days, side).total
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-6), (version, horizon_days, side)
