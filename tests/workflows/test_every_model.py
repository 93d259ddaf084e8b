"""One fund with every margin model, every tool and every optional column, through the whole job."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.domain.agreements import APC_TOOLS, MARGIN_MODELS, TOOL_MODELS
from tests.support.pack_writer import (
    Row,
    agreement,
    fx_delta,
    instrument,
    positions,
    write_pack,
)
from workflows.cli import exits, main

NEW_COLUMNS = ("apc", "apc_buffer", "im_group", "eligible_collateral", "reported_im")
TOOL_CELLS = {"buffer": {"apc_buffer": "0.25"}, "stress_weight": {"stress_weight": "0.25"}}


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


def mca(*arguments: str | Path) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.main([str(argument) for argument in arguments])
    return Said(code, out.getvalue(), err.getvalue())


def tables() -> dict[str, list[Row]]:
    credit = {"venue": "Credit clearing", "confidence": "0.995", "mpor_days": "5"}
    group = {"im_group": "Dealer C", "eligible_collateral": "government bond"}
    prime = {"kind": "prime", "venue": "", "broker": "Prime E", "counterparty": "Prime E"}
    return {
        "agreements": [
            agreement("FHS-VAR", "fhs_var"),
            agreement("FHS-ES", "fhs_es", apc="buffer", apc_buffer="0.25"),
            agreement("PARAMETRIC", "parametric", apc="stress_weight", stress_weight="0.25"),
            agreement("SPAN", "span", apc="long_run_floor", broker_multiplier="1.2"),
            agreement("MC-ES", "mc_es", apc="stress_floor", currency="EUR"),
            agreement("CDS", "cds", **credit),
            agreement("CLOSE-OUT", "close_out", eligible_collateral="government bond"),
            agreement("FLAT", "flat"),
            agreement("SIMM", "simm", im_threshold="2000000", **group),
            agreement("SCHEDULE", "schedule", im_threshold="1000000", **group),
            agreement("CRIF", "simm", counterparty="Dealer D"),
            agreement("PRIME", "fhs_var", currency="JPY", reported_im="400000000", **prime),
            agreement("REPORTED", "fhs_var", reported_im="3000000"),
        ],
        "instruments": [
            instrument("SPX-FUT", "future", "SPX", multiplier="50"),
            instrument("NDX-FUT", "future", "NDX", multiplier="20"),
            instrument("WTI-FUT", "future", "WTI", multiplier="1000"),
            instrument("UST2-FUT", "rate_future", "UST2", multiplier="2500"),
            instrument("UST10-SWAP", "swap", "UST10", fixed_rate="3.70", tenor_years="10"),
            instrument(
                "EUR10-SWAP", "swap", "EUR10", currency="EUR", fixed_rate="2.5", tenor_years="10"
            ),
            instrument("IG-CDS", "cds", "IG", fixed_rate="1.0", tenor_years="5"),
            instrument("HY-CDS", "cds", "HY", fixed_rate="5.0", tenor_years="5"),
            instrument("EUR-FWD", "fx_forward", "EURUSD", expiry="2023-03-28", strike="1.05"),
            instrument(
                "SPX-PUT", "option", "SPX", multiplier="100", expiry="2023-03-17",
                strike="3600", right="P", vol="0.24", vol_factor_id="VIX",
            ),
            instrument("SPX", "equity", "SPX"),
            instrument("NDX-TRS", "trs", "NDX", strike="11000"),
            instrument("UST-BOND", "bond", "UST10", fixed_rate="4", tenor_years="9"),
        ],
        "positions": positions(
            [
                ("SPX-FUT", "FHS-VAR", 100), ("NDX-FUT", "FHS-VAR", -60),
                ("UST10-SWAP", "FHS-ES", 80e6), ("EUR10-SWAP", "FHS-ES", -30e6),
                ("WTI-FUT", "PARAMETRIC", 200), ("SPX-FUT", "PARAMETRIC", -30),
                ("SPX-FUT", "SPAN", 80), ("SPX-PUT", "SPAN", -100), ("UST2-FUT", "SPAN", 300),
                ("EUR10-SWAP", "MC-ES", 60e6), ("EUR-FWD", "MC-ES", 5e6),
                ("IG-CDS", "CDS", 200e6), ("HY-CDS", "CDS", -50e6),
                ("SPX-FUT", "CLOSE-OUT", 150), ("NDX-FUT", "CLOSE-OUT", -200),
                ("SPX-FUT", "FLAT", 50),
                ("EUR-FWD", "SIMM", 60e6), ("SPX-PUT", "SIMM", -200),
                ("UST10-SWAP", "SCHEDULE", 100e6), ("EUR-FWD", "SCHEDULE", -30e6),
                ("EUR-FWD", "CRIF", 1e6),
                ("SPX", "PRIME", 12_000), ("NDX-TRS", "PRIME", -1_000), ("UST-BOND", "PRIME", 1e4),
                ("SPX-FUT", "REPORTED", 40),
            ]
        ),
        "crif": [fx_delta("CRIF", 5_000_000)],
    }  # fmt: skip


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("every") / "pack", tables())


@pytest.fixture(scope="module")
def margin(pack: Path) -> Said:
    return mca("margin", pack, "--json")


def required(row: dict[str, Any]) -> float:
    return float(row["im_usd"] + sum(row["add_ons"].values()))


def only_the_report(failures: list[dict[str, Any]]) -> bool:
    """Whether nothing failed but the reported margin that is eight times the modelled one."""
    return [row["item"] for row in failures] == ["REPORTED"] and "3,000,000" in failures[0][
        "message"
    ]


def test_the_fund_has_every_model_and_every_tool() -> None:
    rows = tables()["agreements"]
    assert {row["model"] for row in rows} == set(MARGIN_MODELS)
    assert {row["apc"] for row in rows} == set(APC_TOOLS)


def test_margin_of_every_model(margin: Said) -> None:
    found = margin.json()
    assert margin.code == exits.DONE_WITH_FAILURES
    assert only_the_report(found["failures"])
    assert "RuntimeWarning" not in margin.err
    rows = {row["agreement_id"]: row for row in found["agreements"]}
    assert list(rows) == [row["agreement_id"] for row in tables()["agreements"]]
    for name, row in rows.items():
        parts = row["components"]
        assert row["im_usd"] > 0.0, name
        assert sum(parts.values()) == pytest.approx(row["im_usd"], rel=1e-12), name
    for name in ("SPAN", "CDS"):
        parts = rows[name]["model_parts"]
        assert sum(parts.values()) == pytest.approx(rows[name]["components"]["calculated"]), name
    # By hand: 5,000,000 at 7.4; a buffer of a quarter; a reported 400m yen; 2m and 1m of threshold.
    assert rows["CRIF"]["im_usd"] == pytest.approx(37e6, rel=1e-12)
    buffered = rows["FHS-ES"]["components"]
    assert buffered["anti_procyclicality"] == pytest.approx(0.25 * buffered["calculated"])
    assert rows["SPAN"]["add_ons"]["broker"] == pytest.approx(0.2 * rows["SPAN"]["im_usd"])
    assert rows["SIMM"]["components"]["threshold"] == pytest.approx(-2e6)
    assert rows["SCHEDULE"]["components"]["threshold"] == pytest.approx(-1e6)
    assert rows["PRIME"]["components"]["anchor"] > 0.0
    assert rows["REPORTED"]["components"]["anchor"] == 0.0


def test_explanations_and_calls_agree_with_the_margin(pack: Path, margin: Said) -> None:
    rows = {row["agreement_id"]: required(row) for row in margin.json()["agreements"]}
    told = mca("explain", pack, "--json").json()
    assert only_the_report(told["failures"])
    for row in told["agreements"]:
        # Each component is rounded to the cent by itself.
        assert row["required"] == pytest.approx(rows[row["agreement_id"]], abs=0.02)
    assert told["totals"]["required"] == pytest.approx(sum(rows.values()), abs=0.02 * len(rows))
    by_label = told["attribution"]["by_label"]
    shares = sum(label["total"] for label in by_label.values())
    assert round(shares * 100) == round(told["totals"]["required"] * 100)

    calls = mca("calls", pack, "--json").json()
    assert only_the_report(calls["failures"])
    called = {c["agreement_id"]: c for c in calls["calls"] if c["kind"] == "im"}
    assert set(called) == set(rows)
    for name, row in called.items():
        rounding = 10_000.0 if name in ("SIMM", "SCHEDULE", "CRIF") else 0.01
        assert abs(row["amount_usd"] - rows[name]) <= rounding, name


def test_an_older_pack_without_the_new_columns(pack: Path, margin: Said, tmp_path: Path) -> None:
    old = write_pack(tmp_path / "pack", tables(), omit=NEW_COLUMNS)
    said = mca("margin", old, "--json")
    assert (said.code, said.err) == (exits.OK, "")
    then, now = (
        {row["agreement_id"]: row for row in each.json()["agreements"]} for each in (said, margin)
    )
    for name, row in then.items():
        calculated = row["components"]["calculated"]
        assert calculated == pytest.approx(now[name]["components"]["calculated"], rel=1e-12)
    # A blank tool is the stress weight where there is one, and none elsewhere.
    assert then["PARAMETRIC"]["im_usd"] == now["PARAMETRIC"]["im_usd"]
    assert then["FHS-ES"]["im_usd"] == then["FHS-ES"]["components"]["calculated"]


def test_the_whole_job(pack: Path, margin: Said, tmp_path: Path) -> None:
    said = mca("run", pack, "--paths", "256", "--out", tmp_path / "run", "--json")
    assert said.code == exits.DONE_WITH_FAILURES
    found = said.json()
    assert only_the_report(found["failures"])
    assert found["margin"]["totals"] == margin.json()["totals"]
    im_usd = [found["stress"][label]["im_usd"] for label in ("2x", "5x", "10x")]
    assert 0.0 < im_usd[0] < im_usd[1] < im_usd[2]
    avalanche = found["avalanche"]
    assert (avalanche["paths"], avalanche["cash_error_cents"]) == (256, 0)
    assert avalanche["peak_call_usd"]["es99"] >= avalanche["peak_call_usd"]["mean"] > 0.0
    assert found["liquidity"]["facility_need_99_usd"]["value"] > 0.0
    again = mca("run", pack, "--paths", "256", "--out", tmp_path / "again", "--json")
    first, second = (
        {p.name: p.read_bytes() for p in (tmp_path / name / "tables").iterdir()}
        for name in ("run", "again")
    )
    assert first == second
    assert again.json()["run_id"] == found["run_id"]


def cells_of(tool: str) -> dict[str, str]:
    return {"apc": tool, **TOOL_CELLS.get(tool, {})}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Margin of one long future under every tool of every model that has them."""
    names = [(model, tool) for model in TOOL_MODELS for tool in APC_TOOLS]
    rows = {
        "agreements": [agreement(f"{m}.{t}", m, **cells_of(t)) for m, t in names],
        "instruments": [instrument("SPX-FUT", "future", "SPX", multiplier="50")],
        "positions": positions([("SPX-FUT", f"{m}.{t}", 100) for m, t in names]),
    }
    said = mca("margin", write_pack(tmp_path_factory.mktemp("grid") / "pack", rows), "--json")
    found: dict[str, dict[str, float]] = {model: {} for model in TOOL_MODELS}
    for row in said.json()["agreements"]:
        model, tool = row["agreement_id"].split(".")
        found[model][tool] = row["im_usd"]
    return found


