"""Replay of an episode with a fund pack, on its own history or the packaged one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.domain.failures import Failure, FailureReason
from workflows.funds import open_fund
from workflows.markets import with_own_history

if TYPE_CHECKING:
    from engine.fund.read import PackReading
    from engine.margin.validation.replay_result import ReplayConfig, ReplayResult


def replay_pack(
    pack: Path, history: Path | None, config: ReplayConfig
) -> tuple[str, ReplayResult, tuple[str, ...], tuple[Failure, ...]]:
    """Replay the positions of a pack; `history` takes the place of the pack's own.

    Returns
    -------
    name of the fund, result, synthetic factors it holds, failures of reading the pack

    Raises
    ------
    InputError
        If the pack or the history cannot be used as a whole.
    """
    from engine.margin.validation.replay import replay_margin
    from engine.market.levels import read_levels
    from engine.market.packaged import packaged_levels

    opened = open_fund(pack, history)
    reading = opened.reading
    path = history if history is not None else reading.history_path
    users = None if path is None else read_levels(path)
    factors = reading.factors if users is None else with_own_history(reading.factors, users)
    result = replay_margin(reading.book, factors, packaged_levels(), config, users)
    instruments = reading.book.instruments
    held = {*map(str, instruments.factor_id), *map(str, instruments.vol_factor_id)}
    synthetic = tuple(
        str(name) for name in factors.factor_id[factors.synthetic] if str(name) in held
    )
    return reading.book.name, result, synthetic, (*opened.failures, *_unused_crif(reading))


def _unused_crif(reading: PackReading) -> tuple[Failure, ...]:
    """Say that the user's sensitivities, which are of one day, are not replayed."""
    if reading.crif is None:
        return ()
    message = (
        "sensitivities of one date cannot be replayed: SIMM margin is of the positions, and "
        "agreements without any have none"
    )
    return (Failure(FailureReason.NOT_APPLICABLE, "crif", "fund.toml, files", message),)
