"""Whole jobs through the command line, on the small pack that `mca init` writes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.domain.failures import Failure, FailureReason
from workflows.cli import exits, main
from workflows.cli.thresholds import METRICS
from workflows.service import split_failures

PATHS = ("--paths", "64")
RUN_KEYS = {
    "run_id": None,
    "out": None,
    "report": None,
    "as_of": None,
    "fund": None,
    "margin": {"totals": {"im_usd": None, "vm_usd": None, "add_ons_usd": None}, "agreements": None},
    "stress": {"2x": {}, "5x": {}, "10x": {}},
    "scenarios": None,
    "avalanche": {
        "paths": None,
        "steps": None,
        "amplification": None,
        "branching_ratio": None,
        "p_avalanche": {"value": None, "low": None, "high": None},
        "peak_call_usd": dict.fromkeys(("mean", "q99", "es99", "es99_low", "es99_high")),
        "cash_error_cents": None,
        "bands": None,
        "estimates": None,
        "sampling": None,
        "first_failure_by_currency": None,
    },
    "liquidity": {
        "p_exhaustion": None,
        "median_hours_to_exhaustion": None,
        "facility_need_99_usd": {},
    },
    "failures": None,
    "data_quality": None,
    "provenance": {"inputs": {}, "rulebooks": None, "seed": None, "version": None},
    "reproduce": None,
}


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


def mca(*arguments: str | Path) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.main([str(argument) for argument in arguments])
    return Said(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Finished:
    """A finished run of the template pack."""

    pack: Path
    out: Path
    said: Said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("jobs")
    assert mca("init", folder / "pack").code == exits.OK
    out = folder / "out"
    return Finished(
        folder / "pack", out, mca("run", folder / "pack", *PATHS, "--out", out, "--json")
    )


@pytest.fixture
def edited_pack(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the template with some texts replaced or tables emptied."""

    def write(
        replace: dict[str, tuple[str, str]] | None = None, empty: tuple[str, ...] = ()
    ) -> Path:
        pack = tmp_path / "pack"
        assert mca("init", pack).code == exits.OK
        for name, (old, new) in (replace or {}).items():
            text = (pack / name).read_text()
            assert old in text
            (pack / name).write_text(text.replace(old, new, 1))
        for name in empty:
            lines = (pack / name).read_text().splitlines(keepends=True)
            (pack / name).write_text(lines[0])
        return pack

    return write


def missing_keys(wanted: Any, found: Any, path: str = "") -> list[str]:
    if not isinstance(wanted, dict):
        return []
    absent = [f"{path}.{key}" for key in wanted if key not in found]
    present = [key for key in wanted if key in found]
    return absent + [
        m for key in present for m in missing_keys(wanted[key], found[key], f"{path}.{key}")
    ]


def test_run_prints_the_promised_object(finished: Finished) -> None:
    assert finished.said.code == exits.OK, finished.said.err
    summary = finished.said.json()
    assert not missing_keys(RUN_KEYS, summary)
    assert summary["avalanche"]["paths"] == 64
    assert summary["avalanche"]["cash_error_cents"] == 0
    assert summary["margin"]["totals"]["im_usd"] > 0
    assert summary["stress"]["10x"]["im_usd"] >= summary["stress"]["2x"]["im_usd"]
    assert Path(summary["report"]).stat().st_size > 10_000
    assert "margin today" in finished.said.err


def test_run_shows_the_costliest_scenarios(finished: Finished) -> None:
    summary = finished.said.json()
    shown = summary["scenarios"]
    paid = [row["calls_usd"] for row in shown]
    assert len(shown) == 10
    assert paid == sorted(paid, reverse=True) and paid[-1] > 0
    for row in shown:
        assert {"scenario_id", "name", "kind", "severity", "mark", "distance"} <= set(row)
        assert row["pnl_usd"] >= -row["calls_usd"] * (1 + 1e-12)
    every = pd.read_parquet(finished.out / "tables" / "scenarios.parquet")
    assert len(every) > 100
    assert every["calls_usd"].max() == paid[0]
    assert summary["failures"] == []
    assert [note for note in summary["notes"] if "archegos_2021" in note]
    page = (finished.out / "report.html").read_text()
    assert all(row["name"].split("'")[0] in page for row in shown)


