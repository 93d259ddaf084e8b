"""`mca backtest --all`, `mca replay`, and the pictures of the documents made again."""

from __future__ import annotations

import contextlib
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from engine.domain.failures import InputError
from workflows.cli import exits, main, validation
from workflows.pictures.coverage import coverage_picture
from workflows.pictures.svg import Canvas, linear, logarithmic, number, square_root

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
PACK = ROOT / "examples" / "replay_2020"
SVG = "{http://www.w3.org/2000/svg}"


def mca(*arguments: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def replay(*arguments: str | Path) -> tuple[int, str]:
    app = typer.Typer()
    app.command("replay")(validation.replay)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    """A history of 3,000 days: a yield that crosses zero."""
    days = np.datetime64("2010-01-01") + np.arange(3000)
    level = np.cumsum(np.random.default_rng(31).normal(0.0, 0.05, 3000))
    path = tmp_path / "levels.csv"
    pd.DataFrame({"date": days, "YIELD": level}).to_csv(path, index=False)
    return path


def test_all_models_on_the_users_history(levels: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = mca(
        "backtest", "--all", "--history", levels, "--factor", "YIELD", "--returns", "absolute",
        "--json", "--out", out,
    )  # fmt: skip
    assert code == exits.OK, stderr
    found = json.loads(stdout)
    assert found["series"] == "YIELD"
    models = list(dict.fromkeys(row["model_id"] for row in found["rows"]))
    assert "fhs_97" in models
    # Its floor is a fraction of notional: named, not run and not lost.
    assert "scan_6" not in models
    assert [f["item"] for f in found["failures"]] == ["scan_6"]
    assert "scan_6: its published numbers are for returns = log" in stderr
    assert found == json.loads((out / "validation.json").read_text(encoding="utf-8"))
    picture = ET.fromstring((out / "coverage_procyclicality.svg").read_text(encoding="utf-8"))
    # One mark for each row, and one for each tool in the key.
    assert len(list(picture.iter(f"{SVG}polygon"))) == len(found["rows"]) + 6
    assert pd.read_csv(out / "tables" / "validation.csv").shape[0] == len(found["rows"])


def test_all_refuses_options_that_choose_one_model() -> None:
    for option, value in (
        ("--model", "hs"), ("--lambda", "0.99"), ("--confidence", "0.99"), ("--apc", "none"),
    ):  # fmt: skip
        code, _, stderr = mca("backtest", "--all", option, value)
        assert code == exits.USAGE
        assert f"{option} chooses one model" in stderr.replace("\n", " ")


def test_one_model_tells_its_tests(levels: Path) -> None:
    code, stdout, _ = mca(
        "backtest", "--history", levels, "--series", "YIELD", "--returns", "absolute",
        "--model", "t_es", "--apc", "step",
    )  # fmt: skip
    assert code == exits.OK
    shown = dict(line.split(maxsplit=1) for line in stdout.splitlines())
    assert shown["light"] in ("green", "yellow", "red")
    assert shown["period_overlapping"] == "True"
    assert 0.0 <= float(shown["conditional_p"]) <= 1.0


@pytest.mark.slow
def test_picture_of_coverage_is_the_one_in_the_documents(tmp_path: Path) -> None:
    code, stdout, stderr = mca(
        "backtest", "--all", "--window-from", "2019-01-01", "--window-to", "2020-12-31",
        "--out", tmp_path,
    )  # fmt: skip
    assert code == exits.OK, stderr
    made = (tmp_path / "coverage_procyclicality.svg").read_bytes()
    assert made == (IMAGES / "coverage_procyclicality.svg").read_bytes()
    lines = stdout.splitlines()
    assert lines[0].startswith("SPX: coverage 1994-12-12 to 2022-12-27")
    assert len(lines) == 2 + 11 * 6
    assert "indicative" in lines[2]


@pytest.mark.slow
def test_picture_of_the_replay_is_the_one_in_the_documents(tmp_path: Path) -> None:
    code, output = replay(PACK, "--out", tmp_path)
    assert code == exits.OK, output
    made = (tmp_path / "replay_2020.svg").read_bytes()
    assert made == (IMAGES / "replay_2020.svg").read_bytes()
    assert (
        "with sensitivities fixed it moves by 0.00 USD (SIMM 2.5, the oldest one shipped)" in output
    )
    assert "no shipped version was in force" in output
    assert "simulated" not in output
    found = json.loads((tmp_path / "replay.json").read_text(encoding="utf-8"))
    assert found["cleared_peak_ratio"] >= 2.0
    assert found["synthetic_factors"] == []


def test_replay_of_a_few_days_and_wrong_calls(tmp_path: Path) -> None:
    few = ("--from", "2020-02-18", "--reference", "2020-02-19", "--calm-to", "2020-02-20",
           "--to", "2020-02-24")  # fmt: skip
    code, output = replay(PACK, *few)
    assert code == exits.OK, output
    assert "compared with 2020-02-19" in output
    code, output = replay(PACK, "--from", "2019")
    assert code == exits.USAGE
    with pytest.raises(InputError, match=r"absent\.csv: not found"):
        replay(PACK, "--history", tmp_path / "absent.csv", *few)


def test_replay_names_simulated_factors() -> None:
    few = ("--from", "2020-02-18", "--reference", "2020-02-19", "--calm-to", "2020-02-20",
           "--to", "2020-02-21")  # fmt: skip
    code, output = replay(ROOT / "examples" / "small_fund", *few)
    # The pack holds no Treasury factor of five years, which its credit service would like.
    assert code == exits.DONE_WITH_FAILURES, output
    assert "is simulated: this is no replay of them" in output


@pytest.mark.parametrize("name", ["coverage_procyclicality.svg", "replay_2020.svg"])
def test_pictures_are_static_and_follow_the_readers_theme(name: str) -> None:
    text = (IMAGES / name).read_text(encoding="utf-8")
    tree = ET.fromstring(text)
    assert tree.find(f"{SVG}title") is not None
    assert len((tree.findtext(f"{SVG}desc") or "").split()) > 10
    assert "prefers-color-scheme: dark" in text
    assert "<script" not in text
    assert "href" not in text
    # Every mark and word is inside the frame.
    _, _, width, height = map(float, tree.attrib["viewBox"].split())
    for words in tree.iter(f"{SVG}text"):
        assert 0 <= float(words.attrib["x"]) <= width
        assert 0 <= float(words.attrib["y"]) <= height


def test_marks_that_would_hide_each_other_stand_side_by_side() -> None:
    rows = [("a", "A", "verified", tool, 0.01, 2.0) for tool in ("none", "step", "buffer")]
    columns = ["model_id", "model", "mark", "tool", "breach_rate", "peak_to_trough"]
    svg = coverage_picture(pd.DataFrame(rows, columns=columns), "X & <Y>", "p", "w")
    tree = ET.fromstring(svg)
    letters = [t for t in tree.iter(f"{SVG}text") if t.attrib.get("class") == "mark" and t.text]
    places = sorted(float(t.attrib["x"]) for t in letters)
    assert np.diff(places).tolist() == pytest.approx([12.0, 12.0])
    assert "* parameters are indicative" not in svg
    assert "X &amp; &lt;Y&gt;" in svg


def test_scales_and_numbers() -> None:
    assert linear((0.0, 10.0), (100.0, 0.0))(2.5) == 75.0
    assert logarithmic((1.0, 100.0), (0.0, 2.0))(10.0) == pytest.approx(1.0)
    assert square_root((0.0, 4.0), (0.0, 10.0))(1.0) == pytest.approx(5.0)
    assert [number(v) for v in (12.04, 12.06, -0.04, 3.0)] == ["12", "12.1", "0", "3"]
    canvas = Canvas(10, 10, "a<b", "c")
    assert "a&lt;b" in canvas.render()