def test_every_tool_on_every_model_that_has_them(grid: dict[str, dict[str, float]]) -> None:
    for model in TOOL_MODELS:
        im = grid[model]
        assert im["buffer"] == pytest.approx(1.25 * im["none"], rel=1e-12), model
        for tool in ("stress_weight", "long_run_floor", "stress_floor"):
            assert im[tool] >= im["none"] > 0.0, (model, tool)
        # A quarter of the stress margin, which is the floor where it is the larger one.
        blend = 0.75 * im["none"] + 0.25 * im["stress_floor"]
        assert im["stress_weight"] == pytest.approx(blend, rel=1e-12), model


@pytest.mark.parametrize("model", [m for m in MARGIN_MODELS if m not in TOOL_MODELS])
def test_a_tool_on_a_model_without_one_is_refused(tmp_path: Path, model: str) -> None:
    for tool in ("stress_weight", "buffer"):
        rows = {
            "agreements": [agreement("A", model, **cells_of(tool))],
            "instruments": [instrument("SPX-FUT", "future", "SPX", multiplier="50")],
            "positions": positions([("SPX-FUT", "A", 100)]),
        }
        said = mca("margin", write_pack(tmp_path / tool, rows), "--json")
        assert said.code == exits.DONE_WITH_FAILURES
        assert said.json()["agreements"] == []
        assert "tools are for the models fhs_var" in said.err
