"""The run folder: inputs, tables, summary and report of one run, and proof that it repeats.

```
OUT/run.json       status, run id, seed, options, versions, hashes of inputs and of tables
OUT/pack/          the fund pack the run was made from
OUT/history/       the user's own history, if one was given
OUT/tables/        every table, as CSV and as Parquet
OUT/summary.json   what `--json` prints
OUT/report.html    the page to read
```

The run id is a hash of inputs, seed, options and version. No clock enters, so the same inputs give
the same id and the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from engine.domain.failures import InputError, UsageError
from engine.domain.provenance import file_sha256

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "run.json"
SUMMARY = "summary.json"
REPORT = "report.html"
WORKBOOK = "run.xlsx"
TABLES = "tables"
PACK = "pack"
HISTORY = "history"
FUND_FILE = "fund.toml"
NUMERIC_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "numba")

Runner = Callable[..., dict[str, Any]]


def json_ready(value: Any) -> Any:
    """Return `value` with what JSON lacks replaced: NaN and infinities become null.

    `json_ready({"a": float("nan"), "b": (1, 2)}) == {"a": None, "b": [1, 2]}`.
    """
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [json_ready(item) for item in items]
    if hasattr(value, "tolist"):
        return json_ready(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    return value


def json_text(value: Any, indent: int | None = 2) -> str:
    """Return `value` as JSON text in plain ASCII; the order of keys is kept."""
    return json.dumps(json_ready(value), indent=indent, allow_nan=False)


def environment() -> dict[str, str]:
    """Return the versions on which the last bits of a float may depend."""
    found = {name: package_version(name) for name in NUMERIC_PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **found}


@dataclass(frozen=True)
class Recipe:
    """All that a run depends on. `inputs` maps a path inside the run folder to its SHA-256."""

    inputs: dict[str, str]
    seed: int
    options: dict[str, Any]
    version: str

    def run_id(self) -> str:
        """Return 12 hex digits of the hash of everything in the recipe."""
        text = json.dumps(json_ready(self.__dict__), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def pack_files(pack: Path) -> list[str]:
    """Return the names of the pack's files that exist, `fund.toml` first.

    `engine.fund.config` refuses names that lead out of the folder, with an InputError.
    """
    from engine.fund.config import read_config

    named = read_config(pack).files.given().values()
    return list(dict.fromkeys([FUND_FILE, *(name for name in named if (pack / name).is_file())]))


def hash_inputs(pack: Path, history: Path | None) -> dict[str, str]:
    """Return the SHA-256 of every input, by its path inside the run folder."""
    hashes = {f"{PACK}/{name}": file_sha256(pack / name) for name in pack_files(pack)}
    if history is not None:
        if not history.is_file():
            raise InputError(f"{history}: not found; --history takes a wide CSV or Parquet file")
        hashes[f"{HISTORY}/{history.name}"] = file_sha256(history)
    return hashes


def _replace_text(path: Path, text: str) -> None:
    # A reader sees the old file or the new one, never half of it.
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)


class RunFolder:
    """One folder on disk; `prepare` makes it safe to write into."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self, keep: Path | None = None) -> None:
        """Create the folder, or empty an earlier run of its results.

        `keep` is the pack being run: if it lies in this folder it stays. A folder that holds
        anything but a run is refused, so that no user's file is lost.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"--out {self.path}: is a file; name a folder")
        kept = {PACK} if keep and keep.resolve() == (self.path / PACK).resolve() else set()
        others = {path.name for path in self.path.glob("*")} - kept
        if others and not self._is_run():
            raise UsageError(
                f"--out {self.path}: holds other files ({min(others)}); name a new folder or an "
                "earlier run"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # First of all: whatever happens next, the folder says that it is no finished run.
            unfinished = {"status": "incomplete", "reason": "stopped before it began"}
            _replace_text(self.path / MANIFEST, json_text(unfinished) + "\n")
        except OSError as error:
            raise UsageError(f"--out {self.path}: cannot be written: {error.strerror}") from error
        for name in {TABLES, HISTORY, PACK} - kept:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (SUMMARY, REPORT, WORKBOOK):
            (self.path / name).unlink(missing_ok=True)

    def _is_run(self) -> bool:
        try:
            manifest = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(manifest, dict) and manifest.get("status") in ("complete", "incomplete")

    def take_inputs(self, pack: Path, history: Path | None, recipe: Recipe) -> None:
        """Copy pack and history in, and check that the copies are what was hashed."""
        sources = {f"{PACK}/{name}": pack / name for name in pack_files(pack)}
        if history is not None:
            sources[f"{HISTORY}/{history.name}"] = history
        for name, source in sources.items():
            target = self.path / name
            if source.resolve() != target.resolve():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            if file_sha256(target) != recipe.inputs[name]:
                raise InputError(f"{source}: changed while it was read; run again")

    def write_manifest(self, recipe: Recipe, status: str, **more: Any) -> None:
        """Write `run.json`."""
        content = {
            "run_id": recipe.run_id(),
            "status": status,
            "version": recipe.version,
            "seed": recipe.seed,
            "options": recipe.options,
            "inputs": recipe.inputs,
            "environment": environment(),
            **more,
        }
        _replace_text(self.path / MANIFEST, json_text(content) + "\n")

    @contextmanager
    def recording(self, recipe: Recipe) -> Iterator[None]:
        """Mark the folder incomplete while the body runs, and say why if it does not finish."""
        self.write_manifest(recipe, "incomplete", reason="running, or killed while it ran")
        try:
            yield
        except KeyboardInterrupt:
            self.write_manifest(recipe, "incomplete", reason="interrupted by the user")
            raise
        except Exception as error:
            self.write_manifest(recipe, "incomplete", reason=f"{type(error).__name__}: {error}")
            raise

    def finish(
        self, recipe: Recipe, summary: dict[str, Any], tables: Mapping[str, pd.DataFrame]
    ) -> None:
        """Write tables, summary and the final manifest."""
        hashes = write_tables(self.path / TABLES, tables)
        _replace_text(self.path / SUMMARY, json_text(summary) + "\n")
        self.write_manifest(recipe, "complete", tables=hashes)


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Write every table as CSV and Parquet; return the SHA-256 of each file by name.

    The bytes depend on the values alone: no index, no timestamps, no pandas metadata; floats in
    CSV are the shortest text that reads back to the same value.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    hashes: dict[str, str] = {}
    for name, frame in sorted(tables.items()):
        csv, parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
        frame.to_csv(csv, index=False, lineterminator="\n")
        bare = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(bare, parquet, compression="zstd")
        hashes[csv.name] = file_sha256(csv)
        hashes[parquet.name] = file_sha256(parquet)
    return hashes


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """Return `run.json` of a finished run.

    Raises
    ------
    InputError
        If the folder is no run folder, or the run did not finish.
    """
    path = run_dir / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {run_dir} is not a run folder") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("tables", {}), dict):
        raise InputError(f"{path}: is not the manifest of a run; run it again")
    if manifest.get("status") != "complete":
        reason = manifest.get("reason", "unknown")
        raise InputError(f"{run_dir}: the run is incomplete ({reason}); run it again")
    return manifest


def read_run(run_dir: Path) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Return the summary and the tables of a finished run, checked against its hashes.

    Raises
    ------
    InputError
        If the folder is no finished run, or one of its files is gone or was changed.
    """
    import pandas as pd

    recorded = read_manifest(run_dir).get("tables", {})
    tables: dict[str, pd.DataFrame] = {}
    for file in sorted(name for name in recorded if name.endswith(".parquet")):
        path = run_dir / TABLES / file
        if not path.is_file() or file_sha256(path) != recorded[file]:
            raise InputError(f"{path}: gone or changed since the run; run it again")
        tables[path.stem] = pd.read_parquet(path)
    try:
        summary = json.loads((run_dir / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{run_dir / SUMMARY}: cannot be read: {error}") from error
    if not isinstance(summary, dict):
        raise InputError(f"{run_dir / SUMMARY}: is not the summary of a run; run it again")
    return summary, tables


def _check_inputs(run_dir: Path, inputs: dict[str, str]) -> None:
    for name, recorded in inputs.items():
        path = run_dir / name
        if not path.is_file():
            raise InputError(f"{path}: the recorded input is gone; the run cannot be reproduced")
        if file_sha256(path) != recorded:
            raise InputError(f"{path}: changed since the run; the run cannot be reproduced")


def reproduce(run_dir: Path, runner: Runner, progress: Callable[..., None]) -> dict[str, Any]:
    """Run again from the recorded inputs and compare every table byte for byte.

    Parameters
    ----------
    run_dir : Path
        A finished run folder. It is not changed.
    runner : callable
        `workflows.service.run_fund`.
    progress : callable
        Passed to the runner.

    Returns
    -------
    dict
        `identical`, the number of `files` compared, the `different` ones, and `environment`: the
        versions that differ between then and now, as [then, now].
    """
    manifest = read_manifest(run_dir)
    _check_inputs(run_dir, manifest["inputs"])
    options = manifest["options"]
    history = [run_dir / name for name in manifest["inputs"] if name.startswith(f"{HISTORY}/")]
    with tempfile.TemporaryDirectory(prefix="mca-reproduce-") as scratch:
        again = Path(scratch) / "run"
        summary = runner(
            run_dir / PACK,
            again,
            seed=manifest["seed"],
            history=history[0] if history else None,
            overrides=options["overrides"],
            progress=progress,
        )
        repeated = read_manifest(again)
        recorded = manifest["tables"]
        different = [
            name
            for name in sorted({*recorded, *repeated["tables"]})
            if not _same_bytes(run_dir / TABLES / name, again / TABLES / name)
        ]
    then, now = manifest["environment"], environment()
    changed = {key: [then.get(key), now[key]] for key in now if then.get(key) != now[key]}
    if manifest["version"] != repeated["version"]:
        changed["margin-avalanche"] = [manifest["version"], repeated["version"]]
    return {
        "run_id": manifest["run_id"],
        "repeated_run_id": summary["run_id"],
        "identical": not different,
        "files": len(recorded),
        "different": different,
        "environment": changed,
    }


def _same_bytes(first: Path, second: Path) -> bool:
    if not (first.is_file() and second.is_file()):
        return False
    return first.read_bytes() == second.read_bytes()
