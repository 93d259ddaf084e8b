"""Anti-procyclicality tools of the agreements, as they stand today and under stress.

The tools are functions of margins (`engine.margin.procyclicality.tool_today`). Here are the
margins they need, from today's positions: on the stress period, on ten years of unfiltered moves,
and the mean of the past year.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array
from engine.domain.failures import Failure, FailureReason, InputError
from engine.margin.config import MarginConfig
from engine.margin.exposure import agreement_failure
from engine.margin.historical import ewma_volatility, worst_volatility_period
from engine.margin.procyclicality import tool_today
from engine.margin.scenario_margin import HistoricalModel, ScenarioClass, TailMargin

LONG_RUN_DAYS = 2500
"""Days of the ten-year lookback of tool (c)."""
MEAN_DAYS = 250
"""Days of the mean calculated margin of tool (a)."""
WARM_UP_DAYS = 500
"""Days before these over which the volatility filter forgets its seed."""


class AntiProcyclicality:
    """What the tools of the agreements compare calculated margin with.

    For a model other than historical simulation, the historical margin of the same account
    gives the ratio: a stress-period margin is calculated margin times (tail on the stress period /
    tail on filtered moves). Parts of it that do not follow volatility (`fixed`, (n_agreements,))
    stay as they are.

    Attributes
    ----------
    failed : bool array of shape (n_agreements,)
        Agreements whose tool cannot be computed, named in `failures`.
    stress_period : dict of agreement row to (first row, last row) of `market.returns`
        From the agreement's own factors: what the fund holds elsewhere must not change it.
    """

    def __init__(
        self,
        model: HistoricalModel,
        calculated: Float64Array,
        fixed: Float64Array,
        config: MarginConfig,
    ) -> None:
        self.exposures = model.exposures
        self.config = config
        self._fixed = fixed
        agreements = self.exposures.book.agreements
        n, pairs = len(agreements), len(self.exposures.pair_agreement)
        self.failures: list[Failure] = []
        self.failed: BoolArray = np.zeros(n, dtype=np.bool_)
        self.stress_period: dict[int, tuple[int, int]] = {}
        self._reference = {name: np.zeros(n) for name in ("stress", "long_run", "mean")}
        self._pair = {name: np.zeros(pairs) for name in ("stress", "long_run")}
        for group in model.classes:
            now = model.today(group)
            with_tool = agreements.apc[group.agreements] != "none"
            ratio = self._ratio(group, now, calculated, np.asarray(with_tool, dtype=np.bool_))
            self._stress(model, group, ratio)
            self._long_run(model, group, ratio)
            self._mean(model, group, calculated)

    def apply(
        self, calculated: Float64Array, pair: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return margin after the tools, (n_agreements,), and its shares by pair (n_pairs,).

        With a stress weight, a share is the blend of its shares; where a floor binds, it is the
        share of the floor; a buffer is shared like the margin it is added to.
        """
        agreements = self.exposures.book.agreements
        margin = tool_today(
            agreements.apc,
            calculated,
            self._reference["stress"],
            self._reference["long_run"],
            self._reference["mean"],
            agreements.stress_weight,
            agreements.apc_buffer,
        )
        owner = self.exposures.pair_agreement
        tool, weight = agreements.apc[owner], agreements.stress_weight[owner]
        ratio = np.divide(margin, calculated, out=np.zeros_like(margin), where=calculated > 0.0)
        shares = pair * ratio[owner]
        blend = (1.0 - weight) * pair + weight * self._pair["stress"]
        shares = np.where(tool == "stress_weight", blend, shares)
        for name, reference in (("stress_floor", "stress"), ("long_run_floor", "long_run")):
            binds = (self._reference[reference] > calculated)[owner] & (tool == name)
            shares = np.where(binds, self._pair[reference], shares)
        return margin, np.asarray(shares)

    def _ratio(
        self,
        group: ScenarioClass,
        now: TailMargin,
        calculated: Float64Array,
        with_tool: BoolArray,
    ) -> Float64Array:
        """Calculated margin over the historical one, (n,); fails agreements where it is unknown."""
        margin = (calculated - self._fixed)[group.agreements]
        historical = np.char.startswith(
            self.exposures.book.agreements.model[group.agreements].astype(str), "fhs"
        )
        ratio = np.divide(
            margin, now.agreement, out=np.ones_like(margin), where=now.agreement > 0.0
        )
        unknown = ~historical & with_tool & (now.agreement <= 0.0) & (margin > 0.0)
        for a in group.agreements[unknown].tolist():
            message = (
                "its anti-procyclicality tool needs a historical margin, and that is zero for its "
                "positions; set apc to none or check the history of its factors"
            )
            self._fail(a, FailureReason.CALCULATION_FAILED, message)
        return np.where(historical, 1.0, ratio)

    def _with_tool(self, group: ScenarioClass, *tools: str) -> list[int]:
        apc = self.exposures.book.agreements.apc
        return [int(a) for a in group.agreements if apc[a] in tools and not self.failed[a]]

    def _stress(self, model: HistoricalModel, group: ScenarioClass, ratio: Float64Array) -> None:
        by_period: dict[tuple[int, int], list[int]] = {}
        for a, period in self._periods(self._with_tool(group, "stress_weight", "stress_floor")):
            self.stress_period[a] = period
            by_period.setdefault(period, []).append(a)
        for (first, last), members in by_period.items():
            part = model.part(group, members)
            self._keep("stress", part, model.unfiltered(part, first, last), group, ratio)

    def _periods(self, rows: list[int]) -> Iterator[tuple[int, tuple[int, int]]]:
        """Worst period of each agreement's own factors; one without such a period is failed."""
        exposures = self.exposures
        found: dict[bytes, tuple[int, int]] = {}
        for a in rows:
            used = exposures.agreement_factor[a]
            try:
                if used.tobytes() not in found:
                    found[used.tobytes()] = worst_volatility_period(
                        exposures.market.returns[:, used], self.config.stress_days
                    )
                yield a, found[used.tobytes()]
            except InputError as error:
                self._fail(a, FailureReason.MISSING_DATA, f"stress period: {error}")

    def _long_run(self, model: HistoricalModel, group: ScenarioClass, ratio: Float64Array) -> None:
        members = self._with_tool(group, "long_run_floor")
        if members:
            part = model.part(group, members)
            n_days = len(self.exposures.market.returns)
            first = max(0, n_days - LONG_RUN_DAYS - group.mpor_days + 1)
            tail = model.unfiltered(part, first, n_days - 1)
            self._keep("long_run", part, tail, group, ratio)
            for a, days in zip(part.agreements.tolist(), tail.scenarios.tolist(), strict=True):
                self._name_short(a, "ten-year floor", int(days), LONG_RUN_DAYS)

    def _mean(self, model: HistoricalModel, group: ScenarioClass, calculated: Float64Array) -> None:
        """Mean margin of the past year: today's, scaled by the volatility of the account's P&L."""
        members = self._with_tool(group, "buffer")
        if members:
            part = model.part(group, members)
            losses = model.daily_losses(part, MEAN_DAYS + WARM_UP_DAYS)
            known = np.isfinite(self.exposures.market.returns).sum(axis=0)
            for a in members:
                days = int(known[self.exposures.agreement_factor[a]].min())
                self._name_short(a, "mean margin of the buffer", days, MEAN_DAYS + WARM_UP_DAYS)
            for a, loss in zip(members, losses, strict=True):
                sigma = ewma_volatility(loss, group.ewma_lambda, self.config.seed_days)
                level = sigma[-MEAN_DAYS:].mean() / sigma[-1] if sigma[-1] > 0.0 else 1.0
                reacting = calculated[a] - self._fixed[a]
                self._reference["mean"][a] = reacting * level + self._fixed[a]

    def _keep(
        self,
        name: str,
        part: ScenarioClass,
        tail: TailMargin,
        group: ScenarioClass,
        ratio: Float64Array,
    ) -> None:
        """Store a reference margin, scaled from the historical model to the agreement's own."""
        own = ratio[np.searchsorted(group.agreements, part.agreements)]
        margin = tail.agreement * own + self._fixed[part.agreements]
        self._reference[name][part.agreements] = margin
        whole = np.divide(margin, tail.agreement, out=own.copy(), where=tail.agreement > 0.0)
        owner = np.searchsorted(part.agreements, self.exposures.pair_agreement[part.pairs])
        self._pair[name][part.pairs] = tail.pair * whole[owner]

    def _name_short(self, row: int, what: str, days: int, wanted: int) -> None:
        if days < wanted:
            name = self.exposures.book.agreements.agreement_id[row]
            message = f"its {what} has {days} days of history, not {wanted}; lengthen the history"
            reason, where = FailureReason.MISSING_DATA, f"agreement {name}"
            self.failures.append(Failure(reason, "anti-procyclicality tool", where, message))

    def _fail(self, row: int, reason: FailureReason, message: str) -> None:
        self.failed[row] = True
        self.failures.append(agreement_failure(self.exposures.book, row, reason, message))
