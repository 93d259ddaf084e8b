"""`mca replay EPISODE`: the table, the files, the pictures of the documents made again."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from engine.domain.failures import InputError, UsageError
from workflows.avalanche_replays import QMS_SEED_USD, replay_fund, write_replay_fund
from workflows.cli import exits, replay_episode
from workflows.funds import open_fund

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
PACK = ROOT / "examples" / "replay_2020"
SVG = "{http://www.w3.org/2000/svg}"


def replay(*arguments: str | Path) -> tuple[int, str]:
    app = typer.Typer()
    app.command("replay")(replay_episode.replay_episode)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def routed(*arguments: str | Path) -> tuple[int, str]:
    app = typer.Typer()
    app.command("replay")(replay_episode.replay)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_one_command_takes_an_episode_or_a_pack() -> None:
    code, output = routed("nickel_2022", "--paths", "64")
    assert code == exits.OK, output
    assert "a call unpaid from 2022-03-07" in output
    few = ("--from", "2020-02-18", "--reference", "2020-02-19", "--calm-to", "2020-02-20",
           "--to", "2020-02-24")  # fmt: skip
    code, output = routed(PACK, *few)
    assert code == exits.OK, output
    assert "compared with 2020-02-19" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nickle",), "neither an episode (covid_2020, energy_2022"),
        (("nickel_2022", "--from", "2022-03-01"), "--from: an episode has its own days"),
        ((PACK, PACK), "only with an episode"),
        ((PACK, "--paths", "64"), "--paths 64: only with an episode"),
    ],
)
def test_wrong_calls_say_what_to_do(arguments: tuple[str | Path, ...], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        routed(*arguments)
    assert words in str(caught.value)


def test_nickel_day_by_day_with_its_files(tmp_path: Path) -> None:
    code, output = replay("nickel_2022", "--out", tmp_path)
    assert code == exits.OK, output
    assert "a call unpaid from 2022-03-07" in output
    assert "NICKEL: indicative, known on some days; 3 to 7 March: LME official" in output
    found = json.loads((tmp_path / "episode.json").read_text(encoding="utf-8"))
    assert found["exhausted_after_days"] == 2
    assert len(found["by_day"]) == 3
    assert pd.read_csv(tmp_path / "tables" / "episode_days.csv").shape[0] == 3
    made = (tmp_path / "nickel_2022.svg").read_bytes()
    assert made == (IMAGES / "episode_nickel_2022.svg").read_bytes()
    # The invented fund is written as a pack and gives the same result when replayed as one.
    code, again = replay("nickel_2022", tmp_path / "fund", "--json")
    assert code == exits.OK
    told = json.loads(again[: again.rindex("}") + 1])
    assert told["by_day"] == found["by_day"]


@pytest.mark.parametrize("episode", ["ldi_2022", "energy_2022"])
def test_pictures_are_those_of_the_documents(episode: str, tmp_path: Path) -> None:
    code, output = replay(episode, "--out", tmp_path)
    assert code == exits.OK, output
    made = (tmp_path / f"{episode}.svg").read_bytes()
    assert made == (IMAGES / f"episode_{episode}.svg").read_bytes()
    assert next(ET.fromstring(made).iter(f"{SVG}title")).text


@pytest.mark.slow
def test_picture_of_2020_is_the_one_in_the_documents(tmp_path: Path) -> None:
    code, output = replay("covid_2020", "--out", tmp_path)
    assert code == exits.OK, output
    made = (tmp_path / "covid_2020.svg").read_bytes()
    assert made == (IMAGES / "episode_covid_2020.svg").read_bytes()
    assert "0.9 reached 13 days before it" in output
    assert "known on some days" not in output


def test_an_unknown_episode_lists_those_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="known are covid_2020, energy_2022"):
        replay("nickel_2023")
    with pytest.raises(InputError, match="no fund 'absent'"):
        replay_fund("absent")


@pytest.mark.parametrize(
    "fund_id",
    ["replay_equity", "replay_energy", "replay_ldi", "replay_nickel", "replay_franc"],
)
def test_every_invented_fund_is_a_sound_pack(fund_id: str, tmp_path: Path) -> None:
    opened = open_fund(write_replay_fund(fund_id, date(2022, 8, 12), tmp_path))
    assert opened.failures == ()
    assert len(opened.book.positions) >= 1
    assert "# Invented, indicative" in (tmp_path / "fund.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_qms_story_prints_what_was_achieved_beside_the_claim(tmp_path: Path) -> None:
    code, output = replay("qms_energy_2022", "--json")
    assert code == exits.OK, output
    found = json.loads(output)
    assert found["seed_claim_usd"] == QMS_SEED_USD
    by = {(s["scenario_id"], s["severity"]): s["mean_path_usd"] for s in found["surges"]}
    assert by["qms_energy_2022", 1.0] == pytest.approx(3.289e8, rel=1e-3)
    assert by["qms_energy_2022_whole", 1.0] == pytest.approx(1.3756e9, rel=1e-3)
    sizes = [by["qms_energy_2022", size] for size in (0.5, 1.0, 1.5, 2.0)]
    assert sizes == sorted(sizes)
    assert found["surges"][1]["factors"][0]["factor_id"] == "TTF"
