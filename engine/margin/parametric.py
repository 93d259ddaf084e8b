"""Parametric margin: the worst loss of each factor alone, joined by the factors' correlation.

A family model with parameters you can see; it is not the model of any clearing house.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from engine.domain.arrays import Float64Array, Int64Array
from engine.domain.failures import Failure, InputError
from engine.margin.agreement_terms import by_equal_terms, days_used
from engine.margin.enough_history import check_history
from engine.margin.exposure import Exposures
from engine.margin.factor_volatility import FactorVolatility
from engine.margin.family import FamilyMargin, pairs_of
from engine.margin.one_factor import joined_losses, one_factor_pnl, weighted_correlation

if TYPE_CHECKING:
    from engine.margin.config import MarginConfig


class ParametricConfig(BaseModel):
    """Choices of the parametric family.

    Attributes
    ----------
    distribution : {"normal", "student_t"}
        Whose quantile at the agreement's confidence multiplies volatility.
    degrees_of_freedom : float
        Of `student_t`, which is scaled to unit variance. 6 is an assumption of the house.
    correlation : {"equal", "ewma"}
        `equal`: of the volatility-filtered residuals of the lookback, equal weights. `ewma`: of
        the returns of the lookback, weights falling by the agreement's decay.
    rate_floors : dict of asset class to float
        Least move over the margin period of risk: a log return for `log` factors, a fraction of
        |level| for `absolute` ones. Empty: none. Stress does not scale it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    distribution: Literal["normal", "student_t"] = "normal"
    degrees_of_freedom: float = Field(6.0, gt=2.0, allow_inf_nan=False)
    correlation: Literal["equal", "ewma"] = "equal"
    rate_floors: dict[
        Literal["equity", "rates", "credit", "fx", "commodity", "volatility"],
        Annotated[float, Field(ge=0.0, allow_inf_nan=False)],
    ] = Field(default_factory=dict)


def tail_quantile(confidence: float, own: ParametricConfig) -> float:
    """Return the number of standard deviations of a tail: normal, or Student-t of unit variance.

    t_nu^-1(confidence) * sqrt((nu - 2) / nu). Worked numbers at 0.99: normal 2.3263478740,
    Student-t with 6 degrees of freedom 2.5659780063.

    Raises
    ------
    InputError
        If the confidence is not between 0.5 and 1.
    """
    if not 0.5 < confidence < 1.0:
        raise InputError(f"confidence is {confidence}; it must lie between 0.5 and 1")
    if own.distribution == "normal":
        return float(special.ndtri(confidence))
    nu = own.degrees_of_freedom
    return float(special.stdtrit(nu, confidence)) * math.sqrt((nu - 2.0) / nu)


class _Terms(NamedTuple):
    """Terms that the agreements of a class share, in the order of their columns."""

    ewma_lambda: float
    mpor_days: int
    lookback_days: int
    confidence: float


def prepare(
    exposures: Exposures, rows: Int64Array, margin: MarginConfig, own: ParametricConfig
) -> ParametricFamily:
    """Prepare the margin of the agreements `rows`, which have the model `parametric`.

    Parameters
    ----------
    exposures : Exposures
    rows : int64 array of shape (n_rows,)
        Agreements that are not failed and have at least one position that can be priced.
    margin : MarginConfig
        `seed_days` and `cap_volatility_factors` are used.
    own : ParametricConfig

    Returns
    -------
    ParametricFamily
        Its failures name agreements without enough history (NaN margin) and shortened lookbacks.

    Notes
    -----
    For each factor k of an agreement: move m_k = quantile * sigma_k * sqrt(h), not below the
    `rate_floors`; x_k = max(0, worse loss of the whole book, revalued in full, under +m_k and
    -m_k alone), with direction s_k. Margin = sqrt(sum_kl x_k s_k rho_kl s_l x_l). For a book that
    is linear in its moves this is delta-normal: quantile * sqrt(d' Sigma d) * sqrt(h).
    Volatility factors of options are factors of their own. Shares of managers are Euler's.

    Worked number: one oil future of 1,000 barrels, daily volatility 1.8, two days, 99 %:
    2.3263478740 * 1.8 * sqrt(2) * 1,000 = 5,921.91 USD.
    """
    failed, failures = check_history(exposures, rows, margin)
    return ParametricFamily(exposures, rows, margin, own, tuple(failures), rows[~failed[rows]])


