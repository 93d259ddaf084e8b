"""`reverse_stress_test`: the most plausible market move that exhausts the fund's liquidity."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.domain.arrays import Float64Array
from engine.domain.book import Book
from engine.domain.crif import CrifTable
from engine.domain.failures import Failure, InputError
from engine.domain.market import MarketState
from engine.domain.results import MarginResult
from engine.domain.scenarios import Scenario
from engine.stress.reverse.config import ReverseConfig
from engine.stress.reverse.full_check import FullCheck, full_check
from engine.stress.reverse.fund_loss import FundLoss, Needs
from engine.stress.reverse.genetic import SearchSettings
from engine.stress.reverse.niches import Niches, distinct_answers
from engine.stress.reverse.plausibility import plausibility
from engine.stress.reverse.rays import Evaluate
from engine.stress.reverse.results import (
    ReverseAnswer,
    ReverseResult,
    agreement_calls,
    factor_moves,
)
from engine.stress.reverse.search_space import (
    KnownMoves,
    SearchSpace,
    build_space,
    daily_covariance,
    known_moves,
    start_directions,
)

Verify = Callable[[Float64Array], Float64Array]
"""Metric in USD (n,) of moves (n, n_factors of the market), by another way than the search."""

# The gradient finishes what the search has found, so it may end early.
PATIENCE = 20
LEAST_GAIN = 1e-3
REPAIR_TOLERANCE = 2e-4
ONE_CENT = 0.01
METHOD = "reverse stress test: genetic search for the least Mahalanobis distance"


def reverse_stress_test(
    book: Book,
    market: MarketState,
    margin: MarginResult,
    config: ReverseConfig,
    *,
    episodes: Sequence[Scenario] = (),
    crif: CrifTable | None = None,
    verify: Verify | None = None,
) -> ReverseResult:
    """Find the most plausible market moves that reach the target, and say so if there are none.

    Parameters
    ----------
    book, market, margin
        The fund, the market, and the fund's margin from `calculate_margin_requirements`.
    config : ReverseConfig
    episodes : sequence of Scenario
        Moves that have happened: starts of the search and the yardstick of its answers. Only
        `moves` and the number of days are used.
    crif : CrifTable, optional
        As given to the margin engine; used where answers are re-margined.
    verify : callable, optional
        Another measure of the metric, for example the simulation; asked about the answers alone.

    Returns
    -------
    ReverseResult
        Amounts in USD. `feasible` is False where no move inside the box reaches the target; then
        `largest` is the worst one found, and `answers` is empty.

    Raises
    ------
    InputError
        If the fund holds no factor, or `signs` names an unknown one.

    Notes
    -----
    min over x of sqrt(x' Sigma^-1 x) subject to metric(x) >= target, box and signs. In whitened
    units y = C^-1 x, |y| is the distance; every candidate is a direction, taken as far as the
    target (`genetic`), and the best are finished by gradient (`polish`). For a linear book with
    exposures w and target loss L the answer is x = -Sigma w L / (w' Sigma w), at the distance
    L / sqrt(w' Sigma w).
    """
    covariance = daily_covariance(market, config.correlation_lookback_days)
    fund = FundLoss(book, market, margin, covariance, config)
    space = build_space(market, covariance, fund.delta, config)
    known = known_moves(market, covariance, episodes)
    target = ONE_CENT if config.target_usd is None else config.target_usd
    today = float(fund.metric(np.zeros((1, len(market.factors))))[0])
    if not np.isfinite(today):
        raise InputError("the fund cannot be valued on today's market; run `mca validate`")
    run = _Run(fund, space, known, today, target, verify, crif)
    if today >= target:
        return run.result(None)
    starts = start_directions(space, fund.delta, known.moves)
    settings = SearchSettings(
        population=config.population,
        generations=config.max_iterations,
        patience=PATIENCE,
        least_gain=LEAST_GAIN,
        repair_tolerance=REPAIR_TOLERANCE,
    )
    niches = distinct_answers(
        run.metric_of_points, target, space.box, settings, config.seed, starts,
        config.answers, config.similarity,
    )  # fmt: skip
    return run.result(niches)


class _Run:
    """A fund, a space and a target; turns points into answers."""

    def __init__(
        self,
        fund: FundLoss,
        space: SearchSpace,
        known: KnownMoves,
        today: float,
        target: float,
        verify: Verify | None,
        crif: CrifTable | None,
    ) -> None:
        self.fund, self.space, self.known = fund, space, known
        self.today, self.target = today, target
        self.verify, self.crif, self.config = verify, crif, fund.config
        self.failures: list[Failure] = [*known.failures]
        days = self.config.horizon_days
        self.deviation: Float64Array = np.sqrt(np.diag(space.daily_covariance) * days)

    @property
    def metric_of_points(self) -> Evaluate:
        """The metric as the search asks for it: -inf where it cannot be computed."""

        def metric(points: Float64Array) -> Float64Array:
            value = self.fund.metric(self.space.moves(points))
            return np.where(np.isnan(value), -np.inf, value)

        return metric

    def result(self, niches: Niches | None) -> ReverseResult:
        """Describe what was found; without `niches` the target was met from the start."""
        main = None if niches is None else niches.searches[0]
        found = () if niches is None else niches.answers
        answers = tuple(
            self._answer(f"reverse_{i + 1}", a.point, a.optimum) for i, a in enumerate(found)
        )
        out_of_reach = main is not None and not main.reached
        largest = None
        if main is not None and out_of_reach and np.isfinite(main.largest_loss):
            largest = self._answer("reverse_largest", main.largest_point, False)
        market = self.fund.market
        return ReverseResult(
            feasible=not out_of_reach,
            already_reached=niches is None,
            metric_today_usd=self.today,
            target_usd=self.target,
            answers=answers,
            largest=largest,
            opening=self.fund.opening,
            searched_factors=tuple(
                str(market.factors.factor_id[k]) for k in self.space.columns
            ),
            best_by_generation=np.zeros(0) if main is None else main.best_by_generation,
            evaluations=0 if niches is None else sum(s.evaluations for s in niches.searches),
            worst_episode=self.known.worst(),
            config=self.config.model_dump(mode="json"),
            failures=tuple(dict.fromkeys(self.failures)),
        )  # fmt: skip

    def _answer(self, name: str, point: Float64Array, optimum: bool) -> ReverseAnswer:
        fund = self.fund
        move = self.space.moves(point[None, :])[0]
        needs = fund.needs(move[None, :])
        full = None
        if self.config.remargin:
            full = full_check(fund, move, self.target, self.today, self.crif)
            self.failures += full.failures
        distance = float(np.linalg.norm(point))
        return ReverseAnswer(
            scenario=self._scenario(name, move),
            plausibility=plausibility(distance, len(point), self.known.distances()),
            optimum=optimum,
            metric_usd=float(fund.metric_of(needs)[0]),
            metric_full_usd=None if full is None else full.metric_usd,
            distance_full=_known(full, distance),
            verified_usd=None if self.verify is None else float(self.verify(move[None, :])[0]),
            parts=_parts(needs, full),
            factors=factor_moves(fund.market, move, self.deviation),
            agreements=agreement_calls(
                fund.margin.agreement_id.tolist(),
                needs.calls[:, 0],
                needs.im_rise[:, 0],
                None if full is None else full.im_rise_usd,
            ),
        )

    def _scenario(self, name: str, move: Float64Array) -> Scenario:
        config, factors = self.config, self.fund.market.factors
        days = config.horizon_days
        return Scenario(
            scenario_id=name,
            name=f"Reverse stress: {config.target_metric.replace('_', ' ')}, {name}",
            kind="hypothetical",
            description=(
                f"Found by a reverse stress test on {self.fund.market.as_of} for "
                f"{config.target_metric} at {self.target:.0f} USD, seed {config.seed}."
            ),
            moves={
                str(k): float(x) for k, x in zip(factors.factor_id, move, strict=True) if x != 0.0
            },
            day_shares=(1.0 / days,) * days,
            mark="indicative",
            sources=(METHOD,),
        )


def _parts(needs: Needs, full: FullCheck | None) -> dict[str, float]:
    """Amounts of one move, USD."""
    parts = {
        "pnl": float(needs.pnl.sum()),
        "variation_calls": float(needs.calls.sum()),
        "im_rise": float(needs.im_rise.sum()),
        "receipts": float(needs.receipts[0]),
        "resources": float(needs.resources[0]),
    }
    return parts if full is None else {**parts, "im_rise_full": float(full.im_rise_usd.sum())}


def _known(full: FullCheck | None, distance: float) -> float | None:
    if full is None or not np.isfinite(full.scale):
        return None
    return full.scale * distance
