"""The paths that an explanation looks at, run again with everything kept.

Every path can be run by its number, so only the selected ones pay for the record.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.avalanche.columns import peak_daily_calls
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.detect import detect
from engine.avalanche.prepared import PreparedFund
from engine.avalanche.runs import SCORED, batch_size, without_impact
from engine.avalanche.sampling import daily_scores
from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.failures import InputError
from engine.domain.results import AvalancheResult
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model, Output

Selection = Literal["tail", "avalanche"]
# The same path has the same cents; this leaves room for the division by 100 only.
SAME = 1e-9


def sampled_model(
    fund: PreparedFund, config: AvalancheConfig, scenario: Scenario | None = None
) -> Model:
    """Build the model that a simulation of this config runs, its leading normals included."""
    return fund.model(config, scenario, scored_normals(config))


def scored_normals(config: AvalancheConfig) -> int:
    """Return how many normals low-discrepancy points drive under this config; 0: none."""
    return SCORED if batch_size(config) else 0


def path_scores(config: AvalancheConfig, path_ids: Int64Array) -> Float64Array | None:
    """Return the low-discrepancy scores of single paths, None where draws are independent."""
    size = batch_size(config)
    if size == 0:
        return None
    rows = config.horizon_days * (SCORED + 1)
    scores = np.empty((rows, len(path_ids)))
    for batch in np.unique(path_ids // size).tolist():
        points = daily_scores(
            config.horizon_days, SCORED, size, config.seed, batch, config.tail_degrees
        )
        mine = path_ids // size == batch
        scores[:, mine] = points[:, path_ids[mine] % size]
    return scores


def run_selected(
    model: Model,
    config: AvalancheConfig,
    path_ids: Int64Array,
    *,
    record: bool = False,
    threads: int | None = None,
) -> Output:
    """Run the paths of these numbers on the draws that a simulation of the config gives them."""
    from engine.kernels.avalanche.compiled import run_paths

    return run_paths(
        model,
        len(path_ids),
        config.seed,
        path_ids=path_ids,
        scores=path_scores(config, path_ids),
        record=record,
        threads=threads,
    )


def tail_paths(
    model: Model,
    config: AvalancheConfig,
    tail: float,
    result: AvalancheResult | None,
    threads: int | None,
) -> tuple[Int64Array, Float64Array]:
    """Return numbers of the paths with the largest peak daily call, and that call in USD.

    max(round(n (1 - tail)), 1) of n paths, largest first: the paths of expected shortfall. Equal
    calls are taken in the order of their numbers.

    Raises
    ------
    InputError
        If `tail` is not in [0, 1), or the result is of other paths.
    """
    if not 0.0 <= tail < 1.0:
        raise InputError(f"tail {tail}: give a probability of at least 0 and below 1, as 0.99")
    if result is None:
        peak = peak_daily_calls(run_selected(model, config, _all(config), threads=threads))
    else:
        _check_seed(config, result)
        peak = result.per_path["peak_daily_call_usd"]
    count = max(round(len(peak) * (1.0 - tail)), 1)
    order = np.argsort(-peak, kind="stable")[:count]
    return order.astype(np.int64), peak[order]


def avalanche_paths(
    model: Model,
    config: AvalancheConfig,
    most: int,
    result: AvalancheResult | None,
    threads: int | None,
) -> Int64Array:
    """Return numbers of at most `most` avalanche paths, drawn without repetition, ascending.

    Raises
    ------
    InputError
        If no path is an avalanche, or the result is of other paths.
    """
    if result is not None:
        _check_seed(config, result)
        found = np.flatnonzero(result.per_path["avalanche"] > 0.0)
    else:
        every = _all(config)
        on = run_selected(model, config, every, threads=threads)
        off = run_selected(without_impact(model), config, every, threads=threads)
        found = np.flatnonzero(detect(on, off).avalanche)
    if not len(found):
        raise InputError(
            f"none of the {config.paths} paths is an avalanche; take the worst paths instead "
            "(selection 'tail')"
        )
    if len(found) > most:
        rng = np.random.Generator(np.random.Philox(config.seed))
        found = np.sort(rng.choice(found, most, replace=False))
    return found.astype(np.int64)


def check_again(record: Output, peak_usd: Float64Array) -> None:
    """Refuse a record whose paths are not those of the result: other draws or another model."""
    again = peak_daily_calls(record)
    if not np.allclose(again, peak_usd, rtol=SAME, atol=0.01):
        worst = int(np.argmax(np.abs(again - peak_usd)))
        raise InputError(
            f"a path run again has a peak call of {again[worst]:,.2f} USD, the result says "
            f"{peak_usd[worst]:,.2f}: give the result of this fund, config and scenario, or none"
        )


def _all(config: AvalancheConfig) -> Int64Array:
    return np.arange(config.paths, dtype=np.int64)


def _check_seed(config: AvalancheConfig, result: AvalancheResult) -> None:
    if result.seed != config.seed or result.paths < config.paths:
        raise InputError(
            f"the result has {result.paths} paths of seed {result.seed}, the config "
            f"{config.paths} of seed {config.seed}: give a result of this config, or none"
        )
