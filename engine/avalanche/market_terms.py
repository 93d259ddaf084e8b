"""Factors as the kernel reads them: moves, volatility, regimes, jumps, the scenario's own path."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from engine.avalanche.config import AvalancheConfig
from engine.avalanche.hours import hour_weights, zone_of, zone_weights
from engine.avalanche.leading import leading_factor
from engine.avalanche.market_inputs import MarketInputs
from engine.avalanche.sparse import index_array, pack_rows
from engine.domain.arrays import Float64Array, Int64Array, StrArray
from engine.domain.failures import InputError
from engine.domain.market import ASSET_CLASSES, MarketState
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import HOURS_PER_DAY

# A normal is never below this: the event never happens.
NEVER = -1e9


def market_part(
    inputs: MarketInputs,
    market: MarketState,
    bucket_of: Int64Array,
    config: AvalancheConfig,
    scenario: Scenario | None,
    scored: int = 0,
    exposure: Float64Array | None = None,
) -> dict[str, object]:
    """Arrays of the factors.

    `scored` leading normals are the directions that explain most of the agreements' P&L;
    `exposure` (R, K) is that P&L for one standard deviation of each factor.
    """
    classes = market.factors.asset_class[inputs.columns]
    names = market.factors.factor_id[inputs.columns]
    present = [name for name in ASSET_CLASSES if name in set(classes)]
    signs = directions(names, classes, config, scenario)
    calm = np.sqrt(1.0 - config.jump_variance() * signs**2) if config.noise else np.ones(len(names))
    sigma = inputs.daily_volatility * calm
    unit = leading_factor(inputs.correlation, scored, exposure)
    ptr, row, coef = pack_rows(list(unit * sigma[:, None]))
    _, lead_row, lead_coef = pack_rows([unit[0]])
    group = np.array([present.index(name) for name in classes])
    parts: dict[str, object] = {
        "chol_ptr": ptr,
        "chol_row": row,
        "chol_coef": coef,
        "lead_row": lead_row,
        "lead_coef": lead_coef,
        "group": index_array(group),
        "bucket": index_array(bucket_of),
        "gamma_range": config.convexity_range_sigmas * inputs.daily_volatility,
        "shock": mean_path(names, market, inputs, config, scenario),
        "bridge": np.sqrt(hour_weights(config)),
    }
    parts.update(_volatility_part(present, group, classes, market, inputs, config, scenario))
    parts.update(_breakdown_part(signs, sigma, inputs.daily_volatility, config, scenario))
    return parts


def directions(
    names: StrArray, classes: StrArray, config: AvalancheConfig, scenario: Scenario | None
) -> Float64Array:
    """Direction u of each factor in the breakdown, in [-1, 1]: its own sign, else its class's."""
    given = config.breakdown_signs
    if scenario is not None and scenario.breakdown_signs:
        given = scenario.breakdown_signs
    return np.array(
        [
            given.get(str(name), given.get(str(kind), 0.0))
            for name, kind in zip(names, classes, strict=True)
        ]
    )


def mean_path(
    names: StrArray,
    market: MarketState,
    inputs: MarketInputs,
    config: AvalancheConfig,
    scenario: Scenario | None,
) -> Float64Array:
    """Mean moves of the scenario, shape (1, T, K); a day's move follows its zone's hours.

    Raises
    ------
    InputError
        If the scenario names a factor that the market does not have. A factor the fund does not
        hold is no error: it moves nothing.
    """
    hours = config.horizon_days * HOURS_PER_DAY
    path = np.zeros((1, hours, len(names)))
    if scenario is None:
        return path
    if scenario.days > config.horizon_days:
        raise InputError(
            f"scenario {scenario.scenario_id!r} takes {scenario.days} days, the run only "
            f"horizon_days = {config.horizon_days}: give it {scenario.days} or more"
        )
    known = set(map(str, market.factors.factor_id))
    unknown = sorted(set(scenario.moves) - known)
    if unknown:
        raise InputError(
            f"scenario {scenario.scenario_id!r}: moves name {unknown}, which are not factors of "
            "the market; `mca schema` lists the factors"
        )
    currencies = market.factors.currency[inputs.columns]
    for k, name in enumerate(names):
        total = scenario.moves.get(str(name), 0.0)
        weights = zone_weights(zone_of(str(currencies[k])), config)
        for day, share in enumerate(scenario.day_shares):
            path[0, day * HOURS_PER_DAY : (day + 1) * HOURS_PER_DAY, k] = total * share * weights
    return path


