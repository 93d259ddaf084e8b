"""The run folder by itself: hashes, bytes, what it refuses, and what an interrupted run leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from engine.domain.failures import InputError, UsageError
from engine.fund.template import write_template
from workflows.run import (
    Recipe,
    RunFolder,
    hash_inputs,
    json_ready,
    json_text,
    pack_files,
    read_manifest,
    reproduce,
    write_tables,
)

TABLES = {
    "b": pd.DataFrame({"id": ["x", "y"], "usd": [0.1, np.nan], "n": np.array([1, 2])}),
    "a": pd.DataFrame({"day": np.array(["2022-12-28"], dtype="datetime64[D]")}),
    "empty": pd.DataFrame({"id": pd.Series(dtype=object), "usd": pd.Series(dtype=float)}),
}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    write_template(folder)
    return folder


def recipe_of(pack: Path, history: Path | None = None, **options: Any) -> Recipe:
    return Recipe(hash_inputs(pack, history), 7, {"overrides": options}, "1.0")


def fake_run(
    pack: Path,
    out: Path,
    seed: int,
    history: Path | None,
    overrides: dict[str, Any],
    progress: Any,
) -> dict[str, Any]:
    """Stand in for the engine: tables that depend on the seed and the pack's bytes."""
    recipe = Recipe(hash_inputs(pack, history), seed, {"overrides": overrides}, "1.0")
    folder = RunFolder(out)
    folder.prepare(keep=pack)
    folder.take_inputs(pack, history, recipe)
    rows = (pack / "positions.csv").stat().st_size + overrides.get("shift", 0)
    with folder.recording(recipe):
        frame = pd.DataFrame({"u": np.random.default_rng(seed).random(5), "rows": rows})
        folder.finish(recipe, {"run_id": recipe.run_id()}, {"t": frame})
    return {"run_id": recipe.run_id()}


def test_json_has_no_nan_and_keeps_the_order() -> None:
    value = {"b": np.float64(1.5), "a": (np.nan, np.inf, None, np.int64(3)), "c": np.array([1.0])}
    assert json_ready(value) == {"b": 1.5, "a": [None, None, None, 3], "c": [1.0]}
    assert list(json.loads(json_text(value))) == ["b", "a", "c"]
    assert json_ready({"day": pd.Timestamp("2022-12-28").date()}) == {"day": "2022-12-28"}
    assert json_text({"name": "\u202e\u00e9"}).isascii()


def test_tables_have_the_same_bytes_every_time(tmp_path: Path) -> None:
    first = write_tables(tmp_path / "one", TABLES)
    again = write_tables(tmp_path / "two", dict(reversed(TABLES.items())))
    assert first == again
    assert set(first) == {f"{name}.{kind}" for name in TABLES for kind in ("csv", "parquet")}
    assert pq.read_schema(tmp_path / "one" / "b.parquet").metadata is None


def test_tables_read_back_to_the_last_bit(tmp_path: Path) -> None:
    values = np.array([0.1, 1 / 3, 1e-300, -2.5e17, np.pi])
    write_tables(tmp_path, {"t": pd.DataFrame({"v": values})})
    for frame in (pd.read_csv(tmp_path / "t.csv"), pd.read_parquet(tmp_path / "t.parquet")):
        assert np.array_equal(frame["v"].to_numpy(), values)


def test_run_id_depends_on_all_that_matters_and_nothing_else(pack: Path, tmp_path: Path) -> None:
    recipe = recipe_of(pack)
    assert recipe.run_id() == recipe_of(pack).run_id()
    assert len(recipe.run_id()) == 12
    others = [
        Recipe(recipe.inputs, 8, recipe.options, recipe.version),
        Recipe(recipe.inputs, 7, {"overrides": {"paths": 1}}, recipe.version),
        Recipe(recipe.inputs, 7, recipe.options, "1.1"),
    ]
    with (pack / "cash.csv").open("a") as stream:
        stream.write("\n")
    others.append(recipe_of(pack))
    assert len({recipe.run_id(), *(other.run_id() for other in others)}) == 5


def test_pack_files_are_those_of_fund_toml(pack: Path) -> None:
    (pack / "notes.txt").write_text("not part of the pack")
    names = pack_files(pack)
    assert names[0] == "fund.toml"
    assert {"positions.csv", "agreements.csv"} <= set(names)
    assert "notes.txt" not in names


