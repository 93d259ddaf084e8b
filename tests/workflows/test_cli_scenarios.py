"""`mca scenarios`: lists, one scenario, files of one's own, combinations, wrong calls."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from engine.domain.failures import InputError, UsageError
from workflows.cli import exits
from workflows.cli.scenarios import scenarios

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "examples" / "small_fund"
EXAMPLE = ROOT / "examples" / "scenarios" / "gas_and_dollar.toml"


def run(*arguments: str | Path) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command("scenarios")(scenarios)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["scenarios", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_without_a_pack_the_packaged_market_is_listed() -> None:
    code, out, err = run("--kind", "historical", "--json")
    assert code == exits.OK, err
    found = json.loads(out)
    assert len(found["scenarios"]) == 40
    assert {row["kind"] for row in found["scenarios"]} == {"historical"}
    assert all(row["pnl_usd"] is None for row in found["scenarios"])
    assert "archegos_2021: its facts" in err


def test_a_fund_with_its_own_file_and_combinations(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = run(
        PACK,
        "--severity",
        "extreme",
        "--kind",
        "historical",
        "--kind",
        "user",
        "--file",
        EXAMPLE,
        "--combinations",
        "2",
        "--out",
        out,
    )
    assert code in (exits.OK, exits.DONE_WITH_FAILURES), stderr
    lines = stdout.splitlines()
    assert "standard deviations by severity: moderate" in lines[0]
    mine = next(line for line in lines if line.startswith("gas_and_dollar "))
    assert " user " in mine
    assert any("combinations searched" in line for line in lines)
    found = json.loads((out / "scenarios.json").read_text(encoding="utf-8"))
    ids = [row["scenario_id"] for row in found["scenarios"]]
    assert ids[-1] == "gas_and_dollar"
    assert {row["severity"] for row in found["scenarios"]} == {"extreme", None}
    assert found["managers"]["searched"] > 0
    files = {path.stem for path in (out / "scenarios").glob("*.toml")}
    assert files == set(ids)
    table = pd.read_csv(out / "tables" / "scenarios.csv")
    assert list(table["scenario_id"]) == ids
    # A file written by one call is the input of the next.
    again = out / "scenarios" / "nickel_2022.toml"
    code, stdout, stderr = run(PACK, "--file", again, "--show", "nickel_2022", "--json")
    shown = json.loads(stdout)
    before = next(row for row in found["scenarios"] if row["scenario_id"] == "nickel_2022")
    assert shown["pnl_usd"] == pytest.approx(before["pnl_usd"], rel=1e-12)
    assert set(shown["basis"].values()) == {"named"}


def test_one_scenario_shows_moves_and_facts(tmp_path: Path) -> None:
    code, stdout, stderr = run("--show", "gilts_2022", "--out", tmp_path)
    assert code == exits.OK, stderr
    assert "+1.000 per cent" in stdout
    assert "conditional mean" in stdout
    assert "cross rate" in stdout
    assert "fact: Share of forced sales in the fall of prices" in stdout
    assert (tmp_path / "gilts_2022.json").is_file()
    assert (tmp_path / "scenarios" / "gilts_2022.toml").is_file()


def test_a_wrong_scenario_of_a_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    body = EXAMPLE.read_text(encoding="utf-8").replace("STOXX50 =", "STOXX5 =")
    path.write_text(body, encoding="utf-8")
    code, _, stderr = run(
        "--kind", "user", "--file", path
    )  # fmt: skip
    assert code == exits.DONE_WITH_FAILURES
    assert "mine.toml, scenario gas_and_dollar" in stderr
    assert "did you mean 'STOXX50'?" in stderr


def test_wrong_calls_say_what_is_known() -> None:
    with pytest.raises(UsageError, match="did you mean 'historical'"):
        run("--kind", "historic")
    with pytest.raises(UsageError, match="use one of moderate, severe, extreme"):
        run("--severity", "awful")
    with pytest.raises(UsageError, match="did you mean 'covid_2020'"):
        run("--show", "covid_202")
    with pytest.raises(UsageError, match="--combinations needs a PACK"):
        run("--combinations", "2")
    with pytest.raises(UsageError, match="--history needs a PACK"):
        run("--history", "x.csv")
    with pytest.raises(InputError, match=r"absent\.toml"):
        run("--file", "absent.toml")
