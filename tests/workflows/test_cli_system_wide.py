"""`mca system`: a system of institutions from a CSV file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from engine.domain.failures import InputError, UsageError
from workflows.cli import exits, system_wide

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "system" / "institutions.csv"


def system(*arguments: str | Path) -> tuple[int, str]:
    app = typer.Typer()
    app.command("system")(system_wide.system)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["system", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_example_of_the_documents(tmp_path: Path) -> None:
    code, output = system(
        EXAMPLE, "--shock", "gov_bonds=0.05", "--impact", "0.005", "--impact", "0.01",
        "--fund", "LDI_FUND", "--out", tmp_path,
    )  # fmt: skip
    assert code == exits.OK, output
    assert "7 institutions, 6 steps, behaviour threshold" in output
    assert "default, impact 0.01: BANK_A, BANK_B, BANK_C" in output
    assert "sales beside LDI_FUND" in output
    found = json.loads((tmp_path / "system.json").read_text(encoding="utf-8"))
    first, second = found["shocks"]
    assert (first["defaults"], second["defaults"]) == (0, 3)
    assert found["crowding"]["crowding"]["gov_bonds"] > 1.0
    assert len(list((tmp_path / "tables").iterdir())) >= 4


def test_json_alone(tmp_path: Path) -> None:
    code, output = system(EXAMPLE, "--call", "HEDGE_FUND=9", "--behaviour", "target", "--json")
    assert code == exits.OK
    found = json.loads(output)
    assert found["assumptions"]["behaviour"] == "target"
    assert found["marks"]["leverage_target"] == "verified"
    assert found["shocks"][0]["sold"]["gov_bonds"] > 0.0
    assert "crowding" not in found


def test_bad_rows_are_listed_and_left_out(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace("INSURER,30", "INSURER,thirty")
    path = tmp_path / "system.csv"
    path.write_text(text, encoding="utf-8")
    code, output = system(path, "--shock", "gov_bonds=0.05")
    assert code == exits.DONE_WITH_FAILURES
    assert "6 institutions" in output
    assert "cash is 'thirty'; give a number" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shock", "gov_bonds"], "expected NAME=NUMBER"),
        (["--shock", "gov_bonds=x"], "expected NAME=NUMBER"),
        (["--shock", "gov_bonds=0.1", "--shock", "gov_bonds=0.2"], "is given twice"),
        (["--call", "=3"], "expected NAME=NUMBER"),
    ],
)
def test_wrong_options(arguments: list[str], message: str) -> None:
    code, output = system(EXAMPLE, *arguments)
    assert code == exits.USAGE
    assert message in " ".join(output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--behaviour", "panic"], "behaviour = 'panic'"),
        (["--impact-law", "cubic"], "impact_law = 'cubic'"),
        (["--impact", "1.5"], "price_impact = 1.5"),
        (["--impact", "0.1", "--impact", "0.1"], "give each impact once"),
        (["--steps", "0"], "steps = 0"),
        (["--shock", "gov_bonds=1"], "falls.gov_bonds = 1.0"),
        (["--call", "BANK_A=-3"], "-3.0"),
        (["--margin-multiple", "0.5"], "margin_multiple = 0.5"),
    ],
)
def test_wrong_values(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        system(EXAMPLE, *arguments)


def test_names_that_are_not_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="asset 'gold' is not in the system; it has gov_bonds"):
        system(EXAMPLE, "--shock", "gold=0.1")
    with pytest.raises(InputError, match="institution 'X' is not in the system"):
        system(EXAMPLE, "--fund", "X")
    with pytest.raises(InputError, match=r"absent\.csv: not found"):
        system(tmp_path / "absent.csv")


def test_a_fund_needs_peers(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("\n".join(EXAMPLE.read_text(encoding="utf-8").splitlines()[:2]) + "\n")
    with pytest.raises(UsageError, match="it has no peers"):
        system(path, "--fund", "BANK_A")
