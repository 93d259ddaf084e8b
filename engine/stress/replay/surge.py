"""How much more a scenario calls in its first days than the same fund on ordinary days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund
from engine.domain.arrays import Float64Array, StrArray
from engine.domain.failures import InputError
from engine.domain.market import MarketState
from engine.domain.money import CENTS_PER_UNIT
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import HOURS_PER_DAY, WINDOW_HOURS, Model, Output
from engine.stress.library.episodes import episodes
from engine.stress.library.fit import LibraryConfig, episode_scenario

ENERGY_EPISODE = "europe_energy_2022"
QMS_DAYS = 3
WINDOWS_PER_DAY = HOURS_PER_DAY // WINDOW_HOURS


@dataclass(frozen=True)
class CallSurge:
    """Calls of the first days under a scenario, beyond those without it. USD.

    Attributes
    ----------
    mean_path_usd : float
        On the scenario's mean path alone, beyond the calls of a market that does not move.
    mean_usd, q95_usd : float
        With random moves around it, mean and 95 % of paths, beyond the mean of the same random
        moves without the scenario.
    ordinary_mean_usd : float
        Mean calls of the same days without the scenario.
    im_rise_usd : float
        Rise of initial margin on the mean path at the end of the days.
    agreements : pd.DataFrame
        `agreement_id`, `kind`, `surge_usd` on the mean path, largest first.
    factors : pd.DataFrame
        `factor_id`, `move`, `loss_usd`: minus net delta times the move of these days, largest loss
        first; `share_of_gross`, of all absolute amounts. Hedges under other agreements are
        receipts, which do not lower calls.
    """

    scenario_id: str
    days: int
    severity: float
    mean_path_usd: float
    mean_usd: float
    q95_usd: float
    ordinary_mean_usd: float
    im_rise_usd: float
    agreements: pd.DataFrame
    factors: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the five largest drivers of each kind."""
        return {
            "scenario_id": self.scenario_id,
            "days": self.days,
            "severity": self.severity,
            "mean_path_usd": self.mean_path_usd,
            "mean_usd": self.mean_usd,
            "q95_usd": self.q95_usd,
            "ordinary_mean_usd": self.ordinary_mean_usd,
            "im_rise_usd": self.im_rise_usd,
            "agreements": self.agreements.head(5).to_dict("records"),
            "factors": self.factors.head(5).to_dict("records"),
        }


def qms_scenario(market: MarketState, whole: bool = False) -> Scenario:
    """Return the European energy shock of 2022 on a market, in three days.

    `whole` puts the entire move of June to August into them; otherwise moves are scaled by the root
    of time, so that the distance from normal is that of the summer. Other factors take their
    conditional mean (`engine.stress.library.fit`).

    Worked number: TTF from 80 to 340 in 62 weekdays is 260 * sqrt(3 / 62) = 57.19 EUR/MWh at a
    level of 80.
    """
    episode = next(each for each in episodes() if each.episode_id == ENERGY_EPISODE)
    config = LibraryConfig(horizon_days=QMS_DAYS, long_windows="full" if whole else "scaled")
    fitted = episode_scenario(episode, market, config)
    suffix = "_whole" if whole else ""
    return fitted.model_copy(update={"scenario_id": f"qms_energy_2022{suffix}"})


def call_surge(
    fund: PreparedFund,
    scenario: Scenario,
    config: AvalancheConfig,
    days: int = 3,
    severity: float = 1.0,
) -> CallSurge:
    """Measure the surge of calls in the first `days` of a scenario, its moves times `severity`.

    Parameters
    ----------
    fund : PreparedFund
    scenario : Scenario
    config : AvalancheConfig
        Its paths and assumptions; the comparison run has a volatility multiplier of 1.
    days : int
        At most `config.horizon_days`.
    severity : float

    Returns
    -------
    CallSurge

    Notes
    -----
    Both runs have the same random numbers. Calls are gross: what other agreements pay back does
    not count against them. Worked number: 9 windows of 8 hours are three days.
    """
    if not 1 <= days <= config.horizon_days:
        raise InputError(f"days {days}: the run has {config.horizon_days}; choose from 1 to that")
    moved = scenario.model_copy(
        update={"moves": {name: severity * move for name, move in scenario.moves.items()}}
    )
    quiet = config.model_copy(update={"volatility_multiplier": 1.0})
    path, still = (
        _run(fund.model(each.model_copy(update={"noise": False}), case), 1, config.seed, True)
        for each, case in ((config, moved), (quiet, None))
    )
    with_it = _first_days(_run(fund.model(config, moved), config.paths, config.seed), days)
    without = _first_days(_run(fund.model(quiet, None), config.paths, config.seed), days)
    last = days * WINDOWS_PER_DAY
    by_agreement = (path.window_calls - still.window_calls)[:last, :, 0].sum(axis=0)
    rise = float(path.window_im[last - 1].sum() - fund.model(quiet, None).im_today.sum())
    ordinary = float(without.mean())
    return CallSurge(
        scenario_id=scenario.scenario_id,
        days=days,
        severity=severity,
        mean_path_usd=float(by_agreement.sum()) / CENTS_PER_UNIT,
        mean_usd=float(with_it.mean()) - ordinary,
        q95_usd=float(np.quantile(with_it, 0.95)) - ordinary,
        ordinary_mean_usd=ordinary,
        im_rise_usd=rise / CENTS_PER_UNIT,
        agreements=_agreements(fund, by_agreement / CENTS_PER_UNIT),
        factors=_factors(fund, moved, days),
    )


def _run(model: Model, paths: int, seed: int, record: bool = False) -> Output:
    from engine.kernels.avalanche.compiled import run_paths

    return run_paths(model, paths, seed, record=record)


def _first_days(output: Output, days: int) -> Float64Array:
    calls: Float64Array = output.windows[: days * WINDOWS_PER_DAY].sum(axis=0)
    return calls / CENTS_PER_UNIT


def _agreements(fund: PreparedFund, surge: Float64Array) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "agreement_id": [str(name) for name in fund.margin.agreement_id],
            "kind": [str(kind) for kind in fund.margin.kind],
            "surge_usd": surge,
        }
    )
    return frame.sort_values("surge_usd", ascending=False, ignore_index=True, kind="stable")


def _factors(fund: PreparedFund, scenario: Scenario, days: int) -> pd.DataFrame:
    columns = fund.inputs.columns
    names: StrArray = fund.market.factors.factor_id[columns]
    part = sum(scenario.day_shares[:days])
    moves = part * np.array([scenario.moves.get(str(name), 0.0) for name in names])
    loss = -fund.exposures.delta[:, columns].sum(axis=0) * moves
    gross = float(np.abs(loss).sum())
    frame = pd.DataFrame(
        {
            "factor_id": [str(name) for name in names],
            "move": moves,
            "loss_usd": loss,
            "share_of_gross": np.abs(loss) / gross if gross > 0.0 else np.zeros(len(loss)),
        }
    )
    return frame.sort_values("loss_usd", ascending=False, ignore_index=True, kind="stable")
