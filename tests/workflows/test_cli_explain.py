"""`mca explain`, `mca whatif` and `mca changes` on the small pack that `mca init` writes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workflows.cli import exits, main
from workflows.cli.output import usd


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


def mca(*arguments: str | Path) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.main([str(argument) for argument in arguments])
    return Said(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain") / "pack"
    assert mca("init", folder).code == exits.OK
    return folder


@pytest.fixture(scope="module")
def halved(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack with the first position halved."""
    import shutil

    other = tmp_path_factory.mktemp("explain") / "other"
    shutil.copytree(pack, other)
    rows = positions(pack)
    rows[0]["quantity"] = str(float(rows[0]["quantity"]) / 2)
    with (other / "positions.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return other


def positions(pack: Path) -> list[dict[str, str]]:
    lines = (pack / "positions.csv").read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def total(margin: dict[str, Any]) -> float:
    return float(margin["totals"]["im_usd"] + margin["totals"]["add_ons_usd"])


def test_explain_one_pack_sums_to_its_margin(pack: Path, tmp_path: Path) -> None:
    margin = mca("margin", pack, "--json").json()
    said = mca("explain", pack, "--json", "--out", tmp_path / "out")
    assert said.code == exits.OK, said.err
    found = said.json()
    assert found["totals"]["required"] == pytest.approx(total(margin), abs=0.05)
    assert found["attribution"]["total_usd"] == pytest.approx(found["totals"]["required"])
    shares = sum(row["total"] for row in found["attribution"]["by_label"].values())
    assert round(shares * 100) == round(found["totals"]["required"] * 100)
    assert json.loads((tmp_path / "out" / "explain.json").read_text()) == found
    table = pd.read_csv(tmp_path / "out" / "tables" / "attribution_by_manager.csv")
    assert len(table) == len(found["attribution"]["shares"])


@pytest.mark.parametrize(
    "options",
    [
        ("--by", "strategy"),
        ("--by", "position"),
        ("--method", "shapley", "--seed", "3"),
        ("--method", "incremental"),
    ],
)
def test_explain_at_other_levels_and_by_other_methods(pack: Path, options: tuple[str, ...]) -> None:
    found = mca("explain", pack, "--json", *options).json()
    assert found["attribution"]["total_usd"] == pytest.approx(found["totals"]["required"])


def test_explain_one_agreement_alone(pack: Path) -> None:
    everything = mca("explain", pack, "--json").json()
    row = max(everything["agreements"], key=lambda r: r["required"])
    said = mca("explain", pack, "--json", "--agreement", row["agreement_id"])
    assert said.json()["attribution"]["total_usd"] == pytest.approx(row["required"])


def test_an_agreement_named_twice_counts_once(pack: Path) -> None:
    once = mca("explain", pack, "--json", "--agreement", "CCP-SWAPS")
    twice = mca("explain", pack, "--json", "--agreement", "CCP-SWAPS", "--agreement", "CCP-SWAPS")
    assert twice.json() == once.json()


def test_explain_change_of_positions(pack: Path, halved: Path) -> None:
    for method in ("sequential", "symmetric"):
        said = mca("explain", pack, halved, "--method", method, "--json")
        assert said.code == exits.OK, said.err
        found = said.json()
        parts = found["contributions_usd"]
        assert parts["positions"] + parts["add_ons"] == pytest.approx(found["change_usd"])
        assert parts["market"] == parts["rules"] == 0.0
        assert found["change_usd"] != 0.0
    assert mca("explain", pack, halved).code == exits.OK


def test_explain_takes_run_folders(pack: Path, halved: Path, tmp_path: Path) -> None:
    for name, source in (("a", pack), ("b", halved)):
        assert mca("run", source, "--paths", "8", "--out", tmp_path / name).code == exits.OK
    by_run = mca("explain", tmp_path / "a", tmp_path / "b", "--json").json()
    assert by_run == mca("explain", pack, halved, "--json").json()


def test_whatif_by_flag_and_by_file_agree(pack: Path, tmp_path: Path) -> None:
    row = positions(pack)[0]
    others = [r["agreement_id"] for r in positions(pack)]
    target = next(name for name in others if name != row["agreement_id"])
    by_flag = mca("whatif", pack, "--move", f"{row['position_id']}={target}", "--json")
    assert by_flag.code == exits.OK, by_flag.err
    path = tmp_path / "trades.csv"
    path.write_text(f"action,position_id,to_agreement\nmove,{row['position_id']},{target}\n")
    out = tmp_path / "out"
    by_file = mca("whatif", pack, "--trades", path, "--json", "--out", out)
    assert by_file.json() == by_flag.json()
    changed = {r["agreement_id"] for r in by_file.json()["agreements"]}
    assert changed == {row["agreement_id"], target}
    assert (out / "tables" / "what_if_by_agreement.csv").is_file()


def test_whatif_agrees_with_a_pack_edited_by_hand(pack: Path, halved: Path) -> None:
    name = positions(pack)[0]["position_id"]
    found = mca("whatif", pack, "--scale", f"{name}=0.5", "--json").json()
    edited = mca("margin", halved, "--json").json()
    assert found["totals"]["required_usd"]["after"] == pytest.approx(total(edited), rel=1e-12)
    said = mca("whatif", pack, "--remove", name)
    assert said.code == exits.OK
    assert f"remove {name}" in said.out


def test_changes_of_a_file_join_the_packaged_ones(pack: Path, tmp_path: Path) -> None:
    margin = mca("margin", pack, "--json").json()
    names = [r["agreement_id"] for r in margin["agreements"] if r["kind"] == "cleared"]
    path = tmp_path / "mine.toml"
    path.write_text(
        f"""
[[change]]
change_id = "MINE"
title = "longer margin period of risk"
kind = "parameter"
agreements = ["{names[0]}"]
effective_cob = 2098-01-06
first_call_date = 2098-01-07
status = "announced"
source = "house"
mark = "user"
[change.edits]
mpor_days = 10
"""
    )
    said = mca("changes", pack, "--changes", path, "--multiplier", "4", "--json")
    assert said.code == exits.OK, said.err
    found = said.json()
    mine = next(c for c in found["changes"] if c["change_id"] == "MINE")
    assert mine["im_step_usd"] > 0.0
    assert list(mine["stress_step_usd"]) == ["4x"]
    listed = {c["change_id"] for c in found["not_computed"]}
    assert "LME-VAR" in listed
    later = mca("changes", pack, "--changes", path, "--as-of", "2098-01-02", "--json").json()
    events = {e["event"]: e["day"] for e in later["calendar"] if e["change_id"] == "MINE"}
    assert events == {"close of business": "2098-01-06", "call": "2098-01-07"}
    assert "MINE" in mca("changes", pack, "--changes", path, "--out", tmp_path / "out").out
    assert (tmp_path / "out" / "tables" / "model_changes_calendar.csv").is_file()


def test_a_change_of_your_own_that_is_not_computed_is_named(pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        """
[[change]]
change_id = "MINE"
title = "longer margin period of risk elsewhere"
kind = "parameter"
services = ["OMICLEAR"]
effective_cob = 2023-01-06
first_call_date = 2023-01-09
status = "announced"
source = "house"
mark = "user"
[change.edits]
mpor_days = 10
"""
    )
    said = mca("changes", pack, "--changes", path)
    assert said.code == exits.OK, said.err
    assert "not computed: MINE (no agreement or position of this book is concerned)" in said.out
    # A change without published parameters has dates and no figures.
    row = next(line for line in said.out.splitlines() if "EURONEXT-VAR-EQUITY" in line)
    assert row.split()[-2:] == ["n/a", "n/a"]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (12_345_678.0, "12.3m"), (-54_321.0, "-54.3k"), (-4.0, "0.0k"), (0.0, "0.0m"),
        (999_949.0, "999.9k"), (999_950.0, "1.0m"), (-1_234_567_890.0, "-1,234.6m"),
        (None, "n/a"), (float("nan"), "n/a"),
    ],
)  # fmt: skip
def test_amounts_for_people(amount: float | None, text: str) -> None:
    assert usd(amount) == text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("explain", "nowhere"), exits.BAD_INPUT, "fund.toml"),
        (("explain", "PACK", "--by", "desk"), exits.USAGE, "manager, strategy, position"),
        (("explain", "PACK", "--method", "magic"), exits.USAGE, "shapley"),
        (("explain", "PACK", "--agreement", "NOPE"), exits.USAGE, "NOPE"),
        (("explain", "PACK", "PACK", "--method", "engine"), exits.USAGE, "symmetric"),
        (("explain", "PACK", "PACK", "--by", "strategy"), exits.USAGE, "--by"),
        (("whatif", "PACK"), exits.USAGE, "--trades"),
        (("whatif", "PACK", "--move", "P1"), exits.USAGE, "POSITION=AGREEMENT"),
        (("whatif", "PACK", "--scale", "P1=big"), exits.USAGE, "'big' is no number"),
        (("whatif", "PACK", "--scale", "P-001=inf"), exits.USAGE, "'inf' is no number"),
        (("whatif", "PACK", "--scale", "P-001=nan"), exits.USAGE, "'nan' is no number"),
        (("changes", "PACK", "--as-of", "9999-12-31"), exits.USAGE, "from 1990 to 2199"),
        (("changes", "PACK", "--multiplier", "inf"), exits.USAGE, "at most 10000"),
        (("explain", "PACK", "--agreement", "CCP-SWAP"), exits.USAGE, "did you mean CCP-SWAPS?"),
        (("replay", "PACK", "--from", "2022-11-01"), exits.USAGE, "--to 2020-04-30 (default)"),
        (("whatif", "PACK", "--remove", "P-NONE"), exits.BAD_INPUT, "'P-NONE' is not in the book"),
        (("whatif", "PACK", "--trades", "nowhere.csv"), exits.BAD_INPUT, "nowhere.csv"),
        (("changes", "PACK", "--changes", "nowhere.toml"), exits.BAD_INPUT, "nowhere.toml"),
        (("changes", "PACK", "--as-of", "soon"), exits.USAGE, "YYYY-MM-DD"),
        (("changes", "PACK", "--multiplier", "0"), exits.USAGE, "volatility_multipliers"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    pack: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = mca(*(str(pack) if word == "PACK" else word for word in arguments))
    assert said.code == code, said.err
    assert words in said.err
    assert "Traceback" not in said.err
    assert not said.out