def test_run_gives_every_estimate_an_interval(finished: Finished) -> None:
    avalanche = finished.said.json()["avalanche"]
    for name, found in avalanche["estimates"].items():
        assert found["low"] <= found["value"] <= found["high"], name
    assert {"p_runaway", "p_default", "p_line_refused"} <= set(avalanche["estimates"])
    assert list(avalanche["bands"]) == ["contained", "amplified", "avalanche", "runaway"]
    assert sum(avalanche["bands"].values()) == pytest.approx(1.0, abs=1e-12)
    assert sum(avalanche["first_failure_by_currency"].values()) <= 1.0


def test_the_terminal_shows_intervals_and_assumptions(finished: Finished, tmp_path: Path) -> None:
    said = mca("run", finished.pack, *PATHS, "--out", tmp_path / "out")
    assert said.code == exits.OK, said.err
    lines = {line[:20].strip(): line[20:] for line in said.out.splitlines()}
    for name in ("amplification", "p(avalanche)", "p(runaway)", "p(default)", "p(exhaustion)"):
        assert " to " in lines[name], name
    assert "crowding 5, participation 0.15, impact 0.8, 64 paths" in lines["assumed"]
    assert "to pay in" in lines["costliest scenario"]


def test_only_failures_a_user_can_act_on_join_the_run() -> None:
    idle = Failure(FailureReason.NOT_APPLICABLE, "archegos_2021", "file", "no factor")
    bad = Failure(FailureReason.CALCULATION_FAILED, "I1", "scenario a", "out of range")
    known = Failure(FailureReason.MISSING_DATA, "I2", "positions.csv row 3", "no price")
    notes, new = split_failures((idle, bad, known), (known,))
    assert new == (bad,)
    assert len(notes) == 1 and "archegos_2021" in notes[0]
    assert split_failures((), ()) == ((), ())


def test_every_threshold_metric_is_in_the_result(finished: Finished) -> None:
    summary = finished.said.json()
    for name, path in METRICS.items():
        value: Any = summary
        for key in path.split("."):
            assert key in value, name
            value = value[key]
        assert value is None or isinstance(value, int | float), name


def test_run_folder_holds_everything(finished: Finished) -> None:
    manifest = json.loads((finished.out / "run.json").read_text())
    assert manifest["status"] == "complete"
    summary = json.loads((finished.out / "summary.json").read_text())
    assert summary["run_id"] == manifest["run_id"] == finished.said.json()["run_id"]
    assert (summary["out"], summary["report"]) == (".", "report.html")
    for name in manifest["tables"]:
        assert (finished.out / "tables" / name).is_file()
    csv = pd.read_csv(finished.out / "tables" / "margin_by_agreement.csv")
    parquet = pd.read_parquet(finished.out / "tables" / "margin_by_agreement.parquet")
    assert csv["im_usd"].tolist() == parquet["im_usd"].tolist()
    assert csv["im_usd"].sum() == pytest.approx(summary["margin"]["totals"]["im_usd"], rel=1e-12)
    assert str(finished.out) not in (finished.out / "summary.json").read_text()


def test_reproduce_gives_the_same_bytes(finished: Finished) -> None:
    said = mca("reproduce", finished.out, "--json")
    assert said.code == exits.OK, said.out + said.err
    result = said.json()
    assert result["identical"]
    assert result["files"] >= 20
    assert result["run_id"] == result["repeated_run_id"]


def test_reproduce_finds_a_changed_table(finished: Finished, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished.out, copy)
    table = copy / "tables" / "margin_by_agreement.csv"
    table.write_text(table.read_text().replace("0", "1", 1))
    said = mca("reproduce", copy)
    assert said.code == exits.DONE_WITH_FAILURES
    assert "margin_by_agreement.csv" in said.out


