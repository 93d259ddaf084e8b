"""What other programs rely on: options, streams, exit codes, and that no traceback escapes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.domain.failures import InputError, MissingDependencyError, UsageError
from workflows.cli import exits, main, system

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = (
    "demo",
    "run",
    "init",
    "validate",
    "schema",
    "margin",
    "stress",
    "avalanche",
    "attribute",
    "scenarios",
    "reverse",
    "warning",
    "system",
    "calls",
    "explain",
    "whatif",
    "changes",
    "replay",
    "export",
    "simm",
    "backtest",
    "doctor",
    "reproduce",
)
MCA = [sys.executable, "-c", "from workflows.cli.main import run; run()"]


def mca(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MCA, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_common_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([command, "--help"]) == exits.OK
    text = capsys.readouterr().out
    for option in ("--json", "--out", "--seed"):
        assert option in text
    assert "Example:" in text or command in ("doctor",)


@pytest.mark.parametrize("command", ["demo", "run", "margin", "stress", "avalanche"])
def test_commands_with_figures_take_fail_on(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([command, "--help"]) == exits.OK
    assert "--fail-on" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == exits.OK
    name, version = capsys.readouterr().out.split()
    assert name == "mca"
    assert version[0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nonsense"], exits.USAGE, "nonsense"),
        (["run"], exits.USAGE, "PACK"),
        (["margin", "pack", "--sede", "1"], exits.USAGE, "--sede"),
        (["demo", "--paths", "0"], exits.USAGE, "--paths"),
        (["demo", "--seed", "-1"], exits.USAGE, "--seed"),
        (["demo", "--volatility", "0"], exits.USAGE, "volatility_multiplier"),
        (["simm", "x.csv", "--horizon", "5d"], exits.USAGE, "5d"),
        (["simm", "x.csv", "--side", "both"], exits.USAGE, "both"),
        (["backtest", "--lambda", "2"], exits.USAGE, "ewma_lambda"),
        (["backtest", "--window-from", "2019"], exits.USAGE, "2019"),
        (["schema", "positons"], exits.USAGE, "positions"),
        (["run", "nowhere"], exits.BAD_INPUT, "fund.toml"),
        (["margin", "nowhere"], exits.BAD_INPUT, "fund.toml"),
        (["validate", "nowhere"], exits.BAD_INPUT, "fund.toml"),
        (["reproduce", "nowhere"], exits.BAD_INPUT, "run.json"),
        (["backtest", "--history", "nowhere.csv"], exits.BAD_INPUT, "nowhere.csv"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(arguments) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert arguments[0] == "validate" or not said.out


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("p_exhaustion>0.01; import os", "expected METRIC"),
        ("__import__('os')", "expected METRIC"),
        ("p_exhaustion", "expected METRIC"),
        ("p_exhastion>0.01", "Did you mean 'p_exhaustion'?"),
        ("peanuts>1", "branching_ratio"),
        ("p_exhaustion>nan", "finite"),
        ("p_exhaustion>1e999", "finite"),
        ("p_exhaustion>lots", "finite"),
    ],
)
def test_a_wrong_threshold_is_refused_before_any_work(
    expression: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["run", "nowhere", "--fail-on", expression]) == exits.USAGE
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("positions.csv:3: bad"), exits.BAD_INPUT),
        (UsageError("call me differently"), exits.USAGE),
        (MissingDependencyError("install xlsxwriter"), exits.DEPENDENCY_MISSING),
        (
            ModuleNotFoundError("No module named 'pyspark'", name="pyspark"),
            exits.DEPENDENCY_MISSING,
        ),
        (KeyboardInterrupt(), exits.INTERRUPTED),
        (ZeroDivisionError("division by zero"), exits.INTERNAL),
        (ModuleNotFoundError("No module named 'engine.gone'", name="engine.gone"), exits.INTERNAL),
    ],
)
def test_every_error_has_its_exit_code(
    error: BaseException,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("workflows.doctor.examine", fail)
    assert main.main(["doctor"]) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if code == exits.INTERNAL:
        path = Path(said.split("details: ")[1].strip())
        assert "Traceback" in path.read_text()
        path.unlink()


def test_doctor_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.main(["doctor", "--json"]) == exits.OK
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    assert {"python", "numba", "kernel cache", "compiler"} <= {c["name"] for c in found["checks"]}
    monkeypatch.setattr("workflows.doctor.REQUIRED", ("no-such-package",))
    assert main.main(["doctor"]) == exits.DEPENDENCY_MISSING
    assert "no-such-package" in capsys.readouterr().out
    assert system.doctor.__doc__


def test_result_goes_to_stdout_alone_and_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    done = mca("schema", "--json", folder=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    assert "positions" in json.loads(done.stdout)
    assert done.stderr == ""
    piped = subprocess.run(
        ["bash", "-c", f'"{MCA[0]}" -c "{MCA[2]}" schema | head -n 1; exit "${{PIPESTATUS[1]}}"'],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert piped.stdout.strip() == "{"
    assert "Traceback" not in piped.stderr


def test_interrupt_ends_with_130(tmp_path: Path) -> None:
    waiting = (
        "import sys, time; from workflows.cli import main\n"
        "import workflows.doctor as d\n"
        "def slow():\n"
        "    sys.stderr.write('ready'); sys.stderr.flush(); time.sleep(60)\n"
        "d.examine = slow\n"
        "sys.argv = ['mca', 'doctor']; main.run()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", waiting],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.read(5) == b"ready"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == exits.INTERRUPTED
    assert b"interrupted" in said
    assert b"Traceback" not in said