class ParametricFamily:
    """Model `parametric`, ready to be asked for its margin; see `prepare`.

    `alive` are the `rows` with enough history; the others have a NaN margin.
    """

    def __init__(
        self,
        exposures: Exposures,
        rows: Int64Array,
        margin: MarginConfig,
        own: ParametricConfig,
        failures: tuple[Failure, ...],
        alive: Int64Array,
    ) -> None:
        self.exposures, self.rows, self.own, self.failures = exposures, rows, own, failures
        self.capped = margin.cap_volatility_factors
        self.volatility = FactorVolatility(exposures.market, margin.seed_days)
        groups = by_equal_terms(exposures.book, alive, _Terms._fields)
        self.classes = {_Terms(*terms): members for terms, members in groups.items()}
        uses = exposures.agreement_factor[alive]
        self.factors: Int64Array = np.flatnonzero(uses.any(axis=0)).astype(np.int64)
        self._correlations: dict[tuple[float, int], Float64Array] = {}

    def margin(self, scale: Float64Array) -> FamilyMargin:
        """Return the margin when volatility is `scale` (n_agreements,) times today's."""
        exposures = self.exposures
        pairs = pairs_of(exposures, self.rows)
        im, pair_im = np.full(len(self.rows), np.nan), np.full(len(pairs), np.nan)
        basis: dict[str, dict[str, Any]] = {}
        for terms, group in self.classes.items():
            for factor in np.unique(scale[group]):
                members = group[scale[group] == factor]
                held = pairs_of(exposures, members)
                amount, shares = self._class_margin(terms, members, held, float(factor))
                im[np.searchsorted(self.rows, members)] = amount
                pair_im[np.searchsorted(pairs, held)] = shares
            basis |= self._basis(terms, group)
        return FamilyMargin(self.rows, im, pairs, pair_im, basis=basis)

    def _class_margin(
        self, terms: _Terms, members: Int64Array, pairs: Int64Array, scale: float
    ) -> tuple[Float64Array, Float64Array]:
        exposures = self.exposures
        quantity = exposures.quantity_usd[pairs]
        instruments = np.unique(quantity.indices).astype(np.int64)
        up, down = one_factor_pnl(exposures, instruments, self._moves(terms, scale))
        part = -quantity[:, instruments]
        at = self.factors
        owner = np.searchsorted(members, exposures.pair_agreement[pairs]).astype(np.int64)
        return joined_losses(
            np.asarray(part @ up[:, at]),
            np.asarray(part @ down[:, at]),
            owner,
            len(members),
            self._correlation(terms),
        )

    def _moves(self, terms: _Terms, scale: float) -> Float64Array:
        """Move of each factor over the margin period of risk, (n_factors,)."""
        market = self.exposures.market
        sigma = self.volatility.tomorrow(terms.ewma_lambda, terms.lookback_days)
        size = tail_quantile(terms.confidence, self.own) * math.sqrt(terms.mpor_days)
        move = size * sigma * self.volatility.scale(terms.ewma_lambda, scale, self.capped)
        floors: dict[str, float] = {str(k): v for k, v in self.own.rate_floors.items()}
        rate = np.array([floors.get(str(name), 0.0) for name in market.factors.asset_class])
        log = market.factors.return_type == "log"
        return np.asarray(np.maximum(move, rate * np.where(log, 1.0, np.abs(market.level))))

    def _correlation(self, terms: _Terms) -> Float64Array:
        """Correlation of `self.factors`; that of a pair of factors depends on these two alone."""
        key = (terms.ewma_lambda, terms.lookback_days)
        if key not in self._correlations:
            if self.own.correlation == "equal":
                values = self.volatility.residuals(*key)[:, self.factors]
                weights = np.ones(len(values))
            else:
                values = self.exposures.market.returns[-terms.lookback_days :, self.factors]
                weights = terms.ewma_lambda ** np.arange(len(values) - 1.0, -1.0, -1.0)
            self._correlations[key] = weighted_correlation(values, weights)
        return self._correlations[key]

    def _basis(self, terms: _Terms, group: Int64Array) -> dict[str, dict[str, Any]]:
        student = self.own.distribution == "student_t"
        common = {
            "quantile": tail_quantile(terms.confidence, self.own),
            "distribution": self.own.distribution,
            "degrees_of_freedom": self.own.degrees_of_freedom if student else None,
            "correlation": self.own.correlation,
            "rate_floors": {str(k): v for k, v in self.own.rate_floors.items()},
        }
        return {
            str(self.exposures.book.agreements.agreement_id[a]): {
                **common,
                "days": days_used(self.exposures, int(a), terms.lookback_days),
            }
            for a in group
        }