@pytest.mark.parametrize("name", ["../secrets.csv", "/etc/passwd.csv"])
def test_a_file_outside_the_pack_is_refused(pack: Path, name: str) -> None:
    config = pack / "fund.toml"
    config.write_text(config.read_text().replace('"cash.csv"', f'"{name}"'))
    with pytest.raises(InputError, match="inside the folder"):
        pack_files(pack)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds other files"):
        RunFolder(tmp_path).prepare()
    with pytest.raises(UsageError, match="is a file"):
        RunFolder(tmp_path / "thesis.txt").prepare()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_pack_among_other_files_is_no_licence_to_clear_them(tmp_path: Path) -> None:
    write_template(tmp_path / "pack")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.csv").write_text("kept")
    for manifest in (None, "{}", "not json", "[]"):
        if manifest is not None:
            (tmp_path / "run.json").write_text(manifest)
        with pytest.raises(UsageError, match="holds other files"):
            RunFolder(tmp_path).prepare(keep=tmp_path / "pack")
    assert (tmp_path / "tables" / "mine.csv").read_text() == "kept"


def test_a_prepared_folder_is_no_finished_run_and_can_be_prepared_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.prepare()
    write_template(folder.path / "pack")
    with pytest.raises(InputError, match="stopped before it began"):
        read_manifest(folder.path)
    folder.prepare(keep=folder.path / "pack")
    assert (folder.path / "pack" / "fund.toml").is_file()
    folder.prepare()
    assert not (folder.path / "pack").exists()


def test_a_second_run_replaces_the_first(pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fake_run(pack, out, 7, None, {}, None)
    (out / "tables" / "stale.csv").write_text("old")
    fake_run(pack, out, 8, None, {}, None)
    assert not (out / "tables" / "stale.csv").exists()
    assert read_manifest(out)["seed"] == 8


def test_running_a_pack_where_it_lies_keeps_it(pack: Path, tmp_path: Path) -> None:
    fake_run(pack, tmp_path, 7, None, {}, None)
    assert (pack / "positions.csv").is_file()
    assert read_manifest(tmp_path)["status"] == "complete"


@pytest.mark.parametrize(
    ("error", "words"),
    [(KeyboardInterrupt(), "interrupted by the user"), (ValueError("no"), "ValueError: no")],
)
def test_an_unfinished_run_says_so(
    pack: Path, tmp_path: Path, error: BaseException, words: str
) -> None:
    folder, recipe = RunFolder(tmp_path / "out"), recipe_of(pack)
    folder.prepare()
    with pytest.raises(type(error)), folder.recording(recipe):
        running = json.loads((folder.path / "run.json").read_text())
        assert running["status"] == "incomplete"
        raise error
    with pytest.raises(InputError, match=words):
        read_manifest(folder.path)


def test_reproduce_finds_the_run_identical(pack: Path, tmp_path: Path) -> None:
    history = tmp_path / "levels.csv"
    history.write_text("date,SPX\n2022-12-28,1.0\n")
    out = tmp_path / "out"
    fake_run(pack, out, 7, history, {"shift": 1}, None)
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    result = reproduce(out, fake_run, lambda *_: None)
    assert result["identical"]
    assert result["files"] == 2
    assert result["run_id"] == result["repeated_run_id"]
    assert result["environment"] == {}
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*")) == before


def test_reproduce_names_the_files_that_differ(pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fake_run(pack, out, 7, None, {}, None)
    table = out / "tables" / "t.csv"
    table.write_text(table.read_text().replace("0.", "1.", 1))
    (out / "tables" / "t.parquet").unlink()
    result = reproduce(out, fake_run, lambda *_: None)
    assert not result["identical"]
    assert result["different"] == ["t.csv", "t.parquet"]


def test_reproduce_refuses_changed_or_missing_inputs(pack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fake_run(pack, out, 7, None, {}, None)
    with (out / "pack" / "cash.csv").open("a") as stream:
        stream.write("\n")
    with pytest.raises(InputError, match="changed since the run"):
        reproduce(out, fake_run, lambda *_: None)
    (out / "pack" / "cash.csv").unlink()
    with pytest.raises(InputError, match="is gone"):
        reproduce(out, fake_run, lambda *_: None)


def test_a_missing_history_is_named(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv"):
        hash_inputs(pack, tmp_path / "absent.csv")
