"""Parameters of one version and horizon, read from the rulebooks and cached."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array, freeze
from engine.domain.failures import InputError
from engine.margin.simm import vocabulary as words

HORIZONS = (10, 1)
HIGH_VOLATILITY, REGULAR = 0, 1
_LEVELS = ("high_volatility", "regular")
_BUCKETS = {
    "credit_qualifying": words.CREDIT_QUALIFYING_BUCKETS,
    "credit_non_qualifying": words.CREDIT_NON_QUALIFYING_BUCKETS,
    "equity": words.EQUITY_BUCKETS,
    "commodity": words.COMMODITY_BUCKETS,
}


@dataclass(frozen=True)
class InterestRateParameters:
    """Rates; arrays over currencies have shape (n_currencies,) in the order of the vocabulary.

    `delta_weight` (n_currencies, 12) is in basis points; thresholds are in USD.
    """

    delta_weight: Float64Array
    inflation_weight: float
    basis_weight: float
    vega_weight: float
    volatility_ratio: float
    tenor_correlation: Float64Array
    sub_curve_correlation: float
    inflation_correlation: float
    basis_correlation: float
    currency_correlation: float
    delta_threshold: Float64Array
    vega_threshold: Float64Array


@dataclass(frozen=True)
class BucketParameters:
    """A class with buckets; arrays over buckets have shape (n_buckets,), residual last if any.

    `same` and `different` are correlations within a bucket for two sensitivities of the same
    family (issuer, or underlying group) and of different ones; `between` is (n, n) over the
    ordinary buckets with a zero diagonal.
    """

    buckets: tuple[str, ...]
    delta_weight: Float64Array
    vega_weight: Float64Array
    volatility_ratio: float
    same: Float64Array
    different: Float64Array
    between: Float64Array
    delta_threshold: Float64Array
    vega_threshold: Float64Array

    @property
    def ordinary(self) -> int:
        """Return the number of buckets without the residual one."""
        return len(self.between)


@dataclass(frozen=True)
class FxParameters:
    """FX; `level` and `category` (n_currencies,) give each currency's volatility group and tier.

    `delta_weight[a, b]` is in per cent for a rate between groups a and b; `correlation[c, a, b]`
    applies to currencies of groups a and b when the calculation currency is in group c.
    `vega_threshold[a, b]` is by tiers of the two currencies of the pair.
    """

    level: Int64Array
    category: Int64Array
    delta_weight: Float64Array
    vega_weight: float
    volatility_ratio: float
    correlation: Float64Array
    vega_correlation: float
    delta_threshold: Float64Array
    vega_threshold: Float64Array


@dataclass(frozen=True)
class SimmParameters:
    """All parameters of one version at one horizon."""

    version: str
    horizon_days: int
    effective_date: str
    source: str
    interest_rate: InterestRateParameters
    credit_qualifying: BucketParameters
    credit_non_qualifying: BucketParameters
    equity: BucketParameters
    commodity: BucketParameters
    fx: FxParameters
    base_correlation_weight: float
    base_correlation: float
    class_correlation: Float64Array

    @property
    def concentration(self) -> bool:
        """Return whether concentration thresholds apply: they do not at one day."""
        return self.horizon_days != 1


def simm_versions() -> tuple[str, ...]:
    """Return the versions that have a rulebook, oldest first."""
    return tuple(version for _, version in sorted(_index()))


@lru_cache(maxsize=1)
def _index() -> dict[tuple[str, str], str]:
    found = {}
    for path in words.RULEBOOK_FOLDER.glob("simm_*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        found[(document["effective_date"], document["version"])] = path.name
    return found


@lru_cache(maxsize=32)
def load_parameters(version: str, horizon_days: int) -> SimmParameters:
    """Read the parameters of `version` (for example "2.8+2512") at 10 or 1 days.

    Raises
    ------
    InputError
        If the version or the horizon is not known; the message lists those that are.
    """
    files = {name: file for (_, name), file in _index().items()}
    if version not in files:
        raise InputError(
            f"SIMM version {version!r} is not known; choose one of {', '.join(simm_versions())}"
        )
    if horizon_days not in HORIZONS:
        raise InputError(f"SIMM horizon of {horizon_days!r} days is not known; choose 10 or 1")
    document = json.loads((words.RULEBOOK_FOLDER / files[version]).read_text(encoding="utf-8"))
    return _parse(document, horizon_days)


def _parse(document: dict[str, Any], horizon_days: int) -> SimmParameters:
    assert tuple(document["tenors"]) == words.TENORS
    weights = document["risk_weights"][str(horizon_days)]
    correlations = document["correlations"]
    thresholds = document["concentration_thresholds_usd"]
    assert tuple(correlations["risk_classes"]["order"]) == words.RISK_CLASSES
    classes = {
        name: _bucketed(name, document, weights[name], correlations[name], thresholds[name])
        for name in _BUCKETS
    }
    return SimmParameters(
        version=document["version"],
        horizon_days=horizon_days,
        effective_date=document["effective_date"],
        source=document["source"],
        interest_rate=_interest_rate(document, weights["interest_rate"]),
        fx=_fx(document, weights["fx"]),
        base_correlation_weight=float(weights["credit_qualifying"]["base_correlation"]),
        base_correlation=float(correlations["credit_qualifying"]["base_correlation"]),
        class_correlation=_array(correlations["risk_classes"]["matrix"]),
        **classes,
    )


def _array(values: Any) -> Float64Array:
    array = np.asarray(values, dtype=np.float64)
    freeze(array)
    return array


def _groups(table: dict[str, Any], names: tuple[str, ...]) -> Int64Array:
    """Return the position in `names` of each known currency's group."""
    assert set(table) == set(names)
    codes, _ = words.currencies()
    listed = {
        c: names.index(g) for g, members in table.items() if members != "other" for c in members
    }
    (other,) = (names.index(g) for g, members in table.items() if members == "other")
    unknown = set(listed) - set(codes)
    assert not unknown, f"currencies missing from currencies.json: {sorted(unknown)}"
    groups = np.array([listed.get(code, other) for code in codes], dtype=np.int64)
    freeze(groups)
    return groups


