"""`mca warning`: the answer, its files, its picture, and wrong calls."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from engine.domain.failures import InputError
from workflows.cli import exits, warning

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "examples" / "replay_2020"
SVG = "{http://www.w3.org/2000/svg}"


def mca(*arguments: str | Path) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command("warning")(warning.warning)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["warning", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_score_files_and_picture(tmp_path: Path) -> None:
    code, stdout, stderr = mca(PACK, "--json", "--out", tmp_path)
    assert code == exits.OK, stderr
    found = json.loads(stdout)
    assert found == json.loads((tmp_path / "warning.json").read_text(encoding="utf-8"))
    assert found["fund"] == "Replay Fund"
    assert found["level"] in ("normal", "high", "critical")
    assert found["covered_share"] > 0.5
    events = pd.read_csv(tmp_path / "tables" / "warning_events.csv")
    assert len(events) == len(found["evaluation"]["events"])
    history = pd.read_parquet(tmp_path / "tables" / "warning_history.parquet")
    assert str(history["date"].iloc[-1])[:10] == found["as_of"]
    picture = ET.fromstring((tmp_path / warning.PICTURE).read_text(encoding="utf-8"))
    assert len(list(picture.iter(f"{SVG}polygon"))) == len(events)
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for words in picture.iter(f"{SVG}text"):
        assert 0 <= float(words.attrib["x"]) <= width
        assert 0 <= float(words.attrib["y"]) <= height
    assert len((picture.findtext(f"{SVG}desc") or "").split()) > 10


def test_text_of_an_earlier_day() -> None:
    code, stdout, stderr = mca(PACK, "--as-of", "2011-08-08")
    assert code == exits.OK, stderr
    assert "2011-08-08: score 0.9" in stdout
    assert "(critical)" in stdout
    assert "AUROC" in stdout
    assert "margin_pressure" in stdout


def test_wrong_calls() -> None:
    code, _, _ = mca(PACK, "--as-of", "yesterday")
    assert code == exits.USAGE
    with pytest.raises(InputError, match="after the last day of the market"):
        mca(PACK, "--as-of", "2031-01-01")
    with pytest.raises(InputError, match="give a longer history"):
        mca(PACK, "--as-of", "2001-01-02")
    with pytest.raises(InputError, match=r"absent\.csv: not found"):
        mca(PACK, "--history", "absent.csv")
