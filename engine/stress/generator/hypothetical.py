"""Hypothetical scenarios: the directions of the rulebook, sized by a stated plausibility."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import engine.rulebooks
from engine.domain.failures import InputError
from engine.domain.market import ASSET_CLASSES, MarketState
from engine.domain.scenarios import MOST_SCENARIO_DAYS, Multiple, Scenario, Severity, Sign
from engine.stress.library.fit import above_zero
from engine.stress.library.joint_moves import JointMoves, implied_crosses

HYPOTHETICAL_FILE = Path(engine.rulebooks.__file__).with_name("stress_hypothetical.toml")
Depth = Annotated[float, Field(gt=0.0, le=1.0)]
Weight = Annotated[float, Field(gt=0.0, le=1.0)]


class Hypothetical(BaseModel):
    """One direction of the rulebook; fields by severity are those of `Scenario`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    hypothetical_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=60)]
    kind: Literal["hypothetical", "correlation", "concentration"] = "hypothetical"
    name: str
    days: Annotated[int, Field(ge=1, le=MOST_SCENARIO_DAYS)]
    shape: dict[str, float] = {}
    breakdown_weight: dict[Severity, Weight] = {}
    breakdown_signs: dict[str, Sign] = {}
    depth_multiplier: dict[Severity, Depth] = {}
    haircut_multiplier: dict[Severity, Multiple] = {}
    concentration_multiplier: dict[Severity, Multiple] = {}
    extra_calls_per_day: Annotated[int, Field(ge=0, le=7)] = 0
    source: Annotated[str, Field(min_length=1)]


@lru_cache(maxsize=4)
def hypotheticals(path: Path = HYPOTHETICAL_FILE) -> tuple[Hypothetical, ...]:
    """Return the directions of the rulebook in its order.

    Raises
    ------
    InputError
        With file, entry and field, when one cannot be read.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        found = tuple(Hypothetical(**row) for row in document["scenario"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, ValidationError) as error:
        raise InputError(f"{path.name}: {error}; restore the file") from error
    names = [one.hypothetical_id for one in found]
    if len(set(names)) < len(names):
        raise InputError(f"{path.name}: an id is used twice; keep one")
    return found


def hypothetical_scenario(
    direction: Hypothetical,
    severity: Severity,
    distance: float,
    volatility_multiplier: float,
    market: MarketState,
    joint: JointMoves,
    complete_factors: bool = True,
) -> tuple[Scenario, dict[str, float]]:
    """Size a direction so that its Mahalanobis distance is `distance`.

    x_k = c w_k sigma_k sqrt(days) with c = distance / sqrt(w' R^-1 w): w the shape, sigma long-run
    volatility, R correlation of the factors named. The others take their conditional mean, which
    leaves the distance as it is. A direction fixed in advance is one dimension, however many
    factors it names: `distance` is a number of standard deviations along it.

    Returns
    -------
    Scenario
        Marked indicative.
    dict of str to float
        The moves of the factors named by the shape.

    Raises
    ------
    InputError
        If the market has none of the factors of the shape.

    Notes
    -----
    Worked number: one factor with a daily volatility of 1.2 %, four days and a distance of 3 moves
    by 3 * 1.2 % * 2 = 7.2 %.
    """
    weights = _by_factor(direction.shape, market)
    if direction.shape and not weights:
        raise InputError(
            f"the market has none of its factors ({', '.join(direction.shape)}); add one of them"
        )
    root = math.sqrt(direction.days)
    unit = {n: w * float(joint.volatility[joint.column[n]]) * root for n, w in weights.items()}
    length = joint.distance(unit, direction.days)
    size = distance / length if length > 0.0 else 0.0
    named = {name: size * move for name, move in unit.items()}
    moves = dict(named)
    if complete_factors and named:
        implied = implied_crosses(named, market.factors)
        rest = {
            n: above_zero(n, x, market, joint) for n, x in joint.conditional_mean(named).items()
        }
        moves = {**rest, **implied, **named}
    given: dict[str, Any] = {
        field: getattr(direction, field)[severity]
        for field in (
            "breakdown_weight",
            "depth_multiplier",
            "haircut_multiplier",
            "concentration_multiplier",
        )
        if severity in getattr(direction, field)
    }
    signs = {n: s for n, s in direction.breakdown_signs.items() if _is_known(n, joint)}
    scenario = Scenario(
        scenario_id=f"{direction.hypothetical_id}_{severity}",
        name=direction.name,
        kind=direction.kind,
        description=f"{distance:.2f} standard deviations along its direction" if named else "",
        moves={name: moves[name] for name in joint.column if name in moves},
        day_shares=(1.0 / direction.days,) * direction.days,
        volatility_multiplier=volatility_multiplier,
        breakdown_signs=signs,
        starts_in_stress=bool(direction.breakdown_weight),
        extra_calls_per_day=direction.extra_calls_per_day,
        severity=severity,
        mark="indicative",
        sources=(direction.source,),
        **given,
    )
    return scenario, named


def _by_factor(shape: Mapping[str, float], market: MarketState) -> dict[str, float]:
    """Weight of each factor; that of the factor itself, then its bucket's, then its class's."""
    factors = market.factors
    found = {}
    for name, bucket, asset_class in zip(
        factors.factor_id, factors.bucket, factors.asset_class, strict=True
    ):
        key = next((k for k in (name, bucket, asset_class) if k in shape), None)
        if key is not None:
            found[str(name)] = float(shape[str(key)])
    return found


def _is_known(name: str, joint: JointMoves) -> bool:
    return name in ASSET_CLASSES or name in joint.column