def test_another_seed_is_another_run(finished: Finished, tmp_path: Path) -> None:
    said = mca("run", finished.pack, *PATHS, "--seed", "5", "--out", tmp_path / "o", "--json")
    summary, first = said.json(), finished.said.json()
    assert summary["run_id"] != first["run_id"]
    assert summary["margin"] == first["margin"]
    assert summary["avalanche"]["peak_call_usd"] != first["avalanche"]["peak_call_usd"]


def test_the_default_folder_is_named_by_the_run(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    summary = mca("run", finished.pack, *PATHS, "--json").json()
    assert Path(summary["out"]) == Path("runs") / summary["run_id"]
    assert (tmp_path / summary["out"] / "run.json").is_file()


def test_thresholds_decide_the_exit_code(finished: Finished, tmp_path: Path) -> None:
    said = mca("margin", finished.pack, "--fail-on", "im_usd>1", "--out", tmp_path)
    assert said.code == exits.THRESHOLD_BREACHED
    assert "im_usd>1: breached" in said.err
    assert mca("margin", finished.pack, "--fail-on", "im_usd<1").code == exits.OK
    assert (tmp_path / "margin.json").is_file()
    assert (tmp_path / "tables" / "margin_by_agreement.parquet").is_file()


def test_margin_shape(finished: Finished) -> None:
    result = mca("margin", finished.pack, "--json").json()
    assert {"as_of", "currency", "totals", "agreements", "by_manager", "failures"} <= set(result)
    wanted = {
        "agreement_id",
        "kind",
        "venue",
        "counterparty",
        "broker",
        "model",
        "im_usd",
        "vm_usd",
    }
    for row in result["agreements"]:
        assert {*wanted, "add_ons"} <= set(row)
    assert sum(row["im_usd"] for row in result["agreements"]) == pytest.approx(
        result["totals"]["im_usd"], rel=1e-12
    )


def test_stress_takes_multipliers(finished: Finished) -> None:
    said = mca("stress", finished.pack, "--multiplier", "3", "--json")
    assert said.code == exits.OK, said.err
    assert list(said.json()["stress"]) == ["3x"]
    assert mca("stress", finished.pack, "--mode", "mood").code == exits.USAGE


def test_avalanche_alone_agrees_with_the_run(finished: Finished) -> None:
    said = mca("avalanche", finished.pack, *PATHS, "--json")
    assert said.code == exits.OK, said.err
    assert said.json()["avalanche"] == finished.said.json()["avalanche"]


def test_validate_passes_the_template(finished: Finished) -> None:
    said = mca("validate", finished.pack, "--json")
    assert said.code == exits.OK, said.err
    found = said.json()
    assert found["ok"]
    assert found["options"]["paths"] == {"value": 10000, "origin": "pack"}
    assert found["options"]["crowding"]["origin"] == "default"


def test_a_bad_row_is_left_out_and_named(edited_pack: Callable[..., Path], tmp_path: Path) -> None:
    first = "positions.csv"
    pack = edited_pack()
    lines = (pack / first).read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([*cells[:-1], "1_000"])
    (pack / first).write_text("\n".join(lines) + "\n")
    checked = mca("validate", pack)
    assert checked.code == exits.BAD_INPUT
    assert "1_000" in checked.out
    said = mca("run", pack, *PATHS, "--out", tmp_path / "out", "--json")
    assert said.code == exits.DONE_WITH_FAILURES
    summary = said.json()
    assert summary["failures"][0]["reason"] == "INVALID"
    assert summary["data_quality"]["rows"]["positions"]["quarantined"] == 1
    assert "1_000" in said.err
    assert len(pd.read_csv(tmp_path / "out" / "tables" / "quarantine.csv")) == 1


def test_too_many_bad_rows_stop_the_run(edited_pack: Callable[..., Path], tmp_path: Path) -> None:
    pack = edited_pack()
    text = (pack / "positions.csv").read_text().splitlines()
    (pack / "positions.csv").write_text(
        "\n".join([text[0], *(f"{row}x" for row in text[1:])]) + "\n"
    )
    said = mca("run", pack, *PATHS, "--out", tmp_path / "out")
    assert said.code == exits.BAD_INPUT
    assert "positions" in said.err
    assert not (tmp_path / "out").exists()
    found = mca("validate", pack, "--json")
    assert found.code == exits.BAD_INPUT
    assert found.json()["quarantined"]


def test_an_empty_fund_has_nothing_to_margin(
    edited_pack: Callable[..., Path], tmp_path: Path
) -> None:
    said = mca("run", edited_pack(empty=("positions.csv",)), "--out", tmp_path / "out", "--json")
    assert said.code == exits.OK, said.err
    assert "nothing to margin" in said.err
    summary = said.json()
    assert not missing_keys(RUN_KEYS, summary)
    assert summary["margin"]["totals"]["im_usd"] == 0.0
    assert summary["avalanche"]["paths"] == 0
    assert summary["scenarios"] == []
    assert mca("reproduce", tmp_path / "out").code == exits.OK


def test_a_fund_with_one_position(edited_pack: Callable[..., Path], tmp_path: Path) -> None:
    pack = edited_pack()
    lines = (pack / "positions.csv").read_text().splitlines(keepends=True)
    (pack / "positions.csv").write_text("".join(lines[:2]))
    said = mca("run", pack, *PATHS, "--out", tmp_path / "out", "--json")
    assert said.code == exits.OK, said.err
    assert said.json()["margin"]["totals"]["im_usd"] > 0


def test_a_wrong_avalanche_option_of_the_pack_is_bad_input(
    edited_pack: Callable[..., Path], tmp_path: Path
) -> None:
    pack = edited_pack({"fund.toml": ("paths = 10000", "paths = -3")})
    said = mca("run", pack, "--out", tmp_path / "out")
    assert said.code == exits.BAD_INPUT
    assert "[avalanche] paths = -3" in said.err


def test_an_interrupted_run_leaves_a_folder_that_says_so(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.avalanche.simulate.simulate_fund", interrupt)
    said = mca("run", finished.pack, *PATHS, "--out", tmp_path / "out")
    assert said.code == exits.INTERRUPTED
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["status"] == "incomplete"
    assert mca("reproduce", tmp_path / "out").code == exits.BAD_INPUT


@pytest.mark.conformance
def test_the_whole_job_on_the_real_panel(
    finished: Finished, shared_folder: Path, tmp_path: Path
) -> None:
    panel = shared_folder / "history" / "real_panel.csv"
    said = mca("run", finished.pack, *PATHS, "--history", panel, "--out", tmp_path, "--json")
    assert said.code == exits.OK, said.err
    summary = said.json()
    assert summary["provenance"]["inputs"]["history/real_panel.csv"]
    assert summary["margin"] != finished.said.json()["margin"]
    assert mca("reproduce", tmp_path).code == exits.OK


def test_simm_shape(tmp_path: Path) -> None:
    crif = tmp_path / "crif.csv"
    crif.write_text(
        "TradeID,PortfolioID,ProductClass,RiskType,Qualifier,Bucket,Label1,Label2,Amount,"
        "AmountCurrency,AmountUSD\n"
        "t1,p1,RatesFX,Risk_IRCurve,USD,1,10y,OIS,1000000,USD,1000000\n"
    )
    said = mca("simm", crif, "--version", "2.6", "--horizon", "10d", "--side", "call", "--json")
    assert said.code == exits.OK, said.err
    result = said.json()
    keys = ("version", "horizon_days", "side", "currency", "total", "by_product_class")
    assert {*keys, "by_risk_class"} <= set(result)
    assert result["total"] > 0
    assert sum(result["by_product_class"].values()) == pytest.approx(result["total"])
    assert mca("simm", crif, "--version", "9.9").code in (exits.USAGE, exits.BAD_INPUT)
