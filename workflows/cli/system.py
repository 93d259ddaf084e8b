"""`mca doctor`: what this machine has and lacks."""

from __future__ import annotations

import typer

from workflows.cli import exits
from workflows.cli.options import Json, Out, Seed
from workflows.cli.output import emit, save


def doctor(as_json: Json = False, out: Out = None, seed: Seed = None) -> None:
    """Check what this machine has and lacks.

    Exits with 5 if something required is missing. The seed has no effect here.
    """
    from workflows.doctor import examine

    found = examine()
    rows = [(c["name"], c["status"], c["detail"]) for c in found["checks"]]
    width = max(len(name) for name, _, _ in rows)
    lines = [f"mca {found['version']} on {found['platform']}"]
    lines += [f"{name:<{width}}  {status:<6}  {detail}" for name, status, detail in rows]
    emit(found, lines, as_json)
    save(out, "doctor", found)
    if not found["ok"]:
        raise typer.Exit(exits.DEPENDENCY_MISSING)