def _volatility_part(
    present: list[str],
    group: Int64Array,
    classes: StrArray,
    market: MarketState,
    inputs: MarketInputs,
    config: AvalancheConfig,
    scenario: Scenario | None,
) -> dict[str, object]:
    hours = config.horizon_days * HOURS_PER_DAY
    noise = config.volatility_of_volatility if config.noise else 0.0
    keep = 1.0 - config.mean_reversion_per_hour
    load = np.array([config.leverage[name] for name in present])
    # Taking out the variance of log volatility keeps E[volatility^2] at the scenario's level. An
    # hour's moves use the volatility before it, so the first has none.
    powers = keep ** (2 * np.arange(hours))
    log_variance = noise**2 * (np.cumsum(powers) - powers)
    zones = [zone_of(str(c)) for c in market.factors.currency[inputs.columns]]
    clocks = sorted({(str(kind), zone) for kind, zone in zip(classes, zones, strict=True)})
    place = {clock: i for i, clock in enumerate(clocks)}
    columns, steps = [], []
    for kind, zone in clocks:
        weight = np.tile(zone_weights(zone, config), config.horizon_days)
        step = stress_path(config, scenario, kind)
        columns.append(np.sqrt(weight) * step * np.exp(-log_variance))
        steps.append(step)
    volatility = np.stack(columns, axis=1)
    clock = [place[(str(kind), zone)] for kind, zone in zip(classes, zones, strict=True)]
    return {
        "clock": index_array(clock),
        "volatility": volatility if config.noise else np.zeros_like(volatility),
        "stress": stress_path(config, scenario),
        "jump_scale": np.stack(steps, axis=1),
        "keep": np.full(len(present), keep),
        "lead_load": noise * load,
        "own_load": noise * np.sqrt(1.0 - load**2),
    }


def stress_path(
    config: AvalancheConfig, scenario: Scenario | None, asset_class: str | None = None
) -> Float64Array:
    """Volatility multiple of every hour, shape (T,): a step that fades with its half-life.

    The scenario's step takes the place of the run's; `asset_class` may have its own.
    """
    hours = config.horizon_days * HOURS_PER_DAY
    step, half_life = config.volatility_multiplier, config.volatility_half_life_days
    if scenario is not None:
        step, half_life = scenario.volatility_multiplier, scenario.volatility_half_life_days
        step = scenario.volatility_by_class.get(asset_class or "", step)
    day = np.arange(1, hours + 1) / HOURS_PER_DAY
    return np.asarray(1.0 + (step - 1.0) * 0.5 ** (day / half_life))


def _breakdown_part(
    signs: Float64Array,
    sigma: Float64Array,
    daily_volatility: Float64Array,
    config: AvalancheConfig,
    scenario: Scenario | None,
) -> dict[str, object]:
    """Weights of the common move in the stress regime, and jumps along the same direction.

    With w the weight and u the direction, x = sqrt(1 - w u^2) x_calm + sqrt(w) u y keeps every
    factor's variance, and R1 = D R0 D + w u u' stays positive definite for |u| < 1.
    """
    weight = config.breakdown_weight
    if scenario is not None and scenario.breakdown_signs:
        weight = scenario.breakdown_weight
    per_hour = config.jumps_per_day / HOURS_PER_DAY if config.noise else 0.0
    moving = config.noise and weight > 0.0
    enter = config.regime_enter_per_hour if moving else 0.0
    leave = config.regime_leave_per_hour if config.noise else 0.0
    return {
        "regime": np.array([_level(enter), _level(leave)]),
        "drop": 1.0 - np.sqrt(1.0 - weight * signs**2),
        "turn": np.sqrt(weight) * signs * sigma,
        "jump": signs * daily_volatility,
        "jump_terms": np.array([_level(per_hour), config.jump_mean_sigmas, config.jump_sigmas]),
    }


def stress_correlation(
    correlation: Float64Array, signs: Float64Array, weight: float
) -> Float64Array:
    """Return the correlation of the stress regime: D R0 D + w u u', D = sqrt(1 - w u^2).

    For u = +1 or -1 throughout it is the convex mix (1 - w) R0 + w u u'. Worked number: two
    factors with correlation 0, u = (1, -1), w = 0.5 have correlation -0.5.
    """
    keep = np.sqrt(1.0 - weight * signs**2)
    mixed: Float64Array = keep[:, None] * correlation * keep[None, :]
    return mixed + weight * np.outer(signs, signs)


def _level(probability: float) -> float:
    """Return the level below which a normal lies with this probability."""
    if probability <= 0.0:
        return NEVER
    return float(ndtri(probability))
