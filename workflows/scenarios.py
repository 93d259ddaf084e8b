"""The scenario and the time budget a caller asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.domain.failures import InputError, UsageError

if TYPE_CHECKING:
    from engine.domain.market import MarketState
    from engine.domain.scenarios import Scenario


def chosen_scenario(
    choice: str | None, volatility: float | None, market: MarketState
) -> Scenario | None:
    """Return the scenario with this id, or the only one of this TOML file; None if none is asked.

    Raises
    ------
    UsageError
        If no scenario has the id, or a volatility is given beside a scenario.
    InputError
        If the file cannot be used, or does not hold exactly one scenario.
    """
    if choice is None:
        return None
    if volatility is not None:
        raise UsageError(
            f"--scenario {choice!r} and --volatility {volatility:g}: a scenario has its own "
            "volatility; give one of them"
        )
    if choice.endswith(".toml"):
        return _from_file(Path(choice), market)
    return _from_library(choice, market)


def _from_file(path: Path, market: MarketState) -> Scenario:
    from engine.stress.scenario_files.toml import read_scenarios

    found = read_scenarios(path, market)
    if found.failures:
        raise InputError("; ".join(failure.message for failure in found.failures))
    if len(found.value) != 1:
        names = [each.scenario_id for each in found.value]
        raise InputError(f"{path}: has {len(names)} scenarios {names}; a run takes a file with one")
    return found.value[0]


def _from_library(name: str, market: MarketState) -> Scenario:
    from engine.fund.suggest import did_you_mean
    from engine.stress.generator.generate import generate_stress_scenarios

    scenarios = {
        each.scenario_id: each for each in generate_stress_scenarios(None, market).scenarios
    }
    if name not in scenarios:
        near = did_you_mean(name, tuple(scenarios))
        hint = f"did you mean {near!r}?" if near else "`mca scenarios` lists them"
        raise UsageError(f"--scenario {name!r} is not known; {hint}")
    return scenarios[name]


def time_budget(minutes: float | None, precision: float | None) -> Callable[[], bool]:
    """Return a function that says whether the time is up.

    Raises
    ------
    UsageError
        If a time is given without a precision: a run without one ends by its number of paths.
    """
    if minutes is None:
        return lambda: False
    if precision is None:
        raise UsageError(f"--minutes {minutes:g} needs --precision: say how precise is enough")
    end = time.monotonic() + 60.0 * minutes
    return lambda: time.monotonic() >= end
