"""`mca reverse`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from engine.domain.failures import UsageError
from engine.domain.scenarios import Scenario
from workflows.cli import exits
from workflows.cli.reverse import reverse

PACK = Path(__file__).resolve().parents[2] / "examples" / "small_fund"
FAST = ("--drivers", "6", "--answers", "2", "--generations", "20", "--seed", "7")


def mca(*arguments: str | Path) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command("reverse")(reverse)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["reverse", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_answers_for_people_and_programs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = mca(PACK, "--target", "1e6", *FAST, "--json", "--out", out)
    # The pack holds no Treasury factor of five years, which its credit service would like.
    assert code in (exits.OK, exits.DONE_WITH_FAILURES), stderr
    found = json.loads(stdout)
    assert found["feasible"] is True
    assert found["target_metric"] == "loss_usd"
    assert found["config"]["seed"] == 7
    assert len(found["answers"]) == 2
    assert found["worst_episode"]["distance"] > 0.0
    assert found == json.loads((out / "reverse.json").read_text(encoding="utf-8"))
    models = json.loads((out / "scenarios.json").read_text(encoding="utf-8"))
    scenarios = [Scenario.model_validate(model) for model in models]
    assert [s.scenario_id for s in scenarios] == ["reverse_1", "reverse_2"]
    calls = pd.read_csv(out / "tables" / "reverse_calls.csv")
    assert set(calls["scenario_id"]) == {"reverse_1", "reverse_2"}
    code, stdout, _ = mca(PACK, "--target", "1e6", *FAST)
    lines = stdout.splitlines()
    assert lines[0].startswith("target: loss_usd 1.0m USD; 6 factors")
    assert any(line.startswith("reverse_1: D ") for line in lines)
    assert any("p-value" in line for line in lines)
    assert any("full margin engine" in line for line in lines)


def test_out_of_reach_is_an_answer(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, _ = mca(PACK, "--target", "1e15", "--box", "3", *FAST, "--out", out)
    assert code in (exits.OK, exits.DONE_WITH_FAILURES)
    assert "NOT FEASIBLE: no move found within 3 standard deviations" in stdout
    assert "which does not reach it" in stdout
    assert not (out / "scenarios.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "much"), "give liquidity, or an amount"),
        (("--target", "1e6", "--metric", "fear"), "choose one of loss, calls"),
        (("--target", "-5"), "target_usd"),
        (("--box", "100"), "box_sigmas"),
        (("--generations", "5000"), "max_iterations"),
    ],
)
def test_wrong_calls_are_refused(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        mca(PACK, *arguments)
