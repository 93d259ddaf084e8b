"""`mca attribute`: the answer, its files, its picture, and wrong calls."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from engine.domain.failures import InputError
from workflows.cli import attribute, exits
from workflows.funds import write_sample
from workflows.run import RunFolder

SVG = "{http://www.w3.org/2000/svg}"
SEED = 20200316


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(RunFolder(tmp_path_factory.mktemp("attribute")), SEED)


def mca(*arguments: str | Path) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command("attribute")(attribute.attribute)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["attribute", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.slow
def test_splits_files_and_picture(pack: Path, tmp_path: Path) -> None:
    options = ("--paths", "640", "--tail", "0.98", "--managers", "2", "--json", "--out", tmp_path)
    code, stdout, stderr = mca(pack, *options)
    assert code == exits.OK, stderr
    found = json.loads(stdout)
    assert found == json.loads((tmp_path / "attribute.json").read_text(encoding="utf-8"))
    tail = found["tail"]
    assert tail["tail_paths"] == 13
    for name, rows in tail["by"].items():
        assert sum(row["usd"] for row in rows) == pytest.approx(tail["tail_usd"], rel=1e-9), name
    cascade = found["cascade"]
    edges = pd.read_csv(tmp_path / "tables" / "cascade_edges.csv")
    assert edges["usd"].sum() == pytest.approx(cascade["endogenous_usd"], rel=1e-9)
    shares = found["amplification"]
    whole = shares["whole"]["calls"]["feedback_usd"]
    assert sum(row["calls_usd"] for row in shares["managers"]) == pytest.approx(whole, rel=1e-9)
    picture = ET.fromstring((tmp_path / attribute.PICTURE).read_text(encoding="utf-8"))
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for words in picture.iter(f"{SVG}text"):
        assert 0 <= float(words.attrib["x"]) <= width
        assert 0 <= float(words.attrib["y"]) <= height
    assert cascade["chain_words"] in (picture.findtext(f"{SVG}desc") or "")


@pytest.mark.slow
def test_text_under_a_scenario(pack: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(
        '[[scenario]]\nscenario_id = "down"\nname = "Down"\nvolatility_multiplier = 4.0\n'
        "moves = { SPX = -0.1 }\n",
        encoding="utf-8",
    )
    code, stdout, stderr = mca(pack, "--paths", "320", "--scenario", file)
    assert code == exits.OK, stderr
    assert ", down: calls of the peak day, mean of the worst 3 of 320 paths" in stdout
    assert "by factor" in stdout
    assert "by manager" in stdout
    assert "amplification by manager" not in stdout


def test_wrong_calls(pack: Path, tmp_path: Path) -> None:
    code, _, _ = mca(pack, "--managers", "1")
    assert code == exits.USAGE
    empty = tmp_path / "none.toml"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"none\.toml"):
        mca(pack, "--scenario", empty)
