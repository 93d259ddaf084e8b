"""Monte Carlo expected shortfall: full revaluation on draws from a Student-t copula.

A family model with parameters you can see; it is not the model of any clearing house.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.failures import Failure
from engine.margin.agreement_terms import by_equal_terms, days_used
from engine.margin.enough_history import check_history
from engine.margin.exposure import Exposures, unit_pnl
from engine.margin.factor_volatility import FactorVolatility
from engine.margin.family import FamilyMargin, pairs_of
from engine.margin.historical import MIN_SCENARIOS, tail_count
from engine.margin.scenario_margin import tail_contributions
from engine.margin.t_copula import (
    copula_correlation,
    draw_t,
    fit_copula_dof,
    fit_marginal_dof,
    kendall_tau,
    to_marginals,
    to_sample_marginals,
)

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig

# Instruments revalued at once: keeps 10,000 paths of them in some 20 MB.
_BLOCK = 256


class McConfig(BaseModel):
    """Choices of the Monte Carlo family.

    Attributes
    ----------
    paths : int
        Even: half are drawn, the other half are their mirror images (quantiles of v and 1 - v).
        10,000 is what one large clearing house is said to use (indicative).
    seed : int
        Of the counter-based generator (Philox).
    copula_dof : float or None
        Degrees of freedom of the copula; None fits them by profile likelihood on a grid. A very
        large number gives the normal copula.
    marginals : {"empirical", "student_t"}
        Law of a factor's moves. Empirical: that of its own residuals over the lookback, with
        generalised Pareto tails fitted on each side (`t_copula.lower_quantiles`): falls and rises
        differ as they did. Student-t: symmetric, of unit variance, with closed forms.
    tail_fraction : float
        Of the residuals in each fitted tail (empirical). 5 % is an assumption of the house.
    worst_multiple : float
        Moves are cut at this many times the factor's largest residual on their side (empirical).
        1.5, an assumption of the house, leaves 10,000 draws of a tail of index 0.1 nearly whole
        and cuts those whose index rests on a few outliers.
    marginal_dof : float or None
        Degrees of freedom of every factor's moves (Student-t); None fits them factor by factor
        on a grid.
    copula_days : int
        The copula is taken from at most this many latest days of the lookback: the work grows
        with their square, and the standard error of a tau of 1,250 days is below 0.02.
    largest_move : float
        Moves are cut at this many standard deviations, or the expected loss of a short position
        in a factor with log returns would be infinite. The largest move of the packaged history
        is 52 of its EWMA volatilities (EURCHF, 15 January 2015).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: int = Field(10_000, ge=1_000, multiple_of=2)
    seed: int = Field(20_221_228, ge=0, lt=2**63)
    copula_dof: float | None = Field(None, gt=0.0, allow_inf_nan=False)
    marginals: Literal["empirical", "student_t"] = "empirical"
    tail_fraction: float = Field(0.05, gt=0.0, le=0.25)
    worst_multiple: float = Field(1.5, ge=1.0, allow_inf_nan=False)
    marginal_dof: float | None = Field(None, gt=2.0, allow_inf_nan=False)
    copula_days: int = Field(1_250, ge=250)
    largest_move: float = Field(50.0, gt=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_law(self) -> McConfig:
        if self.marginal_dof is not None and self.marginals != "student_t":
            raise ValueError(
                f"marginal_dof = {self.marginal_dof} needs marginals = 'student_t', "
                f"not {self.marginals!r}: change one or leave marginal_dof out"
            )
        return self


def shortfall_error(losses: Float64Array, confidence: float) -> float:
    """Standard error of the expected shortfall of `losses` (n_paths,), which are antithetic pairs.

    ES is the mean of v + max(0, loss - v) * n_paths / k, v the k-th largest loss (its influence
    function; Manistre and Hancock 2005). The two paths of a pair, i and i + n_paths / 2, are
    averaged first: they are not independent.

    Losses (1, 5, 2, 3, 9, 0), confidence 0.5: k = 3, v = 3, terms (3, 7, 3, 3, 15, 3), pair means
    3, 11 and 3, error sqrt(64 / 3) / sqrt(3) = 8 / 3.
    """
    n = len(losses)
    k = tail_count(n, confidence)
    cut = np.partition(losses, n - k)[n - k]
    terms = cut + np.maximum(0.0, losses - cut) * (n / k)
    pairs = 0.5 * (terms[: n // 2] + terms[n // 2 :])
    return float(np.std(pairs, ddof=1) / math.sqrt(len(pairs)))


@dataclass(frozen=True)
class _Draws:
    """Moves of the factors in `columns` (n,) in daily volatilities, shape (n, paths).

    `law` describes the marginal of each column: degrees of freedom (n,), or the indices of its
    lower and upper tail (n, 2).
    """

    columns: Int64Array
    unit: Float64Array
    copula_dof: float
    law: Float64Array


def prepare(
    exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: McConfig
) -> MonteCarloFamily:
    """Prepare the margin of the agreements `rows`, which have the model `mc_es`.

    Parameters
    ----------
    exposures : Exposures
    rows : int64 array of shape (n_rows,)
        Agreements that are not failed and have at least one position that can be priced.
    margin : MarginConfig
        `seed_days` and `cap_volatility_factors` are used.
    own : McConfig

    Returns
    -------
    MonteCarloFamily
        Its failures name agreements without enough history (NaN margin) and shortened lookbacks.

    Notes
    -----
    Draws, once per (decay, lookback): Kendall's tau of the volatility-filtered residuals of all
    factors of the market with `MIN_SCENARIOS` days or more; the t copula with correlation
    sin(pi tau / 2); marginals of the residuals themselves, neither centred nor rescaled, or
    Student-t of unit variance. What else the fund holds does not change an agreement's draws. A
    move is the draw times EWMA volatility times sqrt(h): the h-day move is given the shape of a
    daily one, which keeps its tail. Margin: max(0, ES) of the book revalued in full, tail of
    `historical.tail_count`. Shares: mean loss in the tail.

    Worked number: one oil future of 1,000 barrels, daily volatility 1.8, two days, 99 % and normal
    moves (Student-t of 1e9) tends to phi(2.3263) / 0.01 * 1.8 * sqrt(2) * 1,000 = 6,784.53 USD.
    """
    failed, failures = check_history(exposures, rows, margin)
    alive = rows[~failed[rows]]
    return MonteCarloFamily(exposures, rows, margin, own, tuple(failures), alive, MIN_SCENARIOS)


class MonteCarloFamily:
    """Model `mc_es`, ready to be asked for its margin; see `prepare`.

    `alive` are the `rows` with enough history; the others have a NaN margin. Factors with fewer
    than `least_days` days in a lookback are left out of its copula: no agreement alive holds one.
    """

    def __init__(
        self,
        exposures: Exposures,
        rows: Int64Array,
        margin: MarginConfig,
        own: McConfig,
        failures: tuple[Failure, ...],
        alive: Int64Array,
        least_days: int,
    ) -> None:
        self.exposures, self.rows, self.own, self.failures = exposures, rows, own, failures
        self.capped = margin.cap_volatility_factors
        self.least_days = least_days
        self.volatility = FactorVolatility(exposures.market, margin.seed_days)
        names = ("ewma_lambda", "lookback_days", "mpor_days")
        self.classes = by_equal_terms(exposures.book, alive, names)
        self.draws = {
            (decay, lookback): self._draw(decay, lookback, members)
            for (decay, lookback), members in by_equal_terms(
                exposures.book, alive, names[:2]
            ).items()
        }

    def margin(self, scale: Float64Array) -> FamilyMargin:
        """Return the margin when volatility is `scale` (n_agreements,) times today's."""
        exposures = self.exposures
        pairs = pairs_of(exposures, self.rows)
        im, pair_im = np.full(len(self.rows), np.nan), np.full(len(pairs), np.nan)
        basis: dict[str, dict[str, Any]] = {}
        for (decay, lookback, mpor_days), group in self.classes.items():
            draws = self.draws[decay, lookback]
            sigma = self.volatility.tomorrow(decay, lookback) * math.sqrt(mpor_days)
            for factor in np.unique(scale[group]):
                members = group[scale[group] == factor]
                held = pairs_of(exposures, members)
                size = sigma * self.volatility.scale(decay, float(factor), self.capped)
                loss = self._losses(held, draws, size)
                owner = exposures.pair_agreement[held]
                for a in members.tolist():
                    at = slice(*np.searchsorted(owner, [a, a + 1]))
                    amount, shares, error = self._shortfall(a, loss[at])
                    im[np.searchsorted(self.rows, a)] = amount
                    pair_im[np.searchsorted(pairs, held[at])] = shares
                    name = str(exposures.book.agreements.agreement_id[a])
                    basis[name] = self._basis(a, lookback, draws, error)
        return FamilyMargin(self.rows, im, pairs, pair_im, basis=basis)

    def _draw(self, ewma_lambda: float, lookback_days: int, members: Int64Array) -> _Draws:
        """Draw the factors held by `members` from the copula of the whole market."""
        own = self.own
        residuals = self.volatility.residuals(ewma_lambda, lookback_days)
        latest = residuals[-own.copula_days :]
        known = np.isfinite(latest)
        factors = np.flatnonzero(known.sum(axis=0) >= self.least_days)
        values = latest[:, factors]
        correlation = copula_correlation(kendall_tau(values))
        complete = values[known[:, factors].all(axis=1)]
        dof = fit_copula_dof(complete, correlation) if own.copula_dof is None else own.copula_dof
        used = np.flatnonzero(self.exposures.agreement_factor[members].any(axis=0))
        at = np.flatnonzero(np.isin(factors, used)).astype(np.int64)
        assert len(at) == len(used)
        y = draw_t(correlation, dof, own.paths // 2, own.seed, at)
        unit, law = self._marginals(y, dof, residuals[:, factors[at]])
        unit = np.clip(unit, -own.largest_move, own.largest_move)
        return _Draws(factors[at].astype(np.int64), unit, dof, law)

    def _marginals(
        self, y: Float64Array, dof: float, residuals: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Give the draws `y` (n, pairs) their marginals: moves (n, paths) and `_Draws.law`."""
        own = self.own
        if own.marginals == "empirical":
            return to_sample_marginals(y, dof, residuals, own.tail_fraction, own.worst_multiple)
        if own.marginal_dof is None:
            law = fit_marginal_dof(residuals)
        else:
            law = np.full(len(y), own.marginal_dof, dtype=np.float64)
        half = to_marginals(y, dof, law)
        return np.concatenate([half, -half], axis=1), law

    def _losses(self, pairs: Int64Array, draws: _Draws, size: Float64Array) -> Float64Array:
        """Loss of each pair on each path, (n_pairs, paths), USD."""
        exposures = self.exposures
        quantity = exposures.quantity_usd[pairs]
        held = np.unique(quantity.indices).astype(np.int64)
        held = held[np.argsort(exposures.instruments.factor[held], kind="stable")]
        moves = np.zeros((self.own.paths, len(size)))
        moves[:, draws.columns] = (draws.unit * size[draws.columns, np.newaxis]).T
        loss = np.zeros((len(pairs), self.own.paths))
        for start in range(0, len(held), _BLOCK):
            block = held[start : start + _BLOCK]
            loss -= np.asarray(quantity[:, block] @ unit_pnl(exposures, block, moves))
        return loss

    def _shortfall(self, row: int, loss: Float64Array) -> tuple[float, Float64Array, float]:
        """Margin of an agreement, the shares of its managers, and the error of the margin."""

        confidence = float(self.exposures.book.agreements.confidence[row])
        amount, shares = tail_contributions(loss, confidence, shortfall=True)
        error = math.nan
        if math.isfinite(amount):
            error = shortfall_error(loss.sum(axis=0), confidence)
        return amount, shares, error

    def _basis(self, row: int, lookback_days: int, draws: _Draws, error: float) -> dict[str, Any]:
        exposures = self.exposures
        held = np.flatnonzero(exposures.agreement_factor[row][draws.columns])
        names = exposures.market.factors.factor_id[draws.columns[held]]
        law = {str(n): v for n, v in zip(names, draws.law[held].tolist(), strict=True)}
        own = self.own
        basis = {
            "paths": own.paths,
            "seed": own.seed,
            "days": days_used(exposures, row, lookback_days),
            "copula_days": min(lookback_days, own.copula_days),
            "copula_degrees_of_freedom": float(draws.copula_dof),
            "copula_fitted": own.copula_dof is None,
            "marginals": own.marginals,
            "largest_move": own.largest_move,
            "standard_error_usd": error if math.isfinite(error) else None,
        }
        if own.marginals == "empirical":
            choices = {"tail_fraction": own.tail_fraction, "worst_multiple": own.worst_multiple}
            return basis | choices | {"tail_index_lower_upper": law}
        fitted = own.marginal_dof is None
        return basis | {"marginal_degrees_of_freedom": law, "marginals_fitted": fitted}
