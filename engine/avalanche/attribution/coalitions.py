"""The model of a fund in which only some managers' positions are present.

Exposures are sums over managers, so they are built once. Margin, its add-ons and today's calls are
scaled, not recomputed: initial margin by the ratio of the standard deviations of the agreement's
daily P&L, liquidity and other add-ons by its power 1.5, as the simulation does after sales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.avalanche.attribution.holders import Holders
from engine.avalanche.attribution.selected import sampled_model
from engine.avalanche.config import AvalancheConfig
from engine.avalanche.prepared import PreparedFund
from engine.avalanche.sales_terms import market_depth, push, sales_part
from engine.avalanche.shape import segments, sizes
from engine.domain.arrays import BoolArray, Float64Array, Int64Array, StrArray
from engine.domain.failures import InputError
from engine.domain.scenarios import Scenario
from engine.kernels.avalanche.layout import Model

OTHERS = "(others)"
# Below this share of a factor's largest exposure a sum is rounding.
NETTED = 1e-13


@dataclass(frozen=True)
class Players:
    """Managers, the small ones together: G players, R agreements, K factors; cents.

    `delta`, `gamma` (G, R, K); `value`, `variation` (G, R) are the worth of positions and today's
    variation margin. `members` holds the manager ids of each player.
    """

    name: StrArray
    members: tuple[tuple[str, ...], ...]
    delta: Float64Array
    gamma: Float64Array
    value: Float64Array
    variation: Float64Array


def players_of(holders: Holders, agreements: int, most: int) -> Players:
    """Group managers into at most `most` players: the largest by margin, and the rest together.

    Size is the sum over agreements of the absolute margin share, so a hedge counts too.

    Raises
    ------
    InputError
        If `most` is below 2 or nobody holds anything.
    """
    if most < 2:
        raise InputError(f"managers {most}: shares need at least 2 players")
    size = np.bincount(
        holders.manager, weights=np.abs(holders.margin), minlength=len(holders.manager_id)
    )
    present = np.unique(holders.manager)
    if not len(present):
        raise InputError("no manager holds a position that can be priced: nothing to share")
    order = present[np.argsort(-size[present], kind="stable")]
    single = order if len(order) <= most else order[: most - 1]
    group = np.full(len(holders.manager_id), len(single), dtype=np.int64)
    group[single] = np.arange(len(single))
    ids = [str(name) for name in holders.manager_id]
    members = [(ids[m],) for m in single.tolist()]
    names = [ids[m] for m in single.tolist()]
    if len(single) < len(order):
        members.append(tuple(sorted(ids[m] for m in order[len(single) :].tolist())))
        names.append(OTHERS)
    shape = (len(names), agreements)
    delta = np.zeros((*shape, holders.delta.shape[1]))
    gamma, value, variation = np.zeros_like(delta), np.zeros(shape), np.zeros(shape)
    at = (group[holders.manager], holders.row)
    np.add.at(delta, at, holders.delta)
    np.add.at(gamma, at, holders.gamma)
    np.add.at(value, at, holders.value)
    np.add.at(variation, at, holders.variation)
    return Players(np.array(names, dtype=object), tuple(members), delta, gamma, value, variation)


def _netted(parts: Float64Array, present: BoolArray) -> Float64Array:
    """Sum players; what is left of positions that cancel is rounding and becomes zero."""
    total = parts[present].sum(axis=0)
    least = NETTED * np.abs(parts).max(axis=(0, 1))
    return np.where(np.abs(total) > least, total, 0.0)


class Coalitions:
    """Builds the model of any set of players on the draws of the whole fund."""

    def __init__(
        self,
        fund: PreparedFund,
        players: Players,
        config: AvalancheConfig,
        scenario: Scenario | None = None,
    ) -> None:
        self._fund, self._players = fund, players
        self._config, self._scenario = config, scenario
        self.whole = sampled_model(fund, config, scenario)
        inputs = fund.inputs
        sigma = inputs.daily_volatility
        self._covariance = inputs.correlation * sigma[:, None] * sigma[None, :]
        self._bucket_of: Int64Array = np.asarray(self.whole.bucket).astype(np.int64)

    def model(self, present: BoolArray) -> Model:
        """Return the model in which only the players of the mask (G,) hold positions.

        The market, cash, securities, credit lines, settlements and NAV are those of the whole
        fund. With all players it is the fund's own model, to rounding.
        """
        players, whole = self._players, self.whole
        delta = _netted(players.delta, present)
        gamma = _netted(players.gamma, present)
        buckets = len(whole.relief)
        pairs, norm, gradient = sizes(delta, gamma, self._covariance, self._bucket_of, buckets)
        depth = market_depth(
            self._fund.market, self._fund.inputs, delta, self._config, self._scenario
        )
        parts: dict[str, Any] = dict(pairs)
        parts.update(
            segments(delta, gamma, self._bucket_of, buckets, push(depth, self._config), depth)
        )
        im = self._scaled(parts, norm, present)
        called = np.where(im > whole.im_threshold, im, 0.0)
        names = list(self._fund.buckets)
        parts.update(
            sales_part(
                depth,
                self._bucket_of,
                names,
                called,
                gradient,
                {"eod_hour": whole.eod_hour, "receive_lag": whole.receive_lag},
                self._config,
                self._scenario,
            )
        )
        return whole._replace(**parts)

    def _scaled(
        self, parts: dict[str, Any], norm: Float64Array, present: BoolArray
    ) -> Float64Array:
        """Scale margin and exposures of every agreement; returns initial margin, (R,)."""
        whole, players = self.whole, self._players
        base = np.asarray(whole.daily_norm)
        ratio = np.divide(norm, base, out=np.zeros_like(norm), where=base > 0.0)
        bent = ratio**1.5
        im = np.rint(whole.im_start * ratio)
        add_on = np.rint(whole.concentration_start * bent)
        required = np.maximum(im - whole.im_threshold, 0.0) + add_on
        share = np.divide(required, whole.im_today, out=ratio.copy(), where=whole.im_today > 0.0)
        variation, all_variation = (
            np.rint(players.variation[mask].sum(axis=0))
            for mask in (present, np.ones_like(present))
        )
        unposted = whole.open_call - all_variation
        bilateral = np.asarray(whole.trigger) == 0.0
        worth, all_worth = (
            players.value[mask].sum(axis=0) for mask in (present, np.ones_like(present))
        )
        exposure = np.where(bilateral, whole.exposure_start + worth - all_worth, 0.0)
        gap = whole.exposure_start - whole.held_start
        parts.update(
            {
                "daily_norm": norm,
                "im_start": im,
                "im_today": required,
                "concentration_start": add_on,
                "concentration_slope": whole.concentration_slope * bent[:, None],
                "open_call": variation + np.rint(unposted * share),
                "exposure_start": exposure,
                "held_start": np.where(bilateral, np.rint(exposure - gap * ratio), 0.0),
            }
        )
        return np.asarray(im)