def _interest_rate(document: dict[str, Any], weights: dict[str, Any]) -> InterestRateParameters:
    correlations = document["correlations"]["interest_rate"]
    thresholds = document["concentration_thresholds_usd"]["interest_rate"]
    volatility = tuple(weights["delta"])
    tiers = tuple(thresholds["delta"])
    level = _groups(document["currency_groups"]["interest_rate"], volatility)
    tier = _groups(thresholds["currencies"], tiers)
    return InterestRateParameters(
        delta_weight=_array([weights["delta"][volatility[g]] for g in level]),
        inflation_weight=float(weights["inflation"]),
        basis_weight=float(weights["cross_currency_basis"]),
        vega_weight=float(weights["vega"]),
        volatility_ratio=float(weights["historical_volatility_ratio"]),
        tenor_correlation=_array(correlations["tenor"]),
        sub_curve_correlation=float(correlations["sub_curve"]),
        inflation_correlation=float(correlations["inflation"]),
        basis_correlation=float(correlations["cross_currency_basis"]),
        currency_correlation=float(correlations["between_currencies"]),
        delta_threshold=_array([thresholds["delta"][tiers[g]] for g in tier]),
        vega_threshold=_array([thresholds["vega"][tiers[g]] for g in tier]),
    )


def _bucketed(
    name: str,
    document: dict[str, Any],
    weights: dict[str, Any],
    correlations: dict[str, Any],
    thresholds: dict[str, Any],
) -> BucketParameters:
    buckets = _BUCKETS[name]
    assert tuple(document["buckets"][name]) == buckets
    between = np.array(correlations["between_buckets"], dtype=np.float64)
    np.fill_diagonal(between, 0.0)
    freeze(between)
    if "within_bucket" in correlations:
        same = different = correlations["within_bucket"]
    else:
        n = len(between)
        same = [correlations["same_family"]] * n + [correlations["residual_same_family"]]
        different = [correlations["different_family"]] * n
        different = [*different, correlations["residual_different_family"]]
    return BucketParameters(
        buckets=buckets,
        delta_weight=_array(weights["delta"]),
        vega_weight=_array(weights["vega"]),
        volatility_ratio=float(weights["historical_volatility_ratio"]),
        same=_array(same),
        different=_array(different),
        between=between,
        delta_threshold=_array(thresholds["delta"]),
        vega_threshold=_array(thresholds["vega"]),
    )


def _fx(document: dict[str, Any], weights: dict[str, Any]) -> FxParameters:
    correlations = document["correlations"]["fx"]
    thresholds = document["concentration_thresholds_usd"]["fx"]
    tiers = tuple(thresholds["delta"])
    pairs = [
        [thresholds["vega"][f"category_{min(a, b)}_{max(a, b)}"] for b in (1, 2, 3)]
        for a in (1, 2, 3)
    ]
    return FxParameters(
        level=_groups(document["currency_groups"]["fx"], _LEVELS),
        category=_groups(thresholds["currencies"], tiers),
        delta_weight=_by_level(weights["delta"]),
        vega_weight=float(weights["vega"]),
        volatility_ratio=float(weights["historical_volatility_ratio"]),
        correlation=_array(
            [_by_level(correlations["delta"][f"calculation_currency_{c}"]) for c in _LEVELS]
        ),
        vega_correlation=float(correlations["vega_and_curvature"]),
        delta_threshold=_array([thresholds["delta"][tier] for tier in tiers]),
        vega_threshold=_array(pairs),
    )


def _by_level(table: dict[str, float]) -> Float64Array:
    mixed = table["high_volatility_regular"]
    return _array(
        [[table["high_volatility_high_volatility"], mixed], [mixed, table["regular_regular"]]]
    )
